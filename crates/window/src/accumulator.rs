//! The running accumulators of a frame: each can take an event in and out again, in any order, and gives the same answer
//! for the same events whatever came and went before. That is what lets a cursor slide.

use std::cmp::Reverse;

use arrow::datatypes::{DataType, i256};
use num_bigint::{BigInt, BigUint};

use crate::aggregate::Function;
use crate::answers::{AnswerColumn, Failure};
use crate::bag::Bag;
use crate::events::Events;
use crate::exact::{ExactSquares, ExactSum, Step};
use crate::program::{Input, Kind, PlacedSlot, Program, Storage};
use crate::rounding::round_ratio;
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
    Bools { truths: u64, falsehoods: u64 },
    LeastBy(ByRank<EventName>),
    GreatestBy(ByRank<Reverse<EventName>>),
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

/// A value as something ordered, for ranking rows by y.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Word(i64),
    Wide(i128),
    Text(Box<[u8]>),
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

impl Rank {
    fn heap_bytes(&self) -> usize {
        match self {
            Rank::Text(text) => text.len(),
            Rank::Word(_) | Rank::Wide(_) => 0,
        }
    }
}

/// Σx and Σx² of BIGINTs: the sum of 2^40 values of 2^63 fits 128 bits, of their squares 256.
#[derive(Debug, Clone)]
pub(crate) struct IntegerSum {
    count: u64,
    sum: i128,
    squares: Option<i256>,
}

