//! A cursor reads one entity's features as of an instant. It keeps, for each frame, the run of events it stands on and
//! the accumulators over that run; the next read slides there if that is near, and starts anew if it is not. Either way
//! the answer is the same: accumulators are exact and forget nothing wrongly.
//!
//! ```text
//!            events in order  ─────────────────────────────────▶ time
//!   run of the last read            [●●●●●●●●●)
//!   run as of t                          [●●●●●●●)      leave 5, enter 3
//! ```
//! Rule kept here: between reads the accumulators hold exactly the events of the run. A current row that a frame leaves out of
//! the middle of its run, because peers follow it, goes for one answer and comes back.

use std::ops::Range;

use crate::accumulator::{Accumulator, answer_value};
use crate::aggregate::Function;
use crate::answers::{AnswerColumn, Answers, Failure};
use crate::bound::Bound;
use crate::events::Events;
use crate::exact::Step;
use crate::excluding::Excluding;
use crate::exclusion::gap_among_peers;
use crate::frame::{Frame, Near};
use crate::lasting::Lasting;
use crate::program::{Input, Program, Source};

/// Room that stays for the events of a group that last at an instant.
const LASTING_KEPT_MAX: usize = 4_096;

/// The instant and the row that a read stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadAt {
    /// The as-of instant in microseconds.
    pub t_us: i64,
    /// Index of the current row: ROWS frames end at it, and EXCLUDE leaves it out. `None` for a read that stands at no event:
    /// ROWS frames end at the newest one up to the instant, and a RANGE frame has no current row to leave out.
    pub current: Option<usize>,
}

/// A reader of one entity at a time.
#[derive(Debug, Clone)]
pub struct Cursor {
    frames: Vec<FrameState>,
    /// Scratch of reads over events that end: the indexes of those that last.
    lasting: Vec<usize>,
}

#[derive(Debug, Clone)]
struct FrameState {
    run: Range<usize>,
    /// Of a frame of the session closed last, the run of the one that is open: so that where it begins is not looked for anew.
    open: Range<usize>,
    accumulators: Vec<Accumulator>,
}

impl FrameState {
    fn near(&self) -> Near<'_> {
        Near { run: &self.run, open: &self.open }
    }

    /// Leaves its events, for an empty run at `near`.
    fn leave(&mut self, program: &Program, inputs: &[Input], near: usize) {
        if !self.run.is_empty() {
            for (accumulator, input) in self.accumulators.iter_mut().zip(inputs) {
                accumulator.clear(program, input);
            }
        }
        (self.run, self.open) = (near..near, near..near);
    }

    /// An event was inserted at `index` of `events`.
    fn put_in<E: Events>(&mut self, program: &Program, inputs: &[Input], events: &E, index: usize) {
        put_in(&mut self.open, index);
        if index >= self.run.end {
            return;
        }
        let is_before = index <= self.run.start;
        put_in(&mut self.run, index);
        for (accumulator, input) in self.accumulators.iter_mut().zip(inputs) {
            if is_before {
                accumulator.indexes_fell(-1);
                continue;
            }
            rename(accumulator, index + 1..self.run.end, 1, |accumulator, index, step| {
                accumulator.step(program, input, events, index, step);
            });
            accumulator.step(program, input, events, index, Step::Enter);
        }
    }

    /// The event at `index` of `events`, which is not where the run falls into two, is about to be taken out.
    fn take_out<E: Events>(&mut self, program: &Program, inputs: &[Input], events: &E, index: usize) {
        take_out(&mut self.open, index);
        if index >= self.run.end {
            return;
        }
        let is_before = index < self.run.start;
        for (accumulator, input) in self.accumulators.iter_mut().zip(inputs) {
            if is_before {
                accumulator.indexes_fell(1);
                continue;
            }
            accumulator.step(program, input, events, index, Step::Leave);
            rename(accumulator, index + 1..self.run.end, -1, |accumulator, index, step| {
                accumulator.step(program, input, events, index, step);
            });
        }
        take_out(&mut self.run, index);
    }
}

impl Cursor {
    /// A cursor for `program`, standing on no events.
    pub fn new(program: &Program) -> Cursor {
        let frames = program.accumulators().iter().map(|inputs| FrameState {
            run: 0..0,
            open: 0..0,
            accumulators: inputs.iter().map(|input| Accumulator::new(program, input)).collect(),
        });
        Cursor { frames: frames.collect(), lasting: Vec::new() }
    }

