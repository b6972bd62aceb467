//! The event ring of one entity: its events in order, packed to what the view's aggregates read, in one allocation.
//!
//! ```text
//!   words  │ gone │ time·2 │ partition, offset·2 │ slots·1 or 2 │ flags │ time·2 │ …        (32-bit words)
//!            head ┘ └────────────────── one event ───────────────────┘
//! ```
//! An integer slot takes one word while all its values fit 32 bits and two from the first that does not; partition and
//! offset are there only if ties matter to the view, or if its events may depart: they name an event then. Events arrive
//! nearly in order, so an insertion touches the tail; one far from it is found by galloping.
//! Decimals, texts and primary keys are rare and live in a box beside the words.

use std::cmp::Ordering;
use std::ops::Range;

use crate::events::Events;
use crate::frame::search;
use crate::program::{Program, Storage};
use arrow::datatypes::DataType;

/// The most slots whose width a ring tracks; slots beyond are always two words.
const NARROW_SLOTS_MAX: usize = 32;
/// A ring grows by an eighth of its events, at least two: slack stays small where entities are many.
const GROWTH_SHARE: usize = 8;
const GROWTH_EVENTS_MIN: usize = 2;
/// Words of an event's time, and of its time, partition and offset.
const TIME_WORDS: usize = 2;
const PLACE_WORDS: usize = 5;

/// How a program's events lie in a ring.
#[derive(Debug, Clone)]
pub struct RingLayout {
    words: usize,
    wides: usize,
    texts: usize,
    flag_words: usize,
    follows_order: bool,
    names_events: bool,
    /// Words of an event before its slots.
    slots_at: usize,
    /// Bit per word slot: two words wide from the start, as doubles are.
    double_slots: u32,
    /// Per text slot: whether its bytes are UTF-8.
    utf8_texts: Vec<bool>,
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
    /// Time of the first event, said here so that one who only asks for it does not wait for the words.
    oldest_us: i64,
    rare: Option<Box<Rare>>,
}

/// What lies in a ring, in the order of its events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RingParts<'a> {
    /// Bit per word slot: two words wide.
    pub(crate) broad: u32,
    pub(crate) words: &'a [u32],
    pub(crate) wides: &'a [i128],
    pub(crate) texts: &'a [Box<[u8]>],
    /// One for each event, or none at all.
    pub(crate) primary_keys: &'a [Box<[u8]>],
}

