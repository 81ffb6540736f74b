//! `kubectl api-resources`, `api-versions`, `version`, `cluster-info`, `plugin list`, `top`.

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::client::Query;
use crate::error::{Error, Result};
use crate::output::{plain, tabs, yaml};
use crate::resource::{list, select};
use crate::{fail, out};

/// The version that this client speaks.
pub const VERSION: &str = "v1.36.0";

/// Runs `api-resources`.
pub async fn resources(cx: &Context) -> Result<()> {
    if let Some(extra) = cx.args().first() {
        return Err(Error::usage("api-resources", format!("unexpected arguments: [{extra}]")));
    }
    let flags = &cx.flags;
    let (output, sort) = (flags.text("output"), flags.text("sort-by"));
    if !matches!(output, "" | "wide" | "name") {
        fail!("--output {output} is not available");
    }
    if !matches!(sort, "" | "name" | "kind") {
        fail!("--sort-by accepts only name or kind");
    }
    let discovery = if flags.bool("cached") { cx.discovery().await? } else { cx.refreshed_discovery().await? };
    let (verbs, categories) = (flags.list("verbs"), flags.list("categories"));
    let mut found: Vec<_> = discovery
        .preferred()
        .into_iter()
        .filter(|r| !flags.changed("api-group") || r.group == flags.text("api-group"))
        .filter(|r| !flags.changed("namespaced") || r.namespaced == flags.bool("namespaced"))
        .filter(|r| !r.verbs.is_empty() && verbs.iter().all(|v| r.can(v)))
        .filter(|r| categories.iter().all(|c| r.categories.contains(c)))
        .collect();
    found.sort_by(|a, b| match sort {
        "name" => a.name.cmp(&b.name),
        "kind" => a.kind.cmp(&b.kind),
        _ => (&a.group, &a.name).cmp(&(&b.group, &b.name)),
    });
    if output == "name" {
        out(&found.iter().map(|r| r.qualified() + "\n").collect::<String>());
        return Ok(());
    }
    let mut rows = Vec::new();
    if !flags.bool("no-headers") {
        let mut header = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
        if output == "wide" {
            header.extend(["VERBS", "CATEGORIES"]);
        }
        rows.push(header.into_iter().map(str::to_owned).collect());
    }
    for r in found {
        let mut row =
            vec![r.name.clone(), r.short_names.join(","), r.api_version(), r.namespaced.to_string(), r.kind.clone()];
        if output == "wide" {
            let mut verbs = r.verbs.clone();
            verbs.sort();
            row.extend([verbs.join(","), r.categories.join(",")]);
        }
        rows.push(row);
    }
    out(&tabs::align(&rows, 6, 3, &mut Vec::new()));
    Ok(())
}

/// Runs `api-versions`.
pub async fn versions(cx: &Context) -> Result<()> {
    let discovery = cx.refreshed_discovery().await?;
    let mut all: Vec<String> = discovery
        .groups
        .iter()
        .flat_map(|g| {
            g.versions.iter().map(move |v| if g.name.is_empty() { v.clone() } else { format!("{}/{v}", g.name) })
        })
        .collect();
    all.sort();
    out(&all.iter().map(|v| format!("{v}\n")).collect::<String>());
    Ok(())
}

