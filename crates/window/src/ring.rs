//! The event ring of one entity: its events in order, packed to what the view's aggregates read, in one allocation.
//!
//! ```text
//!   words  │ gone │ time·2 │ partition, offset·2 │ slots·1 or 2 │ flags │ time·2 │ …        (32-bit words)
//!            head ┘ └────────────────── one event ───────────────────┘
//! ```
//! An integer slot takes one word while all its values fit 32 bits and two from the first that does not; partition and
//! offset are there only if ties matter to the view. Events arrive nearly in order, so an insertion touches the tail.
//! Decimals, texts and primary keys are rare and live in a box beside the words.

use std::cmp::Ordering;

use crate::events::Events;
use crate::program::{Program, Storage};
use arrow::datatypes::DataType;

/// The most slots whose width a ring tracks; slots beyond are always two words.
const NARROW_SLOTS_MAX: usize = 32;
/// A ring grows by an eighth of its events, at least two: slack stays small where entities are many.
const GROWTH_SHARE: usize = 8;
const GROWTH_EVENTS_MIN: usize = 2;

/// How a program's events lie in a ring.
#[derive(Debug, Clone)]
pub struct RingLayout {
    words: usize,
    wides: usize,
    texts: usize,
    flag_words: usize,
    follows_order: bool,
    /// Bit per word slot: two words wide from the start, as doubles are.
    double_slots: u32,
}

/// What orders events of equal time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TieBreak<'a> {
    /// The primary key in an encoding whose bytes order as the values do; empty without one.
    pub primary_key: &'a [u8],
    /// Partition of the stream.
    pub partition: u32,
    /// Offset in the partition.
    pub offset: u64,
}

/// One entity's events.
#[derive(Debug, Clone, Default)]
pub struct Ring {
    words: Vec<u32>,
    /// Events dropped at the front whose words still lie there.
    head: u32,
    /// Bit per word slot: two words wide.
    broad: u32,
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Clone, Default)]
struct Rare {
    wides: Vec<i128>,
    texts: Vec<Box<[u8]>>,
    primary_keys: Vec<Box<[u8]>>,
}

impl RingLayout {
    /// The layout of `program`'s events.
    pub fn new(program: &Program) -> RingLayout {
        let (words, wides, texts) = program.widths();
        let is_double = |data_type: &DataType| matches!(data_type, DataType::Float32 | DataType::Float64);
        let double_slots = program.placed().iter().fold(0, |bits, placed| match placed.storage {
            Storage::Word(place) if place < NARROW_SLOTS_MAX && is_double(&placed.slot.data_type) => bits | 1 << place,
            _ => bits,
        });
        RingLayout {
            words,
            wides,
            texts,
            flag_words: program.flags().div_ceil(32),
            follows_order: program.follows_order(),
            double_slots,
        }
    }

    fn slots_at(&self) -> usize {
        if self.follows_order { 5 } else { 2 }
    }

    fn slot_at(&self, broad: u32, place: usize) -> usize {
        let before = if place >= NARROW_SLOTS_MAX { broad } else { broad & ((1 << place) - 1) };
        self.slots_at() + place + before.count_ones() as usize + place.saturating_sub(NARROW_SLOTS_MAX)
    }

    fn stride(&self, broad: u32) -> usize {
        self.slot_at(broad, self.words) + self.flag_words
    }
}

impl Ring {
    /// Number of events.
    pub fn len(&self, layout: &RingLayout) -> usize {
        self.words.len() / layout.stride(self.broad | layout.double_slots) - self.head as usize
    }

    /// The events, to read.
    pub fn events<'a>(&'a self, layout: &'a RingLayout) -> RingEvents<'a> {
        let broad = self.broad | layout.double_slots;
        let stride = layout.stride(broad);
        RingEvents { words: &self.words[self.head as usize * stride..], stride, broad, layout, ring: self }
    }

