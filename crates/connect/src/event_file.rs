//! A file of events, read in pieces that decode on any thread.
//! ```text
//!   EventFile::next_piece ──▶ Piece ──▶ Decoder::decode ──▶ Decoded batches of at most 65,536 rows
//!   (one thread, cheap)                (any thread)
//! ```
//! A value that is not of its column's type makes its row unreadable, never the file. A column that the whole file lacks
//! is NULL throughout and listed by [`EventFile::absent_columns`].
//!
//! A file of text may be followed while it is written ([`EventFile::follow`]): its end is then the present one, and more
//! may come behind it.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};

use crate::batch_builder::{BatchBuilder, Decoded};
use crate::csv_rows::{CsvRows, split_record};
use crate::error::{ConnectError, name_hint};
use crate::format::Format;
use crate::json_rows::{JsonRows, JsonRule};
use crate::parquet_rows::{ParquetFile, ParquetPlan, RowRange};
use crate::row_cutter::{Growth, ROW_BYTES_MAX, RowCutter, RowRule, TextPiece};
use crate::time_unit::{TimeUnit, UnitCheck, check_unit};
use crate::wanted::{Wanted, WantedColumn, position_of};

/// A file of events: what it holds is fixed when it is opened, only the place of the next piece changes.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    size_bytes: u64,
    decoder: Decoder,
    /// The names in the file; `None` for JSONL, where every line has its own.
    names: Option<Vec<String>>,
    /// The first piece, kept for what is asked about the beginning of the file.
    head: Option<Box<Piece>>,
    is_head_given: bool,
    pieces: Pieces,
    /// Which file is followed, if one is.
    followed: Option<FileIdentity>,
    /// Time columns whose unit is checked at the first piece: there was none yet when the file was opened.
    unchecked_columns: Vec<String>,
}

/// What makes a file the same under the same name: device and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileIdentity(u64, u64);

impl FileIdentity {
    fn of(metadata: &Metadata) -> FileIdentity {
        FileIdentity(metadata.dev(), metadata.ino())
    }
}

/// Where the pieces come from.
#[derive(Debug)]
enum Pieces {
    Text(Box<RowCutter>),
    Ranges(std::vec::IntoIter<RowRange>),
}

impl Pieces {
    fn next(&mut self) -> std::io::Result<Option<Piece>> {
        match self {
            Pieces::Text(cutter) => Ok(cutter.next_piece()?.map(|cut| Piece {
                first_row: cut.first_row,
                rows: cut.rows,
                bytes: cut.bytes,
                body: PieceBody::Text(cut.text),
            })),
            Pieces::Ranges(ranges) => Ok(ranges.next().map(|range| Piece {
                first_row: range.first_row,
                rows: range.rows,
                bytes: range.bytes,
                body: PieceBody::Range(range),
            })),
        }
    }
}

/// An undecoded part of a file.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The number of its first row in the file, from 0.
    pub first_row: u64,
    /// How many rows it has, unreadable ones included.
    pub rows: u64,
    /// How many of the file's bytes it stands for, for progress.
    pub bytes: u64,
    body: PieceBody,
}

#[derive(Debug, Clone)]
enum PieceBody {
    Text(TextPiece),
    Range(RowRange),
}

impl EventFile {
    /// Opens `path` and checks what can be checked without reading it all: that it is a file of that format, that typed
    /// columns can be read as declared, and that plain integers are not of another unit than microseconds.
    pub fn open(path: &Path, format: Format, wanted: &Wanted) -> Result<EventFile, ConnectError> {
        let file = EventFile::open_unchecked(path, format, wanted, JsonRule::Event, Growth::Finished)?;
        file.check_time_units(&doubtful_columns(wanted))?;
        Ok(file)
    }

    /// Opens a file that others append to. [`EventFile::next_piece`] answers `None` at the present end and may be asked
    /// again at any later time; a last row without its line end waits. A JSONL file may be empty at first, a CSV file has
    /// its header. A Parquet file is whole or none and cannot be followed.
    pub fn follow(path: &Path, format: Format, wanted: &Wanted) -> Result<EventFile, ConnectError> {
        if format == Format::Parquet {
            return Err(ConnectError::Unsupported {
                what: format!("`{}` cannot be followed: a Parquet file is not appended to", path.display()),
                hint: "follow a JSONL or CSV file, or set follow = false",
            });
        }
        let mut file = EventFile::open_unchecked(path, format, wanted, JsonRule::Event, Growth::Followed)?;
        file.followed = Some(FileIdentity::of(&file_metadata(path)?));
        match file.head {
            Some(_) => file.check_time_units(&doubtful_columns(wanted))?,
            None => file.unchecked_columns = doubtful_columns(wanted),
        }
        Ok(file)
    }