    /// Leaves all events, for another entity or after its events changed in a way not told. The next read finds its
    /// windows quickly if they end near the event at `near`, which is at most the number of events.
    pub fn reset(&mut self, program: &Program, near: usize) {
        for (frame, inputs) in self.frames.iter_mut().zip(program.accumulators()) {
            frame.leave(program, inputs, near);
        }
    }

    /// Moves to where a read at `at` would stand, so that the next read near there is quick.
    pub fn stand<E: Events>(&mut self, program: &Program, events: &E, at: ReadAt) {
        for place in 0..self.frames.len() {
            self.slide(program, events, place, at);
        }
    }

    /// Appends the answers of one read to `answers`. Where events end it takes a step for each that has begun, and stands
    /// nowhere afterwards: the next read begins anew.
    pub fn read<E: Events>(&mut self, program: &Program, events: &E, at: ReadAt, answers: &mut Answers) {
        match program.end_column() {
            None => self.read_all(program, events, at, answers),
            Some(end) => self.read_lasting(program, events, end, at, answers),
        }
    }

    #[inline(never)]
    fn read_lasting<E: Events>(
        &mut self,
        program: &Program,
        events: &E,
        end: usize,
        at: ReadAt,
        answers: &mut Answers,
    ) {
        let mut indexes = std::mem::take(&mut self.lasting);
        let lasting = Lasting::new(events, end, at.t_us, &mut indexes);
        self.reset(program, lasting.len());
        self.read_all(program, &lasting, at, answers);
        self.reset(program, 0);
        // One read of a very large group does not keep the room for another.
        indexes.clear();
        indexes.shrink_to(LASTING_KEPT_MAX);
        self.lasting = indexes;
    }

    /// The same over all of `events`, where all that have begun last: it stands there afterwards, and the next read slides.
    pub fn read_all<E: Events>(&mut self, program: &Program, events: &E, at: ReadAt, answers: &mut Answers) {
        self.stand(program, events, at);
        if program.has_gaps()
            && let Some(gap) = gap_among_peers(events, at)
        {
            return self.answer_around(program, events, gap, at.t_us, answers);
        }
        for place in 0..program.calls().len() {
            if let Err(failure) = self.answer(program, events, place, at.t_us, answers.column(place)) {
                answers.fail(place, failure);
            }
        }
        answers.end_row(self.holds_events());
    }

    /// Appends the answers of a read whose current row is at `gap`, before others of its time: frames that leave it out let it
    /// go, see the events without it, and take it in again.
    #[inline(never)]
    fn answer_around<E: Events>(
        &mut self,
        program: &Program,
        events: &E,
        gap: usize,
        t_us: i64,
        answers: &mut Answers,
    ) {
        let gaps = [gap];
        let rest = Excluding::new(events, &gaps);
        for (frame, inputs) in with_gaps(&mut self.frames, program) {
            frame.take_out(program, inputs, events, gap);
        }
        for (place, call) in program.calls().iter().enumerate() {
            let column = answers.column(place);
            let answered = match program.frames()[call.frame].has_gap_among_peers() {
                true => self.answer(program, &rest, place, t_us, column),
                false => self.answer(program, events, place, t_us, column),
            };
            if let Err(failure) = answered {
                answers.fail(place, failure);
            }
        }
        answers.end_row(self.holds_events());
        for (frame, inputs) in with_gaps(&mut self.frames, program) {
            frame.put_in(program, inputs, events, gap);
        }
    }

    /// Whether some frame holds an event.
    fn holds_events(&self) -> bool {
        self.frames.iter().any(|frame| !frame.run.is_empty())
    }

    /// Reads all of `events`, which it was told of, but the `excluded`, which ascend. They leave it, newest first, and
    /// come back, oldest first; at each step those after the one in question are out.
    pub(crate) fn read_without<E: Events>(
        &mut self,
        program: &Program,
        events: &E,
        excluded: &[usize],
        at: ReadAt,
        answers: &mut Answers,
    ) {
        if excluded.is_empty() {
            return self.read(program, events, at, answers);
        }
        for (place, index) in excluded.iter().enumerate().rev() {
            self.removed(program, &Excluding::new(events, &excluded[place + 1..]), *index);
        }
        self.read(program, &Excluding::new(events, excluded), at, answers);
        for (place, index) in excluded.iter().enumerate() {
            self.inserted(program, &Excluding::new(events, &excluded[place + 1..]), *index);
        }
    }

    /// Told that an event was inserted at `index` of `events`: runs after it shift, runs around it take it in.
    pub fn inserted<E: Events>(&mut self, program: &Program, events: &E, index: usize) {
        for (frame, inputs) in self.frames.iter_mut().zip(program.accumulators()) {
            frame.put_in(program, inputs, events, index);
        }
    }

