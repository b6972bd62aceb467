//! Live window state of one shard of a view: a ring for each entity. Taking events in does little (find the entity,
//! append); values are computed when read, as of the read's instant.
//!
//! ```text
//!   key ─▶ EntityIndex ─▶ number ─▶ Entity { ring, newest version }    what happened
//!                           ├─────▶ StandingCursors                    where readers stand, of long rings and those read often
//!                           ├─────▶ Unsettled                          what a read at an older version leaves out
//!                           ├─────▶ Departures                         what one at a newer version does
//!                           ├─────▶ Closing                            which of its group windows ends when
//!                           └─────▶ Capturing                          what a checkpoint still has to write
//! ```
//! Rules kept here:
//! - a read at a version sees the events of batches up to that version and no others, whatever came in or went since;
//! - what is dropped is needed by no read that may still come, and an entity without events answers like one never seen;
//! - the counts of entities, events and bytes are kept up to date with every change, never counted.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::error::ArrowError;

use crate::additions::Additions;
use crate::answers::Answers;
use crate::capture::Capturing;
use crate::carried::SortedRun;
use crate::cursor::{Cursor, ReadAt};
use crate::departures::Departures;
use crate::entity_index::{EntityIndex, NO_NUMBER};
use crate::events::Events;
use crate::excluding::Excluding;
use crate::frame::{Frame, first_from};
use crate::keys::{KeyEncoder, Keys};
use crate::program::Program;
use crate::ring::{Ring, RingEvents, RingLayout, TieBreak};
use crate::standing::StandingCursors;
use crate::unsettled::{Unsettled, UnsettledEvent};
use crate::version::{ReadPoint, Version};
use closing::Closing;
pub use closing::{DueWindow, HaveClosed};

/// Rows whose rings are touched before their events are inserted: few enough that nothing touched leaves the first cache.
const TOUCHED_ROWS: usize = 64;

/// The entities of one shard.
#[derive(Debug)]
pub struct WindowState {
    program: Arc<Program>,
    layout: RingLayout,
    /// Whether for some frame the events that it needs depend on which of the later ones a read sees.
    looks_back_by_events: bool,

    index: EntityIndex,
    /// By number.
    entities: Vec<Entity>,
    unsettled: Unsettled,
    departures: Departures,
    standing: StandingCursors,
    capturing: Capturing,
    /// Where windows come out when they have ended.
    closing: Option<Box<Closing>>,
    settled: Version,
    floor_us: Option<i64>,
    /// Events from this instant on may still depart; `None` where none ever does.
    changeable_from_us: Option<i64>,
    /// No event comes that joins a session which ended before this instant.
    sessions_end_from_us: i64,
    /// Events of older times are needed by no read as of the floor or later; `None` where the frames' events decide.
    reach_us: Option<i64>,
    /// The number that [`WindowState::sweep`] looks at next.
    swept: usize,
    event_count: usize,
    ring_bytes: usize,

    /// Scratch of [`WindowState::append`]: the entity of each row of the batch.
    numbers: Vec<u32>,
    /// Scratch of [`WindowState::read`]: the cursor of entities that have none of their own, and what a read excludes.
    scratch: Cursor,
    excluded: Vec<usize>,
}

#[derive(Debug, Default)]
struct Entity {
    ring: Ring,
    /// The version of the event that came or went last.
    newest: Version,
    additions: Additions,
}

impl WindowState {
    /// No entities yet.
    pub fn new(program: Arc<Program>) -> WindowState {
        WindowState::laid_out(RingLayout::new(&program), program)
    }

    /// No entities yet; their events may [depart](WindowState::depart). Holds 12 bytes more for an event where the view does
    /// not follow order. Its images are of another version.
    pub fn with_departures(program: Arc<Program>) -> WindowState {
        let state = WindowState::laid_out(RingLayout::naming_events(&program), program);
        WindowState { changeable_from_us: Some(i64::MIN), ..state }
    }

