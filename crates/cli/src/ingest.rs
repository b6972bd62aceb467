//! `asof ingest`: a file of events to a running server, in requests, and what became of its rows.
//! ```text
//!   file ─▶ requests (line_requests.rs: lines as they stand; arrow_requests.rs: decoded rows) ─▶ one waits
//!                                                                                                  │
//!   server ◀── one after the other, each until it is taken in (event_sender.rs) ◀──────────────────┘
//! ```
//! A request is named by the file and its number, so that a command that was cut off and is run again sends everything once
//! more and nothing counts twice.

mod arrow_requests;
mod line_requests;
mod request;
pub(crate) mod stream_object;

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::UNIX_EPOCH;

use asof_connect::{ArrivalTimes, EventFile, Format, StreamFile, TimeUnit, Wanted};
use asof_definition::FileFormat;
use asof_history::Progress;
use asof_pipeline::{PipelineError, SortRoom, SortedRows, Stop};
use asof_server::path_segment;
use twox_hash::XxHash3_64;

use crate::arguments::{IngestArguments, RowsFormat};
use crate::client::{Client, EventBatch};
use crate::event_sender::EventSender;
use crate::failure::Failure;
use crate::ingest::arrow_requests::{FileRequests, SortedRequests, arrival_name};
use crate::ingest::line_requests::LineRequests;
use crate::ingest::request::{Request, Requests};
use crate::ingest::stream_object::{EventSource, StreamObject};
use crate::progress_bar::Bars;
use crate::tally::{Tally, rows};
use crate::{accounts, interrupt, memory, shell_words, told};

/// Requests that are ready while one is on its way.
const WAITING_MAX: usize = 1;
/// Rows that wait to be sorted take this part of what the machine has for us.
const SORTING_PART: usize = 4;
const OTHER_BYTES_HINT: &str = "the file was sent before, cut otherwise: give the options of that time, and what was \
     taken in then counts once; a file that is written anew is sent anew";
const AGAIN_HINT: &str = "run the same command again: it goes on, and nothing counts twice";

/// What is sent where.
struct Transfer<'a> {
    sender: EventSender<'a>,
    /// What all keys begin with.
    run_name: String,
    content_type: &'static str,
    bars: &'a Bars,
    tally: Tally,
}

/// How the sending ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Sent,
    Stopped,
}

pub(crate) fn run(arguments: &IngestArguments) -> Result<(), Failure> {
    let format = format_of(arguments)?;
    let run_name = run_name(arguments)?;
    let client = Client::new(&arguments.url)?;
    let stream = StreamObject::ask(&client, &arguments.stream)?;
    let stop = interrupt::stop_on_interrupt()?;
    let bars = Bars::new();
    let (requests, query) = open(arguments, &stream, format, &bars, &stop)?;
    let absent_columns = requests.absent_columns();
    let sender = EventSender {
        client: &client,
        stop: &stop,
        path: format!("/v1/streams/{}/events{query}", path_segment(&stream.name)),
        other_bytes_hint: OTHER_BYTES_HINT,
    };
    let content_type = requests.content_type();
    let mut transfer = Transfer { sender, run_name, content_type, bars: &bars, tally: Tally::default() };
    bars.step(&format!("sending {}", file_name(&arguments.file)), requests.progress_total());
    let ended = transfer.run(requests);
    bars.finish();
    absent_columns.iter().for_each(|column| told::remark(&accounts::absent_column(column)));
    tell(arguments, &client, &transfer.tally, ended)
}

