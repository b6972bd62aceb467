//! Calendar buckets in UTC: the hour, day, week (from Monday, as ISO 8601) or month that holds an instant.

use chrono::{DateTime, Datelike, Months, NaiveDate};

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

    /// Where the next bucket begins; `None` beyond what the calendar can name.
    pub(crate) fn bucket_end_us(self, t_us: i64) -> Option<i64> {
        let start_us = self.bucket_start_us(t_us);
        match self {
            Calendar::Hour => start_us.checked_add(HOUR_US),
            Calendar::Day => start_us.checked_add(DAY_US),
            Calendar::Week => start_us.checked_add(7 * DAY_US),
            Calendar::Month => {
                let next =
                    DateTime::from_timestamp_micros(start_us)?.date_naive().checked_add_months(Months::new(1))?;
                Some(next.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Calendar; 4] = [Calendar::Hour, Calendar::Day, Calendar::Week, Calendar::Month];

    fn instant_us(text: &str) -> i64 {
        text.parse::<DateTime<chrono::Utc>>().unwrap().timestamp_micros()
    }

    /// The starts of the hour, day, week and month that hold `at`.
    fn check(at: &str, starts: [&str; 4]) {
        for (calendar, start) in ALL.into_iter().zip(starts) {
            let found_us = calendar.bucket_start_us(instant_us(at));
            let found = DateTime::from_timestamp_micros(found_us).unwrap();
            assert_eq!(found_us, instant_us(&format!("{start}:00Z")), "{calendar:?} of {at} starts {found}");
        }
    }

    #[test]
    fn buckets_start_where_the_calendar_says() {
        // Leap days: 2024 has one, 2000 too, 1900 not.
        check(
            "2024-02-29T23:59:59.999999Z",
            ["2024-02-29T23:00", "2024-02-29T00:00", "2024-02-26T00:00", "2024-02-01T00:00"],
        );
        check("2024-03-01T00:00:00Z", ["2024-03-01T00:00", "2024-03-01T00:00", "2024-02-26T00:00", "2024-03-01T00:00"]);
        check("2000-02-29T12:30:00Z", ["2000-02-29T12:00", "2000-02-29T00:00", "2000-02-28T00:00", "2000-02-01T00:00"]);
        check("1900-03-01T00:00:00Z", ["1900-03-01T00:00", "1900-03-01T00:00", "1900-02-26T00:00", "1900-03-01T00:00"]);
        // ISO weeks at New Year belong to the year before or after.
        check("2021-01-03T23:00:00Z", ["2021-01-03T23:00", "2021-01-03T00:00", "2020-12-28T00:00", "2021-01-01T00:00"]);
        check("2021-01-04T00:00:00Z", ["2021-01-04T00:00", "2021-01-04T00:00", "2021-01-04T00:00", "2021-01-01T00:00"]);
        check("2018-12-31T00:00:00Z", ["2018-12-31T00:00", "2018-12-31T00:00", "2018-12-31T00:00", "2018-12-01T00:00"]);
        // The edge itself, one microsecond before it, and before 1970.
        check("1970-01-01T00:00:00Z", ["1970-01-01T00:00", "1970-01-01T00:00", "1969-12-29T00:00", "1970-01-01T00:00"]);
        check(
            "1969-12-31T23:59:59.999999Z",
            ["1969-12-31T23:00", "1969-12-31T00:00", "1969-12-29T00:00", "1969-12-01T00:00"],
        );
        check(
            "1969-12-28T23:59:59.999999Z",
            ["1969-12-28T23:00", "1969-12-28T00:00", "1969-12-22T00:00", "1969-12-01T00:00"],
        );
    }

    #[test]
    fn extremes_stay_in_range() {
        for t_us in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
            for calendar in ALL {
                assert!(calendar.bucket_start_us(t_us) <= t_us, "{calendar:?} of {t_us}");
            }
        }
    }

    proptest! {
        #[test]
        fn starts_hold_for_the_whole_bucket(t_us in -4_000_000_000_000_000..4_000_000_000_000_000i64) {
            for calendar in ALL {
                let start_us = calendar.bucket_start_us(t_us);
                let start = DateTime::from_timestamp_micros(start_us).unwrap();
                prop_assert!(start_us <= t_us);
                prop_assert_eq!(calendar.bucket_start_us(start_us), start_us);
                prop_assert!(calendar.bucket_start_us(start_us - 1) < start_us);
                match calendar {
                    Calendar::Hour => prop_assert!(t_us - start_us < HOUR_US && start_us % HOUR_US == 0),
                    Calendar::Day => prop_assert!(t_us - start_us < DAY_US && start_us % DAY_US == 0),
                    Calendar::Week => {
                        prop_assert!(t_us - start_us < 7 * DAY_US && start_us % DAY_US == 0);
                        prop_assert_eq!(start.weekday(), chrono::Weekday::Mon);
                    }
                    Calendar::Month => {
                        let moment = DateTime::from_timestamp_micros(t_us).unwrap();
                        prop_assert_eq!((start.year(), start.month(), start.day()), (moment.year(), moment.month(), 1));
                        prop_assert_eq!(start_us % DAY_US, 0);
                    }
                }
            }
        }
    }
}
