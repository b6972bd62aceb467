//! Bytes from disk read from their beginning on, never beyond their end.

/// What is wrong with the bytes, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

/// Bytes and how many of them are read.
#[derive(Debug)]
pub(crate) struct ByteReader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> ByteReader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> ByteReader<'b> {
        ByteReader { bytes, at: 0 }
    }

    /// How many bytes are read.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'b [u8], Malformed> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or_else(|| {
            Malformed(format!("expected {length} more bytes at byte {}, found {}", self.at, rest.len()))
        })?;
        self.at += length;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        Ok(self.take(N)?.try_into().expect("so many bytes were taken"))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// A length and so many bytes of UTF-8.
    pub(crate) fn text(&mut self) -> Result<&'b str, Malformed> {
        let length = self.u32()? as usize;
        let at = self.at;
        std::str::from_utf8(self.take(length)?).map_err(|_| Malformed(format!("the text at byte {at} is not UTF-8")))
    }

    /// So many items, each of at least `bytes_min`: memory is taken for what can be there, not for what is promised.
    pub(crate) fn list<T>(
        &mut self,
        count: usize,
        bytes_min: usize,
        read: impl Fn(&mut ByteReader<'b>) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let room = (self.bytes.len() - self.at) / bytes_min;
        if count > room {
            return Err(Malformed(format!("{count} parts are promised at byte {}, {room} find room", self.at)));
        }
        (0..count).map(|_| read(self)).collect()
    }
}
