//! The mark: how far the active segment was synced, in a small file that is never synced itself.
//!
//! It is written after each sync, so what it says is true, if perhaps no longer all. After the end of a process it is up to
//! date, and damage in the last frames is told from a torn tail. After a power cut it may be old, torn or gone, and the
//! frames' own word remains. Losing it loses nothing.
//!
//! Each generation has a mark of its own, `<generation>.durable`, so that a writer that was overtaken and does not know it yet
//! does not write over the mark of the one that took over. Before that they shared one, `durable`: it is read where there is
//! no other, and counts as that of generation 0, which no writer has.
//!
//! ```text
//!   0 `asof-mrk`   8 version u32   12 zero u32   16 first offset of the segment   24 generation   32 bytes   40 checksum
//! ```

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use asof_disk::{Disk, DiskFile};

use crate::chain::number;
use crate::error::LogError;
use crate::field::{Fields, VERSION, is_closed, u32_at, u64_at};
use crate::segment::SegmentName;

const MAGIC: &[u8; 8] = b"asof-mrk";
const MARK_BYTES: usize = 48;
const ENDING: &str = ".durable";

/// The mark of before each generation had its own, and the generation that it counts as.
const SHARED: &str = "durable";
const SHARED_BY: u64 = 0;

fn path(folder: &Path, generation: u64) -> PathBuf {
    match generation {
        SHARED_BY => folder.join(SHARED),
        own => folder.join(format!("{own:010}{ENDING}")),
    }
}

/// The generation whose mark has this name.
fn generation_of(name: &str) -> Option<u64> {
    if name == SHARED { Some(SHARED_BY) } else { number(name.strip_suffix(ENDING)?, 10) }
}

/// What the mark says: a sync has covered so many bytes of this segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) segment: SegmentName,
    pub(crate) bytes: u64,
}

impl Durable {
    fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MARK_BYTES);
        let fields = Fields::begin(&mut out, MAGIC).u32(VERSION).u32(0);
        fields.u64(self.segment.first_offset).u64(self.segment.generation).u64(self.bytes).close();
        out
    }

    fn decode(bytes: &[u8]) -> Option<Durable> {
        let is_whole = bytes.len() == MARK_BYTES && is_closed(bytes, MAGIC) && u32_at(bytes, 8) == VERSION;
        is_whole.then(|| Durable {
            segment: SegmentName { generation: u64_at(bytes, 24), first_offset: u64_at(bytes, 16) },
            bytes: u64_at(bytes, 32),
        })
    }

    /// What the mark of the newest generation in this folder says; `None` where there is none, or it is not whole.
    pub(crate) fn newest(disk: &dyn Disk, folder: &Path) -> Result<Option<Durable>, LogError> {
        match generations(disk, folder)?.into_iter().max() {
            Some(generation) => Durable::read(disk, folder, generation),
            None => Ok(None),
        }
    }

    /// What the mark of this segment's generation says of it; `None` where there is none that is whole.
    pub(crate) fn of(disk: &dyn Disk, folder: &Path, segment: SegmentName) -> Result<Option<Durable>, LogError> {
        let mark = match Durable::read(disk, folder, segment.generation)? {
            None => Durable::read(disk, folder, SHARED_BY)?,
            own => own,
        };
        Ok(mark.filter(|durable| durable.segment == segment))
    }

    fn read(disk: &dyn Disk, folder: &Path, generation: u64) -> Result<Option<Durable>, LogError> {
        let path = path(folder, generation);
        let mut bytes = [0; MARK_BYTES];
        let read = disk.open(&path).and_then(|file| file.read_at(0, &mut bytes));
        match read {
            Ok(read) => Ok(Durable::decode(&bytes[..read])),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LogError::io(&path, error)),
        }
    }
}

/// The generations that have a mark here.
fn generations(disk: &dyn Disk, folder: &Path) -> Result<Vec<u64>, LogError> {
    let entries = disk.list(folder).map_err(|source| LogError::io(folder, source))?;
    Ok(entries.iter().filter_map(|entry| generation_of(&entry.name)).collect())
}

/// Removes the marks of generations older than this one, and the shared one, whose own first segment is durable: they say nothing any more. It
/// does no harm if one comes back.
pub(crate) fn remove_marks_before(disk: &dyn Disk, folder: &Path, generation: u64) -> Result<(), LogError> {
    for older in generations(disk, folder)?.into_iter().filter(|older| *older < generation) {
        let path = path(folder, older);
        match disk.remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(LogError::failed(&path, error)),
            _removed_or_gone => {}
        }
    }
    Ok(())
}

/// The writer's hold of its mark.
#[derive(Debug)]
pub(crate) struct Mark {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
}

impl Mark {
    pub(crate) fn new(disk: Arc<dyn Disk>, folder: &Path, generation: u64) -> Mark {
        Mark { disk, path: path(folder, generation), file: None }
    }

    /// Says how far a sync went. On a full disk the mark stays as it is until the next sync: an old one is as good as none.
    pub(crate) fn set(&mut self, durable: Durable) -> Result<(), LogError> {
        match self.write(&durable.encode()).map_err(|source| LogError::io(&self.path, source)) {
            Err(LogError::Full { .. }) => Ok(()),
            written => written,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => open_or_create(&*self.disk, &self.path)?,
        };
        self.file.insert(file).write_at(0, bytes)
    }
}

pub(crate) fn open_or_create(disk: &dyn Disk, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
    match disk.create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => disk.open(path),
        created => created,
    }
}
