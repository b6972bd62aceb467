//! A version of a table that comes late changes what earlier events were joined with: those that are held are evaluated
//! twice, over the tables as they were and as they are, and the views get the difference.
//!
//! ```text
//!   changes ─▶ held rows that they may reach ─▶ derive, evaluate   before ┐
//!                                          └──▶ derive, evaluate   after  ┴▶ rows that go, rows that come ─▶ views
//! ```
//! Rules kept here:
//! - a row with the same entity and the same carried values in both neither goes nor comes: what no view reads changes
//!   nothing;
//! - after it the views hold what they would if the version had come before all events, at the version that it came with;
//! - the counts of the stream do not move: its events were judged when they arrived;
//! - windows that close are changed when the version is prepared, those that are open then;
//! - between the log and the views it keeps what some ten thousand rows bring. One version may change all that is held: of
//!   further rows only their places are kept, and what they bring is evaluated again, over the tables as they were then.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{and, take};
use arrow::error::ArrowError;
use asof_window::Version;

use crate::error::FeatureError;
use crate::held_rows::{HeldPlace, HeldRows, PinnedRows, UsedRows};
use crate::online_stream::{OnlineStream, ViewFeed};
use crate::online_view::{OnlineView, Settled};
use crate::prepared::{Ties, ViewEvents};
use crate::tables::{TablePositions, Tables};
use crate::taking::SetAside;
use crate::versioned_table::VersionChanges;
use crate::view::TakenIn;

/// So many rows are evaluated at a time.
const STEP_ROWS: usize = 8192;
/// What so many rows change is kept until it is taken in.
const KEPT_ROWS: usize = 4 * STEP_ROWS;
/// The details of so many rows that a batch of versions sets aside are kept: there are no letters for more.
pub const DETAILS_KEPT: usize = 1_000;

/// What a batch of versions changes for the views of one stream: evaluated, and not visible yet.
#[derive(Debug)]
pub struct Rejoined {
    steps: Vec<RejoinedRows>,
    /// How much of the tables was known before it and is known with it.
    before: TablePositions,
    now: TablePositions,
    table: String,
    changeable_from_us: Option<i64>,
}

/// Rows of a stream that were evaluated again.
#[derive(Debug)]
pub struct RejoinedRows {
    /// The partition that they came to.
    pub partition: u32,
    /// Their offsets in it: what is set aside names rows by their place here.
    pub offsets: Vec<u64>,
    /// For each view in the order of the stream's, the rows that are set aside now and were not before. Behind some thousand
    /// of them a step tells the detail of the first alone.
    pub set_aside: Vec<Vec<SetAside>>,
    /// The same for each derived stream that some view reads.
    pub derived_set_aside: Vec<Vec<SetAside>>,
    change: Change,
}

/// What becomes of the views by some rows.
#[derive(Debug)]
enum Change {
    /// Nothing.
    Nothing,
    /// For each feed of a view, the events that go and those that come.
    Moves(Vec<Moves>, Ties),
    /// It is evaluated when it is taken in.
    Later(PinnedRows),
}

#[derive(Debug, Default)]
struct Moves {
    gone: Option<ViewEvents>,
    come: Option<ViewEvents>,
}

/// What some rows bring to the views that depend on a table.
struct Evaluated {
    /// For each feed; `None` where it is not asked for.
    taken: Vec<Option<TakenIn>>,
    set_aside: Vec<Vec<SetAside>>,
    derived_set_aside: Vec<Vec<SetAside>>,
    hashes: Vec<Vec<u32>>,
}

impl Rejoined {
    /// What was evaluated again, with what is to be told of it.
    pub fn rows(&self) -> &[RejoinedRows] {
        &self.steps
    }

    /// How many rows were evaluated again.
    pub fn row_count(&self) -> usize {
        self.steps.iter().map(|step| step.offsets.len()).sum()
    }
}

impl RejoinedRows {
    fn all_set_aside(&self) -> impl Iterator<Item = &Vec<SetAside>> {
        self.set_aside.iter().chain(&self.derived_set_aside)
    }

