//! What the events of a batch were joined with, from when until when: as-served knowledge over joins.
//!
//! ```text
//!   arrival ──▶   10:00:11        10:05:00           event e of 10:00:10, version b of 10:00:00 that comes late
//!   event e       joined with a ─▶ joined with b ──▶
//!   first turn    [10:00:11, 10:05:00)               what was known when the event arrived
//!   second turn                   [10:05:00, ∞)      and again, of the events that a later version changes
//! ```
//! Neighbours that a view cannot tell apart are one row of it. An event that is joined otherwise may move to another entity.

use arrow::array::{BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{and, concat_batches, take, take_record_batch};
use arrow::error::ArrowError;

use crate::event_layout::EventLayout;

/// What comes to a view by one of its ways, turn by turn.
#[derive(Debug, Default)]
pub(crate) struct VisibleRows {
    turns: Vec<RecordBatch>,
}

impl VisibleRows {
    /// Adds the rows of the next turn, in the columns of the view's layout.
    pub(crate) fn add(&mut self, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.turns.push(rows);
        }
    }

    /// All rows, each as long as the view does not tell a difference; `None` without any.
    pub(crate) fn finish(self, layout: &EventLayout) -> Result<Option<RecordBatch>, ArrowError> {
        match &self.turns[..] {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            turns => joined(layout, &concat_batches(layout.schema(), turns)?).map(Some),
        }
    }
}

/// Of which event rows are, from when until when.
struct Lives<'a> {
    places: &'a [u64],
    arrived: &'a [i64],
    gone: &'a [i64],
}

impl<'a> Lives<'a> {
    fn of(layout: &EventLayout, rows: &'a RecordBatch) -> Lives<'a> {
        let parts = (layout.offsets(rows), layout.arrived(rows), layout.gone(rows));
        let (Some(places), Some(arrived), Some(gone)) = parts else {
            unreachable!("as-served a view that joins has the place, the arrival and the end of each row")
        };
        Lives { places, arrived, gone }
    }
}

/// Rows of one event that follow each other and are the same made one.
fn joined(layout: &EventLayout, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let Lives { places, arrived, .. } = Lives::of(layout, rows);
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    order.sort_unstable_by_key(|row| (places[*row as usize], arrived[*row as usize]));
    let rows = take_record_batch(rows, &UInt32Array::from(order))?;
    let goes_on = go_on(layout, &rows)?;
    let Lives { gone, .. } = Lives::of(layout, &rows);
    let firsts: Vec<u32> = (0..rows.num_rows() as u32).filter(|row| !goes_on.value(*row as usize)).collect();
    let ends = firsts.iter().skip(1).copied().chain([rows.num_rows() as u32]);
    let gone: Int64Array = ends.map(|end| Some(gone[end as usize - 1])).collect();
    layout.with_gone(&take_record_batch(&rows, &UInt32Array::from(firsts))?, gone)
}

/// For each row whether it is what the one before it was, and follows at once.
fn go_on(layout: &EventLayout, rows: &RecordBatch) -> Result<BooleanArray, ArrowError> {
    let Lives { places, arrived, gone } = Lives::of(layout, rows);
    let count = rows.num_rows();
    let before = UInt32Array::from_iter_values(std::iter::once(0).chain(0..count as u32 - 1));
    let follows = |row: usize| row > 0 && places[row - 1] == places[row] && gone[row - 1] == arrived[row];
    let mut goes_on: BooleanArray = (0..count).map(|row| Some(follows(row))).collect();
    for column in layout.keys(rows).iter().chain(layout.carried(rows)) {
        goes_on = and(&goes_on, &not_distinct(&take(column, &before, None)?, column)?)?;
    }
    Ok(goes_on)
}

/// The rows that are joined with something else later, and when they are.
pub(crate) fn changing(until_us: &[i64]) -> (UInt32Array, Vec<i64>) {
    let rows: Vec<u32> = (0..until_us.len() as u32).filter(|row| until_us[*row as usize] < i64::MAX).collect();
    let instants_us = rows.iter().map(|row| until_us[*row as usize]).collect();
    (UInt32Array::from(rows), instants_us)
}
