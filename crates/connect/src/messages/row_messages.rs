//! Rows of a sink as messages: a key, of the values of some columns, and a value, of all of them.
//!
//! One column's value is a key by itself, without quotes, and NULL is no key; of several columns it is their JSON
//! object. A value is a JSON object, or a record of Avro framed with the number under which a registry has its schema.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow_avro::schema::FingerprintStrategy;
use arrow_avro::writer::format::AvroSoeFormat;
use arrow_avro::writer::{Encoder, WriterBuilder};
use asof_definition::{MessageFormat, Sink};

use crate::messages::decoder::SchemaError;
use crate::messages::row_schema::row_schema;
use crate::messages::schema_registry::SchemaRegistry;
use crate::messages::schema_settings::SchemaSettings;
use crate::row_text::{json_name, write_json_row, write_json_value};

/// Where Arrow's writer of Avro looks for the schema that it writes by.
const AVRO_SCHEMA: &str = "avro.schema";

/// Key and value of a message.
pub type RowMessage = (Option<Vec<u8>>, Vec<u8>);

/// Makes messages of rows.
#[derive(Debug)]
pub struct RowMessages {
    /// Indexes of the columns of the key.
    key: Vec<usize>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Json,
    Avro(Box<Encoder>),
}

impl RowMessages {
    /// Messages whose values are JSON objects.
    pub fn json(key: &[usize]) -> RowMessages {
        RowMessages { key: key.to_vec(), form: Form::Json }
    }

    /// Messages as a sink declares them; the schema of their values is registered, if they have one.
    pub fn open(settings: &SchemaSettings, sink: &Sink) -> Result<RowMessages, SchemaError> {
        if sink.format == MessageFormat::Json {
            return Ok(RowMessages::json(&sink.key));
        }
        let registry = settings.registry.as_ref();
        let registry = registry.ok_or(SchemaError::NoRegistry { format: sink.format.name() })?;
        let schema = row_schema(&sink.name, sink.columns());
        let number = SchemaRegistry::new(registry)?.register(&sink.subject(), "AVRO", &schema)?;
        let fields: Vec<Field> = sink
            .columns()
            .iter()
            .map(|column| Field::new(&column.name, written_type(&column.data_type), !column.not_null))
            .collect();
        let metadata = [(AVRO_SCHEMA.to_owned(), schema)].into();
        let encoder = WriterBuilder::new(Schema::new_with_metadata(fields, metadata))
            .with_fingerprint_strategy(FingerprintStrategy::Id(number))
            .build_encoder::<AvroSoeFormat>()
            .map_err(|error| SchemaError::Rows { detail: error.to_string() })?;
        Ok(RowMessages { key: sink.key.clone(), form: Form::Avro(Box::new(encoder)) })
    }

    /// A message for each row.
    pub fn of(&mut self, rows: &RecordBatch) -> Result<Vec<RowMessage>, ArrowError> {
        let keys = keys(rows, &self.key);
        let values = match &mut self.form {
            Form::Json => json_values(rows),
            Form::Avro(encoder) => avro_values(rows, encoder)?,
        };
        Ok(keys.into_iter().zip(values).collect())
    }
}

fn keys(rows: &RecordBatch, key: &[usize]) -> Vec<Option<Vec<u8>>> {
    let schema = rows.schema();
    let names: Vec<Vec<u8>> = key.iter().map(|column| json_name(schema.field(*column).name())).collect();
    let columns: Vec<ArrayRef> = key.iter().map(|column| rows.column(*column).clone()).collect();
    let key_of = |row: usize| match &columns[..] {
        [] => None,
        [one] if one.is_null(row) => None,
        [one] => Some(match one.as_string_opt::<i32>() {
            Some(texts) => texts.value(row).as_bytes().to_vec(),
            None => {
                let mut text = Vec::new();
                write_json_value(one, row, &mut text);
                // Decimals, instants and bytes are texts in JSON, in which nothing is escaped.
                match &text[..] {
                    [b'"', bare @ .., b'"'] => bare.to_vec(),
                    _ => text,
                }
            }
        }),
        several => {
            let mut text = Vec::new();
            write_json_row(several, &names, row, &mut text);
            Some(text)
        }
    };
    (0..rows.num_rows()).map(key_of).collect()
}

fn json_values(rows: &RecordBatch) -> Vec<Vec<u8>> {
    let names: Vec<Vec<u8>> = rows.schema().fields().iter().map(|field| json_name(field.name())).collect();
    let value_of = |row: usize| {
        let mut text = Vec::new();
        write_json_row(rows.columns(), &names, row, &mut text);
        text
    };
    (0..rows.num_rows()).map(value_of).collect()
}

fn avro_values(rows: &RecordBatch, encoder: &mut Encoder) -> Result<Vec<Vec<u8>>, ArrowError> {
    let schema = encoder.schema();
    let columns = rows.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
    encoder.encode(&rows)?;
    Ok(encoder.flush().iter().map(|row| row.to_vec()).collect())
}

/// Instants with the zone that Avro's have.
fn written_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        DataType::List(item) => {
            DataType::List(Field::new(item.name(), written_type(item.data_type()), item.is_nullable()).into())
        }
        other => other.clone(),
    }
}