    /// Leaves out all details but the first ones.
    fn forget_details(&mut self) {
        let all = self.set_aside.iter_mut().chain(&mut self.derived_set_aside);
        all.flat_map(|aside| aside.iter_mut().skip(1)).for_each(|one| one.detail = String::new());
    }
}

impl Moves {
    fn is_some(&self) -> bool {
        self.gone.is_some() || self.come.is_some()
    }
}

impl OnlineStream {
    /// Whether a table is joined on the way to one of its views.
    pub fn joins(&self, table: &str) -> bool {
        self.feeds.iter().any(|one| self.derived.depends_on(one.feed, table))
    }

    /// Whether a table is joined on the way to one of its views or derived streams.
    pub fn looks_into(&self, table: &str) -> bool {
        !self.derived.joins_with(table).is_empty()
    }

    /// Evaluates what changes of a table, which are the last that were taken in there, change for the views, which stay as they
    /// are, but for open windows: [`OnlineStream::take_in_rejoined`] is the second step, and has to come in the order of the first
    /// among those of [`OnlineStream::prepare`]. No batch may be prepared between the table's and this.
    pub fn prepare_rejoined(
        &mut self,
        changes: &VersionChanges,
        tables: &Tables<'_>,
    ) -> Result<Rejoined, FeatureError> {
        let (earlier, mut steps) = (tables.before(changes), Vec::new());
        let (mut kept, mut set_aside) = (0, 0);
        for places in self.touched(changes) {
            let mut step = self.rejoin_rows(&places, (&earlier, tables), &changes.table, |_| true)?;
            if matches!(step.change, Change::Moves(..)) {
                kept += places.len();
                if let Some(held) = self.held.as_ref().filter(|_| kept > KEPT_ROWS) {
                    step.change = Change::Later(held.pin(&places));
                }
            }
            if set_aside >= DETAILS_KEPT {
                step.forget_details();
            }
            set_aside += step.all_set_aside().map(Vec::len).sum::<usize>();
            steps.push(step);
        }
        let changeable_from_us = self.settle_held(tables)?;
        let (now, table) = (tables.positions(), changes.table.clone());
        Ok(Rejoined { steps, before: now.before(changes), now, table, changeable_from_us })
    }

    /// The same before anyone reads, of versions from a log, and for the views that have the events already: the others
    /// get them later, by way of [`OnlineStream::recall`].
    pub fn recall_rejoined(
        &mut self,
        changes: &VersionChanges,
        tables: &Tables<'_>,
        views: &[bool],
        settled: &[Settled],
    ) -> Result<(), FeatureError> {
        let before = tables.before(changes);
        for places in self.touched(changes) {
            let step = self.rejoin_rows(&places, (&before, tables), &changes.table, |view| views[view])?;
            if let Change::Moves(moves, ties) = &step.change {
                self.change_views(moves, ties, Version(0), settled);
            }
        }
        let changeable_from_us = self.settle_held(tables)?;
        self.settle_views(changeable_from_us, settled);
        Ok(())
    }

    /// Lets events of the views go and come, as part of `version`, which is never less than that of an earlier change. Of the
    /// tables no version was dropped since it was prepared; others may have come.
    pub fn take_in_rejoined(
        &mut self,
        rejoined: &Rejoined,
        tables: &Tables<'_>,
        version: Version,
        settled: &[Settled],
    ) -> Result<(), FeatureError> {
        for step in &rejoined.steps {
            match &step.change {
                Change::Nothing => {}
                Change::Moves(moves, ties) => self.change_views(moves, ties, version, settled),
                Change::Later(rows) => {
                    // Open windows are changed already.
                    let is_asked = |view: usize| !self.views[view].closes();
                    let batch = rows.gather().map_err(|source| self.refused(source))?;
                    let before = tables.at_positions(&rejoined.before);
                    let before = self.evaluate(&batch, &before, &rejoined.table, &is_asked)?;
                    let now = tables.at_positions(&rejoined.now);
                    let after = self.evaluate(&batch, &now, &rejoined.table, &is_asked)?;
                    let ties = self.ties(&batch, step.partition, step.offsets.clone())?;
                    self.change_views(&self.moves(before.taken, after.taken, &batch)?, &ties, version, settled);
                }
            }
        }
        self.settle_views(rejoined.changeable_from_us, settled);
        Ok(())
    }

