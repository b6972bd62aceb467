//! Values of messages that become the rows of one batch.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{filter_record_batch, interleave_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use asof_definition::{KafkaFeed, MessageFormat};

use crate::batch_builder::{Decoded, Unreadable};

/// Values in the order in which they came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'m> {
    pub(crate) text: &'m [u8],
    /// Where each stands; `None` has no value.
    pub(crate) places: &'m [Option<Range<usize>>],
}

/// The rows of values, in the same order.
#[derive(Debug)]
pub(crate) struct ReadMessages {
    /// A row for each value, also for those that are passed over.
    pub(crate) decoded: Decoded,
    /// Where what is shown of a row stands.
    pub(crate) events: Vec<Range<usize>>,
    /// The rows that are none of the stream's; empty where there are none.
    pub(crate) passed_over: Vec<bool>,
    /// The rows that end what is there by their key; empty where there are none.
    pub(crate) deleted: Vec<bool>,
    /// Of each row that is a change when it was made, in microseconds; empty where they are none.
    pub(crate) changed_us: Vec<Option<i64>>,
}

/// Where the row of a value comes from.
#[derive(Debug, Clone)]
pub(crate) enum RowFrom {
    /// The row of that place in a batch of that place.
    Batch(usize, usize),
    /// It cannot be read.
    SetAside(String),
    /// It ends what is there by its key.
    Nothing,
    /// It is none of the stream's.
    PassedOver,
}

/// What is said of a message that is a tombstone where an event is expected.
pub(crate) const NO_VALUE: &str = "the message has no value";

impl<'m> Values<'m> {
    /// Each value with its bytes.
    pub(crate) fn iter(self) -> impl Iterator<Item = Option<&'m [u8]>> {
        self.places.iter().map(move |place| place.clone().map(|place| &self.text[place]))
    }

    /// Where each stands, of whatever format: what is shown of a message that cannot be read.
    pub(crate) fn whole(self) -> Vec<Range<usize>> {
        self.places.iter().map(|place| place.clone().unwrap_or(0..0)).collect()
    }
}

/// Rows of several batches in one, those that cannot be read, or are passed over, as NULLs.
pub(crate) fn merged(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    rows: &[RowFrom],
) -> Result<(Decoded, Vec<bool>), ArrowError> {
    let nothing = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    let nothing = RecordBatch::try_new(schema.clone(), nothing)?;
    let all: Vec<&RecordBatch> = batches.iter().chain([&nothing]).collect();
    let mut unreadable = Vec::new();
    let mut places = Vec::with_capacity(rows.len());
    for (row, from) in rows.iter().enumerate() {
        places.push(match from {
            RowFrom::Batch(batch, place) => (*batch, *place),
            _ => (batches.len(), 0),
        });
        if let RowFrom::SetAside(detail) = from {
            unreadable.push(Unreadable { row, detail: detail.clone(), raw: String::new() });
        }
    }
    let passed_over: Vec<bool> = rows.iter().map(|from| matches!(from, RowFrom::PassedOver)).collect();
    let passed_over = if passed_over.contains(&true) { passed_over } else { Vec::new() };
    let batch = interleave_record_batch(&all, &places)?;
    Ok((Decoded { first_row: 0, batch, unreadable }, passed_over))
}

impl ReadMessages {
    /// Fills in the column that is true in rows that end what is there by their key.
    pub(crate) fn mark_deleted(&mut self, feed: &KafkaFeed) {
        let Some(column) = feed.delete_column else { return };
        // Whether it is false or NULL elsewhere must not depend on what else is in the batch.
        if !feed.has_tombstones && feed.format != MessageFormat::DebeziumJson {
            return;
        }
        let batch = &self.decoded.batch;
        let own = batch.column(column).as_boolean();
        let is_deleted =
            |row: usize| self.deleted.get(row).copied().unwrap_or(false) || (own.is_valid(row) && own.value(row));
        let marked: BooleanArray = (0..batch.num_rows()).map(|row| Some(is_deleted(row))).collect();
        let mut columns = batch.columns().to_vec();
        columns[column] = Arc::new(marked);
        self.decoded.batch = RecordBatch::try_new(batch.schema(), columns).expect("a delete column is a BOOLEAN");
    }

    /// Without the rows that are passed over. `None` if there are no others.
    pub(crate) fn kept(self) -> Option<ReadMessages> {
        if self.passed_over.is_empty() {
            return Some(self);
        }
        let is_kept: Vec<bool> = self.passed_over.iter().map(|passed| !passed).collect();
        // The place of each row among those that are kept.
        let mut kept = 0;
        let mut places = Vec::with_capacity(is_kept.len());
        for is_kept in &is_kept {
            places.push(kept);
            kept += usize::from(*is_kept);
        }
        let Decoded { batch, unreadable, .. } = self.decoded;
        let batch =
            filter_record_batch(&batch, &BooleanArray::from(is_kept.clone())).expect("the mask has a place a row");
        let unreadable = unreadable.into_iter().filter(|one| is_kept[one.row]);
        let unreadable = unreadable.map(|one| Unreadable { row: places[one.row], ..one }).collect();
        let events = self.events.into_iter().zip(&is_kept).filter(|(_, is_kept)| **is_kept).map(|(event, _)| event);
        let events: Vec<Range<usize>> = events.collect();
        let decoded = Decoded { first_row: 0, batch, unreadable };
        let (passed_over, deleted, changed_us) = (Vec::new(), Vec::new(), Vec::new());
        (kept > 0).then_some(ReadMessages { decoded, events, passed_over, deleted, changed_us })
    }
}
