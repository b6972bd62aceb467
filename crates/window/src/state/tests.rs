//! Live state against the simplest model: all rows ever appended, filtered and sorted anew for each read.

use super::*;
use crate::answers::Finished;
use crate::cursor::tests::{
    MINUTE_US, Sample, all_frames, bounded_frames, carried, check_same, clock_frames, frames_with_exclusions, program,
    program_without_order, sample, session_frames,
};
use crate::frame::Extent;
use crate::keys::KeyEncoder;
use crate::standing::Limits;
use arrow::array::{ArrayRef, Int64Array, StringArray};
use proptest::prelude::*;

mod captures;
mod closing;
mod departures;
mod sessions;

const ENTITIES: i64 = 4;

/// An event as it is appended.
#[derive(Debug, Clone)]
struct Row {
    entity: i64,
    sample: Sample,
    primary_key: Vec<u8>,
}

/// What happens to a state.
#[derive(Debug, Clone)]
enum Action {
    Append(Vec<Row>),
    /// Settles all versions but the newest few, and sets the floor to a minute.
    Settle {
        behind: u64,
        floor: Option<i64>,
    },
    Sweep(usize),
    /// Reads every entity at the newest version but a few, as of a minute.
    Read {
        behind: u64,
        minute: i64,
    },
}

/// A state and all that was ever done to it.
struct Watched {
    program: Arc<Program>,
    state: WindowState,
    /// With their versions; their place is their offset.
    rows: Vec<(Version, Row)>,
    newest: Version,
    settled: Version,
    floor: Option<i64>,
    has_text_keys: bool,
}

impl Watched {
    /// Cursors stand with entities of `standing_events`, and with those of half as many that are read again.
    fn new(program: Program, standing_events: usize, has_text_keys: bool) -> Watched {
        Watched::within(program, limits(standing_events, standing_events / 2), has_text_keys)
    }

    fn within(program: Program, limits: Limits, has_text_keys: bool) -> Watched {
        let program = Arc::new(program);
        let mut state = WindowState::new(program.clone());
        state.standing = StandingCursors::within(limits);
        let (newest, settled) = (Version(0), Version(0));
        Watched { program, state, rows: Vec::new(), newest, settled, floor: None, has_text_keys }
    }

