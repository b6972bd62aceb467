//! Stored events under the columns that their stream has now.
//!
//! A definition may have gained or lost columns since: what is new is NULL in the old events, which a column that is NOT NULL
//! cannot be, and what is gone is left out. A column whose type is another one now is refused by name.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::SchemaRef;

use crate::error::ConnectError;

/// The columns of `schema`, by name, out of `stored`.
pub(crate) fn stored_columns(stored: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ConnectError> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let column = field.name().clone();
        columns.push(match stored.schema_ref().column_with_name(field.name()) {
            None if !field.is_nullable() && stored.num_rows() > 0 => {
                return Err(ConnectError::StoredColumnMissing { column });
            }
            None => new_null_array(field.data_type(), stored.num_rows()),
            Some((_, found)) if found.data_type() != field.data_type() => {
                let (stored, declared) = (found.data_type().clone(), field.data_type().clone());
                return Err(ConnectError::StoredColumnType { column, stored, declared });
            }
            Some((place, _)) => stored.column(place).clone(),
        });
    }
    if let Some(place) =
        schema.fields().iter().zip(&columns).position(|(field, array)| !field.is_nullable() && array.null_count() > 0)
    {
        return Err(ConnectError::StoredNull { column: schema.field(place).name().clone() });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(stored.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .expect("each column was found to be of its type, of its length and without forbidden NULLs"))
}
