//! Feature views and services bound to window programs: what an event brings to a view, what a read gives back, and the
//! vector of a service.
//!
//! Rule kept here: there is one plan for one row and for a million, for live state and for history. A plan is made once
//! from a definition and only ever sees record batches; it does not know where events come from.
//!
//! ```text
//!   batch of a stream ─▶ StreamPlan (rejections, judgement) ─▶ DerivedPlan ─▶ ViewPlan::take_in ─▶ window state
//!   reads of window state ─▶ ViewPlan::features ─▶ ServicePlan::features ─▶ the vector
//! ```
//! [`OnlineStream`] and [`OnlineView`] are that state live: one writer, many readers.

mod derived;
mod error;
mod failure;
mod fingerprint;
mod key_secret;
mod online_stream;
mod online_view;
mod prepared;
mod service;
mod stream;
mod taking;
mod view;

pub use asof_window::{Captured, Lateness};
pub use derived::{Derived, DerivedPlan, Feed};
pub use error::FeatureError;
pub use failure::FeatureFailure;
pub use fingerprint::KeyPrint;
pub use key_secret::{KEY_SECRET_BYTES, KeySecret};
pub use online_stream::{
    Arrivals, ArrivedAt, DerivedCounts, Judgement, OnlineStream, Outcome, PartitionCounts, Recalled, StreamCounts,
};
pub use online_view::{Held, OnlineView, Settled};
pub use prepared::Prepared;
pub use service::{JoinKeys, ServicePlan};
pub use stream::{Faced, Rejected, StreamPlan};
pub use taking::SetAside;
pub use view::{TakenIn, ViewAnswers, ViewPlan};
