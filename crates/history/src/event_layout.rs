//! The columns of an event that waits for its shard: what its view carries, and as much of its identity as the job needs.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type};
use arrow::error::ArrowError;
use asof_feature::ViewPlan;

/// Which parts of an event's identity a job needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    /// The branch and the offset in one ([`EventPlace`](crate::event_place::EventPlace)), for ties, duplicates and arrival
    /// order.
    pub(crate) offset: bool,
    /// The encoded primary key, for ties.
    pub(crate) primary_key: bool,
    /// The arrival time, for `as-served`.
    pub(crate) arrived: bool,
    /// When the event is joined with something else, for `as-served` over joins: `i64::MAX` is never.
    pub(crate) gone: bool,
    /// Whether `--every-event` answers it: of a table only versions that are rows, of an event that a late version changes
    /// only what it was at its arrival.
    pub(crate) answered: bool,
}

/// Where each column stands.
#[derive(Debug, Clone)]
pub(crate) struct EventLayout {
    schema: SchemaRef,
    keys: Range<usize>,
    time: usize,
    offset: Option<usize>,
    primary_key: Option<usize>,
    arrived: Option<usize>,
    gone: Option<usize>,
    answered: Option<usize>,
    carried: Range<usize>,
    kept: Range<usize>,
}

impl EventLayout {
    /// The layout for `plan`; `kept` are columns of the stream that the output wants beside.
    pub(crate) fn new(plan: &ViewPlan, needs: Needs, kept: &[Field]) -> EventLayout {
        let mut fields: Vec<Field> = plan
            .key_types()
            .into_iter()
            .enumerate()
            .map(|(part, data_type)| Field::new(format!("key_{part}"), data_type, true))
            .collect();
        let keys = 0..fields.len();
        let mut add = |wanted: bool, name: &str, data_type: DataType| {
            wanted.then(|| {
                fields.push(Field::new(name, data_type, false));
                fields.len() - 1
            })
        };
        let time = add(true, "time", DataType::Int64).unwrap_or_default();
        let offset = add(needs.offset, "offset", DataType::UInt64);
        let primary_key = add(needs.primary_key, "primary_key", DataType::Binary);
        let arrived = add(needs.arrived, "arrived", DataType::Int64);
        let gone = add(needs.gone, "gone", DataType::Int64);
        let answered = add(needs.answered, "answered", DataType::Boolean);
        let carried_start = fields.len();
        fields.extend(plan.program().carried_fields());
        let carried = carried_start..fields.len();
        let kept_start = fields.len();
        fields.extend(
            kept.iter()
                .enumerate()
                .map(|(place, field)| Field::new(format!("kept_{place}"), field.data_type().clone(), true)),
        );
        let kept = kept_start..fields.len();
        let schema = Arc::new(Schema::new(fields));
        EventLayout { schema, keys, time, offset, primary_key, arrived, gone, answered, carried, kept }
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn needs_offset(&self) -> bool {
        self.offset.is_some()
    }

    pub(crate) fn needs_primary_key(&self) -> bool {
        self.primary_key.is_some()
    }

    pub(crate) fn needs_arrived(&self) -> bool {
        self.arrived.is_some()
    }

    pub(crate) fn needs_gone(&self) -> bool {
        self.gone.is_some()
    }

    pub(crate) fn needs_answered(&self) -> bool {
        self.answered.is_some()
    }

    pub(crate) fn keys<'a>(&self, batch: &'a RecordBatch) -> &'a [ArrayRef] {
        &batch.columns()[self.keys.clone()]
    }

    pub(crate) fn carried<'a>(&self, batch: &'a RecordBatch) -> &'a [ArrayRef] {
        &batch.columns()[self.carried.clone()]
    }

    pub(crate) fn kept<'a>(&self, batch: &'a RecordBatch) -> &'a [ArrayRef] {
        &batch.columns()[self.kept.clone()]
    }

    /// Event times in microseconds.
    pub(crate) fn times<'a>(&self, batch: &'a RecordBatch) -> &'a [i64] {
        batch.column(self.time).as_primitive::<Int64Type>().values()
    }

    pub(crate) fn time_array<'a>(&self, batch: &'a RecordBatch) -> &'a ArrayRef {
        batch.column(self.time)
    }

    pub(crate) fn offsets<'a>(&self, batch: &'a RecordBatch) -> Option<&'a [u64]> {
        self.offset.map(|place| &batch.column(place).as_primitive::<UInt64Type>().values()[..])
    }

    pub(crate) fn primary_keys<'a>(&self, batch: &'a RecordBatch) -> Option<&'a BinaryArray> {
        self.primary_key.map(|place| batch.column(place).as_binary::<i32>())
    }

    pub(crate) fn arrived<'a>(&self, batch: &'a RecordBatch) -> Option<&'a [i64]> {
        self.arrived.map(|place| &batch.column(place).as_primitive::<Int64Type>().values()[..])
    }

    pub(crate) fn gone<'a>(&self, batch: &'a RecordBatch) -> Option<&'a [i64]> {
        self.gone.map(|place| &batch.column(place).as_primitive::<Int64Type>().values()[..])
    }

    /// When rows end, in microseconds, of a view over groups of a table's rows.
    pub(crate) fn ends<'a>(&self, plan: &ViewPlan, batch: &'a RecordBatch) -> Option<&'a [i64]> {
        let column = plan.program().end_column()?;
        Some(&self.carried(batch)[column].as_primitive::<Int64Type>().values()[..])
    }

    /// Whether `--every-event` answers a row.
    pub(crate) fn is_answered(&self, batch: &RecordBatch, row: usize) -> bool {
        self.answered.is_none_or(|place| batch.column(place).as_boolean().value(row))
    }

    /// The batch with other instants at which its rows go.
    ///
    /// # Panics
    /// If rows of this layout never go.
    pub(crate) fn with_gone(&self, batch: &RecordBatch, gone: Int64Array) -> Result<RecordBatch, ArrowError> {
        let mut columns = batch.columns().to_vec();
        columns[self.gone.expect("only rows that go have a time for it")] = Arc::new(gone);
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}
