//! The inputs of a job read into the shards of its views, tables before streams, and what is to be told of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use asof_definition::FeatureView;

use crate::duplicates::{DuplicateSearch, Duplicates};
use crate::error::HistoryError;
use crate::ingest::{Ingest, Role};
use crate::inputs::{Input, Inputs};
use crate::job::{Job, Knowledge};
use crate::progress::Progress;
use crate::room::Room;
use crate::summary::{StreamSummary, Summary};
use crate::table_versions::VersionsBeingRead;
use crate::view_events::{ViewEvents, sees};

/// Where inputs are read to.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) job: &'a Job,
    pub(crate) views: &'a [&'a ViewEvents],
    pub(crate) room: &'a Room,
    pub(crate) shards: usize,
    pub(crate) progress: &'a dyn Progress,
}

impl Reading<'_> {
    /// Reads all inputs: the versions of tables, then the events of streams. Gives the duplicates of each.
    pub(crate) fn read(
        &self,
        inputs: Inputs,
        summary: &mut Summary,
    ) -> Result<BTreeMap<String, Duplicates>, HistoryError> {
        let mut found = BTreeMap::new();
        let (tables, streams): (Inputs, Inputs) = inputs.into_iter().partition(|(_, input)| input.is_table);
        let views: Vec<Arc<FeatureView>> = self.views.iter().map(|view| view.plan.view().clone()).collect();
        let versions = VersionsBeingRead::of(self.job, &views, self.room)?;
        for (name, input) in tables {
            let (table, duplicates) = self.ingest(input, Role::Table(&versions))?;
            summary.warnings.extend(table_warnings(self.job, &table));
            summary.tables.push(table);
            found.insert(name, duplicates);
        }
        let versions = versions.finish();
        for (name, input) in streams {
            let (stream, duplicates) = self.ingest(input, Role::Stream(&versions))?;
            summary.warnings.extend(stream_warnings(self.job, &stream));
            summary.streams.push(stream);
            found.insert(name, duplicates);
        }
        Ok(found)
    }

    fn ingest(&self, input: Input, role: Role<'_>) -> Result<(StreamSummary, Duplicates), HistoryError> {
        let Input { plan, source, is_table: _ } = input;
        let name = &plan.stream().name;
        self.progress.step(&format!("reading {name}"), source.size_bytes());
        let views = self.views.iter().copied().filter(|view| sees(view.plan.view(), name)).collect();
        let search = |horizon_us| DuplicateSearch::new(horizon_us, self.shards, &self.room.budget, &self.room.folder);
        let ingest = Ingest::new(&plan, &source, role, views, search);
        ingest.run(source, self.job.threads, &self.job.stop, self.progress)
    }
}

/// What the reader of a training set should know of the events that it was made from.
fn stream_warnings(job: &Job, stream: &StreamSummary) -> Vec<String> {
    let StreamSummary { name, first_offset, imputed, .. } = stream;
    let mut warnings = Vec::new();
    if *first_offset > 0 {
        warnings.push(format!(
            "stream `{name}` is stored from offset {first_offset} on: its `retention` dropped older events, and features \
             count none of them"
        ));
    }
    if job.knowledge == Knowledge::AsServed && *imputed > 0 {
        warnings.push(format!(
            "{imputed} used events of stream `{name}` were loaded without arrival times: as-served takes them to have \
             arrived at their event times"
        ));
    }
    warnings
}

/// The same of the versions of a table.
fn table_warnings(job: &Job, table: &StreamSummary) -> Vec<String> {
    let StreamSummary { name, accounting, imputed, .. } = table;
    let mut warnings = Vec::new();
    if accounting.used == 0 {
        warnings.push(format!("no version of table `{name}` was used: it has no rows, and joins with it give NULLs"));
    }
    if job.knowledge == Knowledge::AsServed && *imputed > 0 {
        warnings.push(format!(
            "{imputed} versions of table `{name}` were loaded without arrival times: as-served takes them to have arrived \
             at their event times"
        ));
    }
    warnings
}
