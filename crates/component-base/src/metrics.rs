//! The process's metrics in the Prometheus text format.
//!
//! One registry per process: metric names are process-wide, as in upstream. Metrics of several daemons in one test process
//! share it.

use std::sync::LazyLock;

use parking_lot::Mutex;
use prometheus_client::registry::{Metric, Registry};

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(|| Mutex::new(Registry::default()));

/// Registers `metric` under `name` (counters get the suffix `_total` when printed) and hands it back.
pub fn register<M: Metric + Clone>(name: &str, help: &str, metric: M) -> M {
    REGISTRY.lock().register(name, help.trim_end_matches('.'), metric.clone());
    metric
}

/// All metrics as `/metrics` shows them, with the process's own memory and CPU first.
pub fn render() -> String {
    let mut text = process_metrics();
    // Writing into a String can't fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &REGISTRY.lock());
    text
}

/// `process_*`, read from /proc; lines that can't be read are left out.
fn process_metrics() -> String {
    let mut text = String::new();
    let mut gauge =
        |name: &str, kind: &str, value: f64| text.push_str(&format!("# TYPE {name} {kind}\n{name} {value}\n"));
    if let Some(bytes) = resident_bytes() {
        gauge("process_resident_memory_bytes", "gauge", bytes as f64);
    }
    if let Some(seconds) = cpu_seconds() {
        gauge("process_cpu_seconds_total", "counter", seconds);
    }
    text
}

/// Resident memory of this process in bytes.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}

/// User and system time of this process; the kernel counts hundredths of a second.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let after_name = stat.rsplit_once(") ")?.1;
    let mut fields = after_name.split(' ').skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn registered_metrics_are_rendered() {
        let counter = register("test_events", "Events of this test.", Counter::<u64>::default());
        counter.inc();
        let text = render();
        assert!(text.contains("test_events_total 1") && text.contains("process_resident_memory_bytes"), "{text}");
    }
}
