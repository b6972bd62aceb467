//! Comings and goings against the simplest model: a list of all copies of all events, each with the versions at which it
//! came and went, filtered and sorted anew for each read. Captures are put back, one upon the other, into fresh states.

use super::*;
use crate::capture::Captured;
use crate::carried::SortedEvents;
use crate::image::{ImageError, Images};

const RUSH_ENTITIES: i64 = 1_100;

/// A copy of an event: what the event was from one version on until another.
#[derive(Debug, Clone)]
struct EventCopy {
    came: Version,
    gone: Option<Version>,
    offset: u64,
    row: Row,
}

/// What happens to a state whose events may depart.
#[derive(Debug, Clone)]
enum Step {
    Change(Change),
    /// All versions but the newest few are settled; the floor and what stays are set to minutes.
    Settle {
        behind: u64,
        floor: Option<i64>,
        stays: Option<i64>,
    },
    Sweep(usize),
    /// Reads every entity at each version that may still be read, as of a minute.
    Read(i64),
    /// Entities that come in one minute and of which most go again.
    Rush(i64),
    Begin(Captured),
    Capture(usize),
    /// Only the captures are left of it.
    Restart,
}

/// What one version brings.
#[derive(Debug, Clone)]
struct Change {
    arrivals: Vec<Row>,
    /// Events that depart.
    departures: Vec<prop::sample::Index>,
    /// Events that depart and come again with other values; the entity may be another.
    corrections: Vec<(prop::sample::Index, Row)>,
    comings_first: bool,
}

/// A state and all that was ever done to it.
struct Changing {
    program: Arc<Program>,
    limits: Limits,
    has_text_keys: bool,
    has_primary_key: bool,
    state: WindowState,
    copies: Vec<EventCopy>,
    next_offset: u64,
    newest: Version,
    settled: Version,
    floor: Option<i64>,
    stays: i64,
    /// The images of all captures that build on each other; a capture that runs, and what the model was when it began.
    chain: Vec<Vec<u8>>,
    running: Option<(Vec<u8>, Vec<EventCopy>, Option<i64>)>,
    is_whole_needed: bool,
}

impl Changing {
    fn new(program: Program, limits: Limits, has_text_keys: bool, has_primary_key: bool) -> Changing {
        let program = Arc::new(program);
        let state = fresh(&program, limits);
        Changing {
            program,
            limits,
            has_text_keys,
            has_primary_key,
            state,
            copies: Vec::new(),
            next_offset: 0,
            newest: Version(0),
            settled: Version(0),
            floor: None,
            stays: i64::MIN,
            chain: Vec::new(),
            running: None,
            is_whole_needed: true,
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Change(change) => self.change(change)?,
            Step::Settle { behind, floor, stays } => self.settle(*behind, *floor, *stays),
            Step::Sweep(entities) => {
                self.state.sweep(*entities);
            }
            Step::Read(minute) => self.check_versions(*minute)?,
            Step::Rush(minute) => self.rush(*minute)?,
            Step::Begin(what) => self.begin(*what),
            Step::Capture(bytes_max) => self.capture(*bytes_max)?,
            Step::Restart => self.restart()?,
        }
        self.check_counts()
    }

    fn change(&mut self, change: &Change) -> Result<(), TestCaseError> {
        self.newest.0 += 1;
        let mut going: Vec<usize> = Vec::new();
        let mut coming: Vec<(u64, Row)> = Vec::new();
        let may_go: Vec<usize> = (0..self.copies.len())
            .filter(|place| self.copies[*place].gone.is_none() && self.copies[*place].row.sample.minute >= self.stays)
            .collect();
        let chosen = |index: &prop::sample::Index| (!may_go.is_empty()).then(|| may_go[index.index(may_go.len())]);
        for (index, row) in &change.corrections {
            let Some(place) = chosen(index).filter(|place| !going.contains(place)) else { continue };
            let EventCopy { offset, row: old, .. } = &self.copies[place];
            let sample = Sample { minute: old.sample.minute, ..row.sample.clone() };
            coming.push((*offset, Row { entity: row.entity, sample, primary_key: old.primary_key.clone() }));
            going.push(place);
        }
        for place in change.departures.iter().filter_map(chosen) {
            if !going.contains(&place) {
                going.push(place);
            }
        }
        for row in &change.arrivals {
            let primary_key = if self.has_primary_key { row.primary_key.clone() } else { Vec::new() };
            coming.push((self.next_offset, Row { primary_key, ..row.clone() }));
            self.next_offset += 1;
        }
        if change.comings_first {
            self.come(&coming);
            self.go(&going)
        } else {
            self.go(&going)?;
            self.come(&coming);
            Ok(())
        }
    }

