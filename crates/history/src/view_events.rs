//! A view of the job with the shards that its events wait in.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::Field;
use asof_definition::{FeatureView, Over, Stream};
use asof_feature::{StreamPlan, TakenIn, ViewPlan};
use asof_window::{KeyEncoder, shard_of};

use crate::duplicates::Duplicates;
use crate::error::HistoryError;
use crate::event_batch::EventBatch;
use crate::event_layout::{EventLayout, Needs};
use crate::event_place::{EventPlace, ViewDuplicates};
use crate::inputs::Inputs;
use crate::job::{Job, Knowledge, RowsOf};
use crate::key_filter::KeyFilter;
use crate::partitions::Partitions;
use crate::room::Room;
use crate::spine::key_encoder;

/// A view and the shards of its events.
#[derive(Debug)]
pub(crate) struct ViewEvents {
    pub(crate) plan: ViewPlan,
    pub(crate) layout: EventLayout,
    pub(crate) keys: KeyEncoder,
    pub(crate) events: Partitions,
    /// The entities that are asked for; `None` for all.
    pub(crate) asked: Option<KeyFilter>,
    /// Columns of the stream kept for the output.
    pub(crate) kept: Vec<usize>,
    /// Whether these are open windows: they stay open for each version that is used, and their events are joined with all.
    pub(crate) are_windows: bool,
}

/// A batch as it comes to a view.
pub(crate) struct Fed<'a> {
    /// Of the stream that its events arrived at.
    pub(crate) plan: &'a StreamPlan,
    pub(crate) batch: &'a EventBatch,
    /// The same rows, in the columns of the view's stream.
    pub(crate) rows: &'a RecordBatch,
    /// The branch of the view's stream that they came by.
    pub(crate) branch: u32,
    /// Of rows that are joined as of an instant of arrival.
    pub(crate) seen: Option<Seen<'a>>,
}

/// What each row of a batch is joined with from its arrival on, or, of a table, when it ends by what has arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// Until when, in microseconds.
    pub(crate) until_us: &'a [i64],
    /// Whether the arrival is that of the events themselves, rather than of versions after them.
    pub(crate) is_first: bool,
}

pub(crate) fn view_events(
    plan: ViewPlan,
    inputs: &Inputs,
    job: &Job,
    room: &Room,
    shards: usize,
    kept: Vec<usize>,
) -> Result<ViewEvents, HistoryError> {
    let stream = plan.view().stream.clone();
    let follows_order = plan.program().follows_order();
    let as_served = job.knowledge == Knowledge::AsServed;
    let searched = stream.sources().iter().any(|source| inputs.searches_repeats(&source.name));
    let groups = plan.is_over_groups();
    let changes = as_served && (groups || !stream.tables().is_empty());
    let over_rows = plan.view().over != Over::Events;
    let needs = Needs {
        offset: follows_order || as_served || searched || groups,
        primary_key: follows_order && has_key(&stream),
        arrived: as_served,
        gone: changes,
        answered: (changes || over_rows) && matches!(job.rows, RowsOf::EveryEvent { .. }),
    };
    let fields: Vec<Field> = kept
        .iter()
        .map(|&column| Field::new(&stream.columns[column].name, stream.columns[column].data_type.clone(), true))
        .collect();
    let layout = EventLayout::new(&plan, needs, &fields);
    let events = room.partitions(layout.schema().clone(), shards);
    let keys = key_encoder(&plan.key_types())?;
    Ok(ViewEvents { plan, layout, keys, events, asked: None, kept, are_windows: false })
}

/// Whether a primary key orders the ties of a view's stream: that of the stream in which its rows arise.
fn has_key(stream: &Arc<Stream>) -> bool {
    stream.orders_ties() && stream.sources().iter().all(|source| !source.primary_key.is_empty())
}

