//! One output file, written by one thread or by several at once, that appears whole or not at all.
//! ```text
//!   append (any thread): encode or format ──▶ lock ──▶ append to `.name.….partial` ──finish──▶ sync, rename to `name`
//! ```
//! Only the appending is serial. The partial file is in the folder of the output and vanishes if the writer is dropped.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::add_encoded_arrow_schema_to_metadata;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding as PageEncoding};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use crate::error::ConnectError;
use crate::flusher::Flusher;
use crate::format::Format;
use crate::row_text::{TextStyle, check_writable, write_header, write_rows};

/// The most rows of a Parquet row group; an append of more makes several.
pub const ROW_GROUP_ROWS_MAX: usize = 1 << 20;
/// Rows that [`TableWriter::write`] collects before it appends them: a row group that compresses and reads well.
const COLLECTED_ROWS: usize = 1 << 17;
/// Rows that are formatted as text before they are appended: about a megabyte.
const FORMATTED_ROWS: usize = 8_192;

/// Writes batches of one schema to one file.
#[derive(Debug)]
pub struct TableWriter {
    output: Output,
    schema: SchemaRef,
    encoding: Encoding,
    flusher: Flusher,
    /// The open file; `None` once an append has failed, so that no half-written row can be finished.
    sink: Mutex<Option<Sink>>,
    /// What `write` has collected.
    collected: Vec<RecordBatch>,
}

#[derive(Debug)]
enum Encoding {
    Parquet(ArrowRowGroupWriterFactory),
    Text(TextStyle),
}

enum Sink {
    Parquet(Box<SerializedFileWriter<File>>),
    Text(File),
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Sink::Parquet(_) => "Parquet",
            Sink::Text(_) => "Text",
        })
    }
}

impl TableWriter {
    /// Begins a file that will stand at `path`. A file that stands there is replaced when this one is finished.
    pub fn create(path: &Path, format: Format, schema: SchemaRef) -> Result<TableWriter, ConnectError> {
        if format != Format::Parquet {
            check_writable(&schema, format)?;
        }
        let (output, mut file) = Output::create(path, format)?;
        let flusher = Flusher::new(&file).map_err(|source| output.write_error(source))?;
        let (encoding, sink) = match format {
            Format::Parquet => {
                let encode_error = |error: ParquetError| output.encode_error(&error);
                let mut properties = parquet_properties(&schema);
                add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
                let root = ArrowSchemaConverter::new().convert(&schema).map_err(encode_error)?.root_schema_ptr();
                let writer = SerializedFileWriter::new(file, root, properties.into()).map_err(encode_error)?;
                let factory = ArrowRowGroupWriterFactory::new(&writer, schema.clone());
                (Encoding::Parquet(factory), Sink::Parquet(Box::new(writer)))
            }
            Format::Jsonl => (Encoding::Text(TextStyle::Json), Sink::Text(file)),
            Format::Csv => {
                let mut header = Vec::new();
                write_header(&schema, &mut header);
                file.write_all(&header).map_err(|source| output.write_error(source))?;
                (Encoding::Text(TextStyle::Csv), Sink::Text(file))
            }
        };
        Ok(TableWriter { output, schema, encoding, flusher, sink: Mutex::new(Some(sink)), collected: Vec::new() })
    }

