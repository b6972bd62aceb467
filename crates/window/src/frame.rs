//! The window frame: which of an entity's events a feature looks at, as of an instant.
//!
//! Rule kept here: every frame is a contiguous run `start..end` of the entity's events in their order (event time,
//! primary key, partition, offset), and both ends of a RANGE are closed, as in SQL. All other window code works with
//! that run of indexes alone and never compares a time again. What EXCLUDE leaves out is in `exclusion.rs`: it ends the run, but
//! for a current row that others of its time follow, which cursors take out for one answer.

use std::ops::Range;

use crate::calendar::Calendar;
use crate::events::Events;
use crate::exclusion::Exclusion;
use crate::group_window::{GroupWindow, Which, WindowSpan};

/// A window frame of a feature view: `RANGE …`, `ROWS …` or a group window, optionally cut at the start of a calendar bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame {
    /// How far the frame reaches.
    pub extent: Extent,
    /// Where set, the frame holds no event before the start of the UTC bucket that holds the as-of instant.
    pub calendar: Option<Calendar>,
    /// What of all that is left out.
    pub exclusion: Exclusion,
}

/// Where a frame was found before, which tells where to look for it next: the closer, the quicker. Of frames of sessions no gap
/// lies within either run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Near<'a> {
    /// The run of the frame itself.
    pub(crate) run: &'a Range<usize>,
    /// Of frames of the session closed last, the run of the session that was open then.
    pub(crate) open: &'a Range<usize>,
}

impl<'a> Near<'a> {
    /// Near a run alone.
    pub(crate) fn to(run: &'a Range<usize>) -> Near<'a> {
        Near { run, open: run }
    }
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
    /// The events of a group window.
    Group {
        /// Its shape.
        shape: GroupWindow,
        /// The one that the as-of instant is in, or the one closed last before.
        which: Which,
    },
}

impl Frame {
    /// The lifetime frame: plain `ORDER BY ts`.
    pub const LIFETIME: Frame = Frame::of(Extent::Range { preceding_us: None, lag_us: 0 });

    /// All that an extent reaches.
    pub const fn of(extent: Extent) -> Frame {
        Frame { extent, calendar: None, exclusion: Exclusion::NoOthers }
    }

    /// The run of `events` that the frame holds as of `t_us`.
    ///
    /// `current` is the index of the event that ROWS frames end at (`--every-event`, scores); without it the newest
    /// event up to `t_us` stands as the current row. RANGE frames include all peers of equal time either way, and a
    /// current row that they leave out stays in the run where [peers follow it](Frame::has_gap_among_peers).
    pub(crate) fn bounds<E: Events>(
        &self,
        events: &E,
        t_us: i64,
        current: Option<usize>,
        near: Near<'_>,
    ) -> Range<usize> {
        let (mut start, end) = match self.extent {
            Extent::Range { preceding_us, lag_us } => {
                let end = first_after(events, t_us.saturating_sub(lag_us), near.run.end);
                let start = match preceding_us {
                    Some(preceding_us) => first_from(events, t_us.saturating_sub(preceding_us), near.run.start),
                    None => 0,
                };
                (start, end)
            }
            Extent::Rows { preceding } => {
                let end = match current {
                    Some(current) => current + 1,
                    None => first_after(events, t_us, near.run.end),
                };
                let rows = usize::try_from(preceding).unwrap_or(usize::MAX).saturating_add(1);
                (end.saturating_sub(rows), end)
            }
            Extent::Group { shape, which } => {
                let run = shape.bounds(which, events, t_us, near);
                (run.start, run.end)
            }
        };
        let end = self.end_of_rest(events, t_us, current, end);
        if let Some(calendar) = self.calendar {
            start = start.max(first_from(events, calendar.bucket_start_us(t_us), near.run.start));
        }
        start.min(end)..end
    }

    /// Of a frame of the session closed last the run of the one that is open as of `t_us`, which lies behind its own.
    pub(crate) fn open_session<E: Events>(&self, events: &E, t_us: i64, near: Near<'_>) -> Option<Range<usize>> {
        match self.extent {
            Extent::Group { shape: shape @ GroupWindow::Session { .. }, which: Which::LastClosed } => {
                Some(shape.bounds(Which::Open, events, t_us, near))
            }
            _ => None,
        }
    }

    /// The group window whose events as of `t_us` are `run`; `None` where there is no window.
    pub(crate) fn window<E: Events>(&self, events: &E, run: &Range<usize>, t_us: i64) -> Option<WindowSpan> {
        match self.extent {
            Extent::Group { shape, which } => shape.window(which, events, run, t_us),
            Extent::Range { .. } | Extent::Rows { .. } => None,
        }
    }