    /// Inserts the event at `row` of `from` where it belongs and returns its index.
    pub fn insert<E: Events>(&mut self, layout: &RingLayout, from: &E, row: usize, tie: TieBreak<'_>) -> usize {
        self.broaden(layout, from, row);
        let broad = self.broad | layout.double_slots;
        let stride = layout.stride(broad);
        let events = self.events(layout);
        let (len, time_us) = (events.len(), from.time_us(row));
        let mut index = len;
        while index > 0 && events.order_against(index - 1, time_us, tie) == Ordering::Greater {
            index -= 1;
        }
        if self.words.len() + stride > self.words.capacity() {
            let grown = (len / GROWTH_SHARE).max(GROWTH_EVENTS_MIN);
            self.words.reserve_exact(grown * stride);
        }
        let at = (self.head as usize + index) * stride;
        let end = self.words.len();
        self.words.resize(end + stride, 0);
        self.words.copy_within(at..end, at + stride);
        write_event(&mut self.words[at..at + stride], layout, broad, from, row, tie);
        self.insert_rare(layout, from, row, tie, index);
        index
    }

    /// Drops the first `count` events.
    pub fn drop_first(&mut self, layout: &RingLayout, count: usize) {
        let stride = layout.stride(self.broad | layout.double_slots);
        if let Some(rare) = &mut self.rare {
            rare.wides.drain(..count * layout.wides);
            rare.texts.drain(..count * layout.texts);
            let keys = count.min(rare.primary_keys.len());
            rare.primary_keys.drain(..keys);
        }
        self.head += count as u32;
        let gone = self.head as usize * stride;
        if gone * 2 > self.words.len() {
            self.words.drain(..gone);
            self.head = 0;
            if self.words.len() * 2 < self.words.capacity() {
                self.words.shrink_to_fit();
            }
        }
    }

    /// Bytes of memory held beside the ring itself.
    pub fn memory_bytes(&self) -> usize {
        let rare = self.rare.as_ref().map_or(0, |rare| {
            let texts: usize = rare.texts.iter().chain(&rare.primary_keys).map(|text| text.len() + 16).sum();
            size_of::<Rare>() + rare.wides.capacity() * 16 + texts
        });
        self.words.capacity() * 4 + rare
    }

    /// Widens slots that this event's values no longer fit.
    fn broaden<E: Events>(&mut self, layout: &RingLayout, from: &E, row: usize) {
        let old = self.broad | layout.double_slots;
        let mut new = old;
        for place in 0..layout.words.min(NARROW_SLOTS_MAX) {
            if i32::try_from(from.word(place, row)).is_err() {
                new |= 1 << place;
            }
        }
        if new == old {
            return;
        }
        let (old_stride, new_stride) = (layout.stride(old), layout.stride(new));
        let count = self.words.len() / old_stride;
        let mut words = Vec::with_capacity((count + GROWTH_EVENTS_MIN) * new_stride);
        for event in self.words.chunks_exact(old_stride) {
            words.extend_from_slice(&event[..layout.slots_at()]);
            for place in 0..layout.words {
                push_word(&mut words, is_broad(new, place), read_word(event, layout, old, place));
            }
            words.extend_from_slice(&event[old_stride - layout.flag_words..]);
        }
        self.words = words;
        self.broad = new;
    }

    fn insert_rare<E: Events>(&mut self, layout: &RingLayout, from: &E, row: usize, tie: TieBreak<'_>, index: usize) {
        let keeps_key = layout.follows_order && !tie.primary_key.is_empty();
        if layout.wides + layout.texts == 0 && !keeps_key {
            return;
        }
        let rare = self.rare.get_or_insert_default();
        let wides = (0..layout.wides).map(|place| from.wide(place, row));
        rare.wides.splice(index * layout.wides..index * layout.wides, wides);
        let texts = (0..layout.texts).map(|place| from.text(place, row).into());
        rare.texts.splice(index * layout.texts..index * layout.texts, texts);
        if keeps_key {
            rare.primary_keys.insert(index, tie.primary_key.into());
        }
    }
}

