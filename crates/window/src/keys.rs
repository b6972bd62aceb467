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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int32Array, Int64Array,
        StringArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::TimeUnit;
    use proptest::prelude::*;

    /// A column of each type, in which equal values stand for equal seeds.
    fn part(data_type: &DataType, seeds: &[i16]) -> ArrayRef {
        let each = seeds.iter().copied();
        let text = |seed: i16| "x".repeat(usize::from(seed.unsigned_abs() % 40)) + &seed.to_string();
        match data_type {
            DataType::Int16 => Arc::new(Int16Array::from_iter_values(each)),
            DataType::Int32 => Arc::new(Int32Array::from_iter_values(each.map(i32::from))),
            DataType::Int64 => Arc::new(Int64Array::from_iter_values(each.map(|seed| i64::from(seed) << 40))),
            DataType::Date32 => Arc::new(Date32Array::from_iter_values(each.map(i32::from))),
            DataType::Timestamp(_, _) => Arc::new(TimestampMicrosecondArray::from_iter_values(each.map(i64::from))),
            DataType::Boolean => Arc::new(BooleanArray::from_iter(each.map(|seed| Some(seed % 2 == 0)))),
            DataType::Float64 => Arc::new(Float64Array::from_iter_values(each.map(f64::from))),
            DataType::Decimal128(_, _) => Arc::new(Decimal128Array::from_iter_values(each.map(i128::from))),
            DataType::Utf8 => Arc::new(StringArray::from_iter_values(each.map(text))),
            _ => Arc::new(BinaryArray::from_iter_values(each.map(text))),
        }
    }

    fn composites() -> Vec<Vec<DataType>> {
        use DataType::*;
        let moment = Timestamp(TimeUnit::Microsecond, None);
        let singles = [Int16, Int32, Int64, Date32, moment.clone(), Float64, Utf8, Binary, Decimal128(38, 10)];
        let mut composites: Vec<Vec<DataType>> = singles.into_iter().map(|single| vec![single]).collect();
        composites.extend([vec![Int64, Int64], vec![Utf8, Utf8], vec![Utf8, Int16, moment], vec![Binary, Boolean]]);
        composites
    }

    /// Numbers given to batches of keys equal those of a map from the first part's seed and the second's.
    fn check(types: &[DataType], batches: &[Vec<(i16, i16)>]) -> Result<(), TestCaseError> {
        let encoder = KeyEncoder::new(types).unwrap();
        let (mut index, mut model) = (EntityIndex::default(), HashMap::<Vec<i64>, (u32, u64)>::new());
        for batch in batches {
            let seeds =
                |place: usize| batch.iter().map(|pair| if place == 0 { pair.0 } else { pair.1 }).collect::<Vec<_>>();
            let parts: Vec<ArrayRef> =
                types.iter().enumerate().map(|(place, name)| part(name, &seeds(place))).collect();
            let keys = encoder.encode(&parts).unwrap();
            prop_assert_eq!(keys.len(), batch.len());
            prop_assert_eq!(keys.is_empty(), batch.is_empty());
            for row in 0..batch.len() {
                let value = |(place, name): (usize, &DataType)| match name {
                    DataType::Boolean => i64::from(seeds(place)[row] % 2 == 0),
                    _ => i64::from(seeds(place)[row]),
                };
                let key: Vec<i64> = types.iter().enumerate().map(value).collect();
                prop_assert_eq!(index.find(&keys, row), model.get(&key).map(|known| known.0));
                let next = model.len() as u32;
                let (number, hash) = *model.entry(key).or_insert((next, keys.hash(row)));
                prop_assert_eq!(index.intern(&keys, row), number);
                prop_assert_eq!(keys.hash(row), hash);
                prop_assert_eq!(index.find(&keys, row), Some(number));
            }
        }
        prop_assert_eq!(index.len(), model.len());
        prop_assert_eq!(index.is_empty(), model.is_empty());
        Ok(())
    }

    proptest! {
        #[test]
        fn numbers_equal_those_of_a_map(
            types in prop::sample::select(composites()),
            batches in prop::collection::vec(prop::collection::vec((-60..60i16, -3..3i16), 0..60), 0..6),
        ) {
            check(&types, &batches)?;
        }
    }

    /// Without a length, ("ab", "c") and ("a", "bc") would be one key.
    #[test]
    fn parts_do_not_run_together() {
        let encoder = KeyEncoder::new(&[DataType::Utf8, DataType::Utf8]).unwrap();
        let column = |texts: [&str; 4]| Arc::new(StringArray::from_iter_values(texts)) as ArrayRef;
        let keys = encoder.encode(&[column(["ab", "a", "", "abc"]), column(["c", "bc", "abc", ""])]).unwrap();
        let mut index = EntityIndex::default();
        let numbers: Vec<u32> = (0..4).map(|row| index.intern(&keys, row)).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert!(index.memory_bytes() > 0);
    }

    #[test]
    fn a_key_of_one_part_refuses_two() {
        let encoder = KeyEncoder::new(&[DataType::Int64]).unwrap();
        let column = part(&DataType::Int64, &[1]);
        let error = encoder.encode(&[column.clone(), column]).unwrap_err();
        assert_eq!(error.to_string(), "Invalid argument error: a key of one part was given more");
    }
}
