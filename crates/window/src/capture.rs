//! Which entities of a shard a capture still has to write, while events keep coming.
//!
//! ```text
//!   numbers   0 ────────── next ─────────────────── end ────────▶
//!             │  written   │  pending, but for those  │  came after the capture began: not in it
//!             │  in turn   │  written out of turn (▪) │
//! ```
//! Rule kept here: all images are of the moment at which the capture began. Events that come in behind those of then are
//! left out of the image; a pending entity that changes otherwise, or is removed, is written before that (copy on write):
//! whoever does that asks [`Capturing::begin_save`] first. Pending entities keep the events that they could drop.
//!
//! Where events may depart, images build on each other: an entity that has an image and then loses its last event gets one
//! without events, which says so. It is kept until a capture has that ([`Capturing::keeps`]).

use crate::entity_index::NO_NUMBER;
use crate::number_set::NumberSet;

/// What a capture takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Captured {
    /// All entities.
    Whole,
    /// The entities that took in an event, or let one go, since the last capture began.
    Touched,
}

/// The capture of a shard that is running, and what the next one will have to take.
#[derive(Debug, Default)]
pub(crate) struct Capturing {
    /// Entities that took in an event, or let one go, since the last capture began.
    touched: NumberSet,
    /// Whether there are images, captured or put back, that those of touched entities build on.
    has_images: bool,
    /// Captures that were begun.
    cuts: u32,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    /// `None` is all.
    chosen: Option<NumberSet>,
    next: u32,
    end: u32,
    /// Written out of turn.
    done: NumberSet,
    /// Images of entities that were about to change.
    saved: Vec<u8>,
}

impl Capturing {
    /// Begins a capture of a shard that has given out so many numbers. One that is still running is given up.
    pub(crate) fn begin(&mut self, what: Captured, numbers: usize) {
        let touched = std::mem::take(&mut self.touched);
        self.has_images = true;
        self.cuts += 1;
        self.running = Some(Running {
            chosen: (what == Captured::Touched).then_some(touched),
            next: 0,
            end: numbers as u32,
            done: NumberSet::default(),
            saved: Vec::new(),
        });
    }

    /// Captures begun so far.
    #[inline]
    pub(crate) fn cuts(&self) -> u32 {
        self.cuts
    }

    /// Whether the capture that is running has to take an entity, and has not yet.
    #[inline]
    pub(crate) fn is_pending(&self, number: u32) -> bool {
        self.running.as_ref().is_some_and(|running| running.is_pending(number))
    }

    /// Whether the capture that is running takes all that entities have, not what is new.
    pub(crate) fn is_whole(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.chosen.is_none())
    }

    /// Where an entity's image has to be written before it changes, to be given back to [`Capturing::end_save`]; `None`
    /// if it need not be.
    pub(crate) fn begin_save(&mut self, number: u32) -> Option<Vec<u8>> {
        let running = self.running.as_mut().filter(|running| running.is_pending(number))?;
        running.done.insert(number);
        Some(std::mem::take(&mut running.saved))
    }

    /// Takes back what [`Capturing::begin_save`] gave, with the image behind it.
    pub(crate) fn end_save(&mut self, saved: Vec<u8>) {
        if let Some(running) = &mut self.running {
            running.saved = saved;
        }
    }

    /// An entity took in an event, or let one go.
    #[inline]
    pub(crate) fn touched(&mut self, number: u32) {
        self.touched.insert(number);
    }

    /// Entities were put back from images.
    pub(crate) fn put_back(&mut self) {
        self.has_images = true;
    }

    /// Whether the next capture has to tell of an entity, even that it has no events any more.
    pub(crate) fn keeps(&self, number: u32) -> bool {
        self.has_images && self.touched.holds(number)
    }

    /// An entity that has no events was removed.
    pub(crate) fn removed(&mut self, number: u32) {
        self.touched.remove(number);
    }

    /// The images of entities that changed meanwhile.
    pub(crate) fn take_saved(&mut self) -> Vec<u8> {
        self.running.as_mut().map(|running| std::mem::take(&mut running.saved)).unwrap_or_default()
    }

    /// The entity to write next. `None` ends the capture.
    pub(crate) fn next(&mut self) -> Option<u32> {
        let next = self.running.as_mut().and_then(Running::next);
        if next.is_none() {
            self.running = None;
        }
        next
    }

    /// Tells of new numbers of entities, which keep their order.
    pub(crate) fn renumber(&mut self, new_numbers: &[u32]) {
        self.touched.renumber(new_numbers);
        let Some(running) = &mut self.running else { return };
        let kept = |before: u32| new_numbers[..before as usize].iter().filter(|new| **new != NO_NUMBER).count() as u32;
        (running.next, running.end) = (kept(running.next), kept(running.end));
        running.done.renumber(new_numbers);
        running.chosen.iter_mut().for_each(|chosen| chosen.renumber(new_numbers));
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        let running = self.running.as_ref().map_or(0, |running| {
            let chosen = running.chosen.as_ref().map_or(0, NumberSet::memory_bytes);
            chosen + running.done.memory_bytes() + running.saved.capacity()
        });
        self.touched.memory_bytes() + running
    }
}

impl Running {
    fn is_pending(&self, number: u32) -> bool {
        let is_chosen = self.chosen.as_ref().is_none_or(|chosen| chosen.holds(number));
        (self.next..self.end).contains(&number) && is_chosen && !self.done.holds(number)
    }

    fn next(&mut self) -> Option<u32> {
        loop {
            let number = match &self.chosen {
                None => self.next,
                Some(chosen) => chosen.next_from(self.next)?,
            };
            if number >= self.end {
                return None;
            }
            self.next = number + 1;
            if !self.done.holds(number) {
                return Some(number);
            }
        }
    }
}
