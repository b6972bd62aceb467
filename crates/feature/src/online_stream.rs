//! One stream, those derived from it and their views, live: arrivals are judged, and the used ones taken into all views.
//!
//! ```text
//!   arrivals ─▶ prepare ─▶ Prepared ─▶ take_in ─▶ views      in two steps, with a log in between
//!   arrivals ─▶ arrive ───────────────────────────▶ views      at once
//!   log ──────▶ recall ───────────────────────────▶ views      what was judged before
//! ```
//! Rule kept here: all three ways leave the same stream and the same views.
//!
//! Where tables are joined on the way to a view, rows are held for as long as a late version may change them: `rejoining`.
//!
//! It knows no clock, no log and no network. What it holds is a function of the arrivals it was given, so that one given
//! the same arrivals again, in batches of any size, answers the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::row::Rows;
use asof_definition::Stream;
use asof_window::{Accounting, Judge, Rules, Verdict, Version};

use crate::arrivals::{Arrivals, ArrivedAt, Judgement, Outcome, Recalled, TooLate};
use crate::derived::{Derived, DerivedPlan, Feed};
use crate::error::FeatureError;
use crate::fed_partitions::{BY_HAND, FedPartitions, coming_from_us};
use crate::held_rows::{HeldRows, UsedRows};
use crate::made_rows::MadeRows;
use crate::online_view::{OnlineView, Settled};
use crate::prepared::{Brought, Prepared, Ties};
use crate::stream::{Known, StreamPlan};
use crate::tables::Tables;
use crate::taking::SetAside;

/// A stream with its judge and the views that it feeds. One writer owns it; the views are shared with readers.
#[derive(Debug)]
pub struct OnlineStream {
    pub(crate) plan: StreamPlan,
    pub(crate) derived: DerivedPlan,
    /// For each derived stream the view that alone reads it, for those that a view joins by. They come last.
    pub(crate) of_views: Vec<Option<usize>>,
    pub(crate) views: Vec<Arc<OnlineView>>,
    pub(crate) feeds: Vec<ViewFeed>,
    pub(crate) judge: Judge,
    /// Where its events come from a feed.
    fed: Option<FedPartitions>,
    pub(crate) accounting: Accounting,
    pub(crate) newest_us: Option<i64>,
    /// Of rows that are made, the watermark up to which they were.
    closed_before_us: Option<i64>,
    /// For each view, the key of the last event taken in.
    pub(crate) last_keys: Vec<Option<Vec<ArrayRef>>>,
    pub(crate) next_offsets: BTreeMap<u32, u64>,
    /// For each derived stream that has a name, how many rows it got.
    pub(crate) derived_rows: Vec<u64>,
    /// Where tables are joined.
    pub(crate) held: Option<HeldRows>,
}

/// One way by which events come to a view.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ViewFeed {
    /// Place among the views.
    pub(crate) view: usize,
    pub(crate) feed: Feed,
    /// Whether a primary key orders ties in the view's stream: that of the events' own stream.
    pub(crate) has_key: bool,
}

impl OnlineStream {
    /// A stream that has seen no events, those of `derived` that read it, each after those that it reads, and the views
    /// over all of them.
    pub fn new(plan: StreamPlan, rules: Rules, derived: &[Arc<Stream>], views: Vec<Arc<OnlineView>>) -> OnlineStream {
        let joined = |view: &Arc<OnlineView>| view.plan().joined_stream().cloned();
        let derived: Vec<Arc<Stream>> = derived.iter().cloned().chain(views.iter().filter_map(joined)).collect();
        let derived = DerivedPlan::new(plan.stream(), &derived);
        let feeds_of = |(place, view): (usize, &Arc<OnlineView>)| {
            let stream = view.plan().view().stream.clone();
            let has_key = stream.orders_ties();
            let feeds = derived.feeds(&stream.name).into_iter();
            feeds.map(move |feed| ViewFeed { view: place, feed, has_key })
        };
        let feeds: Vec<ViewFeed> = views.iter().enumerate().flat_map(feeds_of).collect();
        let view_of = |stream: &Arc<Stream>| {
            let mut joined = views.iter().map(|view| view.plan().joined_stream());
            joined.position(|joined| joined.is_some_and(|joined| joined.name == stream.name))
        };
        let of_views: Vec<Option<usize>> = derived.streams().iter().map(view_of).collect();
        OnlineStream {
            held: held_rows(&plan, &derived, &feeds, &views),
            feeds,
            derived_rows: vec![0; of_views.iter().filter(|view| view.is_none()).count()],
            of_views,
            derived,
            last_keys: vec![None; views.len()],
            views,
            judge: Judge::new(rules),
            fed: plan.stream().feed().map(|_| FedPartitions::default()),
            accounting: Accounting::default(),
            newest_us: None,
            closed_before_us: None,
            next_offsets: BTreeMap::new(),
            plan,
        }
    }

