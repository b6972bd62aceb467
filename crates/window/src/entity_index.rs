//! Which entities there are: each key has a number, dense from 0, under which its events are kept elsewhere. Numbers of
//! entities that were removed are given out again; where most are free, all are dealt anew and the room comes back.

use hashbrown::HashTable;

use crate::image::EntityKey;
use crate::key_arena::KeyArena;
use crate::keys::{Keys, hash_bytes, hash_word};

/// Says of an old number that no entity has it any more.
pub(crate) const NO_NUMBER: u32 = u32::MAX;
/// Numbers are dealt anew when fewer than one in so many is in use, …
const SPARSE_SHARE: usize = 4;
/// … but not for the sake of so few.
const SPARSE_NUMBERS_MIN: usize = 1024;

/// Entity keys seen so far, each with a number. Keys of one index come from one [`KeyEncoder`](crate::KeyEncoder).
#[derive(Debug, Default)]
pub struct EntityIndex {
    words: HashTable<(i64, u32)>,
    bytes: HashTable<(u64, u32)>,
    /// Keys of `words` by number.
    words_by_number: Vec<i64>,
    /// Keys of `bytes` by number.
    arena: KeyArena,
    /// Numbers given out so far, in use or free.
    numbers: u32,
    free: Vec<u32>,
}

impl EntityIndex {
    /// Number of entities.
    pub fn len(&self) -> usize {
        self.words.len() + self.bytes.len()
    }

    /// Whether there is no entity.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All numbers in use are below this. Equal to [`EntityIndex::len`] where no entity was ever removed.
    pub fn numbers(&self) -> usize {
        self.numbers as usize
    }

    /// The number of the key at `row`, a new one if it has none.
    #[inline]
    pub fn intern(&mut self, keys: &Keys, row: usize) -> u32 {
        match keys {
            Keys::Words(words) => self.intern_word(words[row]),
            Keys::Rows(rows) => self.intern_bytes(rows.row(row).data()),
        }
    }

    /// The number of a key, a new one if it has none. `None` if the index has keys of the other kind, which come from
    /// another encoder.
    pub(crate) fn intern_key(&mut self, key: EntityKey<'_>) -> Option<u32> {
        match key {
            EntityKey::Word(word) => self.bytes.is_empty().then(|| self.intern_word(word)),
            EntityKey::Bytes(bytes) => self.words.is_empty().then(|| self.intern_bytes(bytes)),
        }
    }

