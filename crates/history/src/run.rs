//! A job from beginning to end.

use std::sync::atomic::{AtomicU64, Ordering};

use asof_connect::{Format, TableWriter};
use asof_feature::ViewPlan;

use crate::error::HistoryError;
use crate::every_event::{EveryEvent, Pass};
use crate::inputs::{Inputs, refuse_to_overwrite};
use crate::job::{Job, RowsOf, Target};
use crate::parallel::in_parallel;
use crate::progress::Progress;
use crate::room::{Room, shard_count};
use crate::spine_set::spine_set;
use crate::stream_ingest::Reading;
use crate::summary::Summary;
use crate::view_events::{duplicates_of, view_events};

/// Makes the training set of `job`.
pub fn run(job: &Job, progress: &dyn Progress) -> Result<Summary, HistoryError> {
    let room = Room::new(job)?;
    match &job.rows {
        RowsOf::EveryEvent { keep } => every_event(job, keep, &room, progress),
        RowsOf::Spine(rows) => spine_set(job, rows, &room, progress),
    }
}

fn every_event(job: &Job, keep: &[String], room: &Room, progress: &dyn Progress) -> Result<Summary, HistoryError> {
    let Target::View(view) = &job.target else {
        return Err(HistoryError::request_with_hint("`--every-event` answers a view, not a service", "use `--view`"));
    };
    let plan = ViewPlan::new(view.clone())?;
    let every = EveryEvent::new(&plan, keep)?;
    let mut inputs = Inputs::default();
    inputs.open(job, view)?;
    let shards = shard_count(job, inputs.size_bytes());
    let view = view_events(plan, &inputs, job, room, shards, every.kept.clone())?;
    refuse_to_overwrite(&job.out, inputs.paths())?;
    let writer = TableWriter::create(&job.out, Format::from_path(&job.out)?, every.schema().clone())?;
    let mut summary = Summary::default();
    let found = Reading { job, views: &[&view], room, shards, progress }.read(inputs, &mut summary)?;
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
