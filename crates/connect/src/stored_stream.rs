//! The stored events of one partition of a stream, frame by frame as they were judged: what recovery replays.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use asof_definition::Stream;
use asof_disk::Disk;
use asof_log::{Frame, LogReader};

use crate::data_folder::stream_folder;
use crate::error::ConnectError;
use crate::stored_batch::StoredBatch;

/// Reads a stream's log from an offset on. A log that is still written may be read on behind its present end.
#[derive(Debug)]
pub struct StoredStream {
    stream: String,
    partition: u32,
    schema: SchemaRef,
    reader: LogReader,
}

/// A group of arrivals with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFrame {
    /// The offset of its first row; each row has one, whatever its verdict.
    pub first_offset: u64,
    /// When the group arrived, in microseconds.
    pub arrived_us: i64,
    /// What arrived and what was decided.
    pub batch: StoredBatch,
}

impl StoredFrame {
    /// The offset behind its last row.
    pub fn end_offset(&self) -> u64 {
        self.first_offset + self.batch.verdicts.len() as u64
    }
}

impl StoredStream {
    /// Opens the log of a stream at the frame that holds `from_offset`. A log that does not exist is empty.
    pub fn open(
        disk: Arc<dyn Disk>,
        data_folder: &Path,
        stream: &Stream,
        partition: u32,
        from_offset: u64,
    ) -> Result<StoredStream, ConnectError> {
        let reader = LogReader::open(disk, &stream_folder(data_folder, &stream.name, partition), from_offset)?;
        Ok(StoredStream { stream: stream.name.clone(), partition, schema: stream.schema(), reader })
    }

    /// The next frame; `None` at the present end of the log.
    pub fn next_frame(&mut self) -> Result<Option<StoredFrame>, ConnectError> {
        let Some(Frame { head, body }) = self.reader.next_frame()? else { return Ok(None) };
        let batch = StoredBatch::decode(&body, &self.schema).and_then(|batch| match batch.verdicts.len() {
            rows if rows == head.rows as usize => Ok(batch),
            rows => Err(ConnectError::StoredDamaged { detail: format!("{rows} rows in a frame of {}", head.rows) }),
        });
        let batch = batch.map_err(|source| ConnectError::StoredAt {
            stream: self.stream.clone(),
            partition: self.partition,
            offset: head.first_offset,
            source: Box::new(source),
        })?;
        Ok(Some(StoredFrame { first_offset: head.first_offset, arrived_us: head.arrived_us, batch }))
    }
}
