//! Dates and instants as text: ISO 8601 and RFC 3339 in, RFC 3339 out, in the proleptic Gregorian calendar.
//!
//! Read are years 0001 to 9999, a date as `2024-01-31`, `20240131` or by week (`2024-W05-3`), then `T` or a space, a time
//! down to any fraction (floored to microseconds), and `Z` or an offset; no zone means UTC. Written are instants of the
//! whole 64-bit range; a year outside 0000–9999 gets a sign, as ISO 8601 has it.
//! Values of the language's DATE and TIMESTAMP are of the years 0001 to 9999, whatever they are read from.
//! The two calendar conversions follow Howard Hinnant's "chrono-compatible low-level date algorithms".

use std::ops::Range;

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

/// The days that a DATE can be, since 1970: those of the years 0001 to 9999, whose text reads back.
pub(crate) const DATE_DAYS: Range<i32> = -719_162..2_932_897;
/// The instants that a TIMESTAMP can be, in microseconds since 1970: those of the same days.
pub(crate) const TIMESTAMP_US: Range<i64> = DATE_DAYS.start as i64 * DAY_US..DATE_DAYS.end as i64 * DAY_US;

/// Days since 1970-01-01 of an ISO date; `None` if `text` is none.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    let (days, rest) = take_date(text.as_bytes())?;
    rest.is_empty().then_some(days as i32)
}

/// Microseconds since 1970 of an RFC 3339 or ISO text, without a zone UTC; `None` if `text` is none, or none of the years
/// 0001 to 9999 in UTC.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let (days, rest) = take_date(text.as_bytes())?;
    let (time_us, zone) = match rest {
        [] => (0, rest),
        [b'T' | b't' | b' ', time @ ..] => take_time(time)?,
        _ => return None,
    };
    let offset_us = match zone {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), offset @ ..] => {
            let (offset_us, rest) = take_time(offset)?;
            if !rest.is_empty() {
                return None;
            }
            if *sign == b'+' { offset_us } else { -offset_us }
        }
        _ => return None,
    };
    // Years of four digits: at most 4·10^17 µs, far from overflow.
    Some(days * DAY_US + time_us - offset_us).filter(|us| TIMESTAMP_US.contains(us))
}

/// Days since 1970 and what follows the date.
fn take_date(text: &[u8]) -> Option<(i64, &[u8])> {
    let year = digits(text.get(..4)?)?;
    if year == 0 {
        return None;
    }
    match *text.get(4)? {
        b'-' if text.get(5) == Some(&b'W') => {
            let week = digits(text.get(6..8)?)?;
            match text.get(8) {
                Some(b'-') => Some((days_of_week(year, week, digits(text.get(9..10)?)?)?, &text[10..])),
                _ => Some((days_of_week(year, week, 1)?, &text[8..])),
            }
        }
        b'-' if text.get(7) == Some(&b'-') => {
            Some((days_of_date(year, digits(&text[5..7])?, digits(text.get(8..10)?)?)?, &text[10..]))
        }
        b'W' => {
            let week = digits(text.get(5..7)?)?;
            match text.get(7) {
                Some(b'0'..=b'9') => Some((days_of_week(year, week, digits(&text[7..8])?)?, &text[8..])),
                _ => Some((days_of_week(year, week, 1)?, &text[7..])),
            }
        }
        _ => Some((days_of_date(year, digits(text.get(4..6)?)?, digits(text.get(6..8)?)?)?, &text[8..])),
    }
}

/// Microseconds of `HH[:MM[:SS[.fraction]]]` (or without colons), and what follows.
fn take_time(text: &[u8]) -> Option<(i64, &[u8])> {
    let hour = digits(text.get(..2)?)?;
    let mut rest = &text[2..];
    let with_colons = rest.first() == Some(&b':');
    let mut parts = [0, 0];
    let mut parts_read = 0;
    while parts_read < 2 {
        let next = match rest {
            [b':', next @ ..] if with_colons => next,
            [b'0'..=b'9', ..] if !with_colons => rest,
            _ => break,
        };
        parts[parts_read] = digits(next.get(..2)?)?;
        rest = &next[2..];
        parts_read += 1;
    }
    let mut fraction_us = 0;
    if parts_read == 2 && matches!(rest, [b'.' | b',', b'0'..=b'9', ..]) {
        let fraction = &rest[1..];
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let kept = length.min(6);
        fraction_us = digits(&fraction[..kept])? * 10_i64.pow(6 - kept as u32);
        rest = &fraction[length..];
    }
    let [minute, second] = parts;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(((hour * 3_600 + minute * 60 + second) * SECOND_US + fraction_us, rest))
}

