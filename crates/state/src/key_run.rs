//! One run: an immutable sorted file of keys, of which memory holds the filter and the index.
//!
//! A lookup asks the filter first and reads nothing if that says no. Otherwise it reads the one page where the hash would be, or
//! two where a page begins with the same upper half.

use std::hash::Hasher;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use asof_disk::{Disk, DiskFile};
use twox_hash::XxHash3_64;

use crate::key_filter::{KeyFilter, LINE_BYTES};
use crate::key_page::{Entries, Header, PAGE_BYTES, PAGE_ENTRIES, Page};
use crate::{KeyEntry, StateError};

/// Bytes read at a time where a file is read through.
const READ_BYTES: usize = 1 << 20;

/// An open run.
#[derive(Debug)]
pub(crate) struct KeyRun {
    name: String,
    /// Its whole path, as errors name it.
    object: String,
    file: Arc<dyn DiskFile>,
    header: Header,
    filter: KeyFilter,
    /// The upper half of the first hash of each page.
    index: Vec<u64>,
}

impl KeyRun {
    /// A run that was just written to this file.
    pub(crate) fn written(
        name: String,
        path: &Path,
        file: Arc<dyn DiskFile>,
        header: Header,
        filter: KeyFilter,
        index: Vec<u64>,
    ) -> KeyRun {
        KeyRun { name, object: path.display().to_string(), file, header, filter, index }
    }

    /// Opens a run: its header, filter and index are checked here, each page when it is read.
    pub(crate) fn open(disk: &dyn Disk, folder: &Path, name: &str) -> Result<KeyRun, StateError> {
        let path = folder.join(name);
        let object = path.display().to_string();
        let file = open_named(disk, &path)?;
        let mut page = [0; PAGE_BYTES];
        read_exactly(&*file, &object, 0, &mut page)?;
        let header = Header::decode(&object, &page)?;
        if !name.ends_with(&format!("-{:016x}.keys", header.entries_checksum)) {
            return Err(StateError::damaged(object, "it holds other entries than its name says"));
        }
        let found = file.bytes().map_err(StateError::disk(&path))?;
        // Memory is taken below for as much as the file is long, not for as much as it claims.
        if header.keys == 0 || header.filter_lines == 0 || header.file_bytes() != Some(found) {
            return Err(StateError::damaged(object, format!("it has {found} bytes, which its header contradicts")));
        }
        let (filter, index) = read_tail(&*file, &object, &header)?;
        Ok(KeyRun { name: name.to_owned(), object, file, header, filter, index })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn keys(&self) -> u64 {
        self.header.keys
    }

    pub(crate) fn newest_us(&self) -> i64 {
        self.header.newest_us
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<KeyRun>()
            + self.name.capacity()
            + self.object.capacity()
            + self.filter.memory_bytes()
            + self.index.capacity() * 8
    }

    /// Adds the number and event time of each of the hashes that is here.
    pub(crate) fn look_up(&self, hashes: &[u128], found: &mut Vec<(usize, i64)>) -> Result<(), StateError> {
        let mut possible: Vec<(u128, usize)> = Vec::new();
        for (number, &hash) in hashes.iter().enumerate() {
            if self.filter.may_hold(hash) {
                possible.push((hash, number));
            }
        }
        // In the order of the file, so that a page is read once for all of its hashes.
        possible.sort_unstable();
        let mut reader = PageReader::new(self);
        for (hash, number) in possible {
            for page_number in self.pages_of(hash) {
                found.extend(reader.page(page_number)?.times_of(hash).map(|time_us| (number, time_us)));
            }
        }
        Ok(())
    }

    /// The pages, from 1 on, in which the hash may be.
    fn pages_of(&self, hash: u128) -> Range<u64> {
        let upper = (hash >> 64) as u64;
        // The page before the first one that begins with `upper` may end with it.
        let first = self.index.partition_point(|&begin| begin < upper).max(1);
        let end = self.index.partition_point(|&begin| begin <= upper) + 1;
        first as u64..end as u64
    }

    /// All entries in order, read through in large pieces.
    pub(crate) fn entries(self: &Arc<Self>) -> RunEntries {
        RunEntries { run: Arc::clone(self), next_page: 1, buffer: Vec::new(), entries: Vec::new().into_iter() }
    }

    fn check_count(&self, entries: &Entries<'_>, page_number: u64) -> Result<(), StateError> {
        let before = (page_number - 1) * PAGE_ENTRIES as u64;
        let expected = (self.header.keys - before).min(PAGE_ENTRIES as u64);
        if entries.len() as u64 == expected {
            return Ok(());
        }
        let detail = format!("page {page_number} holds {} entries, not {expected}", entries.len());
        Err(StateError::damaged(&self.object, detail))
    }
}

/// Reads single pages; the last one read is at hand.
struct PageReader<'a> {
    run: &'a KeyRun,
    page: Box<Page>,
    number: u64,
}

