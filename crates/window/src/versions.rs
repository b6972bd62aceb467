//! The versions of a table's rows, by primary key: which of them holds as of an instant (`FOR SYSTEM_TIME AS OF` of
//! SQL:2011, here over event time).
//!
//! ```text
//!   time ──▶      09:00          09:30          10:00        10:10
//!   key 7         a ───────────▶ b ───────────▶ deleted      c ────▶
//!   as of 09:45 ──────────────────── b
//! ```
//! A version holds from its own time until the next version of its key; of those of one time the last by place (partition,
//! then offset) stands. Rows lie elsewhere and have numbers; a delete marker has none. The newest version of a key lies in
//! the entry of the key, the others behind it: most keys have one version, and most lookups are for the newest.
//!
//! Rule kept here: what a lookup finds depends on the versions inserted and not on their order; what is
//! [swept](VersionIndex::sweep) away is needed by no lookup that may still come.

use std::hint::black_box;

use crate::entity_index::{EntityIndex, NO_NUMBER};
use crate::keys::Keys;

/// Keys that are touched before their versions are looked at: their cache misses do not wait for each other.
const TOUCHED_KEYS: usize = 64;

/// One version of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowVersion {
    /// Event time in microseconds from which it holds.
    pub time_us: i64,
    /// Partition that it came in.
    pub partition: u32,
    /// Offset in the partition.
    pub offset: u64,
    /// The number of its row; `None` is a delete marker.
    pub row: Option<RowNumber>,
}

/// The number of a row, for whoever keeps the rows. All but the greatest of 32 bits, which is told from none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowNumber(u32);

/// What is found by who knows the versions that have arrived so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrivedRow {
    /// The number of the row; `None` is no row.
    pub row: Option<RowNumber>,
    /// When a version arrives, in microseconds, by which something else is found; the greatest number if none does.
    pub until_us: i64,
}

impl ArrivedRow {
    /// No row, whatever arrives.
    pub const NONE: ArrivedRow = ArrivedRow { row: None, until_us: i64::MAX };
}

/// Where a version stands among those of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionPlace {
    /// Event time in microseconds from which it holds.
    pub time_us: i64,
    /// Partition that it came in.
    pub partition: u32,
    /// Offset in the partition.
    pub offset: u64,
}

/// When a version ends by those that have arrived so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrivedEnd {
    /// The event time in microseconds of the version that follows; the greatest number if none does.
    pub end_us: i64,
    /// When a version arrives, in microseconds, by which it ends sooner; the greatest number if none does.
    pub until_us: i64,
}

/// A version that ends sooner since others came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overtaken {
    /// The version.
    pub version: RowVersion,
    /// The event time in microseconds of the version that followed it before; the greatest number if none did.
    pub ended_us: i64,
    /// The same now.
    pub end_us: i64,
}

/// The instants at which a lookup finds something else than before: from the first to before the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedSpan {
    /// The first instant in microseconds.
    pub from_us: i64,
    /// Where the next version begins; `None` if there is none.
    pub until_us: Option<i64>,
}

/// What no lookup asks for and no version tells of any more; neither goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionBounds {
    /// No lookup comes as of an instant before this one.
    pub looked_up_from_us: i64,
    /// No version comes that is older than this: the watermark at which versions are judged late.
    pub arriving_from_us: i64,
}

/// All versions of all keys that some lookup may still find. Holds 32 bytes a key beside the [`EntityIndex`] of its keys,
/// and for each version beyond the newest 24 bytes.
#[derive(Debug, Default)]
pub struct VersionIndex {
    keys: EntityIndex,
    /// By number of the key; those of free numbers are vacant.
    entries: Vec<Entry>,
    bounds: Option<VersionBounds>,
    /// The number that [`VersionIndex::sweep`] looks at next.
    swept: usize,
    versions: usize,
    older_bytes: usize,
    /// Delete markers before this instant, in microseconds, were dropped.
    markers_from_us: Option<i64>,
}

#[derive(Debug, Default)]
struct Entry {
    newest: Packed,
    older: Option<Box<Older>>,
}

/// The versions before the newest, in order.
#[derive(Debug, Default)]
struct Older {
    versions: Vec<Packed>,
}

/// A [`RowVersion`] in 24 bytes.
#[derive(Debug, Clone, Copy)]
struct Packed {
    time_us: i64,
    offset: u64,
    partition: u32,
    row: u32,
}

/// The row of a delete marker.
const NO_ROW: u32 = u32::MAX;

