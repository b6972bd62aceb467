//! Which values of a frame came last: `last_distinct(x, n)`.
//!
//! For each value the events that hold it, oldest first, and beside that the newest event of each value in order. An event
//! that comes or goes at either end, as most do, takes a step in both; one in between a few more.
//!
//! ```text
//!   events     a b a c b          newest first: b (4), c (3), a (2)
//!   by value   a: 0 2   b: 1 4   c: 3
//! ```

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;

use crate::accumulator::EventName;
use crate::exact::Step;
use crate::rank::Rank;

type Seed = foldhash::fast::FixedState;

/// The values of a frame by the events that hold them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recency {
    /// Names ascend, none of the lists is empty.
    by_value: HashMap<Rank, VecDeque<EventName>, Seed>,
    /// The last name of each list.
    newest: BTreeSet<EventName>,
    /// Name of an event less its index.
    shift: i64,
}

impl Recency {
    /// Takes the event at `index`, which holds `value`, in or out.
    pub(crate) fn step(&mut self, step: Step, value: Rank, index: usize) {
        let name = index as i64 + self.shift;
        match step {
            Step::Enter => self.enter(value, name),
            Step::Leave => self.leave(&value, name),
        }
    }

    /// Told that from here on the index of each event inside is lower by `by`.
    pub(crate) fn indexes_fell(&mut self, by: i64) {
        self.shift += by;
    }

    pub(crate) fn clear(&mut self) {
        self.by_value.clear();
        self.newest.clear();
        self.shift = 0;
    }

    /// For each of the last `n` different values, the index of the newest event that holds it; newest first.
    pub(crate) fn last(&self, n: u64) -> impl Iterator<Item = usize> {
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        self.newest.iter().rev().take(n).map(|name| (name - self.shift) as usize)
    }

    /// Bytes held, about: nodes of the tree are taken to be half full.
    pub(crate) fn memory_bytes(&self) -> usize {
        let lists = self.by_value.iter().map(|(value, names)| value.heap_bytes() + names.capacity() * NAME_BYTES);
        self.by_value.allocation_size() + lists.sum::<usize>() + self.newest.len() * 2 * NAME_BYTES
    }

    fn enter(&mut self, value: Rank, name: EventName) {
        let names = self.by_value.entry(value).or_default();
        match names.back().copied() {
            Some(newest) if newest > name => {
                let at = names.partition_point(|other| *other < name);
                names.insert(at, name);
            }
            older => {
                if let Some(older) = older {
                    self.newest.remove(&older);
                }
                self.newest.insert(name);
                names.push_back(name);
            }
        }
    }

    fn leave(&mut self, value: &Rank, name: EventName) {
        const ENTERED: &str = "what leaves a frame has entered it";
        let names = self.by_value.get_mut(value).expect(ENTERED);
        let at = names.binary_search(&name).expect(ENTERED);
        names.remove(at);
        if at < names.len() {
            return;
        }
        self.newest.remove(&name);
        match names.back() {
            Some(older) => {
                self.newest.insert(*older);
            }
            None => {
                self.by_value.remove(value);
            }
        }
    }
}

const NAME_BYTES: usize = size_of::<EventName>();

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The events in, walked from the newest.
    fn model(events: &[Option<u8>], n: usize) -> Vec<usize> {
        let mut seen = Vec::new();
        let mut last = Vec::new();
        for (index, value) in events.iter().enumerate().rev() {
            if let Some(value) = value.filter(|value| !seen.contains(value)) {
                seen.push(value);
                last.push(index);
            }
        }
        last.truncate(n);
        last
    }

    proptest! {
        #[test]
        fn equals_walking_back(steps in prop::collection::vec((0..60usize, 0..12u8), 0..400), fell in -5..5i64) {
            let mut recency = Recency::default();
            let mut events = vec![None; 60];
            for (index, value) in steps {
                match events[index].take() {
                    Some(held) => recency.step(Step::Leave, Rank::Word(held), index),
                    None => {
                        events[index] = Some(i64::from(value));
                        recency.step(Step::Enter, Rank::Word(i64::from(value)), index);
                    }
                }
                let plain: Vec<Option<u8>> = events.iter().map(|held| held.map(|held| held as u8)).collect();
                for n in [1, 3, 100] {
                    prop_assert_eq!(recency.last(n as u64).collect::<Vec<_>>(), model(&plain, n));
                }
            }
            let before: Vec<i64> = recency.last(100).map(|index| index as i64 + 5).collect();
            recency.indexes_fell(fell - 5);
            let after: Vec<i64> = recency.last(100).map(|index| index as i64 + fell).collect();
            prop_assert_eq!(before, after);
        }
    }
}
