//! Calendar buckets in UTC: the hour, day, week (from Monday, as ISO 8601) or month that holds an instant.

use chrono::{DateTime, Datelike, NaiveDate};

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;
/// 1970-01-01 was a Thursday: three days after a Monday.
const EPOCH_AFTER_MONDAY_US: i64 = 3 * DAY_US;

/// The unit of `date_trunc(unit, ts)` in a PARTITION BY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Calendar {
    /// From the full hour.
    Hour,
    /// From midnight UTC.
    Day,
    /// From Monday, midnight UTC.
    Week,
    /// From the first of the month, midnight UTC.
    Month,
}

impl Calendar {
    /// Start of the bucket that holds `t_us`, in microseconds since the epoch. Beyond the years that the calendar can
    /// name (about ±262,000) a month is taken to start at the least instant.
    pub fn bucket_start_us(self, t_us: i64) -> i64 {
        match self {
            Calendar::Hour => floor_to(t_us, HOUR_US),
            Calendar::Day => floor_to(t_us, DAY_US),
            Calendar::Week => {
                floor_to(t_us.saturating_add(EPOCH_AFTER_MONDAY_US), 7 * DAY_US).saturating_sub(EPOCH_AFTER_MONDAY_US)
            }
            Calendar::Month => month_start_us(t_us).unwrap_or(i64::MIN),
        }
    }
}

fn floor_to(t_us: i64, unit_us: i64) -> i64 {
    t_us.saturating_sub(t_us.rem_euclid(unit_us))
}

fn month_start_us(t_us: i64) -> Option<i64> {
    let moment = DateTime::from_timestamp_micros(t_us)?;
    let first = NaiveDate::from_ymd_opt(moment.year(), moment.month(), 1)?;
    Some(first.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
}
