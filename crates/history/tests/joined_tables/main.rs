//! Tables in history: the golden cases of the reference, and random arrivals against the live library.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![allow(clippy::print_stdout, reason = "the seed of drawn cases is told")]

#[path = "../reference/case.rs"]
#[allow(dead_code, reason = "shared with the cases of streams")]
mod case;
mod closed;
#[path = "../reference/closed_rows.rs"]
mod closed_rows;
#[path = "../../../feature/tests/temporal_joins/decoded.rs"]
mod decoded;
#[path = "../reference/drawn.rs"]
mod drawn;
mod golden;
mod limits;
mod live;
mod sources;
#[path = "../from_log/stored.rs"]
#[allow(dead_code, reason = "shared with the tests of the log")]
mod stored;
#[path = "../../../feature/tests/temporal_joins/world.rs"]
#[allow(dead_code, reason = "shared with the tests of the live library")]
mod world;
