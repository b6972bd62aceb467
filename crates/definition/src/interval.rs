//! Lengths of time: `INTERVAL '5' MINUTE`, `INTERVAL '5 minutes'`, `INTERVAL 5 MINUTE`, and `'30s'` in options.
//!
//! Exact to the microsecond or refused. Months and years are no lengths of time: they differ.

use asof_expression::sqlparser::ast::{DateTimeField, Expr, Interval, UnaryOperator, Value};

/// Microseconds of a text such as `30s`, `500 ms`, `1 day 2 hours`, `1.5h` or `01:30:00`. The error is a message.
pub fn duration_us(text: &str) -> Result<i64, String> {
    let mut total: i128 = 0;
    let mut parts = 0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (amount, after) = split_number(rest);
        if after.starts_with(':') {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            total += clock_us(&rest[..end]).ok_or_else(|| unreadable(text))?;
            rest = rest[end..].trim_start();
        } else {
            let after = after.trim_start();
            let end = after.find(|letter: char| !letter.is_alphabetic()).unwrap_or(after.len());
            if amount.is_empty() || end == 0 {
                return Err(unreadable(text));
            }
            total += amount_us(amount, &after[..end])?;
            rest = after[end..].trim_start();
        }
        parts += 1;
    }
    if parts == 0 {
        return Err(unreadable(text));
    }
    i64::try_from(total).map_err(|_| format!("`{text}` is too long a time"))
}

/// Microseconds of an INTERVAL literal. The error is a message.
pub(crate) fn interval_us(interval: &Interval) -> Result<i64, String> {
    let Interval { value, leading_field, leading_precision, last_field, fractional_seconds_precision } = interval;
    if let Some(last) = last_field {
        return Err(format!("an interval over several fields (TO {last}) is not supported"));
    }
    if leading_precision.is_some() || fractional_seconds_precision.is_some() {
        return Err("the precision of an interval is not supported".to_owned());
    }
    if is_negative(interval) {
        return Err(format!("the interval `{interval}` is negative"));
    }
    let text = match &**value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.clone(),
            Value::Number(digits, false) => digits.clone(),
            other => return Err(format!("`{other}` is no length of time")),
        },
        other => return Err(format!("an interval must be a literal, found `{other}`")),
    };
    match leading_field {
        None => duration_us(&text),
        Some(unit) => {
            let amount = text.trim();
            let (number, rest) = split_number(amount);
            if number.is_empty() || !rest.is_empty() {
                return Err(format!("`{text}` is no number of {unit}"));
            }
            let micros = amount_us(number, &unit_name(unit))?;
            i64::try_from(micros).map_err(|_| format!("`{interval}` is too long a time"))
        }
    }
}

/// Whether an INTERVAL literal is refused because it is negative.
pub(crate) fn is_negative(interval: &Interval) -> bool {
    match &*interval.value {
        Expr::Value(value) => {
            matches!(&value.value, Value::SingleQuotedString(text) if text.trim_start().starts_with('-'))
        }
        Expr::UnaryOp { op, .. } => *op == UnaryOperator::Minus,
        _ => false,
    }
}

fn unit_name(unit: &DateTimeField) -> String {
    unit.to_string()
}

fn unreadable(text: &str) -> String {
    if text.trim_start().starts_with('-') {
        return format!("`{text}` is negative");
    }
    format!("`{text}` is no length of time; write for example 30s, 500ms, 5 minutes, 1h, 1 day")
}

/// The leading decimal number of a text, and what follows it.
fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len()))
}

