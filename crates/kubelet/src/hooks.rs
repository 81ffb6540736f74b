//! Lifecycle hooks of containers.

use crate::agent::Agent;
use crate::probes::run::{http_hook, http_target};
use api_types::k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use std::time::Duration;

/// How long an HTTP hook may take; the pod's grace period limits a preStop hook further.
const HTTP_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs a hook in (or against) a running container.
pub(crate) async fn run(
    agent: &Agent,
    container: &Container,
    id: &str,
    pod_ip: &str,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(action) = &hook.exec {
        let command = action.command.clone().unwrap_or_default();
        let shown = format!("{command:?}");
        let answer = agent.runtime.exec_sync(id, command, Duration::ZERO).await.map_err(|error| error.to_string())?;
        return match answer.exit_code {
            0 => Ok(()),
            code => {
                let output = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
                Err(format!("command {shown} exited with {code}: {output}"))
            }
        };
    }
    if let Some(action) = &hook.http_get {
        let target = http_target(action, container, pod_ip)?;
        return http_hook(&target, HTTP_TIMEOUT).await;
    }
    if let Some(action) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("Invalid handler: the hook names no action".into())
}
