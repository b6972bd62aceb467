//! The inputs of a job read into the shards of its views, tables before streams before windows over files, and what is to be
//! told of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use asof_definition::{FeatureView, Stream};
use asof_feature::StreamPlan;

use crate::duplicates::{DuplicateSearch, Duplicates};
use crate::error::HistoryError;
use crate::ingest::{Ingest, Ingested, Role};
use crate::inputs::{Input, Inputs};
use crate::job::{Job, Knowledge};
use crate::progress::Progress;
use crate::room::Room;
use crate::source::Source;
use crate::summary::{StreamSummary, Summary};
use crate::table_versions::{TableVersions, VersionsBeingRead};
use crate::view_events::{ViewEvents, duplicates_of, sees};
use crate::watermark::{Watermark, WatermarkBeingRead};
use crate::window_rows::{FailedRows, WindowsBeingRead};

/// Where inputs are read to.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) job: &'a Job,
    pub(crate) views: &'a [&'a ViewEvents],
    pub(crate) room: &'a Room,
    pub(crate) shards: usize,
    pub(crate) progress: &'a dyn Progress,
}

/// What was found in the inputs so far, by their names.
#[derive(Default)]
struct Found {
    duplicates: BTreeMap<String, Duplicates>,
    /// Of the files that windows follow.
    watermarks: BTreeMap<String, Arc<Watermark>>,
}

impl Found {
    fn add(&mut self, name: String, duplicates: Duplicates, watermark: Option<Watermark>) {
        self.watermarks.extend(watermark.map(|watermark| (name.clone(), Arc::new(watermark))));
        self.duplicates.insert(name, duplicates);
    }
}

impl Reading<'_> {
    /// Reads all inputs: the versions of tables, then the events of streams, then rows of windows over files. Gives the duplicates
    /// of each.
    pub(crate) fn read(
        &self,
        inputs: Inputs,
        summary: &mut Summary,
    ) -> Result<BTreeMap<String, Duplicates>, HistoryError> {
        let mut found = Found::default();
        let windows = inputs.made.iter().map(|stream| WindowsBeingRead::new(stream, &inputs, self));
        let windows: VecDeque<WindowsBeingRead> = windows.collect::<Result<_, _>>()?;
        let (tables, streams): (BTreeMap<_, _>, BTreeMap<_, _>) =
            inputs.read.into_iter().partition(|(_, input)| input.is_table);
        let views = self.views.iter().copied().chain(windows.iter().map(|one| &one.view));
        let views: Vec<Arc<FeatureView>> = views.map(|view| view.plan.view().clone()).collect();
        let versions = VersionsBeingRead::of(self.job, &views, self.room)?;
        for (name, input) in tables {
            let ingested = self.ingest(input, Role::Table(&versions), &windows)?;
            summary.warnings.extend(table_warnings(self.job, &ingested.summary));
            summary.tables.push(ingested.summary);
            found.add(name, ingested.duplicates, ingested.watermark);
        }
        let versions = versions.finish();
        for (name, input) in streams {
            let Ingested { summary: stream, duplicates, watermark } =
                self.ingest(input, Role::Stream(&versions), &windows)?;
            summary.warnings.extend(stream_warnings(self.job, &stream));
            summary.streams.push(stream);
            found.add(name, duplicates, watermark);
        }
        self.close(windows, &versions, &mut found, summary)?;
        Ok(found.duplicates)
    }

    /// Closes windows over files, and reads their rows: of windows of windows those inside before the others.
    fn close(
        &self,
        mut windows: VecDeque<WindowsBeingRead>,
        versions: &TableVersions,
        found: &mut Found,
        summary: &mut Summary,
    ) -> Result<(), HistoryError> {
        while let Some(one) = windows.pop_front() {
            let stream = one.stream().clone();
            self.progress.step(&format!("closing the windows of {}", stream.name), 0);
            let (rows, failed) = {
                let view = one.view.plan.view().clone();
                one.close(self, &found.watermarks, &duplicates_of(&view, &found.duplicates))?
            };
            summary.warnings.extend(failed_warning(&stream, &failed));
            let plan = StreamPlan::new(stream)?;
            let input = Input { plan, source: Source::Windows(rows), is_table: false };
            let Ingested { summary: stream, duplicates, .. } = self.ingest(input, Role::Stream(versions), &windows)?;
            found.add(stream.name.clone(), duplicates, None);
            summary.streams.push(stream);
        }
        Ok(())
    }

    fn ingest(
        &self,
        input: Input,
        role: Role<'_>,
        windows: &VecDeque<WindowsBeingRead>,
    ) -> Result<Ingested, HistoryError> {
        let name = input.plan.stream().name.clone();
        self.progress.step(&format!("reading {name}"), input.source.size_bytes());
        let views = self.views.iter().copied().chain(windows.iter().map(|one| &one.view));
        let views = views.filter(|view| sees(view.plan.view(), &name)).collect();
        let search = |horizon_us| DuplicateSearch::new(horizon_us, self.shards, &self.room.budget, &self.room.folder);
        let is_followed = windows.iter().any(|one| one.follow(&name));
        let watermark = is_followed.then(|| WatermarkBeingRead::new(self.job, &input, self.room, self.shards));
        let Input { plan, source, is_table: _ } = input;
        let ingest = Ingest::new(&plan, &source, role, views, search, watermark);
        ingest.run(source, self.job.threads, &self.job.stop, self.progress)
    }
}

/// That windows have no row.
fn failed_warning(stream: &Stream, failed: &FailedRows) -> Option<String> {
    let (FailedRows { count, detail }, name) = (failed, &stream.name);
    let detail = detail.as_ref()?;
    Some(format!("{count} closed windows of stream `{name}` have no row, because a column of it failed: {detail}"))
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
