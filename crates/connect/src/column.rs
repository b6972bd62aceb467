//! One column of a batch under construction, and the rules by which a raw value becomes one of its type.
//!
//! [`Column::set`] is the table of those rules, for every format: an integer type takes integers in its range and nothing
//! else; DOUBLE and REAL take numbers and the words NaN, Infinity and -Infinity; a DECIMAL takes what fits without
//! rounding; VARBINARY, DATE and TIMESTAMP take their texts, TIMESTAMP also integers in the file's unit, of the years 0001 to 9999.
//! A row is started as NULL everywhere, then set, possibly more than once (the last wins), possibly reset.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, PrimitiveArray, StringArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};

use crate::base64::read_base64;
use crate::civil::{TIMESTAMP_US, parse_date, parse_timestamp};
use crate::decimal::{parse_decimal, rescale};
use crate::time_unit::{TimeUnit, UnitWitness};

/// A raw value of a file, before its column's type is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    /// The digits of an integer beyond 64 bits.
    WideInteger(&'a str),
    Double(f64),
    Decimal {
        unscaled: i128,
        scale: i8,
    },
    Text(&'a str),
    Bytes(&'a [u8]),
    /// Microseconds since 1970.
    Instant(i64),
    /// An array, an object, or what else no column holds: its text.
    Other(&'a str),
}

impl Scalar<'_> {
    /// `text `abc``: for the detail of an unreadable row, bounded.
    pub(crate) fn describe(&self) -> String {
        match self {
            Scalar::Null => "NULL".to_owned(),
            Scalar::Boolean(value) => format!("`{value}`"),
            Scalar::Integer(value) => format!("integer `{value}`"),
            Scalar::WideInteger(digits) => format!("integer `{}`", bounded(digits, DESCRIBED_MAX)),
            Scalar::Double(value) => format!("number `{value:?}`"),
            Scalar::Decimal { unscaled, scale } => {
                let mut text = Vec::new();
                crate::decimal::write_decimal(*unscaled, *scale, &mut text);
                format!("decimal `{}`", String::from_utf8_lossy(&text))
            }
            Scalar::Text(text) => format!("text `{}`", bounded(text, DESCRIBED_MAX)),
            Scalar::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Scalar::Instant(us) => format!("the instant of {us} microseconds since 1970"),
            Scalar::Other(text) => format!("`{}`", bounded(text, DESCRIBED_MAX)),
        }
    }
}

/// How much of a value is shown in a message, in bytes.
const DESCRIBED_MAX: usize = 60;

/// `text` cut to at most `max` bytes at a character's edge, with `…` where something was cut.
pub(crate) fn bounded(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(max)])
}

/// A column that grows row by row.
#[derive(Debug)]
pub(crate) struct Column {
    data_type: DataType,
    values: Values,
    valid: Vec<bool>,
}

#[derive(Debug)]
enum Values {
    Boolean(Vec<bool>),
    SmallInt(Vec<i16>),
    Integer(Vec<i32>),
    BigInt(Vec<i64>),
    Real(Vec<f32>),
    Double(Vec<f64>),
    Decimal { values: Vec<i128>, precision: u8, scale: i8 },
    Text(Bytes),
    Binary(Bytes),
    Date(Vec<i32>),
    Timestamp { values: Vec<i64>, unit: TimeUnit, integers: UnitWitness },
}

/// Values of varying length: value `i` is `bytes[ends[i]..ends[i + 1]]`.
#[derive(Debug)]
struct Bytes {
    ends: Vec<i32>,
    bytes: Vec<u8>,
}

impl Bytes {
    fn start_row(&mut self) {
        self.ends.push(self.bytes.len() as i32);
    }

    /// Forgets what the last row holds and gives its bytes to be appended to.
    fn reset_row(&mut self) -> &mut Vec<u8> {
        let start = self.ends[self.ends.len() - 2];
        self.bytes.truncate(start as usize);
        self.end_row();
        &mut self.bytes
    }

    /// The last row holds these; true.
    fn set_last(&mut self, bytes: &[u8]) -> bool {
        self.reset_row().extend_from_slice(bytes);
        self.end_row();
        true
    }

