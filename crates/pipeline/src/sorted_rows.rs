//! The rows of a file by event time, for whoever tells history to another process. A file that `asof run` replays is brought
//! into order by the same code.
//! ```text
//!   file ─▶ read whole, on all threads, into sorted runs (beyond their memory on disk) ─▶ merged, batch by batch
//! ```
//! Rows of one event time come in the order of the file; rows without an event time come first. Which rows a batch holds does
//! not depend on the number of threads, nor on what waited on disk.

use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Int64Array, RecordBatch};
use asof_connect::StreamFile;
use tempfile::TempDir;

use crate::error::PipelineError;
use crate::file_rows::{Gathering, PieceRead, Room};
use crate::merged_runs::MergedRuns;
use crate::row_layout::{RowLayout, offsets};
use crate::stop::Stop;

/// What bringing rows into order may take.
#[derive(Debug, Clone, Copy)]
pub struct SortRoom {
    /// Memory for rows that wait; beyond it they wait on disk.
    pub bytes_max: usize,
    /// Threads that decode.
    pub threads: usize,
}

/// A file's rows by event time.
#[derive(Debug)]
pub struct SortedRows {
    layout: RowLayout,
    merged: MergedRuns,
    rows: u64,
    /// Holds what waits on disk, and goes with it.
    _folder: TempDir,
}

/// Rows in their order.
#[derive(Debug)]
pub struct SortedBatch {
    /// The stream's columns.
    pub events: RecordBatch,
    /// Arrival times in microseconds, NULL where a row has none; `None` if the file was opened without an arrival column.
    pub arrived: Option<Int64Array>,
    /// For each row its number in the file, from 0.
    pub numbers: Vec<u64>,
    /// Rows that could not be read, ascending by their place here, and what is wrong with them. Their columns are NULL.
    pub unreadable: Vec<(usize, String)>,
}

impl SortedRows {
    /// Reads a whole file. `read` is told how many of its bytes were read; a stop ends the reading early, and what comes is
    /// then not all.
    pub fn read(
        source: StreamFile,
        room: SortRoom,
        read: &(dyn Fn(u64) + Sync),
        stop: &Stop,
    ) -> Result<SortedRows, PipelineError> {
        let folder = TempDir::with_prefix("asof-sort-")
            .map_err(|source| PipelineError::Spill { path: std::env::temp_dir(), source: source.into() })?;
        let layout = RowLayout::new(source.stream.clone(), source.arrival_column);
        let waiting = Room { folder: &folder, bytes_max: room.bytes_max, threads: room.threads };
        let rows = AtomicU64::new(0);
        let counted = |piece: PieceRead| {
            rows.fetch_add(piece.rows, Ordering::Relaxed);
            read(piece.bytes);
        };
        let merged = Gathering::new(&layout, &waiting, 0).sorted(source.file, &counted, stop)?;
        Ok(SortedRows { layout, merged, rows: rows.into_inner(), _folder: folder })
    }

    /// How many rows were read, unreadable ones included.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The next rows; `None` behind the last.
    pub fn next_batch(&mut self) -> Result<Option<SortedBatch>, PipelineError> {
        let Some(rows) = self.merged.next_batch()? else { return Ok(None) };
        Ok(Some(SortedBatch {
            events: self.layout.events(&rows),
            arrived: self.layout.arrived(&rows),
            numbers: offsets(&rows).values().to_vec(),
            unreadable: self.layout.unreadable(&rows),
        }))
    }
}
