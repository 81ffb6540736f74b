//! Which function runs a command.

use futures::future::LocalBoxFuture;

use super::context::Context;
use crate::commands;
use crate::error::Result;

/// The function of a command.
pub type Run = for<'a> fn(&'a Context) -> LocalBoxFuture<'a, Result<()>>;

macro_rules! commands {
    ($($path:literal => $module:ident $(:: $name:ident)*;)*) => {
        /// The commands that work.
        pub static RUN: &[(&str, Run)] = &[$(($path, |cx| Box::pin(commands::$module $(:: $name)* (cx)))),*];
    };
}

commands! {
    "create" => create::run;
    "create clusterrole" => create::clusterrole;
    "create clusterrolebinding" => create::clusterrolebinding;
    "create configmap" => create::configmap;
    "create cronjob" => create::cronjob;
    "create deployment" => create::deployment;
    "create ingress" => create::ingress;
    "create job" => create::job;
    "create namespace" => create::namespace;
    "create poddisruptionbudget" => create::poddisruptionbudget;
    "create priorityclass" => create::priorityclass;
    "create quota" => create::quota;
    "create role" => create::role;
    "create rolebinding" => create::rolebinding;
    "create secret docker-registry" => create::secret_docker;
    "create secret generic" => create::secret_generic;
    "create secret tls" => create::secret_tls;
    "create service clusterip" => create::service_clusterip;
    "create service externalname" => create::service_externalname;
    "create service loadbalancer" => create::service_loadbalancer;
    "create service nodeport" => create::service_nodeport;
    "create serviceaccount" => create::serviceaccount;
    "create token" => create::token;
    "get" => get::run;
    "delete" => delete::run;
    "scale" => scale::run;
    "autoscale" => scale::autoscale;
    "certificate approve" => certificate::approve;
    "certificate deny" => certificate::deny;
    "apply" => apply::run;
    "apply set-last-applied" => apply::last_applied::set;
    "apply view-last-applied" => apply::last_applied::view;
    "patch" => patch::run;
    "replace" => patch::replace;
    "label" => label::label;
    "annotate" => label::annotate;
}

/// Commands of upstream that are known and refused.
pub static REFUSED: &[&str] = &["kustomize", "completion", "debug"];

/// The function of the command with this path.
pub fn run_of(path: &str) -> Option<Run> {
    RUN.iter().find(|(name, _)| *name == path).map(|(_, run)| *run)
}
