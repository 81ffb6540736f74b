//! `kubectl create token`.

use http::Method;
use serde_json::json;

use crate::cli::context::Context;
use crate::client::JSON;
use crate::error::Result;
use crate::output::printer::Format;
use crate::{fail, out};

/// Runs the command.
pub async fn token(cx: &Context) -> Result<()> {
    let name = super::name(cx)?.to_owned();
    let flags = &cx.flags;
    let mut spec = json!({"audiences": flags.list("audience")});
    let seconds = flags.duration("duration").as_secs();
    if seconds > 0 {
        spec["expirationSeconds"] = json!(seconds);
    }
    match (flags.opt("bound-object-kind"), flags.opt("bound-object-name")) {
        (Some(kind), Some(bound)) => {
            let mut reference = json!({"kind": kind, "apiVersion": "v1", "name": bound});
            if let Some(uid) = flags.opt("bound-object-uid") {
                reference["uid"] = json!(uid);
            }
            spec["boundObjectRef"] = reference;
        }
        (Some(_), None) => fail!("--bound-object-name is required if --bound-object-kind is provided"),
        (None, Some(_)) => fail!("--bound-object-kind is required if --bound-object-name is provided"),
        (None, None) => {}
    }
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let resource = cx.resource("serviceaccounts").await?;
    let path = format!("{}/token", resource.object_path(Some(&cx.namespace()?), &name));
    let answer = cx.client()?.change(Method::POST, &path, JSON, &request).await?;
    match Format::of(flags)? {
        format if format.is_human() => out(answer["status"]["token"].as_str().unwrap_or_default()),
        format => out(&format.object(&answer, &format!("tokenrequest/{name}"))),
    }
    Ok(())
}
