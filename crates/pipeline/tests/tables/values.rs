//! JSON as keys of reads, and answers as JSON: the few types that tests of tables have.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use asof_connect::parse_timestamp;
use asof_definition::Stream;
use asof_pipeline::{Engine, ReadError};
use serde_json::{Map, Value, json};

/// All features of an entity as of an instant, or the feature that fails and how.
pub(crate) fn read(engine: &Engine, view: usize, key: &Map<String, Value>, as_of_us: i64) -> Map<String, Value> {
    let definition = &engine.project().views[view];
    let parts = definition.key.iter().map(|part| array(part.expression.data_type(), &key[&part.name]));
    let parts: Vec<ArrayRef> = parts.collect();
    match engine.reading().view(view, &parts, 1, as_of_us) {
        Ok(answers) => {
            let named = definition.features.iter().zip(&answers.features);
            named.map(|(feature, array)| (feature.name.clone(), value(array))).collect()
        }
        Err(ReadError::RowFailed { feature, kind, .. }) => Map::from_iter([(feature, json!({"error": kind}))]),
        Err(error) => panic!("{error}"),
    }
}

fn array(data_type: &DataType, field: &Value) -> ArrayRef {
    match data_type {
        DataType::Int64 => Arc::new(Int64Array::from(vec![field.as_i64()])),
        DataType::Utf8 => Arc::new(StringArray::from(vec![field.as_str()])),
        other => panic!("no key of a test has {other}"),
    }
}

fn value(array: &ArrayRef) -> Value {
    if array.is_null(0) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(0)),
        DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(0)),
        DataType::Boolean => json!(array.as_boolean().value(0)),
        DataType::Utf8 => json!(array.as_string::<i32>().value(0)),
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(0);
            (0..list.len()).map(|row| value(&list.slice(row, 1))).collect()
        }
        other => panic!("no test answers {other}"),
    }
}

/// The same columns with instants as text: numbers of so early times would be refused for their unit.
pub(crate) fn with_texts(stream: &Stream, columns: &Map<String, Value>) -> Map<String, Value> {
    let mut texts = columns.clone();
    for column in stream.columns.iter().filter(|column| matches!(column.data_type, DataType::Timestamp(..))) {
        if let Some(instant_us) = columns.get(&column.name).and_then(Value::as_i64) {
            let instant: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![instant_us]));
            let text = cast(&instant, &DataType::Utf8).unwrap();
            texts.insert(column.name.clone(), format!("{}Z", text.as_string::<i32>().value(0)).into());
        }
    }
    texts
}

/// RFC 3339 text or whole microseconds.
pub(crate) fn instant_us(value: &Value) -> i64 {
    value.as_i64().or_else(|| parse_timestamp(value.as_str()?)).unwrap_or_else(|| panic!("{value} is no instant"))
}
