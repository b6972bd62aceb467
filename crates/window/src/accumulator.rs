//! The running accumulators of a frame: each can take an event in and out again, in any order, and gives the same answer
//! for the same events whatever came and went before. That is what lets a cursor slide.

use std::cmp::Reverse;

use arrow::datatypes::DataType;

use crate::aggregate::Function;
use crate::answers::{AnswerColumn, Failure};
use crate::bag::Bag;
use crate::buckets::Buckets;
use crate::categories::answer_tally;
use crate::decayed_sums::DecayedSums;
use crate::events::Events;
use crate::exact::{ExactSquares, ExactSum, Step};
use crate::number::{Number, scale_of};
use crate::order_statistics::{Picked, answer_bag};
use crate::pair_sums::PairSums;
use crate::program::{Input, Kind, PlacedSlot, Program, Storage};
use crate::rank::{Rank, double_at, ordered, ordered_double, value_word, wide_double};
use crate::recency::Recency;
use crate::registers::Registers;
use crate::sums::{DecimalSum, IntegerSum, answer_doubles};
use crate::tally::Tally;

/// The accumulated state of one [`Input`] over a frame's run.
#[derive(Debug, Clone)]
pub(crate) enum Accumulator {
    Count(u64),
    Doubles { sum: ExactSum, squares: Option<ExactSquares> },
    Integers(IntegerSum),
    Decimals(DecimalSum),
    WordBag(Bag<i64>),
    WideBag(Bag<i128>),
    TextBag(Bag<Box<[u8]>>),
    WordTally(Tally<i64>),
    WideTally(Tally<i128>),
    TextTally(Tally<Box<[u8]>>),
    Registers(Registers),
    Buckets(Buckets),
    Recency(Recency),
    Bools { truths: u64, falsehoods: u64 },
    LeastBy(ByRank<EventName>),
    GreatestBy(ByRank<Reverse<EventName>>),
    Pairs(Box<PairSums>),
    Decayed(Box<DecayedSums>),
}

/// What an event is called where a state names events: its index plus the shift of that state, so that all names stay as
/// they are when events come or go before them.
pub(crate) type EventName = i64;

/// Events by rank, and of equal rank by name.
#[derive(Debug, Clone)]
pub(crate) struct ByRank<N> {
    bag: Bag<(Rank, N)>,
    /// Name of an event less its index.
    shift: i64,
}

impl<N: Ord> ByRank<N> {
    fn new() -> ByRank<N> {
        ByRank { bag: Bag::default(), shift: 0 }
    }

    fn clear(&mut self) {
        self.bag.clear();
        self.shift = 0;
    }

    fn name(&self, index: usize) -> EventName {
        index as i64 + self.shift
    }

    fn index(&self, name: EventName) -> usize {
        (name - self.shift) as usize
    }
}

impl Accumulator {
    pub(crate) fn new(program: &Program, input: &Input) -> Accumulator {
        let slot = input.slot.map(|slot| program.slot(slot));
        let storage = slot.map(|slot| slot.storage);
        let data_type = slot.map_or(&DataType::Null, |slot| &slot.slot.data_type);
        let squares = input.kind == Kind::SumAndSquares;
        let ranks = input.kind == Kind::Mode;
        match (input.kind, storage) {
            (Kind::Count, _) => Accumulator::Count(0),
            (Kind::Sum | Kind::SumAndSquares, _) => match data_type {
                DataType::Float32 | DataType::Float64 => {
                    Accumulator::Doubles { sum: ExactSum::default(), squares: squares.then(ExactSquares::default) }
                }
                DataType::Decimal128(_, scale) => Accumulator::Decimals(DecimalSum::new(input.kind, *scale)),
                _ => Accumulator::Integers(IntegerSum::new(input.kind)),
            },
            (Kind::Bag, Some(Storage::Wide(_))) => Accumulator::WideBag(Bag::default()),
            (Kind::Bag, Some(Storage::Text(_))) => Accumulator::TextBag(Bag::default()),
            (Kind::Bag, _) => Accumulator::WordBag(Bag::default()),
            (Kind::Distinct | Kind::Mode, Some(Storage::Wide(_))) => Accumulator::WideTally(Tally::new(ranks)),
            (Kind::Distinct | Kind::Mode, Some(Storage::Text(_))) => Accumulator::TextTally(Tally::new(ranks)),
            (Kind::Distinct | Kind::Mode, _) => Accumulator::WordTally(Tally::new(ranks)),
            (Kind::Registers, _) => Accumulator::Registers(Registers::default()),
            (Kind::Buckets, _) => Accumulator::Buckets(Buckets::default()),
            (Kind::Recency, _) => Accumulator::Recency(Recency::default()),
            (Kind::Bools, _) => Accumulator::Bools { truths: 0, falsehoods: 0 },
            (Kind::LeastBy, _) => Accumulator::LeastBy(ByRank::new()),
            (Kind::GreatestBy, _) => Accumulator::GreatestBy(ByRank::new()),
            (Kind::Pairs, _) => {
                let [y, x] = [slot, input.by.map(|by| program.slot(by))].map(|slot| slot.map_or(0, scale_of));
                Accumulator::Pairs(Box::new(PairSums::new(y, x)))
            }
            (Kind::Decayed { half_life_us }, _) => {
                Accumulator::Decayed(Box::new(DecayedSums::new(half_life_us, slot.map_or(0, scale_of))))
            }
        }
    }

