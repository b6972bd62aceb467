//! What a stream's declaration says of each event on its face: NOT NULL and CHECK, and its rules for the judge.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use asof_definition::Stream;
use asof_window::{Rejection, Rules};

/// A stream bound for judging batches of its events.
#[derive(Debug, Clone)]
pub struct StreamPlan {
    stream: Arc<Stream>,
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

impl StreamPlan {
    /// Binds a stream.
    pub fn new(stream: Arc<Stream>) -> StreamPlan {
        StreamPlan { stream }
    }

    /// The stream.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The judge's rules for live arrivals.
    pub fn rules(&self) -> Rules {
        let deduplicates = self.stream.primary_key_enforced && !self.stream.primary_key.is_empty();
        Rules {
            lateness_us: self.stream.lateness_us,
            ahead_max_us: Some(self.stream.ahead_max_us),
            dedup_horizon_us: deduplicates.then_some(self.stream.dedup_horizon_us),
        }
    }

    /// The judge's rules for a file, whose arrival is no clock: nothing is too far in the future.
    pub fn file_rules(&self) -> Rules {
        Rules { ahead_max_us: None, ..self.rules() }
    }

    /// Rows of `batch` (the stream's columns, all readable) that break NOT NULL or a CHECK, each with its first reason,
    /// in ascending order. Rows in `unreadable` (ascending) are passed over: they are rejected already.
    pub fn rejected(&self, batch: &RecordBatch, unreadable: &[usize]) -> Vec<Rejected> {
        let mut rejected: Vec<Rejected> = Vec::new();
        for (column, array) in self.stream.columns.iter().zip(batch.columns()) {
            if !column.not_null || array.null_count() == 0 {
                continue;
            }
            let nulls = (0..array.len()).filter(|&row| array.is_null(row));
            rejected.extend(nulls.map(|row| Rejected {
                row,
                rejection: Rejection::NotNull,
                detail: format!("`{}` is NULL", column.name),
            }));
        }
        for check in &self.stream.checks {
            let evaluated = check.expression.evaluate_each(batch, None);
            rejected.extend(evaluated.failures.iter().map(|failure| Rejected {
                row: failure.row,
                rejection: Rejection::Check,
                detail: format!("CHECK ({}) failed: {}", check.text, failure.detail),
            }));
            let passes = evaluated.values.as_boolean();
            if passes.true_count() + passes.null_count() == passes.len() {
                continue;
            }
            let broken = (0..passes.len()).filter(|&row| passes.is_valid(row) && !passes.value(row));
            rejected.extend(broken.map(|row| Rejected {
                row,
                rejection: Rejection::Check,
                detail: format!("CHECK ({}) is false", check.text),
            }));
        }
        rejected.retain(|one| unreadable.binary_search(&one.row).is_err());
        rejected.sort_by_key(|one| (one.row, one.rejection));
        rejected.dedup_by_key(|one| one.row);
        rejected
    }
}
