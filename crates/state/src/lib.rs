//! Durable state: checkpoints of a running project, and primary keys beyond memory.
//!
//! A checkpoint is a cut: the images of all entities, the batches that producers have named, the counters, and the offset from
//! which the log goes on. It is there as a whole or not at all. What the bytes inside of a part mean is the business of those who write them.
//!
//! ```text
//!   images  ─▶ CheckpointWriter::put ─▶ part ┐
//!   batches ─▶ CheckpointWriter::put ─▶ part ├─ all durable ─▶ finish: the manifest names them = the checkpoint exists
//!   parts of an earlier checkpoint ─▶ keep ──┘
//!
//!   keys ─▶ KeyRuns::add ─▶ run file; the manifest's `about` names it
//! ```
//! [`CheckpointStore`] speaks to an [`ObjectStore`](object_store::ObjectStore); [`DiskStore`] is one over a folder of an
//! [`asof_disk::Disk`]. [`KeyRuns`] lies on the disk itself, for it reads single blocks. Here is no clock and no thread.

mod checkpoint_store;
mod checkpoint_writer;
mod disk_store;
mod error;
mod in_progress;
mod key_filter;
mod key_merge;
mod key_page;
mod key_run;
mod key_run_writer;
mod key_runs;
mod manifest;
mod new_run;
mod object_folder;
mod object_name;
mod part;

pub use checkpoint_store::{CheckpointStore, Opened};
pub use checkpoint_writer::CheckpointWriter;
pub use disk_store::DiskStore;
pub use error::StateError;
pub use key_merge::{KeyMerge, MergedKeys, ReplacedRuns};
pub use key_runs::{KeyEntry, KeyRuns};
pub use manifest::{About, Manifest, StreamAbout};
pub use new_run::{KeyFiles, NewRun, WrittenRun};
pub use part::{PIECE_BYTES_MAX, Part, PartKind, PartScope};
