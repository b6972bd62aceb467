//! Group windows: TUMBLE, HOP, CUMULATE and SESSION, which cut an entity's events into windows that open and close.
//!
//! ```text
//!   TUMBLE 1 min             [10:00 ──────────)[10:01 ──────────)
//!   HOP 30 s of 1 min        [10:00 ──────────)
//!                                  [10:00:30 ──────────)
//!   CUMULATE 20 s of 1 min   [10:00 ──)  [10:00 ─────)  [10:00 ──────────)
//!   SESSION 5 min            ●──●────●······]          ●······]             · is the gap
//! ```
//! The first three are windows of the clock: half open, aligned at 1970 and their offset, before 1970 too. A session goes on
//! while events are at most the gap apart, and the instant exactly a gap after its last event still belongs to it.
//!
//! Rules kept here:
//! - every window of an entity is a contiguous run of its events, so that frames, cursors and rings work on it as on any;
//! - as of an instant t a window is closed when its last instant is before t, and nothing after t has a say;
//! - arithmetic saturates at the ends of 64-bit time: a bound beyond them is the end itself, and no event is lost by that.

use std::ops::Range;

use crate::events::Events;
use crate::frame::{Near, first_after, first_from};

/// The shape of a group window. Lengths are positive; the slide is at most the size, and the size a multiple of the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupWindow {
    /// Windows side by side: `TUMBLE(…, size [, offset])`.
    Tumble {
        /// Length in microseconds.
        size_us: i64,
        /// Where a window begins, from 1970 on.
        offset_us: i64,
    },
    /// Windows that overlap: `HOP(…, slide, size [, offset])`. The size need not be a multiple of the slide.
    Hop {
        /// Length in microseconds.
        size_us: i64,
        /// From one window's start to the next.
        slide_us: i64,
        /// Where a window begins, from 1970 on.
        offset_us: i64,
    },
    /// Windows of one start that grow by a step up to the size: `CUMULATE(…, step, size [, offset])`.
    Cumulate {
        /// Length of the longest in microseconds.
        size_us: i64,
        /// From one window's end to the next.
        step_us: i64,
        /// Where a window begins, from 1970 on.
        offset_us: i64,
    },
    /// Events at most a gap apart: `SESSION(…, gap)`.
    Session {
        /// The gap in microseconds; events exactly so far apart are of one session.
        gap_us: i64,
    },
}

/// Which of an entity's windows a frame holds, as of an instant t.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    /// The window that t is in, with its events up to t. Of several (HOP, CUMULATE) the one that ends first. A window of the
    /// clock may be empty; where no session is open there is no window, which is an empty run as well.
    Open,
    /// The newest window with an event whose last instant is before t: what `lag(…) OVER (PARTITION BY key ORDER BY
    /// window_start)` asks for. None before the first.
    LastClosed,
}

/// The instants of one window: from `start_us` to `last_us`, both in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowSpan {
    /// `window_start`; the first event of a session.
    pub start_us: i64,
    /// `window_end`; a gap after the last event of a session.
    pub end_us: i64,
    /// `window_time`, its last instant: of windows of the clock the microsecond before the end, of sessions the end.
    pub last_us: i64,
}

impl GroupWindow {
    /// The window of the clock that `t_us` is in, of several the one that ends first; `None` for sessions, which only
    /// events make.
    pub fn at(self, t_us: i64) -> Option<WindowSpan> {
        let since_start_us = match self {
            GroupWindow::Session { .. } => return None,
            GroupWindow::Tumble { size_us, offset_us } => phase_us(t_us, offset_us, size_us),
            GroupWindow::Hop { size_us, slide_us, .. } => size_us - slide_us + self.since_end_us(t_us),
            GroupWindow::Cumulate { size_us, offset_us, .. } => phase_us(t_us, offset_us, size_us),
        };
        let end_us = i128::from(t_us) + i128::from(self.period_us() - self.since_end_us(t_us));
        Some(WindowSpan::of_clock(i128::from(t_us) - i128::from(since_start_us), end_us))
    }

