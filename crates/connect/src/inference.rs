//! The types of a text file's columns, from all its values: a later row cannot break what an earlier one suggested.
//! ```text
//!   nothing ─▶ BOOLEAN
//!           ├▶ BIGINT ──▶ DOUBLE ◀── NaN, Infinity        two kinds that no arrow joins, and what is
//!           └▶ VARCHAR                                    none of these, make the column VARCHAR
//! ```

use arrow::datatypes::DataType;

use crate::column::Scalar;
use crate::csv_rows::boolean_of;

/// What the values of a column had in common so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// Only NULLs.
    #[default]
    Nothing,
    Boolean,
    Integer,
    Double,
    /// The words for what is no finite number: doubles among numbers, otherwise texts.
    NotFinite,
    Text,
}

impl Kind {
    /// The kind of one value.
    pub(crate) fn of(scalar: Scalar<'_>) -> Kind {
        match scalar {
            Scalar::Null => Kind::Nothing,
            Scalar::Boolean(_) => Kind::Boolean,
            Scalar::Integer(_) => Kind::Integer,
            Scalar::Double(_) => Kind::Double,
            Scalar::Text("NaN" | "Infinity" | "-Infinity") => Kind::NotFinite,
            Scalar::WideInteger(_) | Scalar::Decimal { .. } | Scalar::Text(_) | Scalar::Other(_) => Kind::Text,
            Scalar::Bytes(_) | Scalar::Instant(_) => unreachable!("no text has them"),
        }
    }

    /// The kind of a CSV field. Integers with a sign or zeros in front are texts: codes, whose digits must stay.
    pub(crate) fn of_csv(text: &str) -> Kind {
        if boolean_of(text).is_some() {
            return Kind::Boolean;
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        let Some(first) = digits.bytes().next().filter(u8::is_ascii_digit) else {
            return Kind::of(Scalar::Text(text));
        };
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let is_canonical = first != b'0' || text == "0";
            return if is_canonical && text.parse::<i64>().is_ok() { Kind::Integer } else { Kind::Text };
        }
        let has_code_zeros = first == b'0' && digits.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() && !has_code_zeros => Kind::Double,
            _ => Kind::Text,
        }
    }

    /// The kind of two values of one column.
    pub(crate) fn join(self, other: Kind) -> Kind {
        use Kind::{Double, Integer, NotFinite, Nothing};
        match (self, other) {
            (Nothing, kind) | (kind, Nothing) => kind,
            (one, two) if one == two => one,
            (Integer | Double | NotFinite, Integer | Double | NotFinite) => Double,
            _ => Kind::Text,
        }
    }

    /// The type of a column whose values are all of this kind.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Kind::Boolean => DataType::Boolean,
            Kind::Integer => DataType::Int64,
            Kind::Double => DataType::Float64,
            Kind::Nothing | Kind::NotFinite | Kind::Text => DataType::Utf8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_csv_get_the_narrowest_type_that_holds_all_values() {
        let cases: [(&[&str], DataType); 12] = [
            (&[], DataType::Utf8),
            (&["1", "-2", "0"], DataType::Int64),
            (&["1", "2.5"], DataType::Float64),
            (&["1", "NaN"], DataType::Float64),
            (&["NaN"], DataType::Utf8),
            (&["true", "False"], DataType::Boolean),
            (&["true", "1"], DataType::Utf8),
            (&["1", "abc"], DataType::Utf8),
            (&["007"], DataType::Utf8),
            (&["1.5", "00.5"], DataType::Utf8),
            (&["9223372036854775808"], DataType::Utf8),
            (&["1e5", "1e999"], DataType::Utf8),
        ];
        for (texts, expected) in cases {
            let kind = texts.iter().map(|text| Kind::of_csv(text)).fold(Kind::Nothing, Kind::join);
            assert_eq!(kind.data_type(), expected, "{texts:?}");
        }
    }
}
