//! A cursor that stays with an entity while its events come and go: right at every step, and in few steps.

use std::cell::Cell;

use super::*;
use crate::aggregate::Function;
use crate::answers::Answers;
use crate::bound::Bound;
use crate::cursor::{Cursor, ReadAt};
use crate::excluding::Excluding;
use crate::program::{Call, Program};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};

/// Events of one entity that count how often one is looked at.
struct Counted {
    times: Vec<i64>,
    looks: Cell<usize>,
}

impl Events for Counted {
    fn len(&self) -> usize {
        self.times.len()
    }
    fn time_us(&self, index: usize) -> i64 {
        self.looks.set(self.looks.get() + 1);
        self.times[index]
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

/// How many events the open window and the one closed last hold, and where they begin.
fn counts_and_starts(shape: GroupWindow) -> Program {
    let frames = [Which::Open, Which::LastClosed].map(|which| frame(shape, which));
    let call = |function, frame, data_type| Call { function, argument: None, by: None, filter: None, frame, data_type };
    let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
    let of_frame = |frame| {
        let start = Function::WindowBound(Bound::Start);
        [call(Function::Count, frame, DataType::Int64), call(start, frame, moment.clone())]
    };
    Program::new(frames.to_vec(), Vec::new(), 0, [of_frame(0), of_frame(1)].concat()).unwrap()
}

/// One of the two windows: the count of its events, and its start.
type Found = (i64, Option<i64>);

fn found(program: &Program, read: impl FnOnce(&mut Answers)) -> [Found; 2] {
    let mut answers = Answers::with_capacity(program, 1);
    read(&mut answers);
    let columns = answers.finish().columns;
    [0, 2].map(|count| {
        let starts = columns[count + 1].as_primitive::<TimestampMicrosecondType>();
        let start_us = starts.is_valid(0).then(|| starts.value(0));
        (columns[count].as_primitive::<Int64Type>().value(0), start_us)
    })
}

fn expected(shape: GroupWindow, times: &[i64], t_us: i64) -> [Found; 2] {
    [Which::Open, Which::LastClosed].map(|which| {
        let (window, held) = model(shape, which, times, t_us);
        (held.len() as i64, window.map(|window| window.start_us))
    })
}

#[derive(Debug, Clone)]
enum Change {
    Come(i64),
    Go(prop::sample::Index),
    DropFirst(usize),
    /// Reads as of an instant.
    Read(i64),
    /// Reads as of an instant what is left without some.
    ReadWithout(Vec<prop::sample::Index>, i64),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        8 => (-60..60i64).prop_map(Change::Come),
        3 => index().prop_map(Change::Go),
        1 => (0..4usize).prop_map(Change::DropFirst),
        4 => (-70..80i64).prop_map(Change::Read),
        3 => (prop::collection::vec(index(), 0..4), -70..80i64).prop_map(|(out, t_us)| Change::ReadWithout(out, t_us)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Every change is followed by a read as of the instant of the last one.
    #[test]
    fn a_cursor_that_stays_equals_a_scan_at_every_step(
        shape in shape(),
        changes in prop::collection::vec(change(), 0..50),
    ) {
        let program = counts_and_starts(shape);
        let (mut cursor, mut times, mut t_us) = (Cursor::new(&program), Vec::<i64>::new(), 0);
        for change in changes {
            match &change {
                Change::Come(time_us) => {
                    let index = times.partition_point(|other| other <= time_us);
                    times.insert(index, *time_us);
                    cursor.inserted(&program, &Times(times.clone()), index);
                }
                Change::Go(which) if !times.is_empty() => {
                    let index = which.index(times.len());
                    cursor.removed(&program, &Times(times.clone()), index);
                    times.remove(index);
                }
                Change::DropFirst(count) => {
                    let count = (*count).min(times.len());
                    cursor.dropped_first(&program, &Times(times.clone()), count);
                    times.drain(..count);
                }
                Change::Read(at_us) => t_us = *at_us,
                Change::ReadWithout(out, at_us) if !times.is_empty() => {
                    t_us = *at_us;
                    let mut excluded: Vec<usize> = out.iter().map(|which| which.index(times.len())).collect();
                    excluded.sort_unstable();
                    excluded.dedup();
                    let events = Times(times.clone());
                    let at = ReadAt { t_us, current: None };
                    let seen = found(&program, |answers| cursor.read_without(&program, &events, &excluded, at, answers));
                    let all = Excluding::new(&events, &excluded);
                    let left: Vec<i64> = (0..all.len()).map(|index| all.time_us(index)).collect();
                    prop_assert_eq!(seen, expected(shape, &left, t_us), "{:?} {:?}", change, left);
                }
                Change::Go(_) | Change::ReadWithout(..) => {}
            }
            let events = Times(times.clone());
            let at = ReadAt { t_us, current: None };
            let seen = found(&program, |answers| cursor.read(&program, &events, at, answers));
            prop_assert_eq!(seen, expected(shape, &times, t_us), "{:?} as of {} of {:?}", change, t_us, times);
        }
    }
}

/// The steps of a binary search over all events would be 17, and a read makes some of them.
const LOOKS_MAX: usize = 200;

#[test]
fn regression_a_long_session_is_not_walked_through_at_every_read() {
    let gap_us = 10;
    let program = counts_and_starts(GroupWindow::Session { gap_us });
    let (mut cursor, mut events) = (Cursor::new(&program), Counted { times: vec![-50, -45, -40], looks: Cell::new(0) });
    (0..3).for_each(|index| cursor.inserted(&program, &events, index));
    let at = |t_us| ReadAt { t_us, current: None };
    for count in 1..=100_000i64 {
        let t_us = 3 * (count - 1);
        events.times.push(t_us);
        let newest = events.len() - 1;
        cursor.inserted(&program, &events, newest);
        let closed = (3, Some(-50));
        let now = found(&program, |answers| cursor.read(&program, &events, at(t_us), answers));
        assert_eq!(now, [(count, Some(0)), closed]);
        let before = found(&program, |answers| cursor.read_without(&program, &events, &[newest], at(t_us), answers));
        assert_eq!(before, [(count - 1, (count > 1).then_some(0)), closed]);
        assert!(!cursor.is_far(&program, &events, at(t_us), &[newest]));
        for (place, frame) in program.frames().iter().enumerate() {
            assert_eq!(frame.first_needed(&events, t_us, Some(cursor.near(place))), [3, 0][place]);
        }
        assert!(events.looks.take() <= LOOKS_MAX, "at {count}");
    }
    // Once it has ended it is the one closed last, while none is open and while the next one is.
    let end_us = 3 * 99_999 + gap_us;
    events.times.push(end_us + 50);
    cursor.inserted(&program, &events, events.len() - 1);
    for (t_us, open) in [(end_us + 1, (0, None)), (end_us + 50, (1, Some(end_us + 50)))] {
        let ended = found(&program, |answers| cursor.read(&program, &events, at(t_us), answers));
        assert_eq!(ended, [open, (100_000, Some(0))]);
        assert!(events.looks.take() <= LOOKS_MAX, "as of {t_us}");
    }
}

/// As of an earlier instant of the open session, and as of now again.
#[test]
fn regression_a_read_of_the_past_does_not_forget_where_the_open_session_begins() {
    let closed = frame(GroupWindow::Session { gap_us: 10 }, Which::LastClosed);
    let count = Call {
        function: Function::Count,
        argument: None,
        by: None,
        filter: None,
        frame: 0,
        data_type: DataType::Int64,
    };
    let program = Program::new(vec![closed], Vec::new(), 0, vec![count]).unwrap();
    let times: Vec<i64> = [-50, -45].into_iter().chain((0..100_000).map(|place| 3 * place)).collect();
    let (now_us, events) = (times[times.len() - 1], Counted { times, looks: Cell::new(0) });
    let mut cursor = Cursor::new(&program);
    let mut read = |t_us: i64| {
        let mut answers = Answers::with_capacity(&program, 1);
        cursor.read(&program, &events, ReadAt { t_us, current: None }, &mut answers);
        assert_eq!(answers.finish().columns[0].as_primitive::<Int64Type>().value(0), 2, "as of {t_us}");
        events.looks.take()
    };
    read(now_us);
    for t_us in [now_us / 2, now_us, 3, now_us, now_us - 1, now_us] {
        assert!(read(t_us) <= LOOKS_MAX, "as of {t_us}");
    }
}
