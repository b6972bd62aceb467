//! The three file formats.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::error::ConnectError;

/// How a file of rows is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
}

impl Format {
    /// By the file name's ending: `.parquet`, `.jsonl` or `.ndjson`, `.csv`, in any case.
    pub fn from_path(path: &Path) -> Result<Format, ConnectError> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "parquet" => Ok(Format::Parquet),
            "jsonl" | "ndjson" => Ok(Format::Jsonl),
            "csv" => Ok(Format::Csv),
            _ => Err(ConnectError::UnknownFormat { path: path.to_owned() }),
        }
    }
}

impl FromStr for Format {
    type Err = ConnectError;

    /// The name used in `WITH (format = '…')`.
    fn from_str(name: &str) -> Result<Format, ConnectError> {
        match name {
            "parquet" => Ok(Format::Parquet),
            "jsonl" => Ok(Format::Jsonl),
            "csv" => Ok(Format::Csv),
            _ => Err(ConnectError::UnknownFormatName { name: name.to_owned() }),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Format::Parquet => "Parquet",
            Format::Jsonl => "JSONL",
            Format::Csv => "CSV",
        })
    }
}
