//! The streams and tables that a job reads, each opened once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use asof_definition::{Connector, FeatureView, Over, Stream, Table};
use asof_feature::StreamPlan;

use crate::error::HistoryError;
use crate::job::Job;
use crate::source::{Judgement, Source};

/// A stream, and where its events come from; or a table, and where its versions do.
pub(crate) struct Input {
    pub(crate) plan: StreamPlan,
    pub(crate) source: Source,
    /// Whether the rows are versions of a table.
    pub(crate) is_table: bool,
}

impl Input {
    fn open(job: &Job, stream: &Arc<Stream>) -> Result<Input, HistoryError> {
        Ok(Input { source: Source::open(job, stream)?, plan: StreamPlan::new(stream.clone())?, is_table: false })
    }

    fn open_table(job: &Job, table: &Table) -> Result<Input, HistoryError> {
        let source = Source::open_table(job, table)?;
        Ok(Input { source, plan: StreamPlan::of_table(table)?, is_table: true })
    }

    /// Whether repeats of its primary keys are found afterwards.
    pub(crate) fn searches_repeats(&self) -> bool {
        self.source.judgement() == Judgement::ByEventTime && self.plan.rules().dedup_horizon_us.is_some()
    }
}

/// The streams that views see rows of, and the tables that they join or stand over.
#[derive(Default)]
pub(crate) struct Inputs {
    /// Those that are read, by name.
    pub(crate) read: BTreeMap<String, Input>,
    /// Those of closed windows over files, whose rows are made: each after those that it reads.
    pub(crate) made: Vec<Arc<Stream>>,
}

impl Inputs {
    /// Opens the tables and the sources of a view's stream that are not open yet.
    pub(crate) fn open(&mut self, job: &Job, view: &FeatureView) -> Result<(), HistoryError> {
        let under = match &view.over {
            Over::Row(table) | Over::Groups(table) => Some(table.clone()),
            Over::Events => None,
        };
        under.iter().try_for_each(|table| self.open_table(job, table))?;
        self.open_behind(job, &view.stream)
    }

    /// Opens all that the rows of a stream are made of, back to where they arise.
    fn open_behind(&mut self, job: &Job, stream: &Arc<Stream>) -> Result<(), HistoryError> {
        stream.tables().iter().try_for_each(|table| self.open_table(job, table))?;
        stream.sources().iter().try_for_each(|source| self.open_source(job, source))
    }

    fn open_table(&mut self, job: &Job, table: &Table) -> Result<(), HistoryError> {
        if !self.read.contains_key(table.name()) {
            self.read.insert(table.name().to_owned(), Input::open_table(job, table)?);
        }
        Ok(())
    }

    fn open_source(&mut self, job: &Job, source: &Arc<Stream>) -> Result<(), HistoryError> {
        if self.read.contains_key(&source.name) || self.made.iter().any(|made| made.name == source.name) {
            return Ok(());
        }
        match source.window() {
            Some(window) if is_over_files(source)? => {
                self.open_behind(job, &window.view.stream)?;
                self.made.push(source.clone());
            }
            Some(_) | None => {
                self.read.insert(source.name.clone(), Input::open(job, source)?);
            }
        }
        Ok(())
    }

    /// The sum of what there is to read.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.read.values().map(|input| input.source.size_bytes()).sum()
    }

    /// What no output may replace, or lie in.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.read.values().filter_map(|input| input.source.path())
    }

    /// Whether repeats of a source's primary keys are found afterwards.
    pub(crate) fn searches_repeats(&self, source: &str) -> bool {
        self.read.get(source).is_some_and(Input::searches_repeats)
    }
}

/// Whether the rows of a stream of closed windows are made of files; else the server makes them, of the log.
fn is_over_files(windows: &Arc<Stream>) -> Result<bool, HistoryError> {
    let origins = windows.origins();
    let is_file = |origin: &&Arc<Stream>| matches!(origin.connector, Connector::File(_));
    match (origins.iter().find(is_file), origins.iter().find(|origin| !is_file(origin))) {
        (Some(file), Some(stored)) => Err(HistoryError::request_with_hint(
            format!(
                "stream `{}` is a group window over a file, of `{}`, and the log, of `{}`, together, which is not supported \
                 yet in history",
                windows.name, file.name, stored.name
            ),
            format!("declare `{0}` without the connector, and store its events by `asof ingest {0} FILE`", file.name),
        )),
        (file, _) => Ok(file.is_some()),
    }
}

/// Refuses an output that would replace an input of the same job, or lie in a folder of them.
pub(crate) fn refuse_to_overwrite<'a>(out: &Path, inputs: impl Iterator<Item = &'a Path>) -> Result<(), HistoryError> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(own) = out.canonicalize().or_else(|_| folder.canonicalize()) else { return Ok(()) };
    for input in inputs {
        let what = match input.canonicalize() {
            Ok(input) if input == own && input.is_file() => "is an input of the same job".to_owned(),
            Ok(folder) if own.starts_with(&folder) => format!("lies in the data folder `{}`", input.display()),
            Ok(_) | Err(_) => continue,
        };
        return Err(HistoryError::request_with_hint(
            format!("the output `{}` {what}", out.display()),
            "name another file with `--out`",
        ));
    }
    Ok(())
}
