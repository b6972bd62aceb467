//! Exact decimals as text. A value with more digits than its column's scale is refused, never rounded.

/// The unscaled value of `text` at `scale`; `None` if it is no number or does not fit the column without rounding.
/// Grammar: sign, digits with at most one point, exponent; blanks around are allowed.
pub(crate) fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let text = text.trim();
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], unsigned[at + 1..].parse::<i64>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0 {
        return None;
    }
    let mut digits = whole.bytes().chain(fraction.bytes());
    if !digits.clone().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = digits.clone().rev().skip_while(|byte| *byte == b'0').count();
    let trailing_zeros = (whole.len() + fraction.len() - significant) as i64;
    // value = significant digits · 10^power
    let power = exponent.checked_sub(fraction.len() as i64)?.checked_add(trailing_zeros)?;
    let unscaled = digits
        .by_ref()
        .take(significant)
        .try_fold(0_i128, |number, byte| number.checked_mul(10)?.checked_add(i128::from(byte - b'0')))?;
    if unscaled == 0 {
        return Some(0);
    }
    let shift = u32::try_from(power.checked_add(i64::from(scale))?).ok()?;
    let value = unscaled.checked_mul(10_i128.checked_pow(shift)?)?;
    fits(value, precision).then_some(if negative { -value } else { value })
}

/// `value` at `from_scale` as the unscaled value at another scale; `None` if that would round or not fit.
pub(crate) fn rescale(value: i128, from_scale: i8, precision: u8, scale: i8) -> Option<i128> {
    let shift = i32::from(scale) - i32::from(from_scale);
    let factor = 10_i128.checked_pow(shift.unsigned_abs());
    let rescaled = match (shift >= 0, factor) {
        (_, _) if value == 0 => 0,
        (true, factor) => value.checked_mul(factor?)?,
        (false, factor) => {
            let factor = factor?;
            (value % factor == 0).then_some(value / factor)?
        }
    };
    fits(rescaled, precision).then_some(rescaled)
}

fn fits(unscaled: i128, precision: u8) -> bool {
    unscaled.unsigned_abs() < 10_u128.pow(u32::from(precision))
}

/// Appends `-12.50`: the value with exactly its scale's digits.
pub(crate) fn write_decimal(unscaled: i128, scale: i8, out: &mut Vec<u8>) {
    if unscaled < 0 {
        out.push(b'-');
    }
    let mut digits = unscaled.unsigned_abs().to_string();
    if scale <= 0 {
        if unscaled != 0 {
            digits.extend(std::iter::repeat_n('0', usize::from(scale.unsigned_abs())));
        }
        return out.extend(digits.as_bytes());
    }
    let scale = usize::from(scale.unsigned_abs());
    if digits.len() <= scale {
        digits.insert_str(0, &"0".repeat(scale + 1 - digits.len()));
    }
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    out.extend(whole.as_bytes());
    out.push(b'.');
    out.extend(fraction.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_fit_without_rounding_or_are_refused() {
        let cases = [
            ("12.5", Some(1_250)),
            ("-0.01", Some(-1)),
            ("12.500", Some(1_250)),
            ("12.505", None),
            ("1e2", Some(10_000)),
            ("125E-1", Some(1_250)),
            ("+.5", Some(50)),
            ("5.", Some(500)),
            ("999.99", Some(99_999)),
            ("1000", None),
            ("0e999999999999", Some(0)),
            ("1e999999999999", None),
            ("1e-9223372036854775808", None),
            ("NaN", None),
            ("", None),
            (".", None),
            ("-", None),
            ("1.2.3", None),
            ("0x10", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_decimal(text, 5, 2), expected, "{text}");
        }
    }

    #[test]
    fn rescaling_never_rounds() {
        assert_eq!(rescale(125, 1, 5, 2), Some(1_250));
        assert_eq!(rescale(1_250, 2, 5, 1), Some(125));
        assert_eq!(rescale(1_255, 2, 5, 1), None);
        assert_eq!(rescale(0, 38, 5, 0), Some(0));
        assert_eq!(rescale(i128::MAX, 0, 38, 10), None);
    }

    proptest! {
        #[test]
        fn written_decimals_read_back(unscaled in -99_999_999_i128..=99_999_999, scale in 0_i8..=8) {
            let mut out = Vec::new();
            write_decimal(unscaled, scale, &mut out);
            prop_assert_eq!(parse_decimal(std::str::from_utf8(&out).unwrap(), 8, scale), Some(unscaled));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            parse_decimal(&text, 38, 10);
        }
    }
}
