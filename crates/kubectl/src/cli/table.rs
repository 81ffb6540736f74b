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
    "get" => get::run;
}

/// Commands of upstream that are known and refused.
pub static REFUSED: &[&str] = &["kustomize", "completion", "debug"];

/// The function of the command with this path.
pub fn run_of(path: &str) -> Option<Run> {
    RUN.iter().find(|(name, _)| *name == path).map(|(_, run)| *run)
}
