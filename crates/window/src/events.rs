//! What window code sees of one entity's events, wherever they lie: a [`Ring`](crate::Ring) in live state or a run of
//! [`SortedEvents`](crate::SortedEvents) in history. Events are in their order (event time, primary key, partition,
//! offset), and each carries only what the aggregates of its view read:
//!
//! ```text
//!   time        event time, microseconds
//!   words       64-bit slots: integers, booleans, dates, instants as themselves; doubles as their bits
//!   wides       128-bit slots: unscaled decimals
//!   texts       byte strings: VARCHAR and VARBINARY
//!   flags       one bit per nullable slot ("is present") and per FILTER ("passes")
//! ```

/// One entity's events in order.
pub trait Events {
    /// Number of events.
    fn len(&self) -> usize;

    /// Whether there is no event.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Event time in microseconds of the event at `index`.
    fn time_us(&self, index: usize) -> i64;

    /// The 64-bit slot at `place` among the words.
    fn word(&self, place: usize, index: usize) -> i64;

    /// The 128-bit slot at `place` among the wides.
    fn wide(&self, place: usize, index: usize) -> i128;

    /// The bytes at `place` among the texts.
    fn text(&self, place: usize, index: usize) -> &[u8];

    /// The bit at `place` among the flags.
    fn flag(&self, place: usize, index: usize) -> bool;
}
