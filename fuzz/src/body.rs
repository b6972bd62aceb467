//! What must be true of any body of events that is not refused as a whole.

use std::ops::Range;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
use asof_connect::{BodyForm, BodyLimits, Decoded, EventBody, EventBodyError};
use bytes::Bytes;

use crate::every_type::every_type_stream;

const LIMITS: BodyLimits = BodyLimits { rows_max: 10_000 };
/// So many rows of a body are read once more by themselves.
const ROWS_READ_AGAIN: usize = 16;
const DAY_US: i64 = 86_400_000_000;
/// The years 0001 to 9999.
const YEARS_US: Range<i64> = -719_162 * DAY_US..2_932_897 * DAY_US;

/// Reads the bytes as events, with and without arrival times.
///
/// # Panics
/// If a row that can be read is not what its own text says.
pub fn check_body(bytes: &[u8], form: BodyForm) {
    let bytes = Bytes::copy_from_slice(bytes);
    let read = EventBody::read_with_arrivals(bytes.clone(), form, every_type_stream(), "arrived", LIMITS);
    if let Ok((body, arrived)) = read {
        assert_eq!(arrived.len(), body.rows(), "an arrival time for each row");
    }
    let Ok(body) = EventBody::read(bytes, form, every_type_stream(), LIMITS) else { return };
    let rows: usize = body.batches().iter().map(|decoded| decoded.batch.num_rows()).sum();
    assert_eq!(rows, body.rows(), "rows are in batches");
    assert!(rows <= LIMITS.rows_max, "{rows} rows are too many");
    for decoded in body.batches() {
        check_rows(&body, decoded);
    }
}

/// The raw text of a row that can be read is the row: read by itself, as JSON, it gives the same values.
fn check_rows(body: &EventBody, decoded: &Decoded) {
    for row in 0..decoded.batch.num_rows().min(ROWS_READ_AGAIN) {
        let raw = body.raw(decoded.first_row as usize + row);
        let is_unreadable = decoded.unreadable.binary_search_by_key(&row, |one| one.row).is_ok();
        if is_unreadable || raw.is_cut || !is_in_calendar(&decoded.batch, row) {
            continue;
        }
        match EventBody::read(raw.text.clone().into(), BodyForm::Json, every_type_stream(), LIMITS) {
            // By itself, a small number is doubted to be microseconds.
            Err(EventBodyError::BeforeYear1980 { .. }) => {}
            Err(error) => panic!("`{}` was read before: {error}", raw.text),
            Ok(again) => {
                let again = &again.batches()[0];
                assert_eq!(again.unreadable, [], "`{}` was read before", raw.text);
                assert_eq!(
                    again.batch,
                    decoded.batch.slice(row, 1),
                    "`{}` was read as something else before",
                    raw.text
                );
            }
        }
    }
}

/// Whether times and days of the row are in the years 0001 to 9999: as text, others are written but not read.
fn is_in_calendar(batch: &RecordBatch, row: usize) -> bool {
    batch.columns().iter().filter(|column| column.is_valid(row)).all(|column| {
        let time = column.as_primitive_opt::<TimestampMicrosecondType>().map(|times| times.value(row));
        let day = column.as_primitive_opt::<Date32Type>().map(|days| i64::from(days.value(row)));
        time.or(day.map(|day| day.saturating_mul(DAY_US))).is_none_or(|time_us| YEARS_US.contains(&time_us))
    })
}
