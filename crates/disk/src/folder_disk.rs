//! The real disk: files of the system, through `std::fs` and `fallocate`.
//!
//! Only Unix. A folder is synced by opening and syncing it like a file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Disk, DiskFile, Entry, FileLock, SyncSite};

/// Zeros written at a time where the file system cannot reserve room.
const ZEROS_BYTES: usize = 64 * 1024;

/// Files and folders of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct FolderDisk;

impl Disk for FolderDisk {
    fn make_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        let mut missing: Vec<PathBuf> = Vec::new();
        let mut deepest = folder.to_path_buf();
        while !deepest.as_os_str().is_empty() && !deepest.try_exists()? {
            missing.push(deepest.clone());
            deepest.pop();
        }
        self.sync_parent(&deepest, site)?;
        for folder in missing.iter().rev() {
            match std::fs::create_dir(folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _made_by_us_or_just_now_by_another => self.sync_parent(folder, site)?,
            }
        }
        if folder.as_os_str().is_empty() || folder.is_dir() { Ok(()) } else { Err(ErrorKind::NotADirectory.into()) }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(or_here(folder))? {
            let entry = entry?;
            let name = entry.file_name().into_string().map_err(|name| {
                let text = format!("the name {name:?} in `{}` is not UTF-8", folder.display());
                io::Error::new(ErrorKind::InvalidData, text)
            })?;
            match std::fs::metadata(entry.path()) {
                Ok(about) if about.is_dir() => entries.push(Entry { name, is_folder: true, bytes: 0 }),
                Ok(about) => entries.push(Entry { name, is_folder: false, bytes: about.len() }),
                // Removed since the folder was read.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(FolderFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let file = match opened {
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
                File::open(path)?
            }
            other => other?,
        };
        Ok(Arc::new(FolderFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::IsADirectory => std::fs::remove_dir(path),
            other => other,
        }
    }

    fn sync_folder(&self, folder: &Path, _site: SyncSite) -> io::Result<()> {
        File::open(or_here(folder))?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(FolderLock { _locked: file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl FolderDisk {
    /// Makes the name of this folder durable. The root, and the folder where the process stands, have no name to sync.
    fn sync_parent(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        match folder.parent() {
            Some(parent) => self.sync_folder(parent, site),
            None => Ok(()),
        }
    }
}

/// The folder where the process stands has the empty path as the parent of a bare name.
fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// The file is locked as long as it is open.
#[derive(Debug)]
struct FolderLock {
    _locked: File,
}

impl FileLock for FolderLock {}

#[derive(Debug)]
struct FolderFile(File);

impl DiskFile for FolderFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.0.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let before = self.bytes()?;
        if bytes <= before {
            return Ok(());
        }
        let reserved = match self.allocate(before, bytes) {
            // The system reserved blocks without moving the end of the file, as macOS does.
            Ok(()) if self.bytes()? < bytes => self.truncate(bytes),
            Err(error) if error.kind() == ErrorKind::Unsupported => self.write_zeros(before, bytes),
            other => other,
        };
        if reserved.is_err() {
            self.truncate(before)?;
        }
        reserved
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self, _site: SyncSite) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl FolderFile {
    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        loop {
            match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), from, to - from) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    fn write_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        let zeros = [0; ZEROS_BYTES];
        let mut at = from;
        while at < to {
            let count = (to - at).min(ZEROS_BYTES as u64) as usize;
            self.write_at(at, &zeros[..count])?;
            at += count as u64;
        }
        Ok(())
    }
}