    /// Told that the event at `index` of `events` is about to be taken out: the opposite of [`Cursor::inserted`]. A frame
    /// whose run is a session that falls into two by that leaves it.
    pub fn removed<E: Events>(&mut self, program: &Program, events: &E, index: usize) {
        let frames = self.frames.iter_mut().zip(program.frames());
        for ((frame, shape), inputs) in frames.zip(program.accumulators()) {
            let is_broken = |run: &Range<usize>| {
                let is_inside = run.start < index && index + 1 < run.end;
                is_inside && shape.is_broken_at(events, index)
            };
            if is_broken(&frame.open) {
                frame.open.start = index + 1;
            }
            if is_broken(&frame.run) {
                frame.leave(program, inputs, index);
            } else {
                frame.take_out(program, inputs, events, index);
            }
        }
    }

    /// Told that the first `count` of `events` are about to be dropped.
    pub fn dropped_first<E: Events>(&mut self, program: &Program, events: &E, count: usize) {
        for (frame, inputs) in self.frames.iter_mut().zip(program.accumulators()) {
            for (accumulator, input) in frame.accumulators.iter_mut().zip(inputs) {
                if frame.run.end <= count {
                    accumulator.clear(program, input);
                    continue;
                }
                for index in frame.run.start..count {
                    accumulator.step(program, input, events, index, Step::Leave);
                }
                accumulator.indexes_fell(count as i64);
            }
            for run in [&mut frame.run, &mut frame.open] {
                *run = run.start.saturating_sub(count)..run.end.saturating_sub(count);
            }
        }
    }

    /// Whether a cursor that stands nowhere does a read at `at` with fewer steps than this one needs to slide there,
    /// and back for the next reader, with the events at `excluded` taken out and put in again.
    pub(crate) fn is_far<E: Events>(&self, program: &Program, events: &E, at: ReadAt, excluded: &[usize]) -> bool {
        let (mut sliding, mut anew) = (0, 0);
        for (frame, shape) in self.frames.iter().zip(program.frames()) {
            let old = &frame.run;
            let new = shape.bounds(events, at.t_us, at.current, frame.near());
            let moves = old.start.abs_diff(new.start) + old.end.abs_diff(new.end);
            let (inside, renamed) = steps_to_put(old, excluded);
            for accumulator in &frame.accumulators {
                let put = if accumulator.names_events() { renamed } else { inside };
                sliding += moves.min(new.len()) + moves.min(old.len()) + 2 * put;
                anew += new.len();
            }
        }
        sliding > anew
    }

    /// Whether a cursor that stands nowhere reads what is left with fewer steps than this one needs to let the events at
    /// `indexes` go, which ascend.
    pub(crate) fn is_quicker_anew(&self, indexes: &[usize]) -> bool {
        let (mut removing, mut anew) = (0, 0);
        for frame in &self.frames {
            let (inside, renamed) = steps_to_put(&frame.run, indexes);
            for accumulator in &frame.accumulators {
                removing += if accumulator.names_events() { renamed } else { inside };
                anew += frame.run.len() - inside;
            }
        }
        removing > anew
    }

