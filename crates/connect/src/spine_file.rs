//! A spine: all columns of a file in their order, read from its first row to its last.
//!
//! Parquet columns keep their types. CSV and JSONL columns get BIGINT, DOUBLE, BOOLEAN or VARCHAR from a first pass over
//! the whole file. A training set has a row for every row of its spine: one that cannot be read is an error that names it.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};

use crate::convert::convert;
use crate::csv_rows::split_record;
use crate::error::{ConnectError, name_hint};
use crate::event_file::{EventFile, csv_header, open_file};
use crate::format::Format;
use crate::inference::Kind;
use crate::json_rows::{JsonRule, RawFields, scalar_of};
use crate::row_cutter::{Growth, ROW_BYTES_MAX, RowCutter, RowRule, TextPiece};
use crate::time_unit::{UnitCheck, check_unit};
use crate::wanted::{Wanted, WantedColumn, position_of};

/// A spine that is read batch by batch.
#[derive(Debug)]
pub struct SpineFile {
    path: PathBuf,
    file: EventFile,
    /// Decoded and not yet given out: at most one piece.
    decoded: VecDeque<RecordBatch>,
}

impl SpineFile {
    /// Opens `path`; text files are read once to find the types of their columns. `text_columns` are those that CSV shall
    /// read as VARCHAR whatever they look like, because the project declares them so; names match as everywhere.
    pub fn open(path: &Path, format: Format, text_columns: &[String]) -> Result<SpineFile, ConnectError> {
        let open = |wanted: &Wanted| EventFile::open_unchecked(path, format, wanted, JsonRule::Spine, Growth::Finished);
        let file = match format {
            Format::Parquet => EventFile::open_parquet_as_it_is(path)?,
            Format::Jsonl => open(&json_columns(path)?)?,
            Format::Csv => open(&csv_columns(path, text_columns)?)?,
        };
        let names = file.schema();
        let mut sorted: Vec<&String> = names.fields().iter().map(|field| field.name()).collect();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ConnectError::RepeatedColumn { path: path.to_owned(), column: pair[0].clone() });
        }
        Ok(SpineFile { path: path.to_owned(), file, decoded: VecDeque::new() })
    }

    /// The file's length.
    pub fn size_bytes(&self) -> u64 {
        self.file.size_bytes()
    }

    /// The number of rows, where the format tells it without reading: Parquet.
    pub fn rows(&self) -> Option<u64> {
        self.file.rows()
    }

    /// All columns in the file's order.
    pub fn schema(&self) -> SchemaRef {
        self.file.schema()
    }

    /// Where the column of that name is: exactly, else the only one that differs in case alone.
    pub fn column_index(&self, name: &str) -> Result<usize, ConnectError> {
        let schema = self.schema();
        let names = schema.fields().iter().map(|field| field.name().as_str());
        position_of(name, names.clone()).ok_or_else(|| ConnectError::MissingColumn {
            path: self.path.clone(),
            column: name.to_owned(),
            hint: name_hint(name, names),
        })
    }

    /// The next at most 65,536 rows, `None` behind the last.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectError> {
        while self.decoded.is_empty() {
            let Some(piece) = self.file.next_piece()? else { return Ok(None) };
            let (path, decoded) = (&self.path, &mut self.decoded);
            self.file.decoder().decode(piece, &mut |batch| {
                if let Some(first) = batch.unreadable.into_iter().next() {
                    let row = batch.first_row + first.row as u64;
                    return Err(ConnectError::SpineRow { path: path.clone(), row, detail: first.detail });
                }
                decoded.push_back(batch.batch);
                Ok(())
            })?;
        }
        Ok(self.decoded.pop_front())
    }

    /// An error if column `index` holds plain integers of which the first 1,000 of the file's first batches all fall
    /// before 1980 as microseconds. For a time column without a unit, before the first call of `next_batch` or after.
    pub fn check_time_unit(&self, index: usize) -> Result<(), ConnectError> {
        let schema = self.schema();
        let field = schema.field(index);
        if !field.data_type().is_integer() {
            return Ok(());
        }
        let mut integers: Vec<i64> = Vec::new();
        self.file.decode_head(&mut |batch| {
            let (array, _) = convert(batch.batch.column(index), &DataType::Int64, None)?;
            integers.extend(array.as_primitive::<Int64Type>().iter().flatten());
            Ok(())
        })?;
        match check_unit(integers.into_iter()) {
            UnitCheck::Plausible => Ok(()),
            UnitCheck::Before1980 { example, suggested } => {
                let (path, column) = (self.path.clone(), field.name().clone());
                Err(ConnectError::BeforeYear1980 { path, column, example, suggested })
            }
        }
    }
}

