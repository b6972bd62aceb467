//! What "now" means to a read that names no instant.

use std::sync::Arc;

/// Reads the wall clock, in microseconds since 1970. Passed in by the binary, or by a test.
pub type WallClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Where "now" comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The wall clock.
    System,
    /// The newest event time over all streams, which never goes back: a replay stands in its own time.
    Event,
}

impl Clock {
    /// The name in `--clock`.
    pub fn name(self) -> &'static str {
        match self {
            Clock::System => "system",
            Clock::Event => "event",
        }
    }
}