/// A ring's events, to read.
#[derive(Debug, Clone, Copy)]
pub struct RingEvents<'a> {
    words: &'a [u32],
    stride: usize,
    broad: u32,
    layout: &'a RingLayout,
    ring: &'a Ring,
}

impl RingEvents<'_> {
    fn event(&self, index: usize) -> &[u32] {
        &self.words[index * self.stride..(index + 1) * self.stride]
    }

    /// The index of the event with this time and tie-breaker; where it would stand if there is none.
    pub fn position(&self, time_us: i64, tie: TieBreak<'_>) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.order_against(middle, time_us, tie) == Ordering::Less {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// How the event at `index` stands to one with this time and tie-breaker.
    fn order_against(&self, index: usize, time_us: i64, tie: TieBreak<'_>) -> Ordering {
        let by_time = self.time_us(index).cmp(&time_us);
        if by_time != Ordering::Equal || !self.layout.follows_order {
            return by_time;
        }
        let event = self.event(index);
        let keys = self.ring.rare.as_ref().map(|rare| &rare.primary_keys);
        let primary_key = keys.and_then(|keys| keys.get(index)).map_or(&[][..], |key| key);
        let own = TieBreak { primary_key, partition: event[2], offset: join(event[3], event[4]) as u64 };
        own.cmp(&tie)
    }
}

impl Events for RingEvents<'_> {
    fn len(&self) -> usize {
        self.words.len() / self.stride
    }

    #[inline]
    fn time_us(&self, index: usize) -> i64 {
        let at = index * self.stride;
        join(self.words[at], self.words[at + 1])
    }

    #[inline]
    fn word(&self, place: usize, index: usize) -> i64 {
        read_word(self.event(index), self.layout, self.broad, place)
    }

    fn wide(&self, place: usize, index: usize) -> i128 {
        self.ring.rare.as_ref().map_or(0, |rare| rare.wides[index * self.layout.wides + place])
    }

    fn text(&self, place: usize, index: usize) -> &[u8] {
        self.ring.rare.as_ref().map_or(&[], |rare| &rare.texts[index * self.layout.texts + place])
    }

    #[inline]
    fn flag(&self, place: usize, index: usize) -> bool {
        let event = self.event(index);
        let flags_at = event.len() - self.layout.flag_words;
        event[flags_at + place / 32] >> (place % 32) & 1 == 1
    }
}

fn write_event<E: Events>(to: &mut [u32], layout: &RingLayout, broad: u32, from: &E, row: usize, tie: TieBreak<'_>) {
    (to[0], to[1]) = split(from.time_us(row));
    if layout.follows_order {
        to[2] = tie.partition;
        (to[3], to[4]) = split(tie.offset as i64);
    }
    let mut at = layout.slots_at();
    for place in 0..layout.words {
        let (low, high) = split(from.word(place, row));
        to[at] = low;
        at += 1;
        if is_broad(broad, place) {
            to[at] = high;
            at += 1;
        }
    }
    for flag_word in 0..layout.flag_words {
        to[at + flag_word] = (0..32).fold(0, |bits, bit| bits | u32::from(from.flag(32 * flag_word + bit, row)) << bit);
    }
}

fn is_broad(broad: u32, place: usize) -> bool {
    place >= NARROW_SLOTS_MAX || broad >> place & 1 == 1
}

fn read_word(event: &[u32], layout: &RingLayout, broad: u32, place: usize) -> i64 {
    let at = layout.slot_at(broad, place);
    if is_broad(broad, place) { join(event[at], event[at + 1]) } else { i64::from(event[at] as i32) }
}

fn push_word(words: &mut Vec<u32>, broad: bool, word: i64) {
    let (low, high) = split(word);
    words.push(low);
    if broad {
        words.push(high);
    }
}

fn split(word: i64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

fn join(low: u32, high: u32) -> i64 {
    i64::from(low) | i64::from(high) << 32
}
