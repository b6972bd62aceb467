//! A disk for tests on which something happens just before what is done to it: time passes, another process writes, the
//! system refuses.
//!
//! ```text
//!   caller ── open(path) ──▶ before(Operation::Open(path)) ── Ok ──▶ open(path) of the disk beneath
//!                                    └── Err ──▶ that is what the caller gets, and the disk beneath is not asked
//! ```

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::{Disk, DiskFile, Entry, FileLock, SyncSite};

/// What is about to be done. Of an open file it is not told which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation<'a> {
    /// [`Disk::make_folder`].
    MakeFolder(&'a Path),
    /// [`Disk::list`].
    List(&'a Path),
    /// [`Disk::create`].
    Create(&'a Path),
    /// [`Disk::open`].
    Open(&'a Path),
    /// [`Disk::rename`], with the old name.
    Rename(&'a Path),
    /// [`Disk::remove`].
    Remove(&'a Path),
    /// [`Disk::sync_folder`].
    SyncFolder(&'a Path, SyncSite),
    /// [`Disk::lock`]. Refused with `WouldBlock`, somebody else holds it.
    Lock(&'a Path),
    /// [`DiskFile::bytes`].
    Bytes,
    /// [`DiskFile::read_at`].
    Read,
    /// [`DiskFile::write_at`].
    Write,
    /// [`DiskFile::reserve`].
    Reserve,
    /// [`DiskFile::truncate`].
    Truncate,
    /// [`DiskFile::sync`].
    Sync(SyncSite),
}

/// What happens before each operation; an error takes its place.
type Before = Arc<dyn Fn(Operation<'_>) -> io::Result<()> + Send + Sync>;

/// A disk with something before each operation.
#[derive(Clone)]
pub struct HookedDisk {
    disk: Arc<dyn Disk>,
    before: Before,
}

struct HookedFile {
    file: Arc<dyn DiskFile>,
    before: Before,
}

impl HookedDisk {
    /// A disk that calls `before` and then, unless that refuses, does what `disk` does.
    pub fn new(
        disk: Arc<dyn Disk>,
        before: impl Fn(Operation<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> HookedDisk {
        HookedDisk { disk, before: Arc::new(before) }
    }

    fn hooked(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(HookedFile { file, before: self.before.clone() })
    }
}

impl fmt::Debug for HookedDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("HookedDisk").field(&self.disk).finish()
    }
}

impl fmt::Debug for HookedFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("HookedFile").field(&self.file).finish()
    }
}

impl Disk for HookedDisk {
    fn make_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        (self.before)(Operation::MakeFolder(folder))?;
        self.disk.make_folder(folder, site)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        (self.before)(Operation::List(folder))?;
        self.disk.list(folder)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        (self.before)(Operation::Create(path))?;
        self.disk.create(path).map(|file| self.hooked(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        (self.before)(Operation::Open(path))?;
        self.disk.open(path).map(|file| self.hooked(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.before)(Operation::Rename(from))?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        (self.before)(Operation::Remove(path))?;
        self.disk.remove(path)
    }

    fn sync_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        (self.before)(Operation::SyncFolder(folder, site))?;
        self.disk.sync_folder(folder, site)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        match (self.before)(Operation::Lock(path)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
            Ok(()) => self.disk.lock(path),
        }
    }
}

impl DiskFile for HookedFile {
    fn bytes(&self) -> io::Result<u64> {
        (self.before)(Operation::Bytes)?;
        self.file.bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (self.before)(Operation::Read)?;
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (self.before)(Operation::Write)?;
        self.file.write_at(offset, bytes)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        (self.before)(Operation::Reserve)?;
        self.file.reserve(bytes)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        (self.before)(Operation::Truncate)?;
        self.file.truncate(bytes)
    }

    fn sync(&self, site: SyncSite) -> io::Result<()> {
        (self.before)(Operation::Sync(site))?;
        self.file.sync(site)
    }
}
