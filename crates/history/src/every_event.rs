//! `--every-event`: each used event that is in the view, with the features as of that event. Shards go straight to the
//! output; the order of rows is unspecified.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef};
use asof_connect::TableWriter;
use asof_definition::{Over, Stream};
use asof_feature::{FeatureFailure, ViewPlan};
use asof_window::{Answers, Cursor, Events, ReadAt};

use crate::error::HistoryError;
use crate::event_place::ViewDuplicates;
use crate::job::{Knowledge, OnError};
use crate::shard::EntityEvents;
use crate::spine::TIMESTAMP;
use crate::view_events::ViewEvents;
use crate::visible_events::VisibleEvents;

/// Events are answered and written in batches of this many.
const ANSWERS_MAX: usize = 131_072;
/// And as soon as their texts and lists take this much.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// The columns of the output.
#[derive(Debug)]
pub(crate) struct EveryEvent {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// Columns of the stream that wait with the events.
    pub(crate) kept: Vec<usize>,
}

/// What is the same for all shards of a job.
pub(crate) struct Pass<'a> {
    pub(crate) duplicates: &'a ViewDuplicates<'a>,
    pub(crate) knowledge: Knowledge,
    pub(crate) on_error: OnError,
    pub(crate) writer: &'a TableWriter,
}

/// Where an output column comes from.
#[derive(Debug, Clone, Copy)]
enum Column {
    Kept(usize),
    Key(usize),
    Time,
}

impl EveryEvent {
    /// Primary key, entity key, event time, the columns of `keep`, then the features; a column that is more than one of
    /// these stands once.
    pub(crate) fn new(plan: &ViewPlan, keep: &[String]) -> Result<EveryEvent, HistoryError> {
        let (view, stream) = (plan.view(), plan.view().stream.clone());
        let mut every = EveryEvent { schema: Arc::new(Schema::empty()), columns: Vec::new(), kept: Vec::new() };
        let mut fields: Vec<Field> = Vec::new();
        // The key of a group window orders rows, and has no name.
        for &column in stream.primary_key.iter().filter(|column| **column < stream.named_columns().len()) {
            every.keep(&stream, column, &mut fields);
        }
        for (place, part) in view.key.iter().enumerate() {
            match part.expression.as_column().filter(|column| stream.columns[*column].name == part.name) {
                Some(column) if fields.iter().any(|field| *field.name() == stream.columns[column].name) => {}
                _ => {
                    fields.push(Field::new(&part.name, part.expression.data_type().clone(), true));
                    every.columns.push(Column::Key(place));
                }
            }
        }
        let time = &stream.columns[stream.time_column];
        if fields.iter().all(|field| *field.name() != time.name) {
            fields.push(Field::new(&time.name, TIMESTAMP, true));
            every.columns.push(Column::Time);
        }
        for name in keep {
            let column = stream_column(&stream, name)?;
            if fields.iter().all(|field| *field.name() != stream.columns[column].name) {
                every.keep(&stream, column, &mut fields);
            }
        }
        for feature in &view.features {
            fields.push(Field::new(&feature.name, feature.expression.data_type().clone(), true));
        }
        for (place, field) in fields.iter().enumerate() {
            if fields[..place].iter().any(|other| other.name() == field.name()) {
                return Err(HistoryError::request_with_hint(
                    format!("the output would have two columns `{}`", field.name()),
                    "name the feature or the key part otherwise",
                ));
            }
        }
        every.schema = Arc::new(Schema::new(fields));
        Ok(every)
    }

