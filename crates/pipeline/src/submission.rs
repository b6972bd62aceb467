//! What a producer hands in and what it is answered.

use std::fmt;

use arrow::array::Int64Array;
use asof_connect::{EventBody, Origin, instant_text};
use twox_hash::XxHash3_64;

/// How many refused rows a receipt lists.
pub const REFUSED_LISTED_MAX: usize = 100;
/// The longest name of a batch, in bytes.
pub const BATCH_KEY_BYTES_MAX: usize = 256;

/// Events of one stream, from one producer, that are taken in together.
pub struct Submission {
    /// Index into [`Engine::sources`](crate::Engine::sources): the project's streams, and behind them its tables.
    pub stream: usize,
    /// The events.
    pub body: EventBody,
    /// How they arrive.
    pub manner: Manner,
    /// What names the batch, so that sending it again changes nothing.
    pub batch_key: Option<BatchKey>,
    /// Of events that were read from the topic that feeds the stream, where they stand there.
    pub origin: Option<Origin>,
    /// When it came to our door, in microseconds.
    pub received_us: i64,
    /// Told once, when the events are visible and, unless the stream says otherwise, durable; or why not.
    pub answer: Answer,
}

/// Takes the answer, once; must not wait.
pub type Answer = Box<dyn FnOnce(Result<Receipt, IngestError>) + Send>;

/// A producer's name for a batch, and what tells that batch from another of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchKey {
    /// The producer's words: at most [`BATCH_KEY_BYTES_MAX`] bytes.
    pub name: String,
    /// XXH3-64 of the batch's bytes.
    pub digest: u64,
}

impl BatchKey {
    /// The key of a batch whose bytes these are.
    pub fn of(name: String, bytes: &[u8]) -> BatchKey {
        BatchKey { name, digest: XxHash3_64::oneshot(bytes) }
    }
}

/// How events arrive.
#[derive(Debug, Clone, Default)]
pub enum Manner {
    /// Now, one after the other.
    #[default]
    Live,
    /// As history: never late, and arrived when they say.
    History {
        /// The arrival time of each row in microseconds, none where it is not known; without it all stand for their event
        /// times.
        arrived: Option<Int64Array>,
    },
    /// Once more, after a fix: never late, arrived now.
    Replayed,
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Used events.
    pub accepted: u64,
    /// Repeats of used events.
    pub duplicates: u64,
    /// Events behind the watermark.
    pub late: u64,
    /// Events that break a rule of the stream.
    pub rejected: u64,
    /// The first rows refused or late, at most [`REFUSED_LISTED_MAX`].
    pub refused: Vec<RefusedRow>,
    /// Whether the batch had been taken in before; the counts are those of then, and no rows are listed.
    pub is_repeat: bool,
}

/// A row that was not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRow {
    /// Its place in the batch, from 0.
    pub row: u64,
    /// `unreadable`, `not_null`, `check`, `future` or `late`.
    pub reason: String,
    /// What is wrong with it.
    pub detail: String,
}

/// Why a batch was not taken in. Nothing of it is stored, unless the reason says that it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// More waits than memory allows.
    #[error("{waiting_bytes} bytes of events wait to be taken in, and no more than {waiting_bytes_max} may")]
    Busy {
        /// What waits.
        waiting_bytes: usize,
        /// What may.
        waiting_bytes_max: usize,
    },
    /// The state is as large as it may be.
    #[error("the state holds {held_bytes} bytes, and no more than {limit_bytes} may be held")]
    StateFull {
        /// What it holds.
        held_bytes: usize,
        /// What it may.
        limit_bytes: usize,
    },
    /// As many primary keys are in memory as may be, and as many before them wait for the disk.
    #[error("{keys_max} primary keys of `{stream}` are in memory, and no more may be before others are on disk")]
    KeysFull {
        /// The stream.
        stream: String,
        /// How many may be in memory.
        keys_max: usize,
    },
    /// The disk has no room.
    #[error("the log of `{stream}` has no room on disk: {detail}")]
    DiskFull {
        /// The stream.
        stream: String,
        /// What the system says.
        detail: String,
    },
    /// The log cannot be written any more. The batch may be found in it at the next start.
    #[error("the log of `{stream}` cannot be written: {detail}")]
    Broken {
        /// The stream.
        stream: String,
        /// What happened.
        detail: String,
    },
    /// A history reaches further back than joins and sessions do by now.
    #[error(
        "rows from {} on, by event time, come too late: `{other}` reaches back to {}",
        instant(.least_us),
        instant(.earliest_us)
    )]
    OutOfReach {
        /// The least event time of the batch, in microseconds.
        least_us: i64,
        /// The least that it may have.
        earliest_us: i64,
        /// What has let go of what would be needed: of versions a stream that joins the table, or a view over groups of its rows;
        /// of events a table, or a view with the sessions that they might join.
        other: String,
    },
    /// The name belongs to another batch.
    #[error("the key `{key}` named another batch before")]
    KeyOfAnother {
        /// The name.
        key: String,
    },
    /// The batch is in the log, and it could not be read whether the log is still ours. It becomes visible once that can be
    /// read; who sends it again under the same name, or with a primary key, is told what became of it.
    #[error("it is not known whether another writer has taken over the data folder: {detail}; the batch may be stored")]
    NotSettled {
        /// What the system says.
        detail: String,
    },
    /// A batch before it is not settled.
    #[error(
        "it is not known whether another writer has taken over the data folder, and earlier events wait for that: nothing \
         of the batch was looked at"
    )]
    BehindNotSettled,
    /// Another process writes to the data folder. The batch may be found there at its next start.
    #[error("another writer has taken over the data folder")]
    TakenOver,
    /// What says whose the data folder is can be read, and is not what was written. The batch may be stored.
    #[error("it cannot be told any more whose the data folder is: {detail}")]
    NoClaim {
        /// What is wrong, and with which file.
        detail: String,
    },
    /// State is being recovered, or the process stops.
    #[error("events are not taken in at the moment: {reason}")]
    NotNow {
        /// Why.
        reason: &'static str,
    },
    /// The stream has no log.
    #[error("stream `{stream}` reads a file")]
    ReadsFile {
        /// The stream.
        stream: String,
    },
    /// A defect of ours.
    #[error("internal: {detail}")]
    Internal {
        /// What happened.
        detail: String,
    },
}

impl Submission {
    /// The memory that it takes while it waits.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.body.memory_bytes() + size_of::<Submission>()
    }
}

impl fmt::Debug for Submission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Submission")
            .field("stream", &self.stream)
            .field("rows", &self.body.rows())
            .field("manner", &self.manner)
            .field("batch_key", &self.batch_key)
            .finish_non_exhaustive()
    }
}

/// As messages write it.
fn instant(us: &i64) -> String {
    instant_text(*us)
}
