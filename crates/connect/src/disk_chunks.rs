//! A file of a [`Disk`](asof_disk::Disk) as the Parquet reader wants to read it: ranges, none beyond the end.

use std::io::Read;
use std::sync::Arc;

use asof_disk::DiskFile;
use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// The file, and how long it was when it was opened.
#[derive(Debug, Clone)]
pub(crate) struct DiskChunks {
    file: Arc<dyn DiskFile>,
    bytes: u64,
}

impl DiskChunks {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> std::io::Result<DiskChunks> {
        let bytes = file.bytes()?;
        Ok(DiskChunks { file, bytes })
    }
}

impl Length for DiskChunks {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for DiskChunks {
    type T = ChunkRead;

    fn get_read(&self, start: u64) -> Result<ChunkRead> {
        Ok(ChunkRead { file: self.file.clone(), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.bytes);
        let beyond = || ParquetError::EOF(format!("{length} bytes at byte {start} reach beyond the end"));
        end.ok_or_else(beyond)?;
        let mut chunk = vec![0; length];
        if self.file.read_at(start, &mut chunk)? < length {
            return Err(ParquetError::EOF(format!("the file ends within {length} bytes at byte {start}")));
        }
        Ok(chunk.into())
    }
}

/// Reads on from one place.
#[derive(Debug)]
pub(crate) struct ChunkRead {
    file: Arc<dyn DiskFile>,
    at: u64,
}

impl Read for ChunkRead {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(self.at, buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}