/// Runs `version`.
pub async fn version(cx: &Context) -> Result<()> {
    let client = json!({
        "major": "1", "minor": "36", "gitVersion": VERSION, "platform": format!("{}/{}", std::env::consts::OS, arch()),
        "compiler": "rustc", "gitTreeState": "", "gitCommit": "", "buildDate": "", "goVersion": "",
    });
    let (server, failure) = if cx.flags.bool("client") {
        (None, None)
    } else {
        match cx.client() {
            Ok(connection) => match connection.get("/version").await {
                Ok(server) => (Some(server), None),
                Err(error) => (None, Some(error)),
            },
            Err(error) => (None, Some(error)),
        }
    };
    let mut both = json!({"clientVersion": client});
    if let Some(server) = &server {
        both["serverVersion"] = server.clone();
    }
    match cx.flags.text("output") {
        "" => {
            out(&format!("Client Version: {VERSION}\n"));
            if let Some(server) = &server {
                out(&format!("Server Version: {}\n", plain(&server["gitVersion"])));
            }
        }
        "yaml" => out(&yaml::to_string(&both)),
        "json" => out(&crate::output::json(&both).replace("    ", "  ")),
        _ => fail!("--output must be 'yaml' or 'json'"),
    }
    failure.map_or(Ok(()), Err)
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Runs `cluster-info`.
pub async fn cluster_info(cx: &Context) -> Result<()> {
    let server = cx.settings()?.server.clone();
    let resource = cx.resource("services").await?;
    let query = Query::default().with("labelSelector", "kubernetes.io/cluster-service=true");
    let services = list(cx, &resource, Some("kube-system"), &query, 500).await?;
    let (green, yellow, plain_color) = if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        ("\x1b[0;32m", "\x1b[0;33m", "\x1b[0m")
    } else {
        ("", "", "")
    };
    let line = |name: &str, link: &str| {
        out(&format!("{green}{name}{plain_color} is running at {yellow}{link}{plain_color}\n"))
    };
    line("Kubernetes control plane", &server);
    for service in services["items"].as_array().into_iter().flatten() {
        let metadata = &service["metadata"];
        let name =
            metadata["labels"]["kubernetes.io/name"].as_str().map_or_else(|| plain(&metadata["name"]), str::to_owned);
        let port = service["spec"]["ports"][0]["name"].as_str().map(|p| format!(":{p}")).unwrap_or_default();
        let path = format!("{server}/api/v1/namespaces/kube-system/services/{}{port}/proxy", plain(&metadata["name"]));
        line(&name, &path);
    }
    out("\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.\n");
    Ok(())
}

/// Runs `plugin list`.
pub async fn plugin_list(cx: &Context) -> Result<()> {
    let found = crate::cli::plugins::all();
    if found.is_empty() {
        fail!("unable to find any kubectl plugins in your PATH");
    }
    out("The following compatible plugins are available:\n\n");
    for path in found {
        match path.file_name().filter(|_| cx.flags.bool("name-only")) {
            Some(name) => out(&format!("{}\n", name.to_string_lossy())),
            None => out(&format!("{}\n", path.display())),
        }
    }
    Ok(())
}

/// Runs `top node`.
pub async fn top_node(cx: &Context) -> Result<()> {
    top(cx, "nodes", &["NAME", "CPU(cores)", "MEMORY(bytes)"]).await
}

/// Runs `top pod`.
pub async fn top_pod(cx: &Context) -> Result<()> {
    top(cx, "pods", &["NAME", "CPU(cores)", "MEMORY(bytes)"]).await
}

async fn top(cx: &Context, word: &str, header: &[&str]) -> Result<()> {
    let Some(resource) = cx.find_resource(&format!("{word}.metrics.k8s.io")).await? else {
        fail!("Metrics API not available");
    };
    let everywhere = cx.flags.bool("all-namespaces");
    let namespace = if resource.namespaced && !everywhere { Some(cx.namespace()?) } else { None };
    let found = list(cx, &resource, namespace.as_deref(), &select::selectors(cx), 0).await?;
    let mut rows = Vec::new();
    if !cx.flags.bool("no-headers") {
        let mut cells: Vec<String> = header.iter().map(|h| (*h).to_owned()).collect();
        if everywhere {
            cells.insert(0, "NAMESPACE".to_owned());
        }
        rows.push(cells);
    }
    let wanted = cx.args().first();
    for item in found["items"].as_array().into_iter().flatten() {
        let name = plain(&item["metadata"]["name"]);
        if wanted.is_some_and(|w| *w != name) {
            continue;
        }
        let usages: Vec<&Value> = match item["containers"].as_array() {
            Some(containers) => containers.iter().map(|c| &c["usage"]).collect(),
            None => vec![&item["usage"]],
        };
        let sum = |key: &str| {
            usages
                .iter()
                .filter_map(|u| plain(&u[key]).parse::<api_types::Quantity>().ok())
                .map(|q| q.milli_value())
                .sum::<i64>()
        };
        let mut row = vec![name, format!("{}m", sum("cpu")), format!("{}Mi", sum("memory") / 1000 / (1 << 20))];
        if everywhere {
            row.insert(0, plain(&item["metadata"]["namespace"]));
        }
        rows.push(row);
    }
    out(&tabs::table(&rows));
    Ok(())
}
