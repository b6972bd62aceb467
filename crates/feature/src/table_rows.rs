//! The rows of a table's versions, in columns, each under a number that it keeps for as long as it is needed.
//!
//! ```text
//!   number 2051 = slot 2, index 3        slot 2   ▪ ▪ · ▪ ▪ · ·      · is dropped
//!                                        columns  ▪ ▪   ▪ ▪          made anew when half of a slot is dropped
//! ```
//! A slot has room for [`SLOT_ROWS`] numbers. Its columns are immutable Arrow arrays: who holds one keeps it. A slot whose
//! rows are all dropped gives its numbers out again.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use asof_window::RowNumber;

/// Few enough that a slot which grows row by row is soon copied, many enough that there are few slots.
const SLOT_ROWS: usize = 1024;

/// Rows under numbers.
#[derive(Debug)]
pub(crate) struct TableRows {
    types: Vec<DataType>,
    slots: Vec<Slot>,
    /// The slot that new rows go to, if it has room.
    open: Option<usize>,
    /// Slots without rows.
    free: Vec<usize>,
    rows: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Slot {
    /// One for each type, a row for each of `kept`.
    columns: Vec<ArrayRef>,
    /// The indexes whose rows the columns have, ascending; the dropped ones among them are not `live`.
    kept: Vec<u16>,
    /// By index; as long as indexes were given out.
    live: Vec<bool>,
    live_count: usize,
    bytes: usize,
}

impl TableRows {
    /// No rows yet, of columns of these types.
    pub(crate) fn new(types: Vec<DataType>) -> TableRows {
        TableRows { types, slots: Vec::new(), open: None, free: Vec::new(), rows: 0, bytes: 0 }
    }

    /// Puts rows behind each other and returns their numbers; `None` when there are no numbers left, and nothing is changed.
    pub(crate) fn append(&mut self, columns: &[ArrayRef], rows: usize) -> Result<Option<Vec<RowNumber>>, ArrowError> {
        let slots_needed = rows.div_ceil(SLOT_ROWS);
        if (self.slots.len() + slots_needed).saturating_mul(SLOT_ROWS) > u32::MAX as usize {
            return Ok(None);
        }
        let mut numbers = Vec::with_capacity(rows);
        while numbers.len() < rows {
            let at = self.open_slot();
            let slot = &mut self.slots[at];
            let (first, index) = (numbers.len(), slot.live.len());
            let count = (rows - first).min(SLOT_ROWS - index);
            self.bytes -= slot.bytes;
            slot.append(columns, first, count)?;
            self.bytes += slot.bytes;
            self.rows += count;
            let number = |index: usize| RowNumber::new((at * SLOT_ROWS + index) as u32).expect("fewer than 2³² − 1");
            numbers.extend((index..index + count).map(number));
        }
        Ok(Some(numbers))
    }

    fn open_slot(&mut self) -> usize {
        if let Some(open) = self.open.filter(|open| self.slots[*open].live.len() < SLOT_ROWS) {
            return open;
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        self.open = Some(at);
        at
    }

    /// Drops rows, which nobody asks for any more.
    pub(crate) fn drop_rows(&mut self, numbers: &[RowNumber]) -> Result<(), ArrowError> {
        for number in numbers {
            let (at, index) = place_of(*number);
            let slot = &mut self.slots[at];
            debug_assert!(slot.live[index], "a row is dropped once");
            slot.live[index] = false;
            slot.live_count -= 1;
            self.rows -= 1;
            self.bytes -= slot.bytes;
            if slot.live_count == 0 && slot.live.len() == SLOT_ROWS {
                *slot = Slot::default();
                self.free.push(at);
                self.open = self.open.filter(|open| *open != at);
            } else if slot.live_count * 2 < slot.kept.len() {
                slot.leave_out_dropped()?;
            }
            self.bytes += slot.bytes;
        }
        Ok(())
    }

    /// The values of some columns in the rows of these numbers; NULLs where there is none.
    pub(crate) fn gather(&self, columns: &[usize], rows: &[Option<RowNumber>]) -> Result<Vec<ArrayRef>, ArrowError> {
        // The array of NULLs comes first.
        let (mut arrays_of, mut slots): (BTreeMap<usize, usize>, Vec<&Slot>) = (BTreeMap::new(), Vec::new());
        let mut places = Vec::with_capacity(rows.len());
        let mut last = None;
        for row in rows {
            let Some((at, index)) = row.map(place_of) else {
                places.push((0, 0));
                continue;
            };
            let array = match last {
                Some((slot, array)) if slot == at => array,
                _ => *arrays_of.entry(at).or_insert_with(|| {
                    slots.push(&self.slots[at]);
                    slots.len()
                }),
            };
            last = Some((at, array));
            places.push((array, self.slots[at].place(index)));
        }
        let gather = |column: &usize| {
            let null = new_null_array(&self.types[*column], 1);
            let arrays: Vec<&dyn Array> =
                [null.as_ref()].into_iter().chain(slots.iter().map(|slot| slot.columns[*column].as_ref())).collect();
            interleave(&arrays, &places)
        };
        columns.iter().map(gather).collect()
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory held, those of dropped rows of slots that are not made anew yet too.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes + self.slots.capacity() * size_of::<Slot>() + self.free.capacity() * size_of::<usize>()
    }
}

impl Slot {
    fn append(&mut self, columns: &[ArrayRef], first: usize, count: usize) -> Result<(), ArrowError> {
        let added = columns.iter().map(|column| column.slice(first, count));
        // Copied in either case, so that no slot keeps a whole batch alive.
        self.columns = if self.columns.is_empty() {
            let all = UInt32Array::from_iter_values(0..count as u32);
            added.map(|column| take(&column, &all, None)).collect::<Result<_, _>>()?
        } else {
            let both = self.columns.iter().zip(added);
            both.map(|(own, added)| concat(&[own.as_ref(), added.as_ref()])).collect::<Result<_, _>>()?
        };
        let index = self.live.len() as u16;
        self.kept.extend(index..index + count as u16);
        self.live.resize(self.live.len() + count, true);
        self.live_count += count;
        self.count_bytes();
        Ok(())
    }