    /// Appends batches at once, as one row group if there are at most 1,048,576 rows. Several threads may do so at the
    /// same time; the rows of one call keep their order, but rows of other threads may come between them.
    pub fn append(&self, batches: &[RecordBatch]) -> Result<(), ConnectError> {
        match &self.encoding {
            Encoding::Parquet(factory) => {
                for group in groups_of(batches) {
                    let chunks = self.encode(factory, &group).map_err(|error| self.output.encode_error(&error))?;
                    self.with_sink(|sink| sink.append_row_group(chunks))?;
                    let rows = group.iter().map(RecordBatch::num_rows).sum();
                    self.flusher.appended(rows).map_err(|source| self.output.write_error(source))?;
                }
            }
            Encoding::Text(style) => {
                let mut text = Vec::new();
                for batch in batches {
                    for start in (0..batch.num_rows()).step_by(FORMATTED_ROWS) {
                        let rows = FORMATTED_ROWS.min(batch.num_rows() - start);
                        text.clear();
                        write_rows(&batch.slice(start, rows), *style, &mut text);
                        self.with_sink(|sink| sink.append_text(&text))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Appends a batch behind those written before; batches are collected to row groups of a good size.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ConnectError> {
        self.collected.push(batch.clone());
        if self.collected.iter().map(RecordBatch::num_rows).sum::<usize>() < COLLECTED_ROWS {
            return Ok(());
        }
        self.append_collected()
    }

    fn append_collected(&mut self) -> Result<(), ConnectError> {
        let collected = std::mem::take(&mut self.collected);
        self.append(&collected)
    }

    /// Completes the file, makes it durable and puts it in its place. The length of the file is returned.
    pub fn finish(mut self) -> Result<u64, ConnectError> {
        self.append_collected()?;
        let sink = self.sink.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let file = match sink.ok_or_else(|| self.output.failed_before())? {
            Sink::Text(file) => file,
            Sink::Parquet(writer) => writer.into_inner().map_err(|error| self.output.encode_error(&error))?,
        };
        self.flusher.finish().map_err(|source| self.output.write_error(source))?;
        self.output.put_in_place(&file)
    }

    /// The row group's columns, encoded one after the other in this thread.
    fn encode(
        &self,
        factory: &ArrowRowGroupWriterFactory,
        batches: &[RecordBatch],
    ) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
        let mut writers = factory.create_column_writers(0)?.into_iter();
        let mut chunks = Vec::with_capacity(writers.len());
        for (index, field) in self.schema.fields().iter().enumerate() {
            let mut leaf_writers = Vec::new();
            for batch in batches {
                let leaves = compute_leaves(field, batch.column(index))?;
                while leaf_writers.len() < leaves.len() {
                    leaf_writers.push(writers.next().expect("there is a writer for each leaf of the schema"));
                }
                for (writer, leaf) in leaf_writers.iter_mut().zip(&leaves) {
                    writer.write(leaf)?;
                }
            }
            for writer in leaf_writers {
                chunks.push(writer.close()?);
            }
        }
        Ok(chunks)
    }

    /// Appends under the lock. After a failure there is no sink any more.
    fn with_sink(&self, append: impl FnOnce(&mut Sink) -> Result<(), AppendError>) -> Result<(), ConnectError> {
        // A thread that panicked while appending left the sink in its place: what it holds is unknown.
        let mut guard = self.sink.lock().map_err(|_| self.output.failed_before())?;
        let mut sink = guard.take().ok_or_else(|| self.output.failed_before())?;
        match append(&mut sink) {
            Ok(()) => {
                *guard = Some(sink);
                Ok(())
            }
            Err(AppendError::Io(source)) => Err(self.output.write_error(source)),
            Err(AppendError::Parquet(error)) => Err(self.output.encode_error(&error)),
        }
    }
}

enum AppendError {
    Io(std::io::Error),
    Parquet(ParquetError),
}

impl From<ParquetError> for AppendError {
    fn from(error: ParquetError) -> AppendError {
        AppendError::Parquet(error)
    }
}

impl Sink {
    fn append_row_group(&mut self, chunks: Vec<ArrowColumnChunk>) -> Result<(), AppendError> {
        let Sink::Parquet(writer) = self else { unreachable!("a Parquet encoding has a Parquet sink") };
        let mut row_group = writer.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut row_group)?;
        }
        row_group.close()?;
        Ok(())
    }

    fn append_text(&mut self, text: &[u8]) -> Result<(), AppendError> {
        let Sink::Text(file) = self else { unreachable!("a text encoding has a text sink") };
        file.write_all(text).map_err(AppendError::Io)
    }
}

/// Batches without empty ones, in groups of at most the greatest number of rows.
fn groups_of(batches: &[RecordBatch]) -> Vec<Vec<RecordBatch>> {
    let mut groups: Vec<Vec<RecordBatch>> = Vec::new();
    let mut room = 0;
    for batch in batches {
        let mut start = 0;
        while start < batch.num_rows() {
            if room == 0 {
                groups.push(Vec::new());
                room = ROW_GROUP_ROWS_MAX;
            }
            let rows = room.min(batch.num_rows() - start);
            groups.last_mut().expect("a group was begun").push(batch.slice(start, rows));
            start += rows;
            room -= rows;
        }
    }
    groups
}

/// What suits each type: dictionaries for texts and narrow integers, where values repeat; differences for wide integers
/// and instants; doubles as they stand. Snappy for all but doubles.
pub(crate) fn parquet_properties(schema: &Schema) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_dictionary_enabled(false)
        .set_created_by("asof".to_owned());
    for field in schema.fields() {
        let repeats =
            matches!(
                field.data_type(),
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Date32 | DataType::Int32
            ) || matches!(field.data_type(), DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16);
        // Counts, keys and instants: neighbours are alike, their differences take few bits and little time.
        let is_whole = matches!(field.data_type(), DataType::Int64 | DataType::Timestamp(_, _));
        if is_whole {
            let path = ColumnPath::new(vec![field.name().clone()]);
            builder = builder.set_column_encoding(path, PageEncoding::DELTA_BINARY_PACKED);
        }
        // The bits of sums and averages look random: snappy finds little in them (a fifth) and takes a fifth of the time
        // of a whole job to find it.
        if matches!(field.data_type(), DataType::Float32 | DataType::Float64) {
            let path = ColumnPath::new(vec![field.name().clone()]);
            builder = builder.set_column_compression(path, Compression::UNCOMPRESSED);
        }
        if repeats {
            let path = ColumnPath::new(vec![field.name().clone()]);
            builder = builder.set_column_dictionary_enabled(path, true);
        }
    }
    builder.build()
}

/// The file's place and the partial file that will be put there; removes the partial file when dropped.
#[derive(Debug)]
struct Output {
    path: PathBuf,
    partial: PathBuf,
    format: Format,
}

impl Output {
    fn create(path: &Path, format: Format) -> Result<(Output, File), ConnectError> {
        static PARTIALS: AtomicU64 = AtomicU64::new(0);
        if path.is_dir() {
            return Err(ConnectError::NotAFile { path: path.to_owned(), found: "a folder" });
        }
        let write_error = |source| ConnectError::Write { path: path.to_owned(), source };
        let name = path.file_name().ok_or_else(|| write_error(std::io::ErrorKind::InvalidFilename.into()))?;
        let number = PARTIALS.fetch_add(1, Ordering::Relaxed);
        let mut partial_name = std::ffi::OsString::from(".");
        partial_name.push(name);
        partial_name.push(format!(".{}-{number}.partial", std::process::id()));
        let partial = path.with_file_name(partial_name);
        let file = File::create(&partial).map_err(write_error)?;
        Ok((Output { path: path.to_owned(), partial, format }, file))
    }

    /// Durable first, then visible: a reader never sees a file that a crash could empty.
    fn put_in_place(&self, file: &File) -> Result<u64, ConnectError> {
        let put = || -> std::io::Result<u64> {
            file.sync_all()?;
            std::fs::rename(&self.partial, &self.path)?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(file.metadata()?.len())
        };
        put().map_err(|source| self.write_error(source))
    }

    fn write_error(&self, source: std::io::Error) -> ConnectError {
        ConnectError::Write { path: self.path.clone(), source }
    }

    fn encode_error(&self, error: &ParquetError) -> ConnectError {
        ConnectError::Encode { path: self.path.clone(), format: self.format, detail: error.to_string() }
    }

    fn failed_before(&self) -> ConnectError {
        let detail = "an earlier append failed".to_owned();
        ConnectError::Encode { path: self.path.clone(), format: self.format, detail }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Gone already if it was put in its place; if it cannot be removed, nothing better can be done here.
        if self.partial.exists() {
            std::fs::remove_file(&self.partial).unwrap_or_default();
        }
    }
}
