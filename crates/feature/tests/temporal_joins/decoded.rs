//! JSON as the columns of a stream, and answers as JSON: the few types that the cases of tables have.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use asof_definition::{Column, Stream};
use serde_json::{Map, Value, json};

/// Rows as a batch of a stream, and those that cannot be read.
pub(crate) fn batch(stream: &Stream, rows: &[&Map<String, Value>]) -> (RecordBatch, Vec<(usize, String)>) {
    let mut unreadable = Vec::new();
    let columns: Vec<(String, ArrayRef)> = stream
        .columns
        .iter()
        .map(|column| {
            let fields: Vec<&Value> = rows.iter().map(|row| row.get(&column.name).unwrap_or(&Value::Null)).collect();
            let is_wrong = |place: &usize| !is_readable(fields[*place], &column.data_type);
            unreadable.extend((0..fields.len()).filter(is_wrong).map(|row| (row, format!("`{}`", column.name))));
            (column.name.clone(), array(&column.data_type, &fields))
        })
        .collect();
    (
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap(),
        unreadable,
    )
}

/// One key of a read.
pub(crate) fn parts(columns: &[Column], key: &Map<String, Value>) -> Vec<ArrayRef> {
    columns.iter().map(|column| array(&column.data_type, &[&key[&column.name]])).collect()
}

fn is_readable(field: &Value, data_type: &DataType) -> bool {
    match data_type {
        DataType::Int64 => field.is_null() || field.is_i64(),
        DataType::Float64 => field.is_null() || field.is_number(),
        DataType::Boolean => field.is_null() || field.is_boolean(),
        DataType::Utf8 => field.is_null() || field.is_string(),
        _ => true,
    }
}

fn array(data_type: &DataType, fields: &[&Value]) -> ArrayRef {
    let each = fields.iter();
    match data_type {
        DataType::Int64 => Arc::new(each.map(|field| field.as_i64()).collect::<Int64Array>()),
        DataType::Float64 => Arc::new(each.map(|field| field.as_f64()).collect::<Float64Array>()),
        DataType::Boolean => Arc::new(each.map(|field| field.as_bool()).collect::<BooleanArray>()),
        DataType::Utf8 => Arc::new(each.map(|field| field.as_str()).collect::<StringArray>()),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let instant = |field: &&Value| (!field.is_null()).then(|| instant_us(field));
            Arc::new(each.map(instant).collect::<TimestampMicrosecondArray>())
        }
        other => panic!("no case of tables has {other}"),
    }
}

/// RFC 3339 text or whole microseconds.
pub(crate) fn instant_us(value: &Value) -> i64 {
    if let Some(us) = value.as_i64() {
        return us;
    }
    let text: ArrayRef = Arc::new(StringArray::from(vec![value.as_str().unwrap().trim_end_matches('Z')]));
    let instant = cast(&text, &DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap();
    assert!(instant.is_valid(0), "{value} is an instant");
    instant.as_primitive::<TimestampMicrosecondType>().value(0)
}

/// A value as the cases write it.
pub(crate) fn written(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|item| written(&items, item)).collect()
        }
        other => panic!("no case of tables answers {other}"),
    }
}
