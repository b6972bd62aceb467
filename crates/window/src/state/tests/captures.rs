//! Captures while events keep coming, put back one after the other, against the model as of the moment of each.

use std::collections::HashSet;

use super::*;
use crate::capture::Captured;
use crate::image::{ImageError, Images};

/// More entities than an index has before it thinks of new numbers.
const RUSH_ENTITIES: i64 = 1_100;

#[derive(Debug, Clone)]
enum Step {
    Act(Action),
    /// Entities that come in one minute and never again.
    Rush(i64),
    /// Time goes on, and all is swept: entities go, and where few are left, numbers are dealt anew.
    Pass(i64),
    Begin(Captured),
    /// Captures on, about so many bytes.
    Capture(usize),
}

/// A state that is captured while events keep coming, and one that is put back from the images.
struct Chain {
    slow: Watched,
    kept: Watched,
    running: Option<Begun>,
    is_whole_needed: bool,
}

/// A capture of the slow state, and what it has to come to.
struct Begun {
    images: Vec<u8>,
    rows: Vec<(Version, Row)>,
    floor: Option<i64>,
}

/// How many images there are, each of another entity.
fn count(images: &[u8]) -> usize {
    let entities: HashSet<u64> = Images::new(images).map(|image| image.unwrap().hash()).collect();
    assert_eq!(Images::new(images).count(), entities.len());
    entities.len()
}

fn capture_all(state: &mut WindowState, what: Captured) -> Vec<u8> {
    let mut images = Vec::new();
    state.begin_capture(what);
    assert!(state.capture(usize::MAX - 1, &mut images));
    images
}

