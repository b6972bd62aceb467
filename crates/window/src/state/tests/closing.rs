//! Windows that close, against all windows of all events ever appended.

use std::collections::BTreeMap;

use super::*;
use crate::capture::Captured;
use crate::group_window::tests::{windows, windows_at};
use crate::group_window::{GroupWindow, Which, WindowSpan};
use crate::image::Images;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type};

/// A window of an entity, by last instant.
type Closed = (i64, i64, WindowSpan);

#[derive(Debug, Clone)]
enum Step {
    Come(Vec<Row>),
    Go(Vec<prop::sample::Index>),
    /// The watermark goes on by so many minutes, and windows come out so many at a time.
    Close(i64, usize),
    Sweep(usize),
    /// Captures, in pieces or at once, and goes on with what comes out of that.
    Restart,
}

struct Closer {
    program: Arc<Program>,
    shape: GroupWindow,
    encoder: KeyEncoder,
    has_departures: bool,
    state: WindowState,
    /// By offset; those that went are left out.
    rows: BTreeMap<u64, Row>,
    next_offset: u64,
    watermark_us: Option<i64>,
    version: Version,
}

fn shapes() -> Vec<GroupWindow> {
    vec![
        GroupWindow::Tumble { size_us: 60 * MINUTE_US, offset_us: 7 * MINUTE_US },
        GroupWindow::Hop { size_us: 90 * MINUTE_US, slide_us: 25 * MINUTE_US, offset_us: 0 },
        GroupWindow::Cumulate { size_us: 120 * MINUTE_US, step_us: 20 * MINUTE_US, offset_us: -MINUTE_US },
        GroupWindow::Session { gap_us: 10 * MINUTE_US },
        GroupWindow::Session { gap_us: 70 * MINUTE_US },
    ]
}

/// Keys of one word, of one word or NULL, and of a text or NULL.
fn key_parts() -> Vec<Field> {
    vec![
        Field::new("key", DataType::Int64, false),
        Field::new("key", DataType::Int64, true),
        Field::new("key", DataType::Utf8, true),
    ]
}

impl Closer {
    fn new(shape: GroupWindow, follows_order: bool, part: Field, has_departures: bool) -> Closer {
        let frames = vec![Frame::of(Extent::Group { shape, which: Which::Open })];
        let program = Arc::new(if follows_order { program(frames) } else { program_without_order(frames) });
        let mut closer = Closer {
            encoder: KeyEncoder::of_groups(&[part]).unwrap(),
            state: WindowState::new(program.clone()),
            program,
            shape,
            has_departures,
            rows: BTreeMap::new(),
            next_offset: 0,
            watermark_us: None,
            version: Version(0),
        };
        closer.state = closer.fresh();
        closer
    }

    fn fresh(&self) -> WindowState {
        let of = if self.has_departures { WindowState::with_departures } else { WindowState::new };
        let mut state = of(self.program.clone()).closing(self.shape, self.watermark_us);
        state.standing = StandingCursors::within(limits(20, 6));
        state.settle(self.version, self.watermark_us);
        state
    }

    /// Entity 0 is NULL where it may be.
    fn keys(&self, entities: &[i64]) -> Keys {
        let is_null = |entity: &i64| *entity == 0 && !self.encoder.gives_words();
        let words = || entities.iter().map(|entity| (!is_null(entity)).then_some(*entity));
        let words_array: ArrayRef = Arc::new(words().collect::<Int64Array>());
        let texts: ArrayRef = Arc::new(words().map(|word| word.map(|word| word.to_string())).collect::<StringArray>());
        self.encoder.encode(&[words_array]).or_else(|_| self.encoder.encode(&[texts])).unwrap()
    }

    fn entities(&self, due: &[DueWindow]) -> Vec<i64> {
        let parts = self.state.due_keys(&self.encoder, due).unwrap();
        let [part] = &parts[..] else { panic!("{} parts", parts.len()) };
        match part.data_type() {
            DataType::Int64 => part.as_primitive::<Int64Type>().iter().map(Option::unwrap_or_default).collect(),
            _ => part.as_string::<i32>().iter().map(|text| text.map_or(0, |text| text.parse().unwrap())).collect(),
        }
    }

