//! What the fuzz targets share. A target (`fuzz/targets`) gives any bytes to one parser, through public functions alone, and
//! holds what comes out against what must be true of it; `scripts/fuzz` builds and runs them.
//!
//! ```text
//!   samples, golden cases ─▶ begin: seeds ─▶ libFuzzer ─▶ bytes ─▶ cut into files ─▶ as they are ┐
//!        what reached new code goes on changing ◀───────────┘                 └───▶ sealed anew ─┴▶ the parser
//! ```
//! Rule kept here: what is fuzzed is the shipped code. Where a checksum would turn nearly every change away, the same bytes
//! are tried a second time with their checksums made right (`seal.rs`), as only a bug or an attacker would write them.
#![allow(clippy::print_stderr, reason = "a fuzz target speaks to whoever runs it")]

mod begin;
mod body;
mod every_type;
mod files;
mod messages;
mod repository;
mod seal;
mod stored_project;

pub use begin::{Seed, begin};
pub use body::check_body;
pub use every_type::{EVENT, arrow_bodies, every_type_stream};
pub use files::{cut, disk_of, joined};
pub use messages::{AVRO, DEBEZIUM, MessageForm, PROTOBUF};
pub use repository::{file, golden_sql};
pub use seal::{seal_record, seal_segment};
pub use stored_project::{CARD, DATA, SPENDING, Taken, checkpoints, engine, project, send, storage, taken};
