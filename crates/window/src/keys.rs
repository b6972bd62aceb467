//! Entity keys: typed columns in, something that hashes and compares fast out. A key of one integer-like column is that
//! integer; any other is its Arrow row encoding, in which equal bytes are equal keys and whose order is that of the values,
//! NULL before all others.
//!
//! Features ask for entities by key, and a NULL part is no entity's. Groups are what GROUP BY makes: there NULL equals NULL,
//! so a part that may be NULL is never an integer alone.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Int16Array, Int32Array, Int64Array, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Date32Type, Field, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

use crate::image::EntityKey;

/// Fixed, so that a shard means the same in every run.
const HASH_SEED: u64 = 0x6173_6f66_2d6b_6579;

/// Turns key columns of fixed types into [`Keys`].
#[derive(Debug)]
pub struct KeyEncoder {
    encoding: Encoding,
}

#[derive(Debug)]
enum Encoding {
    /// Keys of one integer-like column of this type.
    Words(DataType),
    Rows(RowConverter),
}

/// The keys of a batch of rows. Rows with a NULL part match nothing, unless they are [groups](KeyEncoder::of_groups): to
/// leave them out is the caller's business.
#[derive(Debug)]
pub enum Keys {
    /// Keys of one integer-like column.
    Words(Vec<i64>),
    /// All others.
    Rows(Rows),
}

impl KeyEncoder {
    /// An encoder for key parts of these types, none of them NULL.
    pub fn new(types: &[DataType]) -> Result<KeyEncoder, ArrowError> {
        match types {
            [single] if is_word(single) => Ok(KeyEncoder { encoding: Encoding::Words(single.clone()) }),
            _ => KeyEncoder::of_rows(types),
        }
    }

    /// An encoder for the parts of groups, among which NULL is a value: of one that may be NULL as of one that is not, the
    /// key is the same in all batches.
    pub fn of_groups(parts: &[Field]) -> Result<KeyEncoder, ArrowError> {
        let types: Vec<DataType> = parts.iter().map(|part| part.data_type().clone()).collect();
        match parts.iter().any(Field::is_nullable) {
            false => KeyEncoder::new(&types),
            true => KeyEncoder::of_rows(&types),
        }
    }

    /// Whether keys are words: integers, or what is kept as one.
    pub fn gives_words(&self) -> bool {
        matches!(self.encoding, Encoding::Words(_))
    }

    /// The keys of rows whose parts are in `parts`, of the encoder's types.
    pub fn encode(&self, parts: &[ArrayRef]) -> Result<Keys, ArrowError> {
        match (&self.encoding, parts) {
            (Encoding::Words(_), [single]) => Ok(Keys::Words(words(single))),
            (Encoding::Rows(rows), _) => rows.convert_columns(parts).map(Keys::Rows),
            _ => Err(ArrowError::InvalidArgumentError("a key of one part was given more".into())),
        }
    }

