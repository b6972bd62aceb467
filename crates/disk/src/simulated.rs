//! A disk in memory that crashes, tears writes, runs full and lies, all from a seed: what tests run the shipped code on.
//!
//! It keeps what the processes see apart from what the device would still hold after a power cut. A crash takes everything
//! back to the durable state, but of what was not synced the device may have kept anything:
//! ```text
//!   of each write:                        none, all, or any of its 512-byte sectors
//!   of each creation, removal, renaming:  all or nothing
//! ```
//! each whatever becomes of the others, as real devices and file systems do. Everything is chosen by the seed, so the same
//! calls on the same seed give the same disk.

mod chance;
mod content;
mod tree;
mod world;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use self::tree::Number;
use self::world::World;
use crate::{Disk, DiskFile, Entry, FileLock, SyncSite};

/// What a sync was of. Writing a small file whole syncs both at one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Synced {
    /// The content of a file.
    File,
    /// The names in a folder.
    Folder,
}

/// Why a call on a simulated disk failed that is down, or through a handle of an earlier life.
#[derive(Debug, thiserror::Error)]
#[error("the disk crashed")]
pub struct Crashed;

fn crashed() -> io::Error {
    io::Error::other(Crashed)
}

/// A disk in memory. Clones are the same disk; all paths begin at its root, which is there from the start.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
}

impl SimulatedDisk {
    /// An empty disk whose chances come from this seed.
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk { world: Arc::new(Mutex::new(World::new(seed))) }
    }

    /// The disk as the code under test takes it.
    pub fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Cuts the power and starts again: only what is durable is left, and what the device happened to keep. Locks are free,
    /// and handles of before fail.
    pub fn crash(&self) {
        self.world().crash();
    }

    /// Ends the process while the machine goes on: what was written stays visible, and stays unsynced. Locks are free, and
    /// handles of before fail.
    pub fn kill(&self) {
        self.world().end_process();
    }

    /// Makes this operation fail, and everything after it, until [`SimulatedDisk::crash`] or, for a process that is killed in
    /// its middle, [`SimulatedDisk::kill`]. Operations that change something and
    /// syncs count, from 0 on: `crash_at(disk.operations())` is the next one.
    pub fn crash_at(&self, operation: u64) {
        self.world().faults.crash_at = Some(operation);
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.world().operations()
    }

    /// Lets syncs of this site return without doing anything.
    pub fn ignore_site(&self, site: SyncSite) {
        self.ignore(site, Synced::File);
        self.ignore(site, Synced::Folder);
    }

    /// Lets one kind of syncs of this site return without doing anything.
    pub fn ignore(&self, site: SyncSite, synced: Synced) {
        self.world().faults.ignored.insert((site, synced));
    }

    /// The sites that have synced, or would have if they were not ignored.
    pub fn sites(&self) -> Vec<SyncSite> {
        let mut sites: Vec<SyncSite> = self.syncs().into_iter().map(|(site, _)| site).collect();
        sites.dedup();
        sites
    }

    /// The sites that have synced, each with what they synced.
    pub fn syncs(&self) -> Vec<(SyncSite, Synced)> {
        self.world().seen.iter().copied().collect()
    }

    /// Gives the disk this many bytes for everything that it holds; `u64::MAX`: no end.
    pub fn set_room(&self, bytes: u64) {
        self.world().faults.room_bytes = (bytes < u64::MAX).then_some(bytes);
    }

    /// Lets the `nth` sync from now on fail (1: the next one). Of a file, what it would have made durable is kept or lost by
    /// chance, and no later sync brings back what was lost. Names wait in the journal for the next sync of their folder.
    pub fn fail_sync(&self, nth: u64) {
        self.world().faults.syncs_until_failure = Some(nth.max(1));
    }

    /// Lets the `nth` write from now on fail (1: the next one), after any part of it.
    pub fn fail_write(&self, nth: u64) {
        self.world().faults.writes_until_failure = Some(nth.max(1));
    }

    /// Flips one bit of this byte, durably. `UnexpectedEof` where the file is shorter.
    pub fn flip(&self, path: &Path, byte: u64) -> io::Result<()> {
        let mut world = self.world();
        let number = world.tree.file(path)?;
        if world.content(number).flip(byte) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The paths of all files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.world().tree.files().into_keys().collect()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no thread panics while it holds the simulated disk")
    }

    fn file(&self, world: &World, number: Number) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile { disk: self.clone(), number, life: world.life })
    }
}

impl Disk for SimulatedDisk {
    fn make_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut deepest = folder.to_path_buf();
        while self.is_missing(&deepest)? {
            missing.push(deepest.clone());
            deepest.pop();
        }
        self.sync_parent(&deepest, site)?;
        for folder in missing.iter().rev() {
            self.world().change(|world| world.tree.make_folder(folder))?;
            self.sync_parent(folder, site)?;
        }
        self.world().tree.folder(folder).map(drop)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let world = self.world();
        world.check_running()?;
        world.list(folder)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        let number = world.change(|world| world.make_file(path))?;
        Ok(self.file(&world, number))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.world();
        world.check_running()?;
        Ok(self.file(&world, world.tree.file(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.world().change(|world| world.tree.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.world().change(|world| world.tree.remove(path))
    }

    fn sync_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        self.world().sync_folder(folder, site)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        let mut world = self.world();
        let number = world.change(|world| match world.tree.file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => world.make_file(path),
            found => found,
        })?;
        if !world.locks.insert(number) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimulatedLock { disk: self.clone(), number, life: world.life })))
    }
}

impl SimulatedDisk {
    fn is_missing(&self, path: &Path) -> io::Result<bool> {
        let world = self.world();
        world.check_running()?;
        match world.tree.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            found => found.map(|_| false),
        }
    }

    fn sync_parent(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        match folder.parent() {
            Some(parent) => self.world().sync_folder(parent, site),
            None => Ok(()),
        }
    }
}

/// An open file, in the life of the process that opened it.
#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    number: Number,
    life: u64,
}

impl SimulatedFile {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.disk.world();
        world.check_running()?;
        if world.life == self.life { Ok(world) } else { Err(crashed()) }
    }
}

impl DiskFile for SimulatedFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.world()?.content(self.number).length())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.world()?.content(self.number).read(offset, buffer))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.world()?.change(|world| world.write(self.number, offset, bytes))
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.world()?.change(|world| world.reserve(self.number, bytes))
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.world()?.change(|world| {
            world.content(self.number).truncate(bytes);
            Ok(())
        })
    }

    fn sync(&self, site: SyncSite) -> io::Result<()> {
        self.world()?.sync_file(self.number, site)
    }
}

/// A held lock; one of an earlier life holds nothing any more.
#[derive(Debug)]
struct SimulatedLock {
    disk: SimulatedDisk,
    number: Number,
    life: u64,
}

impl FileLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if world.life == self.life {
            world.locks.remove(&self.number);
        }
    }
}
