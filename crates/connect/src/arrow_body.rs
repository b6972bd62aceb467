//! Events of a request as an Arrow IPC stream: columns by name, converted like those of a Parquet file.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;

use crate::arrow_stream::{ArrowStream, ArrowStreamError, guarded};
use crate::batch_builder::{BATCH_ROWS_MAX, Decoded};
use crate::convert::is_convertible;
use crate::error::name_hint;
use crate::event_body::BodyColumns;
use crate::event_body_error::{BodyForm, EventBodyError};
use crate::time_unit::UnitWitness;
use crate::typed_rows::{Conversion, TypedRows};
use crate::wanted::position_of;

/// How much larger than the body its texts may become when dictionaries and views are unfolded to one text a row. A column
/// of names of 40 bytes behind keys of 2 unfolds to 22 times its size, and a body has other columns too.
const TEXTS_UNFOLD: usize = 16;

/// The rows of an Arrow body.
#[derive(Debug)]
pub(crate) struct ArrowBody {
    pub(crate) batches: Vec<Decoded>,
    /// For each of them the columns that were asked for, as they were sent but for dictionaries, which are unfolded.
    pub(crate) sent: Vec<RecordBatch>,
}

/// Reads a body that is an Arrow IPC stream.
pub(crate) fn read_arrow_body(
    bytes: &Bytes,
    columns: &BodyColumns,
    rows_max: usize,
) -> Result<ArrowBody, EventBodyError> {
    let refused = |error| refused(error, rows_max);
    let mut stream = ArrowStream::open(Buffer::from(bytes.clone()), rows_max).map_err(refused)?;
    let plan = ArrowPlan::new(stream.schema(), columns)?;
    let mut room = TextRoom(bytes.len().saturating_mul(TEXTS_UNFOLD).min(i32::MAX as usize));
    let mut body = ArrowBody { batches: Vec::new(), sent: Vec::new() };
    let mut integers = vec![UnitWitness::default(); columns.names.len()];
    let mut first_row = 0;
    while let Some(batch) = stream.next_batch(&plan.read).map_err(refused)? {
        for start in (0..batch.num_rows()).step_by(BATCH_ROWS_MAX) {
            let part = batch.slice(start, BATCH_ROWS_MAX.min(batch.num_rows() - start));
            let (sent, decoded) = guarded(|| plan.decode(&part, first_row, &mut room)).map_err(refused)?;
            plan.look_at_integers(&sent, columns, &mut integers).map_err(refused)?;
            first_row += sent.num_rows() as u64;
            body.sent.push(sent);
            body.batches.push(decoded);
        }
    }
    columns.check_units(&integers)?;
    Ok(body)
}

fn refused(error: ArrowStreamError, rows_max: usize) -> EventBodyError {
    match error {
        ArrowStreamError::Damaged(detail) => EventBodyError::Syntax { form: BodyForm::Arrow, detail },
        ArrowStreamError::TooManyRows => EventBodyError::TooManyRows { rows_max },
    }
}

/// Which columns of the body are read, and what becomes of them.
struct ArrowPlan {
    /// Columns of the body, ascending.
    read: Vec<usize>,
    /// Its places are places in `read`.
    rows: TypedRows,
}

impl ArrowPlan {
    fn new(found: &SchemaRef, columns: &BodyColumns) -> Result<ArrowPlan, EventBodyError> {
        let names = found.fields().iter().map(|field| field.name().as_str());
        let mut sources = Vec::with_capacity(columns.names.len());
        for (index, wanted) in columns.schema.fields().iter().enumerate() {
            let source = position_of(wanted.name(), names.clone());
            match source {
                None if columns.not_null[index] => {
                    let (column, hint) = (wanted.name().clone(), name_hint(wanted.name(), names));
                    return Err(EventBodyError::MissingColumn { column, hint });
                }
                Some(source) => check_column(found, source, wanted)?,
                None => {}
            }
            sources.push(source);
        }
        let mut read: Vec<usize> = sources.iter().flatten().copied().collect();
        read.sort_unstable();
        read.dedup();
        let places = sources.iter().map(|source| source.and_then(|source| read.binary_search(&source).ok())).collect();
        let (schema, unit) = (columns.schema.clone(), columns.unit());
        Ok(ArrowPlan { read, rows: TypedRows { schema, unit, places, conversion: Conversion::ToWanted } })
    }

