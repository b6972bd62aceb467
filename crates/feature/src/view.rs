//! A feature view bound to its window program: events in, features out.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{filter, prep_null_mask_filter, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use asof_definition::{FeatureView, KeyPart, Over, Stream, WindowedInput};
use asof_expression::{Expression, normalize};
use asof_window::{Call, Extent, Finished, Function, KeyEncoder, Program, Slot};

use crate::error::FeatureError;
use crate::failure::{FeatureFailure, failures_of, without_failed};
use crate::stream::is_not_true;
use crate::taking::{SetAside, Taking};

/// Names the one part of a key that has none.
const NO_KEY: &str = "<no key>";

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
    /// Of a view over the rows of a table.
    rows: Option<TableRows>,
    /// Whether its entities are those behind the rows of a group window: NULL is one of them, and they may have no key.
    is_of_windows: bool,
    /// Of a view over groups of them.
    groups: Option<TableGroups>,
}

/// How a view over the rows of a table takes versions in: all of them, each with a claim, behind the other slots, that it
/// is a row. It is the newest version that counts, so that one which is none must stand where it ends what was before.
#[derive(Debug, Clone, Copy)]
struct TableRows {
    /// The column that is true in a delete marker.
    deleted: Option<usize>,
}

/// How a view over groups of a table's rows takes versions in: those that are rows of it, each with the instant at which it
/// ends behind the other slots. They come as lasting for ever, and [`ViewPlan::ending`] says otherwise.
#[derive(Debug, Clone, Copy)]
struct TableGroups {
    /// The column that is true in a delete marker.
    deleted: Option<usize>,
    /// The carried column that the instant lies in.
    end_column: usize,
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
#[derive(Debug, Clone)]
pub struct TakenIn {
    /// Rows of the batch that are in the view, ascending. In a view over the rows of a table all versions are.
    pub rows: UInt32Array,
    /// Whether these are all rows of the batch.
    pub whole: bool,
    /// Key parts of those rows, none NULL but in groups.
    pub keys: Vec<ArrayRef>,
    /// What the window program carries of those rows.
    pub carried: Vec<ArrayRef>,
    /// Rows set aside for this view alone because an expression failed on them.
    pub set_aside: Vec<SetAside>,
    /// In a view over the rows of a table, which of the versions are rows of it: delete markers are not, nor what does not
    /// pass WHERE or is set aside. `None` is all.
    pub live: Option<BooleanArray>,
}

/// The features of a batch of reads.
#[derive(Debug, Clone)]
pub struct ViewAnswers {
    /// One array for each feature of the view.
    pub features: Vec<ArrayRef>,
    /// Features that failed; their values are NULL. Ascending by feature, then row.
    pub failures: Vec<FeatureFailure>,
    /// Whether some frame of the view held an event as of the read's instant; of a table, whether it had the row.
    pub known: BooleanArray,
}

impl ViewPlan {
    /// Binds a view to a window program.
    pub fn new(view: Arc<FeatureView>) -> Result<ViewPlan, FeatureError> {
        let rows = match &view.over {
            Over::Row(table) => Some(TableRows { deleted: table.deleted }),
            Over::Events | Over::Groups(_) => None,
        };
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
        let mut described: Vec<Slot> = described.collect();
        if rows.is_some() {
            calls.push(live_call(described.len()));
            described.push(Slot { data_type: DataType::Boolean, nullable: false });
        }
        let end = matches!(view.over, Over::Groups(_)).then_some(described.len());
        described.extend(end.map(|_| Slot { data_type: DataType::Int64, nullable: false }));
        let program = Program::new(view.frames.clone(), described, filters.len(), calls)
            .map_err(|source| FeatureError::Program { view: view.name.clone(), source })?;
        let program = if let Some(end) = end { program.over_events_that_end(end) } else { program };
        let groups = match (&view.over, program.end_column()) {
            (Over::Groups(table), Some(end_column)) => Some(TableGroups { deleted: table.deleted, end_column }),
            _ => None,
        };
        let aggregate_schema = nullable(&view.aggregate_scope().schema());
        let is_of_windows = false;
        Ok(ViewPlan { view, program: Arc::new(program), slots, filters, aggregate_schema, rows, is_of_windows, groups })
    }

