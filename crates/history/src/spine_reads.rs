//! The reads of a spine at one view: waiting by entity, answered shard by shard, results waiting by block of rows.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type};
use asof_feature::{FeatureFailure, ViewPlan};
use asof_window::{Answers, Cursor, Events, Frame, ReadAt, shard_of};

use crate::error::HistoryError;
use crate::job::{Knowledge, OnError};
use crate::partitions::Partitions;
use crate::shard::{EntityEvents, grouped};
use crate::spine::whole_keys;
use crate::view_events::ViewEvents;
use crate::visible_events::VisibleEvents;

/// Reads are answered and passed on in batches of this many.
const ANSWERS_MAX: usize = 32_768;
/// And as soon as their texts and lists take this much.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// Rows of the spine whose results come back together.
pub(crate) const BLOCK_ROWS: u64 = 65_536;

/// The reads of one join of a service, or of a view.
#[derive(Debug)]
pub(crate) struct SpineReads {
    waiting: Partitions,
    /// Results by block of spine rows.
    pub(crate) results: Partitions,
    key_parts: usize,
    on_error: OnError,
    failures: Mutex<Vec<RowFailure>>,
    /// Reads whose entity has an event at the very instant, which some frame of the view counts.
    at_an_event: AtomicU64,
}

/// A feature that failed on a row of the spine.
#[derive(Debug, Clone)]
pub(crate) struct RowFailure {
    pub(crate) row: u64,
    pub(crate) feature: usize,
    pub(crate) kind: asof_expression::FailureKind,
    pub(crate) detail: String,
}

impl SpineReads {
    pub(crate) fn new(
        plan: &ViewPlan,
        waiting: impl FnOnce(SchemaRef) -> Partitions,
        results: impl FnOnce(SchemaRef) -> Partitions,
        on_error: OnError,
    ) -> SpineReads {
        let key_types = plan.key_types();
        let key_parts = key_types.len();
        let mut fields: Vec<Field> = key_types
            .into_iter()
            .enumerate()
            .map(|(part, data_type)| Field::new(format!("key_{part}"), data_type, true))
            .collect();
        fields.push(Field::new("whole_key", DataType::Boolean, false));
        fields.push(Field::new("instant", DataType::Int64, false));
        fields.push(Field::new("row", DataType::UInt64, false));
        let mut result_fields = vec![Field::new("row", DataType::UInt64, false)];
        result_fields.extend(
            plan.view()
                .features
                .iter()
                .map(|feature| Field::new(&feature.name, feature.expression.data_type().clone(), true)),
        );
        SpineReads {
            waiting: waiting(Arc::new(Schema::new(fields))),
            results: results(Arc::new(Schema::new(result_fields))),
            key_parts,
            on_error,
            failures: Mutex::default(),
            at_an_event: AtomicU64::new(0),
        }
    }

    /// Adds the reads of a batch of the spine; gives the hashes of their keys.
    pub(crate) fn add(
        &self,
        view: &ViewEvents,
        first_row: u64,
        parts: &[ArrayRef],
        instants: &Int64Array,
    ) -> Result<Vec<u64>, HistoryError> {
        let keys = view.keys.encode(parts)?;
        let rows = keys.len();
        let mut columns = parts.to_vec();
        columns.push(Arc::new(BooleanArray::from(whole_keys(parts, rows))));
        columns.push(Arc::new(instants.clone()));
        columns.push(Arc::new(UInt64Array::from_iter_values(first_row..first_row + rows as u64)));
        let batch = RecordBatch::try_new(self.waiting.schema().clone(), columns)?;
        let shards = self.waiting.len();
        let hashes: Vec<u64> = (0..rows).map(|row| keys.hash(row)).collect();
        let shard_of: Vec<u32> = hashes.iter().map(|hash| shard_of(*hash, shards)).collect();
        self.waiting.scatter(first_row, &batch, &shard_of)?;
        Ok(hashes)
    }