#[derive(Debug, Clone, Default)]
struct Rare {
    wides: Vec<i128>,
    texts: Vec<Box<[u8]>>,
    primary_keys: Vec<Box<[u8]>>,
    /// Bytes of all texts and primary keys.
    text_bytes: usize,
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
        let text_slots = program.placed().iter().filter(|placed| matches!(placed.storage, Storage::Text(_)));
        RingLayout {
            utf8_texts: text_slots.map(|placed| placed.slot.data_type == DataType::Utf8).collect(),
            words,
            wides,
            texts,
            flag_words: program.flags().div_ceil(32),
            follows_order: program.follows_order(),
            names_events: false,
            slots_at: if program.follows_order() { PLACE_WORDS } else { TIME_WORDS },
            double_slots,
        }
    }

    /// The layout of `program`'s events where each can be found by its time, partition and offset, whether the view
    /// follows order or not. Takes 12 bytes an event where it does not.
    pub fn naming_events(program: &Program) -> RingLayout {
        RingLayout { names_events: true, slots_at: PLACE_WORDS, ..RingLayout::new(program) }
    }

    /// Whether each event can be found by its name.
    pub(crate) fn names_events(&self) -> bool {
        self.names_events
    }

    /// What is kept of a tie-breaker. Two of them that are kept alike are those of copies of one event.
    pub(crate) fn kept<'a>(&self, tie: TieBreak<'a>) -> TieBreak<'a> {
        if self.follows_order { tie } else { TieBreak { primary_key: &[], ..tie } }
    }

    fn keeps_places(&self) -> bool {
        self.slots_at == PLACE_WORDS
    }

    /// Words of an event while these slots are broad, besides those that always are.
    pub(crate) fn words_of_event(&self, broad: u32) -> usize {
        self.stride(broad | self.double_slots)
    }

    /// Wides of an event.
    pub(crate) fn wides(&self) -> usize {
        self.wides
    }

    /// Texts of an event.
    pub(crate) fn texts(&self) -> usize {
        self.texts
    }

    fn slot_at(&self, broad: u32, place: usize) -> usize {
        let before = if place >= NARROW_SLOTS_MAX { broad } else { broad & ((1 << place) - 1) };
        self.slots_at + place + before.count_ones() as usize + place.saturating_sub(NARROW_SLOTS_MAX)
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

    /// Inserts the event at `row` of `from` where it belongs, after those that tie with it, and returns its index.
    pub fn insert<E: Events>(&mut self, layout: &RingLayout, from: &E, row: usize, tie: TieBreak<'_>) -> usize {
        let tie = layout.kept(tie);
        self.broaden(layout, from, row);
        let broad = self.broad | layout.double_slots;
        let stride = layout.stride(broad);
        let events = self.events(layout);
        let index = events.first_after(from.time_us(row), tie, events.len());
        if self.words.len() + stride > self.words.capacity() {
            self.make_room(stride);
        }
        let at = (self.head as usize + index) * stride;
        let end = self.words.len();
        self.words.resize(end + stride, 0);
        self.words.copy_within(at..end, at + stride);
        if index == 0 {
            self.oldest_us = from.time_us(row);
        }
        write_event(&mut self.words[at..at + stride], layout, broad, from, row, tie);
        self.insert_rare(layout, from, row, tie, index);
        index
    }

    /// Takes in all events of another ring: behind its own as they lie there if they belong there, else one by one.
    pub(crate) fn add(&mut self, layout: &RingLayout, added: &Ring) {
        let (own, events) = (self.events(layout), added.events(layout));
        let belongs_behind = own.len() > 0
            && events.len() > 0
            && own.order_against(own.len() - 1, events.time_us(0), events.tie(0)) != Ordering::Greater;
        if self.broad != added.broad || !belongs_behind {
            (0..events.len()).for_each(|index| {
                self.insert(layout, &events, index, events.tie(index));
            });
            return;
        }
        self.words.reserve_exact(events.words.len());
        self.words.extend_from_slice(events.words);
        if let (Some(own), Some(added)) = (&mut self.rare, &added.rare) {
            own.wides.extend_from_slice(&added.wides);
            own.texts.extend_from_slice(&added.texts);
            own.primary_keys.extend_from_slice(&added.primary_keys);
            own.text_bytes += added.text_bytes;
        }
    }

    /// The last word held, read to have the ring's end in the cache.
    #[inline]
    pub(crate) fn tail(&self) -> u32 {
        self.words.last().copied().unwrap_or(0)
    }

    /// The least event time, in microseconds. Of a ring without events, any.
    #[inline]
    pub(crate) fn oldest_us(&self) -> i64 {
        self.oldest_us
    }

    /// Whether the next insertion will have to move the events. A good moment to drop some first.
    pub fn is_full(&self, layout: &RingLayout) -> bool {
        self.words.len() + layout.stride(self.broad | layout.double_slots) > self.words.capacity()
    }

    /// Drops the first `count` events.
    pub fn drop_first(&mut self, layout: &RingLayout, count: usize) {
        let stride = layout.stride(self.broad | layout.double_slots);
        if let Some(rare) = &mut self.rare {
            rare.drop_first(layout, count);
        }
        self.head += count as u32;
        self.give_back_room(stride);
        self.note_oldest(layout);
    }

    /// Takes out the events at `indexes`, which ascend and name each once. Takes the time to move what lies behind the
    /// first of them once, however many they are. Slots stay as wide as they are.
    pub fn remove(&mut self, layout: &RingLayout, indexes: &[usize]) {
        let stride = layout.stride(self.broad | layout.double_slots);
        let head = self.head as usize * stride;
        take_out(&mut self.words, head, stride, indexes);
        if let Some(rare) = &mut self.rare {
            rare.remove(layout, indexes);
        }
        self.give_back_room(stride);
        self.note_oldest(layout);
    }

    /// A copy of it without the events at `indexes`, which ascend and name each once.
    pub(crate) fn without(&self, layout: &RingLayout, indexes: &[usize]) -> Ring {
        let mut ring = self.clone();
        ring.remove(layout, indexes);
        ring
    }

    /// Bytes of memory held beside the ring itself. Takes the same short time for rings of all lengths.
    pub fn memory_bytes(&self) -> usize {
        self.words.capacity() * 4 + self.rare.as_ref().map_or(0, |rare| rare.memory_bytes())
    }

    /// What these of its events are made of.
    pub(crate) fn parts(&self, layout: &RingLayout, events: Range<usize>) -> RingParts<'_> {
        let (head, stride) = (self.head as usize, layout.words_of_event(self.broad));
        let each = |count: usize| events.start * count..events.end * count;
        let (wides, texts, primary_keys) = match &self.rare {
            None => (&[][..], &[][..], &[][..]),
            Some(rare) => {
                let keys = if rare.primary_keys.is_empty() { 0..0 } else { events.clone() };
                (&rare.wides[each(layout.wides)], &rare.texts[each(layout.texts)], &rare.primary_keys[keys])
            }
        };
        let words = &self.words[(head + events.start) * stride..(head + events.end) * stride];
        RingParts { broad: self.broad, words, wides, texts, primary_keys }
    }

    /// The ring that has these parts, as many of each as the layout says; `None` if no ring of this layout can have them:
    /// events out of order, broad slots that there are not, keys where none are kept, text that is not UTF-8.
    pub(crate) fn from_parts(
        layout: &RingLayout,
        broad: u32,
        words: Vec<u32>,
        wides: Vec<i128>,
        texts: Vec<Box<[u8]>>,
        primary_keys: Vec<Box<[u8]>>,
    ) -> Option<Ring> {
        let slots = u32::MAX.checked_shr(u32::BITS.saturating_sub(layout.words as u32)).unwrap_or(0);
        let mut are_texts = texts.iter().zip(layout.utf8_texts.iter().cycle());
        let is_whole = broad & !slots == 0
            && (primary_keys.is_empty() || layout.follows_order)
            && are_texts.all(|(text, is_utf8)| !is_utf8 || std::str::from_utf8(text).is_ok());
        let text_bytes = texts.iter().chain(&primary_keys).map(|text| text.len()).sum();
        let is_rare = layout.wides + layout.texts + primary_keys.len() > 0;
        let rare = is_rare.then(|| Box::new(Rare { wides, texts, primary_keys, text_bytes }));
        let mut ring = Ring { words, head: 0, broad, oldest_us: 0, rare };
        ring.note_oldest(layout);
        (is_whole && ring.events(layout).are_in_order()).then_some(ring)
    }

    fn note_oldest(&mut self, layout: &RingLayout) {
        let events = self.events(layout);
        if events.len() > 0 {
            self.oldest_us = events.time_us(0);
        }
    }

    /// Makes room for an event: over the events that are gone if they are as many as growth would add, else at the end.
    fn make_room(&mut self, stride: usize) {
        let len = self.words.len() / stride - self.head as usize;
        let grown = (len / GROWTH_SHARE).max(GROWTH_EVENTS_MIN);
        if self.head as usize >= grown {
            self.words.drain(..self.head as usize * stride);
            self.head = 0;
        } else {
            self.words.reserve_exact(grown * stride);
        }
    }

    /// Moves the events to the front when those gone from there are more than half, and gives back what is not used then.
    fn give_back_room(&mut self, stride: usize) {
        let gone = self.head as usize * stride;
        if gone * 2 > self.words.len() {
            self.words.drain(..gone);
            self.head = 0;
        }
        if self.words.len() * 2 < self.words.capacity() {
            self.words.shrink_to_fit();
        }
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
            words.extend_from_slice(&event[..layout.slots_at]);
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
        rare.text_bytes += (0..layout.texts).map(|place| from.text(place, row).len()).sum::<usize>();
        if keeps_key {
            rare.primary_keys.insert(index, tie.primary_key.into());
            rare.text_bytes += tie.primary_key.len();
        }
    }
}