/// `number` units in microseconds, exactly.
fn amount_us(number: &str, unit: &str) -> Result<i128, String> {
    let unit_us = unit_us(unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = (!whole.is_empty() || !fraction.is_empty()) && !fraction.contains('.');
    // 18 digits of each side keep whole × unit (at most 10^18 × 6.048·10^11) within 128 bits.
    if !is_number || whole.len() > 18 || fraction.len() > 18 {
        return Err(format!("`{number}` is no number of {unit}"));
    }
    let digits = |text: &str| if text.is_empty() { 0 } else { text.parse::<i128>().expect("at most 18 digits") };
    let scale = 10i128.pow(fraction.len() as u32);
    let scaled = (digits(whole) * scale + digits(fraction)) * unit_us;
    match scaled % scale {
        0 => Ok(scaled / scale),
        _ => Err(format!("`{number} {unit}` is finer than a microsecond")),
    }
}

fn unit_us(unit: &str) -> Result<i128, String> {
    match unit.to_lowercase().as_str() {
        "us" | "microsecond" | "microseconds" => Ok(1),
        "ms" | "millisecond" | "milliseconds" => Ok(1_000),
        "s" | "second" | "seconds" => Ok(1_000_000),
        "m" | "minute" | "minutes" => Ok(60_000_000),
        "h" | "hour" | "hours" => Ok(3_600_000_000),
        "d" | "day" | "days" => Ok(86_400_000_000),
        "w" | "week" | "weeks" => Ok(604_800_000_000),
        "mon" | "month" | "months" => Err("a MONTH has no fixed length; write days".to_owned()),
        "y" | "year" | "years" => Err("a YEAR has no fixed length; write days".to_owned()),
        "quarter" | "quarters" | "decade" | "decades" | "century" | "centuries" | "millennium" | "millennia" => {
            Err(format!("a {} has no fixed length; write days", unit.to_uppercase()))
        }
        _ => Err(format!(
            "unknown unit of time `{unit}`; known are microsecond, millisecond, second, minute, hour, day, week"
        )),
    }
}

/// `HH:MM:SS[.ffffff]` or `HH:MM` in microseconds.
fn clock_us(text: &str) -> Option<i128> {
    let parts: Vec<&str> = text.split(':').collect();
    let (hours, minutes, seconds) = match parts[..] {
        [hours, minutes] => (hours, minutes, "0"),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return None,
    };
    let is_whole = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_whole(hours) || !is_whole(minutes) {
        return None;
    }
    let minutes_us = amount_us(minutes, "minute").ok().filter(|us| *us < 3_600_000_000)?;
    let seconds_us = amount_us(seconds, "second").ok().filter(|us| *us < 60_000_000)?;
    Some(amount_us(hours, "hour").ok()? + minutes_us + seconds_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<i64, &str>) {
        match (duration_us(text), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{text}: {found}"),
            (found, expected) => panic!("{text}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn texts_are_lengths_of_time() {
        check("30s", Ok(30_000_000));
        check("500ms", Ok(500_000));
        check("1 day", Ok(86_400_000_000));
        check("5 Minutes", Ok(300_000_000));
        check("2 WEEKS", Ok(1_209_600_000_000));
        check("1 day 2 hours", Ok(93_600_000_000));
        check("1h30m", Ok(5_400_000_000));
        check("1.5 hours", Ok(5_400_000_000));
        check("0.000001s", Ok(1));
        check("01:30:00", Ok(5_400_000_000));
        check("1 day 00:00:01.5", Ok(86_401_500_000));
        check("0s", Ok(0));
    }

    #[test]
    fn other_texts_are_refused() {
        check("", Err("no length of time"));
        check("5", Err("no length of time"));
        check("s", Err("no length of time"));
        check("-5s", Err("negative"));
        check("1 month", Err("MONTH"));
        check("2 years", Err("YEAR"));
        check("1 quarter", Err("QUARTER"));
        check("1.5us", Err("finer than a microsecond"));
        check("0.3333333 s", Err("finer than a microsecond"));
        check("1.2.3 s", Err("no number"));
        check("5 fortnights", Err("unknown unit of time `fortnights`"));
        check("01:75:00", Err("no length of time"));
        check("99999999999999999 weeks", Err("too long"));
    }
}
