//! How fast a file is replayed: which of its next rows are due, and when the first that is not will be.

use asof_definition::Rate;

/// The pace of one stream's replay. Times are microseconds: of the wall clock, or event time where it says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    rate: Rate,
    wall_start_us: i64,
    /// The least event time of all streams; `None` until a row that has one comes.
    event_start_us: Option<i64>,
}

impl Pace {
    /// A replay that begins at `wall_start_us`.
    pub(crate) fn new(rate: Rate, wall_start_us: i64) -> Pace {
        Pace { rate, wall_start_us, event_start_us: None }
    }

    /// Told where event time begins.
    pub(crate) fn begin_events(&mut self, event_start_us: i64) {
        self.event_start_us.get_or_insert(event_start_us);
    }

    /// How many of the next rows are due, given their event times in ascending order and how many were taken before.
    pub(crate) fn rows_due(&self, now_us: i64, taken: u64, times_us: &[i64]) -> usize {
        let passed_us = now_us.saturating_sub(self.wall_start_us).max(0) as f64;
        match self.rate {
            Rate::Max => times_us.len(),
            Rate::TimesRealTime(factor) => {
                // Rows without an event time come first, and are due at once.
                let start_us = self.event_start_us;
                let reached_us =
                    start_us.map_or(i64::MIN, |start_us| start_us.saturating_add((passed_us * factor) as i64));
                times_us.partition_point(|time_us| *time_us <= reached_us)
            }
            Rate::PerSecond(rate) => {
                // Row k, from 0, is due k / rate seconds after the start.
                let due = ((passed_us * rate / 1e6) as u64).saturating_add(1);
                usize::try_from(due.saturating_sub(taken)).unwrap_or(usize::MAX).min(times_us.len())
            }
        }
    }

    /// When the next row is due, by the wall clock.
    pub(crate) fn next_due_us(&self, taken: u64, time_us: i64) -> i64 {
        let after_us = match self.rate {
            Rate::Max => 0.0,
            Rate::TimesRealTime(factor) => {
                time_us.saturating_sub(self.event_start_us.unwrap_or(time_us)) as f64 / factor
            }
            Rate::PerSecond(rate) => taken as f64 * 1e6 / rate,
        };
        self.wall_start_us.saturating_add(after_us.ceil() as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn begun(rate: Rate, wall_start_us: i64, event_start_us: i64) -> Pace {
        let mut pace = Pace::new(rate, wall_start_us);
        pace.begin_events(event_start_us);
        pace
    }

    /// At the instant that is told for the next row, that row is due, and just before it is not.
    fn check(rate: Rate, taken: u64, time_us: i64) {
        let pace = begun(rate, 1_000, 500);
        let due_us = pace.next_due_us(taken, time_us);
        assert!(pace.rows_due(due_us + 1, taken, &[time_us]) == 1, "{rate:?}, row {taken} of {time_us}");
        let before_us = due_us - 2;
        assert!(before_us < 1_000 || pace.rows_due(before_us, taken, &[time_us]) == 0, "{rate:?}, row {taken}");
    }

    proptest! {
        #[test]
        fn rows_become_due_when_told(taken in 0..1_000_000u64, after_us in 0..10_000_000_000i64, rate in 0.01..10_000.0f64) {
            check(Rate::PerSecond(rate), taken, 500 + after_us);
            check(Rate::TimesRealTime(rate), taken, 500 + after_us);
        }
    }

    #[test]
    fn edges() {
        let times = [10, 20, 20, 30];
        let due = |rate, now_us, taken| begun(rate, 100, 10).rows_due(now_us, taken, &times);
        assert_eq!(due(Rate::Max, 0, 0), 4);
        assert_eq!(due(Rate::TimesRealTime(1.0), 100, 0), 1);
        assert_eq!(due(Rate::TimesRealTime(1.0), 109, 0), 1);
        assert_eq!(due(Rate::TimesRealTime(1.0), 110, 0), 3);
        assert_eq!(due(Rate::TimesRealTime(10.0), 102, 0), 4);
        assert_eq!(due(Rate::PerSecond(2.0), 100, 0), 1);
        assert_eq!(due(Rate::PerSecond(2.0), 100, 1), 0);
        assert_eq!(due(Rate::PerSecond(2.0), 500_100, 1), 1);
        assert_eq!(due(Rate::PerSecond(1e30), 200, 0), 4);
        let unbegun = Pace::new(Rate::TimesRealTime(1.0), 100);
        assert_eq!(unbegun.rows_due(100, 0, &[i64::MIN, i64::MIN, 10]), 2);
        assert_eq!(due(Rate::PerSecond(2.0), 99, 0), 1, "a clock that stands before the start is at the start");
    }
}
