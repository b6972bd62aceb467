//! Judged events of one stream on their way to the views over it and over streams derived from it: derived, joined, taken
//! in, scattered.
//!
//! Knowing event times, each event is joined once, with all versions of the tables. As-served it is joined with those that
//! had arrived when it did, and again for each arrival of a version that changes that: [`VisibleRows`].

use std::sync::Arc;

use arrow::array::RecordBatch;
use asof_definition::Stream;
use asof_feature::{Derived, DerivedPlan, Feed, StreamPlan, Tables};

use crate::error::HistoryError;
use crate::event_batch::EventBatch;
use crate::table_versions::TableVersions;
use crate::told::Told;
use crate::view_events::{Fed, Seen, ViewEvents};
use crate::visible_rows::{VisibleRows, changing};

/// What stands between a stream and the shards of its views.
pub(crate) struct Delivery<'a> {
    plan: &'a StreamPlan,
    derived: DerivedPlan,
    views: Vec<&'a ViewEvents>,
    /// The ways by which events come to the views, with the place of each view.
    feeds: Vec<(usize, Feed)>,
    /// What joins look into; `None` for the versions of a table.
    tables: Option<&'a TableVersions>,
}

impl<'a> Delivery<'a> {
    pub(crate) fn new(
        plan: &'a StreamPlan,
        views: Vec<&'a ViewEvents>,
        tables: Option<&'a TableVersions>,
    ) -> Delivery<'a> {
        let derived = derived_for(plan, &views);
        let feeds = |(place, view): (usize, &&ViewEvents)| {
            let feeds = derived.feeds(&view.plan.view().stream.name).into_iter();
            feeds.map(move |feed| (place, feed))
        };
        let feeds = views.iter().enumerate().flat_map(feeds).collect();
        Delivery { plan, derived, views, feeds, tables }
    }

    /// The names of those that may set events aside: the derived streams, then the views. What a view joins before its
    /// WHERE is set aside for the view.
    pub(crate) fn readers(&self) -> Vec<String> {
        let name = |stream: &Arc<Stream>| {
            let of_view = stream.derivation().and_then(|derivation| derivation.of_view.clone());
            of_view.unwrap_or_else(|| stream.name.clone())
        };
        let views = self.views.iter().map(|view| view.plan.view().name.clone());
        self.derived.streams().iter().map(name).chain(views).collect()
    }

    /// Scatters a judged batch to the views.
    pub(crate) fn deliver(&self, batch: &EventBatch, told: &Told) -> Result<(), HistoryError> {
        let tables = match self.tables {
            Some(tables) if tables.are_as_served() && !self.derived.tables().is_empty() => {
                return self.deliver_as_served(tables, batch, told);
            }
            Some(tables) => tables.complete(),
            None => Tables::none(),
        };
        let derived = self.derived.derive(&batch.rows, batch.used.as_ref(), &tables)?;
        self.tell_derived(&derived, batch, told);
        for (place, feed) in &self.feeds {
            let events = self.bring(*place, Turn { feed: *feed, derived: &derived, batch, seen: None }, told)?;
            self.views[*place].scatter(batch.number, &events)?;
        }
        Ok(())
    }

    /// Each turn has the events whose joins find something else than in the turn before.
    fn deliver_as_served(&self, tables: &TableVersions, first: &EventBatch, told: &Told) -> Result<(), HistoryError> {
        let joins: Vec<Vec<bool>> =
            self.derived.tables().into_iter().map(|table| self.derived.branches_of(table)).collect();
        let mut visible: Vec<VisibleRows> = self.feeds.iter().map(|_| VisibleRows::default()).collect();
        let mut known_us: Vec<i64> = first.arrivals_us(self.plan).values().to_vec();
        let mut again: Option<EventBatch> = None;
        loop {
            let (batch, is_first) = (again.as_ref().unwrap_or(first), again.is_none());
            let is_asked = |branch: usize| is_first || joins.iter().any(|joins| joins[branch]);
            let tables = tables.as_served(&known_us);
            let derived = self.derived.derive_asked(&batch.rows, batch.used.as_ref(), &tables, is_asked)?;
            self.tell_derived(&derived, batch, told);
            for ((place, feed), visible) in self.feeds.iter().zip(&mut visible) {
                let joins = self.derived.joins(*feed);
                if joins || is_first {
                    let seen = joins.then_some(Seen { until_us: &derived.until_us, is_first });
                    visible.add(self.bring(*place, Turn { feed: *feed, derived: &derived, batch, seen }, told)?);
                }
            }
            let (rows, instants_us) = changing(&derived.until_us);
            if rows.is_empty() {
                break;
            }
            again = Some(batch.arriving_again(self.plan, &rows, instants_us.clone())?);
            known_us = instants_us;
        }
        for ((place, _), visible) in self.feeds.iter().zip(visible) {
            if let Some(events) = visible.finish(&self.views[*place].layout)? {
                self.views[*place].scatter(first.number, &events)?;
            }
        }
        Ok(())
    }

    /// What a view takes in of a batch, by one way.
    fn bring(&self, place: usize, turn: Turn<'_>, told: &Told) -> Result<RecordBatch, HistoryError> {
        let Turn { feed, derived, batch, seen } = turn;
        let (rows, used) = derived.at(feed, &batch.rows, batch.used.as_ref());
        let taken = self.views[place].plan.take_in(rows, used);
        told.set_aside(derived.set_aside.len() + place, &taken.set_aside, batch);
        self.views[place].events(taken, &Fed { plan: self.plan, batch, rows, branch: feed.number, seen })
    }

    fn tell_derived(&self, derived: &Derived, batch: &EventBatch, told: &Told) {
        derived.set_aside.iter().enumerate().for_each(|(reader, aside)| told.set_aside(reader, aside, batch));
    }
}

/// A batch as it comes to one of the feeds.
#[derive(Clone, Copy)]
struct Turn<'a> {
    feed: Feed,
    derived: &'a Derived,
    batch: &'a EventBatch,
    seen: Option<Seen<'a>>,
}

/// What is derived between a stream and the views over it.
fn derived_for(plan: &StreamPlan, views: &[&ViewEvents]) -> DerivedPlan {
    let mut derived: Vec<Arc<Stream>> = Vec::new();
    for stream in views.iter().flat_map(|view| view.plan.view().stream.lineage()) {
        if derived.iter().all(|known| known.name != stream.name) {
            derived.push(stream);
        }
    }
    DerivedPlan::new(plan.stream(), &derived)
}
