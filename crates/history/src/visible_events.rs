//! One entity's events as they become visible and cease to be: they enter a ring as they arrive, and leave it when a version
//! that comes late makes something else of them.
//!
//! Rule kept here: what goes at an instant goes before what comes at it, so that of the copies of one event there is one.
//!
//! The rows of a group of a table's rows come and go in the same way, knowing event times: at their own and at their ends.

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
        let (arrived, gone) = (view.layout.arrived(&events.batch), view.layout.gone(&events.batch));
        VisibleEvents::within(view, events, own, (arrived.unwrap_or(&[]), gone.unwrap_or(&[])))
    }

    /// None yet of the rows `own` of a group, which are in the order of event times: each comes at its own, and goes when it
    /// ends. All that are there last.
    pub(crate) fn lasting(view: &'a ViewEvents, events: &'a EntityEvents, own: Range<usize>) -> VisibleEvents<'a> {
        let ends = view.layout.ends(&view.plan, &events.batch).expect("rows of groups end");
        VisibleEvents::within(view, events, own, (view.layout.times(&events.batch), ends))
    }

    fn within(
        view: &'a ViewEvents,
        events: &'a EntityEvents,
        own: Range<usize>,
        (arrived, gone): (&'a [i64], &'a [i64]),
    ) -> VisibleEvents<'a> {
        let program = view.plan.program();
        let goes = |row: &usize| arrived[*row] < gone[*row] && gone[*row] < i64::MAX;
        let mut departing: Vec<usize> = if gone.is_empty() { Vec::new() } else { own.clone().filter(goes).collect() };
        departing.sort_unstable_by_key(|row| gone[*row]);
        // An event is found again where it goes, and where a frame leaves it out from among its peers.
        let names_events = !gone.is_empty() || program.has_gaps();
        VisibleEvents {
            run: events.run(own.clone()),
            next: own.start,
            own,
            arrived,
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
        if self.gone.get(self.next).is_some_and(|gone_us| *gone_us <= self.arrived[self.next]) {
            // A row of a group that ends as it begins.
            self.next += 1;
            return;
        }
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
