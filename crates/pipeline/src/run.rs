//! The job from beginning to end: files are read, replayed, and the state kept in order until a stop is asked for.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::engine::Engine;
use crate::error::PipelineError;
use crate::progress::Phase;
use crate::replay::{open, replay};
use crate::stop::Stop;

/// How often the state is put in order though no event comes.
pub(crate) const MAINTAIN_EVERY: Duration = Duration::from_millis(100);

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
}

/// Runs until `stop` is asked for. An error ends it early; what was published stays readable.
pub fn run(engine: &Engine, job: &Job, stop: &Stop) -> Result<(), PipelineError> {
    let folder = TempDir::with_prefix("asof-run-")
        .map_err(|source| PipelineError::Spill { path: std::env::temp_dir(), source: source.into() })?;
    let slices = open(engine, job, &folder, stop)?;
    engine.progress().enter(Phase::Replaying);
    replay(engine, slices, stop)?;
    drop(folder);
    if !stop.is_asked() {
        engine.progress().enter(Phase::Done);
    }
    while !stop.wait(MAINTAIN_EVERY) {
        engine.maintain()?;
    }
    Ok(())
}
