//! What a frame leaves out of the events that it reaches: EXCLUDE at the end of a frame in SQL.
//!
//! ```text
//!   events of time                1   2   3   3   3   4          as of the second event of time 3, which is the current row
//!   RANGE 2 PRECEDING            [●   ●   ●   ●   ●)  ○
//!   … EXCLUDE CURRENT ROW        [●   ●   ●)  ○  [●)  ○          the only run with a gap: cursors close it for one answer
//!   … EXCLUDE GROUP              [●   ●)  ○   ○   ○   ○
//!   ROWS 2 PRECEDING              ○  [●   ●   ●)  ○   ○
//!   … EXCLUDE CURRENT ROW         ○  [●   ●)  ○   ○   ○
//!   … EXCLUDE GROUP               ○  [●)  ○   ○   ○   ○
//! ```
//! A read of an instant has no current row. Of ROWS frames the newest event stands as it; of RANGE frames it is as if one
//! stood at the instant that is no event itself, so that EXCLUDE GROUP leaves out the events of exactly that instant.
//!
//! Rule kept here: what is left out lies at the end of a run, but for a current row that events of its time follow.

use crate::cursor::ReadAt;
use crate::events::Events;
use crate::frame::{Extent, Frame, first_from};

/// What a frame leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exclusion {
    /// `EXCLUDE NO OTHERS`: nothing.
    NoOthers,
    /// `EXCLUDE CURRENT ROW`: the current row, not its peers.
    CurrentRow,
    /// `EXCLUDE GROUP`: the current row and its peers, which are all events of its time.
    Group,
}

impl Frame {
    /// Where the run ends that without an exclusion would end at `end`. A current row that peers follow stays in it.
    pub(crate) fn end_of_rest<E: Events>(&self, events: &E, t_us: i64, current: Option<usize>, end: usize) -> usize {
        let newest = end.checked_sub(1);
        match (self.extent, self.exclusion, newest) {
            (_, Exclusion::NoOthers, _) | (_, _, None) => end,
            (Extent::Rows { .. }, Exclusion::CurrentRow, Some(newest)) => newest,
            (Extent::Rows { .. }, Exclusion::Group, Some(newest)) => first_from(events, events.time_us(newest), newest),
            (Extent::Range { lag_us: 0, .. }, Exclusion::CurrentRow, Some(newest)) if current == Some(newest) => newest,
            (Extent::Range { lag_us: 0, .. }, Exclusion::Group, Some(newest)) => first_from(events, t_us, newest),
            // One that lags ends before the current row; group windows have none.
            (Extent::Range { .. } | Extent::Group { .. }, _, _) => end,
        }
    }

    /// Whether the frame leaves out a current row that peers follow, so that its run has a gap.
    pub(crate) fn has_gap_among_peers(&self) -> bool {
        self.exclusion == Exclusion::CurrentRow && matches!(self.extent, Extent::Range { lag_us: 0, .. })
    }

    /// Whether a read as of the instant of an event counts that event.
    pub fn counts_the_instant(&self) -> bool {
        match (self.extent, self.exclusion) {
            (Extent::Range { lag_us, .. }, exclusion) => lag_us == 0 && exclusion != Exclusion::Group,
            (Extent::Rows { preceding }, Exclusion::CurrentRow) => preceding > 0,
            (Extent::Rows { .. }, exclusion) => exclusion == Exclusion::NoOthers,
            (Extent::Group { .. }, _) => true,
        }
    }

    /// How many events the frame holds at most; `None` where it does not count them.
    pub fn events_max(&self) -> Option<u128> {
        let Extent::Rows { preceding } = self.extent else { return None };
        Some(u128::from(preceding) + u128::from(self.exclusion == Exclusion::NoOthers))
    }
}

/// The current row of a read, if peers follow it: then frames [have a gap](Frame::has_gap_among_peers) there.
#[inline]
pub(crate) fn gap_among_peers<E: Events>(events: &E, at: ReadAt) -> Option<usize> {
    at.current.filter(|current| current + 1 < events.len() && events.time_us(current + 1) <= at.t_us)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::{Answers, Finished};
    use crate::cursor::Cursor;
    use crate::cursor::tests::{MINUTE_US, Sample, carried, frames_with_exclusions, program, sample, slots};
    use crate::cursor::tests::{reads, sorted, steps};
    use crate::excluding::Excluding;
    use crate::frame::tests::model;
    use crate::program::{Call, Program};
    use arrow::array::Array;
    use proptest::prelude::*;

    /// Samples of which many have the same time.
    fn peers() -> impl Strategy<Value = Vec<Sample>> {
        let sample = sample().prop_map(|sample| Sample { minute: sample.minute.div_euclid(30) * 30, ..sample });
        prop::collection::vec(sample, 0..60).prop_map(sorted)
    }

    /// A read of each event, as of its own time, and those of a walk.
    fn reads_of_all(samples: &[Sample], steps: &[i64]) -> Vec<ReadAt> {
        let each = samples.iter().enumerate();
        let each = each.map(|(index, sample)| ReadAt { t_us: sample.minute * MINUTE_US, current: Some(index) });
        each.chain(reads(samples, steps)).collect()
    }

    /// The calls over one frame, over all events that there are.
    fn over_everything(program: &Program, frame: usize) -> Program {
        let calls = program.calls().iter().filter(|call| call.frame == frame);
        let calls = calls.map(|call| Call { frame: 0, ..call.clone() }).collect();
        Program::new(vec![Frame::LIFETIME], slots(), 1, calls).unwrap()
    }

    fn answer_over<E: Events>(program: &Program, events: &E, at: ReadAt) -> Finished {
        let mut answers = Answers::with_capacity(program, 1);
        Cursor::new(program).read(program, events, at, &mut answers);
        answers.finish()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn answers_are_those_over_the_events_that_are_left(samples in peers(), steps in steps()) {
            let program = program(frames_with_exclusions());
            let events = carried(&program, &samples);
            let events = events.run(0, events.len());
            let times: Vec<i64> = samples.iter().map(|sample| sample.minute * MINUTE_US).collect();
            let mut cursor = Cursor::new(&program);
            for at in reads_of_all(&samples, &steps) {
                let mut found = Answers::with_capacity(&program, 1);
                cursor.read(&program, &events, at, &mut found);
                let found = found.finish();
                let mut is_known = false;
                for (place, frame) in program.frames().iter().enumerate() {
                    let held = model(*frame, &times, at.t_us, at.current);
                    let others: Vec<usize> = (0..times.len()).filter(|index| !held.contains(index)).collect();
                    let plain = over_everything(&program, place);
                    let left = Excluding::new(&events, &others);
                    let expected = answer_over(&plain, &left, ReadAt { current: None, ..at });
                    let own = program.calls().iter().zip(&found.columns).filter(|(call, _)| call.frame == place);
                    for ((call, found), expected) in own.zip(&expected.columns) {
                        prop_assert_eq!(found.to_data(), expected.to_data(), "{:?} {:?} of {:?}", frame, call, at);
                    }
                    is_known |= !held.is_empty();
                }
                prop_assert_eq!(found.known.value(0), is_known);
            }
        }
    }

    #[test]
    fn a_frame_of_rows_holds_one_event_less() {
        let rows = Frame::of(Extent::Rows { preceding: u64::MAX });
        assert_eq!(rows.events_max(), Some(1 << 64));
        assert_eq!(Frame { exclusion: Exclusion::CurrentRow, ..rows }.events_max(), Some((1 << 64) - 1));
        assert_eq!(Frame::LIFETIME.events_max(), None);
    }
}
