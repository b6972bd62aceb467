//! All files merged by event time and cut into slices: what is taken in together, as one version.
//!
//! ```text
//!   departures  ▪▪ ▪ ▪▪▪│▪ ▪        a slice ends after so many rows, at a row that is not due yet, or where a
//!   arrivals    ▪ ▪▪ ▪ ▪│ ▪▪▪       stream has to read on
//! ```

use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use asof_definition::Connector;
use asof_feature::StreamPlan;

use crate::error::PipelineError;
use crate::file_rows::FileRows;
use crate::pace::Pace;
use crate::progress::{Progress, StreamProgress};
use crate::row_layout::{offsets, taken_at};
use crate::stream_batch::StreamBatch;

/// Rows of a slice: enough to share the cost of a version, few enough that readers meet short locks.
pub(crate) const SLICE_ROWS_MAX: usize = 4_096;

/// How often a followed file is looked at when nothing else is due.
const FOLLOW_EVERY_US: i64 = 50_000;

/// Streams on their way into the engine.
pub(crate) struct Slices<'a> {
    heads: Vec<Head>,
    until_us: i64,
    /// Whether a row with an event time was met.
    began: bool,
    progress: &'a Progress,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Rows that are due.
    Slice(Vec<StreamBatch>),
    /// Nothing before this wall-clock instant, in microseconds.
    WaitUntil(i64),
    /// Nothing more.
    End,
}

/// One stream: the batch that it stands in and how much of that is taken.
pub(crate) struct Head {
    stream: usize,
    plan: StreamPlan,
    rows: FileRows,
    standing: Option<RecordBatch>,
    /// Where the slice that is being cut begins, and where it ends so far.
    cut_from: usize,
    cut_to: usize,
    taken: u64,
    pace: Pace,
    /// Whether rows may come after the end of the file: it is then only the end for now.
    follows: bool,
    /// Of rows of one time those with the least come first.
    rank: usize,
}

impl Head {
    /// A source before its first row.
    pub(crate) fn new(stream: usize, rank: usize, plan: StreamPlan, rows: FileRows, pace: Pace) -> Head {
        let standing = Some(RecordBatch::new_empty(rows.layout().schema().clone()));
        let follows = matches!(&plan.stream().connector, Connector::File(file) if file.follow);
        Head { stream, plan, rows, standing, cut_from: 0, cut_to: 0, taken: 0, pace, follows, rank }
    }

    /// Stands in the next batch, if there is one now.
    fn read_on(&mut self, progress: &StreamProgress) -> Result<(), PipelineError> {
        while self.standing.as_ref().is_some_and(|rows| self.cut_to == rows.num_rows()) {
            let next = self.rows.next_batch(progress)?;
            progress.has_ended.store(next.is_none(), Ordering::Relaxed);
            (self.cut_from, self.cut_to) = (0, 0);
            if next.is_none() && self.follows {
                progress.reached_end(self.taken);
                self.standing = Some(RecordBatch::new_empty(self.rows.layout().schema().clone()));
                return Ok(());
            }
            self.standing = next;
        }
        Ok(())
    }

    /// The instants of the rows not yet cut.
    fn times_us(&self) -> &[i64] {
        self.standing.as_ref().map_or(&[], |rows| &taken_at(rows).values()[self.cut_to..])
    }

    fn next_us(&self) -> Option<i64> {
        self.times_us().first().copied()
    }

    /// The rows cut, as a batch of the stream with what can be said of them on their face.
    fn take_cut(&mut self) -> Result<Option<StreamBatch>, PipelineError> {
        let (from, count) = (self.cut_from, self.cut_to - self.cut_from);
        let Some(rows) = self.standing.as_ref().filter(|_| count > 0) else { return Ok(None) };
        let rows = rows.slice(from, count);
        self.cut_from = self.cut_to;
        self.taken += count as u64;
        let layout = self.rows.layout();
        let batch = layout.events(&rows);
        let rejected = self.plan.rejected(&batch, layout.unreadable(&rows));
        let primary_keys = self.plan.primary_keys(&batch)?;
        let offsets = offsets(&rows).values().to_vec();
        let arrived = layout.arrived(&rows);
        Ok(Some(StreamBatch {
            stream: self.stream,
            partition: 0,
            batch,
            rejected,
            primary_keys,
            offsets,
            fed: None,
            arrived,
        }))
    }
}

impl<'a> Slices<'a> {
    /// Slices of these streams up to an event time, inclusive.
    pub(crate) fn new(heads: Vec<Head>, until_us: i64, progress: &'a Progress) -> Slices<'a> {
        Slices { heads, until_us, began: false, progress }
    }

    /// What is due at `now_us`, by the wall clock.
    pub(crate) fn next(&mut self, now_us: i64) -> Result<Next, PipelineError> {
        self.read_on()?;
        let mut wanted = SLICE_ROWS_MAX;
        let mut wait_until_us = None;
        while wanted > 0 {
            let Some((head, bound)) = self.least() else { break };
            self.begin(head);
            let until_us = self.until_us;
            let head = &mut self.heads[head];
            let times = head.times_us();
            let before = times.partition_point(|time_us| {
                *time_us <= until_us && bound.is_none_or(|bound| (*time_us, head.rank) < bound)
            });
            let before = before.min(wanted);
            let taken = head.taken + (head.cut_to - head.cut_from) as u64;
            let due = head.pace.rows_due(now_us, taken, &times[..before]);
            if due < before {
                wait_until_us = Some(head.pace.next_due_us(taken + due as u64, times[due]));
            }
            head.cut_to += due;
            wanted -= due;
            if wait_until_us.is_some() || head.times_us().is_empty() {
                break;
            }
        }
        let cut = self.heads.iter_mut().filter_map(|head| head.take_cut().transpose());
        let cut: Vec<StreamBatch> = cut.collect::<Result<_, _>>()?;
        match (cut.is_empty(), wait_until_us) {
            (false, _) => Ok(Next::Slice(cut)),
            (true, Some(wait_until_us)) => Ok(Next::WaitUntil(wait_until_us)),
            (true, None) if self.heads.iter().any(|head| head.follows) => {
                Ok(Next::WaitUntil(now_us.saturating_add(FOLLOW_EVERY_US)))
            }
            (true, None) => Ok(Next::End),
        }
    }

    /// The stream whose next row comes first, and the place before which its rows come before all others'.
    fn least(&self) -> Option<(usize, Option<(i64, usize)>)> {
        let mut places: Vec<((i64, usize), usize)> = self
            .heads
            .iter()
            .enumerate()
            .filter_map(|(number, head)| Some(((head.next_us()?, head.rank), number)))
            .filter(|((time_us, _), _)| *time_us <= self.until_us)
            .collect();
        places.sort_unstable();
        let (_, least) = places.first()?;
        Some((*least, places.get(1).map(|(place, _)| *place)))
    }

    /// Event time begins with the first row that has one: all streams' rows come in its order.
    fn begin(&mut self, least: usize) {
        let Some(first_us) = self.heads[least].next_us().filter(|time_us| *time_us > i64::MIN) else { return };
        if !std::mem::replace(&mut self.began, true) {
            self.heads.iter_mut().for_each(|head| head.pace.begin_events(first_us));
        }
    }

    /// Lets every stream that is through with its batch stand in the next one.
    fn read_on(&mut self) -> Result<(), PipelineError> {
        for head in &mut self.heads {
            head.read_on(self.progress.stream(head.stream))?;
        }
        Ok(())
    }
}
