//! SQL text to a checked project: streams, tables, feature views and feature services.
//!
//! Rules kept here:
//! - pure: texts in, a [`Project`] or a list of errors out; no I/O, no clock;
//! - nothing is silently ignored: every field of the parser's syntax trees is either used or refused by name, with its
//!   place in the text;
//! - as many errors as can be told apart are reported at once, and none that only follows from another.
//!
//! ```text
//!  SourceFile ──source, statement──▶ tokens of one statement ──▶ stream_syntax ▶ stream, table ┐
//!                                                            ├──▶ query ─▶ derived_builder ────┤
//!                                                            ├──▶ query ▶ view, table_view ────┼──▶ Project
//!                                                            └──▶ query, request ▶ service ────┘
//! ```
//! Start with [`check`] and [`Project`]; `view_builder` is where most of the language lives, `frame`,
//! `key` and `call` are its parts. What joins tables is read by `joined_rows`, for views and derived streams alike; so is GROUP
//! BY over a group window by `grouped_rows` and `window_columns`, which `grouped_view` and `windowed_input` are made of, and what
//! a SELECT asks feature services for by `service_call` and `scored_rows`.

mod call;
mod check;
mod connector;
mod constant;
mod derived;
mod derived_branch;
mod derived_builder;
mod entries;
mod error;
mod exclude_clause;
mod frame;
mod group_by;
mod group_window;
mod grouped_rows;
mod grouped_view;
mod half_life;
mod interval;
mod join_condition;
mod joined_rows;
mod kafka_feed;
mod key;
mod lag;
mod options;
mod outputs;
mod project;
mod query;
mod refusal;
mod registry;
mod request;
mod retention;
mod scalar;
mod scored_rows;
mod service;
mod service_call;
mod sink;
mod size;
mod source;
mod statement;
mod stream;
mod stream_syntax;
mod system_time;
mod table;
mod table_join;
mod table_view;
mod view;
mod view_builder;
mod window_columns;
mod window_function;
mod windowed_input;

pub use check::{check, check_ahead};
pub use connector::{Ack, Connector, FileConnector, FileFormat, FileOrder, LogConnector, Rate, Retention};
pub use derived::{Derivation, DerivedColumn, DerivedInput};
pub use entries::Entries;
pub use error::DefinitionError;
pub use interval::duration_us;
pub use kafka_feed::{Framing, KafkaFeed, KafkaStart, LostMessages, MessageFormat, MetadataColumn, MetadataField};
pub use project::{ObjectKind, ObjectSummary, Project, UnknownObject};
pub use scored_rows::{BoundRequest, ScoredRows};
pub use service::{FeatureService, Join};
pub use sink::{Delivery, Sink, SinkOf};
pub use size::size_bytes;
pub use source::SourceFile;
pub use stream::{Check, Column, Stream, TimestampUnit};
pub use table::Table;
pub use table_join::{JoinKey, TableJoin};
pub use view::{Aggregate, Feature, FeatureView, KeyPart, Output, Over};
pub use windowed_input::WindowedInput;
