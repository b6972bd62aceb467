//! Closing: which group windows of a shard's entities have ended once the watermark has passed their last instant.
//!
//! ```text
//!   append ─▶ rings, dues
//!   settle ─▶ due(watermark) ─▶ windows, by last instant ─▶ read_due of each ─▶ settle(floor = watermark) ─▶ sweep_closed
//! ```
//! A window that ended is read as of its last instant: as of then it is the open one of its shape.
//!
//! Rules kept here:
//! - a window comes out once, when the watermark has passed its last instant for the first time, if it has an event then;
//! - which windows come out depends on the events held and on the watermarks, not on when the events came;
//! - of a closed session the last event stays for as long as another may come that touches both it and one that is open: such
//!   an event comes too late.
//! ```text
//!                closed ●──●······]                        no event within three gaps before the watermark, none at most two
//!                             ▲ ●──●······] open           gaps before the first of an open one: it goes
//!                    too late ┘           │ watermark
//! ```

use super::WindowState;
use crate::answers::Answers;
use crate::dues::Dues;
use crate::events::Events;
use crate::frame::{Extent, Frame, first_from};
use crate::group_window::{GroupWindow, Which, WindowSpan};
use crate::keys::{KeyEncoder, Keys};
use crate::ring::RingEvents;
use crate::version::{ReadPoint, Version};
use arrow::array::ArrayRef;
use arrow::error::ArrowError;

/// A window that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueWindow {
    /// The number of its entity, until the next [sweep](WindowState::sweep).
    pub(crate) number: u32,
    /// Its instants.
    pub span: WindowSpan,
}

/// Which of the windows that an event is in, or would join, have closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HaveClosed {
    /// None: it comes in time.
    None,
    /// Some, as windows that overlap do one after the other.
    Some,
    /// All; or a session that it touches, which it cannot join any more.
    All,
}

/// The windows of a shard that are to close.
#[derive(Debug)]
pub(super) struct Closing {
    shape: GroupWindow,
    dues: Dues,
    /// All windows that ended before this instant are closed.
    closed_before_us: i64,
}

impl WindowState {
    /// The same state, without entities yet, with windows of this shape that [come out](WindowState::due) when they have
    /// ended; `closed_before_us` is the watermark up to which they came out before, if they did. Events that no window can
    /// hold that is still open must not come, nor those that would join a closed session; of sessions none departs.
    pub fn closing(self, shape: GroupWindow, closed_before_us: Option<i64>) -> WindowState {
        assert!(self.index.numbers() == 0, "windows are to close from the first event on");
        let closed_before_us = closed_before_us.unwrap_or(i64::MIN);
        let closing = Closing { shape, dues: Dues::default(), closed_before_us };
        WindowState { closing: Some(Box::new(closing)), sessions_end_from_us: closed_before_us, ..self }
    }

    /// Appends to `due` the windows with an event whose last instant is before `watermark_us`, those that came out before
    /// left out: about `windows_max` of them, by last instant. Returns whether these were all; until they were, nothing is
    /// to come or go. All versions are to be settled.
    pub fn due(&mut self, watermark_us: i64, windows_max: usize, due: &mut Vec<DueWindow>) -> bool {
        debug_assert!(self.unsettled.is_empty() && self.departures.is_empty(), "windows close when all is settled");
        let Some(closing) = &mut self.closing else { return true };
        let full = due.len() + windows_max;
        while let Some(number) =
            closing.dues.first().filter(|(due_us, _)| *due_us < watermark_us).map(|(_, number)| number)
        {
            if due.len() >= full {
                return false;
            }
            let events = self.entities[number as usize].ring.events(&self.layout);
            due.extend(closing.next(number, &events).map(|span| DueWindow { number, span }));
        }
        closing.closed_before_us = closing.closed_before_us.max(watermark_us);
        self.sessions_end_from_us = self.sessions_end_from_us.max(watermark_us);
        true
    }

    /// Which windows of an event that comes now have closed. The entity is that of a row of keys.
    pub fn have_closed(&self, keys: &Keys, row: usize, time_us: i64) -> HaveClosed {
        let Some(closing) = self.closing.as_ref().filter(|closing| time_us < closing.closed_before_us) else {
            return HaveClosed::None;
        };
        match closing.shape.at(time_us) {
            Some(first) if first.last_us >= closing.closed_before_us => HaveClosed::None,
            Some(_) if closing.shape.longest_last_us(time_us) >= closing.closed_before_us => HaveClosed::Some,
            Some(_) => HaveClosed::All,
            None => {
                let number = self.index.find(keys, row);
                let ring = number.map(|number| self.entities[number as usize].ring.events(&self.layout));
                if closing.touches_closed(ring.as_ref(), time_us) { HaveClosed::All } else { HaveClosed::None }
            }
        }
    }

    /// An instant at which no window has ended that did not come out yet; `None` while none is open.
    pub fn next_due_us(&self) -> Option<i64> {
        self.closing.as_ref()?.dues.first().map(|(due_us, _)| due_us)
    }

