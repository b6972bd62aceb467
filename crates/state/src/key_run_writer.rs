//! Writes one run file from entries in order, in memory for the filter and the index only.
//!
//! The file is written beside its name and renamed when it is durable. Its name carries the checksum of its entries: two writers
//! that do not know of each other cannot give one name to different keys.

use std::hash::Hasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use asof_disk::{Disk, DiskFile, SyncSite};
use twox_hash::XxHash3_64;

use crate::key_filter::{KeyFilter, LINE_BYTES};
use crate::key_page::{Header, PAGE_BYTES, PAGE_ENTRIES, encode_entries};
use crate::key_run::KeyRun;
use crate::{KeyEntry, StateError};

const RUN: SyncSite = SyncSite("keys.run");
const NAME: SyncSite = SyncSite("keys.name");

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 256 * PAGE_BYTES;

/// How a run's name begins.
pub(crate) fn name_beginning(sequence: u64) -> String {
    format!("{sequence:010}-")
}

/// The name of a run file while it is written.
pub(crate) fn unfinished_name(sequence: u64) -> String {
    format!("{sequence:010}.partial")
}

fn finished_name(sequence: u64, entries_checksum: u64) -> String {
    format!("{}{entries_checksum:016x}.keys", name_beginning(sequence))
}

/// The sequence number of a run file's name, finished or not. `None`: not a run file.
pub(crate) fn sequence_of(name: &str) -> Option<u64> {
    let digits = name.get(..name.find(['-', '.'])?)?;
    let sequence = digits.parse().ok()?;
    let is_finished = || {
        let checksum = name.strip_prefix(&name_beginning(sequence))?.strip_suffix(".keys")?;
        let checksum = u64::from_str_radix(checksum, 16).ok()?;
        (finished_name(sequence, checksum) == name).then_some(())
    };
    (name == unfinished_name(sequence) || is_finished().is_some()).then_some(sequence)
}

/// Where a run goes.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: PathBuf,
}

impl Place {
    /// An empty file, whatever an earlier attempt left under its name.
    fn create_anew(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _removed_or_never_there => {}
        }
        self.disk.create(path)
    }
}

/// A run file in the making.
pub(crate) struct KeyRunWriter {
    place: Place,
    sequence: u64,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// Bytes on the disk; what is gathered goes behind them.
    written: u64,
    gathered: Vec<u8>,
    page: Vec<KeyEntry>,
    filter: KeyFilter,
    index: Vec<u64>,
    entries: XxHash3_64,
    header: Header,
}

impl KeyRunWriter {
    /// Begins a run of at most so many keys. Room for it is reserved: a full disk is seen here.
    pub(crate) fn begin(place: &Place, sequence: u64, keys_max: u64) -> Result<KeyRunWriter, StateError> {
        let header = Header {
            keys: keys_max,
            oldest_us: i64::MAX,
            newest_us: i64::MIN,
            filter_lines: KeyFilter::lines_for(keys_max),
            tail_checksum: 0,
            entries_checksum: 0,
        };
        let path = place.folder.join(unfinished_name(sequence));
        let file = place.create_anew(&path).map_err(StateError::disk(&path))?;
        let bytes = header.file_bytes().expect("keys in memory or on the disk have a possible file");
        file.reserve(bytes).map_err(StateError::disk(&path))?;
        Ok(KeyRunWriter {
            place: place.clone(),
            sequence,
            file,
            path,
            written: PAGE_BYTES as u64,
            gathered: Vec::with_capacity(WRITE_BYTES),
            page: Vec::with_capacity(PAGE_ENTRIES),
            filter: KeyFilter::for_keys(keys_max),
            index: Vec::with_capacity(header.pages() as usize),
            entries: XxHash3_64::new(),
            header: Header { keys: 0, ..header },
        })
    }

    /// Appends an entry, which is not before the one before it.
    pub(crate) fn push(&mut self, entry: KeyEntry) -> Result<(), StateError> {
        debug_assert!(self.page.last().is_none_or(|last| *last <= entry), "runs are sorted");
        self.filter.insert(entry.hash);
        self.header.keys += 1;
        self.header.oldest_us = self.header.oldest_us.min(entry.time_us);
        self.header.newest_us = self.header.newest_us.max(entry.time_us);
        self.page.push(entry);
        if self.page.len() == PAGE_ENTRIES { self.end_page() } else { Ok(()) }
    }

    /// Makes the run durable under its name. `None`: it got no keys, and there is no file.
    pub(crate) fn finish(mut self) -> Result<Option<KeyRun>, StateError> {
        if self.header.keys == 0 {
            self.place.disk.remove(&self.path).map_err(StateError::disk(&self.path))?;
            return Ok(None);
        }
        self.end_page()?;
        self.header.tail_checksum = self.write_tail()?;
        self.header.entries_checksum = self.entries.finish();
        self.file.write_at(0, &self.header.encode()).map_err(StateError::disk(&self.path))?;
        self.file.truncate(self.written).map_err(StateError::disk(&self.path))?;
        self.file.sync(RUN).map_err(StateError::disk(&self.path))?;
        let name = finished_name(self.sequence, self.header.entries_checksum);
        let path = self.place.folder.join(&name);
        self.place.disk.rename(&self.path, &path).map_err(StateError::disk(&path))?;
        self.place.disk.sync_folder(&self.place.folder, NAME).map_err(StateError::disk(&path))?;
        Ok(Some(KeyRun::written(name, &path, self.file, self.header, self.filter, self.index)))
    }

    fn end_page(&mut self) -> Result<(), StateError> {
        let Some(first) = self.page.first() else { return Ok(()) };
        self.index.push((first.hash >> 64) as u64);
        let page = encode_entries(&self.page, self.index.len() as u64);
        self.page.clear();
        self.entries.write(&page);
        self.gather(&page)
    }

    /// Writes filter and index. Returns their checksum.
    fn write_tail(&mut self) -> Result<u64, StateError> {
        let mut checksum = XxHash3_64::new();
        let filter = std::mem::replace(&mut self.filter, KeyFilter::with_room(0));
        for line in filter.encode() {
            checksum.write(&line);
            self.gather(&line)?;
        }
        self.filter = filter;
        for at in 0..self.index.len() {
            let first = self.index[at].to_le_bytes();
            checksum.write(&first);
            self.gather(&first)?;
        }
        self.write_gathered()?;
        Ok(checksum.finish())
    }

    fn gather(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        const { assert!(PAGE_BYTES <= WRITE_BYTES && LINE_BYTES <= WRITE_BYTES) };
        if self.gathered.len() + bytes.len() > WRITE_BYTES {
            self.write_gathered()?;
        }
        self.gathered.extend_from_slice(bytes);
        Ok(())
    }

    fn write_gathered(&mut self) -> Result<(), StateError> {
        self.file.write_at(self.written, &self.gathered).map_err(StateError::disk(&self.path))?;
        self.written += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }
}

/// Makes the folder of runs.
pub(crate) fn make_folder(disk: &dyn Disk, folder: &Path) -> Result<(), StateError> {
    disk.make_folder(folder, SyncSite("keys.folder")).map_err(StateError::disk(folder))
}
