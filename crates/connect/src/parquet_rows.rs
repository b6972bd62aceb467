//! Parquet files in ranges of rows: only the wanted columns, one range at a time in memory, ranges on any thread.
//!
//! A reader opens the file anew for each range, because handles that are clones share one cursor. A file whose length or
//! time of change is another then than at the beginning is refused.

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelector,
};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use crate::batch_builder::Decoded;
use crate::column::bounded;
use crate::convert::is_convertible;
use crate::error::ConnectError;
use crate::format::Format;
use crate::time_unit::TimeUnit;
use crate::typed_rows::{Conversion, TypedRows};
use crate::wanted::position_of;

/// The most rows of one range: a few ranges per row group of a million rows, none larger than a thread's share.
const RANGE_ROWS_MAX: u64 = 131_072;
/// Rows decoded at a time: ten columns of eight bytes are 1.3 MB, which a core's cache holds.
const DECODED_ROWS: usize = 16_384;

/// A range of rows of one row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowRange {
    pub(crate) first_row: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    row_group: usize,
    /// Rows of the group before the range.
    skipped: u64,
    /// Rows of the whole group.
    group_rows: u64,
}

/// A Parquet file that is opened and found whole.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    path: PathBuf,
    identity: (u64, Option<SystemTime>),
    metadata: ArrowReaderMetadata,
}

impl ParquetFile {
    pub(crate) fn open(path: &Path, file: &File) -> Result<ParquetFile, ConnectError> {
        let options = ArrowReaderOptions::new()
            .with_page_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let loaded = guarded(path, || ArrowReaderMetadata::load(file, options.clone()))?;
        let identity = identity(path, file)?;
        check_extents(path, loaded.metadata(), identity.0)?;
        let plain = Arc::new(plain_schema(loaded.schema()));
        let metadata = match plain == *loaded.schema() {
            true => loaded,
            false => {
                guarded(path, || ArrowReaderMetadata::try_new(loaded.metadata().clone(), options.with_schema(plain)))?
            }
        };
        Ok(ParquetFile { path: path.to_owned(), identity, metadata })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// The file as ranges, in order. `columns` of the schema are read; their share of the file is what `bytes` counts.
    pub(crate) fn ranges(&self, columns: &[usize]) -> Vec<RowRange> {
        let mask = self.projection(columns);
        let mut first_row = 0;
        let mut ranges = Vec::new();
        for (row_group, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let group_rows = u64::try_from(group.num_rows()).unwrap_or(0);
            let leaves = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
            let group_bytes: u64 = leaves.map(|(_, leaf)| u64::try_from(leaf.compressed_size()).unwrap_or(0)).sum();
            let parts = group_rows.div_ceil(RANGE_ROWS_MAX);
            for part in 0..parts {
                let skipped = group_rows * part / parts;
                let rows = group_rows * (part + 1) / parts - skipped;
                let bytes = group_bytes / parts;
                ranges.push(RowRange { first_row, rows, bytes, row_group, skipped, group_rows });
                first_row += rows;
            }
        }
        ranges
    }

    fn projection(&self, columns: &[usize]) -> ProjectionMask {
        ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied())
    }

    /// The batches of a range with `columns` of the schema, in the schema's order.
    fn read(&self, range: RowRange, columns: &[usize]) -> Result<ParquetRecordBatchReader, ConnectError> {
        let open_error = |source| ConnectError::open(&self.path, source);
        let file = File::open(&self.path).map_err(open_error)?;
        if identity(&self.path, &file)? != self.identity {
            return Err(ConnectError::Changed { path: self.path.clone() });
        }
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_batch_size(DECODED_ROWS)
            .with_projection(self.projection(columns))
            .with_row_groups(vec![range.row_group]);
        if range.rows < range.group_rows {
            let selection = [RowSelector::skip(range.skipped as usize), RowSelector::select(range.rows as usize)];
            builder = builder.with_row_selection(RowSelection::from(selection.to_vec()));
        }
        guarded(&self.path, || builder.build())
    }
}

fn identity(path: &Path, file: &File) -> Result<(u64, Option<SystemTime>), ConnectError> {
    let metadata = file.metadata().map_err(|source| ConnectError::Read { path: path.to_owned(), source })?;
    Ok((metadata.len(), metadata.modified().ok()))
}

fn corrupt(path: &Path, detail: &str) -> ConnectError {
    ConnectError::Corrupt { path: path.to_owned(), format: Format::Parquet, detail: bounded(detail, 300) }
}

/// Runs the Parquet reader, which panics on some damaged files where it should report them.
pub(crate) fn guarded<T, F>(path: &Path, read: impl FnOnce() -> Result<T, F>) -> Result<T, ConnectError>
where
    F: std::fmt::Display,
{
    match std::panic::catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|error| corrupt(path, &error.to_string())),
        Err(_) => Err(corrupt(path, "the reader gave up on damaged bytes")),
    }
}