/// The format, with a file of it that can be opened.
fn format_of(arguments: &IngestArguments) -> Result<FileFormat, Failure> {
    let format = match arguments.format {
        Some(RowsFormat::Parquet) => FileFormat::Parquet,
        Some(RowsFormat::Jsonl) => FileFormat::Jsonl,
        Some(RowsFormat::Csv) => FileFormat::Csv,
        None => match Format::from_path(&arguments.file).map_err(PipelineError::from)? {
            Format::Parquet => FileFormat::Parquet,
            Format::Jsonl => FileFormat::Jsonl,
            Format::Csv => FileFormat::Csv,
        },
    };
    // Its columns are checked when the server has told them.
    let no_columns = Wanted { columns: Vec::new(), time_unit: Some(TimeUnit::Microsecond) };
    EventFile::open(&arguments.file, format.into(), &no_columns).map_err(PipelineError::from)?;
    Ok(format)
}

/// What stands for this file, as it is now, on its way to this stream. As history it is named anew: whoever sees that the
/// past came too late for a live stream can still load it.
fn run_name(arguments: &IngestArguments) -> Result<String, Failure> {
    let path = &arguments.file;
    let failed = |error| Failure::outside(format!("cannot look at `{}`: {error}", path.display()));
    let place = path.canonicalize().map_err(failed)?;
    let metadata = path.metadata().map_err(failed)?;
    // Before 1970 there is no difference to tell; what matters is that another time is another name.
    let modified = metadata.modified().map_err(failed)?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let manner = (arguments.history, &arguments.arrival_column);
    let words = format!("{place:?} {} {} {:?} {manner:?}", metadata.len(), modified.as_nanos(), arguments.stream);
    Ok(format!("ingest:{:016x}", XxHash3_64::oneshot(words.as_bytes())))
}

/// The requests of the file, and the query that says how their events arrive.
fn open(
    arguments: &IngestArguments,
    stream: &StreamObject,
    format: FileFormat,
    bars: &Bars,
    stop: &Stop,
) -> Result<(Box<dyn Requests>, String), Failure> {
    let rows_max = arguments.rows_per_request as usize;
    if !arguments.history && format == FileFormat::Jsonl {
        return Ok((Box::new(LineRequests::open(&arguments.file, rows_max)?), String::new()));
    }
    let arrival_column = arguments.arrival_column.as_deref();
    let source = EventSource { path: &arguments.file, format, arrival_column };
    let definition = stream.definition(source)?;
    let file = StreamFile::open(Path::new(""), &definition, ArrivalTimes::Needed).map_err(PipelineError::from)?;
    if !arguments.history {
        return Ok((Box::new(FileRequests::new(file, rows_max)), String::new()));
    }
    let name = arrival_column.map(|column| arrival_name(&definition, column));
    let query = name.as_ref().map(|name| format!("&arrival_column={}", path_segment(name))).unwrap_or_default();
    let absent_columns = file.file.absent_columns();
    let sorted = sort(file, bars, stop)?;
    let requests = SortedRequests::new(sorted, &definition, name, absent_columns, rows_max);
    Ok((Box::new(requests), format!("?history=true{query}")))
}

/// Brings the file into the order of event time. After a stop it has not all rows, and nothing is sent of it.
fn sort(file: StreamFile, bars: &Bars, stop: &Stop) -> Result<SortedRows, Failure> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let room = SortRoom { bytes_max: memory::default_limit_bytes() / SORTING_PART, threads };
    bars.step(&format!("reading {}", file_name(&file.path)), file.file.size_bytes());
    Ok(SortedRows::read(file, room, &|bytes| bars.advance(bytes), stop)?)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Transfer<'_> {
    /// Sends all requests: the next one is made while one is on its way.
    fn run(&mut self, mut requests: Box<dyn Requests>) -> Result<End, Failure> {
        let (out, incoming) = sync_channel(WAITING_MAX);
        thread::scope(|scope| {
            let making = scope.spawn(move || make(requests.as_mut(), &out));
            let sent = self.send_all(&incoming);
            // Whoever still makes requests finds nobody to give them to.
            drop(incoming);
            let made = making.join().unwrap_or_else(|_| Err(Failure::outside("internal: reading the file panicked")));
            // What ended the sending goes before what it may have led to.
            let end = sent?;
            made?;
            Ok(end)
        })
    }

    fn send_all(&mut self, incoming: &Receiver<Request>) -> Result<End, Failure> {
        let mut number = 0_u64;
        for request in incoming {
            if self.sender.stop.is_asked() {
                return Ok(End::Stopped);
            }
            request.unreadable.iter().for_each(|(row, detail)| self.tally.take_unreadable(*row, detail));
            if !request.rows.is_empty() && self.send(request.body, &request.rows, number)? == End::Stopped {
                return Ok(End::Stopped);
            }
            number += u64::from(!request.rows.is_empty());
            self.bars.advance(request.progress);
        }
        Ok(if self.sender.stop.is_asked() { End::Stopped } else { End::Sent })
    }

    fn send(&mut self, body: Vec<u8>, rows: &[u64], number: u64) -> Result<End, Failure> {
        let batch = EventBatch { content_type: self.content_type, key: format!("{}:{number}", self.run_name), body };
        match self.sender.send(&batch) {
            Ok(Some(receipt)) => {
                self.tally.take(&receipt, rows);
                Ok(End::Sent)
            }
            Ok(None) => Ok(End::Stopped),
            Err(failure) => Err(placed(failure, rows)),
        }
    }
}

