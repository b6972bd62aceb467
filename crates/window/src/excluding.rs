//! Events without some of them: what a read sees that stands at a version before the newest.

use crate::events::Events;

/// `events` without those at a few indexes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Excluding<'a, E> {
    events: &'a E,
    /// Ascending, each once.
    excluded: &'a [usize],
}

impl<'a, E: Events> Excluding<'a, E> {
    /// `excluded` ascends and names each index once.
    pub(crate) fn new(events: &'a E, excluded: &'a [usize]) -> Excluding<'a, E> {
        debug_assert!(excluded.is_sorted_by(|one, next| one < next), "excluded indexes ascend: {excluded:?}");
        Excluding { events, excluded }
    }

    /// The index in `events` of the event at `index` here: before it lie the k excluded ones of which the k-th has fewer
    /// than `index` others before it. Mostly the excluded are the newest and k is 0.
    #[inline]
    fn own(&self, index: usize) -> usize {
        if self.excluded.first().is_none_or(|first| index < *first) {
            return index;
        }
        let (mut low, mut high) = (1, self.excluded.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.excluded[middle] - middle <= index {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        index + low
    }
}

impl<E: Events> Events for Excluding<'_, E> {
    fn len(&self) -> usize {
        self.events.len() - self.excluded.len()
    }

    #[inline]
    fn time_us(&self, index: usize) -> i64 {
        self.events.time_us(self.own(index))
    }

    #[inline]
    fn word(&self, place: usize, index: usize) -> i64 {
        self.events.word(place, self.own(index))
    }

    fn wide(&self, place: usize, index: usize) -> i128 {
        self.events.wide(place, self.own(index))
    }

    fn text(&self, place: usize, index: usize) -> &[u8] {
        self.events.text(place, self.own(index))
    }

    #[inline]
    fn flag(&self, place: usize, index: usize) -> bool {
        self.events.flag(place, self.own(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Events whose every part is their index.
    struct Numbered(usize);

    impl Events for Numbered {
        fn len(&self) -> usize {
            self.0
        }
        fn time_us(&self, index: usize) -> i64 {
            index as i64
        }
        fn word(&self, place: usize, index: usize) -> i64 {
            (index + place) as i64
        }
        fn wide(&self, place: usize, index: usize) -> i128 {
            (index + place) as i128
        }
        fn text(&self, _: usize, index: usize) -> &[u8] {
            &[0; 64][..index]
        }
        fn flag(&self, place: usize, index: usize) -> bool {
            index >> place & 1 == 1
        }
    }

    proptest! {
        #[test]
        fn equals_a_filter(stays in prop::collection::vec(any::<bool>(), 0..60)) {
            let excluded: Vec<usize> = (0..stays.len()).filter(|index| !stays[*index]).collect();
            let left: Vec<usize> = (0..stays.len()).filter(|index| stays[*index]).collect();
            let all = Numbered(stays.len());
            let events = Excluding::new(&all, &excluded);
            prop_assert_eq!(events.len(), left.len());
            for (index, own) in left.into_iter().enumerate() {
                prop_assert_eq!(events.time_us(index), own as i64);
                prop_assert_eq!(events.word(3, index), own as i64 + 3);
                prop_assert_eq!(events.wide(2, index), own as i128 + 2);
                prop_assert_eq!(events.text(0, index).len(), own);
                prop_assert_eq!(events.flag(1, index), own >> 1 & 1 == 1);
            }
        }
    }
}
