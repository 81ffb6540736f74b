//! `kubectl certificate approve` and `deny`.

use http::Method;
use serde_json::json;

use crate::cli::context::Context;
use crate::client::JSON;
use crate::error::{Error, Result};
use crate::resource::select::{self, Selection};
use crate::{fail, out};

/// Runs `certificate approve` or `certificate deny`.
async fn decide(cx: &Context, condition: &str, reason: &str, done: &str) -> Result<()> {
    let mut words = cx.args().to_vec();
    if words.is_empty() && !cx.flags.changed("filename") {
        fail!("one or more CSRs must be specified as <name> or -f <filename>");
    }
    if !words.is_empty() {
        words.insert(0, "certificatesigningrequests.certificates.k8s.io".to_owned());
    }
    let (infos, errors) = select::objects(cx, &words, Selection::default()).await?;
    Error::collect(errors)?;
    for info in infos {
        let mut object = info.object.clone();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let decided = conditions.iter().any(|c| c["type"] == condition);
        if conditions
            .iter()
            .any(|c| matches!(c["type"].as_str(), Some("Approved" | "Denied")) && c["type"] != condition)
        {
            fail!(
                "certificate signing request {:?} is already {}",
                info.name,
                if condition == "Approved" { "Denied" } else { "Approved" }
            );
        }
        if !decided || cx.flags.bool("force") {
            let now = crate::duration::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let mut conditions: Vec<_> = conditions.into_iter().filter(|c| c["type"] != condition).collect();
            conditions.push(json!({
                "type": condition, "status": "True", "reason": reason, "lastUpdateTime": now,
                "message": format!("This CSR was {} by kubectl certificate {}.", done, if condition == "Approved" { "approve" } else { "deny" }),
            }));
            object["status"]["conditions"] = json!(conditions);
            cx.client()?.change(Method::PUT, &info.sub_path("approval"), JSON, &object).await?;
        }
        out(&format!("{} {done}\n", info.display()));
    }
    Ok(())
}

/// Runs `certificate approve`.
pub async fn approve(cx: &Context) -> Result<()> {
    decide(cx, "Approved", "KubectlApprove", "approved").await
}

/// Runs `certificate deny`.
pub async fn deny(cx: &Context) -> Result<()> {
    decide(cx, "Denied", "KubectlDeny", "denied").await
}
