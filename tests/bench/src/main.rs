//! Measures components: `bench scheduler` decides in process or runs the scheduler's binary, `bench api` loads a running API server,
//! `bench store` compares engines for the embedded store.

mod account;
mod api;
mod connection;
mod scheduler;
mod store;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

fn main() -> anyhow::Result<()> {
    let matches = Command::new("bench")
        .subcommand_required(true)
        .subcommand(scheduler_command())
        .subcommand(api_command())
        .subcommand(store_command())
        .get_matches();
    match matches.subcommand() {
        Some(("scheduler", m)) if m.get_flag("list") => {
            scheduler::names().iter().for_each(|name| println!("{name}"));
            Ok(())
        }
        Some(("scheduler", m)) => {
            scheduler::run(text(m, "workload"), count(m, "nodes"), count(m, "pods"), live(m).as_ref())
        }
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
        Some(("store", m)) => store::run(text(m, "dir").as_ref(), count(m, "records") as u64),
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
    let live = |name: &'static str, help: &'static str| Arg::new(name).long(name).requires("scheduler").help(help);
    Command::new("scheduler")
        .about("Decisions of the scheduler alone; with --scheduler its binary against an empty API server")
        .arg(Arg::new("list").long("list").action(ArgAction::SetTrue).help("only print the names of the workloads"))
        .arg(Arg::new("workload").long("workload").default_value("all").help("one of the names, or all"))
        .arg(number("nodes", "5000"))
        .arg(number("pods", "2000"))
        .arg(
            Arg::new("scheduler")
                .long("scheduler")
                .requires_all(["server", "ca-file", "token", "kubeconfig", "cert-dir"])
                .help("the binary to run"),
        )
        .arg(live("kubeconfig", "of the scheduler"))
        .arg(live("cert-dir", "for the certificate of the scheduler's port"))
        .arg(live("server", "https://host:port of the API server"))
        .arg(live("ca-file", "certificates to trust"))
        .arg(live("token", "bearer token of an administrator"))
        .arg(number("port", "18659").help("for the scheduler's metrics"))
}

fn live(matches: &ArgMatches) -> Option<scheduler::Wish> {
    let scheduler = matches.get_one::<String>("scheduler")?.into();
    Some(scheduler::Wish {
        scheduler,
        kubeconfig: text(matches, "kubeconfig").into(),
        cert_dir: text(matches, "cert-dir").into(),
        server: text(matches, "server").to_owned(),
        ca: text(matches, "ca-file").into(),
        token: text(matches, "token").to_owned(),
        port: count(matches, "port"),
    })
}

fn store_command() -> Command {
    Command::new("store")
        .about("Engines for the embedded store: durable transactions, start, compaction, size on disk")
        .arg(Arg::new("dir").long("dir").required(true).help("on the disk that matters; what is made there is removed"))
        .arg(number("records", "100000").help("that a start reads and a compaction forgets"))
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
