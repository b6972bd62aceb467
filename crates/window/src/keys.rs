//! Entity keys: typed columns in, something that hashes and compares fast out. A key of one integer-like column is that
//! integer; any other is its Arrow row encoding, in which equal bytes are equal keys.

use std::hash::BuildHasher;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::HashTable;

/// Fixed, so that a shard means the same in every run.
const HASH_SEED: u64 = 0x6173_6f66_2d6b_6579;

/// Turns key columns of fixed types into [`Keys`].
#[derive(Debug)]
pub struct KeyEncoder {
    rows: Option<RowConverter>,
}

/// The keys of a batch of rows. Rows with a NULL part are the caller's business: they match nothing.
#[derive(Debug)]
pub enum Keys {
    /// Keys of one integer-like column.
    Words(Vec<i64>),
    /// All others.
    Rows(Rows),
}

impl KeyEncoder {
    /// An encoder for key parts of these types.
    pub fn new(types: &[DataType]) -> Result<KeyEncoder, ArrowError> {
        if let [single] = types
            && is_word(single)
        {
            return Ok(KeyEncoder { rows: None });
        }
        let fields = types.iter().map(|data_type| SortField::new(data_type.clone())).collect();
        Ok(KeyEncoder { rows: Some(RowConverter::new(fields)?) })
    }

    /// The keys of rows whose parts are in `parts`, of the encoder's types.
    pub fn encode(&self, parts: &[ArrayRef]) -> Result<Keys, ArrowError> {
        match (&self.rows, parts) {
            (None, [single]) => Ok(Keys::Words(words(single))),
            (Some(rows), _) => rows.convert_columns(parts).map(Keys::Rows),
            _ => Err(ArrowError::InvalidArgumentError("a key of one part was given more".into())),
        }
    }
}

impl Keys {
    /// Number of keys.
    pub fn len(&self) -> usize {
        match self {
            Keys::Words(words) => words.len(),
            Keys::Rows(rows) => rows.num_rows(),
        }
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A hash of the key at `row`, the same in every run and on every machine of one endianness.
    #[inline]
    pub fn hash(&self, row: usize) -> u64 {
        match self {
            Keys::Words(words) => hash_word(words[row]),
            Keys::Rows(rows) => hash_bytes(rows.row(row).data()),
        }
    }
}

/// Entity keys seen so far, each with a dense number from 0.
#[derive(Debug, Default)]
pub struct EntityIndex {
    words: HashTable<(i64, u32)>,
    bytes: HashTable<(u64, u32)>,
    /// Keys of `bytes` by number: `arena[ends[n − 1]..ends[n]]`.
    arena: Vec<u8>,
    ends: Vec<usize>,
    len: u32,
}

impl EntityIndex {
    /// Number of entities.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no entity was seen.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of the key at `row`, a new one if it was not seen before.
    #[inline]
    pub fn intern(&mut self, keys: &Keys, row: usize) -> u32 {
        let next = self.len;
        let found = match keys {
            Keys::Words(words) => {
                let word = words[row];
                let entry =
                    self.words.entry(hash_word(word), |(other, _)| *other == word, |(other, _)| hash_word(*other));
                entry.or_insert((word, next)).get().1
            }
            Keys::Rows(rows) => {
                let row = rows.row(row);
                let (bytes, hash) = (row.data(), hash_bytes(row.data()));
                let (arena, ends) = (&self.arena, &self.ends);
                let same = |(other, number): &(u64, u32)| *other == hash && key_bytes(arena, ends, *number) == bytes;
                let found = self.bytes.entry(hash, same, |(other, _)| *other).or_insert((hash, next)).get().1;
                if found == next {
                    self.arena.extend_from_slice(bytes);
                    self.ends.push(self.arena.len());
                }
                found
            }
        };
        if found == next {
            self.len = next.checked_add(1).expect("one shard holds fewer than 2^32 entities");
        }
        found
    }

    /// The number of the key at `row`, if it was seen.
    #[inline]
    pub fn find(&self, keys: &Keys, row: usize) -> Option<u32> {
        match keys {
            Keys::Words(words) => {
                let word = words[row];
                self.words.find(hash_word(word), |(other, _)| *other == word).map(|(_, number)| *number)
            }
            Keys::Rows(rows) => {
                let row = rows.row(row);
                let (bytes, hash) = (row.data(), hash_bytes(row.data()));
                let same = |(other, number): &(u64, u32)| {
                    *other == hash && key_bytes(&self.arena, &self.ends, *number) == bytes
                };
                self.bytes.find(hash, same).map(|(_, number)| *number)
            }
        }
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.words.allocation_size() + self.bytes.allocation_size() + self.arena.capacity() + 8 * self.ends.capacity()
    }
}

fn key_bytes<'a>(arena: &'a [u8], ends: &[usize], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = if number == 0 { 0 } else { ends[number - 1] };
    &arena[start..ends[number]]
}

fn is_word(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(data_type, Int16 | Int32 | Int64 | Date32 | Timestamp(_, _) | Boolean)
}

fn words(part: &ArrayRef) -> Vec<i64> {
    match part.data_type() {
        DataType::Int16 => part.as_primitive::<Int16Type>().values().iter().map(|&x| i64::from(x)).collect(),
        DataType::Int32 => part.as_primitive::<Int32Type>().values().iter().map(|&x| i64::from(x)).collect(),
        DataType::Date32 => part.as_primitive::<Date32Type>().values().iter().map(|&x| i64::from(x)).collect(),
        DataType::Timestamp(_, _) => part.as_primitive::<TimestampMicrosecondType>().values().to_vec(),
        DataType::Boolean => part.as_boolean().values().iter().map(i64::from).collect(),
        _ => part.as_primitive::<Int64Type>().values().to_vec(),
    }
}

#[inline]
fn hash_word(word: i64) -> u64 {
    foldhash::fast::FixedState::with_seed(HASH_SEED).hash_one(word)
}

fn hash_bytes(bytes: &[u8]) -> u64 {
    foldhash::fast::FixedState::with_seed(HASH_SEED).hash_one(bytes)
}
