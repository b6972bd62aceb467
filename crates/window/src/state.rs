//! Live window state of one shard of a view: a ring for each entity. Taking events in does little (find the entity,
//! append); values are computed when read, as of the read's instant.

use std::sync::Arc;

use crate::answers::Answers;
use crate::carried::SortedRun;
use crate::cursor::{Cursor, ReadAt};
use crate::events::Events;
use crate::keys::{EntityIndex, Keys};
use crate::program::Program;
use crate::ring::{Ring, RingLayout, TieBreak};

/// The entities of one shard.
#[derive(Debug)]
pub struct WindowState {
    program: Arc<Program>,
    layout: RingLayout,
    entities: EntityIndex,
    rings: Vec<Ring>,
    /// Scratch of [`WindowState::append`]: the entity of each row of the batch.
    numbers: Vec<u32>,
}

impl WindowState {
    /// No entities yet.
    pub fn new(program: Arc<Program>) -> WindowState {
        let layout = RingLayout::new(&program);
        WindowState { program, layout, entities: EntityIndex::default(), rings: Vec::new(), numbers: Vec::new() }
    }

    /// Takes in a batch of used events: row i of `events` belongs to the entity of row i of `keys` and breaks ties by
    /// `tie(i)`. First all entities are found, then their rings touched, then events appended: in each of the three
    /// loops the cache misses of different rows do not wait for each other.
    pub fn append<'a>(&mut self, keys: &Keys, events: &SortedRun<'_>, tie: impl Fn(usize) -> TieBreak<'a>) {
        self.numbers.clear();
        for row in 0..events.len() {
            self.numbers.push(self.entities.intern(keys, row));
        }
        self.rings.resize_with(self.entities.len(), Ring::default);
        for (row, number) in self.numbers.iter().enumerate() {
            self.rings[*number as usize].insert(&self.layout, events, row, tie(row));
        }
    }

    /// Reads the entity of a key, given as a row of keys, as of an instant. An entity never seen, and no key at all (one
    /// with a NULL part), answer like an entity with no events.
    pub fn read(&self, key: Option<(&Keys, usize)>, t_us: i64, cursor: &mut Cursor, answers: &mut Answers) {
        let empty = Ring::default();
        let number = key.and_then(|(keys, row)| self.entities.find(keys, row));
        let ring = number.map_or(&empty, |number| &self.rings[number as usize]);
        cursor.reset(&self.program);
        cursor.read(&self.program, &ring.events(&self.layout), ReadAt { t_us, current: None }, answers);
    }

    /// Drops the events that no read as of `t_us` or later can need.
    pub fn trim(&mut self, t_us: i64) {
        for ring in &mut self.rings {
            let events = ring.events(&self.layout);
            let whole = 0..events.len();
            let frames = self.program.frames().iter();
            let needed = frames.map(|frame| frame.bounds(&events, t_us, None, &whole).start).min();
            let gone = needed.unwrap_or(events.len());
            if gone > 0 {
                ring.drop_first(&self.layout, gone);
            }
        }
    }

    /// Number of entities seen.
    pub fn entities(&self) -> usize {
        self.entities.len()
    }

    /// Number of events held.
    pub fn events(&self) -> usize {
        self.rings.iter().map(|ring| ring.len(&self.layout)).sum()
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        let rings: usize = self.rings.iter().map(Ring::memory_bytes).sum();
        self.entities.memory_bytes() + self.rings.capacity() * size_of::<Ring>() + rings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::Finished;
    use crate::cursor::tests::{MINUTE_US, Sample, all_frames, bounded_frames, carried, check_same, program, sample};
    use crate::frame::{Extent, Frame};
    use crate::keys::KeyEncoder;
    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::DataType;
    use proptest::prelude::*;

    const ENTITIES: i64 = 4;

    type Row = (i64, Sample);

    fn keys(entities: &[i64]) -> Keys {
        let column: ArrayRef = Arc::new(Int64Array::from(entities.to_vec()));
        KeyEncoder::new(&[DataType::Int64]).unwrap().encode(&[column]).unwrap()
    }

    /// Appends rows as one batch; their offsets go on from `first_offset`.
    fn append(state: &mut WindowState, program: &Program, rows: &[Row], first_offset: usize) {
        let entities: Vec<i64> = rows.iter().map(|(entity, _)| *entity).collect();
        let samples: Vec<Sample> = rows.iter().map(|(_, sample)| sample.clone()).collect();
        let events = carried(program, &samples);
        let tie = |row| TieBreak { primary_key: &[], partition: 0, offset: (first_offset + row) as u64 };
        state.append(&keys(&entities), &events.run(0, events.len()), tie);
    }

    /// Every entity, one never seen and a key with a NULL part, at every minute given.
    fn read_all(state: &WindowState, program: &Program, minutes: &[i64]) -> Finished {
        let entities: Vec<i64> = (0..=ENTITIES).collect();
        let keys = keys(&entities);
        let mut cursor = Cursor::new(program);
        let mut answers = Answers::with_capacity(program, 0);
        for minute in minutes {
            for row in 0..keys.len() {
                state.read(Some((&keys, row)), minute * MINUTE_US, &mut cursor, &mut answers);
            }
            state.read(None, minute * MINUTE_US, &mut cursor, &mut answers);
        }
        answers.finish()
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        prop::collection::vec((0..ENTITIES, sample()), 0..150)
    }

    fn frames_of_rows() -> Vec<Frame> {
        let mut frames = all_frames();
        frames.retain(|frame| *frame != Frame::LIFETIME);
        frames
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn batches_of_any_size_are_one_batch(
            rows in rows(),
            sizes in prop::collection::vec(0..40usize, 0..20),
            minutes in prop::collection::vec(-650..650i64, 1..4),
        ) {
            let program = Arc::new(program(all_frames()));
            let (mut one, mut many) = (WindowState::new(program.clone()), WindowState::new(program.clone()));
            append(&mut one, &program, &rows, 0);
            let mut start = 0;
            for size in sizes.into_iter().chain([rows.len()]) {
                let end = (start + size).min(rows.len());
                append(&mut many, &program, &rows[start..end], start);
                start = end;
            }
            prop_assert_eq!(many.events(), rows.len());
            prop_assert_eq!(many.entities(), one.entities());
            check_same(&program, &read_all(&many, &program, &minutes), &read_all(&one, &program, &minutes))?;
        }

        #[test]
        fn trimming_changes_no_later_read(
            rows in rows(),
            cut in any::<prop::sample::Index>(),
            trimmed_at in -650..650i64,
            later in prop::collection::vec(0..400i64, 1..4),
        ) {
            let program = Arc::new(program(frames_of_rows()));
            let minutes: Vec<i64> = later.iter().map(|later| trimmed_at + later).chain([trimmed_at]).collect();
            let (mut whole, mut trimmed) = (WindowState::new(program.clone()), WindowState::new(program.clone()));
            let cut = cut.index(rows.len() + 1);
            for (part, first_offset) in [(&rows[..cut], 0), (&rows[cut..], cut)] {
                append(&mut whole, &program, part, first_offset);
                append(&mut trimmed, &program, part, first_offset);
                trimmed.trim(trimmed_at * MINUTE_US);
                prop_assert!(trimmed.events() <= whole.events());
                check_same(&program, &read_all(&trimmed, &program, &minutes), &read_all(&whole, &program, &minutes))?;
            }
        }

        #[test]
        fn trimming_drops_what_lies_behind_every_horizon(rows in rows(), trimmed_at in -650..1_500i64) {
            let program = Arc::new(program(bounded_frames()));
            let t_us = trimmed_at * MINUTE_US;
            let mut state = WindowState::new(program.clone());
            append(&mut state, &program, &rows, 0);
            state.trim(t_us);
            // The farthest of the frames reaches 300 minutes back; the hour's bucket is always nearer.
            let kept = rows.iter().filter(|(_, sample)| sample.minute >= trimmed_at - 300).count();
            prop_assert_eq!(state.events(), kept);
        }

        #[test]
        fn trimming_leaves_a_rows_frame_its_rows(rows in rows(), preceding in 0..12usize) {
            let extent = Extent::Rows { preceding: preceding as u64 };
            let program = Arc::new(program(vec![Frame { extent, calendar: None }]));
            let mut state = WindowState::new(program.clone());
            append(&mut state, &program, &rows, 0);
            state.trim(10_000 * MINUTE_US);
            let held = |entity| rows.iter().filter(|(other, _)| *other == entity).count().min(preceding + 1);
            prop_assert_eq!(state.events(), (0..ENTITIES).map(held).sum::<usize>());
        }

        #[test]
        fn a_lifetime_is_never_trimmed(rows in rows()) {
            let program = Arc::new(program(vec![Frame::LIFETIME]));
            let mut state = WindowState::new(program.clone());
            append(&mut state, &program, &rows, 0);
            state.trim(i64::MAX);
            prop_assert_eq!(state.events(), rows.len());
            prop_assert!(rows.is_empty() || state.memory_bytes() > 0);
        }
    }
}
