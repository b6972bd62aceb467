//! One stream, those derived from it and their views, live: arrivals are judged, and the used ones taken into all views.
//!
//! ```text
//!   arrivals ─▶ prepare ─▶ Prepared ─▶ take_in ─▶ views      in two steps, with a log in between
//!   arrivals ─▶ arrive ───────────────────────────▶ views      at once
//!   log ──────▶ recall ───────────────────────────▶ views      what was judged before
//! ```
//! Rule kept here: all three ways leave the same stream and the same views.
//!
//! It knows no clock, no log and no network. What it holds is a function of the arrivals it was given, so that one given
//! the same arrivals again, in batches of any size, answers the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::row::Rows;
use asof_definition::Stream;
use asof_window::{Accounting, Judge, Lateness, Rules, Verdict, Version};

use crate::derived::{DerivedPlan, Feed};
use crate::error::FeatureError;
use crate::fingerprint::derivation_fingerprint;
use crate::online_view::{OnlineView, Settled};
use crate::prepared::{Brought, Prepared, Ties};
use crate::stream::{Faced, Known, StreamPlan};
use crate::taking::SetAside;

/// A stream with its judge and the views that it feeds. One writer owns it; the views are shared with readers.
#[derive(Debug)]
pub struct OnlineStream {
    plan: StreamPlan,
    derived: DerivedPlan,
    views: Vec<Arc<OnlineView>>,
    feeds: Vec<ViewFeed>,
    judge: Judge,
    accounting: Accounting,
    newest_us: Option<i64>,
    /// For each view, the key of the last event taken in.
    last_keys: Vec<Option<Vec<ArrayRef>>>,
    next_offsets: BTreeMap<u32, u64>,
    /// For each derived stream, how many rows it got.
    derived_rows: Vec<u64>,
}

/// One way by which events come to a view.
#[derive(Debug, Clone, Copy)]
struct ViewFeed {
    /// Place among the views.
    view: usize,
    feed: Feed,
    /// Whether the view's stream has a primary key, which orders ties: that of the events' own stream.
    has_key: bool,
}

/// What a stream knows beside its keys and its views.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Counts of all verdicts.
    pub accounting: Accounting,
    /// The greatest event time used, in microseconds.
    pub newest_us: Option<i64>,
    /// Each partition seen.
    pub partitions: Vec<PartitionCounts>,
    /// Each derived stream that sees its events.
    pub derived: Vec<DerivedCounts>,
}

/// What a stream knows of one that is derived from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedCounts {
    /// Its name.
    pub name: String,
    /// Of what it is computed by: counts of another definition are not its own.
    pub fingerprint: u64,
    /// How many rows it got.
    pub rows: u64,
}

/// What a stream knows of one of its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionCounts {
    /// Its number.
    pub partition: u32,
    /// How many arrivals it has had.
    pub arrived: u64,
    /// The greatest event time used in it, in microseconds.
    pub newest_used_us: Option<i64>,
}

/// A batch of arrivals at one partition.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals<'a> {
    /// The rows and their face.
    pub faced: Faced<'a>,
    /// When they arrived.
    pub arrived_us: ArrivedAt<'a>,
    /// The offset of each row in its partition.
    pub offsets: &'a [u64],
    /// Whether they can be late.
    pub lateness: Lateness,
    /// Rows whose primary key was used at a time that the judge no longer remembers, and that time in microseconds;
    /// ascending by row.
    pub used_before: &'a [(usize, i64)],
}

/// When the rows of a batch arrived, in microseconds.
#[derive(Debug, Clone, Copy)]
pub enum ArrivedAt<'a> {
    /// All at one time.
    All(i64),
    /// Each at its own, where that is NULL at its event time.
    Each(&'a Int64Array),
}

/// What became of a batch of arrivals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// One verdict for each row.
    pub verdicts: Vec<Verdict>,
    /// For each view in the order given, the used rows set aside for it.
    pub set_aside: Vec<Vec<SetAside>>,
    /// For each derived stream in the order of [`OnlineStream::derived`], the used rows set aside for it.
    pub derived_set_aside: Vec<Vec<SetAside>>,
}

/// A batch that was judged before, as a log has it.
#[derive(Debug, Clone, Copy)]
pub struct Recalled<'a> {
    /// The partition that it arrived at.
    pub partition: u32,
    /// The used rows alone: the stream's columns.
    pub used: &'a RecordBatch,
    /// The offset of each used row.
    pub offsets: &'a [u64],
    /// The encoded primary key of each used row, where there is one.
    pub primary_keys: Option<&'a Rows>,
    /// Counts of the verdicts on the whole batch.
    pub counts: Accounting,
    /// For each view in the order given, whether it takes the rows in; others have them already.
    pub views: &'a [bool],
    /// Whether the stream itself takes note of them.
    pub judgement: Judgement,
}

