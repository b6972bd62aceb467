//! Sets of entity numbers, a bit each: those of a shard are dense from 0, so that a set of them takes an eighth of a byte
//! per entity and is gone over in order.

use crate::entity_index::NO_NUMBER;

/// Numbers in a set.
#[derive(Debug, Default)]
pub(crate) struct NumberSet {
    /// Up to the greatest number that was ever in it.
    words: Vec<u64>,
}

impl NumberSet {
    #[inline]
    pub(crate) fn insert(&mut self, number: u32) {
        let word = (number / u64::BITS) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (number % u64::BITS);
    }

    pub(crate) fn remove(&mut self, number: u32) {
        if let Some(word) = self.words.get_mut((number / u64::BITS) as usize) {
            *word &= !(1 << (number % u64::BITS));
        }
    }

    #[inline]
    pub(crate) fn holds(&self, number: u32) -> bool {
        let word = self.words.get((number / u64::BITS) as usize);
        word.is_some_and(|word| word >> (number % u64::BITS) & 1 == 1)
    }

    /// The least number in the set that is not less than `from`.
    pub(crate) fn next_from(&self, from: u32) -> Option<u32> {
        let first = (from / u64::BITS) as usize;
        let masked = self.words.get(first)? & (u64::MAX << (from % u64::BITS));
        let later = self.words[first + 1..].iter().copied();
        let (place, word) = (first..).zip(std::iter::once(masked).chain(later)).find(|(_, word)| *word != 0)?;
        Some(place as u32 * u64::BITS + word.trailing_zeros())
    }

    /// The set of the new numbers of those in it that have one.
    pub(crate) fn renumber(&mut self, new_numbers: &[u32]) {
        let old = std::mem::take(self);
        let mut next = old.next_from(0);
        while let Some(number) = next {
            if let Some(new) = new_numbers.get(number as usize).filter(|new| **new != NO_NUMBER) {
                self.insert(*new);
            }
            next = old.next_from(number + 1);
        }
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_a_set(numbers in prop::collection::vec(0..200u32, 0..100), kept in any::<u64>()) {
            let (mut set, mut model) = (NumberSet::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(set.holds(number), model.contains(&number));
                set.insert(number);
                model.insert(number);
                prop_assert!(set.holds(number));
                let removed = number * 7 % 250;
                set.remove(removed);
                model.remove(&removed);
                prop_assert_eq!(set.holds(number), model.contains(&number));
                for from in [0, number, number + 1, 300] {
                    prop_assert_eq!(set.next_from(from), model.range(from..).next().copied());
                }
            }
            // Every number whose bit is set in `kept`, repeated, stays.
            let mut next = 0..;
            let stays = |number: u32| kept >> (number % 64) & 1 == 1;
            let new_numbers: Vec<u32> =
                (0..200).map(|number| if stays(number) { next.next().unwrap() } else { NO_NUMBER }).collect();
            set.renumber(&new_numbers);
            let model: BTreeSet<u32> = model.into_iter().map(|number| new_numbers[number as usize]).collect();
            for number in 0..210 {
                prop_assert_eq!(set.holds(number), model.contains(&number));
            }
            prop_assert!(set.memory_bytes() <= 256);
        }
    }
}
