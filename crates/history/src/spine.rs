//! The spine as columns of the types that the job needs: instants, request columns, entity keys. Needed twice, in its
//! own order: to scatter its reads, and to put their results beside its rows; one that is small is kept, not read again.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use asof_connect::{Format, SpineFile, convert};
use asof_feature::ServicePlan;
use asof_window::KeyEncoder;

use crate::error::HistoryError;
use crate::job::SpineRows;

/// The type of an instant.
pub(crate) const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// How a spine's rows become reads.
pub(crate) struct Spine<'a> {
    rows: &'a SpineRows,
    text_columns: Vec<String>,
    schema: SchemaRef,
    time: usize,
    asks: Asks<'a>,
    /// All batches, once they are read, where they are small enough to keep.
    held: OnceLock<Vec<SpineBatch>>,
}

/// What a spine asks for.
pub(crate) enum Asks<'a> {
    /// The entities of one view, by the names of its key parts.
    View { key: Vec<NamedColumn> },
    /// A service, by the columns of its REQUEST.
    Service { plan: &'a ServicePlan, request: Vec<NamedColumn> },
}

/// A column that the spine must have, and its place there.
#[derive(Debug, Clone)]
pub(crate) struct NamedColumn {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    pub(crate) place: usize,
}

/// One batch of the spine, read for the job.
#[derive(Debug, Clone)]
pub(crate) struct SpineBatch {
    /// The rows as they stand in the file.
    pub(crate) batch: RecordBatch,
    /// The as-of instants in microseconds, `--before` applied.
    pub(crate) instants: Int64Array,
    /// The REQUEST columns; empty for a view.
    pub(crate) request: Vec<ArrayRef>,
    /// For each join of the service (one for a view), the key parts.
    pub(crate) keys: Vec<Vec<ArrayRef>>,
}

impl<'a> Spine<'a> {
    /// Opens the file once to match its columns. `text_columns` are those that the project declares VARCHAR, whatever a
    /// CSV makes of their looks; `asks` names the columns that the target needs.
    pub(crate) fn new(
        rows: &'a SpineRows,
        text_columns: Vec<String>,
        asks: impl FnOnce(&dyn Fn(&str, DataType) -> Result<NamedColumn, HistoryError>) -> Result<Asks<'a>, HistoryError>,
    ) -> Result<Spine<'a>, HistoryError> {
        let file = open(&rows.path, &text_columns)?;
        let schema = file.schema();
        let column = |name: &str, data_type: DataType| {
            Ok(NamedColumn { name: name.to_owned(), data_type, place: file.column_index(name)? })
        };
        let time = file.column_index(&rows.time_column).map_err(|error| {
            HistoryError::request_with_hint(error.to_string(), "`--time-column` names the column of the as-of instants")
        })?;
        if rows.time_unit.is_none() {
            file.check_time_unit(time).map_err(|error| {
                HistoryError::request_with_hint(
                    error.to_string(),
                    "`--time-unit` names the unit of the spine's instants",
                )
            })?;
        }
        let asks = asks(&column)?;
        Ok(Spine { rows, text_columns, time, asks, schema, held: OnceLock::new() })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Keeps the batches of the file, all of them, so that they need not be read again.
    pub(crate) fn hold(&self, batches: Vec<SpineBatch>) {
        self.held.get_or_init(|| batches);
    }

    /// The batches of the file in order, with the number of each one's first row.
    pub(crate) fn batches(
        &self,
    ) -> Result<impl Iterator<Item = Result<(u64, SpineBatch), HistoryError>>, HistoryError> {
        let mut held = self.held.get().map(|batches| batches.iter());
        let mut file = match held {
            Some(_) => None,
            None => Some(open(&self.rows.path, &self.text_columns)?),
        };
        let mut first_row = 0;
        Ok(std::iter::from_fn(move || {
            let start = first_row;
            let batch = match (&mut held, &mut file) {
                (Some(held), _) => held.next().cloned().map(Ok),
                (None, Some(file)) => file.next_batch().transpose().map(|batch| self.batch(start, batch?)),
                (None, None) => None,
            };
            Some(batch?.map(|batch| {
                first_row += batch.batch.num_rows() as u64;
                (start, batch)
            }))
        }))
    }

