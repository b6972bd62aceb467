//! What a stream's declaration says of each event on its face (NOT NULL and CHECK), and the judgement of its arrivals.
//!
//! The face of a batch depends on its rows alone, so that any thread may look at it; judging goes in the order of arrival.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::row::{RowConverter, Rows, SortField};
use asof_definition::{Check, Stream, Table};
use asof_window::{Arrival, Judge, KeyHash, KeyHasher, Lateness, Rejection, Rules, Verdict};

use crate::error::FeatureError;
use crate::key_secret::KeySecret;

/// A stream bound for judging batches of its events.
#[derive(Debug, Clone)]
pub struct StreamPlan {
    stream: Arc<Stream>,
    /// Of the versions of a table, the column that is true in a delete marker.
    deleted: Option<usize>,
    /// The encoding of primary keys, in which bytes order as the values do.
    primary_key: Option<Arc<RowConverter>>,
    /// Of the data folder where hashes are stored. Without one they do not outlive this process, or a data folder was made
    /// before there were secrets: [`KeyHasher::FIXED`].
    secret: Option<KeySecret>,
}

/// A batch of a stream, and what is known of its rows on their face.
#[derive(Debug, Clone, Copy)]
pub struct Faced<'a> {
    /// The partition that the rows arrived at.
    pub partition: u32,
    /// The stream's columns.
    pub batch: &'a RecordBatch,
    /// Rows rejected on their face, ascending.
    pub rejected: &'a [Rejected],
    /// The encoded primary key of each row, where there is one.
    pub primary_keys: Option<&'a Rows>,
}

/// An event rejected on its face.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Row in the batch.
    pub row: usize,
    /// The first reason in the order of judgement.
    pub rejection: Rejection,
    /// The column, check or value at fault.
    pub detail: String,
}

/// What is known of the rows of a batch beside their face.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) lateness: Lateness,
    /// Rows and times of used events with their primary key that the judge no longer remembers; ascending by row.
    pub(crate) used_before: &'a [(usize, i64)],
    /// See [`Arrivals::fed`](crate::Arrivals::fed).
    pub(crate) fed: Option<&'a [u32]>,
}

impl StreamPlan {
    /// Binds a stream.
    pub fn new(stream: Arc<Stream>) -> Result<StreamPlan, FeatureError> {
        let fields = stream.primary_key.iter().map(|&column| SortField::new(stream.columns[column].data_type.clone()));
        let fields: Vec<SortField> = fields.collect();
        let converter = if fields.is_empty() { None } else { Some(RowConverter::new(fields)) };
        let primary_key = converter.transpose().map_err(|source| refused(&stream, source))?.map(Arc::new);
        Ok(StreamPlan { stream, deleted: None, primary_key, secret: None })
    }

    /// Binds the versions of a table.
    pub fn of_table(table: &Table) -> Result<StreamPlan, FeatureError> {
        Ok(StreamPlan { deleted: table.deleted, ..StreamPlan::new(table.versions.clone())? })
    }

    /// The same with keys hashed under the secret of a data folder; `None` is that of one that has none.
    pub fn with_key_secret(self, secret: Option<KeySecret>) -> StreamPlan {
        StreamPlan { secret, ..self }
    }

    /// The stream.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The judge's rules for live arrivals.
    pub fn rules(&self) -> Rules {
        Rules {
            lateness_us: self.stream.lateness_us,
            ahead_max_us: Some(self.stream.ahead_max_us),
            dedup_horizon_us: self.deduplicates().then_some(self.stream.dedup_horizon_us),
        }
    }

    /// The judge's rules for a file, whose arrival is no clock: nothing is too far in the future.
    pub fn file_rules(&self) -> Rules {
        Rules { ahead_max_us: None, ..self.rules() }
    }

    /// Rows of `batch` (the stream's columns) that are rejected on their face, each with its first reason, ascending:
    /// those that could not be read, given with what is wrong with them, and those that break NOT NULL or a CHECK.
    pub fn rejected(&self, batch: &RecordBatch, unreadable: Vec<(usize, String)>) -> Vec<Rejected> {
        let mut rejected = self.broken(batch);
        rejected.extend(unreadable.into_iter().map(|(row, detail)| Rejected {
            row,
            rejection: Rejection::Unreadable,
            detail,
        }));
        // Unreadable goes before the others in the order of judgement.
        rejected.sort_by_key(|one| (one.row, one.rejection));
        rejected.dedup_by_key(|one| one.row);
        rejected
    }

    /// Every breach of NOT NULL or a CHECK. A delete marker is asked for its primary key and its event time alone.
    fn broken(&self, batch: &RecordBatch) -> Vec<Rejected> {
        let not_markers = self.deleted.map(|column| is_not_true(batch.column(column).as_boolean()));
        let mut rejected: Vec<Rejected> = Vec::new();
        for (index, array) in batch.columns().iter().enumerate() {
            let asked = not_markers.as_ref().filter(|_| !self.names_event(index));
            rejected.extend(self.nulls(index, array, asked));
        }
        self.stream.checks.iter().for_each(|check| rejected.extend(breaches(check, batch, not_markers.as_ref())));
        rejected
    }

    /// Whether a column is part of what an event is known by.
    fn names_event(&self, column: usize) -> bool {
        column == self.stream.time_column || self.stream.primary_key.contains(&column)
    }

