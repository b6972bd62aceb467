//! A job from beginning to end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arrow::datatypes::{DataType, Field, SchemaRef};
use asof_connect::{Format, TableWriter};
use asof_definition::{FeatureView, Stream};
use asof_feature::{ServicePlan, StreamPlan, ViewPlan};
use tempfile::TempDir;

use crate::assemble::Assembly;
use crate::budget::Budget;
use crate::duplicates::{DuplicateSearch, Duplicates};
use crate::error::HistoryError;
use crate::event_layout::{EventLayout, Needs};
use crate::event_place::ViewDuplicates;
use crate::every_event::{EveryEvent, Pass};
use crate::ingest::{Ingest, ViewEvents};
use crate::job::{Job, Knowledge, RowsOf, SpineRows, Target};
use crate::key_filter::KeyFilter;
use crate::partitions::Partitions;
use crate::progress::Progress;
use crate::shard::EntityEvents;
use crate::source::{Judgement, Source};
use crate::spine::{Asks, Spine, key_encoder};
use crate::spine_reads::SpineReads;
use crate::stop::Stop;
use crate::summary::{StreamSummary, Summary};

/// The fewest shards, and the most: each may have a file of its own.
const SHARDS_MIN: usize = 64;
const SHARDS_MAX: usize = 512;
/// A shard is held as it came, joined and sorted.
const COPIES: u64 = 3;
/// How much larger events are in memory than in a compressed file, for choosing the number of shards.
const EXPANSION: u64 = 4;
/// A spine with more reads than this is not made into a filter of its keys: 32 MiB of hashes.
const FILTER_KEYS_MAX: usize = 4 << 20;
/// A spine that takes no more than this share of the memory limit is kept and not read again.
const HOLD_SHARE: usize = 8;
/// The share of the memory limit that waiting batches may fill; the rest is for the shards being worked on.
const WAITING_SHARE: usize = 3;

/// Makes the training set of `job`.
pub fn run(job: &Job, progress: &dyn Progress) -> Result<Summary, HistoryError> {
    let room = Room::new(job)?;
    match &job.rows {
        RowsOf::EveryEvent { keep } => every_event(job, keep, &room, progress),
        RowsOf::Spine(rows) => spine(job, rows, &room, progress),
    }
}

/// Runs `work` for 0..count on `threads` threads; the first error stops the rest.
pub(crate) fn in_parallel(
    threads: usize,
    count: usize,
    stop: &Stop,
    work: impl Fn(usize) -> Result<(), HistoryError> + Sync,
) -> Result<(), HistoryError> {
    let next = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    let worker = || {
        while !stopped.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= count {
                break;
            }
            if let Err(error) = stop.check().and_then(|()| work(place)) {
                stopped.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    };
    let results: Vec<Result<(), HistoryError>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(Err(HistoryError::Panicked))).collect()
    });
    results.into_iter().collect()
}

/// Where batches wait.
struct Room {
    budget: Arc<Budget>,
    folder: Arc<TempDir>,
}

impl Room {
    fn new(job: &Job) -> Result<Room, HistoryError> {
        let folder = TempDir::with_prefix("asof-history-")
            .map_err(|source| HistoryError::Spill { path: std::env::temp_dir(), source: source.into() })?;
        let budget = Budget::new(job.memory_limit_bytes / WAITING_SHARE);
        Ok(Room { budget: Arc::new(budget), folder: Arc::new(folder) })
    }

    fn partitions(&self, schema: SchemaRef, shards: usize) -> Partitions {
        Partitions::new(schema, shards, &self.budget, &self.folder)
    }
}

/// A stream, and where its events come from.
struct Input {
    plan: StreamPlan,
    source: Source,
}

impl Input {
    fn open(job: &Job, stream: &Arc<Stream>) -> Result<Input, HistoryError> {
        Ok(Input { source: Source::open(job, stream)?, plan: StreamPlan::new(stream.clone())? })
    }

    /// Whether repeats of its primary keys are found afterwards.
    fn searches_repeats(&self) -> bool {
        self.source.judgement() == Judgement::ByEventTime && self.plan.rules().dedup_horizon_us.is_some()
    }
}

/// The streams that views see events of, by name.
type Inputs = BTreeMap<String, Input>;

