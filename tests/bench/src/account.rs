//! What the processes of the server under test have used, from `/proc`.

use std::fs;

use anyhow::{Context as _, Result};

/// The kernel's unit in `/proc/PID/stat` on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The processes whose use is counted.
pub(crate) struct Processes(pub(crate) Vec<u32>);

impl Processes {
    /// User and system time of all of them so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let mut ticks = 0.0;
        for pid in &self.0 {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
            // The name, in brackets, may hold anything; user and system time are the 12th and 13th word after it.
            let words: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split_whitespace().collect();
            for word in words.get(11..13).context("a short stat line")? {
                ticks += word.parse::<f64>()?;
            }
        }
        Ok(ticks / TICKS_PER_SECOND)
    }

    /// Resident memory now, summed, in MiB.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        self.status("VmRSS:")
    }

    /// The most that was resident since [`Processes::forget_peak`], in MiB.
    pub(crate) fn peak_mib(&self) -> Result<f64> {
        self.status("VmHWM:")
    }

    pub(crate) fn forget_peak(&self) -> Result<()> {
        self.0.iter().try_for_each(|pid| Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?))
    }

    fn status(&self, key: &str) -> Result<f64> {
        let mut kib = 0.0;
        for pid in &self.0 {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|l| l.strip_prefix(key)).context("no such line in /proc/PID/status")?;
            kib += line.trim().trim_end_matches(" kB").parse::<f64>()?;
        }
        Ok(kib / 1024.0)
    }
}
