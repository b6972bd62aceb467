//! A disk of which every sync of a file takes its time.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use asof_disk::{Disk, DiskFile, Entry, FileLock, SyncSite};

#[derive(Debug)]
pub(crate) struct SlowDisk {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<AtomicI64>,
    /// How long a sync takes, in microseconds.
    pub(crate) sync_us: i64,
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn DiskFile>,
    clock: Arc<AtomicI64>,
    sync_us: i64,
}

impl SlowDisk {
    fn slow(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(SlowFile { file, clock: self.clock.clone(), sync_us: self.sync_us })
    }
}

impl Disk for SlowDisk {
    fn make_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        self.disk.make_folder(folder, site)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(folder)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path).map(|file| self.slow(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path).map(|file| self.slow(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        self.disk.sync_folder(folder, site)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        self.disk.lock(path)
    }
}

impl DiskFile for SlowFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.file.reserve(bytes)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)
    }

    fn sync(&self, site: SyncSite) -> io::Result<()> {
        self.clock.fetch_add(self.sync_us, Ordering::Relaxed);
        self.file.sync(site)
    }
}