impl Chain {
    fn new(program: fn() -> Program, limits: Limits, has_text_keys: bool) -> Chain {
        let new = || Watched::within(program(), limits, has_text_keys);
        Chain { slow: new(), kept: new(), running: None, is_whole_needed: true }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Act(action) => self.slow.act(action),
            Step::Rush(minute) => {
                let rows: Vec<Row> = (0..RUSH_ENTITIES).map(|entity| plain_row(1_000 + entity, *minute)).collect();
                self.slow.append(&rows);
                self.slow.check_counts()
            }
            Step::Pass(minute) => {
                self.slow.settle(0, Some(*minute));
                self.slow.sweep_all();
                self.slow.check_counts()
            }
            Step::Begin(what) => self.begin(*what),
            Step::Capture(bytes_max) => self.capture(*bytes_max),
        }
    }

    /// One that is given up has to be followed by a whole one.
    fn begin(&mut self, what: Captured) -> Result<(), TestCaseError> {
        let is_whole_needed = self.is_whole_needed || self.running.is_some();
        let what = if is_whole_needed { Captured::Whole } else { what };
        if what == Captured::Whole {
            self.kept.state = WindowState::new(self.kept.program.clone());
            self.kept.state.standing = StandingCursors::within(limits(20, 6));
        }
        self.is_whole_needed = false;
        self.slow.state.begin_capture(what);
        let Watched { rows, floor, .. } = &self.slow;
        self.running = Some(Begun { images: Vec::new(), rows: rows.clone(), floor: *floor });
        Ok(())
    }

    fn capture(&mut self, bytes_max: usize) -> Result<(), TestCaseError> {
        let Some(begun) = &mut self.running else {
            return Ok(());
        };
        let done = self.slow.state.capture(bytes_max, &mut begun.images);
        self.slow.check_counts()?;
        if done { self.end() } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), TestCaseError> {
        let Some(Begun { images, rows, floor }) = self.running.take() else {
            return Ok(());
        };
        prop_assert_eq!(self.kept.state.restore(&images), Ok(count(&images)));
        self.kept.newest = rows.last().map_or(Version(0), |(version, _)| *version);
        (self.kept.rows, self.kept.floor) = (rows, floor);
        self.kept.check_counts()?;
        self.check_kept()
    }

    fn check_kept(&mut self) -> Result<(), TestCaseError> {
        for minute in [-100, 0, 310, 600, 850] {
            let minute = self.kept.floor.map_or(minute, |floor| floor.max(minute));
            self.kept.check_read(self.kept.newest, minute)?;
        }
        Ok(())
    }

    /// What came after the last capture is appended again: the state is as if nothing had been.
    fn replay(&mut self) -> Result<(), TestCaseError> {
        while self.running.is_some() {
            self.capture(100)?;
        }
        let rest: Vec<(Version, Row)> = self.slow.rows[self.kept.rows.len()..].to_vec();
        for version in rest.chunk_by(|one, other| one.0 == other.0) {
            let rows: Vec<Row> = version.iter().map(|(_, row)| row.clone()).collect();
            self.kept.newest.0 = version[0].0.0 - 1;
            self.kept.append(&rows);
        }
        self.kept.floor = self.slow.floor;
        self.kept.check_counts()?;
        self.check_kept()
    }
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![1 => Just(Captured::Whole), 2 => Just(Captured::Touched)];
    prop_oneof![
        8 => action().prop_map(Step::Act),
        1 => (-600..0i64).prop_map(Step::Rush),
        1 => (-300..600i64).prop_map(Step::Pass),
        2 => what.prop_map(Step::Begin),
        8 => prop_oneof![Just(0usize), 1..2_000usize, Just(1 << 20)].prop_map(Step::Capture),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn captures_are_of_their_moment_and_put_it_back(
        program in programs(),
        standing_events in prop::sample::select(vec![2usize, 20, 1024]),
        has_primary_key in any::<bool>(),
        has_text_keys in any::<bool>(),
        mut steps in prop::collection::vec(step(), 0..40),
    ) {
        let mut chain = Chain::new(program, limits(standing_events, 6), has_text_keys);
        for step in &mut steps {
            if let Step::Act(Action::Append(rows)) = step && !has_primary_key {
                rows.iter_mut().for_each(|row| row.primary_key.clear());
            }
            // A rush comes without primary keys: a stream has them always or never.
            if has_primary_key && matches!(step, Step::Rush(_)) {
                continue;
            }
            chain.step(step)?;
        }
        chain.replay()?;
    }

    /// Bytes changed, cut, put in, or nothing but noise: an error, or entities that can be read.
    #[test]
    fn whatever_the_bytes_nothing_breaks(
        program in programs(),
        has_text_keys in any::<bool>(),
        may_depart in any::<bool>(),
        rows in prop::collection::vec(row(), 1..40),
        harm in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..5),
        noise in prop::option::weighted(0.2, prop::collection::vec(any::<u8>(), 0..200)),
    ) {
        let mut watched = Watched::new(program(), 20, has_text_keys);
        let new = if may_depart { WindowState::with_departures } else { WindowState::new };
        watched.state = new(watched.program.clone());
        watched.append(&rows);
        let mut images = noise.unwrap_or_else(|| capture_all(&mut watched.state, Captured::Whole));
        for (place, byte, how) in harm {
            if images.is_empty() {
                break;
            }
            let place = place.index(images.len());
            match how {
                0 => images.truncate(place),
                1 => images.insert(place, byte),
                2 => images[place] ^= 1 << (byte % 8),
                _ => images[place] = byte,
            }
        }
        let mut state = new(watched.program.clone());
        let restored = state.restore(&images);
        prop_assert!(state.memory_bytes() < 32 * images.len() + 65_536, "{} of {}", state.memory_bytes(), images.len());
        prop_assert!(restored.is_ok() || state.entities() <= Images::new(&images).count());
        let keys = watched.keys(&(0..ENTITIES).collect::<Vec<i64>>());
        let mut answers = Answers::with_capacity(&watched.program, 0);
        for row in 0..keys.len() {
            let at = ReadPoint { version: Version(0), t_us: 300 * MINUTE_US };
            state.read(Some((&keys, row)), at, &mut answers);
        }
        prop_assert_eq!(answers.finish().known.len(), keys.len());
    }
}

/// Few events of every kind, in both kinds of keys.
fn sampled(has_text_keys: bool) -> Watched {
    let mut watched = Watched::new(program(all_frames()), 1024, has_text_keys);
    let row = |turn: i64| {
        let full = Sample {
            minute: 10 * (turn % 3),
            integer: Some(turn << (8 * turn)),
            double: Some(-0.5 * turn as f64),
            decimal: Some(-(10i128.pow(20) + i128::from(turn))),
            text: Some(turn as u8 * 7),
            truth: Some(turn % 2 == 0),
            passes: Some(turn % 3 == 0),
        };
        let sample = if turn == 5 { Sample::at(15) } else { full };
        Row { entity: turn % 2, sample, primary_key: vec![7, turn as u8] }
    };
    watched.append(&(0..7).map(row).collect::<Vec<Row>>());
    watched
}

