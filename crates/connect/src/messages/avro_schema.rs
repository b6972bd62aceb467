//! The schema of a record, as Avro writes schemas: JSON. Source: Apache Avro 1.12, "Schema Declaration".

use serde_json::Value;

use crate::column::bounded;
use crate::messages::avro_types::{AvroTypes, full_name};

/// How much of a type is shown in a message, in bytes.
const DESCRIBED_MAX: usize = 80;
/// The largest text that is read as a schema.
const SCHEMA_BYTES_MAX: usize = 1 << 20;

/// A record's schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AvroRecord {
    /// With its namespace: `shop.Order`.
    pub(crate) full_name: String,
    /// The names of its fields, in their order.
    pub(crate) fields: Vec<String>,
    /// What stands for the types of the fields.
    types: Vec<Value>,
    /// A named type that is referred to, if there is one.
    pub(crate) named_again: Option<String>,
    /// The schema, in which a UUID is the text that it is written as.
    pub(crate) text: String,
}

impl AvroRecord {
    /// The full name of the record that a schema declares, if it is one.
    pub(crate) fn full_name_of(text: &str) -> Option<String> {
        let schema: Value = serde_json::from_str(text).ok()?;
        full_name(&schema, "").filter(|_| schema.get("type").and_then(Value::as_str) == Some("record"))
    }

    pub(crate) fn parse(text: &str) -> Result<AvroRecord, String> {
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(format!("the schema is longer than {} MiB", SCHEMA_BYTES_MAX >> 20));
        }
        let mut schema: Value =
            serde_json::from_str(text).map_err(|error| format!("the schema is no JSON: {error}"))?;
        without_uuids(&mut schema);
        if schema.get("type").and_then(Value::as_str) != Some("record") {
            return Err("the schema is not that of a record, whose fields could be columns".to_owned());
        }
        let full_name = full_name(&schema, "").ok_or("the schema's record has no name")?;
        let fields = schema.get("fields").and_then(Value::as_array).ok_or("the schema's record has no fields")?;
        let name_of = |field: &Value| field.get("name").and_then(Value::as_str).map(str::to_owned);
        let names: Option<Vec<String>> = fields.iter().map(name_of).collect();
        let names = names.ok_or("the schema has a field without a name")?;
        let named_again = AvroTypes::default().look_at(&schema)?;
        let types = fields.iter().map(|field| field.get("type").cloned().unwrap_or_default()).collect();
        Ok(AvroRecord { full_name, fields: names, types, named_again, text: schema.to_string() })
    }

    /// The type of a field as the schema writes it, bounded.
    pub(crate) fn type_text(&self, field: usize) -> String {
        bounded(&self.types.get(field).map(Value::to_string).unwrap_or_default(), DESCRIBED_MAX)
    }
}

/// A UUID is written as its text of 36 letters. Readers that know better make sixteen bytes of it.
fn without_uuids(schema: &mut Value) {
    match schema {
        Value::Array(values) => values.iter_mut().for_each(without_uuids),
        Value::Object(object) => {
            let is = |key: &str, word: &str| object.get(key).and_then(Value::as_str) == Some(word);
            if is("logicalType", "uuid") && is("type", "string") {
                object.remove("logicalType");
            }
            object.values_mut().for_each(without_uuids);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_a_full_name_and_fields() {
        let record = AvroRecord::parse(
            r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
                {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
                {"name": "amount", "type": ["null", "double"], "default": null}]}"#,
        );
        let record = record.expect("it is one");
        assert_eq!((record.full_name.as_str(), record.fields.join(" ")), ("shop.Order", "id amount".to_owned()));
        assert_eq!([0, 1].map(|field| record.type_text(field)), [r#"{"type":"string"}"#, r#"["null","double"]"#]);
        assert!(!record.text.contains("uuid"));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let deep = "[".repeat(1_000);
        for text in
            ["", "{}", "\"string\"", r#"{"type":"enum","name":"e","symbols":[]}"#, r#"{"type":"record"}"#, &deep]
        {
            assert!(AvroRecord::parse(text).is_err(), "{text}");
        }
    }
}
