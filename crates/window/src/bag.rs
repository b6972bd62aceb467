//! A sorted multiset: the order statistics of a frame (min, max, quantiles), whatever enters or leaves it.
//!
//! Values lie in sorted chunks of at most 512, so that entering and leaving cost a binary search and a short move, and
//! the k-th value a walk over chunk lengths. Most frames of most entities fit in one chunk.

use crate::exact::Step;

const CHUNK_LEN_MAX: usize = 512;

/// A sorted multiset of `K`.
#[derive(Debug, Clone)]
pub(crate) struct Bag<K> {
    /// Sorted, none empty but a lone first one.
    chunks: Vec<Vec<K>>,
    len: usize,
}

impl<K> Default for Bag<K> {
    fn default() -> Self {
        Bag { chunks: vec![Vec::new()], len: 0 }
    }
}

impl<K: Ord> Bag<K> {
    /// Takes `key` in or out.
    pub(crate) fn step(&mut self, step: Step, key: K) {
        match step {
            Step::Enter => self.enter(key),
            Step::Leave => self.leave(&key),
        }
    }

    pub(crate) fn enter(&mut self, key: K) {
        self.len += 1;
        let place = self.chunk_of(&key);
        let chunk = &mut self.chunks[place];
        let at = chunk.partition_point(|other| *other <= key);
        chunk.insert(at, key);
        if chunk.len() > CHUNK_LEN_MAX {
            let tail = chunk.split_off(CHUNK_LEN_MAX / 2);
            self.chunks.insert(place + 1, tail);
        }
    }

    /// Takes out one `key`, which must have entered before.
    pub(crate) fn leave(&mut self, key: &K) {
        let place = self.chunk_of(key);
        let chunk = &mut self.chunks[place];
        let at = chunk.binary_search(key).expect("what leaves a frame has entered it");
        chunk.remove(at);
        self.len -= 1;
        if chunk.is_empty() && self.chunks.len() > 1 {
            self.chunks.remove(place);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.chunks.truncate(1);
        self.chunks[0].clear();
        self.len = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn first(&self) -> Option<&K> {
        self.chunks[0].first()
    }

    pub(crate) fn last(&self) -> Option<&K> {
        self.chunks.last().and_then(|chunk| chunk.last())
    }

    /// Bytes held; `beside` gives those that a key holds beside itself.
    pub(crate) fn memory_bytes(&self, beside: impl Fn(&K) -> usize) -> usize {
        let held = |chunk: &Vec<K>| size_of::<Vec<K>>() + chunk.capacity() * size_of::<K>();
        let chunks: usize = self.chunks.iter().map(held).sum();
        chunks + self.chunks.iter().flatten().map(beside).sum::<usize>()
    }

    /// The value at `rank` from 0 in sorted order.
    pub(crate) fn at(&self, mut rank: usize) -> Option<&K> {
        for chunk in &self.chunks {
            if rank < chunk.len() {
                return chunk.get(rank);
            }
            rank -= chunk.len();
        }
        None
    }

    /// The first chunk whose last value is not below `key`, or the last chunk.
    fn chunk_of(&self, key: &K) -> usize {
        if self.chunks.len() == 1 {
            return 0;
        }
        let place = self.chunks.partition_point(|chunk| chunk.last().is_some_and(|last| last < key));
        place.min(self.chunks.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_a_sorted_vector(steps in prop::collection::vec((any::<bool>(), 0u16..300), 0..3000)) {
            let (mut bag, mut model) = (Bag::default(), Vec::new());
            for (enter, key) in steps {
                match model.binary_search(&key) {
                    Ok(at) if !enter => {
                        model.remove(at);
                        bag.leave(&key);
                    }
                    Ok(at) | Err(at) => {
                        model.insert(at, key);
                        bag.enter(key);
                    }
                }
                prop_assert_eq!(bag.first(), model.first());
                prop_assert_eq!(bag.last(), model.last());
            }
            prop_assert_eq!(bag.len(), model.len());
            for (rank, key) in model.iter().enumerate() {
                prop_assert_eq!(bag.at(rank), Some(key));
            }
            prop_assert_eq!(bag.at(model.len()), None);
        }
    }
}
