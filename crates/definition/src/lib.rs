//! SQL text to a checked project: streams, feature views and feature services.
//!
//! Rules kept here:
//! - pure: texts in, a [`Project`] or a list of errors out; no I/O, no clock;
//! - nothing is silently ignored: every field of the parser's syntax trees is either used or refused by name, with its
//!   place in the text;
//! - as many errors as can be told apart are reported at once, and none that only follows from another.
//!
//! ```text
//!  SourceFile ──source, statement──▶ tokens of one statement ──▶ stream_syntax ──▶ stream ───┐
//!                                                            ├──▶ query ─▶ derived_builder ──┤
//!                                                            ├──▶ query ─────────▶ view ─────┼──▶ Project
//!                                                            └──▶ query, request ▶ service ──┘
//! ```
//! Start with [`check`] and [`Project`]; `view_builder` is where most of the language lives, `frame`,
//! `key` and `call` are its parts.

mod call;
mod check;
mod connector;
mod constant;
mod derived;
mod derived_branch;
mod derived_builder;
mod error;
mod frame;
mod half_life;
mod interval;
mod key;
mod options;
mod project;
mod query;
mod refusal;
mod request;
mod retention;
mod scalar;
mod service;
mod size;
mod source;
mod statement;
mod stream;
mod stream_syntax;
mod view;
mod view_builder;

pub use check::check;
pub use connector::{Ack, Connector, FileConnector, FileFormat, FileOrder, LogConnector, Rate, Retention};
pub use derived::{Derivation, DerivedColumn, DerivedInput};
pub use error::DefinitionError;
pub use interval::duration_us;
pub use project::{ObjectKind, ObjectSummary, Project, UnknownObject};
pub use service::{FeatureService, Join};
pub use size::size_bytes;
pub use source::SourceFile;
pub use stream::{Check, Column, Stream, TimestampUnit};
pub use view::{Aggregate, Feature, FeatureView, KeyPart, Output};
