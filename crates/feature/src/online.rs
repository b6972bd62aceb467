//! One stream and its views, live in memory: arrivals are judged and taken in, reads answered as of an instant.
//!
//! This is the engine object of one process and one shard: it knows no clock, no log and no network. What it holds is a
//! function of the arrivals it was given, so that one given the same arrivals again, in batches of any size, answers the
//! same.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::row::{RowConverter, Rows, SortField};
use asof_window::{
    Accounting, Answers, Arrival, Cursor, Judge, KeyEncoder, Rejection, SortedEvents, TieBreak, Verdict, WindowState,
};

use crate::error::FeatureError;
use crate::stream::StreamPlan;
use crate::view::{SetAside, ViewAnswers, ViewPlan};

/// A stream with its judge and the state of its views.
#[derive(Debug)]
pub struct OnlineStream {
    plan: StreamPlan,
    judge: Judge,
    accounting: Accounting,
    primary_key: Option<RowConverter>,
    next_offsets: HashMap<u32, u64>,
    views: Vec<OnlineView>,
}

/// A batch of arrivals at one partition.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals<'a> {
    /// The partition.
    pub partition: u32,
    /// When they became visible, in microseconds.
    pub arrived_us: i64,
    /// The stream's columns; unreadable rows are NULL.
    pub batch: &'a RecordBatch,
    /// Rows that could not be read, ascending.
    pub unreadable: &'a [usize],
}

/// What became of a batch of arrivals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// One verdict for each row.
    pub verdicts: Vec<Verdict>,
    /// For each view in the order given, the used rows set aside for it.
    pub set_aside: Vec<Vec<SetAside>>,
}

#[derive(Debug)]
struct OnlineView {
    plan: ViewPlan,
    keys: KeyEncoder,
    state: WindowState,
}

impl OnlineStream {
    /// A stream and the views over it, with no events yet.
    pub fn new(plan: StreamPlan, views: Vec<ViewPlan>) -> Result<OnlineStream, FeatureError> {
        let stream = plan.stream().clone();
        let refused = |source| FeatureError::Arrow { view: stream.name.clone(), source };
        let key_columns = stream.primary_key.iter().map(|&column| stream.columns[column].data_type.clone());
        let fields: Vec<SortField> = key_columns.map(SortField::new).collect();
        let primary_key = if fields.is_empty() { None } else { Some(RowConverter::new(fields).map_err(refused)?) };
        let views = views.into_iter().map(OnlineView::new).collect::<Result<_, _>>()?;
        let judge = Judge::new(plan.rules());
        Ok(OnlineStream {
            plan,
            judge,
            accounting: Accounting::default(),
            primary_key,
            next_offsets: HashMap::new(),
            views,
        })
    }

    /// Judges the next arrivals of a partition and takes the used ones into all views.
    pub fn arrive(&mut self, arrivals: Arrivals<'_>) -> Result<Outcome, FeatureError> {
        let Arrivals { partition, batch, .. } = arrivals;
        let primary_keys = self.primary_keys(batch)?;
        let verdicts = self.verdicts(&arrivals, primary_keys.as_ref());
        let used: BooleanArray = verdicts.iter().map(|verdict| Some(*verdict == Verdict::Used)).collect();
        let next = self.next_offsets.entry(partition).or_default();
        let first_offset = *next;
        *next += batch.num_rows() as u64;
        let tie = |row: usize| TieBreak {
            primary_key: primary_keys.as_ref().map_or(&[], |keys| keys.row(row).data()),
            partition,
            offset: first_offset + row as u64,
        };
        let times: ArrayRef = batch.column(self.plan.stream().time_column).clone();
        let set_aside =
            self.views.iter_mut().map(|view| view.take_in(batch, &used, &times, tie)).collect::<Result<_, _>>()?;
        Ok(Outcome { verdicts, set_aside })
    }

    /// Counts of all verdicts so far.
    pub fn accounting(&self) -> Accounting {
        self.accounting
    }

