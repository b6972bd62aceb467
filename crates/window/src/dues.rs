//! What closes when: for each entity with open windows an instant, not after the last one of its window that ends first.
//!
//! ```text
//!   numbers   │ 7 │ 2 │ 9 │ 4 │ 0 │ …     a heap of entities, the one that is due first in front
//!   due_us    by number                    when
//!   places    by number                    where in the heap
//! ```
//! An entity stands in the heap once, whatever comes of it: an event that makes no window earlier than those there are costs
//! one comparison, and what was noted too early is put right when it is looked at. Takes 16 bytes an entity.
//!
//! Rule kept here: those that are due come out by time, then by number.

use crate::entity_index::NO_NUMBER;

/// Says of an entity that nothing of it is due.
const NO_PLACE: u32 = u32::MAX;

/// The entities of a shard that have open windows.
#[derive(Debug, Default)]
pub(crate) struct Dues {
    /// No entity is due before the one at half its place.
    numbers: Vec<u32>,
    due_us: Vec<i64>,
    places: Vec<u32>,
}

impl Dues {
    /// The entity that is due first, and when.
    pub(crate) fn first(&self) -> Option<(i64, u32)> {
        self.numbers.first().map(|number| (self.due_us[*number as usize], *number))
    }

    /// Something of an entity is due at an instant, or before it as it was already.
    #[inline]
    pub(crate) fn lower(&mut self, number: u32, due_us: i64) {
        if self.place(number).is_none_or(|_| due_us < self.due_us[number as usize]) {
            self.put(number, due_us);
        }
    }

    /// The first of an entity is due at an instant.
    pub(crate) fn put(&mut self, number: u32, due_us: i64) {
        let place = match self.place(number) {
            Some(place) => place,
            None => self.push(number),
        };
        self.due_us[number as usize] = due_us;
        let place = self.rise(place);
        self.sink(place);
    }

    /// Nothing of an entity is due any more.
    pub(crate) fn remove(&mut self, number: u32) {
        let Some(place) = self.place(number) else { return };
        self.places[number as usize] = NO_PLACE;
        self.numbers.swap_remove(place);
        if place < self.numbers.len() {
            self.set_place(place);
            let place = self.rise(place);
            self.sink(place);
        }
    }

    /// Tells of new numbers of entities, which keep their order. None that is due lost its own.
    pub(crate) fn renumber(&mut self, new_numbers: &[u32]) {
        let held = new_numbers.iter().filter(|new| **new != NO_NUMBER).count();
        let (mut due_us, mut places) = (vec![0; held], vec![NO_PLACE; held]);
        for (place, number) in self.numbers.iter_mut().enumerate() {
            let new = new_numbers[*number as usize];
            due_us[new as usize] = self.due_us[*number as usize];
            places[new as usize] = place as u32;
            *number = new;
        }
        self.numbers.shrink_to_fit();
        (self.due_us, self.places) = (due_us, places);
    }

    /// Number of entities with open windows.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        let words = self.numbers.capacity() + self.places.capacity();
        words * size_of::<u32>() + self.due_us.capacity() * size_of::<i64>()
    }

    #[inline]
    fn place(&self, number: u32) -> Option<usize> {
        self.places.get(number as usize).filter(|place| **place != NO_PLACE).map(|place| *place as usize)
    }

    /// Puts an entity at the end.
    fn push(&mut self, number: u32) -> usize {
        if self.places.len() <= number as usize {
            self.places.resize(number as usize + 1, NO_PLACE);
            self.due_us.resize(number as usize + 1, 0);
        }
        let place = self.numbers.len();
        self.numbers.push(number);
        self.set_place(place);
        place
    }

    fn set_place(&mut self, place: usize) {
        self.places[self.numbers[place] as usize] = place as u32;
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.numbers.swap(one, other);
        self.set_place(one);
        self.set_place(other);
    }

    fn order(&self, place: usize) -> (i64, u32) {
        let number = self.numbers[place];
        (self.due_us[number as usize], number)
    }

    /// Moves an entity to the front until the one before it is due earlier. Returns its place.
    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 && self.order(place) < self.order((place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        place
    }

    /// Moves an entity back until those behind it are due later.
    fn sink(&mut self, mut place: usize) {
        loop {
            let behind = (2 * place + 1)..(2 * place + 3).min(self.numbers.len());
            let Some(first) = behind.min_by_key(|behind| self.order(*behind)) else { return };
            if self.order(place) <= self.order(first) {
                return;
            }
            self.swap(place, first);
            place = first;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Change {
        Lower(u32, i64),
        Put(u32, i64),
        Remove(u32),
        /// Takes the first out.
        TakeFirst,
        /// Deals numbers anew, those of entities that are not due but for a few having gone.
        Renumber(u32),
    }

    fn change() -> impl Strategy<Value = Change> {
        let (number, due) = (|| 0..40u32, || prop_oneof![8 => -20..20i64, 1 => any::<i64>()]);
        prop_oneof![
            8 => (number(), due()).prop_map(|(number, due)| Change::Lower(number, due)),
            4 => (number(), due()).prop_map(|(number, due)| Change::Put(number, due)),
            2 => number().prop_map(Change::Remove),
            4 => Just(Change::TakeFirst),
            1 => (1..5u32).prop_map(Change::Renumber),
        ]
    }

    /// New numbers of 40: those in use have one, and of the others one in so many.
    fn dealt(model: &BTreeMap<u32, i64>, kept_share: u32) -> Vec<u32> {
        let mut next = 0..;
        let stays = |number: u32| model.contains_key(&number) || number.is_multiple_of(kept_share);
        (0..40).map(|number| if stays(number) { next.next().unwrap() } else { NO_NUMBER }).collect()
    }

    proptest! {
        #[test]
        fn equal_a_map(changes in prop::collection::vec(change(), 0..300)) {
            let (mut dues, mut model) = (Dues::default(), BTreeMap::<u32, i64>::new());
            for change in changes {
                match change {
                    Change::Lower(number, due) => {
                        dues.lower(number, due);
                        let lowered = model.get(&number).map_or(due, |held| due.min(*held));
                        model.insert(number, lowered);
                    }
                    Change::Put(number, due) => {
                        dues.put(number, due);
                        model.insert(number, due);
                    }
                    Change::Remove(number) => {
                        dues.remove(number);
                        model.remove(&number);
                    }
                    Change::TakeFirst => {
                        if let Some((_, number)) = dues.first() {
                            dues.remove(number);
                            model.remove(&number);
                        }
                    }
                    Change::Renumber(kept_share) => {
                        let new_numbers = dealt(&model, kept_share);
                        dues.renumber(&new_numbers);
                        model = model.into_iter().map(|(number, due)| (new_numbers[number as usize], due)).collect();
                    }
                }
                prop_assert_eq!(dues.first(), model.iter().map(|(number, due)| (*due, *number)).min());
                prop_assert_eq!(dues.len(), model.len());
            }
            let mut in_order: Vec<(i64, u32)> = model.iter().map(|(number, due)| (*due, *number)).collect();
            in_order.sort_unstable();
            for expected in in_order {
                prop_assert_eq!(dues.first(), Some(expected));
                dues.remove(expected.1);
            }
            prop_assert_eq!(dues.first(), None);
        }
    }

    #[test]
    fn an_entity_takes_16_bytes() {
        let mut dues = Dues::default();
        (0..1 << 12).for_each(|number| dues.put(number, i64::from(number % 7)));
        (0..1 << 12).for_each(|number| dues.lower(number, 7));
        assert_eq!((dues.len(), dues.memory_bytes()), (1 << 12, 16 << 12));
    }
}
