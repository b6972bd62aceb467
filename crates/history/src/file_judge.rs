//! The judge of a file that is taken as arrivals (`order = 'file'`): the one that live streams have.

use arrow::array::Int64Array;
use asof_feature::{Faced, StreamPlan};
use asof_window::{Judge, Rules, Verdict};

use crate::event_batch::{Account, EventBatch};

/// The judge of a file's arrivals, and the arrival time that never decreases.
pub(crate) struct FileJudge {
    judge: Judge,
    arrived_us: i64,
}

impl FileJudge {
    /// One that has seen no arrival.
    pub(crate) fn new(rules: Rules) -> FileJudge {
        FileJudge { judge: Judge::new(rules), arrived_us: i64::MIN }
    }

    /// Judges a batch of arrivals; called in the file's order.
    pub(crate) fn judge(&mut self, plan: &StreamPlan, batch: &mut EventBatch) {
        let FileJudge { judge, arrived_us } = self;
        let faced = Faced {
            partition: 0,
            batch: &batch.rows,
            rejected: &batch.rejected,
            primary_keys: batch.primary_keys.as_ref(),
        };
        let mut arrivals = Vec::with_capacity(batch.rows.num_rows());
        let verdicts = plan.judge(judge, faced, |row, own_us| {
            *arrived_us = batch.given_arrival_us(row).or(own_us).unwrap_or(*arrived_us).max(*arrived_us);
            arrivals.push(*arrived_us);
            *arrived_us
        });
        if batch.arrived.is_some() {
            batch.arrived = Some(Int64Array::from(arrivals));
        }
        batch.used = Some(verdicts.iter().map(|verdict| Some(*verdict == Verdict::Used)).collect());
        let reasons = std::mem::take(&mut batch.account.reasons);
        batch.account = Account { reasons, ..Account::default() };
        verdicts.iter().for_each(|verdict| batch.account.verdicts.count(*verdict));
        if let Some(row) = verdicts.iter().position(|verdict| *verdict == Verdict::Late) {
            batch.account.example("late", batch.offsets.of(row), "event time is behind the watermark");
        }
    }
}