    /// A batch's text comes from a piece of at most 17 MiB or from Arrow arrays with 32-bit offsets of their own.
    fn end_row(&mut self) {
        let end = self.ends.last_mut().expect("there is always the first offset");
        *end = i32::try_from(self.bytes.len()).expect("a batch holds less than 2 GiB of text");
    }
}

impl Column {
    /// An empty column of a language type. `unit` reads plain integers of a TIMESTAMP.
    pub(crate) fn new(data_type: &DataType, unit: TimeUnit, rows: usize) -> Column {
        let bytes = || Bytes { ends: vec![0], bytes: Vec::with_capacity(rows * 8) };
        let values = match data_type {
            DataType::Boolean => Values::Boolean(Vec::with_capacity(rows)),
            DataType::Int16 => Values::SmallInt(Vec::with_capacity(rows)),
            DataType::Int32 => Values::Integer(Vec::with_capacity(rows)),
            DataType::Int64 => Values::BigInt(Vec::with_capacity(rows)),
            DataType::Float32 => Values::Real(Vec::with_capacity(rows)),
            DataType::Float64 => Values::Double(Vec::with_capacity(rows)),
            DataType::Decimal128(precision, scale) => {
                Values::Decimal { values: Vec::with_capacity(rows), precision: *precision, scale: *scale }
            }
            DataType::Utf8 => Values::Text(bytes()),
            DataType::Binary => Values::Binary(bytes()),
            DataType::Date32 => Values::Date(Vec::with_capacity(rows)),
            DataType::Timestamp(_, _) => {
                Values::Timestamp { values: Vec::with_capacity(rows), unit, integers: UnitWitness::default() }
            }
            other => unreachable!("`{other}` is no language type and was refused when the file was opened"),
        };
        Column { data_type: data_type.clone(), values, valid: Vec::with_capacity(rows) }
    }

    /// Whether every text is a value of it.
    pub(crate) fn takes_any_text(&self) -> bool {
        matches!(self.values, Values::Text(_))
    }

    pub(crate) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// What plain integers a TIMESTAMP column was set to so far, also in rows that were reset; nothing for other columns.
    pub(crate) fn integers_seen(&self) -> UnitWitness {
        match &self.values {
            Values::Timestamp { integers, .. } => *integers,
            _ => UnitWitness::default(),
        }
    }

    /// Appends a row that is NULL until set.
    pub(crate) fn start_row(&mut self) {
        self.valid.push(false);
        match &mut self.values {
            Values::Boolean(values) => values.push(false),
            Values::SmallInt(values) => values.push(0),
            Values::Integer(values) | Values::Date(values) => values.push(0),
            Values::BigInt(values) | Values::Timestamp { values, .. } => values.push(0),
            Values::Real(values) => values.push(0.0),
            Values::Double(values) => values.push(0.0),
            Values::Decimal { values, .. } => values.push(0),
            Values::Text(values) | Values::Binary(values) => values.start_row(),
        }
    }

    /// Makes the last row NULL again.
    pub(crate) fn reset_row(&mut self) {
        *self.valid.last_mut().expect("a row was started") = false;
        if let Values::Text(values) | Values::Binary(values) = &mut self.values {
            values.reset_row();
        }
    }

    /// Sets the last row. False, and the row is NULL or as before, if the value is none of the column's type.
    #[inline]
    pub(crate) fn set(&mut self, scalar: Scalar<'_>) -> bool {
        if let Scalar::Null = scalar {
            self.reset_row();
            return true;
        }
        let is_set = self.values.set_last(scalar);
        if is_set {
            *self.valid.last_mut().expect("a row was started") = true;
        }
        is_set
    }

    /// The finished array.
    pub(crate) fn finish(self) -> ArrayRef {
        let nulls = Some(NullBuffer::new(BooleanBuffer::from(self.valid))).filter(|nulls| nulls.null_count() > 0);
        match self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls)),
            Values::SmallInt(values) => primitive::<Int16Type>(values, nulls),
            Values::Integer(values) => primitive::<Int32Type>(values, nulls),
            Values::BigInt(values) => primitive::<Int64Type>(values, nulls),
            Values::Real(values) => primitive::<Float32Type>(values, nulls),
            Values::Double(values) => primitive::<Float64Type>(values, nulls),
            Values::Decimal { values, .. } => Arc::new(
                PrimitiveArray::<Decimal128Type>::new(ScalarBuffer::from(values), nulls).with_data_type(self.data_type),
            ),
            Values::Text(values) => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(values.ends));
                Arc::new(StringArray::new(offsets, Buffer::from_vec(values.bytes), nulls))
            }
            Values::Binary(values) => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(values.ends));
                Arc::new(BinaryArray::new(offsets, Buffer::from_vec(values.bytes), nulls))
            }
            Values::Date(values) => primitive::<Date32Type>(values, nulls),
            Values::Timestamp { values, .. } => primitive::<TimestampMicrosecondType>(values, nulls),
        }
    }
}

