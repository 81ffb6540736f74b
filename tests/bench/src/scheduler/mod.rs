//! The scheduler: its decisions in this process, or its binary against an API server.

mod in_process;
mod live;
mod workloads;

use anyhow::bail;

pub(crate) use live::Wish;
use workloads::{ALL, Workload};

/// Runs one workload or all that suit, and prints a line for each. `live`: with the binary; else the decisions alone.
pub(crate) fn run(wanted: &str, nodes: usize, pods: usize, live: Option<&Wish>) -> anyhow::Result<()> {
    let suits = |w: &&Workload| if wanted == "all" { live.is_some() || !w.only_live } else { w.name == wanted };
    let chosen: Vec<_> = ALL.iter().filter(suits).collect();
    if chosen.is_empty() {
        bail!("no workload is named {wanted:?}: there are {}", names().join(", "));
    }
    println!("{nodes} nodes, {pods} pods each");
    match live {
        None => {
            in_process::head();
            chosen.into_iter().try_for_each(|workload| in_process::measure(workload, nodes, pods))
        }
        Some(wish) => {
            live::head();
            chosen.into_iter().try_for_each(|workload| live::measure(wish, workload, nodes, pods))
        }
    }
}

/// The names of all workloads.
pub(crate) fn names() -> Vec<&'static str> {
    ALL.iter().map(|w| w.name).collect()
}
