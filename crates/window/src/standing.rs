//! Cursors that stay with entities, so that a read finds its windows almost as it needs them instead of going over all
//! their events. The state tells them of every event that comes or goes. Two kinds of entities have one:
//!
//! - an entity of very many events, whatever readers do: the writer slides its cursor now and then, so that no read ever
//!   goes over all its events;
//! - an entity of some events that is read again before long: only the next read slides its cursor. It goes when no read
//!   came for a while, or when others want its room.
//!
//! ```text
//!   run of the cursor     [●●●●●●●●●●●●●●●●●●●●●●●●●●)○○○○      ○ come since the cursor was slid
//!   run of a read           [●●●●●●●●●●●●●●●●●●●●●●●●●●●●)
//! ```

use crate::cursor::{Cursor, ReadAt};
use crate::entity_index::NO_NUMBER;
use crate::events::Events;
use crate::excluding::Excluding;
use crate::program::Program;

/// What a cursor holds is counted again when its runs are this share longer or shorter.
const COUNTED_SHARE: usize = 8;
/// Reads that made an entity's events wait for a cursor are remembered in so many places, by number of the entity: 4 KiB
/// a shard. An entity gets its cursor if fewer than about so many others are read in between; so a scan that reads each
/// of very many once, even again and again, makes none.
const REMEMBERED_READS: usize = 1024;
/// Whoever wants the room of others asks so many of them whether they were read.
const ASKED_MAX: usize = 16;
/// Says of an entity that it has no cursor.
const NO_PLACE: u32 = u32::MAX;

/// When an entity gets a cursor, and when it loses it. It also does below half of the events that it needs to get one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// An entity of so many events gets a cursor that the writer slides.
    pub(crate) written_events_min: usize,
    /// The writer slides a cursor each time so many of its events were settled.
    pub(crate) slide_events: u32,
    /// An entity of so many events gets a cursor when it is read again. To read fewer anew costs hardly more than to
    /// slide.
    pub(crate) read_events_min: usize,
    /// So many entities of a shard have a cursor because they are read.
    pub(crate) read_cursors_max: usize,
    /// Such cursors hold so many bytes in a shard, and those that one more holds; growing ones may hold more until the
    /// next round of sweeps.
    pub(crate) read_bytes_max: usize,
    /// Such a cursor goes when so many sweeps came by since it was last read.
    pub(crate) unread_sweeps_max: u8,
}

/// A cursor of ten sums and counts holds 1 KiB, five accumulators of some 150 bytes and what is around them; one with
/// quantiles and distinct counts over hundreds of events, tens of KiB. So 4 MiB a shard are 4,096 of the former or some
/// hundred of the latter, and at most 256 MiB in the 64 shards of a view. Sweeps come by as often as an entity takes in
/// events on average: after 64 of them a cursor of a few dozen events saves little.
const LIMITS: Limits = Limits {
    written_events_min: 1024,
    slide_events: 64,
    read_events_min: 32,
    read_cursors_max: 4096,
    read_bytes_max: 4 << 20,
    unread_sweeps_max: 64,
};

/// The standing cursors of a shard.
#[derive(Debug)]
pub(crate) struct StandingCursors {
    limits: Limits,
    cursors: Vec<Standing>,
    /// Place in `cursors` by number of the entity, up to the greatest number that had one.
    places: Vec<u32>,
    /// Numbers of entities read lately that had no cursor; empty before the first.
    reads: Vec<u32>,
    /// Cursors kept for readers, and the bytes that they held when they were last counted.
    read_cursors: usize,
    read_bytes: usize,
    /// Bytes that the cursors kept by the writer held when they were last counted.
    written_bytes: usize,
    /// The place at which the next who wants room begins to ask.
    asked: usize,
    /// Entities whose cursors are to slide.
    due: Vec<u32>,
}

/// A cursor that stays with an entity.
#[derive(Debug)]
struct Standing {
    number: u32,
    kept: Kept,
    cursor: Cursor,
    held_bytes: usize,
    /// Events in the runs when `held_bytes` was counted.
    counted_events: usize,
}

/// Why a cursor is kept.
#[derive(Debug)]
enum Kept {
    /// The entity has very many events.
    ByWriter {
        /// Events settled since it was last slid.
        settled: u32,
        /// The newest event time settled.
        newest_us: i64,
    },
    /// The entity is read again and again.
    ByReaders {
        /// Sweeps that came by, and others that asked for its room, since it was last read.
        unread: u8,
        /// Whether the last read was far from where it stands.
        was_far: bool,
    },
}

