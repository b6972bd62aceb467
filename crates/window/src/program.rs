//! The window program of a feature view: its frames, what each event must carry, and which running accumulators its
//! aggregates share. Fixed after construction; cursors, rings and sorted runs are laid out by it.

use arrow::datatypes::DataType;

use crate::aggregate::Function;
use crate::bound::Bound;
use crate::frame::Frame;

/// The most flags (nullable slots and FILTERs) that one view may need: a bound so that an event's flags are one word.
pub const FLAGS_MAX: usize = 64;

/// One aggregate call, its inputs given as slots of the event.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The function.
    pub function: Function,
    /// The slot of the argument; `None` only for `count(*)`.
    pub argument: Option<usize>,
    /// The slot of y in `min_by(x, y)` and `max_by(x, y)`, of x in `corr(y, x)` and its like.
    pub by: Option<usize>,
    /// Which of the program's FILTERs guards the call.
    pub filter: Option<usize>,
    /// Which of the program's frames it runs over.
    pub frame: usize,
    /// The type of the answer.
    pub data_type: DataType,
}

/// A value that every event carries for the aggregates.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// Type of the value.
    pub data_type: DataType,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// Why a program cannot be built.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ProgramError {
    /// More nullable arguments and FILTERs than an event has flags for.
    #[error(
        "a feature view may have at most {FLAGS_MAX} nullable arguments and FILTERs together, this one has {found}"
    )]
    TooManyFlags {
        /// How many it needs.
        found: usize,
    },
}

/// A view's window program.
#[derive(Debug, Clone)]
pub struct Program {
    frames: Vec<Frame>,
    slots: Vec<PlacedSlot>,
    filters: usize,
    calls: Vec<Call>,
    /// For each call, where its answer comes from.
    sources: Vec<Source>,
    /// The accumulators of each frame.
    accumulators: Vec<Vec<Input>>,
    follows_order: bool,
    /// The place among the words of the instant at which an event ends; `None` where events stay.
    end: Option<usize>,
    /// Whether some frame has a gap where peers follow the current row.
    has_gaps: bool,
}

/// A slot and the place where events carry it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlacedSlot {
    pub(crate) slot: Slot,
    pub(crate) storage: Storage,
    /// Flag that is set where the value is not NULL; `None` if it never is.
    pub(crate) present: Option<usize>,
}

/// The storage class of a slot and its place within that class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    Word(usize),
    Wide(usize),
    Text(usize),
}

/// Where the answer of a call comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Source {
    /// The length of the frame's run: `count(*)` without FILTER.
    RunLength,
    /// The accumulator at this place of the frame.
    Accumulator(usize),
    /// The event at a place of the run, read directly.
    Pick,
    /// All events of the run, read directly.
    Collect,
    /// The frame's group window.
    Window(Bound),
}

/// What an accumulator takes from each event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Input {
    pub(crate) kind: Kind,
    /// Slot of the argument; `None` for counting rows.
    pub(crate) slot: Option<usize>,
    /// Slot of y for `min_by` and `max_by`, of x for pairs.
    pub(crate) by: Option<usize>,
    /// Flag of the FILTER.
    pub(crate) filter: Option<usize>,
}

/// Kinds of accumulators, shared by the functions that they can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// count(*) with FILTER, count(x).
    Count,
    /// sum and avg.
    Sum,
    /// sum, avg and the variances.
    SumAndSquares,
    /// min, max, quantiles.
    Bag,
    /// count(DISTINCT x), histogram.
    Distinct,
    /// mode and top_k, and the former two beside them.
    Mode,
    /// approx_count_distinct.
    Registers,
    /// approx_quantile.
    Buckets,
    /// last_distinct.
    Recency,
    /// bool_and, bool_or.
    Bools,
    /// min_by: (y, earliest).
    LeastBy,
    /// max_by: (y, earliest).
    GreatestBy,
    /// covar_pop, covar_samp, corr, regr_slope.
    Pairs,
    /// decayed_sum and decayed_avg of a half-life.
    Decayed { half_life_us: i64 },
}

impl Program {
    /// Lays out a program. `slots` are the values that calls refer to by index, `filters` the number of FILTERs.
    pub fn new(
        frames: Vec<Frame>,
        slots: Vec<Slot>,
        filters: usize,
        calls: Vec<Call>,
    ) -> Result<Program, ProgramError> {
        let flags = filters + slots.iter().filter(|slot| slot.nullable).count();
        if flags > FLAGS_MAX {
            return Err(ProgramError::TooManyFlags { found: flags });
        }
        let has_gaps = frames.iter().any(Frame::has_gap_among_peers);
        let follows_order = has_gaps
            || calls.iter().any(|call| call.function.follows_order())
            || frames.iter().any(|frame| matches!(frame.extent, crate::frame::Extent::Rows { .. }));
        let mut program = Program {
            accumulators: vec![Vec::new(); frames.len()],
            frames,
            slots: place(slots, filters),
            filters,
            sources: Vec::new(),
            calls,
            follows_order,
            end: None,
            has_gaps,
        };
        for place in 0..program.calls.len() {
            let source = program.source_of(place);
            program.sources.push(source);
        }
        Ok(program)
    }

