//! How far the events of a file have come, and at which arrivals: what closes the windows over it.
//!
//! ```text
//!   arrived      10:00:11   10:01:15   10:01:20        taken as arrivals: an event is there from its arrival on
//!   event time   10:00:10   10:01:12   10:00:58
//!   newest       10:00:10   10:01:12   10:01:12 ▶ steps (10:00:11, 10:00:10), (10:01:15, 10:01:12)
//! ```
//! Rules kept here:
//! - the watermark is the newest used event less the lateness; no clock has a part in it;
//! - a file in event-time order is played in that order, where an event is there no sooner than all before it: so what a
//!   window has is there before its row is. So are the versions of a table in such a file, for which no window stays open.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt64Type};
use asof_definition::Stream;
use asof_feature::StreamPlan;

use crate::budget::Budget;
use crate::duplicates::Duplicates;
use crate::error::HistoryError;
use crate::event_batch::EventBatch;
use crate::inputs::Input;
use crate::job::{Job, Knowledge};
use crate::partitions::Partitions;
use crate::room::Room;
use crate::source::Judgement;

/// The watermark of a file whose events are still coming, from any thread and in any order.
pub(crate) struct WatermarkBeingRead {
    judgement: Judgement,
    knowledge: Knowledge,
    /// Where events wait that may turn out to be duplicates, or to come before others; `None` where steps can be taken at once.
    waiting: Option<Partitions>,
    steps: Mutex<Vec<Step>>,
    budget: Arc<Budget>,
}

/// How the watermark of a file went on.
#[derive(Debug)]
pub(crate) struct Watermark {
    lateness_us: i64,
    /// Ascending in both.
    steps: Vec<Step>,
    /// Of a file that is played: from an event time on, when all up to it are there. Ascending in both.
    there: Vec<Step>,
    budget: Arc<Budget>,
}

/// From an arrival on there was a newer event than before. Both in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// 0 where arrivals do not matter.
    arrived_us: i64,
    newest_us: i64,
}

impl WatermarkBeingRead {
    pub(crate) fn new(job: &Job, input: &Input, room: &Room, shards: usize) -> WatermarkBeingRead {
        let judgement = input.source.judgement();
        let plays = judgement == Judgement::ByEventTime && job.knowledge == Knowledge::AsServed;
        let fields = vec![
            Field::new("time", DataType::Int64, false),
            Field::new("arrived", DataType::Int64, false),
            Field::new("offset", DataType::UInt64, false),
        ];
        let waits = plays || input.searches_repeats();
        WatermarkBeingRead {
            judgement,
            knowledge: job.knowledge,
            waiting: waits.then(|| room.partitions(Arc::new(Schema::new(fields)), shards)),
            steps: Mutex::default(),
            budget: room.budget.clone(),
        }
    }

    /// Takes note of the used rows of a judged batch.
    pub(crate) fn take_in(&self, plan: &StreamPlan, batch: &EventBatch) -> Result<(), HistoryError> {
        let times = Int64Array::new(batch.times(plan).values().clone(), None);
        let arrived = match self.knowledge {
            Knowledge::AsServed => batch.arrivals_us(plan),
            Knowledge::EventTime => Int64Array::from(vec![0; times.len()]),
        };
        match &self.waiting {
            Some(waiting) => {
                let offsets = batch.offsets.column(times.len());
                let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(arrived), Arc::new(offsets)];
                let rows = RecordBatch::try_new(waiting.schema().clone(), columns)?;
                let rows = batch.used.as_ref().map_or(Ok(rows.clone()), |used| filter_record_batch(&rows, used))?;
                let shard = (batch.number % waiting.len() as u64) as u32;
                waiting.scatter(batch.number, &rows, &vec![shard; rows.num_rows()])?;
            }
            None => {
                let used = (0..times.len()).filter(|row| batch.is_used(*row));
                let steps = used.map(|row| Step { arrived_us: arrived.value(row), newest_us: times.value(row) });
                let steps = rising(steps);
                self.budget.take(size_of_val(&steps[..]));
                self.steps.lock().unwrap_or_else(PoisonError::into_inner).extend(steps);
            }
        }
        Ok(())
    }

    /// All events are there, and which of them are duplicates.
    pub(crate) fn finish(self, stream: &Stream, duplicates: &Duplicates) -> Result<Watermark, HistoryError> {
        let mut steps = self.steps.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.budget.give_back(size_of_val(&steps[..]));
        for (waiting, shard) in
            self.waiting.iter().flat_map(|waiting| (0..waiting.len()).map(move |shard| (waiting, shard)))
        {
            let rows = waiting.take(shard)?;
            let times = rows.column(0).as_primitive::<Int64Type>().values();
            let arrived = rows.column(1).as_primitive::<Int64Type>().values();
            let offsets = rows.column(2).as_primitive::<UInt64Type>().values();
            let used = (0..rows.num_rows()).filter(|row| !duplicates.hold(offsets[*row]));
            let own = used.map(|row| Step { arrived_us: arrived[row], newest_us: times[row] });
            match self.knowledge {
                Knowledge::AsServed => steps.extend(own),
                Knowledge::EventTime => steps.extend(rising(own)),
            }
        }
        match self.judgement {
            Judgement::ByEventTime => steps.sort_unstable_by_key(|step| (step.newest_us, step.arrived_us)),
            Judgement::AsArrivals | Judgement::AsStored => {
                steps.sort_unstable_by_key(|step| (step.arrived_us, step.newest_us));
            }
        }
        let plays = self.judgement == Judgement::ByEventTime && self.knowledge == Knowledge::AsServed;
        let there = if plays { delays(&steps) } else { Vec::new() };
        let steps = rising(steps.into_iter());
        self.budget.take(size_of_val(&steps[..]) + size_of_val(&there[..]));
        Ok(Watermark { lateness_us: stream.lateness_us, steps, there, budget: self.budget })
    }
}

