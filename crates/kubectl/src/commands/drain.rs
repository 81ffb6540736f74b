//! `kubectl drain`, `cordon`, `uncordon` and `taint`.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::report::{DryRun, Reporter, write_query};
use crate::cli::context::Context;
use crate::client::{JSON, Query};
use crate::error::{Error, Result};
use crate::resource::select::{self, Selection};
use crate::resource::{Info, PatchKind, list};
use crate::{fail, out};

const MIRROR: &str = "kubernetes.io/config.mirror";

async fn nodes(cx: &Context) -> Result<Vec<Info>> {
    let args = cx.args();
    let selective = cx.flags.opt("selector").is_some();
    if args.is_empty() && !selective {
        return Err(Error::usage(cx.command, format!("USAGE: {} NODE [flags]", cx.command)));
    }
    if !args.is_empty() && selective {
        fail!("cannot specify both a node name and a --selector option");
    }
    let words: Vec<String> = if args.iter().any(|a| a.contains('/')) {
        args.to_vec()
    } else {
        std::iter::once("nodes".to_owned()).chain(args.iter().cloned()).collect()
    };
    let (infos, errors) = select::objects(cx, &words, Selection::default()).await?;
    Error::collect(errors)?;
    Ok(infos)
}

async fn set_unschedulable(cx: &Context, info: &Info, wanted: bool, dry_run: DryRun) -> Result<()> {
    let reporter = Reporter::new(cx, dry_run)?;
    let done = if wanted { "cordoned" } else { "uncordoned" };
    if info.object["spec"]["unschedulable"].as_bool().unwrap_or(false) == wanted {
        reporter.say(info, &info.object, &format!("already {done}"));
        return Ok(());
    }
    if dry_run != DryRun::Client {
        let patch = json!({"spec": {"unschedulable": if wanted { json!(true) } else { Value::Null }}});
        let query = Query::default().with_opt("dryRun", (dry_run == DryRun::Server).then_some("All"));
        info.patch(cx, PatchKind::Strategic, &patch, "", &query).await?;
    }
    reporter.say(info, &info.object, done);
    Ok(())
}

/// Runs `cordon`.
pub async fn cordon(cx: &Context) -> Result<()> {
    let dry_run = DryRun::of(cx)?;
    for info in nodes(cx).await? {
        set_unschedulable(cx, &info, true, dry_run).await?;
    }
    Ok(())
}

/// Runs `uncordon`.
pub async fn uncordon(cx: &Context) -> Result<()> {
    let dry_run = DryRun::of(cx)?;
    for info in nodes(cx).await? {
        set_unschedulable(cx, &info, false, dry_run).await?;
    }
    Ok(())
}

