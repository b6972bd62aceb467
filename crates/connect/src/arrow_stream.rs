//! An Arrow IPC stream of whatever origin, read without copies and within bounds.
//! ```text
//!   [ff ff ff ff][length u32][metadata: a flatbuffer][body: the buffers]   a message; the first is the schema, then
//!                                                                          dictionaries and batches, then length 0
//! ```
//! The metadata of a stream can promise anything: before Arrow's reader allocates, each promise is held against the bytes
//! that are there. Refused are compressed bodies (they inflate), buffers that overlap (each may be copied), more rows than
//! bytes, schemas that unfold to much more than they are (a flatbuffer may point to one string from many places), and
//! additions to dictionaries (each copies the whole dictionary). What remains allocates a small multiple of the stream.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{read_dictionary, read_record_batch};

use crate::column::bounded;

const CONTINUATION: u32 = u32::MAX;
/// The beginning of Arrow's file format, which is another one.
const FILE_MAGIC: &[u8] = b"ARROW1";
/// What one field of a schema costs in memory, beside its texts.
const FIELD_BYTES: usize = 64;
/// How much larger than its metadata a schema may unfold: an honest one takes less room than its flatbuffer.
const SCHEMA_UNFOLDS: usize = 4;
/// How much of the reader's words is passed on, in bytes.
const DETAIL_MAX: usize = 300;

/// Why a stream is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ArrowStreamError {
    /// It is none, or asks for what is not done; in words.
    Damaged(String),
    /// It has more rows than were allowed.
    TooManyRows,
}

/// Arrow's map of dictionaries by their number.
type Dictionaries = std::collections::HashMap<i64, ArrayRef>;

/// A stream whose schema is read and whose batches are not yet.
#[derive(Debug)]
pub(crate) struct ArrowStream {
    schema: SchemaRef,
    rest: Buffer,
    dictionaries: Dictionaries,
    rows_left: usize,
    bytes: usize,
}