impl Kept {
    const NEW_BY_WRITER: Kept = Kept::ByWriter { settled: 0, newest_us: i64::MIN };
    const NEW_BY_READERS: Kept = Kept::ByReaders { unread: 0, was_far: false };
}

impl Default for StandingCursors {
    fn default() -> Self {
        StandingCursors::within(LIMITS)
    }
}

impl StandingCursors {
    /// Never any cursors: of events that end, which of them last at one instant says little of another.
    pub(crate) fn none() -> StandingCursors {
        StandingCursors::within(Limits { written_events_min: usize::MAX, read_events_min: usize::MAX, ..LIMITS })
    }

    /// No cursors yet.
    pub(crate) fn within(limits: Limits) -> StandingCursors {
        StandingCursors {
            limits,
            cursors: Vec::new(),
            places: Vec::new(),
            reads: Vec::new(),
            read_cursors: 0,
            read_bytes: 0,
            written_bytes: 0,
            asked: 0,
            due: Vec::new(),
        }
    }

    /// The cursor of an entity, if it has one and a read of `events` at `at` is quicker with it than anew.
    #[inline]
    pub(crate) fn near<E: Events>(
        &mut self,
        program: &Program,
        number: u32,
        events: &E,
        at: ReadAt,
        excluded: &[usize],
    ) -> Option<&mut Cursor> {
        let place = self.place(number)?;
        if self.cursors[place].cursor.is_far(program, events, at, excluded) {
            return None;
        }
        if matches!(self.cursors[place].kept, Kept::ByReaders { .. }) {
            self.cursors[place].kept = Kept::NEW_BY_READERS;
            self.count_bytes(place);
        }
        Some(&mut self.cursors[place].cursor)
    }

    /// The cursor of an entity, wherever it stands.
    pub(crate) fn cursor(&self, number: u32) -> Option<&Cursor> {
        self.place(number).map(|place| &self.cursors[place].cursor)
    }

    /// An entity with `len` events was read anew by `scratch`, which saw all of them. If the read before was, too, then
    /// the entity gets a cursor that stands there, so that the next read is quick.
    pub(crate) fn read_anew(&mut self, number: u32, len: usize, scratch: &Cursor) {
        if len < self.limits.read_events_min {
            return;
        }
        let Some(place) = self.place(number) else {
            if len < self.limits.written_events_min && self.was_read(number) && self.has_room() {
                self.insert(number, Kept::NEW_BY_READERS, scratch.clone());
            }
            return;
        };
        let Kept::ByReaders { unread, was_far } = &mut self.cursors[place].kept else { return };
        (*unread, *was_far) = (0, !*was_far);
        if !*was_far {
            self.cursors[place].cursor = scratch.clone();
            self.count_bytes(place);
        }
    }

    /// An entity took in the event at `index` of `events`.
    #[inline]
    pub(crate) fn inserted<E: Events>(&mut self, program: &Program, number: u32, events: &E, index: usize) {
        let is_long = events.len() >= self.limits.written_events_min;
        let Some(place) = self.place(number) else {
            if is_long {
                self.insert(number, Kept::NEW_BY_WRITER, Cursor::new(program));
            }
            return;
        };
        self.cursors[place].cursor.inserted(program, events, index);
        if is_long && matches!(self.cursors[place].kept, Kept::ByReaders { .. }) {
            let standing = self.take(place);
            self.insert(number, Kept::NEW_BY_WRITER, standing.cursor);
        }
    }

    /// An entity's events were replaced by `events`, all of them settled.
    pub(crate) fn replaced<E: Events>(&mut self, program: &Program, number: u32, events: &E) {
        if let Some(place) = self.place(number) {
            self.take(place);
        }
        if events.len() >= self.limits.written_events_min {
            let newest_us = events.time_us(events.len() - 1);
            self.insert(number, Kept::ByWriter { settled: 0, newest_us }, Cursor::new(program));
            self.slide(program, number, events);
        }
    }

    /// An entity is about to drop the first `count` of its events.
    pub(crate) fn dropped_first<E: Events>(&mut self, program: &Program, number: u32, events: &E, count: usize) {
        let Some(place) = self.place(number) else { return };
        if self.is_short(place, events.len() - count) {
            self.take(place);
        } else {
            self.cursors[place].cursor.dropped_first(program, events, count);
        }
    }

