//! A number of an event in the form that exact sums take, whatever the type of its slot.

use arrow::datatypes::DataType;

use crate::events::Events;
use crate::program::{PlacedSlot, Storage};
use crate::rounding::decompose;

/// A number: of a DECIMAL its unscaled integer, so that all of a slot count one power of ten ([`scale_of`]).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    /// `± magnitude · 2^exponent`.
    Finite { negative: bool, magnitude: u128, exponent: i64 },
    /// NaN or an infinity.
    NotFinite(f64),
}

impl Number {
    /// The number of `slot` at an event; `None` where it is NULL. Slots of texts have none.
    #[inline]
    pub(crate) fn at<E: Events>(slot: &PlacedSlot, events: &E, index: usize) -> Option<Number> {
        if slot.present.is_some_and(|present| !events.flag(present, index)) {
            return None;
        }
        match slot.storage {
            Storage::Word(place) => Some(Number::of_word(slot, events.word(place, index))),
            Storage::Wide(place) => Some(Number::of_integer(events.wide(place, index))),
            Storage::Text(_) => None,
        }
    }

    fn of_word(slot: &PlacedSlot, word: i64) -> Number {
        match slot.slot.data_type {
            DataType::Float32 | DataType::Float64 => Number::of_double(f64::from_bits(word as u64)),
            _ => Number::of_integer(i128::from(word)),
        }
    }

    pub(crate) fn of_integer(integer: i128) -> Number {
        Number::Finite { negative: integer < 0, magnitude: integer.unsigned_abs(), exponent: 0 }
    }

    pub(crate) fn of_double(double: f64) -> Number {
        if !double.is_finite() {
            return Number::NotFinite(double);
        }
        let (negative, significand, exponent) = decompose(double);
        Number::Finite { negative, magnitude: u128::from(significand), exponent: i64::from(exponent) }
    }
}

/// The numbers of a slot are so many powers of ten too great.
pub(crate) fn scale_of(slot: &PlacedSlot) -> i8 {
    match slot.slot.data_type {
        DataType::Decimal128(_, scale) => scale,
        _ => 0,
    }
}