    /// Takes the event at `index` in or out.
    #[inline]
    pub(crate) fn step<E: Events>(&mut self, program: &Program, input: &Input, events: &E, index: usize, step: Step) {
        if input.filter.is_some_and(|filter| !events.flag(filter, index)) {
            return;
        }
        let Some(slot) = input.slot else {
            return self.count(step);
        };
        let slot = program.slot(slot);
        if slot.present.is_some_and(|present| !events.flag(present, index)) {
            return;
        }
        match (self, slot.storage) {
            (this @ Accumulator::Count(_), _) => this.count(step),
            (Accumulator::LeastBy(by), _) => by_step(program, input, events, index, step, |rank, step| {
                let name = by.name(index);
                by.bag.step(step, (rank, name));
            }),
            (Accumulator::GreatestBy(by), _) => by_step(program, input, events, index, step, |rank, step| {
                let name = by.name(index);
                by.bag.step(step, (rank, Reverse(name)));
            }),
            (Accumulator::Pairs(sums), _) => {
                let x = input.by.and_then(|by| Number::at(program.slot(by), events, index));
                if let (Some(y), Some(x)) = (Number::at(slot, events, index), x) {
                    sums.step(step, y, x);
                }
            }
            (Accumulator::Decayed(sums), _) => {
                if let Some(x) = Number::at(slot, events, index) {
                    sums.step(step, x, events.time_us(index));
                }
            }
            (Accumulator::Doubles { sum, squares }, Storage::Word(place)) => {
                let x = f64::from_bits(events.word(place, index) as u64);
                sum.step(step, x);
                if let Some(squares) = squares {
                    squares.step(step, x);
                }
            }
            (Accumulator::Integers(sum), Storage::Word(place)) => sum.step(step, events.word(place, index)),
            (Accumulator::Decimals(sum), Storage::Wide(place)) => sum.step(step, events.wide(place, index)),
            (Accumulator::WordBag(bag), Storage::Word(place)) => {
                bag.step(step, ordered(slot, events.word(place, index)));
            }
            (Accumulator::WideBag(bag), Storage::Wide(place)) => bag.step(step, events.wide(place, index)),
            (Accumulator::TextBag(bag), Storage::Text(place)) => bag.step(step, events.text(place, index).into()),
            (Accumulator::WordTally(tally), Storage::Word(place)) => {
                tally.step(step, ordered(slot, events.word(place, index)));
            }
            (Accumulator::WideTally(tally), Storage::Wide(place)) => tally.step(step, events.wide(place, index)),
            (Accumulator::TextTally(tally), Storage::Text(place)) => {
                tally.step(step, events.text(place, index).into());
            }
            (Accumulator::Registers(registers), Storage::Word(place)) => {
                registers.step(step, &events.word(place, index).to_le_bytes());
            }
            (Accumulator::Registers(registers), Storage::Wide(place)) => {
                registers.step(step, &events.wide(place, index).to_le_bytes());
            }
            (Accumulator::Registers(registers), Storage::Text(place)) => {
                registers.step(step, events.text(place, index));
            }
            (Accumulator::Buckets(buckets), _) => buckets.step(step, double_at(slot, events, index)),
            (Accumulator::Recency(recency), _) => recency.step(step, Rank::of(slot, events, index), index),
            (Accumulator::Bools { truths, falsehoods }, Storage::Word(place)) => {
                let count = if events.word(place, index) != 0 { truths } else { falsehoods };
                step.count(count);
            }
            (accumulator, storage) => unreachable_pair(accumulator, storage),
        }
    }