/// The format may change only together with its version: checkpoints of version 1 are to be read as they are.
#[test]
fn images_of_version_1_are_read() {
    let samples: [(bool, &[u8]); 2] = [
        (false, include_bytes!("../../../tests/samples/images-1-words.bin")),
        (true, include_bytes!("../../../tests/samples/images-1-texts.bin")),
    ];
    for (has_text_keys, sample) in samples {
        let mut watched = sampled(has_text_keys);
        assert_eq!(capture_all(&mut watched.state, Captured::Whole), sample, "text keys: {has_text_keys}");
        watched.state = WindowState::new(watched.program.clone());
        assert_eq!(watched.state.restore(sample), Ok(2));
        [0, 15, 400].into_iter().for_each(|minute| watched.check_read(Version(1), minute).unwrap());
        let entities = Images::new(sample).map(|image| image.unwrap().hash());
        let keys = watched.keys(&[0, 1]);
        // The odd rows, which are those of entity 1, are appended first.
        assert_eq!(entities.collect::<Vec<u64>>(), [keys.hash(1), keys.hash(0)]);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let mut watched = sampled(false);
    let images = capture_all(&mut watched.state, Captured::Whole);
    let second = Images::new(&images).next().unwrap().unwrap().bytes().len();
    let error = |place: usize, byte: u8, program: Program| {
        let mut images = images.clone();
        images[place] = byte;
        WindowState::new(Arc::new(program)).restore(&images).unwrap_err()
    };
    let full = || program(all_frames());
    assert_eq!(error(0, 2, full()), ImageError::Version { at: 0, found: 2 });
    let damaged = |at, detail| ImageError::Damaged { at, detail };
    assert_eq!(error(second, 2, full()), ImageError::Version { at: second, found: 2 });
    assert_eq!(error(second + 1, 9, full()), damaged(second, "its head names what there is not"));
    assert_eq!(error(4, 9, full()), damaged(0, "its key is no word"));
    assert_eq!(error(second + 4, 9, full()), damaged(second, "its events are cut off"));
    assert_eq!(error(12, 0, full()), damaged(0, "it holds no event"));
    assert_eq!(error(12, 9, full()), damaged(0, "it holds more or fewer events than it says"));
    // The first event's time, made the greatest there is.
    assert_eq!(error(24 + 8 + 7, 0x7f, full()), damaged(0, "its events are not in order, or not of this view"));
    assert_eq!(error(12, 4, counts()), damaged(0, "it holds more or fewer events than it says"));
    let cut = WindowState::new(Arc::new(full())).restore(&images[..images.len() - 1]).unwrap_err();
    assert_eq!(cut, damaged(second, "its events are cut off"));
    assert_eq!(cut.to_string(), format!("the image at byte {second} is damaged: its events are cut off"));
    let mut texts = sampled(true);
    assert_eq!(texts.state.restore(&images), Err(damaged(0, "its key is of another kind")));
}

#[test]
fn restored_rings_take_no_more_than_they_hold() {
    let mut watched = tens(3_000, limits(1024, 10));
    let images = capture_all(&mut watched.state, Captured::Whole);
    let mut state = WindowState::new(watched.program.clone());
    assert_eq!(state.restore(&images), Ok(3_000));
    assert_eq!((state.entities(), state.events()), (3_000, 30_000));
    let words = |entity: &Entity| entity.ring.parts(&state.layout, 0..10).words.len();
    let rare = |entity: &Entity| entity.ring.memory_bytes() - 4 * words(entity);
    assert_eq!(state.ring_bytes, state.entities.iter().map(|entity| 4 * words(entity) + rare(entity)).sum::<usize>());
    assert!(state.memory_bytes() <= watched.state.memory_bytes());
}

#[test]
fn what_a_capture_keeps_is_counted_and_given_back() {
    let mut watched = tens(2_000, limits(1024, 10));
    let entities: Vec<Row> = (0..2_000).map(|entity| plain_row(entity, 11)).collect();
    watched.state.begin_capture(Captured::Whole);
    watched.append(&entities);
    assert!(watched.state.capturing.memory_bytes() < 1_024, "events at the end are left out, not saved from");
    let entities: Vec<Row> = (0..2_000).map(|entity| plain_row(entity, 5)).collect();
    watched.append(&entities);
    let saved = watched.state.capturing.memory_bytes();
    assert!(saved > 2_000 * 10 * 8 && watched.state.memory_bytes() > watched.state.ring_bytes + saved);
    let mut images = Vec::new();
    assert!(watched.state.capture(1 << 30, &mut images));
    assert_eq!(count(&images), 2_000);
    // A bit for each entity stays: those that were touched.
    assert!(watched.state.capturing.memory_bytes() <= 512, "{}", watched.state.capturing.memory_bytes());
    assert!(watched.state.capture(1, &mut images), "none is running");
    assert_eq!(count(&capture_all(&mut watched.state, Captured::Touched)), 2_000);
    assert!(capture_all(&mut watched.state, Captured::Touched).is_empty());
}

#[test]
fn what_was_added_is_an_image_of_its_own() {
    let mut watched = tens(2, limits(1024, 10));
    let base = capture_all(&mut watched.state, Captured::Whole);
    watched.append(&[plain_row(0, 10), plain_row(0, 11)]);
    let added = capture_all(&mut watched.state, Captured::Touched);
    assert_eq!(added.len(), 24 + 8 + 2 * (base.len() / 2 - 24 - 8) / 10, "a head, a key, two events of twenty");
    assert_eq!(added[0], 3, "their version");
    watched.append(&[plain_row(0, 9), plain_row(0, 10)]);
    watched.append(&[plain_row(1, 10)]);
    let more = capture_all(&mut watched.state, Captured::Touched);
    let mut versions: Vec<u8> = Images::new(&more).map(|image| image.unwrap().bytes()[0]).collect();
    versions.sort_unstable();
    assert_eq!(versions, [1, 3], "one took in events among its older ones");

    let mut kept = Watched::within(counts(), limits(1024, 10), false);
    assert_eq!([&base, &added, &more].map(|images| kept.state.restore(images)), [Ok(2), Ok(1), Ok(2)]);
    (kept.rows, kept.newest) = (watched.rows.clone(), watched.newest);
    kept.check_counts().unwrap();
    [5, 10, 12].into_iter().for_each(|minute| kept.check_read(kept.newest, minute).unwrap());

    let mut empty = WindowState::new(watched.program.clone());
    let error = ImageError::Damaged { at: 0, detail: "it adds to an entity without events" };
    assert_eq!(empty.restore(&added), Err(error));
}

/// As images of version 1.
#[test]
fn images_of_version_3_are_read() {
    let samples: [(bool, &[u8]); 2] = [
        (false, include_bytes!("../../../tests/samples/images-3-words.bin")),
        (true, include_bytes!("../../../tests/samples/images-3-texts.bin")),
    ];
    for (has_text_keys, sample) in samples {
        let mut watched = sampled(has_text_keys);
        let base = capture_all(&mut watched.state, Captured::Whole);
        let later = |turn: u8| Row { primary_key: vec![8, turn], ..plain_row(i64::from(turn % 2), 40) };
        watched.append(&(0..3).map(later).collect::<Vec<Row>>());
        assert_eq!(capture_all(&mut watched.state, Captured::Touched), sample, "text keys: {has_text_keys}");
        watched.state = WindowState::new(watched.program.clone());
        assert_eq!([&base, sample].map(|images| watched.state.restore(images)), [Ok(2), Ok(2)]);
        [0, 15, 40, 400].into_iter().for_each(|minute| watched.check_read(Version(2), minute).unwrap());
    }
}

#[test]
fn restored_events_are_settled() {
    let mut watched = Watched::new(counts(), 1024, false);
    watched.append(&[plain_row(0, 1), plain_row(0, 2), plain_row(1, 3)]);
    let images = capture_all(&mut watched.state, Captured::Whole);
    assert_eq!(watched.state.restore(&images), Ok(2));
    watched.append(&[plain_row(0, 2), plain_row(1, 1)]);
    let (keys, t_us) = (watched.keys(&[0, 1]), 10 * MINUTE_US);
    let mut answers = Answers::with_capacity(&watched.program, 2);
    for row in 0..2 {
        watched.state.read(Some((&keys, row)), ReadPoint { version: Version(0), t_us }, &mut answers);
    }
    let expected = watched.model([0, 1].iter(), ReadPoint { version: Version(1), t_us });
    check_same(&watched.program, &answers.finish(), &expected).unwrap();
}