    /// Where it stands in the frame at `place`, to look from there.
    pub(crate) fn near(&self, place: usize) -> Near<'_> {
        self.frames[place].near()
    }

    /// Events in the runs of all frames.
    pub(crate) fn events(&self) -> usize {
        self.frames.iter().map(|frame| frame.run.len()).sum()
    }

    /// Bytes of memory held. Takes a step for every value that the accumulators hold as a text.
    pub(crate) fn memory_bytes(&self) -> usize {
        let accumulators = self.frames.iter().flat_map(|frame| &frame.accumulators);
        let beside: usize = accumulators.map(|one| size_of::<Accumulator>() + one.memory_bytes()).sum();
        let scratch = self.lasting.capacity() * size_of::<usize>();
        self.frames.capacity() * size_of::<FrameState>() + beside + scratch
    }

    fn slide<E: Events>(&mut self, program: &Program, events: &E, place: usize, at: ReadAt) {
        let (frame, shape) = (&mut self.frames[place], &program.frames()[place]);
        // The session that was open is the next one closed: its run is forgotten last.
        let open = shape.open_session(events, at.t_us, frame.near());
        let new = shape.bounds(events, at.t_us, at.current, frame.near());
        // As of an earlier instant it is a part of the run that is known, in which no gap lies either.
        let is_part = |open: &Range<usize>| open.start == frame.open.start && open.end < frame.open.end;
        if let Some(open) = open.filter(|open| !is_part(open)) {
            frame.open = open;
        }
        let old = frame.run.clone();
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

    /// Answers the call at `place` over the run that its frame stands on, as of `t_us`.
    fn answer<E: Events>(
        &self,
        program: &Program,
        events: &E,
        place: usize,
        t_us: i64,
        column: &mut AnswerColumn,
    ) -> Result<(), Failure> {
        let call = &program.calls()[place];
        let frame = &self.frames[call.frame];
        let slot = call.argument.map(|slot| program.slot(slot));
        let run = frame.run.clone();
        match program.sources()[place] {
            Source::RunLength => column.word(run.len() as i64),
            Source::Accumulator(place) => {
                return frame.accumulators[place].answer(call.function, slot, events, t_us, column);
            }
            Source::Pick => {
                let index = match call.function {
                    Function::FirstValue => run.start,
                    Function::NthValue(n) => run.start.saturating_add(usize::try_from(n - 1).unwrap_or(usize::MAX)),
                    _ => run.end.wrapping_sub(1),
                };
                answer_value(slot, events, run.contains(&index).then_some(index), column);
            }
            Source::Window(bound) => {
                return answer_bound(program.frames()[call.frame], bound, events, (&run, t_us), column);
            }
            Source::Collect => {
                let passes = |index: &usize| call.filter.is_none_or(|filter| events.flag(filter, *index));
                let indexes = run.filter(passes);
                return column.list(indexes, |index, items| answer_value(slot, events, Some(index), items));
            }
        }
        Ok(())
    }
}

/// Answers with a bound of the window whose events as of an instant are a run. Not inlined: it is rare, and would make all
/// other answers slower.
#[inline(never)]
fn answer_bound<E: Events>(
    frame: Frame,
    bound: Bound,
    events: &E,
    (run, t_us): (&Range<usize>, i64),
    column: &mut AnswerColumn,
) -> Result<(), Failure> {
    let Some(window) = frame.window(events, run, t_us) else {
        column.null();
        return Ok(());
    };
    match bound.of(window) {
        Some(instant_us) => {
            column.word(instant_us);
            Ok(())
        }
        None => {
            column.null();
            Err(Failure::OutOfRange)
        }
    }
}

/// The frames that leave out a current row which peers follow, with what their accumulators take.
fn with_gaps<'c>(
    frames: &'c mut [FrameState],
    program: &'c Program,
) -> impl Iterator<Item = (&'c mut FrameState, &'c [Input])> {
    let frames = frames.iter_mut().zip(program.accumulators()).zip(program.frames());
    frames.filter(|(_, shape)| shape.has_gap_among_peers()).map(|((frame, inputs), _)| (frame, &inputs[..]))
}

/// Shifts a run behind an event that was inserted, or makes room for it inside.
fn put_in(run: &mut Range<usize>, index: usize) {
    if index < run.end {
        run.start += usize::from(index <= run.start);
        run.end += 1;
    }
}

/// The opposite, of an event that is taken out.
fn take_out(run: &mut Range<usize>, index: usize) {
    if index < run.end {
        run.start -= usize::from(index < run.start);
        run.end -= 1;
    }
}

/// How many of `indexes`, which ascend, are in a run, and how many events of the run get new names when those go or come.
fn steps_to_put(run: &Range<usize>, indexes: &[usize]) -> (usize, usize) {
    let inside = &indexes[indexes.partition_point(|index| *index < run.start)..];
    let inside = &inside[..inside.partition_point(|index| *index < run.end)];
    (inside.len(), inside.iter().map(|index| run.end - index).sum())
}

