//! Where a stream's events come from: the file that it declares, the project's own log, or windows over files that have closed.
//!
//! A file's rows are decoded and then judged; stored events are decoded and filtered, since a judgement is made once and for
//! ever. What follows ([`Ingest`](crate::ingest::Ingest)) is the same for both.

use std::path::Path;
use std::sync::Arc;

use asof_connect::{ArrivalTimes, Decoder, StreamFile};
use asof_definition::{Connector, FileOrder, Stream, Table};
use asof_feature::{StreamPlan, WindowStream};
use asof_window::Accounting;

use crate::error::HistoryError;
use crate::event_batch::EventBatch;
use crate::job::{Job, Knowledge};
use crate::stop::Stop;
use crate::stored_events::{StoredDecoder, StoredEvents, StoredPiece};
use crate::summary::{Origin, Reason};
use crate::window_rows::{RowsDecoder, RowsPiece, WindowRows};

/// A stream's events, opened.
#[derive(Debug)]
pub(crate) enum Source {
    File(Box<StreamFile>),
    Log(StoredEvents),
    Windows(WindowRows),
}

/// How a source's events are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// By event time; none is late.
    ByEventTime,
    /// One after the other, as they stand.
    AsArrivals,
    /// As it was decided when they arrived.
    AsStored,
}

/// A part of a source, not decoded yet.
pub(crate) enum Piece {
    File(asof_connect::Piece),
    Log(StoredPiece),
    Windows(RowsPiece),
}

/// Turns the pieces of one source into batches; for any thread.
pub(crate) enum PieceDecoder {
    File { decoder: Decoder, arrival_column: Option<usize> },
    Log(StoredDecoder),
    Windows(RowsDecoder),
}

impl Source {
    pub(crate) fn open(job: &Job, stream: &Arc<Stream>) -> Result<Source, HistoryError> {
        match &stream.connector {
            Connector::File(_) => Source::open_file(job, stream, "stream"),
            Connector::Derived(_) if stream.window().is_some() => {
                let stored = WindowStream::new(stream.clone(), 1)?.stored_form();
                Ok(Source::Log(StoredEvents::open_rows(&job.data_folder, &stored, &stream.name)?))
            }
            Connector::Derived(_) => Err(HistoryError::request(format!(
                "stream `{}` is derived from others and has no events of its own",
                stream.name
            ))),
            Connector::Log(_) => Ok(Source::Log(StoredEvents::open(&job.data_folder, stream)?)),
        }
    }

    /// The versions of a table. Of one that has none stored it is empty, as it is to those who read live.
    pub(crate) fn open_table(job: &Job, table: &Table) -> Result<Source, HistoryError> {
        match &table.versions.connector {
            Connector::File(_) => Source::open_file(job, &table.versions, "table"),
            Connector::Log(_) | Connector::Derived(_) => {
                Ok(Source::Log(StoredEvents::open_or_none(&job.data_folder, &table.stored())?))
            }
        }
    }

    fn open_file(job: &Job, stream: &Arc<Stream>, kind: &str) -> Result<Source, HistoryError> {
        let arrival_times = match job.knowledge {
            Knowledge::AsServed => ArrivalTimes::Needed,
            Knowledge::EventTime => ArrivalTimes::Optional,
        };
        let file = StreamFile::open(&job.folder, stream, arrival_times)?;
        if job.knowledge == Knowledge::AsServed && file.arrival_column.is_none() {
            return Err(HistoryError::request_with_hint(
                format!("`--knowledge as-served` needs the arrival times of {kind} `{}`", stream.name),
                "name their column: WITH (…, arrival_column = 'arrived')",
            ));
        }
        Ok(Source::File(Box::new(file)))
    }

    pub(crate) fn origin(&self) -> Origin {
        match self {
            Source::File(_) | Source::Windows(_) => Origin::File,
            Source::Log(_) => Origin::Log,
        }
    }

    pub(crate) fn judgement(&self) -> Judgement {
        match self {
            Source::File(file) => match file.connector.order {
                FileOrder::EventTime => Judgement::ByEventTime,
                FileOrder::File => Judgement::AsArrivals,
            },
            Source::Log(_) | Source::Windows(_) => Judgement::AsStored,
        }
    }

    /// The file, or the folder that no output may lie in; `None` of what is not kept.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Source::File(file) => Some(&file.path),
            Source::Log(events) => Some(events.data_folder()),
            Source::Windows(_) => None,
        }
    }

    /// What there is to read, of rows of windows how many; the sum of [`Piece::bytes`].
    pub(crate) fn size_bytes(&self) -> u64 {
        match self {
            Source::File(file) => file.file.size_bytes(),
            Source::Log(events) => events.size_bytes(),
            Source::Windows(rows) => rows.count(),
        }
    }

    /// Declared columns that the source lacks altogether and that are NULL throughout.
    pub(crate) fn absent_columns(&self) -> Vec<String> {
        match self {
            Source::File(file) => file.file.absent_columns(),
            // Each stored batch has the columns that the stream had when it was stored.
            Source::Log(_) | Source::Windows(_) => Vec::new(),
        }
    }

    /// The oldest offset that there still is.
    pub(crate) fn first_offset(&self) -> u64 {
        match self {
            Source::File(_) | Source::Windows(_) => 0,
            Source::Log(events) => events.first_offset(),
        }
    }

    /// Examples of what `verdicts` counts, where the batches do not tell them.
    pub(crate) fn examples(&self, verdicts: &Accounting, stop: &Stop) -> Result<Vec<Reason>, HistoryError> {
        match self {
            Source::File(_) | Source::Windows(_) => Ok(Vec::new()),
            Source::Log(events) => events.examples(verdicts, stop),
        }
    }

    pub(crate) fn decoder(&self) -> PieceDecoder {
        match self {
            Source::File(file) => {
                PieceDecoder::File { decoder: file.file.decoder(), arrival_column: file.arrival_column }
            }
            Source::Log(events) => PieceDecoder::Log(events.decoder()),
            Source::Windows(rows) => PieceDecoder::Windows(rows.decoder()),
        }
    }

    /// The next piece, `None` behind the last.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Piece>, HistoryError> {
        match self {
            Source::File(file) => Ok(file.file.next_piece()?.map(Piece::File)),
            Source::Log(events) => Ok(events.next_piece()?.map(Piece::Log)),
            Source::Windows(rows) => Ok(rows.next_piece().map(Piece::Windows)),
        }
    }
}

impl Piece {
    /// How much of the source it stands for, for progress.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Piece::File(piece) => piece.bytes,
            Piece::Log(piece) => piece.bytes(),
            Piece::Windows(piece) => piece.rows,
        }
    }
}

impl PieceDecoder {
    /// Gives the batches of `piece` to `each`, in order, until one of them fails.
    ///
    /// # Panics
    /// If the piece is of another source.
    pub(crate) fn decode(
        &self,
        plan: &StreamPlan,
        piece: Piece,
        each: &mut dyn FnMut(EventBatch) -> Result<(), HistoryError>,
    ) -> Result<(), HistoryError> {
        match (self, piece) {
            (PieceDecoder::File { decoder, arrival_column }, Piece::File(piece)) => {
                decoder.decode(piece, &mut |decoded| each(EventBatch::faced(plan, decoded, *arrival_column)))
            }
            (PieceDecoder::Log(decoder), Piece::Log(piece)) => each(decoder.decode(piece)?),
            (PieceDecoder::Windows(decoder), Piece::Windows(piece)) => each(decoder.decode(plan, piece)?),
            _ => unreachable!("a piece is decoded by the decoder of its own source"),
        }
    }
}
