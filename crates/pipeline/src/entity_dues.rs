//! When entries of entities change by time alone: for each entity the next instant, and the entities in the order of those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An entity key, as bytes.
pub(crate) type KeyBytes = Arc<[u8]>;

/// Entities that something is due of, each once. Takes some 150 bytes an entity, and its key.
#[derive(Debug, Default)]
pub(crate) struct EntityDues {
    by_time: BTreeSet<(i64, KeyBytes)>,
    by_key: BTreeMap<KeyBytes, i64>,
}

impl EntityDues {
    /// The next of an entity is due at an instant, in microseconds; `None`: nothing is. What was noted before is forgotten.
    pub(crate) fn set(&mut self, key: &KeyBytes, due_us: Option<i64>) {
        let before_us = match due_us {
            Some(due_us) => self.by_key.insert(key.clone(), due_us),
            None => self.by_key.remove(key),
        };
        if let Some(before_us) = before_us {
            self.by_time.remove(&(before_us, key.clone()));
        }
        self.by_time.extend(due_us.map(|due_us| (due_us, key.clone())));
    }

    /// When the first is due.
    pub(crate) fn first_us(&self) -> Option<i64> {
        self.by_time.first().map(|(due_us, _)| *due_us)
    }

    /// Takes out the one that is due first, if it is at `now_us`.
    pub(crate) fn pop(&mut self, now_us: i64) -> Option<KeyBytes> {
        if self.first_us()? > now_us {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_out_by_time_and_each_once() {
        let mut dues = EntityDues::default();
        let [a, b, c] = [b"a", b"b", b"c"].map(|key| KeyBytes::from(&key[..]));
        for (key, due_us) in [(&a, Some(30)), (&b, Some(10)), (&c, Some(20)), (&a, Some(5)), (&b, None), (&b, None)] {
            dues.set(key, due_us);
        }
        assert_eq!((dues.len(), dues.first_us()), (2, Some(5)));
        assert_eq!((dues.pop(4), dues.pop(5), dues.pop(19), dues.pop(20)), (None, Some(a), None, Some(c)));
        assert_eq!((dues.len(), dues.pop(i64::MAX)), (0, None));
    }
}