    fn batch(&self, first_row: u64, batch: RecordBatch) -> Result<SpineBatch, HistoryError> {
        let instants = self.instants(first_row, &batch)?;
        let read = |columns: &[NamedColumn]| {
            columns.iter().map(|column| self.column(first_row, &batch, column)).collect::<Result<Vec<_>, _>>()
        };
        let (request, keys) = match &self.asks {
            Asks::View { key } => {
                let parts = read(key)?.iter().map(asof_expression::normalize).collect();
                (Vec::new(), vec![parts])
            }
            Asks::Service { plan, request } => {
                let request = read(request)?;
                let keys = plan.keys(&request, batch.num_rows())?;
                if let Some(failure) = keys.failures.first() {
                    let place = self.place(first_row + failure.row as u64);
                    let join = &plan.service().joins[failure.feature];
                    return Err(HistoryError::request(format!(
                        "{place}: the key of `{}` has no value: {}: {}",
                        join.alias, failure.kind, failure.detail
                    )));
                }
                (request, keys.keys)
            }
        };
        Ok(SpineBatch { batch, instants, request, keys })
    }

    fn instants(&self, first_row: u64, batch: &RecordBatch) -> Result<Int64Array, HistoryError> {
        let values = batch.column(self.time);
        let name = &self.rows.time_column;
        let (instants, failed) = convert(values, &TIMESTAMP, self.rows.time_unit).map_err(|error| {
            HistoryError::request_with_hint(
                format!("spine `{}`: column `{name}`: {error}", self.rows.path.display()),
                "an instant is a TIMESTAMP, RFC 3339 text or a whole number (`--time-unit`)",
            )
        })?;
        let bad = failed.first().copied().or_else(|| (0..instants.len()).find(|&row| instants.is_null(row)));
        if let Some(row) = bad {
            let what = if values.is_null(row) { "is NULL" } else { "is no instant" };
            return Err(HistoryError::request_with_hint(
                format!("{}: `{name}` {what}", self.place(first_row + row as u64)),
                "every row of a spine needs the instant it is as of",
            ));
        }
        let instants = instants.as_primitive::<TimestampMicrosecondType>().values();
        let back_us = i64::from(self.rows.before);
        Ok(instants.iter().map(|t_us| Some(t_us.saturating_sub(back_us))).collect())
    }

    fn column(&self, first_row: u64, batch: &RecordBatch, column: &NamedColumn) -> Result<ArrayRef, HistoryError> {
        let values = batch.column(column.place);
        // A text file whose column is NULL throughout does not tell its type.
        if values.logical_null_count() == values.len() {
            return Ok(new_null_array(&column.data_type, values.len()));
        }
        let values = &doubles_in_text(values, &column.data_type);
        let (values, failed) = convert(values, &column.data_type, self.rows.time_unit).map_err(|error| {
            HistoryError::request(format!("spine `{}`: column `{}`: {error}", self.rows.path.display(), column.name))
        })?;
        match failed.first() {
            None => Ok(values),
            Some(row) => Err(HistoryError::request(format!(
                "{}: `{}` is no {}",
                self.place(first_row + *row as u64),
                column.name,
                asof_expression::type_name(&column.data_type),
            ))),
        }
    }

    /// The error for a file that was not the same when it was read again.
    pub(crate) fn changed(&self) -> HistoryError {
        HistoryError::SpineChanged { path: self.rows.path.clone() }
    }

    /// A row of the spine in words, counted from 1 as editors count data rows.
    pub(crate) fn place(&self, row: u64) -> String {
        format!("spine `{}`, row {}", self.rows.path.display(), row + 1)
    }
}

/// Whether no part of a row's key is NULL.
pub(crate) fn whole_keys(parts: &[ArrayRef], rows: usize) -> Vec<bool> {
    let mut whole = vec![true; rows];
    for nulls in parts.iter().filter_map(|part| part.logical_nulls()) {
        whole.iter_mut().zip(nulls.iter()).for_each(|(whole, valid)| *whole &= valid);
    }
    whole
}

/// An encoder for keys of these parts.
pub(crate) fn key_encoder(types: &[DataType]) -> Result<KeyEncoder, HistoryError> {
    Ok(KeyEncoder::new(types)?)
}

/// A text file spells NaN and the infinities as text, which makes its column of doubles look like one of texts. Where a
/// double is wanted and every text is one, as JSON spells it, they are doubles; any other column is left as it is.
fn doubles_in_text(values: &ArrayRef, wanted: &DataType) -> ArrayRef {
    let (DataType::Float32 | DataType::Float64, Some(texts)) = (wanted, values.as_string_opt::<i32>()) else {
        return values.clone();
    };
    let double = |text: &str| match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        number => number.parse().ok().filter(|value: &f64| value.is_finite()),
    };
    let doubles: Option<Vec<Option<f64>>> =
        texts.iter().map(|text| text.map_or(Some(None), |text| double(text).map(Some))).collect();
    doubles.map_or_else(|| values.clone(), |doubles| Arc::new(Float64Array::from(doubles)))
}

fn open(path: &Path, text_columns: &[String]) -> Result<SpineFile, HistoryError> {
    Ok(SpineFile::open(path, Format::from_path(path)?, text_columns)?)
}