    /// The same over events that end: each counts from its time until before the instant, in microseconds, that it has in
    /// this slot, and the frames are over those that last as of the instant of a read.
    ///
    /// # Panics
    /// If the slot is no BIGINT without NULLs.
    pub fn over_events_that_end(self, slot: usize) -> Program {
        let placed = &self.slots[slot];
        match placed.storage {
            Storage::Word(place) if placed.slot == (Slot { data_type: DataType::Int64, nullable: false }) => {
                Program { end: Some(place), ..self }
            }
            _ => panic!("the end of an event is an instant in microseconds that it always has"),
        }
    }

    /// Where events end, the place of the instant among the words, and so among the
    /// [carried columns](Program::carried_fields).
    pub fn end_column(&self) -> Option<usize> {
        self.end
    }

    /// The frames, as given.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The calls, as given.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Whether answers depend on the order of events of equal time, or on which of them a read stands at, so that events must carry
    /// their tie-breakers.
    pub fn follows_order(&self) -> bool {
        self.follows_order
    }

    /// Whether some frame leaves out a current row that peers follow, so that a reader at an event must tell it from its peers.
    #[inline]
    pub fn has_gaps(&self) -> bool {
        self.has_gaps
    }

    pub(crate) fn placed(&self) -> &[PlacedSlot] {
        &self.slots
    }

    pub(crate) fn slot(&self, index: usize) -> &PlacedSlot {
        &self.slots[index]
    }

    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    pub(crate) fn accumulators(&self) -> &[Vec<Input>] {
        &self.accumulators
    }

    /// How many slots of each storage class an event carries: words, wides, texts.
    pub(crate) fn widths(&self) -> (usize, usize, usize) {
        self.slots.iter().fold((0, 0, 0), |(words, wides, texts), placed| match placed.storage {
            Storage::Word(_) => (words + 1, wides, texts),
            Storage::Wide(_) => (words, wides + 1, texts),
            Storage::Text(_) => (words, wides, texts + 1),
        })
    }

    /// Number of flags that an event carries: FILTERs first, then nullable slots.
    pub(crate) fn flags(&self) -> usize {
        self.filters + self.slots.iter().filter(|placed| placed.present.is_some()).count()
    }

    /// The source of a call's answer, adding the accumulator it needs or sharing one that stands already.
    fn source_of(&mut self, call: usize) -> Source {
        use Function::*;
        let Call { function, argument, by, filter, frame, .. } = self.calls[call].clone();
        let nullable = argument.is_some_and(|slot| self.slots[slot].present.is_some());
        let kind = match function {
            Count if filter.is_none() && !nullable => return Source::RunLength,
            FirstValue | LastValue | NthValue(_) => return Source::Pick,
            ArrayAgg => return Source::Collect,
            WindowBound(bound) => return Source::Window(bound),
            Count => Kind::Count,
            Sum | Avg => Kind::Sum,
            VarPop | VarSamp | StddevPop | StddevSamp => Kind::SumAndSquares,
            Min | Max | Quantile(_) => Kind::Bag,
            CountDistinct | Histogram => Kind::Distinct,
            Mode | TopK(_) => Kind::Mode,
            ApproxCountDistinct => Kind::Registers,
            ApproxQuantile(_) => Kind::Buckets,
            LastDistinct(_) => Kind::Recency,
            BoolAnd | BoolOr => Kind::Bools,
            MinBy => Kind::LeastBy,
            MaxBy => Kind::GreatestBy,
            CovarPop | CovarSamp | Corr | RegrSlope => Kind::Pairs,
            DecayedSum { half_life_us } | DecayedAvg { half_life_us } => Kind::Decayed { half_life_us },
        };
        let slot = if kind == Kind::Count && !nullable { None } else { argument };
        Source::Accumulator(share(&mut self.accumulators[frame], Input { kind, slot, by, filter }))
    }
}

/// The place of an accumulator that answers `wanted`: one that stands already, one that is widened to it, or a new one.
fn share(accumulators: &mut Vec<Input>, wanted: Input) -> usize {
    let same_input = |other: &Input| Input { kind: wanted.kind, ..*other } == wanted;
    for (place, other) in accumulators.iter_mut().enumerate().filter(|(_, other)| same_input(other)) {
        other.kind = match (other.kind, wanted.kind) {
            (have, want) if have == want => have,
            (Kind::Sum | Kind::SumAndSquares, Kind::Sum | Kind::SumAndSquares) => Kind::SumAndSquares,
            (Kind::Distinct | Kind::Mode, Kind::Distinct | Kind::Mode) => Kind::Mode,
            _ => continue,
        };
        return place;
    }
    accumulators.push(wanted);
    accumulators.len() - 1
}

fn place(slots: Vec<Slot>, filters: usize) -> Vec<PlacedSlot> {
    let (mut words, mut wides, mut texts, mut flags) = (0, 0, 0, filters);
    let next = |count: &mut usize| {
        *count += 1;
        *count - 1
    };
    slots
        .into_iter()
        .map(|slot| {
            let storage = match slot.data_type {
                DataType::Decimal128(_, _) => Storage::Wide(next(&mut wides)),
                DataType::Utf8 | DataType::Binary => Storage::Text(next(&mut texts)),
                _ => Storage::Word(next(&mut words)),
            };
            let present = slot.nullable.then(|| next(&mut flags));
            PlacedSlot { slot, storage, present }
        })
        .collect()
}