    fn keep(&mut self, stream: &Stream, column: usize, fields: &mut Vec<Field>) {
        let declared = &stream.columns[column];
        fields.push(Field::new(&declared.name, declared.data_type.clone(), true));
        self.columns.push(Column::Kept(self.kept.len()));
        self.kept.push(column);
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Number of columns before the features.
    pub(crate) fn identity_columns(&self) -> usize {
        self.columns.len()
    }

    /// Answers all events of a shard. Returns rows written and values that failed.
    pub(crate) fn write_shard(
        &self,
        view: &ViewEvents,
        shard: usize,
        pass: &Pass<'_>,
    ) -> Result<(u64, u64), HistoryError> {
        let events = EntityEvents::take(view, shard, pass.knowledge, pass.duplicates)?;
        let program = view.plan.program();
        let mut writing = Writing {
            every: self,
            view,
            events: &events,
            pass,
            cursor: Cursor::new(program),
            answers: Answers::with_capacity(program, events.batch.num_rows().min(ANSWERS_MAX)),
            waiting: Vec::new(),
            answered: 0,
            failed: 0,
        };
        for entity in 0..events.entities.len() as u32 {
            let own = events.rows(Some(entity));
            match pass.knowledge {
                Knowledge::EventTime if view.plan.is_over_groups() => writing.read_each_lasting(own)?,
                Knowledge::EventTime => writing.read_each(own)?,
                Knowledge::AsServed => writing.score_each(own)?,
            }
        }
        writing.pass_on()?;
        Ok((writing.answered, writing.failed))
    }

    fn batch(
        &self,
        view: &ViewEvents,
        events: &EntityEvents,
        rows: Vec<u32>,
        answers: Answers,
    ) -> Result<(RecordBatch, Vec<FeatureFailure>), HistoryError> {
        let source = match (rows.first(), rows.last()) {
            (Some(&first), Some(&last)) if (last - first) as usize + 1 == rows.len() => {
                events.batch.slice(first as usize, rows.len())
            }
            _ => take_record_batch(&events.batch, &UInt32Array::from(rows))?,
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for column in &self.columns {
            columns.push(match *column {
                Column::Kept(place) => view.layout.kept(&source)[place].clone(),
                Column::Key(place) => view.layout.keys(&source)[place].clone(),
                Column::Time => {
                    let times = view.layout.time_array(&source).as_primitive::<Int64Type>();
                    Arc::new(TimestampMicrosecondArray::new(times.values().clone(), None))
                }
            });
        }
        let answered = view.plan.features(answers.finish())?;
        columns.extend(answered.features);
        Ok((RecordBatch::try_new(self.schema.clone(), columns)?, answered.failures))
    }

    fn failure(&self, view: &ViewEvents, batch: &RecordBatch, failure: &FeatureFailure) -> HistoryError {
        let names = self.schema.fields().iter().take(self.identity_columns());
        let identity: Vec<String> = names
            .zip(batch.columns())
            .map(|(field, column)| {
                let value = arrow::util::display::array_value_to_string(column, failure.row).unwrap_or_default();
                format!("{} {value}", field.name())
            })
            .collect();
        HistoryError::RowFailed {
            place: format!("the event with {}", identity.join(", ")),
            feature: view.plan.view().features[failure.feature].name.clone(),
            kind: failure.kind.name(),
            detail: failure.detail.clone(),
        }
    }
}

/// The answers of a shard in the making, in the order of its rows.
struct Writing<'a> {
    every: &'a EveryEvent,
    view: &'a ViewEvents,
    events: &'a EntityEvents,
    pass: &'a Pass<'a>,
    cursor: Cursor,
    answers: Answers,
    /// Rows of the shard that are answered and not written yet, and how many are answered.
    waiting: Vec<u32>,
    answered: u64,
    failed: u64,
}

impl Writing<'_> {
    /// Reads each event of an entity as of itself, over all its events.
    fn read_each(&mut self, own: Range<usize>) -> Result<(), HistoryError> {
        let run = self.events.run(own.clone());
        self.cursor.reset(self.view.plan.program(), 0);
        for (index, row) in own.enumerate() {
            if self.is_answered(row) {
                self.read(row, &run, ReadAt { t_us: run.time_us(index), current: self.current(index) })?;
            }
        }
        Ok(())
    }

