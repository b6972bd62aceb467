//! One shard of a view's events, sorted: each entity's events together and in order.

use std::cmp::Ordering;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::Int64Type;
use asof_window::{EntityIndex, SortedEvents, SortedRun, TieBreak};

use crate::error::HistoryError;
use crate::event_place::ViewDuplicates;
use crate::job::Knowledge;
use crate::view_events::ViewEvents;

/// The events of a shard's entities. Entity n's events are rows `starts[n]..starts[n + 1]`.
#[derive(Debug)]
pub(crate) struct EntityEvents {
    pub(crate) entities: EntityIndex,
    /// The sorted events, with all the columns they waited with.
    pub(crate) batch: RecordBatch,
    events: SortedEvents,
    starts: Vec<u32>,
}

impl EntityEvents {
    /// Takes a shard and sorts it: by entity, then in the order of events for event-time knowledge, in the order of
    /// arrival for as-served. Duplicates are left out.
    pub(crate) fn take(
        view: &ViewEvents,
        shard: usize,
        knowledge: Knowledge,
        duplicates: &ViewDuplicates<'_>,
    ) -> Result<EntityEvents, HistoryError> {
        let batch = view.events.take(shard)?;
        let keys = view.keys.encode(view.layout.keys(&batch))?;
        let offsets = view.layout.offsets(&batch);
        let stays = |row: usize| duplicates.is_empty() || offsets.is_none_or(|offsets| !duplicates.hold(offsets[row]));
        let mut entities = EntityIndex::default();
        let mut rows = Vec::with_capacity(batch.num_rows());
        let mut entity_of = Vec::with_capacity(batch.num_rows());
        for row in (0..batch.num_rows()).filter(|row| stays(*row)) {
            rows.push(row as u32);
            entity_of.push(entities.intern(&keys, row));
        }
        let (mut rows, starts) = grouped(&rows, &entity_of, entities.len());
        let order = EventOrder::new(view, &batch, knowledge);
        for entity in 0..entities.len() {
            let group = &mut rows[starts[entity] as usize..starts[entity + 1] as usize];
            if !group.is_sorted_by(|one, other| order.compare(*one, *other) != Ordering::Greater) {
                group.sort_unstable_by(|one, other| order.compare(*one, *other));
            }
        }
        let batch = take_record_batch(&batch, &UInt32Array::from(rows))?;
        let times: ScalarBuffer<i64> = view.layout.time_array(&batch).as_primitive::<Int64Type>().values().clone();
        let events = SortedEvents::new(view.plan.program(), times, view.layout.carried(&batch));
        Ok(EntityEvents { entities, batch, events, starts })
    }

    /// Rows of the entity with this number; an empty range for an entity without events.
    pub(crate) fn rows(&self, entity: Option<u32>) -> std::ops::Range<usize> {
        match entity {
            Some(entity) => self.starts[entity as usize] as usize..self.starts[entity as usize + 1] as usize,
            None => 0..0,
        }
    }

    /// The events of some of the rows.
    pub(crate) fn run(&self, rows: std::ops::Range<usize>) -> SortedRun<'_> {
        self.events.run(rows.start, rows.end)
    }

    /// What breaks the ties of the event at `row` of the batch.
    pub(crate) fn tie<'a>(view: &ViewEvents, batch: &'a RecordBatch, row: usize) -> TieBreak<'a> {
        TieBreak {
            primary_key: view.layout.primary_keys(batch).map_or(&[], |keys| keys.value(row)),
            partition: 0,
            offset: view.layout.offsets(batch).map_or(0, |offsets| offsets[row]),
        }
    }
}

/// Row numbers grouped by the number of their entity, keeping their order, and where each group starts.
pub(crate) fn grouped(rows: &[u32], entity_of: &[u32], entities: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; entities + 1];
    for &entity in entity_of {
        starts[entity as usize + 1] += 1;
    }
    for entity in 0..entities {
        starts[entity + 1] += starts[entity];
    }
    let mut next = starts.clone();
    let mut sorted = vec![0u32; rows.len()];
    for (&row, &entity) in rows.iter().zip(entity_of) {
        let place = &mut next[entity as usize];
        sorted[*place as usize] = row;
        *place += 1;
    }
    (sorted, starts)
}

/// The order of one entity's events in a batch: by time (or arrival), then primary key, then offset.
struct EventOrder<'a> {
    first: &'a [i64],
    primary_keys: Option<&'a arrow::array::BinaryArray>,
    offsets: Option<&'a [u64]>,
}

impl<'a> EventOrder<'a> {
    fn new(view: &ViewEvents, batch: &'a RecordBatch, knowledge: Knowledge) -> EventOrder<'a> {
        let layout = &view.layout;
        let follows_order = view.plan.program().follows_order();
        match (knowledge, layout.arrived(batch)) {
            (Knowledge::AsServed, Some(arrived)) => {
                EventOrder { first: arrived, primary_keys: None, offsets: layout.offsets(batch) }
            }
            _ => EventOrder {
                first: layout.times(batch),
                primary_keys: layout.primary_keys(batch),
                offsets: layout.offsets(batch).filter(|_| follows_order),
            },
        }
    }

    fn compare(&self, one: u32, other: u32) -> Ordering {
        let (one, other) = (one as usize, other as usize);
        self.first[one]
            .cmp(&self.first[other])
            .then_with(|| self.primary_keys.map_or(Ordering::Equal, |keys| keys.value(one).cmp(keys.value(other))))
            .then_with(|| self.offsets.map_or(Ordering::Equal, |offsets| offsets[one].cmp(&offsets[other])))
    }
}
