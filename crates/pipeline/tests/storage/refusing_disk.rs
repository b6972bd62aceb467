//! A disk that now and then does not open the file with the generation, as for want of descriptors, and on which another
//! process is beginning a segment.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use asof_disk::{Disk, DiskFile, Entry, FileLock, SyncSite};

#[derive(Debug)]
pub(crate) struct RefusingDisk {
    pub(crate) disk: Arc<dyn Disk>,
    /// Whether the generation is not opened.
    pub(crate) refuses: Arc<AtomicBool>,
    /// How often it is still found that another process is beginning a segment.
    pub(crate) beginnings: Arc<AtomicUsize>,
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
        if path.ends_with("beginning") {
            let one_less = |left: usize| left.checked_sub(1);
            if self.beginnings.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                return Ok(None);
            }
        }
        self.disk.lock(path)
    }
}
