//! Typed columns of a source (Parquet, Arrow) becoming a batch of the wanted columns.
//!
//! A column that the source lacks is NULL; a value that its column's type does not have makes its row unreadable, and an
//! unreadable row is NULL in every column.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::SchemaRef;
use asof_expression::type_name;

use crate::batch_builder::{Decoded, Unreadable, bounded_raw};
use crate::column::bounded;
use crate::convert::convert;
use crate::row_text::{TextStyle, row_json, write_value};
use crate::time_unit::TimeUnit;

/// How much of a value is shown in a message, in bytes.
const DESCRIBED_MAX: usize = 60;

/// Whether values are brought to the types of the wanted columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conversion {
    /// They are: events.
    ToWanted,
    /// They keep their own: spines.
    None,
}

/// Which columns of a source become which of the batch, and how.
#[derive(Debug, Clone)]
pub(crate) struct TypedRows {
    /// The batch's.
    pub(crate) schema: SchemaRef,
    /// The unit of plain integers in TIMESTAMP columns.
    pub(crate) unit: TimeUnit,
    /// For each column of the batch its place in the source; `None` is absent from it.
    pub(crate) places: Vec<Option<usize>>,
    pub(crate) conversion: Conversion,
}

impl TypedRows {
    /// The batch of `source`, whose types were found convertible. An error is a source that is not as it announced.
    pub(crate) fn decode(&self, source: &RecordBatch, first_row: u64) -> Result<Decoded, String> {
        let mut failed: Vec<(usize, usize)> = Vec::new(); // (row, column) of each value that has no value of its type
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.places.len());
        for (index, (field, place)) in self.schema.fields().iter().zip(&self.places).enumerate() {
            columns.push(match place {
                None => new_null_array(field.data_type(), source.num_rows()),
                Some(place) if self.conversion == Conversion::None => source.column(*place).clone(),
                Some(place) => {
                    let (array, rows) = convert(source.column(*place), field.data_type(), Some(self.unit))
                        .map_err(|error| error.to_string())?;
                    failed.extend(rows.into_iter().map(|row| (row, index)));
                    array
                }
            });
        }
        failed.sort_unstable();
        failed.dedup_by_key(|(row, _)| *row);
        let unreadable: Vec<Unreadable> = failed.iter().map(|failed| self.unreadable(source, *failed)).collect();
        if !unreadable.is_empty() {
            columns = without_rows(&columns, source.num_rows(), &unreadable);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(source.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| error.to_string())?;
        Ok(Decoded { first_row, batch, unreadable })
    }

    /// What is wrong with a failed value's row, and the row's wanted columns as JSON.
    fn unreadable(&self, source: &RecordBatch, (row, column): (usize, usize)) -> Unreadable {
        let field = self.schema.field(column);
        let place = self.places[column].expect("an absent column has no value that fails");
        let mut found = Vec::new();
        write_value(source.column(place), row, TextStyle::Csv, &mut found);
        let found = bounded(&String::from_utf8_lossy(&found), DESCRIBED_MAX);
        let detail = format!("column `{}`: expected {}, found `{found}`", field.name(), type_name(field.data_type()));
        Unreadable { row, detail, raw: bounded_raw(&row_json(source, row)) }
    }
}

/// The columns with NULL in the unreadable rows.
fn without_rows(columns: &[ArrayRef], rows: usize, unreadable: &[Unreadable]) -> Vec<ArrayRef> {
    let mut is_unreadable = vec![false; rows];
    for one in unreadable {
        is_unreadable[one.row] = true;
    }
    let mask = BooleanArray::from(is_unreadable);
    columns.iter().map(|column| arrow::compute::nullif(column, &mask).expect("the mask has one value a row")).collect()
}
