//! The streams and tables that a job reads, each opened once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use asof_definition::{FeatureView, Over, Stream, Table};
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

/// The streams that views see events of, and the tables that they join or stand over, by name.
pub(crate) type Inputs = BTreeMap<String, Input>;

/// Opens the tables and the sources of a view's stream that are not open yet.
pub(crate) fn open_sources(job: &Job, view: &FeatureView, inputs: &mut Inputs) -> Result<(), HistoryError> {
    let under = match &view.over {
        Over::Row(table) | Over::Groups(table) => Some(table.clone()),
        Over::Events => None,
    };
    for table in view.stream.tables().into_iter().chain(under) {
        if !inputs.contains_key(table.name()) {
            inputs.insert(table.name().to_owned(), Input::open_table(job, &table)?);
        }
    }
    for source in view.stream.sources() {
        if !inputs.contains_key(&source.name) {
            inputs.insert(source.name.clone(), Input::open(job, &source)?);
        }
    }
    Ok(())
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