    /// Entities with open windows.
    pub fn open_entities(&self) -> usize {
        self.closing.as_ref().map_or(0, |closing| closing.dues.len())
    }

    /// Reads a window that has ended, as of its last instant, at a version that is settled or later.
    pub fn read_due(&mut self, due: DueWindow, version: Version, answers: &mut Answers) {
        self.read_entity(due.number, ReadPoint { version, t_us: due.span.last_us }, &[], answers);
    }

    /// The keys of the entities of windows, as columns of the parts that `encoder` encoded them from.
    pub fn due_keys(&self, encoder: &KeyEncoder, due: &[DueWindow]) -> Result<Vec<ArrayRef>, ArrowError> {
        encoder.decode(due.iter().map(|due| self.index.key(due.number)))
    }

    /// Drops what only closed windows held of their entities, and those that are left without events. The floor has been
    /// [set](WindowState::settle) to the watermark before. Entities keep their numbers.
    pub fn sweep_closed(&mut self, due: &[DueWindow]) {
        due.iter().for_each(|due| self.sweep_entity(due.number));
    }
}

impl Closing {
    /// The frame of what must be held until it is closed.
    pub(super) fn frame(&self) -> Frame {
        Frame::of(Extent::Group { shape: self.shape, which: Which::Open })
    }

    /// The first event that an open window needs, or one that comes later to an open window.
    pub(super) fn first_needed(&self, events: &RingEvents<'_>, floor_us: i64) -> usize {
        let open = self.frame().first_needed(events, floor_us, None);
        let GroupWindow::Session { gap_us } = self.shape else { return open };
        let Some(closed) = open.checked_sub(1) else { return open };
        let closed_us = events.time_us(closed);
        let is_near = |next_us: i64| closed_us >= next_us.saturating_sub(gap_us.saturating_mul(2));
        let touches_open = open < events.len() && is_near(events.time_us(open));
        let may_touch = closed_us >= floor_us.saturating_sub(gap_us.saturating_mul(3));
        if touches_open || may_touch { closed } else { open }
    }

    /// Whether an event would join a session that has closed, or make one that has.
    fn touches_closed(&self, events: Option<&RingEvents<'_>>, time_us: i64) -> bool {
        let GroupWindow::Session { gap_us } = self.shape else { return false };
        let is_closed = |newest_us: i64| newest_us.saturating_add(gap_us) < self.closed_before_us;
        let are_near = |one_us: i64, later_us: i64| one_us >= later_us.saturating_sub(gap_us);
        let Some(events) = events else { return is_closed(time_us) };
        let next = first_from(events, time_us, 0);
        let before_us = next.checked_sub(1).map(|before| events.time_us(before));
        let before_us = before_us.filter(|before_us| are_near(*before_us, time_us));
        let joins_next = next < events.len() && are_near(time_us, events.time_us(next));
        if !joins_next {
            return is_closed(time_us) || before_us.is_some_and(is_closed);
        }
        let mut newest = next;
        while newest + 1 < events.len() && are_near(events.time_us(newest), events.time_us(newest + 1)) {
            newest += 1;
        }
        let is_apart = |before_us: i64| !are_near(before_us, events.time_us(next));
        is_closed(events.time_us(newest))
            || before_us.is_some_and(|before_us| is_apart(before_us) && is_closed(before_us))
    }

    /// An event of an entity came.
    #[inline]
    pub(super) fn came(&mut self, number: u32, time_us: i64) {
        self.dues.lower(number, self.shape.due_us(time_us, self.closed_before_us));
    }

    /// An event of an entity goes. What is left of its session may end as early as the event was.
    pub(super) fn goes(&mut self, number: u32, time_us: i64) {
        if let GroupWindow::Session { .. } = self.shape {
            self.dues.lower(number, time_us.max(self.closed_before_us));
        }
    }

    /// The events of an entity are these from now on.
    pub(super) fn replaced(&mut self, number: u32, events: &RingEvents<'_>) {
        match self.shape.next_last_us(events, self.closed_before_us) {
            Some(last_us) => self.dues.put(number, last_us),
            None => self.dues.remove(number),
        }
    }

    /// An entity went.
    pub(super) fn removed(&mut self, number: u32) {
        self.dues.remove(number);
    }

    /// Tells of new numbers of entities.
    pub(super) fn renumber(&mut self, new_numbers: &[u32]) {
        self.dues.renumber(new_numbers);
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Closing>() + self.dues.memory_bytes()
    }

    /// The window of the entity that is due first. `None` if that was noted too early: it is put right then.
    fn next(&mut self, number: u32, events: &RingEvents<'_>) -> Option<WindowSpan> {
        let (due_us, _) = self.dues.first()?;
        let Some(last_us) = self.shape.next_last_us(events, due_us) else {
            self.dues.remove(number);
            return None;
        };
        if last_us > due_us {
            self.dues.put(number, last_us);
            return None;
        }
        // What ends next ends later.
        self.dues.put(number, last_us.saturating_add(1));
        self.shape.ending(events, last_us)
    }
}