    fn keys(&self, entities: &[i64]) -> Keys {
        let words: ArrayRef = Arc::new(Int64Array::from(entities.to_vec()));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(entities.iter().map(|one| format!("e{one}"))));
        let column = if self.has_text_keys { texts } else { words };
        KeyEncoder::new(&[column.data_type().clone()]).unwrap().encode(&[column]).unwrap()
    }

    /// Appends the rows as one version, the odd ones of them first.
    fn append(&mut self, rows: &[Row]) {
        self.newest.0 += 1;
        let samples: Vec<Sample> = rows.iter().map(|row| row.sample.clone()).collect();
        let entities: Vec<i64> = rows.iter().map(|row| row.entity).collect();
        let (keys, events) = (self.keys(&entities), carried(&self.program, &samples));
        let first = self.rows.len();
        let tie =
            |row: usize| TieBreak { primary_key: &rows[row].primary_key, partition: 0, offset: (first + row) as u64 };
        for parity in [1, 0] {
            let chosen: Vec<u32> = (0..rows.len() as u32).filter(|row| row % 2 == parity).collect();
            self.state.append(&keys, &chosen, &events.run(0, events.len()), self.newest, tie);
        }
        self.rows.extend(rows.iter().map(|row| (self.newest, row.clone())));
    }

    fn settle(&mut self, behind: u64, floor: Option<i64>) {
        let settled = Version(self.newest.0.saturating_sub(behind));
        self.state.settle(settled, floor.map(|minute| minute * MINUTE_US));
        self.settled = self.settled.max(settled);
        self.floor = self.floor.max(floor);
    }

    /// Reads every entity, one never seen and a key with a NULL part, from the state and from the model.
    fn check_read(&mut self, version: Version, minute: i64) -> Result<(), TestCaseError> {
        let entities: Vec<i64> = (0..=ENTITIES).collect();
        let keys = self.keys(&entities);
        let at = ReadPoint { version, t_us: minute * MINUTE_US };
        let mut answers = Answers::with_capacity(&self.program, 0);
        for row in 0..keys.len() {
            self.state.read(Some((&keys, row)), at, &mut answers);
        }
        self.state.read(None, at, &mut answers);
        let none = [i64::MAX];
        check_same(&self.program, &answers.finish(), &self.model(entities.iter().chain(&none), at))
    }

    fn model<'a>(&self, entities: impl Iterator<Item = &'a i64>, at: ReadPoint) -> Finished {
        let mut answers = Answers::with_capacity(&self.program, 0);
        for entity in entities {
            let seen = |(_, (version, row)): &(usize, &(Version, Row))| *version <= at.version && row.entity == *entity;
            let mut rows: Vec<(usize, &(Version, Row))> = self.rows.iter().enumerate().filter(seen).collect();
            rows.sort_by_key(|(offset, (_, row))| (row.sample.minute, &row.primary_key, *offset));
            let samples: Vec<Sample> = rows.iter().map(|(_, (_, row))| row.sample.clone()).collect();
            let events = carried(&self.program, &samples);
            let read_at = ReadAt { t_us: at.t_us, current: None };
            Cursor::new(&self.program).read(&self.program, &events.run(0, samples.len()), read_at, &mut answers);
        }
        answers.finish()
    }

    /// Reads an entity `times` times at the newest version, as of a minute.
    fn read_one(&mut self, entity: i64, minute: i64, times: usize) {
        let keys = self.keys(&[entity]);
        let at = ReadPoint { version: self.newest, t_us: minute * MINUTE_US };
        let mut answers = Answers::with_capacity(&self.program, 0);
        (0..times).for_each(|_| self.state.read(Some((&keys, 0)), at, &mut answers));
        let expected = self.model(vec![entity; times].iter(), at);
        check_same(&self.program, &answers.finish(), &expected).unwrap();
    }

    /// How many entities have a cursor because they are read.
    fn read_cursors(&self) -> usize {
        self.state.standing.check_counts();
        self.state.standing.read_numbers().len()
    }

    fn has_read_cursor(&self, entity: i64) -> bool {
        let number = self.state.index.find(&self.keys(&[entity]), 0).unwrap();
        self.state.standing.read_numbers().contains(&number)
    }

    fn act(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match action {
            Action::Append(rows) => self.append(rows),
            Action::Settle { behind, floor } => self.settle(*behind, *floor),
            Action::Sweep(entities) => {
                let before = self.state.entities();
                let dropped = self.state.sweep(*entities);
                prop_assert_eq!(self.state.entities(), before - dropped);
            }
            Action::Read { behind, minute } => {
                let version = Version(self.newest.0.saturating_sub(*behind)).max(self.settled);
                self.check_read(version, self.floor.map_or(*minute, |floor| floor.max(*minute)))?;
            }
        }
        self.check_counts()
    }

    /// What is kept up to date equals what is there.
    fn check_counts(&self) -> Result<(), TestCaseError> {
        let state = &self.state;
        let rings = || state.entities.iter().map(|entity| &entity.ring);
        prop_assert_eq!(state.event_count, rings().map(|ring| ring.len(&state.layout)).sum::<usize>());
        prop_assert_eq!(state.ring_bytes, rings().map(Ring::memory_bytes).sum::<usize>());
        let held = rings().filter(|ring| ring.len(&state.layout) > 0).count();
        prop_assert!(held <= state.entities() && state.entities() <= state.entities.len());
        for (number, entity) in state.entities.iter().enumerate() {
            state.standing.check_entity(number as u32, entity.ring.len(&state.layout));
        }
        state.standing.check_counts();
        Ok(())
    }

    fn sweep_all(&mut self) -> usize {
        self.state.sweep(usize::MAX)
    }
}

/// Few of everything: two entities keep cursors for readers, and lose them in a few sweeps.
fn limits(written_events_min: usize, read_events_min: usize) -> Limits {
    Limits {
        written_events_min,
        slide_events: 3,
        read_events_min,
        read_cursors_max: 2,
        read_bytes_max: 1 << 20,
        unread_sweeps_max: 3,
    }
}