/// Makes requests as long as somebody takes them.
fn make(requests: &mut dyn Requests, out: &SyncSender<Request>) -> Result<(), Failure> {
    while let Some(request) = requests.next()? {
        if out.send(request).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Where in the file a request was refused.
fn placed(failure: Failure, rows: &[u64]) -> Failure {
    let (Some(first), Some(last)) = (rows.iter().min(), rows.iter().max()) else { return failure };
    let placed = |message: String| {
        format!("rows {} to {}: {message}", accounts::grouped(first + 1), accounts::grouped(last + 1))
    };
    match failure {
        Failure::Input { message, hint } => Failure::Input { message: placed(message), hint },
        Failure::OutOfReach { message, hint } => Failure::OutOfReach { message: placed(message), hint },
        failure => failure,
    }
}

/// Tells what became of the rows; an error where none counts, or not all were sent.
fn tell(
    arguments: &IngestArguments,
    client: &Client,
    tally: &Tally,
    ended: Result<End, Failure>,
) -> Result<(), Failure> {
    let file = arguments.file.display();
    let is_done = matches!(ended, Ok(End::Sent));
    if is_done || tally.sent > 0 {
        told::answer(&format!("sent {}: {}", rows(tally.sent), tally.verdicts()));
    }
    tell_refused(arguments, client, tally);
    match ended {
        Err(Failure::Outside { message }) => Err(Failure::outside(format!("{message}; hint: {AGAIN_HINT}"))),
        Err(failure) => Err(failure),
        Ok(End::Stopped) => Err(Failure::outside(format!("stopped before the end of `{file}`; hint: {AGAIN_HINT}"))),
        Ok(End::Sent) if tally.has_used() => Ok(()),
        Ok(End::Sent) => Err(Failure::input(format!("no row of `{file}` was used"))),
    }
}

/// The first row of each reason, and where all of them are.
fn tell_refused(arguments: &IngestArguments, client: &Client, tally: &Tally) {
    for first in &tally.first {
        told::remark(&accounts::first(&first.reason, first.number, &first.detail));
    }
    if tally.unreadable > 0 {
        told::remark(&format!("{} could not be read and not be sent", rows(tally.unreadable)));
    }
    if tally.repeated > 0 {
        told::remark(&format!("{} had been taken in before and count once", rows(tally.repeated)));
    }
    if tally.late > tally.used && !arguments.history {
        told::remark("most rows are behind the watermark: `--history` loads the past, of which nothing is late");
    }
    if tally.late + tally.rejected > 0 {
        let path = format!("/v1/streams/{}/dead-letters", path_segment(&arguments.stream));
        told::remark(&format!("dead letters: curl {}", shell_words::quoted(&format!("{}{path}", client.url()))));
    }
}