/// Whether a recalled batch is news to its stream: to the judge, the counts and the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It is.
    Recalled,
    /// They know it, from a checkpoint.
    Known,
    /// They know all of it but its primary keys, which were others when the checkpoint was taken.
    KnownButKeys,
}

impl OnlineStream {
    /// A stream that has seen no events, those of `derived` that read it, each after those that it reads, and the views
    /// over all of them.
    pub fn new(plan: StreamPlan, rules: Rules, derived: &[Arc<Stream>], views: Vec<Arc<OnlineView>>) -> OnlineStream {
        let derived = DerivedPlan::new(plan.stream(), derived);
        let feeds_of = |(place, view): (usize, &Arc<OnlineView>)| {
            let stream = view.plan().view().stream.clone();
            let has_key = !stream.primary_key.is_empty();
            let feeds = derived.feeds(&stream.name).into_iter();
            feeds.map(move |feed| ViewFeed { view: place, feed, has_key })
        };
        OnlineStream {
            plan,
            feeds: views.iter().enumerate().flat_map(feeds_of).collect(),
            derived_rows: vec![0; derived.streams().len()],
            derived,
            last_keys: vec![None; views.len()],
            views,
            judge: Judge::new(rules),
            accounting: Accounting::default(),
            newest_us: None,
            next_offsets: BTreeMap::new(),
        }
    }

    /// The plan.
    pub fn plan(&self) -> &StreamPlan {
        &self.plan
    }

    /// The derived streams that see its events, each after those that it reads.
    pub fn derived(&self) -> &[Arc<Stream>] {
        self.derived.streams()
    }

    /// For each of them, how many rows it got.
    pub fn derived_rows(&self) -> &[u64] {
        &self.derived_rows
    }

    /// How often one event can be set aside: once for each way into a derived stream or a view.
    pub fn set_aside_max(&self) -> usize {
        self.derived.branches() + self.feeds.len()
    }

    /// Judges the next arrivals of a partition and evaluates what the used ones bring to the views, which stay as they
    /// are: [`OnlineStream::take_in`] is the second step, and has to come in the order of the first. An error here means
    /// that Arrow refused a batch; arrivals count as judged then, so that the stream cannot go on.
    pub fn prepare(&mut self, arrivals: Arrivals<'_>) -> Result<Prepared, FeatureError> {
        let Arrivals { faced, arrived_us, offsets, lateness, used_before } = arrivals;
        let arrived_us = |row: usize, own_us: Option<i64>| match arrived_us {
            ArrivedAt::All(arrived_us) => arrived_us,
            ArrivedAt::Each(each) if each.is_valid(row) => each.value(row),
            ArrivedAt::Each(_) => own_us.unwrap_or_default(),
        };
        let known = Known { lateness, used_before };
        let verdicts = self.plan.judge_knowing(&mut self.judge, faced, known, arrived_us);
        let mut counts = Accounting::default();
        verdicts.iter().for_each(|verdict| counts.count(*verdict));
        let used: BooleanArray = verdicts.iter().map(|verdict| Some(*verdict == Verdict::Used)).collect();
        let times = self.times(faced.batch).as_primitive::<TimestampMicrosecondType>();
        let newest_us = used.values().set_indices().map(|row| times.value(row)).max();
        self.see(faced.partition, newest_us, &counts);
        let used = (counts.used < counts.total()).then_some(&used);
        let tied = Tied { partition: faced.partition, offsets, primary_keys: faced.primary_keys };
        let brought = self.bring(faced.batch, used, tied, |_| true)?;
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
        version: Version,
        settled: &[Settled],
    ) -> Result<Outcome, FeatureError> {
        let prepared = self.prepare(arrivals)?;
        self.take_in(&prepared, version, settled)?;
        let Brought { set_aside, derived_set_aside, .. } = prepared.brought;
        Ok(Outcome { verdicts: prepared.verdicts, set_aside, derived_set_aside })
    }

