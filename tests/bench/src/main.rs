//! Measures components: `bench scheduler` decides in process, `bench api` loads a running API server.

mod api;
mod scheduler;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

fn main() -> anyhow::Result<()> {
    let matches = Command::new("bench")
        .subcommand_required(true)
        .subcommand(scheduler_command())
        .subcommand(api_command())
        .get_matches();
    match matches.subcommand() {
        Some(("scheduler", m)) => scheduler::run(text(m, "workload"), count(m, "nodes"), count(m, "pods")),
        Some(("api", m)) => api::run(api::Wish {
            server: text(m, "server").to_owned(),
            ca: text(m, "ca-file").into(),
            token: text(m, "token").to_owned(),
            pids: m.get_many::<u32>("pid").into_iter().flatten().copied().collect(),
            pods: count(m, "pods"),
            connections: count(m, "connections"),
            watchers: count(m, "watchers"),
            informers: count(m, "informers"),
        }),
        _ => Ok(()),
    }
}

fn text<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

fn count(matches: &ArgMatches, name: &str) -> usize {
    matches.get_one::<usize>(name).copied().unwrap_or_default()
}

fn number(name: &'static str, default: &'static str) -> Arg {
    Arg::new(name).long(name).default_value(default).value_parser(value_parser!(usize))
}

fn scheduler_command() -> Command {
    let workload =
        Arg::new("workload").long("workload").default_value("all").help("all, or one of the names that a run prints");
    Command::new("scheduler")
        .about("Decisions of the scheduler, without an API server")
        .arg(workload)
        .arg(number("nodes", "5000"))
        .arg(number("pods", "2000"))
}

fn api_command() -> Command {
    let needed = |name: &'static str, help: &'static str| Arg::new(name).long(name).required(true).help(help);
    Command::new("api")
        .about("Load on an API server: cost per kind of request")
        .arg(needed("server", "https://host:port"))
        .arg(needed("ca-file", "certificates to trust"))
        .arg(needed("token", "bearer token of an administrator"))
        .arg(
            needed("pid", "process to account for; may be repeated (API server, store)")
                .action(ArgAction::Append)
                .value_parser(value_parser!(u32)),
        )
        .arg(number("pods", "10000"))
        .arg(number("connections", "16"))
        .arg(number("watchers", "500").help("0 leaves the fan-out of watches away"))
        .arg(number("informers", "16").help("lists of everything at one moment; 0 leaves them away"))
}