    /// The plan.
    pub fn plan(&self) -> &StreamPlan {
        &self.plan
    }

    /// The derived streams that see its events, each after those that it reads.
    pub fn derived(&self) -> &[Arc<Stream>] {
        &self.derived.streams()[..self.derived_rows.len()]
    }

    /// For each of them, how many rows it got.
    pub fn derived_rows(&self) -> &[u64] {
        &self.derived_rows
    }

    /// Judges the next arrivals of a partition and evaluates what the used ones bring to the views, which stay as they
    /// are: [`OnlineStream::take_in`] is the second step, and has to come in the order of the first. An error here means
    /// that Arrow refused a batch; arrivals count as judged then, so that the stream cannot go on.
    ///
    /// Of the tables that are joined, all versions that were prepared before are known.
    pub fn prepare(&mut self, arrivals: Arrivals<'_>, tables: &Tables<'_>) -> Result<Prepared, FeatureError> {
        let Arrivals { faced, arrived_us, offsets, lateness, used_before, fed } = arrivals;
        let by_hand = vec![BY_HAND; if self.fed.is_some() && fed.is_none() { faced.batch.num_rows() } else { 0 }];
        let arrived_us = |row: usize, own_us: Option<i64>| match arrived_us {
            ArrivedAt::All(arrived_us) => arrived_us,
            ArrivedAt::Each(each) if each.is_valid(row) => each.value(row),
            ArrivedAt::Each(_) => own_us.unwrap_or_default(),
        };
        let known = Known { lateness, used_before, fed: fed.or((!by_hand.is_empty()).then_some(&by_hand[..])) };
        let verdicts = self.plan.judge_knowing(&mut self.judge, faced, known, arrived_us);
        let mut counts = Accounting::default();
        verdicts.iter().for_each(|verdict| counts.count(*verdict));
        let used: BooleanArray = verdicts.iter().map(|verdict| Some(*verdict == Verdict::Used)).collect();
        let times = self.times(faced.batch).as_primitive::<TimestampMicrosecondType>();
        let newest_us = used.values().set_indices().map(|row| times.value(row)).max();
        self.see(faced.partition, newest_us, &counts);
        let used = (counts.used < counts.total()).then_some(&used);
        let tied = Tied { partition: faced.partition, offsets, primary_keys: faced.primary_keys, too_late: None };
        let brought = self.bring(faced.batch, used, tied, tables, |_| true)?;
        self.see_derived(&brought);
        Ok(Prepared { verdicts, newest_us, brought })
    }

    /// Takes a prepared batch into all views, as part of `version`, which is never less than that of an earlier one.
    /// `settled` is said for each view in the order given.
    pub fn take_in(&mut self, prepared: &Prepared, version: Version, settled: &[Settled]) -> Result<(), FeatureError> {
        self.deliver(&prepared.brought, version, settled);
        Ok(())
    }

    /// Judges the next arrivals of a partition and takes the used ones into all views.
    pub fn arrive(
        &mut self,
        arrivals: Arrivals<'_>,
        tables: &Tables<'_>,
        version: Version,
        settled: &[Settled],
    ) -> Result<Outcome, FeatureError> {
        let prepared = self.prepare(arrivals, tables)?;
        self.take_in(&prepared, version, settled)?;
        let Brought { set_aside, derived_set_aside, .. } = prepared.brought;
        Ok(Outcome { verdicts: prepared.verdicts, set_aside, derived_set_aside })
    }

