//! Several writers on one disk, one operation at a time: a seed says whose is the next one.
//!
//! Each writer runs on a thread of its own and waits for its turn before every operation on the disk, so that of all threads
//! one runs, and the same seed gives the same order.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use asof_disk::simulated::SimulatedDisk;
use asof_disk::{Disk, DiskFile, Entry, FileLock, SyncSite};

use crate::story::Chance;

/// Whose turn it is.
#[derive(Debug)]
pub(crate) struct Turns {
    state: Mutex<State>,
    passed: Condvar,
}

#[derive(Debug)]
struct State {
    turn: usize,
    /// By writer: how many operations are left of its life; `None` once it has ended.
    left: Vec<Option<u64>>,
    chance: Chance,
    /// The turn passes to somebody in one of so many operations.
    stays: u64,
}

impl State {
    fn pass(&mut self) {
        let alive: Vec<usize> = (0..self.left.len()).filter(|writer| self.left[*writer].is_some()).collect();
        if !alive.is_empty() {
            self.turn = alive[self.chance.below(alive.len() as u64) as usize];
        }
    }
}

impl Turns {
    /// Writers with so many operations each before they are killed.
    pub(crate) fn new(seed: u64, lives: &[u64]) -> Arc<Turns> {
        let mut chance = Chance(seed);
        let stays = 1 + chance.below(12);
        let left = lives.iter().map(|life| Some(*life)).collect();
        Arc::new(Turns { state: Mutex::new(State { turn: 0, left, chance, stays }), passed: Condvar::new() })
    }

    /// Before an operation. Fails once the writer was killed.
    fn take(&self, writer: usize) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let stays = state.stays;
        if state.turn == writer && state.chance.below(stays) == 0 {
            state.pass();
            self.passed.notify_all();
        }
        let mut state = self.passed.wait_while(state, |state| state.turn != writer).unwrap();
        let left = state.left[writer].as_mut().unwrap();
        *left = left.saturating_sub(1);
        if *left == 0 { Err(io::Error::other("the writer was killed")) } else { Ok(()) }
    }

    /// Waits for the first turn. The writer ends when what this returns is dropped.
    pub(crate) fn begin(self: &Arc<Turns>, writer: usize) -> Ends {
        drop(self.passed.wait_while(self.state.lock().unwrap(), |state| state.turn != writer).unwrap());
        Ends { turns: self.clone(), writer }
    }

    pub(crate) fn writers(&self) -> usize {
        self.state.lock().unwrap().left.len()
    }
}

/// Ends a writer, in its turn.
pub(crate) struct Ends {
    turns: Arc<Turns>,
    writer: usize,
}

impl Drop for Ends {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock().unwrap();
        state.left[self.writer] = None;
        state.pass();
        self.turns.passed.notify_all();
    }
}

/// The disk as one of the writers has it.
#[derive(Clone, Debug)]
pub(crate) struct TurnDisk {
    pub(crate) disk: SimulatedDisk,
    pub(crate) turns: Arc<Turns>,
    pub(crate) writer: usize,
}

impl TurnDisk {
    fn turn(&self) -> io::Result<&SimulatedDisk> {
        self.turns.take(self.writer)?;
        Ok(&self.disk)
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(TurnFile { file, disk: self.clone() })
    }
}

impl Disk for TurnDisk {
    fn make_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        self.turn()?.make_folder(folder, site)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.turn()?.list(folder)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.turn()?.create(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.turn()?.open(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.turn()?.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.turn()?.remove(path)
    }
    fn sync_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        self.turn()?.sync_folder(folder, site)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        self.turn()?.lock(path)
    }
}

#[derive(Debug)]
struct TurnFile {
    file: Arc<dyn DiskFile>,
    disk: TurnDisk,
}

impl DiskFile for TurnFile {
    fn bytes(&self) -> io::Result<u64> {
        self.disk.turn()?;
        self.file.bytes()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.turn()?;
        self.file.read_at(offset, buffer)
    }
    /// In two halves: another process may see the first one without the second.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        self.disk.turn()?;
        self.file.write_at(offset, first)?;
        self.disk.turn()?;
        self.file.write_at(offset + first.len() as u64, second)
    }
    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.disk.turn()?;
        self.file.reserve(bytes)
    }
    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.disk.turn()?;
        self.file.truncate(bytes)
    }
    fn sync(&self, site: SyncSite) -> io::Result<()> {
        self.disk.turn()?;
        self.file.sync(site)
    }
}