/// Σx and Σx² of unscaled decimals of up to 38 digits. Squares are rare and go to big integers.
#[derive(Debug, Clone)]
pub(crate) struct DecimalSum {
    count: u64,
    sum: i256,
    squares: Option<BigInt>,
    scale: i8,
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
                DataType::Decimal128(_, scale) => Accumulator::Decimals(DecimalSum {
                    count: 0,
                    sum: i256::ZERO,
                    squares: squares.then(BigInt::default),
                    scale: *scale,
                }),
                _ => Accumulator::Integers(IntegerSum { count: 0, sum: 0, squares: squares.then_some(i256::ZERO) }),
            },
            (Kind::Bag, Some(Storage::Wide(_))) => Accumulator::WideBag(Bag::default()),
            (Kind::Bag, Some(Storage::Text(_))) => Accumulator::TextBag(Bag::default()),
            (Kind::Bag, _) => Accumulator::WordBag(Bag::default()),
            (Kind::Distinct | Kind::Mode, Some(Storage::Wide(_))) => Accumulator::WideTally(Tally::new(ranks)),
            (Kind::Distinct | Kind::Mode, Some(Storage::Text(_))) => Accumulator::TextTally(Tally::new(ranks)),
            (Kind::Distinct | Kind::Mode, _) => Accumulator::WordTally(Tally::new(ranks)),
            (Kind::Bools, _) => Accumulator::Bools { truths: 0, falsehoods: 0 },
            (Kind::LeastBy, _) => Accumulator::LeastBy(ByRank::new()),
            (Kind::GreatestBy, _) => Accumulator::GreatestBy(ByRank::new()),
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
                step_bag(&mut by.bag, step, (rank, name));
            }),
            (Accumulator::GreatestBy(by), _) => by_step(program, input, events, index, step, |rank, step| {
                let name = by.name(index);
                step_bag(&mut by.bag, step, (rank, Reverse(name)));
            }),
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
                step_bag(bag, step, ordered(slot, events.word(place, index)));
            }
            (Accumulator::WideBag(bag), Storage::Wide(place)) => step_bag(bag, step, events.wide(place, index)),
            (Accumulator::TextBag(bag), Storage::Text(place)) => step_bag(bag, step, events.text(place, index).into()),
            (Accumulator::WordTally(tally), Storage::Word(place)) => {
                step_tally(tally, step, ordered(slot, events.word(place, index)));
            }
            (Accumulator::WideTally(tally), Storage::Wide(place)) => step_tally(tally, step, events.wide(place, index)),
            (Accumulator::TextTally(tally), Storage::Text(place)) => {
                step_tally(tally, step, events.text(place, index).into());
            }
            (Accumulator::Bools { truths, falsehoods }, Storage::Word(place)) => {
                let count = if events.word(place, index) != 0 { truths } else { falsehoods };
                step_count(count, step);
            }
            (accumulator, storage) => unreachable_pair(accumulator, storage),
        }
    }

    fn count(&mut self, step: Step) {
        if let Accumulator::Count(count) = self {
            step_count(count, step);
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
            Accumulator::TextBag(bag) => bag.clear(),
            Accumulator::TextTally(tally) => tally.clear(),
            _ => *self = Accumulator::new(program, input),
        }
    }

    /// Whether its state names events, so that it must be told when their indexes change.
    pub(crate) fn names_events(&self) -> bool {
        matches!(self, Accumulator::LeastBy(_) | Accumulator::GreatestBy(_))
    }

    /// Told that from here on the index of each event inside is lower by `by`.
    pub(crate) fn indexes_fell(&mut self, by: i64) {
        match self {
            Accumulator::LeastBy(named) => named.shift += by,
            Accumulator::GreatestBy(named) => named.shift += by,
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
            Accumulator::LeastBy(by) => by.bag.memory_bytes(|(rank, _)| rank.heap_bytes()),
            Accumulator::GreatestBy(by) => by.bag.memory_bytes(|(rank, _)| rank.heap_bytes()),
        }
    }

    /// Answers `function` over what is in; NULL where nothing is, or where it fails.
    #[inline]
    pub(crate) fn answer<E: Events>(
        &self,
        function: Function,
        slot: Option<&PlacedSlot>,
        events: &E,
        column: &mut AnswerColumn,
    ) -> Result<(), Failure> {
        match self {
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
            Accumulator::WordTally(tally) => answer_tally(tally, function, column, |key, column| {
                column.word(value_word(slot, *key));
            }),
            Accumulator::WideTally(tally) => answer_tally(tally, function, column, |key, column| column.wide(*key)),
            Accumulator::TextTally(tally) => answer_tally(tally, function, column, |key, column| column.text(key)),
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

impl IntegerSum {
    fn step(&mut self, step: Step, x: i64) {
        let (wide, square) = (i128::from(x), i256::from_i128(i128::from(x) * i128::from(x)));
        step_count(&mut self.count, step);
        match step {
            Step::Enter => self.sum += wide,
            Step::Leave => self.sum -= wide,
        }
        if let Some(squares) = &mut self.squares {
            *squares = match step {
                Step::Enter => squares.wrapping_add(square),
                Step::Leave => squares.wrapping_sub(square),
            };
        }
    }

    fn answer(&self, function: Function, column: &mut AnswerColumn) -> Result<(), Failure> {
        match (function, i64::try_from(self.sum)) {
            _ if self.count == 0 => {
                column.null();
                return Ok(());
            }
            (Function::Sum, Ok(sum)) => {
                column.word(sum);
                return Ok(());
            }
            (Function::Sum, Err(_)) => {
                column.null();
                return Err(Failure::OutOfRange);
            }
            (Function::Avg, _) => {
                column.double(round_ratio(&self.sum.into(), &self.count.into(), 0));
                return Ok(());
            }
            _ => {}
        }
        let squares = BigInt::from_signed_bytes_le(&self.squares.unwrap_or(i256::ZERO).to_le_bytes());
        answer_variance(function, self.count, column, |denominator| {
            let sum = BigInt::from(self.sum);
            round_ratio(&(BigInt::from(self.count) * squares - &sum * &sum), &BigUint::from(denominator), 0)
        });
        Ok(())
    }
}

impl DecimalSum {
    fn step(&mut self, step: Step, x: i128) {
        step_count(&mut self.count, step);
        let wide = i256::from_i128(x);
        self.sum = match step {
            Step::Enter => self.sum.wrapping_add(wide),
            Step::Leave => self.sum.wrapping_sub(wide),
        };
        if let Some(squares) = &mut self.squares {
            let square = BigInt::from(x) * x;
            match step {
                Step::Enter => *squares += square,
                Step::Leave => *squares -= square,
            }
        }
    }

    fn answer(&self, function: Function, column: &mut AnswerColumn) -> Result<(), Failure> {
        if self.count == 0 {
            column.null();
            return Ok(());
        }
        if function == Function::Sum {
            let total = self.sum.to_i128().filter(|total| total.unsigned_abs() < 10u128.pow(38));
            let Some(total) = total else {
                column.null();
                return Err(Failure::OutOfRange);
            };
            column.wide(total);
            return Ok(());
        }
        let unit = power_of_ten(self.scale);
        let sum = BigInt::from_signed_bytes_le(&self.sum.to_le_bytes());
        if function == Function::Avg {
            column.double(round_ratio(&sum, &(unit * self.count), 0));
            return Ok(());
        }
        let squares = self.squares.clone().unwrap_or_default();
        answer_variance(function, self.count, column, |denominator| {
            let numerator = BigInt::from(self.count) * squares - &sum * &sum;
            round_ratio(&numerator, &(&unit * &unit * BigUint::from(denominator)), 0)
        });
        Ok(())
    }
}

fn power_of_ten(scale: i8) -> BigUint {
    BigUint::from(10u32).pow(u32::from(scale.unsigned_abs()))
}

#[inline]
fn answer_doubles(function: Function, sum: &ExactSum, squares: Option<&ExactSquares>, column: &mut AnswerColumn) {
    if sum.count() == 0 {
        return column.null();
    }
    match (function, squares) {
        (Function::Sum, _) => column.double(sum.sum()),
        (Function::Avg, _) | (_, None) => column.double(sum.avg()),
        (_, Some(squares)) => answer_variance(function, sum.count(), column, |denominator| {
            if sum.all_finite() { sum.variance(squares, denominator) } else { f64::NAN }
        }),
    }
}

/// Answers one of the four variances from `variance(denominator)`, NULL for the sample of one value.
fn answer_variance(function: Function, count: u64, column: &mut AnswerColumn, variance: impl FnOnce(u128) -> f64) {
    let sample = matches!(function, Function::VarSamp | Function::StddevSamp);
    if sample && count == 1 {
        return column.null();
    }
    let n = u128::from(count);
    let variance = variance(if sample { n * (n - 1) } else { n * n });
    let root = matches!(function, Function::StddevPop | Function::StddevSamp);
    column.double(if root { variance.sqrt() } else { variance });
}

/// What a bag answers: a quantile, or one of its keys.
enum Picked<'a, K> {
    Double(f64),
    Key(&'a K),
    Nothing,
}

fn answer_bag<K: Ord>(bag: &Bag<K>, function: Function, double: impl Fn(&K) -> f64) -> Picked<'_, K> {
    match function {
        Function::Quantile(q) if bag.len() > 0 => Picked::Double(quantile(bag, q, double)),
        Function::Max => bag.last().map_or(Picked::Nothing, Picked::Key),
        _ => bag.first().map_or(Picked::Nothing, Picked::Key),
    }
}

/// Rank q·(n−1), lo + (hi − lo)·fraction in doubles; equal neighbours are that value, infinite or NaN too.
fn quantile<K: Ord>(bag: &Bag<K>, q: f64, double: impl Fn(&K) -> f64) -> f64 {
    let rank = q * (bag.len() - 1) as f64;
    let value = |rank: f64| bag.at(rank as usize).map_or(f64::NAN, &double);
    let (low, high) = (value(rank.floor()), value(rank.ceil()));
    if low == high || (low.is_nan() && high.is_nan()) {
        return low;
    }
    let between = low + (high - low) * (rank - rank.floor());
    if between.is_nan() { f64::NAN } else { between }
}

fn answer_tally<K: Ord + std::hash::Hash + Clone>(
    tally: &Tally<K>,
    function: Function,
    column: &mut AnswerColumn,
    answer: impl Fn(&K, &mut AnswerColumn),
) {
    if function == Function::CountDistinct {
        return column.word(tally.distinct() as i64);
    }
    match tally.mode() {
        Some(key) => answer(key, column),
        None => column.null(),
    }
}

fn step_count(count: &mut u64, step: Step) {
    match step {
        Step::Enter => *count += 1,
        Step::Leave => *count -= 1,
    }
}

fn step_bag<K: Ord>(bag: &mut Bag<K>, step: Step, key: K) {
    match step {
        Step::Enter => bag.enter(key),
        Step::Leave => bag.leave(&key),
    }
}

fn step_tally<K: Ord + std::hash::Hash + Clone>(tally: &mut Tally<K>, step: Step, key: K) {
    match step {
        Step::Enter => tally.enter(key),
        Step::Leave => tally.leave(&key),
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
    let rank = match by.storage {
        Storage::Word(place) => Rank::Word(ordered(by, events.word(place, index))),
        Storage::Wide(place) => Rank::Wide(events.wide(place, index)),
        Storage::Text(place) => Rank::Text(events.text(place, index).into()),
    };
    apply(rank, step);
}

fn is_double(slot: &PlacedSlot) -> bool {
    matches!(slot.slot.data_type, DataType::Float32 | DataType::Float64)
}

/// A word as an integer in the order of its values: doubles with NaN greatest, as their bits order them once the
/// negative ones are mirrored. Its own inverse.
fn ordered(slot: &PlacedSlot, word: i64) -> i64 {
    if is_double(slot) { mirrored(word) } else { word }
}

fn mirrored(bits: i64) -> i64 {
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

fn ordered_double(slot: Option<&PlacedSlot>, key: i64) -> f64 {
    match slot {
        Some(slot) if is_double(slot) => f64::from_bits(mirrored(key) as u64),
        _ => key as f64,
    }
}

fn value_word(slot: Option<&PlacedSlot>, key: i64) -> i64 {
    slot.map_or(key, |slot| ordered(slot, key))
}

fn wide_double(slot: Option<&PlacedSlot>, key: i128) -> f64 {
    let scale = match slot.map(|slot| &slot.slot.data_type) {
        Some(DataType::Decimal128(_, scale)) => *scale,
        _ => 0,
    };
    round_ratio(&BigInt::from(key), &power_of_ten(scale), 0)
}

/// Programs pair each accumulator with the storage of its slot when they are built.
#[cold]
fn unreachable_pair(accumulator: &Accumulator, storage: Storage) -> ! {
    unreachable!("{accumulator:?} was given {storage:?}");
}
