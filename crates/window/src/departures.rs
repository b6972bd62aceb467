//! The events that go, while some read may still see them: which of them, and from which version on.
//!
//! ```text
//!   one event's copies in its ring, in the order in which they came        came 3   came 7   came 9
//!   its departures here, in the order of their versions                    gone 7   gone 9
//!   a read sees the copy with came ≤ version < gone                        3 to 6   7, 8     from 9 on
//! ```
//! Rules kept here:
//! - of the copies of an event the oldest go first, so that the k-th departure of an event is that of its k-th copy;
//! - a departed event stays in its ring until its departure is settled: no read comes at a version before it any more.
//!
//! Events are known by their names (time, partition, offset, and the primary key where the view follows order). One that
//! was dropped from its ring meanwhile is not found, and need not be.

use std::collections::{BTreeMap, VecDeque};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::ring::{RingEvents, TieBreak};
use crate::version::Version;

/// How many copies of an event go with one version; the order is that of the events in their ring, then of versions.
type Going = BTreeMap<Departed, u32>;

/// The departures of a shard that are not settled.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    /// By number of the entity; none is empty.
    by_entity: HashMap<u32, Going, FixedState>,
    /// In the order in which they are settled: which entity has departures of which version.
    queue: VecDeque<(Version, u32)>,
    /// Of all entities.
    entries: usize,
    key_bytes: usize,
}

/// An event, and the version that it goes with.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Departed {
    time_us: i64,
    primary_key: Box<[u8]>,
    partition: u32,
    offset: u64,
    version: Version,
}

impl Departed {
    fn new(time_us: i64, tie: TieBreak<'_>, version: Version) -> Departed {
        Departed { time_us, primary_key: tie.primary_key.into(), partition: tie.partition, offset: tie.offset, version }
    }

    fn tie(&self) -> TieBreak<'_> {
        TieBreak { primary_key: &self.primary_key, partition: self.partition, offset: self.offset }
    }

    fn names_what(&self, other: &Departed) -> bool {
        (self.time_us, self.tie()) == (other.time_us, other.tie())
    }
}

impl Departures {
    /// One copy of an event goes with a version, which is never less than one before. `tie` is what the ring keeps of it.
    pub(crate) fn push(&mut self, number: u32, time_us: i64, tie: TieBreak<'_>, version: Version) {
        let going = self.by_entity.entry(number).or_default();
        let before = going.len();
        *going.entry(Departed::new(time_us, tie, version)).or_insert(0) += 1;
        if going.len() > before {
            self.entries += 1;
            self.key_bytes += tie.primary_key.len();
        }
        if self.queue.back() != Some(&(version, number)) {
            self.queue.push_back((version, number));
        }
    }

    /// How many copies of an event go; takes a logarithmic time in what goes of the entity.
    pub(crate) fn copies_gone(&self, number: u32, time_us: i64, tie: TieBreak<'_>) -> usize {
        let Some(going) = self.by_entity.get(&number) else { return 0 };
        let [first, last] = [0, u64::MAX].map(|version| Departed::new(time_us, tie, Version(version)));
        going.range(first..=last).map(|(_, copies)| *copies as usize).sum()
    }

    /// Adds to `excluded` the indexes of the events of one entity that a read at `version` sees no more, and leaves it
    /// ascending, each index once.
    pub(crate) fn exclude(&self, number: u32, version: Version, events: &RingEvents<'_>, excluded: &mut Vec<usize>) {
        let Some(going) = self.by_entity.get(&number) else { return };
        let mut last: Option<&Departed> = None;
        let mut copies = 0..0;
        for (departed, gone) in going.iter().filter(|(departed, _)| departed.version <= version) {
            if !last.is_some_and(|last| last.names_what(departed)) {
                copies = events.copies(departed.time_us, departed.tie());
            }
            excluded.extend(copies.by_ref().take(*gone as usize));
            last = Some(departed);
        }
        excluded.sort_unstable();
        excluded.dedup();
    }

    /// The entities that have departures of versions up to `settled`, once each. They are to be asked for with
    /// [`Departures::exclude`], taken out, and then to be [forgotten](Departures::forget).
    pub(crate) fn take_settled(&mut self, settled: Version) -> Vec<u32> {
        let count = self.queue.partition_point(|(version, _)| *version <= settled);
        let mut numbers: Vec<u32> = self.queue.drain(..count).map(|(_, number)| number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        numbers
    }

    /// Forgets the departures of an entity up to `settled`.
    pub(crate) fn forget(&mut self, number: u32, settled: Version) {
        let Some(going) = self.by_entity.get_mut(&number) else { return };
        let (mut entries, mut key_bytes) = (0, 0);
        going.retain(|departed, _| {
            let stays = departed.version > settled;
            entries += usize::from(!stays);
            key_bytes += if stays { 0 } else { departed.primary_key.len() };
            stays
        });
        self.entries -= entries;
        self.key_bytes -= key_bytes;
        if going.is_empty() {
            self.by_entity.remove(&number);
        }
        if self.by_entity.is_empty() {
            self.by_entity = HashMap::default();
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Tells of new numbers of entities. None that has departures lost its own.
    pub(crate) fn renumber(&mut self, new_numbers: &[u32]) {
        let old = std::mem::take(&mut self.by_entity);
        self.by_entity = old.into_iter().map(|(number, going)| (new_numbers[number as usize], going)).collect();
        self.queue.iter_mut().for_each(|(_, number)| *number = new_numbers[*number as usize]);
    }

    /// What is kept up to date equals what is there.
    #[cfg(test)]
    pub(crate) fn check_counts(&self) {
        let all =
            || self.by_entity.iter().flat_map(|(number, going)| going.keys().map(move |departed| (number, departed)));
        assert_eq!(self.entries, all().count());
        assert_eq!(self.key_bytes, all().map(|(_, departed)| departed.primary_key.len()).sum::<usize>());
        assert!(self.by_entity.values().all(|going| !going.is_empty()));
        assert!(all().all(|(number, departed)| self.queue.contains(&(departed.version, *number))));
        assert!(self.queue.iter().is_sorted_by_key(|(version, _)| *version));
    }

    /// Bytes of memory held, nearly: a node of a B-tree is half full at least, so half of an entry is added to each.
    pub(crate) fn memory_bytes(&self) -> usize {
        let entries = self.entries * size_of::<(Departed, u32)>() * 3 / 2;
        let queue = self.queue.capacity() * size_of::<(Version, u32)>();
        self.by_entity.allocation_size() + entries + queue + self.key_bytes
    }
}
