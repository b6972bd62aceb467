//! Tables and temporal joins in a running job: over the door and from files, over restarts and crashes.
//!
//! ```text
//!   world       a project on a simulated disk, opened again and again
//!   values      lines of JSON in, answers as JSON
//!   cases       the golden cases and random ones, with a restart between any two batches
//!   files       tables that read files
//!   failures    what fails since a version came, what comes too late, what breaks together
//!   groups      groups of rows: at a history, in memory, where versions fail
//!   let_go      what is held and let go of: at a history, in a full state, at a start
//!   simulation  chance: batches, checkpoints, crashes; the plainest reading of the logs says what is right
//!   window_lives  the same of streams of closed windows
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may stop where it stands, and says its seed")]

mod cases;
#[path = "../../../history/tests/reference/drawn.rs"]
mod drawn;
mod failures;
mod files;
mod groups;
mod let_go;
mod plain;
mod simulation;
mod values;
mod window_lives;
mod world;
