//! Rows of a request: a JSON array of objects straight into columns, by the rules that events are read by.
//!
//! Unlike an event file, a request is refused as a whole at the first thing that is wrong: every row names every column
//! exactly once and nothing else, and each value is of its column's type. A value reads like that of a JSON-lines event,
//! because both go through [`scalar_of`] and [`Column::set`]; a plain integer of a TIMESTAMP is microseconds.

use std::fmt;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use hashbrown::HashMap;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::batch_builder::mismatch;
use crate::column::{Column, bounded};
use crate::error::ConnectError;
use crate::json_rows::scalar_of;
use crate::time_unit::TimeUnit;
use crate::wanted::WantedColumn;
use crate::wanted::is_language_type;

/// Columns begin with room for so many rows: most requests have one.
const ROWS_EXPECTED: usize = 4;
/// How much of an unknown name is shown, in bytes.
const NAME_BYTES_MAX: usize = 60;
/// What the parser is told when a row is refused; the reason itself goes to [`RowsSeed::refused`].
const REFUSED: &str = "refused";

/// The columns that each row of a request names. Made once for a service or view.
#[derive(Debug, Clone)]
pub struct RequestColumns {
    names: Vec<String>,
    types: Vec<DataType>,
    places: HashMap<String, usize, foldhash::fast::RandomState>,
}

/// The rows of one request.
#[derive(Debug, Clone)]
pub struct RequestRows {
    /// One array for each column, in the order of [`RequestColumns`].
    pub columns: Vec<ArrayRef>,
    /// How many rows.
    pub rows: usize,
}

/// Why rows are refused. Rows count from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowRefusal {
    /// A row names what is no column.
    #[error("row {row}: unknown column `{name}`")]
    UnknownColumn {
        /// The row.
        row: usize,
        /// The name, cut if it is long.
        name: String,
    },
    /// A row names a column twice.
    #[error("row {row}: column `{column}` is given twice")]
    Repeated {
        /// The row.
        row: usize,
        /// The column.
        column: String,
    },
    /// A row does not name a column.
    #[error("row {row}: column `{column}` is missing")]
    Missing {
        /// The row.
        row: usize,
        /// The column.
        column: String,
    },
    /// A value is not of its column's type.
    #[error("row {row}: {detail}")]
    Mismatch {
        /// The row.
        row: usize,
        /// The column, as an index into [`RequestColumns`].
        column: usize,
        /// The column, what was expected and what was found.
        detail: String,
    },
    /// There are more rows than one request may have.
    #[error("more than {rows_max} rows in one request")]
    TooManyRows {
        /// How many there may be.
        rows_max: usize,
    },
}

impl RequestColumns {
    /// Columns by name and type, which must be one of the language's.
    pub fn new(columns: Vec<WantedColumn>) -> Result<RequestColumns, ConnectError> {
        if let Some(column) = columns.iter().find(|column| !is_language_type(&column.data_type)) {
            let (column, declared) = (column.name.clone(), column.data_type.clone());
            return Err(ConnectError::UnsupportedType { column, declared });
        }
        let places = columns.iter().enumerate().map(|(place, column)| (column.name.clone(), place)).collect();
        let (names, types) = columns.into_iter().map(|column| (column.name, column.data_type)).unzip();
        Ok(RequestColumns { names, types, places })
    }

    /// Their names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Their types, in order.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }
}

/// Reads an array of rows from any JSON parser that lends its text (`serde_json::from_str` does).
#[derive(Debug)]
pub struct RowsSeed<'a> {
    /// What each row names.
    pub columns: &'a RequestColumns,
    /// How many rows there may be.
    pub rows_max: usize,
    /// Set if the parser stops with an error because rows are refused.
    pub refused: &'a mut Option<RowRefusal>,
}

impl<'de> DeserializeSeed<'de> for RowsSeed<'_> {
    type Value = RequestRows;

    fn deserialize<D: Deserializer<'de>>(self, array: D) -> Result<RequestRows, D::Error> {
        array.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowsSeed<'_> {
    type Value = RequestRows;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<RequestRows, A::Error> {
        let mut reader = RowReader::new(self.columns, self.refused);
        loop {
            let is_full = reader.rows == self.rows_max;
            let next = array.next_element_seed(RowSeed { reader: &mut reader, is_full })?;
            if next.is_none() {
                return Ok(reader.finish());
            }
        }
    }
}

/// The rows so far.
struct RowReader<'a> {
    names: &'a RequestColumns,
    columns: Vec<Column>,
    rows: usize,
    /// For each place in a row, the column that the previous row had there: rows mostly have the same order.
    order: Vec<usize>,
    /// For each column, how many rows there were when it was last set, the row itself counted.
    set_at: Vec<usize>,
    text: String,
    refused: &'a mut Option<RowRefusal>,
}

