//! `asof transactions`: which sinks have a transaction open that keeps the end of their topic from its readers, and the end of those.
//!
//! A transaction that is on its way holds back too, for as long as a commit takes: what is there twice, a while apart, hangs.

use std::sync::Arc;
use std::time::Duration;

use asof_connect::{HeldBack, KafkaSettings, KafkaTrouble, cut_off};
use asof_definition::{Delivery, Project, Sink};
use asof_disk::FolderDisk;
use asof_log::TakeOver;
use asof_pipeline::{Stop, Storage, StorageSettings, transactional_id};
use serde_json::json;

use crate::accounts::grouped;
use crate::arguments::{OutputFormat, TransactionsArguments};
use crate::failure::Failure;
use crate::interrupt::stop_on_interrupt;
use crate::project_folder::ProjectFolder;
use crate::{run, told};

/// How long a transaction that is on its way has to come to its end, before it is said to hang. Those of a sink whose commit
/// interval is longer look the same while its server runs.
const APART: Duration = Duration::from_secs(3);

/// A sink and what its topic holds back.
struct Found<'p> {
    sink: &'p Sink,
    /// Under which its transactions are written from this data folder; none before the first.
    id: Option<String>,
    held_back: Vec<HeldBack>,
}

pub(crate) fn run(arguments: &TransactionsArguments) -> Result<(), Failure> {
    let folder = ProjectFolder::load(&arguments.folder)?;
    let project = &folder.project;
    let sinks = sinks_of(project);
    let Some(settings) = run::kafka(&arguments.folder, &folder)?.filter(|_| !sinks.is_empty()) else {
        return Err(Failure::input_with_hint(
            "no sink of the project writes transactions",
            "those with delivery = 'exactly_once' do, which is the default",
        ));
    };
    let data_folder = run::data_folder(&arguments.folder, arguments.data_dir.as_deref(), &folder.configuration);
    let stop = stop_on_interrupt()?;
    if arguments.abort {
        // Whoever has the data folder would be cut off in the middle of its work.
        let storage = Storage::open(
            Arc::new(FolderDisk),
            &data_folder,
            TakeOver::Refuse,
            StorageSettings::default(),
            &mut run::draw,
        )?;
        for sink in &sinks {
            let id = transactional_id(&FolderDisk, storage.folder(), sink)?;
            let Some(id) = id else { continue };
            cut_off(&settings, &sink.topic, &id).map_err(|trouble| outside(sink, &trouble.to_string()))?;
            told::remark(&format!("{}: what `{id}` had open is aborted", sink.name));
        }
    }
    let found = hanging(&settings, &sinks, &stop)?;
    let found = found
        .into_iter()
        .map(|(sink, held_back)| Ok(Found { sink, id: transactional_id(&FolderDisk, &data_folder, sink)?, held_back }));
    let found: Vec<Found<'_>> = found.collect::<Result<_, Failure>>()?;
    match arguments.format {
        OutputFormat::Text => show(&found, arguments.abort),
        OutputFormat::Json => told::answer(&described(&found)),
    }
    Ok(())
}

fn sinks_of(project: &Project) -> Vec<&Sink> {
    project.sinks.iter().map(AsRef::as_ref).filter(|sink| sink.delivery == Delivery::ExactlyOnce).collect()
}

/// For each sink what its topic holds back now and did a while before.
fn hanging<'p>(
    settings: &KafkaSettings,
    sinks: &[&'p Sink],
    stop: &Stop,
) -> Result<Vec<(&'p Sink, Vec<HeldBack>)>, Failure> {
    let first = looked_at(settings, sinks)?;
    if first.iter().all(|(_, held_back)| held_back.is_empty()) {
        return Ok(first);
    }
    told::remark(&format!("a transaction is open; whether it hangs is known in {} s", APART.as_secs()));
    stop.wait(APART);
    let mut last = looked_at(settings, sinks)?;
    for ((_, held_back), (_, before)) in last.iter_mut().zip(&first) {
        let was_there = |one: &HeldBack| {
            before.iter().any(|other| (other.partition, other.stable_offset) == (one.partition, one.stable_offset))
        };
        held_back.retain(was_there);
    }
    Ok(last)
}

fn looked_at<'p>(settings: &KafkaSettings, sinks: &[&'p Sink]) -> Result<Vec<(&'p Sink, Vec<HeldBack>)>, Failure> {
    let look = |sink: &&'p Sink| match HeldBack::in_topic(settings, &sink.topic) {
        Ok(held_back) => Ok((*sink, held_back)),
        Err(KafkaTrouble::Refused { detail, hint }) => {
            Err(Failure::input_with_hint(format!("topic `{}` of sink `{}`: {detail}", sink.topic, sink.name), hint))
        }
        Err(trouble) => Err(outside(sink, &trouble.to_string())),
    };
    sinks.iter().map(look).collect()
}

fn outside(sink: &Sink, trouble: &str) -> Failure {
    Failure::Outside { message: format!("topic `{}` of sink `{}`: {trouble}", sink.topic, sink.name) }
}

fn show(found: &[Found<'_>], is_aborted: bool) {
    for Found { sink, id, held_back } in found {
        let id = id.as_deref().unwrap_or("nothing written yet");
        let words = match &held_back[..] {
            [] => "nothing hangs".to_owned(),
            partitions => partitions.iter().map(held_back_words).collect::<Vec<String>>().join("; "),
        };
        told::answer(&format!("{}  → {}  {id}: {words}", sink.name, sink.topic));
    }
    let hangs = found.iter().any(|one| !one.held_back.is_empty());
    match (hangs, is_aborted) {
        (false, _) => {}
        (true, false) => told::remark(
            "hint: the next start of the server ends its own; without a start, `asof transactions DIR --abort` does",
        ),
        (true, true) => told::remark(
            "hint: what still hangs is of another writer, or of another data folder: `kafka-transactions.sh list` tells whose it is",
        ),
    }
}

fn held_back_words(one: &HeldBack) -> String {
    let offsets = u64::try_from(one.end_offset - one.stable_offset).unwrap_or(0);
    let noun = if offsets == 1 { "offset" } else { "offsets" };
    format!("partition {} holds {} {noun} back, from {} on", one.partition, grouped(offsets), one.stable_offset)
}

fn described(found: &[Found<'_>]) -> String {
    let partition = |one: &HeldBack| json!({"partition": one.partition, "stable_offset": one.stable_offset, "end_offset": one.end_offset});
    let sink = |one: &Found<'_>| {
        json!({
            "sink": one.sink.name,
            "topic": one.sink.topic,
            "transactional_id": one.id,
            "held_back": one.held_back.iter().map(partition).collect::<Vec<_>>(),
        })
    };
    json!({"sinks": found.iter().map(sink).collect::<Vec<_>>()}).to_string()
}
