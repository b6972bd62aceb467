//! Rows that arise in a stream instead of coming in: of windows that have closed, and scored ones.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::row::Rows;
use asof_definition::DerivedColumn;
use asof_expression::normalize;

use crate::failure::{FeatureFailure, failures_of};
use crate::taking::SetAside;

/// Rows that have arisen together.
#[derive(Debug)]
pub struct MadeRows {
    /// All columns of the stream.
    pub batch: RecordBatch,
    /// The keys that order rows of one event time; `None` where nothing does.
    pub primary_keys: Option<Rows>,
    /// Those of which a column failed, which are no rows, by their places among all that would be.
    pub set_aside: Vec<SetAside>,
}

/// The columns of rows that arise, evaluated over what they are computed from.
pub(crate) struct Outputs {
    /// Without the rows that are set aside.
    pub(crate) batch: RecordBatch,
    /// The places of its rows among all; `None` is all of them.
    pub(crate) kept: Option<Vec<usize>>,
    /// Ascending.
    pub(crate) set_aside: Vec<SetAside>,
}

impl Outputs {
    /// Evaluates `columns` over `known`. `inherited` says what failed already in a column of that, for the output at a place.
    pub(crate) fn of(
        columns: &[DerivedColumn],
        known: &RecordBatch,
        schema: SchemaRef,
        inherited: impl Fn(usize, usize) -> Vec<FeatureFailure>,
    ) -> Result<Outputs, ArrowError> {
        let mut failed: BTreeMap<usize, FeatureFailure> = BTreeMap::new();
        let mut outputs: Vec<ArrayRef> = Vec::with_capacity(columns.len());
        for (place, output) in columns.iter().enumerate() {
            let evaluated = output.expression.evaluate_each(known, None);
            let failures = failures_of(place, &output.expression, &evaluated, |column| inherited(place, column));
            failures.into_iter().for_each(|failure| {
                failed.entry(failure.row).or_insert(failure);
            });
            outputs.push(normalize(&evaluated.values));
        }
        let batch = RecordBatch::try_new(schema, outputs)?;
        let rows = batch.num_rows();
        let set_aside = failed.values().map(|failure| {
            let text = &columns[failure.feature].text;
            SetAside { row: failure.row, kind: failure.kind, detail: format!("`{text}`: {}", failure.detail) }
        });
        let set_aside: Vec<SetAside> = set_aside.collect();
        if failed.is_empty() {
            return Ok(Outputs { batch, kept: None, set_aside });
        }
        let stays: Vec<bool> = (0..rows).map(|row| !failed.contains_key(&row)).collect();
        let kept = (0..rows).filter(|row| stays[*row]).collect();
        let batch = filter_record_batch(&batch, &BooleanArray::from(stays))?;
        Ok(Outputs { batch, kept: Some(kept), set_aside })
    }
}