impl<'a> RowReader<'a> {
    fn new(names: &'a RequestColumns, refused: &'a mut Option<RowRefusal>) -> RowReader<'a> {
        let column = |data_type| Column::new(data_type, TimeUnit::Microsecond, ROWS_EXPECTED);
        RowReader {
            names,
            columns: names.types.iter().map(column).collect(),
            rows: 0,
            order: (0..names.names.len()).collect(),
            set_at: vec![0; names.names.len()],
            text: String::new(),
            refused,
        }
    }

    fn refuse<E: Error>(&mut self, refusal: RowRefusal) -> E {
        *self.refused = Some(refusal);
        E::custom(REFUSED)
    }

    fn start_row(&mut self) {
        self.rows += 1;
        self.columns.iter_mut().for_each(Column::start_row);
    }

    /// The index of the row that is being read.
    fn row(&self) -> usize {
        self.rows - 1
    }

    /// The column that the name at this place of the row means.
    fn column<E: Error>(&mut self, place: usize, name: &str) -> Result<usize, E> {
        if let Some(&column) = self.order.get(place)
            && self.names.names[column] == *name
        {
            return Ok(column);
        }
        let Some(&column) = self.names.places.get(name) else {
            let name = bounded(name, NAME_BYTES_MAX);
            return Err(self.refuse(RowRefusal::UnknownColumn { row: self.row(), name }));
        };
        if let Some(known) = self.order.get_mut(place) {
            *known = column;
        }
        Ok(column)
    }

    fn set<E: Error>(&mut self, column: usize, raw: &str) -> Result<(), E> {
        let row = self.row();
        if std::mem::replace(&mut self.set_at[column], self.rows) == self.rows {
            return Err(self.refuse(RowRefusal::Repeated { row, column: self.names.names[column].clone() }));
        }
        let scalar = scalar_of(raw, &mut self.text);
        if self.columns[column].set(scalar) {
            return Ok(());
        }
        let detail = mismatch(&self.names.names[column], &self.names.types[column], scalar);
        Err(self.refuse(RowRefusal::Mismatch { row, column, detail }))
    }

    fn end_row<E: Error>(&mut self) -> Result<(), E> {
        match self.set_at.iter().position(|set_at| *set_at != self.rows) {
            None => Ok(()),
            Some(column) => {
                let column = self.names.names[column].clone();
                Err(self.refuse(RowRefusal::Missing { row: self.row(), column }))
            }
        }
    }

    fn finish(self) -> RequestRows {
        RequestRows { columns: self.columns.into_iter().map(Column::finish).collect(), rows: self.rows }
    }
}

struct RowSeed<'r, 'a> {
    reader: &'r mut RowReader<'a>,
    is_full: bool,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, row: D) -> Result<(), D::Error> {
        if self.is_full {
            let rows_max = self.reader.rows;
            return Err(self.reader.refuse(RowRefusal::TooManyRows { rows_max }));
        }
        self.reader.start_row();
        row.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an object as row {}", self.reader.row())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut fields: M) -> Result<(), M::Error> {
        let mut place = 0;
        while let Some(column) = fields.next_key_seed(NameSeed { reader: self.reader, place })? {
            place += 1;
            let raw: &RawValue = fields.next_value()?;
            self.reader.set(column, raw.get())?;
        }
        self.reader.end_row()
    }
}

struct NameSeed<'r, 'a> {
    reader: &'r mut RowReader<'a>,
    place: usize,
}