    /// Binds the view behind the rows of a group window.
    pub(crate) fn of_windows(window: &WindowedInput) -> Result<ViewPlan, FeatureError> {
        Ok(ViewPlan { is_of_windows: true, ..ViewPlan::new(window.view.clone())? })
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
        self.key_fields().iter().map(|field| field.data_type().clone()).collect()
    }

    /// What makes keys of the parts. A key without parts is one number, always the same.
    pub(crate) fn key_encoder(&self) -> Result<KeyEncoder, ArrowError> {
        match self.is_of_windows {
            true => KeyEncoder::of_groups(&self.key_fields()),
            false => KeyEncoder::new(&self.key_types()),
        }
    }

    fn key_fields(&self) -> Vec<Field> {
        let field =
            |part: &KeyPart| Field::new(&part.name, part.expression.data_type().clone(), part.expression.nullable());
        let fields: Vec<Field> = self.view.key.iter().map(field).collect();
        if fields.is_empty() { vec![Field::new(NO_KEY, DataType::Int64, false)] } else { fields }
    }

    /// The derived stream that it alone reads, which joins tables before its WHERE.
    pub fn joined_stream(&self) -> Option<&Arc<Stream>> {
        let is_own = self.view.stream.derivation().is_some_and(|derivation| derivation.of_view.is_some());
        is_own.then_some(&self.view.stream)
    }

    /// Whether it is over groups of a table's rows: how long a version is in it depends on the others of its key.
    pub fn is_over_groups(&self) -> bool {
        self.groups.is_some()
    }

    /// The columns of its stream that it reads; some more than once.
    pub(crate) fn columns_read(&self) -> Vec<usize> {
        let keys = self.view.key.iter().map(|part| &part.expression);
        let slots = self.slots.iter().map(|slot| &slot.argument);
        let events = self.filters.iter().chain(slots).map(|one| &one.expression);
        self.view.filter.iter().chain(keys).chain(events).flat_map(Expression::columns).collect()
    }

    /// How far before an as-of instant, in microseconds, an event may lie that counts; `None` is any time.
    pub(crate) fn reach_us(&self) -> Option<i64> {
        let reaches = self.view.frames.iter().map(|frame| match frame.extent {
            Extent::Range { preceding_us, .. } => preceding_us,
            Extent::Rows { .. } | Extent::Group { .. } => None,
        });
        reaches.collect::<Option<Vec<i64>>>()?.into_iter().max()
    }

    /// Evaluates the view's expressions over a batch of its stream. Only rows that are true in `used` are looked at.
    pub fn take_in(&self, batch: &RecordBatch, used: Option<&BooleanArray>) -> TakenIn {
        if let Some(rows) = self.rows {
            return self.take_in_rows(rows, batch, used);
        }
        let mut taking = Taking::new(batch, used);
        if let Some(deleted) = self.groups.and_then(|groups| groups.deleted) {
            taking.keep(&is_not_true(batch.column(deleted).as_boolean()));
        }
        self.keep_passing(&mut taking);
        let keys = self.keys(&mut taking);
        let filters: Vec<BooleanArray> = self
            .filters
            .iter()
            .map(|filter| taking.evaluate(&filter.expression, &filter.text, None).as_boolean().clone())
            .collect();
        let mut slots: Vec<ArrayRef> = self
            .slots
            .iter()
            .map(|slot| {
                taking.evaluate(&slot.argument.expression, &slot.argument.text, slot.guard.map(|at| &filters[at]))
            })
            .collect();
        if !self.is_of_windows {
            taking.keep_whole_keys(&keys);
        }
        slots.extend(self.groups.map(|_| ends(vec![i64::MAX; batch.num_rows()])));
        taken_in(taking, &self.program, keys, filters, slots)
    }

    /// What a view over groups took in of a batch, with the instants in microseconds at which its rows end, row by row of the
    /// batch. What any other took in stays as it is.
    pub fn ending(&self, taken: TakenIn, ends_us: &[i64]) -> TakenIn {
        let Some(TableGroups { end_column, .. }) = self.groups else { return taken };
        let own = taken.rows.values().iter().map(|row| ends_us[*row as usize]);
        let mut carried = taken.carried;
        carried[end_column] = ends(own.collect());
        TakenIn { carried, ..taken }
    }

