//! The body of a call for features: `{"rows":[{…}],"as_of":…}`, straight into columns.

use std::fmt;

use arrow::datatypes::DataType;
use asof_connect::{RequestColumns, RequestRows, RowRefusal, RowsSeed, parse_timestamp};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::{Kind, Problem};

/// The years 0001 to 9999, which RFC 3339 can write, in microseconds.
const AS_OF_US: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;
/// The fields of a body.
const FIELDS: [&str; 2] = ["rows", "as_of"];
/// What the parser is told when a body is refused; the reason itself stands beside it.
const REFUSED: &str = "refused";

/// A call for features.
#[derive(Debug)]
pub(crate) struct FeatureCall {
    pub(crate) rows: RequestRows,
    /// In microseconds; `None` is now.
    pub(crate) as_of_us: Option<i64>,
}

impl FeatureCall {
    /// Reads a body. The columns are those of the service or view that is asked.
    pub(crate) fn read(body: &[u8], columns: &RequestColumns, rows_max: usize) -> Result<FeatureCall, Problem> {
        let text = std::str::from_utf8(body).map_err(|_| Problem::invalid("the body is not UTF-8 text"))?;
        if text.trim_ascii().is_empty() {
            return Err(Problem::invalid("the body is empty").hint(rows_hint(columns)));
        }
        let mut refused = None;
        let mut parser = serde_json::Deserializer::from_str(text);
        let seed = CallSeed { columns, rows_max, refused: &mut refused };
        let read = seed.deserialize(&mut parser).and_then(|call| parser.end().map(|()| call));
        read.map_err(|error| refused.unwrap_or_else(|| malformed(&error, columns)))
    }
}

fn malformed(error: &serde_json::Error, columns: &RequestColumns) -> Problem {
    let words = if error.is_data() { "the body has the wrong shape" } else { "the body is not valid JSON" };
    Problem::invalid(format!("{words}: {error}")).hint(rows_hint(columns))
}

/// What a body looks like here.
fn rows_hint(columns: &RequestColumns) -> String {
    let names: Vec<String> = columns.names().iter().take(12).map(|name| format!("\"{name}\":…")).collect();
    let more = if columns.names().len() > 12 { ",…" } else { "" };
    format!("send {{\"rows\":[{{{}{more}}}]}}", names.join(","))
}

/// The name of a field, without a copy where it is known.
#[derive(Debug)]
enum Field {
    Rows,
    AsOf,
    Unknown(String),
}

impl Field {
    fn name(&self) -> &str {
        match self {
            Field::Rows => FIELDS[0],
            Field::AsOf => FIELDS[1],
            Field::Unknown(name) => name,
        }
    }
}

impl<'de> serde::Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(name: D) -> Result<Field, D::Error> {
        struct FieldVisitor;
        impl Visitor<'_> for FieldVisitor {
            type Value = Field;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a field name")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Field, E> {
                Ok(match name {
                    "rows" => Field::Rows,
                    "as_of" => Field::AsOf,
                    // Shown in a message only.
                    other => Field::Unknown(other.chars().take(60).collect()),
                })
            }
        }
        name.deserialize_str(FieldVisitor)
    }
}

struct CallSeed<'a> {
    columns: &'a RequestColumns,
    rows_max: usize,
    refused: &'a mut Option<Problem>,
}

impl<'de> DeserializeSeed<'de> for CallSeed<'_> {
    type Value = FeatureCall;

    fn deserialize<D: Deserializer<'de>>(self, body: D) -> Result<FeatureCall, D::Error> {
        body.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for CallSeed<'_> {
    type Value = FeatureCall;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with `rows`")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut fields: M) -> Result<FeatureCall, M::Error> {
        let (mut rows, mut as_of) = (None, None);
        while let Some(field) = fields.next_key::<Field>()? {
            match field {
                Field::Rows if rows.is_none() => rows = Some(self.read_rows(&mut fields)?),
                Field::AsOf if as_of.is_none() => {
                    let raw: &RawValue = fields.next_value()?;
                    as_of = Some(as_of_us(raw.get()).map_err(|problem| refuse(self.refused, problem))?);
                }
                Field::Rows | Field::AsOf => return Err(refuse(self.refused, repeated(field.name()))),
                Field::Unknown(name) => return Err(refuse(self.refused, unknown(&name))),
            }
        }
        let missing = || Problem::invalid("`rows` is missing").hint(rows_hint(self.columns));
        let rows = rows.ok_or_else(|| refuse(self.refused, missing()))?;
        Ok(FeatureCall { rows, as_of_us: as_of.flatten() })
    }
}

