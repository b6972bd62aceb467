//! Fields of a message as columns.
//!
//! A field without a value is what Protocol Buffers say of it: NULL where the message knows whether it was set
//! (`optional`, `oneof`, proto2, messages), else the default of its type. A `google.protobuf.Timestamp` is an instant,
//! and the wrappers (`google.protobuf.Int64Value` and others) are what they wrap. An enumeration is the name of its
//! value.

use arrow::datatypes::{DataType, TimeUnit};
use asof_expression::type_name;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};

use crate::batch_builder::BatchBuilder;
use crate::column::Scalar;
use crate::convert::is_convertible;
use crate::event_body::BodyColumns;
use crate::wanted::position_of;

/// The longest name of an enumeration's value: it becomes a text for each row.
const NAME_BYTES_MAX: usize = 1_024;
const TIMESTAMP: &str = "google.protobuf.Timestamp";
const WRAPPERS: [&str; 9] = [
    "google.protobuf.BoolValue",
    "google.protobuf.BytesValue",
    "google.protobuf.DoubleValue",
    "google.protobuf.FloatValue",
    "google.protobuf.Int32Value",
    "google.protobuf.Int64Value",
    "google.protobuf.StringValue",
    "google.protobuf.UInt32Value",
    "google.protobuf.UInt64Value",
];

/// Of each column the field that it is read from; `None` is absent from the type.
#[derive(Debug, Clone)]
pub(crate) struct FieldColumns(Vec<Option<FieldDescriptor>>);

impl FieldColumns {
    /// An error is why our columns cannot be read from messages of this type.
    pub(crate) fn of(message: &MessageDescriptor, columns: &BodyColumns) -> Result<FieldColumns, String> {
        let fields: Vec<FieldDescriptor> = message.fields().collect();
        let mut found = Vec::with_capacity(columns.names.len());
        for (column, name) in columns.names.iter().enumerate() {
            let place = position_of(name, fields.iter().map(FieldDescriptor::name));
            let field = place.map(|place| fields[place].clone());
            let declared = columns.schema.field(column).data_type();
            // The names of an enumeration are no dates or numbers.
            let is_name = |field: &FieldDescriptor| matches!(field.kind(), Kind::Enum(_));
            let is_long = |kind: &Kind| {
                kind.as_enum().is_some_and(|all| all.values().any(|value| value.name().len() > NAME_BYTES_MAX))
            };
            if field.as_ref().is_some_and(|field| is_long(&field.kind())) {
                return Err(format!("the enumeration of `{name}` has a name longer than {NAME_BYTES_MAX} bytes"));
            }
            let is_read = |field: &FieldDescriptor| {
                let can_be = type_of(field).is_some_and(|data_type| is_convertible(&data_type, declared));
                can_be && (*declared == DataType::Utf8 || !is_name(field))
            };
            if let Some(field) = field.as_ref().filter(|field| !is_read(field)) {
                let (declared, kind) = (type_name(declared), kind_words(field));
                return Err(format!("column `{name}` is {declared}, and `{}` writes {kind}", message.full_name()));
            }
            found.push(field);
        }
        Ok(FieldColumns(found))
    }

    /// The columns that the type has no field for.
    pub(crate) fn absent(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().filter(|(_, field)| field.is_none()).map(|(column, _)| column)
    }

    /// Sets the last row. An error is what cannot be a value of its column.
    pub(crate) fn set(&self, message: &DynamicMessage, batch: &mut BatchBuilder<'_>) -> Result<(), String> {
        for (column, field) in self.0.iter().enumerate() {
            let Some(field) = field else { continue };
            if field.supports_presence() && !message.has_field(field) {
                continue;
            }
            let mut text = String::new();
            let value = message.get_field(field);
            // A text that was not set, and would be no number or date.
            if !field.supports_presence() && value.as_str() == Some("") && !batch.columns[column].takes_any_text() {
                continue;
            }
            let Some(scalar) = scalar_of(&value, field, &mut text) else {
                let name = batch.column_name(column).to_owned();
                return Err(format!("column `{name}`: the instant is beyond what the language has"));
            };
            if !batch.columns[column].set(scalar) {
                return Err(batch.mismatch(column, scalar));
            }
        }
        Ok(())
    }
}