    /// The key of an entity, by its number.
    pub(crate) fn key(&self, number: u32) -> EntityKey<'_> {
        match self.words_by_number.get(number as usize) {
            Some(word) => EntityKey::Word(*word),
            None => EntityKey::Bytes(self.arena.get(number)),
        }
    }

    /// Makes room for so many entities more of the kind of `key`.
    pub(crate) fn reserve(&mut self, entities: usize, key: EntityKey<'_>) {
        match key {
            EntityKey::Word(_) => {
                self.words.reserve(entities, |(word, _)| hash_word(*word));
                self.words_by_number.reserve(entities);
            }
            EntityKey::Bytes(_) => self.bytes.reserve(entities, |(hash, _)| *hash),
        }
    }

    #[inline]
    fn intern_word(&mut self, word: i64) -> u32 {
        let next = self.next_number();
        let entry = self.words.entry(hash_word(word), |(other, _)| *other == word, |(other, _)| hash_word(*other));
        let found = entry.or_insert((word, next)).get().1;
        if found == next {
            self.give_out(next);
            self.words_by_number.resize(self.numbers as usize, 0);
            self.words_by_number[next as usize] = word;
        }
        found
    }

    #[inline]
    fn intern_bytes(&mut self, bytes: &[u8]) -> u32 {
        let (next, hash) = (self.next_number(), hash_bytes(bytes));
        let arena = &self.arena;
        let same = |(other, number): &(u64, u32)| *other == hash && arena.get(*number) == bytes;
        let found = self.bytes.entry(hash, same, |(other, _)| *other).or_insert((hash, next)).get().1;
        if found == next {
            self.give_out(next);
            self.arena.put(next, bytes);
        }
        found
    }

    fn next_number(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.numbers)
    }

    /// The number of the key at `row`, if it has one.
    #[inline]
    pub fn find(&self, keys: &Keys, row: usize) -> Option<u32> {
        match keys {
            Keys::Words(words) => self.find_key(EntityKey::Word(words[row])),
            Keys::Rows(rows) => self.find_key(EntityKey::Bytes(rows.row(row).data())),
        }
    }

    /// The number of the entity with this key.
    #[inline]
    pub(crate) fn find_key(&self, key: EntityKey<'_>) -> Option<u32> {
        match key {
            EntityKey::Word(word) => {
                self.words.find(hash_word(word), |(other, _)| *other == word).map(|(_, number)| *number)
            }
            EntityKey::Bytes(bytes) => {
                let hash = hash_bytes(bytes);
                let same = |(other, number): &(u64, u32)| *other == hash && self.arena.get(*number) == bytes;
                self.bytes.find(hash, same).map(|(_, number)| *number)
            }
        }
    }

    /// Removes the entity with this number. Returns whether there was one.
    pub fn remove(&mut self, number: u32) -> bool {
        let removed = if self.arena.holds(number) {
            let hash = hash_bytes(self.arena.get(number));
            self.arena.remove(number);
            self.bytes.find_entry(hash, |(_, other)| *other == number).map(|entry| entry.remove()).is_ok()
        } else if let Some(&word) = self.words_by_number.get(number as usize) {
            // A free number's word may long be that of another entity: the number has to agree.
            self.words.find_entry(hash_word(word), |entry| *entry == (word, number)).map(|entry| entry.remove()).is_ok()
        } else {
            false
        };
        if removed {
            self.free.push(number);
        }
        removed
    }

    /// Whether so many numbers are free that [`EntityIndex::renumber`] pays: it then takes a step for each of them and
    /// for each of at least three times as many removals before.
    pub(crate) fn is_sparse(&self) -> bool {
        self.numbers() >= SPARSE_NUMBERS_MIN && self.len() * SPARSE_SHARE < self.numbers()
    }

    /// Numbers all entities anew, densely and in their old order, and gives back the memory left over. Returns the new
    /// number of each old one, or [`NO_NUMBER`].
    pub(crate) fn renumber(&mut self) -> Vec<u32> {
        let mut new_numbers = vec![NO_NUMBER; self.numbers()];
        let used = self.words.iter().map(|entry| entry.1).chain(self.bytes.iter().map(|entry| entry.1));
        used.for_each(|number| new_numbers[number as usize] = 0);
        let used = new_numbers.iter_mut().filter(|number| **number != NO_NUMBER);
        used.zip(0..).for_each(|(number, next)| *number = next);
        for (word, number) in &mut self.words {
            *number = new_numbers[*number as usize];
            self.words_by_number[*number as usize] = *word;
        }
        self.bytes.iter_mut().for_each(|(_, number)| *number = new_numbers[*number as usize]);
        self.arena.renumber(&new_numbers);
        self.words_by_number.truncate(self.words.len());
        self.words_by_number.shrink_to_fit();
        self.words.shrink_to(self.words.len() * 2, |(word, _)| hash_word(*word));
        self.bytes.shrink_to(self.bytes.len() * 2, |(hash, _)| *hash);
        self.numbers = self.len() as u32;
        self.free = Vec::new();
        new_numbers
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        let by_number = self.words_by_number.capacity() * size_of::<i64>() + self.free.capacity() * size_of::<u32>();
        self.words.allocation_size() + self.bytes.allocation_size() + self.arena.memory_bytes() + by_number
    }

    fn give_out(&mut self, next: u32) {
        if self.free.pop().is_none() {
            self.numbers = next.checked_add(1).expect("one shard holds fewer than 2^32 entities");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};
    use std::sync::Arc;

    use super::*;
    use crate::keys::KeyEncoder;
    use crate::keys::tests::{composites, part};
    use arrow::array::{ArrayRef, StringArray};
    use arrow::datatypes::DataType;
    use proptest::prelude::*;

    /// What happens to an index: keys come, an entity goes, numbers are dealt anew.
    #[derive(Debug, Clone)]
    enum Change {
        Intern(Vec<(i16, i16)>),
        Remove(u32),
        Renumber,
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            4 => prop::collection::vec((-60..60i16, -3..3i16), 0..60).prop_map(Change::Intern),
            8 => (0..130u32).prop_map(Change::Remove),
            1 => Just(Change::Renumber),
        ]
    }

    struct Watched {
        types: Vec<DataType>,
        encoder: KeyEncoder,
        index: EntityIndex,
        /// Numbers by the values of the parts.
        model: BTreeMap<Vec<i64>, u32>,
    }

    impl Watched {
        /// Interns a batch: a key seen keeps its number, a new one gets a number that no other has.
        fn intern(&mut self, batch: &[(i16, i16)]) -> Result<(), TestCaseError> {
            let seeds =
                |place: usize| batch.iter().map(|pair| if place == 0 { pair.0 } else { pair.1 }).collect::<Vec<_>>();
            let types = self.types.iter().enumerate();
            let parts: Vec<ArrayRef> = types.clone().map(|(place, name)| part(name, &seeds(place))).collect();
            let keys = self.encoder.encode(&parts).unwrap();
            for row in 0..batch.len() {
                let value = |(place, name): (usize, &DataType)| match name {
                    DataType::Boolean => i64::from(seeds(place)[row] % 2 == 0),
                    _ => i64::from(seeds(place)[row]),
                };
                let key: Vec<i64> = types.clone().map(value).collect();
                let known = self.model.get(&key).copied();
                prop_assert_eq!(self.index.find(&keys, row), known);
                let number = self.index.intern(&keys, row);
                prop_assert!(known.is_none_or(|known| known == number));
                self.model.insert(key, number);
                prop_assert_eq!(self.index.find(&keys, row), Some(number));
            }
            self.check()
        }

        fn remove(&mut self, number: u32) -> Result<(), TestCaseError> {
            let before = self.model.len();
            self.model.retain(|_, other| *other != number);
            prop_assert_eq!(self.index.remove(number), self.model.len() < before);
            prop_assert!(!self.index.remove(number));
            self.check()
        }

        fn renumber(&mut self) -> Result<(), TestCaseError> {
            let new_numbers = self.index.renumber();
            self.model.values_mut().for_each(|number| *number = new_numbers[*number as usize]);
            prop_assert_eq!(self.index.numbers(), self.model.len());
            self.check()
        }

        fn check(&self) -> Result<(), TestCaseError> {
            prop_assert_eq!(self.index.len(), self.model.len());
            prop_assert_eq!(self.index.is_empty(), self.model.is_empty());
            let numbers: HashSet<u32> = self.model.values().copied().collect();
            prop_assert_eq!(numbers.len(), self.model.len(), "no two entities have one number");
            prop_assert!(numbers.iter().all(|number| (*number as usize) < self.index.numbers()));
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn numbers_equal_those_of_a_map(
            types in prop::sample::select(composites()),
            changes in prop::collection::vec(change(), 0..40),
        ) {
            let (encoder, index) = (KeyEncoder::new(&types).unwrap(), EntityIndex::default());
            let mut watched = Watched { types, encoder, index, model: BTreeMap::new() };
            for change in &changes {
                match change {
                    Change::Intern(batch) => watched.intern(batch)?,
                    Change::Remove(number) => watched.remove(*number)?,
                    Change::Renumber => watched.renumber()?,
                }
            }
            let all: Vec<(i16, i16)> = (-60..60).map(|seed| (seed, seed % 3)).collect();
            watched.intern(&all)?;
        }
    }

    #[test]
    fn numbers_are_dense_and_given_out_again() {
        let encoder = KeyEncoder::new(&[DataType::Int64]).unwrap();
        let keys = encoder.encode(&[part(&DataType::Int64, &[5, 6, 5, 7, 8])]).unwrap();
        let mut index = EntityIndex::default();
        assert_eq!([0, 1, 2, 3].map(|row| index.intern(&keys, row)), [0, 1, 0, 2]);
        assert!(index.remove(1));
        assert_eq!((index.intern(&keys, 4), index.numbers()), (1, 3));
        assert_eq!(index.find(&keys, 1), None);
    }

    /// Without a length, ("ab", "c") and ("a", "bc") would be one key.
    #[test]
    fn parts_do_not_run_together() {
        let encoder = KeyEncoder::new(&[DataType::Utf8, DataType::Utf8]).unwrap();
        let column = |texts: [&str; 4]| Arc::new(StringArray::from_iter_values(texts)) as ArrayRef;
        let keys = encoder.encode(&[column(["ab", "a", "", "abc"]), column(["c", "bc", "abc", ""])]).unwrap();
        let mut index = EntityIndex::default();
        let numbers: Vec<u32> = (0..4).map(|row| index.intern(&keys, row)).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert!(index.memory_bytes() > 0);
    }
}