/// Every column chunk lies inside the file.
fn check_extents(path: &Path, metadata: &ParquetMetaData, size_bytes: u64) -> Result<(), ConnectError> {
    let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
    for chunk in chunks {
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let end = start.checked_add(chunk.compressed_size());
        let is_inside = start >= 0 && chunk.compressed_size() >= 0 && end.is_some_and(|end| end as u64 <= size_bytes);
        if !is_inside {
            return Err(corrupt(path, &format!("column `{}` lies outside of the file", chunk.column_path().string())));
        }
    }
    Ok(())
}

/// Text and bytes in their plain forms: readers of batches then meet one form each.
fn plain_schema(schema: &Schema) -> Schema {
    let plain = |field: &FieldRef| -> FieldRef {
        let data_type = match field.data_type() {
            DataType::Dictionary(_, values) => plain_type(values),
            data_type => plain_type(data_type),
        };
        Arc::new(Field::clone(field).with_data_type(data_type))
    };
    Schema::new_with_metadata(schema.fields().iter().map(plain).collect::<Vec<_>>(), schema.metadata().clone())
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

/// Which columns of a file become which of the batch, and how.
#[derive(Debug)]
pub(crate) struct ParquetPlan {
    file: Arc<ParquetFile>,
    /// Columns of the file that are read, ascending.
    read: Vec<usize>,
    /// What becomes of them; its places are places in `read`.
    rows: TypedRows,
}

impl ParquetPlan {
    /// The columns of `schema` by name, converted to its types.
    pub(crate) fn converting(
        file: Arc<ParquetFile>,
        schema: SchemaRef,
        unit: TimeUnit,
    ) -> Result<ParquetPlan, ConnectError> {
        let names = file.schema().fields().iter().map(|field| field.name().as_str());
        let sources: Vec<Option<usize>> =
            schema.fields().iter().map(|field| position_of(field.name(), names.clone())).collect();
        for (field, source) in schema.fields().iter().zip(&sources) {
            let Some(found) = source.map(|source| file.schema().field(source).data_type()) else { continue };
            if !is_convertible(found, field.data_type()) {
                let (path, column) = (file.path.clone(), field.name().clone());
                let (found, declared) = (found.clone(), field.data_type().clone());
                return Err(ConnectError::ColumnType { path, column, found, declared });
            }
        }
        let mut read: Vec<usize> = sources.iter().flatten().copied().collect();
        read.sort_unstable();
        read.dedup();
        let places = sources.iter().map(|source| source.and_then(|source| read.binary_search(&source).ok())).collect();
        let rows = TypedRows { schema, unit, places, conversion: Conversion::ToWanted };
        Ok(ParquetPlan { file, read, rows })
    }

    /// All columns as they are.
    pub(crate) fn as_it_is(file: Arc<ParquetFile>) -> ParquetPlan {
        let schema = file.schema().clone();
        let read: Vec<usize> = (0..schema.fields().len()).collect();
        let places = read.iter().copied().map(Some).collect();
        let rows = TypedRows { schema, unit: TimeUnit::Microsecond, places, conversion: Conversion::None };
        ParquetPlan { file, read, rows }
    }

    /// Other columns of the same file.
    pub(crate) fn of_columns(&self, schema: SchemaRef) -> Result<ParquetPlan, ConnectError> {
        ParquetPlan::converting(self.file.clone(), schema, self.rows.unit)
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.rows.schema
    }

    pub(crate) fn ranges(&self) -> Vec<RowRange> {
        self.file.ranges(&self.read)
    }

    pub(crate) fn is_absent(&self, column: usize) -> bool {
        self.rows.places[column].is_none()
    }

    /// The type that a column has in the file.
    pub(crate) fn type_in_file(&self, column: usize) -> Option<&DataType> {
        self.rows.places[column].map(|place| self.file.schema().field(self.read[place]).data_type())
    }

    pub(crate) fn decode<E: From<ConnectError>>(
        &self,
        range: RowRange,
        each: &mut dyn FnMut(Decoded) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = &self.file.path;
        let mut batches = self.file.read(range, &self.read)?;
        let mut rows = 0;
        while let Some(batch) = guarded(path, || batches.next().transpose())? {
            let first_row = range.first_row + rows;
            rows += batch.num_rows() as u64;
            each(self.rows.decode(&batch, first_row).map_err(|detail| corrupt(path, &detail))?)?;
        }
        if rows != range.rows {
            let (group, announced) = (range.row_group, range.rows);
            return Err(
                corrupt(path, &format!("row group {group} holds {rows} of the {announced} rows it announces")).into()
            );
        }
        Ok(())
    }
}
