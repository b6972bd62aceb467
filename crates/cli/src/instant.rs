//! Instants as they are typed and told: RFC 3339, or plain microseconds since 1970.

use asof_connect::{parse_timestamp, write_instant};

/// The instant that `text` says, in microseconds since 1970. Digits only are microseconds; a text without a zone is UTC.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let text = text.trim();
    text.parse().ok().or_else(|| parse_timestamp(text)).ok_or_else(|| {
        "expected an instant such as `2026-01-31T12:00:00Z`, or whole microseconds since 1970".to_owned()
    })
}

/// In full: `2026-01-31T12:00:00.000000Z`.
pub(crate) fn full(us: i64) -> String {
    let mut text = Vec::new();
    write_instant(us, &mut text);
    String::from_utf8(text).expect("digits and punctuation")
}

/// To the second, rounded down: `2026-01-31T12:00:00Z`.
pub(crate) fn to_the_second(us: i64) -> String {
    let full = full(us);
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
            ("1000000", Some(1_000_000)),
            ("-1", Some(-1)),
            ("19700102", Some(19_700_102)),
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
        assert_eq!(parse(&full(1_999_999)), Ok(1_999_999));
    }
}
