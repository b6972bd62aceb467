//! How views, streams and services of a project hang together: found once, by name, when an engine is made.

use std::sync::Arc;

use asof_definition::{Connector, FeatureService, FeatureView, Join, Project, Stream, Table};
use asof_feature::{
    KeySecret, OnlineStream, OnlineTable, OnlineView, ServicePlan, StreamPlan, VersionedTable, ViewPlan,
};

use crate::error::PipelineError;
use crate::sources::Sources;

/// Shards of a view: a reader meets the writer in one of this many, for the time of a few dozen appends.
const SHARDS: usize = 64;

/// A view and the sources whose events it sees, each once: more than one where UNION ALL stands between. Tables that it joins
/// are not among them.
#[derive(Debug)]
pub(crate) struct BoundView {
    pub(crate) online: Arc<OnlineView>,
    pub(crate) streams: Vec<usize>,
    /// The tables that it joins, each once.
    pub(crate) tables: Vec<usize>,
}

impl BoundView {
    /// All that its values depend on.
    pub(crate) fn sources(&self) -> impl Iterator<Item = usize> + '_ {
        self.streams.iter().chain(&self.tables).copied()
    }
}

/// A service and the views that it joins, in its order.
#[derive(Debug)]
pub(crate) struct BoundService {
    pub(crate) plan: ServicePlan,
    pub(crate) views: Vec<usize>,
}

/// All that arrivals come to: the streams with events of their own, then the tables, whose versions are streams of their kind.
pub(crate) fn sources_of(project: &Project) -> Vec<Arc<Stream>> {
    project.streams.iter().chain(project.tables.iter().map(|table| &table.versions)).cloned().collect()
}

pub(crate) fn bind_views(project: &Project) -> Result<Vec<BoundView>, PipelineError> {
    let sources = sources_of(project);
    let bind = |view: &Arc<FeatureView>| {
        let place_of = |source: &Arc<Stream>| {
            let place = sources.iter().position(|stream| stream.name == source.name);
            place.expect("a view reads sources of its project")
        };
        Ok(BoundView {
            online: Arc::new(OnlineView::new(ViewPlan::new(view.clone())?, SHARDS)?),
            streams: view.stream.sources().iter().map(place_of).collect(),
            tables: view.stream.tables().iter().map(|table| place_of(&table.versions)).collect(),
        })
    };
    project.views.iter().map(bind).collect()
}

pub(crate) fn bind_sources(
    project: &Project,
    views: &[BoundView],
    secret: Option<&KeySecret>,
) -> Result<Sources, PipelineError> {
    let bind_stream = |(place, stream): (usize, &Arc<Stream>)| {
        let plan = StreamPlan::new(stream.clone())?.with_key_secret(secret.cloned());
        let rules = rules_of(&plan);
        Ok(OnlineStream::new(plan, rules, &project.derived, views_of(views, place)))
    };
    let bind_table = |(place, table): (usize, &Arc<Table>)| {
        let versions = VersionedTable::joined_by(table, &project.derived, &project.views)?;
        let plan = StreamPlan::of_table(table)?;
        let rules = rules_of(&plan);
        Ok(OnlineTable::new(versions, plan, rules, views_of(views, project.streams.len() + place)))
    };
    let streams = project.streams.iter().enumerate().map(bind_stream).collect::<Result<_, PipelineError>>()?;
    let tables = project.tables.iter().enumerate().map(bind_table).collect::<Result<_, PipelineError>>()?;
    let mut sources = Sources::new(streams, tables);
    sources.set_coming(project, false);
    Ok(sources)
}

/// The views that see what arrives at a source.
fn views_of(views: &[BoundView], source: usize) -> Vec<Arc<OnlineView>> {
    views.iter().filter(|view| view.streams.contains(&source)).map(|view| view.online.clone()).collect()
}

fn rules_of(plan: &StreamPlan) -> asof_window::Rules {
    match plan.stream().connector {
        Connector::File(_) => plan.file_rules(),
        Connector::Log(_) | Connector::Derived(_) => plan.rules(),
    }
}

pub(crate) fn bind_services(project: &Project) -> Vec<BoundService> {
    let view_of = |join: &Join| {
        let view = project.views.iter().position(|view| view.name == join.view.name);
        view.expect("a service joins views of its project")
    };
    let bind = |service: &Arc<FeatureService>| BoundService {
        plan: ServicePlan::new(service.clone()),
        views: service.joins.iter().map(view_of).collect(),
    };
    project.services.iter().map(bind).collect()
}