    /// The same without the check of the time unit, and with a choice of how JSON is read.
    pub(crate) fn open_unchecked(
        path: &Path,
        format: Format,
        wanted: &Wanted,
        json_rule: JsonRule,
        growth: Growth,
    ) -> Result<EventFile, ConnectError> {
        let schema = wanted.schema()?;
        let unit = wanted.time_unit.unwrap_or(TimeUnit::Microsecond);
        let (file, size_bytes) = match (growth, format) {
            (Growth::Followed, Format::Jsonl) => open_maybe_empty(path)?,
            _ => open_file(path)?,
        };
        let read_error = |source| ConnectError::Read { path: path.to_owned(), source };
        let (plan, names, pieces) = match format {
            Format::Parquet => {
                let file = Arc::new(ParquetFile::open(path, &file)?);
                let names = file.schema().fields().iter().map(|field| field.name().clone()).collect();
                let plan = ParquetPlan::converting(file, schema, unit)?;
                let pieces = Pieces::Ranges(plan.ranges().into_iter());
                (Plan::Parquet(plan), Some(names), pieces)
            }
            Format::Jsonl => {
                let cutter = RowCutter::new(file, RowRule::Line, growth).map_err(read_error)?;
                let names = wanted.columns.iter().map(|column| column.name.clone()).collect();
                let plan = Plan::Jsonl { schema, unit, names, rule: json_rule };
                (plan, None, Pieces::Text(Box::new(cutter)))
            }
            Format::Csv => {
                let mut cutter = RowCutter::new(file, RowRule::CsvRecord, growth).map_err(read_error)?;
                let names = csv_header(path, &mut cutter)?;
                let source_of = |column: &WantedColumn| position_of(&column.name, names.iter().map(String::as_str));
                let sources = wanted.columns.iter().map(source_of).collect();
                let plan = Plan::Csv { schema, unit, width: names.len(), sources };
                (plan, Some(names), Pieces::Text(Box::new(cutter)))
            }
        };
        EventFile::new(path, size_bytes, plan, names, pieces)
    }

    /// All columns of a Parquet file with their own types.
    pub(crate) fn open_parquet_as_it_is(path: &Path) -> Result<EventFile, ConnectError> {
        let (file, size_bytes) = open_file(path)?;
        let plan = ParquetPlan::as_it_is(Arc::new(ParquetFile::open(path, &file)?));
        let names = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
        let pieces = Pieces::Ranges(plan.ranges().into_iter());
        EventFile::new(path, size_bytes, Plan::Parquet(plan), Some(names), pieces)
    }

    fn new(
        path: &Path,
        size_bytes: u64,
        plan: Plan,
        names: Option<Vec<String>>,
        mut pieces: Pieces,
    ) -> Result<EventFile, ConnectError> {
        let path = path.to_owned();
        let head = pieces.next().map_err(|source| ConnectError::Read { path: path.clone(), source })?.map(Box::new);
        let decoder = Decoder { plan: Arc::new(plan) };
        let is_head_given = head.is_none();
        let (followed, unchecked_columns) = (None, Vec::new());
        Ok(EventFile { path, size_bytes, decoder, names, head, is_head_given, pieces, followed, unchecked_columns })
    }

    /// Whether more pieces may come behind the last.
    pub fn is_followed(&self) -> bool {
        self.followed.is_some()
    }

    /// The file's length when it was opened.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The schema of the decoded batches: the wanted columns in their order, all nullable.
    pub fn schema(&self) -> SchemaRef {
        self.decoder.schema().clone()
    }

    /// The number of rows, where the format tells it without reading: Parquet.
    pub fn rows(&self) -> Option<u64> {
        match &*self.decoder.plan {
            Plan::Parquet(plan) => Some(plan.ranges().iter().map(|range| range.rows).sum()),
            Plan::Jsonl { .. } | Plan::Csv { .. } => None,
        }
    }

    /// The wanted columns that the whole file lacks and that are NULL in every batch. A JSONL file has no columns of its
    /// own, so that none is known to be absent.
    pub fn absent_columns(&self) -> Vec<String> {
        let schema = self.decoder.schema();
        let absent = (0..schema.fields().len()).filter(|index| self.decoder.plan.is_absent(*index));
        absent.map(|index| schema.field(index).name().clone()).collect()
    }

    /// The error that says that the file lacks `column`, with the nearest name it has.
    pub fn missing_column(&self, column: &str) -> ConnectError {
        let names = self.names.iter().flatten().map(String::as_str);
        ConnectError::MissingColumn {
            path: self.path.clone(),
            column: column.to_owned(),
            hint: name_hint(column, names),
        }
    }