fn row() -> impl Strategy<Value = Row> {
    (0..ENTITIES, sample(), 0..3u8).prop_map(|(entity, sample, key)| Row { entity, sample, primary_key: vec![key] })
}

/// Rows whose times are few, so that many are equal, or nearly in order, or neither.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let plain = || prop::collection::vec(row(), 0..30);
    let equal = (plain(), -3..3i64).prop_map(|(mut rows, minute)| {
        rows.iter_mut().for_each(|row| row.sample.minute = minute * 60 + row.sample.minute % 2);
        rows
    });
    let hot = plain().prop_map(|mut rows| {
        rows.iter_mut().for_each(|row| row.entity = 0);
        rows.sort_by_key(|row| row.sample.minute);
        rows
    });
    prop_oneof![plain(), equal, hot]
}

fn action() -> impl Strategy<Value = Action> {
    let floor = prop::option::weighted(0.4, -650..650i64);
    prop_oneof![
        6 => rows().prop_map(Action::Append),
        2 => (0..4u64, floor).prop_map(|(behind, floor)| Action::Settle { behind, floor }),
        2 => (0..6usize).prop_map(Action::Sweep),
        5 => (0..4u64, -650..900i64).prop_map(|(behind, minute)| Action::Read { behind, minute }),
        5 => (0..2u64, 560..620i64).prop_map(|(behind, minute)| Action::Read { behind, minute }),
    ]
}

