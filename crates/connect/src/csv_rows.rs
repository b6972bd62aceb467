//! CSV records into columns (RFC 4180): the header names the fields, an empty field is NULL, a quoted empty one is text.
//!
//! A record with another number of fields than the header, or with something behind a closing quote, is unreadable.

use std::borrow::Cow;

use arrow::datatypes::DataType;

use crate::batch_builder::BatchBuilder;
use crate::column::{Column, Scalar};
use crate::row_cutter::closing_quote;

/// One field as it stands in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CsvField<'r> {
    raw: &'r str,
    is_quoted: bool,
}

impl<'r> CsvField<'r> {
    /// The field's text, `None` for NULL.
    pub(crate) fn text(&self) -> Option<Cow<'r, str>> {
        match self.is_quoted {
            false if self.raw.is_empty() => None,
            true if self.raw.contains('"') => Some(Cow::Owned(self.raw.replace("\"\"", "\""))),
            _ => Some(Cow::Borrowed(self.raw)),
        }
    }
}

/// Splits a record, which has no line end, into `fields`.
pub(crate) fn split_record<'r>(record: &'r str, fields: &mut Vec<CsvField<'r>>) -> Result<(), &'static str> {
    fields.clear();
    let bytes = record.as_bytes();
    let mut start = 0;
    loop {
        let (field, end) = if bytes.get(start) == Some(&b'"') {
            let close = closing_quote(bytes, start + 1).ok_or("a quoted field is not closed")?;
            (CsvField { raw: &record[start + 1..close], is_quoted: true }, close + 1)
        } else {
            let length = bytes[start..].iter().position(|byte| *byte == b',').unwrap_or(bytes.len() - start);
            (CsvField { raw: &record[start..start + length], is_quoted: false }, start + length)
        };
        fields.push(field);
        match bytes.get(end) {
            None => return Ok(()),
            Some(b',') => start = end + 1,
            Some(_) => return Err("text follows a closing quote"),
        }
    }
}

/// Reads the records of one text into a batch.
pub(crate) struct CsvRows<'a, 't> {
    /// How many fields the header has.
    width: usize,
    /// For each wanted column the field that holds it.
    sources: &'a [Option<usize>],
    /// The fields of the record at hand.
    fields: Vec<CsvField<'t>>,
}

impl<'a, 't> CsvRows<'a, 't> {
    pub(crate) fn new(width: usize, sources: &'a [Option<usize>]) -> CsvRows<'a, 't> {
        CsvRows { width, sources, fields: Vec::with_capacity(width) }
    }

    /// Appends the row of `record`.
    pub(crate) fn read(&mut self, record: &'t [u8], batch: &mut BatchBuilder<'_>) {
        batch.start_row();
        if let Err(detail) = self.read_fields(record, batch) {
            batch.reject_row(detail, record);
        }
    }

    fn read_fields(&mut self, record: &'t [u8], batch: &mut BatchBuilder<'_>) -> Result<(), String> {
        let text = std::str::from_utf8(record).map_err(|_| "the record is not UTF-8 text".to_owned())?;
        split_record(text, &mut self.fields)?;
        if self.fields.len() != self.width {
            return Err(format!("expected {} fields as in the header, found {}", self.width, self.fields.len()));
        }
        for (index, source) in self.sources.iter().enumerate() {
            let Some(field) = source.map(|source| self.fields[source]) else { continue };
            let column = &mut batch.columns[index];
            if !set_field(column, field) {
                let found = field.text().unwrap_or_default();
                return Err(batch.mismatch(index, Scalar::Text(&found)));
            }
        }
        Ok(())
    }
}

/// Text becomes what the column's type makes of it. Quotes do not make a number a text; only for VARCHAR is a quoted
/// empty field a value.
fn set_field(column: &mut Column, field: CsvField<'_>) -> bool {
    let Some(text) = field.text() else { return true };
    if text.is_empty() && *column.data_type() != DataType::Utf8 {
        return true;
    }
    csv_scalar(column.data_type(), &text).is_some_and(|scalar| column.set(scalar))
}

fn csv_scalar<'t>(data_type: &DataType, text: &'t str) -> Option<Scalar<'t>> {
    match data_type {
        DataType::Boolean => boolean_of(text).map(Scalar::Boolean),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => text.parse().ok().map(Scalar::Integer),
        DataType::Float32 | DataType::Float64 => text.parse().ok().map(Scalar::Double),
        DataType::Timestamp(_, _) => Some(text.parse().map_or(Scalar::Text(text), Scalar::Integer)),
        _ => Some(Scalar::Text(text)),
    }
}

/// `true` and `false` as programs write them.
pub(crate) fn boolean_of(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_split_as_rfc_4180_says() {
        type Fields<'a> = Result<Vec<Option<&'a str>>, &'a str>;
        let cases: [(&str, Fields<'_>); 9] = [
            ("a,b", Ok(vec![Some("a"), Some("b")])),
            ("a,,", Ok(vec![Some("a"), None, None])),
            ("\"\",x", Ok(vec![Some(""), Some("x")])),
            ("\"a,b\",c", Ok(vec![Some("a,b"), Some("c")])),
            ("\"say \"\"hi\"\"\"", Ok(vec![Some("say \"hi\"")])),
            ("\"two\nlines\",1", Ok(vec![Some("two\nlines"), Some("1")])),
            ("a\"b,c", Ok(vec![Some("a\"b"), Some("c")])),
            ("\"a\"b,c", Err("text follows a closing quote")),
            ("\"a,c", Err("a quoted field is not closed")),
        ];
        for (record, expected) in cases {
            let mut fields = Vec::new();
            let texts =
                split_record(record, &mut fields).map(|()| fields.iter().map(CsvField::text).collect::<Vec<_>>());
            let texts = texts.as_ref().map(|texts| texts.iter().map(Option::as_deref).collect::<Vec<_>>());
            assert_eq!(texts.map_err(|error| *error), expected, "{record}");
        }
    }
}
