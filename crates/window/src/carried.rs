//! Batches of events as a program carries them: evaluated arguments and FILTERs turned into the storage of
//! [`Events`](crate::Events). This is the one way from Arrow columns into window state, live and in history.
//!
//! Doubles become normal here: −0.0 turns into 0.0 and every NaN into one NaN, so that bits compare as values do.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, UInt64Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, UInt64Type,
};

use crate::events::Events;
use crate::program::{Program, Storage};

impl Program {
    /// The columns that [`Program::carry`] gives, for a schema: words, wides, texts, then the flags if there are any.
    pub fn carried_fields(&self) -> Vec<Field> {
        let (words, wides, texts) = self.widths();
        let wide_types = self.placed().iter().filter(|placed| matches!(placed.storage, Storage::Wide(_)));
        let word = |place| Field::new(format!("word_{place}"), DataType::Int64, false);
        let text = |place| Field::new(format!("text_{place}"), DataType::Binary, true);
        let mut fields: Vec<Field> = (0..words).map(word).collect();
        fields.extend(
            wide_types
                .enumerate()
                .map(|(place, placed)| Field::new(format!("wide_{place}"), placed.slot.data_type.clone(), true)),
        );
        debug_assert_eq!(fields.len(), words + wides);
        fields.extend((0..texts).map(text));
        if self.flags() > 0 {
            fields.push(Field::new("flags", DataType::UInt64, false));
        }
        fields
    }

    /// Slot values and FILTER outcomes of a batch of events as carried columns.
    ///
    /// `slots` and `filters` are in the order given to [`Program::new`], each with one row per event; a FILTER that is
    /// NULL does not pass.
    pub fn carry(&self, slots: &[ArrayRef], filters: &[BooleanArray]) -> Vec<ArrayRef> {
        let mut words = Vec::new();
        let mut wides = Vec::new();
        let mut texts = Vec::new();
        for (placed, values) in self.placed().iter().zip(slots) {
            match placed.storage {
                Storage::Word(_) => words.push(Arc::new(Int64Array::new(word_values(values), None)) as ArrayRef),
                Storage::Wide(_) => wides.push(values.clone()),
                Storage::Text(_) => texts.push(text_values(values)),
            }
        }
        let mut columns = words;
        columns.append(&mut wides);
        columns.append(&mut texts);
        if self.flags() > 0 {
            columns.push(Arc::new(UInt64Array::from(self.flag_values(slots, filters))));
        }
        columns
    }

    fn flag_values(&self, slots: &[ArrayRef], filters: &[BooleanArray]) -> Vec<u64> {
        let rows = slots.first().map(|slot| slot.len()).or(filters.first().map(|filter| filter.len())).unwrap_or(0);
        let mut flags = vec![0u64; rows];
        for (place, filter) in filters.iter().enumerate() {
            for (row, flag) in flags.iter_mut().enumerate() {
                *flag |= u64::from(filter.is_valid(row) && filter.value(row)) << place;
            }
        }
        for (placed, values) in self.placed().iter().zip(slots) {
            let Some(place) = placed.present else { continue };
            match values.nulls() {
                None => flags.iter_mut().for_each(|flag| *flag |= 1 << place),
                Some(nulls) => {
                    flags.iter_mut().zip(nulls.iter()).for_each(|(flag, valid)| *flag |= u64::from(valid) << place);
                }
            }
        }
        flags
    }
}

/// Events in columns, in their order; runs of them are the events of entities.
#[derive(Debug, Clone)]
pub struct SortedEvents {
    times: ScalarBuffer<i64>,
    words: Vec<ScalarBuffer<i64>>,
    wides: Vec<ScalarBuffer<i128>>,
    texts: Vec<BinaryArray>,
    flags: Option<ScalarBuffer<u64>>,
}

