//! Named checks behind `/healthz`, `/livez` and `/readyz`, printed as upstream prints them.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use parking_lot::RwLock;

type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The three endpoints; a check says in which of them it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    Healthz,
    Livez,
    Readyz,
}

impl Endpoint {
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthz => "healthz",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
        }
    }
}

#[derive(Clone)]
struct Named {
    name: String,
    endpoints: Vec<Endpoint>,
    check: Check,
}

/// The checks of one daemon; clones share them.
#[derive(Clone, Default)]
pub struct Checks(Arc<RwLock<Vec<Named>>>);

/// What a health request gets: the status code and the body.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    pub status: u16,
    pub body: String,
}

impl Checks {
    /// The checks of a daemon that only reports that it runs.
    pub fn with_ping() -> Self {
        let checks = Self::default();
        checks.add("ping", &[Endpoint::Healthz, Endpoint::Livez, Endpoint::Readyz], || Ok(()));
        checks
    }

    /// Adds a check; `check` is called at every request and must not block.
    pub fn add(
        &self,
        name: &str,
        endpoints: &[Endpoint],
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.0.write().push(Named { name: name.to_owned(), endpoints: endpoints.to_vec(), check: Arc::new(check) });
    }

    /// Answers `path` (`/readyz`, `/livez/ping`) with its query (`verbose`, `exclude=NAME`); `None` is not a health path.
    pub fn answer(&self, path: &str, query: &str) -> Option<Report> {
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let first = parts.next()?;
        let endpoint =
            [Endpoint::Healthz, Endpoint::Livez, Endpoint::Readyz].into_iter().find(|e| e.name() == first)?;
        let checks: Vec<Named> = self.0.read().iter().filter(|c| c.endpoints.contains(&endpoint)).cloned().collect();
        match parts.next().filter(|name| !name.is_empty()) {
            Some(name) => Some(one(checks.iter().find(|c| c.name == name)?)),
            None => Some(all(endpoint, &checks, query)),
        }
    }
}

fn one(check: &Named) -> Report {
    match (check.check)() {
        Ok(()) => Report { status: 200, body: "ok".into() },
        Err(why) => Report { status: 500, body: format!("internal server error: {why}\n") },
    }
}

fn all(endpoint: Endpoint, checks: &[Named], query: &str) -> Report {
    let excluded: BTreeSet<&str> = query.split('&').filter_map(|p| p.strip_prefix("exclude=")).collect();
    let (mut body, mut failed) = (String::new(), false);
    for check in checks {
        let name = &check.name;
        let line = if excluded.contains(name.as_str()) {
            format!("[+]{name} excluded: ok")
        } else if let Err(why) = (check.check)() {
            failed = true;
            tracing::debug!(check = %name, %why, "health check failed");
            format!("[-]{name} failed: reason withheld")
        } else {
            format!("[+]{name} ok")
        };
        let _ = writeln!(body, "{line}");
    }
    if failed {
        let _ = writeln!(body, "{} check failed", endpoint.name());
        return Report { status: 500, body };
    }
    if !query.split('&').any(|p| p == "verbose" || p.starts_with("verbose=")) {
        return Report { status: 200, body: "ok".into() };
    }
    let _ = writeln!(body, "{} check passed", endpoint.name());
    Report { status: 200, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports() {
        let checks = Checks::with_ping();
        checks.add("etcd", &[Endpoint::Readyz], || Err("down".into()));
        assert_eq!(checks.answer("/livez", "").unwrap(), Report { status: 200, body: "ok".into() });
        let failed = checks.answer("/readyz", "").unwrap();
        assert_eq!(
            (failed.status, failed.body.as_str()),
            (500, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n")
        );
        assert_eq!(checks.answer("/readyz", "verbose&exclude=etcd").unwrap().status, 200);
        assert_eq!(checks.answer("/readyz/etcd", "").unwrap().status, 500);
        assert_eq!(checks.answer("/metrics", ""), None);
    }
}