    /// Answers the reads of one shard over its sorted events.
    pub(crate) fn answer(
        &self,
        view: &ViewEvents,
        shard: usize,
        events: &EntityEvents,
        knowledge: Knowledge,
    ) -> Result<(), HistoryError> {
        let batch = self.waiting.take(shard)?;
        let keys = view.keys.encode(&batch.columns()[..self.key_parts])?;
        let whole = batch.column(self.key_parts).as_boolean();
        let instants = batch.column(self.key_parts + 1).as_primitive::<Int64Type>().values();
        let numbers = batch.column(self.key_parts + 2).as_primitive::<UInt64Type>().values();
        let strangers = events.entities.len() as u32;
        let rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
        let entity_of: Vec<u32> = (0..batch.num_rows())
            .map(|row| events.entities.find(&keys, row).filter(|_| whole.value(row)).unwrap_or(strangers))
            .collect();
        let (mut rows, starts) = grouped(&rows, &entity_of, events.entities.len() + 1);
        let mut answering = Answering::new(self, &view.plan, numbers);
        for entity in 0..=strangers {
            let group = &mut rows[starts[entity as usize] as usize..starts[entity as usize + 1] as usize];
            if group.is_empty() {
                continue;
            }
            let by_instant = |one: &u32, other: &u32| instants[*one as usize].cmp(&instants[*other as usize]);
            if !group.is_sorted_by(|one, other| by_instant(one, other) != Ordering::Greater) {
                group.sort_by(by_instant);
            }
            let own = events.rows((entity < strangers).then_some(entity));
            match knowledge {
                Knowledge::EventTime if view.plan.is_over_groups() => {
                    answering.lasting(view, events, own, group, instants)?
                }
                Knowledge::EventTime => answering.event_time(events, own, group, instants)?,
                Knowledge::AsServed => answering.as_served(view, events, own, group, instants)?,
            }
        }
        answering.pass_on()
    }

    /// Keeps a failure. A job that stops at the first failing row needs only the first of each feature; one that counts
    /// them needs no words.
    fn note(&self, failures: &mut Vec<RowFailure>, row: u64, failure: FeatureFailure) {
        let FeatureFailure { feature, kind, detail, .. } = failure;
        if self.on_error == OnError::Null {
            return failures.push(RowFailure { row, feature, kind, detail: String::new() });
        }
        match failures.iter_mut().find(|one| one.feature == feature) {
            Some(first) if first.row <= row => {}
            Some(first) => *first = RowFailure { row, feature, kind, detail },
            None => failures.push(RowFailure { row, feature, kind, detail }),
        }
    }

    /// Features that failed on rows of the spine, sorted by row.
    pub(crate) fn failures(&self) -> Vec<RowFailure> {
        let mut failures = std::mem::take(&mut *self.failures.lock().unwrap_or_else(PoisonError::into_inner));
        failures.sort_by_key(|failure| (failure.row, failure.feature));
        failures
    }

    /// Number of reads whose entity has an event at the very instant.
    pub(crate) fn at_an_event(&self) -> u64 {
        self.at_an_event.load(Atomic::Relaxed)
    }
}

/// Answers in the making.
struct Answering<'a> {
    reads: &'a SpineReads,
    plan: &'a ViewPlan,
    /// Spine row of each read of the shard.
    numbers: &'a [u64],
    /// Whether a read at the instant of an event counts that event.
    counts_the_instant: bool,
    cursor: Cursor,
    answers: Answers,
    /// Spine rows of the answers.
    rows: Vec<u64>,
}