/// The rows of a text file from a second opening of it, one after the other, with their numbers.
fn each_row(
    path: &Path,
    cutter: &mut RowCutter,
    rule: RowRule,
    each: &mut dyn FnMut(&str) -> Result<(), String>,
) -> Result<(), ConnectError> {
    let read_error = |source| ConnectError::Read { path: path.to_owned(), source };
    while let Some(piece) = cutter.next_piece().map_err(read_error)? {
        let row_error = |row, detail| ConnectError::SpineRow { path: path.to_owned(), row, detail };
        let TextPiece::Rows(text) = &piece.text else {
            return Err(row_error(piece.first_row, format!("the row is longer than {} MiB", ROW_BYTES_MAX >> 20)));
        };
        for (row, bytes) in (piece.first_row..).zip(rule.rows(text)) {
            let text =
                std::str::from_utf8(bytes).map_err(|_| row_error(row, "the row is not UTF-8 text".to_owned()))?;
            each(text).map_err(|detail| row_error(row, detail))?;
        }
    }
    Ok(())
}

fn open_rows(path: &Path, rule: RowRule) -> Result<RowCutter, ConnectError> {
    let (file, _): (File, u64) = open_file(path)?;
    RowCutter::new(file, rule, Growth::Finished).map_err(|source| ConnectError::Read { path: path.to_owned(), source })
}

/// The fields of all lines, in the order in which they first appear.
fn json_columns(path: &Path) -> Result<Wanted, ConnectError> {
    let mut names: Vec<String> = Vec::new();
    let mut kinds: Vec<Kind> = Vec::new();
    let mut place_of = hashbrown::HashMap::<String, usize, foldhash::fast::RandomState>::default();
    let mut text = String::new();
    each_row(path, &mut open_rows(path, RowRule::Line)?, RowRule::Line, &mut |line| {
        let fields: RawFields = serde_json::from_str(line).map_err(|error| format!("no JSON object: {error}"))?;
        for (name, raw) in fields.0 {
            let place = match place_of.get(&name) {
                Some(place) => *place,
                None => {
                    names.push(name.clone());
                    kinds.push(Kind::Nothing);
                    place_of.insert(name, kinds.len() - 1);
                    kinds.len() - 1
                }
            };
            kinds[place] = kinds[place].join(Kind::of(scalar_of(raw.get(), &mut text)));
        }
        Ok(())
    })?;
    Ok(wanted(names, &kinds))
}

fn csv_columns(path: &Path, text_columns: &[String]) -> Result<Wanted, ConnectError> {
    let mut cutter = open_rows(path, RowRule::CsvRecord)?;
    let names = csv_header(path, &mut cutter)?;
    let mut kinds = vec![Kind::Nothing; names.len()];
    for column in text_columns {
        if let Some(place) = position_of(column, names.iter().map(String::as_str)) {
            kinds[place] = Kind::Text;
        }
    }
    // The fields of a record borrow from it, so that each record has its own.
    each_row(path, &mut cutter, RowRule::CsvRecord, &mut |record| {
        let mut fields = Vec::with_capacity(kinds.len());
        split_record(record, &mut fields)?;
        if fields.len() != kinds.len() {
            return Err(format!("expected {} fields as in the header, found {}", kinds.len(), fields.len()));
        }
        for (kind, field) in kinds.iter_mut().zip(&fields) {
            if *kind != Kind::Text
                && let Some(text) = field.text()
            {
                *kind = kind.join(Kind::of_csv(&text));
            }
        }
        Ok(())
    })?;
    Ok(wanted(names, &kinds))
}

