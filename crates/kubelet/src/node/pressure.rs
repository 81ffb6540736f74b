//! Whether the node is short of memory, disk or process ids. Pure.

use crate::host::FsUsage;
use api_types::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use component_helpers::quantity::value;
use std::collections::BTreeMap;

/// What there is and what is left.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Room {
    pub(super) memory: u64,
    pub(super) memory_available: u64,
    pub(super) node_fs: FsUsage,
    pub(super) image_fs: FsUsage,
    pub(super) pids: u64,
    pub(super) pids_used: u64,
}

/// Which kinds of pressure there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pressure {
    pub(super) memory: bool,
    pub(super) disk: bool,
    pub(super) pids: bool,
}

/// Whether `left` of `all` is below a threshold, a quantity or a percentage.
fn below(threshold: &str, left: u64, all: u64) -> bool {
    let limit = match threshold.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map_or(0, |percent| (all as f64 * percent / 100.0) as u64),
        None => u64::try_from(value(&Quantity(threshold.to_owned()))).unwrap_or(0),
    };
    all > 0 && left < limit
}

pub(super) fn assess(room: &Room, thresholds: &BTreeMap<String, String>) -> Pressure {
    let mut out = Pressure::default();
    for (signal, threshold) in thresholds {
        match signal.as_str() {
            "memory.available" => out.memory |= below(threshold, room.memory_available, room.memory),
            "nodefs.available" => out.disk |= below(threshold, room.node_fs.available, room.node_fs.capacity),
            "nodefs.inodesFree" => out.disk |= below(threshold, room.node_fs.inodes_free, room.node_fs.inodes),
            "imagefs.available" => out.disk |= below(threshold, room.image_fs.available, room.image_fs.capacity),
            "imagefs.inodesFree" => out.disk |= below(threshold, room.image_fs.inodes_free, room.image_fs.inodes),
            "pid.available" => out.pids |= below(threshold, room.pids.saturating_sub(room.pids_used), room.pids),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        let thresholds = crate::config::default_pressure();
        let fs = |available| FsUsage { capacity: 1000, available, inodes: 100, inodes_free: 50 };
        let room = Room {
            memory: 4 << 30,
            memory_available: 1 << 30,
            node_fs: fs(500),
            image_fs: fs(500),
            pids: 10,
            pids_used: 1,
        };
        assert_eq!(assess(&room, &thresholds), Pressure::default());
        assert!(assess(&Room { memory_available: 99 << 20, ..room }, &thresholds).memory);
        assert!(assess(&Room { image_fs: fs(149), ..room }, &thresholds).disk);
        assert!(!assess(&Room { node_fs: fs(149), ..room }, &thresholds).disk);
    }
}