    /// An entity is about to lose the events at `indexes`, which ascend. They leave its cursor, newest first; where that
    /// takes more steps than to begin anew, the cursor does, or goes if it was kept for readers.
    pub(crate) fn removed<E: Events>(&mut self, program: &Program, number: u32, events: &E, indexes: &[usize]) {
        let Some(place) = self.place(number) else { return };
        let Standing { cursor, kept, .. } = &mut self.cursors[place];
        let is_quicker_anew = cursor.is_quicker_anew(indexes);
        let is_written = matches!(kept, Kept::ByWriter { .. });
        if self.is_short(place, events.len() - indexes.len()) || is_quicker_anew && !is_written {
            self.take(place);
        } else if is_quicker_anew {
            self.cursors[place].cursor.reset(program, 0);
            self.due.push(number);
        } else {
            let cursor = &mut self.cursors[place].cursor;
            for (at, index) in indexes.iter().enumerate().rev() {
                cursor.removed(program, &Excluding::new(events, &indexes[at + 1..]), *index);
            }
        }
    }

    /// Whether an entity of `len` events has too few for the cursor that it has.
    fn is_short(&self, place: usize, len: usize) -> bool {
        let events_min = match self.cursors[place].kept {
            Kept::ByWriter { .. } => self.limits.written_events_min,
            Kept::ByReaders { .. } => self.limits.read_events_min,
        };
        len * 2 < events_min
    }

    /// An event of an entity was settled.
    #[inline]
    pub(crate) fn settled(&mut self, number: u32, time_us: i64) {
        if self.cursors.len() == self.read_cursors {
            return;
        }
        let Some(place) = self.place(number) else { return };
        if let Kept::ByWriter { settled, newest_us } = &mut self.cursors[place].kept {
            *newest_us = time_us.max(*newest_us);
            *settled += 1;
            if *settled == self.limits.slide_events {
                self.due.push(number);
            }
        }
    }

    /// The next entity whose cursor is to slide.
    pub(crate) fn next_due(&mut self) -> Option<u32> {
        self.due.pop()
    }

    /// Slides the cursor of an entity to the newest of its events that are settled.
    pub(crate) fn slide<E: Events>(&mut self, program: &Program, number: u32, events: &E) {
        let Some(place) = self.place(number) else { return };
        let standing = &mut self.cursors[place];
        if let Kept::ByWriter { settled, newest_us } = &mut standing.kept {
            *settled = 0;
            standing.cursor.stand(program, events, ReadAt { t_us: *newest_us, current: None });
            self.count_bytes(place);
        }
    }

    /// A sweep came by an entity.
    pub(crate) fn swept(&mut self, number: u32) {
        let Some(place) = self.place(number) else { return };
        let Kept::ByReaders { unread, .. } = &mut self.cursors[place].kept else { return };
        *unread += 1;
        let is_forgotten = *unread >= self.limits.unread_sweeps_max;
        self.count_bytes(place);
        if is_forgotten || self.read_bytes > self.limits.read_bytes_max {
            self.take(place);
        }
    }

    /// Tells of new numbers of entities.
    pub(crate) fn renumber(&mut self, new_numbers: &[u32]) {
        self.places = Vec::new();
        self.reads = Vec::new();
        self.due.clear();
        for place in 0..self.cursors.len() {
            let number = new_numbers[self.cursors[place].number as usize];
            self.cursors[place].number = number;
            self.put_place(number, place);
        }
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        let words = self.places.capacity() + self.reads.capacity() + self.due.capacity();
        let cursors = self.cursors.capacity() * size_of::<Standing>();
        words * size_of::<u32>() + cursors + self.read_bytes + self.written_bytes
    }

    #[inline]
    fn place(&self, number: u32) -> Option<usize> {
        self.places.get(number as usize).filter(|place| **place != NO_PLACE).map(|place| *place as usize)
    }

    fn put_place(&mut self, number: u32, place: usize) {
        let number = number as usize;
        if self.places.len() <= number {
            self.places.resize(number + 1, NO_PLACE);
        }
        self.places[number] = place as u32;
    }

    /// Whether an entity without a cursor was read lately. From now on it was.
    fn was_read(&mut self, number: u32) -> bool {
        if self.reads.is_empty() {
            self.reads = vec![NO_NUMBER; REMEMBERED_READS];
        }
        std::mem::replace(&mut self.reads[number as usize % REMEMBERED_READS], number) == number
    }