impl Rare {
    fn drop_first(&mut self, layout: &RingLayout, count: usize) {
        self.wides.drain(..count * layout.wides);
        shrink(&mut self.wides);
        let keys = count.min(self.primary_keys.len());
        for (texts, count) in [(&mut self.texts, count * layout.texts), (&mut self.primary_keys, keys)] {
            self.text_bytes -= texts.drain(..count).map(|text| text.len()).sum::<usize>();
            shrink(texts);
        }
    }

    fn remove(&mut self, layout: &RingLayout, indexes: &[usize]) {
        take_out(&mut self.wides, 0, layout.wides, indexes);
        self.text_bytes -= take_out_texts(&mut self.texts, layout.texts, indexes);
        if !self.primary_keys.is_empty() {
            self.text_bytes -= take_out_texts(&mut self.primary_keys, 1, indexes);
        }
        shrink(&mut self.wides);
        shrink(&mut self.texts);
        shrink(&mut self.primary_keys);
    }

    fn memory_bytes(&self) -> usize {
        let texts = (self.texts.capacity() + self.primary_keys.capacity()) * size_of::<Box<[u8]>>();
        size_of::<Rare>() + self.wides.capacity() * size_of::<i128>() + texts + self.text_bytes
    }
}

/// Takes the groups of `each` values at `indexes` out of those that lie from `start` on.
fn take_out<T: Copy>(values: &mut Vec<T>, start: usize, each: usize, indexes: &[usize]) {
    let Some(first) = indexes.first() else { return };
    let mut end = start + first * each;
    for (place, index) in indexes.iter().enumerate() {
        let stay = start + (index + 1) * each;
        let next = indexes.get(place + 1).map_or(values.len(), |next| start + next * each);
        values.copy_within(stay..next, end);
        end += next - stay;
    }
    values.truncate(end);
}

