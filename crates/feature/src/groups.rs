//! What a batch of versions of a table changes for views over groups of its rows.
//!
//! ```text
//!   event time ──▶    10:00        10:02        10:04
//!   item 7 of cart 1   ├ 2 pens ───▶├ 3 pens ─────────▶       a row of a group lasts until the next version of its key
//!   a late version         10:01 ├▶ ▏                         1 pen: it ends the one before it at 10:01, and itself at 10:02
//!   changes            ├ 2 pens ─▶ goes, and comes again ending at 10:01; 1 pen comes
//! ```
//! Each version that is a row of the view is an event of its group that says when it ends (`Program::over_events_that_end`).
//! So versions bring their own events, and those that they follow depart and come again with an earlier end. The ones they
//! follow are evaluated anew, in the group that they are in; a row that moves to another group, or is deleted, has ended in
//! its old one by that.
//!
//! Rules kept here:
//! - after a batch the views hold, of each version that is a row and lasts for any time at all, one event with its end by all
//!   versions, whatever the order in which they came; so the order of versions in a batch does not matter either;
//! - what ends a version stays: an end only ever gets earlier;
//! - a version on which an expression fails is told once, when it comes, and ends what was before it all the same.

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use arrow::row::Rows;
use asof_window::Version;

use crate::error::FeatureError;
use crate::online_stream::OnlineStream;
use crate::online_view::{OnlineView, Settled};
use crate::prepared::{Ties, ViewEvents};
use crate::taking::SetAside;
use crate::versioned_table::{OvertakenRows, VersionChanges, VersionedTable, Versions};
use crate::view::TakenIn;

/// What versions change for the views over groups of a table, evaluated and not visible yet.
#[derive(Debug, Default)]
pub(crate) struct GroupChanges {
    /// Of the versions themselves, and of those that they follow by partition.
    steps: Vec<Step>,
}

/// Events of some versions, which share what orders them.
#[derive(Debug)]
struct Step {
    ties: Ties,
    moves: Vec<Moves>,
}

/// What goes from a view and what comes to it.
#[derive(Debug)]
struct Moves {
    /// Its place among the views over the table.
    view: usize,
    gone: Option<ViewEvents>,
    come: Option<ViewEvents>,
}

/// Versions that came last to a table.
pub(crate) struct Came<'a> {
    pub(crate) versions: Versions<'a>,
    pub(crate) changes: &'a VersionChanges,
    /// By row of their batch, where a view follows the order of events.
    pub(crate) primary_keys: Option<&'a Rows>,
}

/// Who evaluates versions.
pub(crate) struct GroupEvaluation<'a> {
    pub(crate) stream: &'a OnlineStream,
    pub(crate) table: &'a VersionedTable,
    /// The places of the views over groups that are asked for.
    pub(crate) views: Vec<usize>,
}

impl GroupChanges {
    /// Lets events go and come, as part of a version that is never less than that of an earlier change.
    pub(crate) fn take_in(&self, stream: &mut OnlineStream, version: Version, settled: &[Settled]) {
        let has_key = !stream.plan.stream().primary_key.is_empty();
        for Step { ties, moves } in &self.steps {
            // They come from the table itself, by no branch of a derived stream.
            let tie_of = |row| ties.of(row, 0, has_key);
            for Moves { view, gone, come } in moves {
                let (online, settled) = (&stream.views[*view], settled[*view]);
                if let Some(gone) = gone {
                    online.depart(gone, tie_of, version, settled);
                }
                if let Some(come) = come {
                    online.take_in(come, tie_of, version, settled);
                    stream.last_keys[*view] = Some(come.last_key.clone());
                }
            }
        }
    }
}

impl GroupEvaluation<'_> {
    /// What the versions bring and take. Those that fail are added to `set_aside`, by view.
    pub(crate) fn evaluate(
        &self,
        came: Came<'_>,
        set_aside: &mut [Vec<SetAside>],
    ) -> Result<GroupChanges, FeatureError> {
        let mut steps = vec![self.own(&came, set_aside)?];
        for rows in self.table.overtaken(came.versions, came.changes)? {
            steps.push(self.overtaken(rows)?);
        }
        Ok(GroupChanges { steps })
    }

    /// The versions themselves come, but for those that end as they begin.
    fn own(&self, came: &Came<'_>, set_aside: &mut [Vec<SetAside>]) -> Result<Step, FeatureError> {
        let Versions { partition, batch, used, places } = came.versions;
        let ends_us = self.table.ends_us(came.versions)?;
        let times = self.stream.times(batch);
        let mut moves = Vec::with_capacity(self.views.len());
        for view in &self.views {
            let online = &self.stream.views[*view];
            let mut taken = online.plan().take_in(batch, used);
            set_aside[*view].append(&mut taken.set_aside);
            let come = lasting(online, taken, times, &ends_us)?;
            moves.push(Moves { view: *view, gone: None, come });
        }
        // Named by their places, as those that they will be followed by find them: rows of files have offsets of their own.
        let offsets = (0..batch.num_rows()).map(|row| places.of(row)).collect();
        Ok(Step { ties: Ties { partition, offsets, primary_keys: came.primary_keys.cloned() }, moves })
    }

    /// Those that they follow go, and come again with an earlier end. What is set aside among them was told before.
    fn overtaken(&self, rows: OvertakenRows) -> Result<Step, FeatureError> {
        let OvertakenRows { partition, offsets, batch, ended_us, ends_us } = rows;
        let times = self.stream.times(&batch);
        let mut moves = Vec::with_capacity(self.views.len());
        for view in &self.views {
            let online = &self.stream.views[*view];
            let taken = online.plan().take_in(&batch, None);
            let gone = lasting(online, taken.clone(), times, &ended_us)?;
            moves.push(Moves { view: *view, gone, come: lasting(online, taken, times, &ends_us)? });
        }
        let follows_order = self.stream.follows_order();
        let primary_keys = if follows_order { self.stream.plan.primary_keys(&batch)? } else { None };
        Ok(Step { ties: Ties { partition, offsets, primary_keys }, moves })
    }
}

/// The events of what a view took in, of the rows that last for any time, with their ends in microseconds, row by row of the
/// batch.
fn lasting(
    view: &OnlineView,
    taken: TakenIn,
    times: &ArrayRef,
    ends_us: &[i64],
) -> Result<Option<ViewEvents>, FeatureError> {
    let times_us = times.as_primitive::<TimestampMicrosecondType>().values();
    let lasts = |row: u32| times_us[row as usize] < ends_us[row as usize];
    let rows = taken.rows.values().iter().enumerate();
    let lasting: Vec<u32> = rows.filter(|(_, row)| lasts(**row)).map(|(place, _)| place as u32).collect();
    let taken = match lasting.len() == taken.rows.len() {
        true => taken,
        false => taken.at(&UInt32Array::from(lasting)).map_err(|source| refused(view, source))?,
    };
    view.events_of(view.plan().ending(taken, ends_us), times)
}

fn refused(view: &OnlineView, source: ArrowError) -> FeatureError {
    FeatureError::Arrow { object: format!("feature view `{}`", view.plan().view().name), source }
}
