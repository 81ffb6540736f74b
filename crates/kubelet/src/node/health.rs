//! Asks the runtime how it and its network are.

use crate::agent::Agent;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const PERIOD: Duration = Duration::from_secs(5);

/// Asks until shutdown; `changed` hears of changes of the network's state.
pub(crate) async fn run(agent: Arc<Agent>, changed: Arc<Notify>) {
    let mut before = None;
    loop {
        let (runtime, network) = ask(&agent).await;
        let now = (runtime.is_ok(), network.is_ok());
        if agent.node.set_health(runtime, network) {
            agent.pods.poke_all();
        }
        if before != Some(now) {
            before = Some(now);
            changed.notify_one();
        }
        tokio::time::sleep(PERIOD).await;
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