impl SortedEvents {
    /// Wraps carried columns. `times` holds the event times in microseconds; the caller keeps each entity's events
    /// together and in order.
    pub fn new(program: &Program, times: ScalarBuffer<i64>, carried: &[ArrayRef]) -> SortedEvents {
        let (words, wides, texts) = program.widths();
        let (word_columns, rest) = carried.split_at(words);
        let (wide_columns, rest) = rest.split_at(wides);
        let (text_columns, rest) = rest.split_at(texts);
        SortedEvents {
            times,
            words: word_columns.iter().map(|column| column.as_primitive::<Int64Type>().values().clone()).collect(),
            wides: wide_columns.iter().map(|column| column.as_primitive::<Decimal128Type>().values().clone()).collect(),
            texts: text_columns.iter().map(|column| column.as_binary::<i32>().clone()).collect(),
            flags: rest.first().map(|column| column.as_primitive::<UInt64Type>().values().clone()),
        }
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The events from `start` to before `end`.
    pub fn run(&self, start: usize, end: usize) -> SortedRun<'_> {
        SortedRun { times: &self.times[start..end], events: self, start }
    }
}

/// One entity's run of [`SortedEvents`].
#[derive(Debug, Clone, Copy)]
pub struct SortedRun<'a> {
    times: &'a [i64],
    events: &'a SortedEvents,
    start: usize,
}

impl Events for SortedRun<'_> {
    fn len(&self) -> usize {
        self.times.len()
    }

    #[inline]
    fn time_us(&self, index: usize) -> i64 {
        self.times[index]
    }

    #[inline]
    fn word(&self, place: usize, index: usize) -> i64 {
        self.events.words[place][self.start + index]
    }

    #[inline]
    fn wide(&self, place: usize, index: usize) -> i128 {
        self.events.wides[place][self.start + index]
    }

    #[inline]
    fn text(&self, place: usize, index: usize) -> &[u8] {
        self.events.texts[place].value(self.start + index)
    }

    #[inline]
    fn flag(&self, place: usize, index: usize) -> bool {
        self.events.flags.as_ref().is_some_and(|flags| flags[self.start + index] >> place & 1 == 1)
    }
}

/// Values of a word slot; where the array is NULL the word means nothing and its presence flag is off.
fn word_values(values: &ArrayRef) -> ScalarBuffer<i64> {
    match values.data_type() {
        DataType::Int64 => values.as_primitive::<Int64Type>().values().clone(),
        DataType::Timestamp(_, _) => values.as_primitive::<TimestampMicrosecondType>().values().clone(),
        DataType::Int32 => values.as_primitive::<Int32Type>().values().iter().map(|&x| i64::from(x)).collect(),
        DataType::Int16 => values.as_primitive::<Int16Type>().values().iter().map(|&x| i64::from(x)).collect(),
        DataType::Date32 => values.as_primitive::<Date32Type>().values().iter().map(|&x| i64::from(x)).collect(),
        DataType::Boolean => values.as_boolean().values().iter().map(i64::from).collect(),
        DataType::Float32 => {
            let singles = values.as_primitive::<Float32Type>().values();
            singles.iter().map(|&x| normal_bits(f64::from(x))).collect()
        }
        DataType::Float64 => {
            let doubles = values.as_primitive::<Float64Type>().values();
            if doubles.iter().all(|x| x.to_bits() as i64 == normal_bits(*x)) {
                return ScalarBuffer::from(doubles.inner().clone());
            }
            doubles.iter().map(|&x| normal_bits(x)).collect()
        }
        _ => vec![0; values.len()].into(),
    }
}

/// The bits of a double once −0.0 is 0.0 and every NaN is one NaN.
fn normal_bits(x: f64) -> i64 {
    let normal = if x.is_nan() { f64::NAN } else { x + 0.0 };
    normal.to_bits() as i64
}

fn text_values(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Utf8 => Arc::new(BinaryArray::from(values.as_string::<i32>().clone())),
        _ => values.clone(),
    }
}
