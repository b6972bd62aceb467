//! Values of slots as something ordered: what min and max, quantiles, categories and ties are decided by.
//!
//! Integers, dates, instants and decimals are ordered as they stand, text bytewise. Doubles are ordered by their bits once
//! those of negative ones are mirrored, with NaN greatest.

use arrow::datatypes::DataType;
use num_bigint::{BigInt, BigUint};

use crate::events::Events;
use crate::program::{PlacedSlot, Storage};
use crate::rounding::round_ratio;

/// A value as something ordered; values of one slot are of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rank {
    Word(i64),
    Wide(i128),
    Text(Box<[u8]>),
}

impl Rank {
    /// The rank of the value that an event has in a slot.
    pub(crate) fn of<E: Events>(slot: &PlacedSlot, events: &E, index: usize) -> Rank {
        match slot.storage {
            Storage::Word(place) => Rank::Word(ordered(slot, events.word(place, index))),
            Storage::Wide(place) => Rank::Wide(events.wide(place, index)),
            Storage::Text(place) => Rank::Text(events.text(place, index).into()),
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Rank::Text(text) => text.len(),
            Rank::Word(_) | Rank::Wide(_) => 0,
        }
    }
}

pub(crate) fn is_double(slot: &PlacedSlot) -> bool {
    matches!(slot.slot.data_type, DataType::Float32 | DataType::Float64)
}

/// A word as an integer in the order of its values. Its own inverse.
pub(crate) fn ordered(slot: &PlacedSlot, word: i64) -> i64 {
    if is_double(slot) { mirrored(word) } else { word }
}

fn mirrored(bits: i64) -> i64 {
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

/// The number that an event has in a slot, as the nearest double.
pub(crate) fn double_at<E: Events>(slot: &PlacedSlot, events: &E, index: usize) -> f64 {
    match slot.storage {
        Storage::Word(place) if is_double(slot) => f64::from_bits(events.word(place, index) as u64),
        Storage::Word(place) => events.word(place, index) as f64,
        Storage::Wide(place) => wide_double(Some(slot), events.wide(place, index)),
        Storage::Text(_) => f64::NAN,
    }
}

/// The number with that rank among those of a slot, as the nearest double.
pub(crate) fn ordered_double(slot: Option<&PlacedSlot>, key: i64) -> f64 {
    match slot {
        Some(slot) if is_double(slot) => f64::from_bits(mirrored(key) as u64),
        _ => key as f64,
    }
}

/// The word with that rank among those of a slot.
pub(crate) fn value_word(slot: Option<&PlacedSlot>, key: i64) -> i64 {
    slot.map_or(key, |slot| ordered(slot, key))
}

/// An unscaled decimal of a slot as the nearest double.
pub(crate) fn wide_double(slot: Option<&PlacedSlot>, key: i128) -> f64 {
    let scale = match slot.map(|slot| &slot.slot.data_type) {
        Some(DataType::Decimal128(_, scale)) => *scale,
        _ => 0,
    };
    // Both are doubles exactly, so the division rounds once.
    if key.unsigned_abs() <= 1 << 53 && (0..=22).contains(&scale) {
        return key as f64 / 10u128.pow(scale as u32) as f64;
    }
    round_ratio(&BigInt::from(key), &power_of_ten(scale), 0)
}

/// 10^scale, the unit of a decimal's unscaled value.
pub(crate) fn power_of_ten(scale: i8) -> BigUint {
    BigUint::from(10u32).pow(u32::from(scale.unsigned_abs()))
}
