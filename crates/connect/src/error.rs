//! What can be wrong with a file: each error names the file, what was found there and what to do about it.
//!
//! A single bad row is never one of these: it becomes an [`Unreadable`](crate::Unreadable) row of its batch.

use std::path::{Path, PathBuf};

use arrow::datatypes::DataType;
use asof_expression::type_name;

use crate::format::Format;
use crate::time_unit::TimeUnit;

/// Why a file cannot be read or written as asked.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file is missing or may not be opened.
    #[error("cannot open `{}`: {source}{hint}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
        /// Empty, or what is missing and what there is instead, beginning with `; `.
        hint: String,
    },
    /// The path is a folder, a device or a pipe.
    #[error("`{}` is {found}, not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is instead, in words.
        found: &'static str,
    },
    /// The file holds no bytes at all.
    #[error("`{}` is empty: it holds not even a header or one row", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The operating system failed in the middle of reading.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The bytes are not what the format demands.
    #[error("`{}` is not a readable {format} file: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The format that it was read as.
        format: Format,
        /// What is wrong, and where.
        detail: String,
    },
    /// The file was written to between opening it and reading a part of it.
    #[error("`{}` changed while it was read; hint: read a finished copy", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The file name does not tell the format.
    #[error("cannot tell the format of `{}` from its name; hint: end it in `.parquet`, `.jsonl` or `.csv`", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// A format name that does not exist.
    #[error("unknown format `{name}`; hint: `parquet`, `jsonl` or `csv`")]
    UnknownFormatName {
        /// The name given.
        name: String,
    },
    /// A time unit name that does not exist.
    #[error("unknown time unit `{name}`; hint: `s`, `ms`, `us` or `ns`")]
    UnknownTimeUnit {
        /// The name given.
        name: String,
    },
    /// The file has no column of that name.
    #[error("`{}` has no column `{column}`{hint}", path.display())]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column asked for.
        column: String,
        /// Empty, or the nearest name or the names there are, beginning with `; `.
        hint: String,
    },
    /// Two columns of the file have the same name.
    #[error("`{}` has two columns named `{column}`", path.display())]
    RepeatedColumn {
        /// The file.
        path: PathBuf,
        /// The name.
        column: String,
    },
    /// The file's column can never be read as the declared type.
    #[error("column `{column}` of `{}` is {}, which cannot be read as {}", path.display(), type_name(found), type_name(declared))]
    ColumnType {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type in the file.
        found: DataType,
        /// The type it was asked for.
        declared: DataType,
    },
    /// An array can never be converted to the wanted type.
    #[error("{} cannot be read as {}", type_name(found), type_name(declared))]
    Inconvertible {
        /// The array's type.
        found: DataType,
        /// The type it was asked for.
        declared: DataType,
    },
    /// A source that is not there yet.
    #[error("{what}; hint: {hint}")]
    Unsupported {
        /// The stream and what it asks for.
        what: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// A column is declared with a type that the language does not have.
    #[error("column `{column}` is declared as {}, which no event can hold", type_name(declared))]
    UnsupportedType {
        /// The column.
        column: String,
        /// Its declared type.
        declared: DataType,
    },
    /// The first plain integers of a time column all fall before 1980.
    #[error("the plain integers in time column `{column}` of `{}` all fall before 1980 when read as microseconds (the first is `{example}`); hint: {}", path.display(), unit_hint(*suggested))]
    BeforeYear1980 {
        /// The file.
        path: PathBuf,
        /// The time column.
        column: String,
        /// The first plain integer.
        example: i64,
        /// The unit that puts it between 1980 and 2100, if there is one.
        suggested: Option<TimeUnit>,
    },
    /// A row of a spine is not of the kind of the rest of the file.
    #[error("`{}`, row {}: {detail}", path.display(), row + 1)]
    SpineRow {
        /// The file.
        path: PathBuf,
        /// Its row, counted from 0 without the header; told from 1.
        row: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// The output cannot be created, written or put in its place.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The output file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The output could not be encoded.
    #[error("cannot write `{}` as {format}: {detail}", path.display())]
    Encode {
        /// The output file.
        path: PathBuf,
        /// Its format.
        format: Format,
        /// What the encoder said.
        detail: String,
    },
    /// The output format has no form for values of this type.
    #[error("cannot write column `{column}` of type {} as {format}; hint: write Parquet", type_name(data_type))]
    Unwritable {
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
        /// The format asked for.
        format: Format,
    },
    /// A file that is followed became shorter, or another file stands in its place.
    #[error("`{}` was truncated or replaced while it was followed: {detail}; hint: let the writer append to one file", path.display())]
    Replaced {
        /// The file.
        path: PathBuf,
        /// What was read and what is there now.
        detail: String,
    },
    /// Stored events are not as they were written.
    #[error("a stored batch of events is damaged: {detail}")]
    StoredDamaged {
        /// What is wrong.
        detail: String,
    },
    /// What is wrong with a stored batch, and where it lies.
    #[error("stream `{stream}`, partition {partition}, offset {offset}: {source}")]
    StoredAt {
        /// The stream.
        stream: String,
        /// Its partition.
        partition: u32,
        /// The first offset of the batch.
        offset: u64,
        /// What is wrong.
        source: Box<ConnectError>,
    },
    /// Offsets are neither in the log nor in a Parquet file.
    #[error("stream `{stream}`, partition {partition}: the events from offset {} up to {} are missing; hint: put back the files that were removed from its folders", offsets.start, offsets.end)]
    StoredGap {
        /// The stream.
        stream: String,
        /// Its partition.
        partition: u32,
        /// The offsets, without the last.
        offsets: std::ops::Range<u64>,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] asof_log::LogError),
    /// Stored events were written by a later version of the program.
    #[error(
        "a stored batch of events is of version {found}, and this program reads version {read}; hint: use a later version"
    )]
    StoredVersion {
        /// The version found.
        found: u8,
        /// The version that can be read.
        read: u8,
    },
    /// Events cannot be stored as they are given.
    #[error("a batch of events cannot be stored: {detail}")]
    Unstorable {
        /// What is wrong.
        detail: String,
    },
    /// A column has another type now than when its events were stored.
    #[error(
        "column `{column}` is declared as {}, and its stored events are {}; hint: declare a new column beside it",
        type_name(declared),
        type_name(stored)
    )]
    StoredColumnType {
        /// The column.
        column: String,
        /// Its type in the stored events.
        stored: DataType,
        /// Its declared type.
        declared: DataType,
    },
    /// A column that must not be NULL was not there when events were stored.
    #[error(
        "column `{column}` is declared NOT NULL, and stored events do not have it; hint: declare it without NOT NULL"
    )]
    StoredColumnMissing {
        /// The column.
        column: String,
    },
    /// A column that must not be NULL is NULL in a stored event.
    #[error(
        "column `{column}` is declared NOT NULL, and a stored event has no value in it; hint: declare it without NOT NULL"
    )]
    StoredNull {
        /// The column.
        column: String,
    },
}