impl<'a> Answering<'a> {
    fn new(reads: &'a SpineReads, plan: &'a ViewPlan, numbers: &'a [u64]) -> Answering<'a> {
        let program = plan.program();
        Answering {
            reads,
            plan,
            numbers,
            counts_the_instant: program.frames().iter().any(Frame::counts_the_instant),
            cursor: Cursor::new(program),
            answers: Answers::with_capacity(program, numbers.len().min(ANSWERS_MAX)),
            rows: Vec::new(),
        }
    }

    /// Reads one entity at the instants of `group`, which ascend, over all its events.
    fn event_time(
        &mut self,
        events: &EntityEvents,
        own: std::ops::Range<usize>,
        group: &[u32],
        instants: &[i64],
    ) -> Result<(), HistoryError> {
        let run = events.run(own);
        self.cursor.reset(self.plan.program(), 0);
        for &read in group {
            self.read(&run, instants[read as usize], read)?;
        }
        Ok(())
    }

    /// The same over the rows of a group that last at each instant.
    fn lasting(
        &mut self,
        view: &ViewEvents,
        events: &EntityEvents,
        own: std::ops::Range<usize>,
        group: &[u32],
        instants: &[i64],
    ) -> Result<(), HistoryError> {
        let mut lasting = VisibleEvents::lasting(view, events, own);
        self.cursor.reset(self.plan.program(), 0);
        for &read in group {
            let t_us = instants[read as usize];
            lasting.advance(t_us, &mut self.cursor);
            let at = ReadAt { t_us, current: None };
            self.cursor.read_all(self.plan.program(), &lasting.events(), at, &mut self.answers);
            self.answered(&lasting.events(), t_us, read)?;
        }
        Ok(())
    }

    /// The same over the events that were visible at each instant.
    fn as_served(
        &mut self,
        view: &ViewEvents,
        events: &EntityEvents,
        own: std::ops::Range<usize>,
        group: &[u32],
        instants: &[i64],
    ) -> Result<(), HistoryError> {
        let mut visible = VisibleEvents::new(view, events, own);
        self.cursor.reset(self.plan.program(), 0);
        for &read in group {
            let t_us = instants[read as usize];
            visible.advance(t_us, &mut self.cursor);
            self.read(&visible.events(), t_us, read)?;
        }
        Ok(())
    }

    fn read<E: Events>(&mut self, events: &E, t_us: i64, read: u32) -> Result<(), HistoryError> {
        let at = ReadAt { t_us, current: None };
        self.cursor.read(self.plan.program(), events, at, &mut self.answers);
        self.answered(events, t_us, read)
    }

    fn answered<E: Events>(&mut self, events: &E, t_us: i64, read: u32) -> Result<(), HistoryError> {
        self.rows.push(self.numbers[read as usize]);
        if self.counts_the_instant && has_event_at(events, t_us) {
            self.reads.at_an_event.fetch_add(1, Atomic::Relaxed);
        }
        if self.rows.len() >= ANSWERS_MAX || self.answers.text_bytes() >= TEXT_BYTES_MAX {
            self.pass_on()?;
        }
        Ok(())
    }

    /// Turns the answers so far into features and scatters them by block.
    fn pass_on(&mut self) -> Result<(), HistoryError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let answers = std::mem::replace(&mut self.answers, Answers::with_capacity(self.plan.program(), 0));
        let rows = std::mem::take(&mut self.rows);
        let view = self.plan.features(answers.finish())?;
        if !view.failures.is_empty() {
            let mut failures = self.reads.failures.lock().unwrap_or_else(PoisonError::into_inner);
            for failure in view.failures {
                self.reads.note(&mut failures, rows[failure.row], failure);
            }
        }
        let blocks: Vec<u32> = rows.iter().map(|row| (row / BLOCK_ROWS) as u32).collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from(rows))];
        columns.extend(view.features);
        let batch = RecordBatch::try_new(self.reads.results.schema().clone(), columns)?;
        self.reads.results.scatter(0, &batch, &blocks)
    }
}

fn has_event_at<E: Events>(events: &E, t_us: i64) -> bool {
    let (mut low, mut high) = (0, events.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match events.time_us(middle).cmp(&t_us) {
            Ordering::Equal => return true,
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    false
}