/// The number that `text` spells, if it is digits only. At most six digits are asked for.
fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// Days since 1970 of a date of the calendar; `None` for a 31st of February.
fn days_of_date(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970 of an ISO week date; `None` for a week that the year does not have.
fn days_of_week(year: i64, week: i64, weekday: i64) -> Option<i64> {
    if !(1..=7).contains(&weekday) || week < 1 {
        return None;
    }
    let first_monday = monday_of_week_1(year)?;
    let monday = first_monday + (week - 1) * 7;
    (monday < monday_of_week_1(year + 1)?).then_some(monday + weekday - 1)
}

/// Week 1 is the one that holds 4 January; 1970-01-01 was a Thursday.
fn monday_of_week_1(year: i64) -> Option<i64> {
    let january_4 = days_of_date(year, 1, 4)?;
    Some(january_4 - (january_4 + 3).rem_euclid(7))
}

/// Year, month and day of a count of days since 1970.
fn date_of_days(days: i64) -> (i64, u8, u8) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u8;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Appends `2024-01-31`.
pub(crate) fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = date_of_days(days);
    if (0..=9_999).contains(&year) {
        write_padded(year as u64, 4, out);
    } else {
        out.push(if year < 0 { b'-' } else { b'+' });
        write_padded(year.unsigned_abs(), 5, out);
    }
    out.push(b'-');
    write_padded(u64::from(month), 2, out);
    out.push(b'-');
    write_padded(u64::from(day), 2, out);
}

/// Appends the time of day that is `seconds` after midnight: `13:45:00`.
pub(crate) fn write_time(seconds: i64, out: &mut Vec<u8>) {
    let seconds = seconds.unsigned_abs();
    write_padded(seconds / 3_600, 2, out);
    out.push(b':');
    write_padded(seconds / 60 % 60, 2, out);
    out.push(b':');
    write_padded(seconds % 60, 2, out);
}

/// Appends `2024-01-31T13:45:00.000000Z`. `per_second` units of time make a second; nanoseconds are written with nine
/// digits and every coarser unit with six.
pub(crate) fn write_timestamp(count: i64, per_second: i64, out: &mut Vec<u8>) {
    let seconds = count.div_euclid(per_second);
    let fraction = count.rem_euclid(per_second).unsigned_abs();
    write_date(seconds.div_euclid(86_400), out);
    out.push(b'T');
    write_time(seconds.rem_euclid(86_400), out);
    out.push(b'.');
    if per_second == 1_000_000_000 {
        write_padded(fraction, 9, out);
    } else {
        write_padded(fraction * (1_000_000 / per_second.unsigned_abs()), 6, out);
    }
    out.push(b'Z');
}

/// Appends an instant in microseconds since 1970: `2024-01-31T13:45:00.000000Z`.
pub fn write_instant(us: i64, out: &mut Vec<u8>) {
    write_timestamp(us, SECOND_US, out);
}

/// An instant in microseconds since 1970 as text: `2024-01-31T13:45:00.000000Z`.
pub fn instant_text(us: i64) -> String {
    let mut text = Vec::with_capacity(27);
    write_instant(us, &mut text);
    String::from_utf8(text).expect("an instant is ASCII")
}

/// Appends `number` with at least `width` digits.
pub(crate) fn write_padded(number: u64, width: usize, out: &mut Vec<u8>) {
    let mut reversed = [b'0'; 20];
    let mut rest = number;
    let mut length = 0;
    while rest > 0 {
        reversed[length] = b'0' + (rest % 10) as u8;
        rest /= 10;
        length += 1;
    }
    out.extend(reversed[..length.max(width)].iter().rev());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_read_as_the_reference_reads_them() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01", Some(0)),
            ("1970-01-01 00:00:01", Some(1_000_000)),
            ("19700102T000001", Some(86_401_000_000)),
            ("1970-01-01T00:00:00.1234567Z", Some(123_456)),
            ("1969-12-31T23:59:59.9999999Z", Some(-1)),
            ("1970-01-01T01:00+01:00", Some(0)),
            ("1970-01-01T00:00:00-00:30", Some(1_800_000_000)),
            ("1970-W01-4", Some(0)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000_000)),
            ("2023-02-29", None),
            ("0000-01-01", None),
            ("10000-01-01", None),
            ("0001-01-01T00:00:00Z", Some(TIMESTAMP_US.start)),
            ("0001-01-01T00:59:59+01:00", None),
            ("9999-12-31T23:59:59.999999Z", Some(TIMESTAMP_US.end - 1)),
            ("9999-12-31T23:00:00-01:00", None),
            ("1970-01-01T24:00:00", None),
            ("1970-01-01T00:00:60Z", None),
            ("1970-01-01T", None),
            ("1970-01-01T00:00:00Zx", None),
            ("1970-01-01T00:00:00.", None),
            ("1970-01-01T00:0000", None),
            ("1970-13-01", None),
            ("1970-W54-1", None),
            ("", None),
            ("now", None),
            ("é970-01-01", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_timestamp(text), expected, "{text}");
        }
    }

    #[test]
    fn extremes_are_written_without_panic() {
        for (count, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (i64::MAX, "+294247-01-10T04:00:54.775807Z"),
            (i64::MIN, "-290308-12-21T19:59:05.224192Z"),
        ] {
            let mut out = Vec::new();
            write_timestamp(count, 1_000_000, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        for days in [i32::MIN, i32::MAX] {
            write_date(i64::from(days), &mut Vec::new());
        }
    }

    proptest! {
        #[test]
        fn written_instants_read_back(us in TIMESTAMP_US) {
            let mut out = Vec::new();
            write_timestamp(us, 1_000_000, &mut out);
            prop_assert_eq!(parse_timestamp(std::str::from_utf8(&out).unwrap()), Some(us));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            parse_timestamp(&text);
            parse_date(&text);
        }
    }
}
