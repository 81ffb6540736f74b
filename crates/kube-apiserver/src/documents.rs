//! Documents at paths that are no resources: the version, the OpenID provider.

use std::sync::Arc;

use apiserver::chain::Documents;
use bytes::Bytes;
use serde_json::json;

use crate::auth::Auth;

/// All documents by path.
pub(crate) fn all(auth: Arc<Auth>) -> Documents {
    let version = version();
    Arc::new(move |path| match path {
        "/version" | "/version/" => Some(("application/json", version.clone())),
        _ => auth.openid_document(path).map(|(body, content_type)| (content_type, body)),
    })
}

fn version() -> Bytes {
    let full = component_base::flags::VERSION;
    let mut numbers = full.trim_start_matches('v').split('.');
    let document = json!({
        "major": numbers.next().unwrap_or_default(),
        "minor": numbers.next().unwrap_or_default(),
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": full,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    });
    Bytes::from(format!("{document:#}"))
}
