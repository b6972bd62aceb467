//! One table live: its versions are judged as events are, taken into the views over its rows, and looked up by joins.
//!
//! ```text
//!   versions ─▶ prepare: judge ─▶ VersionedTable ─▶ changes ─▶ OnlineStream::prepare_rejoined of each that joins it
//!                    └──▶ PreparedVersions ─▶ (the log makes it durable) ─▶ take_in ─▶ views over the table
//! ```
//! A view over its rows one by one needs nothing but the versions; what one over groups of them needs is in `groups.rs`.
//!
//! The writer alone looks up, and over everything that was prepared before; what readers see is the views' business. So a
//! batch of versions, what it changes for streams and the batches of those are prepared in this order and taken in in it.

use std::sync::Arc;

use arrow::array::BooleanArray;
use asof_window::{Verdict, Version, VersionBounds};

use crate::arrivals::{Arrivals, Recalled};
use crate::error::FeatureError;
use crate::groups::{Came, GroupChanges, GroupEvaluation};
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
    /// No read of a view over groups of its rows comes as of an instant before this one, in microseconds.
    groups_from_us: i64,
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
    /// For views over groups of its rows.
    groups: GroupChanges,
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
        OnlineTable { stream, versions, coming: ComingVersions::NotLate { partitions: 1 }, groups_from_us: i64::MIN }
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
        let mut prepared = self.stream.prepare(arrivals, &Tables::none())?;
        let used: BooleanArray = prepared.verdicts().iter().map(|verdict| Some(*verdict == Verdict::Used)).collect();
        let versions = Versions { partition, batch, used: Some(&used), places: Places::From(first) };
        let changes = self.versions.take_in(versions)?;
        let brought = &mut prepared.brought;
        let came = Came { versions, changes: &changes, primary_keys: brought.ties.primary_keys.as_ref() };
        let groups = self.group_changes(came, |_| true, &mut brought.set_aside)?;
        Ok(PreparedVersions { prepared, changes, groups })
    }

    /// Takes prepared versions into the views over the table, as [`OnlineStream::take_in`] does.
    pub fn take_in(
        &mut self,
        versions: &PreparedVersions,
        version: Version,
        settled: &[Settled],
    ) -> Result<(), FeatureError> {
        self.stream.take_in(&versions.prepared, version, settled)?;
        self.change_groups(&versions.groups, version, settled);
        Ok(())
    }

    /// Takes in the next versions from a log, without judging them again: those used, whose offsets are their places. Gives
    /// what [`OnlineStream::recall`] does, and what changes for streams that have held rows already.
    pub fn recall(
        &mut self,
        stored: Recalled<'_>,
        settled: &[Settled],
    ) -> Result<(Vec<Vec<SetAside>>, VersionChanges), FeatureError> {
        let Recalled { partition, used: batch, offsets, primary_keys, views, .. } = stored;
        let mut set_aside = self.stream.recall(stored, &Tables::none(), settled)?;
        let versions = Versions { partition, batch, used: None, places: Places::Each(offsets) };
        let changes = self.versions.take_in(versions)?;
        let came = Came { versions, changes: &changes, primary_keys };
        let groups = self.group_changes(came, |view| views[view], &mut set_aside)?;
        self.change_groups(&groups, Version(0), settled);
        Ok((set_aside, changes))
    }

    /// Evaluates what versions that came last bring to the views over groups that are asked for, and take from them.
    fn group_changes(
        &self,
        came: Came<'_>,
        is_asked: impl Fn(usize) -> bool,
        set_aside: &mut [Vec<SetAside>],
    ) -> Result<GroupChanges, FeatureError> {
        let grouped = |view: &usize| self.stream.views[*view].plan().is_over_groups() && is_asked(*view);
        let views: Vec<usize> = (0..self.stream.views.len()).filter(grouped).collect();
        if views.is_empty() {
            return Ok(GroupChanges::default());
        }
        let evaluation = GroupEvaluation { stream: &self.stream, table: &self.versions, views };
        evaluation.evaluate(came, set_aside)
    }

    fn change_groups(&mut self, changes: &GroupChanges, version: Version, settled: &[Settled]) {
        changes.take_in(&mut self.stream, version, settled);
        let views = self.stream.views.iter().zip(settled).filter(|(view, _)| view.plan().is_over_groups());
        let floors_us = views.map(|(_, settled)| settled.floor_us.unwrap_or(i64::MIN));
        if let Some(floor_us) = floors_us.min() {
            self.groups_from_us = self.groups_from_us.max(floor_us);
        }
    }

    fn has_groups(&self) -> bool {
        self.stream.views.iter().any(|view| view.plan().is_over_groups())
    }

    /// The event time in microseconds before which versions that cannot be late come too late for a view over groups of rows,
    /// and the name of that: delete markers that would end them were dropped. `None`: none do.
    pub fn groups_reach_back_to(&self) -> Option<(i64, &str)> {
        let view = self.stream.views.iter().find(|view| view.plan().is_over_groups())?;
        Some((self.versions.markers_from_us()?, &view.plan().view().name))
    }

    /// What views over groups need of the table beside lookups: the versions that hold from the first instant of a read on. An
    /// older one ended before, and still does whatever comes.
    fn needed_from_us(&self, looked_up_from_us: i64) -> i64 {
        if self.has_groups() { looked_up_from_us.min(self.groups_from_us) } else { looked_up_from_us }
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
        let looked_up_from_us = self.needed_from_us(bounds.looked_up_from_us);
        self.versions.sweep(VersionBounds { arriving_from_us, looked_up_from_us }, keys_max)
    }

    /// The same while versions come from a log, of which the next may be older than any.
    pub fn sweep_recalled(&mut self, looked_up_from_us: i64, keys_max: usize) -> Result<usize, FeatureError> {
        let looked_up_from_us = self.needed_from_us(looked_up_from_us);
        self.versions.sweep(VersionBounds { looked_up_from_us, arriving_from_us: i64::MIN }, keys_max)
    }
}
