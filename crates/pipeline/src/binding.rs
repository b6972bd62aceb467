//! How views, streams and services of a project hang together: found once, by name, when an engine is made.

use std::sync::Arc;

use asof_definition::{Connector, FeatureService, FeatureView, Join, Project, Stream, Table};
use asof_feature::{
    KeySecret, MadeRows, OnlineStream, OnlineTable, OnlineView, ScoredStream, ServicePlan, StreamPlan, VersionedTable,
    ViewPlan, Way, WindowStream,
};

use crate::error::PipelineError;
use crate::sources::Sources;

/// Shards of a view: a reader meets the writer in one of this many, for the time of a few dozen appends.
const SHARDS: usize = 64;

/// A view and the sources whose events it sees, each once: more than one where UNION ALL stands between. Tables that it joins
/// are not among them. The views of the project come first; behind them are the open windows of its streams of windows.
#[derive(Debug)]
pub(crate) struct BoundView {
    pub(crate) online: Arc<OnlineView>,
    pub(crate) streams: Vec<usize>,
    /// The tables that it joins, each once.
    pub(crate) tables: Vec<usize>,
    /// Of open windows what the log of their rows is called.
    pub(crate) rows_name: Option<String>,
}

impl BoundView {
    /// Its name; of open windows that of the stream of their rows.
    pub(crate) fn name(&self) -> &str {
        &self.online.plan().view().name
    }

    /// What a checkpoint calls it. Open windows go with the log of their rows: another definition has neither, also where the
    /// same events are held.
    pub(crate) fn stored_name(&self) -> String {
        let of_windows = self.rows_name.as_ref().map(|rows_name| format!("<windows of {rows_name}>"));
        of_windows.unwrap_or_else(|| self.name().to_owned())
    }

    /// All that its values depend on.
    pub(crate) fn sources(&self) -> impl Iterator<Item = usize> + '_ {
        self.streams.iter().chain(&self.tables).copied()
    }
}

/// A stream of the rows of windows.
#[derive(Debug)]
pub(crate) struct BoundWindows {
    pub(crate) windows: WindowStream,
    /// Its place among the sources.
    pub(crate) source: usize,
    /// That of its open windows among the views.
    pub(crate) view: usize,
    /// The sources whose rows its windows have, and the tables joined with these that its windows stay open for, each once.
    pub(crate) reads: Vec<usize>,
    /// Rows of windows that have closed, for which the disk has no room yet.
    pub(crate) waiting: Option<MadeRows>,
    /// The watermark that its log has, in microseconds.
    pub(crate) appended_us: Option<i64>,
    /// One that it has durably.
    pub(crate) durable_us: Option<i64>,
}

/// For each service, for each of its joins, how the events of one source come to the joined view.
pub(crate) type WaysToServices = Vec<Vec<Vec<Way>>>;

/// A stream of scored rows.
#[derive(Debug)]
pub(crate) struct BoundScored {
    pub(crate) stream: ScoredStream,
    /// Its place among the sources.
    pub(crate) source: usize,
    /// For each way by which rows come, the source that they come from.
    pub(crate) reads: Vec<usize>,
    /// Its services among those of the project, in the order of its text.
    pub(crate) services: Vec<usize>,
    /// The sources that its services see.
    pub(crate) sees: Vec<usize>,
    /// For each way by which rows come, how the source's events come to the views of its services.
    pub(crate) ways: Vec<WaysToServices>,
    /// For each way by which rows come, the offset up to which they are scored.
    pub(crate) scored_to: Vec<u64>,
    /// The same as its log says, and when it said so, by the wall clock in microseconds; `None` before it did.
    pub(crate) said_to: Option<Vec<u64>>,
    pub(crate) said_us: i64,
    /// Whether there are visible rows that are not scored: their scores could not be stored.
    pub(crate) is_behind: bool,
}

impl BoundScored {
    /// The ways by which rows come from a source.
    pub(crate) fn inputs_of(&self, source: usize) -> Vec<usize> {
        (0..self.reads.len()).filter(|input| self.reads[*input] == source).collect()
    }
}

/// A service and the views that it joins, in its order.
#[derive(Debug)]
pub(crate) struct BoundService {
    pub(crate) plan: ServicePlan,
    pub(crate) views: Vec<usize>,
}

/// All that rows come to: the streams with events of their own, then those of the rows of windows, then those of scored rows, each
/// after those that it reads, then the tables, whose versions are streams of their kind.
pub(crate) fn sources_of(project: &Project) -> Vec<Arc<Stream>> {
    let made = window_streams(project).chain(scored_streams(project));
    let tables = project.tables.iter().map(|table| &table.versions);
    project.streams.iter().chain(made).chain(tables).cloned().collect()
}

/// The streams of scored rows, those of sinks that nobody else reads among them.
fn scored_streams(project: &Project) -> impl Iterator<Item = &Arc<Stream>> {
    let of_sinks = project.sinks.iter().filter(|sink| sink.is_declared()).filter_map(|sink| sink.rows());
    project.derived.iter().chain(of_sinks).filter(|stream| stream.scored().is_some())
}