/// The Arrow type whose values the field's are like; `None` is one that no column has.
fn type_of(field: &FieldDescriptor) -> Option<DataType> {
    if field.is_list() || field.is_map() || field.is_group() {
        return None;
    }
    Some(match field.kind() {
        Kind::Bool => DataType::Boolean,
        Kind::Double | Kind::Float => DataType::Float64,
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Uint32 | Kind::Fixed32 => DataType::Int64,
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => DataType::Int64,
        Kind::Uint64 | Kind::Fixed64 => DataType::UInt64,
        Kind::String | Kind::Enum(_) => DataType::Utf8,
        Kind::Bytes => DataType::Binary,
        Kind::Message(message) if message.full_name() == TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Kind::Message(message) if WRAPPERS.contains(&message.full_name()) => {
            // What is not Google's own may have the name, too.
            let inner = message.get_field(1).filter(|inner| !matches!(inner.kind(), Kind::Message(_)))?;
            return type_of(&inner);
        }
        Kind::Message(_) => return None,
    })
}

/// As a schema file writes it.
fn kind_words(field: &FieldDescriptor) -> String {
    let label = if field.is_list() { "repeated " } else { "" };
    match field.kind() {
        _ if field.is_map() => "a map".to_owned(),
        Kind::Message(message) => format!("{label}{}", message.full_name()),
        Kind::Enum(enumeration) => format!("{label}{}", enumeration.full_name()),
        kind => format!("{label}{}", format!("{kind:?}").to_lowercase()),
    }
}

/// The value of a field that columns have. `None`: an instant beyond all bounds.
fn scalar_of<'v>(value: &'v Value, field: &FieldDescriptor, text: &'v mut String) -> Option<Scalar<'v>> {
    match value {
        Value::Message(message) if message.descriptor().full_name() == TIMESTAMP => {
            instant_us(message).map(Scalar::Instant)
        }
        Value::Message(wrapper) => {
            let inner = wrapper.descriptor().get_field(1)?;
            // A wrapper's only value lies in the message, or is the default.
            match wrapper.fields().next() {
                Some((_, value)) => plain(value, &inner, text),
                None => default_of(&inner),
            }
        }
        other => plain(other, field, text),
    }
}

fn plain<'v>(value: &'v Value, field: &FieldDescriptor, text: &'v mut String) -> Option<Scalar<'v>> {
    Some(match value {
        Value::Bool(value) => Scalar::Boolean(*value),
        Value::I32(value) => Scalar::Integer(i64::from(*value)),
        Value::I64(value) => Scalar::Integer(*value),
        Value::U32(value) => Scalar::Integer(i64::from(*value)),
        Value::U64(value) => match i64::try_from(*value) {
            Ok(value) => Scalar::Integer(value),
            Err(_) => {
                *text = value.to_string();
                Scalar::WideInteger(text)
            }
        },
        Value::F32(value) => Scalar::Double(f64::from(*value)),
        Value::F64(value) => Scalar::Double(*value),
        Value::String(value) => Scalar::Text(value),
        Value::Bytes(value) => Scalar::Bytes(value),
        Value::EnumNumber(number) => {
            let known = field.kind().as_enum().and_then(|all| all.get_value(*number));
            *text = known.map_or_else(|| number.to_string(), |value| value.name().to_owned());
            Scalar::Text(text)
        }
        Value::Message(_) | Value::List(_) | Value::Map(_) => return None,
    })
}

/// What a wrapper without a value wraps.
fn default_of(field: &FieldDescriptor) -> Option<Scalar<'static>> {
    Some(match field.kind() {
        Kind::Bool => Scalar::Boolean(false),
        Kind::Double | Kind::Float => Scalar::Double(0.0),
        Kind::String => Scalar::Text(""),
        Kind::Bytes => Scalar::Bytes(b""),
        _ => Scalar::Integer(0),
    })
}

/// Microseconds since 1970, floored.
fn instant_us(message: &DynamicMessage) -> Option<i64> {
    let number = |name: &str| message.get_field_by_name(name);
    let (seconds, nanos) = (number("seconds")?.as_i64()?, number("nanos")?.as_i32()?);
    if !(0..1_000_000_000).contains(&nanos) {
        return None;
    }
    seconds.checked_mul(1_000_000)?.checked_add(i64::from(nanos.div_euclid(1_000)))
}
