//! The running job: events from their sources into live state, and reads of that state at one position.
//!
//! Rules kept here:
//! - one writer: batches of all streams go in one after the other, each with the next version;
//! - a read stands at one published version for all its views and never waits for the batch that is going in;
//! - every queue has a bound, and a slow consumer slows its producer;
//! - the wall clock comes in as an argument ([`WallClock`]).
//!
//! ```text
//!   files ─▶ FileRows (event-time order, or as they stand) ─▶ merged by event time, paced ─▶ slices
//!                                                                                              │ bounded queue
//!                                                                                              ▼
//!   requests ─▶ Engine::reading ─▶ Reading: views and services at one version  ◀── Engine::take_in
//! ```
//! It must not know the wire formats of requests. Read [`Engine`] first, then `visibility.rs`, then `replay.rs`.

mod clock;
mod engine;
mod error;
mod file_rows;
mod merged_runs;
mod pace;
mod progress;
mod reading;
mod replay;
mod row_layout;
mod run;
mod slices;
mod statistics;
mod stop;
mod told;
mod visibility;

pub use clock::{Clock, WallClock};
pub use engine::{Engine, EngineSettings, StreamBatch};
pub use error::PipelineError;
pub use progress::{Phase, ReplayProgress};
pub use reading::{ReadError, Reading, ServiceAnswers};
pub use run::{Job, run};
pub use statistics::{Reason, StreamStatistics, ViewStatistics};
pub use stop::Stop;
pub use visibility::{Published, StreamPosition};
