//! What a file holds: durably, and as the running process sees it.
//!
//! ```text
//!   durable ──(+ unsynced changes, in order)──▶ visible
//!      └─────(+ those that the device kept)───▶ durable after a crash
//! ```
//! A device keeps each unsynced change or not, whatever it does with the others, and of a write any of its 512-byte sectors.
//! Where two writes meet, the later one wins if both are kept.

use super::chance::Chance;

/// What a device writes as one: within it a write is kept whole or not at all.
const SECTOR_BYTES: u64 = 512;

#[derive(Debug, Default)]
pub(super) struct Content {
    durable: Image,
    visible: Image,
    unsynced: Vec<Change>,
}

/// The bytes of a file; behind `bytes`, up to `length`, it reads as zeros.
#[derive(Clone, Debug, Default)]
struct Image {
    bytes: Vec<u8>,
    length: u64,
}

#[derive(Debug)]
enum Change {
    Write {
        offset: u64,
        bytes: Vec<u8>,
    },
    /// A reservation: at least this long.
    Room(u64),
    Truncate(u64),
}

impl Content {
    pub(super) fn length(&self) -> u64 {
        self.visible.length
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        self.visible.read(offset, buffer)
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.change(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn reserve(&mut self, length: u64) {
        self.change(Change::Room(length));
    }

    pub(super) fn truncate(&mut self, length: u64) {
        self.change(Change::Truncate(length));
    }

    fn change(&mut self, change: Change) {
        self.visible.apply(&change);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            self.durable.apply(&change);
        }
    }

    /// Decides which unsynced changes the device has kept. The process goes on seeing all of them, and no later sync makes the
    /// lost ones durable: so it is after a sync that failed.
    pub(super) fn settle(&mut self, chance: &mut Chance) {
        for change in self.unsynced.drain(..) {
            self.durable.apply_what_was_kept(&change, chance);
        }
    }

    /// What the process saw is gone but for what is durable.
    pub(super) fn crash(&mut self, chance: &mut Chance) {
        self.settle(chance);
        self.visible = self.durable.clone();
    }

    /// Flips one bit of this byte. False where there is no such byte.
    pub(super) fn flip(&mut self, byte: u64) -> bool {
        self.durable.flip(byte);
        self.visible.flip(byte)
    }
}

impl Image {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let count = self.length.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let stored = self.bytes.get(offset.min(self.bytes.len() as u64) as usize..).unwrap_or(&[]);
        let copied = stored.len().min(count);
        buffer[..copied].copy_from_slice(&stored[..copied]);
        buffer[copied..count].fill(0);
        count
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { offset, bytes } => self.write(*offset, bytes),
            Change::Room(length) => self.length = self.length.max(*length),
            Change::Truncate(length) => {
                self.length = *length;
                self.bytes.truncate(*length as usize);
            }
        }
    }

    fn apply_what_was_kept(&mut self, change: &Change, chance: &mut Chance) {
        match (chance.below(4), change) {
            (0, _) => {}
            (1, _) | (_, Change::Room(_) | Change::Truncate(_)) => self.apply(change),
            (2, Change::Write { offset, bytes }) => {
                let kept = sectors(*offset, bytes).count() as u64;
                let kept = chance.below(kept + 1) as usize;
                sectors(*offset, bytes).take(kept).for_each(|(at, sector)| self.write(at, sector));
            }
            (_, Change::Write { offset, bytes }) => {
                sectors(*offset, bytes).filter(|_| chance.coin()).for_each(|(at, sector)| self.write(at, sector));
            }
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset as usize + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset as usize..end].copy_from_slice(bytes);
        self.length = self.length.max(end as u64);
    }

    fn flip(&mut self, byte: u64) -> bool {
        if byte >= self.length {
            return false;
        }
        if self.bytes.len() as u64 <= byte {
            self.bytes.resize(byte as usize + 1, 0);
        }
        self.bytes[byte as usize] ^= 1 << (byte % 8);
        true
    }
}

/// The pieces of a write that lie in one sector of the file each, with where they lie.
fn sectors(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = offset;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let count = (SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len() as u64);
        let (sector, behind) = rest.split_at(count as usize);
        let piece = (at, sector);
        at += count;
        rest = behind;
        Some(piece)
    })
}
