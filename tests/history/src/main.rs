//! `history simulated --runs N --seed S`: checks what clients observe while everything around them breaks.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, Command, value_parser};
use history::Report;
use tokio::time::Instant;

fn main() -> ExitCode {
    let number = |name: &'static str, default: &'static str| {
        Arg::new(name).long(name).default_value(default).value_parser(value_parser!(u64))
    };
    let matches = Command::new("history")
        .about("Clients work while everything around them breaks; what they observed is checked")
        .subcommand_required(true)
        .subcommand(
            Command::new("simulated")
                .about("In one thread on a paused clock; a seed repeats a run")
                .arg(number("runs", "100"))
                .arg(number("seed", "1").help("of the first run; the others count up"))
                .arg(Arg::new("trace").long("trace").help("prints everything that was observed of this key")),
        )
        .get_matches();
    let outcome = match matches.subcommand() {
        Some(("simulated", m)) => {
            let count = |name: &str| m.get_one::<u64>(name).copied().unwrap_or_default();
            let trace = m.get_one::<String>("trace");
            all((0..count("runs")).map(|n| count("seed") + n), |seed| {
                let report = history::simulated::run(seed)?;
                trace.into_iter().for_each(|key| print_story(&report, key));
                Ok(report)
            })
        }
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
fn all(seeds: impl Iterator<Item = u64>, run: impl Fn(u64) -> Result<Report>) -> bool {
    let start = Instant::now();
    let (mut total, mut failed, mut runs) = (Report::default(), Vec::new(), 0);
    for seed in seeds {
        runs += 1;
        match run(seed) {
            Ok(report) => {
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
        if runs % 100 == 0 {
            println!("{runs} runs: {total}");
        }
    }
    println!("{runs} runs in {:.0?}: {total}; seeds that failed: {failed:?}", start.elapsed());
    failed.is_empty()
}
