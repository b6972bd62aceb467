//! The file behind a stream: opened for the stream's columns, and for its arrival times where it tells them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit as ArrowUnit, TimestampMicrosecondType};
use asof_definition::{Connector, FileConnector, FileFormat, Stream, TimestampUnit};

use crate::error::ConnectError;
use crate::event_file::EventFile;
use crate::format::Format;
use crate::time_unit::TimeUnit;
use crate::wanted::{Wanted, WantedColumn};

const TIMESTAMP: DataType = DataType::Timestamp(ArrowUnit::Microsecond, None);

/// A stream's file, opened.
#[derive(Debug)]
pub struct StreamFile {
    /// The stream.
    pub stream: Arc<Stream>,
    /// As declared.
    pub connector: FileConnector,
    /// Where it lies.
    pub path: PathBuf,
    /// Its rows: the stream's columns, then perhaps the arrival column.
    pub file: EventFile,
    /// The place of the arrival column among them.
    pub arrival_column: Option<usize>,
}

/// Whether a file must have the arrival column that is declared for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrivalTimes {
    /// It must.
    Needed,
    /// They are nice to have.
    Optional,
}

impl StreamFile {
    /// Opens the file of a stream; a path that is not absolute lies in `folder`, the project's. A file that is declared
    /// with `follow = true` is followed: see [`EventFile::follow`]. A stream without a file is refused.
    pub fn open(folder: &Path, stream: &Arc<Stream>, arrival_times: ArrivalTimes) -> Result<StreamFile, ConnectError> {
        let connector = file_of(stream)?;
        let mut columns: Vec<WantedColumn> = stream
            .columns
            .iter()
            .map(|column| WantedColumn { name: column.name.clone(), data_type: column.data_type.clone() })
            .collect();
        let arrival_column = connector.arrival_column.as_ref().map(|name| arrival_place(&mut columns, name));
        let wanted = Wanted { columns, time_unit: stream.timestamp_unit.map(TimeUnit::from) };
        let path = folder.join(&connector.path);
        let file = match connector.follow {
            true => EventFile::follow(&path, connector.format.into(), &wanted)?,
            false => EventFile::open(&path, connector.format.into(), &wanted)?,
        };
        let needed = |name: &String| {
            let declared = stream.columns.iter().find(|column| column.name == *name);
            let arrives = arrival_times == ArrivalTimes::Needed && connector.arrival_column.as_ref() == Some(name);
            arrives || declared.is_none_or(|column| column.not_null)
        };
        if let Some(name) = file.absent_columns().into_iter().find(needed) {
            return Err(file.missing_column(&name));
        }
        Ok(StreamFile { stream: stream.clone(), connector: connector.clone(), path, file, arrival_column })
    }
}

/// The stream's columns of a decoded batch, and its arrival times in microseconds where the file has a column of them.
pub fn split_arrivals(
    stream: &Stream,
    arrival_column: Option<usize>,
    batch: &RecordBatch,
) -> (RecordBatch, Option<Int64Array>) {
    let arrived = arrival_column.map(|place| {
        let arrived = batch.column(place).as_primitive::<TimestampMicrosecondType>();
        Int64Array::new(arrived.values().clone(), arrived.nulls().cloned())
    });
    let columns: Vec<usize> = (0..stream.columns.len()).collect();
    (batch.project(&columns).expect("a file is opened for the stream's columns first"), arrived)
}

fn file_of(stream: &Stream) -> Result<&FileConnector, ConnectError> {
    match &stream.connector {
        Connector::File(connector) => Ok(connector),
        Connector::Derived(_) => Err(ConnectError::Unsupported {
            what: format!("stream `{}` is derived from others and has no file", stream.name),
            hint: "give the streams that it reads one",
        }),
        Connector::Log(_) => Err(ConnectError::Unsupported {
            what: format!("stream `{}` is fed by the embedded log and has no file", stream.name),
            hint: "give it one: WITH (connector = 'file', path = '…', format = 'parquet')",
        }),
    }
}

/// The place of the arrival column: a declared TIMESTAMP column of that name, or one of its own behind the others.
fn arrival_place(columns: &mut Vec<WantedColumn>, name: &str) -> usize {
    let declared = columns.iter().position(|column| column.name == *name);
    declared.filter(|place| columns[*place].data_type == TIMESTAMP).unwrap_or_else(|| {
        columns.push(WantedColumn { name: name.to_owned(), data_type: TIMESTAMP });
        columns.len() - 1
    })
}

impl From<FileFormat> for Format {
    fn from(format: FileFormat) -> Format {
        match format {
            FileFormat::Parquet => Format::Parquet,
            FileFormat::Jsonl => Format::Jsonl,
            FileFormat::Csv => Format::Csv,
        }
    }
}

impl From<TimestampUnit> for TimeUnit {
    fn from(unit: TimestampUnit) -> TimeUnit {
        match unit {
            TimestampUnit::Second => TimeUnit::Second,
            TimestampUnit::Millisecond => TimeUnit::Millisecond,
            TimestampUnit::Microsecond => TimeUnit::Microsecond,
            TimestampUnit::Nanosecond => TimeUnit::Nanosecond,
        }
    }
}
