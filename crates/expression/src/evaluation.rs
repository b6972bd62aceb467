//! From a batch to one value per row, or to the rows that fail.
//!
//! Rules kept here: whether a row fails, and what it gives, is decided by that row alone. A batch that evaluates as a
//! whole costs one evaluation. One that does not is halved until the failing rows stand alone: with f failing rows among
//! n that is at most 2 f log₂ n evaluations. (AND, OR and CASE skip an operand for a whole batch or for some of its rows,
//! as DataFusion sees fit, but never evaluate for a row alone what they skip for it in a batch; so halving can only turn
//! a failure of the batch into values of the rows, and those are the values the row has in any batch.)

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt64Array, new_null_array};
use arrow::compute::{cast_with_options, concat, take, take_record_batch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::FormatOptions;
use datafusion_common::DataFusionError;
use datafusion_physical_expr::PhysicalExpr;
use thiserror::Error;

use crate::normal::canonical_nan;

/// One value per row, and the rows that have none because they failed.
#[derive(Debug)]
pub struct Evaluated {
    /// NULL for rows that were not asked for and for rows that failed.
    pub values: ArrayRef,
    /// In ascending order of row.
    pub failures: Vec<Failure>,
}

/// A row on which an expression fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Index into the batch.
    pub row: usize,
    /// What went wrong, as a public name.
    pub kind: FailureKind,
    /// What went wrong, in words.
    pub detail: String,
}

/// Why an expression fails on a row; displayed as the name that answers and dead letters carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// `out_of_range`: a number beyond its type.
    OutOfRange,
    /// `division_by_zero`, of integers or decimals.
    DivisionByZero,
    /// `bad_cast`: a value that the target type cannot hold.
    BadCast,
    /// `too_large`: a list or map of more values than an answer holds.
    TooLarge,
    /// `failed`: anything else.
    Other,
}

impl FailureKind {
    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            FailureKind::OutOfRange => "out_of_range",
            FailureKind::DivisionByZero => "division_by_zero",
            FailureKind::BadCast => "bad_cast",
            FailureKind::TooLarge => "too_large",
            FailureKind::Other => "failed",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The first row on which an expression fails.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("row {row}: {kind}: {detail}")]
pub struct EvaluationError {
    /// Index into the batch.
    pub row: usize,
    /// What went wrong, as a public name.
    pub kind: FailureKind,
    /// What went wrong, in words.
    pub detail: String,
}

impl From<Failure> for EvaluationError {
    fn from(failure: Failure) -> EvaluationError {
        EvaluationError { row: failure.row, kind: failure.kind, detail: failure.detail }
    }
}

/// What is evaluated: a physical expression and the type of the language that its result is brought into.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) physical: Arc<dyn PhysicalExpr>,
    pub(crate) data_type: DataType,
}

type Outcome = Result<ArrayRef, (FailureKind, String)>;

impl PartialEq for Program {
    fn eq(&self, other: &Program) -> bool {
        self.data_type == other.data_type && self.physical.as_ref() == other.physical.as_ref()
    }
}

impl Program {
    /// All rows of the batch.
    pub(crate) fn evaluate(&self, batch: &RecordBatch) -> Evaluated {
        let mut segments = Vec::new();
        let mut failures = Vec::new();
        self.evaluate_rows(batch, 0, &mut segments, &mut failures);
        match join(&segments, &self.data_type) {
            Ok(values) => Evaluated { values, failures },
            // Only text of more than 2 GiB in one batch comes here: no row of it can be given.
            Err(error) => self.fail_all(batch.num_rows(), &error),
        }
    }

    fn fail_all(&self, rows: usize, error: &ArrowError) -> Evaluated {
        let failure =
            |row| Failure { row, kind: FailureKind::Other, detail: format!("the batch cannot be held: {error}") };
        Evaluated { values: new_null_array(&self.data_type, rows), failures: (0..rows).map(failure).collect() }
    }

    /// The rows where `rows` is true; the others are not evaluated and come back NULL.
    pub(crate) fn evaluate_some(&self, batch: &RecordBatch, rows: &BooleanArray) -> Evaluated {
        let wanted: Vec<u64> =
            (0..rows.len()).filter(|&row| rows.is_valid(row) && rows.value(row)).map(|row| row as u64).collect();
        if wanted.len() == batch.num_rows() {
            return self.evaluate(batch);
        }
        if wanted.is_empty() {
            return Evaluated { values: new_null_array(&self.data_type, batch.num_rows()), failures: Vec::new() };
        }
        let indices = UInt64Array::from(wanted);
        let some = take_record_batch(batch, &indices).expect("indices of rows of this batch");
        let Evaluated { values, mut failures } = self.evaluate(&some);
        for failure in &mut failures {
            failure.row = indices.value(failure.row) as usize;
        }
        Evaluated { values: scatter(&values, &indices, batch.num_rows()), failures }
    }

