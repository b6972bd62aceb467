//! The answers of reads, gathered column by column: one Arrow array for each aggregate call of a program.
//!
//! The list or map of one read is bounded in values and in bytes of text ([`ANSWER_ITEMS_MAX`], [`ANSWER_TEXT_BYTES_MAX`]):
//! beyond that the read of this call fails, whatever else is in the batch. How many reads go into one batch is the caller's
//! to bound, by [`Answers::text_bytes`].

use std::sync::Arc;

use arrow::array::NullBufferBuilder;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, ListArray, MapArray, StringArray, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields};

use crate::program::{Call, Program};

/// The most values that one answer holds: of a list, or different ones of a histogram.
pub const ANSWER_ITEMS_MAX: usize = 10_000;
/// The most bytes that the texts of one list or map take, also those of VARBINARY: 4 MiB.
pub const ANSWER_TEXT_BYTES_MAX: usize = 4 << 20;

/// Why an aggregate has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The total does not fit the type of the answer.
    OutOfRange,
    /// A list or map of more values than [`ANSWER_ITEMS_MAX`], or of longer texts than [`ANSWER_TEXT_BYTES_MAX`].
    TooLarge,
}

/// An aggregate that failed in one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedAnswer {
    /// Which read, from 0.
    pub row: usize,
    /// Which call of the program.
    pub call: usize,
    /// Why.
    pub failure: Failure,
}

/// Answers of many reads, one column for each call of a program.
#[derive(Debug)]
pub struct Answers {
    columns: Vec<AnswerColumn>,
    /// The columns of texts, lists and maps.
    texts: Vec<usize>,
    failed: Vec<FailedAnswer>,
    known: Vec<bool>,
}

/// The answers of one call, one for each read.
#[derive(Debug)]
pub(crate) struct AnswerColumn {
    data_type: DataType,
    nulls: NullBufferBuilder,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Words(Vec<i64>),
    Wides(Vec<i128>),
    Texts { offsets: Vec<i32>, bytes: Vec<u8> },
    Lists { offsets: Vec<i32>, items: Box<AnswerColumn> },
    Maps { offsets: Vec<i32>, keys: Box<AnswerColumn>, counts: Vec<i64> },
}

impl Answers {
    /// No answers yet, for the calls of `program`, with room for `rows` reads.
    pub fn with_capacity(program: &Program, rows: usize) -> Answers {
        let is_text = |call: &Call| {
            matches!(call.data_type, DataType::Utf8 | DataType::Binary | DataType::List(_) | DataType::Map(_, _))
        };
        let texts = program.calls().iter().enumerate().filter(|(_, call)| is_text(call)).map(|(place, _)| place);
        Answers {
            columns: program.calls().iter().map(|call| AnswerColumn::new(&call.data_type, rows)).collect(),
            texts: texts.collect(),
            failed: Vec::new(),
            known: Vec::with_capacity(rows),
        }
    }

    /// Number of reads answered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Bytes of texts, lists and maps answered so far; whole numbers and doubles take 8 a read and are not counted.
    pub fn text_bytes(&self) -> usize {
        self.texts.iter().map(|&column| self.columns[column].text_bytes()).sum()
    }

    /// Whether nothing was answered yet.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The finished columns in the order of the program's calls.
    pub fn finish(self) -> Finished {
        Finished {
            columns: self.columns.into_iter().map(AnswerColumn::finish).collect(),
            failed: self.failed,
            known: BooleanArray::from(self.known),
        }
    }

    /// The column of a call, to be given one answer.
    #[inline]
    pub(crate) fn column(&mut self, call: usize) -> &mut AnswerColumn {
        &mut self.columns[call]
    }

    /// The answer of `call` in the present read failed; its column was given NULL.
    #[cold]
    pub(crate) fn fail(&mut self, call: usize, failure: Failure) {
        self.failed.push(FailedAnswer { row: self.known.len(), call, failure });
    }

    /// Ends a read. `known` says whether some frame held an event, FILTER ignored.
    pub(crate) fn end_row(&mut self, known: bool) {
        self.known.push(known);
    }
}