    /// The last instant of the windows that an event at `time_us` is in, of several that of the one which ends last; of sessions
    /// that of the one that the event makes by itself.
    pub fn longest_last_us(self, time_us: i64) -> i64 {
        let (offset_us, period_us, size_us) = match self {
            GroupWindow::Session { gap_us } => return time_us.saturating_add(gap_us),
            GroupWindow::Hop { size_us, slide_us, offset_us } => (offset_us, slide_us, size_us),
            GroupWindow::Tumble { size_us, offset_us } | GroupWindow::Cumulate { size_us, offset_us, .. } => {
                (offset_us, size_us, size_us)
            }
        };
        let start_us = i128::from(time_us) - i128::from(phase_us(time_us, offset_us, period_us));
        WindowSpan::of_clock(start_us, start_us + i128::from(size_us)).last_us
    }

    /// The run of `events` that the window holds as of `t_us`. Not inlined into the bounds of all frames: others would pay for
    /// it.
    #[inline(never)]
    pub(crate) fn bounds(self, which: Which, events: &impl Events, t_us: i64, near: Near<'_>) -> Range<usize> {
        match (self, which) {
            (GroupWindow::Session { gap_us }, Which::Open) => open_session(gap_us, events, t_us, near),
            (GroupWindow::Session { gap_us }, Which::LastClosed) => closed_session(gap_us, events, t_us, near),
            (_, Which::Open) => {
                let start_us = self.at(t_us).map_or(t_us, |open| open.start_us);
                first_from(events, start_us, near.run.start)..first_after(events, t_us, near.run.end)
            }
            (_, Which::LastClosed) => {
                let end = first_from(events, self.newest_end_us(t_us), near.run.end);
                if end == 0 {
                    return 0..0;
                }
                let closed = self.closed(events.time_us(end - 1), self.newest_end_us(t_us));
                first_from(events, closed.start_us, near.run.start)..end
            }
        }
    }

    /// The window whose run as of `t_us` is `run`; `None` where there is no window.
    pub(crate) fn window(
        self,
        which: Which,
        events: &impl Events,
        run: &Range<usize>,
        t_us: i64,
    ) -> Option<WindowSpan> {
        let newest_us = (!run.is_empty()).then(|| events.time_us(run.end - 1));
        match (self, which) {
            (GroupWindow::Session { gap_us }, _) => {
                let end_us = newest_us?.saturating_add(gap_us);
                Some(WindowSpan { start_us: events.time_us(run.start), end_us, last_us: end_us })
            }
            (_, Which::Open) => self.at(t_us),
            (_, Which::LastClosed) => Some(self.closed(newest_us?, self.newest_end_us(t_us))),
        }
    }

    /// The last instant of the first window with an event that ends at `from_us` or later; `None` if there is none.
    /// Of a session it looks at the events from a gap before `from_us` on.
    pub(crate) fn next_last_us(self, events: &impl Events, from_us: i64) -> Option<i64> {
        let GroupWindow::Session { gap_us } = self else {
            let first = first_from(events, self.at(from_us)?.start_us, 0);
            let first_us = (first < events.len()).then(|| events.time_us(first))?;
            return Some(self.at(first_us.max(from_us))?.last_us);
        };
        // All before are of sessions that end before: what is found is of the first that does not.
        let mut index = first_from(events, from_us.saturating_sub(gap_us), 0);
        if index == events.len() {
            return None;
        }
        while index + 1 < events.len() && !is_cut(gap_us, events, index + 1) {
            index += 1;
        }
        Some(events.time_us(index).saturating_add(gap_us))
    }

    /// An instant at which the first window that an event at `time_us` makes or prolongs ends, or one before it, but none
    /// before `from_us`.
    pub(crate) fn due_us(self, time_us: i64, from_us: i64) -> i64 {
        match self {
            GroupWindow::Session { gap_us } => time_us.saturating_add(gap_us).max(from_us),
            _ => self.at(time_us.max(from_us)).map_or(from_us, |window| window.last_us),
        }
    }

    /// The window that is the open one as of its last instant `last_us`.
    pub(crate) fn ending(self, events: &impl Events, last_us: i64) -> Option<WindowSpan> {
        let run = self.bounds(Which::Open, events, last_us, Near::to(&(0..0)));
        self.window(Which::Open, events, &run, last_us)
    }

    /// When, as of `t_us`, a window of the clock ended last.
    fn newest_end_us(self, t_us: i64) -> i64 {
        t_us.saturating_sub(self.since_end_us(t_us))
    }