fn wanted(names: Vec<String>, kinds: &[Kind]) -> Wanted {
    let columns = names.into_iter().zip(kinds).map(|(name, kind)| WantedColumn { name, data_type: kind.data_type() });
    Wanted { columns: columns.collect(), time_unit: None }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, ArrayRef};

    use super::*;

    fn read(name: &str, content: &str) -> Result<Vec<(String, DataType, ArrayRef)>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let format = Format::from_path(&path).unwrap();
        let in_words = |error: ConnectError| error.to_string().replace(folder.path().to_str().unwrap(), "…");
        let mut spine = SpineFile::open(&path, format, &["CODE".to_owned()]).map_err(in_words)?;
        let batch = spine.next_batch().map_err(in_words)?.expect("one batch");
        assert!(spine.next_batch().map_err(in_words)?.is_none());
        let fields = batch.schema().fields().clone();
        Ok(fields
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| (field.name().clone(), field.data_type().clone(), column.clone()))
            .collect())
    }

    fn shown(columns: &[(String, DataType, ArrayRef)]) -> Vec<String> {
        let text = |column: &ArrayRef, row| arrow::util::display::array_value_to_string(column, row).unwrap();
        columns
            .iter()
            .map(|(name, data_type, column)| {
                let values: Vec<String> = (0..column.len()).map(|row| text(column, row)).collect();
                format!("{name} {}: {}", asof_expression::type_name(data_type), values.join(" | "))
            })
            .collect()
    }

    #[test]
    fn csv_keeps_its_columns_and_finds_their_types() {
        let columns = read("s.csv", "id,code,x,flag,text\n1,12,1,true,\"a,\n\"\"b\"\n,7,2.5,,\"\"\n").unwrap();
        assert_eq!(
            shown(&columns),
            [
                "id BIGINT: 1 | ",
                "code VARCHAR: 12 | 7",
                "x DOUBLE: 1.0 | 2.5",
                "flag BOOLEAN: true | ",
                "text VARCHAR: a,\n\"b | ",
            ]
        );
        assert_eq!(columns[4].2.null_count(), 0, "a quoted empty field is text");
    }

    #[test]
    fn json_keeps_the_order_of_first_appearance() {
        let content = "{\"b\":1,\"a\":\"x\"}\n\n{\"c\":[1, 2],\"b\":2.5,\"A\":null,\"a\":7}\n";
        let columns = read("s.jsonl", content).unwrap();
        assert_eq!(
            shown(&columns),
            ["b DOUBLE: 1.0 | 2.5", "a VARCHAR: x | 7", "c VARCHAR:  | [1, 2]", "A VARCHAR:  | "]
        );
    }

    #[test]
    fn bad_spines_are_refused_by_row() {
        for (name, content, expected) in [
            ("s.csv", "a,b\n1,2\n1\n", "`…/s.csv`, row 2: expected 2 fields as in the header, found 1"),
            ("s.csv", "a,a\n1,2\n", "`…/s.csv` has two columns named `a`"),
            (
                "s.csv",
                "\n\n",
                "`…/s.csv` is not a readable CSV file: no header line with the column names in its first 1 MiB",
            ),
            (
                "s.jsonl",
                "{\"a\":1}\n[]\n",
                "`…/s.jsonl`, row 2: no JSON object: invalid type: sequence, expected a JSON object at line 1 column 0",
            ),
            ("s.jsonl", "", "`…/s.jsonl` is empty: it holds not even a header or one row"),
            (
                "s.parquet",
                "PAR1",
                "`…/s.parquet` is not a readable Parquet file: EOF: Parquet file too small. Size is 4 but need 8",
            ),
        ] {
            assert_eq!(read(name, content).unwrap_err(), expected);
        }
    }
}
