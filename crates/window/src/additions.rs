//! How many of an entity's newest events no image of an earlier capture holds. Events mostly come in order, so that what
//! came since the last capture is the end of the ring: an image of that end is enough, and an entity to which more is added
//! while a capture runs need not be copied first.
//!
//! ```text
//!   ring   ○ ○ ○ ○ ○ ○ ○ │ ● ● ● │ ◌ ◌        ○ in an earlier image   ● came before the last cut   ◌ came after it
//!                         before    after
//! ```
//! Rule kept here: where an event came in further in front than those, the next image has to be of the whole entity.

/// Stands for more than what came since: also an event among the older ones.
const ALL: u32 = u32::MAX;

/// The newest events of an entity, by the cut of a capture that they came before or after. Cuts are counted from 1.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Additions {
    /// The cuts that there were when an event came in last.
    cut: u32,
    /// Events that came between the cut before that and that one.
    before: u32,
    /// Events that came since.
    after: u32,
}

/// What an image holds of an entity's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// The first event. If there are some before it, earlier images hold those.
    pub(crate) start: usize,
    /// Events from here on came after the cut.
    pub(crate) end: usize,
}

impl Additions {
    /// An event came in, so many cuts having been made, with so many newer ones behind it.
    #[inline]
    pub(crate) fn came(&mut self, cuts: u32, newer: usize) {
        *self = self.at(cuts);
        if self.after != ALL {
            self.after = if newer <= self.after as usize { self.after + 1 } else { ALL };
        }
    }

    /// Whether an event with so many newer ones behind it would be among those that came before the last cut.
    pub(crate) fn is_before_cut(&self, cuts: u32, newer: usize) -> bool {
        newer > self.at(cuts).after as usize
    }

    /// What the image of the last cut holds of an entity that has `len` events now; of all that it had then if
    /// `is_whole`. Nothing of those that an event came in between since: its image was due before that.
    pub(crate) fn share(&self, cuts: u32, len: usize, is_whole: bool) -> Share {
        let Additions { before, after, .. } = self.at(cuts);
        let end = len.saturating_sub(after as usize);
        let start = if is_whole || before == ALL { 0 } else { end.saturating_sub(before as usize) };
        Share { start, end }
    }

    /// The same, so many cuts having been made.
    #[inline]
    fn at(&self, cuts: u32) -> Additions {
        match cuts - self.cut {
            0 => *self,
            1 => Additions { cut: cuts, before: self.after, after: 0 },
            _ => Additions { cut: cuts, before: 0, after: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_since_is_told_from_what_came_before() {
        let mut additions = Additions::default();
        additions.came(1, 0);
        additions.came(1, 0);
        assert_eq!(additions.share(2, 7, false), Share { start: 5, end: 7 });
        additions.came(2, 0);
        assert_eq!(additions.share(2, 8, false), Share { start: 5, end: 7 });
        assert_eq!(additions.share(2, 8, true), Share { start: 0, end: 7 });
        assert!(additions.is_before_cut(2, 2) && !additions.is_before_cut(2, 1));
        // One cut later only the last is new, two later nothing is.
        assert_eq!(additions.share(3, 8, false), Share { start: 7, end: 8 });
        assert_eq!(additions.share(4, 8, false), Share { start: 8, end: 8 });
    }

    #[test]
    fn an_event_further_in_front_makes_the_next_image_whole() {
        let mut additions = Additions::default();
        additions.came(1, 0);
        additions.came(1, 1);
        additions.came(1, 3);
        additions.came(1, 0);
        assert_eq!(additions.share(2, 9, false), Share { start: 0, end: 9 });
        additions.came(2, 0);
        assert_eq!(additions.share(3, 10, false), Share { start: 9, end: 10 });
    }

    #[test]
    fn events_dropped_in_front_count_no_more() {
        let mut additions = Additions::default();
        (0..5).for_each(|_| additions.came(1, 0));
        assert_eq!(additions.share(2, 3, false), Share { start: 0, end: 3 });
        additions.came(2, 0);
        assert_eq!(additions.share(2, 1, false), Share { start: 0, end: 0 });
    }
}
