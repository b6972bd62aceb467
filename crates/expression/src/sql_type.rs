//! The language's types: their SQL names and the Arrow types that hold them. This is the one list.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, TimeUnit};
use sqlparser::ast::{DataType as SqlType, ExactNumberInfo, TimezoneInfo};

use crate::PlanError;

/// What the language calls its types, for messages.
const TYPES_HINT: &str =
    "the types are BOOLEAN, SMALLINT, INTEGER, BIGINT, REAL, DOUBLE, DECIMAL(p,s), VARCHAR, VARBINARY, DATE, TIMESTAMP";

/// The Arrow type of a type of the language; an error that names any other.
pub fn sql_type(written: &SqlType) -> Result<DataType, PlanError> {
    match written {
        SqlType::Boolean => Ok(DataType::Boolean),
        SqlType::SmallInt(None) => Ok(DataType::Int16),
        SqlType::Integer(None) => Ok(DataType::Int32),
        SqlType::BigInt(None) => Ok(DataType::Int64),
        SqlType::Real => Ok(DataType::Float32),
        SqlType::Double(ExactNumberInfo::None) => Ok(DataType::Float64),
        SqlType::Varchar(None) => Ok(DataType::Utf8),
        SqlType::Varbinary(None) => Ok(DataType::Binary),
        SqlType::Date => Ok(DataType::Date32),
        SqlType::Timestamp(None, TimezoneInfo::None) => Ok(DataType::Timestamp(TimeUnit::Microsecond, None)),
        SqlType::Decimal(ExactNumberInfo::PrecisionAndScale(precision, scale)) => decimal(*precision, *scale),
        other => {
            let error = PlanError::new(format!("type `{other}` is not supported"));
            Err(error.with_hint(instead_of(other).unwrap_or(TYPES_HINT)))
        }
    }
}

fn decimal(precision: u64, scale: i64) -> Result<DataType, PlanError> {
    let in_range = |precision: &u8| (1..=DECIMAL128_MAX_PRECISION).contains(precision);
    match (u8::try_from(precision).ok().filter(in_range), i8::try_from(scale)) {
        (Some(precision), Ok(scale)) if scale >= 0 && scale <= precision as i8 => {
            Ok(DataType::Decimal128(precision, scale))
        }
        _ => Err(PlanError::new(format!("type `DECIMAL({precision},{scale})` is not supported"))
            .with_hint("in DECIMAL(p,s) the precision p is from 1 to 38 and the scale s from 0 to p")),
    }
}

fn instead_of(written: &SqlType) -> Option<&'static str> {
    match written {
        SqlType::Bool => Some("write BOOLEAN"),
        SqlType::Int2(_) => Some("write SMALLINT"),
        SqlType::Int(_) | SqlType::Int4(_) => Some("write INTEGER"),
        SqlType::Int8(_) => Some("write BIGINT"),
        SqlType::TinyInt(_) => Some("write SMALLINT"),
        SqlType::Float4 => Some("write REAL"),
        SqlType::Float(_) | SqlType::Float8 | SqlType::DoublePrecision | SqlType::Float64 | SqlType::Double(_) => {
            Some("write DOUBLE (64 bits) or REAL (32 bits)")
        }
        SqlType::Numeric(_) | SqlType::Dec(_) | SqlType::Decimal(_) => Some("write DECIMAL(p,s) with both numbers"),
        SqlType::Text | SqlType::String(_) | SqlType::Char(_) | SqlType::CharVarying(_) | SqlType::Varchar(_) => {
            Some("write VARCHAR, without a length")
        }
        SqlType::Bytea | SqlType::Blob(_) | SqlType::Binary(_) | SqlType::Varbinary(_) | SqlType::Bytes(_) => {
            Some("write VARBINARY, without a length")
        }
        SqlType::Timestamp(..) | SqlType::TimestampNtz(_) | SqlType::Datetime(_) => {
            Some("write TIMESTAMP: it is UTC, in microseconds")
        }
        SqlType::Array(_) => Some("arrays come later: an event's columns hold single values"),
        SqlType::Struct(..) | SqlType::Map(..) | SqlType::JSON => {
            Some("nested types come later: use a column for each field")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::type_name::type_name;
    use sqlparser::dialect::GenericDialect;
    use sqlparser::parser::Parser;

    fn check(text: &str, expected: Result<&str, &str>) {
        let written = Parser::new(&GenericDialect {}).try_with_sql(text).unwrap().parse_data_type().unwrap();
        let found = sql_type(&written).map(|data_type| type_name(&data_type)).map_err(|error| error.hint.unwrap());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn types_by_name() {
        for name in [
            "BOOLEAN",
            "SMALLINT",
            "INTEGER",
            "BIGINT",
            "REAL",
            "DOUBLE",
            "DECIMAL(10,2)",
            "DECIMAL(38,38)",
            "VARCHAR",
            "VARBINARY",
            "DATE",
            "TIMESTAMP",
        ] {
            check(name, Ok(name));
        }
    }

    #[test]
    fn other_types_are_refused_with_the_right_name() {
        check("INT", Err("write INTEGER"));
        check("TEXT", Err("write VARCHAR, without a length"));
        check("VARCHAR(20)", Err("write VARCHAR, without a length"));
        check("NUMERIC(10,2)", Err("write DECIMAL(p,s) with both numbers"));
        check("DECIMAL", Err("write DECIMAL(p,s) with both numbers"));
        check("DECIMAL(39,2)", Err("in DECIMAL(p,s) the precision p is from 1 to 38 and the scale s from 0 to p"));
        check("DECIMAL(5,6)", Err("in DECIMAL(p,s) the precision p is from 1 to 38 and the scale s from 0 to p"));
        check("TIMESTAMP WITH TIME ZONE", Err("write TIMESTAMP: it is UTC, in microseconds"));
        check("TIMESTAMP(3)", Err("write TIMESTAMP: it is UTC, in microseconds"));
        check("VARCHAR[]", Err("arrays come later: an event's columns hold single values"));
        check("TIME", Err(TYPES_HINT));
    }
}
