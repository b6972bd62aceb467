//! The generation cannot be read for a while: nothing is acknowledged that another writer may not have seen, and nothing is
//! lost or counted twice.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use asof_log::{LogSettings, PartitionLog, TakeOver};
use asof_pipeline::{Engine, IngestError, Steps};

use crate::refusing_disk::{Refusals, refusing};
use crate::world::{BEGIN_US, PAYMENTS, SECOND_US, World, payments, send, send_last, try_send};

/// Without a primary key: repeats are known by the names of their batches.
fn named() -> String {
    PAYMENTS.replace("PRIMARY KEY (id),", "").replace("dedup_horizon = '1 day', ", "")
}

fn engine(world: &World, sql: &str) -> (Engine, Arc<AtomicBool>) {
    let refusals = Refusals::default();
    (world.engine_on(refusing(world.disk.shared(), &refusals), sql).unwrap(), refusals.of_generation)
}

/// How many events reads see.
fn seen(engine: &Engine) -> u64 {
    engine.published().rows
}

/// How many batches were refused, by reason.
fn refused(engine: &Engine) -> Vec<(&'static str, u64)> {
    engine.ingest_measures().refused.counts().filter(|(_, count)| *count > 0).collect()
}

/// Sends a batch while the generation cannot be read.
fn hold_back(engine: &Engine, job: &mut Steps<'_>, refuses: &AtomicBool) {
    refuses.store(true, Ordering::Relaxed);
    let told = try_send(engine, job, payments(1..4, BEGIN_US), Some("first")).unwrap().unwrap_err();
    assert!(matches!(told, IngestError::NotSettled { .. }), "{told:?}");
    assert_eq!(
        told.to_string(),
        "it is not known whether another writer has taken over the data folder: `/data/generation`: too many open files; \
         the batch may be stored"
    );
    assert_eq!(seen(engine), 0);
    assert_eq!(refused(engine), [("generation", 1)]);
}

#[test]
fn the_group_is_seen_once_it_is_known_whose_the_folder_is() {
    for sql in [PAYMENTS.to_owned(), named()] {
        let world = World::new(1);
        let (engine, refuses) = engine(&world, &sql);
        let mut job = Steps::recover(&engine).unwrap();
        hold_back(&engine, &mut job, &refuses);
        // Others, and the same again, are not looked at meanwhile.
        for (ids, name) in [(4..6, "second"), (1..4, "first")] {
            let told = try_send(&engine, &mut job, payments(ids, BEGIN_US), Some(name)).unwrap().unwrap_err();
            assert_eq!(told, IngestError::BehindNotSettled);
        }
        assert_eq!(seen(&engine), 0);
        assert_eq!(refused(&engine), [("generation", 3)]);
        refuses.store(false, Ordering::Relaxed);
        let again = try_send(&engine, &mut job, payments(1..4, BEGIN_US), Some("first")).unwrap().unwrap();
        // A name says how it was the first time, whether there is a key or not.
        assert_eq!((again.accepted, again.is_repeat), (3, true));
        assert_eq!(seen(&engine), 3);
        let second = try_send(&engine, &mut job, payments(4..6, BEGIN_US), Some("second")).unwrap().unwrap();
        assert_eq!((second.accepted, second.is_repeat), (2, false));
        job.finish().unwrap();
        drop(engine);
        world.live(&sql, |engine, job| {
            assert_eq!(seen(engine), 5);
            let again = try_send(engine, job, payments(1..4, BEGIN_US), Some("first")).unwrap().unwrap();
            assert_eq!((again.accepted, again.is_repeat), (3, true));
        });
    }
}

#[test]
fn it_is_seen_though_nobody_sends_anything() {
    let world = World::new(1);
    let (engine, refuses) = engine(&world, PAYMENTS);
    let mut job = Steps::recover(&engine).unwrap();
    hold_back(&engine, &mut job, &refuses);
    job.commit().unwrap();
    assert_eq!(seen(&engine), 0);
    refuses.store(false, Ordering::Relaxed);
    job.commit().unwrap();
    assert_eq!(seen(&engine), 3);
    assert_eq!(send(&engine, &mut job, payments(1..5, BEGIN_US)), (1, 3));
}

