//! A feature view bound to its window program: events in, features out.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use asof_definition::FeatureView;
use asof_expression::{Expression, normalize};
use asof_window::{Call, Finished, Program, Slot};

use crate::error::FeatureError;
use crate::failure::{FeatureFailure, failures_of, without_failed};
use crate::taking::{SetAside, Taking};

/// A feature view, ready to take in events and to turn answers into features.
#[derive(Debug, Clone)]
pub struct ViewPlan {
    view: Arc<FeatureView>,
    program: Arc<Program>,
    /// What is evaluated for each slot of the program.
    slots: Vec<SlotInput>,
    /// The distinct FILTERs, in the program's order.
    filters: Vec<EventExpression>,
    aggregate_schema: SchemaRef,
}

/// An expression over the stream's columns and how the view's text spells it.
#[derive(Debug, Clone)]
struct EventExpression {
    expression: Expression,
    text: String,
}

/// The argument behind a slot. One that can fail is evaluated only where its FILTER passes.
#[derive(Debug, Clone)]
struct SlotInput {
    argument: EventExpression,
    guard: Option<usize>,
}

/// What a batch of events brings to a view.
#[derive(Debug)]
pub struct TakenIn {
    /// Rows of the batch that are in the view, ascending.
    pub rows: UInt32Array,
    /// Whether these are all rows of the batch.
    pub whole: bool,
    /// Key parts of those rows, none NULL.
    pub keys: Vec<ArrayRef>,
    /// What the window program carries of those rows.
    pub carried: Vec<ArrayRef>,
    /// Rows set aside for this view alone because an expression failed on them.
    pub set_aside: Vec<SetAside>,
}

/// The features of a batch of reads.
#[derive(Debug, Clone)]
pub struct ViewAnswers {
    /// One array for each feature of the view.
    pub features: Vec<ArrayRef>,
    /// Features that failed; their values are NULL. Ascending by feature, then row.
    pub failures: Vec<FeatureFailure>,
    /// Whether some frame of the view held an event as of the read's instant.
    pub known: BooleanArray,
}

impl ViewPlan {
    /// Binds a view to a window program.
    pub fn new(view: Arc<FeatureView>) -> Result<ViewPlan, FeatureError> {
        let mut filters: Vec<EventExpression> = Vec::new();
        let mut slots: Vec<SlotInput> = Vec::new();
        let mut calls = Vec::new();
        for aggregate in &view.aggregates {
            let spelled = |expression: &Expression| EventExpression {
                expression: expression.clone(),
                text: aggregate.text.clone(),
            };
            let filter = aggregate.filter.as_ref().map(|expression| {
                place(&mut filters, spelled(expression), |one, other| one.expression == other.expression)
            });
            let mut slot_of = |expression: &Expression| {
                let guard = filter.filter(|_| expression.can_fail());
                let input = SlotInput { argument: spelled(expression), guard };
                place(&mut slots, input, |one, other| {
                    one.guard == other.guard && one.argument.expression == other.argument.expression
                })
            };
            calls.push(Call {
                function: aggregate.function,
                argument: aggregate.argument.as_ref().map(&mut slot_of),
                by: aggregate.by.as_ref().map(&mut slot_of),
                filter,
                frame: aggregate.frame,
                data_type: aggregate.data_type.clone(),
            });
        }
        let described = slots.iter().map(|slot| Slot {
            data_type: slot.argument.expression.data_type().clone(),
            nullable: slot.argument.expression.nullable(),
        });
        let program = Program::new(view.frames.clone(), described.collect(), filters.len(), calls)
            .map_err(|source| FeatureError::Program { view: view.name.clone(), source })?;
        let aggregate_schema = nullable(&view.aggregate_scope().schema());
        Ok(ViewPlan { view, program: Arc::new(program), slots, filters, aggregate_schema })
    }

    /// The definition.
    pub fn view(&self) -> &Arc<FeatureView> {
        &self.view
    }

    /// The window program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Types of the key parts.
    pub fn key_types(&self) -> Vec<DataType> {
        self.view.key.iter().map(|part| part.expression.data_type().clone()).collect()
    }

