//! A disk that now and then does not open the file with the generation, as for want of descriptors.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use asof_disk::{Disk, DiskFile, Entry, FileLock, SyncSite};

#[derive(Debug)]
pub(crate) struct RefusingDisk {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) refuses: Arc<AtomicBool>,
}

impl Disk for RefusingDisk {
    fn make_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        self.disk.make_folder(folder, site)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(folder)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if path.ends_with("generation") && self.refuses.load(Ordering::Relaxed) {
            return Err(io::Error::other("too many open files"));
        }
        self.disk.open(path)
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
