//! `history simulated --runs N --seed S`, `history processes --runs N [--etcd]`: checks what clients observe while everything around them breaks.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use history::Report;
use tokio::time::Instant;

fn main() -> ExitCode {
    let number = |name: &'static str, default: &'static str| {
        Arg::new(name).long(name).default_value(default).value_parser(value_parser!(u64))
    };
    let trace = || Arg::new("trace").long("trace").help("prints everything that was observed of this key");
    let matches = Command::new("history")
        .about("Clients work while everything around them breaks; what they observed is checked")
        .subcommand_required(true)
        .subcommand(
            Command::new("simulated")
                .about("In one thread on a paused clock; a seed repeats a run")
                .arg(number("runs", "100"))
                .arg(number("seed", "1").help("of the first run; the others count up"))
                .arg(trace()),
        )
        .subcommand(
            Command::new("processes")
                .about("Real processes and real kill -9")
                .arg(number("runs", "50"))
                .arg(number("seed", "1"))
                .arg(trace())
                .arg(
                    Arg::new("etcd")
                        .long("etcd")
                        .action(ArgAction::SetTrue)
                        .help("the state is in etcd, which suffers too"),
                ),
        )
        .get_matches();
    let outcome = match matches.subcommand() {
        Some(("simulated", m)) => all(m, history::simulated::run),
        Some(("processes", m)) if m.get_flag("etcd") => match history::processes::etcd_program() {
            Some(etcd) => all(m, |seed| history::processes::run(seed, Some(&etcd))),
            None => false,
        },
        Some(("processes", m)) => all(m, |seed| history::processes::run(seed, None)),
        _ => true,
    };
    if outcome { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_story(report: &Report, key: &str) {
    for op in report.observations.operations.iter().filter(|op| op.key == key || op.key.is_empty()) {
        println!("{}-{} {}: {:?} -> {:?}", op.began, op.ended, op.client, op.call, op.outcome);
    }
    for watch in &report.observations.watches {
        let all: Vec<_> = watch.seen.iter().filter(|seen| seen.key().is_none_or(|of| of == key)).collect();
        println!("{} after {}: {all:?}", watch.client, watch.after);
    }
}

/// Runs all of the seeds and prints what came of them; whether nothing is wrong.
fn all(options: &ArgMatches, run: impl Fn(u64) -> Result<Report>) -> bool {
    let count = |name: &str| options.get_one::<u64>(name).copied().unwrap_or_default();
    let seeds = count("seed")..count("seed") + count("runs");
    let trace = options.get_one::<String>("trace");
    let start = Instant::now();
    let (mut total, mut failed, mut runs) = (Report::default(), Vec::new(), 0);
    for seed in seeds {
        runs += 1;
        match run(seed) {
            Ok(report) => {
                trace.into_iter().for_each(|key| print_story(&report, key));
                if !report.violations.is_empty() {
                    println!("seed {seed}: {report}; faults: {:?}", report.faults);
                    report.violations.iter().take(10).for_each(|violation| println!("  {violation}"));
                    failed.push(seed);
                }
                total.add(report);
            }
            Err(error) => {
                println!("seed {seed}: {error:#}");
                failed.push(seed);
            }
        }
        if runs % 10 == 0 {
            println!("{runs} runs: {total}");
        }
    }
    println!("{runs} runs in {:.0?}: {total}; seeds that failed: {failed:?}", start.elapsed());
    failed.is_empty()
}
