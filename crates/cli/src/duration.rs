//! Durations as text: `10s`, `250ms`, `1.5h`, `7d`. The unit is always written.

use std::time::Duration;

/// A hundred years: in microseconds far below the end of 64 bits, also when taken from an instant.
const LONGEST_S: f64 = 36_525.0 * 86_400.0;
/// What a refusal recommends.
const EXAMPLES: &str = "write a duration with its unit, as `10s`, `250ms` or `1h`";

/// The duration that `text` says.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    let number: f64 = number.parse().map_err(|_| EXAMPLES.to_owned())?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3_600.0,
        "d" => number * 86_400.0,
        "" => return Err(EXAMPLES.to_owned()),
        _ => return Err(format!("unknown unit `{unit}`: {EXAMPLES}")),
    };
    if seconds > LONGEST_S {
        return Err(format!("`{text}` is longer than a hundred years"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("10s", Some(10_000_000)),
            ("250 ms", Some(250_000)),
            ("1.5h", Some(5_400_000_000)),
            ("2min", Some(120_000_000)),
            ("7d", Some(604_800_000_000)),
            ("3us", Some(3)),
            ("0s", Some(0)),
            ("36525d", Some(36_525 * 86_400_000_000)),
            ("36526d", None),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1.2.3s", None),
            ("10S", None),
            ("a while", None),
            ("", None),
        ];
        for (text, us) in cases {
            assert_eq!(parse(text).ok().map(|duration| duration.as_micros()), us, "{text}");
        }
    }
}