    /// Takes in the next batch of a partition from a log, without judging it again. Before anyone reads: it is part of
    /// version 0. Gives for each view the used rows set aside for it, counted among the used.
    pub fn recall(&mut self, stored: Recalled<'_>, settled: &[Settled]) -> Result<Vec<Vec<SetAside>>, FeatureError> {
        let Recalled { partition, used, offsets, primary_keys, counts, views, judgement } = stored;
        let times = self.times(used).as_primitive::<TimestampMicrosecondType>().values();
        if judgement != Judgement::Known {
            for (row, time_us) in times.iter().enumerate() {
                self.judge.recall(partition, *time_us, self.plan.key_hash(primary_keys, row));
            }
        }
        if judgement == Judgement::Recalled {
            self.see(partition, times.iter().copied().max(), &counts);
        }
        let brought = self.bring(used, None, Tied { partition, offsets, primary_keys }, |view| views[view])?;
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

    /// What the stream knows beside its keys and its views: for a checkpoint.
    pub fn counts(&self) -> StreamCounts {
        let of = |(partition, arrived): (&u32, &u64)| PartitionCounts {
            partition: *partition,
            arrived: *arrived,
            newest_used_us: self.judge.newest_used_us(*partition),
        };
        StreamCounts {
            accounting: self.accounting,
            newest_us: self.newest_us,
            partitions: self.next_offsets.iter().map(of).collect(),
            derived: self.derived_counts(),
        }
    }

    fn derived_counts(&self) -> Vec<DerivedCounts> {
        let counts = self.derived.streams().iter().zip(&self.derived_rows).map(|(stream, rows)| DerivedCounts {
            name: stream.name.clone(),
            fingerprint: derivation_fingerprint(stream),
            rows: *rows,
        });
        counts.collect()
    }

    /// Puts back what a stream knew that has seen nothing since. A derived stream that is computed otherwise now begins to
    /// count anew.
    pub fn set_counts(&mut self, counts: &StreamCounts) {
        (self.accounting, self.newest_us) = (counts.accounting, counts.newest_us);
        for partition in &counts.partitions {
            self.next_offsets.insert(partition.partition, partition.arrived);
            if let Some(newest_us) = partition.newest_used_us {
                self.judge.set_newest_used(partition.partition, newest_us);
            }
        }
        for (own, rows) in self.derived_counts().iter().zip(&mut self.derived_rows) {
            let known = counts.derived.iter().find(|one| one.name == own.name && one.fingerprint == own.fingerprint);
            *rows = known.map_or(0, |one| one.rows);
        }
    }

    /// The judge, to ask for the keys that it remembers.
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// The judge, to take keys out or to give keys back.
    pub fn judge_mut(&mut self) -> &mut Judge {
        &mut self.judge
    }

    /// Bytes of memory that the judge remembers keys in.
    pub fn memory_bytes(&self) -> usize {
        self.judge.memory_bytes()
    }

    /// The greatest event time used so far, in microseconds.
    pub fn newest_us(&self) -> Option<i64> {
        self.newest_us
    }

    /// The stream's watermark in microseconds: the least of its partitions'.
    pub fn watermark_us(&self) -> Option<i64> {
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

    fn times<'a>(&self, batch: &'a RecordBatch) -> &'a ArrayRef {
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

    /// Evaluates what the rows of a batch that are true in `used` (`None` is all) bring to the views that are asked for.
    fn bring(
        &self,
        batch: &RecordBatch,
        used: Option<&BooleanArray>,
        tied: Tied<'_>,
        is_asked: impl Fn(usize) -> bool,
    ) -> Result<Brought, FeatureError> {
        let derived = self.derived.derive(batch, used)?;
        let (mut set_aside, mut events) = (vec![Vec::new(); self.views.len()], Vec::new());
        for ViewFeed { view, feed, .. } in &self.feeds {
            let (rows, used) = derived.at(*feed, batch, used);
            let (mut aside, brought) = if is_asked(*view) {
                self.views[*view].bring(rows, used, self.times(batch))?
            } else {
                Default::default()
            };
            set_aside[*view].append(&mut aside);
            events.push(brought);
        }
        let follows_order = self.views.iter().any(|view| view.plan().program().follows_order());
        let ties = Ties {
            partition: tied.partition,
            offsets: tied.offsets.to_vec(),
            primary_keys: tied.primary_keys.filter(|_| follows_order).cloned(),
        };
        let (derived_set_aside, derived_rows) = (derived.set_aside, derived.rows);
        Ok(Brought { set_aside, derived_set_aside, derived_rows, events, ties })
    }

    fn deliver(&mut self, brought: &Brought, version: Version, settled: &[Settled]) {
        for (ViewFeed { view, feed, has_key }, events) in self.feeds.iter().zip(&brought.events) {
            if let Some(events) = events {
                let tie_of = |row| brought.ties.of(row, feed.number, *has_key);
                self.views[*view].take_in(events, tie_of, version, settled[*view]);
                self.last_keys[*view] = Some(events.last_key.clone());
            }
        }
    }
}

/// What orders the events of a batch, as it is given.
struct Tied<'a> {
    partition: u32,
    offsets: &'a [u64],
    primary_keys: Option<&'a Rows>,
}

#[cfg(test)]
mod tests;
