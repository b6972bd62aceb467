//! Why a request's events are refused as a whole.

use std::fmt;

use arrow::datatypes::DataType;
use asof_expression::type_name;

use crate::time_unit::TimeUnit;

/// How a request's events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyForm {
    /// One JSON object, or an array of them: the first byte tells.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// An Arrow IPC stream.
    Arrow,
}

impl fmt::Display for BodyForm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            BodyForm::Json => "JSON",
            BodyForm::Ndjson => "NDJSON",
            BodyForm::Arrow => "an Arrow IPC stream",
        })
    }
}

/// What is wrong with a body, so that none of its rows is taken. A single bad row is never one of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventBodyError {
    /// It is not of its form, or cannot be told apart into rows.
    #[error("the body is not {form} that can be read: {detail}")]
    Syntax {
        /// The form that it was read as.
        form: BodyForm,
        /// What is wrong, and where.
        detail: String,
    },
    /// It has more rows than one request may have.
    #[error("the body has more than {rows_max} events; hint: send them in several requests")]
    TooManyRows {
        /// How many there may be.
        rows_max: usize,
    },
    /// An Arrow body lacks a column that must not be NULL.
    #[error("the body has no column `{column}`, which is NOT NULL{hint}")]
    MissingColumn {
        /// The column.
        column: String,
        /// Empty, or the nearest name or the names there are, beginning with `; `.
        hint: String,
    },
    /// An Arrow body has two columns of one name.
    #[error("the body has two columns named `{column}`")]
    RepeatedColumn {
        /// The name.
        column: String,
    },
    /// A column of an Arrow body can never be read as the declared type.
    #[error("column `{column}` of the body is {}, which cannot be read as {}", type_name(found), type_name(declared))]
    ColumnType {
        /// The column.
        column: String,
        /// Its type in the body.
        found: DataType,
        /// Its declared type.
        declared: DataType,
    },
    /// No event says when it arrived, though a column was named for it.
    #[error("no event of the body has a value in the arrival column `{column}`")]
    NoArrivals {
        /// The column.
        column: String,
    },
    /// The stream has a column whose type no event can hold.
    #[error("column `{column}` is declared as {}, which no event can hold", type_name(declared))]
    UnsupportedType {
        /// The column.
        column: String,
        /// Its declared type.
        declared: DataType,
    },
    /// The first plain integers of a time column all fall before 1980.
    #[error("the plain integers in time column `{column}` all fall before 1980 when read as microseconds (the first is `{example}`); hint: {}", unit_hint(*suggested))]
    BeforeYear1980 {
        /// The time column.
        column: String,
        /// The first plain integer.
        example: i64,
        /// The unit that puts it between 1980 and 2100, if there is one.
        suggested: Option<TimeUnit>,
    },
}

fn unit_hint(suggested: Option<TimeUnit>) -> String {
    match suggested {
        Some(unit) => format!("they look like {}; declare the stream WITH (timestamp_unit = '{unit}')", unit.plural()),
        None => "declare the stream WITH (timestamp_unit = 's', 'ms', 'us' or 'ns') to say what they are".to_owned(),
    }
}
