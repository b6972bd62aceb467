//! Rows of text becoming batches: columns grow row by row, an unreadable row keeps its place as NULLs.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, SchemaRef};
use asof_expression::type_name;

use crate::column::{Column, Scalar, bounded};
use crate::time_unit::TimeUnit;

/// The greatest number of rows of a batch.
pub const BATCH_ROWS_MAX: usize = 65_536;
/// How much of an unreadable row is kept, in bytes.
pub const RAW_BYTES_MAX: usize = 1_024;

/// Decoded rows, in the file's order and without gaps.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The file's number of the batch's first row, from 0; a CSV header and blank lines do not count.
    pub first_row: u64,
    /// The wanted columns, all nullable.
    pub batch: RecordBatch,
    /// The rows that could not be read, in order; they are NULL in every column.
    pub unreadable: Vec<Unreadable>,
}

/// A row that is not of its columns' types, or no row at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its place in the batch.
    pub row: usize,
    /// What was expected and what was found.
    pub detail: String,
    /// The row as it stands in the file, at most 1 KiB of it.
    pub raw: String,
}

/// A batch that grows.
pub(crate) struct BatchBuilder<'a> {
    schema: &'a SchemaRef,
    unit: TimeUnit,
    rows_expected: usize,
    first_row: u64,
    rows: usize,
    pub(crate) columns: Vec<Column>,
    unreadable: Vec<Unreadable>,
}

impl<'a> BatchBuilder<'a> {
    pub(crate) fn new(schema: &'a SchemaRef, unit: TimeUnit, first_row: u64, rows_expected: usize) -> BatchBuilder<'a> {
        let rows_expected = rows_expected.min(BATCH_ROWS_MAX);
        let columns = new_columns(schema, unit, rows_expected);
        BatchBuilder { schema, unit, rows_expected, first_row, rows: 0, columns, unreadable: Vec::new() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows == BATCH_ROWS_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Appends a row of NULLs, to be set through `columns`.
    pub(crate) fn start_row(&mut self) {
        self.rows += 1;
        for column in &mut self.columns {
            column.start_row();
        }
    }

    /// Makes the last row NULL in every column.
    pub(crate) fn reset_row(&mut self) {
        for column in &mut self.columns {
            column.reset_row();
        }
    }

    /// Sets the last row aside.
    pub(crate) fn reject_row(&mut self, detail: String, raw: &[u8]) {
        self.reset_row();
        self.unreadable.push(Unreadable { row: self.rows - 1, detail, raw: bounded_raw(raw) });
    }

    pub(crate) fn column_name(&self, index: usize) -> &str {
        self.schema.field(index).name()
    }

    /// What is wrong with `scalar` in column `index`.
    pub(crate) fn mismatch(&self, index: usize, scalar: Scalar<'_>) -> String {
        mismatch(self.schema.field(index).name(), self.columns[index].data_type(), scalar)
    }

    /// The rows so far; the builder goes on with the next row.
    pub(crate) fn take(&mut self) -> Decoded {
        let fresh = BatchBuilder::new(self.schema, self.unit, self.first_row + self.rows as u64, self.rows_expected);
        std::mem::replace(self, fresh).finish()
    }

    /// The rows so far.
    pub(crate) fn finish(self) -> Decoded {
        let arrays = self.columns.into_iter().map(Column::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .expect("every column has the schema's type and one value a row");
        Decoded { first_row: self.first_row, batch, unreadable: self.unreadable }
    }
}

fn new_columns(schema: &SchemaRef, unit: TimeUnit, rows: usize) -> Vec<Column> {
    schema.fields().iter().map(|field| Column::new(field.data_type(), unit, rows)).collect()
}

/// ``column `amount`: expected DOUBLE, found text `abc` ``
pub(crate) fn mismatch(column: &str, data_type: &DataType, scalar: Scalar<'_>) -> String {
    format!("column `{column}`: expected {}, found {}", type_name(data_type), scalar.describe())
}

/// The first kilobyte of a row as text.
pub(crate) fn bounded_raw(raw: &[u8]) -> String {
    let head = &raw[..raw.len().min(RAW_BYTES_MAX)];
    bounded(&String::from_utf8_lossy(head), RAW_BYTES_MAX - '…'.len_utf8())
}
