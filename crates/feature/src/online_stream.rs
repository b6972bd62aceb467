//! One stream and its views, live: arrivals are judged, and the used ones taken into all views.
//!
//! It knows no clock, no log and no network. What it holds is a function of the arrivals it was given, so that one given
//! the same arrivals again, in batches of any size, answers the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use asof_window::{Accounting, Judge, Rules, TieBreak, Verdict, Version};

use crate::error::FeatureError;
use crate::online_view::{Incoming, OnlineView, Settled};
use crate::stream::{Faced, StreamPlan};
use crate::view::SetAside;

/// A stream with its judge and the views that it feeds. One writer owns it; the views are shared with readers.
#[derive(Debug)]
pub struct OnlineStream {
    plan: StreamPlan,
    views: Vec<Arc<OnlineView>>,
    judge: Judge,
    accounting: Accounting,
    newest_us: Option<i64>,
    /// For each view, the key of the last event taken in.
    last_keys: Vec<Option<Vec<ArrayRef>>>,
    next_offsets: BTreeMap<u32, u64>,
}

/// A batch of arrivals at one partition.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals<'a> {
    /// The rows and their face.
    pub faced: Faced<'a>,
    /// When they became visible, in microseconds.
    pub arrived_us: i64,
    /// The offset of each row in its partition.
    pub offsets: &'a [u64],
    /// What the batch becomes part of; never less than that of an earlier one.
    pub version: Version,
}

/// What became of a batch of arrivals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// One verdict for each row.
    pub verdicts: Vec<Verdict>,
    /// For each view in the order given, the used rows set aside for it.
    pub set_aside: Vec<Vec<SetAside>>,
}

impl OnlineStream {
    /// A stream that has seen no events and the views over it.
    pub fn new(plan: StreamPlan, rules: Rules, views: Vec<Arc<OnlineView>>) -> OnlineStream {
        OnlineStream {
            plan,
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

    /// Judges the next arrivals of a partition and takes the used ones into all views.
    pub fn arrive(&mut self, arrivals: Arrivals<'_>, settled: Settled) -> Result<Outcome, FeatureError> {
        let Arrivals { faced, arrived_us, offsets, version } = arrivals;
        let verdicts = self.plan.judge(&mut self.judge, faced, |_, _| arrived_us);
        verdicts.iter().for_each(|verdict| self.accounting.count(*verdict));
        let used: BooleanArray = verdicts.iter().map(|verdict| Some(*verdict == Verdict::Used)).collect();
        self.see(faced, offsets, &used);
        let tie = |row: usize| TieBreak {
            primary_key: faced.primary_keys.map_or(&[], |keys| keys.row(row).data()),
            partition: faced.partition,
            offset: offsets[row],
        };
        let incoming = Incoming { batch: faced.batch, used: &used, times: self.times(faced.batch), version };
        let mut set_aside = Vec::with_capacity(self.views.len());
        for (view, last_key) in self.views.iter().zip(&mut self.last_keys) {
            let (aside, last) = view.take_in(incoming, settled, tie)?;
            set_aside.push(aside);
            *last_key = last.or(last_key.take());
        }
        Ok(Outcome { verdicts, set_aside })
    }

    /// Counts of all verdicts so far.
    pub fn accounting(&self) -> Accounting {
        self.accounting
    }

    /// Bytes of memory that the judge remembers keys in, about.
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

    fn see(&mut self, faced: Faced<'_>, offsets: &[u64], used: &BooleanArray) {
        *self.next_offsets.entry(faced.partition).or_default() += offsets.len() as u64;
        let times = self.times(faced.batch).as_primitive::<TimestampMicrosecondType>();
        let newest_us = used.values().set_indices().map(|row| times.value(row)).max();
        self.newest_us = self.newest_us.max(newest_us);
    }
}
