//! How long an answer takes. The one place of the server that looks at a clock; answers never depend on it.

use std::time::{Duration, Instant};

/// Begun when a request's head is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "the time that an answer took is measured, no value depends on it")]
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