    /// Reads each row of a group as of itself, over those that last then.
    fn read_each_lasting(&mut self, own: Range<usize>) -> Result<(), HistoryError> {
        let mut lasting = VisibleEvents::lasting(self.view, self.events, own.clone());
        self.cursor.reset(self.view.plan.program(), 0);
        for row in own.filter(|row| self.view.layout.is_answered(&self.events.batch, *row)) {
            let t_us = lasting.time_us(row);
            lasting.advance(t_us, &mut self.cursor);
            let at = ReadAt { t_us, current: None };
            self.cursor.read_all(self.view.plan.program(), &lasting.events(), at, &mut self.answers);
            self.answered(row)?;
        }
        Ok(())
    }

    /// Scores each event of an entity as a live run would have: over what was visible once its batch was.
    fn score_each(&mut self, own: Range<usize>) -> Result<(), HistoryError> {
        let mut visible = VisibleEvents::new(self.view, self.events, own);
        self.cursor.reset(self.view.plan.program(), 0);
        while let Some(arrived_us) = visible.next_arrival_us() {
            let first = visible.next();
            visible.advance(arrived_us, &mut self.cursor);
            for row in first..visible.next() {
                if self.is_answered(row) {
                    let current = self.current(visible.position(row));
                    self.read(row, &visible.events(), ReadAt { t_us: visible.time_us(row), current })?;
                }
            }
        }
        Ok(())
    }

    fn is_answered(&self, row: usize) -> bool {
        self.view.layout.is_answered(&self.events.batch, row)
    }

    /// The current row: the event that is answered, or, over the rows of a table, at the version that is valid.
    fn current(&self, index: usize) -> Option<usize> {
        (self.view.plan.view().over == Over::Events).then_some(index)
    }

    fn read<E: Events>(&mut self, row: usize, visible: &E, at: ReadAt) -> Result<(), HistoryError> {
        self.cursor.read(self.view.plan.program(), visible, at, &mut self.answers);
        self.answered(row)
    }

    fn answered(&mut self, row: usize) -> Result<(), HistoryError> {
        self.answered += 1;
        self.waiting.push(row as u32);
        if self.waiting.len() >= ANSWERS_MAX || self.answers.text_bytes() >= TEXT_BYTES_MAX {
            self.pass_on()?;
        }
        Ok(())
    }

    /// Writes what is answered.
    fn pass_on(&mut self) -> Result<(), HistoryError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let left = self.events.batch.num_rows() - self.answered as usize;
        let room = Answers::with_capacity(self.view.plan.program(), left.min(ANSWERS_MAX));
        let answers = std::mem::replace(&mut self.answers, room);
        let rows = std::mem::take(&mut self.waiting);
        let (batch, failures) = self.every.batch(self.view, self.events, rows, answers)?;
        self.failed += failures.len() as u64;
        if let (OnError::Fail, Some(first)) = (self.pass.on_error, failures.iter().min_by_key(|one| one.row)) {
            return Err(self.every.failure(self.view, &batch, first));
        }
        self.pass.writer.append(&[batch])?;
        Ok(())
    }
}

fn stream_column(stream: &Stream, name: &str) -> Result<usize, HistoryError> {
    let columns = stream.named_columns();
    let exact = columns.iter().position(|column| column.name == name);
    let found = exact.or_else(|| {
        let mut alike = (0..columns.len()).filter(|&place| columns[place].name.eq_ignore_ascii_case(name));
        alike.next().filter(|_| alike.next().is_none())
    });
    found.ok_or_else(|| {
        let rows = match stream.derivation().and_then(|derivation| derivation.of_view.as_ref()) {
            Some(view) => format!("the rows of feature view `{view}` have"),
            None => format!("stream `{}` has", stream.name),
        };
        let message = format!("{rows} no column `{name}` to keep");
        match asof_expression::nearest(name, columns.iter().map(|column| column.name.as_str())) {
            Some(near) => HistoryError::request_with_hint(message, format!("did you mean `{near}`?")),
            None => HistoryError::request(message),
        }
    })
}