impl RowNumber {
    /// The number `row`; `None` for the one that is no number.
    pub fn new(row: u32) -> Option<RowNumber> {
        (row != NO_ROW).then_some(RowNumber(row))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for Packed {
    /// Like a delete marker before all versions.
    fn default() -> Packed {
        Packed { time_us: i64::MIN, offset: 0, partition: 0, row: NO_ROW }
    }
}

impl Packed {
    fn new(version: RowVersion) -> Packed {
        let RowVersion { time_us, partition, offset, row } = version;
        Packed { time_us, offset, partition, row: row.map_or(NO_ROW, RowNumber::get) }
    }

    fn order(&self) -> (i64, u32, u64) {
        (self.time_us, self.partition, self.offset)
    }

    fn place(&self) -> VersionPlace {
        VersionPlace { time_us: self.time_us, partition: self.partition, offset: self.offset }
    }

    fn unpacked(&self) -> RowVersion {
        let Packed { time_us, offset, partition, row } = *self;
        RowVersion { time_us, partition, offset, row: RowNumber::new(row) }
    }

    /// Whether it is known at a position, which has the next offset of each partition, and none of those that it does not
    /// reach.
    fn is_before(&self, position: &[u64]) -> bool {
        position.get(self.partition as usize).is_some_and(|next| self.offset < *next)
    }
}

impl Entry {
    fn older(&self) -> &[Packed] {
        self.older.as_ref().map_or(&[], |older| &older.versions)
    }

    /// The versions behind a place, in order.
    fn behind(&self, place: VersionPlace) -> impl Iterator<Item = &Packed> {
        let first = self.older().partition_point(|version| version.place() <= place);
        self.older()[first..].iter().chain((self.newest.place() > place).then_some(&self.newest))
    }

    /// The versions before a place, the last first.
    fn before(&self, place: VersionPlace) -> impl Iterator<Item = &Packed> {
        let end = self.older().partition_point(|version| version.place() < place);
        let newest = (self.newest.place() < place).then_some(&self.newest);
        newest.into_iter().chain(self.older()[..end].iter().rev())
    }

    /// When the version at a place ends by those that had arrived at `known_us`, and when one arrives by which it does sooner.
    fn arrived_end(&self, place: VersionPlace, known_us: i64, arrived_us: &impl Fn(u32, u64) -> i64) -> ArrivedEnd {
        let mut until_us = i64::MAX;
        for version in self.behind(place) {
            let arrived_us = arrived_us(version.partition, version.offset);
            if arrived_us <= known_us {
                return ArrivedEnd { end_us: version.time_us, until_us };
            }
            until_us = until_us.min(arrived_us);
        }
        ArrivedEnd { end_us: i64::MAX, until_us }
    }

    /// The last of those not younger than `t_us` that had arrived at `known_us`, and when one arrives that stands instead.
    fn last_arrived(&self, t_us: i64, known_us: i64, arrived_us: &impl Fn(u32, u64) -> i64) -> ArrivedRow {
        let older = self.older()[..self.older_until(t_us)].iter();
        let versions = older.chain((self.newest.time_us <= t_us).then_some(&self.newest));
        let mut until_us = i64::MAX;
        for version in versions.rev() {
            let arrived_us = arrived_us(version.partition, version.offset);
            if arrived_us <= known_us {
                return ArrivedRow { row: RowNumber::new(version.row), until_us };
            }
            until_us = until_us.min(arrived_us);
        }
        ArrivedRow { row: None, until_us }
    }

    /// How many of the versions but the newest are not younger than `t_us`.
    fn older_until(&self, t_us: i64) -> usize {
        self.older().partition_point(|version| version.time_us <= t_us)
    }

    fn last(&self, t_us: i64) -> Option<RowNumber> {
        if self.newest.time_us <= t_us {
            return RowNumber::new(self.newest.row);
        }
        self.older()[..self.older_until(t_us)].last().and_then(|version| RowNumber::new(version.row))
    }

    fn last_at(&self, t_us: i64, position: &[u64]) -> Option<RowNumber> {
        let older = self.older()[..self.older_until(t_us)].iter();
        let mut versions = older.chain((self.newest.time_us <= t_us).then_some(&self.newest));
        versions.rfind(|version| version.is_before(position)).and_then(|version| RowNumber::new(version.row))
    }
}

impl VersionIndex {
    /// Takes in a version of the key at `row` of `keys`, newer than the others of the key or older. A place comes once.
    /// Returns the instants at which other rows are found from now on; `None` if there are none, because a version of the
    /// same time has a later place.
    ///
    /// Takes the same short time for a version newer than the others, and the time to move those that are newer for a late
    /// one.
    pub fn insert(&mut self, keys: &Keys, row: usize, version: RowVersion) -> Option<ChangedSpan> {
        let known = self.keys.len();
        let number = self.keys.intern(keys, row) as usize;
        self.entries.resize_with(self.keys.numbers(), Entry::default);
        self.versions += 1;
        let (entry, version) = (&mut self.entries[number], Packed::new(version));
        let from_us = version.time_us;
        if self.keys.len() > known {
            entry.newest = version;
            return Some(ChangedSpan { from_us, until_us: None });
        }
        let bytes_before = entry.older.as_ref().map_or(0, |older| older.memory_bytes());
        let older = entry.older.get_or_insert_default();
        let next = if entry.newest.order() < version.order() {
            older.versions.push(std::mem::replace(&mut entry.newest, version));
            None
        } else {
            let place = older.versions.partition_point(|other| other.order() < version.order());
            older.versions.insert(place, version);
            Some(older.versions.get(place + 1).unwrap_or(&entry.newest).time_us)
        };
        self.older_bytes = self.older_bytes - bytes_before + older.memory_bytes();
        (next != Some(from_us)).then_some(ChangedSpan { from_us, until_us: next })
    }

    /// The row of the key at `row` of `keys` that holds as of `t_us`; `None` if the key has none then. Takes a logarithmic
    /// time in the versions of the key, and the same short time where the newest holds.
    pub fn last(&self, keys: &Keys, row: usize, t_us: i64) -> Option<RowNumber> {
        self.entries[self.keys.find(keys, row)? as usize].last(t_us)
    }

    /// The same as it was at a position, the next offset of each partition: versions from there on are passed over, a step
    /// for each.
    pub fn last_at(&self, keys: &Keys, row: usize, t_us: i64, position: &[u64]) -> Option<RowNumber> {
        self.entries[self.keys.find(keys, row)? as usize].last_at(t_us, position)
    }

    /// [`VersionIndex::last`] for each of `keys` as of the instant beside it; `None` as a position is the newest. First the
    /// keys are found, some at a time, then their entries touched, so that their cache misses do not wait for each other.
    pub fn look_up(
        &self,
        keys: &Keys,
        instants_us: &[i64],
        position: Option<&[u64]>,
        found: &mut Vec<Option<RowNumber>>,
    ) {
        debug_assert_eq!(keys.len(), instants_us.len(), "an instant for each key");
        let mut numbers = [None; TOUCHED_KEYS];
        for (chunk, instants_us) in instants_us.chunks(TOUCHED_KEYS).enumerate() {
            let first = chunk * TOUCHED_KEYS;
            let numbers = &mut numbers[..instants_us.len()];
            numbers.iter_mut().zip(first..).for_each(|(number, row)| *number = self.keys.find(keys, row));
            let entries = || numbers.iter().map(|number| number.map(|number| &self.entries[number as usize]));
            black_box(entries().flatten().fold(0, |rows, entry| rows ^ entry.newest.row));
            found.extend(entries().zip(instants_us).map(|(entry, t_us)| match position {
                None => entry?.last(*t_us),
                Some(position) => entry?.last_at(*t_us, position),
            }));
        }
    }

    /// For each of `keys` the row that holds as of the first of the instants beside it, of the versions that had arrived at
    /// the second. `arrived_us` tells when the version at a partition and offset did. Versions that arrive later are passed
    /// over, a step for each.
    pub fn look_up_arrived(
        &self,
        keys: &Keys,
        instants_us: impl Iterator<Item = (i64, i64)>,
        arrived_us: impl Fn(u32, u64) -> i64,
    ) -> Vec<ArrivedRow> {
        let of = |(row, (t_us, known_us)): (usize, (i64, i64))| match self.keys.find(keys, row) {
            Some(number) => self.entries[number as usize].last_arrived(t_us, known_us, &arrived_us),
            None => ArrivedRow::NONE,
        };
        instants_us.enumerate().map(of).collect()
    }

    /// When the version at a place of the key at `row` of `keys` ends: the event time in microseconds of the one that follows,
    /// the greatest number if none does. Takes a logarithmic time in the versions of the key.
    pub fn end_us(&self, keys: &Keys, row: usize, place: VersionPlace) -> i64 {
        let number = self.keys.find(keys, row);
        let next = number.and_then(|number| self.entries[number as usize].behind(place).next());
        next.map_or(i64::MAX, |next| next.time_us)
    }

    /// The same by the versions that had arrived at `known_us`. `arrived_us` tells when the version at a partition and offset
    /// did. Versions that arrive later are passed over, a step for each.
    pub fn arrived_end(
        &self,
        keys: &Keys,
        row: usize,
        (place, known_us): (VersionPlace, i64),
        arrived_us: impl Fn(u32, u64) -> i64,
    ) -> ArrivedEnd {
        match self.keys.find(keys, row) {
            Some(number) => self.entries[number as usize].arrived_end(place, known_us, &arrived_us),
            None => ArrivedEnd { end_us: i64::MAX, until_us: i64::MAX },
        }
    }

    /// The version that the one at a place follows, of those known at a position: the next offset of each partition, before
    /// the versions that came last. `None` if it follows none. Takes a step for each version near the place that came last.
    pub fn overtaken(&self, keys: &Keys, row: usize, place: VersionPlace, position: &[u64]) -> Option<Overtaken> {
        let entry = &self.entries[self.keys.find(keys, row)? as usize];
        let version = entry.before(place).find(|version| version.is_before(position))?;
        let followed = entry.behind(place).find(|version| version.is_before(position));
        let follows = entry.behind(version.place()).next();
        let time_us = |version: Option<&Packed>| version.map_or(i64::MAX, |version| version.time_us);
        Some(Overtaken { version: version.unpacked(), ended_us: time_us(followed), end_us: time_us(follows) })
    }

    /// Looks at the next `keys_max` keys in turn and drops the versions that no lookup within `bounds` finds, which are
    /// never less than those before; their rows are added to `dropped`. Returns how many keys were dropped. A lookup at a
    /// [position](VersionIndex::last_at) finds what it needs if all versions after it are younger than `bounds`.
    ///
    /// A version goes when another of its key holds at or before the first instant that is looked up. A delete marker that
    /// holds there goes, too, but not while an older version may still come: that would undo it.
    pub fn sweep(&mut self, bounds: VersionBounds, keys_max: usize, dropped: &mut Vec<RowNumber>) -> usize {
        let bounds = self.bounds.map_or(bounds, |before| before.later(bounds));
        self.bounds = Some(bounds);
        let before = self.keys.len();
        for _ in 0..keys_max.min(self.entries.len()) {
            if self.swept >= self.entries.len() {
                self.swept = 0;
            }
            self.sweep_key(self.swept, bounds, dropped);
            self.swept += 1;
        }
        let gone = before - self.keys.len();
        if gone > 0 && self.keys.is_sparse() {
            self.renumber();
        }
        gone
    }

    /// The bounds of the last sweep: lookups and versions before them come too late.
    pub fn bounds(&self) -> Option<VersionBounds> {
        self.bounds
    }

    /// The event time in microseconds from which on all delete markers are held; `None` where none was dropped yet.
    pub fn markers_from_us(&self) -> Option<i64> {
        self.markers_from_us
    }

    /// Number of keys that have versions.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Number of versions, delete markers too.
    pub fn versions(&self) -> usize {
        self.versions
    }

    /// Bytes of memory held. Takes the same short time for all.
    pub fn memory_bytes(&self) -> usize {
        self.keys.memory_bytes() + self.entries.capacity() * size_of::<Entry>() + self.older_bytes
    }

    fn sweep_key(&mut self, number: usize, bounds: VersionBounds, dropped: &mut Vec<RowNumber>) {
        let entry = &mut self.entries[number];
        let holds_by_then = |version: &Packed| version.time_us <= bounds.looked_up_from_us;
        let is_over = |version: &Packed| {
            version.row == NO_ROW && holds_by_then(version) && version.time_us < bounds.arriving_from_us
        };
        if let Some(older) = &mut entry.older {
            let bytes_before = older.memory_bytes();
            let all = older.versions.iter().chain([&entry.newest]);
            let holding = all.take_while(|version| holds_by_then(version)).count();
            let mut gone = holding.saturating_sub(1);
            if older.versions.get(gone).is_some_and(is_over) {
                gone += 1;
                self.markers_from_us = self.markers_from_us.max(Some(bounds.arriving_from_us));
            }
            dropped.extend(older.versions.drain(..gone).filter_map(|version| RowNumber::new(version.row)));
            self.versions -= gone;
            self.older_bytes -= bytes_before;
            if older.versions.is_empty() {
                entry.older = None;
            } else {
                older.give_back_room();
                self.older_bytes += older.memory_bytes();
            }
        }
        if entry.older.is_none() && is_over(&entry.newest) && self.keys.remove(number as u32) {
            *entry = Entry::default();
            self.versions -= 1;
            self.markers_from_us = self.markers_from_us.max(Some(bounds.arriving_from_us));
        }
    }

    /// Moves the entries left together, under new numbers in their old order.
    fn renumber(&mut self) {
        for (old, new) in self.keys.renumber().into_iter().enumerate() {
            if let Some(new) = (new != NO_NUMBER).then_some(new as usize) {
                self.entries.swap(old, new);
            }
        }
        self.entries.truncate(self.keys.len());
        self.entries.shrink_to_fit();
        self.swept = 0;
    }
}

impl VersionBounds {
    fn later(self, other: VersionBounds) -> VersionBounds {
        VersionBounds {
            looked_up_from_us: self.looked_up_from_us.max(other.looked_up_from_us),
            arriving_from_us: self.arriving_from_us.max(other.arriving_from_us),
        }
    }
}

impl Older {
    fn give_back_room(&mut self) {
        if self.versions.len() * 4 < self.versions.capacity() {
            self.versions.shrink_to(self.versions.len() * 2);
        }
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Older>() + self.versions.capacity() * size_of::<Packed>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::keys::KeyEncoder;
    use crate::keys::tests::part;
    use arrow::datatypes::DataType;
    use proptest::prelude::*;

    const KEYS: i16 = 4;
    const TIME_MAX: i64 = 40;
    /// What comes before every version and after every one is asked for, too.
    const INSTANTS: std::ops::RangeInclusive<i64> = -1..=TIME_MAX + 1;

    #[derive(Debug, Clone)]
    enum Step {
        Insert {
            key: i16,
            time_us: i64,
            partition: u32,
            is_marker: bool,
        },
        Sweep {
            bounds: VersionBounds,
            keys_max: usize,
        },
        /// Later lookups are at this position, too, until the next sweep.
        Remember,
    }

    fn step() -> impl Strategy<Value = Step> {
        let time_us = prop_oneof![3 => 0..=TIME_MAX, 1 => 30..34i64];
        let insert = (0..KEYS, time_us, 0..2u32, prop::bool::weighted(0.3))
            .prop_map(|(key, time_us, partition, is_marker)| Step::Insert { key, time_us, partition, is_marker });
        let sweep = (0..TIME_MAX, 0..TIME_MAX, 0..KEYS as usize + 2)
            .prop_map(|(looked_up, arriving, keys_max)| Step::Sweep { bounds: bounds(looked_up, arriving), keys_max });
        prop_oneof![10 => insert, 2 => sweep, 1 => Just(Step::Remember)]
    }

    fn bounds(looked_up_from_us: i64, arriving_from_us: i64) -> VersionBounds {
        VersionBounds { looked_up_from_us, arriving_from_us }
    }

    fn keys(seeds: &[i16], data_type: &DataType) -> Keys {
        KeyEncoder::new(std::slice::from_ref(data_type)).unwrap().encode(&[part(data_type, seeds)]).unwrap()
    }

    /// An index, and every version that it was ever given.
    struct Watched {
        index: VersionIndex,
        data_type: DataType,
        versions: Vec<(i16, RowVersion)>,
        bounds: VersionBounds,
        /// The next offset of each partition, now and when it was last remembered.
        position: [u64; 2],
        remembered: [u64; 2],
        dropped: Vec<RowNumber>,
    }

    impl Watched {
        fn new(data_type: DataType) -> Watched {
            Watched {
                index: VersionIndex::default(),
                data_type,
                versions: Vec::new(),
                bounds: bounds(i64::MIN, i64::MIN),
                position: [0; 2],
                remembered: [0; 2],
                dropped: Vec::new(),
            }
        }

        /// The version of a key that holds as of an instant, of those known at a position.
        fn model(&self, key: i16, t_us: i64, position: &[u64]) -> Option<RowVersion> {
            let known = self.versions.iter().filter(|(other, version)| {
                let next = position.get(version.partition as usize);
                *other == key && version.time_us <= t_us && next.is_some_and(|next| version.offset < *next)
            });
            known.map(|(_, version)| *version).max_by_key(|one| (one.time_us, one.partition, one.offset))
        }

        fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
            match step {
                Step::Insert { key, time_us, partition, is_marker } => {
                    self.insert(*key, *time_us, *partition, *is_marker)?
                }
                Step::Sweep { bounds, keys_max } => {
                    self.bounds = self.bounds.later(*bounds);
                    self.remembered = self.position;
                    let before = self.index.keys();
                    let gone = self.index.sweep(*bounds, *keys_max, &mut self.dropped);
                    prop_assert_eq!(self.index.keys(), before - gone);
                    prop_assert_eq!(self.index.bounds(), Some(self.bounds));
                }
                Step::Remember => self.remembered = self.position,
            }
            self.check_counts()?;
            [self.position, self.remembered].iter().try_for_each(|position| self.check_lookups(position))
        }

        /// Versions come as they are judged: none before the watermark.
        fn insert(&mut self, key: i16, time_us: i64, partition: u32, is_marker: bool) -> Result<(), TestCaseError> {
            let time_us = time_us.max(self.bounds.arriving_from_us);
            let row = RowNumber::new(self.versions.len() as u32).filter(|_| !is_marker);
            let offset = self.position[partition as usize];
            let version = RowVersion { time_us, partition, offset, row };
            let before: Vec<Option<RowVersion>> = INSTANTS.map(|t_us| self.model(key, t_us, &self.position)).collect();
            self.versions.push((key, version));
            self.position[partition as usize] += 1;
            let span = self.index.insert(&keys(&[key], &self.data_type), 0, version);
            for (t_us, before) in INSTANTS.zip(before).filter(|(t_us, _)| *t_us >= self.bounds.looked_up_from_us) {
                let changed = self.model(key, t_us, &self.position) != before;
                let is_within =
                    |span: ChangedSpan| span.from_us <= t_us && span.until_us.is_none_or(|until_us| t_us < until_us);
                prop_assert_eq!(span.is_some_and(is_within), changed, "{:?} as of {}", span, t_us);
            }
            Ok(())
        }

        fn check_lookups(&self, position: &[u64]) -> Result<(), TestCaseError> {
            let instants = || INSTANTS.filter(|t_us| *t_us >= self.bounds.looked_up_from_us);
            let wanted: Vec<(i16, i64)> = (0..=KEYS).flat_map(|key| instants().map(move |t_us| (key, t_us))).collect();
            let (seeds, instants_us): (Vec<i16>, Vec<i64>) = wanted.iter().copied().unzip();
            let keys = keys(&seeds, &self.data_type);
            let row = |(key, t_us): &(i16, i64)| self.model(*key, *t_us, position).and_then(|version| version.row);
            let expected: Vec<Option<RowNumber>> = wanted.iter().map(row).collect();
            let mut found = Vec::new();
            self.index.look_up(&keys, &instants_us, Some(position), &mut found);
            prop_assert_eq!(&found, &expected);
            for (row, (t_us, expected)) in instants_us.iter().zip(&expected).enumerate() {
                prop_assert_eq!(self.index.last_at(&keys, row, *t_us, position), *expected);
                if position == self.position {
                    prop_assert_eq!(self.index.last(&keys, row, *t_us), *expected);
                }
            }
            if position == self.position {
                self.index.look_up(&keys, &instants_us, None, &mut found);
                prop_assert_eq!(&found[expected.len()..], &expected[..]);
            }
            Ok(())
        }

        /// What is kept up to date equals what is there, and every row is held or was dropped, once.
        fn check_counts(&self) -> Result<(), TestCaseError> {
            let index = &self.index;
            let numbers: BTreeSet<usize> = (0..=KEYS)
                .filter_map(|key| index.keys.find(&keys(&[key], &self.data_type), 0).map(|number| number as usize))
                .collect();
            let held: Vec<&Packed> = numbers
                .iter()
                .flat_map(|number| index.entries[*number].older().iter().chain([&index.entries[*number].newest]))
                .collect();
            prop_assert_eq!((index.keys(), index.versions()), (numbers.len(), held.len()));
            let older = index.entries.iter().filter_map(|entry| entry.older.as_ref());
            prop_assert_eq!(index.older_bytes, older.map(|older| older.memory_bytes()).sum::<usize>());
            let mut rows: Vec<RowNumber> = held.iter().filter_map(|version| RowNumber::new(version.row)).collect();
            rows.extend(&self.dropped);
            rows.sort_unstable();
            let given: Vec<RowNumber> = self.versions.iter().filter_map(|(_, version)| version.row).collect();
            prop_assert_eq!(rows, given);
            Ok(())
        }

        /// Behind all bounds one version is left of a key, and none of one that was deleted.
        fn check_end(&mut self) -> Result<(), TestCaseError> {
            let bounds = bounds(TIME_MAX + 1, TIME_MAX + 1);
            self.step(&Step::Sweep { bounds, keys_max: usize::MAX })?;
            let is_held = |key: &i16| self.model(*key, TIME_MAX, &self.position).is_some_and(|one| one.row.is_some());
            let held = (0..KEYS).filter(is_held).count();
            prop_assert_eq!((self.index.keys(), self.index.versions()), (held, held));
            prop_assert_eq!(self.index.older_bytes, 0);
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// What is known at each moment, and the next moment at which that is something else.
        #[test]
        fn lookups_of_what_had_arrived_equal_a_scan(
            versions in prop::collection::vec((0..5i64, 0..8i64, any::<bool>()), 0..10),
            reversed in any::<bool>(),
        ) {
            let (mut index, keys) = (VersionIndex::default(), keys(&[1], &DataType::Int64));
            let mut places: Vec<usize> = (0..versions.len()).collect();
            places.sort_by_key(|place| if reversed { versions.len() - place } else { *place });
            let row = |place: usize| RowNumber::new(place as u32).filter(|_| !versions[place].2);
            for place in places {
                let (time_us, offset) = (versions[place].0, place as u64);
                index.insert(&keys, 0, RowVersion { time_us, partition: 0, offset, row: row(place) });
            }
            let model = |t_us: i64, known_us: i64| {
                let known = (0..versions.len()).filter(|place| versions[*place].0 <= t_us && versions[*place].1 <= known_us);
                known.max_by_key(|place| (versions[*place].0, *place))
            };
            for (t_us, known_us) in (-1..6).flat_map(|t_us| (-1..9).map(move |known_us| (t_us, known_us))) {
                let found =
                    index.look_up_arrived(&keys, std::iter::once((t_us, known_us)), |_, place| versions[place as usize].1);
                let expected = model(t_us, known_us);
                let changed = (known_us..9).find(|later_us| model(t_us, *later_us) != expected);
                let until_us = changed.unwrap_or(i64::MAX);
                prop_assert_eq!(found, [ArrivedRow { row: expected.and_then(row), until_us }]);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// When versions end, also by what had arrived, and which ones end sooner since the last `came` are there.
        #[test]
        fn ends_equal_a_scan(
            versions in prop::collection::vec((0..5i64, 0..2u32, 0..8i64), 1..10),
            came in 1..4usize,
        ) {
            let (mut index, keys) = (VersionIndex::default(), keys(&[1], &DataType::Int64));
            let place = |at: usize| VersionPlace { time_us: versions[at].0, partition: versions[at].1, offset: at as u64 };
            for at in 0..versions.len() {
                let VersionPlace { time_us, partition, offset } = place(at);
                index.insert(&keys, 0, RowVersion { time_us, partition, offset, row: RowNumber::new(at as u32) });
            }
            let next = |at: usize, is_known: &dyn Fn(usize) -> bool| {
                let behind = (0..versions.len()).filter(|other| is_known(*other) && place(*other) > place(at));
                behind.min_by_key(|other| place(*other))
            };
            let time_us = |at: Option<usize>| at.map_or(i64::MAX, |at| versions[at].0);
            let first_new = versions.len().saturating_sub(came);
            for at in 0..versions.len() {
                prop_assert_eq!(index.end_us(&keys, 0, place(at)), time_us(next(at, &|_| true)));
                for known_us in 0..9 {
                    let found =
                        index.arrived_end(&keys, 0, (place(at), known_us), |_, offset| versions[offset as usize].2);
                    let end_us = |known_us: i64| time_us(next(at, &|other| versions[other].2 <= known_us));
                    // Of two versions of one time it says when the nearer one arrives, by which nothing changes.
                    let until_us = (known_us..9).find(|later_us| end_us(*later_us) != end_us(known_us));
                    prop_assert_eq!(found.end_us, end_us(known_us));
                    prop_assert!(found.until_us <= until_us.unwrap_or(i64::MAX) && found.until_us > known_us);
                }
                let is_known = |other: usize| other < first_new;
                let before = (0..first_new).filter(|other| place(*other) < place(at)).max_by_key(|other| place(*other));
                let expected = before.map(|before| {
                    (RowNumber::new(before as u32), time_us(next(before, &is_known)), time_us(next(before, &|_| true)))
                });
                let position = vec![first_new as u64; 2];
                let found = index.overtaken(&keys, 0, place(at), &position);
                // It is asked of versions that came last.
                let found = found.map(|one| (one.version.row, one.ended_us, one.end_us));
                prop_assert!(at < first_new || found == expected, "{:?}, not {:?}", found, expected);
            }
            prop_assert_eq!(index.markers_from_us(), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn lookups_equal_a_scan_of_all_versions(
            data_type in prop::sample::select(vec![DataType::Int64, DataType::Utf8]),
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let mut watched = Watched::new(data_type);
            for step in &steps {
                watched.step(step)?;
            }
            watched.check_end()?;
        }
    }

    /// Inserts versions of one key, written as `time` or `-time` for a marker; says what each changes.
    fn check(times: &str, expected: &str) {
        let (mut index, keys) = (VersionIndex::default(), keys(&[7], &DataType::Int64));
        let mut spans = Vec::new();
        for (offset, time) in times.split(' ').enumerate() {
            let row = RowNumber::new(offset as u32).filter(|_| !time.starts_with('-'));
            let time_us: i64 = time.trim_start_matches('-').parse().unwrap();
            let version = RowVersion { time_us, partition: 0, offset: offset as u64, row };
            spans.push(match index.insert(&keys, 0, version) {
                None => "nothing".to_owned(),
                Some(ChangedSpan { from_us, until_us: None }) => format!("{from_us}.."),
                Some(ChangedSpan { from_us, until_us: Some(until_us) }) => format!("{from_us}..{until_us}"),
            });
        }
        assert_eq!(spans.join(" "), expected, "{times}");
    }

    #[test]
    fn spans_reach_to_the_next_version() {
        check("5 9 7 7 9 -6", "5.. 9.. 7..9 7..9 9.. 6..7");
    }

    /// Of one time the later place stands, whatever came first.
    #[test]
    fn a_version_behind_one_of_its_time_changes_nothing() {
        let (mut index, keys) = (VersionIndex::default(), keys(&[7], &DataType::Int64));
        let version = |partition, row| RowVersion { time_us: 5, partition, offset: 0, row: RowNumber::new(row) };
        assert!(index.insert(&keys, 0, version(1, 10)).is_some());
        assert_eq!(index.insert(&keys, 0, version(0, 11)), None);
        assert_eq!(index.last(&keys, 0, 5), RowNumber::new(10));
        assert_eq!(index.last_at(&keys, 0, 5, &[1]), RowNumber::new(11), "of partition 1 nothing is known");
        assert_eq!((index.last(&keys, 0, 4), index.last_at(&keys, 0, 5, &[])), (None, None));
    }

    /// Without it a late version would hold in its place.
    #[test]
    fn a_marker_stays_while_older_versions_may_come() {
        let (mut index, keys) = (VersionIndex::default(), keys(&[7], &DataType::Int64));
        let version = |time_us, offset, row| RowVersion { time_us, partition: 0, offset, row };
        index.insert(&keys, 0, version(8, 0, None));
        let mut dropped = Vec::new();
        assert_eq!(index.sweep(bounds(10, 8), 9, &mut dropped), 0);
        index.insert(&keys, 0, version(8, 1, RowNumber::new(1)));
        index.insert(&keys, 0, version(9, 2, None));
        assert_eq!((index.sweep(bounds(10, 9), 9, &mut dropped), index.versions()), (0, 1));
        assert_eq!(dropped, [RowNumber(1)]);
        assert_eq!(index.markers_from_us(), None);
        assert_eq!((index.sweep(bounds(10, 10), 9, &mut dropped), index.versions()), (1, 0));
        assert_eq!(index.markers_from_us(), Some(10));
        // Neither bound goes back.
        index.insert(&keys, 0, version(10, 3, None));
        assert_eq!(index.sweep(bounds(0, 11), 9, &mut dropped), 1);
    }

    #[test]
    fn room_is_given_back_and_keys_found_on() {
        let (mut index, mut dropped) = (VersionIndex::default(), Vec::new());
        let seeds: Vec<i16> = (0..3_000).collect();
        let keys = keys(&seeds, &DataType::Utf8);
        for round in 0..5i64 {
            for row in 0..keys.len() {
                let stays = row % 100 == 0 || round < 4;
                let number = RowNumber::new(3_000 * round as u32 + row as u32).filter(|_| stays);
                let version = RowVersion { time_us: round, partition: 0, offset: number_of(round, row), row: number };
                index.insert(&keys, row, version);
            }
        }
        let full = index.memory_bytes();
        assert!(full > 3_000 * (32 + 5 * 24) && index.versions() == 15_000, "{full}");
        assert_eq!(index.sweep(bounds(9, 9), usize::MAX, &mut dropped), 2_970);
        assert_eq!((index.keys(), index.versions(), dropped.len()), (30, 30, 4 * 3_000));
        assert!(index.memory_bytes() < full / 20, "{} of {full}", index.memory_bytes());
        for row in 0..keys.len() {
            let expected = RowNumber::new(12_000 + row as u32).filter(|_| row % 100 == 0);
            assert_eq!(index.last(&keys, row, 9), expected);
        }
    }

    fn number_of(round: i64, row: usize) -> u64 {
        3_000 * round as u64 + row as u64
    }

    #[test]
    fn numbers_are_all_but_the_greatest() {
        assert_eq!(RowNumber::new(u32::MAX), None);
        assert_eq!(RowNumber::new(u32::MAX - 1).map(RowNumber::get), Some(u32::MAX - 1));
        assert_eq!(size_of::<Packed>(), 24);
        assert_eq!(size_of::<Entry>(), 32);
    }
}
