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