    /// The next part of the file, `None` behind the last. Of a file that is followed `None` says that there is nothing new:
    /// ask again later. That it became shorter, or that another file took its name, is an error; what is truncated and
    /// written beyond its old length again between two calls is not noticed.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, ConnectError> {
        if !std::mem::replace(&mut self.is_head_given, true) {
            return Ok(self.head.as_deref().cloned());
        }
        self.check_followed()?;
        let piece = self.pieces.next().map_err(|source| ConnectError::Read { path: self.path.clone(), source })?;
        if let Some(piece) = &piece {
            for column in std::mem::take(&mut self.unchecked_columns) {
                self.check_time_unit(&column, piece.clone())?;
            }
        }
        Ok(piece)
    }

    /// A file that is followed is still the same, and no shorter than what was read of it.
    fn check_followed(&self) -> Result<(), ConnectError> {
        let (Some(identity), Pieces::Text(cutter)) = (self.followed, &self.pieces) else { return Ok(()) };
        let replaced = |detail: String| Err(ConnectError::Replaced { path: self.path.clone(), detail });
        let metadata = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return replaced("it is gone".to_owned()),
            Err(source) => return Err(ConnectError::Read { path: self.path.clone(), source }),
        };
        if FileIdentity::of(&metadata) != identity {
            return replaced("another file has its name".to_owned());
        }
        let (read, length) = (cutter.bytes_read(), metadata.len());
        if length < read {
            return replaced(format!("{read} bytes of it were read, and it has {length} now"));
        }
        Ok(())
    }

    /// What turns pieces of this file into batches; cheap to clone, for any thread.
    pub fn decoder(&self) -> Decoder {
        self.decoder.clone()
    }

    fn check_time_units(&self, columns: &[String]) -> Result<(), ConnectError> {
        let Some(head) = &self.head else { return Ok(()) };
        columns.iter().try_for_each(|column| self.check_time_unit(column, Piece::clone(head)))
    }

    /// An error if the first plain integers of `column` all fall before 1980 as microseconds. Looked at are the first
    /// 1,000 of `piece`, the file's first (about 1 MiB of text, or 131,072 rows of Parquet).
    fn check_time_unit(&self, column: &str, piece: Piece) -> Result<(), ConnectError> {
        let Some(probe) = self.decoder.integers_of(column)? else { return Ok(()) };
        let mut integers: Vec<i64> = Vec::new();
        probe.decode::<ConnectError>(piece, &mut |decoded| {
            let array = decoded.batch.column(0).as_primitive::<Int64Type>();
            integers.extend(array.iter().flatten().take(1_000_usize.saturating_sub(integers.len())));
            Ok(())
        })?;
        match check_unit(integers.into_iter()) {
            UnitCheck::Plausible => Ok(()),
            UnitCheck::Before1980 { example, suggested } => {
                let (path, column) = (self.path.clone(), column.to_owned());
                Err(ConnectError::BeforeYear1980 { path, column, example, suggested })
            }
        }
    }

    /// Gives the batches at the head of the file to `each`, whatever was read before.
    pub(crate) fn decode_head(
        &self,
        each: &mut dyn FnMut(Decoded) -> Result<(), ConnectError>,
    ) -> Result<(), ConnectError> {
        let Some(piece) = self.head.as_deref().cloned() else { return Ok(()) };
        self.decoder.decode(piece, each)
    }
}

/// The time columns whose plain integers may be of another unit than microseconds.
fn doubtful_columns(wanted: &Wanted) -> Vec<String> {
    if wanted.time_unit.is_some() {
        return Vec::new();
    }
    let times = wanted.columns.iter().filter(|column| matches!(column.data_type, DataType::Timestamp(_, _)));
    times.map(|column| column.name.clone()).collect()
}

/// A file that is not empty, and its length.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64), ConnectError> {
    match open_maybe_empty(path)? {
        (_, 0) => Err(ConnectError::Empty { path: path.to_owned() }),
        opened => Ok(opened),
    }
}

fn open_maybe_empty(path: &Path) -> Result<(File, u64), ConnectError> {
    let length = file_metadata(path)?.len();
    Ok((File::open(path).map_err(|source| ConnectError::open(path, source))?, length))
}

/// What the system knows of a file that is none of another kind.
fn file_metadata(path: &Path) -> Result<Metadata, ConnectError> {
    let metadata = std::fs::metadata(path).map_err(|source| ConnectError::open(path, source))?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a folder" } else { "a device or pipe" };
        return Err(ConnectError::NotAFile { path: path.to_owned(), found });
    }
    Ok(metadata)
}

