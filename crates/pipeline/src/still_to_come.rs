//! How old the events are that recovery has still to bring: sessions that none of them can join are let go on the way, and not
//! only at the end, and windows close that none of them is in.
//!
//! ```text
//!   frames of a log, by arrival    9:00  9:05  8:50  9:10  9:20      least event time of each
//!   least from there on            8:50  8:50  8:50  9:10  9:20
//! ```
//! The watermark alone does not tell: what comes again was judged by an earlier lateness, or came as history. So the times are
//! read first, from the logs whose events such windows are made of and from no others: those are read twice.

use asof_window::Frame;

use crate::engine::Engine;
use crate::error::PipelineError;
use crate::writer::Writer;

/// So many steps are kept for a log, of 16 bytes; beyond, two neighbours become one.
const STEPS_MAX: usize = 65_536;

/// Of one log, the least event time that comes from a frame on.
#[derive(Debug, Default)]
pub(crate) struct StillToCome {
    /// Both of their times ascend.
    steps: Vec<Step>,
    /// The steps before this one are passed.
    passed: usize,
}

/// Frames of a log, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// When the last of them arrived.
    until_us: i64,
    /// The least event time of what arrives with them or later.
    least_us: i64,
}

impl StillToCome {
    /// The next frame of the log.
    fn add(&mut self, arrived_us: i64, least_us: i64) {
        while self.steps.last().is_some_and(|step| step.least_us >= least_us) {
            self.steps.pop();
        }
        self.steps.push(Step { until_us: arrived_us, least_us });
        if self.steps.len() > STEPS_MAX {
            let joined = |pair: &[Step]| Step { until_us: pair[pair.len() - 1].until_us, least_us: pair[0].least_us };
            self.steps = self.steps.chunks(2).map(joined).collect();
        }
    }

    /// What arrived before this instant, in microseconds, came again.
    pub(crate) fn pass(&mut self, arrived_us: i64) {
        let left = self.steps[self.passed..].iter();
        self.passed += left.take_while(|step| step.until_us < arrived_us).count();
    }

    /// The event time in microseconds before which none comes, neither again nor for the first time, where that is the
    /// watermark.
    pub(crate) fn coming_from_us(&self, watermark_us: Option<i64>) -> Option<i64> {
        let least_us = self.steps.get(self.passed).map(|step| step.least_us);
        watermark_us.map(|watermark_us| least_us.map_or(watermark_us, |least_us| least_us.min(watermark_us)))
    }
}

impl Engine {
    /// What of a source's log has still to come from an offset on; nothing is looked at where no session and no
    /// window that closes is made of it.
    pub(crate) fn still_to_come(
        &self,
        writer: &Writer,
        source: usize,
        from: u64,
    ) -> Result<StillToCome, PipelineError> {
        let mut coming = StillToCome::default();
        let follows_it = |view: &usize| {
            let online = &self.view(*view).online;
            online.closes() || online.plan().view().frames.iter().any(Frame::holds_session)
        };
        if self.views_of(source).iter().any(follows_it) {
            self.used_times(writer, source, from, |frame| coming.add(frame.arrived_us, frame.least_us))?;
        }
        Ok(coming)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least times after each frame is passed, against going through all that are left.
    fn check(times: &[i64], is_exact: bool) {
        let mut coming = StillToCome::default();
        (0..).zip(times).for_each(|(arrived_us, least_us)| coming.add(arrived_us, *least_us));
        let mut least_left: Vec<i64> = times.to_vec();
        for place in (1..times.len()).rev() {
            least_left[place - 1] = least_left[place - 1].min(least_left[place]);
        }
        for (arrived_us, least_us) in (0..).zip(least_left) {
            coming.pass(arrived_us);
            let found_us = coming.coming_from_us(Some(i64::MAX)).unwrap();
            assert!(if is_exact { found_us == least_us } else { found_us <= least_us }, "{found_us} at {arrived_us}");
            assert_eq!(coming.coming_from_us(Some(least_us - 1_000_000)), Some(least_us - 1_000_000));
        }
        coming.pass(times.len() as i64);
        assert_eq!(coming.coming_from_us(Some(7)), Some(7), "all has come");
        assert_eq!(coming.coming_from_us(None), None);
    }

    #[test]
    fn it_is_the_least_of_what_is_left() {
        check(&[], true);
        check(&[900, 905, 850, 910, 920], true);
        check(&[5, 4, 3, 2, 1], true);
        check(&[1, 1, 2, 2, 1, 3], true);
    }

    #[test]
    fn of_many_frames_it_is_no_later() {
        let times: Vec<i64> = (0..3 * STEPS_MAX as i64).map(|at| at * 10 + at * 7919 % 50).collect();
        check(&times, false);
        let mut coming = StillToCome::default();
        (0..).zip(&times).for_each(|(arrived_us, least_us)| coming.add(arrived_us, *least_us));
        assert!(coming.steps.len() <= STEPS_MAX && coming.steps.len() >= STEPS_MAX / 8, "{}", coming.steps.len());
        let middle = times.len() / 2;
        coming.pass(middle as i64);
        let found_us = coming.coming_from_us(Some(i64::MAX)).unwrap();
        assert!(found_us > times[middle] - 1_000, "{found_us} is not far from {}", times[middle]);
    }
}
