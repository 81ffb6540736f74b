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
    "describe" => describe::run;
    "logs" => logs::run;
    "attach" => exec::attach;
    "exec" => exec::exec;
    "port-forward" => port_forward::run;
    "proxy" => port_forward::proxy;
    "rollout history" => rollout::history;
    "rollout pause" => rollout::pause;
    "rollout restart" => rollout::restart;
    "rollout resume" => rollout::resume;
    "rollout status" => rollout::status;
    "rollout undo" => rollout::undo;
    "wait" => wait::run;
    "label" => label::label;
    "annotate" => label::annotate;
    "expose" => run::expose;
    "run" => run::run;
    "set env" => set::env;
    "set image" => set::image;
    "set resources" => set::resources;
    "set selector" => set::selector;
    "set serviceaccount" => set::serviceaccount;
    "set subject" => set::subject;
    "explain" => explain::run;
    "explain-pending" => explain_pending::run;
    "edit" => edit::edit;
    "apply edit-last-applied" => edit::edit_last_applied;
    "diff" => edit::diff;
    "cp" => cp::run;
    "events" => events::run;
    "cluster-info" => api::cluster_info;
    "api-resources" => api::resources;
    "api-versions" => api::versions;
    "version" => api::version;
    "plugin list" => api::plugin_list;
    "top node" => api::top_node;
    "top pod" => api::top_pod;
    "cordon" => drain::cordon;
    "uncordon" => drain::uncordon;
    "drain" => drain::drain;
    "taint" => drain::taint;
    "auth can-i" => auth::can_i;
    "auth whoami" => auth::whoami;
    "config current-context" => config::current_context;
    "config delete-cluster" => config::delete_cluster;
    "config delete-context" => config::delete_context;
    "config delete-user" => config::delete_user;
    "config get-clusters" => config::get_clusters;
    "config get-contexts" => config::get_contexts;
    "config get-users" => config::get_users;
    "config rename-context" => config::rename_context;
    "config set" => config::set;
    "config set-cluster" => config::set_cluster;
    "config set-context" => config::set_context;
    "config set-credentials" => config::set_credentials;
    "config unset" => config::unset;
    "config use-context" => config::use_context;
    "config view" => config::view;
}

/// Commands of upstream that are known and refused.
pub static REFUSED: &[&str] = &["auth reconcile", "cluster-info dump", "completion", "debug", "kustomize"];

/// The function of the command with this path.
pub fn run_of(path: &str) -> Option<Run> {
    RUN.iter().find(|(name, _)| *name == path).map(|(_, run)| *run)
}
