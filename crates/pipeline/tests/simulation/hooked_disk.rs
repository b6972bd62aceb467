//! A disk on which something else happens in the middle of what one process does: another one takes over.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use asof_disk::{Disk, DiskFile, Entry, FileLock, SyncSite};

/// What is to happen, and before which operation from now on (0: the next one).
type Armed = Option<(u64, Box<dyn FnOnce() + Send>)>;

/// Where something is armed. It happens once.
#[derive(Clone, Default)]
pub(crate) struct Hook(Arc<Mutex<Armed>>);

impl fmt::Debug for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hook")
    }
}

impl Hook {
    pub(crate) fn arm(&self, operations: u64, act: Box<dyn FnOnce() + Send>) {
        *self.lock() = Some((operations, act));
    }

    /// Lets it happen now, if it has not. Returns whether it had not.
    pub(crate) fn fire(&self) -> bool {
        let armed = self.lock().take();
        let waited = armed.is_some();
        if let Some((_, act)) = armed {
            act();
        }
        waited
    }

    fn tick(&self) {
        let mut armed = self.lock();
        match &mut *armed {
            Some((0, _)) => {
                drop(armed);
                self.fire();
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Armed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk whose every operation, reads included, may be preceded by what is armed.
#[derive(Debug)]
pub(crate) struct HookedDisk {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) hook: Hook,
}

#[derive(Debug)]
struct HookedFile {
    file: Arc<dyn DiskFile>,
    hook: Hook,
}

impl HookedDisk {
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(HookedFile { file, hook: self.hook.clone() })
    }
}

impl Disk for HookedDisk {
    fn make_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        self.hook.tick();
        self.disk.make_folder(folder, site)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.hook.tick();
        self.disk.list(folder)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.hook.tick();
        self.disk.create(path).map(|file| self.file(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.hook.tick();
        self.disk.open(path).map(|file| self.file(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.hook.tick();
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.hook.tick();
        self.disk.remove(path)
    }

    fn sync_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        self.hook.tick();
        self.disk.sync_folder(folder, site)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        self.disk.lock(path)
    }
}

impl DiskFile for HookedFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.hook.tick();
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.hook.tick();
        self.file.write_at(offset, bytes)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.hook.tick();
        self.file.reserve(bytes)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.hook.tick();
        self.file.truncate(bytes)
    }

    fn sync(&self, site: SyncSite) -> io::Result<()> {
        self.hook.tick();
        self.file.sync(site)
    }
}