    fn change_views(&self, moves: &[Moves], ties: &Ties, version: Version, settled: &[Settled]) {
        for (ViewFeed { view, feed, has_key }, moves) in self.feeds.iter().zip(moves) {
            let (view, settled) = (&self.views[*view], settled[*view]);
            let tie_of = |row| ties.of(row, feed.number, *has_key);
            if let Some(gone) = &moves.gone {
                view.depart(gone, tie_of, version, settled);
            }
            if let Some(come) = &moves.come {
                view.take_in(come, tie_of, version, settled);
            }
        }
    }

    /// The rows that are to be evaluated again, in steps.
    fn touched(&self, changes: &VersionChanges) -> Vec<Vec<HeldPlace>> {
        let branches = self.branches_read(&changes.table);
        let joins = self.derived.joins_among(&branches, &changes.table);
        let held = self.held.as_ref().filter(|_| !changes.is_empty() && !joins.is_empty());
        held.map(|held| held.touched(changes, &joins, STEP_ROWS)).unwrap_or_default()
    }

    /// Evaluates rows over the tables as they were and as they are.
    fn rejoin_rows(
        &mut self,
        places: &[HeldPlace],
        (earlier, now): (&Tables<'_>, &Tables<'_>),
        table: &str,
        is_asked: impl Fn(usize) -> bool,
    ) -> Result<RejoinedRows, FeatureError> {
        let held = self.held.as_mut().expect("held rows are touched where there are any");
        let (partition, offsets) = held.offsets(places);
        let batch = held.gather(places).map_err(|source| self.refused(source))?;
        let before = self.evaluate(&batch, earlier, table, &is_asked)?;
        let after = self.evaluate(&batch, now, table, &is_asked)?;
        if let Some(held) = &mut self.held {
            held.set_hashes(places, &after.hashes);
        }
        let set_aside = newly(&before.set_aside, after.set_aside);
        let derived_set_aside = newly(&before.derived_set_aside, after.derived_set_aside);
        let mut moves = self.moves(before.taken, after.taken, &batch)?;
        let mut change = Change::Nothing;
        if moves.iter().any(Moves::is_some) {
            let ties = self.ties(&batch, partition, offsets.clone())?;
            self.change_open_windows(&mut moves, &ties);
            if moves.iter().any(Moves::is_some) {
                change = Change::Moves(moves, ties);
            }
        }
        Ok(RejoinedRows { partition, offsets, set_aside, derived_set_aside, change })
    }

    /// Takes out of what goes and comes that of open windows, and changes these at once: they are their writer's business alone.
    fn change_open_windows(&self, moves: &mut [Moves], ties: &Ties) {
        for (ViewFeed { view, feed, has_key }, moves) in self.feeds.iter().zip(moves) {
            let view = &self.views[*view];
            if view.closes() {
                let Moves { gone, come } = std::mem::take(moves);
                view.change_open(gone.as_ref(), come.as_ref(), |row| ties.of(row, feed.number, *has_key));
            }
        }
    }

    /// For each feed of a view, which events go and which come.
    fn moves(
        &self,
        before: Vec<Option<TakenIn>>,
        after: Vec<Option<TakenIn>>,
        batch: &RecordBatch,
    ) -> Result<Vec<Moves>, FeatureError> {
        let of_feed = |((one, before), after): ((&ViewFeed, Option<TakenIn>), Option<TakenIn>)| match (before, after) {
            (Some(before), Some(after)) => {
                let moves = difference(&self.views[one.view], before, after, self.times(batch));
                moves.map_err(|source| self.refused(source))?
            }
            _ => Ok(Moves::default()),
        };
        self.feeds.iter().zip(before).zip(after).map(of_feed).collect()
    }