    /// The NULLs of a column that may not have them, among the rows that are `asked` for; `None` is all.
    fn nulls(&self, index: usize, array: &ArrayRef, asked: Option<&BooleanArray>) -> Vec<Rejected> {
        let column = &self.stream.columns[index];
        if !column.not_null || array.null_count() == 0 {
            return Vec::new();
        }
        let is_asked = |row: &usize| asked.is_none_or(|asked| asked.value(*row));
        let nulls = (0..array.len()).filter(|row| array.is_null(*row)).filter(is_asked);
        let detail = || format!("`{}` is NULL", column.name);
        nulls.map(|row| Rejected { row, rejection: Rejection::NotNull, detail: detail() }).collect()
    }

    /// The encoded primary keys of a batch; `None` for a stream without one.
    pub fn primary_keys(&self, batch: &RecordBatch) -> Result<Option<Rows>, FeatureError> {
        let Some(converter) = &self.primary_key else { return Ok(None) };
        let columns = self.stream.primary_key.iter().map(|&column| asof_expression::normalize(batch.column(column)));
        let rows = converter.convert_columns(&columns.collect::<Vec<ArrayRef>>());
        rows.map(Some).map_err(|source| refused(&self.stream, source))
    }

    /// The primary keys of the rows where `kept` is true.
    ///
    /// # Panics
    /// If the stream has no primary key.
    pub fn keys_where(&self, keys: &Rows, kept: &BooleanArray) -> Rows {
        let converter = self.primary_key.as_ref().expect("keys are of a stream with a primary key");
        let mut some = converter.empty_rows(kept.true_count(), 0);
        kept.values().set_indices().for_each(|row| some.push(keys.row(row)));
        some
    }

    /// Whether repeats of a primary key are duplicates, so that keys of used events are remembered.
    pub fn deduplicates(&self) -> bool {
        self.stream.primary_key_enforced && !self.stream.primary_key.is_empty()
    }

    /// How the judge knows the primary key of a row of a partition; `None` where keys are not remembered.
    pub fn key_hash(&self, primary_keys: Option<&Rows>, row: usize, partition: u32) -> Option<KeyHash> {
        let keys = primary_keys.filter(|_| self.deduplicates())?;
        Some(self.hash(keys.row(row).data()).at(partition))
    }

    pub(crate) fn hash(&self, encoded: &[u8]) -> KeyHash {
        self.secret.as_ref().map_or_else(|| KeyHasher::FIXED.hash(encoded), |secret| secret.hash(encoded))
    }

    /// Judges the rows of a batch, in order. `arrived_us` tells when a row arrived, given its place and its event time (NULL
    /// where it has none), both in microseconds.
    pub fn judge(
        &self,
        judge: &mut Judge,
        faced: Faced<'_>,
        arrived_us: impl FnMut(usize, Option<i64>) -> i64,
    ) -> Vec<Verdict> {
        self.judge_knowing(judge, faced, Known { lateness: Lateness::Applied, used_before: &[], fed: None }, arrived_us)
    }

    /// The same, knowing more of the rows than lies in them.
    pub(crate) fn judge_knowing(
        &self,
        judge: &mut Judge,
        faced: Faced<'_>,
        known: Known<'_>,
        mut arrived_us: impl FnMut(usize, Option<i64>) -> i64,
    ) -> Vec<Verdict> {
        let times = faced.batch.column(self.stream.time_column).as_primitive::<TimestampMicrosecondType>();
        let mut rejected = faced.rejected.iter().peekable();
        let used_before_us: Vec<i64> = known.used_before.iter().map(|(_, time_us)| *time_us).collect();
        let mut told = 0;
        let partition = |row: usize| known.fed.map_or(faced.partition, |fed| fed[row]);
        let verdict_of = |row: usize| {
            let time_us = times.is_valid(row).then(|| times.value(row));
            let first = told;
            told += known.used_before[first..].iter().take_while(|(of, _)| *of == row).count();
            let arrival = Arrival {
                rejection: rejected.next_if(|one| one.row == row).map(|one| one.rejection),
                time_us: time_us.unwrap_or_default(),
                arrived_us: arrived_us(row, time_us),
                lateness: known.lateness,
                primary_key: self.key_hash(faced.primary_keys, row, partition(row)),
                used_before_us: &used_before_us[first..told],
            };
            judge.judge(partition(row), arrival)
        };
        (0..faced.batch.num_rows()).map(verdict_of).collect()
    }
}

/// The rows of a batch on which a CHECK is false or fails, among those that are `asked` for; `None` is all.
fn breaches(check: &Check, batch: &RecordBatch, asked: Option<&BooleanArray>) -> Vec<Rejected> {
    let evaluated = check.expression.evaluate_each(batch, asked);
    let failed = evaluated.failures.iter().map(|failure| Rejected {
        row: failure.row,
        rejection: Rejection::Check,
        detail: format!("CHECK ({}) failed: {}", check.text, failure.detail),
    });
    let mut rejected: Vec<Rejected> = failed.collect();
    let passes = evaluated.values.as_boolean();
    if passes.true_count() + passes.null_count() < passes.len() {
        let broken = (0..passes.len()).filter(|&row| passes.is_valid(row) && !passes.value(row));
        rejected.extend(broken.map(|row| Rejected {
            row,
            rejection: Rejection::Check,
            detail: format!("CHECK ({}) is false", check.text),
        }));
    }
    rejected
}

/// Where a claim is false or NULL.
pub(crate) fn is_not_true(claims: &BooleanArray) -> BooleanArray {
    (0..claims.len()).map(|row| Some(!(claims.is_valid(row) && claims.value(row)))).collect()
}

fn refused(stream: &Stream, source: arrow::error::ArrowError) -> FeatureError {
    FeatureError::Arrow { object: format!("stream `{}`", stream.name), source }
}