    fn come(&mut self, coming: &[(u64, Row)]) {
        let rows: Vec<&Row> = coming.iter().map(|(_, row)| row).collect();
        let (keys, events, chosen) = self.batch(&rows);
        let run = events.run(0, events.len());
        let tie =
            |row: usize| TieBreak { primary_key: &coming[row].1.primary_key, partition: 0, offset: coming[row].0 };
        self.state.append(&keys, &chosen, &run, self.newest, tie);
        let copy =
            |(offset, row): &(u64, Row)| EventCopy { came: self.newest, gone: None, offset: *offset, row: row.clone() };
        self.copies.extend(coming.iter().map(copy));
    }

    fn go(&mut self, going: &[usize]) -> Result<(), TestCaseError> {
        let copies: Vec<EventCopy> = going.iter().map(|place| self.copies[*place].clone()).collect();
        let rows: Vec<&Row> = copies.iter().map(|copy| &copy.row).collect();
        let (keys, events, chosen) = self.batch(&rows);
        let run = events.run(0, events.len());
        let tie = |row: usize| TieBreak {
            primary_key: &copies[row].row.primary_key,
            partition: 0,
            offset: copies[row].offset,
        };
        let gone = self.state.depart(&keys, &chosen, &run, self.newest, tie);
        prop_assert!(gone == going.len() || self.floor.is_some() && gone < going.len());
        going.iter().for_each(|place| self.copies[*place].gone = Some(self.newest));
        Ok(())
    }

    fn batch(&self, rows: &[&Row]) -> (Keys, SortedEvents, Vec<u32>) {
        let entities: Vec<i64> = rows.iter().map(|row| row.entity).collect();
        let samples: Vec<Sample> = rows.iter().map(|row| row.sample.clone()).collect();
        (keys(&entities, self.has_text_keys), carried(&self.program, &samples), (0..rows.len() as u32).collect())
    }

    fn settle(&mut self, behind: u64, floor: Option<i64>, stays: Option<i64>) {
        let settled = Version(self.newest.0.saturating_sub(behind));
        self.state.settle(settled, floor.map(|minute| minute * MINUTE_US));
        (self.settled, self.floor) = (self.settled.max(settled), self.floor.max(floor));
        if let Some(minute) = stays {
            self.state.settle_events_before(minute * MINUTE_US);
            self.stays = self.stays.max(minute);
        }
    }

    /// So many that numbers are dealt anew, beside departures that are not settled.
    fn rush(&mut self, minute: i64) -> Result<(), TestCaseError> {
        let first = self.copies.len();
        let row = |entity| Row { entity, sample: Sample::at(minute), primary_key: vec![1] };
        let arrivals = (1_000..1_000 + RUSH_ENTITIES).map(row).collect();
        let change = Change { arrivals, departures: Vec::new(), corrections: Vec::new(), comings_first: true };
        self.change(&change)?;
        if minute < self.stays {
            return Ok(());
        }
        self.newest.0 += 1;
        let last = self.copies.len() - 1;
        let going: Vec<usize> = (first..last).collect();
        self.go(&going)?;
        self.settle(0, None, None);
        // The departure of the last waits while the numbers are dealt anew, so that its entity gets another.
        self.newest.0 += 1;
        self.go(&[last])?;
        self.state.sweep(usize::MAX);
        Ok(())
    }