    /// Takes in the next batch of a partition from a log, without judging it again. Before anyone reads: it is part of
    /// version 0. Gives for each view the used rows set aside for it, counted among the used.
    ///
    /// Rows that a late version may change are held, also where no view takes them in: so a batch that all know already is
    /// recalled for being held.
    pub fn recall(
        &mut self,
        stored: Recalled<'_>,
        tables: &Tables<'_>,
        settled: &[Settled],
    ) -> Result<Vec<Vec<SetAside>>, FeatureError> {
        let Recalled { partition, used, offsets, primary_keys, counts, views, too_late, looks, fed, judgement } =
            stored;
        let times = self.times(used).as_primitive::<TimestampMicrosecondType>().values();
        if judgement != Judgement::Known && !self.is_made() {
            for (row, time_us) in times.iter().enumerate() {
                let judged = match fed {
                    Some(fed) if self.has_feed() => fed[row],
                    None if self.has_feed() => BY_HAND,
                    _ => partition,
                };
                self.judge.recall(judged, *time_us, self.plan.key_hash(primary_keys, row, judged));
            }
        }
        if judgement == Judgement::Recalled {
            self.see(partition, times.iter().copied().max(), &counts);
            *self.next_offsets.entry(partition).or_default() += looks;
        }
        let tied = Tied { partition, offsets, primary_keys, too_late: Some(too_late) };
        let brought = self.bring(used, None, tied, tables, |view| views[view])?;
        if judgement == Judgement::Recalled {
            self.see_derived(&brought);
        }
        self.deliver(&brought, Version(0), settled);
        Ok(brought.set_aside)
    }

    /// Counts of all verdicts so far.
    pub fn accounting(&self) -> Accounting {
        self.accounting
    }

    /// The judge, to ask for the keys that it remembers.
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// The judge, to take keys out or to give keys back.
    pub fn judge_mut(&mut self) -> &mut Judge {
        &mut self.judge
    }

    /// Bytes of memory that the judge remembers keys in, and that rows are held in.
    pub fn memory_bytes(&self) -> usize {
        self.judge.memory_bytes() + self.held_rows_bytes()
    }

    /// Takes note of what its views drop with the next change; said for each view in the order given.
    pub fn note_settled(&self, settled: &[Settled]) {
        self.views.iter().zip(settled).for_each(|(view, settled)| view.note_settled(*settled));
    }

    /// The event time in microseconds before which sessions of its views may have been dropped, and the view that reaches back
    /// least; `None` where none was.
    pub fn sessions_from_us(&self) -> Option<(i64, &str)> {
        let views =
            self.views.iter().filter_map(|view| Some((view.sessions_from_us()?, view.plan().view().name.as_str())));
        views.max()
    }

    /// The greatest event time used so far, in microseconds.
    pub fn newest_us(&self) -> Option<i64> {
        self.newest_us
    }

    /// Judges nothing: takes in the next rows of closed windows, or scored ones, which are all of this stream, at its one partition. The views
    /// stay as they are until [`OnlineStream::take_in`].
    pub fn prepare_rows(
        &mut self,
        rows: &MadeRows,
        offsets: &[u64],
        tables: &Tables<'_>,
    ) -> Result<Prepared, FeatureError> {
        let batch = &rows.batch;
        let newest_us = self.times(batch).as_primitive::<TimestampMicrosecondType>().values().iter().copied().max();
        let counts = Accounting { used: batch.num_rows() as u64, ..Accounting::default() };
        self.see(0, newest_us, &counts);
        let tied = Tied { partition: 0, offsets, primary_keys: rows.primary_keys.as_ref(), too_late: None };
        let brought = self.bring(batch, None, tied, tables, |_| true)?;
        self.see_derived(&brought);
        Ok(Prepared { verdicts: vec![Verdict::Used; batch.num_rows()], newest_us, brought })
    }