    fn leave_out_dropped(&mut self) -> Result<(), ArrowError> {
        let live = |place: &usize| self.live[usize::from(self.kept[*place])];
        let places: Vec<usize> = (0..self.kept.len()).filter(live).collect();
        let kept = UInt32Array::from_iter_values(places.iter().map(|place| *place as u32));
        let columns = self.columns.iter().map(|column| take(column, &kept, None)).collect::<Result<_, _>>()?;
        self.columns = columns;
        self.kept = places.iter().map(|place| self.kept[*place]).collect();
        self.count_bytes();
        Ok(())
    }

    fn place(&self, index: usize) -> usize {
        if self.kept.len() == self.live.len() {
            return index;
        }
        self.kept.binary_search(&(index as u16)).expect("a row that is asked for is kept")
    }

    fn count_bytes(&mut self) {
        let columns: usize = self.columns.iter().map(|column| column.get_array_memory_size()).sum();
        self.bytes = columns + self.kept.capacity() * size_of::<u16>() + self.live.capacity();
    }
}

fn place_of(number: RowNumber) -> (usize, usize) {
    (number.get() as usize / SLOT_ROWS, number.get() as usize % SLOT_ROWS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    fn columns(from: i64, count: usize) -> Vec<ArrayRef> {
        let values = from..from + count as i64;
        let texts = values.clone().map(|value| (value % 3 > 0).then(|| format!("text {value}")));
        vec![Arc::new(Int64Array::from_iter_values(values)), Arc::new(texts.collect::<StringArray>())]
    }

    fn check_rows(rows: &TableRows, model: &BTreeMap<RowNumber, i64>) {
        let asked: Vec<Option<RowNumber>> = model.keys().copied().map(Some).chain([None]).collect();
        let found = rows.gather(&[1, 0], &asked).unwrap();
        let (texts, values) = (found[0].as_string::<i32>(), found[1].as_primitive::<Int64Type>());
        for (row, value) in model.values().enumerate() {
            assert_eq!(values.value(row), *value);
            let text = (value % 3 > 0).then(|| format!("text {value}"));
            assert_eq!(texts.is_valid(row).then(|| texts.value(row)), text.as_deref());
        }
        assert!(values.is_null(model.len()) && texts.is_null(model.len()));
        assert_eq!(rows.rows(), model.len());
        let slots: usize = rows.slots.iter().map(|slot| slot.bytes).sum();
        assert_eq!(slots, rows.bytes);
    }

    proptest! {
        #[test]
        fn rows_keep_their_numbers(steps in prop::collection::vec((0..1500usize, 0..100u32, any::<u64>()), 1..12)) {
            let mut rows = TableRows::new(vec![DataType::Int64, DataType::Utf8]);
            let (mut model, mut next) = (BTreeMap::new(), 0);
            for (count, dropped, salt) in steps {
                let numbers = rows.append(&columns(next, count), count).unwrap().unwrap();
                for (number, value) in numbers.into_iter().zip(next..) {
                    prop_assert_eq!(model.insert(number, value), None);
                }
                next += count as i64;
                let goes = |value: i64| (value as u64).wrapping_mul(salt | 1) >> 32 & 127 < u64::from(dropped);
                let gone: Vec<RowNumber> = model.iter().filter(|(_, value)| goes(**value)).map(|one| *one.0).collect();
                rows.drop_rows(&gone).unwrap();
                gone.iter().for_each(|number| { model.remove(number); });
                check_rows(&rows, &model);
            }
        }
    }

    #[test]
    fn room_is_given_back_and_numbers_given_out_again() {
        let mut rows = TableRows::new(vec![DataType::Int64, DataType::Utf8]);
        let first = rows.append(&columns(0, 5_000), 5_000).unwrap().unwrap();
        let full = rows.memory_bytes();
        rows.drop_rows(&first[10..]).unwrap();
        assert!(rows.memory_bytes() < full / 10, "{} of {full}", rows.memory_bytes());
        let again = rows.append(&columns(0, 4_000), 4_000).unwrap().unwrap();
        assert!(again.iter().filter(|number| first.contains(number)).count() > 3_000);
        check_rows(&rows, &first[..10].iter().copied().zip(0..).chain(again.into_iter().zip(0..)).collect());
    }
}
