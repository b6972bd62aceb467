//! A view whose windows close: the state behind a stream of their rows. Nobody reads it but its writer, at one version.
//!
//! ```text
//!   events ─▶ admit ─▶ shards of open windows ─▶ close(watermark) ─▶ keys and answers of those that have ended
//!               └─▶ which came too late                └─ pass(watermark): the same, of rows that are known
//!   a late version of a joined table ─▶ change_open: events go, and come with other values, in the windows that are open
//! ```
//! Rules kept here:
//! - an event that some window of it has closed for is too late for that one, and stands in its others;
//! - one that touches a closed session is in none;
//! - a window that has closed stays as it is, whatever becomes of its events;
//! - whether an event is too late depends on the events before it, in its batch too.

use std::sync::atomic::Ordering;

use arrow::array::ArrayRef;
use arrow::compute::concat;
use arrow::error::ArrowError;
use asof_definition::WindowedInput;
use asof_window::{Answers, DueWindow, Events, Finished, GroupWindow, HaveClosed, TieBreak, Version, WindowState};

use crate::error::FeatureError;
use crate::online_view::{OnlineView, lock, refused};
use crate::prepared::ViewEvents;
use crate::view::ViewPlan;

/// Windows of a shard that are looked for at a time, and about as many as close by one step.
const TOGETHER_WINDOWS: usize = 65_536;
/// The one version: there are no readers who stand before the last batch.
const VERSION: Version = Version(0);

/// The windows that a watermark has closed.
pub(crate) struct ClosedWindows {
    /// The parts of their keys.
    pub(crate) keys: Vec<ArrayRef>,
    /// What the view's aggregates are over their events.
    pub(crate) answers: Finished,
}

impl OnlineView {
    /// The open windows behind the rows of a group window, none yet, in `shards` shards, a power of two.
    pub fn of_windows(window: &WindowedInput, shards: usize) -> Result<OnlineView, FeatureError> {
        let plan = ViewPlan::of_windows(window)?;
        let shape = window.shape;
        let departs = !window.view.stream.joining_sources().is_empty();
        let state = if departs { WindowState::with_departures } else { WindowState::new };
        let mut view = OnlineView::with_states(plan, shards, |program| state(program).closing(shape, None))?;
        view.shape = Some(shape);
        Ok(view)
    }

    /// Whether its windows close.
    pub fn closes(&self) -> bool {
        self.shape.is_some()
    }

    /// All windows that ended before this instant, in microseconds, are closed.
    pub(crate) fn closed_before_us(&self) -> i64 {
        self.closed_before_us.load(Ordering::Relaxed)
    }

    /// The event time in microseconds before which an event is in no window that is open; `None` while it may be in any.
    pub(crate) fn open_from_us(&self) -> Option<i64> {
        let closed_before_us = Some(self.closed_before_us()).filter(|closed_us| *closed_us > i64::MIN)?;
        self.shape?.at(closed_before_us).map(|first| first.start_us)
    }