impl<'de> DeserializeSeed<'de> for NameSeed<'_, '_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<usize, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_, '_> {
    type Value = usize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a column name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        self.reader.column(self.place, name)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef, TimeUnit as ArrowUnit};
    use proptest::prelude::*;
    use std::sync::Arc;

    use super::*;
    use crate::batch_builder::BatchBuilder;
    use crate::json_rows::{JsonRows, JsonRule};

    fn all_types() -> Vec<DataType> {
        vec![
            DataType::Boolean,
            DataType::Int16,
            DataType::Int32,
            DataType::Int64,
            DataType::Float32,
            DataType::Float64,
            DataType::Decimal128(10, 2),
            DataType::Decimal128(38, 0),
            DataType::Utf8,
            DataType::Binary,
            DataType::Date32,
            DataType::Timestamp(ArrowUnit::Microsecond, None),
        ]
    }

    fn columns(named: &[(&str, DataType)]) -> RequestColumns {
        let wanted = |(name, data_type): &(&str, DataType)| WantedColumn {
            name: (*name).to_owned(),
            data_type: data_type.clone(),
        };
        RequestColumns::new(named.iter().map(wanted).collect()).unwrap()
    }

    fn read(columns: &RequestColumns, rows_max: usize, text: &str) -> Result<RequestRows, String> {
        let mut refused = None;
        let seed = RowsSeed { columns, rows_max, refused: &mut refused };
        let read = seed.deserialize(&mut serde_json::Deserializer::from_str(text));
        read.map_err(|error| refused.map_or_else(|| error.to_string(), |refusal| refusal.to_string()))
    }

    #[test]
    fn rows_become_columns_in_any_order_of_names() {
        let columns = columns(&[("id", DataType::Int64), ("name", DataType::Utf8)]);
        let text = r#"[{"id":1,"name":"a"},{"name":"b\n","id":9223372036854775807},{"na\u006de":null,"id":null}]"#;
        let read = read(&columns, 3, text).unwrap();
        assert_eq!(read.rows, 3);
        let ids: Vec<Option<i64>> = read.columns[0].as_primitive::<Int64Type>().iter().collect();
        assert_eq!(ids, [Some(1), Some(i64::MAX), None]);
        let names: Vec<Option<&str>> = read.columns[1].as_string::<i32>().iter().collect();
        assert_eq!(names, [Some("a"), Some("b\n"), None]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let columns = columns(&[("id", DataType::Int64), ("name", DataType::Utf8)]);
        for (text, expected) in [
            (r#"[{"id":1,"name":"a"},{"id":1}]"#, "row 1: column `name` is missing"),
            (r#"[{"id":1,"nam":"a"}]"#, "row 0: unknown column `nam`"),
            (r#"[{"id":1,"Name":"a"}]"#, "row 0: unknown column `Name`"),
            (r#"[{"id":1,"id":1,"name":"a"}]"#, "row 0: column `id` is given twice"),
            (r#"[{"id":"1","name":"a"}]"#, "row 0: column `id`: expected BIGINT, found text `1`"),
            (r#"[{"id":1.0,"name":"a"}]"#, "row 0: column `id`: expected BIGINT, found number `1.0`"),
            (
                r#"[{"id":9223372036854775808,"name":"a"}]"#,
                "row 0: column `id`: expected BIGINT, found integer `9223372036854775808`",
            ),
            (r#"[{"id":1,"name":[{}]}]"#, "row 0: column `name`: expected VARCHAR, found `[{}]`"),
            (
                r#"[{"id":1,"name":"a"},3]"#,
                "invalid type: integer `3`, expected an object as row 1 at line 1 column 22",
            ),
            (r#"{"id":1}"#, "invalid type: map, expected an array of rows at line 1 column 0"),
            (r#"[{"id":1,"name":"a"}"#, "EOF while parsing a list at line 1 column 20"),
        ] {
            assert_eq!(read(&columns, 9, text).unwrap_err(), expected, "{text}");
        }
        let three = r#"[{"id":1,"name":"a"},{"id":1,"name":"a"},{"id":1,"name":"a"}]"#;
        assert_eq!(read(&columns, 2, three).unwrap_err(), "more than 2 rows in one request");
        assert_eq!(read(&columns, 3, three).unwrap().rows, 3);
        assert_eq!(read(&columns, 0, "[]").unwrap().rows, 0);
    }

    /// The value as the event `{"x": value}` of a JSON-lines file reads: its array, or what is wrong with it.
    fn as_event(data_type: &DataType, value: &str) -> Result<ArrayRef, String> {
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("x", data_type.clone(), true)]));
        let names = ["x".to_owned()];
        let mut batch = BatchBuilder::new(&schema, TimeUnit::Microsecond, 0, 1);
        JsonRows::new(&names, JsonRule::Event).read(format!(r#"{{"x":{value}}}"#).as_bytes(), &mut batch);
        let decoded = batch.finish();
        match decoded.unreadable.into_iter().next() {
            Some(unreadable) => Err(unreadable.detail),
            None => Ok(decoded.batch.column(0).clone()),
        }
    }

    /// The bytes of the array, so that −0.0 and NaN are told apart.
    fn bits(array: &ArrayRef) -> (DataType, Vec<bool>, Vec<Vec<u8>>) {
        let nulls = (0..array.len()).map(|row| array.is_null(row)).collect();
        let buffers = array.to_data().buffers().iter().map(|buffer| buffer.as_slice().to_vec()).collect();
        (array.data_type().clone(), nulls, buffers)
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|value| value.to_string()),
            any::<i64>().prop_map(|value| value.to_string()),
            any::<i16>().prop_map(|value| value.to_string()),
            any::<f64>()
                .prop_filter("JSON has no infinities", |value| value.is_finite())
                .prop_map(|v| format!("{v:?}")),
            "-?[1-9][0-9]{0,45}",
            "-?[1-9][0-9]{0,5}\\.[0-9]{1,20}",
            "-?[1-9]\\.[0-9]{1,3}e[+-]?[0-9]{1,3}",
            "\"-?[0-9]{1,9}\\.[0-9]{0,3}\"",
            Just("-0.0".to_owned()),
            prop_oneof!["NaN", "Infinity", "-Infinity", "QUI=", "QQ==", "2024-02-30"]
                .prop_map(|text| format!("{text:?}")),
            "\"20[0-9]{2}-[01][0-9]-[0-3][0-9](T[0-2][0-9]:[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,9})?)?(Z|\\+0[0-9]:30)?)?\"",
            ".{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
            Just("\"\\ud800\"".to_owned()),
            Just("[1,{\"a\":null}]".to_owned()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn a_value_reads_like_that_of_an_event(value in value(), which in 0..all_types().len()) {
            let data_type = all_types()[which].clone();
            let request = read(&columns(&[("x", data_type.clone())]), 1, &format!(r#"[{{"x":{value}}}]"#));
            match as_event(&data_type, &value) {
                Ok(array) => prop_assert_eq!(bits(&array), bits(&request.unwrap().columns[0])),
                Err(detail) => prop_assert_eq!(format!("row 0: {detail}"), request.unwrap_err()),
            }
        }
    }
}
