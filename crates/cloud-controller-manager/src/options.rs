//! Flags to [`Options`].

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use cloud_provider::controllers::{self, Controller};
use component_base::{flags::Flags, serving::SecurePort};
use controller_runtime::LeaderConfig;

/// Upstream's flags.
pub const TABLE: &str = include_str!("flags.txt");

/// What the process runs with.
pub struct Options {
    /// How to reach the API server.
    pub kubeconfig: PathBuf,
    /// Overrides the kubeconfig's server.
    pub master: String,
    /// The provider's own configuration.
    pub cloud_config: PathBuf,
    /// The loops that run.
    pub controllers: Vec<&'static Controller>,
    /// Whether and how to elect a leader.
    pub leader: Option<LeaderConfig>,
    /// The port for health and metrics.
    pub port: Option<SecurePort>,
    /// How often routes are compared.
    pub route_period: Duration,
    /// How often nodes that are not ready are looked up.
    pub node_monitor_period: Duration,
    /// How often the addresses of nodes are compared.
    pub node_status_period: Duration,
    /// How many services are worked on at once.
    pub service_workers: usize,
    /// How many nodes are worked on at once.
    pub node_workers: usize,
}

/// Reads the flags.
///
/// # Errors
/// Names the flag that cannot be used.
pub fn options(flags: &Flags) -> anyhow::Result<Options> {
    match flags.get("cloud-provider") {
        "local" => {}
        "" => bail!("--cloud-provider must be set"),
        other => bail!("--cloud-provider: no provider is named {other:?}: known is \"local\""),
    }
    let path = |flag: &str| flags.opt(flag).map(PathBuf::from);
    let workers = |flag: &str| usize::try_from(flags.int(flag)).unwrap_or(1).max(1);
    let leader = flags.bool("leader-elect").then(|| LeaderConfig {
        namespace: flags.get("leader-elect-resource-namespace").to_owned(),
        name: flags.get("leader-elect-resource-name").to_owned(),
        identity: component_base::rng::uuid(),
        lease_duration: flags.duration("leader-elect-lease-duration"),
        renew_deadline: flags.duration("leader-elect-renew-deadline"),
        retry_period: flags.duration("leader-elect-retry-period"),
    });
    Ok(Options {
        kubeconfig: path("kubeconfig").context("no API server: give --kubeconfig")?,
        master: flags.get("master").to_owned(),
        cloud_config: path("cloud-config").context("--cloud-config: the local provider needs a file")?,
        controllers: select(flags)?,
        leader,
        port: SecurePort::from_flags(flags, "cloud-controller-manager")?,
        route_period: flags.duration("route-reconciliation-period"),
        node_monitor_period: flags.duration("node-monitor-period"),
        node_status_period: flags.duration("node-status-update-frequency"),
        service_workers: workers("concurrent-service-syncs"),
        node_workers: workers("concurrent-node-syncs"),
    })
}

/// `*` is all, `name` switches on, `-name` off; nothing given is all. Routes run only where they are asked for and ranges are allocated.
fn select(flags: &Flags) -> anyhow::Result<Vec<&'static Controller>> {
    let given = flags.list("controllers");
    let known = |name: &str| controllers::all().iter().any(|c| c.name == name);
    if let Some(name) = given.iter().map(|g| g.trim_start_matches('-')).find(|n| *n != "*" && !known(n)) {
        bail!("--controllers: no controller is named {name:?}");
    }
    let is_on = |name: &str| {
        let off = given.iter().any(|g| g.strip_prefix('-') == Some(name));
        let on = given.is_empty() || given.iter().any(|g| g == name || g == "*");
        on && !off
    };
    let routes = flags.bool("configure-cloud-routes") && flags.bool("allocate-node-cidrs");
    Ok(controllers::all().iter().filter(|c| is_on(c.name) && (routes || c.name != "node-route-controller")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> anyhow::Result<Options> {
        options(&Flags::parse("cloud-controller-manager", TABLE, args.iter().map(|a| (*a).to_owned()))?)
    }

    const BASE: [&str; 3] = ["--cloud-provider=local", "--cloud-config=/c", "--kubeconfig=/k"];

    #[test]
    fn controllers_are_chosen() {
        let names = |more: &[&str]| -> Vec<_> {
            parse(&[&BASE, more].concat()).unwrap().controllers.iter().map(|c| c.name).collect()
        };
        assert_eq!(names(&[]).len(), 3, "no routes without ranges");
        assert_eq!(names(&["--allocate-node-cidrs"]).len(), 4);
        assert_eq!(names(&["--controllers=*,-service-lb-controller"]).len(), 2);
        assert_eq!(names(&["--controllers=cloud-node-controller"]), ["cloud-node-controller"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (args, part) in [
            (vec!["--cloud-provider=aws"], "aws"),
            (vec![], "--cloud-provider"),
            ([&BASE[..2], &[]].concat(), "--kubeconfig"),
            ([&BASE[..], &["--controllers=nope"]].concat(), "nope"),
        ] {
            let Err(error) = parse(&args) else { panic!("{args:?} was accepted") };
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
    }
}