    fn ties(&self, batch: &RecordBatch, partition: u32, offsets: Vec<u64>) -> Result<Ties, FeatureError> {
        let primary_keys = if self.follows_order() { self.plan.primary_keys(batch)? } else { None };
        Ok(Ties { partition, offsets, primary_keys })
    }

    fn refused(&self, source: ArrowError) -> FeatureError {
        FeatureError::Arrow { object: format!("stream `{}`", self.plan.stream().name), source }
    }

    /// The branches by which a table reaches some view. What is held has the columns that they need; of a derived stream that no
    /// view reads it could not be told who fails.
    fn branches_read(&self, table: &str) -> Vec<bool> {
        self.derived.branches_behind(self.feeds.iter().map(|one| one.feed), table)
    }

    /// What rows bring to the views that depend on a table and are asked for.
    fn evaluate(
        &self,
        batch: &RecordBatch,
        tables: &Tables<'_>,
        table: &str,
        is_asked: &impl Fn(usize) -> bool,
    ) -> Result<Evaluated, FeatureError> {
        let branches = self.branches_read(table);
        let mut derived = self.derived.derive_asked(batch, None, tables, |branch| branches[branch])?;
        let mut set_aside = vec![Vec::new(); self.views.len()];
        let mut take_in = |one: &ViewFeed| {
            let is_changed = self.derived.depends_on(one.feed, table) && is_asked(one.view);
            is_changed.then(|| {
                let (rows, used) = derived.at(one.feed, batch, None);
                let mut taken = self.views[one.view].plan().take_in(rows, used);
                set_aside[one.view].append(&mut taken.set_aside);
                taken
            })
        };
        let taken = self.feeds.iter().map(&mut take_in).collect();
        let hashes = std::mem::take(&mut derived.hashes);
        let derived_set_aside = self.set_aside_by_name(derived, &mut set_aside, is_asked);
        Ok(Evaluated { taken, set_aside, derived_set_aside, hashes })
    }

    /// Lets go of what no late version changes any more and no read reaches, between two batches: what was prepared is taken in.
    /// `settled` is said for each view in the order given.
    pub fn settle(&mut self, tables: &Tables<'_>, settled: &[Settled]) -> Result<(), FeatureError> {
        let changeable_from_us = self.settle_held(tables)?;
        self.settle_views(changeable_from_us, settled);
        Ok(())
    }

    /// Drops held rows that no version changes any more, and gives the instant before which there are none; `None` where
    /// nothing is joined.
    pub(crate) fn settle_held(&mut self, tables: &Tables<'_>) -> Result<Option<i64>, FeatureError> {
        let Some(held) = &mut self.held else { return Ok(None) };
        let mut from_us = i64::MAX;
        for table in self.derived.tables() {
            from_us = from_us.min(tables.get(table)?.changeable_from_us);
        }
        held.drop_before(from_us);
        Ok(Some(from_us))
    }

    pub(crate) fn hold(&mut self, rows: UsedRows<'_>) -> Result<(), FeatureError> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let held = held.hold(rows);
        held.map_err(|source| self.refused(source))
    }

    /// Tells the views which of their events change no more, and drops held rows that no read of them reaches.
    pub(crate) fn settle_views(&mut self, changeable_from_us: Option<i64>, settled: &[Settled]) {
        let (Some(from_us), Some(held)) = (changeable_from_us, &mut self.held) else { return };
        let joining = || self.views.iter().zip(settled).filter(|(view, _)| view.joins());
        joining().for_each(|(view, _)| view.settle_events_before(&self.plan.stream().name, from_us));
        let needed = |(view, settled): (&Arc<OnlineView>, &Settled)| match view.closes() {
            true => view.open_from_us(),
            false => Some(settled.floor_us?.saturating_sub(view.plan().reach_us()?)),
        };
        if let Some(needed_us) = joining().map(needed).min().flatten() {
            held.drop_before(needed_us);
        }
    }

    /// How many rows are held for late versions.
    pub fn held_rows(&self) -> usize {
        self.held.as_ref().map_or(0, HeldRows::rows)
    }