/// Programs that follow order with and without ROWS frames and lifetimes, and some that do not; those of group windows.
fn programs() -> impl Strategy<Value = fn() -> Program> {
    let all: Vec<fn() -> Program> = vec![
        || program(all_frames()),
        || program(all_frames().into_iter().filter(|frame| *frame != Frame::LIFETIME).collect()),
        || program(bounded_frames()),
        || program_without_order(bounded_frames()),
        || program_without_order(vec![Frame::LIFETIME]),
        || program(frames_with_exclusions()),
        || {
            program_without_order(
                frames_with_exclusions().into_iter().filter(|frame| frame.reach_us(0).is_some()).collect(),
            )
        },
        || program(clock_frames()),
        || program_without_order(clock_frames()),
        || program(session_frames()),
    ];
    prop::sample::select(all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn reads_see_their_version_whatever_else_happens(
        program in programs(),
        standing_events in prop::sample::select(vec![2usize, 7, 20, 1024]),
        read_events in prop::sample::select(vec![1usize, 2, 6, 20]),
        read_cursors_max in 1..ENTITIES as usize + 1,
        read_bytes_max in prop::sample::select(vec![1usize, 4_000, 1 << 20]),
        has_primary_key in any::<bool>(),
        has_text_keys in any::<bool>(),
        mut actions in prop::collection::vec(action(), 0..24),
    ) {
        let limits = Limits { read_cursors_max, read_bytes_max, ..limits(standing_events, read_events) };
        let mut watched = Watched::within(program(), limits, has_text_keys);
        for action in &mut actions {
            if let Action::Append(rows) = action && !has_primary_key {
                rows.iter_mut().for_each(|row| row.primary_key.clear());
            }
            watched.act(action)?;
        }
        for behind in 0..3 {
            watched.act(&Action::Read { behind, minute: 300 })?;
            watched.act(&Action::Read { behind, minute: -100 })?;
        }
    }

    #[test]
    fn what_lies_behind_every_horizon_is_dropped(rows in prop::collection::vec(row(), 0..150), floor in -650..1_500i64) {
        let mut watched = Watched::new(program(bounded_frames()), 1024, false);
        watched.append(&rows);
        watched.settle(0, Some(floor));
        // The farthest of the frames reaches 300 minutes back; the hour's bucket is always nearer.
        let kept: Vec<&Row> = rows.iter().filter(|row| row.sample.minute >= floor - 300).collect();
        let held = |rows: &[&Row]| (0..ENTITIES).filter(|entity| rows.iter().any(|row| row.entity == *entity)).count();
        let seen: Vec<&Row> = rows.iter().collect();
        prop_assert_eq!(watched.sweep_all(), held(&seen) - held(&kept));
        prop_assert_eq!(watched.state.events(), kept.len());
        prop_assert_eq!(watched.state.entities(), held(&kept));
    }

    #[test]
    fn a_rows_frame_keeps_its_rows(rows in prop::collection::vec(row(), 0..150), preceding in 0..12usize) {
        let extent = Extent::Rows { preceding: preceding as u64 };
        let mut watched = Watched::new(program(vec![Frame::of(extent)]), 1024, false);
        watched.append(&rows);
        watched.settle(1, Some(10_000));
        prop_assert_eq!(watched.sweep_all(), 0);
        prop_assert_eq!(watched.state.events(), rows.len(), "none may go while they are unsettled");
        watched.settle(0, None);
        prop_assert_eq!(watched.sweep_all(), 0);
        let held = |entity| rows.iter().filter(|row| row.entity == entity).count().min(preceding + 1);
        prop_assert_eq!(watched.state.events(), (0..ENTITIES).map(held).sum::<usize>());
    }

    #[test]
    fn a_lifetime_is_never_dropped(rows in prop::collection::vec(row(), 0..60)) {
        let mut watched = Watched::new(program(vec![Frame::LIFETIME]), 1024, false);
        watched.append(&rows);
        watched.settle(0, Some(i64::MAX / MINUTE_US));
        prop_assert_eq!(watched.sweep_all(), 0);
        prop_assert_eq!(watched.state.events(), rows.len());
        prop_assert!(rows.is_empty() || watched.state.memory_bytes() > 0);
    }
}

fn plain_row(entity: i64, minute: i64) -> Row {
    Row { entity, sample: Sample::at(minute), primary_key: Vec::new() }
}

fn counts() -> Program {
    program_without_order(bounded_frames())
}

#[test]
fn an_entity_dropped_comes_back_as_new() {
    let mut watched = Watched::new(counts(), 2, true);
    watched.append(&[plain_row(0, 0), plain_row(0, 1), plain_row(0, 1), plain_row(1, 500)]);
    watched.settle(0, Some(400));
    assert_eq!(watched.sweep_all(), 1);
    assert_eq!((watched.state.entities(), watched.state.events()), (1, 1));
    watched.check_read(Version(1), 400).unwrap();
    watched.append(&[plain_row(0, 450), plain_row(2, 460)]);
    assert_eq!((watched.state.entities(), watched.state.events()), (3, 3));
    watched.check_read(Version(1), 460).unwrap();
    watched.check_read(Version(2), 460).unwrap();
}

#[test]
fn an_entity_with_unsettled_events_is_not_dropped() {
    let mut watched = Watched::new(counts(), 1024, false);
    watched.append(&[plain_row(0, 0)]);
    watched.settle(1, Some(10_000));
    assert_eq!(watched.sweep_all(), 0);
    assert_eq!((watched.state.entities(), watched.state.events()), (1, 0));
    watched.settle(0, None);
    assert_eq!(watched.sweep_all(), 1);
    assert_eq!(watched.sweep_all(), 0);
}

#[test]
fn neither_settled_nor_the_floor_goes_back() {
    let mut watched = Watched::new(counts(), 1024, false);
    watched.append(&[plain_row(0, 0)]);
    watched.settle(0, Some(10_000));
    watched.state.settle(Version(0), Some(0));
    watched.state.settle(Version(0), None);
    assert_eq!(watched.sweep_all(), 1);
}

/// Rounds of entities that come, go and never return, beside a few that stay and keep their cursors.
fn check_flat(has_text_keys: bool) {
    const NEW_ENTITIES: i64 = 40;
    let mut watched = Watched::new(counts(), 8, has_text_keys);
    let mut held_max = (0, 0, 0);
    for round in 0..1_000 {
        let new = (0..2 * NEW_ENTITIES).map(|turn| plain_row(1_000 + NEW_ENTITIES * round + turn / 2, 10 * round));
        let stay = (0..ENTITIES).map(|entity| plain_row(entity, 10 * round + entity));
        watched.append(&new.chain(stay).collect::<Vec<Row>>());
        watched.settle(1, Some(10 * round));
        // The model need not remember what no frame reaches.
        let far = 10 * round - 400;
        watched.rows.retain(|(_, row)| row.sample.minute > far);
        watched.state.sweep(100);
        if round % 50 == 49 {
            watched.check_read(Version(watched.newest.0 - 1), 10 * round).unwrap();
            watched.check_read(watched.newest, 10 * round).unwrap();
            watched.check_counts().unwrap();
        }
        let held = (watched.state.entities(), watched.state.events(), watched.state.memory_bytes());
        if round < 200 {
            held_max = (held_max.0.max(held.0), held_max.1.max(held.1), held_max.2.max(held.2));
        }
        let bounded = held.0 <= held_max.0 && held.1 <= held_max.1 && held.2 <= held_max.2 + held_max.2 / 10;
        assert!(bounded, "in round {round} {held:?}, at most {held_max:?} in the first 200");
    }
    // A frame reaches 300 minutes, which are 30 rounds, and a sweep comes by every third round or so.
    assert!(held_max.0 < 50 * NEW_ENTITIES as usize, "{held_max:?}");
}

#[test]
fn memory_stays_flat_while_entities_change() {
    check_flat(false);
    check_flat(true);
}

#[test]
fn memory_comes_back_after_a_rush() {
    for has_text_keys in [false, true] {
        let mut watched = Watched::new(counts(), 4, has_text_keys);
        let stay: Vec<Row> = (0..ENTITIES * 6).map(|turn| plain_row(turn % ENTITIES, 900)).collect();
        let mut rush: Vec<Row> = (0..20_000).map(|turn| plain_row(1_000 + turn, 0)).collect();
        rush.splice(10_000..10_000, stay.clone());
        watched.append(&rush);
        let peak = watched.state.memory_bytes();
        watched.append(&stay);
        watched.settle(1, Some(900));
        watched.settle(1, None);
        while watched.state.sweep(500) > 0 {}
        assert_eq!((watched.state.entities(), watched.state.events()), (ENTITIES as usize, 2 * stay.len()));
        assert!(watched.state.memory_bytes() < peak / 20, "{} of {peak}", watched.state.memory_bytes());
        watched.check_counts().unwrap();
        watched.rows.retain(|(_, row)| row.entity < ENTITIES);
        for version in [Version(1), Version(2)] {
            watched.check_read(version, 900).unwrap();
        }
        watched.append(&stay);
        watched.check_counts().unwrap();
        watched.check_read(Version(2), 950).unwrap();
        watched.check_read(Version(3), 950).unwrap();
    }
}

/// Entities of ten events each, a minute apart, settled.
fn tens(entities: i64, limits: Limits) -> Watched {
    let mut watched = Watched::within(counts(), limits, false);
    for minute in 0..10 {
        watched.append(&(0..entities).map(|entity| plain_row(entity, minute)).collect::<Vec<Row>>());
    }
    watched.settle(0, None);
    watched
}

#[test]
fn an_entity_read_again_gets_a_cursor_and_keeps_it_while_it_is_read() {
    let mut watched = tens(2, limits(1024, 10));
    watched.read_one(0, 9, 1);
    assert_eq!(watched.read_cursors(), 0, "read once");
    watched.read_one(0, 9, 1);
    assert_eq!(watched.read_cursors(), 1, "read again");
    for _ in 0..10 {
        watched.sweep_all();
        watched.sweep_all();
        watched.read_one(0, 9, 1);
        assert_eq!(watched.read_cursors(), 1, "read between sweeps");
    }
    watched.sweep_all();
    watched.sweep_all();
    assert_eq!(watched.read_cursors(), 1);
    watched.sweep_all();
    assert_eq!(watched.read_cursors(), 0, "not read for three sweeps");
}

#[test]
fn fewer_events_get_no_cursor_and_lose_it_below_half() {
    let mut watched = tens(1, limits(1024, 11));
    watched.read_one(0, 9, 5);
    assert_eq!(watched.read_cursors(), 0);
    watched.append(&[plain_row(0, 10)]);
    watched.settle(0, None);
    watched.read_one(0, 10, 2);
    assert_eq!(watched.read_cursors(), 1);
    // The farthest frame reaches 300 minutes back: six events stay, then five.
    for (floor, held) in [(305, 1), (306, 0)] {
        watched.settle(0, Some(floor));
        watched.sweep_all();
        assert_eq!(watched.read_cursors(), held, "floor {floor}");
    }
}

#[test]
fn a_scan_makes_no_cursors() {
    let mut watched = tens(3 * 1024, limits(1024, 10));
    let entities: Vec<i64> = (0..3 * 1024).collect();
    let keys = watched.keys(&entities);
    let at = ReadPoint { version: watched.newest, t_us: 9 * MINUTE_US };
    let mut answers = Answers::with_capacity(&watched.program, 0);
    for _ in 0..3 {
        (0..keys.len()).for_each(|row| watched.state.read(Some((&keys, row)), at, &mut answers));
        assert_eq!(watched.read_cursors(), 0);
    }
}

#[test]
fn whoever_is_not_read_makes_room_and_whoever_is_stays() {
    let mut watched = tens(10, limits(1024, 10));
    (0..2).for_each(|entity| watched.read_one(entity, 9, 2));
    for newcomer in 2..10 {
        watched.read_one(0, 9, 1);
        watched.read_one(newcomer, 9, 2);
        assert_eq!(watched.read_cursors(), 2);
        watched.read_one(0, 9, 1);
        watched.read_one(newcomer, 9, 2);
        assert!(watched.has_read_cursor(newcomer), "{newcomer} found no room");
        assert!(watched.has_read_cursor(0), "{newcomer} drove out one that is read");
    }
}

#[test]
fn cursors_of_readers_hold_no_more_bytes_than_they_may() {
    let most = Limits { read_cursors_max: 1000, read_bytes_max: usize::MAX, ..limits(1024, 10) };
    let mut watched = tens(100, most);
    (0..100).for_each(|entity| watched.read_one(entity, 9, 2));
    assert_eq!(watched.read_cursors(), 100);
    let bytes = watched.state.standing.memory_bytes();
    assert!(watched.state.memory_bytes() > bytes && bytes > 100 * 500, "{bytes}");

    let mut watched = tens(100, Limits { read_bytes_max: bytes / 4, ..most });
    (0..100).for_each(|entity| watched.read_one(entity, 9, 2));
    let held = watched.read_cursors();
    assert!((10..=50).contains(&held), "{held} of 100 in a quarter of the room");
    assert!(watched.state.standing.memory_bytes() < bytes / 2);
}

#[test]
fn a_cursor_of_readers_follows_them_and_not_one_stray_read() {
    let mut watched = tens(1, limits(1024, 10));
    watched.read_one(0, 9, 2);
    let reads_near = |watched: &mut Watched, minute: i64| {
        let events = watched.state.entities[0].ring.events(&watched.state.layout);
        let at = ReadAt { t_us: minute * MINUTE_US, current: None };
        watched.state.standing.near(&watched.program, 0, &events, at, &[]).is_some()
    };
    assert!(reads_near(&mut watched, 9));
    watched.read_one(0, 305, 1);
    assert!(!reads_near(&mut watched, 305), "one stray read");
    assert!(reads_near(&mut watched, 9), "it stands where it stood");
    watched.read_one(0, 305, 2);
    assert!(reads_near(&mut watched, 305), "two reads there");
    watched.read_one(0, 9, 3);
}

#[test]
fn very_many_events_take_the_cursor_over_from_readers() {
    let mut watched = tens(1, limits(12, 10));
    watched.read_one(0, 9, 2);
    assert_eq!(watched.read_cursors(), 1);
    for minute in 10..30 {
        watched.append(&[plain_row(0, minute)]);
        watched.settle(0, None);
        watched.check_counts().unwrap();
        watched.sweep_all();
        watched.read_one(0, minute, 1);
    }
    assert_eq!(watched.read_cursors(), 0, "it is the writer's");
}