impl ArrowStream {
    /// Reads the schema. The batches may have at most `rows_max` rows together.
    pub(crate) fn open(bytes: Buffer, rows_max: usize) -> Result<ArrowStream, ArrowStreamError> {
        if bytes.starts_with(FILE_MAGIC) {
            return Err(damaged("it is an Arrow file; hint: send the stream format"));
        }
        let length = bytes.len();
        let (schema, dictionaries) = (Arc::new(Schema::empty()), Dictionaries::default());
        let mut stream = ArrowStream { schema, rest: bytes, dictionaries, rows_left: rows_max, bytes: length };
        let metadata = stream.take_metadata()?.ok_or_else(|| damaged("it is empty"))?;
        stream.schema = guarded(|| {
            let message = root(&metadata)?;
            stream.take_body(&message)?;
            let schema = message.header_as_schema().ok_or_else(|| damaged("it does not begin with a schema"))?;
            SchemaRoom(metadata.len() * SCHEMA_UNFOLDS + FIELD_BYTES).spend_schema(&schema)?;
            Ok(Arc::new(fb_to_schema(schema)))
        })?;
        Ok(stream)
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next batch that has rows, with the columns at `projection`; `None` at the end.
    pub(crate) fn next_batch(&mut self, projection: &[usize]) -> Result<Option<RecordBatch>, ArrowStreamError> {
        while let Some(metadata) = self.take_metadata()? {
            let batch = guarded(|| self.read_message(&metadata, projection))?;
            if let Some(batch) = batch.filter(|batch| batch.num_rows() > 0) {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    fn read_message(
        &mut self,
        metadata: &Buffer,
        projection: &[usize],
    ) -> Result<Option<RecordBatch>, ArrowStreamError> {
        let message = root(metadata)?;
        let body = self.take_body(&message)?;
        if let Some(dictionary) = message.header_as_dictionary_batch() {
            if dictionary.isDelta() {
                return Err(damaged("it adds to a dictionary; hint: send each dictionary whole"));
            }
            check_buffers(&dictionary.data().ok_or_else(|| damaged("a dictionary has no values"))?, &body)?;
            read_dictionary(&body, dictionary, &self.schema, &mut self.dictionaries, &message.version())
                .map_err(|error| damaged(&error.to_string()))?;
            return Ok(None);
        }
        let batch = message.header_as_record_batch().ok_or_else(|| damaged("a message is no batch of rows"))?;
        self.take_rows(batch.length())?;
        check_buffers(&batch, &body)?;
        let (schema, version) = (self.schema.clone(), message.version());
        read_record_batch(&body, batch, schema, &self.dictionaries, Some(projection), &version)
            .map(Some)
            .map_err(|error| damaged(&error.to_string()))
    }

    fn take_rows(&mut self, rows: i64) -> Result<(), ArrowStreamError> {
        let rows = usize::try_from(rows).map_err(|_| damaged("a batch has a negative number of rows"))?;
        if rows > self.bytes {
            return Err(damaged(&format!("it announces {rows} rows in {} bytes", self.bytes)));
        }
        self.rows_left = self.rows_left.checked_sub(rows).ok_or(ArrowStreamError::TooManyRows)?;
        Ok(())
    }

    /// The metadata of the next message; `None` at the end, which a mark or nothing at all may tell.
    fn take_metadata(&mut self) -> Result<Option<Buffer>, ArrowStreamError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut length = self.take_word()?;
        if length == CONTINUATION {
            length = self.take_word()?; // streams before Arrow 0.15 lack the mark
        }
        match (length, self.rest.is_empty()) {
            (0, true) => Ok(None),
            (0, false) => Err(damaged("something follows its end")),
            _ => self.take(length as usize).map(Some),
        }
    }

    fn take_word(&mut self) -> Result<u32, ArrowStreamError> {
        let word = self.take(4)?;
        Ok(u32::from_le_bytes(word.as_slice().try_into().expect("four bytes were taken")))
    }

    fn take_body(&mut self, message: &ipc::Message<'_>) -> Result<Buffer, ArrowStreamError> {
        self.take(usize::try_from(message.bodyLength()).map_err(|_| damaged("a message has a negative length"))?)
    }

    fn take(&mut self, length: usize) -> Result<Buffer, ArrowStreamError> {
        if length > self.rest.len() {
            let (at, left) = (self.bytes - self.rest.len(), self.rest.len());
            return Err(damaged(&format!("expected {length} more bytes at byte {at}, found {left}")));
        }
        let taken = self.rest.slice_with_length(0, length);
        self.rest.advance(length);
        Ok(taken)
    }
}

fn damaged(detail: &str) -> ArrowStreamError {
    ArrowStreamError::Damaged(bounded(detail, DETAIL_MAX))
}

fn root(metadata: &Buffer) -> Result<ipc::Message<'_>, ArrowStreamError> {
    ipc::root_as_message(metadata).map_err(|error| damaged(&format!("a message is damaged: {error}")))
}

/// Runs Arrow's reader, which panics on some damaged streams where it should report them. It is given nothing that it
/// could leave half changed: the stream is not read on after an error.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T, ArrowStreamError>) -> Result<T, ArrowStreamError> {
    std::panic::catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(damaged("the reader gave up on damaged bytes")))
}

/// The buffers lie in `body`, take no more room together than it has, and are as they are, not compressed.
fn check_buffers(batch: &ipc::RecordBatch<'_>, body: &Buffer) -> Result<(), ArrowStreamError> {
    if batch.compression().is_some() {
        return Err(damaged("its buffers are compressed; hint: write it without compression"));
    }
    let mut room = body.len();
    for buffer in batch.buffers().into_iter().flatten() {
        let (offset, length) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
        let (Ok(offset), Ok(length)) = (offset, length) else {
            return Err(damaged("a buffer has a negative place"));
        };
        if offset.checked_add(length).is_none_or(|end| end > body.len()) {
            return Err(damaged("a buffer lies outside of its message"));
        }
        room = room.checked_sub(length).ok_or_else(|| damaged("buffers overlap"))?;
    }
    Ok(())
}

/// How many bytes a schema may still unfold to.
struct SchemaRoom(usize);

