//! A replay: slices are cut on one thread and taken in on another, with a short queue between them.
//!
//! Rule kept here: of rows of one event time, versions of tables come first. So an event meets all versions that hold for it.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use asof_connect::{ArrivalTimes, StreamFile};
use asof_definition::{Connector, FileOrder, Rate};
use tempfile::TempDir;

use crate::engine::Engine;
use crate::error::PipelineError;
use crate::file_rows::{FileRows, Room};
use crate::pace::Pace;
use crate::run::{Job, MAINTAIN_EVERY};
use crate::slices::{Head, Next, Slices};
use crate::stop::Stop;
use crate::stream_batch::StreamBatch;

/// Slices that wait to be taken in: a few, so that both threads have work, and no reader of a file runs far ahead.
const WAITING_SLICES_MAX: usize = 4;
/// Rows that become due within this time are taken in together: a version costs about as much as a hundred rows.
const TOGETHER_US: i64 = 1_000;

/// Opens the files of all streams and brings them into order.
pub(crate) fn open<'e>(
    engine: &'e Engine,
    job: &Job,
    folder: &TempDir,
    stop: &Stop,
) -> Result<Slices<'e>, PipelineError> {
    // All are opened before the first is read: a missing file is told at once.
    let files: Vec<StreamFile> = engine
        .sources()
        .iter()
        .filter(|stream| matches!(stream.connector, Connector::File(_)))
        .map(|stream| StreamFile::open(&job.folder, stream, ArrivalTimes::Optional))
        .collect::<Result<_, _>>()?;
    let sorted = files.iter().filter(|file| file.connector.order == FileOrder::EventTime).count();
    let room = Room { folder, bytes_max: job.waiting_bytes_max / sorted.max(1), threads: job.threads };
    let mut read = Vec::with_capacity(files.len());
    for file in files {
        let stream = engine.place_of(&file.stream.name);
        engine.note_absent_columns(stream, file.file.absent_columns());
        let plan = engine.stream_plan(stream);
        let rows = FileRows::read(stream, file, &plan, &room, engine.progress().stream(stream), stop)?;
        read.push((stream, plan, rows));
    }
    let wall_start_us = engine.wall_us();
    let head = |(stream, plan, rows)| {
        engine.progress().stream(stream).started_us.store(wall_start_us, Ordering::Relaxed);
        Head::new(stream, rank_of(engine, stream), plan, rows, Pace::new(rate_of(engine, stream), wall_start_us))
    };
    let heads = read.into_iter().map(head).collect();
    Ok(Slices::new(heads, job.until_us.unwrap_or(i64::MAX), engine.progress()))
}

/// Takes all slices in, until the last or until a stop is asked for.
pub(crate) fn replay(engine: &Engine, slices: Slices<'_>, stop: &Stop) -> Result<(), PipelineError> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel::<Vec<StreamBatch>>(WAITING_SLICES_MAX);
        let cutter = scope.spawn(move || cut(engine, slices, &sender, stop));
        let mut maintained_us = engine.wall_us();
        let taken = loop {
            match receiver.recv_timeout(MAINTAIN_EVERY) {
                Ok(batches) => {
                    if let Err(error) = take_in(engine, batches, stop) {
                        break Err(error);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break Ok(()),
            }
            let now_us = engine.wall_us();
            if now_us.saturating_sub(maintained_us) >= MAINTAIN_EVERY.as_micros() as i64 {
                maintained_us = now_us;
                if let Err(error) = engine.maintain() {
                    break Err(error);
                }
            }
        };
        // A cutter that waits for room in the queue, or for a row to be due, learns that nobody takes any more.
        drop(receiver);
        if taken.is_err() {
            stop.ask();
        }
        let cut = cutter.join().unwrap_or(Err(PipelineError::Panicked));
        taken.and(cut)
    })
}

/// Takes a slice in, as soon as nothing in a log keeps it from that, or never where a stop is asked for.
fn take_in(engine: &Engine, batches: Vec<StreamBatch>, stop: &Stop) -> Result<(), PipelineError> {
    let mut next = engine.take_in_or_wait(batches)?;
    while let Some(waiting) = next.take()
        && !stop.wait(MAINTAIN_EVERY)
    {
        engine.maintain()?;
        next = engine.take_in_or_wait(waiting)?;
    }
    Ok(())
}

fn cut(
    engine: &Engine,
    mut slices: Slices<'_>,
    sender: &SyncSender<Vec<StreamBatch>>,
    stop: &Stop,
) -> Result<(), PipelineError> {
    while !stop.is_asked() {
        let now_us = engine.wall_us();
        match slices.next(now_us)? {
            Next::Slice(batches) => {
                if sender.send(batches).is_err() {
                    return Ok(());
                }
            }
            Next::WaitUntil(due_us) => {
                // Never for long: the clock may be set forward meanwhile.
                let wait = Duration::from_micros(due_us.saturating_sub(now_us).max(TOGETHER_US) as u64);
                stop.wait(wait.min(MAINTAIN_EVERY));
            }
            Next::End => return Ok(()),
        }
    }
    Ok(())
}

/// The place of a source among rows of one time: tables, then streams.
fn rank_of(engine: &Engine, source: usize) -> usize {
    let (streams, sources) = (engine.source_of_table(0), engine.sources().len());
    if engine.is_table(source) { source - streams } else { source + sources - streams }
}

fn rate_of(engine: &Engine, stream: usize) -> Rate {
    match &engine.sources()[stream].connector {
        Connector::File(file) => file.rate,
        Connector::Log(_) | Connector::Derived(_) => Rate::Max,
    }
}
