//! What a stream knows beside its keys and its views, for checkpoints.

use asof_window::Accounting;

use crate::fed_partitions::BY_HAND;
use crate::fingerprint::derivation_fingerprint;
use crate::online_stream::OnlineStream;

/// What a stream knows beside its keys and its views.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Counts of all verdicts.
    pub accounting: Accounting,
    /// The greatest event time used, in microseconds.
    pub newest_us: Option<i64>,
    /// Each partition of its log that was seen.
    pub partitions: Vec<PartitionCounts>,
    /// Of a stream that has a feed each partition of it that was seen, with the greatest event time used in it, in
    /// microseconds.
    pub fed: Option<Vec<(u32, i64)>>,
    /// Each derived stream that sees its events.
    pub derived: Vec<DerivedCounts>,
}

/// What a stream knows of one that is derived from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedCounts {
    /// Its name.
    pub name: String,
    /// Of what it is computed by: counts of another definition are not its own.
    pub fingerprint: u64,
    /// How many rows it got.
    pub rows: u64,
}

/// What a stream knows of one of its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionCounts {
    /// Its number.
    pub partition: u32,
    /// How many arrivals it has had.
    pub arrived: u64,
    /// The greatest event time used in it, in microseconds.
    pub newest_used_us: Option<i64>,
}

impl OnlineStream {
    /// What the stream knows beside its keys and its views: for a checkpoint.
    pub fn counts(&self) -> StreamCounts {
        let of = |(partition, arrived): (&u32, &u64)| PartitionCounts {
            partition: *partition,
            arrived: *arrived,
            newest_used_us: self.judge.newest_used_us(*partition),
        };
        StreamCounts {
            accounting: self.accounting,
            newest_us: self.newest_us,
            partitions: self.next_offsets.iter().map(of).collect(),
            fed: self.fed_newest_us(),
            derived: self.derived_counts(),
        }
    }

    fn fed_newest_us(&self) -> Option<Vec<(u32, i64)>> {
        self.plan.stream().feed()?;
        let partitions = self.judge.partitions();
        let mut newest: Vec<(u32, i64)> = partitions.filter_map(|(one, newest_us)| Some((one, newest_us?))).collect();
        newest.sort_unstable();
        Some(newest)
    }

    fn derived_counts(&self) -> Vec<DerivedCounts> {
        let counts = self.derived().iter().zip(&self.derived_rows).map(|(stream, rows)| DerivedCounts {
            name: stream.name.clone(),
            fingerprint: derivation_fingerprint(stream),
            rows: *rows,
        });
        counts.collect()
    }

    /// Puts back what a stream knew that has seen nothing since. A derived stream that is computed otherwise now begins to
    /// count anew.
    pub fn set_counts(&mut self, counts: &StreamCounts) {
        (self.accounting, self.newest_us) = (counts.accounting, counts.newest_us);
        for partition in &counts.partitions {
            self.next_offsets.insert(partition.partition, partition.arrived);
        }
        // A stream that was given a topic since judges what it had as sent by hand, and one that has lost it as its own.
        let own = counts.partitions.iter().filter_map(|one| Some((one.partition, one.newest_used_us?)));
        let newest: Vec<(u32, i64)> = match (&counts.fed, self.has_feed()) {
            (None, false) => own.collect(),
            (None, true) => own.map(|(_, newest_us)| (BY_HAND, newest_us)).collect(),
            (Some(fed), true) => fed.clone(),
            (Some(fed), false) => fed.iter().map(|(_, newest_us)| (0, *newest_us)).collect(),
        };
        newest.into_iter().for_each(|(partition, newest_us)| self.judge.set_newest_used(partition, newest_us));
        for (own, rows) in self.derived_counts().iter().zip(&mut self.derived_rows) {
            let known = counts.derived.iter().find(|one| one.name == own.name && one.fingerprint == own.fingerprint);
            *rows = known.map_or(0, |one| one.rows);
        }
    }
}