/// A checkpoint of now would have keys that no view has.
#[test]
fn no_checkpoint_is_cut_meanwhile() {
    let world = World::new(1);
    let (engine, refuses) = engine(&world, PAYMENTS);
    let mut job = Steps::recover(&engine).unwrap();
    hold_back(&engine, &mut job, &refuses);
    refuses.store(false, Ordering::Relaxed);
    assert!(!job.checkpoint().unwrap());
    assert!(world.disk.files().iter().all(|path| !path.starts_with("/data/checkpoints")));
    job.commit().unwrap();
    assert!(job.checkpoint().unwrap());
}

#[test]
fn an_end_meanwhile_loses_nothing() {
    for is_crash in [false, true] {
        let world = World::new(1);
        {
            let (engine, refuses) = engine(&world, PAYMENTS);
            let mut job = Steps::recover(&engine).unwrap();
            hold_back(&engine, &mut job, &refuses);
        }
        if is_crash {
            world.disk.crash()
        } else {
            world.disk.kill()
        }
        world.live(PAYMENTS, |engine, job| {
            assert_eq!(seen(engine), 3);
            assert_eq!(send(engine, job, payments(1..4, BEGIN_US + SECOND_US)), (0, 3));
        });
    }
}

/// Another writer has taken over meanwhile: it has the group, and this one never shows it.
#[test]
fn whoever_has_been_taken_over_ends() {
    let world = World::new(1);
    let (engine, refuses) = engine(&world, PAYMENTS);
    let mut job = Steps::recover(&engine).unwrap();
    hold_back(&engine, &mut job, &refuses);
    let _new = world.storage(world.disk.shared(), TakeOver::TakeOver).unwrap();
    refuses.store(false, Ordering::Relaxed);
    let ended = job.commit().unwrap_err().to_string();
    assert!(ended.starts_with("generation 2 has taken over `/data`"), "{ended}");
    let (told, ended) = send_last(&engine, &mut job, payments(1..4, BEGIN_US));
    assert!(ended.to_string().starts_with("generation 2 has taken over `/data`"), "{ended}");
    assert_eq!(told, IngestError::TakenOver);
    assert_eq!(seen(&engine), 0);
}

/// The one that took over has begun a segment: there is no room in this one's log, and the reason is not the disk.
#[test]
fn regression_whoever_finds_no_room_behind_another_writer_is_told_of_it() {
    let world = World::new(1);
    let engine = world.engine(PAYMENTS).unwrap();
    let mut job = Steps::recover(&engine).unwrap();
    assert_eq!(send(&engine, &mut job, payments(1..4, BEGIN_US)), (3, 0));
    let new = world.storage(world.disk.shared(), TakeOver::TakeOver).unwrap();
    let settings = LogSettings { segment_bytes: 1, generation: new.generation() };
    let _log = PartitionLog::open(world.disk.shared(), Path::new("/data/log/payments/0"), settings).unwrap();
    let (told, ended) = send_last(&engine, &mut job, payments(4..7, BEGIN_US));
    assert!(ended.to_string().starts_with("generation 2 has taken over `/data`"), "{ended}");
    assert_eq!(told, IngestError::TakenOver);
    assert_eq!(seen(&engine), 3);
}

/// A generation that is not what was written says nothing of another writer.
#[test]
fn a_damaged_generation_ends_the_job_by_its_own_name() {
    for is_held_back in [false, true] {
        let world = World::new(1);
        let (engine, refuses) = engine(&world, PAYMENTS);
        let mut job = Steps::recover(&engine).unwrap();
        if is_held_back {
            hold_back(&engine, &mut job, &refuses);
            refuses.store(false, Ordering::Relaxed);
        }
        world.disk.flip(Path::new("/data/generation"), 20).unwrap();
        let (told, ended) = send_last(&engine, &mut job, payments(4..6, BEGIN_US));
        let damage = "`/data/generation` is damaged at byte 0 (offset 0): the generation does not match its checksum; \
                      restore the file from a copy";
        assert_eq!(ended.to_string(), damage);
        assert_eq!(told.to_string(), format!("it cannot be told any more whose the data folder is: {damage}"));
        assert_eq!(seen(&engine), 0);
        assert_eq!(refused(&engine).first(), Some(&("broken", 1)));
    }
}