    fn begin(&mut self, what: Captured) {
        let is_whole = what == Captured::Whole || self.is_whole_needed || self.running.is_some();
        if is_whole {
            self.chain.clear();
        }
        self.is_whole_needed = false;
        self.state.begin_capture(if is_whole { Captured::Whole } else { what });
        let alive = self.copies.iter().filter(|copy| copy.gone.is_none()).cloned().collect();
        self.running = Some((Vec::new(), alive, self.floor));
    }

    fn capture(&mut self, bytes_max: usize) -> Result<(), TestCaseError> {
        let Some((images, ..)) = &mut self.running else { return Ok(()) };
        if self.state.capture(bytes_max, images)
            && let Some((images, copies, floor)) = self.running.take()
        {
            self.chain.push(images);
            self.check_restored(copies, floor)?;
        }
        Ok(())
    }

    /// The captures so far, put back into a fresh state.
    fn restored(&self) -> Result<WindowState, TestCaseError> {
        let mut state = fresh(&self.program, self.limits);
        for images in &self.chain {
            prop_assert_eq!(state.restore(images), Ok(Images::new(images).count()));
        }
        Ok(state)
    }

    fn check_restored(&self, copies: Vec<EventCopy>, floor: Option<i64>) -> Result<(), TestCaseError> {
        let state = self.restored()?;
        let (program, limits) = (self.program.clone(), self.limits);
        let mut kept = Changing { state, copies, floor, program, limits, ..self.twin() };
        [-100, 310, 650].into_iter().try_for_each(|minute| kept.check_read(self.newest, minute))?;
        // Nothing is left of what departed but names, which a sweep takes away.
        let held: Vec<i64> = kept.copies.iter().map(|copy| copy.row.entity).collect();
        kept.state.sweep(usize::MAX);
        prop_assert!(kept.state.entities() <= held.len());
        kept.check_counts()
    }

    fn twin(&self) -> Changing {
        let program = Program::new(vec![Frame::LIFETIME], Vec::new(), 0, Vec::new()).unwrap();
        let twin = Changing::new(program, self.limits, self.has_text_keys, self.has_primary_key);
        Changing { newest: self.newest, ..twin }
    }

    fn restart(&mut self) -> Result<(), TestCaseError> {
        self.begin(Captured::Touched);
        self.capture(usize::MAX - 1)?;
        self.state = self.restored()?;
        self.state.settle(self.newest, self.floor.map(|minute| minute * MINUTE_US));
        self.state.settle_events_before(self.stays.saturating_mul(MINUTE_US));
        self.settled = self.newest;
        self.copies.retain(|copy| copy.gone.is_none());
        Ok(())
    }

    fn check_versions(&mut self, minute: i64) -> Result<(), TestCaseError> {
        (self.settled.0..=self.newest.0).rev().take(6).try_for_each(|version| self.check_read(Version(version), minute))
    }

    fn check_read(&mut self, version: Version, minute: i64) -> Result<(), TestCaseError> {
        let minute = self.floor.map_or(minute, |floor| floor.max(minute));
        let entities: Vec<i64> = (0..=ENTITIES).chain([1_000, 999 + RUSH_ENTITIES]).collect();
        let keys = keys(&entities, self.has_text_keys);
        let at = ReadPoint { version, t_us: minute * MINUTE_US };
        let mut answers = Answers::with_capacity(&self.program, 0);
        let mut expected = Answers::with_capacity(&self.program, 0);
        for (row, entity) in entities.iter().enumerate() {
            self.state.read(Some((&keys, row)), at, &mut answers);
            self.model(*entity, at, &mut expected);
        }
        check_same(&self.program, &answers.finish(), &expected.finish())
    }

    fn model(&self, entity: i64, at: ReadPoint, answers: &mut Answers) {
        let is_seen = |copy: &&EventCopy| {
            copy.row.entity == entity && copy.came <= at.version && copy.gone.is_none_or(|gone| at.version < gone)
        };
        let mut seen: Vec<&EventCopy> = self.copies.iter().filter(is_seen).collect();
        seen.sort_by_key(|copy| (copy.row.sample.minute, &copy.row.primary_key, copy.offset));
        let samples: Vec<Sample> = seen.iter().map(|copy| copy.row.sample.clone()).collect();
        let events = carried(&self.program, &samples);
        let read_at = ReadAt { t_us: at.t_us, current: None };
        Cursor::new(&self.program).read(&self.program, &events.run(0, samples.len()), read_at, answers);
    }

