//! The streams derived from one stream with events of its own: from each of its batches, the batches of the others.
//!
//! ```text
//!   batch of s     rows 0 1 2 3 4 5    used ▪ ▪ · ▪ ▪ ▪        row 2 is a duplicate
//!   derived: d     rows 0 1 2 3 4 5    used ▪ · · ▪ ▪ ·        1 does not pass WHERE, on 5 a column failed: set aside
//!   derived: d2    rows 0 1 2 3 4 5    used ▪ · · · ▪ ·
//! ```
//! What a SELECT joins is looked up as of the events' times ([`Tables`]), before its WHERE. A feature view that joins reads a
//! derived stream of its own.
//!
//! Rule kept here: a derived batch has the rows of the batch that it comes from, row by row, so that event times, offsets
//! and primary keys are those of the stream that the events arrived at. Only the columns are others, and fewer rows used.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use asof_definition::{DerivedColumn, DerivedInput, Stream};
use asof_expression::normalize;

use crate::error::FeatureError;
use crate::lookup::{LookedUp, Lookup, lookups};
use crate::tables::Tables;
use crate::taking::{SetAside, Taking};
use crate::view::nullable;

/// What is derived from one stream.
#[derive(Debug, Clone)]
pub struct DerivedPlan {
    /// The name of the stream that the events arrive at.
    source: String,
    /// Index of the column that holds their times.
    time_column: usize,
    /// The derived streams that see events of it, each after those that it reads.
    streams: Vec<Arc<Stream>>,
    /// In that order too.
    branches: Vec<Branch>,
    /// For each join of the branches, in their order, the table.
    joined: Vec<String>,
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
    /// Of its joins.
    lookups: Vec<Lookup>,
    /// The tables joined on the way from the source, its own joins included.
    tables: Vec<String>,
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
    /// For each branch; `None` where it was not asked for.
    batches: Vec<Option<DerivedBatch>>,
    /// For each join of the branches the hashes of the keys asked for, row by row; none where it was not asked for.
    pub(crate) hashes: Vec<Vec<u32>>,
    /// Row by row, when a version of some table arrives by which something else is derived, in microseconds, or the greatest
    /// number; nothing where all versions are known, or no join was asked for.
    pub until_us: Vec<i64>,
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
        let mut plan = DerivedPlan {
            source: source.name.clone(),
            time_column: source.time_column,
            streams: Vec::new(),
            branches: Vec::new(),
            joined: Vec::new(),
        };
        // Rows of windows, and scored ones, arise in streams of their own.
        derived.iter().filter(|stream| !stream.makes_rows()).for_each(|stream| plan.add(stream));
        plan
    }

    fn add(&mut self, stream: &Arc<Stream>) {
        let (place, mut first_number, mut is_fed) = (self.streams.len(), 0, false);
        let inputs = stream.derivation().into_iter().flat_map(|derivation| &derivation.inputs);
        let mut own = Vec::new();
        for (input, read) in inputs.enumerate() {
            let feeds = self.feeds(&read.stream.name);
            is_fed |= !feeds.is_empty();
            own.extend(feeds.into_iter().map(|feed| (input, read, feed, first_number)));
            first_number += read.stream.branches().len() as u32;
        }
        for (input, read, feed, first_number) in own {
            self.add_branch(stream, place, (input, read), Feed { number: first_number + feed.number, ..feed });
        }
        if is_fed {
            self.streams.push(stream.clone());
        }
    }

    /// Adds the branch that reads where `feed` says, under its number.
    fn add_branch(&mut self, stream: &Stream, place: usize, (input, read): (usize, &DerivedInput), feed: Feed) {
        let before = feed.branch.map_or(&[][..], |branch| &self.branches[branch].tables);
        let own = read.joins.iter().map(|join| join.table.name().to_owned());
        let branch = Branch {
            stream: place,
            input,
            reads: feed.branch,
            number: feed.number,
            schema: nullable(&stream.schema()),
            lookups: lookups(read, self.joined.len()),
            tables: before.iter().cloned().chain(own.clone()).collect(),
        };
        self.joined.extend(own);
        self.branches.push(branch);
    }

    /// The derived streams that see events of the source.
    pub fn streams(&self) -> &[Arc<Stream>] {
        &self.streams
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

    /// The tables joined on some way from the source, each once.
    pub fn tables(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.joined.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether what a feed stands for depends on a table.
    pub fn depends_on(&self, feed: Feed, table: &str) -> bool {
        feed.branch.is_some_and(|branch| self.branches[branch].tables.iter().any(|name| name == table))
    }

    /// Whether what a feed stands for depends on any table.
    pub fn joins(&self, feed: Feed) -> bool {
        feed.branch.is_some_and(|branch| !self.branches[branch].tables.is_empty())
    }

    /// The numbers of the joins with a table.
    pub(crate) fn joins_with(&self, table: &str) -> Vec<usize> {
        (0..self.joined.len()).filter(|number| self.joined[*number] == table).collect()
    }

    /// For each branch, whether it depends on a table, or one does that reads it.
    pub fn branches_of(&self, table: &str) -> Vec<bool> {
        let depends = |branch: &Branch| branch.tables.iter().any(|name| name == table);
        self.with_those_read(self.branches.iter().map(depends).collect())
    }

    /// The same of the branches that these feeds stand for: nobody asks what the others make of it.
    pub fn branches_behind(&self, feeds: impl IntoIterator<Item = Feed>, table: &str) -> Vec<bool> {
        let depending = feeds.into_iter().filter(|feed| self.depends_on(*feed, table));
        let mut asked = vec![false; self.branches.len()];
        depending.filter_map(|feed| feed.branch).for_each(|branch| asked[branch] = true);
        self.with_those_read(asked)
    }

    /// Of some branches the numbers of the joins with a table.
    pub(crate) fn joins_among(&self, branches: &[bool], table: &str) -> Vec<usize> {
        let asked = self.branches.iter().zip(branches).filter(|(_, is_asked)| **is_asked);
        let numbers = asked.flat_map(|(branch, _)| branch.lookups.iter().map(|lookup| lookup.number));
        numbers.filter(|number| self.joined[*number] == table).collect()
    }

    /// These branches, and those that they read.
    fn with_those_read(&self, mut asked: Vec<bool>) -> Vec<bool> {
        for (place, branch) in self.branches.iter().enumerate().rev() {
            if let Some(read) = branch.reads.filter(|_| asked[place]) {
                asked[read] = true;
            }
        }
        asked
    }

    /// Which columns of the source have to be there so that each of these feeds comes out as it would, in the columns
    /// beside it.
    pub(crate) fn source_columns(&self, fed: &[(Feed, Vec<usize>)], columns: usize) -> Vec<bool> {
        let mut source = vec![false; columns];
        let mut needed: Vec<Vec<usize>> = vec![Vec::new(); self.branches.len()];
        for (feed, read) in fed {
            match feed.branch {
                Some(branch) => needed[branch].extend(read),
                None => read.iter().for_each(|column| source[*column] = true),
            }
        }
        let is_read = |place| fed.iter().any(|(feed, _)| feed.branch == Some(place));
        let mut is_asked: Vec<bool> = (0..self.branches.len()).map(is_read).collect();
        for (place, branch) in self.branches.iter().enumerate().rev() {
            if !is_asked[place] {
                continue;
            }
            let input = self.input(branch);
            let read = columns_read(input, &needed[place]);
            let own = read.into_iter().filter(|column| *column < input.stream.columns.len());
            match branch.reads {
                Some(before) => {
                    is_asked[before] = true;
                    needed[before].extend(own);
                }
                None => own.for_each(|column| source[column] = true),
            }
        }
        source
    }

    fn input(&self, branch: &Branch) -> &DerivedInput {
        &self.streams[branch.stream].derivation().expect("only derived streams are bound").inputs[branch.input]
    }

    /// Evaluates all derived streams over a batch of the source, each once. Rows that are true in `used` (`None` is all)
    /// are looked at.
    pub fn derive(
        &self,
        batch: &RecordBatch,
        used: Option<&BooleanArray>,
        tables: &Tables<'_>,
    ) -> Result<Derived, FeatureError> {
        self.derive_asked(batch, used, tables, |_| true)
    }

    /// The same of the branches that are asked for, with those that they read.
    pub fn derive_asked(
        &self,
        batch: &RecordBatch,
        used: Option<&BooleanArray>,
        tables: &Tables<'_>,
        is_asked: impl Fn(usize) -> bool,
    ) -> Result<Derived, FeatureError> {
        let times_us = batch.column(self.time_column).as_primitive::<TimestampMicrosecondType>().values();
        let mut derived = Derived {
            batches: Vec::with_capacity(self.branches.len()),
            hashes: vec![Vec::new(); self.joined.len()],
            until_us: Vec::new(),
            set_aside: vec![Vec::new(); self.streams.len()],
            rows: vec![0; self.streams.len()],
        };
        for (place, branch) in self.branches.iter().enumerate() {
            if !is_asked(place) {
                derived.batches.push(None);
                continue;
            }
            let made = {
                let (read, used) = derived.at(Feed { branch: branch.reads, number: 0 }, batch, used);
                self.make(branch, Taking::new(read, used), times_us, tables)?
            };
            derived.add(branch.stream, made);
        }
        Ok(derived)
    }

    /// The batch of one branch, from that which it reads.
    fn make(
        &self,
        branch: &Branch,
        mut taking: Taking<'_>,
        times_us: &[i64],
        tables: &Tables<'_>,
    ) -> Result<Made, FeatureError> {
        let input = self.input(branch);
        let mut looked_up = Vec::with_capacity(branch.lookups.len());
        for (join, lookup) in input.joins.iter().zip(&branch.lookups) {
            looked_up.push((lookup.number, lookup.join(join, times_us, tables, &mut taking)?));
        }
        let (columns, used, set_aside) = evaluate(input, taking);
        let object = || format!("stream `{}`", self.streams[branch.stream].name);
        let batch = RecordBatch::try_new(branch.schema.clone(), columns)
            .map_err(|source| FeatureError::Arrow { object: object(), source })?;
        Ok(Made { batch: DerivedBatch { batch, used }, set_aside, looked_up })
    }
}

/// What one branch makes of a batch.
struct Made {
    batch: DerivedBatch,
    set_aside: Vec<SetAside>,
    /// Beside the numbers of the joins.
    looked_up: Vec<(usize, LookedUp)>,
}

impl Derived {
    fn add(&mut self, stream: usize, mut made: Made) {
        let DerivedBatch { batch, used } = &made.batch;
        self.rows[stream] += used.as_ref().map_or(batch.num_rows(), BooleanArray::true_count) as u64;
        self.set_aside[stream].append(&mut made.set_aside);
        self.batches.push(Some(made.batch));
        for (number, looked_up) in made.looked_up {
            self.hashes[number] = looked_up.hashes;
            self.until_us.resize(self.until_us.len().max(looked_up.until_us.len()), i64::MAX);
            let own = self.until_us.iter_mut().zip(looked_up.until_us);
            own.for_each(|(until_us, other_us)| *until_us = other_us.min(*until_us));
        }
    }

    /// The batch that a feed stands for, given the source's own, and the rows of it that are in.
    pub fn at<'a>(
        &'a self,
        feed: Feed,
        batch: &'a RecordBatch,
        used: Option<&'a BooleanArray>,
    ) -> (&'a RecordBatch, Option<&'a BooleanArray>) {
        match feed.branch {
            Some(place) => {
                let own = self.batches[place].as_ref().expect("a branch that is read was asked for");
                (&own.batch, own.used.as_ref())
            }
            None => (batch, used),
        }
    }
}