    /// The parts of keys that it encoded, in columns.
    pub(crate) fn decode<'a>(&self, keys: impl Iterator<Item = EntityKey<'a>>) -> Result<Vec<ArrayRef>, ArrowError> {
        let other = || ArrowError::InvalidArgumentError("a key is of another kind than its encoder gives".into());
        match &self.encoding {
            Encoding::Words(data_type) => {
                let word = |key| if let EntityKey::Word(word) = key { Ok(word) } else { Err(other()) };
                let words = keys.map(word).collect::<Result<Vec<i64>, ArrowError>>()?;
                Ok(vec![typed(data_type, words)])
            }
            Encoding::Rows(rows) => {
                let parser = rows.parser();
                let bytes = |key| if let EntityKey::Bytes(bytes) = key { Ok(bytes) } else { Err(other()) };
                let keys = keys.map(bytes).collect::<Result<Vec<&[u8]>, ArrowError>>()?;
                rows.convert_rows(keys.into_iter().map(|key| parser.parse(key)))
            }
        }
    }

    fn of_rows(types: &[DataType]) -> Result<KeyEncoder, ArrowError> {
        // NULL comes first unless it is asked for otherwise.
        let fields = types.iter().map(|data_type| SortField::new(data_type.clone())).collect();
        Ok(KeyEncoder { encoding: Encoding::Rows(RowConverter::new(fields)?) })
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

/// The opposite of [`words`].
fn typed(data_type: &DataType, words: Vec<i64>) -> ArrayRef {
    let each = words.iter().copied();
    match data_type {
        DataType::Int16 => Arc::new(Int16Array::from_iter_values(each.map(|word| word as i16))),
        DataType::Int32 => Arc::new(Int32Array::from_iter_values(each.map(|word| word as i32))),
        DataType::Date32 => Arc::new(Date32Array::from_iter_values(each.map(|word| word as i32))),
        DataType::Boolean => Arc::new(BooleanArray::from_iter(each.map(|word| Some(word != 0)))),
        DataType::Timestamp(_, zone) => {
            Arc::new(TimestampMicrosecondArray::from(words).with_timezone_opt(zone.clone()))
        }
        _ => Arc::new(Int64Array::from(words)),
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

    proptest! {
        /// Parts come back from keys, NULL among them; keys of parts that may be NULL are in their order, NULL first.
        #[test]
        fn keys_give_their_parts_back(
            types in prop::sample::select(composites()),
            are_nullable in prop::collection::vec(any::<bool>(), 3),
            seeds in prop::collection::vec((-60..60i16, 0..8u8), 1..60),
        ) {
            let fields: Vec<Field> =
                types.iter().zip(&are_nullable).map(|(name, nullable)| Field::new("part", name.clone(), *nullable)).collect();
            let encoder = KeyEncoder::of_groups(&fields).unwrap();
            let parts: Vec<ArrayRef> = fields.iter().enumerate().map(|(place, field)| {
                let values = part(field.data_type(), &seeds.iter().map(|(seed, _)| *seed).collect::<Vec<i16>>());
                let is_null = |nulls: u8| field.is_nullable() && nulls >> place & 1 == 1;
                let data = values.to_data().into_builder().nulls(Some(seeds.iter().map(|(_, nulls)| !is_null(*nulls)).collect()));
                arrow::array::make_array(data.build().unwrap())
            }).collect();
            let keys = encoder.encode(&parts).unwrap();
            let each = (0..keys.len()).map(|row| match &keys {
                Keys::Words(words) => EntityKey::Word(words[row]),
                Keys::Rows(rows) => EntityKey::Bytes(rows.row(row).data()),
            });
            let each: Vec<EntityKey<'_>> = each.collect();
            let decoded = encoder.decode(each.iter().copied()).unwrap();
            for (decoded, part) in decoded.iter().zip(&parts) {
                prop_assert_eq!(decoded, part);
            }
            if let (Keys::Rows(rows), true) = (&keys, parts[0].null_count() > 0) {
                let (nulls, values): (Vec<usize>, Vec<usize>) = (0..keys.len()).partition(|row| parts[0].is_null(*row));
                prop_assert!(nulls.iter().all(|null| values.iter().all(|value| rows.row(*null) < rows.row(*value))));
            }
        }
    }

    #[test]
    fn a_group_that_is_null_is_one_key() {
        let encoder = KeyEncoder::of_groups(&[Field::new("key", DataType::Int64, true)]).unwrap();
        assert!(!encoder.gives_words());
        let keys = encoder.encode(&[Arc::new(Int64Array::from(vec![None, Some(0), None]))]).unwrap();
        assert_eq!([keys.hash(0) == keys.hash(2), keys.hash(0) == keys.hash(1)], [true, false]);
        assert!(KeyEncoder::of_groups(&[Field::new("key", DataType::Int64, false)]).unwrap().gives_words());
    }

    #[test]
    fn keys_of_another_kind_are_not_decoded() {
        let words = KeyEncoder::new(&[DataType::Int64]).unwrap();
        let error = words.decode([EntityKey::Bytes(b"x")].into_iter()).unwrap_err();
        assert_eq!(error.to_string(), "Invalid argument error: a key is of another kind than its encoder gives");
        let texts = KeyEncoder::new(&[DataType::Utf8]).unwrap();
        assert!(texts.decode([EntityKey::Word(1)].into_iter()).is_err());
    }

    #[test]
    fn a_key_of_one_part_refuses_two() {
        let encoder = KeyEncoder::new(&[DataType::Int64]).unwrap();
        let column = part(&DataType::Int64, &[1]);
        let error = encoder.encode(&[column.clone(), column]).unwrap_err();
        assert_eq!(error.to_string(), "Invalid argument error: a key of one part was given more");
    }
}
