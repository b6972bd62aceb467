//! The events that last as of an instant, where each event ends: it counts from its time until before its end.
//!
//! ```text
//!   event     time ─▶ end        as of 10:02
//!   pen · 2   10:00 ─▶ 10:02       ended
//!   book      10:01 ─▶ 10:03       lasts      ┐ what a read sees, in the order of events
//!   pen · 3   10:02 ─▶ never       lasts      ┘
//! ```
//! Rule kept here: they are those of a list of indexes that is made for each read, so that a read takes a step for each event
//! that has begun and the steps of the accumulators for each that lasts.

use crate::events::Events;
use crate::frame::first_after;

/// Some of `events`, which ascend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lasting<'a, E> {
    events: &'a E,
    indexes: &'a [usize],
}

impl<'a, E: Events> Lasting<'a, E> {
    /// Those of `events` that last as of `t_us`, with the instant at which each ends in the word at `end`. `indexes` is room
    /// for them.
    pub(crate) fn new(events: &'a E, end: usize, t_us: i64, indexes: &'a mut Vec<usize>) -> Lasting<'a, E> {
        indexes.clear();
        let begun = first_after(events, t_us, events.len());
        indexes.extend((0..begun).filter(|index| events.word(end, *index) > t_us));
        Lasting { events, indexes }
    }
}

impl<E: Events> Events for Lasting<'_, E> {
    fn len(&self) -> usize {
        self.indexes.len()
    }

    #[inline]
    fn time_us(&self, index: usize) -> i64 {
        self.events.time_us(self.indexes[index])
    }

    #[inline]
    fn word(&self, place: usize, index: usize) -> i64 {
        self.events.word(place, self.indexes[index])
    }

    fn wide(&self, place: usize, index: usize) -> i128 {
        self.events.wide(place, self.indexes[index])
    }

    fn text(&self, place: usize, index: usize) -> &[u8] {
        self.events.text(place, self.indexes[index])
    }

    #[inline]
    fn flag(&self, place: usize, index: usize) -> bool {
        self.events.flag(place, self.indexes[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events with a time and an end.
    struct Spans(&'static [(i64, i64)]);

    impl Events for Spans {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn time_us(&self, index: usize) -> i64 {
            self.0[index].0
        }
        fn word(&self, _: usize, index: usize) -> i64 {
            self.0[index].1
        }
        fn wide(&self, _: usize, index: usize) -> i128 {
            index as i128
        }
        fn text(&self, _: usize, index: usize) -> &[u8] {
            &[0; 8][..index]
        }
        fn flag(&self, _: usize, index: usize) -> bool {
            index == 2
        }
    }

    /// From its time on, until before its end.
    #[test]
    fn an_event_ends_before_its_end() {
        let spans = Spans(&[(1, 4), (2, 2), (2, i64::MAX), (4, 5)]);
        let expected: [(i64, &[usize]); 6] = [(0, &[]), (1, &[0]), (2, &[0, 2]), (3, &[0, 2]), (4, &[2, 3]), (5, &[2])];
        for (t_us, indexes) in expected {
            let mut room = Vec::new();
            let lasting = Lasting::new(&spans, 0, t_us, &mut room);
            assert_eq!(lasting.indexes, indexes, "as of {t_us}");
            for (place, index) in indexes.iter().enumerate() {
                let found = (lasting.time_us(place), lasting.word(0, place), lasting.wide(0, place));
                assert_eq!(found, (spans.0[*index].0, spans.0[*index].1, *index as i128));
                assert_eq!((lasting.text(0, place).len(), lasting.flag(0, place)), (*index, *index == 2));
            }
        }
    }
}
