//! The rows of a stream's file in the order in which they are taken: by event time, the default, or as they stand.
//!
//! For event time the file is read once before the first row comes, on all threads, into sorted runs; what does not fit
//! its memory waits on disk. As they stand, rows are read when they are asked for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::{Int64Array, RecordBatch};
use asof_connect::{Decoder, EventFile, StreamFile};
use asof_definition::FileOrder;
use asof_feature::StreamPlan;
use tempfile::TempDir;

use crate::error::PipelineError;
use crate::merged_runs::{MergedRuns, Run};
use crate::progress::StreamProgress;
use crate::row_layout::{RowLayout, taken_at};
use crate::stop::Stop;

/// Where rows wait.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    /// For what does not fit in memory.
    pub(crate) folder: &'a TempDir,
    /// Memory for one file's rows.
    pub(crate) bytes_max: usize,
    /// Threads that decode.
    pub(crate) threads: usize,
}

/// A file's rows, batch by batch.
pub(crate) struct FileRows {
    layout: RowLayout,
    rows: Rows,
}

enum Rows {
    Sorted(MergedRuns),
    Standing(Standing),
}

/// Rows as they stand in the file. They are taken at the greatest event time so far, which never goes back; a row that is
/// rejected on its face moves nothing.
struct Standing {
    plan: StreamPlan,
    file: EventFile,
    decoder: Decoder,
    decoded: VecDeque<RecordBatch>,
    latest_us: i64,
}

/// A part of a file that was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PieceRead {
    /// Of the file.
    pub(crate) bytes: u64,
    /// In it, unreadable ones included.
    pub(crate) rows: u64,
}

/// Where runs gather while a file is read.
pub(crate) struct Gathering<'a> {
    layout: &'a RowLayout,
    room: &'a Room<'a>,
    stream: usize,
    gathered: Mutex<Gathered>,
}

#[derive(Default)]
struct Gathered {
    held: Vec<Run>,
    held_bytes: usize,
    spilled: Vec<Run>,
}

impl FileRows {
    /// Opens the rows of the stream with this index. Reading may take a while; it ends early, with the rows so far, when a
    /// stop is asked for.
    pub(crate) fn read(
        stream: usize,
        source: StreamFile,
        plan: &StreamPlan,
        room: &Room<'_>,
        progress: &StreamProgress,
        stop: &Stop,
    ) -> Result<FileRows, PipelineError> {
        let layout = RowLayout::new(source.stream.clone(), source.arrival_column);
        progress.bytes.store(source.file.size_bytes(), Ordering::Relaxed);
        let rows = match source.connector.order {
            FileOrder::EventTime => {
                let read = |piece: PieceRead| {
                    progress.bytes_read.fetch_add(piece.bytes, Ordering::Relaxed);
                };
                Rows::Sorted(Gathering::new(&layout, room, stream).sorted(source.file, &read, stop)?)
            }
            FileOrder::File => Rows::Standing(Standing {
                plan: plan.clone(),
                decoder: source.file.decoder(),
                file: source.file,
                decoded: VecDeque::new(),
                latest_us: i64::MIN,
            }),
        };
        Ok(FileRows { layout, rows })
    }

    pub(crate) fn layout(&self) -> &RowLayout {
        &self.layout
    }

    /// The next rows, laid out; `None` behind the last.
    pub(crate) fn next_batch(&mut self, progress: &StreamProgress) -> Result<Option<RecordBatch>, PipelineError> {
        match &mut self.rows {
            Rows::Sorted(merged) => merged.next_batch(),
            Rows::Standing(standing) => standing.next_batch(&self.layout, progress),
        }
    }
}

impl Standing {
    fn next_batch(
        &mut self,
        layout: &RowLayout,
        progress: &StreamProgress,
    ) -> Result<Option<RecordBatch>, PipelineError> {
        while self.decoded.is_empty() {
            let Some(piece) = self.file.next_piece()? else { return Ok(None) };
            let bytes = piece.bytes;
            let Standing { decoder, decoded, .. } = self;
            decoder.decode(piece, &mut |rows| {
                decoded.push_back(layout.lay_out(rows));
                // Reading ahead is never as urgent as a read or the writer.
                std::thread::yield_now();
                Ok::<_, PipelineError>(())
            })?;
            progress.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        }
        let Some(rows) = self.decoded.pop_front() else { return Ok(None) };
        let rejected = self.plan.rejected(&layout.events(&rows), layout.unreadable(&rows));
        let mut rejected = rejected.iter().map(|one| one.row).peekable();
        let taken = taken_at(&rows).values().iter().enumerate().map(|(row, time_us)| {
            if rejected.next_if_eq(&row).is_none() {
                self.latest_us = self.latest_us.max(*time_us);
            }
            Some(self.latest_us)
        });
        let taken: Int64Array = taken.collect();
        Ok(Some(layout.with_taken_at(&rows, taken)))
    }
}

impl<'a> Gathering<'a> {
    /// Nothing gathered yet of the stream with this index.
    pub(crate) fn new(layout: &'a RowLayout, room: &'a Room<'a>, stream: usize) -> Gathering<'a> {
        Gathering { layout, room, stream, gathered: Mutex::default() }
    }

    /// All rows of a file by event time. `read` is told of each piece of it, by any thread. After a stop those so far.
    pub(crate) fn sorted(
        self,
        file: EventFile,
        read: &(dyn Fn(PieceRead) + Sync),
        stop: &Stop,
    ) -> Result<MergedRuns, PipelineError> {
        self.read(file, read, stop)?;
        self.finish()
    }

    fn read(&self, file: EventFile, read: &(dyn Fn(PieceRead) + Sync), stop: &Stop) -> Result<(), PipelineError> {
        let decoder = file.decoder();
        let file = Mutex::new(file);
        let has_failed = AtomicBool::new(false);
        let work = || {
            while !stop.is_asked() && !has_failed.load(Ordering::Relaxed) {
                let Some(piece) = lock(&file).next_piece()? else { return Ok(()) };
                let piece_read = PieceRead { bytes: piece.bytes, rows: piece.rows };
                decoder.decode(piece, &mut |decoded| self.add(self.layout.lay_out(decoded)))?;
                read(piece_read);
            }
            Ok(())
        };
        let results: Vec<Result<(), PipelineError>> = std::thread::scope(|scope| {
            let guarded = || work().inspect_err(|_| has_failed.store(true, Ordering::Relaxed));
            let workers: Vec<_> = (0..self.room.threads.max(1)).map(|_| scope.spawn(guarded)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap_or(Err(PipelineError::Panicked))).collect()
        });
        results.into_iter().collect()
    }

    fn add(&self, rows: RecordBatch) -> Result<(), PipelineError> {
        let bytes = rows.get_array_memory_size();
        let run = Run::sorted(rows)?;
        let mut gathered = lock(&self.gathered);
        gathered.held.push(run);
        gathered.held_bytes += bytes;
        if gathered.held_bytes > self.room.bytes_max {
            let held = std::mem::take(&mut gathered.held);
            gathered.held_bytes = 0;
            let path = self.room.folder.path().join(format!("{}-{}", self.stream, gathered.spilled.len()));
            let merged = MergedRuns::new(self.layout.schema().clone(), held)?;
            gathered.spilled.push(Run::spilled(merged, &path)?);
        }
        Ok(())
    }

    fn finish(self) -> Result<MergedRuns, PipelineError> {
        let Gathered { held, mut spilled, .. } = self.gathered.into_inner().unwrap_or_else(PoisonError::into_inner);
        spilled.extend(held);
        MergedRuns::new(self.layout.schema().clone(), spilled)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
