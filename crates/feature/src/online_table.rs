//! One table live: its versions are judged as events are, taken into the views over its rows, and looked up by joins.
//!
//! ```text
//!   versions ─▶ prepare: judge ─▶ VersionedTable ─▶ changes ─▶ OnlineStream::prepare_rejoined of each that joins it
//!                    └──▶ PreparedVersions ─▶ (the log makes it durable) ─▶ take_in ─▶ views over the table
//! ```
//! The writer alone looks up, and over everything that was prepared before; what readers see is the views' business. So a
//! batch of versions, what it changes for streams and the batches of those are prepared in this order and taken in in it.

use std::sync::Arc;

use arrow::array::BooleanArray;
use asof_window::{Verdict, Version, VersionBounds};

use crate::arrivals::{Arrivals, Recalled};
use crate::error::FeatureError;
use crate::online_stream::OnlineStream;
use crate::online_view::{OnlineView, Settled};
use crate::prepared::Prepared;
use crate::stream::StreamPlan;
use crate::tables::Tables;
use crate::taking::SetAside;
use crate::versioned_table::{Places, VersionChanges, VersionedTable, Versions};

/// A table with its judge, its versions and the views over its rows. One writer owns it.
#[derive(Debug)]
pub struct OnlineTable {
    /// The versions as events: judged, counted, and taken into the views over them.
    stream: OnlineStream,
    versions: VersionedTable,
    coming: ComingVersions,
}

/// Which versions may still come to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComingVersions {
    /// Those that are not late, at this many partitions, which are numbered from 0.
    NotLate {
        /// At least 1.
        partitions: u32,
    },
    /// None that changes what an event taken in was joined with: the source has ended, or is read in the order of event
    /// times beside the streams that join the table, its versions before events of the same time.
    NoneThatChanges,
}

/// A judged batch of versions: what it brings to the views over the table, and what it changes for streams.
#[derive(Debug)]
pub struct PreparedVersions {
    /// As of a stream's events.
    pub prepared: Prepared,
    /// For those that join the table.
    pub changes: VersionChanges,
}

impl OnlineTable {
    /// A table without versions, as the judge's rules of `plan` say with one partition, and the views over it.
    pub fn new(
        versions: VersionedTable,
        plan: StreamPlan,
        rules: asof_window::Rules,
        views: Vec<Arc<OnlineView>>,
    ) -> OnlineTable {
        let stream = OnlineStream::new(plan, rules, &[], views);
        OnlineTable { stream, versions, coming: ComingVersions::NotLate { partitions: 1 } }
    }

    /// Its versions as a stream: for counts, judge and views.
    pub fn stream(&self) -> &OnlineStream {
        &self.stream
    }

    /// The same, to put counts back. Versions come by way of the table.
    pub fn stream_mut(&mut self) -> &mut OnlineStream {
        &mut self.stream
    }

    /// Its versions as joins see them.
    pub fn versions(&self) -> &VersionedTable {
        &self.versions
    }

    /// Says which versions may still come.
    pub fn set_coming(&mut self, coming: ComingVersions) {
        self.coming = coming;
    }

    /// The least event time in microseconds of a version that may still come and change what events were joined with:
    /// before it what was looked up is final.
    pub fn changeable_from_us(&self) -> i64 {
        let ComingVersions::NotLate { partitions } = self.coming else { return i64::MAX };
        let watermarks = (0..partitions).map(|partition| self.stream.judge().watermark_us(partition));
        watermarks.min().flatten().unwrap_or(i64::MIN)
    }

    /// Judges the next versions of a partition and takes the used ones in; the views stay as they are until
    /// [`OnlineTable::take_in`].
    pub fn prepare(&mut self, arrivals: Arrivals<'_>) -> Result<PreparedVersions, FeatureError> {
        let (batch, partition) = (arrivals.faced.batch, arrivals.faced.partition);
        let first = self.stream.next_offsets.get(&partition).copied().unwrap_or_default();
        let prepared = self.stream.prepare(arrivals, &Tables::none())?;
        let used: BooleanArray = prepared.verdicts().iter().map(|verdict| Some(*verdict == Verdict::Used)).collect();
        let places = Places::From(first);
        let changes = self.versions.take_in(Versions { partition, batch, used: Some(&used), places })?;
        Ok(PreparedVersions { prepared, changes })
    }

    /// Takes prepared versions into the views over the table, as [`OnlineStream::take_in`] does.
    pub fn take_in(
        &mut self,
        versions: &PreparedVersions,
        version: Version,
        settled: &[Settled],
    ) -> Result<(), FeatureError> {
        self.stream.take_in(&versions.prepared, version, settled)
    }

    /// Takes in the next versions from a log, without judging them again: those used, whose offsets are their places. Gives
    /// what [`OnlineStream::recall`] does, and what changes for streams that have held rows already.
    pub fn recall(
        &mut self,
        stored: Recalled<'_>,
        settled: &[Settled],
    ) -> Result<(Vec<Vec<SetAside>>, VersionChanges), FeatureError> {
        let Recalled { partition, used: batch, offsets, .. } = stored;
        let set_aside = self.stream.recall(stored, &Tables::none(), settled)?;
        let places = Places::Each(offsets);
        let changes = self.versions.take_in(Versions { partition, batch, used: None, places })?;
        Ok((set_aside, changes))
    }

    /// Looks at the next `keys_max` keys and drops versions that nobody looks up any more, given the least of
    /// [`OnlineStream::looks_up_from_us`] over the streams that join the table, and the instant before which versions that cannot
    /// be late are refused. Returns how many keys were dropped.
    pub fn sweep(&mut self, bounds: VersionBounds, keys_max: usize) -> Result<usize, FeatureError> {
        // Whatever may still come to join it: a version is judged late by the watermark of its own partition.
        let arriving_from_us = match self.coming {
            ComingVersions::NotLate { .. } => self.changeable_from_us().min(bounds.arriving_from_us),
            ComingVersions::NoneThatChanges => self.stream.watermark_us().unwrap_or(i64::MIN),
        };
        self.versions.sweep(VersionBounds { arriving_from_us, ..bounds }, keys_max)
    }

    /// The same while versions come from a log, of which the next may be older than any.
    pub fn sweep_recalled(&mut self, looked_up_from_us: i64, keys_max: usize) -> Result<usize, FeatureError> {
        self.versions.sweep(VersionBounds { looked_up_from_us, arriving_from_us: i64::MIN }, keys_max)
    }
}
