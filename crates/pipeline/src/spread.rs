//! Work in the background that is spread over a part of the time until it comes next, so that ingestion and reads keep the
//! cores and the device. PostgreSQL spreads its checkpoints likewise (`checkpoint_completion_target`).
//!
//! ```text
//!   work   ▪▪   ▪▪   ▪▪   ▪▪   ▪▪            the share that is done is never ahead
//!   time  ─┴────┴────┴────┴────┴─────┤next   of the share of the time that has passed
//! ```

use std::time::Duration;

use crate::stop::Stop;

/// The part of that time. Measured at half the peak rate: 0.05 was worse, 0.4 and 0.8 were no better.
const SHARE: f64 = 0.2;

/// Over how much time work is spread.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spread<'s> {
    /// As fast as it goes.
    None,
    /// Over this time, until a stop is asked for: then as fast as it goes.
    Over(Duration, &'s Stop),
}

impl<'s> Spread<'s> {
    /// Over a part of the time until the next one.
    pub(crate) fn within(every: Duration, stop: &'s Stop) -> Spread<'s> {
        Spread::Over(every.mul_f64(SHARE), stop)
    }

    /// For one of so many works that are done one after the other.
    pub(crate) fn divided_by(self, works: usize) -> Spread<'s> {
        match self {
            Spread::None => Spread::None,
            Spread::Over(time, stop) => Spread::Over(time.div_f64(works.max(1) as f64), stop),
        }
    }

    /// Called between two pieces of work. `done`: the share that is done, from 0 to 1, `elapsed_us` after the beginning.
    pub(crate) fn wait(self, done: f64, elapsed_us: i64) {
        if let Spread::Over(over, stop) = self {
            let elapsed = Duration::from_micros(elapsed_us.max(0).unsigned_abs());
            // A wall clock that was set back must not hold the work up.
            stop.wait(over.mul_f64(done).saturating_sub(elapsed).min(over / 4));
        }
        // Who waits for the core goes first.
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the test measures how long is waited")]
    fn work_that_is_ahead_waits_and_work_that_is_behind_does_not() {
        let stop = Stop::default();
        let spread = Spread::Over(Duration::from_millis(400), &stop);
        let began = Instant::now();
        spread.wait(0.5, 300_000);
        assert!(began.elapsed() < Duration::from_millis(50));
        spread.wait(0.5, 150_000);
        assert!(began.elapsed() >= Duration::from_millis(50));
        let began = Instant::now();
        stop.ask();
        spread.wait(1.0, 0);
        assert!(began.elapsed() < Duration::from_millis(50));
    }
}
