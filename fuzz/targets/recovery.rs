//! A start from a checkpoint and a log whose checksums are right and whose content is anything: the stream's image, images
//! of entities, producers' batches, a frame. It is refused in words or recovered, and then it can be run, ended, recovered.
#![no_main]

use std::path::Path;

use asof_connect::{StoredHead, stream_folder};
use asof_disk::simulated::SimulatedDisk;
use asof_feature::ViewPlan;
use asof_fuzz::{CARD, DATA, SPENDING, Taken, begin, checkpoints, cut, engine, joined, project, send, storage, taken};
use asof_log::{Claim, LogError, LogSettings, NewFrame, PartitionLog, TakeOver};
use asof_pipeline::{PipelineError, Steps};
use asof_state::{About, PartKind, PartScope, StateError, StreamAbout};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(init: begin(seeds()), |bytes: &[u8]| check(cut(bytes)));

/// With the log behind the checkpoint, and before it.
fn seeds() -> [(String, Vec<u8>); 2] {
    let Taken { manifest, images, batches, frame } = taken();
    let mut image = manifest.about.streams[0].image.clone();
    // On the disk of an input are no runs of keys, and its keys have no secret: whoever names some is passed over, or refused.
    image["key_runs"] = Value::Array(Vec::new());
    image["key_print"] = Value::Null;
    let image = image.to_string();
    [0, 5].map(|next_offset| {
        let pieces: [&[u8]; 5] = [&[next_offset], image.as_bytes(), &images[SPENDING], &batches, &frame];
        check_restores(pieces);
        (format!("from-{next_offset}"), joined(&pieces))
    })
}

/// What the fuzzer begins with comes from the checkpoint: one that is passed over leaves images and batches unread.
fn check_restores(pieces: [&[u8]; 5]) {
    let disk = written(pieces);
    let engine = engine(project(), Some(storage(&disk).expect("the data folder is free"))).expect("a sound project");
    let _steps = Steps::recover(&engine).expect("a seed is recovered");
    assert_eq!(engine.checkpoint_measures().last().epoch, 1, "the checkpoint of a seed is passed over");
}

fn check(pieces: [&[u8]; 5]) {
    let disk = written(pieces);
    if run(&disk).is_ok() {
        run(&disk).expect("what was recovered and ended can be recovered");
    }
}

/// A disk with these as its log and its checkpoint.
fn written([next_offset, image, images, batches, frame]: [&[u8]; 5]) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    write_log(&disk, frame).expect("a frame can be written");
    let next_offset = next_offset.first().copied().unwrap_or(0).into();
    let about = StreamAbout {
        name: CARD.to_owned(),
        partition: 0,
        next_offset,
        image: serde_json::from_slice(image).unwrap_or_default(),
    };
    write_checkpoint(&disk, about, images, batches).expect("a checkpoint can be written");
    disk
}

/// One frame of as many rows as it says.
fn write_log(disk: &SimulatedDisk, frame: &[u8]) -> Result<(), LogError> {
    let claim = Claim::take(disk.shared(), Path::new(DATA), TakeOver::Refuse)?;
    let settings = LogSettings { segment_bytes: 1, generation: claim.generation() };
    let (mut log, _) = PartitionLog::open(disk.shared(), &stream_folder(Path::new(DATA), CARD, 0), settings)?;
    let rows = StoredHead::decode(frame).map_or(1, |head| head.verdicts.len().max(1)) as u32;
    let arrived_us = 1_706_745_600_000_000;
    log.append(NewFrame { rows, arrived_us, dead: 0, newest_us: i64::MIN, body: frame })?;
    log.sync()
}

fn write_checkpoint(disk: &SimulatedDisk, about: StreamAbout, images: &[u8], batches: &[u8]) -> Result<(), StateError> {
    let mut writer = checkpoints(disk, 1).begin(1);
    let scope = |kind| PartScope { stream: CARD.to_owned(), partition: 0, kind };
    let view = &project().views[SPENDING];
    let fingerprint = ViewPlan::new(view.clone()).expect("a sound view").fingerprint();
    writer.put(scope(PartKind::View { name: view.name.clone(), fingerprint, is_base: true }), images.to_vec())?;
    writer.put(scope(PartKind::Batches), batches.to_vec())?;
    writer.finish(About { streams: vec![about], arrived_us: 0 }).map(drop)
}

/// A life of the project: recovered, with a batch taken in, and ended in order.
fn run(disk: &SimulatedDisk) -> Result<(), PipelineError> {
    let engine = engine(project(), Some(storage(disk)?))?;
    let mut steps = Steps::recover(&engine)?;
    send(&engine, &mut steps)?;
    steps.spill_keys()?;
    steps.finish()
}