    /// Evaluates the view's expressions over a batch of its stream. Only rows that are true in `used` are looked at.
    pub fn take_in(&self, batch: &RecordBatch, used: Option<&BooleanArray>) -> TakenIn {
        let mut taking = Taking::new(batch, used);
        if let Some(filter) = &self.view.filter {
            let passes = taking.evaluate(filter, "WHERE", None);
            taking.keep(passes.as_boolean());
        }
        let keys: Vec<ArrayRef> =
            self.view.key.iter().map(|part| normalize(&taking.evaluate(&part.expression, &part.text, None))).collect();
        let filters: Vec<BooleanArray> = self
            .filters
            .iter()
            .map(|filter| taking.evaluate(&filter.expression, &filter.text, None).as_boolean().clone())
            .collect();
        let slots: Vec<ArrayRef> = self
            .slots
            .iter()
            .map(|slot| {
                taking.evaluate(&slot.argument.expression, &slot.argument.text, slot.guard.map(|at| &filters[at]))
            })
            .collect();
        taken_in(taking, &self.program, keys, filters, slots)
    }

    /// Turns the answers of reads into the view's features.
    pub fn features(&self, finished: Finished) -> Result<ViewAnswers, FeatureError> {
        let rows = RecordBatchOptions::new().with_row_count(Some(finished.known.len()));
        let batch = RecordBatch::try_new_with_options(self.aggregate_schema.clone(), finished.columns, &rows)
            .map_err(|source| FeatureError::Arrow { object: format!("feature view `{}`", self.view.name), source })?;
        let mut failures = Vec::new();
        let mut features = Vec::with_capacity(self.view.features.len());
        for (place, feature) in self.view.features.iter().enumerate() {
            let evaluated = feature.expression.evaluate_each(&batch, None);
            let mut own = Vec::new();
            if !finished.failed.is_empty() || !evaluated.failures.is_empty() {
                own = failures_of(place, &feature.expression, &evaluated, |column| {
                    let failed = finished.failed.iter().filter(|failed| failed.call == column);
                    failed
                        .map(|one| FeatureFailure::of_aggregate(place, one, &self.view.aggregates[column].text))
                        .collect()
                });
            }
            features.push(without_failed(evaluated.values, &own));
            failures.append(&mut own);
        }
        Ok(ViewAnswers { features, failures, known: finished.known })
    }
}

/// What is left of the batch when everything is evaluated over it.
fn taken_in(
    mut taking: Taking<'_>,
    program: &Program,
    keys: Vec<ArrayRef>,
    filters: Vec<BooleanArray>,
    slots: Vec<ArrayRef>,
) -> TakenIn {
    taking.keep_whole_keys(&keys);
    let batch_rows = taking.batch_rows();
    let (rows, set_aside) = taking.end();
    let Some(rows) = rows else {
        let rows = UInt32Array::from_iter_values(0..batch_rows as u32);
        let carried = program.carry(&slots, &filters);
        return TakenIn { rows, whole: true, keys, carried, set_aside };
    };
    let kept = |array: &ArrayRef| filter(array, &rows).expect("one claim per row");
    let slots: Vec<ArrayRef> = slots.iter().map(kept).collect();
    let filters: Vec<BooleanArray> =
        filters.into_iter().map(|one| kept(&(Arc::new(one) as ArrayRef)).as_boolean().clone()).collect();
    TakenIn {
        rows: UInt32Array::from_iter_values(rows.values().set_indices_u32()),
        whole: false,
        keys: keys.iter().map(kept).collect(),
        carried: program.carry(&slots, &filters),
        set_aside,
    }
}

/// The schema with every column nullable: a failed answer is NULL whatever its aggregate promises.
pub(crate) fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new(fields))
}

/// The place of an equal element, or of `wanted` itself, appended.
fn place<T>(all: &mut Vec<T>, wanted: T, same: impl Fn(&T, &T) -> bool) -> usize {
    all.iter().position(|one| same(one, &wanted)).unwrap_or_else(|| {
        all.push(wanted);
        all.len() - 1
    })
}
