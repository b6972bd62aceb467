//! Rows as text: JSON lines and CSV, in the encodings that every answer of the product uses.
//!
//! BIGINT as exact digits, DECIMAL as text with its scale, DOUBLE as the shortest digits that read back the same and always
//! with a point or exponent, REAL as the double it equals, NaN and the infinities as words, TIMESTAMP as RFC 3339, DATE as
//! ISO, VARBINARY as base64, arrays as JSON, maps as JSON objects whose names are the keys' texts. NULL is `null` in JSON and
//! an empty field in CSV, where an empty text is `""`.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};

use crate::base64::write_base64;
use crate::civil::{write_date, write_timestamp};
use crate::decimal::write_decimal;
use crate::error::ConnectError;
use crate::format::Format;

const DAY_MS: i64 = 86_400_000;

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextStyle {
    Json,
    Csv,
}

/// An error if values of a column have no text.
pub(crate) fn check_writable(schema: &Schema, format: Format) -> Result<(), ConnectError> {
    match schema.fields().iter().find(|field| !has_text(field.data_type())) {
        None => Ok(()),
        Some(field) => {
            Err(ConnectError::Unwritable { column: field.name().clone(), data_type: field.data_type().clone(), format })
        }
    }
}

fn has_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) => has_text(item.data_type()),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => fields.iter().all(|field| has_text(field.data_type())),
            _ => false,
        },
        DataType::Null
        | DataType::Boolean
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_)
        | DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(_, _) => true,
        other => other.is_integer(),
    }
}

/// Appends the header record of a CSV file.
pub(crate) fn write_header(schema: &Schema, out: &mut Vec<u8>) {
    for (index, field) in schema.fields().iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_csv_text(field.name(), out);
    }
    out.push(b'\n');
}

/// The JSON object of one row, for a message or a dead letter. Every type that can be read has a text.
pub(crate) fn row_json(batch: &RecordBatch, row: usize) -> Vec<u8> {
    let names: Vec<Vec<u8>> = batch.schema().fields().iter().map(|field| json_name(field.name())).collect();
    let mut text = Vec::new();
    write_json_row(batch.columns(), &names, row, &mut text);
    text
}

/// Appends the rows of `batch`, one line each.
pub(crate) fn write_rows(batch: &RecordBatch, style: TextStyle, out: &mut Vec<u8>) {
    let names: Vec<Vec<u8>> = batch.schema().fields().iter().map(|field| json_name(field.name())).collect();
    for row in 0..batch.num_rows() {
        match style {
            TextStyle::Json => write_json_row(batch.columns(), &names, row, out),
            TextStyle::Csv => write_csv_row(batch.columns(), row, out),
        }
        out.push(b'\n');
    }
}

pub(crate) fn json_name(name: &str) -> Vec<u8> {
    let mut text = Vec::new();
    write_json(&mut text, name);
    text.push(b':');
    text
}

pub(crate) fn write_json_row(columns: &[ArrayRef], names: &[Vec<u8>], row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (column, name)) in columns.iter().zip(names).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name);
        write_value(column, row, TextStyle::Json, out);
    }
    out.push(b'}');
}

fn write_csv_row(columns: &[ArrayRef], row: usize, out: &mut Vec<u8>) {
    let start = out.len();
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_value(column, row, TextStyle::Csv, out);
    }
    if out.len() == start {
        out.extend_from_slice(b"\"\""); // one column and NULL: an empty line would be no row
    }
}

/// Appends the JSON of one value.
///
/// # Panics
/// If the column is of a type that the language does not have: a feature is of one that it has, or an array or a map
/// of such.
pub fn write_json_value(column: &dyn Array, row: usize, out: &mut Vec<u8>) {
    write_value(column, row, TextStyle::Json, out);
}

/// Appends a text as JSON, in quotes.
pub fn write_json_text(text: &str, out: &mut Vec<u8>) {
    write_json(out, text);
}