impl CallSeed<'_> {
    fn read_rows<'de, M: MapAccess<'de>>(&mut self, fields: &mut M) -> Result<RequestRows, M::Error> {
        let mut refused = None;
        let seed = RowsSeed { columns: self.columns, rows_max: self.rows_max, refused: &mut refused };
        fields.next_value_seed(seed).map_err(|error| match refused {
            Some(refusal) => {
                let problem = self.problem_of(&refusal);
                refuse(self.refused, problem)
            }
            None => error,
        })
    }

    fn problem_of(&self, refusal: &RowRefusal) -> Problem {
        let problem = Problem::invalid(refusal.to_string());
        match refusal {
            RowRefusal::UnknownColumn { name, .. } => {
                problem.did_you_mean(name, self.columns.names().iter().map(String::as_str))
            }
            RowRefusal::Missing { .. } => problem.hint("send null if it is unknown"),
            RowRefusal::Mismatch { column, .. } => match type_hint(&self.columns.types()[*column]) {
                Some(hint) => problem.hint(hint),
                None => problem,
            },
            RowRefusal::Repeated { .. } => problem,
            RowRefusal::TooManyRows { .. } => Problem::new(Kind::TooLarge, refusal.to_string())
                .hint("send several requests, or raise `rows_max` in [server] of asof.toml"),
        }
    }
}

/// Keeps the reason and stops the parser.
fn refuse<E: Error>(refused: &mut Option<Problem>, problem: Problem) -> E {
    *refused = Some(problem);
    E::custom(REFUSED)
}

fn repeated(name: &str) -> Problem {
    Problem::invalid(format!("`{name}` is given twice"))
}

fn unknown(name: &str) -> Problem {
    Problem::invalid(format!("unknown field `{name}`")).did_you_mean(name, FIELDS.into_iter())
}

/// The instant that a JSON value names; `null` is none.
fn as_of_us(raw: &str) -> Result<Option<i64>, Problem> {
    let instant_us = match raw.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b'"') => serde_json::from_str::<String>(raw).ok().and_then(|text| parse_timestamp(&text)),
        _ => raw.parse().ok(),
    };
    match instant_us.filter(|us| AS_OF_US.contains(us)) {
        Some(us) => Ok(Some(us)),
        None => {
            let shown: String = raw.chars().take(60).collect();
            Err(Problem::invalid(format!("`as_of` is no instant: {shown}")).hint(
                "RFC 3339 text such as \"2026-01-01T00:00:00Z\" (no zone is UTC), or integer microseconds since 1970",
            ))
        }
    }
}

/// How values of a type stand in JSON, where that is not plain.
fn type_hint(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            Some("an integer in its range, without quotes, point or exponent")
        }
        DataType::Decimal128(_, _) => {
            Some("an integer, or text such as \"12.50\" with no more digits than its precision and scale")
        }
        DataType::Float32 | DataType::Float64 => Some("a number, or \"NaN\", \"Infinity\", \"-Infinity\""),
        DataType::Binary => Some("base64 text with padding"),
        DataType::Date32 => Some("text such as \"2026-01-31\""),
        DataType::Timestamp(_, _) => {
            Some("RFC 3339 text such as \"2026-01-01T00:00:00Z\" (no zone is UTC), or integer microseconds since 1970")
        }
        _ => None,
    }
}