/// Finished answers.
#[derive(Debug, Clone)]
pub struct Finished {
    /// One array for each call; rows in the order of the reads.
    pub columns: Vec<ArrayRef>,
    /// Answers that failed; their values are NULL.
    pub failed: Vec<FailedAnswer>,
    /// For each read, whether some frame of the view held an event as of its instant (FILTER ignored).
    pub known: BooleanArray,
}

impl AnswerColumn {
    fn new(data_type: &DataType, rows: usize) -> AnswerColumn {
        let values = match data_type {
            DataType::Decimal128(_, _) => Values::Wides(Vec::with_capacity(rows)),
            DataType::Utf8 | DataType::Binary => Values::Texts { offsets: vec![0], bytes: Vec::new() },
            DataType::List(item) => {
                Values::Lists { offsets: vec![0], items: Box::new(AnswerColumn::new(item.data_type(), rows)) }
            }
            DataType::Map(entries, _) => {
                let keys = Box::new(AnswerColumn::new(fields_of(entries)[0].data_type(), rows));
                Values::Maps { offsets: vec![0], keys, counts: Vec::with_capacity(rows) }
            }
            _ => Values::Words(Vec::with_capacity(rows)),
        };
        AnswerColumn { data_type: data_type.clone(), nulls: NullBufferBuilder::new(rows), values }
    }

    fn text_bytes(&self) -> usize {
        match &self.values {
            Values::Words(words) => 8 * words.len(),
            Values::Wides(wides) => 16 * wides.len(),
            Values::Texts { offsets, bytes } => 4 * offsets.len() + bytes.len(),
            Values::Lists { offsets, items } => 4 * offsets.len() + items.text_bytes(),
            Values::Maps { offsets, keys, counts } => 4 * offsets.len() + keys.text_bytes() + 8 * counts.len(),
        }
    }

    /// Answers NULL.
    #[inline]
    pub(crate) fn null(&mut self) {
        self.nulls.append_null();
        match &mut self.values {
            Values::Words(words) => words.push(0),
            Values::Wides(wides) => wides.push(0),
            Values::Texts { offsets, bytes } => offsets.push(offset(bytes.len())),
            Values::Lists { offsets, items } => offsets.push(offset(items.len())),
            Values::Maps { offsets, counts, .. } => offsets.push(offset(counts.len())),
        }
    }

    /// Answers with an integer, a boolean, a date, an instant, or the bits of a double where the column is of doubles.
    #[inline]
    pub(crate) fn word(&mut self, word: i64) {
        if let Values::Words(words) = &mut self.values {
            self.nulls.append_non_null();
            words.push(word);
        }
    }

    #[inline]
    pub(crate) fn double(&mut self, double: f64) {
        self.word(double.to_bits() as i64);
    }

    /// Answers with an unscaled decimal.
    pub(crate) fn wide(&mut self, wide: i128) {
        if let Values::Wides(wides) = &mut self.values {
            self.nulls.append_non_null();
            wides.push(wide);
        }
    }

    pub(crate) fn text(&mut self, text: &[u8]) {
        if let Values::Texts { offsets, bytes } = &mut self.values {
            self.nulls.append_non_null();
            bytes.extend_from_slice(text);
            offsets.push(offset(bytes.len()));
        }
    }

    /// Answers with the list of `values`, each as `answer` gives it to the column of items; with NULL if there are none, or
    /// where they are too many or too long for one answer.
    pub(crate) fn list<V>(
        &mut self,
        values: impl Iterator<Item = V>,
        answer: impl Fn(V, &mut AnswerColumn),
    ) -> Result<(), Failure> {
        let Values::Lists { offsets, items } = &mut self.values else { return Ok(()) };
        let (before, filled) = (items.len(), items.fill(values, answer));
        self.nulls.append(items.len() > before);
        offsets.push(offset(items.len()));
        filled
    }

