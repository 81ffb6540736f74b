//! What a request asks for, read from method, path and query alone: the verb, and which resource or non-resource path.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::query::Query;

/// The words that authorization, routing, metrics and audit speak of a request in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path names something under `/api/<version>/` or `/apis/<group>/<version>/`.
    pub is_resource: bool,
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the lower-case method for
    /// non-resource paths.
    pub verb: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// The path behind the subresource (`proxy/a/b` → `a/b`), with its leading slash; empty when there is none.
    pub rest: String,
}

impl RequestInfo {
    pub fn parse(method: &Method, path: &str, query: &Query) -> RequestInfo {
        let mut info =
            RequestInfo { path: path.to_owned(), verb: method.as_str().to_ascii_lowercase(), ..RequestInfo::default() };
        let parts: Vec<Cow<'_, str>> =
            path.trim_matches('/').split('/').map(|p| percent_decode_str(p).decode_utf8_lossy()).collect();
        let rest = match parts.first().map(|p| p.as_ref()) {
            Some("api") if parts.len() > 2 => &parts[1..],
            Some("apis") if parts.len() > 3 => {
                info.group = parts[1].to_string();
                &parts[2..]
            }
            _ => return info,
        };
        info.is_resource = true;
        info.version = rest[0].to_string();
        let legacy_watch = rest[1] == "watch" && rest.len() > 2;
        info.read_resource(if legacy_watch { &rest[2..] } else { &rest[1..] });
        info.verb = resource_verb(method, &info.name, legacy_watch || query.flag("watch")).to_owned();
        info.take_name_from_selector(query);
        info
    }

    /// Reads `[namespaces/<ns>/]<resource>[/<name>[/<subresource>[/<rest>]]]`.
    fn read_resource(&mut self, parts: &[Cow<'_, str>]) {
        let mut parts = parts;
        if parts[0] == "namespaces" && parts.len() > 1 {
            self.namespace = parts[1].to_string();
            let of_namespace = parts.get(2).is_some_and(|p| p == "status" || p == "finalize");
            if parts.len() > 2 && !of_namespace {
                parts = &parts[2..];
            }
        }
        let field = |i: usize| parts.get(i).map(|p| p.to_string()).unwrap_or_default();
        self.resource = field(0);
        self.name = field(1);
        self.subresource = field(2);
        for part in parts.iter().skip(3) {
            self.rest.push('/');
            self.rest.push_str(part);
        }
    }

    /// A list or watch of one name by field selector is authorized like a request for that name.
    fn take_name_from_selector(&mut self, query: &Query) {
        if !self.name.is_empty() || !matches!(self.verb.as_str(), "list" | "watch" | "deletecollection") {
            return;
        }
        let Some(selector) = query.first("fieldSelector") else { return };
        for term in selector.split(',') {
            let Some((field, value)) = term.split_once('=') else { continue };
            let value = value.trim_start_matches('=');
            if field.trim() == "metadata.name" && !value.is_empty() {
                self.name = value.to_owned();
            }
        }
    }

    /// Whether this request may run for as long as the client likes, and so is outside of deadlines and in-flight limits.
    pub fn is_long_running(&self) -> bool {
        self.verb == "watch"
            || matches!(self.subresource.as_str(), "exec" | "attach" | "portforward" | "log" | "proxy")
            || (!self.is_resource && self.path.starts_with("/debug/pprof"))
    }
}

fn resource_verb(method: &Method, name: &str, watch: bool) -> &'static str {
    match *method {
        Method::GET | Method::HEAD if watch => "watch",
        Method::GET | Method::HEAD if name.is_empty() => "list",
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if name.is_empty() => "deletecollection",
        Method::DELETE => "delete",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, uri: &str, want: [&str; 7]) {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let i = RequestInfo::parse(&method, path, &Query::parse(query));
        let got = [&i.verb, &i.group, &i.namespace, &i.resource, &i.name, &i.subresource, &i.rest].map(String::as_str);
        assert_eq!(got, want, "{uri}");
    }

    #[test]
    fn resource_paths() {
        check(Method::GET, "/api/v1/pods", ["list", "", "", "pods", "", "", ""]);
        check(Method::GET, "/api/v1/pods?watch=true", ["watch", "", "", "pods", "", "", ""]);
        check(Method::GET, "/api/v1/watch/pods", ["watch", "", "", "pods", "", "", ""]);
        check(Method::GET, "/api/v1/namespaces/a", ["get", "", "a", "namespaces", "a", "", ""]);
        check(Method::PUT, "/api/v1/namespaces/a/finalize", ["update", "", "a", "namespaces", "a", "finalize", ""]);
        check(Method::POST, "/api/v1/namespaces/a/pods", ["create", "", "a", "pods", "", "", ""]);
        check(
            Method::DELETE,
            "/apis/apps/v1/namespaces/a/deployments",
            ["deletecollection", "apps", "a", "deployments", "", "", ""],
        );
        check(
            Method::GET,
            "/api/v1/namespaces/a/services/https:x:1/proxy/b/c",
            ["get", "", "a", "services", "https:x:1", "proxy", "/b/c"],
        );
        check(
            Method::GET,
            "/api/v1/nodes?fieldSelector=metadata.name%3Dn1&watch=1",
            ["watch", "", "", "nodes", "n1", "", ""],
        );
    }

    #[test]
    fn other_paths() {
        for path in ["/", "/api", "/api/v1", "/apis/apps/v1", "/healthz", "/version"] {
            let info = RequestInfo::parse(&Method::GET, path, &Query::default());
            assert!(!info.is_resource, "{path}");
            assert_eq!(info.verb, "get");
        }
    }
}
