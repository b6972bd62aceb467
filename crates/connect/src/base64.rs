//! Base64 of RFC 4648 with padding: how VARBINARY stands in JSON and CSV.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const PAD: u8 = b'=';

/// Appends the text of `bytes`.
pub(crate) fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let sextet = (word >> (18 - 6 * place)) & 63;
            out.push(if place <= group.len() { ALPHABET[sextet as usize] } else { PAD });
        }
    }
}

/// Appends the bytes that `text` stands for. False, with `out` partly written, if it is not canonical base64.
pub(crate) fn read_base64(text: &str, out: &mut Vec<u8>) -> bool {
    let text = text.as_bytes();
    let padding = text.iter().rev().take(2).take_while(|byte| **byte == PAD).count();
    if !text.len().is_multiple_of(4) {
        return false;
    }
    for group in text[..text.len() - padding].chunks(4) {
        let mut word = 0_u32;
        for byte in group {
            let Some(sextet) = sextet(*byte) else { return false };
            word = word << 6 | sextet;
        }
        word <<= 6 * (4 - group.len());
        let length = group.len() - 1;
        let bytes = word.to_be_bytes();
        if bytes[1 + length..].iter().any(|byte| *byte != 0) {
            return false; // bits beyond the last byte: two texts would mean the same bytes
        }
        out.extend(&bytes[1..=length]);
    }
    true
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_canonical_texts_are_read() {
        for (text, expected) in [("", Some("")), ("Zg==", Some("f")), ("Zm8=", Some("fo")), ("Zm9v", Some("foo"))] {
            let mut out = Vec::new();
            let read = read_base64(text, &mut out).then(|| String::from_utf8(out).unwrap());
            assert_eq!(read.as_deref(), expected);
        }
        for text in ["Zg", "Zg=", "Z===", "====", "Zh==", "Zm9=", "Z-9v", "Zg==Zg==", "Zm 9"] {
            assert!(!read_base64(text, &mut Vec::new()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_bytes_read_back(bytes: Vec<u8>) {
            let mut text = Vec::new();
            write_base64(&bytes, &mut text);
            let mut read = Vec::new();
            prop_assert!(read_base64(std::str::from_utf8(&text).unwrap(), &mut read));
            prop_assert_eq!(read, bytes);
        }
    }
}