    /// Index of the first event that a read as of `t_us` or later needs, given events up to then and any later ones. Where a
    /// cursor stands is `near`; without one all events of the sessions in question are looked at.
    pub(crate) fn first_needed<E: Events>(&self, events: &E, t_us: i64, near: Option<Near<'_>>) -> usize {
        // Sessions begin where a cursor found them; all else near the front, since the rest is dropped again and again.
        let is_session = self.session_gap_us().is_some();
        let front = if is_session { events.len() } else { 0 };
        let ends = front..events.len();
        self.bounds(events, t_us, None, near.filter(|_| is_session).unwrap_or(Near::to(&ends))).start
    }

    /// Whether a run of this frame that holds the events beside the one at `index` is no such run any more, once that is
    /// taken out: a session falls into two.
    pub(crate) fn is_broken_at<E: Events>(&self, events: &E, index: usize) -> bool {
        let Some(gap_us) = self.session_gap_us() else { return false };
        events.time_us(index - 1) < events.time_us(index + 1).saturating_sub(gap_us)
    }

    /// Whether what the frame needs depends on which of the later events a read sees: then none may be dropped from it
    /// while a read may miss some of those.
    pub(crate) fn looks_back_by_events(&self) -> bool {
        matches!(self.extent, Extent::Rows { .. } | Extent::Group { which: Which::LastClosed, .. })
    }

    /// Whether the frame holds a session, which any event may join that is near enough.
    pub fn holds_session(&self) -> bool {
        self.session_gap_us().is_some()
    }

    /// The gap of a frame of sessions.
    pub(crate) fn session_gap_us(&self) -> Option<i64> {
        match self.extent {
            Extent::Group { shape: GroupWindow::Session { gap_us }, .. } => Some(gap_us),
            _ => None,
        }
    }