    /// How many entities have open windows.
    pub fn open_entities(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).open_entities()).sum()
    }

    /// Takes events into their open windows. Gives the rows of the batch that came too late for some window.
    pub(crate) fn admit<'a>(&self, events: &ViewEvents, tie_of: impl Fn(usize) -> TieBreak<'a>) -> Vec<usize> {
        self.admit_but(events, tie_of, &[])
    }

    /// The same of events that came before, of which it is known which rows came too late. Windows of the clock that had
    /// closed then are passed yet; it cannot be told any more which session it was.
    pub(crate) fn admit_again<'a>(
        &self,
        events: &ViewEvents,
        tie_of: impl Fn(usize) -> TieBreak<'a>,
        too_late: &[usize],
    ) {
        let is_session = matches!(self.shape, Some(GroupWindow::Session { .. }));
        self.admit_but(events, tie_of, if is_session { too_late } else { &[] });
    }

    /// Lets events go from their open windows, and takes others in, as a late version of a joined table has it. It makes none
    /// come too late: what stands in windows that have closed stays there.
    pub(crate) fn change_open<'a>(
        &self,
        gone: Option<&ViewEvents>,
        come: Option<&ViewEvents>,
        tie_of: impl Fn(usize) -> TieBreak<'a>,
    ) {
        if let Some(gone) = gone {
            self.depart(gone, &tie_of, VERSION, self.settled_windows());
        }
        if let Some(come) = come {
            self.admit(come, &tie_of);
        }
    }

    /// Takes events into their open windows, but for some rows of the batch, ascending. Gives those that came too late for some
    /// window.
    fn admit_but<'a>(
        &self,
        events: &ViewEvents,
        tie_of: impl Fn(usize) -> TieBreak<'a>,
        left_out: &[usize],
    ) -> Vec<usize> {
        let run = events.events.run(0, events.events.len());
        let closed_before_us = self.closed_before_us();
        let are_in_time = || (0..events.events.len()).all(|place| run.time_us(place) >= closed_before_us);
        if left_out.is_empty() && are_in_time() {
            self.take_in(events, tie_of, VERSION, self.settled_windows());
            return Vec::new();
        }
        let mut too_late = Vec::new();
        for place in 0..events.events.len() {
            let row = events.batch_rows.value(place) as usize;
            if left_out.binary_search(&row).is_ok() {
                continue;
            }
            let mut state = lock(&self.shards[self.shard(&events.keys, place)]);
            let have_closed = state.have_closed(&events.keys, place, run.time_us(place));
            if have_closed != HaveClosed::None {
                too_late.push(row);
            }
            if have_closed != HaveClosed::All {
                state.append(&events.keys, &[place as u32], &run, VERSION, |_| tie_of(row));
            }
        }
        too_late
    }

    /// The greatest watermark up to this one, in microseconds, by which no more than some tens of thousands of windows close, or
    /// those of one instant.
    pub(crate) fn step_us(&self, watermark_us: i64) -> i64 {
        let Some(shape) = self.shape else { return watermark_us };
        let first_us = self.shards.iter().filter_map(|shard| lock(shard).next_due_us()).min();
        let Some(first_us) = first_us.filter(|first_us| *first_us < watermark_us) else { return watermark_us };
        // An entity has at most one window that ends within a period.
        let step_us = i128::from(shape.period_us()) * TOGETHER_WINDOWS as i128 / self.open_entities().max(1) as i128;
        let step_us = i64::try_from(step_us.max(1)).unwrap_or(i64::MAX);
        first_us.saturating_add(step_us).min(watermark_us)
    }

    /// Closes the windows whose last instant is before the watermark, in microseconds.
    pub(crate) fn close(&self, watermark_us: i64) -> Result<ClosedWindows, FeatureError> {
        let encoder = self.plan().key_encoder().map_err(|source| refused(self.plan(), source))?;
        let mut answers = Answers::with_capacity(self.plan().program(), 0);
        let mut keys: Vec<Vec<ArrayRef>> = vec![Vec::new(); self.plan().key_types().len()];
        let mut failed: Option<ArrowError> = None;
        self.each_due(watermark_us, |state, due| {
            due.iter().for_each(|due| state.read_due(*due, VERSION, &mut answers));
            match state.due_keys(&encoder, due) {
                Ok(parts) => keys.iter_mut().zip(parts).for_each(|(all, part)| all.push(part)),
                Err(source) => failed = Some(source),
            }
        });
        if let Some(source) = failed {
            return Err(refused(self.plan(), source));
        }
        let whole = |parts: Vec<ArrayRef>| concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        let is_any = keys.iter().any(|parts| !parts.is_empty());
        let keys = if is_any { keys.into_iter().map(whole).collect::<Result<_, _>>() } else { Ok(Vec::new()) };
        Ok(ClosedWindows { keys: keys.map_err(|source| refused(self.plan(), source))?, answers: answers.finish() })
    }

    /// The windows whose last instant is before the watermark have closed before: they go.
    pub(crate) fn pass(&self, watermark_us: i64) {
        self.each_due(watermark_us, |_, _| {});
    }

    fn each_due(&self, watermark_us: i64, mut each: impl FnMut(&mut WindowState, &[DueWindow])) {
        if watermark_us <= self.closed_before_us() {
            return;
        }
        self.is_written.store(true, Ordering::Release);
        let mut due = Vec::new();
        for shard in &self.shards {
            let mut state = lock(shard);
            state.settle(VERSION, None);
            due.clear();
            while !state.due(watermark_us, TOGETHER_WINDOWS, &mut due) {}
            each(&mut state, &due);
            state.settle(VERSION, Some(watermark_us));
            state.sweep_closed(&due);
        }
        self.closed_before_us.store(watermark_us, Ordering::Relaxed);
        self.is_written.store(false, Ordering::Release);
    }
}
