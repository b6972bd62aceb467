//! Feature views and services bound to window programs: what an event brings to a view, what a read gives back, and the
//! vector of a service.
//!
//! Rule kept here: there is one plan for one row and for a million, for live state and for history. A plan is made once
//! from a definition and only ever sees record batches; it does not know where events come from.
//!
//! ```text
//!   batch of a stream ─▶ StreamPlan (rejections, judgement) ─▶ DerivedPlan ─▶ ViewPlan::take_in ─▶ window state
//!   batch of a table ──▶ StreamPlan ─▶ VersionedTable ── Tables ──┘ joins
//!   reads of window state ─▶ ViewPlan::features ─▶ ServicePlan::features ─▶ the vector
//! ```
//! [`OnlineStream`], [`OnlineTable`] and [`OnlineView`] are that state live: one writer, many readers.

mod arrivals;
mod changed_keys;
mod derived;
mod error;
mod failure;
mod fed_partitions;
mod fingerprint;
mod groups;
mod held_rows;
mod key_secret;
mod lookup;
mod made_rows;
mod online_stream;
mod online_table;
mod online_view;
mod open_windows;
mod prepared;
mod rejoining;
mod scored_stream;
mod service;
mod standing_rows;
mod stream;
mod stream_counts;
mod table_rows;
mod tables;
mod taking;
mod version_arrivals;
mod versioned_table;
mod view;
mod window_stream;

pub use arrivals::{Arrivals, ArrivedAt, Judgement, Outcome, Recalled, TooLate};
pub use asof_window::{ArrivedEnd, Captured, Lateness, VersionBounds};
pub use derived::{Derived, DerivedPlan, Feed};
pub use error::FeatureError;
pub use failure::FeatureFailure;
pub use fed_partitions::BY_HAND;
pub use fingerprint::KeyPrint;
pub use key_secret::{KEY_SECRET_BYTES, KeySecret};
pub use made_rows::MadeRows;
pub use online_stream::OnlineStream;
pub use online_table::{ComingVersions, OnlineTable, PreparedVersions};
pub use online_view::{Held, OnlineView, Settled};
pub use prepared::Prepared;
pub use rejoining::{DETAILS_KEPT, Rejoined, RejoinedRows};
pub use scored_stream::{RowsToScore, ScoredStream, Scores, Vectors};
pub use service::{JoinKeys, ServicePlan};
pub use standing_rows::{EventNames, StandingRows, Way};
pub use stream::{Faced, Rejected, StreamPlan};
pub use stream_counts::{DerivedCounts, PartitionCounts, StreamCounts};
pub use tables::Tables;
pub use taking::SetAside;
pub use version_arrivals::VersionArrivals;
pub use versioned_table::{Places, TableHeld, VersionChanges, VersionedTable, Versions};
pub use view::{TakenIn, ViewAnswers, ViewPlan};
pub use window_stream::WindowStream;