    /// Whether there is room for one cursor more. Some of those that were not read since they were last asked make it.
    fn has_room(&mut self) -> bool {
        let limits = self.limits;
        let mut asked_max = ASKED_MAX.min(self.cursors.len());
        while self.read_cursors >= limits.read_cursors_max || self.read_bytes >= limits.read_bytes_max {
            if asked_max == 0 {
                return false;
            }
            asked_max -= 1;
            self.ask_next();
        }
        true
    }

    /// Takes the next cursor away if it was not read since it was last asked.
    fn ask_next(&mut self) {
        self.asked %= self.cursors.len();
        if let Kept::ByReaders { unread, .. } = &mut self.cursors[self.asked].kept {
            if *unread > 0 {
                self.take(self.asked);
                return;
            }
            *unread = 1;
        }
        self.asked += 1;
    }

    fn insert(&mut self, number: u32, kept: Kept, cursor: Cursor) {
        let place = self.cursors.len();
        self.read_cursors += usize::from(matches!(kept, Kept::ByReaders { .. }));
        self.cursors.push(Standing { number, kept, cursor, held_bytes: 0, counted_events: 0 });
        self.put_place(number, place);
        self.count_bytes(place);
    }

    /// Takes a cursor away from its entity; the last one takes its place.
    fn take(&mut self, place: usize) -> Standing {
        let standing = self.cursors.swap_remove(place);
        self.places[standing.number as usize] = NO_PLACE;
        if let Some(moved) = self.cursors.get(place) {
            self.places[moved.number as usize] = place as u32;
        }
        if self.cursors.len() * 4 < self.cursors.capacity() {
            self.cursors.shrink_to(self.cursors.len() * 2);
        }
        match standing.kept {
            Kept::ByWriter { .. } => self.written_bytes -= standing.held_bytes,
            Kept::ByReaders { .. } => {
                self.read_bytes -= standing.held_bytes;
                self.read_cursors -= 1;
            }
        }
        standing
    }

    /// Counts what a cursor holds if that may have changed much.
    fn count_bytes(&mut self, place: usize) {
        let standing = &mut self.cursors[place];
        let events = standing.cursor.events();
        if events.abs_diff(standing.counted_events) * COUNTED_SHARE < standing.counted_events {
            return;
        }
        let held_bytes = standing.cursor.memory_bytes();
        let all_bytes = match standing.kept {
            Kept::ByWriter { .. } => &mut self.written_bytes,
            Kept::ByReaders { .. } => &mut self.read_bytes,
        };
        *all_bytes = *all_bytes - standing.held_bytes + held_bytes;
        (standing.held_bytes, standing.counted_events) = (held_bytes, events);
    }

    /// The entities that have a cursor because they are read.
    #[cfg(test)]
    pub(crate) fn read_numbers(&self) -> Vec<u32> {
        let read = self.cursors.iter().filter(|standing| matches!(standing.kept, Kept::ByReaders { .. }));
        read.map(|standing| standing.number).collect()
    }

    /// An entity of `len` events has a cursor if it must, and has none if it must not.
    #[cfg(test)]
    pub(crate) fn check_entity(&self, number: u32, len: usize) {
        let kept = self.place(number).map(|place| &self.cursors[place].kept);
        let events_min = match kept {
            None => 0,
            Some(Kept::ByReaders { .. }) => self.limits.read_events_min,
            Some(Kept::ByWriter { .. }) => self.limits.written_events_min,
        };
        let is_long = len >= self.limits.written_events_min;
        assert!(!is_long || matches!(kept, Some(Kept::ByWriter { .. })), "{number} with {len} events has {kept:?}");
        assert!(len * 2 >= events_min, "{number} with {len} events has {kept:?}");
    }

    /// What is kept up to date equals what is there.
    #[cfg(test)]
    pub(crate) fn check_counts(&self) {
        let read: Vec<u32> = self.read_numbers();
        assert_eq!(self.read_cursors, read.len());
        assert!(read.len() <= self.limits.read_cursors_max);
        let held = |of: &dyn Fn(&Standing) -> usize| self.cursors.iter().map(of).sum::<usize>();
        assert_eq!(self.read_bytes + self.written_bytes, held(&|standing| standing.held_bytes));
        assert_eq!(self.read_bytes, held(&|one| one.held_bytes * usize::from(read.contains(&one.number))));
        for (place, standing) in self.cursors.iter().enumerate() {
            assert_eq!(self.place(standing.number), Some(place));
        }
        assert_eq!(self.places.iter().filter(|place| **place != NO_PLACE).count(), self.cursors.len());
    }
}
