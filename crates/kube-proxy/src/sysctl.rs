//! Settings of the kernel that the rules rely on.

use std::{io, path::PathBuf, time::Duration};

use anyhow::Context;
use component_base::duration::parse_duration;

use crate::config::ConntrackConfig;

/// Connection tracking of the kernel; what is absent is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conntrack {
    /// The table's size.
    pub max: Option<u64>,
    settings: Vec<(&'static str, String)>,
}

impl Conntrack {
    /// As configured.
    ///
    /// # Errors
    /// Names a duration that is none.
    pub fn new(config: &ConntrackConfig) -> anyhow::Result<Self> {
        let per_core = config.max_per_core.unwrap_or(32_768);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as i64;
        let max = (per_core > 0).then(|| (per_core * cores).max(config.min.unwrap_or(131_072)));
        let mut settings = Vec::new();
        let timeouts = [
            ("nf_conntrack_tcp_timeout_established", &config.tcp_established_timeout, 86_400),
            ("nf_conntrack_tcp_timeout_close_wait", &config.tcp_close_wait_timeout, 3_600),
            ("nf_conntrack_udp_timeout", &config.udp_timeout, 0),
            ("nf_conntrack_udp_timeout_stream", &config.udp_stream_timeout, 0),
        ];
        for (name, text, default) in timeouts {
            let given = if text.is_empty() {
                Duration::from_secs(default)
            } else {
                parse_duration(text).map_err(|e| anyhow::anyhow!("{e}")).context(name)?
            };
            if !given.is_zero() {
                settings.push((name, given.as_secs().to_string()));
            }
        }
        if config.tcp_be_liberal {
            settings.push(("nf_conntrack_tcp_be_liberal", "1".to_owned()));
        }
        Ok(Conntrack { max: max.and_then(|m| u64::try_from(m).ok()), settings })
    }

    /// Writes what differs. A setting that cannot be written (as in a network namespace, where some belong to the host) is reported and
    /// left.
    pub fn apply(&self) {
        if let Some(max) = self.max {
            let current = read("net/netfilter/nf_conntrack_max").ok().and_then(|text| text.parse::<u64>().ok());
            // A larger table is somebody's decision.
            if current.is_some_and(|current| current < max) {
                set("net/netfilter/nf_conntrack_max", &max.to_string());
            }
        }
        for (name, value) in &self.settings {
            set(&format!("net/netfilter/{name}"), value);
        }
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

fn read(name: &str) -> io::Result<String> {
    std::fs::read_to_string(path(name)).map(|text| text.trim().to_owned())
}

/// Sets a sysctl where it has another value.
pub(crate) fn set(name: &str, value: &str) {
    let result = match read(name) {
        Ok(current) if current == value => return,
        Ok(_) => std::fs::write(path(name), value),
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        tracing::warn!(sysctl = name, value, %error, "could not set a kernel parameter");
    }
}
