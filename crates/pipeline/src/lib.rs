//! The running job: events from their sources into live state, and reads of that state at one position.
//!
//! Rules kept here:
//! - one writer: batches of all streams go in one after the other, each with the next version;
//! - a read stands at one published version for all its views and never waits for the batch that is going in;
//! - every queue has a bound, and a slow consumer slows its producer;
//! - an event that comes over the door is judged, then durable, then visible, then acknowledged; never in another order;
//! - a table is a stream of versions: one list of sources has both, and in a group versions go before events;
//! - state and the offset that it comes from become durable in one step: the log is the truth, a checkpoint a short cut;
//! - the wall clock comes in as an argument ([`WallClock`]).
//!
//! ```text
//!   files ─▶ FileRows (event-time order, or as they stand) ─▶ merged by event time, paced ─▶ slices
//!                                                                                              │ bounded queue
//!                                                                                              ▼
//!   requests ─▶ Engine::reading ─▶ Reading: views and services at one version  ◀── Engine::take_in
//!                                                                                              ▲
//!   producers ─▶ Intake ─▶ groups ─▶ judged ─▶ stream logs ─▶ one sync (commit.rs) ────────────┘
//!   watermark ─▶ rows of closed windows (closings.rs), streams like those that events arrive at
//!   start ─▶ newest checkpoint (restore.rs) ─▶ the rest of the logs (recovery.rs);  checkpoints meanwhile (checkpointer.rs)
//! ```
//! It must not know the wire formats of requests. Read [`Engine`] first, then `visibility.rs`, `replay.rs` for files, and
//! `run.rs`, `commit.rs`, `recovery.rs` for what is stored, `sources.rs` for tables.

mod beside;
mod binding;
mod checkpoint_chain;
mod checkpoint_measures;
mod checkpointer;
mod clock;
mod closings;
mod commit;
mod dead_letters;
mod distribution;
mod engine;
mod engine_statistics;
mod entity_dues;
mod error;
mod fed_offsets;
mod feed;
mod feeding;
mod file_rows;
mod history_keeper;
mod intake;
mod key_memory;
mod key_secret_file;
mod late_letters;
mod merged_runs;
mod pace;
mod producers;
mod progress;
mod reading;
mod recalled_lookups;
mod recalled_windows;
mod recovery;
mod replay;
mod restore;
mod row_layout;
mod run;
mod scoring;
mod settle;
mod sink_input;
mod sink_log;
mod sink_rows;
mod sink_state;
mod sink_steps;
mod sinking;
mod slices;
mod sorted_rows;
mod sources;
mod spread;
mod statistics;
mod steps;
mod still_to_come;
mod stop;
mod storage;
mod stored_form;
mod stream_batch;
mod stream_image;
mod stream_log;
mod submission;
mod tables_told;
mod told;
mod too_late;
mod undercut;
mod unit;
mod upkeep;
mod used_times;
mod view_entries;
mod visibility;
mod writer;

pub use checkpoint_measures::{CheckpointMeasures, LastCheckpoint};
pub use clock::{Clock, WallClock};
pub use commit::{IngestMeasures, RefusedBatches};
pub use dead_letters::{DEAD_LETTERS_PAGE_MAX, DeadLetterPage, DeadLetterQuery, PlacedDeadLetter};
pub use distribution::{BOUNDS_US, Counts, Distribution};
pub use engine::{Engine, EngineSettings};
pub use error::PipelineError;
pub use feed::{FedPartitionStatistics, FeedStatistics};
pub use intake::Intake;
pub use key_secret_file::Draw;
pub use progress::{Phase, ReplayProgress};
pub use reading::{ReadError, Reading, ServiceAnswers};
pub use run::{Job, run};
pub use sink_state::SinkStatistics;
pub use sink_steps::SinkSteps;
pub use sorted_rows::{SortRoom, SortedBatch, SortedRows};
pub use statistics::{
    DerivedStatistics, Reason, StorageStatistics, StreamStatistics, TableStatistics, ViewStatistics, WindowStatistics,
};
pub use steps::Steps;
pub use stop::Stop;
pub use storage::{Storage, StorageSettings, transactional_id};
pub use stream_batch::StreamBatch;
pub use submission::{
    Answer, BATCH_KEY_BYTES_MAX, BatchKey, IngestError, Manner, REFUSED_LISTED_MAX, Receipt, RefusedRow, Submission,
};
pub use visibility::{Published, StreamPosition};
