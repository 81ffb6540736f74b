//! Asks the runtime how it and its network are.

use crate::agent::Agent;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const PERIOD: Duration = Duration::from_secs(5);
/// How often a runtime is asked that has not been ready yet, and for how long (upstream's `fastStatusUpdateOnce`).
const STARTING: Duration = Duration::from_millis(100);
const STARTING_LIMIT: Duration = Duration::from_secs(120);

/// Asks until shutdown: often until all is ready for the first time, then as upstream does.
pub(crate) async fn run(agent: Arc<Agent>) {
    let since = Instant::now();
    let mut starting = true;
    loop {
        let (runtime, network) = ask(&agent).await;
        let ready = runtime.is_ok() && network.is_ok();
        if agent.node.set_health(runtime, network) {
            agent.pods.poke_all();
        }
        starting &= !ready && since.elapsed() < STARTING_LIMIT;
        tokio::time::sleep(if starting { STARTING } else { PERIOD }).await;
    }
}

type Health = Result<(), String>;

async fn ask(agent: &Agent) -> (Health, Health) {
    let status = match agent.runtime.status().await {
        Ok(status) => status.status.unwrap_or_default(),
        Err(error) => {
            let why = format!("container runtime is down: {error}");
            return (Err(why.clone()), Err(why));
        }
    };
    let find = |type_: &str| -> Health {
        match status.conditions.iter().find(|condition| condition.r#type == type_) {
            Some(condition) if condition.status => Ok(()),
            Some(condition) => Err(format!("{type_}=false reason:{} message:{}", condition.reason, condition.message)),
            None => Err(format!("{type_} condition is missing")),
        }
    };
    let named = |what: &str, health: Health| health.map_err(|why| format!("container runtime {what}not ready: {why}"));
    (named("", find("RuntimeReady")), named("network ", find("NetworkReady")))
}