    fn times(&self, entity: i64) -> Vec<i64> {
        let of_entity = self.rows.values().filter(|row| row.entity == entity);
        let mut times: Vec<i64> = of_entity.map(|row| row.sample.minute * MINUTE_US).collect();
        times.sort_unstable();
        times
    }

    fn is_open(&self, span: &WindowSpan) -> bool {
        self.watermark_us.is_none_or(|watermark_us| span.last_us >= watermark_us)
    }

    /// Whether an event is no more in time for any window, or joins a session that is closed.
    fn is_too_late(&self, row: &Row) -> bool {
        let time_us = row.sample.minute * MINUTE_US;
        let GroupWindow::Session { gap_us } = self.shape else {
            return !windows_at(self.shape, time_us).iter().any(|span| self.is_open(span));
        };
        let held = self.times(row.entity);
        let joins = |span: &WindowSpan| (span.start_us - gap_us..=span.last_us).contains(&time_us);
        let mut joined = windows(self.shape, &held).into_iter().map(|(span, _)| span).filter(joins).peekable();
        match joined.peek() {
            None => !self.is_open(&WindowSpan { start_us: time_us, end_us: time_us, last_us: time_us + gap_us }),
            Some(_) => joined.any(|span| !self.is_open(&span)),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Come(rows) => rows.iter().for_each(|row| self.come(row)),
            Step::Go(chosen) => self.go(chosen),
            Step::Close(minutes, windows_max) => {
                let watermark_us = self.watermark_us.unwrap_or(-600 * MINUTE_US) + minutes * MINUTE_US;
                self.close(watermark_us, *windows_max)?;
            }
            Step::Sweep(entities) => {
                self.state.sweep(*entities);
            }
            Step::Restart => self.restart(),
        }
        let state = &self.state;
        prop_assert_eq!(
            state.ring_bytes,
            state.entities.iter().map(|entity| entity.ring.memory_bytes()).sum::<usize>()
        );
        Ok(())
    }

    /// A row at a time, so that what is too late is decided in order of arrival.
    fn come(&mut self, row: &Row) {
        if self.is_too_late(row) {
            return;
        }
        let events = carried(&self.program, std::slice::from_ref(&row.sample));
        let offset = self.next_offset;
        let tie = |_: usize| TieBreak { primary_key: &row.primary_key, partition: 0, offset };
        self.version.0 += 1;
        self.state.append(&self.keys(&[row.entity]), &[0], &events.run(0, 1), self.version, tie);
        self.state.settle(self.version, self.watermark_us);
        self.rows.insert(offset, row.clone());
        self.next_offset += 1;
    }

    /// Lets events go that the watermark has not passed: what makes them go is waited for as they are.
    fn go(&mut self, chosen: &[prop::sample::Index]) {
        for index in chosen.iter().filter(|_| self.has_departures && !self.rows.is_empty()).collect::<Vec<_>>() {
            let Some((offset, row)) = self.rows.iter().nth(index.index(self.rows.len().max(1))) else { continue };
            let (offset, row) = (*offset, row.clone());
            let time_us = row.sample.minute * MINUTE_US;
            if self.watermark_us.is_some_and(|watermark_us| time_us < watermark_us) {
                continue;
            }
            let events = carried(&self.program, std::slice::from_ref(&row.sample));
            let tie = |_: usize| TieBreak { primary_key: &row.primary_key, partition: 0, offset };
            self.version.0 += 1;
            let gone = self.state.depart(&self.keys(&[row.entity]), &[0], &events.run(0, 1), self.version, tie);
            assert_eq!(gone, 1, "{row:?} was held");
            self.state.settle(self.version, self.watermark_us);
            self.rows.remove(&offset);
        }
    }

    fn close(&mut self, watermark_us: i64, windows_max: usize) -> Result<(), TestCaseError> {
        let (mut due, mut pieces) = (Vec::new(), 1);
        while !self.state.due(watermark_us, windows_max, &mut due) {
            pieces += 1;
        }
        prop_assert!(pieces <= due.len() / windows_max + 1);
        prop_assert!(due.is_sorted_by_key(|due| due.span.last_us), "{:?}", due);
        let entities = self.entities(&due);
        let mut found: Vec<Closed> =
            due.iter().zip(&entities).map(|(due, entity)| (due.span.last_us, *entity, due.span)).collect();
        found.sort_unstable();
        prop_assert_eq!(found, self.expected(watermark_us));
        self.check_reads(&due, &entities)?;
        self.watermark_us = self.watermark_us.max(Some(watermark_us));
        self.state.settle(self.version, self.watermark_us);
        self.state.sweep_closed(&due);
        self.check_held()
    }

