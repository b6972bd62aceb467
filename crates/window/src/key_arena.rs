//! Entity keys that are byte strings, one after the other in one allocation, each found by its entity's number.
//!
//! ```text
//!   bytes   │ len·4 │ key │ len·4 │ gone │ len·4 │ key │ …
//!   starts    └ of number 0                └ of number 1
//! ```
//! Keys that were taken out stay as garbage until they are more than half; then all others move together.

/// Stands in `starts` where a number has no key.
const NOWHERE: usize = usize::MAX;
const LEN_BYTES: usize = 4;

/// Byte strings by number.
#[derive(Debug, Default)]
pub(crate) struct KeyArena {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    garbage_bytes: usize,
}

impl KeyArena {
    /// The key of a number that has one.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> &[u8] {
        let start = self.starts[number as usize];
        &self.bytes[start + LEN_BYTES..start + self.held_bytes(start)]
    }

    /// Whether the number has a key.
    pub(crate) fn holds(&self, number: u32) -> bool {
        self.starts.get(number as usize).is_some_and(|start| *start != NOWHERE)
    }

    /// Gives a key to a number that has none: one that had one before, or the next.
    pub(crate) fn put(&mut self, number: u32, key: &[u8]) {
        let len = u32::try_from(key.len()).expect("a key is shorter than the request or the event that brought it");
        if number as usize == self.starts.len() {
            self.starts.push(NOWHERE);
        }
        self.starts[number as usize] = self.bytes.len();
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(key);
    }

    /// Takes the key of a number out.
    pub(crate) fn remove(&mut self, number: u32) {
        let start = std::mem::replace(&mut self.starts[number as usize], NOWHERE);
        self.garbage_bytes += self.held_bytes(start);
        if self.garbage_bytes * 2 > self.bytes.len() {
            self.compact();
        }
    }

    /// Renumbers: the key of number n becomes that of `new_numbers[n]`, which is at most n. Keys move together and the
    /// room that is then left over is given back.
    pub(crate) fn renumber(&mut self, new_numbers: &[u32]) {
        let mut len = 0;
        for (old, new) in new_numbers.iter().enumerate() {
            if self.holds(old as u32) {
                self.starts.swap(old, *new as usize);
                len = *new as usize + 1;
            }
        }
        self.starts.truncate(len);
        self.starts.shrink_to_fit();
        self.compact();
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.starts.capacity() * size_of::<usize>()
    }

    /// Bytes of the key at `start`, its length included.
    fn held_bytes(&self, start: usize) -> usize {
        let len = self.bytes[start..].first_chunk().map_or(0, |len| u32::from_le_bytes(*len));
        LEN_BYTES + len as usize
    }

    fn compact(&mut self) {
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.garbage_bytes);
        for place in 0..self.starts.len() {
            let start = self.starts[place];
            if start != NOWHERE {
                self.starts[place] = bytes.len();
                bytes.extend_from_slice(&self.bytes[start..start + self.held_bytes(start)]);
            }
        }
        self.bytes = bytes;
        self.garbage_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_a_vector_of_keys(steps in prop::collection::vec((0..30u32, prop::collection::vec(any::<u8>(), 0..9)), 0..300)) {
            let (mut arena, mut model) = (KeyArena::default(), Vec::<Option<Vec<u8>>>::new());
            for (number, key) in steps {
                let number = number.min(model.len() as u32);
                if arena.holds(number) {
                    arena.remove(number);
                    model[number as usize] = None;
                } else {
                    arena.put(number, &key);
                    model.resize(model.len().max(number as usize + 1), None);
                    model[number as usize] = Some(key);
                }
                let held: usize = model.iter().flatten().map(|key| key.len() + LEN_BYTES).sum();
                prop_assert!(arena.bytes.len() <= 2 * held);
                for (number, key) in model.iter().enumerate() {
                    prop_assert_eq!(arena.holds(number as u32).then(|| arena.get(number as u32)), key.as_deref());
                }
            }
            let mut next = 0..;
            let new_numbers: Vec<u32> =
                model.iter().map(|key| if key.is_some() { next.next().unwrap() } else { u32::MAX }).collect();
            arena.renumber(&new_numbers);
            model.retain(Option::is_some);
            for (number, key) in model.iter().enumerate() {
                prop_assert_eq!(Some(arena.get(number as u32)), key.as_deref());
            }
            prop_assert!(!arena.holds(model.len() as u32));
        }
    }
}
