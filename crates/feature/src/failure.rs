//! A feature that has no value on a row because its expression failed there.

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::nullif;
use asof_expression::{Evaluated, Expression, FailureKind};
use asof_window::{ANSWER_ITEMS_MAX, ANSWER_TEXT_BYTES_MAX, FailedAnswer, Failure};

/// One feature of one row that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureFailure {
    /// Row of the read, from 0.
    pub row: usize,
    /// Index of the feature in its view or service.
    pub feature: usize,
    /// What went wrong, as a public name.
    pub kind: FailureKind,
    /// What went wrong, in words.
    pub detail: String,
}

impl FeatureFailure {
    /// A failed aggregate as a failure of the feature that reads it.
    pub(crate) fn of_aggregate(feature: usize, failed: &FailedAnswer, text: &str) -> FeatureFailure {
        let (kind, detail) = match failed.failure {
            Failure::OutOfRange => (FailureKind::OutOfRange, format!("`{text}` is outside its type")),
            Failure::TooLarge => {
                let mebibytes = ANSWER_TEXT_BYTES_MAX >> 20;
                let bounds = format!("{ANSWER_ITEMS_MAX} values or {mebibytes} MiB of text");
                (FailureKind::TooLarge, format!("`{text}` has more than {bounds}"))
            }
        };
        FeatureFailure { row: failed.row, feature, kind, detail }
    }
}

/// The values of a feature with those of failing rows NULL: an expression over a failed aggregate may make something up.
pub(crate) fn without_failed(values: ArrayRef, failures: &[FeatureFailure]) -> ArrayRef {
    if failures.is_empty() {
        return values;
    }
    let mut failed = vec![false; values.len()];
    failures.iter().for_each(|failure| failed[failure.row] = true);
    nullif(&values, &BooleanArray::from(failed)).expect("one claim per row")
}

/// The failures of evaluating `expression` as `feature`, together with those it inherits from the columns it reads.
/// Each row is named once.
pub(crate) fn failures_of(
    feature: usize,
    expression: &Expression,
    evaluated: &Evaluated,
    inherited: impl Fn(usize) -> Vec<FeatureFailure>,
) -> Vec<FeatureFailure> {
    let mut failures: Vec<FeatureFailure> = expression.columns().into_iter().flat_map(inherited).collect();
    failures.extend(evaluated.failures.iter().map(|failure| FeatureFailure {
        row: failure.row,
        feature,
        kind: failure.kind,
        detail: failure.detail.clone(),
    }));
    failures.sort_by_key(|failure| failure.row);
    failures.dedup_by_key(|failure| failure.row);
    failures
}
