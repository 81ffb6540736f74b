//! Paths of the kubelet's API, and what they take to be allowed. Pure.

/// A pod, and a container of it where the path names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: Option<String>,
    pub(super) container: String,
}

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Healthz,
    Pods,
    RunningPods,
    Configz,
    Metrics,
    Cadvisor,
    ResourceMetrics,
    ProbeMetrics,
    Summary,
    HostLogs(String),
    ContainerLogs { namespace: String, pod: String, container: String },
    Exec(Target),
    Attach(Target),
    PortForward(Target),
    Run(Target),
}

impl Route {
    pub(super) fn parse(path: &str) -> Option<Self> {
        let trimmed = path.trim_matches('/');
        let parts: Vec<&str> = trimmed.split('/').collect();
        Some(match parts.as_slice() {
            ["healthz", ..] => Self::Healthz,
            ["pods"] => Self::Pods,
            ["runningpods"] => Self::RunningPods,
            ["configz"] => Self::Configz,
            ["metrics"] => Self::Metrics,
            ["metrics", "cadvisor"] => Self::Cadvisor,
            ["metrics", "resource"] => Self::ResourceMetrics,
            ["metrics", "probes"] => Self::ProbeMetrics,
            ["stats", "summary"] => Self::Summary,
            ["logs", rest @ ..] => Self::HostLogs(rest.join("/")),
            ["containerLogs", namespace, pod, container] => Self::ContainerLogs {
                namespace: (*namespace).into(),
                pod: (*pod).into(),
                container: (*container).into(),
            },
            ["exec", rest @ ..] => Self::Exec(with_container(rest)?),
            ["attach", rest @ ..] => Self::Attach(with_container(rest)?),
            ["run", rest @ ..] => Self::Run(with_container(rest)?),
            ["portForward", namespace, pod] => Self::PortForward(target(namespace, pod, None, "")),
            ["portForward", namespace, pod, uid] => Self::PortForward(target(namespace, pod, Some(uid), "")),
            _ => return None,
        })
    }

    /// Whether the path is one of those that enableDebuggingHandlers is about.
    pub(super) fn is_debugging(&self) -> bool {
        matches!(
            self,
            Self::RunningPods
                | Self::HostLogs(_)
                | Self::ContainerLogs { .. }
                | Self::Exec(_)
                | Self::Attach(_)
                | Self::PortForward(_)
                | Self::Run(_)
        )
    }
}

fn target(namespace: &str, pod: &str, uid: Option<&str>, container: &str) -> Target {
    Target { namespace: namespace.into(), pod: pod.into(), uid: uid.map(str::to_owned), container: container.into() }
}

fn with_container(rest: &[&str]) -> Option<Target> {
    match rest {
        [namespace, pod, container] => Some(target(namespace, pod, None, container)),
        [namespace, pod, uid, container] => Some(target(namespace, pod, Some(uid), container)),
        _ => None,
    }
}

/// The API verb of a method.
pub(super) fn verb(method: &str) -> &'static str {
    match method {
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "get",
    }
}

/// The subresources of `nodes` that open a path, any of them.
pub(super) fn subresources(path: &str) -> &'static [&'static str] {
    match path.trim_matches('/').split('/').next().unwrap_or_default() {
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        "logs" => &["log"],
        "checkpoint" => &["checkpoint"],
        "healthz" => &["healthz", "proxy"],
        "configz" => &["configz", "proxy"],
        "pods" | "runningpods" => &["pods", "proxy"],
        _ => &["proxy"],
    }
}

/// All values of a query parameter.
pub(super) fn values(query: &str, name: &str) -> Vec<String> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| decode(value)).collect()
}

/// A query parameter that is a truth value, under either of its names.
pub(super) fn flag(query: &str, names: &[&str]) -> bool {
    let given = names.iter().flat_map(|name| values(query, name)).next();
    given.is_some_and(|value| matches!(value.as_str(), "1" | "true" | "True" | "TRUE" | "t" | "T"))
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex =
            text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(match (hex, bytes[at]) {
            (Some(byte), _) => byte,
            (None, b'+') => b' ',
            (None, byte) => byte,
        });
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let with = |uid| target("n", "p", uid, "c");
        let cases = [
            ("/exec/n/p/c", Some(Route::Exec(with(None)))),
            ("/exec/n/p/u/c", Some(Route::Exec(with(Some("u"))))),
            ("/portForward/n/p", Some(Route::PortForward(target("n", "p", None, "")))),
            ("/stats/summary", Some(Route::Summary)),
            ("/metrics/cadvisor", Some(Route::Cadvisor)),
            ("/runningpods/", Some(Route::RunningPods)),
            ("/logs/a/b.log", Some(Route::HostLogs("a/b.log".into()))),
            ("/exec/n/p", None),
            ("/", None),
        ];
        for (path, want) in cases {
            assert_eq!(Route::parse(path), want, "{path}");
        }
    }

    #[test]
    fn permissions() {
        assert_eq!(subresources("/stats/summary"), ["stats"]);
        assert_eq!(subresources("/pods"), ["pods", "proxy"]);
        assert_eq!(subresources("/exec/n/p/c"), ["proxy"]);
        assert_eq!((verb("GET"), verb("POST")), ("get", "create"));
    }

    #[test]
    fn queries() {
        let query = "command=sh&command=-c&command=echo+a%2Bb&input=1&tty=true";
        assert_eq!(values(query, "command"), ["sh", "-c", "echo a+b"]);
        assert!(flag(query, &["stdin", "input"]) && flag(query, &["tty"]) && !flag(query, &["stdout", "output"]));
    }
}
