//! A batch of a stream's events on its way from their source to the shards of the views, and what is known of its rows.

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::row::Rows;
use asof_connect::{Decoded, split_arrivals};
use asof_feature::{Rejected, StreamPlan};
use asof_window::{Accounting, Verdict};

use crate::error::HistoryError;
use crate::summary::Reason;

/// Rows of one stream, in the order of their offsets.
pub(crate) struct EventBatch {
    /// Its place among the batches of the stream.
    pub(crate) number: u64,
    pub(crate) offsets: Offsets,
    /// The stream's columns.
    pub(crate) rows: RecordBatch,
    /// Arrival times in microseconds; NULL where the event time stands for it.
    pub(crate) arrived: Option<Int64Array>,
    pub(crate) primary_keys: Option<Rows>,
    /// Which rows count; `None` is all.
    pub(crate) used: Option<BooleanArray>,
    /// Rows rejected on their face, of a batch that is judged here.
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) account: Account,
}

/// What became of the events of a batch, also of those that are no rows of it.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) verdicts: Accounting,
    /// The first event of each reason.
    pub(crate) reasons: Vec<Reason>,
    /// Used events whose arrival time was not known and is their event time.
    pub(crate) imputed: u64,
}

/// The offsets of a batch's rows.
#[derive(Debug)]
pub(crate) enum Offsets {
    /// From this one on without a gap.
    From(u64),
    /// One for each row, ascending.
    Each(UInt64Array),
}

impl EventBatch {
    /// Rows of a file, of which is known what can be told on their face; those that pass count as used so far.
    pub(crate) fn faced(plan: &StreamPlan, decoded: Decoded, arrival_column: Option<usize>) -> EventBatch {
        let Decoded { first_row, batch, unreadable } = decoded;
        let (rows, arrived) = split_arrivals(plan.stream(), arrival_column, &batch);
        let unreadable = unreadable.into_iter().map(|one| (one.row, one.detail)).collect();
        let rejected = plan.rejected(&rows, unreadable);
        let used = (!rejected.is_empty()).then(|| {
            let mut used = vec![true; rows.num_rows()];
            rejected.iter().for_each(|one| used[one.row] = false);
            BooleanArray::from(used)
        });
        let account = Account::on_its_face(&rejected, rows.num_rows(), first_row);
        let offsets = Offsets::From(first_row);
        EventBatch { number: 0, offsets, rows, arrived, primary_keys: None, used, rejected, account }
    }

    /// Event times in microseconds.
    pub(crate) fn times<'a>(&'a self, plan: &StreamPlan) -> &'a arrow::array::PrimitiveArray<TimestampMicrosecondType> {
        self.rows.column(plan.stream().time_column).as_primitive()
    }

    /// Arrival times in microseconds, event times where there are none.
    pub(crate) fn arrivals_us(&self, plan: &StreamPlan) -> Int64Array {
        let times = self.times(plan);
        match &self.arrived {
            None => Int64Array::new(times.values().clone(), None),
            Some(arrived) if arrived.null_count() == 0 => arrived.clone(),
            Some(arrived) => arrived.iter().zip(times.values()).map(|(own, time)| Some(own.unwrap_or(*time))).collect(),
        }
    }

    /// Whether a row counts.
    pub(crate) fn is_used(&self, row: usize) -> bool {
        self.used.as_ref().is_none_or(|used| used.value(row))
    }

    /// Some of the used rows, as ones that arrived at the instants in microseconds beside them.
    pub(crate) fn arriving_again(
        &self,
        plan: &StreamPlan,
        rows: &UInt32Array,
        arrived_us: Vec<i64>,
    ) -> Result<EventBatch, HistoryError> {
        let mut is_taken = vec![false; self.rows.num_rows()];
        rows.values().iter().for_each(|row| is_taken[*row as usize] = true);
        let is_taken = BooleanArray::from(is_taken);
        Ok(EventBatch {
            number: self.number,
            offsets: Offsets::Each(UInt64Array::from_iter_values(
                rows.values().iter().map(|row| self.offsets.of(*row as usize)),
            )),
            rows: take_record_batch(&self.rows, rows)?,
            arrived: Some(Int64Array::from(arrived_us)),
            primary_keys: self.primary_keys.as_ref().map(|keys| plan.keys_where(keys, &is_taken)),
            used: None,
            rejected: Vec::new(),
            account: Account::default(),
        })
    }

    /// The arrival time that its source gives for a row.
    pub(crate) fn given_arrival_us(&self, row: usize) -> Option<i64> {
        self.arrived.as_ref().filter(|given| given.is_valid(row)).map(|given| given.value(row))
    }
}

impl Account {
    fn on_its_face(rejected: &[Rejected], rows: usize, first_offset: u64) -> Account {
        let mut account = Account::default();
        for one in rejected {
            account.verdicts.count(Verdict::Rejected(one.rejection));
            account.example(one.rejection.name(), first_offset + one.row as u64, &one.detail);
        }
        account.verdicts.used += (rows - rejected.len()) as u64;
        account
    }

    /// Keeps the example if it is the first of its name; of one name they come in the order of offsets.
    pub(crate) fn example(&mut self, name: &str, offset: u64, detail: &str) {
        if self.reasons.iter().all(|reason| reason.name != name) {
            self.reasons.push(Reason { name: name.to_owned(), offset, detail: detail.to_owned() });
        }
    }
}

impl Offsets {
    pub(crate) fn of(&self, row: usize) -> u64 {
        match self {
            Offsets::From(first) => first + row as u64,
            Offsets::Each(offsets) => offsets.value(row),
        }
    }

    /// As a column of so many rows.
    pub(crate) fn column(&self, rows: usize) -> UInt64Array {
        match self {
            Offsets::From(first) => UInt64Array::from_iter_values(*first..first + rows as u64),
            Offsets::Each(offsets) => offsets.clone(),
        }
    }
}
