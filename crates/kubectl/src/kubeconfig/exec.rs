//! Credential plugins of `users[].user.exec` (client.authentication.k8s.io): a command that prints an `ExecCredential`.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::Settings;
use crate::error::{Error, Result};
use crate::fail;

/// Runs the plugin and puts its token or certificate into the settings.
pub(super) fn credentials(settings: &mut Settings, exec: &Value, dir: &Path) -> Result<()> {
    let api_version = exec["apiVersion"].as_str().unwrap_or("client.authentication.k8s.io/v1");
    let name = exec["command"].as_str().unwrap_or_default();
    // A relative path is relative to the kubeconfig; a bare name is looked up in PATH.
    let program = if name.contains('/') && !name.starts_with('/') { dir.join(name) } else { name.into() };
    let mut info = json!({"apiVersion": api_version, "kind": "ExecCredential", "spec": {"interactive": false}});
    if exec["provideClusterInfo"].as_bool() == Some(true) {
        info["spec"]["cluster"] = json!({"server": settings.server, "insecure-skip-tls-verify": settings.insecure});
    }
    let mut command = Command::new(program);
    command.env("KUBERNETES_EXEC_INFO", info.to_string()).stdin(Stdio::inherit()).stderr(Stdio::inherit());
    command.args(exec["args"].as_array().into_iter().flatten().filter_map(Value::as_str));
    for pair in exec["env"].as_array().into_iter().flatten() {
        command.env(pair["name"].as_str().unwrap_or_default(), pair["value"].as_str().unwrap_or_default());
    }
    let hint = exec["installHint"].as_str().map(|h| format!("\n\n{h}")).unwrap_or_default();
    let output = command
        .output()
        .map_err(|e| Error::Unreachable(format!("getting credentials: exec: executable {name} failed: {e}{hint}")))?;
    if !output.status.success() {
        let code = output.status.code().unwrap_or(1);
        return Err(Error::Unreachable(format!(
            "getting credentials: exec: executable {name} failed with exit code {code}"
        )));
    }
    let answer: Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| Error::Unreachable(format!("getting credentials: decoding stdout: {e}")))?;
    if answer["apiVersion"] != api_version || answer["kind"] != "ExecCredential" {
        fail!(
            "exec plugin is configured to use API version {api_version}, plugin returned version {}",
            answer["apiVersion"]
        );
    }
    let status = &answer["status"];
    if let Some(token) = status["token"].as_str() {
        settings.authorization = Some(format!("Bearer {token}"));
    }
    if let (Some(certificate), Some(key)) = (status["clientCertificateData"].as_str(), status["clientKeyData"].as_str())
    {
        settings.identity = Some((certificate.as_bytes().to_vec(), key.as_bytes().to_vec()));
    }
    if settings.authorization.is_none() && settings.identity.is_none() {
        fail!("exec plugin didn't return a token or cert/key pair");
    }
    Ok(())
}
