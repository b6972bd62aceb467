//! The job from beginning to end: state is brought back, files are read and replayed, events taken in, checkpoints taken,
//! until a stop is asked for.
//!
//! ```text
//!   this thread    recover ─▶ files, replay ─▶ maintain …………………………┐
//!   ingest         (after recovery)  group ─▶ commit ─▶ group ………├─▶ stop: what waits is committed, a last checkpoint
//!   feeds          (after recovery)  poll ─▶ door ─▶ poll …………………┤
//!   sinks          (after recovery)  logs ─▶ topic ─▶ logs ……………┤
//!   checkpoints    (after recovery)  wait ─▶ take ─▶ wait …………………┤
//!   keys           (after recovery)  wait ─▶ spill ─▶ wait ………………┤
//!   syncs          (after recovery)  wait ─▶ sync ─▶ wait …………………┘
//! ```

use std::path::PathBuf;
use std::time::Duration;

use asof_connect::KafkaSettings;
use asof_log::LogError;
use asof_state::Manifest;
use tempfile::TempDir;

use crate::checkpointer::Checkpointer;
use crate::engine::Engine;
use crate::error::PipelineError;
use crate::feeding::read_feeds;
use crate::progress::Phase;
use crate::replay::{open, replay};
use crate::sinking::write_sinks;
use crate::spread::Spread;
use crate::steps::seal;
use crate::stop::Stop;
use crate::storage::Storage;

/// How often the state is put in order though no event comes.
pub(crate) const MAINTAIN_EVERY: Duration = Duration::from_millis(100);

/// How long it is waited before a log is opened again in which another writer begins a segment, and how often: three seconds
/// in all, after which that writer is one that hangs.
const LOCKED_WAIT: Duration = Duration::from_millis(100);
const LOCKED_WAITS_MAX: usize = 30;

/// What to run.
#[derive(Debug, Clone)]
pub struct Job {
    /// The project's folder, where relative paths begin.
    pub folder: PathBuf,
    /// Rows beyond this event time, in microseconds, are not taken in.
    pub until_us: Option<i64>,
    /// Memory for rows that wait to be brought into order; beyond it they wait on disk.
    pub waiting_bytes_max: usize,
    /// Threads that decode files.
    pub threads: usize,
    /// How topics are reached that feed streams.
    pub kafka: Option<KafkaSettings>,
    /// Called first on threads whose work is never urgent (replays, checkpoints), to lower their priority. Threads that they
    /// begin inherit it.
    pub lower_priority: fn(),
}

/// Runs until `stop` is asked for. An error ends it early; what was published stays readable.
pub fn run(engine: &Engine, job: &Job, stop: &Stop) -> Result<(), PipelineError> {
    if !engine.has_logs() {
        return run_files(engine, job, stop);
    }
    engine.progress().enter(Phase::Recovering);
    let restored = recover(engine, stop)?;
    if stop.is_asked() {
        return Ok(());
    }
    let storage = engine.storage().expect("recovery needs the data folder");
    let mut checkpointer = Checkpointer::new(engine, storage.checkpoints(), restored.as_ref());
    let ended = std::thread::scope(|scope| {
        let ingesting = scope.spawn(|| ending(stop, || ingest(engine, stop)));
        let checkpoints = scope.spawn(|| ending(stop, || take_checkpoints(engine, &mut checkpointer, stop)));
        let history = scope.spawn(|| {
            (job.lower_priority)();
            ending(stop, || keep_history(engine, stop))
        });
        let keys = scope.spawn(|| ending(stop, || spill_keys(engine, stop)));
        let syncs = scope.spawn(|| ending(stop, || sync_overdue(engine, stop)));
        engine.intake().open();
        let feeds = scope.spawn(|| ending(stop, || read_feeds(engine, job.kafka.as_ref(), stop)));
        let sinks = scope.spawn(|| ending(stop, || write_sinks(engine, job.kafka.as_ref(), stop)));
        let ran = ending(stop, || run_files(engine, job, stop));
        engine.intake().close();
        let ran = ran.and(feeds.join().unwrap_or(Err(PipelineError::Panicked)));
        let ran = ran.and(sinks.join().unwrap_or(Err(PipelineError::Panicked)));
        let ingested = ingesting.join().unwrap_or(Err(PipelineError::Panicked));
        let others = [checkpoints, history, keys, syncs].map(|one| one.join().unwrap_or(Err(PipelineError::Panicked)));
        // What still waits is answered by nobody: its producers learn that the server stops.
        engine.intake().clear();
        others.into_iter().fold(ingested.and(ran), Result::and)
    });
    ended?;
    finish(engine, &mut checkpointer)
}

/// Brings the state back. Where another writer is just beginning a segment, which takes it a sync or two, it is waited for.
fn recover(engine: &Engine, stop: &Stop) -> Result<Option<Manifest>, PipelineError> {
    for _ in 0..LOCKED_WAITS_MAX {
        match engine.recover(stop) {
            Err(PipelineError::Log(LogError::Locked { .. })) => {
                if stop.wait(LOCKED_WAIT) {
                    return Ok(None);
                }
            }
            recovered => return recovered,
        }
    }
    engine.recover(stop)
}