/// Opens the sources of a view's stream that are not open yet.
fn open_sources(job: &Job, view: &FeatureView, inputs: &mut Inputs) -> Result<(), HistoryError> {
    for source in view.stream.sources() {
        if !inputs.contains_key(&source.name) {
            inputs.insert(source.name.clone(), Input::open(job, &source)?);
        }
    }
    Ok(())
}

/// Whether a view sees events of the stream of that name.
fn sees(view: &FeatureView, source: &str) -> bool {
    view.stream.sources().iter().any(|stream| stream.name == source)
}

/// What a view's shards leave out, given the duplicates of each source.
fn duplicates_of<'a>(view: &FeatureView, found: &'a BTreeMap<String, Duplicates>) -> ViewDuplicates<'a> {
    ViewDuplicates::new(view.stream.branches().iter().map(|source| &found[&source.name]).collect())
}

/// Refuses an output that would replace an input of the same job, or lie in a folder of them.
fn refuse_to_overwrite<'a>(out: &Path, inputs: impl Iterator<Item = &'a Path>) -> Result<(), HistoryError> {
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

/// Shards for files of this size.
fn shard_count(job: &Job, input_bytes: u64) -> usize {
    let worked_on = input_bytes.saturating_mul(EXPANSION * COPIES).saturating_mul(job.threads as u64);
    // A shard in work may take an eighth of the limit.
    let needed = worked_on.saturating_mul(8) / (job.memory_limit_bytes as u64).max(1);
    let fitting = usize::try_from(needed).unwrap_or(SHARDS_MAX).clamp(SHARDS_MIN, SHARDS_MAX);
    job.shards.unwrap_or(fitting).next_power_of_two()
}

fn view_events(
    plan: ViewPlan,
    inputs: &Inputs,
    job: &Job,
    room: &Room,
    shards: usize,
    kept: Vec<usize>,
) -> Result<ViewEvents, HistoryError> {
    let stream = plan.view().stream.clone();
    let follows_order = plan.program().follows_order();
    let as_served = job.knowledge == Knowledge::AsServed;
    let sources = stream.sources();
    let searched = sources.iter().any(|source| inputs[&source.name].searches_repeats());
    let needs = Needs {
        offset: follows_order || as_served || searched,
        primary_key: follows_order && !stream.primary_key.is_empty(),
        arrived: as_served,
    };
    let fields: Vec<Field> = kept
        .iter()
        .map(|&column| Field::new(&stream.columns[column].name, stream.columns[column].data_type.clone(), true))
        .collect();
    let layout = EventLayout::new(&plan, needs, &fields);
    let events = room.partitions(layout.schema().clone(), shards);
    let keys = key_encoder(&plan.key_types())?;
    Ok(ViewEvents { plan, layout, keys, events, asked: None, kept })
}

/// Reads a stream's events into the shards of `views`.
fn ingest(
    job: &Job,
    input: Input,
    views: Vec<&ViewEvents>,
    room: &Room,
    shards: usize,
    progress: &dyn Progress,
) -> Result<(StreamSummary, Duplicates), HistoryError> {
    let Input { plan, source } = input;
    progress.step(&format!("reading {}", plan.stream().name), source.size_bytes());
    let search = |horizon_us| DuplicateSearch::new(horizon_us, shards, &room.budget, &room.folder);
    let ingest = Ingest::new(&plan, &source, views, search);
    ingest.run(source, job.threads, &job.stop, progress)
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

fn every_event(job: &Job, keep: &[String], room: &Room, progress: &dyn Progress) -> Result<Summary, HistoryError> {
    let Target::View(view) = &job.target else {
        return Err(HistoryError::request_with_hint("`--every-event` answers a view, not a service", "use `--view`"));
    };
    let plan = ViewPlan::new(view.clone())?;
    let every = EveryEvent::new(&plan, keep)?;
    let mut inputs = Inputs::new();
    open_sources(job, view, &mut inputs)?;
    let shards = shard_count(job, inputs.values().map(|input| input.source.size_bytes()).sum());
    let view = view_events(plan, &inputs, job, room, shards, every.kept.clone())?;
    refuse_to_overwrite(&job.out, inputs.values().map(|input| input.source.path()))?;
    let writer = TableWriter::create(&job.out, Format::from_path(&job.out)?, every.schema().clone())?;
    let (mut summary, mut found) = (Summary::default(), BTreeMap::new());
    for (name, input) in inputs {
        let (stream, duplicates) = ingest(job, input, vec![&view], room, shards, progress)?;
        summary.warnings.extend(stream_warnings(job, &stream));
        summary.streams.push(stream);
        found.insert(name, duplicates);
    }
    let duplicates = duplicates_of(view.plan.view(), &found);
    progress.step("computing features", shards as u64);
    let (rows, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let pass = Pass { duplicates: &duplicates, knowledge: job.knowledge, on_error: job.on_error, writer: &writer };
    in_parallel(job.threads, shards, &job.stop, |shard| {
        let (written, failures) = every.write_shard(&view, shard, &pass)?;
        rows.fetch_add(written, Ordering::Relaxed);
        failed.fetch_add(failures, Ordering::Relaxed);
        progress.advance(1);
        Ok(())
    })?;
    job.stop.check()?;
    writer.finish()?;
    Ok(Summary {
        rows: rows.into_inner(),
        features: view.plan.view().features.len(),
        failed_values: failed.into_inner(),
        ..summary
    })
}

/// The views that a target joins, in its order; a view is its own only join.
fn joined_views(target: &Target) -> Vec<Arc<FeatureView>> {
    match target {
        Target::View(view) => vec![view.clone()],
        Target::Service(service) => service.joins.iter().map(|join| join.view.clone()).collect(),
    }
}

/// The columns that a spine must bring as VARCHAR.
fn text_columns(target: &Target) -> Vec<String> {
    let columns: Vec<(&String, &DataType)> = match target {
        Target::View(view) => view.key.iter().map(|part| (&part.name, part.expression.data_type())).collect(),
        Target::Service(service) => service.request.iter().map(|column| (&column.name, &column.data_type)).collect(),
    };
    columns.into_iter().filter(|(_, data_type)| **data_type == DataType::Utf8).map(|(name, _)| name.clone()).collect()
}

/// A view of a spine job with the reads of all joins of it.
struct ViewReads {
    view: ViewEvents,
    reads: Vec<SpineReads>,
    /// Hashes of the entity keys asked for, until there are too many to be worth it.
    hashes: Vec<u64>,
}

fn spine(job: &Job, rows: &SpineRows, room: &Room, progress: &dyn Progress) -> Result<Summary, HistoryError> {
    let service = match &job.target {
        Target::Service(service) => Some(ServicePlan::new(service.clone())),
        Target::View(_) => None,
    };
    let joined = joined_views(&job.target);
    let spine = Spine::new(rows, text_columns(&job.target), |column| match &service {
        Some(plan) => {
            let request = plan.service().request.iter().map(|one| column(&one.name, one.data_type.clone()));
            Ok(Asks::Service { plan, request: request.collect::<Result<_, _>>()? })
        }
        None => {
            let parts = joined.iter().flat_map(|view| &view.key);
            let key = parts.map(|part| column(&part.name, part.expression.data_type().clone()));
            Ok(Asks::View { key: key.collect::<Result<_, _>>()? })
        }
    })?;
    let features = match &job.target {
        Target::View(view) => &view.features,
        Target::Service(service) => &service.features,
    };
    let mut streams = Inputs::new();
    joined.iter().try_for_each(|view| open_sources(job, view, &mut streams))?;
    let shards = shard_count(job, streams.values().map(|input| input.source.size_bytes()).sum());
    let (mut views, joins) = views_of_joins(job, &joined, &streams, room, shards)?;
    let assembly =
        |reads| Assembly { spine: &spine, service: service.as_ref(), features, reads, on_error: job.on_error };
    let schema = assembly(Vec::new()).schema()?;
    let inputs = streams.values().map(|input| input.source.path()).chain(std::iter::once(rows.path.as_path()));
    refuse_to_overwrite(&job.out, inputs)?;
    let writer = TableWriter::create(&job.out, Format::from_path(&job.out)?, schema.clone())?;

    let spine_rows =
        scatter_reads(&spine, &mut views, &joins, job.memory_limit_bytes / HOLD_SHARE, &job.stop, progress)?;
    let mut summary = Summary { features: features.len(), ..Summary::default() };
    let mut duplicates = BTreeMap::new();
    for (name, input) in streams {
        let own = views.iter().map(|one| &one.view).filter(|view| sees(view.plan.view(), &name)).collect();
        let (stream, found) = ingest(job, input, own, room, shards, progress)?;
        summary.warnings.extend(stream_warnings(job, &stream));
        summary.streams.push(stream);
        duplicates.insert(name, found);
    }
    progress.step("computing features", (shards * views.len()) as u64);
    for ViewReads { view, reads, .. } in &views {
        let duplicates = duplicates_of(view.plan.view(), &duplicates);
        in_parallel(job.threads, shards, &job.stop, |shard| {
            let events = EntityEvents::take(view, shard, job.knowledge, &duplicates)?;
            for reads in reads {
                reads.answer(view, shard, &events, job.knowledge)?;
            }
            progress.advance(1);
            Ok(())
        })?;
    }
    progress.step("writing rows", spine_rows);
    let reads = joins.iter().map(|&(view, place)| &views[view].reads[place]).collect();
    (summary.rows, summary.failed_values) = assembly(reads).write(&writer, &schema, &job.stop, progress)?;
    writer.finish()?;
    let at_an_event = views.iter().flat_map(|one| &one.reads).map(SpineReads::at_an_event).max().unwrap_or_default();
    if !rows.before && at_an_event * 2 > spine_rows {
        summary.warnings.push(format!(
            "{at_an_event} of {spine_rows} spine rows stand at an event of their own entity, which their features count; \
             if the decision precedes that event, use `--before`"
        ));
    }
    Ok(summary)
}

/// Each distinct view with the reads of its joins, and for each join where its reads are.
type ViewsOfJoins = (Vec<ViewReads>, Vec<(usize, usize)>);

fn views_of_joins(
    job: &Job,
    joined: &[Arc<FeatureView>],
    streams: &Inputs,
    room: &Room,
    shards: usize,
) -> Result<ViewsOfJoins, HistoryError> {
    let mut views: Vec<ViewReads> = Vec::new();
    let mut joins = Vec::new();
    for definition in joined {
        let known = views.iter().position(|one| one.view.plan.view().name == definition.name);
        let place = match known {
            Some(place) => place,
            None => {
                let plan = ViewPlan::new(definition.clone())?;
                let view = view_events(plan, streams, job, room, shards, Vec::new())?;
                views.push(ViewReads { view, reads: Vec::new(), hashes: Vec::new() });
                views.len() - 1
            }
        };
        let ViewReads { view, reads, .. } = &mut views[place];
        reads.push(SpineReads::new(
            &view.plan,
            |schema| room.partitions(schema, shards),
            |schema| room.partitions(schema, 1),
            job.on_error,
        ));
        joins.push((place, reads.len() - 1));
    }
    Ok((views, joins))
}

/// Reads the spine once and scatters its reads. Returns its number of rows.
fn scatter_reads(
    spine: &Spine<'_>,
    views: &mut [ViewReads],
    joins: &[(usize, usize)],
    hold_bytes_max: usize,
    stop: &Stop,
    progress: &dyn Progress,
) -> Result<u64, HistoryError> {
    progress.step("reading the spine", 0);
    let mut rows = 0;
    let (mut held, mut held_bytes) = (Vec::new(), 0);
    for batch in spine.batches()? {
        stop.check()?;
        let (first_row, batch) = batch?;
        rows = first_row + batch.batch.num_rows() as u64;
        held_bytes += 2 * batch.batch.get_array_memory_size();
        if held_bytes <= hold_bytes_max {
            held.push(batch.clone());
        }
        for (&(view, place), parts) in joins.iter().zip(&batch.keys) {
            let ViewReads { view, reads, hashes } = &mut views[view];
            let asked = reads[place].add(view, first_row, parts, &batch.instants)?;
            if hashes.len() <= FILTER_KEYS_MAX {
                hashes.extend(asked);
            }
        }
    }
    for ViewReads { view, hashes, .. } in views {
        if hashes.len() <= FILTER_KEYS_MAX {
            view.asked = Some(KeyFilter::new(&std::mem::take(hashes)));
        }
    }
    if held_bytes <= hold_bytes_max {
        spine.hold(held);
    }
    Ok(rows)
}