/// The streams of scored rows, none of which is scored yet.
pub(crate) fn bind_scored(project: &Project) -> Result<Vec<BoundScored>, PipelineError> {
    let sources = sources_of(project);
    let place_of = |wanted: &Arc<Stream>| {
        let place = sources.iter().position(|stream| stream.name == wanted.name);
        place.expect("scored rows are of sources of their project")
    };
    let service_of = |name: &str| {
        let place = project.services.iter().position(|service| service.name == name);
        place.expect("rows are scored by services of their project")
    };
    let bind = |stream: &Arc<Stream>| {
        let bound = ScoredStream::new(stream.clone())?;
        let reads: Vec<usize> = bound.inputs().map(place_of).collect();
        Ok(BoundScored {
            source: place_of(stream),
            services: bound.scored().services.iter().map(|one| service_of(&one.service.name)).collect(),
            sees: Vec::new(),
            ways: Vec::new(),
            scored_to: vec![0; reads.len()],
            said_to: None,
            said_us: 0,
            is_behind: false,
            reads,
            stream: bound,
        })
    };
    scored_streams(project).map(bind).collect()
}

fn window_streams(project: &Project) -> impl Iterator<Item = &Arc<Stream>> {
    project.derived.iter().filter(|stream| stream.window().is_some())
}

/// The streams of the rows of windows, with windows that are open.
pub(crate) fn bind_windows(project: &Project) -> Result<Vec<BoundWindows>, PipelineError> {
    let sources = sources_of(project);
    let place_of = |wanted: &Arc<Stream>| {
        let place = sources.iter().position(|stream| stream.name == wanted.name);
        place.expect("windows are of sources of their project")
    };
    let bind = |(number, stream): (usize, &Arc<Stream>)| {
        let windows = WindowStream::new(stream.clone(), SHARDS)?;
        let window = stream.window().expect("its rows are those of windows");
        let tables = window.view.stream.awaited_tables().into_iter().map(|table| table.versions.clone());
        let reads = window.view.stream.sources().into_iter().chain(tables);
        Ok(BoundWindows {
            source: project.streams.len() + number,
            view: project.views.len() + number,
            reads: reads.map(|read| place_of(&read)).collect(),
            windows,
            waiting: None,
            appended_us: None,
            durable_us: None,
        })
    };
    window_streams(project).enumerate().map(bind).collect()
}

pub(crate) fn bind_views(project: &Project, windows: &[BoundWindows]) -> Result<Vec<BoundView>, PipelineError> {
    let sources = sources_of(project);
    let place_of = |source: &Arc<Stream>| {
        let place = sources.iter().position(|stream| stream.name == source.name);
        place.expect("a view reads sources of its project")
    };
    let bind = |online: Arc<OnlineView>, rows_name: Option<String>| {
        let stream = online.plan().view().stream.clone();
        BoundView {
            online,
            streams: stream.sources().iter().map(place_of).collect(),
            tables: stream.tables().iter().map(|table| place_of(&table.versions)).collect(),
            rows_name,
        }
    };
    let online = |view: &Arc<FeatureView>| Ok(Arc::new(OnlineView::new(ViewPlan::new(view.clone())?, SHARDS)?));
    let views: Vec<Arc<OnlineView>> = project.views.iter().map(online).collect::<Result<_, PipelineError>>()?;
    let of_windows =
        windows.iter().map(|one| bind(one.windows.open().clone(), Some(one.windows.stored_form().name.clone())));
    Ok(views.into_iter().map(|online| bind(online, None)).chain(of_windows).collect())
}

pub(crate) fn bind_sources(
    project: &Project,
    views: &[BoundView],
    windows: Vec<BoundWindows>,
    scored: Vec<BoundScored>,
    secret: Option<&KeySecret>,
) -> Result<Sources, PipelineError> {
    let bind_stream = |(place, stream): (usize, &Arc<Stream>)| {
        let plan = StreamPlan::new(stream.clone())?.with_key_secret(secret.cloned());
        let rules = rules_of(&plan);
        Ok(OnlineStream::new(plan, rules, &project.derived, views_of(views, place)))
    };
    let first_table = project.streams.len() + windows.len() + scored.len();
    let bind_table = |(place, table): (usize, &Arc<Table>)| {
        let versions = VersionedTable::read_by(table, &project.derived, &project.views)?;
        let plan = StreamPlan::of_table(table)?;
        let rules = rules_of(&plan);
        Ok(OnlineTable::new(versions, plan, rules, views_of(views, first_table + place)))
    };
    let streams = project.streams.iter().chain(window_streams(project)).chain(scored_streams(project)).enumerate();
    let streams: Vec<OnlineStream> = streams.map(bind_stream).collect::<Result<_, PipelineError>>()?;
    let tables = project.tables.iter().enumerate().map(bind_table).collect::<Result<_, PipelineError>>()?;
    let mut sources = Sources::new(streams, tables, windows, scored);
    sources.set_coming(project, false);
    Ok(sources)
}

impl Sources {
    /// Says which sources the services see, and how the events of those that are scored come to their views.
    pub(crate) fn bind_ways(&mut self, services: &[BoundService], views: &[BoundView]) {
        for one in &mut self.scored {
            let joined = one.services.iter().flat_map(|service| &services[*service].views);
            one.sees = joined.flat_map(|view| views[*view].sources()).collect();
        }
        let ways_of = |read: usize, one: &BoundScored| -> WaysToServices {
            let of_service = |service: &usize| {
                let joined = services[*service].views.iter();
                joined.map(|view| self[read].ways_to(&views[*view].online)).collect()
            };
            one.services.iter().map(of_service).collect()
        };
        let ways: Vec<Vec<WaysToServices>> =
            self.scored.iter().map(|one| one.reads.iter().map(|read| ways_of(*read, one)).collect()).collect();
        self.scored.iter_mut().zip(ways).for_each(|(one, ways)| one.ways = ways);
    }
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