/// What is to happen to a pod of a node that is drained.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Evict,
    /// Evict, and say this.
    EvictWarned(&'static str),
    Leave,
    /// Leave, and say this.
    LeaveWarned(&'static str),
    /// Do not drain.
    Refuse(&'static str),
}

/// Why, and about which pod.
type Said = (&'static str, String);

/// What the flags allow.
#[derive(Debug, Clone, Copy)]
struct Rules {
    force: bool,
    ignore_daemonsets: bool,
    delete_emptydir: bool,
}

/// Decides about one pod; `daemonset_exists` matters for pods of daemon sets only.
fn fate(pod: &Value, rules: Rules, daemonset_exists: bool) -> Fate {
    let metadata = &pod["metadata"];
    if metadata["annotations"][MIRROR].is_string() {
        return Fate::Leave;
    }
    let finished = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let owner = metadata["ownerReferences"].as_array().into_iter().flatten().find(|o| o["controller"] == true);
    if owner.is_some_and(|o| o["kind"] == "DaemonSet") && !finished {
        return match (daemonset_exists, rules.ignore_daemonsets, rules.force) {
            (true, true, _) => Fate::LeaveWarned("ignoring DaemonSet-managed Pods"),
            (true, false, _) => Fate::Refuse("DaemonSet-managed Pods (use --ignore-daemonsets to ignore)"),
            (false, _, true) => Fate::EvictWarned("deleting Pods that declare no controller"),
            (false, _, false) => {
                Fate::Refuse("cannot delete Pods that declare no controller (use --force to override)")
            }
        };
    }
    if finished {
        return Fate::Evict;
    }
    let emptydir = pod["spec"]["volumes"].as_array().into_iter().flatten().any(|v| v["emptyDir"].is_object());
    if emptydir && !rules.delete_emptydir {
        return Fate::Refuse("Pods with local storage (use --delete-emptydir-data to override)");
    }
    match owner {
        Some(_) if emptydir => Fate::EvictWarned("deleting Pods with local storage"),
        Some(_) => Fate::Evict,
        None if rules.force => Fate::EvictWarned("deleting Pods that declare no controller"),
        None => Fate::Refuse("cannot delete Pods that declare no controller (use --force to override)"),
    }
}

/// Runs `drain`.
pub async fn drain(cx: &Context) -> Result<()> {
    let dry_run = DryRun::of(cx)?;
    let infos = nodes(cx).await?;
    for info in &infos {
        set_unschedulable(cx, info, true, dry_run).await?;
    }
    let mut errors = Vec::new();
    for info in &infos {
        match drain_node(cx, info, dry_run).await {
            Ok(()) => Reporter::new(cx, dry_run)?.say(info, &info.object, "drained"),
            Err(error) => {
                eprintln!("error: unable to drain node {:?} due to error: {error}, continuing command...", info.name);
                // Said again at the end, as upstream does, without a word before it.
                errors.push(Error::Verbatim(error.to_string()));
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let pending: String = infos.iter().map(|i| format!(" {}\n", i.name)).collect();
    eprintln!("There are pending nodes to be drained:\n{}", pending.trim_end());
    Err(Error::Many(errors))
}

async fn drain_node(cx: &Context, node: &Info, dry_run: DryRun) -> Result<()> {
    let pods = cx.resource("pods").await?;
    let query = Query::default()
        .with("fieldSelector", format!("spec.nodeName={}", node.name))
        .with_opt("labelSelector", cx.flags.opt("pod-selector"));
    let all = list(cx, &pods, None, &query, cx.flags.int("chunk-size")).await?;
    let rules = Rules {
        force: cx.flags.bool("force"),
        ignore_daemonsets: cx.flags.bool("ignore-daemonsets"),
        delete_emptydir: cx.flags.bool("delete-emptydir-data"),
    };
    let mut evicted: Vec<Info> = Vec::new();
    let (mut refused, mut warned) = (Vec::<Said>::new(), Vec::<Said>::new());
    for pod in all["items"].as_array().into_iter().flatten() {
        let info = Info::of_item(&pods, pod.clone());
        let place = format!("{}/{}", info.namespace.as_deref().unwrap_or_default(), info.name);
        let exists = daemonset_exists(cx, pod).await?;
        match fate(pod, rules, exists) {
            Fate::Evict => evicted.push(info),
            Fate::EvictWarned(why) => {
                warned.push((why, place));
                evicted.push(info);
            }
            Fate::Leave => {}
            Fate::LeaveWarned(why) => warned.push((why, place)),
            Fate::Refuse(why) => refused.push((why, place)),
        }
    }
    if !refused.is_empty() {
        let said = grouped(&refused);
        match said.as_slice() {
            [one] => fail!("cannot delete {one}"),
            several => {
                let each: Vec<String> = several.iter().map(|s| format!("cannot delete {s}")).collect();
                fail!("[{}]", each.join(", "))
            }
        }
    }
    if !warned.is_empty() {
        eprintln!("Warning: {}", grouped(&warned).join("; "));
    }
    evict_all(cx, evicted, dry_run).await
}

fn grouped(entries: &[Said]) -> Vec<String> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for (why, place) in entries {
        match groups.iter_mut().find(|(w, _)| w == why) {
            Some((_, places)) => places.push(place),
            None => groups.push((why, vec![place])),
        }
    }
    groups.into_iter().map(|(why, places)| format!("{why}: {}", places.join(", "))).collect()
}

async fn daemonset_exists(cx: &Context, pod: &Value) -> Result<bool> {
    let owner = pod["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|o| o["controller"] == true && o["kind"] == "DaemonSet");
    let Some(owner) = owner else { return Ok(false) };
    let sets = cx.resource("daemonsets.apps").await?;
    let path = sets.object_path(pod["metadata"]["namespace"].as_str(), owner["name"].as_str().unwrap_or_default());
    match cx.client()?.get(&path).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

async fn evict_all(cx: &Context, pods: Vec<Info>, dry_run: DryRun) -> Result<()> {
    let timeout = cx.flags.duration("timeout");
    let deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout);
    let deleting = cx.flags.bool("disable-eviction");
    for pod in &pods {
        let place = format!("{}/{}", pod.namespace.as_deref().unwrap_or_default(), pod.name);
        out(&format!("{} pod {place}{}\n", if deleting { "deleting" } else { "evicting" }, dry_run.suffix()));
    }
    if dry_run == DryRun::Client {
        return Ok(());
    }
    let work = pods.iter().map(|pod| evict(cx, pod, deleting, dry_run, deadline));
    let results = futures::future::join_all(work).await;
    Error::collect(results.into_iter().filter_map(Result::err).collect())
}

async fn evict(cx: &Context, pod: &Info, deleting: bool, dry_run: DryRun, deadline: Option<Instant>) -> Result<()> {
    let grace = cx.flags.int("grace-period");
    let mut options = json!({});
    if grace >= 0 {
        options["gracePeriodSeconds"] = json!(grace);
    }
    let query = Query::default().with_opt("dryRun", (dry_run == DryRun::Server).then_some("All"));
    loop {
        let sent = if deleting {
            cx.client()?.change(Method::DELETE, &query.on(&pod.path()), JSON, &options).await
        } else {
            let eviction = json!({
                "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod.name, "namespace": pod.namespace}, "deleteOptions": options
            });
            cx.client()?.change(Method::POST, &query.on(&pod.sub_path("eviction")), JSON, &eviction).await
        };
        match sent {
            Ok(_) => break,
            Err(error) if error.is_not_found() => return Ok(()),
            // A disruption budget does not allow it yet.
            Err(error) if error.reason() == "TooManyRequests" => {
                eprintln!(
                    "error when evicting pods/{:?} -n {:?} (will retry after 5s): {error}",
                    pod.name,
                    pod.namespace.as_deref().unwrap_or_default()
                );
            }
            Err(error) => fail!(
                "error when evicting pods/{:?} -n {:?}: {error}",
                pod.name,
                pod.namespace.as_deref().unwrap_or_default()
            ),
        }
        let next = Instant::now() + Duration::from_secs(5);
        if deadline.is_some_and(|d| next >= d) {
            fail!(
                "error when evicting pods/{:?} -n {:?}: global timeout reached: {:?}",
                pod.name,
                pod.namespace.as_deref().unwrap_or_default(),
                cx.flags.duration("timeout")
            );
        }
        tokio::time::sleep_until(next).await;
    }
    if dry_run == DryRun::No {
        super::delete::wait_gone(cx, pod, pod.object["metadata"]["uid"].as_str(), deadline).await?;
        out(&format!("pod/{} {}\n", pod.name, if deleting { "deleted" } else { "evicted" }));
    }
    Ok(())
}

/// Runs `taint`.
pub async fn taint(cx: &Context) -> Result<()> {
    let (names, changes): (Vec<String>, Vec<String>) =
        cx.args().iter().cloned().partition(|w| !w.contains(['=', ':']) && !w.ends_with('-'));
    if names.is_empty()
        || (names.len() < 2 && !cx.flags.bool("all") && cx.flags.opt("selector").is_none() && !names[0].contains('/'))
    {
        fail!("one or more resources must be specified as <resource> <name>");
    }
    if changes.is_empty() {
        fail!("at least one taint update is required");
    }
    let dry_run = DryRun::of(cx)?;
    // Upstream does not say that it was a dry run here.
    let reporter = Reporter::new(cx, DryRun::No)?;
    let (infos, errors) = select::objects(cx, &names, Selection::default()).await?;
    Error::collect(errors)?;
    for info in infos {
        let current = info.object["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let (taints, done) = tainted(&info.name, current, &changes, cx.flags.bool("overwrite"))?;
        let patch = json!({"spec": {"taints": if taints.is_empty() { Value::Null } else { json!(taints) }}, "metadata": {"resourceVersion": info.object["metadata"]["resourceVersion"]}});
        let object = if dry_run == DryRun::Client {
            info.object.clone()
        } else {
            info.patch(cx, PatchKind::Merge, &patch, "", &write_query(cx, dry_run)?).await?
        };
        reporter.say(&info, &object, done);
    }
    Ok(())
}

/// The taints after `key=value:Effect`, `key:Effect`, `key:Effect-`, `key-`.
fn tainted(
    node: &str,
    mut taints: Vec<Value>,
    changes: &[String],
    overwrite: bool,
) -> Result<(Vec<Value>, &'static str)> {
    let mut done = "tainted";
    for change in changes {
        if let Some(gone) = change.strip_suffix('-') {
            let (key, effect) = gone.split_once(':').map_or((gone, None), |(k, e)| (k, Some(e)));
            let key = key.split('=').next().unwrap_or(key);
            let before = taints.len();
            taints.retain(|t| !(t["key"] == key && effect.is_none_or(|e| t["effect"] == e)));
            if taints.len() == before {
                fail!("taint {gone:?} not found");
            }
            done = "untainted";
            continue;
        }
        let Some((pair, effect)) = change.split_once(':') else { fail!("invalid taint spec: {change}") };
        if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            fail!("invalid taint effect: {effect}, unsupported taint effect");
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let mut taint = json!({"key": key, "effect": effect});
        if !value.is_empty() {
            taint["value"] = json!(value);
        }
        match taints.iter_mut().find(|t| t["key"] == key && t["effect"] == effect) {
            Some(_) if !overwrite => {
                fail!("node {node} already has {key} taint(s) with same effect(s) and --overwrite is false")
            }
            Some(known) => {
                *known = taint;
                done = "modified";
            }
            None => taints.push(taint),
        }
    }
    Ok((taints, done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_a_drained_node() {
        let rules = |force, ignore_daemonsets, delete_emptydir| Rules { force, ignore_daemonsets, delete_emptydir };
        let owned =
            |kind: &str| json!({"metadata": {"ownerReferences": [{"controller": true, "kind": kind}]}, "spec": {}});
        let with_emptydir = json!({"metadata": {"ownerReferences": [{"controller": true, "kind": "ReplicaSet"}]}, "spec": {"volumes": [{"emptyDir": {}}]}});
        let mirror = json!({"metadata": {"annotations": {MIRROR: "x"}}});
        let bare = json!({"metadata": {}, "spec": {}});
        let done = json!({"metadata": {}, "spec": {}, "status": {"phase": "Succeeded"}});
        for (pod, rules, exists, want) in [
            (&owned("ReplicaSet"), rules(false, false, false), false, Fate::Evict),
            (
                &owned("DaemonSet"),
                rules(false, true, false),
                true,
                Fate::LeaveWarned("ignoring DaemonSet-managed Pods"),
            ),
            (&with_emptydir, rules(false, false, true), false, Fate::EvictWarned("deleting Pods with local storage")),
            (&mirror, rules(false, false, false), false, Fate::Leave),
            (&bare, rules(true, false, false), false, Fate::EvictWarned("deleting Pods that declare no controller")),
            (&done, rules(false, false, false), false, Fate::Evict),
        ] {
            assert_eq!(fate(pod, rules, exists), want);
        }
        for (pod, exists) in [(&owned("DaemonSet"), true), (&with_emptydir, false), (&bare, false)] {
            assert!(matches!(fate(pod, rules(false, false, false), exists), Fate::Refuse(_)));
        }
    }

    #[test]
    fn taints() {
        let run = |now: Value, change: &str, overwrite| {
            tainted("n", now.as_array().cloned().unwrap(), &[change.to_owned()], overwrite).map(|(t, d)| (json!(t), d))
        };
        assert_eq!(
            run(json!([]), "a=b:NoSchedule", false).unwrap(),
            (json!([{"key": "a", "value": "b", "effect": "NoSchedule"}]), "tainted")
        );
        let one = json!([{"key": "a", "effect": "NoSchedule"}]);
        assert!(run(one.clone(), "a=c:NoSchedule", false).is_err());
        assert_eq!(run(one.clone(), "a=c:NoSchedule", true).unwrap().1, "modified");
        assert_eq!(run(one.clone(), "a:NoSchedule-", false).unwrap(), (json!([]), "untainted"));
        assert_eq!(run(one.clone(), "a-", false).unwrap().0, json!([]));
        assert!(run(one.clone(), "b-", false).is_err() && run(one, "a:Never", false).is_err());
    }
}
