//! What goes wrong: power cuts at an operation, syncs that fail, a disk that runs full.

use std::path::PathBuf;

use asof_disk::Disk;

use super::World;
use super::step::Go;

const NO_FAILURE: u64 = 1 << 60;

impl World {
    /// Faults that strike while state is recovered, or at any operation later; a changed definition.
    pub(super) fn prepare_life(&mut self) {
        self.begin_whole();
        if self.chance.one_in(4) {
            self.crash_soon(120);
        } else if self.chance.one_in(10) {
            self.fail_sync_soon();
        }
        if self.chance.one_in(6) {
            self.state_bytes_max = self.held_bytes + self.chance.below(20_000) as usize;
            let limit = self.state_bytes_max;
            self.trace.add(|| format!("the state may hold {limit}"));
        }
        if self.chance.one_in(5) {
            self.variant.is_changed = !self.variant.is_changed;
            self.trace.add(|| "the definitions are changed".to_owned());
        }
    }

    pub(super) fn begin_whole(&mut self) {
        self.state_bytes_max = usize::MAX;
        self.is_faulty = false;
        self.is_breakable = false;
        self.is_full = false;
        self.disk.set_room(u64::MAX);
        self.disk.fail_sync(NO_FAILURE);
        self.disk.crash_at(u64::MAX);
    }

    pub(super) fn crash_soon(&mut self, operations: u64) {
        (self.is_faulty, self.is_breakable) = (true, true);
        let point = self.disk.operations() + self.chance.below(operations);
        self.trace.add(|| format!("a power cut at operation {point}"));
        self.disk.crash_at(point);
    }

    pub(super) fn fail_sync_soon(&mut self) {
        (self.is_faulty, self.is_breakable) = (true, true);
        let nth = 1 + self.chance.below(6);
        self.trace.add(|| format!("sync {nth} from here fails"));
        self.disk.fail_sync(nth);
    }

    pub(super) fn begin_fault(&mut self) -> Go {
        match self.chance.below(4) {
            0 => self.crash_soon(60),
            1 => self.fail_sync_soon(),
            2 if self.is_full => {
                self.trace.add(|| "there is room again".to_owned());
                self.disk.set_room(u64::MAX);
                self.is_full = false;
            }
            2 | 3 => {
                let used = self.used_bytes();
                let room = used + self.chance.below(60_000);
                self.trace.add(|| format!("the disk is full at {room}"));
                self.disk.set_room(room);
                self.is_full = true;
                self.is_faulty = true;
            }
            _ => unreachable!("there are four faults"),
        }
        Go::On
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let bytes = |path: &PathBuf| self.disk.open(path).and_then(|file| file.bytes()).unwrap_or(0);
        self.disk.files().iter().map(bytes).sum()
    }
}
