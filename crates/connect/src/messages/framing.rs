//! What stands before an event in the value of a message, as Confluent's serializers write it:
//! ```text
//!   Avro, JSON   0 │ number of the schema u32, big-endian │ event
//!   Protobuf     0 │ number of the schema u32, big-endian │ message indexes │ event
//! ```
//! Message indexes say which of the types of a schema file it is: how many there are, then each, as zigzag varints; one
//! zero byte stands for the first type of the file. Source: "Wire format" in Confluent's documentation of its schema
//! registry.

/// The most that types lie inside each other.
const INDEXES_MAX: usize = 64;

/// A value that names its writer's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'m> {
    /// The number of the schema.
    pub(crate) schema: u32,
    /// What stands behind it.
    pub(crate) rest: &'m [u8],
}

impl<'m> Frame<'m> {
    pub(crate) fn of(value: &'m [u8]) -> Result<Frame<'m>, String> {
        match value {
            [0, a, b, c, d, rest @ ..] => Ok(Frame { schema: u32::from_be_bytes([*a, *b, *c, *d]), rest }),
            [0, ..] | [] => Err(format!("the value ends after {} of the 5 bytes that name its schema", value.len())),
            [other, ..] => Err(format!(
                "the value does not begin with the zero byte of a registry's framing, but with {other}; hint: \
                 `framing = 'none'` reads values without one"
            )),
        }
    }
}

/// The place of a type in its schema file, and what stands behind.
pub(crate) fn message_indexes(rest: &[u8]) -> Result<(Vec<usize>, &[u8]), String> {
    let malformed = || "its message indexes are malformed".to_owned();
    let (count, mut rest) = index(rest).ok_or_else(malformed)?;
    if count == 0 {
        return Ok((vec![0], rest));
    }
    if count > INDEXES_MAX {
        return Err(malformed());
    }
    let mut indexes = Vec::with_capacity(count);
    for _ in 0..count {
        let (one, behind) = index(rest).ok_or_else(malformed)?;
        indexes.push(one);
        rest = behind;
    }
    Ok((indexes, rest))
}

/// A zigzag varint that is not negative.
fn index(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut word = 0_u64;
    for (place, byte) in bytes.iter().enumerate().take(5) {
        word |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let is_negative = word & 1 == 1;
            return (!is_negative).then_some(((word >> 1) as usize, &bytes[place + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_names_its_schema() {
        assert_eq!(Frame::of(&[0, 0, 0, 1, 2, 9]), Ok(Frame { schema: 258, rest: &[9] }));
        assert_eq!(Frame::of(&[0, 255, 255, 255, 255]), Ok(Frame { schema: u32::MAX, rest: &[] }));
        assert!(Frame::of(&[0, 1, 2]).is_err_and(|said| said.contains("3 of the 5 bytes")));
        assert!(Frame::of(b"{}").is_err_and(|said| said.contains("but with 123")));
    }

    #[test]
    fn indexes_are_read_as_they_are_written() {
        assert_eq!(message_indexes(&[0, 7]), Ok((vec![0], &[7][..])));
        assert_eq!(message_indexes(&[2, 0, 7]), Ok((vec![0], &[7][..])));
        assert_eq!(message_indexes(&[4, 2, 0x80, 2, 7]), Ok((vec![1, 128], &[7][..])));
        for malformed in [&[][..], &[1], &[4, 2], &[0x80; 9], &[0xfe, 0xff, 0xff, 0xff, 0x0f]] {
            assert!(message_indexes(malformed).is_err(), "{malformed:?}");
        }
    }
}
