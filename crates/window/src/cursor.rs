//! A cursor reads one entity's features as of an instant. It keeps, for each frame, the run of events it stands on and
//! the accumulators over that run; the next read slides there if that is near, and starts anew if it is not. Either way
//! the answer is the same: accumulators are exact and forget nothing wrongly.
//!
//! ```text
//!            events in order  ─────────────────────────────────▶ time
//!   run of the last read            [●●●●●●●●●)
//!   run as of t                          [●●●●●●●)      leave 5, enter 3
//! ```

use std::ops::Range;

use crate::accumulator::{Accumulator, answer_value};
use crate::aggregate::Function;
use crate::answers::{AnswerColumn, Answers, Failure};
use crate::events::Events;
use crate::exact::Step;
use crate::program::{Call, Program, Source};

/// The instant and the row that a read stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadAt {
    /// The as-of instant in microseconds.
    pub t_us: i64,
    /// Index of the event that ROWS frames end at; `None` for the newest event up to the instant.
    pub current: Option<usize>,
}

/// A reader of one entity at a time.
#[derive(Debug, Clone)]
pub struct Cursor {
    frames: Vec<FrameState>,
}

#[derive(Debug, Clone)]
struct FrameState {
    run: Range<usize>,
    accumulators: Vec<Accumulator>,
}

impl Cursor {
    /// A cursor for `program`, standing on no events.
    pub fn new(program: &Program) -> Cursor {
        let frames = program.accumulators().iter().map(|inputs| FrameState {
            run: 0..0,
            accumulators: inputs.iter().map(|input| Accumulator::new(program, input)).collect(),
        });
        Cursor { frames: frames.collect() }
    }

    /// Leaves all events, for another entity or after its events changed in a way not told.
    pub fn reset(&mut self, program: &Program) {
        for (frame, inputs) in self.frames.iter_mut().zip(program.accumulators()) {
            if !frame.run.is_empty() {
                for (accumulator, input) in frame.accumulators.iter_mut().zip(inputs) {
                    accumulator.clear(program, input);
                }
            }
            frame.run = 0..0;
        }
    }

    /// Appends the answers of one read to `answers`.
    pub fn read<E: Events>(&mut self, program: &Program, events: &E, at: ReadAt, answers: &mut Answers) {
        let mut known = false;
        for place in 0..self.frames.len() {
            self.slide(program, events, place, at);
            known |= !self.frames[place].run.is_empty();
        }
        for (place, (call, source)) in program.calls().iter().zip(program.sources()).enumerate() {
            if let Err(failure) = self.answer(program, events, call, *source, answers.column(place)) {
                answers.fail(place, failure);
            }
        }
        answers.end_row(known);
    }

    /// Told that an event was inserted at `index`: runs after it shift, runs around it take it in.
    pub fn inserted<E: Events>(&mut self, program: &Program, events: &E, index: usize) {
        for (frame, inputs) in self.frames.iter_mut().zip(program.accumulators()) {
            if index >= frame.run.end {
                continue;
            }
            if frame.accumulators.iter().any(Accumulator::names_indexes) {
                frame
                    .accumulators
                    .iter_mut()
                    .zip(inputs)
                    .for_each(|(accumulator, input)| accumulator.clear(program, input));
                frame.run = 0..0;
                continue;
            }
            frame.run.end += 1;
            if index <= frame.run.start {
                frame.run.start += 1;
                continue;
            }
            for (accumulator, input) in frame.accumulators.iter_mut().zip(inputs) {
                accumulator.step(program, input, events, index, Step::Enter);
            }
        }
    }

    fn slide<E: Events>(&mut self, program: &Program, events: &E, place: usize, at: ReadAt) {
        let frame = &mut self.frames[place];
        let old = frame.run.clone();
        let new = program.frames()[place].bounds(events, at.t_us, at.current, &old);
        if new == old {
            return;
        }
        let moves = old.start.abs_diff(new.start) + old.end.abs_diff(new.end);
        let inputs = &program.accumulators()[place];
        for (accumulator, input) in frame.accumulators.iter_mut().zip(inputs) {
            let mut step = |range: Range<usize>, step| {
                range.for_each(|index| accumulator.step(program, input, events, index, step));
            };
            if moves <= new.len() {
                step(new.start..old.start.min(new.end), Step::Enter);
                step(old.end.max(new.start)..new.end, Step::Enter);
                step(old.start..new.start.min(old.end), Step::Leave);
                step(new.end.max(old.start)..old.end, Step::Leave);
            } else {
                if !old.is_empty() {
                    accumulator.clear(program, input);
                }
                new.clone().for_each(|index| accumulator.step(program, input, events, index, Step::Enter));
            }
        }
        frame.run = new;
    }

    fn answer<E: Events>(
        &self,
        program: &Program,
        events: &E,
        call: &Call,
        source: Source,
        column: &mut AnswerColumn,
    ) -> Result<(), Failure> {
        let frame = &self.frames[call.frame];
        let slot = call.argument.map(|slot| program.slot(slot));
        let run = frame.run.clone();
        match source {
            Source::RunLength => column.word(run.len() as i64),
            Source::Accumulator(place) => {
                return frame.accumulators[place].answer(call.function, slot, events, column);
            }
            Source::Pick => {
                let index = match call.function {
                    Function::FirstValue => run.start,
                    Function::NthValue(n) => run.start.saturating_add(usize::try_from(n - 1).unwrap_or(usize::MAX)),
                    _ => run.end.wrapping_sub(1),
                };
                answer_value(slot, events, run.contains(&index).then_some(index), column);
            }
            Source::Collect => column.list(|items| {
                let passes = |index: &usize| call.filter.is_none_or(|filter| events.flag(filter, *index));
                run.filter(passes).for_each(|index| answer_value(slot, events, Some(index), items));
            }),
        }
        Ok(())
    }
}