/// Gives the events at `indexes`, whose indexes rise by `rise`, their new names in an accumulator that names events. An
/// event inserted near the end of a run, as late ones are, renames few.
fn rename(
    accumulator: &mut Accumulator,
    indexes: Range<usize>,
    rise: i64,
    mut step: impl FnMut(&mut Accumulator, usize, Step),
) {
    // `events` has the event in question at both times: after an insertion indexes are the new ones, before a removal the
    // old ones, and the shift makes up for the difference.
    if !accumulator.names_events() {
        return;
    }
    let (before, after) = if rise > 0 { (rise, 0) } else { (0, -rise) };
    accumulator.indexes_fell(-before);
    indexes.clone().for_each(|index| step(accumulator, index, Step::Leave));
    accumulator.indexes_fell(before - after);
    indexes.for_each(|index| step(accumulator, index, Step::Enter));
    accumulator.indexes_fell(after);
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::answers::Finished;
    use crate::calendar::Calendar;
    use crate::carried::SortedEvents;
    use crate::exclusion::Exclusion;
    use crate::frame::Extent;
    use crate::group_window::{GroupWindow, Which};
    use crate::program::{Call, Slot};
    use crate::ring::{Ring, RingLayout, TieBreak};
    use arrow::array::{
        Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array,
        StringArray,
    };
    use arrow::datatypes::{DataType, TimeUnit};
    use proptest::prelude::*;

    pub(crate) const MINUTE_US: i64 = 60_000_000;

    /// An event with a value for every kind of slot.
    #[derive(Debug, Clone)]
    pub(crate) struct Sample {
        pub(crate) minute: i64,
        pub(crate) integer: Option<i64>,
        pub(crate) double: Option<f64>,
        pub(crate) decimal: Option<i128>,
        pub(crate) text: Option<u8>,
        pub(crate) truth: Option<bool>,
        pub(crate) passes: Option<bool>,
    }

    impl Sample {
        pub(crate) fn at(minute: i64) -> Sample {
            Sample { minute, integer: Some(minute), double: None, decimal: None, text: None, truth: None, passes: None }
        }
    }

    pub(crate) fn sample() -> impl Strategy<Value = Sample> {
        let integer = prop_oneof![20 => 0..70i64, 1 => any::<i64>()];
        let odd = vec![-0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 5e-324, f64::MAX];
        let double = prop_oneof![
            20 => (-40..40i32).prop_map(|x| f64::from(x) / 8.0),
            10 => any::<i32>().prop_map(|x| f64::from(x) * 0.1),
            1 => prop::sample::select(odd),
        ];
        let most = 10i128.pow(38) - 1;
        let decimal = prop_oneof![20 => -5_000..5_000i128, 1 => -most..=most];
        (
            -600..600i64,
            prop::option::weighted(0.9, integer),
            prop::option::weighted(0.9, double),
            prop::option::weighted(0.9, decimal),
            prop::option::weighted(0.9, 0..40u8),
            prop::option::weighted(0.9, any::<bool>()),
            prop::option::weighted(0.9, any::<bool>()),
        )
            .prop_map(|(minute, integer, double, decimal, text, truth, passes)| Sample {
                minute,
                integer,
                double,
                decimal,
                text,
                truth,
                passes,
            })
    }

    /// Frames whose past ends somewhere: what lies before it can be dropped.
    pub(crate) fn bounded_frames() -> Vec<Frame> {
        let range =
            |preceding, lag| Extent::Range { preceding_us: Some(preceding * MINUTE_US), lag_us: lag * MINUTE_US };
        vec![
            Frame::of(range(90, 0)),
            Frame::of(range(300, 60)),
            Frame { calendar: Some(Calendar::Hour), ..Frame::LIFETIME },
        ]
    }

    pub(crate) fn all_frames() -> Vec<Frame> {
        let mut frames = bounded_frames();
        frames.push(Frame::of(Extent::Rows { preceding: 7 }));
        frames.push(Frame { calendar: Some(Calendar::Day), ..Frame::of(Extent::Rows { preceding: 40 }) });
        frames.push(Frame::LIFETIME);
        frames
    }

    /// Frames that leave something out.
    pub(crate) fn frames_with_exclusions() -> Vec<Frame> {
        let rows = Frame::of(Extent::Rows { preceding: 7 });
        let range = Frame::of(Extent::Range { preceding_us: Some(90 * MINUTE_US), lag_us: 0 });
        let both =
            |frame: Frame| [Exclusion::CurrentRow, Exclusion::Group].map(|exclusion| Frame { exclusion, ..frame });
        let calendar = Some(Calendar::Day);
        [rows, range, Frame { calendar, ..rows }, Frame { calendar, ..Frame::LIFETIME }]
            .into_iter()
            .flat_map(both)
            .collect()
    }

    /// Windows of the clock: the open ones and those closed last.
    pub(crate) fn clock_frames() -> Vec<Frame> {
        let shapes = [
            GroupWindow::Tumble { size_us: 60 * MINUTE_US, offset_us: 7 * MINUTE_US },
            GroupWindow::Hop { size_us: 90 * MINUTE_US, slide_us: 25 * MINUTE_US, offset_us: 0 },
            GroupWindow::Cumulate { size_us: 120 * MINUTE_US, step_us: 20 * MINUTE_US, offset_us: -MINUTE_US },
        ];
        shapes.into_iter().flat_map(group_frames).collect()
    }

    /// Sessions: the open ones and those closed last.
    pub(crate) fn session_frames() -> Vec<Frame> {
        [4, 30].into_iter().flat_map(|gap| group_frames(GroupWindow::Session { gap_us: gap * MINUTE_US })).collect()
    }

    fn group_frames(shape: GroupWindow) -> [Frame; 2] {
        let frame = |which| Frame::of(Extent::Group { shape, which });
        [frame(Which::Open), frame(Which::LastClosed)]
    }

    /// Frames of every kind.
    fn any_frames() -> impl Strategy<Value = Vec<Frame>> {
        prop::sample::select(vec![all_frames(), frames_with_exclusions(), clock_frames(), session_frames()])
    }

    pub(crate) fn slots() -> Vec<Slot> {
        let slot = |data_type, nullable| Slot { data_type, nullable };
        vec![
            slot(DataType::Int64, true),
            slot(DataType::Float64, true),
            slot(DataType::Decimal128(38, 2), true),
            slot(DataType::Utf8, true),
            slot(DataType::Boolean, true),
            slot(DataType::Float32, false),
            slot(DataType::Date32, false),
        ]
    }

    /// Every function over every slot that it takes and every frame; with a FILTER those that then stand alone, so that
    /// sums without squares and distinct counts without a mode are there too.
    pub(crate) fn program(frames: Vec<Frame>) -> Program {
        use Function::*;
        let plain = [
            Count,
            CountDistinct,
            Sum,
            Avg,
            VarPop,
            VarSamp,
            StddevPop,
            StddevSamp,
            Min,
            Max,
            FirstValue,
            LastValue,
            NthValue(3),
            ArrayAgg,
            BoolAnd,
            BoolOr,
            Quantile(0.37),
            Mode,
            MinBy,
            MaxBy,
            CovarPop,
            CovarSamp,
            Corr,
            RegrSlope,
            DecayedSum { half_life_us: 7 * MINUTE_US + 13 },
            DecayedAvg { half_life_us: 7 * MINUTE_US + 13 },
            Histogram,
            TopK(2),
            LastDistinct(2),
            ApproxCountDistinct,
            ApproxQuantile(0.37),
        ];
        let filtered = [Count, CountDistinct, Sum, Max, MinBy, Corr, LastDistinct(3)];
        let slots = slots();
        let mut calls = Vec::new();
        for (frame, shape) in frames.iter().enumerate() {
            for filter in [None, Some(0)] {
                let call =
                    |function, argument, data_type| Call { function, argument, by: None, filter, frame, data_type };
                calls.push(call(Count, None, DataType::Int64));
                if let (Extent::Group { .. }, None) = (shape.extent, filter) {
                    let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
                    let bounds = [Bound::Start, Bound::End, Bound::Time];
                    calls.extend(bounds.map(|bound| call(WindowBound(bound), None, moment.clone())));
                }
                for (slot, function) in (0..slots.len()).flat_map(|slot| plain.map(|function| (slot, function))) {
                    let refused = match shape.extent {
                        Extent::Range { preceding_us, .. } => {
                            function == ArrayAgg || function.half_life_us().is_some() && preceding_us.is_none()
                        }
                        Extent::Rows { .. } => function.half_life_us().is_some(),
                        Extent::Group { .. } => function == ArrayAgg || function.half_life_us().is_some(),
                    };
                    if refused || (filter.is_some() && !filtered.contains(&function)) {
                        continue;
                    }
                    if let Some(data_type) = function.result_type(&slots[slot].data_type) {
                        let next = (1..=slots.len()).map(|by| (slot + by) % slots.len());
                        let mut by = next.filter(|by| !function.takes_pairs() || slots[*by].data_type.is_numeric());
                        let by = by.next().filter(|_| function.takes_pairs() || matches!(function, MinBy | MaxBy));
                        calls.push(Call { by, ..call(function, Some(slot), data_type) });
                    }
                }
            }
        }
        Program::new(frames, slots, 1, calls).unwrap()
    }

    /// The same without the functions, and the frames, that follow the order of events.
    pub(crate) fn program_without_order(mut frames: Vec<Frame>) -> Program {
        frames.retain(|frame| !frame.has_gap_among_peers());
        let mut calls = program(frames.clone()).calls().to_vec();
        calls.retain(|call| !call.function.follows_order());
        let program = Program::new(frames, slots(), 1, calls).unwrap();
        assert!(!program.follows_order());
        program
    }

    /// The samples as carried events, in the order given.
    pub(crate) fn carried(program: &Program, samples: &[Sample]) -> SortedEvents {
        let each = || samples.iter();
        let text = |place: u8| ["", "a", "ab", "ä", "z"][usize::from(place % 5)].repeat(1 + usize::from(place / 5));
        let decimals: Decimal128Array = each().map(|sample| sample.decimal).collect();
        let slots: Vec<ArrayRef> = vec![
            Arc::new(each().map(|sample| sample.integer).collect::<Int64Array>()),
            Arc::new(each().map(|sample| sample.double).collect::<Float64Array>()),
            Arc::new(decimals.with_precision_and_scale(38, 2).unwrap()),
            Arc::new(each().map(|sample| sample.text.map(text)).collect::<StringArray>()),
            Arc::new(each().map(|sample| sample.truth).collect::<BooleanArray>()),
            Arc::new(Float32Array::from_iter_values(each().map(|sample| sample.double.unwrap_or(0.1) as f32))),
            Arc::new(Date32Array::from_iter_values(each().map(|sample| sample.minute as i32 / 60))),
        ];
        let passes: BooleanArray = each().map(|sample| sample.passes).collect();
        let times: Vec<i64> = each().map(|sample| sample.minute * MINUTE_US).collect();
        SortedEvents::new(program, times.into(), &program.carry(&slots, &[passes]))
    }

    /// Answers are the same: equal bits, equal NULLs, equal failures.
    pub(crate) fn check_same(program: &Program, found: &Finished, expected: &Finished) -> Result<(), TestCaseError> {
        prop_assert_eq!(&found.failed, &expected.failed);
        prop_assert_eq!(&found.known, &expected.known);
        for (call, (found, expected)) in program.calls().iter().zip(found.columns.iter().zip(&expected.columns)) {
            prop_assert_eq!(found.to_data(), expected.to_data(), "{:?}", call);
        }
        Ok(())
    }

    /// Reads with one cursor that slides and with a fresh one for each read.
    fn check_reads<E: Events>(
        program: &Program,
        events: &E,
        cursor: &mut Cursor,
        reads: &[ReadAt],
    ) -> Result<(), TestCaseError> {
        let mut found = Answers::with_capacity(program, reads.len());
        let mut expected = Answers::with_capacity(program, reads.len());
        for at in reads {
            cursor.read(program, events, *at, &mut found);
            Cursor::new(program).read(program, events, *at, &mut expected);
        }
        check_same(program, &found.finish(), &expected.finish())
    }

    pub(crate) fn sorted(mut samples: Vec<Sample>) -> Vec<Sample> {
        samples.sort_by_key(|sample| sample.minute);
        samples
    }

    /// A walk forward and back, mostly in small steps; every third read stands at an event.
    pub(crate) fn reads(samples: &[Sample], steps: &[i64]) -> Vec<ReadAt> {
        let mut minute = 0;
        let walk = steps.iter().enumerate().map(|(turn, step)| {
            minute = (minute + step).clamp(-700, 700);
            let at_event = samples.iter().position(|sample| sample.minute >= minute).filter(|_| turn % 3 == 0);
            match at_event {
                Some(index) => ReadAt { t_us: samples[index].minute * MINUTE_US, current: Some(index) },
                None => ReadAt { t_us: minute * MINUTE_US + step % 2, current: None },
            }
        });
        walk.collect()
    }

    pub(crate) fn steps() -> impl Strategy<Value = Vec<i64>> {
        prop::collection::vec(prop_oneof![6 => -40..60i64, 1 => -1400..1400i64], 0..24)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn sliding_equals_starting_anew(
            frames in any_frames(),
            samples in prop::collection::vec(sample(), 0..120),
            steps in steps(),
        ) {
            let (program, samples) = (program(frames), sorted(samples));
            let events = carried(&program, &samples);
            let run = events.run(0, events.len());
            check_reads(&program, &run, &mut Cursor::new(&program), &reads(&samples, &steps))?;
        }

        #[test]
        fn a_reset_cursor_reads_another_entity(
            frames in any_frames(),
            samples in prop::collection::vec(sample(), 0..80),
            cut in any::<prop::sample::Index>(),
            near in any::<prop::sample::Index>(),
            steps in steps(),
        ) {
            let program = program(frames);
            let cut = cut.index(samples.len() + 1);
            let (one, other) = (sorted(samples[..cut].to_vec()), sorted(samples[cut..].to_vec()));
            let mut cursor = Cursor::new(&program);
            for samples in [one, other] {
                let events = carried(&program, &samples);
                cursor.reset(&program, near.index(samples.len() + 1));
                check_reads(&program, &events.run(0, events.len()), &mut cursor, &reads(&samples, &steps))?;
            }
        }

        #[test]
        fn told_of_insertions_equals_starting_anew(
            frames in any_frames(),
            samples in prop::collection::vec(sample(), 0..60),
            steps in steps(),
        ) {
            let program = program(frames);
            let layout = RingLayout::new(&program);
            let events = carried(&program, &samples);
            let (mut ring, mut cursor) = (Ring::default(), Cursor::new(&program));
            let walk = reads(&[], &steps);
            let mut walk = walk.iter();
            for row in 0..samples.len() {
                let tie = TieBreak { primary_key: &[], partition: 0, offset: row as u64 };
                let index = ring.insert(&layout, &events.run(0, events.len()), row, tie);
                cursor.inserted(&program, &ring.events(&layout), index);
                if row % 3 == 2 && let Some(at) = walk.next() {
                    check_reads(&program, &ring.events(&layout), &mut cursor, &[*at])?;
                }
            }
        }
    }

    /// What happens to an entity's events under a cursor; shares are of the events held, in 256ths.
    #[derive(Debug, Clone)]
    enum Change {
        Insert(Sample),
        DropFirst(u8),
        /// Take out the events at these places, read, put them in again.
        Without(Vec<u8>),
        Read,
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            12 => sample().prop_map(Change::Insert),
            1 => (0..100u8).prop_map(Change::DropFirst),
            3 => prop::collection::vec(any::<u8>(), 0..5).prop_map(Change::Without),
            3 => Just(Change::Read),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn told_of_changes_equals_starting_anew(
            frames in any_frames(),
            changes in prop::collection::vec(change(), 0..120),
            steps in steps(),
        ) {
            let program = program(frames);
            let layout = RingLayout::new(&program);
            let (mut ring, mut cursor) = (Ring::default(), Cursor::new(&program));
            let walk = reads(&[], &steps);
            let mut walk = walk.iter().cycle();
            for (turn, change) in changes.into_iter().enumerate() {
                let len = ring.len(&layout);
                match change {
                    Change::Insert(sample) => {
                        let tie = TieBreak { primary_key: &[], partition: 0, offset: turn as u64 };
                        let index = ring.insert(&layout, &carried(&program, &[sample]).run(0, 1), 0, tie);
                        cursor.inserted(&program, &ring.events(&layout), index);
                    }
                    Change::DropFirst(share) => {
                        let count = len * usize::from(share) / 256;
                        cursor.dropped_first(&program, &ring.events(&layout), count);
                        ring.drop_first(&layout, count);
                    }
                    Change::Without(shares) => {
                        let events = ring.events(&layout);
                        let mut excluded: Vec<usize> =
                            shares.iter().map(|share| len * usize::from(*share) / 256).filter(|_| len > 0).collect();
                        excluded.sort_unstable();
                        excluded.dedup();
                        let Some(at) = walk.next() else { continue };
                        let mut found = Answers::with_capacity(&program, 1);
                        let mut expected = Answers::with_capacity(&program, 1);
                        cursor.read_without(&program, &events, &excluded, *at, &mut found);
                        let left = Excluding::new(&events, &excluded);
                        Cursor::new(&program).read(&program, &left, *at, &mut expected);
                        check_same(&program, &found.finish(), &expected.finish())?;
                    }
                    Change::Read => {
                        let at: Vec<ReadAt> = walk.by_ref().take(1).copied().collect();
                        check_reads(&program, &ring.events(&layout), &mut cursor, &at)?;
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]

        /// Long enough for many chunks in a bag and for tallies in hash tables.
        #[test]
        fn long_runs_slide_too(
            frames in any_frames(),
            samples in prop::collection::vec(sample(), 1_300..1_500),
            steps in steps(),
        ) {
            let (program, samples) = (program(frames), sorted(samples));
            let events = carried(&program, &samples);
            let run = events.run(0, events.len());
            check_reads(&program, &run, &mut Cursor::new(&program), &reads(&samples, &steps))?;
        }
    }

    #[test]
    fn no_events_answer_zero_or_null_and_are_not_known() {
        let program = program(all_frames());
        let events = carried(&program, &[]);
        let mut answers = Answers::with_capacity(&program, 1);
        Cursor::new(&program).read(&program, &events.run(0, 0), ReadAt { t_us: 0, current: None }, &mut answers);
        let answers = answers.finish();
        assert_eq!(answers.known, BooleanArray::from(vec![false]));
        assert_eq!(answers.failed, []);
        for (call, column) in program.calls().iter().zip(&answers.columns) {
            match call.function.counts() {
                true => assert_eq!(column.to_data(), Int64Array::from(vec![0]).to_data(), "{call:?}"),
                false => assert!(column.is_null(0), "{call:?}"),
            }
        }
    }
}
