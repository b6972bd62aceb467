//! Where a stream's events come from.

use std::sync::Arc;

use crate::derived::Derivation;
use crate::kafka_feed::KafkaFeed;

/// The source of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Connector {
    /// The embedded durable log, fed over HTTP, by `asof ingest` or from a topic.
    Log(LogConnector),
    /// A file of history or of arrivals.
    File(FileConnector),
    /// Other streams: it has no events of its own.
    Derived(Derivation),
}

/// The embedded log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogConnector {
    /// What an acknowledgement promises.
    pub ack: Ack,
    /// What the log keeps.
    pub retention: Retention,
    /// `connector = 'kafka'`: what feeds it. No connector: its producers do.
    pub feed: Option<Arc<KafkaFeed>>,
}

/// What has happened to an event when its producer gets the answer. Either way it is visible to reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Ack {
    /// It is on disk: neither a crash of the process nor of the machine loses it.
    #[default]
    Durable,
    /// It is with the operating system: a crash of the process does not lose it, one of the machine may.
    Os,
    /// It came from a topic, which has it: nothing waits for our disk. What is sent by hand waits, as for [`Ack::Durable`].
    Topic,
}

/// How much of the past the log keeps; nothing said is all of it. Both bounds hold: what is beyond either may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Retention {
    /// So far behind the watermark, in microseconds of event time.
    pub age_us: Option<i64>,
    /// So many bytes of segments.
    pub bytes: Option<u64>,
}

/// `connector = 'file'`.
#[derive(Debug, Clone, PartialEq)]
pub struct FileConnector {
    /// As written: relative to the project folder, or absolute. `${NAME}` is left for the reader of the environment.
    pub path: String,
    /// Declared, or by the path's ending.
    pub format: FileFormat,
    /// In which order rows are taken.
    pub order: FileOrder,
    /// Whether to wait for rows that are appended; implies [`FileOrder::File`].
    pub follow: bool,
    /// The column that holds arrival times.
    pub arrival_column: Option<String>,
    /// How fast a running pipeline replays the file.
    pub rate: Rate,
}

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileFormat {
    /// Apache Parquet.
    Parquet,
    /// One JSON object per line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
}

/// The order in which rows of a file become events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileOrder {
    /// By event time: history, of which nothing is late.
    EventTime,
    /// As they stand: arrivals, with lateness applied.
    File,
}

/// The speed of a replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// As fast as can be.
    Max,
    /// `1000x`: so many times real time.
    TimesRealTime(f64),
    /// `500/s`: so many events a second.
    PerSecond(f64),
}

impl Ack {
    /// The name in `ack = '…'`.
    pub fn name(self) -> &'static str {
        match self {
            Ack::Durable => "durable",
            Ack::Os => "os",
            Ack::Topic => "topic",
        }
    }
}

impl FileFormat {
    /// The format of that name or file ending.
    pub fn from_name(name: &str) -> Option<FileFormat> {
        match name {
            "parquet" => Some(FileFormat::Parquet),
            "jsonl" | "ndjson" => Some(FileFormat::Jsonl),
            "csv" => Some(FileFormat::Csv),
            _ => None,
        }
    }

    /// The name in `format = '…'`.
    pub fn name(self) -> &'static str {
        match self {
            FileFormat::Parquet => "parquet",
            FileFormat::Jsonl => "jsonl",
            FileFormat::Csv => "csv",
        }
    }
}