/// The same with texts, which move one by one. Returns the bytes of those taken out.
fn take_out_texts(texts: &mut Vec<Box<[u8]>>, each: usize, indexes: &[usize]) -> usize {
    let Some(first) = indexes.first() else { return 0 };
    let mut end = first * each;
    for (place, index) in indexes.iter().enumerate() {
        let next = indexes.get(place + 1).map_or(texts.len(), |next| next * each);
        for from in (index + 1) * each..next {
            texts.swap(end, from);
            end += 1;
        }
    }
    texts.drain(end..).map(|text| text.len()).sum()
}

/// Gives back what is more than four times needed; growth to twice the need is far away then.
fn shrink<T>(values: &mut Vec<T>) {
    if values.len() * 4 < values.capacity() {
        values.shrink_to(values.len() * 2);
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
        search(self.len(), self.len(), |index| self.order_against(index, time_us, tie) != Ordering::Less)
    }

    /// The index of the first event after all with this time and tie-breaker, quickest where that is `near`. Where the
    /// view neither follows order nor names events, the tie-breaker does not count.
    pub fn first_after(&self, time_us: i64, tie: TieBreak<'_>, near: usize) -> usize {
        search(self.len(), near, |index| self.order_against(index, time_us, tie) == Ordering::Greater)
    }

    /// The indexes of the copies of one event, in the order in which they came; the event is known by its time and what
    /// the layout keeps of its tie-breaker.
    pub(crate) fn copies(&self, time_us: i64, tie: TieBreak<'_>) -> Range<usize> {
        debug_assert!(self.layout.keeps_places(), "events without a place have no name");
        let tie = self.layout.kept(tie);
        let first = self.position(time_us, tie);
        first..self.first_after(time_us, tie, first)
    }

    fn are_in_order(&self) -> bool {
        (1..self.len()).all(|index| match self.time_us(index - 1).cmp(&self.time_us(index)) {
            Ordering::Equal => self.tie(index - 1) <= self.tie(index),
            order => order != Ordering::Greater,
        })
    }

    /// What an event carries of its tie-breaker: nothing where events have no places.
    pub(crate) fn tie(&self, index: usize) -> TieBreak<'_> {
        if !self.layout.keeps_places() {
            return TieBreak { primary_key: &[], partition: 0, offset: 0 };
        }
        let event = self.event(index);
        let keys = self.ring.rare.as_ref().map(|rare| &rare.primary_keys);
        let primary_key = keys.and_then(|keys| keys.get(index)).map_or(&[][..], |key| key);
        TieBreak { primary_key, partition: event[2], offset: join(event[3], event[4]) as u64 }
    }

    /// How the event at `index` stands to one with this time and tie-breaker.
    pub(crate) fn order_against(&self, index: usize, time_us: i64, tie: TieBreak<'_>) -> Ordering {
        let by_time = self.time_us(index).cmp(&time_us);
        if by_time != Ordering::Equal || !self.layout.keeps_places() {
            return by_time;
        }
        self.tie(index).cmp(&tie)
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
    if layout.keeps_places() {
        to[2] = tie.partition;
        (to[3], to[4]) = split(tie.offset as i64);
    }
    let mut at = layout.slots_at;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Function;
    use crate::frame::Frame;
    use crate::program::{Call, Slot};
    use proptest::prelude::*;

    const WORDS_MAX: usize = 36;

    #[derive(Debug, Clone)]
    struct Event {
        time_us: i64,
        words: Vec<i64>,
        wides: Vec<i128>,
        texts: Vec<Vec<u8>>,
        flags: u64,
        primary_key: Vec<u8>,
        partition: u32,
        offset: u64,
    }

    struct Batch<'a>(&'a [Event]);

    impl Events for Batch<'_> {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn time_us(&self, index: usize) -> i64 {
            self.0[index].time_us
        }
        fn word(&self, place: usize, index: usize) -> i64 {
            self.0[index].words[place]
        }
        fn wide(&self, place: usize, index: usize) -> i128 {
            self.0[index].wides[place]
        }
        fn text(&self, place: usize, index: usize) -> &[u8] {
            &self.0[index].texts[place]
        }
        fn flag(&self, place: usize, index: usize) -> bool {
            self.0[index].flags >> place & 1 == 1
        }
    }

    impl Event {
        fn tie(&self) -> TieBreak<'_> {
            TieBreak { primary_key: &self.primary_key, partition: self.partition, offset: self.offset }
        }

        /// Bytes of what the ring keeps of it as texts.
        fn text_bytes(&self, shape: &Shape) -> usize {
            let key = if shape.follows_order { self.primary_key.len() } else { 0 };
            key + self.texts[..shape.texts].iter().map(Vec::len).sum::<usize>()
        }

        /// How events are ordered: those of which nothing else is kept than the time stay as they came.
        fn order(&self, other: &Event, shape: &Shape) -> Ordering {
            let by_time = self.time_us.cmp(&other.time_us);
            let place = |event: &Event| (event.partition, event.offset);
            match (shape.follows_order, shape.names_events) {
                (true, _) => by_time.then(self.tie().cmp(&other.tie())),
                (false, true) => by_time.then(place(self).cmp(&place(other))),
                (false, false) => by_time,
            }
        }
    }

    #[derive(Debug, Clone)]
    enum Change {
        Insert(Event),
        /// Of the events held, this share in 256ths.
        DropFirst(u8),
        /// The events at these shares of those held, in 256ths.
        Remove(Vec<u8>),
    }

    #[derive(Debug, Clone)]
    struct Shape {
        words: usize,
        doubles: usize,
        wides: usize,
        texts: usize,
        filters: usize,
        follows_order: bool,
        names_events: bool,
        has_primary_key: bool,
    }

    impl Shape {
        fn layout(&self) -> RingLayout {
            let program = program(self);
            if self.names_events { RingLayout::naming_events(&program) } else { RingLayout::new(&program) }
        }
    }

    fn shape() -> impl Strategy<Value = Shape> {
        let words = prop_oneof![0..4usize, 30..=WORDS_MAX - 2];
        let filters = prop_oneof![Just(0usize), 1..4usize, 31..34usize, Just(64usize)];
        let truths = (any::<bool>(), any::<bool>(), any::<bool>());
        (words, 0..=2usize, 0..=2usize, 0..=2usize, filters, truths).prop_map(
            |(words, doubles, wides, texts, filters, (follows_order, names_events, has_primary_key))| Shape {
                words,
                doubles,
                wides,
                texts,
                filters,
                follows_order,
                names_events,
                has_primary_key,
            },
        )
    }

    fn change() -> impl Strategy<Value = Change> {
        let word = prop_oneof![
            20 => -100..100i64,
            1 => any::<i64>(),
            1 => prop::sample::select(vec![
                i64::MIN, i64::MAX, i64::from(i32::MIN), i64::from(i32::MAX), i64::from(i32::MIN) - 1, 1 << 31,
            ]),
        ];
        let time_us = prop_oneof![8 => -20..20i64, 1 => any::<i64>()];
        let offset = prop_oneof![0..40u64, (u64::MAX - 40)..=u64::MAX];
        let event = (
            time_us,
            prop::collection::vec(word, WORDS_MAX),
            prop::collection::vec(any::<i128>(), 2),
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), 2),
            any::<u64>(),
            prop::collection::vec(any::<u8>(), 1..3),
            prop_oneof![0..3u32, Just(u32::MAX)],
            offset,
        );
        let event = event.prop_map(|(time_us, words, wides, texts, flags, primary_key, partition, offset)| Event {
            time_us,
            words,
            wides,
            texts,
            flags,
            primary_key,
            partition,
            offset,
        });
        prop_oneof![
            8 => event.prop_map(Change::Insert),
            1 => any::<u8>().prop_map(Change::DropFirst),
            1 => prop::collection::vec(any::<u8>(), 0..12).prop_map(Change::Remove),
        ]
    }

    fn program(shape: &Shape) -> Program {
        let types = [
            (DataType::Int64, shape.words),
            (DataType::Float64, shape.doubles),
            (DataType::Decimal128(38, 2), shape.wides),
            (DataType::Utf8, shape.texts),
        ];
        let slot = |data_type: DataType| Slot { data_type, nullable: false };
        let slots: Vec<Slot> = types.into_iter().flat_map(|(name, count)| vec![slot(name); count]).collect();
        let function = if shape.follows_order { Function::LastValue } else { Function::Count };
        let argument = (!slots.is_empty()).then_some(0);
        let call = Call { function, argument, by: None, filter: None, frame: 0, data_type: DataType::Int64 };
        Program::new(vec![Frame::LIFETIME], slots, shape.filters, vec![call]).unwrap()
    }

    /// Applies the changes to a ring and to a sorted vector, and compares the two after every one.
    fn check(shape: &Shape, changes: Vec<Change>) -> Result<(), TestCaseError> {
        let layout = shape.layout();
        let (mut ring, mut model) = (Ring::default(), Vec::<Event>::new());
        for change in changes {
            match change {
                Change::Insert(mut event) => {
                    if !shape.has_primary_key {
                        event.primary_key.clear();
                    }
                    let expected = model.partition_point(|other| other.order(&event, shape) != Ordering::Greater);
                    let (is_full, held) = (ring.is_full(&layout), ring.words.capacity());
                    let index = ring.insert(&layout, &Batch(std::slice::from_ref(&event)), 0, event.tie());
                    prop_assert!(is_full || ring.broad != 0 || ring.words.capacity() == held);
                    prop_assert_eq!(index, expected);
                    model.insert(index, event);
                }
                Change::DropFirst(share) => {
                    let count = model.len() * usize::from(share) / 255;
                    ring.drop_first(&layout, count);
                    model.drain(..count);
                }
                Change::Remove(shares) => {
                    let held = shares.iter().filter(|_| !model.is_empty());
                    let mut indexes: Vec<usize> = held.map(|share| model.len() * usize::from(*share) / 256).collect();
                    indexes.sort_unstable();
                    indexes.dedup();
                    indexes.iter().rev().for_each(|index| drop(model.remove(*index)));
                    same_events(shape, &ring.without(&layout, &indexes).events(&layout), &model)?;
                    ring.remove(&layout, &indexes);
                    prop_assert!(ring.words.capacity() <= 2 * ring.words.len());
                }
            }
            prop_assert_eq!(ring.len(&layout), model.len());
            let rare = ring.rare.as_ref().map_or(0, |rare| rare.text_bytes);
            prop_assert_eq!(rare, model.iter().map(|event| event.text_bytes(shape)).sum::<usize>());
            same_events(shape, &ring.events(&layout), &model)?;
        }
        Ok(())
    }

    fn same_events(shape: &Shape, events: &RingEvents<'_>, model: &[Event]) -> Result<(), TestCaseError> {
        prop_assert_eq!(events.len(), model.len());
        for (index, event) in model.iter().enumerate() {
            prop_assert_eq!(events.time_us(index), event.time_us);
            for place in 0..shape.words + shape.doubles {
                prop_assert_eq!(events.word(place, index), event.words[place], "word {} of {}", place, index);
            }
            for place in 0..shape.wides {
                prop_assert_eq!(events.wide(place, index), event.wides[place]);
            }
            for place in 0..shape.texts {
                prop_assert_eq!(events.text(place, index), &event.texts[place][..]);
            }
            for place in 0..shape.filters {
                prop_assert_eq!(events.flag(place, index), event.flags >> place & 1 == 1, "flag {}", place);
            }
            let first = model.partition_point(|other| other.order(event, shape) == Ordering::Less);
            let kept = events.layout.kept(event.tie());
            prop_assert_eq!(events.position(event.time_us, kept), first);
            let after = model.partition_point(|other| other.order(event, shape) != Ordering::Greater);
            for near in [0, index, model.len()] {
                prop_assert_eq!(events.first_after(event.time_us, kept, near), after);
            }
            if shape.names_events {
                prop_assert_eq!(events.copies(event.time_us, event.tie()), first..after);
            }
        }
        let nowhere = TieBreak { primary_key: &[], partition: 0, offset: 0 };
        let from_zero = model.partition_point(|event| event.time_us < 0);
        prop_assert_eq!(events.position(0, nowhere).max(from_zero), events.position(0, nowhere));
        prop_assert_eq!(events.position(i64::MIN, nowhere), 0);
        Ok(())
    }

    proptest! {
        #[test]
        fn equals_a_sorted_vector(shape in shape(), changes in prop::collection::vec(change(), 0..80)) {
            check(&shape, changes)?;
        }
    }

    #[test]
    fn an_empty_ring_holds_nothing() {
        let shape = Shape {
            words: 0,
            doubles: 0,
            wides: 0,
            texts: 0,
            filters: 0,
            follows_order: false,
            names_events: true,
            has_primary_key: false,
        };
        let layout = shape.layout();
        let mut ring = Ring::default();
        ring.drop_first(&layout, 0);
        ring.remove(&layout, &[]);
        assert_eq!(ring.len(&layout), 0);
        assert!(ring.events(&layout).is_empty());
        assert_eq!(ring.memory_bytes(), 0);
    }
}