    fn count(&mut self, step: Step) {
        if let Accumulator::Count(count) = self {
            step.count(count);
        }
    }

    /// Back to no events.
    pub(crate) fn clear(&mut self, program: &Program, input: &Input) {
        match self {
            Accumulator::WordBag(bag) => bag.clear(),
            Accumulator::WordTally(tally) => tally.clear(),
            Accumulator::Count(count) => *count = 0,
            Accumulator::Doubles { sum, squares } => {
                sum.clear();
                squares.iter_mut().for_each(ExactSquares::clear);
            }
            Accumulator::LeastBy(by) => by.clear(),
            Accumulator::GreatestBy(by) => by.clear(),
            Accumulator::Pairs(sums) => sums.clear(),
            Accumulator::Decayed(sums) => sums.clear(),
            Accumulator::TextBag(bag) => bag.clear(),
            Accumulator::TextTally(tally) => tally.clear(),
            Accumulator::Registers(registers) => registers.clear(),
            Accumulator::Buckets(buckets) => buckets.clear(),
            Accumulator::Recency(recency) => recency.clear(),
            _ => *self = Accumulator::new(program, input),
        }
    }

    /// Whether its state names events, so that it must be told when their indexes change.
    pub(crate) fn names_events(&self) -> bool {
        matches!(self, Accumulator::LeastBy(_) | Accumulator::GreatestBy(_) | Accumulator::Recency(_))
    }

    /// Told that from here on the index of each event inside is lower by `by`.
    pub(crate) fn indexes_fell(&mut self, by: i64) {
        match self {
            Accumulator::LeastBy(named) => named.shift += by,
            Accumulator::GreatestBy(named) => named.shift += by,
            Accumulator::Recency(recency) => recency.indexes_fell(by),
            _ => {}
        }
    }