    /// Versions of a table: all that are used come in. Their keys and columns are bare columns, none of the key NULL, so
    /// that WHERE alone can fail.
    fn take_in_rows(&self, rows: TableRows, batch: &RecordBatch, used: Option<&BooleanArray>) -> TakenIn {
        let mut taking = Taking::new(batch, used);
        let keys = self.keys(&mut taking);
        let mut slots: Vec<ArrayRef> = self
            .slots
            .iter()
            .map(|slot| taking.evaluate(&slot.argument.expression, &slot.argument.text, None))
            .collect();
        if let Some(deleted) = rows.deleted {
            taking.keep(&is_not_true(batch.column(deleted).as_boolean()));
        }
        self.keep_passing(&mut taking);
        let (live, set_aside) = taking.end();
        let live = live.unwrap_or_else(|| BooleanArray::from(vec![true; batch.num_rows()]));
        slots.push(Arc::new(live.clone()));
        let versions = Taking::new(batch, used);
        let taken = taken_in(versions, &self.program, keys, Vec::new(), slots);
        let own = |live| filter(&live, used.expect("only some rows are in")).expect("one claim per row");
        let live = if taken.whole { live } else { own(live).as_boolean().clone() };
        TakenIn { set_aside, live: Some(live), ..taken }
    }

    fn keep_passing(&self, taking: &mut Taking<'_>) {
        if let Some(filter) = &self.view.filter {
            let passes = taking.evaluate(filter, "WHERE", None);
            taking.keep(passes.as_boolean());
        }
    }

    fn keys(&self, taking: &mut Taking<'_>) -> Vec<ArrayRef> {
        if self.view.key.is_empty() {
            return vec![Arc::new(Int64Array::from(vec![0; taking.batch_rows()]))];
        }
        self.view.key.iter().map(|part| normalize(&taking.evaluate(&part.expression, &part.text, None))).collect()
    }

    /// Turns the answers of reads into the view's features.
    pub fn features(&self, mut finished: Finished) -> Result<ViewAnswers, FeatureError> {
        if self.rows.is_some() {
            let live = finished.columns.pop().expect("the last answer says whether there is a row");
            finished.known = is_true(live.as_boolean());
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(finished.known.len()));
        // Without a row all features are NULL, whatever their expressions make of NULLs.
        let asked = self.rows.map(|_| &finished.known);
        let batch = RecordBatch::try_new_with_options(self.aggregate_schema.clone(), finished.columns, &rows)
            .map_err(|source| FeatureError::Arrow { object: format!("feature view `{}`", self.view.name), source })?;
        let mut failures = Vec::new();
        let mut features = Vec::with_capacity(self.view.features.len());
        for (place, feature) in self.view.features.iter().enumerate() {
            let evaluated = feature.expression.evaluate_each(&batch, asked);
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

impl TakenIn {
    /// Those of its rows at these places among them, which ascend. What is set aside is told of all.
    pub(crate) fn at(&self, places: &UInt32Array) -> Result<TakenIn, ArrowError> {
        let kept = |all: &[ArrayRef]| all.iter().map(|array| take(array, places, None)).collect::<Result<_, _>>();
        Ok(TakenIn {
            rows: places.values().iter().map(|place| self.rows.value(*place as usize)).collect::<Vec<u32>>().into(),
            whole: false,
            keys: kept(&self.keys)?,
            carried: kept(&self.carried)?,
            set_aside: Vec::new(),
            live: None,
        })
    }
}

fn ends(ends_us: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(ends_us))
}

/// What is left of the batch when everything is evaluated over it.
fn taken_in(
    taking: Taking<'_>,
    program: &Program,
    keys: Vec<ArrayRef>,
    filters: Vec<BooleanArray>,
    slots: Vec<ArrayRef>,
) -> TakenIn {
    let batch_rows = taking.batch_rows();
    let (rows, set_aside) = taking.end();
    let Some(rows) = rows else {
        let rows = UInt32Array::from_iter_values(0..batch_rows as u32);
        let carried = program.carry(&slots, &filters);
        return TakenIn { rows, whole: true, keys, carried, set_aside, live: None };
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
        live: None,
    }
}

/// Whether the newest version is a row, from the slot that claims it.
fn live_call(slot: usize) -> Call {
    let (by, filter) = (None, None);
    Call { function: Function::LastValue, argument: Some(slot), by, filter, frame: 0, data_type: DataType::Boolean }
}

/// Where a claim is true; NULL is not.
fn is_true(claims: &BooleanArray) -> BooleanArray {
    if claims.null_count() == 0 { claims.clone() } else { prep_null_mask_filter(claims) }
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