    fn check_counts(&self) -> Result<(), TestCaseError> {
        let state = &self.state;
        let rings = || state.entities.iter().map(|entity| &entity.ring);
        prop_assert_eq!(state.event_count, rings().map(|ring| ring.len(&state.layout)).sum::<usize>());
        prop_assert_eq!(state.ring_bytes, rings().map(Ring::memory_bytes).sum::<usize>());
        for (number, entity) in state.entities.iter().enumerate() {
            state.standing.check_entity(number as u32, entity.ring.len(&state.layout));
        }
        state.standing.check_counts();
        state.departures.check_counts();
        Ok(())
    }
}

fn fresh(program: &Arc<Program>, limits: Limits) -> WindowState {
    let mut state = WindowState::with_departures(program.clone());
    state.standing = StandingCursors::within(limits);
    state
}

fn keys(entities: &[i64], has_text_keys: bool) -> Keys {
    let words: ArrayRef = Arc::new(Int64Array::from(entities.to_vec()));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(entities.iter().map(|one| format!("e{one}"))));
    let column = if has_text_keys { texts } else { words };
    KeyEncoder::new(&[column.data_type().clone()]).unwrap().encode(&[column]).unwrap()
}

fn change() -> impl Strategy<Value = Change> {
    let chosen = || any::<prop::sample::Index>();
    (rows(), prop::collection::vec(chosen(), 0..8), prop::collection::vec((chosen(), row()), 0..8), any::<bool>())
        .prop_map(|(arrivals, departures, corrections, comings_first)| Change {
            arrivals,
            departures,
            corrections,
            comings_first,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let minute = || prop::option::weighted(0.4, -650..650i64);
    let what = prop_oneof![1 => Just(Captured::Whole), 3 => Just(Captured::Touched)];
    prop_oneof![
        10 => change().prop_map(Step::Change),
        4 => (0..4u64, minute(), minute()).prop_map(|(behind, floor, stays)| Step::Settle { behind, floor, stays }),
        3 => (0..6usize).prop_map(Step::Sweep),
        6 => prop_oneof![-650..900i64, 560..620i64].prop_map(Step::Read),
        1 => (-600..600i64).prop_map(Step::Rush),
        3 => what.prop_map(Step::Begin),
        6 => prop_oneof![Just(0usize), 1..2_000usize, Just(1 << 20)].prop_map(Step::Capture),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn reads_see_what_came_and_has_not_gone(
        program in programs(),
        standing_events in prop::sample::select(vec![2usize, 7, 20, 1024]),
        read_events in prop::sample::select(vec![1usize, 6, 20]),
        has_text_keys in any::<bool>(),
        has_primary_key in any::<bool>(),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let limits = limits(standing_events, read_events);
        let mut changing = Changing::new(program(), limits, has_text_keys, has_primary_key);
        for step in &steps {
            changing.step(step)?;
        }
        for minute in [-100, 300, 620] {
            changing.check_versions(minute)?;
        }
        changing.step(&Step::Restart)?;
        changing.check_versions(620)?;
    }
}

/// A state of one program with what comes and goes given by hand: (entity, minute, offset).
struct Few {
    state: WindowState,
    program: Arc<Program>,
}

impl Few {
    fn new(program: Program) -> Few {
        let program = Arc::new(program);
        Few { state: WindowState::with_departures(program.clone()), program }
    }

    fn change(&mut self, version: u64, (entity, minute, offset): (i64, i64, u64), goes: bool) -> usize {
        let (keys, events) = (keys(&[entity], false), carried(&self.program, &[Sample::at(minute)]));
        let tie = |_: usize| TieBreak { primary_key: b"ignored", partition: 0, offset };
        if goes {
            return self.state.depart(&keys, &[0], &events.run(0, 1), Version(version), tie);
        }
        self.state.append(&keys, &[0], &events.run(0, 1), Version(version), tie);
        1
    }

    fn come(&mut self, version: u64, event: (i64, i64, u64)) {
        self.change(version, event, false);
    }

    fn go(&mut self, version: u64, event: (i64, i64, u64)) -> usize {
        self.change(version, event, true)
    }

    fn read(&mut self, version: u64) -> Finished {
        let mut answers = Answers::with_capacity(&self.program, 1);
        let at = ReadPoint { version: Version(version), t_us: 100 * MINUTE_US };
        self.state.read(Some((&keys(&[0], false), 0)), at, &mut answers);
        answers.finish()
    }

    fn captured(&mut self, what: Captured) -> Vec<u8> {
        let mut images = Vec::new();
        self.state.begin_capture(what);
        assert!(self.state.capture(usize::MAX - 1, &mut images));
        images
    }
}

#[test]
fn what_is_not_there_does_not_go() {
    let mut few = Few::new(counts());
    few.come(1, (0, 10, 5));
    let others = [(1, 10, 5), (0, 11, 5), (0, 10, 6)];
    assert_eq!(others.map(|other| few.go(2, other)), [0; 3], "another entity, time or offset");
    assert_eq!([few.go(2, (0, 10, 5)), few.go(2, (0, 10, 5)), few.go(3, (0, 10, 5))], [1, 0, 0], "it goes once");
    few.come(3, (0, 10, 5));
    assert_eq!([few.go(3, (0, 10, 5)), few.go(4, (0, 10, 5))], [1, 0], "and once more when it came again");
    assert_eq!(few.state.events(), 2, "both copies stay until they are settled");
    few.state.settle(Version(2), None);
    assert_eq!(few.state.events(), 1);
    few.state.settle(Version(3), None);
    assert_eq!((few.state.events(), few.state.sweep(1), few.state.entities()), (0, 1, 0));
    assert_eq!(few.state.departures.memory_bytes(), 0);
}

#[test]
fn images_say_that_an_entity_has_no_events_any_more() {
    let mut few = Few::new(counts());
    (0..3).for_each(|entity| few.come(1, (entity, 10, entity as u64)));
    let base = few.captured(Captured::Whole);
    (0..2).for_each(|entity| assert_eq!(few.go(2, (entity, 10, entity as u64)), 1));
    few.state.settle(Version(2), None);
    assert_eq!((few.state.sweep(9), few.state.entities()), (0, 3), "the next capture has to tell of them");
    let touched = few.captured(Captured::Touched);
    assert_eq!(Images::new(&touched).count(), 2);
    assert_eq!((few.state.sweep(9), few.state.entities()), (2, 1));
    assert!(few.captured(Captured::Touched).is_empty());

    let mut restored = WindowState::with_departures(few.program.clone());
    assert_eq!([restored.restore(&base), restored.restore(&touched)], [Ok(3), Ok(2)]);
    assert_eq!((restored.events(), restored.sweep(9), restored.entities()), (1, 2, 1));
    // It has captured nothing itself, but what it was put back from counts.
    let mut few = Few { state: restored, program: few.program };
    assert_eq!(few.go(1, (2, 10, 2)), 1);
    few.state.settle(Version(1), None);
    assert_eq!(few.state.sweep(9), 0);
    assert_eq!(Images::new(&few.captured(Captured::Touched)).count(), 1);
    assert_eq!(few.state.sweep(9), 1);
}

#[test]
fn a_rows_frame_keeps_rows_behind_all_that_may_depart() {
    let extent = Extent::Rows { preceding: 1 };
    let mut few = Few::new(program(vec![Frame::of(extent)]));
    (0..10).for_each(|minute| few.come(1, (0, minute, minute as u64)));
    few.state.settle(Version(1), Some(100 * MINUTE_US));
    few.state.sweep(1);
    assert_eq!(few.state.events(), 10, "any may depart");
    few.state.settle_events_before(6 * MINUTE_US);
    few.state.sweep(1);
    assert_eq!(few.state.events(), 6, "4 and 5 stay whatever departs");
    (6..10).for_each(|minute| assert_eq!(few.go(2, (0, minute, minute as u64)), 1));
    few.state.settle(Version(2), None);
    few.state.sweep(1);
    assert_eq!(few.state.events(), 2);
    few.state.settle_events_before(i64::MIN);
    few.state.sweep(1);
    assert_eq!(few.state.events(), 2, "what stays does not go back");
}

/// Many events of one entity go at once: its cursors follow, or begin anew.
#[test]
fn cursors_follow_few_departures_and_begin_anew_after_many() {
    for (written_events_min, count) in [(1024, 3), (1024, 80), (10, 3), (10, 80)] {
        let [mut few, mut fresh] = [100, 100 - count].map(|events| {
            let mut few = Few::new(program(all_frames()));
            few.state.standing = StandingCursors::within(limits(written_events_min, 5));
            (0..events).for_each(|minute| few.come(1, (0, minute, minute as u64)));
            few.state.settle(Version(1), None);
            (0..3).for_each(|_| drop(few.read(1)));
            few
        });
        (100 - count..100).for_each(|minute| assert_eq!(few.go(2, (0, minute, minute as u64)), 1));
        let before = few.read(2);
        few.state.settle(Version(2), None);
        few.state.standing.check_counts();
        few.state.standing.check_entity(0, 100 - count as usize);
        for found in [before, few.read(2), few.read(2)] {
            check_same(&few.program, &found, &fresh.read(1)).unwrap();
        }
    }
}

/// Two entities of a few events of every kind; one loses an event, one has another value, and a third loses its last.
fn sampled(has_text_keys: bool) -> Changing {
    let mut changing = Changing::new(program_without_order(bounded_frames()), limits(20, 6), has_text_keys, false);
    let full = |turn: i64| Sample {
        minute: 10 * (turn % 3),
        integer: Some(turn << (8 * turn)),
        double: Some(-0.5 * turn as f64),
        decimal: Some(-(10i128.pow(20) + i128::from(turn))),
        text: Some(turn as u8 * 7),
        truth: Some(turn % 2 == 0),
        passes: Some(turn % 3 == 0),
    };
    let row = |turn: i64| Row { entity: (turn % 2).max(turn - 4), sample: full(turn), primary_key: Vec::new() };
    changing.newest = Version(1);
    changing.come(&(0..7).map(|turn| (turn as u64, row(turn))).collect::<Vec<_>>());
    changing.begin(Captured::Whole);
    changing.capture(1 << 20).unwrap();
    changing.newest = Version(2);
    changing.go(&[0, 3, 6]).unwrap();
    let sample = Sample { minute: 0, ..full(4) };
    changing.come(&[(3, Row { sample, ..row(3) })]);
    changing.begin(Captured::Touched);
    changing.capture(1 << 20).unwrap();
    changing
}

/// The format may change only together with its version: checkpoints of version 2 are to be read as they are.
#[test]
fn images_of_version_2_are_read_where_events_may_depart() {
    let samples: [(bool, &[u8]); 2] = [
        (false, include_bytes!("../../../tests/samples/images-2-words.bin")),
        (true, include_bytes!("../../../tests/samples/images-2-texts.bin")),
    ];
    for (has_text_keys, sample) in samples {
        let mut changing = sampled(has_text_keys);
        assert_eq!(changing.chain[1], sample, "text keys: {has_text_keys}");
        changing.state = changing.restored().unwrap();
        [0, 15, 400].into_iter().for_each(|minute| changing.check_read(Version(2), minute).unwrap());
        let mut other = WindowState::new(changing.program.clone());
        assert_eq!(other.restore(sample), Err(ImageError::Version { at: 0, found: 2 }));
    }
    let sample = include_bytes!("../../../tests/samples/images-1-words.bin");
    let found = WindowState::with_departures(Arc::new(program(all_frames()))).restore(sample);
    assert_eq!(found, Err(ImageError::Version { at: 0, found: 1 }));
}

#[test]
#[should_panic(expected = "events depart from states that name them")]
fn nothing_departs_from_a_state_without_names() {
    let mut few = Few::new(counts());
    few.state = WindowState::new(few.program.clone());
    few.come(1, (0, 10, 5));
    few.go(2, (0, 10, 5));
}
