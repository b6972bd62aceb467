//! The Avro schema of a sink's rows: a record of the sink's name, in the namespace `asof`.
//!
//! A column that may be NULL is a union with null and has null as its default, so that columns may come and go by
//! Avro's rules.

use arrow::datatypes::DataType;
use asof_definition::Column;
use serde_json::{Value, json};

/// The schema's text.
pub(crate) fn row_schema(name: &str, columns: &[Column]) -> String {
    let field = |column: &Column| {
        let data_type = avro_type(&column.data_type);
        if column.not_null {
            json!({"name": column.name, "type": data_type})
        } else {
            json!({"name": column.name, "type": ["null", data_type], "default": null})
        }
    };
    let fields: Vec<Value> = columns.iter().map(field).collect();
    json!({"type": "record", "name": name, "namespace": "asof", "fields": fields}).to_string()
}

/// Source: Apache Avro 1.12, "Primitive Types" and "Logical Types".
fn avro_type(data_type: &DataType) -> Value {
    match data_type {
        DataType::Boolean => json!("boolean"),
        DataType::Int16 | DataType::Int32 => json!("int"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Decimal128(precision, scale) => {
            json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale})
        }
        DataType::Utf8 => json!("string"),
        DataType::Binary => json!("bytes"),
        DataType::Date32 => json!({"type": "int", "logicalType": "date"}),
        DataType::Timestamp(_, _) => json!({"type": "long", "logicalType": "timestamp-micros"}),
        DataType::List(item) => json!({"type": "array", "items": ["null", avro_type(item.data_type())]}),
        other => unreachable!("`{other}` is refused when the sink is declared"),
    }
}
