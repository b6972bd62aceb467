//! One entity's events as they become visible and cease to be: they enter a ring as they arrive, and leave it when a version
//! that comes late makes something else of them.
//!
//! Rule kept here: what goes at an instant goes before what comes at it, so that of the copies of one event there is one.

use std::ops::Range;

use asof_window::{Cursor, Ring, RingEvents, RingLayout, SortedRun};

use crate::shard::EntityEvents;
use crate::view_events::ViewEvents;

/// The events of an entity up to an instant of arrival.
pub(crate) struct VisibleEvents<'a> {
    view: &'a ViewEvents,
    events: &'a EntityEvents,
    run: SortedRun<'a>,
    own: Range<usize>,
    arrived: &'a [i64],
    gone: &'a [i64],
    /// The rows that go, in the order in which they do.
    departing: Vec<usize>,
    departed: usize,
    /// The row that arrives next.
    next: usize,
    layout: RingLayout,
    ring: Ring,
}

impl<'a> VisibleEvents<'a> {
    /// None yet of the rows `own`, which are in the order of arrival.
    pub(crate) fn new(view: &'a ViewEvents, events: &'a EntityEvents, own: Range<usize>) -> VisibleEvents<'a> {
        let program = view.plan.program();
        let gone = view.layout.gone(&events.batch).unwrap_or(&[]);
        let mut departing: Vec<usize> =
            if gone.is_empty() { Vec::new() } else { own.clone().filter(|row| gone[*row] < i64::MAX).collect() };
        departing.sort_unstable_by_key(|row| gone[*row]);
        let names_events = view.layout.needs_gone();
        VisibleEvents {
            run: events.run(own.clone()),
            next: own.start,
            own,
            arrived: view.layout.arrived(&events.batch).unwrap_or(&[]),
            gone,
            departing,
            departed: 0,
            layout: if names_events { RingLayout::naming_events(program) } else { RingLayout::new(program) },
            ring: Ring::default(),
            view,
            events,
        }
    }

    /// The row that arrives next.
    pub(crate) fn next(&self) -> usize {
        self.next
    }

    /// When it does; `None` when all have arrived.
    pub(crate) fn next_arrival_us(&self) -> Option<i64> {
        (self.next < self.own.end).then(|| self.arrived[self.next])
    }

    fn next_departure_us(&self) -> Option<i64> {
        self.departing.get(self.departed).map(|row| self.gone[*row])
    }

    /// Lets everything go and come that does up to `t_us`, and tells `cursor`.
    pub(crate) fn advance(&mut self, t_us: i64, cursor: &mut Cursor) {
        let is_due = |at_us: Option<i64>| at_us.filter(|at_us| *at_us <= t_us);
        loop {
            match (is_due(self.next_departure_us()), is_due(self.next_arrival_us())) {
                (Some(gone_us), Some(arrived_us)) if gone_us > arrived_us => self.arrive(cursor),
                (Some(_), _) => self.depart(cursor),
                (None, Some(_)) => self.arrive(cursor),
                (None, None) => return,
            }
        }
    }

    fn arrive(&mut self, cursor: &mut Cursor) {
        let tie = EntityEvents::tie(self.view, &self.events.batch, self.next);
        let index = self.ring.insert(&self.layout, &self.run, self.next - self.own.start, tie);
        cursor.inserted(self.view.plan.program(), &self.ring.events(&self.layout), index);
        self.next += 1;
    }

    fn depart(&mut self, cursor: &mut Cursor) {
        let index = self.position(self.departing[self.departed]);
        cursor.removed(self.view.plan.program(), &self.ring.events(&self.layout), index);
        self.ring.remove(&self.layout, &[index]);
        self.departed += 1;
    }

    /// The visible events.
    pub(crate) fn events(&self) -> RingEvents<'_> {
        self.ring.events(&self.layout)
    }

    /// The event time of a row, in microseconds.
    pub(crate) fn time_us(&self, row: usize) -> i64 {
        self.view.layout.times(&self.events.batch)[row]
    }

    /// Where the event of a row that is visible stands among them.
    pub(crate) fn position(&self, row: usize) -> usize {
        self.events().position(self.time_us(row), EntityEvents::tie(self.view, &self.events.batch, row))
    }
}
