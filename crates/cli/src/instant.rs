//! Instants as they are typed and told: RFC 3339, or plain microseconds since 1970.

use asof_connect::{instant_text, parse_timestamp};

/// 1980-01-01T00:00:00Z in microseconds: ten years of which two were leap years.
const YEAR_1980_US: i64 = 3_652 * 86_400 * 1_000_000;

/// The instant that `text` says, in microseconds since 1970. Digits only are microseconds; a text without a zone is UTC.
///
/// As for columns of plain integers, microseconds before 1980 are refused: they are a year, a date or another unit.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let text = text.trim();
    match text.parse() {
        Ok(us) if us < YEAR_1980_US => Err(format!(
            "microseconds before 1980, {}; hint: write RFC 3339 such as `2013-01-01T00:00:00Z`, or microseconds since 1970",
            instant_text(us)
        )),
        Ok(us) => Ok(us),
        Err(_) => parse_timestamp(text).ok_or_else(|| {
            "expected an instant such as `2026-01-31T12:00:00Z`, or whole microseconds since 1970".to_owned()
        }),
    }
}

/// To the second, rounded down: `2026-01-31T12:00:00Z`.
pub(crate) fn to_the_second(us: i64) -> String {
    let full = instant_text(us);
    let (seconds, _) = full.split_once('.').expect("an instant is written with its microseconds");
    format!("{seconds}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants() {
        let cases = [
            ("1970-01-01T00:00:01Z", Some(1_000_000)),
            ("1970-01-01T00:00:01", Some(1_000_000)),
            ("1970-01-01T01:00:01+01:00", Some(1_000_000)),
            ("1970-01-02", Some(86_400_000_000)),
            ("1979-12-31T23:59:59Z", Some(315_532_799_000_000)),
            ("315532800000000", Some(315_532_800_000_000)),
            ("315532799999999", None),
            ("2013", None),
            ("20130701", None),
            ("1372636800", None),
            ("-1", None),
            ("-9223372036854775808", None),
            ("9223372036854775808", None),
            ("yesterday", None),
            ("", None),
        ];
        for (text, us) in cases {
            assert_eq!(parse(text).ok(), us, "{text}");
        }
    }

    #[test]
    fn seconds_are_rounded_down() {
        assert_eq!(to_the_second(-1), "1969-12-31T23:59:59Z");
        assert_eq!(to_the_second(1_999_999), "1970-01-01T00:00:01Z");
        assert_eq!(parse(&instant_text(1_999_999)), Ok(1_999_999));
    }
}