    /// The least event time that the frame can hold as of `t_us` or later; `None` where the events decide, as they do for
    /// frames that count rows.
    pub(crate) fn reach_us(&self, t_us: i64) -> Option<i64> {
        let Extent::Range { preceding_us, lag_us } = self.extent else { return None };
        let from_us = preceding_us.map_or(i64::MIN, |preceding_us| t_us.saturating_sub(preceding_us));
        let bucket_us = self.calendar.map_or(i64::MIN, |calendar| calendar.bucket_start_us(t_us));
        let after_end_us = t_us.saturating_sub(lag_us).saturating_add(1);
        Some(from_us.max(bucket_us).min(after_end_us))
    }
}

/// Index of the first event with event time ≥ `t_us`.
pub(crate) fn first_from<E: Events>(events: &E, t_us: i64, near: usize) -> usize {
    search(events.len(), near, |index| events.time_us(index) >= t_us)
}

/// Index of the first event with event time > `t_us`.
pub(crate) fn first_after<E: Events>(events: &E, t_us: i64, near: usize) -> usize {
    search(events.len(), near, |index| events.time_us(index) > t_us)
}

/// The first index at which `reached` turns true, by galloping from `near`: a cursor that slides forward finds its next
/// place in a step or two.
pub(crate) fn search(len: usize, near: usize, reached: impl Fn(usize) -> bool) -> usize {
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cursor::ReadAt;
    use crate::exclusion::gap_among_peers;
    use proptest::prelude::*;

    const HALF_HOUR_US: i64 = 1_800_000_000;

    /// Events that are nothing but their times.
    pub(crate) struct Times(pub(crate) Vec<i64>);

    impl Events for Times {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn time_us(&self, index: usize) -> i64 {
            self.0[index]
        }
        fn word(&self, _: usize, _: usize) -> i64 {
            0
        }
        fn wide(&self, _: usize, _: usize) -> i128 {
            0
        }
        fn text(&self, _: usize, _: usize) -> &[u8] {
            &[]
        }
        fn flag(&self, _: usize, _: usize) -> bool {
            false
        }
    }

    /// The indexes that the definition names, one event at a time.
    pub(crate) fn model(frame: Frame, times: &[i64], t_us: i64, current: Option<usize>) -> Vec<usize> {
        let indexes = 0..times.len();
        let held: Vec<usize> = match frame.extent {
            Extent::Range { preceding_us, lag_us } => {
                let from = preceding_us.map(|preceding_us| i128::from(t_us) - i128::from(preceding_us));
                let to = i128::from(t_us) - i128::from(lag_us);
                let reaches = |time: i128| from.is_none_or(|from| from <= time) && time <= to;
                indexes.filter(|index| reaches(times[*index].into())).collect()
            }
            Extent::Rows { preceding } => {
                let seen = |index: &usize| current.map_or(times[*index] <= t_us, |current| *index <= current);
                let newest_first = indexes.rev().filter(seen);
                let rows = usize::try_from(preceding).unwrap_or(usize::MAX).saturating_add(1);
                let mut held: Vec<usize> = newest_first.take(rows).collect();
                held.reverse();
                held
            }
            Extent::Group { .. } => unreachable!("group windows have their own model"),
        };
        let row = current.or_else(|| match frame.extent {
            Extent::Rows { .. } => held.last().copied(),
            _ => None,
        });
        let is_left_out = |index: usize| match frame.exclusion {
            Exclusion::NoOthers => false,
            Exclusion::CurrentRow => Some(index) == row,
            Exclusion::Group => times[index] == row.map_or(t_us, |row| times[row]),
        };
        let in_bucket = |time_us| frame.calendar.is_none_or(|calendar| time_us >= calendar.bucket_start_us(t_us));
        held.into_iter().filter(|index| in_bucket(times[*index]) && !is_left_out(*index)).collect()
    }

    fn check(frame: Frame, times: &[i64], t_us: i64, current: Option<usize>, near: Range<usize>) {
        let bounds = frame.bounds(&Times(times.to_vec()), t_us, current, Near::to(&near));
        assert!(bounds.start <= bounds.end && bounds.end <= times.len(), "{bounds:?} of {}", times.len());
        let expected = model(frame, times, t_us, current);
        let gap = gap_among_peers(&Times(times.to_vec()), ReadAt { t_us, current });
        let gap = gap.filter(|_| frame.has_gap_among_peers());
        let held: Vec<usize> = bounds.filter(|index| Some(*index) != gap).collect();
        assert_eq!(held, expected, "{frame:?} as of {t_us} of {times:?} from {near:?}");
    }

    /// Instants that hit the edges of frames, and those one microsecond beside.
    pub(crate) fn instant() -> impl Strategy<Value = i64> {
        (-150..150i64, -1..=1i64).prop_map(|(half_hours, beside_us)| half_hours * HALF_HOUR_US + beside_us)
    }

    pub(crate) fn frame() -> impl Strategy<Value = Frame> {
        let range = (prop::option::of(0..100i64), 0..100i64).prop_map(|(preceding, lag)| Extent::Range {
            preceding_us: preceding.map(|preceding| preceding.max(lag) * HALF_HOUR_US),
            lag_us: lag * HALF_HOUR_US,
        });
        let current_row = prop::option::of(0..100i64).prop_map(|preceding| Extent::Range {
            preceding_us: preceding.map(|preceding| preceding * HALF_HOUR_US),
            lag_us: 0,
        });
        let rows = prop_oneof![0..20u64, Just(u64::MAX)].prop_map(|preceding| Extent::Rows { preceding });
        let calendars = vec![Calendar::Hour, Calendar::Day, Calendar::Week, Calendar::Month];
        let exclusions = vec![Exclusion::NoOthers, Exclusion::CurrentRow, Exclusion::Group];
        let extents = prop_oneof![range, current_row, rows];
        (extents, prop::option::of(prop::sample::select(calendars)), prop::sample::select(exclusions))
            .prop_map(|(extent, calendar, exclusion)| Frame { extent, calendar, exclusion })
    }

    pub(crate) fn times() -> impl Strategy<Value = Vec<i64>> {
        prop::collection::vec(instant(), 0..60).prop_map(|mut times| {
            times.sort_unstable();
            times
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn bounds_equal_a_filter(
            (frame, times) in (frame(), times()),
            t_us in instant(),
            (near_start, near_end) in (0..80usize, 0..80usize),
        ) {
            check(frame, &times, t_us, None, near_start..near_end);
            if let Some(reach_us) = frame.reach_us(t_us) {
                let bounds = frame.bounds(&Times(times.clone()), t_us, None, Near::to(&(0..0)));
                assert_eq!(first_from(&Times(times), reach_us, 0), bounds.start, "{frame:?} as of {t_us}");
            }
        }

        #[test]
        fn bounds_at_an_event_end_there(
            (frame, times) in (frame(), times()),
            event in any::<prop::sample::Index>(),
            (near_start, near_end) in (0..80usize, 0..80usize),
        ) {
            if !times.is_empty() {
                let current = event.index(times.len());
                check(frame, &times, times[current], Some(current), near_start..near_end);
            }
        }
    }

    #[test]
    fn both_ends_are_closed() {
        let times = [10, 20, 20, 30];
        let frame = |preceding_us, lag_us| Frame::of(Extent::Range { preceding_us: Some(preceding_us), lag_us });
        let cases = [
            (frame(10, 0), 30, 1..4),
            (frame(9, 0), 30, 3..4),
            (frame(0, 0), 20, 1..3),
            (frame(0, 0), 21, 3..3),
            (frame(20, 10), 30, 0..3),
            (frame(20, 11), 30, 0..1),
            (frame(i64::MAX, 0), 30, 0..4),
            (frame(i64::MAX, 0), i64::MAX, 0..4),
            (Frame::LIFETIME, i64::MIN, 0..0),
            (Frame::LIFETIME, i64::MAX, 0..4),
        ];
        for (frame, t_us, expected) in cases {
            let bounds = frame.bounds(&Times(times.to_vec()), t_us, None, Near::to(&(0..0)));
            assert_eq!(bounds, expected, "{frame:?} as of {t_us}");
        }
    }
}
