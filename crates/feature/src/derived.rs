//! The streams derived from one stream with events of its own: from each of its batches, the batches of the others.
//!
//! ```text
//!   batch of s     rows 0 1 2 3 4 5    used ▪ ▪ · ▪ ▪ ▪        row 2 is a duplicate
//!   derived: d     rows 0 1 2 3 4 5    used ▪ · · ▪ ▪ ·        1 does not pass WHERE, on 5 a column failed: set aside
//!   derived: d2    rows 0 1 2 3 4 5    used ▪ · · · ▪ ·
//! ```
//! Rule kept here: a derived batch has the rows of the batch that it comes from, row by row, so that event times, offsets
//! and primary keys are those of the stream that the events arrived at. Only the columns are others, and fewer rows used.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use asof_definition::{DerivedInput, Stream};
use asof_expression::normalize;

use crate::error::FeatureError;
use crate::taking::{SetAside, Taking};
use crate::view::nullable;

/// What is derived from one stream.
#[derive(Debug, Clone)]
pub struct DerivedPlan {
    /// The name of the stream that the events arrive at.
    source: String,
    /// The derived streams that see events of it, each after those that it reads.
    streams: Vec<Arc<Stream>>,
    /// In that order too.
    branches: Vec<Branch>,
}

/// One way by which events come to a derived stream.
#[derive(Debug, Clone)]
struct Branch {
    /// Index into [`DerivedPlan::streams`].
    stream: usize,
    /// Index of the SELECT in the stream's derivation.
    input: usize,
    /// The branch whose batches it reads; `None` for those of the source.
    reads: Option<usize>,
    /// Its number among all branches of its stream, from all sources.
    number: u32,
    schema: SchemaRef,
}

/// Where a view finds its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed {
    /// Index among the branches; `None` for the batch of the source itself.
    branch: Option<usize>,
    /// The branch's number in the stream that the view reads.
    pub number: u32,
}

/// What a batch of the source makes of the derived streams.
#[derive(Debug, Default)]
pub struct Derived {
    batches: Vec<DerivedBatch>,
    /// For each derived stream, the rows set aside for it.
    pub set_aside: Vec<Vec<SetAside>>,
    /// For each derived stream, how many rows it got.
    pub rows: Vec<u64>,
}

/// A batch of a derived stream.
#[derive(Debug)]
struct DerivedBatch {
    batch: RecordBatch,
    /// Which rows are in it; `None` is all.
    used: Option<BooleanArray>,
}

impl DerivedPlan {
    /// Binds those of `derived` that see events of `source`. Each comes after those that it reads.
    pub fn new(source: &Stream, derived: &[Arc<Stream>]) -> DerivedPlan {
        let mut plan = DerivedPlan { source: source.name.clone(), streams: Vec::new(), branches: Vec::new() };
        derived.iter().for_each(|stream| plan.add(stream));
        plan
    }

    fn add(&mut self, stream: &Arc<Stream>) {
        let schema = nullable(&stream.schema());
        let (place, mut first_number, mut own) = (self.streams.len(), 0, Vec::new());
        let inputs = stream.derivation().into_iter().flat_map(|derivation| &derivation.inputs);
        for (input, read) in inputs.enumerate() {
            own.extend(self.feeds(&read.stream.name).into_iter().map(|feed| Branch {
                stream: place,
                input,
                reads: feed.branch,
                number: first_number + feed.number,
                schema: schema.clone(),
            }));
            first_number += read.stream.branches().len() as u32;
        }
        if !own.is_empty() {
            self.streams.push(stream.clone());
            self.branches.extend(own);
        }
    }

    /// The derived streams that see events of the source.
    pub fn streams(&self) -> &[Arc<Stream>] {
        &self.streams
    }

    /// How many batches are made of one.
    pub fn branches(&self) -> usize {
        self.branches.len()
    }

    /// Where a reader of the stream of that name finds its rows; nowhere if that stream sees no events of the source.
    pub fn feeds(&self, stream: &str) -> Vec<Feed> {
        if stream == self.source {
            return vec![Feed { branch: None, number: 0 }];
        }
        let branches = self.branches.iter().enumerate();
        let own = branches.filter(|(_, branch)| self.streams[branch.stream].name == stream);
        own.map(|(place, branch)| Feed { branch: Some(place), number: branch.number }).collect()
    }

    /// Evaluates all derived streams over a batch of the source, each once. Rows that are true in `used` (`None` is all)
    /// are looked at.
    pub fn derive(&self, batch: &RecordBatch, used: Option<&BooleanArray>) -> Result<Derived, FeatureError> {
        let mut derived = Derived {
            batches: Vec::with_capacity(self.branches.len()),
            set_aside: vec![Vec::new(); self.streams.len()],
            rows: vec![0; self.streams.len()],
        };
        for branch in &self.branches {
            let (read, read_used) = match branch.reads {
                Some(place) => (&derived.batches[place].batch, derived.batches[place].used.as_ref()),
                None => (batch, used),
            };
            let stream = &self.streams[branch.stream];
            let input = &stream.derivation().expect("only derived streams are bound").inputs[branch.input];
            let (columns, used, mut set_aside) = evaluate(input, read, read_used);
            let batch = RecordBatch::try_new(branch.schema.clone(), columns)
                .map_err(|source| FeatureError::Arrow { object: format!("stream `{}`", stream.name), source })?;
            derived.rows[branch.stream] += used.as_ref().map_or(batch.num_rows(), BooleanArray::true_count) as u64;
            derived.set_aside[branch.stream].append(&mut set_aside);
            derived.batches.push(DerivedBatch { batch, used });
        }
        Ok(derived)
    }
}

impl Derived {
    /// The batch that a feed stands for, given the source's own, and the rows of it that are in.
    pub fn at<'a>(
        &'a self,
        feed: Feed,
        batch: &'a RecordBatch,
        used: Option<&'a BooleanArray>,
    ) -> (&'a RecordBatch, Option<&'a BooleanArray>) {
        match feed.branch {
            Some(place) => (&self.batches[place].batch, self.batches[place].used.as_ref()),
            None => (batch, used),
        }
    }
}

/// The columns of one SELECT over a batch, the rows that it lets through, and those set aside.
fn evaluate(
    input: &DerivedInput,
    batch: &RecordBatch,
    used: Option<&BooleanArray>,
) -> (Vec<ArrayRef>, Option<BooleanArray>, Vec<SetAside>) {
    let mut taking = Taking::new(batch, used);
    if let Some(filter) = &input.filter {
        let passes = taking.evaluate(filter, "WHERE", None);
        taking.keep(passes.as_boolean());
    }
    // As on entry of any stream: one zero, one NaN.
    let column = |one: &asof_definition::DerivedColumn| normalize(&taking.evaluate(&one.expression, &one.text, None));
    let columns = input.columns.iter().map(column).collect();
    let (used, set_aside) = taking.end();
    (columns, used, set_aside)
}