    /// The windows that end before the watermark and did not before.
    fn expected(&self, watermark_us: i64) -> Vec<Closed> {
        let entities = (0..ENTITIES).flat_map(|entity| {
            let all = windows(self.shape, &self.times(entity)).into_iter().map(|(span, _)| span);
            all.map(move |span| (span.last_us, entity, span))
        });
        let mut expected: Vec<Closed> =
            entities.filter(|(last_us, _, span)| *last_us < watermark_us && self.is_open(span)).collect();
        expected.sort_unstable();
        expected
    }

    fn check_reads(&mut self, due: &[DueWindow], entities: &[i64]) -> Result<(), TestCaseError> {
        let mut found = Answers::with_capacity(&self.program, due.len());
        let mut expected = Answers::with_capacity(&self.program, due.len());
        for (due, entity) in due.iter().zip(entities) {
            self.state.read_due(*due, self.version, &mut found);
            let mut rows: Vec<(&u64, &Row)> = self.rows.iter().filter(|(_, row)| row.entity == *entity).collect();
            rows.sort_by_key(|(offset, row)| (row.sample.minute, &row.primary_key, **offset));
            let is_in = |row: &Row| (due.span.start_us..=due.span.last_us).contains(&(row.sample.minute * MINUTE_US));
            let held: Vec<Sample> =
                rows.into_iter().filter(|(_, row)| is_in(row)).map(|(_, row)| row.sample.clone()).collect();
            let events = carried(&self.program, &held);
            let at = ReadAt { t_us: due.span.last_us, current: None };
            Cursor::new(&self.program).read(&self.program, &events.run(0, held.len()), at, &mut expected);
        }
        check_same(&self.program, &found.finish(), &expected.finish())
    }

    /// What open windows hold is held, and what closed sessions need, nothing else.
    fn check_held(&self) -> Result<(), TestCaseError> {
        let open = |entity: i64| {
            let all = windows(self.shape, &self.times(entity));
            all.into_iter().filter(|(span, _)| self.is_open(span)).collect::<Vec<_>>()
        };
        let (mut events, mut entities, mut next_us) = (0, 0, None::<i64>);
        for entity in 0..ENTITIES {
            let open = open(entity);
            let mut held: Vec<usize> = open.iter().flat_map(|(_, held)| held.clone()).collect();
            held.sort_unstable();
            held.dedup();
            events += held.len();
            entities += usize::from(!open.is_empty());
            let ends = open.iter().map(|(span, _)| span.last_us).min();
            next_us = next_us.into_iter().chain(ends).min();
        }
        // Of a closed session the last event may stay, by which one is known that touches it.
        let kept = if matches!(self.shape, GroupWindow::Session { .. }) { ENTITIES as usize } else { 0 };
        let found = (self.state.events(), self.state.entities());
        prop_assert!((events..=events + kept).contains(&found.0), "{} events, expected {}", found.0, events);
        if !self.has_departures {
            prop_assert_eq!(self.state.open_entities(), entities);
            prop_assert!(
                (entities..=entities + kept).contains(&found.1),
                "{} entities, expected {}",
                found.1,
                entities
            );
        }
        // It may be noted too early, but for events that went never too late.
        prop_assert!(next_us.is_none_or(|next_us| self.state.next_due_us().is_some_and(|due_us| due_us <= next_us)));
        Ok(())
    }

    fn restart(&mut self) {
        let mut images = Vec::new();
        self.state.begin_capture(Captured::Whole);
        while !self.state.capture(500, &mut images) {}
        self.state = self.fresh();
        let restored = self.state.restore(&images).unwrap();
        assert_eq!(restored, Images::new(&images).count());
    }
}

