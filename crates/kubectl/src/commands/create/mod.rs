//! `kubectl create`: from files, and the generators of single objects.

mod data;
mod rbac;
mod services;
mod token;
mod workloads;

pub(crate) use rbac::subjects;
pub use token::token;

use http::Method;
use serde_json::{Value, json};

use super::apply::last_applied;
use super::report::{DryRun, Reporter, write_query};
use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::resource::{Info, files};
use crate::{fail, out};

/// Runs `create -f`.
pub async fn run(cx: &Context) -> Result<()> {
    if !cx.flags.changed("filename") && cx.flags.opt("kustomize").is_none() {
        if !cx.args().is_empty() {
            return Err(Error::usage("create", format!("Unexpected args: [{}]", cx.args().join(" "))));
        }
        fail!("must specify one of -f and -k");
    }
    if !cx.args().is_empty() {
        return Err(Error::usage("create", format!("Unexpected args: [{}]", cx.args().join(" "))));
    }
    if cx.flags.bool("edit") {
        fail!("--edit is not supported by this kubectl: edit the file, or create and then kubectl edit");
    }
    if let Some(path) = cx.flags.opt("raw") {
        return raw(cx, path).await;
    }
    let dry_run = DryRun::of(cx)?;
    let reporter = Reporter::new(cx, dry_run)?;
    let infos = files::load(cx).await?;
    if infos.is_empty() {
        fail!("no objects passed to create");
    }
    let mut errors = Vec::new();
    for info in infos {
        match create(cx, &info, dry_run).await {
            Ok(object) => reporter.say(&info, &object, "created"),
            Err(error @ Error::Status(_)) => errors.push(error.during("creating", &info.source)),
            Err(other) => return Err(other),
        }
    }
    Error::collect(errors)
}

async fn raw(cx: &Context, path: &str) -> Result<()> {
    let [name] = cx.flags.array("filename") else { fail!("--raw can only use a single local file or stdin") };
    let text = if name == "-" { std::io::read_to_string(std::io::stdin())? } else { std::fs::read_to_string(name)? };
    let body: Value = serde_yaml::from_str(&text).map_err(|e| Error::Plain(e.to_string()))?;
    let answer = cx.client()?.change(Method::POST, path, crate::client::JSON, &body).await?;
    out(&format!("{answer}\n"));
    Ok(())
}

async fn create(cx: &Context, info: &Info, dry_run: DryRun) -> Result<Value> {
    let mut wanted = info.clone();
    if cx.flags.bool("save-config") {
        wanted.object = last_applied::with_annotation(&wanted.object);
    }
    if dry_run == DryRun::Client {
        return Ok(wanted.object);
    }
    wanted.create(cx, &write_query(cx, dry_run)?).await
}

/// The one NAME that a generator takes.
fn name(cx: &Context) -> Result<&str> {
    let (words, _) = cx.split_args();
    match words {
        [name] => Ok(name),
        _ => Err(Error::usage(cx.command, format!("exactly one NAME is required, got {}", words.len()))),
    }
}

/// Metadata of a generated object; upstream prints the empty time.
fn metadata(name: &str) -> Value {
    json!({"name": name, "creationTimestamp": null})
}

/// Creates or prints a generated object. A dry run on the client asks no server.
pub(super) async fn submit(
    cx: &Context,
    mut object: Value,
    resource: &str,
    namespaced: bool,
    done: &str,
) -> Result<()> {
    let dry_run = DryRun::of(cx)?;
    let reporter = Reporter::new(cx, dry_run)?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let (group, version) = match object["apiVersion"].as_str().unwrap_or_default().split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), object["apiVersion"].as_str().unwrap_or_default().to_owned()),
    };
    let resource = crate::discovery::Resource {
        group,
        version,
        name: resource.to_owned(),
        kind: object["kind"].as_str().unwrap_or_default().to_owned(),
        namespaced,
        ..Default::default()
    };
    if namespaced && cx.flags.changed("namespace") {
        object["metadata"]["namespace"] = json!(cx.namespace()?);
    }
    let namespace = if namespaced && dry_run != DryRun::Client { Some(cx.namespace()?) } else { None };
    let info = Info { resource, namespace, name, object, source: String::new() };
    let created = create(cx, &info, dry_run).await.map_err(|error| match (error, wrapping(&info)) {
        (Error::Status(status), Some(prefix)) if status["reason"] != "Invalid" => {
            Error::Plain(format!("{prefix}{}", status["message"].as_str().unwrap_or_default()))
        }
        (error, _) => error,
    })?;
    reporter.say(&info, &created, done);
    Ok(())
}

/// What upstream's generators put before the server's message, losing its reason; nothing for those that pass it on.
fn wrapping(info: &Info) -> Option<String> {
    let kind = info.resource.kind.as_str();
    match kind {
        "Namespace" | "Role" | "ClusterRole" | "Pod" => None,
        "Secret" => Some("failed to create secret ".to_owned()),
        "Service" => {
            Some(format!("failed to create {} service: ", info.object["spec"]["type"].as_str().unwrap_or_default()))
        }
        _ => Some(format!("failed to create {}: ", kind.to_lowercase())),
    }
}

macro_rules! generators {
    ($($name:ident: $make:path => $resource:literal, $namespaced:literal;)*) => {$(
        #[doc = concat!("Runs the generator of `", $resource, "`.")]
        pub async fn $name(cx: &Context) -> Result<()> {
            let object = $make(cx, name(cx)?)?;
            submit(cx, object, $resource, $namespaced, "created").await
        }
    )*};
}

generators! {
    namespace: workloads::namespace => "namespaces", false;
    deployment: workloads::deployment => "deployments", true;
    serviceaccount: workloads::serviceaccount => "serviceaccounts", true;
    quota: workloads::quota => "resourcequotas", true;
    poddisruptionbudget: workloads::poddisruptionbudget => "poddisruptionbudgets", true;
    priorityclass: workloads::priorityclass => "priorityclasses", false;
    cronjob: workloads::cronjob => "cronjobs", true;
    configmap: data::configmap => "configmaps", true;
    secret_generic: data::secret => "secrets", true;
    secret_tls: data::tls => "secrets", true;
    secret_docker: data::docker => "secrets", true;
    service_clusterip: services::clusterip => "services", true;
    service_nodeport: services::nodeport => "services", true;
    service_loadbalancer: services::loadbalancer => "services", true;
    service_externalname: services::externalname => "services", true;
    ingress: services::ingress => "ingresses", true;
    rolebinding: rbac::rolebinding => "rolebindings", true;
    clusterrolebinding: rbac::clusterrolebinding => "clusterrolebindings", false;
}

/// Runs the generator of jobs, which may copy a cron job.
pub async fn job(cx: &Context) -> Result<()> {
    let object = workloads::job(cx, name(cx)?).await?;
    submit(cx, object, "jobs", true, "created").await
}

/// Runs the generator of roles; resources are looked up at the server.
pub async fn role(cx: &Context) -> Result<()> {
    let object = rbac::role(cx, name(cx)?).await?;
    submit(cx, object, "roles", true, "created").await
}

/// Runs the generator of cluster roles.
pub async fn clusterrole(cx: &Context) -> Result<()> {
    let object = rbac::clusterrole(cx, name(cx)?).await?;
    submit(cx, object, "clusterroles", false, "created").await
}