fn unit_hint(suggested: Option<TimeUnit>) -> String {
    match suggested {
        Some(unit) => format!(
            "they look like {}; set `timestamp_unit = '{unit}'` (`--time-unit {unit}` for a spine)",
            unit.plural()
        ),
        None => "set `timestamp_unit` (`--time-unit` for a spine) to `s`, `ms`, `us` or `ns` to say what they are"
            .to_owned(),
    }
}

/// `; did you mean …?` with the nearest of `names`, or `; it has …` with the first few of them.
pub(crate) fn name_hint<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN_MAX: usize = 12;
    let names: Vec<&str> = names.collect();
    let lower = wanted.to_lowercase();
    let length = wanted.chars().count();
    let nearest = names.iter().map(|name| (strsim::damerau_levenshtein(&name.to_lowercase(), &lower), *name)).min();
    match nearest {
        // Two names of one letter each are one change apart, and yet nothing alike.
        Some((distance, name)) if distance <= 1 + length / 4 && distance < length.max(name.chars().count()) => {
            format!("; hint: did you mean `{name}`?")
        }
        Some(_) => {
            let shown: Vec<String> = names.iter().take(SHOWN_MAX).map(|name| format!("`{name}`")).collect();
            let more = if names.len() > SHOWN_MAX { ", …" } else { "" };
            format!("; hint: it has {}{more}", shown.join(", "))
        }
        None => String::new(),
    }
}

impl ConnectError {
    /// A file that cannot be opened; if it is not there, with what its folder has.
    pub(crate) fn open(path: &Path, source: std::io::Error) -> ConnectError {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let hint = match source.kind() {
            std::io::ErrorKind::NotFound if folder.is_dir() => {
                let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
                let mut names: Vec<String> = entries
                    .filter_map(|entry| entry.file_name().into_string().ok())
                    .filter(|name| !name.starts_with('.'))
                    .collect();
                names.sort_unstable();
                name_hint(&path.file_name().unwrap_or_default().to_string_lossy(), names.iter().map(String::as_str))
            }
            std::io::ErrorKind::NotFound => format!("; hint: there is no folder `{}`", folder.display()),
            _ => String::new(),
        };
        ConnectError::Open { path: path.to_owned(), source, hint }
    }

    /// Whether the user's input is at fault, rather than the world outside: a disk that fails or is full.
    pub fn is_input(&self) -> bool {
        match self {
            ConnectError::Read { .. }
            | ConnectError::Write { .. }
            | ConnectError::Replaced { .. }
            | ConnectError::StoredDamaged { .. }
            | ConnectError::StoredVersion { .. }
            | ConnectError::StoredGap { .. }
            | ConnectError::Log(_)
            | ConnectError::Unstorable { .. } => false,
            ConnectError::StoredAt { source, .. } => source.is_input(),
            _ => true,
        }
    }
}
