//! How often each value occurs in a frame: `count(DISTINCT x)`, `histogram(x)`, `mode(x)` and `top_k(x, k)`.
//!
//! A handful of values is a short list that is scanned; more go into a hash table, and, where the most frequent are asked
//! for, into a set ranked by frequency beside it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::hash::Hash;

use hashbrown::HashMap;

use crate::exact::Step;

type Seed = foldhash::fast::FixedState;

const FEW_MAX: usize = 24;

/// Occurrences of values of a frame.
#[derive(Debug, Clone)]
pub(crate) struct Tally<K> {
    ranks: bool,
    counts: Counts<K>,
}

#[derive(Debug, Clone)]
enum Counts<K> {
    Few(Vec<(K, u64)>),
    Many { counts: HashMap<K, u64, Seed>, ranked: BTreeSet<(Reverse<u64>, K)> },
}

impl<K: Ord + Hash + Clone> Tally<K> {
    /// `ranks` says that [`Tally::mode`] and [`Tally::most_frequent`] will be asked for.
    pub(crate) fn new(ranks: bool) -> Self {
        Tally { ranks, counts: Counts::Few(Vec::new()) }
    }

    /// Takes `key` in or out.
    pub(crate) fn step(&mut self, step: Step, key: K) {
        match step {
            Step::Enter => self.enter(key),
            Step::Leave => self.leave(&key),
        }
    }

    pub(crate) fn enter(&mut self, key: K) {
        match &mut self.counts {
            Counts::Few(few) => match few.iter_mut().find(|(other, _)| *other == key) {
                Some((_, count)) => *count += 1,
                None => {
                    few.push((key, 1));
                    if few.len() > FEW_MAX {
                        self.spread();
                    }
                }
            },
            Counts::Many { counts, ranked } => {
                let count = counts.entry(key.clone()).or_insert(0);
                *count += 1;
                if self.ranks {
                    let count = *count;
                    ranked.remove(&(Reverse(count - 1), key.clone()));
                    ranked.insert((Reverse(count), key));
                }
            }
        }
    }

    /// Takes out one `key`, which must have entered before.
    pub(crate) fn leave(&mut self, key: &K) {
        const ENTERED: &str = "what leaves a frame has entered it";
        match &mut self.counts {
            Counts::Few(few) => {
                let at = few.iter().position(|(other, _)| other == key).expect(ENTERED);
                few[at].1 -= 1;
                if few[at].1 == 0 {
                    few.swap_remove(at);
                }
            }
            Counts::Many { counts, ranked } => {
                let count = counts.get_mut(key).expect(ENTERED);
                *count -= 1;
                let count = *count;
                if count == 0 {
                    counts.remove(key);
                }
                if self.ranks {
                    ranked.remove(&(Reverse(count + 1), key.clone()));
                    if count > 0 {
                        ranked.insert((Reverse(count), key.clone()));
                    }
                }
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        match &mut self.counts {
            Counts::Few(few) => few.clear(),
            Counts::Many { .. } => self.counts = Counts::Few(Vec::new()),
        }
    }

    /// Number of distinct values.
    pub(crate) fn distinct(&self) -> usize {
        match &self.counts {
            Counts::Few(few) => few.len(),
            Counts::Many { counts, .. } => counts.len(),
        }
    }

    /// Bytes held; `beside` gives those that a key holds beside itself.
    pub(crate) fn memory_bytes(&self, beside: impl Fn(&K) -> usize) -> usize {
        match &self.counts {
            Counts::Few(few) => {
                few.capacity() * size_of::<(K, u64)>() + few.iter().map(|(key, _)| beside(key)).sum::<usize>()
            }
            Counts::Many { counts, ranked } => {
                let ranked_bytes = ranked.iter().map(|(_, key)| size_of::<(Reverse<u64>, K)>() + beside(key));
                counts.allocation_size() + counts.keys().map(&beside).sum::<usize>() + ranked_bytes.sum::<usize>()
            }
        }
    }

    /// The most frequent value, the smallest of ties.
    pub(crate) fn mode(&self) -> Option<&K> {
        match &self.counts {
            Counts::Few(few) => few.iter().min_by_key(|(key, count)| (Reverse(*count), key)).map(|(key, _)| key),
            Counts::Many { ranked, .. } => ranked.first().map(|(_, key)| key),
        }
    }

    /// The `k` most frequent values, the smallest first of ties.
    pub(crate) fn most_frequent(&self, k: usize) -> Vec<&K> {
        match &self.counts {
            Counts::Few(few) => {
                let mut entries: Vec<_> = few.iter().map(|(key, count)| (Reverse(*count), key)).collect();
                entries.sort_unstable();
                entries.into_iter().take(k).map(|(_, key)| key).collect()
            }
            Counts::Many { ranked, .. } => ranked.iter().take(k).map(|(_, key)| key).collect(),
        }
    }

    /// Every value and how often it occurs, the smallest first.
    pub(crate) fn sorted(&self) -> Vec<(&K, u64)> {
        let mut entries: Vec<_> = match &self.counts {
            Counts::Few(few) => few.iter().map(|(key, count)| (key, *count)).collect(),
            Counts::Many { counts, .. } => counts.iter().map(|(key, count)| (key, *count)).collect(),
        };
        entries.sort_unstable();
        entries
    }

    fn spread(&mut self) {
        let Counts::Few(few) = &mut self.counts else { return };
        let few = std::mem::take(few);
        let ranked = match self.ranks {
            true => few.iter().map(|(key, count)| (Reverse(*count), key.clone())).collect(),
            false => BTreeSet::new(),
        };
        self.counts = Counts::Many { counts: few.into_iter().collect(), ranked };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_counting(steps in prop::collection::vec((any::<bool>(), 0u16..60), 0..400)) {
            let mut tally = Tally::new(true);
            let mut model = std::collections::BTreeMap::<u16, u64>::new();
            for (enter, key) in steps {
                if !enter && model.contains_key(&key) {
                    tally.leave(&key);
                    let count = model.get_mut(&key).unwrap();
                    *count -= 1;
                    if *count == 0 {
                        model.remove(&key);
                    }
                } else {
                    tally.enter(key);
                    *model.entry(key).or_default() += 1;
                }
                prop_assert_eq!(tally.distinct(), model.len());
                let mode = model.iter().min_by_key(|(key, count)| (Reverse(**count), **key)).map(|(key, _)| key);
                prop_assert_eq!(tally.mode(), mode);
                let mut frequent: Vec<_> = model.iter().map(|(key, count)| (Reverse(*count), key)).collect();
                frequent.sort();
                for k in [1, 3, 100] {
                    let frequent: Vec<&u16> = frequent.iter().take(k).map(|(_, key)| *key).collect();
                    prop_assert_eq!(tally.most_frequent(k), frequent);
                }
                prop_assert_eq!(tally.sorted(), model.iter().map(|(key, count)| (key, *count)).collect::<Vec<_>>());
            }
        }
    }
}
