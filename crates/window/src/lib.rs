//! Event-time logic, and nothing else: judgement of arrivals, window frames, exact aggregates, per-entity event rings.
//!
//! Rules kept here:
//! - pure: no clock, no I/O, no async, no randomness; time comes in as an argument;
//! - a value is a function of an entity's used events and the as-of instant: equal bits whatever came and went before;
//! - one implementation of each aggregate, driven by live state and by history alike.
//!
//! ```text
//!   arrivals ─▶ Judge ─▶ used events ─▶ Program::carry ─▶ WindowState (a Ring per entity)  ─┐
//!                                                   └──▶ SortedEvents (a run per entity)  ─┴▶ Cursor ─▶ Answers
//! ```
//! Windows of a group close when a watermark has passed them: `WindowState::due`. Read [`Program`] first, then [`Cursor`],
//! [`GroupWindow`] for windows that are no RANGE; `exact.rs` is why subtracting on eviction is allowed here.

mod accumulator;
mod additions;
mod aggregate;
mod answers;
mod bag;
mod bound;
mod buckets;
mod calendar;
mod capture;
mod carried;
mod categories;
mod cursor;
mod decayed_sums;
mod departures;
mod detached_keys;
mod dues;
mod dyadic;
mod entity_index;
mod events;
mod exact;
mod excluding;
mod exclusion;
mod fixed;
mod frame;
mod group_window;
mod image;
mod judge;
mod key_arena;
mod key_hash;
mod keys;
mod lasting;
mod next_change;
mod number;
mod number_set;
mod order_statistics;
mod pair_sums;
mod program;
mod rank;
mod recency;
mod registers;
mod ring;
mod rounding;
mod standing;
mod state;
mod sums;
mod tally;
mod unsettled;
mod used_keys;
mod version;
mod versions;
mod weight;

pub use aggregate::{FUNCTION_NAMES, Function, is_event_type};
pub use answers::{ANSWER_ITEMS_MAX, ANSWER_TEXT_BYTES_MAX, Answers, FailedAnswer, Failure, Finished};
pub use bound::Bound;
pub use calendar::Calendar;
pub use capture::Captured;
pub use carried::{SortedEvents, SortedRun};
pub use cursor::{Cursor, ReadAt};
pub use decayed_sums::HALF_LIVES_MAX;
pub use detached_keys::DetachedKeys;
pub use entity_index::EntityIndex;
pub use events::Events;
pub use exclusion::Exclusion;
pub use frame::{Extent, Frame};
pub use group_window::{GroupWindow, Which, WindowSpan};
pub use image::{IMAGE_VERSION, Image, ImageError, Images};
pub use judge::{Accounting, Arrival, Judge, Lateness, Rejection, Rules, Verdict, is_repeat};
pub use key_hash::{KeyHash, KeyHasher};
pub use keys::{KeyEncoder, Keys, shard_of};
pub use program::{Call, FLAGS_MAX, Program, ProgramError, Slot};
pub use ring::{Ring, RingEvents, RingLayout, TieBreak};
pub use state::{DueWindow, HaveClosed, WindowState};
pub use version::{ReadPoint, Version};
pub use versions::{
    ArrivedEnd, ArrivedRow, ChangedSpan, Overtaken, RowNumber, RowVersion, VersionBounds, VersionIndex, VersionPlace,
};
