//! Entity keys: typed columns in, something that hashes and compares fast out. A key of one integer-like column is that
//! integer; any other is its Arrow row encoding, in which equal bytes are equal keys.

use std::hash::BuildHasher;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

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

    /// Whether keys are words: integers, or what is kept as one.
    pub fn gives_words(&self) -> bool {
        self.rows.is_none()
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

/// The shard of a key with this hash, among a power of two. Bits are taken that tables inside a shard do not lean on.
pub fn shard_of(hash: u64, shards: usize) -> u32 {
    (hash >> 40) as u32 & (shards as u32 - 1)
}

#[inline]
pub(crate) fn hash_word(word: i64) -> u64 {
    foldhash::fast::FixedState::with_seed(HASH_SEED).hash_one(word)
}

pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    foldhash::fast::FixedState::with_seed(HASH_SEED).hash_one(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int32Array, Int64Array,
        StringArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::TimeUnit;
    use proptest::prelude::*;

    /// A column of each type, in which equal values stand for equal seeds.
    pub(crate) fn part(data_type: &DataType, seeds: &[i16]) -> ArrayRef {
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

    pub(crate) fn composites() -> Vec<Vec<DataType>> {
        use DataType::*;
        let moment = Timestamp(TimeUnit::Microsecond, None);
        let singles = [Int16, Int32, Int64, Date32, moment.clone(), Float64, Utf8, Binary, Decimal128(38, 10)];
        let mut composites: Vec<Vec<DataType>> = singles.into_iter().map(|single| vec![single]).collect();
        composites.extend([vec![Int64, Int64], vec![Utf8, Utf8], vec![Utf8, Int16, moment], vec![Binary, Boolean]]);
        composites
    }

    proptest! {
        /// Keys of equal parts, and of no others, hash alike in different batches.
        #[test]
        fn hashes_depend_on_the_key_alone(types in prop::sample::select(composites()), seeds in prop::collection::vec(-60..60i16, 1..60)) {
            let encoder = KeyEncoder::new(&types).unwrap();
            let encode = |seeds: &[i16]| {
                let parts: Vec<ArrayRef> = types.iter().map(|name| part(name, seeds)).collect();
                encoder.encode(&parts).unwrap()
            };
            let keys = encode(&seeds);
            prop_assert_eq!(keys.len(), seeds.len());
            prop_assert!(!keys.is_empty() && encode(&[]).is_empty());
            for (row, seed) in seeds.iter().enumerate() {
                prop_assert_eq!(keys.hash(row), encode(&[*seed]).hash(0));
            }
        }
    }

    #[test]
    fn a_key_of_one_part_refuses_two() {
        let encoder = KeyEncoder::new(&[DataType::Int64]).unwrap();
        let column = part(&DataType::Int64, &[1]);
        let error = encoder.encode(&[column.clone(), column]).unwrap_err();
        assert_eq!(error.to_string(), "Invalid argument error: a key of one part was given more");
    }
}
