//! Files kept durable: a folder of the system, or a simulated disk that crashes.
//!
//! Everything that must outlive the process is written through [`Disk`]. The rules:
//! - a write is durable once a sync of its file has returned; a name (created, renamed, removed) is durable once a sync of its
//!   folder has returned. Nothing else is, in no order: tests get exactly that from [`simulated::SimulatedDisk`];
//! - each sync names its [`SyncSite`], so that a test can leave one out and must see something lost.
//!
//! ```text
//!   write_at ─▶ visible to every reader ── crash ─▶ kept, torn or gone
//!       │ sync(site)
//!       ▼
//!   durable ────────────────────────────── crash ─▶ kept
//! ```
//! [`FolderDisk`] is the real one; [`hooked::HookedDisk`] lets tests come between. Here is no async and no clock: a call returns when the system has answered.

mod folder_disk;
pub mod hooked;
pub mod simulated;
mod whole;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use folder_disk::FolderDisk;
pub use whole::{read_whole, write_parts, write_whole};

/// The name of one place in the source that syncs, such as `log.group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncSite(pub &'static str);

/// What a folder holds under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name within its folder.
    pub name: String,
    /// Whether it is a folder itself.
    pub is_folder: bool,
    /// The length of the file in bytes; 0 of a folder.
    pub bytes: u64,
}

/// A tree of folders and files.
pub trait Disk: Debug + Send + Sync {
    /// Makes a folder with its parents where they are missing. When this returns, the names of those that it made, and of the
    /// deepest one that was there already, are durable: an earlier process may have ended between making that one and its sync.
    fn make_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()>;

    /// What the folder holds, by name. `NotFound` where there is no such folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>>;

    /// Creates an empty file. `AlreadyExists` where the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file to read and write; to read only, where the system allows no more.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file or folder another name, replacing a file that had it. A crash leaves the one or the other.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file or an empty folder. Who has the file open may go on using it.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in the folder durable.
    fn sync_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()>;

    /// Takes the advisory lock of this file, creating it where it is missing. `None`: somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>>;
}

/// An open file. Threads may share it; what they write to the same place at the same time comes out in any order.
pub trait DiskFile: Debug + Send + Sync {
    /// Its length in bytes.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads into `buffer` from this byte on. Returns how much: less than asked only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` from this byte on. After an error any part of them may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Gives the file room up to this length: what is new reads as zeros, and later writes there find room. A file that is
    /// longer already keeps its length. After `StorageFull` it has the length that it had.
    fn reserve(&self, bytes: u64) -> io::Result<()>;

    /// Cuts the file off at this length, or lengthens it with zeros.
    fn truncate(&self, bytes: u64) -> io::Result<()>;

    /// Makes what was written, and the length, durable. After an error it is unknown what is, and a later sync that returns
    /// well says nothing about it (<https://wiki.postgresql.org/wiki/Fsync_Errors>).
    fn sync(&self, site: SyncSite) -> io::Result<()>;
}

/// A held advisory lock; dropping it, or the end of the process, gives it back.
pub trait FileLock: Debug + Send {}