    fn laid_out(layout: RingLayout, program: Arc<Program>) -> WindowState {
        WindowState {
            layout,
            looks_back_by_events: program.frames().iter().any(Frame::looks_back_by_events),
            index: EntityIndex::default(),
            entities: Vec::new(),
            unsettled: Unsettled::default(),
            departures: Departures::default(),
            standing: standing_cursors(&program),
            capturing: Capturing::default(),
            closing: None,
            settled: Version::default(),
            floor_us: None,
            changeable_from_us: None,
            sessions_end_from_us: i64::MIN,
            reach_us: None,
            swept: 0,
            event_count: 0,
            ring_bytes: 0,
            numbers: Vec::new(),
            scratch: Cursor::new(&program),
            excluded: Vec::new(),
            program,
        }
    }

    /// Takes in used events as part of `version`, which is never less than that of an earlier append: for each r in
    /// `rows`, row r of `events` belongs to the entity of row r of `keys` and breaks ties by `tie(r)`. First all entities
    /// are found; then, some at a time, their rings are touched and the events inserted: in each of the three loops the
    /// cache misses of different rows do not wait for each other.
    pub fn append<'a>(
        &mut self,
        keys: &Keys,
        rows: &[u32],
        events: &SortedRun<'_>,
        version: Version,
        tie: impl Fn(usize) -> TieBreak<'a>,
    ) {
        self.numbers.clear();
        for row in rows {
            self.numbers.push(self.index.intern(keys, *row as usize));
        }
        self.entities.resize_with(self.index.numbers(), Entity::default);
        for (chunk, rows) in rows.chunks(TOUCHED_ROWS).enumerate() {
            let first = chunk * TOUCHED_ROWS;
            let touched = &self.numbers[first..first + rows.len()];
            black_box(touched.iter().fold(0, |tails, number| tails ^ self.entities[*number as usize].ring.tail()));
            for (place, row) in rows.iter().enumerate() {
                let row = *row as usize;
                self.take_in(self.numbers[first + place], events, row, version, tie(row));
            }
        }
    }

    /// Lets used events go as part of `version`, which is never less than that of an earlier change: for each r in `rows`,
    /// the event of the entity of row r of `keys` with the time of row r of `events` and the partition and offset of
    /// `tie(r)`, and its primary key where the view follows order. Reads at earlier versions see it on. Returns how many
    /// went: one that was dropped, or is no event of the entity, is not found.
    ///
    /// An event that departed may come again, with other values or to another entity, in the same version or a later one.
    /// Where it comes before the old copy goes, the old one is the one that goes. Only for states
    /// [`with_departures`](WindowState::with_departures).
    ///
    /// Takes a logarithmic time in the events of the entity for each; they are taken out when they are settled, those of an
    /// entity at once.
    pub fn depart<'a>(
        &mut self,
        keys: &Keys,
        rows: &[u32],
        events: &SortedRun<'_>,
        version: Version,
        tie: impl Fn(usize) -> TieBreak<'a>,
    ) -> usize {
        assert!(self.layout.names_events(), "events depart from states that name them");
        let mut gone = 0;
        for row in rows.iter().map(|row| *row as usize) {
            let number = self.index.find(keys, row);
            let went = number.is_some_and(|number| self.let_go(number, events.time_us(row), version, tie(row)));
            gone += usize::from(went);
        }
        gone
    }

    /// Reads the entity of a key, given as a row of keys. The version is the last that is settled or a later one, the
    /// instant not before the floor. An entity never seen, and no key at all (one with a NULL part), answer like an entity
    /// with no events.
    pub fn read(&mut self, key: Option<(&Keys, usize)>, at: ReadPoint, answers: &mut Answers) {
        self.read_standing(key, at, &[], answers);
    }

    /// The same of a read that stands at an event, where one of `events` is the entity's at that instant: ROWS frames end at it,
    /// and EXCLUDE CURRENT ROW leaves it out. Of several that are, the first counts. Where the program does not follow order nothing
    /// tells events apart, nor does any answer depend on it.
    pub fn read_standing(
        &mut self,
        key: Option<(&Keys, usize)>,
        at: ReadPoint,
        events: &[TieBreak<'_>],
        answers: &mut Answers,
    ) {
        debug_assert!(at.version >= self.settled, "{at:?} is before {:?}", self.settled);
        if let Some(number) = key.and_then(|(keys, row)| self.index.find(keys, row)) {
            return self.read_entity(number, at, events, answers);
        }
        let read_at = ReadAt { t_us: at.t_us, current: None };
        self.scratch.reset(&self.program, 0);
        self.scratch.read(&self.program, &Ring::default().events(&self.layout), read_at, answers);
    }

    #[inline]
    fn read_entity(&mut self, number: u32, at: ReadPoint, standing_at: &[TieBreak<'_>], answers: &mut Answers) {
        let entity = &self.entities[number as usize];
        let events = entity.ring.events(&self.layout);
        self.excluded.clear();
        if entity.newest > at.version {
            self.unsettled.exclude(number, at.version, &events, &mut self.excluded);
        }
        self.departures.exclude(number, at.version, &events, &mut self.excluded);
        let excluded = &self.excluded;
        let current = match self.program.follows_order() {
            true => standing_at.iter().find_map(|tie| place_of(&events, at.t_us, *tie, excluded)),
            false => None,
        };
        let read_at = ReadAt { t_us: at.t_us, current };
        if let Some(cursor) = self.standing.near(&self.program, number, &events, read_at, excluded) {
            return cursor.read_without(&self.program, &events, excluded, read_at, answers);
        }
        // Most reads are as of now, which is near the end.
        self.scratch.reset(&self.program, events.len() - excluded.len());
        match excluded[..] {
            [] => {
                self.scratch.read(&self.program, &events, read_at, answers);
                self.standing.read_anew(number, events.len(), &self.scratch);
            }
            _ => self.scratch.read(&self.program, &Excluding::new(&events, excluded), read_at, answers),
        }
    }

    /// The first instant behind `t_us` as of which a read of the entity of a key may be answered otherwise than as of `t_us`, though
    /// nothing comes or goes; `None`: it never is. What came or went lately counts as if all reads saw it: the instant may be
    /// earlier for that, never later.
    pub fn next_change_us(&self, keys: &Keys, row: usize, t_us: i64) -> Option<i64> {
        let entity = &self.entities[self.index.find(keys, row)? as usize];
        let events = entity.ring.events(&self.layout);
        self.program.frames().iter().filter_map(|frame| frame.next_change_us(&events, t_us)).min()
    }

    /// The parts of the keys of all entities that have events, in columns, as `encoder` had them.
    pub fn keys(&self, encoder: &KeyEncoder) -> Result<Vec<ArrayRef>, ArrowError> {
        let held = self.entities.iter().enumerate().filter(|(_, entity)| entity.ring.len(&self.layout) > 0);
        encoder.decode(held.map(|(number, _)| self.index.key(number as u32)))
    }

    /// No read will come at a version before `settled`, nor as of an instant before `floor_us`. Neither goes back: a
    /// smaller one changes nothing.
    pub fn settle(&mut self, settled: Version, floor_us: Option<i64>) {
        if self.floor_us < floor_us {
            self.floor_us = floor_us;
            let reaches =
                self.program.frames().iter().map(|frame| floor_us.and_then(|floor_us| frame.reach_us(floor_us)));
            self.reach_us = reaches.min().flatten().filter(|_| self.closing.is_none());
        }
        self.settled = self.settled.max(settled);
        while let Some(event) = self.unsettled.pop(self.settled) {
            self.standing.settled(event.number, event.time_us);
        }
        self.unsettled.shrink();
        self.take_out_departed(self.settled);
        while let Some(number) = self.standing.next_due() {
            let events = self.entities[number as usize].ring.events(&self.layout);
            self.standing.slide(&self.program, number, &events);
        }
    }

    /// No event before this instant departs from now on. It does not go back: a smaller one changes nothing.
    ///
    /// A frame of n rows needs n events that stay, besides all that may depart; until this is called none is dropped from it.
    pub fn settle_events_before(&mut self, from_us: i64) {
        self.changeable_from_us = self.changeable_from_us.max(Some(from_us));
    }

    /// No event comes from now on that joins a session whose last instant is before this one: the gap after its last event.
    /// It does not go back: a smaller one changes nothing. Sessions are not dropped until this is called.
    pub fn settle_sessions_before(&mut self, from_us: i64) {
        self.sessions_end_from_us = self.sessions_end_from_us.max(from_us);
    }

    /// Looks at the next `entities_max` entities in turn: drops the events that no read as of the floor or later can
    /// need, and entities left without events. Returns how many entities were dropped.
    ///
    /// When few of those once seen are left, all tables shrink: that call takes a short step for each of those once seen.
    pub fn sweep(&mut self, entities_max: usize) -> usize {
        let before = self.index.len();
        for _ in 0..entities_max.min(self.entities.len()) {
            if self.swept >= self.entities.len() {
                self.swept = 0;
            }
            self.sweep_entity(self.swept as u32);
            self.swept += 1;
        }
        let dropped = before - self.index.len();
        if self.index.is_sparse() {
            self.renumber();
        }
        dropped
    }

    /// Makes all cursors anew, which a read that panicked may have left halfway. Entities with many events get theirs back
    /// with the next event.
    pub fn forget_cursors(&mut self) {
        self.scratch = Cursor::new(&self.program);
        self.standing = standing_cursors(&self.program);
    }

    /// Number of entities held.
    pub fn entities(&self) -> usize {
        self.index.len()
    }

    /// Number of events held.
    pub fn events(&self) -> usize {
        self.event_count
    }

    /// Bytes of memory held. What standing cursors hold is within an eighth.
    pub fn memory_bytes(&self) -> usize {
        let scratch = self.numbers.capacity() * size_of::<u32>() + self.excluded.capacity() * size_of::<usize>();
        let entities = self.index.memory_bytes() + self.entities.capacity() * size_of::<Entity>();
        let beside = self.unsettled.memory_bytes() + self.standing.memory_bytes() + self.capturing.memory_bytes();
        let closing = self.closing.as_ref().map_or(0, |closing| closing.memory_bytes());
        entities + self.ring_bytes + beside + self.departures.memory_bytes() + closing + scratch
    }

    fn take_in(&mut self, number: u32, from: &SortedRun<'_>, row: usize, version: Version, tie: TieBreak<'_>) {
        if self.capturing.is_pending(number) {
            self.save_unless_added(number, from.time_us(row), tie);
        } else if !self.needs_settled_events() && self.entities[number as usize].ring.is_full(&self.layout) {
            self.trim(number);
        }
        self.capturing.touched(number);
        let entity = &mut self.entities[number as usize];
        let bytes_before = entity.ring.memory_bytes();
        let index = entity.ring.insert(&self.layout, from, row, tie);
        entity.newest = version;
        self.ring_bytes = self.ring_bytes - bytes_before + entity.ring.memory_bytes();
        self.event_count += 1;
        let events = entity.ring.events(&self.layout);
        entity.additions.came(self.capturing.cuts(), events.len() - 1 - index);
        self.standing.inserted(&self.program, number, &events, index);
        let follows_order = self.program.follows_order();
        self.unsettled.push(UnsettledEvent::new(version, number, from.time_us(row), tie, follows_order));
        if let Some(closing) = &mut self.closing {
            closing.came(number, from.time_us(row));
        }
    }

    fn let_go(&mut self, number: u32, time_us: i64, version: Version, tie: TieBreak<'_>) -> bool {
        let tie = self.layout.kept(tie);
        let events = self.entities[number as usize].ring.events(&self.layout);
        if events.copies(time_us, tie).len() <= self.departures.copies_gone(number, time_us, tie) {
            return false;
        }
        self.save(number);
        self.capturing.touched(number);
        self.entities[number as usize].newest = version;
        self.departures.push(number, time_us, tie, version);
        if let Some(closing) = &mut self.closing {
            closing.goes(number, time_us);
        }
        true
    }

    /// Takes the events out whose departure is settled. Their entities' images are without them already.
    fn take_out_departed(&mut self, settled: Version) {
        for number in self.departures.take_settled(settled) {
            let ring = &mut self.entities[number as usize].ring;
            let events = ring.events(&self.layout);
            self.excluded.clear();
            self.departures.exclude(number, settled, &events, &mut self.excluded);
            self.departures.forget(number, settled);
            self.standing.removed(&self.program, number, &events, &self.excluded);
            let bytes_before = ring.memory_bytes();
            ring.remove(&self.layout, &self.excluded);
            self.ring_bytes = self.ring_bytes - bytes_before + ring.memory_bytes();
            self.event_count -= self.excluded.len();
        }
    }

    /// Writes the image of a pending entity, unless the event that it is about to take in can be left out of it.
    fn save_unless_added(&mut self, number: u32, time_us: i64, tie: TieBreak<'_>) {
        let Entity { ring, additions, .. } = &self.entities[number as usize];
        let events = ring.events(&self.layout);
        let newer = events.len() - events.first_after(time_us, tie, events.len());
        if self.layout.names_events() || additions.is_before_cut(self.capturing.cuts(), newer) {
            self.save(number);
        }
    }

    fn sweep_entity(&mut self, number: u32) {
        if self.capturing.is_pending(number) {
            if self.closing.is_none() {
                return;
            }
            // What is closed has to go.
            self.save(number);
        }
        let is_settled = self.entities[number as usize].newest <= self.settled;
        if is_settled || !self.needs_settled_events() {
            self.trim(number);
        }
        self.standing.swept(number);
        let is_empty = self.entities[number as usize].ring.len(&self.layout) == 0;
        let is_kept = self.layout.names_events() && self.capturing.keeps(number);
        if is_settled && is_empty && !is_kept {
            self.remove_entity(number);
        }
    }

    fn remove_entity(&mut self, number: u32) {
        self.save(number);
        if self.index.remove(number) {
            self.capturing.removed(number);
            if let Some(closing) = &mut self.closing {
                closing.removed(number);
            }
            let entity = &mut self.entities[number as usize];
            self.ring_bytes -= entity.ring.memory_bytes();
            *entity = Entity::default();
        }
    }

    /// Drops the events of an entity that no read as of the floor or later can need. Frames of time alone need what is
    /// not older than some instant, whichever events a read sees; those that look back by events must not be trimmed while
    /// one is unsettled: a read that does not see it needs an older one. For the same reason they keep what they need
    /// as of the last instant at which no event departs any more.
    fn trim(&mut self, number: u32) {
        let Some(floor_us) = self.floor_us else { return };
        if let Some(end) = self.program.end_column() {
            return self.drop_ended(number, end, floor_us);
        }
        let ring = &self.entities[number as usize].ring;
        if self.reach_us.is_some_and(|reach_us| reach_us <= ring.oldest_us()) {
            return;
        }
        let events = ring.events(&self.layout);
        let gone = match self.reach_us {
            Some(reach_us) => first_from(&events, reach_us, 0),
            None => self.first_needed(number, &events, floor_us),
        };
        if gone == 0 {
            return;
        }
        self.standing.dropped_first(&self.program, number, &events, gone);
        let entity = &mut self.entities[number as usize];
        let bytes_before = entity.ring.memory_bytes();
        entity.ring.drop_first(&self.layout, gone);
        self.ring_bytes = self.ring_bytes - bytes_before + entity.ring.memory_bytes();
        self.event_count -= gone;
    }

    /// Whether only an entity whose changes are all settled may lose events: a frame looks back by events, or events end, and a
    /// copy of one that ends sooner came in place of it.
    fn needs_settled_events(&self) -> bool {
        self.looks_back_by_events || self.program.end_column().is_some()
    }

    /// Drops the events that have ended as of the floor. None of them lasts longer later: what ends an event stays.
    fn drop_ended(&mut self, number: u32, end: usize, floor_us: i64) {
        let ring = &mut self.entities[number as usize].ring;
        let events = ring.events(&self.layout);
        self.excluded.clear();
        self.excluded.extend((0..events.len()).filter(|index| events.word(end, *index) <= floor_us));
        if self.excluded.is_empty() {
            return;
        }
        let bytes_before = ring.memory_bytes();
        ring.remove(&self.layout, &self.excluded);
        self.ring_bytes = self.ring_bytes - bytes_before + ring.memory_bytes();
        self.event_count -= self.excluded.len();
    }

    /// Index of the first event that is needed by reads as of the floor or later, or by a window that is open.
    fn first_needed(&self, number: u32, events: &RingEvents<'_>, floor_us: i64) -> usize {
        let cursor = self.standing.cursor(number);
        let first_needed = |frame: &Frame, near| frame.first_needed(events, self.needed_as_of(frame, floor_us), near);
        let open = self
            .closing
            .as_ref()
            .map(|closing| closing.first_needed(events, self.needed_as_of(&closing.frame(), floor_us)));
        let frames = self.program.frames().iter().enumerate();
        let needed = frames.map(|(place, frame)| first_needed(frame, cursor.map(|cursor| cursor.near(place))));
        needed.chain(open).min().unwrap_or(events.len())
    }

    /// The instant as of which a frame needs what is kept for reads from the floor on. A session is needed as long as an
    /// event may join it: what comes before the floor may lie between two.
    fn needed_as_of(&self, frame: &Frame, floor_us: i64) -> i64 {
        let stays_us =
            self.changeable_from_us.filter(|_| frame.looks_back_by_events()).map(|from| from.saturating_sub(1));
        let ends_us = frame.session_gap_us().map(|_| self.sessions_end_from_us);
        floor_us.min(stays_us.unwrap_or(i64::MAX)).min(ends_us.unwrap_or(i64::MAX))
    }

    /// Moves the entities left together, under new numbers.
    fn renumber(&mut self) {
        let new_numbers = self.index.renumber();
        for (old, new) in new_numbers.iter().enumerate() {
            if let Some(new) = (*new != NO_NUMBER).then_some(*new as usize) {
                self.entities.swap(old, new);
            }
        }
        self.entities.truncate(self.index.len());
        self.entities.shrink_to_fit();
        self.unsettled.renumber(&new_numbers);
        self.departures.renumber(&new_numbers);
        self.standing.renumber(&new_numbers);
        self.capturing.renumber(&new_numbers);
        if let Some(closing) = &mut self.closing {
            closing.renumber(&new_numbers);
        }
        self.swept = 0;
    }
}

/// The place of an event among those that are not excluded, whose indexes ascend.
fn place_of(events: &RingEvents<'_>, time_us: i64, tie: TieBreak<'_>, excluded: &[usize]) -> Option<usize> {
    let index = events.copies(time_us, tie).find(|index| excluded.binary_search(index).is_err())?;
    Some(index - excluded.partition_point(|other| *other < index))
}

/// The cursors that may stay with the entities of a program.
fn standing_cursors(program: &Program) -> StandingCursors {
    if program.end_column().is_some() { StandingCursors::none() } else { StandingCursors::default() }
}

mod closing;
mod images;
#[cfg(test)]
mod tests;
