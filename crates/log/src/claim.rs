//! Who may write to a data folder: the holder of the highest generation.
//!
//! ```text
//!   new writer                               old writer, for each group
//!     take `lock` (or --take-over)             write, sync
//!     write generation + 1, durably            read `generation`: greater than mine?
//!     read where the log ends                    yes: acknowledge nothing, stop
//!                                                no:  acknowledge
//! ```
//! If the old writer reads its own number, the new one had not written yet and reads the end of the log after that sync: what
//! was acknowledged is in it. The lock only spares an accidental second writer; the number is what decides.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use asof_disk::{Disk, FileLock, read_whole, write_whole};

use crate::error::LogError;
use crate::field::{Fields, VERSION, is_closed, u32_at, u64_at};
use crate::sites::{CLAIM_FOLDER, GENERATION};

const MAGIC: &[u8; 8] = b"asof-gen";
/// `asof-gen`, version, zero, generation, checksum.
const GENERATION_BYTES: usize = 32;

/// What to do where another process holds the data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeOver {
    /// Leave it alone: [`LogError::Held`].
    Refuse,
    /// Raise the generation, so that the other process can acknowledge nothing more.
    TakeOver,
}

/// The right to write to a data folder, until another writer takes it over.
#[derive(Debug)]
pub struct Claim {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    generation: u64,
    /// `None` while the process that was overtaken still holds it.
    lock: Mutex<Option<Box<dyn FileLock>>>,
}

impl Claim {
    /// Claims the data folder, which is made where it is missing. The generation is durable when this returns.
    /// [`LogError::Locked`] while another process is just claiming it.
    pub fn take(disk: Arc<dyn Disk>, folder: &Path, how: TakeOver) -> Result<Claim, LogError> {
        disk.make_folder(folder, CLAIM_FOLDER).map_err(|source| LogError::io(folder, source))?;
        let lock = lock(&*disk, &folder.join("lock"))?;
        if lock.is_none() && how == TakeOver::Refuse {
            return Err(LogError::Held { path: folder.to_path_buf() });
        }
        let generation = raise_generation(&*disk, folder)?;
        Ok(Claim { disk, folder: folder.to_path_buf(), generation, lock: Mutex::new(lock) })
    }

    /// The number of this claim: greater than that of every earlier one.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Fails with [`LogError::Fenced`] once another writer has taken over. To be asked after each sync and before anything is
    /// acknowledged that it covers.
    pub fn check(&self) -> Result<(), LogError> {
        let found = read_generation(&*self.disk, &self.folder)?;
        if found > self.generation {
            return Err(LogError::Fenced { path: self.folder.clone(), own: self.generation, found });
        }
        if found < self.generation {
            let detail = format!("it says {found}, and this process had written {}", self.generation);
            return Err(LogError::damaged(&self.folder.join("generation"), 0, 0, detail));
        }
        self.take_lock_if_free()
    }

    /// Holds other writers off for as long as the result lives: none can take over meanwhile, and none has before. For what is
    /// written once for all generations. [`LogError::Locked`] while another one is taking over.
    pub fn hold(&self) -> Result<Box<dyn FileLock>, LogError> {
        let held = lock_raising(&*self.disk, &self.folder)?;
        self.check()?;
        Ok(held)
    }

    /// Takes the lock once the process that was overtaken has ended, so that a third one is refused.
    fn take_lock_if_free(&self) -> Result<(), LogError> {
        let mut held = self.lock.lock().expect("no thread panics while it holds the lock");
        if held.is_none() {
            *held = lock(&*self.disk, &self.folder.join("lock"))?;
        }
        Ok(())
    }
}

fn lock(disk: &dyn Disk, path: &Path) -> Result<Option<Box<dyn FileLock>>, LogError> {
    disk.lock(path).map_err(|source| LogError::io(path, source))
}

/// The lock that whoever raises the generation holds.
fn lock_raising(disk: &dyn Disk, folder: &Path) -> Result<Box<dyn FileLock>, LogError> {
    let path = folder.join("generation.lock");
    lock(disk, &path)?.ok_or(LogError::Locked { path })
}

/// Under a lock of its own: two processes that take over at once must not get the same number.
fn raise_generation(disk: &dyn Disk, folder: &Path) -> Result<u64, LogError> {
    let _raising = lock_raising(disk, folder)?;
    let generation = read_generation(disk, folder)? + 1;
    let path = folder.join("generation");
    write_whole(disk, &path, &encode(generation), GENERATION).map_err(|source| LogError::io(&path, source))?;
    Ok(generation)
}

/// The generation that stands in the folder; 0 where there never was one.
fn read_generation(disk: &dyn Disk, folder: &Path) -> Result<u64, LogError> {
    let path = folder.join("generation");
    let bytes = match read_whole(disk, &path, GENERATION_BYTES as u64) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(LogError::damaged(&path, 0, 0, error.to_string()));
        }
        read => read.map_err(|source| LogError::io(&path, source))?,
    };
    decode(&bytes, &path)
}

fn encode(generation: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(GENERATION_BYTES);
    Fields::begin(&mut out, MAGIC).u32(VERSION).u32(0).u64(generation).close();
    out
}

fn decode(bytes: &[u8], path: &Path) -> Result<u64, LogError> {
    if bytes.len() != GENERATION_BYTES || !is_closed(bytes, MAGIC) {
        return Err(LogError::damaged(path, 0, 0, "the generation does not match its checksum"));
    }
    match u32_at(bytes, 8) {
        // The greatest number is never given out: it could not be raised.
        VERSION if u64_at(bytes, 16) < u64::MAX => Ok(u64_at(bytes, 16)),
        VERSION => Err(LogError::damaged(path, 0, 0, "the generation is impossible")),
        found => Err(LogError::Version { path: path.to_path_buf(), found, known: VERSION }),
    }
}