    /// The memory that they take, in bytes.
    pub(crate) fn held_rows_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, HeldRows::memory_bytes)
    }

    /// For each partition of which rows are held, the least of their offsets: after a restart rows are
    /// [recalled](OnlineStream::recall) from there on.
    pub fn held_from(&self) -> Vec<(u32, u64)> {
        self.held.iter().flat_map(HeldRows::least_offsets).collect()
    }

    /// Bytes of the held rows that go when none before an instant, in microseconds, changes any more.
    pub fn held_bytes_before(&self, from_us: i64) -> usize {
        self.held.as_ref().map_or(0, |held| held.bytes_before(from_us))
    }

    /// The event time in microseconds from which on all events are held: a version from before it would come too late.
    /// `None` where nothing was dropped yet.
    pub fn held_from_us(&self) -> Option<i64> {
        self.held.as_ref().map(HeldRows::complete_from_us).filter(|from_us| *from_us > i64::MIN)
    }

    /// The least instant in microseconds as of which tables are still looked into: for events that may still come, and for
    /// those that are held. `None` is any.
    pub fn looks_up_from_us(&self) -> Option<i64> {
        let coming_us = self.coming_from_us()?;
        let held_us = self.held.as_ref().and_then(HeldRows::least_us);
        Some(held_us.map_or(coming_us, |held_us| held_us.min(coming_us)))
    }
}

/// Who is set aside now and was not before.
fn newly(before: &[Vec<SetAside>], after: Vec<Vec<SetAside>>) -> Vec<Vec<SetAside>> {
    let of = |(before, after): (&Vec<SetAside>, Vec<SetAside>)| {
        let known: HashSet<usize> = before.iter().map(|one| one.row).collect();
        after.into_iter().filter(|one| !known.contains(&one.row)).collect()
    };
    before.iter().zip(after).map(of).collect()
}

/// The events of a view that go and that come, of those that some rows bring before and after.
fn difference(
    view: &OnlineView,
    before: TakenIn,
    after: TakenIn,
    times: &ArrayRef,
) -> Result<Result<Moves, FeatureError>, ArrowError> {
    let (olds, news) = in_both(&before.rows, &after.rows);
    let same = are_same(&before, &olds, &after, &news)?;
    let gone = without(before, &olds, &same)?;
    let come = without(after, &news, &same)?;
    let events = |taken| view.events_of(taken, times);
    Ok(events(gone).and_then(|gone| Ok(Moves { gone, come: events(come)? })))
}

/// The places of the rows that are in both, which ascend.
fn in_both(one: &UInt32Array, other: &UInt32Array) -> (Vec<u32>, Vec<u32>) {
    let (mut ones, mut others, mut place) = (Vec::new(), Vec::new(), 0);
    for (at, row) in one.values().iter().enumerate() {
        while place < other.len() && other.value(place) < *row {
            place += 1;
        }
        if place < other.len() && other.value(place) == *row {
            ones.push(at as u32);
            others.push(place as u32);
        }
    }
    (ones, others)
}

/// Which of the pairs have equal keys and equal carried values.
fn are_same(one: &TakenIn, ones: &[u32], other: &TakenIn, others: &[u32]) -> Result<BooleanArray, ArrowError> {
    let (ones, others) = (UInt32Array::from(ones.to_vec()), UInt32Array::from(others.to_vec()));
    let columns = one.keys.iter().zip(&other.keys).chain(one.carried.iter().zip(&other.carried));
    let mut same = BooleanArray::from(vec![true; ones.len()]);
    for (one, other) in columns {
        same = and(&same, &not_distinct(&take(one, &ones, None)?, &take(other, &others, None)?)?)?;
    }
    Ok(same)
}

/// The rows without those at the places that are the `same`.
fn without(taken: TakenIn, places: &[u32], same: &BooleanArray) -> Result<TakenIn, ArrowError> {
    let mut stays = vec![true; taken.rows.len()];
    same.values().set_indices().for_each(|pair| stays[places[pair] as usize] = false);
    let left = UInt32Array::from_iter_values((0..stays.len() as u32).filter(|place| stays[*place as usize]));
    taken.at(&left)
}

#[cfg(test)]
mod tests;
