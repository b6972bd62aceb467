//! Group windows against their definition: all windows that the events make, one by one.

use super::*;
use crate::frame::tests::Times;
use crate::frame::{Extent, Frame, Near};
use proptest::prelude::*;

/// A window and the indexes of its events.
type Window = (WindowSpan, Vec<usize>);

fn within(instant_us: i128) -> i64 {
    instant_us.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

fn span(start_us: i128, end_us: i128, last_us: i128) -> WindowSpan {
    WindowSpan { start_us: within(start_us), end_us: within(end_us), last_us: within(last_us) }
}

/// The windows of the clock that an instant is in, by starting from 1970 and walking: the one that ends first comes first.
pub(crate) fn windows_at(shape: GroupWindow, t_us: i64) -> Vec<WindowSpan> {
    let (size_us, step_us, offset_us) = match shape {
        GroupWindow::Tumble { size_us, offset_us } => (size_us, size_us, offset_us),
        GroupWindow::Hop { size_us, slide_us, offset_us } => (size_us, slide_us, offset_us),
        GroupWindow::Cumulate { size_us, step_us, offset_us } => (size_us, step_us, offset_us),
        GroupWindow::Session { .. } => return Vec::new(),
    };
    let [size_us, step_us, t_us] = [size_us, step_us, t_us].map(i128::from);
    let offset_us = i128::from(offset_us);
    if let GroupWindow::Cumulate { .. } = shape {
        let start_us = offset_us + (t_us - offset_us).div_euclid(size_us) * size_us;
        let ends = (1..=size_us / step_us).map(|steps| start_us + steps * step_us);
        return ends.filter(|end_us| *end_us > t_us).map(|end_us| span(start_us, end_us, end_us - 1)).collect();
    }
    let newest_us = offset_us + (t_us - offset_us).div_euclid(step_us) * step_us;
    let starts = (0..).map(|steps| newest_us - steps * step_us).take_while(|start_us| *start_us > t_us - size_us);
    let mut starts: Vec<i128> = starts.collect();
    starts.reverse();
    starts.into_iter().map(|start_us| span(start_us, start_us + size_us, start_us + size_us - 1)).collect()
}

fn sessions(gap_us: i64, times: &[i64]) -> Vec<Window> {
    let mut found: Vec<Vec<usize>> = Vec::new();
    for (index, time_us) in times.iter().enumerate() {
        let joins = |session: &&mut Vec<usize>| {
            let newest = session.last().map_or(0, |newest| *newest);
            i128::from(*time_us) <= i128::from(times[newest]) + i128::from(gap_us)
        };
        match found.last_mut().filter(joins) {
            Some(session) => session.push(index),
            None => found.push(vec![index]),
        }
    }
    let of = |session: Vec<usize>| {
        let last_us = i128::from(times[session[session.len() - 1]]) + i128::from(gap_us);
        (span(times[session[0]].into(), last_us, last_us), session)
    };
    found.into_iter().map(of).collect()
}

/// All windows that events at these times make, which ascend; those of the clock by start, then by end.
pub(crate) fn windows(shape: GroupWindow, times: &[i64]) -> Vec<Window> {
    if let GroupWindow::Session { gap_us } = shape {
        return sessions(gap_us, times);
    }
    let mut spans: Vec<WindowSpan> = times.iter().flat_map(|time_us| windows_at(shape, *time_us)).collect();
    spans.sort_unstable();
    spans.dedup();
    let held = |span: &WindowSpan| {
        let is_in = |index: &usize| span.start_us <= times[*index] && times[*index] <= span.last_us;
        (0..times.len()).filter(is_in).collect::<Vec<usize>>()
    };
    spans.into_iter().map(|span| (span, held(&span))).collect()
}

/// The window as of an instant, and its events up to then. The clock's windows are there without events, too.
pub(crate) fn model(shape: GroupWindow, which: Which, times: &[i64], t_us: i64) -> (Option<WindowSpan>, Vec<usize>) {
    let known = &times[..times.partition_point(|time_us| *time_us <= t_us)];
    let all = windows(shape, known);
    let found = match which {
        Which::LastClosed => {
            all.into_iter().filter(|(span, _)| span.last_us < t_us).max_by_key(|(span, _)| span.last_us)
        }
        Which::Open => match windows_at(shape, t_us).first() {
            None => all.into_iter().find(|(span, _)| t_us <= span.last_us),
            Some(open) => {
                let held = (0..known.len()).filter(|index| open.start_us <= known[*index]).collect();
                return (Some(*open), held);
            }
        },
    };
    found.map_or((None, Vec::new()), |(span, held)| (Some(span), held))
}

fn frame(shape: GroupWindow, which: Which) -> Frame {
    Frame::of(Extent::Group { shape, which })
}

fn check(shape: GroupWindow, which: Which, times: &[i64], t_us: i64, near: Near<'_>) -> Range<usize> {
    let frame = frame(shape, which);
    let events = Times(times.to_vec());
    let run = frame.bounds(&events, t_us, None, near);
    assert!(run.start <= run.end && run.end <= times.len(), "{run:?} of {}", times.len());
    let (window, held) = model(shape, which, times, t_us);
    let place = format!("{shape:?} {which:?} as of {t_us} of {times:?} from {near:?}");
    assert_eq!(frame.window(&events, &run, t_us), window, "{place}");
    assert_eq!(run.clone().collect::<Vec<_>>(), held, "{place}");
    run
}

/// Shapes of a few microseconds, so that all edges are met.
pub(crate) fn shape() -> impl Strategy<Value = GroupWindow> {
    let offset = || prop_oneof![4 => -20..20i64, 1 => any::<i64>()];
    prop_oneof![
        (1..12i64, offset()).prop_map(|(size_us, offset_us)| GroupWindow::Tumble { size_us, offset_us }),
        (1..6i64, 0..15i64, offset()).prop_map(|(slide_us, more_us, offset_us)| {
            GroupWindow::Hop { size_us: slide_us + more_us, slide_us, offset_us }
        }),
        (1..6i64, 1..6i64, offset()).prop_map(|(step_us, steps, offset_us)| {
            GroupWindow::Cumulate { size_us: step_us * steps, step_us, offset_us }
        }),
        (1..8i64).prop_map(|gap_us| GroupWindow::Session { gap_us }),
    ]
}

pub(crate) fn which() -> impl Strategy<Value = Which> {
    prop::sample::select(vec![Which::Open, Which::LastClosed])
}

/// Instants about 1970, or about one end of time.
fn instants() -> impl Strategy<Value = (i64, Vec<i64>)> {
    let about = prop_oneof![
        6 => Just(0i64),
        1 => Just(i64::MIN),
        1 => Just(i64::MAX),
    ];
    (about, -60..60i64, prop::collection::vec(-60..60i64, 0..25)).prop_map(|(about, t, times)| {
        let mut times: Vec<i64> = times.into_iter().map(|time| about.saturating_add(time)).collect();
        times.sort_unstable();
        (about.saturating_add(t), times)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn bounds_equal_a_scan(shape in shape(), which in which(), (t_us, times) in instants(), near in 0..30usize) {
        check(shape, which, &times, t_us, Near::to(&(near..near)));
    }

    /// From the run of another instant, and with events that came since.
    #[test]
    fn bounds_near_an_earlier_run_equal_a_scan(
        shape in shape(),
        which in which(),
        (before_us, times) in instants(),
        came in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        later_us in -20..20i64,
    ) {
        let mut first = times.clone();
        came.iter().for_each(|index| if !first.is_empty() { first.remove(index.index(first.len())); });
        let mut run = check(shape, which, &first, before_us, Near::to(&(0..0)));
        let open = frame(shape, which).open_session(&Times(first.clone()), before_us, Near::to(&(0..0)));
        let mut open = open.unwrap_or(0..0);
        for (index, time_us) in times.iter().enumerate() {
            // As a cursor does that is told of the insertion.
            if first.get(index) != Some(time_us) {
                first.insert(index, *time_us);
                for run in [&mut run, &mut open].into_iter().filter(|run| index < run.end) {
                    run.end += 1;
                    run.start += usize::from(index <= run.start);
                }
            }
        }
        prop_assert_eq!(&first, &times);
        check(shape, which, &times, before_us.saturating_add(later_us), Near { run: &run, open: &open });
    }

    #[test]
    fn the_next_to_end_is_the_first_of_all(shape in shape(), (from_us, times) in instants()) {
        let events = Times(times.clone());
        let left = windows(shape, &times).into_iter().map(|(span, _)| span).filter(|span| span.last_us >= from_us);
        let next = left.min_by_key(|span| span.last_us);
        prop_assert_eq!(shape.next_last_us(&events, from_us), next.map(|span| span.last_us));
        if let Some(next) = next {
            prop_assert_eq!(shape.ending(&events, next.last_us), Some(next));
        }
        for time_us in times {
            let ends: Vec<i64> = match shape {
                GroupWindow::Session { gap_us } => vec![time_us.saturating_add(gap_us)],
                _ => windows_at(shape, time_us).into_iter().map(|span| span.last_us).collect(),
            };
            let due_us = shape.due_us(time_us, from_us);
            prop_assert!(due_us >= from_us);
            if let Some(end_us) = ends.into_iter().filter(|end_us| *end_us >= from_us).min() {
                prop_assert_eq!(due_us, end_us);
            }
        }
    }
}

#[test]
fn lengths_of_all_of_time_do_not_overflow() {
    let most = i64::MAX;
    let shapes = [
        GroupWindow::Tumble { size_us: most, offset_us: i64::MIN },
        GroupWindow::Tumble { size_us: most, offset_us: most },
        GroupWindow::Hop { size_us: most, slide_us: most, offset_us: -1 },
        GroupWindow::Hop { size_us: most, slide_us: most / 2 + 7, offset_us: i64::MIN },
        GroupWindow::Cumulate { size_us: most, step_us: most / 7, offset_us: 5 },
        GroupWindow::Session { gap_us: most },
    ];
    let times = [i64::MIN, i64::MIN + 1, -1, 0, 1, most - 1, most];
    for shape in shapes {
        for which in [Which::Open, Which::LastClosed] {
            for t_us in times {
                check(shape, which, &times, t_us, Near::to(&(0..0)));
                check(shape, which, &times[3..4], t_us, Near::to(&(1..1)));
            }
        }
    }
}

/// The pictures of the head, in seconds.
#[test]
fn shapes_are_as_they_are_drawn() {
    let times = [0, 70, 100, 400, 700, 1_001];
    let cases = [
        (GroupWindow::Tumble { size_us: 60, offset_us: 0 }, Which::Open, 119, 60, 120, 1..3),
        (GroupWindow::Tumble { size_us: 60, offset_us: 0 }, Which::LastClosed, 119, 0, 60, 0..1),
        (GroupWindow::Tumble { size_us: 60, offset_us: 0 }, Which::LastClosed, 399, 60, 120, 1..3),
        (GroupWindow::Tumble { size_us: 60, offset_us: 10 }, Which::Open, 100, 70, 130, 1..3),
        (GroupWindow::Hop { size_us: 60, slide_us: 30, offset_us: 0 }, Which::Open, 100, 60, 120, 1..3),
        (GroupWindow::Hop { size_us: 60, slide_us: 30, offset_us: 0 }, Which::LastClosed, 100, 30, 90, 1..2),
        (GroupWindow::Hop { size_us: 60, slide_us: 30, offset_us: 0 }, Which::LastClosed, 390, 90, 150, 2..3),
        (GroupWindow::Cumulate { size_us: 60, step_us: 20, offset_us: 0 }, Which::Open, 100, 60, 120, 1..3),
        (GroupWindow::Cumulate { size_us: 60, step_us: 20, offset_us: 0 }, Which::LastClosed, 100, 60, 100, 1..2),
        (GroupWindow::Session { gap_us: 300 }, Which::Open, 1_000, 0, 1_000, 0..5),
        (GroupWindow::Session { gap_us: 300 }, Which::LastClosed, 1_001, 0, 1_000, 0..5),
        (GroupWindow::Session { gap_us: 300 }, Which::Open, 1_301, 1_001, 1_301, 5..6),
    ];
    for (shape, which, t_us, start_us, end_us, expected) in cases {
        let run = check(shape, which, &times, t_us, Near::to(&(0..0)));
        let window = shape.window(which, &Times(times.to_vec()), &run, t_us).unwrap();
        assert_eq!((run, window.start_us, window.end_us), (expected, start_us, end_us), "{shape:?} as of {t_us}");
    }
    assert_eq!(check(GroupWindow::Session { gap_us: 300 }, Which::Open, &times, 1_302, Near::to(&(0..0))), 6..6);
}

mod changes;