    /// Bytes of memory held beside the accumulator itself. Big integers of outliers, a few dozen bytes, are not counted.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Accumulator::Count(_) | Accumulator::Bools { .. } => 0,
            Accumulator::Doubles { .. } | Accumulator::Integers(_) | Accumulator::Decimals(_) => 0,
            Accumulator::WordBag(bag) => bag.memory_bytes(|_| 0),
            Accumulator::WideBag(bag) => bag.memory_bytes(|_| 0),
            Accumulator::TextBag(bag) => bag.memory_bytes(|text| text.len()),
            Accumulator::WordTally(tally) => tally.memory_bytes(|_| 0),
            Accumulator::WideTally(tally) => tally.memory_bytes(|_| 0),
            Accumulator::TextTally(tally) => tally.memory_bytes(|text| text.len()),
            Accumulator::Registers(registers) => registers.memory_bytes(),
            Accumulator::Buckets(buckets) => buckets.memory_bytes(),
            Accumulator::Recency(recency) => recency.memory_bytes(),
            Accumulator::LeastBy(by) => by.bag.memory_bytes(|(rank, _)| rank.heap_bytes()),
            Accumulator::GreatestBy(by) => by.bag.memory_bytes(|(rank, _)| rank.heap_bytes()),
            Accumulator::Pairs(sums) => size_of::<PairSums>() + sums.memory_bytes(),
            Accumulator::Decayed(sums) => size_of::<DecayedSums>() + sums.memory_bytes(),
        }
    }

    /// Answers `function` over what is in as of `t_us`; NULL where nothing is, or where it fails.
    #[inline]
    pub(crate) fn answer<E: Events>(
        &self,
        function: Function,
        slot: Option<&PlacedSlot>,
        events: &E,
        t_us: i64,
        column: &mut AnswerColumn,
    ) -> Result<(), Failure> {
        match self {
            Accumulator::Pairs(sums) => answer_double(sums.answer(function), column),
            Accumulator::Decayed(sums) => answer_double(sums.answer(function, t_us), column),
            Accumulator::Count(count) => column.word(*count as i64),
            Accumulator::Doubles { sum, squares } => answer_doubles(function, sum, squares.as_ref(), column),
            Accumulator::Integers(sum) => return sum.answer(function, column),
            Accumulator::Decimals(sum) => return sum.answer(function, column),
            Accumulator::WordBag(bag) => match answer_bag(bag, function, |key| ordered_double(slot, *key)) {
                Picked::Double(double) => column.double(double),
                Picked::Key(key) => column.word(value_word(slot, *key)),
                Picked::Nothing => column.null(),
            },
            Accumulator::WideBag(bag) => match answer_bag(bag, function, |key| wide_double(slot, *key)) {
                Picked::Double(double) => column.double(double),
                Picked::Key(key) => column.wide(*key),
                Picked::Nothing => column.null(),
            },
            Accumulator::TextBag(bag) => match answer_bag(bag, function, |_| f64::NAN) {
                Picked::Key(key) => column.text(key),
                _ => column.null(),
            },
            Accumulator::WordTally(tally) => {
                return answer_tally(tally, function, column, |key, column| column.word(value_word(slot, *key)));
            }
            Accumulator::WideTally(tally) => {
                return answer_tally(tally, function, column, |key, column| column.wide(*key));
            }
            Accumulator::TextTally(tally) => {
                return answer_tally(tally, function, column, |key, column| column.text(key));
            }
            Accumulator::Registers(registers) => column.word(registers.estimate()),
            Accumulator::Buckets(buckets) => {
                let Function::ApproxQuantile(q) = function else { unreachable!("buckets answer {function:?}") };
                answer_double(buckets.quantile(q), column);
            }
            Accumulator::Recency(recency) => {
                let Function::LastDistinct(n) = function else { unreachable!("recency answers {function:?}") };
                return column.list(recency.last(n), |index, items| answer_value(slot, events, Some(index), items));
            }
            Accumulator::Bools { truths: 0, falsehoods: 0 } => column.null(),
            Accumulator::Bools { truths, falsehoods } => column.word(i64::from(match function {
                Function::BoolAnd => *falsehoods == 0,
                _ => *truths > 0,
            })),
            Accumulator::LeastBy(by) => {
                answer_value(slot, events, by.bag.first().map(|(_, name)| by.index(*name)), column);
            }
            Accumulator::GreatestBy(by) => {
                answer_value(slot, events, by.bag.last().map(|(_, Reverse(name))| by.index(*name)), column);
            }
        }
        Ok(())
    }
}

fn answer_double(double: Option<f64>, column: &mut AnswerColumn) {
    match double {
        Some(double) => column.double(double),
        None => column.null(),
    }
}

/// Answers with the value of `slot` at an event, NULL where there is no such event or its value is NULL.
pub(crate) fn answer_value<E: Events>(
    slot: Option<&PlacedSlot>,
    events: &E,
    index: Option<usize>,
    column: &mut AnswerColumn,
) {
    let (Some(slot), Some(index)) = (slot, index) else {
        return column.null();
    };
    if slot.present.is_some_and(|present| !events.flag(present, index)) {
        return column.null();
    }
    match slot.storage {
        Storage::Word(place) => column.word(events.word(place, index)),
        Storage::Wide(place) => column.wide(events.wide(place, index)),
        Storage::Text(place) => column.text(events.text(place, index)),
    }
}

fn by_step<E: Events>(
    program: &Program,
    input: &Input,
    events: &E,
    index: usize,
    step: Step,
    apply: impl FnOnce(Rank, Step),
) {
    let Some(by) = input.by.map(|by| program.slot(by)) else { return };
    if by.present.is_some_and(|present| !events.flag(present, index)) {
        return;
    }
    apply(Rank::of(by, events, index), step);
}

/// Programs pair each accumulator with the storage of its slot when they are built.
#[cold]
fn unreachable_pair(accumulator: &Accumulator, storage: Storage) -> ! {
    unreachable!("{accumulator:?} was given {storage:?}");
}
