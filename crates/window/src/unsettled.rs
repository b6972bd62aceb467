//! The events of versions that some read may not see yet, in the order they were taken in.
//!
//! ```text
//!   settled │ version 7 │ version 8 ………… │ version 9 …      a read at 7 excludes from 8 on
//!            └ front: settled next                  └ back: just taken in
//! ```
//! They lie in their entities' rings like all others. What is kept here says which those are.

use std::cmp::Ordering;
use std::collections::VecDeque;

use crate::events::Events;
use crate::ring::{RingEvents, TieBreak};
use crate::version::Version;

/// Room for so many is never given back.
const KEPT_EVENTS_MAX: usize = 1024;

/// An event that is not settled.
#[derive(Debug)]
pub(crate) struct UnsettledEvent {
    pub(crate) version: Version,
    /// Number of its entity.
    pub(crate) number: u32,
    partition: u32,
    offset: u64,
    pub(crate) time_us: i64,
    /// Empty where the view does not follow order.
    primary_key: Box<[u8]>,
}

/// The unsettled events of a shard.
#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    events: VecDeque<UnsettledEvent>,
    /// The most there were since room was last thought of.
    len_max: usize,
    key_bytes: usize,
    /// Scratch of [`Unsettled::exclude`]: places in `events`.
    places: Vec<usize>,
}

impl UnsettledEvent {
    pub(crate) fn new(
        version: Version,
        number: u32,
        time_us: i64,
        tie: TieBreak<'_>,
        follows_order: bool,
    ) -> UnsettledEvent {
        let primary_key = if follows_order { tie.primary_key.into() } else { Box::default() };
        UnsettledEvent { version, number, partition: tie.partition, offset: tie.offset, time_us, primary_key }
    }

    fn tie(&self) -> TieBreak<'_> {
        TieBreak { primary_key: &self.primary_key, partition: self.partition, offset: self.offset }
    }
}

impl Unsettled {
    #[inline]
    pub(crate) fn push(&mut self, event: UnsettledEvent) {
        self.key_bytes += event.primary_key.len();
        self.events.push_back(event);
    }

    /// Takes out the next event of a version up to `settled`.
    #[inline]
    pub(crate) fn pop(&mut self, settled: Version) -> Option<UnsettledEvent> {
        self.len_max = self.len_max.max(self.events.len());
        let event = self.events.pop_front_if(|event| event.version <= settled)?;
        self.key_bytes -= event.primary_key.len();
        Some(event)
    }

    /// Gives back the room that was not used since this was last called.
    pub(crate) fn shrink(&mut self) {
        if self.len_max * 4 < self.events.capacity() {
            self.events.shrink_to((self.len_max * 2).max(KEPT_EVENTS_MAX));
        }
        self.len_max = self.events.len();
    }

    /// Fills `excluded` with the indexes, ascending, of the events of one entity that a read at `version` does not see.
    ///
    /// Where the view follows order an event is known by its time and tie-breaker. Elsewhere events of equal time stand in
    /// the order they were taken in, so that of each time the last ones are excluded, as many as there are here. An event
    /// that was dropped from the ring is not found, and need not be.
    pub(crate) fn exclude(
        &mut self,
        number: u32,
        version: Version,
        events: &RingEvents<'_>,
        excluded: &mut Vec<usize>,
    ) {
        let all = &self.events;
        self.places.clear();
        let newer = all.iter().enumerate().rev().take_while(|(_, event)| event.version > version);
        self.places.extend(newer.filter(|(_, event)| event.number == number).map(|(place, _)| place));
        let order = |place: &usize| (all[*place].time_us, all[*place].tie());
        self.places.sort_unstable_by(|one, other| order(other).cmp(&order(one)));
        excluded.clear();
        let mut end = events.len();
        for place in &self.places {
            let (time_us, tie) = order(place);
            let ends_before = |end: usize| end > 0 && events.order_against(end - 1, time_us, tie) == Ordering::Equal;
            if !ends_before(end) {
                let after = events.first_after(time_us, tie, end.saturating_sub(1)).min(end);
                if !ends_before(after) {
                    continue;
                }
                end = after;
            }
            end -= 1;
            excluded.push(end);
        }
        excluded.reverse();
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Tells of new numbers of entities.
    pub(crate) fn renumber(&mut self, new_numbers: &[u32]) {
        self.events.iter_mut().for_each(|event| event.number = new_numbers[event.number as usize]);
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        let places = self.places.capacity() * size_of::<usize>();
        self.events.capacity() * size_of::<UnsettledEvent>() + places + self.key_bytes
    }
}
