//! Reading a segment from front to back, a few hundred kilobytes at a time.

use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use asof_disk::{Disk, DiskFile};
use twox_hash::XxHash3_64;

use crate::error::LogError;
use crate::field::checksum;

const CHUNK_BYTES: usize = 256 * 1024;

/// A segment file and the piece of it that was read last.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    begin: u64,
    bytes: Vec<u8>,
    fills: u64,
}

impl ReadAhead {
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<ReadAhead, LogError> {
        let file = disk.open(path).map_err(|source| LogError::io(path, source))?;
        Ok(ReadAhead::of(file, path))
    }

    pub(crate) fn of(file: Arc<dyn DiskFile>, path: &Path) -> ReadAhead {
        ReadAhead { path: path.to_path_buf(), file, begin: 0, bytes: Vec::new(), fills: 0 }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file_bytes(&self) -> Result<u64, LogError> {
        self.file.bytes().map_err(|source| LogError::io(&self.path, source))
    }

    /// How often the file was read.
    pub(crate) fn fills(&self) -> u64 {
        self.fills
    }

    /// Forgets what was read: the next bytes come from the file.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
    }

    /// `count` bytes from `at` on, fewer at the end of the file. At most a chunk: see [`ReadAhead::copy`] for more.
    pub(crate) fn get(&mut self, at: u64, count: usize) -> Result<&[u8], LogError> {
        assert!(count <= CHUNK_BYTES, "{count} bytes are more than a chunk");
        if at < self.begin || at + count as u64 > self.begin + self.bytes.len() as u64 {
            self.fill(at)?;
        }
        let from = (at - self.begin) as usize;
        Ok(&self.bytes[from..self.bytes.len().min(from + count)])
    }

    /// A chunk from `at` on, or what is left of it in memory; empty only at the end of the file.
    pub(crate) fn piece(&mut self, at: u64) -> Result<&[u8], LogError> {
        if at < self.begin || at >= self.begin + self.bytes.len() as u64 {
            self.fill(at)?;
        }
        Ok(&self.bytes[(at - self.begin) as usize..])
    }

    /// `count` bytes from `at` on, fewer at the end of the file. Takes memory for no more than the file has.
    pub(crate) fn copy(&mut self, at: u64, count: u64) -> Result<Vec<u8>, LogError> {
        let held = at.checked_sub(self.begin).and_then(|from| self.bytes.get(from as usize..)).unwrap_or(&[]);
        if held.len() as u64 >= count {
            return Ok(held[..count as usize].to_vec());
        }
        let length = count.min(self.file_bytes()?.saturating_sub(at)) as usize;
        let mut bytes = vec![0; length];
        let read = self.read(at, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// The XXH3-64 of `count` bytes from `at` on; `None` if the file ends before.
    pub(crate) fn checksum(&mut self, at: u64, count: u64) -> Result<Option<u64>, LogError> {
        if count <= CHUNK_BYTES as u64 {
            let bytes = self.get(at, count as usize)?;
            return Ok((bytes.len() as u64 == count).then(|| checksum(bytes)));
        }
        let mut hasher = XxHash3_64::default();
        let (mut at, mut left) = (at, count);
        while left > 0 {
            let piece = self.piece(at)?;
            if piece.is_empty() {
                return Ok(None);
            }
            let piece = &piece[..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            hasher.write(piece);
            at += piece.len() as u64;
            left -= piece.len() as u64;
        }
        Ok(Some(hasher.finish()))
    }

    fn fill(&mut self, at: u64) -> Result<(), LogError> {
        let mut bytes = std::mem::take(&mut self.bytes);
        let length = self.file_bytes()?.saturating_sub(at).min(CHUNK_BYTES as u64) as usize;
        bytes.resize(length, 0);
        let read = self.read(at, &mut bytes)?;
        bytes.truncate(read);
        self.bytes = bytes;
        self.begin = at;
        self.fills += 1;
        Ok(())
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> Result<usize, LogError> {
        self.file.read_at(at, buffer).map_err(|source| LogError::io(&self.path, source))
    }
}
