//! Judged events of one stream on their way to the views over it and over streams derived from it: derived, joined, taken
//! in, scattered.
//!
//! Knowing event times, each event is joined once, with all versions of the tables, and so it is for windows that close.
//! As-served it is joined with those that had arrived when it did, and again for each arrival of a version that changes that:
//! [`VisibleRows`]. So are the versions of a table whose rows a view groups, for which the next version of their key says when
//! they end; they wait until all are there.

use std::sync::Arc;

use arrow::array::RecordBatch;
use asof_definition::Stream;
use asof_feature::{Derived, DerivedPlan, Feed, StreamPlan, Tables};

use crate::error::HistoryError;
use crate::event_batch::EventBatch;
use crate::table_versions::{TableVersions, VersionsBeingRead};
use crate::told::Told;
use crate::view_events::{Fed, Seen, ViewEvents};
use crate::visible_rows::{VisibleRows, changing};

/// What stands between a stream and the shards of its views.
pub(crate) struct Delivery<'a> {
    plan: &'a StreamPlan,
    derived: DerivedPlan,
    views: Vec<&'a ViewEvents>,
    /// The ways by which events come to the views, each once, with the place of each view.
    once: Vec<(usize, Feed)>,
    /// Those by which they come as often as a version that arrives makes another row of them.
    as_served: Vec<(usize, Feed)>,
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
        let are_as_served = tables.is_some_and(TableVersions::are_as_served);
        let is_as_served =
            |(place, feed): &(usize, Feed)| are_as_served && derived.joins(*feed) && !views[*place].are_windows;
        let (as_served, once) = views.iter().enumerate().flat_map(feeds).partition(is_as_served);
        Delivery { plan, derived, views, once, as_served, tables }
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
        if let Some(tables) = self.tables.filter(|_| !self.as_served.is_empty()) {
            self.deliver_as_served(tables, batch, told)?;
        }
        if !self.once.is_empty() || self.as_served.is_empty() {
            self.deliver_once(batch, told)?;
        }
        Ok(())
    }

    fn deliver_once(&self, batch: &EventBatch, told: &Told) -> Result<(), HistoryError> {
        let tables = self.tables.map_or_else(Tables::none, TableVersions::complete);
        let derived = self.derived.derive(&batch.rows, batch.used.as_ref(), &tables)?;
        self.tell_derived(&derived, batch, told);
        for (place, feed) in &self.once {
            let turn = Turn { feed: *feed, derived: &derived, batch, seen: None, ends_us: None };
            let events = self.bring(*place, turn, told)?;
            self.views[*place].scatter(batch.number, &events)?;
        }
        Ok(())
    }

    /// Whether versions have to wait for all others of their table: how long they are in a view depends on these.
    pub(crate) fn waits_for_all(&self) -> bool {
        self.views.iter().any(|view| view.plan.is_over_groups())
    }

    /// Scatters a judged batch of versions, of which all others of the table are there. Each turn has those that end sooner by
    /// what arrived since the turn before.
    pub(crate) fn deliver_versions(
        &self,
        first: &EventBatch,
        versions: &VersionsBeingRead,
        told: &Told,
    ) -> Result<(), HistoryError> {
        let mut visible: Vec<VisibleRows> = self.once.iter().map(|_| VisibleRows::default()).collect();
        let mut known_us: Vec<i64> = first.arrivals_us(self.plan).values().to_vec();
        let mut again: Option<EventBatch> = None;
        loop {
            let (batch, is_first) = (again.as_ref().unwrap_or(first), again.is_none());
            let ends = versions.ends(self.plan, batch, &known_us)?;
            let (ends_us, until_us): (Vec<i64>, Vec<i64>) = ends.iter().map(|end| (end.end_us, end.until_us)).unzip();
            let derived = self.derived.derive(&batch.rows, batch.used.as_ref(), &Tables::none())?;
            for ((place, feed), visible) in self.once.iter().zip(&mut visible) {
                let groups = self.views[*place].plan.is_over_groups();
                if groups || is_first {
                    let seen = groups.then_some(Seen { until_us: &until_us, is_first });
                    let turn = Turn { feed: *feed, derived: &derived, batch, seen, ends_us: Some(&ends_us) };
                    visible.add(self.bring(*place, turn, told)?);
                }
            }
            let (rows, instants_us) = changing(&until_us);
            if rows.is_empty() {
                break;
            }
            again = Some(batch.arriving_again(self.plan, &rows, instants_us.clone())?);
            known_us = instants_us;
        }
        self.scatter(&self.once, visible, first.number)
    }

    /// Each turn has the events whose joins find something else than in the turn before.
    fn deliver_as_served(&self, tables: &TableVersions, first: &EventBatch, told: &Told) -> Result<(), HistoryError> {
        let behind = |table: &str| self.derived.branches_behind(self.as_served.iter().map(|(_, feed)| *feed), table);
        let joins: Vec<Vec<bool>> = self.derived.tables().into_iter().map(behind).collect();
        // What sets events aside is told once.
        let asks_all = self.once.is_empty();
        let mut visible: Vec<VisibleRows> = self.as_served.iter().map(|_| VisibleRows::default()).collect();
        let mut known_us: Vec<i64> = first.arrivals_us(self.plan).values().to_vec();
        let mut again: Option<EventBatch> = None;
        loop {
            let (batch, is_first) = (again.as_ref().unwrap_or(first), again.is_none());
            let is_asked = |branch: usize| is_first && asks_all || joins.iter().any(|joins| joins[branch]);
            let tables = tables.as_served(&known_us);
            let derived = self.derived.derive_asked(&batch.rows, batch.used.as_ref(), &tables, is_asked)?;
            self.tell_derived(&derived, batch, told);
            for ((place, feed), visible) in self.as_served.iter().zip(&mut visible) {
                let seen = Some(Seen { until_us: &derived.until_us, is_first });
                let turn = Turn { feed: *feed, derived: &derived, batch, seen, ends_us: None };
                visible.add(self.bring(*place, turn, told)?);
            }
            let (rows, instants_us) = changing(&derived.until_us);
            if rows.is_empty() {
                break;
            }
            again = Some(batch.arriving_again(self.plan, &rows, instants_us.clone())?);
            known_us = instants_us;
        }
        self.scatter(&self.as_served, visible, first.number)
    }

    /// Lets what came by each feed wait in the shards of its view.
    fn scatter(&self, feeds: &[(usize, Feed)], visible: Vec<VisibleRows>, number: u64) -> Result<(), HistoryError> {
        for ((place, _), visible) in feeds.iter().zip(visible) {
            if let Some(events) = visible.finish(&self.views[*place].layout)? {
                self.views[*place].scatter(number, &events)?;
            }
        }
        Ok(())
    }

    /// What a view takes in of a batch, by one way.
    fn bring(&self, place: usize, turn: Turn<'_>, told: &Told) -> Result<RecordBatch, HistoryError> {
        let Turn { feed, derived, batch, seen, ends_us } = turn;
        let (rows, used) = derived.at(feed, &batch.rows, batch.used.as_ref());
        let plan = &self.views[place].plan;
        let taken = plan.take_in(rows, used);
        told.set_aside(derived.set_aside.len() + place, &taken.set_aside, batch);
        let taken = if let Some(ends_us) = ends_us { plan.ending(taken, ends_us) } else { taken };
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
    /// Of versions, row by row, when they end in a view over groups of them.
    ends_us: Option<&'a [i64]>,
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