    fn evaluate_rows(
        &self,
        batch: &RecordBatch,
        first_row: usize,
        segments: &mut Vec<ArrayRef>,
        failures: &mut Vec<Failure>,
    ) {
        let rows = batch.num_rows();
        match self.evaluate_whole(batch) {
            Ok(values) => segments.push(values),
            Err((kind, detail)) if rows == 1 => {
                segments.push(new_null_array(&self.data_type, 1));
                failures.push(Failure { row: first_row, kind, detail });
            }
            // A batch without rows has nothing to fail on.
            Err(_) if rows == 0 => {}
            Err(_) => {
                let half = rows / 2;
                self.evaluate_rows(&batch.slice(0, half), first_row, segments, failures);
                self.evaluate_rows(&batch.slice(half, rows - half), first_row + half, segments, failures);
            }
        }
    }

    /// One evaluation of all rows together. A panic inside a library's kernel is a failure like any other.
    pub(crate) fn evaluate_whole(&self, batch: &RecordBatch) -> Outcome {
        let evaluated = catch_unwind(AssertUnwindSafe(|| {
            let values = self.physical.evaluate(batch)?.into_array(batch.num_rows())?;
            Ok(canonical_nan(into_type(values, &self.data_type)?))
        }));
        match evaluated {
            Ok(outcome) => outcome.map_err(|error: DataFusionError| explain(&error)),
            Err(_) => Err((FailureKind::Other, "a function stopped unexpectedly on this value".to_owned())),
        }
    }
}

fn join(segments: &[ArrayRef], data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    match segments {
        [] => Ok(new_null_array(data_type, 0)),
        [whole] => Ok(Arc::clone(whole)),
        segments => {
            let segments: Vec<&dyn Array> = segments.iter().map(|segment| segment.as_ref()).collect();
            concat(&segments)
        }
    }
}

/// Brings a result into the language's type for it; a value that does not fit fails.
fn into_type(values: ArrayRef, data_type: &DataType) -> Result<ArrayRef, DataFusionError> {
    if values.data_type() == data_type {
        return Ok(values);
    }
    let options = arrow::compute::CastOptions { safe: false, format_options: FormatOptions::default() };
    Ok(cast_with_options(&values, data_type, &options)?)
}

/// `values` put at `indices` (ascending) of an array of `rows` rows, NULL elsewhere.
fn scatter(values: &ArrayRef, indices: &UInt64Array, rows: usize) -> ArrayRef {
    let mut places: Vec<Option<u64>> = vec![None; rows];
    for (from, to) in indices.values().iter().enumerate() {
        places[*to as usize] = Some(from as u64);
    }
    take(values, &UInt64Array::from(places), None).expect("indices of rows of these values")
}

/// The public kind of an error of a kernel, and its words on one line without the library's own framing.
pub(crate) fn explain(error: &DataFusionError) -> (FailureKind, String) {
    let (kind, words) = explain_root(error);
    let words = words.strip_prefix("Execution error: ").unwrap_or(&words);
    let lines = words.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('~'));
    (kind, lines.collect::<Vec<_>>().join(" "))
}

fn explain_root(error: &DataFusionError) -> (FailureKind, String) {
    match error.find_root() {
        DataFusionError::ArrowError(error, _) => explain_arrow(error),
        DataFusionError::External(error) => match error.downcast_ref::<ArrowError>() {
            Some(error) => explain_arrow(error),
            None => (FailureKind::Other, error.to_string()),
        },
        DataFusionError::Execution(detail) => (kind_of_words(detail), detail.clone()),
        other => (FailureKind::Other, other.strip_backtrace()),
    }
}

fn explain_arrow(error: &ArrowError) -> (FailureKind, String) {
    match error {
        ArrowError::ArithmeticOverflow(detail) => (FailureKind::OutOfRange, detail.clone()),
        ArrowError::DivideByZero => (FailureKind::DivisionByZero, "division by zero".to_owned()),
        ArrowError::CastError(detail) | ArrowError::ParseError(detail) => (FailureKind::BadCast, detail.clone()),
        ArrowError::ComputeError(detail) | ArrowError::InvalidArgumentError(detail) => {
            (kind_of_words(detail), detail.clone())
        }
        ArrowError::ExternalError(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(error) => explain(error),
            None => (FailureKind::Other, inner.to_string()),
        },
        other => (FailureKind::Other, other.to_string()),
    }
}

/// Some functions report overflow in words only.
fn kind_of_words(detail: &str) -> FailureKind {
    let words = detail.to_lowercase();
    if words.contains("overflow") || words.contains("out of range") || words.contains("too large") {
        FailureKind::OutOfRange
    } else if words.contains("divide by zero") || words.contains("division by zero") {
        FailureKind::DivisionByZero
    } else if words.starts_with("cannot cast") {
        FailureKind::BadCast
    } else {
        FailureKind::Other
    }
}
