//! A job from a spine to its training set: reads scattered, events ingested, answers computed by shard, rows written.

use std::sync::Arc;

use arrow::datatypes::DataType;
use asof_connect::{Format, TableWriter};
use asof_definition::FeatureView;
use asof_feature::{ServicePlan, ViewPlan};

use crate::assemble::Assembly;
use crate::error::HistoryError;
use crate::inputs::{Inputs, refuse_to_overwrite};
use crate::job::{Job, SpineRows, Target};
use crate::key_filter::KeyFilter;
use crate::parallel::in_parallel;
use crate::progress::Progress;
use crate::room::{Room, shard_count};
use crate::shard::EntityEvents;
use crate::spine::{Asks, Spine};
use crate::spine_reads::SpineReads;
use crate::stop::Stop;
use crate::stream_ingest::Reading;
use crate::summary::Summary;
use crate::view_events::{ViewEvents, duplicates_of, view_events};

/// A spine with more reads than this is not made into a filter of its keys: 32 MiB of hashes.
const FILTER_KEYS_MAX: usize = 4 << 20;
/// A spine that takes no more than this share of the memory limit is kept and not read again.
const HOLD_SHARE: usize = 8;

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

/// Makes the training set of a spine.
pub(crate) fn spine_set(
    job: &Job,
    rows: &SpineRows,
    room: &Room,
    progress: &dyn Progress,
) -> Result<Summary, HistoryError> {
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
    let mut streams = Inputs::default();
    joined.iter().try_for_each(|view| streams.open(job, view))?;
    let shards = shard_count(job, streams.size_bytes());
    let (mut views, joins) = views_of_joins(job, &joined, &streams, room, shards)?;
    let assembly =
        |reads| Assembly { spine: &spine, service: service.as_ref(), features, reads, on_error: job.on_error };
    let schema = assembly(Vec::new()).schema()?;
    refuse_to_overwrite(&job.out, streams.paths().chain(std::iter::once(rows.path.as_path())))?;
    let writer = TableWriter::create(&job.out, Format::from_path(&job.out)?, schema.clone())?;

    let spine_rows =
        scatter_reads(&spine, &mut views, &joins, job.memory_limit_bytes / HOLD_SHARE, &job.stop, progress)?;
    let mut summary = Summary { features: features.len(), ..Summary::default() };
    let own: Vec<&ViewEvents> = views.iter().map(|one| &one.view).collect();
    let duplicates = Reading { job, views: &own, room, shards, progress }.read(streams, &mut summary)?;
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
