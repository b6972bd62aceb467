//! One batch on its way into a view or a derived stream: which rows are still in, and which are set aside because an
//! expression failed on them.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{and, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use asof_expression::{Expression, FailureKind};

/// An event on which an expression of a view or of a derived stream failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Row in the batch.
    pub row: usize,
    /// What went wrong, as a public name.
    pub kind: FailureKind,
    /// The expression at fault and what went wrong, in words.
    pub detail: String,
}

/// The state of taking in one batch.
pub(crate) struct Taking<'a> {
    batch: Cow<'a, RecordBatch>,
    /// Rows still in; `None` is all.
    rows: Option<BooleanArray>,
    set_aside: Vec<SetAside>,
}

impl<'a> Taking<'a> {
    /// Of the batch, the rows that are true in `used`; `None` is all.
    pub(crate) fn new(batch: &'a RecordBatch, used: Option<&BooleanArray>) -> Taking<'a> {
        Taking { batch: Cow::Borrowed(batch), rows: used.cloned(), set_aside: Vec::new() }
    }

    /// How many rows the batch has.
    pub(crate) fn batch_rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// The rows still in; `None` is all.
    pub(crate) fn rows(&self) -> Option<&BooleanArray> {
        self.rows.as_ref()
    }

    /// Puts columns behind those of the batch, which then are of `schema`.
    pub(crate) fn widen(&mut self, schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<(), ArrowError> {
        let own = self.batch.columns().iter().cloned();
        self.batch = Cow::Owned(RecordBatch::try_new(schema.clone(), own.chain(columns).collect())?);
        Ok(())
    }

    /// Evaluates over the rows still in, where `guard` is true if it is given; sets failing rows aside.
    pub(crate) fn evaluate(&mut self, expression: &Expression, text: &str, guard: Option<&BooleanArray>) -> ArrayRef {
        let guarded = match (&self.rows, guard) {
            (rows, None) => rows.clone(),
            (None, Some(guard)) => Some(guard.clone()),
            (Some(rows), Some(guard)) => Some(both(rows, guard)),
        };
        // What cannot fail may be evaluated everywhere: nobody looks at the rows that are out.
        let rows = if expression.can_fail() { guarded.as_ref() } else { None };
        let evaluated = expression.evaluate_each(&self.batch, rows);
        self.set_aside.extend(evaluated.failures.into_iter().map(|failure| SetAside {
            row: failure.row,
            kind: failure.kind,
            detail: format!("`{text}`: {}", failure.detail),
        }));
        evaluated.values
    }

    /// Keeps only rows on which `passes` is true.
    pub(crate) fn keep(&mut self, passes: &BooleanArray) {
        if passes.null_count() == 0 && passes.true_count() == passes.len() {
            return;
        }
        self.rows = Some(match &self.rows {
            None => true_only(passes),
            Some(rows) => both(rows, passes),
        });
    }

    /// Keeps only rows of which no key part is NULL.
    pub(crate) fn keep_whole_keys(&mut self, keys: &[ArrayRef]) {
        for key in keys {
            if let Some(nulls) = key.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
                self.keep(&BooleanArray::new(nulls.inner().clone(), None));
            }
        }
    }

    /// The rows that are in at the end (`None` is all), and those set aside: ascending, each with its first failure.
    pub(crate) fn end(mut self) -> (Option<BooleanArray>, Vec<SetAside>) {
        self.set_aside.sort_by_key(|one| one.row);
        self.set_aside.dedup_by_key(|one| one.row);
        if !self.set_aside.is_empty() {
            let mut stays = vec![true; self.batch.num_rows()];
            self.set_aside.iter().for_each(|one| stays[one.row] = false);
            self.keep(&BooleanArray::from(stays));
        }
        (self.rows, self.set_aside)
    }
}

fn true_only(claims: &BooleanArray) -> BooleanArray {
    if claims.null_count() == 0 { claims.clone() } else { prep_null_mask_filter(claims) }
}

fn both(one: &BooleanArray, other: &BooleanArray) -> BooleanArray {
    and(&true_only(one), &true_only(other)).expect("both have one claim per row")
}