impl ViewEvents {
    /// Open windows, as a view whose entities are groups.
    pub(crate) fn of_windows(
        plan: ViewPlan,
        inputs: &Inputs,
        room: &Room,
        shards: usize,
    ) -> Result<ViewEvents, HistoryError> {
        let stream = plan.view().stream.clone();
        let follows_order = plan.program().follows_order();
        let searched = stream.sources().iter().any(|source| inputs.searches_repeats(&source.name));
        let needs = Needs {
            offset: follows_order || searched,
            primary_key: follows_order && has_key(&stream),
            arrived: false,
            gone: false,
            answered: false,
        };
        let layout = EventLayout::new(&plan, needs, &[]);
        let events = room.partitions(layout.schema().clone(), shards);
        // NULL is a group.
        let parts = plan.key_types().into_iter().map(|data_type| Field::new("part", data_type, true));
        let keys = KeyEncoder::of_groups(&parts.collect::<Vec<Field>>())?;
        Ok(ViewEvents { plan, layout, keys, events, asked: None, kept: Vec::new(), are_windows: true })
    }

    /// What the view took in, in the columns that its events wait with.
    pub(crate) fn events(&self, taken: TakenIn, fed: &Fed<'_>) -> Result<RecordBatch, HistoryError> {
        let batch = fed.batch;
        let pick = |array: ArrayRef| if taken.whole { Ok(array) } else { take(&array, &taken.rows, None) };
        let times: ArrayRef = Arc::new(Int64Array::new(batch.times(fed.plan).values().clone(), None));
        let mut columns = taken.keys;
        columns.push(pick(times)?);
        if self.layout.needs_offset() {
            let offsets = batch.offsets.column(batch.rows.num_rows());
            columns.push(pick(Arc::new(EventPlace::column(&offsets, fed.branch)))?);
        }
        if let (true, Some(keys)) = (self.layout.needs_primary_key(), &batch.primary_keys) {
            columns.push(pick(Arc::new(keys.clone().try_into_binary()?))?);
        }
        if self.layout.needs_arrived() {
            columns.push(pick(Arc::new(batch.arrivals_us(fed.plan)))?);
        }
        if self.layout.needs_gone() {
            let until_us =
                fed.seen.map_or_else(|| vec![i64::MAX; batch.rows.num_rows()], |seen| seen.until_us.to_vec());
            columns.push(pick(Arc::new(Int64Array::from(until_us)))?);
        }
        if self.layout.needs_answered() {
            let is_first = fed.seen.is_none_or(|seen| seen.is_first);
            let answered = taken.live.unwrap_or_else(|| BooleanArray::from(vec![is_first; taken.rows.len()]));
            columns.push(Arc::new(answered));
        }
        columns.extend(taken.carried);
        for &column in &self.kept {
            columns.push(pick(fed.rows.column(column).clone())?);
        }
        Ok(RecordBatch::try_new(self.layout.schema().clone(), columns)?)
    }

    /// Lets events, of the batch with this number, wait in the shards of their entities, if these are asked for.
    pub(crate) fn scatter(&self, number: u64, events: &RecordBatch) -> Result<(), HistoryError> {
        let keys = self.keys.encode(self.layout.keys(events))?;
        let shards = self.events.len();
        match &self.asked {
            None => {
                let shards: Vec<u32> = (0..keys.len()).map(|row| shard_of(keys.hash(row), shards)).collect();
                self.events.scatter(number, events, &shards)
            }
            Some(asked) => {
                let rows: Vec<u32> =
                    (0..keys.len() as u32).filter(|&row| asked.may_hold(&keys, row as usize)).collect();
                let shards: Vec<u32> = rows.iter().map(|&row| shard_of(keys.hash(row as usize), shards)).collect();
                let events = take_record_batch(events, &UInt32Array::from(rows))?;
                self.events.scatter(number, &events, &shards)
            }
        }
    }
}

/// Whether a view sees events of the stream of that name.
pub(crate) fn sees(view: &FeatureView, source: &str) -> bool {
    view.stream.sources().iter().any(|stream| stream.name == source)
}

/// What a view's shards leave out, given the duplicates of each source.
pub(crate) fn duplicates_of<'a>(view: &FeatureView, found: &'a BTreeMap<String, Duplicates>) -> ViewDuplicates<'a> {
    ViewDuplicates::new(view.stream.branches().iter().map(|source| &found[&source.name]).collect())
}