    fn decode(
        &self,
        source: &RecordBatch,
        first_row: u64,
        room: &mut TextRoom,
    ) -> Result<(RecordBatch, Decoded), ArrowStreamError> {
        let sent = unfolded(source, room)?;
        let decoded = self.rows.decode(&sent, first_row).map_err(ArrowStreamError::Damaged)?;
        Ok((sent, decoded))
    }

    /// Notes the plain integers of the time columns whose unit is not declared.
    fn look_at_integers(
        &self,
        sent: &RecordBatch,
        columns: &BodyColumns,
        seen: &mut [UnitWitness],
    ) -> Result<(), ArrowStreamError> {
        for (column, place) in self.rows.places.iter().enumerate() {
            let Some(array) = place.map(|place| sent.column(place)) else { continue };
            if !columns.is_unit_doubtful(column) || !array.data_type().is_integer() {
                continue;
            }
            let integers =
                cast(array, &DataType::Int64).map_err(|error| ArrowStreamError::Damaged(error.to_string()))?;
            for count in integers.as_primitive::<Int64Type>().iter().flatten() {
                seen[column].look_at(count);
            }
        }
        Ok(())
    }
}

/// A column that is read has a name of its own and a type that can be read.
fn check_column(found: &SchemaRef, source: usize, wanted: &Field) -> Result<(), EventBodyError> {
    let field = found.field(source);
    if found.fields().iter().filter(|other| other.name() == field.name()).count() > 1 {
        return Err(EventBodyError::RepeatedColumn { column: field.name().clone() });
    }
    if !is_convertible(field.data_type(), wanted.data_type()) {
        let (column, found, declared) = (field.name().clone(), field.data_type().clone(), wanted.data_type().clone());
        return Err(EventBodyError::ColumnType { column, found, declared });
    }
    Ok(())
}

/// How many bytes the texts of the body may still unfold to.
struct TextRoom(usize);

impl TextRoom {
    fn spend(&mut self, bytes: usize) -> Result<(), ArrowStreamError> {
        let detail = || ArrowStreamError::Damaged("its texts unfold to much more than it is".to_owned());
        self.0 = self.0.checked_sub(bytes).ok_or_else(detail)?;
        Ok(())
    }
}

/// The batch without dictionaries, if its texts find room one by one.
fn unfolded(source: &RecordBatch, room: &mut TextRoom) -> Result<RecordBatch, ArrowStreamError> {
    let mut fields = Vec::with_capacity(source.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(source.num_columns());
    let damaged = |error: ArrowError| ArrowStreamError::Damaged(error.to_string());
    for (field, column) in source.schema().fields().iter().zip(source.columns()) {
        room.spend(unfolding_bytes(column))?;
        let column = match column.data_type() {
            DataType::Dictionary(_, values) => cast(column, values).map_err(damaged)?,
            _ => column.clone(),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(source.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(damaged)
}

/// The bytes of the texts that an array shares between rows, counted for each row.
fn unfolding_bytes(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Utf8View | DataType::BinaryView => lengths(array).into_iter().sum(),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let lengths = lengths(dictionary.values());
            if lengths.is_empty() {
                return 0; // values of fixed width, or none at all
            }
            let keys = dictionary.normalized_keys().into_iter().enumerate();
            keys.filter(|(row, _)| array.is_valid(*row)).map(|(_, key)| lengths[key]).sum()
        }
        _ => 0,
    }
}

/// The length of each text; nothing for values of a fixed width of at most 16 bytes.
fn lengths(values: &ArrayRef) -> Vec<usize> {
    fn between<T: Copy + TryInto<usize>>(offsets: &[T]) -> Vec<usize> {
        let offset = |offset: T| offset.try_into().unwrap_or(0); // offsets were checked to be no less than 0
        offsets.windows(2).map(|pair| offset(pair[1]) - offset(pair[0])).collect()
    }
    // A view begins with the length, in its low 32 bits.
    let of_views = |views: &[u128]| views.iter().map(|view| *view as u32 as usize).collect();
    match values.data_type() {
        DataType::Utf8 => between(values.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => between(values.as_string::<i64>().value_offsets()),
        DataType::Binary => between(values.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => between(values.as_binary::<i64>().value_offsets()),
        DataType::Utf8View => of_views(values.as_string_view().views()),
        DataType::BinaryView => of_views(values.as_binary_view().views()),
        DataType::FixedSizeBinary(width) => vec![usize::try_from(*width).unwrap_or(0); values.len()],
        _ => Vec::new(),
    }
}
