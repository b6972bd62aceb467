//! How rows of a file lie in a batch while they wait: the stream's columns, then what was known of each row when it was
//! read. Everything is a column, so that rows can wait on disk and be put into another order.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType, UInt64Type};
use asof_connect::{Decoded, split_arrivals};
use asof_definition::Stream;

/// The layout for one stream.
#[derive(Debug, Clone)]
pub(crate) struct RowLayout {
    stream: Arc<Stream>,
    /// The place of the arrival column in decoded batches.
    arrival_column: Option<usize>,
    schema: SchemaRef,
}

impl RowLayout {
    pub(crate) fn new(stream: Arc<Stream>, arrival_column: Option<usize>) -> RowLayout {
        let columns = stream.columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true));
        let known = [
            Field::new("arrived", DataType::Int64, true),
            Field::new("unreadable", DataType::Utf8, true),
            Field::new("taken at", DataType::Int64, false),
            Field::new("offset", DataType::UInt64, false),
        ];
        let schema = Arc::new(Schema::new(columns.chain(known).collect::<Vec<_>>()));
        RowLayout { stream, arrival_column, schema }
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Lays out decoded rows. `taken_at` is their event time; a row without one comes before all others.
    pub(crate) fn lay_out(&self, decoded: Decoded) -> RecordBatch {
        let Decoded { first_row, batch, unreadable } = decoded;
        let rows = batch.num_rows();
        let (batch, arrived) = split_arrivals(&self.stream, self.arrival_column, &batch);
        let times = batch.column(self.stream.time_column).as_primitive::<TimestampMicrosecondType>();
        let taken_at: Int64Array = times.iter().map(|time_us| Some(time_us.unwrap_or(i64::MIN))).collect();
        let mut details: Vec<Option<&str>> = vec![None; rows];
        unreadable.iter().for_each(|one| details[one.row] = Some(&one.detail));
        let known: [ArrayRef; 4] = [
            Arc::new(arrived.unwrap_or_else(|| Int64Array::new_null(rows))),
            Arc::new(StringArray::from(details)),
            Arc::new(taken_at),
            Arc::new(UInt64Array::from_iter_values(first_row..first_row + rows as u64)),
        ];
        let columns = batch.columns().iter().cloned().chain(known).collect();
        RecordBatch::try_new(self.schema.clone(), columns).expect("columns of the layout's types, one value a row")
    }

    /// The same rows with `taken_at` replaced.
    pub(crate) fn with_taken_at(&self, rows: &RecordBatch, taken_at: Int64Array) -> RecordBatch {
        let mut columns = rows.columns().to_vec();
        columns[self.stream.columns.len() + 2] = Arc::new(taken_at);
        RecordBatch::try_new(self.schema.clone(), columns).expect("one instant a row")
    }

    /// The stream's own columns.
    pub(crate) fn events(&self, rows: &RecordBatch) -> RecordBatch {
        let columns: Vec<usize> = (0..self.stream.columns.len()).collect();
        rows.project(&columns).expect("the stream's columns come first")
    }

    /// Arrival times in microseconds; `None` where the file tells none.
    pub(crate) fn arrived(&self, rows: &RecordBatch) -> Option<Int64Array> {
        let known = || rows.column(self.stream.columns.len()).as_primitive::<Int64Type>().clone();
        self.arrival_column.map(|_| known())
    }

    /// What is wrong with rows that could not be read, ascending by row.
    pub(crate) fn unreadable(&self, rows: &RecordBatch) -> Vec<(usize, String)> {
        let details = rows.column(self.stream.columns.len() + 1).as_string::<i32>();
        if details.null_count() == details.len() {
            return Vec::new();
        }
        let wrong = details.iter().enumerate();
        wrong.filter_map(|(row, detail)| Some((row, detail?.to_owned()))).collect()
    }
}

/// The instants at which rows are taken, in microseconds.
pub(crate) fn taken_at(rows: &RecordBatch) -> &Int64Array {
    rows.column(rows.num_columns() - 2).as_primitive()
}

/// The offsets of rows.
pub(crate) fn offsets(rows: &RecordBatch) -> &UInt64Array {
    rows.column(rows.num_columns() - 1).as_primitive::<UInt64Type>()
}
