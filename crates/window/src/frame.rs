//! The window frame: which of an entity's events a feature looks at, as of an instant.
//!
//! Rule kept here: every frame is a contiguous run `start..end` of the entity's events in their order (event time,
//! primary key, partition, offset), and both ends of a RANGE are closed, as in SQL. All other window code works with
//! that run of indexes alone and never compares a time again.

use std::ops::Range;

use crate::calendar::Calendar;
use crate::events::Events;

/// A window frame of a feature view: `RANGE …` or `ROWS …`, optionally cut at the start of a calendar bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame {
    /// How far the frame reaches.
    pub extent: Extent,
    /// Where set, the frame holds no event before the start of the UTC bucket that holds the as-of instant.
    pub calendar: Option<Calendar>,
}

/// How far a frame reaches back from the as-of instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extent {
    /// Events with `t − preceding_us ≤ event time ≤ t − lag_us`.
    Range {
        /// Reach in microseconds; `None` is UNBOUNDED PRECEDING, a lifetime.
        preceding_us: Option<i64>,
        /// The near end in microseconds; 0 is CURRENT ROW. At most `preceding_us`.
        lag_us: i64,
    },
    /// The newest event up to t and the `preceding` events before it.
    Rows {
        /// n of `ROWS n PRECEDING`.
        preceding: u64,
    },
}

impl Frame {
    /// The lifetime frame: plain `ORDER BY ts`.
    pub const LIFETIME: Frame = Frame { extent: Extent::Range { preceding_us: None, lag_us: 0 }, calendar: None };

    /// The run of `events` that the frame holds as of `t_us`.
    ///
    /// `current` is the index of the event that ROWS frames end at (`--every-event`, scores); without it the newest
    /// event up to `t_us` stands as the current row. RANGE frames include all peers of equal time either way.
    pub fn bounds<E: Events>(
        &self,
        events: &E,
        t_us: i64,
        current: Option<usize>,
        near: &Range<usize>,
    ) -> Range<usize> {
        let (mut start, end) = match self.extent {
            Extent::Range { preceding_us, lag_us } => {
                let end = first_after(events, t_us.saturating_sub(lag_us), near.end);
                let start = match preceding_us {
                    Some(preceding_us) => first_from(events, t_us.saturating_sub(preceding_us), near.start),
                    None => 0,
                };
                (start, end)
            }
            Extent::Rows { preceding } => {
                let end = match current {
                    Some(current) => current + 1,
                    None => first_after(events, t_us, near.end),
                };
                let rows = usize::try_from(preceding).unwrap_or(usize::MAX).saturating_add(1);
                (end.saturating_sub(rows), end)
            }
        };
        if let Some(calendar) = self.calendar {
            start = start.max(first_from(events, calendar.bucket_start_us(t_us), near.start));
        }
        start.min(end)..end
    }

    /// The oldest event time that a read as of `t_us` or later may still need, `None` where any event may count.
    pub fn horizon_us(&self, t_us: i64) -> Option<i64> {
        let calendar_start_us = self.calendar.map(|calendar| calendar.bucket_start_us(t_us));
        let range_start_us = match self.extent {
            Extent::Range { preceding_us: Some(preceding_us), .. } => Some(t_us.saturating_sub(preceding_us)),
            Extent::Range { preceding_us: None, .. } | Extent::Rows { .. } => None,
        };
        calendar_start_us.max(range_start_us)
    }
}

/// Index of the first event with event time ≥ `t_us`.
fn first_from<E: Events>(events: &E, t_us: i64, near: usize) -> usize {
    search(events.len(), near, |index| events.time_us(index) >= t_us)
}

/// Index of the first event with event time > `t_us`.
fn first_after<E: Events>(events: &E, t_us: i64, near: usize) -> usize {
    search(events.len(), near, |index| events.time_us(index) > t_us)
}

/// The first index at which `reached` turns true, by galloping from `near`: a cursor that slides forward finds its next
/// place in a step or two.
fn search(len: usize, near: usize, reached: impl Fn(usize) -> bool) -> usize {
    let near = near.min(len);
    let (mut low, mut high);
    if near < len && !reached(near) {
        let mut step = 1;
        low = near + 1;
        high = len;
        while low + step <= len {
            if reached(low + step - 1) {
                high = low + step - 1;
                break;
            }
            low += step;
            step *= 2;
        }
    } else {
        let mut step = 1;
        high = near;
        low = 0;
        while high >= step {
            if !reached(high - step) {
                low = high - step + 1;
                break;
            }
            high -= step;
            step *= 2;
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if reached(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}