/// What is left of steps one after the other where only those count that go on.
fn rising(steps: impl Iterator<Item = Step>) -> Vec<Step> {
    let mut rising: Vec<Step> = Vec::new();
    let (mut arrived_us, mut newest_us) = (i64::MIN, i64::MIN);
    for step in steps {
        arrived_us = arrived_us.max(step.arrived_us);
        newest_us = newest_us.max(step.newest_us);
        match rising.last_mut() {
            Some(last) if last.newest_us == newest_us => {}
            Some(last) if last.arrived_us == arrived_us => last.newest_us = newest_us,
            _ => rising.push(Step { arrived_us, newest_us }),
        }
    }
    rising
}

/// Of steps by event time, those that arrived later than all before them.
fn delays(steps: &[Step]) -> Vec<Step> {
    let mut delays: Vec<Step> = Vec::new();
    for step in steps {
        match delays.last_mut() {
            Some(last) if last.arrived_us >= step.arrived_us => {}
            Some(last) if last.newest_us == step.newest_us => last.arrived_us = step.arrived_us,
            _ => delays.push(*step),
        }
    }
    delays
}

impl Watermark {
    /// Where it stands at the end, in microseconds; `None` without any event.
    pub(crate) fn last_us(&self) -> Option<i64> {
        self.steps.last().map(|step| self.at(step))
    }

    /// The arrival by which it had passed an instant, both in microseconds; `None` if it never did.
    pub(crate) fn passed_us(&self, time_us: i64) -> Option<i64> {
        let first = self.steps.partition_point(|step| self.at(step) <= time_us);
        self.steps.get(first).map(|step| step.arrived_us)
    }

    /// The arrival by which all were there that a played file has up to an instant, both in microseconds; `None` where it has
    /// none.
    pub(crate) fn there_us(&self, time_us: i64) -> Option<i64> {
        let behind = self.there.partition_point(|step| step.newest_us <= time_us);
        self.there[..behind].last().map(|step| step.arrived_us)
    }

    fn at(&self, step: &Step) -> i64 {
        step.newest_us.saturating_sub(self.lateness_us)
    }
}

impl Drop for Watermark {
    fn drop(&mut self) {
        self.budget.give_back(size_of_val(&self.steps[..]) + size_of_val(&self.there[..]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(steps: &[(i64, i64)], expect: &[(i64, i64)], passed: &[(i64, Option<i64>)]) {
        let steps = steps.iter().map(|(arrived_us, newest_us)| Step { arrived_us: *arrived_us, newest_us: *newest_us });
        let steps = rising(steps);
        assert_eq!(steps.iter().map(|step| (step.arrived_us, step.newest_us)).collect::<Vec<_>>(), expect);
        let watermark =
            Watermark { lateness_us: 10, steps, there: Vec::new(), budget: Arc::new(Budget::new(usize::MAX)) };
        watermark.budget.take(size_of_val(&watermark.steps[..]));
        for (time_us, expect) in passed {
            assert_eq!(watermark.passed_us(*time_us), *expect, "{time_us}");
        }
    }

    #[test]
    fn it_passes_an_instant_by_the_first_event_that_is_newer_by_more_than_the_lateness() {
        let arrivals = [(1, 20), (2, 15), (2, 30), (5, 30), (6, 31)];
        check(&arrivals, &[(1, 20), (2, 30), (6, 31)], &[(9, Some(1)), (10, Some(2)), (20, Some(6)), (21, None)]);
    }

    #[test]
    fn played_in_event_time_order_an_event_is_there_no_sooner_than_those_before_it() {
        let played = [(1, 20), (7, 21), (3, 40), (9, 50), (9, 60)];
        check(&played, &[(1, 20), (7, 40), (9, 60)], &[(9, Some(1)), (10, Some(7)), (30, Some(9)), (50, None)]);
    }

    #[test]
    fn played_in_event_time_order_all_up_to_an_instant_are_there_with_the_last_of_them_to_arrive() {
        let step = |(arrived_us, newest_us): &(i64, i64)| Step { arrived_us: *arrived_us, newest_us: *newest_us };
        let played: Vec<Step> = [(5, 20), (9, 20), (7, 21), (8, 30), (12, 30), (11, 40)].iter().map(step).collect();
        let there = delays(&played);
        assert_eq!(there, [(9, 20), (12, 30)].iter().map(step).collect::<Vec<_>>());
        let watermark =
            Watermark { lateness_us: 0, steps: Vec::new(), there, budget: Arc::new(Budget::new(usize::MAX)) };
        watermark.budget.take(size_of_val(&watermark.there[..]));
        let found = [19, 20, 29, 30, 50].map(|time_us| watermark.there_us(time_us));
        assert_eq!(found, [None, Some(9), Some(9), Some(12), Some(12)]);
    }

    #[test]
    fn without_events_nothing_passes() {
        check(&[], &[], &[(i64::MIN, None)]);
    }
}