fn step() -> impl Strategy<Value = Step> {
    // Nearly in order, or not at all.
    let minute = prop_oneof![Just(None), (-600..600i64).prop_map(Some)];
    let rows = (prop::collection::vec(row(), 0..12), minute).prop_map(|(mut rows, minute)| {
        if let Some(minute) = minute {
            rows.iter_mut().for_each(|row| row.sample.minute = minute + row.sample.minute.rem_euclid(50));
        }
        rows
    });
    prop_oneof![
        8 => rows.prop_map(Step::Come),
        3 => prop::collection::vec(any::<prop::sample::Index>(), 0..6).prop_map(Step::Go),
        6 => (prop_oneof![6 => 0..100i64, 1 => 0..900i64], 1..9usize)
            .prop_map(|(minutes, windows_max)| Step::Close(minutes, windows_max)),
        2 => (0..6usize).prop_map(Step::Sweep),
        2 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn windows_come_out_once_and_as_they_are(
        shape in prop::sample::select(shapes()),
        follows_order in any::<bool>(),
        part in prop::sample::select(key_parts()),
        has_departures in any::<bool>(),
        steps in prop::collection::vec(step(), 0..30),
    ) {
        let mut closer = Closer::new(shape, follows_order, part, has_departures);
        for step in &steps {
            closer.step(step)?;
        }
        closer.close(i64::MAX, 3)?;
        closer.state.sweep(ENTITIES as usize);
        prop_assert_eq!(closer.state.events(), 0);
    }

    /// The same rows and watermarks: all at once, or row by row with a look at the clock after each.
    #[test]
    fn rows_do_not_depend_on_when_the_clock_is_looked_at(
        shape in prop::sample::select(shapes()),
        rows in rows(),
        lateness in 0..300i64,
    ) {
        let closed = |looks: bool| {
            let mut closer = Closer::new(shape, true, Field::new("key", DataType::Int64, false), false);
            let mut found = Vec::new();
            let mut newest = i64::MIN;
            for row in rows.iter().filter(|row| {
                let used = newest == i64::MIN || row.sample.minute >= newest - lateness;
                newest = newest.max(row.sample.minute);
                used
            }) {
                closer.come(row);
                if looks {
                    found.extend(closer.expected((row.sample.minute - lateness) * MINUTE_US));
                    closer.close((row.sample.minute - lateness) * MINUTE_US, 5)?;
                }
            }
            found.extend(closer.expected(i64::MAX));
            closer.close(i64::MAX, 5)?;
            found.sort_unstable();
            Ok::<_, TestCaseError>(found)
        };
        prop_assert_eq!(closed(true)?, closed(false)?);
    }
}

/// Very many entities close at once, and their numbers are dealt anew.
#[test]
fn a_burst_closes_and_leaves_nothing_behind() {
    const BURST: i64 = 5_000;
    let shape = GroupWindow::Tumble { size_us: 60 * MINUTE_US, offset_us: 0 };
    let mut closer = Closer::new(shape, false, Field::new("key", DataType::Int64, false), false);
    for entity in 0..BURST {
        closer.come(&plain_row(entity, if entity % 1_000 == 999 { 61 } else { entity % 60 }));
    }
    let full_bytes = closer.state.memory_bytes();
    let mut due = Vec::new();
    assert!(closer.state.due(60 * MINUTE_US - 1, 1, &mut due) && due.is_empty(), "the last instant is in it");
    let mut pieces = 1;
    while !closer.state.due(60 * MINUTE_US, 256, &mut due) {
        pieces += 1;
    }
    assert_eq!((due.len(), pieces), (BURST as usize - 5, 20));
    closer.state.settle(closer.version, Some(60 * MINUTE_US));
    closer.state.sweep_closed(&due);
    assert_eq!((closer.state.entities(), closer.state.open_entities(), closer.state.events()), (5, 5, 5));
    closer.state.sweep(1);
    assert_eq!(closer.state.entities.len(), 5, "numbers are dealt anew");
    closer.come(&plain_row(BURST, 62));
    assert!(closer.state.memory_bytes() < full_bytes / 10, "{} of {full_bytes}", closer.state.memory_bytes());
    due.clear();
    assert!(closer.state.due(i64::MAX, 256, &mut due));
    let mut entities = closer.entities(&due);
    entities.sort_unstable();
    assert_eq!(entities, [999, 1_999, 2_999, 3_999, 4_999, BURST]);
}