fn primitive<T: ArrowPrimitiveType>(values: Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(values), nulls))
}

impl Values {
    /// The rules. Whatever is not named here is not of the column's type.
    #[inline]
    fn set_last(&mut self, scalar: Scalar<'_>) -> bool {
        match (self, scalar) {
            (Values::Boolean(values), Scalar::Boolean(value)) => set(values, Some(value)),
            (Values::SmallInt(values), Scalar::Integer(value)) => set(values, i16::try_from(value).ok()),
            (Values::Integer(values), Scalar::Integer(value)) => set(values, i32::try_from(value).ok()),
            (Values::BigInt(values), Scalar::Integer(value)) => set(values, Some(value)),
            (Values::Double(values), scalar) => set(values, double_of(scalar).map(normal_double)),
            (Values::Real(values), scalar) => set(values, double_of(scalar).map(real_of)),
            (Values::Decimal { values, precision, scale }, scalar) => {
                set(values, decimal_of(scalar, *precision, *scale))
            }
            (Values::Text(values), Scalar::Text(text)) => values.set_last(text.as_bytes()),
            (Values::Text(values), Scalar::Bytes(bytes)) => {
                std::str::from_utf8(bytes).is_ok() && values.set_last(bytes)
            }
            (Values::Binary(values), Scalar::Bytes(bytes)) => values.set_last(bytes),
            (Values::Binary(values), Scalar::Text(text)) => {
                let is_base64 = read_base64(text, values.reset_row());
                if is_base64 {
                    values.end_row();
                } else {
                    values.reset_row();
                }
                is_base64
            }
            (Values::Date(values), Scalar::Text(text)) => set(values, parse_date(text)),
            (Values::Timestamp { values, unit, integers }, Scalar::Integer(count)) => {
                integers.look_at(count);
                set(values, unit.microseconds(count).filter(|us| TIMESTAMP_US.contains(us)))
            }
            (Values::Timestamp { values, .. }, Scalar::Text(text)) => set(values, parse_timestamp(text)),
            (Values::Timestamp { values, .. }, Scalar::Instant(us)) => {
                set(values, Some(us).filter(|us| TIMESTAMP_US.contains(us)))
            }
            _ => false,
        }
    }
}

fn set<T>(values: &mut [T], value: Option<T>) -> bool {
    match (values.last_mut(), value) {
        (Some(last), Some(value)) => {
            *last = value;
            true
        }
        _ => false,
    }
}

/// The double that a number or one of the three words is. An integer beyond the largest double is none.
fn double_of(scalar: Scalar<'_>) -> Option<f64> {
    match scalar {
        Scalar::Integer(value) => Some(value as f64),
        Scalar::WideInteger(digits) => digits.parse().ok().filter(|value: &f64| value.is_finite()),
        Scalar::Double(value) => Some(value),
        Scalar::Text("NaN") => Some(f64::NAN),
        Scalar::Text("Infinity") => Some(f64::INFINITY),
        Scalar::Text("-Infinity") => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// −0.0 as 0.0 and every NaN as one NaN.
pub(crate) fn normal_double(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}

/// The nearest single, normalised; beyond the largest it is an infinity, as IEEE 754 rounds.
pub(crate) fn real_of(value: f64) -> f32 {
    let single = value as f32;
    if single.is_nan() { f32::NAN } else { single + 0.0 }
}

fn decimal_of(scalar: Scalar<'_>, precision: u8, scale: i8) -> Option<i128> {
    match scalar {
        Scalar::Integer(value) => rescale(i128::from(value), 0, precision, scale),
        Scalar::WideInteger(text) | Scalar::Text(text) => parse_decimal(text, precision, scale),
        Scalar::Decimal { unscaled, scale: from } => rescale(unscaled, from, precision, scale),
        _ => None,
    }
}
