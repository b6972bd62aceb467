//! What is asked of a file, and how its columns or fields are matched to it by name.
//!
//! A name matches exactly, else the only one that differs in case alone, else none: then the column is absent and NULL.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::ConnectError;
use crate::time_unit::TimeUnit;

/// One column asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedColumn {
    /// Its name as declared.
    pub name: String,
    /// Its type: one of the language's (TIMESTAMP is `Timestamp(Microsecond, None)`).
    pub data_type: DataType,
}

/// The columns asked of a file, and how plain integers in its TIMESTAMP columns are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// In the order in which batches will have them.
    pub columns: Vec<WantedColumn>,
    /// The unit of plain integers. `None`: microseconds, checked to be no other unit by mistake (the year 1980 rule).
    pub time_unit: Option<TimeUnit>,
}

impl Wanted {
    /// The schema of the batches: the columns in order, all nullable.
    pub(crate) fn schema(&self) -> Result<SchemaRef, ConnectError> {
        let fields: Result<Vec<Field>, ConnectError> = self
            .columns
            .iter()
            .map(|WantedColumn { name, data_type }| {
                if !is_language_type(data_type) {
                    return Err(ConnectError::UnsupportedType { column: name.clone(), declared: data_type.clone() });
                }
                Ok(Field::new(name, data_type.clone(), true))
            })
            .collect();
        Ok(Arc::new(Schema::new(fields?)))
    }
}

/// Where `wanted` stands among `names`: exactly, else the only one alike but for case.
pub(crate) fn position_of<'a>(wanted: &str, names: impl Iterator<Item = &'a str> + Clone) -> Option<usize> {
    if let Some(exact) = names.clone().position(|name| name == wanted) {
        return Some(exact);
    }
    let lower = wanted.to_lowercase();
    let mut alike = names.enumerate().filter(|(_, name)| name.to_lowercase() == lower);
    match (alike.next(), alike.next()) {
        (Some((only, _)), None) => Some(only),
        _ => None,
    }
}

/// Whether a column of a stream or of a REQUEST may have this type.
pub(crate) fn is_language_type(data_type: &DataType) -> bool {
    use arrow::datatypes::TimeUnit::Microsecond;
    match data_type {
        DataType::Decimal128(precision, scale) => {
            (1..=38).contains(precision) && *scale >= 0 && *scale as u8 <= *precision
        }
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32
        | DataType::Timestamp(Microsecond, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_exactly_else_by_case_if_unique() {
        for (wanted, names, expected) in [
            ("ts", vec!["TS", "ts"], Some(1)),
            ("ts", vec!["id", "Ts"], Some(1)),
            ("ts", vec!["TS", "Ts"], None),
            ("ts", vec!["t"], None),
            ("größe", vec!["GRÖSSE", "GRÖßE"], Some(1)),
        ] {
            assert_eq!(position_of(wanted, names.iter().copied()), expected, "{names:?}");
        }
    }
}