impl SchemaRoom {
    fn spend(&mut self, bytes: usize) -> Result<(), ArrowStreamError> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(|| damaged("its schema unfolds to more than it is"))?;
        Ok(())
    }

    fn spend_schema(&mut self, schema: &ipc::Schema<'_>) -> Result<(), ArrowStreamError> {
        for pair in schema.custom_metadata().into_iter().flatten() {
            self.spend_pair(&pair)?;
        }
        for field in schema.fields().into_iter().flatten() {
            self.spend_field(&field)?;
        }
        Ok(())
    }

    /// The verifier has bounded how deep fields are nested.
    fn spend_field(&mut self, field: &ipc::Field<'_>) -> Result<(), ArrowStreamError> {
        self.spend(FIELD_BYTES + field.name().map_or(0, str::len))?;
        if let Some(zone) = field.type_as_timestamp().and_then(|timestamp| timestamp.timezone()) {
            self.spend(zone.len())?;
        }
        if let Some(numbers) = field.type_as_union().and_then(|union| union.typeIds()) {
            self.spend(numbers.len() * size_of::<i32>())?;
        }
        for pair in field.custom_metadata().into_iter().flatten() {
            self.spend_pair(&pair)?;
        }
        for child in field.children().into_iter().flatten() {
            self.spend_field(&child)?;
        }
        Ok(())
    }

    fn spend_pair(&mut self, pair: &ipc::KeyValue<'_>) -> Result<(), ArrowStreamError> {
        self.spend(FIELD_BYTES + pair.key().map_or(0, str::len) + pair.value().map_or(0, str::len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, TimeUnit};
    use arrow::ipc::writer::StreamWriter;

    fn stream_of(batch: &RecordBatch) -> Vec<u8> {
        let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref()).unwrap();
        writer.write(batch).unwrap();
        writer.finish().unwrap();
        writer.into_inner().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<RecordBatch, ArrowStreamError> {
        let mut stream = ArrowStream::open(Buffer::from(bytes), 100)?;
        let all: Vec<usize> = (0..stream.schema().fields().len()).collect();
        stream.next_batch(&all).map(|batch| batch.unwrap())
    }

    fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
        let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
        [&bytes[..at], new, &bytes[at + old.len()..]].concat()
    }

    fn place(offset: i64, length: i64) -> Vec<u8> {
        [offset.to_le_bytes(), length.to_le_bytes()].concat()
    }

    #[test]
    fn buffers_stay_in_their_message_and_apart() {
        let column = |first: i64| Arc::new(Int64Array::from_iter_values(first..first + 3)) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("a", column(1)), ("b", column(11))]).unwrap();
        let bytes = stream_of(&batch);
        assert_eq!(read(&bytes), Ok(batch));
        // Each column has three values of eight bytes, at multiples of 64, in a body of 128 bytes.
        for (old, new, expected) in [
            (place(64, 24), place(64, 65), "a buffer lies outside of its message"),
            (place(64, 24), place(i64::MAX, 24), "a buffer lies outside of its message"),
            (place(64, 24), place(-1, 24), "a buffer has a negative place"),
            (place(64, 24), place(0, 105), "buffers overlap"),
        ] {
            assert_eq!(read(&replace(&bytes, &old, &new)), Err(damaged(expected)));
        }
        let twice = replace(&bytes, &place(64, 24), &place(0, 104));
        assert!(read(&twice).is_ok(), "as many bytes as there are may be read from where it pleases");
    }

    #[test]
    fn schemas_are_measured_with_all_their_texts() {
        let pairs = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
        let zone = DataType::Timestamp(TimeUnit::Second, Some("Asia/Tokyo".into()));
        let inner = Field::new("inner", zone, true).with_metadata(pairs("k", "vv"));
        let outer = Field::new_list("outer", inner, true);
        let schema = Schema::new_with_metadata(vec![outer], pairs("key", "value"));
        let batch = RecordBatch::new_empty(Arc::new(schema));
        let bytes = Buffer::from(stream_of(&batch));
        let metadata = bytes.slice(8);
        let message = ipc::root_as_message(&metadata).unwrap();
        let measured = |room: usize| SchemaRoom(room).spend_schema(&message.header_as_schema().unwrap());
        let texts = ["outer", "inner", "Asia/Tokyo", "k", "vv", "key", "value"];
        let needed = 4 * FIELD_BYTES + texts.iter().map(|text| text.len()).sum::<usize>();
        assert_eq!(measured(needed), Ok(()));
        assert_eq!(measured(needed - 1), Err(damaged("its schema unfolds to more than it is")));
    }
}
