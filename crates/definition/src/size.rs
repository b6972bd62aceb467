//! Sizes as text: `2GiB`, `512 MiB`, `1.5GB`, `1000000`.

/// The bytes that a text such as `2GiB` says. The error is a message.
pub fn size_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim().to_ascii_lowercase());
    let factor: u64 = match unit.as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "tib" | "t" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(format!("unknown unit `{unit}`: write a size as `2GiB` or `512MiB`")),
    };
    let number: f64 = number.parse().map_err(|_| "write a size as `2GiB` or `512MiB`".to_owned())?;
    let bytes = number * factor as f64;
    if !(1.0..=1e18).contains(&bytes) {
        return Err(format!("`{text}` is no sensible size"));
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("2GiB", Some(2 << 30)),
            ("512 MiB", Some(512 << 20)),
            ("1.5kb", Some(1500)),
            ("7", Some(7)),
            ("0", None),
            ("-1", None),
            ("many", None),
            ("1PB", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(size_bytes(text).ok(), bytes, "{text}");
        }
    }
}
