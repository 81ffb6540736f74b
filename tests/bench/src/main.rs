//! Measures components alone, in process: `bench scheduler --workload basic --nodes 5000 --pods 5000`.

mod scheduler;

use clap::{Arg, Command, value_parser};

fn main() -> anyhow::Result<()> {
    let number = |name: &'static str, default: &'static str| {
        Arg::new(name).long(name).default_value(default).value_parser(value_parser!(usize))
    };
    let scheduler = Command::new("scheduler")
        .about("Decisions of the scheduler, without an API server")
        .arg(
            Arg::new("workload")
                .long("workload")
                .default_value("all")
                .help("all, or one of the names that a run prints"),
        )
        .arg(number("nodes", "5000"))
        .arg(number("pods", "2000"));
    let matches = Command::new("bench").subcommand_required(true).subcommand(scheduler).get_matches();
    match matches.subcommand() {
        Some(("scheduler", m)) => {
            let text = |name: &str| m.get_one::<String>(name).map_or("all", String::as_str);
            let count = |name: &str| m.get_one::<usize>(name).copied().unwrap_or_default();
            scheduler::run(text("workload"), count("nodes"), count("pods"))
        }
        _ => Ok(()),
    }
}