/// Appends one value. The column's type was found to have a text.
pub(crate) fn write_value(column: &dyn Array, row: usize, style: TextStyle, out: &mut Vec<u8>) {
    if column.is_null(row) || *column.data_type() == DataType::Null {
        if style == TextStyle::Json {
            out.extend_from_slice(b"null");
        }
        return;
    }
    match column.data_type() {
        DataType::Boolean => write_json(out, &column.as_boolean().value(row)),
        DataType::Int8 => write_json(out, &column.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => write_json(out, &column.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => write_json(out, &column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => write_json(out, &column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => write_json(out, &column.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => write_json(out, &column.as_primitive::<UInt16Type>().value(row)),
        DataType::UInt32 => write_json(out, &column.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => write_json(out, &column.as_primitive::<UInt64Type>().value(row)),
        DataType::Float16 => write_double(f64::from(column.as_primitive::<Float16Type>().value(row)), style, out),
        DataType::Float32 => write_double(f64::from(column.as_primitive::<Float32Type>().value(row)), style, out),
        DataType::Float64 => write_double(column.as_primitive::<Float64Type>().value(row), style, out),
        DataType::Utf8 => write_text(column.as_string::<i32>().value(row), style, out),
        DataType::LargeUtf8 => write_text(column.as_string::<i64>().value(row), style, out),
        DataType::Utf8View => write_text(column.as_string_view().value(row), style, out),
        DataType::List(_) => write_list(&column.as_list::<i32>().value(row), style, out),
        DataType::LargeList(_) => write_list(&column.as_list::<i64>().value(row), style, out),
        DataType::Map(_, _) => write_map(&column.as_map().value(row), style, out),
        _ => quoted(style, out, |out| write_word(column, row, out)),
    }
}

/// Values whose text has no character that needs an escape, and which JSON holds as text.
fn write_word(column: &dyn Array, row: usize, out: &mut Vec<u8>) {
    match column.data_type() {
        DataType::Decimal32(_, scale) => {
            write_decimal(i128::from(column.as_primitive::<Decimal32Type>().value(row)), *scale, out);
        }
        DataType::Decimal64(_, scale) => {
            write_decimal(i128::from(column.as_primitive::<Decimal64Type>().value(row)), *scale, out);
        }
        DataType::Decimal128(_, scale) => {
            write_decimal(column.as_primitive::<Decimal128Type>().value(row), *scale, out)
        }
        DataType::Date32 => write_date(i64::from(column.as_primitive::<Date32Type>().value(row)), out),
        DataType::Date64 => write_date(column.as_primitive::<Date64Type>().value(row).div_euclid(DAY_MS), out),
        DataType::FixedSizeBinary(_) => write_base64(column.as_fixed_size_binary().value(row), out),
        DataType::Binary => write_base64(column.as_binary::<i32>().value(row), out),
        DataType::LargeBinary => write_base64(column.as_binary::<i64>().value(row), out),
        DataType::BinaryView => write_base64(column.as_binary_view().value(row), out),
        DataType::Timestamp(unit, _) => {
            let (count, per_second) = match unit {
                TimeUnit::Second => (column.as_primitive::<TimestampSecondType>().value(row), 1),
                TimeUnit::Millisecond => (column.as_primitive::<TimestampMillisecondType>().value(row), 1_000),
                TimeUnit::Microsecond => (column.as_primitive::<TimestampMicrosecondType>().value(row), 1_000_000),
                TimeUnit::Nanosecond => (column.as_primitive::<TimestampNanosecondType>().value(row), 1_000_000_000),
            };
            write_timestamp(count, per_second, out);
        }
        other => unreachable!("`{other}` was refused when the output was created"),
    }
}

fn write_double(value: f64, style: TextStyle, out: &mut Vec<u8>) {
    let word = match value {
        _ if value.is_finite() => return write_json(out, &value),
        _ if value.is_nan() => "NaN",
        _ if value > 0.0 => "Infinity",
        _ => "-Infinity",
    };
    quoted(style, out, |out| out.extend_from_slice(word.as_bytes()));
}

/// Numbers, booleans and texts in their JSON form, which for a double is the shortest that reads back the same.
fn write_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("a scalar is JSON and memory takes it");
}

fn write_text(text: &str, style: TextStyle, out: &mut Vec<u8>) {
    match style {
        TextStyle::Json => write_json(out, text),
        TextStyle::Csv => write_csv_text(text, out),
    }
}

fn write_csv_text(text: &str, out: &mut Vec<u8>) {
    let is_plain = !text.is_empty() && !text.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'));
    if is_plain {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

fn write_list(items: &ArrayRef, style: TextStyle, out: &mut Vec<u8>) {
    let mut text = vec![b'['];
    for item in 0..items.len() {
        if item > 0 {
            text.push(b',');
        }
        write_value(items, item, TextStyle::Json, &mut text);
    }
    text.push(b']');
    write_nested(&text, style, out);
}

/// A JSON object of a map's entries in their order.
fn write_map(entries: &StructArray, style: TextStyle, out: &mut Vec<u8>) {
    let mut text = vec![b'{'];
    for entry in 0..entries.len() {
        if entry > 0 {
            text.push(b',');
        }
        write_name(entries.column(0), entry, &mut text);
        text.push(b':');
        write_value(entries.column(1), entry, TextStyle::Json, &mut text);
    }
    text.push(b'}');
    write_nested(&text, style, out);
}

/// The name of an object's member: the JSON of a value, in quotes where it has none.
fn write_name(keys: &ArrayRef, row: usize, out: &mut Vec<u8>) {
    let mut name = Vec::new();
    write_value(keys, row, TextStyle::Json, &mut name);
    if name.starts_with(b"\"") {
        return out.extend_from_slice(&name);
    }
    out.push(b'"');
    out.extend_from_slice(&name);
    out.push(b'"');
}

/// Arrays and objects: as they are in JSON, as a text in CSV.
fn write_nested(json: &[u8], style: TextStyle, out: &mut Vec<u8>) {
    match style {
        TextStyle::Json => out.extend_from_slice(json),
        TextStyle::Csv => write_csv_text(std::str::from_utf8(json).expect("JSON is UTF-8"), out),
    }
}

fn quoted(style: TextStyle, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if style == TextStyle::Csv {
        return write(out);
    }
    out.push(b'"');
    write(out);
    out.push(b'"');
}