    /// Reads entities of the view at `place` (in the order given to [`OnlineStream::new`]), each as of its instant in
    /// microseconds. `keys` are the parts of the entity key; a row with a NULL part answers like an entity never seen.
    pub fn read(&self, place: usize, keys: &[ArrayRef], instants_us: &[i64]) -> Result<ViewAnswers, FeatureError> {
        self.views[place].read(keys, instants_us)
    }

    fn primary_keys(&self, batch: &RecordBatch) -> Result<Option<Rows>, FeatureError> {
        let Some(converter) = &self.primary_key else { return Ok(None) };
        let stream = self.plan.stream();
        let columns: Vec<ArrayRef> =
            stream.primary_key.iter().map(|&column| asof_expression::normalize(batch.column(column))).collect();
        let rows = converter.convert_columns(&columns);
        rows.map(Some).map_err(|source| FeatureError::Arrow { view: stream.name.clone(), source })
    }

    fn verdicts(&mut self, arrivals: &Arrivals<'_>, primary_keys: Option<&Rows>) -> Vec<Verdict> {
        let Arrivals { partition, arrived_us, batch, unreadable } = *arrivals;
        let rejected = self.plan.rejected(batch, unreadable);
        let times = batch.column(self.plan.stream().time_column).as_primitive::<TimestampMicrosecondType>();
        let rejection = |row: usize| match unreadable.binary_search(&row) {
            Ok(_) => Some(Rejection::Unreadable),
            Err(_) => rejected.binary_search_by_key(&row, |one| one.row).ok().map(|place| rejected[place].rejection),
        };
        (0..batch.num_rows())
            .map(|row| {
                let key = primary_keys.map(|keys| keys.row(row));
                let verdict = self.judge.judge(
                    partition,
                    Arrival {
                        rejection: rejection(row),
                        time_us: if times.is_valid(row) { times.value(row) } else { 0 },
                        arrived_us,
                        primary_key: key.as_ref().map_or(&[], |key| key.data()),
                    },
                );
                self.accounting.count(verdict);
                verdict
            })
            .collect()
    }
}

impl OnlineView {
    fn new(plan: ViewPlan) -> Result<OnlineView, FeatureError> {
        let keys = KeyEncoder::new(&plan.key_types())
            .map_err(|source| FeatureError::Arrow { view: plan.view().name.clone(), source })?;
        let state = WindowState::new(plan.program().clone());
        Ok(OnlineView { plan, keys, state })
    }

    fn take_in<'a>(
        &mut self,
        batch: &RecordBatch,
        used: &BooleanArray,
        times: &ArrayRef,
        tie: impl Fn(usize) -> TieBreak<'a>,
    ) -> Result<Vec<SetAside>, FeatureError> {
        let refused = |source| FeatureError::Arrow { view: self.plan.view().name.clone(), source };
        let taken = self.plan.take_in(batch, Some(used));
        let times = take(times, &taken.rows, None).map_err(refused)?;
        let times: ScalarBuffer<i64> = times.as_primitive::<TimestampMicrosecondType>().values().clone();
        let events = SortedEvents::new(self.plan.program(), times, &taken.carried);
        let keys = self.keys.encode(&taken.keys).map_err(refused)?;
        self.state.append(&keys, &events.run(0, events.len()), |row| tie(taken.rows.value(row) as usize));
        Ok(taken.set_aside)
    }

    fn read(&self, parts: &[ArrayRef], instants_us: &[i64]) -> Result<ViewAnswers, FeatureError> {
        let refused = |source| FeatureError::Arrow { view: self.plan.view().name.clone(), source };
        let program = self.plan.program();
        let parts: Vec<ArrayRef> = parts.iter().map(asof_expression::normalize).collect();
        let keys = self.keys.encode(&parts).map_err(refused)?;
        let (mut cursor, mut answers) = (Cursor::new(program), Answers::with_capacity(program, instants_us.len()));
        for (row, t_us) in instants_us.iter().enumerate() {
            let whole = parts.iter().all(|part| part.is_valid(row));
            self.state.read(whole.then_some((&keys, row)), *t_us, &mut cursor, &mut answers);
        }
        self.plan.features(answers.finish())
    }
}