/// The columns of one SELECT over a batch with its joins, the rows that it lets through, and those set aside.
fn evaluate(input: &DerivedInput, mut taking: Taking<'_>) -> (Vec<ArrayRef>, Option<BooleanArray>, Vec<SetAside>) {
    if let Some(filter) = &input.filter {
        let passes = taking.evaluate(filter, "WHERE", None);
        taking.keep(passes.as_boolean());
    }
    // As on entry of any stream: one zero, one NaN.
    let column = |one: &DerivedColumn| normalize(&taking.evaluate(&one.expression, &one.text, None));
    let columns = input.columns.iter().map(column).collect();
    let (used, set_aside) = taking.end();
    (columns, used, set_aside)
}

/// The columns of its scope that a SELECT reads so that its `needed` outputs come out as they would, and the same rows.
fn columns_read(input: &DerivedInput, needed: &[usize]) -> Vec<usize> {
    let keys = input.joins.iter().flat_map(|join| &join.key).map(|part| &part.expression);
    // What is more than a bare column may fail, which sets the row aside.
    let is_evaluated = |place: usize| needed.contains(&place) || input.columns[place].expression.as_column().is_none();
    let outputs = (0..input.columns.len()).filter(|place| is_evaluated(*place));
    let outputs = outputs.map(|place| &input.columns[place].expression);
    keys.chain(&input.filter).chain(outputs).flat_map(|expression| expression.columns()).collect()
}
