//! The command line and the configuration file.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use component_base::flags::Flags;

use crate::config::{Config, KubeSchedulerConfiguration};

/// Upstream's flags.
pub const TABLE: &str = include_str!("flags.txt");

/// What the process runs with.
#[derive(Debug)]
pub struct Options {
    /// How pods are placed.
    pub scheduler: Config,
    /// How to reach the API server.
    pub kubeconfig: PathBuf,
    /// Overrides the kubeconfig's server.
    pub master: String,
    /// Whether and how to elect a leader.
    pub leader: Option<LeaderOptions>,
}

/// Leader election.
#[derive(Clone, Debug)]
pub struct LeaderOptions {
    /// The lease's namespace.
    pub namespace: String,
    /// The lease's name.
    pub name: String,
    /// How long a lease holds.
    pub lease_duration: std::time::Duration,
    /// When a leader gives up.
    pub renew_deadline: std::time::Duration,
    /// How often to try.
    pub retry_period: std::time::Duration,
}

/// Reads flags and the file that `--config` names.
///
/// # Errors
/// Names the flag, the file or the field that cannot be used.
pub fn options(flags: &Flags) -> anyhow::Result<Options> {
    let file = flags.opt("config").map(|path| read(Path::new(path))).transpose()?;
    let scheduler = match (&file, flags.opt("config")) {
        (Some(file), Some(path)) => file.config().with_context(|| format!("--config {path}"))?,
        _ => Config::default(),
    };
    crate::framework::Profile::check(&scheduler).context("--config")?;
    let named = file.as_ref().and_then(|f| f.client_connection.kubeconfig.clone()).filter(|k| !k.is_empty());
    let Some(kubeconfig) = named.or_else(|| flags.opt("kubeconfig").map(str::to_owned)) else {
        bail!("no API server: give --kubeconfig, or clientConnection.kubeconfig in --config");
    };
    let leader = leader(flags, file.as_ref())?;
    Ok(Options { scheduler, kubeconfig: kubeconfig.into(), master: flags.get("master").to_owned(), leader })
}

fn read(path: &Path) -> anyhow::Result<KubeSchedulerConfiguration> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--config: cannot read {}", path.display()))?;
    serde_yaml::from_str(&text)
        .with_context(|| format!("--config: {} is no KubeSchedulerConfiguration", path.display()))
}

/// The file's settings; a flag that was given wins, as in upstream.
fn leader(flags: &Flags, file: Option<&KubeSchedulerConfiguration>) -> anyhow::Result<Option<LeaderOptions>> {
    let file = file.map(|f| f.leader_election.clone()).unwrap_or_default();
    let given = |flag: &str| flags.is_set(flag);
    let elect =
        if given("leader-elect") { None } else { file.leader_elect }.unwrap_or_else(|| flags.bool("leader-elect"));
    if !elect {
        return Ok(None);
    }
    let duration = |flag: &str, field: &Option<String>| match field {
        Some(text) if !given(flag) && !text.is_empty() => {
            component_base::duration::parse_duration(text).map_err(|e| anyhow::anyhow!("--config: leaderElection: {e}"))
        }
        _ => Ok(flags.duration(flag)),
    };
    let text = |flag: &str, field: &Option<String>| match field {
        Some(text) if !given(flag) && !text.is_empty() => text.clone(),
        _ => flags.get(flag).to_owned(),
    };
    if text("leader-elect-resource-lock", &file.resource_lock) != "leases" {
        bail!("--leader-elect-resource-lock: only \"leases\" is supported");
    }
    let leader = LeaderOptions {
        namespace: text("leader-elect-resource-namespace", &file.resource_namespace),
        name: text("leader-elect-resource-name", &file.resource_name),
        lease_duration: duration("leader-elect-lease-duration", &file.lease_duration)?,
        renew_deadline: duration("leader-elect-renew-deadline", &file.renew_deadline)?,
        retry_period: duration("leader-elect-retry-period", &file.retry_period)?,
    };
    if leader.lease_duration <= leader.renew_deadline {
        bail!("--leader-elect-lease-duration must be greater than --leader-elect-renew-deadline");
    }
    Ok(Some(leader))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(config: &str, args: &[&str]) -> anyhow::Result<Options> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, config)?;
        let file = format!("--config={}", path.display());
        let args = args.iter().map(|a| (*a).to_owned()).chain((!config.is_empty()).then_some(file));
        options(&Flags::parse("kube-scheduler", TABLE, args)?)
    }

    const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nclientConnection: {kubeconfig: /k}\n";

    #[test]
    fn defaults_and_file() {
        let options = parse("", &["--kubeconfig=/k"]).unwrap();
        assert_eq!(options.scheduler.profiles.len(), 1);
        assert_eq!(options.leader.unwrap().name, "kube-scheduler");
        let options = parse(
            &format!(
                "{HEAD}leaderElection: {{leaderElect: false}}\nprofiles:\n- schedulerName: a\n- schedulerName: b\n"
            ),
            &[],
        )
        .unwrap();
        assert_eq!(options.kubeconfig, PathBuf::from("/k"));
        assert!(options.leader.is_none());
        assert_eq!(options.scheduler.profiles.len(), 2);
    }

    #[test]
    fn mistakes_are_named() {
        let table = [
            ("profiles:\n- plugins: {score: {enabled: [{name: Nope}]}}\n", "Nope"),
            ("profiles:\n- plugins: {score: {enabled: [{name: NodeName}]}}\n", "does not take part"),
            ("profiles:\n- {}\n- {}\n", "profiles[1].schedulerName: Duplicate value"),
            ("profiles:\n- pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Best}}}]\n", "Best"),
            ("percentageOfNodesToScore: 101\n", "percentageOfNodesToScore"),
            (
                "extenders: [{urlPrefix: 'http://x', prioritizeVerb: p}]\n",
                "extenders[0].weight: Invalid value: 0: must have",
            ),
            (
                "extenders: [{urlPrefix: 'http://x', bindVerb: b}, {urlPrefix: 'http://y', bindVerb: b}]\n",
                "only one extender",
            ),
            ("extenders: [{urlPrefix: 'http://x', tlsConfig: {caFile: /nowhere}}]\n", "extenders[0].tlsConfig.caFile"),
            ("extenders: [{urlPrefix: 'http://x', managedResources: [{name: a.b/c}, {name: a.b/c}]}]\n", "duplicate"),
            ("extenders: [{urlPrefix: 'http://x', verb: x}]\n", "verb"),
            ("noSuchField: 1\n", "noSuchField"),
        ];
        for (text, part) in table {
            let error = parse(&format!("{HEAD}{text}"), &[]).unwrap_err();
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
        assert!(parse("", &[]).is_err(), "no kubeconfig");
    }
}
