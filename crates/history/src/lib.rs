//! Training sets: features of the past, exactly as serving would have given them.
//!
//! History drives the same window code as live state does: it sorts stored events by entity and time, walks each entity's
//! reads in the order of their instants, and asks a cursor. Inputs may be larger than memory: events, reads and results
//! are scattered into shards by entity key (or block of rows), and shards beyond the memory limit wait on disk.
//!
//! ```text
//!   tables ─▶ all their versions ──▶ joins
//!   windows over files ─▶ closed once their events are there ─▶ rows, read as events are
//!   event files ─▶ judged ─┬▶ taken in by views ─▶ shards of events ─┐
//!   the project's log ─────┘                                         ├▶ shard by shard: sort, read ─▶ blocks of results ─▶ output
//!   spine ─▶ instants and entity keys ───────────▶ shards of reads  ─┘        (--every-event: straight to the output)
//! ```
//! Nothing in the output depends on the number of threads or shards, on batches, or on what went to disk.
//! Start with [`Job`] and [`run`].

mod assemble;
mod budget;
mod delivery;
mod duplicates;
mod error;
mod event_batch;
mod event_layout;
mod event_place;
mod every_event;
mod file_judge;
mod ingest;
mod inputs;
mod job;
mod key_filter;
mod parallel;
mod partitions;
mod progress;
mod room;
mod run;
mod shard;
mod source;
mod spine;
mod spine_reads;
mod spine_set;
mod stop;
mod stored_events;
mod stream_ingest;
mod summary;
mod table_versions;
mod told;
mod turns;
mod view_events;
mod visible_events;
mod visible_rows;
mod watermark;
mod window_rows;

pub use error::HistoryError;
pub use job::{Job, Knowledge, OnError, RowsOf, SpineRows, Target};
pub use progress::{Progress, Silent};
pub use run::run;
pub use stop::Stop;
pub use summary::{Origin, Reason, StreamSummary, Summary};