    /// The newest closed window of the clock that holds the event at `newest_us`, if the newest end of any is
    /// `newest_end_us`, and that is the newest event before it.
    fn closed(self, newest_us: i64, newest_end_us: i64) -> WindowSpan {
        let newest = i128::from(newest_us);
        let (start_us, size_us) = match self {
            GroupWindow::Hop { size_us, slide_us, offset_us } => {
                // The window that ended last, or if the event is before it the last one that the event is in.
                let newest_start_us = i128::from(newest_end_us) - i128::from(size_us);
                let own_start_us = newest - i128::from(phase_us(newest_us, offset_us, slide_us));
                (if newest_start_us <= newest { newest_start_us } else { own_start_us }, size_us)
            }
            GroupWindow::Tumble { size_us, offset_us } | GroupWindow::Cumulate { size_us, offset_us, .. } => {
                (newest - i128::from(phase_us(newest_us, offset_us, size_us)), size_us)
            }
            GroupWindow::Session { gap_us } => (newest, gap_us),
        };
        WindowSpan::of_clock(start_us, (start_us + i128::from(size_us)).min(newest_end_us.into()))
    }

    /// From one end of a window of the clock to the next.
    pub fn period_us(self) -> i64 {
        match self {
            GroupWindow::Tumble { size_us, .. } => size_us,
            GroupWindow::Hop { slide_us, .. } => slide_us,
            GroupWindow::Cumulate { step_us, .. } => step_us,
            GroupWindow::Session { gap_us } => gap_us,
        }
    }

    /// How long ago, as of `t_us`, a window of the clock ended: from 0 to before the period.
    fn since_end_us(self, t_us: i64) -> i64 {
        let (offset_us, size_us, period_us) = match self {
            GroupWindow::Tumble { size_us, offset_us } => return phase_us(t_us, offset_us, size_us),
            GroupWindow::Cumulate { size_us, step_us, offset_us } => {
                return phase_us(t_us, offset_us, size_us) % step_us;
            }
            GroupWindow::Session { .. } => return 0,
            GroupWindow::Hop { size_us, slide_us, offset_us } => (offset_us, size_us, slide_us),
        };
        // Windows end so far from where they begin, counted in slides.
        let (since_start_us, ends_us) = (phase_us(t_us, offset_us, period_us), size_us % period_us);
        if since_start_us >= ends_us { since_start_us - ends_us } else { since_start_us + (period_us - ends_us) }
    }
}

impl WindowSpan {
    fn of_clock(start_us: i128, end_us: i128) -> WindowSpan {
        let within = |instant_us: i128| instant_us.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        WindowSpan { start_us: within(start_us), end_us: within(end_us), last_us: within(end_us - 1) }
    }
}

/// How long after a multiple of `period_us` (and the offset) `t_us` is: from 0 to before the period.
fn phase_us(t_us: i64, offset_us: i64, period_us: i64) -> i64 {
    match t_us.checked_sub(offset_us) {
        Some(since_us) => since_us.rem_euclid(period_us),
        None => (i128::from(t_us) - i128::from(offset_us)).rem_euclid(period_us.into()) as i64,
    }
}

/// Whether the event at `index`, which is not the first, is of another session than the one before it.
fn is_cut(gap_us: i64, events: &impl Events, index: usize) -> bool {
    events.time_us(index - 1) < events.time_us(index).saturating_sub(gap_us)
}

/// The session that `t_us` is in.
fn open_session(gap_us: i64, events: &impl Events, t_us: i64, near: Near<'_>) -> Range<usize> {
    let end = first_after(events, t_us, near.run.end.max(near.open.end));
    if end == 0 || events.time_us(end - 1) < t_us.saturating_sub(gap_us) {
        return end..end;
    }
    session_start(gap_us, events, end, near)..end
}

/// The session that ended last before `t_us`.
fn closed_session(gap_us: i64, events: &impl Events, t_us: i64, near: Near<'_>) -> Range<usize> {
    let end = open_session(gap_us, events, t_us, near).start;
    if end == 0 { 0..0 } else { session_start(gap_us, events, end, near)..end }
}

/// Where the session of the event before `end` begins. No gap is within the runs of `near`: what lies in them is not looked at.
fn session_start(gap_us: i64, events: &impl Events, end: usize, near: Near<'_>) -> usize {
    let mut start = end - 1;
    loop {
        for run in [near.open, near.run] {
            if run.contains(&start) {
                start = run.start;
            }
        }
        if start == 0 || is_cut(gap_us, events, start) {
            return start;
        }
        start -= 1;
    }
}

#[cfg(test)]
pub(crate) mod tests;