    /// All windows that ended before this instant, in microseconds, are among the rows of this stream; of scored rows those of
    /// its sources. It does not go back.
    pub fn set_closed_before(&mut self, watermark_us: i64) {
        self.closed_before_us = self.closed_before_us.max(Some(watermark_us));
    }

    /// A look at the clock takes a place among what comes.
    pub fn looked(&mut self) {
        *self.next_offsets.entry(0).or_default() += 1;
    }

    /// Whether its rows are made and not judged.
    fn is_made(&self) -> bool {
        self.plan.stream().makes_rows()
    }

    pub(crate) fn has_feed(&self) -> bool {
        self.fed.is_some()
    }

    /// The partition that events are judged in which no feed brings.
    pub fn partition_unfed(&self) -> u32 {
        if self.fed.is_some() { BY_HAND } else { 0 }
    }

    /// Says of a partition of the stream's feed that it is there, and whether it is idle.
    pub fn set_fed_partition(&mut self, partition: u32, is_idle: bool) {
        self.fed.iter_mut().for_each(|fed| fed.set(partition, is_idle));
    }

    /// The event time in microseconds before which no event comes that is not late. Of a feed, a partition that is silent
    /// until now may come with older ones.
    pub fn coming_from_us(&self) -> Option<i64> {
        if self.fed.is_some() { coming_from_us(&self.judge) } else { self.watermark_us() }
    }

    /// The stream's watermark in microseconds: the least of its partitions', of a feed of those that are not idle; of rows of
    /// windows the one that closed them.
    pub fn watermark_us(&self) -> Option<i64> {
        if self.is_made() {
            return self.closed_before_us;
        }
        if let Some(fed) = &self.fed {
            return fed.watermark_us(&self.judge);
        }
        self.next_offsets.keys().filter_map(|partition| self.judge.watermark_us(*partition)).min()
    }

    /// For each partition seen, how many arrivals it has had: in a log, the offset after its last one.
    pub fn arrived(&self) -> impl Iterator<Item = (u32, u64)> {
        self.next_offsets.iter().map(|(partition, count)| (*partition, *count))
    }

    /// For each view in the order given, the key of an entity that an event was lately taken in for.
    pub fn last_keys(&self) -> &[Option<Vec<ArrayRef>>] {
        &self.last_keys
    }

