//! A disk in memory that remembers only what was synced.

use std::{io, sync::Arc};

use component_base::rng;
use parking_lot::Mutex;
use storage::embedded::Disk;

/// What a disk writes at once, or not at all.
const SECTOR: usize = 512;

/// See the module. Clones are the same disk.
#[derive(Clone, Default)]
pub struct ForgetfulDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// As the programs see it.
    bytes: Vec<u8>,
    /// As it was synced last.
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// The machine is off: nothing works.
    dead: bool,
    /// Syncing fails.
    broken: bool,
    /// Syncing does nothing most of the time, and says that it did.
    lying: bool,
}

enum Change {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, keep: impl Fn() -> bool) {
        match self {
            Self::Length(length) => {
                if keep() {
                    bytes.resize(*length, 0);
                }
            }
            Self::Bytes(offset, data) => {
                for (n, sector) in data.chunks(SECTOR).enumerate().filter(|_| keep()) {
                    let at = offset + n * SECTOR;
                    if bytes.len() < at + sector.len() {
                        bytes.resize(at + sector.len(), 0);
                    }
                    bytes[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
    }
}

impl ForgetfulDisk {
    /// A disk that forgets what was synced too: what a store on it promises does not hold.
    pub fn lying() -> Self {
        Self(Arc::new(Mutex::new(State { lying: true, ..State::default() })))
    }

    /// Power off, and on again: the disk as it is found then. Of what was not synced any part may be there.
    pub fn crash(&self) -> Self {
        let mut state = self.0.lock();
        state.dead = true;
        let mut bytes = std::mem::take(&mut state.durable);
        // Mostly lost, mostly there, or anything in between.
        let share = if state.lying { 0.0 } else { rng::fraction() };
        for change in &state.pending {
            change.apply(&mut bytes, || rng::fraction() < share);
        }
        state.pending.clear();
        Self(Arc::new(Mutex::new(State { durable: bytes.clone(), bytes, lying: state.lying, ..State::default() })))
    }

    /// From now on syncing fails.
    pub fn break_down(&self) {
        self.0.lock().broken = true;
    }

    /// Syncing works again.
    pub fn repair(&self) {
        self.0.lock().broken = false;
    }

    fn alive(&self) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        let state = self.0.lock();
        if state.dead { Err(io::Error::other("the machine is off")) } else { Ok(state) }
    }
}

impl std::fmt::Debug for ForgetfulDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ForgetfulDisk")
    }
}

impl Disk for ForgetfulDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.alive()?.bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.alive()?;
        let at = offset as usize;
        let found = state.bytes.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        let change = Change::Length(len as usize);
        change.apply(&mut state.bytes, || true);
        state.pending.push(change);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.alive()?;
        if state.broken {
            return Err(io::Error::other("the disk does not sync"));
        }
        if state.lying && rng::range(0..20) > 0 {
            return Ok(());
        }
        let State { durable, pending, .. } = &mut *state;
        for change in pending.drain(..) {
            change.apply(durable, || true);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.alive()?;
        let change = Change::Bytes(offset as usize, data.to_vec());
        change.apply(&mut state.bytes, || true);
        state.pending.push(change);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_stays_and_the_rest_is_anything() {
        rng::seed_thread(1);
        let disk = ForgetfulDisk::default();
        disk.write(0, &[1; 4096]).unwrap();
        disk.sync_data().unwrap();
        disk.write(0, &[2; 4096]).unwrap();
        let after = disk.crash();
        assert!(disk.write(0, &[3]).is_err());
        let mut found = [0; 4096];
        after.read(0, &mut found).unwrap();
        assert!(found.chunks(SECTOR).all(|sector| sector == [1; SECTOR] || sector == [2; SECTOR]));
        after.break_down();
        assert!(after.sync_data().is_err());
    }
}