impl<'a> PageReader<'a> {
    fn new(run: &'a KeyRun) -> PageReader<'a> {
        // Page 0 is the header: never asked for.
        PageReader { run, page: Box::new([0; PAGE_BYTES]), number: 0 }
    }

    fn page(&mut self, number: u64) -> Result<Entries<'_>, StateError> {
        if number != self.number {
            self.number = 0;
            read_exactly(&*self.run.file, &self.run.object, number * PAGE_BYTES as u64, &mut *self.page)?;
            self.run.check_count(&Entries::decode(&self.run.object, &self.page, number)?, number)?;
            self.number = number;
        }
        Entries::decode(&self.run.object, &self.page, number)
    }
}

/// The entries of a run, in order.
pub(crate) struct RunEntries {
    run: Arc<KeyRun>,
    next_page: u64,
    buffer: Vec<u8>,
    entries: std::vec::IntoIter<KeyEntry>,
}

impl RunEntries {
    pub(crate) fn next(&mut self) -> Result<Option<KeyEntry>, StateError> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Ok(Some(entry));
            }
            if self.next_page > self.run.header.pages() {
                return Ok(None);
            }
            self.read_on()?;
        }
    }

    fn read_on(&mut self) -> Result<(), StateError> {
        let left = self.run.header.pages() + 1 - self.next_page;
        let pages = left.min((READ_BYTES / PAGE_BYTES) as u64);
        self.buffer.resize(pages as usize * PAGE_BYTES, 0);
        read_exactly(&*self.run.file, &self.run.object, self.next_page * PAGE_BYTES as u64, &mut self.buffer)?;
        let mut read = Vec::with_capacity(pages as usize * PAGE_ENTRIES);
        for page in self.buffer.as_chunks::<PAGE_BYTES>().0 {
            let entries = Entries::decode(&self.run.object, page, self.next_page)?;
            self.run.check_count(&entries, self.next_page)?;
            read.extend(entries.iter());
            self.next_page += 1;
        }
        self.entries = read.into_iter();
        Ok(())
    }
}

fn open_named(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskFile>, StateError> {
    disk.open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let object = path.display().to_string();
            StateError::Missing { object, named_by: "a checkpoint".to_owned() }
        }
        _ => StateError::disk(path)(error),
    })
}

fn read_tail(file: &dyn DiskFile, object: &str, header: &Header) -> Result<(KeyFilter, Vec<u64>), StateError> {
    let mut checksum = XxHash3_64::new();
    let filter_at = header.filter_at().expect("the file has this length");
    let mut filter = KeyFilter::with_room(header.filter_lines);
    read_through(file, object, filter_at, header.filter_lines * LINE_BYTES as u64, &mut |bytes| {
        checksum.write(bytes);
        filter.push_lines(bytes);
    })?;
    let index_at = header.index_at().expect("the file has this length");
    let mut index = Vec::with_capacity(header.pages() as usize);
    read_through(file, object, index_at, header.pages() * 8, &mut |bytes| {
        checksum.write(bytes);
        index.extend(bytes.as_chunks::<8>().0.iter().map(|&first| u64::from_le_bytes(first)));
    })?;
    if checksum.finish() != header.tail_checksum {
        let detail = format!("filter and index, from byte {filter_at} on, have not the checksum that the header names");
        return Err(StateError::damaged(object, detail));
    }
    Ok((filter, index))
}

/// Gives `take` these bytes of the file, in pieces of whole filter lines.
fn read_through(
    file: &dyn DiskFile,
    object: &str,
    from: u64,
    bytes: u64,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), StateError> {
    let mut buffer = vec![0; bytes.min(READ_BYTES as u64) as usize];
    let mut done = 0;
    while done < bytes {
        let count = (bytes - done).min(READ_BYTES as u64) as usize;
        read_exactly(file, object, from + done, &mut buffer[..count])?;
        take(&buffer[..count]);
        done += count as u64;
    }
    Ok(())
}

fn read_exactly(file: &dyn DiskFile, object: &str, from: u64, buffer: &mut [u8]) -> Result<(), StateError> {
    let read = file.read_at(from, buffer).map_err(StateError::disk(Path::new(object)))?;
    if read == buffer.len() {
        return Ok(());
    }
    Err(StateError::damaged(object, format!("it ends at byte {}, before its end", from + read as u64)))
}