/// An error of one thread ends the others, and so does a panic.
pub(crate) fn ending(stop: &Stop, work: impl FnOnce() -> Result<(), PipelineError>) -> Result<(), PipelineError> {
    struct AskAtPanic<'s>(&'s Stop);
    impl Drop for AskAtPanic<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.ask();
            }
        }
    }
    let _others_end_too = AskAtPanic(stop);
    work().inspect_err(|_| stop.ask())
}

fn run_files(engine: &Engine, job: &Job, stop: &Stop) -> Result<(), PipelineError> {
    if engine.has_files() {
        // On a thread of its own, whose priority is lowered for good.
        std::thread::scope(|scope| scope.spawn(|| replay_files(engine, job, stop)).join())
            .unwrap_or(Err(PipelineError::Panicked))?;
    }
    if !stop.is_asked() {
        engine.progress().enter(if engine.has_logs() { Phase::Live } else { Phase::Done });
    }
    while !stop.wait(MAINTAIN_EVERY) {
        engine.maintain()?;
    }
    Ok(())
}

fn replay_files(engine: &Engine, job: &Job, stop: &Stop) -> Result<(), PipelineError> {
    engine.progress().enter(Phase::Reading);
    (job.lower_priority)();
    let folder = TempDir::with_prefix("asof-run-")
        .map_err(|source| PipelineError::Spill { path: std::env::temp_dir(), source: source.into() })?;
    let slices = open(engine, job, &folder, stop)?;
    engine.progress().enter(Phase::Replaying);
    replay(engine, slices, stop)?;
    if !stop.is_asked() {
        engine.end_files();
    }
    Ok(())
}

/// Takes in what producers leave, until a stop is asked for and nothing waits.
fn ingest(engine: &Engine, stop: &Stop) -> Result<(), PipelineError> {
    let mut later = Vec::new();
    loop {
        engine.tend_logs()?;
        let mut group = std::mem::take(&mut later);
        if group.is_empty() {
            group = engine.intake().next_group(MAINTAIN_EVERY);
        }
        if group.is_empty() {
            if stop.is_asked() && engine.intake().is_closed() {
                return Ok(());
            }
            continue;
        }
        later = engine.commit(group)?;
    }
}

/// Writes primary keys that no longer fit in memory, as soon as there are any. While that fails producers are refused before
/// memory grows.
fn spill_keys(engine: &Engine, stop: &Stop) -> Result<(), PipelineError> {
    let mut is_well = true;
    while !stop.wait(MAINTAIN_EVERY) {
        let spilled = engine.spill_keys();
        if let Err(error) = &spilled
            && is_well
        {
            tracing::warn!(%error, "primary keys could not be written to disk; it is tried again and again");
        }
        is_well = spilled.is_ok();
    }
    Ok(())
}

/// Makes durable what nobody waits for.
fn sync_overdue(engine: &Engine, stop: &Stop) -> Result<(), PipelineError> {
    while !stop.wait(MAINTAIN_EVERY) {
        engine.sync_overdue();
    }
    Ok(())
}

/// Takes a checkpoint now and then. One that fails is told and tried again: events are safe in the log.
fn take_checkpoints(engine: &Engine, checkpointer: &mut Checkpointer<'_>, stop: &Stop) -> Result<(), PipelineError> {
    let storage = engine.storage().expect("checkpoints are taken where there is a data folder");
    let every = storage.settings().checkpoint_every;
    let mut left = every;
    while !stop.wait(left) {
        let began_us = engine.wall_us();
        if is_known_as_ours(storage)?
            && let Err(error) = checkpointer.take(Spread::within(every, stop))
        {
            tracing::warn!(%error, "a checkpoint failed; the next one is tried in time");
        }
        let took_us = (engine.wall_us() - began_us).max(0).unsigned_abs();
        left = every.saturating_sub(Duration::from_micros(took_us));
    }
    Ok(())
}

/// Keeps sealed segments as Parquet and lets old ones go, as often as checkpoints are taken.
fn keep_history(engine: &Engine, stop: &Stop) -> Result<(), PipelineError> {
    let storage = engine.storage().expect("history is kept where there is a data folder");
    let every = storage.settings().checkpoint_every;
    while !stop.wait(every) {
        if is_known_as_ours(storage)?
            && let Err(error) = engine.keep_history(Spread::within(every, stop))
        {
            tracing::warn!(%error, "sealed segments could not be kept as Parquet, or old ones not be dropped");
        }
    }
    Ok(())
}

/// Whether no other writer has taken over, as far as can be read now; an error if one has.
fn is_known_as_ours(storage: &Storage) -> Result<bool, PipelineError> {
    match storage.check() {
        Ok(()) => Ok(true),
        Err(error) if error.may_pass() => {
            tracing::warn!(%error, "it is not known whether another writer has taken over; it is asked again in time");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The orderly end: all that is known is in a checkpoint, and the logs end whole.
fn finish(engine: &Engine, checkpointer: &mut Checkpointer<'_>) -> Result<(), PipelineError> {
    if is_known_as_ours(engine.storage().expect("there is a log"))?
        && let Err(error) = checkpointer.take(Spread::None)
    {
        tracing::warn!(%error, "the last checkpoint failed; the next start reads more of the log");
    }
    seal(engine)
}
