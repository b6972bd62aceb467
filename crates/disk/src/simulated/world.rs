//! The simulated device with all that can go wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::chance::Chance;
use super::content::Content;
use super::tree::{Node, Number, Tree};
use super::{Synced, crashed};
use crate::{Entry, SyncSite};

/// `EIO` on every Unix.
const INPUT_OUTPUT_ERROR: i32 = 5;

#[derive(Debug)]
pub(super) struct World {
    pub(super) tree: Tree,
    contents: BTreeMap<Number, Content>,
    pub(super) locks: BTreeSet<Number>,
    chance: Chance,
    pub(super) faults: Faults,
    /// How often a process has ended. Handles and locks are of one life.
    pub(super) life: u64,
    pub(super) seen: BTreeSet<(SyncSite, Synced)>,
    operations: u64,
    is_crashed: bool,
}

/// What a test has asked to go wrong.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) crash_at: Option<u64>,
    pub(super) ignored: BTreeSet<(SyncSite, Synced)>,
    pub(super) room_bytes: Option<u64>,
    /// How many syncs are left up to the one that fails.
    pub(super) syncs_until_failure: Option<u64>,
    /// The same of writes.
    pub(super) writes_until_failure: Option<u64>,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        World {
            tree: Tree::new(),
            contents: BTreeMap::new(),
            locks: BTreeSet::new(),
            chance: Chance::new(seed),
            faults: Faults::default(),
            life: 0,
            seen: BTreeSet::new(),
            operations: 0,
            is_crashed: false,
        }
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn check_running(&self) -> io::Result<()> {
        if self.is_crashed { Err(crashed()) } else { Ok(()) }
    }

    /// One operation that changes something. At the crash point it reaches the device, like any unsynced one, but fails.
    pub(super) fn change<T>(&mut self, act: impl FnOnce(&mut World) -> io::Result<T>) -> io::Result<T> {
        let goes_down = self.count()?;
        let done = act(self);
        if goes_down { Err(crashed()) } else { done }
    }

    pub(super) fn sync_file(&mut self, number: Number, site: SyncSite) -> io::Result<()> {
        if !self.begin_sync(site, Synced::File)? {
            return Ok(());
        }
        let content = self.contents.entry(number).or_default();
        if fails_now(&mut self.faults.syncs_until_failure) {
            content.settle(&mut self.chance);
            return Err(io::Error::from_raw_os_error(INPUT_OUTPUT_ERROR));
        }
        content.sync();
        Ok(())
    }

    pub(super) fn sync_folder(&mut self, folder: &Path, site: SyncSite) -> io::Result<()> {
        let number = self.tree.folder(folder)?;
        if !self.begin_sync(site, Synced::Folder)? {
            return Ok(());
        }
        if fails_now(&mut self.faults.syncs_until_failure) {
            return Err(io::Error::from_raw_os_error(INPUT_OUTPUT_ERROR));
        }
        self.tree.sync(number);
        Ok(())
    }

    /// Whether this sync is to be done: not if its site is ignored. At the crash point nothing is synced.
    fn begin_sync(&mut self, site: SyncSite, synced: Synced) -> io::Result<bool> {
        let goes_down = self.count()?;
        self.seen.insert((site, synced));
        if goes_down { Err(crashed()) } else { Ok(!self.faults.ignored.contains(&(site, synced))) }
    }

    /// Counts an operation. True: it is the crash point.
    fn count(&mut self) -> io::Result<bool> {
        self.check_running()?;
        self.is_crashed = self.faults.crash_at.is_some_and(|point| self.operations >= point);
        self.operations += 1;
        Ok(self.is_crashed)
    }

    pub(super) fn content(&mut self, number: Number) -> &mut Content {
        self.contents.entry(number).or_default()
    }

    pub(super) fn make_file(&mut self, path: &Path) -> io::Result<Number> {
        self.check_room(1)?;
        self.tree.make_file(path)
    }

    /// Writes all, or as much as there is room for.
    pub(super) fn write(&mut self, number: Number, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if fails_now(&mut self.faults.writes_until_failure) {
            let written = self.chance.below(bytes.len() as u64 + 1) as usize;
            self.content(number).write(offset, &bytes[..written]);
            return Err(io::Error::from_raw_os_error(INPUT_OUTPUT_ERROR));
        }
        let end = offset + bytes.len() as u64;
        let missing = end.saturating_sub(self.content(number).length());
        let room = self.room_left();
        if missing <= room {
            self.content(number).write(offset, bytes);
            return Ok(());
        }
        let fits = (bytes.len() as u64).saturating_sub(missing - room) as usize;
        self.content(number).write(offset, &bytes[..fits]);
        Err(ErrorKind::StorageFull.into())
    }

    pub(super) fn reserve(&mut self, number: Number, length: u64) -> io::Result<()> {
        let missing = length.saturating_sub(self.content(number).length());
        if missing > 0 {
            self.check_room(missing)?;
            self.content(number).reserve(length);
        }
        Ok(())
    }

    fn check_room(&mut self, bytes: u64) -> io::Result<()> {
        if bytes <= self.room_left() { Ok(()) } else { Err(ErrorKind::StorageFull.into()) }
    }

    fn room_left(&mut self) -> u64 {
        let Some(room) = self.faults.room_bytes else { return u64::MAX };
        let numbers: Vec<Number> = self.tree.files().into_values().collect();
        let used: u64 = numbers.into_iter().map(|number| self.content(number).length()).sum();
        room.saturating_sub(used)
    }

    pub(super) fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let entry = |(name, node): (&String, &Node)| match node {
            Node::Folder(_) => Entry { name: name.clone(), is_folder: true, bytes: 0 },
            Node::File(number) => {
                let bytes = self.contents.get(number).map_or(0, Content::length);
                Entry { name: name.clone(), is_folder: false, bytes }
            }
        };
        Ok(self.tree.list(folder)?.map(entry).collect())
    }

    pub(super) fn crash(&mut self) {
        for content in self.contents.values_mut() {
            content.crash(&mut self.chance);
        }
        self.tree.crash(&mut self.chance);
        self.tree.forget_unreachable();
        let files: BTreeSet<Number> = self.tree.files().into_values().collect();
        self.contents.retain(|number, _| files.contains(number));
        self.end_process();
    }

    /// The process is gone, with its handles and locks; the next one starts on a machine that runs.
    pub(super) fn end_process(&mut self) {
        self.locks.clear();
        self.life += 1;
        self.is_crashed = false;
        self.faults.crash_at = None;
    }
}

fn fails_now(until_failure: &mut Option<u64>) -> bool {
    let Some(left) = until_failure else { return false };
    *left -= 1;
    let fails = *left == 0;
    if fails {
        *until_failure = None;
    }
    fails
}
