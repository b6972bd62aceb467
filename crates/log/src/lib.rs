//! The embedded event log: one append-only run of frames per partition, in segment files.
//!
//! The log is the truth: what a sync has covered is there after any crash, whole, in order, without a gap; what no sync has
//! covered may be there or not. It knows offsets, arrival times and bytes; what the bytes mean is not its business.
//!
//! ```text
//!   <data>/lock, generation                     Claim: who may write
//!   <data>/log/<stream>/<partition>/
//!      00…00000-0000000001.segment              sealed: header, frames, footer
//!      00…51200-0000000002.segment              the active one: header, frames, reserved zeros
//!      0000000002.durable                       the mark: how far the active one was synced
//!      beginning                                locked while a writer begins a segment
//! ```
//! Rules kept here:
//! - a segment ends where the next begins: footers, and what a writer that lost its claim still wrote, change nothing;
//! - a new writer begins a segment of its own behind what it found, and changes nothing in older ones before that is durable;
//! - a torn tail is left behind when a writer opens the log, and told ([`TornTail`]); damage in what was durable is an error that
//!   names path, offset and byte, and is never skipped;
//! - after a write or a sync has failed, the log takes nothing more until it is opened anew.
//!
//! Read `segment.rs` for the bytes, `recovery.rs` and `beginning.rs` for opening, then [`PartitionLog`] and [`LogReader`].

mod active;
mod beginning;
mod chain;
mod claim;
mod error;
mod field;
mod look;
mod mark;
mod partition_log;
mod read_ahead;
mod reader;
mod recovery;
mod scan;
mod segment;
mod sites;
mod summary;
mod tail;
mod unsynced;

pub use claim::{Claim, TakeOver};
pub use error::LogError;
pub use partition_log::{LogSettings, NewFrame, PartitionLog, SEGMENT_BYTES_DEFAULT};
pub use reader::{Frame, LogReader};
pub use recovery::TornTail;
pub use segment::{FRAME_BODY_BYTES_MAX, FrameHead};
pub use sites::SYNC_SITES;
pub use summary::SegmentSummary;
pub use unsynced::Unsynced;