    pub(crate) fn times<'a>(&self, batch: &'a RecordBatch) -> &'a ArrayRef {
        batch.column(self.plan.stream().time_column)
    }

    fn see(&mut self, partition: u32, newest_us: Option<i64>, counts: &Accounting) {
        *self.next_offsets.entry(partition).or_default() += counts.total();
        self.accounting = self.accounting.plus(counts);
        self.newest_us = self.newest_us.max(newest_us);
    }

    fn see_derived(&mut self, brought: &Brought) {
        self.derived_rows.iter_mut().zip(&brought.derived_rows).for_each(|(rows, more)| *rows += more);
    }

    /// Evaluates what the rows of a batch that are true in `used` (`None` is all) bring to the views that are asked for,
    /// and holds the rows.
    fn bring(
        &mut self,
        batch: &RecordBatch,
        used: Option<&BooleanArray>,
        tied: Tied<'_>,
        tables: &Tables<'_>,
        is_asked: impl Fn(usize) -> bool,
    ) -> Result<Brought, FeatureError> {
        let derived = self.derived.derive(batch, used, tables)?;
        let ties = Ties {
            partition: tied.partition,
            offsets: tied.offsets.to_vec(),
            primary_keys: tied.primary_keys.filter(|_| self.follows_order()).cloned(),
        };
        let (mut set_aside, mut events) = (vec![Vec::new(); self.views.len()], Vec::new());
        let mut too_late = vec![Vec::new(); self.views.len()];
        for ViewFeed { view: place, feed, has_key } in &self.feeds {
            // What a version brings to groups of rows depends on others of its key: `groups`.
            if !is_asked(*place) || self.views[*place].plan().is_over_groups() {
                events.push(None);
                continue;
            }
            let view = &self.views[*place];
            let (rows, used) = derived.at(*feed, batch, used);
            let (mut aside, mut brought) = view.bring(rows, used, self.times(batch))?;
            set_aside[*place].append(&mut aside);
            if view.closes()
                && let Some(brought) = brought.take()
            {
                // Which window an event is in is its writer's business alone: it need not wait to be visible.
                let tie_of = |row| ties.of(row, feed.number, *has_key);
                match tied.too_late {
                    None => {
                        let rows = view.admit(&brought, tie_of).into_iter();
                        too_late[*place].extend(rows.map(|row| TooLate { row, branch: feed.number }));
                    }
                    Some(known) => {
                        let own = known.get(*place).into_iter().flatten().filter(|one| one.branch == feed.number);
                        view.admit_again(&brought, tie_of, &own.map(|one| one.row).collect::<Vec<_>>());
                    }
                }
            }
            events.push(brought);
        }
        too_late.iter_mut().for_each(|events| events.sort_unstable());
        let changeable_from_us = self.settle_held(tables)?;
        let held = UsedRows { batch, used, partition: tied.partition, offsets: tied.offsets, hashes: &derived.hashes };
        self.hold(held)?;
        let derived_rows = derived.rows[..self.derived_rows.len()].to_vec();
        let derived_set_aside = self.set_aside_by_name(derived, &mut set_aside, is_asked);
        Ok(Brought { set_aside, derived_set_aside, derived_rows, too_late, events, ties, changeable_from_us })
    }

    /// What is set aside for the derived streams that have names; what a view joins before its WHERE is set aside for the
    /// view, if it is asked for.
    pub(crate) fn set_aside_by_name(
        &self,
        derived: Derived,
        views: &mut [Vec<SetAside>],
        is_asked: impl Fn(usize) -> bool,
    ) -> Vec<Vec<SetAside>> {
        let mut all = derived.set_aside;
        let unnamed = all.split_off(self.derived_rows.len());
        for (view, mut own) in self.of_views[self.derived_rows.len()..].iter().zip(unnamed) {
            if let Some(view) = view.filter(|view| is_asked(*view)) {
                views[view].append(&mut own);
            }
        }
        all
    }

    pub(crate) fn follows_order(&self) -> bool {
        self.views.iter().any(|view| view.plan().program().follows_order())
    }

    fn deliver(&mut self, brought: &Brought, version: Version, settled: &[Settled]) {
        for (ViewFeed { view, feed, has_key }, events) in self.feeds.iter().zip(&brought.events) {
            if let Some(events) = events {
                let tie_of = |row| brought.ties.of(row, feed.number, *has_key);
                self.views[*view].take_in(events, tie_of, version, settled[*view]);
                self.last_keys[*view] = Some(events.last_key.clone());
            }
        }
        self.settle_views(brought.changeable_from_us, settled);
    }
}

/// What holds the rows that the joins of a stream's views may change; `None` where nothing is joined.
fn held_rows(
    plan: &StreamPlan,
    derived: &DerivedPlan,
    feeds: &[ViewFeed],
    views: &[Arc<OnlineView>],
) -> Option<HeldRows> {
    let joining = feeds.iter().filter(|one| derived.joins(one.feed));
    let read: Vec<(Feed, Vec<usize>)> = joining.map(|one| (one.feed, views[one.view].plan().columns_read())).collect();
    if read.is_empty() {
        return None;
    }
    let stream = plan.stream();
    let mut needed = derived.source_columns(&read, stream.columns.len());
    if views.iter().any(|view| view.joins() && view.plan().program().follows_order()) {
        stream.primary_key.iter().for_each(|column| needed[*column] = true);
    }
    Some(HeldRows::new(stream, needed))
}

/// What orders the events of a batch, as it is given.
struct Tied<'a> {
    partition: u32,
    offsets: &'a [u64],
    primary_keys: Option<&'a Rows>,
    /// For each view the events that came too late for windows of it; `None`: that is to be found out.
    too_late: Option<&'a [Vec<TooLate>]>,
}

#[cfg(test)]
mod tests;
