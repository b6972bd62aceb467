//! Tables and temporal joins, live: the golden cases of the contract as far as this crate alone can run them, and random
//! orders of versions and events against the plainest one, in which all versions come before all events.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may stop where it stands, and says what it skips")]

mod cases;
mod decoded;
mod groups;
mod orders;
mod world;
