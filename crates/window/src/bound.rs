//! The columns that a group window has beside those of its events: where it begins, where it ends, and when it is over.

use std::ops::Range;

use crate::group_window::WindowSpan;

const DAY_US: i64 = 86_400_000_000;
/// The instants that a TIMESTAMP can be, in microseconds: those of the years 0001 to 9999, by their first and last days
/// since 1970.
const INSTANTS_US: Range<i64> = -719_162 * DAY_US..2_932_897 * DAY_US;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bound {
    /// `window_start`
    Start,
    /// `window_end`
    End,
    /// `window_time`: the last instant of the window, which is the event time of its row.
    Time,
}

impl Bound {
    const ALL: [Bound; 3] = [Bound::Start, Bound::End, Bound::Time];

    /// As SQL spells it.
    pub fn name(self) -> &'static str {
        match self {
            Bound::Start => "window_start",
            Bound::End => "window_end",
            Bound::Time => "window_time",
        }
    }

    /// Of that folded name.
    pub fn from_name(name: &str) -> Option<Bound> {
        Bound::ALL.into_iter().find(|bound| bound.name() == name)
    }

    /// Of a window, in microseconds; `None` beyond the years of a TIMESTAMP, as of the last minute that one can be.
    pub fn of(self, window: WindowSpan) -> Option<i64> {
        let instant_us = match self {
            Bound::Start => window.start_us,
            Bound::End => window.end_us,
            Bound::Time => window.last_us,
        };
        INSTANTS_US.contains(&instant_us).then_some(instant_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Function;
    use crate::answers::{Answers, Failure};
    use crate::cursor::{Cursor, ReadAt};
    use crate::events::Events;
    use crate::frame::tests::Times;
    use crate::frame::{Extent, Frame, Near};
    use crate::group_window::{GroupWindow, Which};
    use crate::program::{Call, Program};
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
    use proptest::prelude::*;

    /// Start and end of every window of the clock that could hold an instant from −200 to 200.
    fn windows(shape: GroupWindow) -> Vec<(i64, i64)> {
        let starts = |step: i64, offset: i64| (-400..400).filter(move |at| (at - offset) % step == 0);
        match shape {
            GroupWindow::Tumble { size_us, offset_us } => {
                starts(size_us, offset_us).map(|start| (start, start + size_us)).collect()
            }
            GroupWindow::Hop { size_us, slide_us, offset_us } => {
                starts(slide_us, offset_us).map(|start| (start, start + size_us)).collect()
            }
            GroupWindow::Cumulate { size_us, step_us, offset_us } => starts(size_us, offset_us)
                .flat_map(|start| (1..=size_us / step_us).map(move |steps| (start, start + steps * step_us)))
                .collect(),
            GroupWindow::Session { .. } => Vec::new(),
        }
    }

    /// Sessions as first and last instants.
    fn sessions(gap_us: i64, times: &[i64]) -> Vec<(i64, i64)> {
        let mut found: Vec<(i64, i64)> = Vec::new();
        for &time_us in times {
            match found.last_mut() {
                Some((_, last_us)) if time_us <= *last_us => *last_us = time_us + gap_us,
                _ => found.push((time_us, time_us + gap_us)),
            }
        }
        found
    }

    /// Start, end and last instant, by going through all windows.
    fn model(shape: GroupWindow, which: Which, times: &[i64], t_us: i64) -> Option<(i64, i64, i64)> {
        let upto: Vec<i64> = times.iter().copied().filter(|time_us| *time_us <= t_us).collect();
        if let GroupWindow::Session { gap_us } = shape {
            let is_open = |(_, last_us): &(i64, i64)| *last_us >= t_us;
            let all = sessions(gap_us, &upto);
            let found = match which {
                Which::Open => all.into_iter().find(is_open),
                Which::LastClosed => all.into_iter().rev().find(|one| !is_open(one)),
            };
            return found.map(|(start_us, last_us)| (start_us, last_us, last_us));
        }
        let all = windows(shape).into_iter();
        let found = match which {
            Which::Open => all.filter(|(start, end)| *start <= t_us && t_us < *end).min_by_key(|(_, end)| *end),
            Which::LastClosed => all
                .filter(|(start, end)| *end <= t_us && upto.iter().any(|time_us| start <= time_us && time_us < end))
                .max_by_key(|(_, end)| *end),
        };
        found.map(|(start_us, end_us)| (start_us, end_us, end_us - 1))
    }

    fn shape() -> impl Strategy<Value = GroupWindow> {
        prop_oneof![
            (1..40i64, 0..40i64)
                .prop_map(|(size_us, offset)| GroupWindow::Tumble { size_us, offset_us: offset % size_us }),
            (1..20i64, 0..30i64, 0..20i64).prop_map(|(slide_us, more_us, offset)| GroupWindow::Hop {
                size_us: slide_us + more_us,
                slide_us,
                offset_us: offset % slide_us
            }),
            (1..15i64, 1..6i64, 0..90i64).prop_map(|(step_us, steps, offset)| GroupWindow::Cumulate {
                size_us: step_us * steps,
                step_us,
                offset_us: offset % (step_us * steps)
            }),
            (1..30i64).prop_map(|gap_us| GroupWindow::Session { gap_us }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn bounds_are_those_of_the_window_found_by_going_through_all(
            shape in shape(),
            is_closed in any::<bool>(),
            mut times in prop::collection::vec(-100..100i64, 0..12),
            t_us in -110..130i64,
        ) {
            times.sort_unstable();
            let which = if is_closed { Which::LastClosed } else { Which::Open };
            let expected = model(shape, which, &times, t_us);
            let events = Times(times);
            let frame = Frame::of(Extent::Group { shape, which });
            let run = frame.bounds(&events, t_us, None, Near::to(&(0..0)));
            let found = frame.window(&events, &run, t_us);
            let found = found.map(|window| [Bound::Start, Bound::End, Bound::Time].map(|bound| bound.of(window)));
            prop_assert_eq!(found, expected.map(|(start, end, last)| [start, end, last].map(Some)));
            // And the run has the events in it.
            let inside: Vec<i64> = run.map(|index| events.time_us(index)).collect();
            let held = expected.map_or(Vec::new(), |(start, _, last)| {
                events.0.iter().copied().filter(|time| start <= *time && *time <= last && *time <= t_us).collect()
            });
            prop_assert_eq!(inside, held);
        }
    }

    /// Half a minute before the year 10000 and after the beginning of the year 1, the minute lies partly beyond.
    #[test]
    fn what_lies_beyond_the_years_of_a_timestamp_is_out_of_range() {
        let minute = GroupWindow::Tumble { size_us: 60_000_000, offset_us: 30_000_000 };
        let frame = Frame::of(Extent::Group { shape: minute, which: Which::Open });
        let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
        let call = |bound| {
            let (function, data_type) = (Function::WindowBound(bound), moment.clone());
            Call { function, argument: None, by: None, filter: None, frame: 0, data_type }
        };
        let program = Program::new(vec![frame], Vec::new(), 0, Bound::ALL.map(call).to_vec()).unwrap();
        let (first_us, last_us) = (INSTANTS_US.start, INSTANTS_US.end - 1);
        let whole_us = INSTANTS_US.end - 30_000_000;
        let cases = [
            (last_us, [Some(whole_us), None, None]),
            (whole_us - 1, [Some(whole_us - 60_000_000), Some(whole_us), Some(whole_us - 1)]),
            (first_us, [None, Some(first_us + 30_000_000), Some(first_us + 30_000_000 - 1)]),
            (i64::MAX, [None, None, None]),
            (i64::MIN, [None, None, None]),
        ];
        for (t_us, expected) in cases {
            let mut answers = Answers::with_capacity(&program, 1);
            let at = ReadAt { t_us, current: None };
            Cursor::new(&program).read(&program, &Times(vec![t_us]), at, &mut answers);
            let answers = answers.finish();
            let found = answers.columns.iter().map(|column| {
                let column = column.as_primitive::<TimestampMicrosecondType>();
                column.is_valid(0).then(|| column.value(0))
            });
            assert_eq!(found.collect::<Vec<_>>(), expected, "as of {t_us}");
            let failed = answers.failed.iter().map(|failed| (failed.call, failed.failure));
            let missing = (0..3).filter(|call| expected[*call].is_none());
            assert!(failed.eq(missing.map(|call| (call, Failure::OutOfRange))), "as of {t_us}: {:?}", answers.failed);
        }
    }

    #[test]
    fn names_are_those_of_sql() {
        assert!(Bound::ALL.iter().all(|bound| Bound::from_name(bound.name()) == Some(*bound)));
        assert_eq!(Bound::from_name("window"), None);
    }
}