    /// Answers with the map of `entries`, each a key that `answer` gives to the column of keys, and its count; with NULL as
    /// [`AnswerColumn::list`] does.
    pub(crate) fn map<K>(
        &mut self,
        entries: Vec<(K, u64)>,
        answer: impl Fn(K, &mut AnswerColumn),
    ) -> Result<(), Failure> {
        let Values::Maps { offsets, keys, counts } = &mut self.values else { return Ok(()) };
        let before = counts.len();
        counts.extend(entries.iter().map(|(_, count)| *count as i64));
        let filled = keys.fill(entries.into_iter().map(|(key, _)| key), answer);
        counts.truncate(keys.len());
        self.nulls.append(counts.len() > before);
        offsets.push(offset(counts.len()));
        filled
    }

    /// Adds the items of one list or map; none of them if they are more than one may have.
    fn fill<V>(
        &mut self,
        values: impl Iterator<Item = V>,
        answer: impl Fn(V, &mut AnswerColumn),
    ) -> Result<(), Failure> {
        let (before, bytes_before) = (self.len(), self.own_text_bytes());
        for value in values {
            answer(value, self);
            let (items, bytes) = (self.len() - before, self.own_text_bytes() - bytes_before);
            if items > ANSWER_ITEMS_MAX || bytes > ANSWER_TEXT_BYTES_MAX {
                self.truncate(before);
                return Err(Failure::TooLarge);
            }
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.nulls.len()
    }

    fn own_text_bytes(&self) -> usize {
        match &self.values {
            Values::Texts { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }

    /// Takes the answers behind the first `rows` back. Items are neither lists nor maps.
    fn truncate(&mut self, rows: usize) {
        self.nulls.truncate(rows);
        match &mut self.values {
            Values::Words(words) => words.truncate(rows),
            Values::Wides(wides) => wides.truncate(rows),
            Values::Texts { offsets, bytes } => {
                offsets.truncate(rows + 1);
                bytes.truncate(offsets[rows] as usize);
            }
            Values::Lists { .. } | Values::Maps { .. } => unreachable!("an item is no list and no map"),
        }
    }

    fn finish(mut self) -> ArrayRef {
        let nulls = self.nulls.finish();
        match self.values {
            Values::Words(words) => words_array(&self.data_type, words, nulls),
            Values::Wides(wides) => Arc::new(Decimal128Array::new(wides.into(), nulls).with_data_type(self.data_type)),
            Values::Texts { offsets, bytes } => {
                let offsets = OffsetBuffer::new(offsets.into());
                match self.data_type {
                    DataType::Utf8 => Arc::new(
                        StringArray::try_new(offsets, bytes.into(), nulls).expect("text entered as valid UTF-8"),
                    ),
                    _ => Arc::new(BinaryArray::new(offsets, bytes.into(), nulls)),
                }
            }
            Values::Lists { offsets, items } => Arc::new(ListArray::new(
                item_field(&self.data_type),
                OffsetBuffer::new(offsets.into()),
                items.finish(),
                nulls,
            )),
            Values::Maps { offsets, keys, counts } => {
                let DataType::Map(entries, is_sorted) = &self.data_type else { unreachable!("maps have a map's type") };
                let columns = vec![keys.finish(), Arc::new(Int64Array::new(counts.into(), None)) as ArrayRef];
                let structs = StructArray::new(fields_of(entries).clone(), columns, None);
                Arc::new(MapArray::new(entries.clone(), OffsetBuffer::new(offsets.into()), structs, nulls, *is_sorted))
            }
        }
    }
}

/// An offset of Arrow's 32-bit layouts. Callers end a batch of answers long before: one answer adds a few MiB at most, or one
/// value of an event.
fn offset(place: usize) -> i32 {
    i32::try_from(place).expect("a batch of answers holds less than 2 GiB of text and 2^31 items")
}

fn item_field(data_type: &DataType) -> FieldRef {
    match data_type {
        DataType::List(item) => item.clone(),
        other => Arc::new(arrow::datatypes::Field::new_list_field(other.clone(), true)),
    }
}

/// The fields of a map's entries: key and value.
fn fields_of(entries: &FieldRef) -> &Fields {
    match entries.data_type() {
        DataType::Struct(fields) => fields,
        other => unreachable!("the entries of a map are structs, not {other}"),
    }
}

fn words_array(data_type: &DataType, words: Vec<i64>, nulls: Option<NullBuffer>) -> ArrayRef {
    match data_type {
        DataType::Int64 => Arc::new(Int64Array::new(words.into(), nulls)),
        DataType::Float64 => {
            // The words are the bits of the doubles: the buffer is taken as it stands.
            Arc::new(Float64Array::new(ScalarBuffer::from(Buffer::from_vec(words)), nulls))
        }
        DataType::Float32 => {
            let singles: Vec<f32> = words.into_iter().map(|word| f64::from_bits(word as u64) as f32).collect();
            Arc::new(Float32Array::new(singles.into(), nulls))
        }
        DataType::Int32 => Arc::new(Int32Array::new(words.into_iter().map(|word| word as i32).collect(), nulls)),
        DataType::Int16 => Arc::new(Int16Array::new(words.into_iter().map(|word| word as i16).collect(), nulls)),
        DataType::Date32 => Arc::new(Date32Array::new(words.into_iter().map(|word| word as i32).collect(), nulls)),
        DataType::Boolean => Arc::new(BooleanArray::new(words.iter().map(|word| *word != 0).collect(), nulls)),
        DataType::Timestamp(_, _) => Arc::new(TimestampMicrosecondArray::new(words.into(), nulls)),
        other => new_null_array(other, words.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Field;

    fn lists(item: DataType) -> AnswerColumn {
        AnswerColumn::new(&DataType::List(Arc::new(Field::new_list_field(item, true))), 0)
    }

    fn word(value: i64, column: &mut AnswerColumn) {
        column.word(value);
    }

    #[test]
    fn regression_a_list_of_too_many_values_is_no_answer_and_leaves_nothing_behind() {
        let most = ANSWER_ITEMS_MAX as i64;
        let mut column = lists(DataType::Int64);
        assert_eq!(column.list(0..2, word), Ok(()));
        assert_eq!(column.list(0..most + 1, word), Err(Failure::TooLarge));
        assert_eq!(column.list(std::iter::empty(), word), Ok(()));
        assert_eq!(column.list(0..most, word), Ok(()));
        let lists = column.finish();
        let lists = lists.as_list::<i32>();
        assert_eq!((lists.value(0).len(), lists.is_null(1), lists.is_null(2)), (2, true, true));
        assert_eq!((lists.value(3).len(), lists.values().len()), (most as usize, 2 + most as usize));
    }

    #[test]
    fn regression_a_list_of_too_long_texts_is_no_answer() {
        let half = vec![b'x'; ANSWER_TEXT_BYTES_MAX / 2];
        let text = |text: &[u8], column: &mut AnswerColumn| column.text(text);
        let mut column = lists(DataType::Utf8);
        assert_eq!(column.list([&half[..], &half].into_iter(), text), Ok(()));
        assert_eq!(column.list([&half[..], &half, b"y"].into_iter(), text), Err(Failure::TooLarge));
        assert_eq!(column.list([&b"z"[..]].into_iter(), text), Ok(()));
        let lists = column.finish();
        let lists = lists.as_list::<i32>();
        assert!(lists.is_null(1));
        assert_eq!(lists.value(2).as_string::<i32>().value(0), "z");
    }

    #[test]
    fn regression_a_map_of_too_many_values_is_no_answer() {
        let histogram = crate::aggregate::Function::Histogram.result_type(&DataType::Int64).unwrap();
        let mut column = AnswerColumn::new(&histogram, 0);
        let entries = |count: usize| (0..count as i64).map(|key| (key, 1)).collect::<Vec<_>>();
        assert_eq!(column.map(entries(ANSWER_ITEMS_MAX + 1), word), Err(Failure::TooLarge));
        assert_eq!(column.map(entries(ANSWER_ITEMS_MAX), word), Ok(()));
        let maps = column.finish();
        assert!(maps.is_null(0));
        assert_eq!(maps.as_map().value(1).len(), ANSWER_ITEMS_MAX);
    }
}