/// The names of the header record.
pub(crate) fn csv_header(path: &Path, cutter: &mut RowCutter) -> Result<Vec<String>, ConnectError> {
    let corrupt =
        |detail: &str| ConnectError::Corrupt { path: path.to_owned(), format: Format::Csv, detail: detail.to_owned() };
    let header = cutter.take_header().map_err(|source| ConnectError::Read { path: path.to_owned(), source })?;
    let header = header.ok_or_else(|| corrupt("no header line with the column names in its first 1 MiB"))?;
    let text = std::str::from_utf8(&header).map_err(|_| corrupt("the header line is not UTF-8 text"))?;
    let mut fields = Vec::new();
    split_record(text, &mut fields).map_err(|detail| corrupt(&format!("in the header line {detail}")))?;
    let names: Vec<String> = fields.iter().map(|field| field.text().unwrap_or_default().into_owned()).collect();
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1] && !pair[0].is_empty()) {
        return Err(ConnectError::RepeatedColumn { path: path.to_owned(), column: pair[0].clone() });
    }
    Ok(names)
}

/// Turns pieces of one file into batches.
#[derive(Debug, Clone)]
pub struct Decoder {
    plan: Arc<Plan>,
}

#[derive(Debug)]
enum Plan {
    Parquet(ParquetPlan),
    Jsonl { schema: SchemaRef, unit: TimeUnit, names: Vec<String>, rule: JsonRule },
    Csv { schema: SchemaRef, unit: TimeUnit, width: usize, sources: Vec<Option<usize>> },
}

impl Plan {
    fn is_absent(&self, column: usize) -> bool {
        match self {
            Plan::Parquet(plan) => plan.is_absent(column),
            Plan::Jsonl { .. } => false,
            Plan::Csv { sources, .. } => sources[column].is_none(),
        }
    }
}

impl Decoder {
    fn schema(&self) -> &SchemaRef {
        match &*self.plan {
            Plan::Parquet(plan) => plan.schema(),
            Plan::Jsonl { schema, .. } | Plan::Csv { schema, .. } => schema,
        }
    }

    /// Gives the batches of `piece` to `each`, in order, at most 65,536 rows at a time, until one of them fails.
    pub fn decode<E: From<ConnectError>>(
        &self,
        piece: Piece,
        each: &mut dyn FnMut(Decoded) -> Result<(), E>,
    ) -> Result<(), E> {
        match (&*self.plan, piece.body) {
            (Plan::Parquet(plan), PieceBody::Range(range)) => plan.decode(range, each),
            (Plan::Jsonl { schema, unit, names, rule }, PieceBody::Text(text)) => {
                let batch = BatchBuilder::new(schema, *unit, piece.first_row, piece.rows as usize);
                let mut rows = JsonRows::new(names, *rule);
                decode_text(&text, RowRule::Line, batch, &mut |row, batch| rows.read(row, batch), each)
            }
            (Plan::Csv { schema, unit, width, sources }, PieceBody::Text(text)) => {
                let batch = BatchBuilder::new(schema, *unit, piece.first_row, piece.rows as usize);
                let mut rows = CsvRows::new(*width, sources);
                decode_text(&text, RowRule::CsvRecord, batch, &mut |row, batch| rows.read(row, batch), each)
            }
            _ => unreachable!("a piece is decoded by the decoder of its own file"),
        }
    }

    /// A decoder of the plain integers of a time column, NULL where there is something else; `None` if there are none.
    fn integers_of(&self, column: &str) -> Result<Option<Decoder>, ConnectError> {
        let wanted = Wanted {
            columns: vec![WantedColumn { name: column.to_owned(), data_type: DataType::Int64 }],
            time_unit: None,
        };
        let schema = wanted.schema()?;
        let Some((index, _)) = self.schema().column_with_name(column) else { return Ok(None) };
        let unit = TimeUnit::Microsecond;
        let plan = match &*self.plan {
            Plan::Parquet(plan) if plan.type_in_file(index).is_some_and(DataType::is_integer) => {
                Plan::Parquet(plan.of_columns(schema)?)
            }
            Plan::Parquet(_) => return Ok(None),
            Plan::Jsonl { rule, .. } => Plan::Jsonl { schema, unit, names: vec![column.to_owned()], rule: *rule },
            Plan::Csv { width, sources, .. } => {
                Plan::Csv { schema, unit, width: *width, sources: vec![sources[index]] }
            }
        };
        Ok(Some(Decoder { plan: Arc::new(plan) }))
    }
}

fn decode_text<'t, E: From<ConnectError>>(
    text: &'t TextPiece,
    rule: RowRule,
    mut batch: BatchBuilder<'_>,
    read_row: &mut dyn FnMut(&'t [u8], &mut BatchBuilder<'_>),
    each: &mut dyn FnMut(Decoded) -> Result<(), E>,
) -> Result<(), E> {
    match text {
        TextPiece::Rows(text) => {
            for row in rule.rows(text) {
                read_row(row, &mut batch);
                if batch.is_full() {
                    each(batch.take())?;
                }
            }
        }
        TextPiece::TooLong(head) => {
            batch.start_row();
            batch.reject_row(format!("the row is longer than {} MiB", ROW_BYTES_MAX >> 20), head);
        }
    }
    if batch.is_empty() { Ok(()) } else { each(batch.finish()) }
}
