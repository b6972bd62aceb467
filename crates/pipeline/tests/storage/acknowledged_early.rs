//! `ack = 'os'`: answered before the sync, which begins within a second.

use asof_disk::SyncSite;
use asof_pipeline::Steps;

use crate::slow_disk::slow;
use crate::world::{BEGIN_US, PAYMENTS, SECOND_US, World, leave, payments, send, try_send};

fn early() -> String {
    PAYMENTS.replace("WITH (", "WITH (ack = 'os', ")
}

fn is_synced(world: &World) -> bool {
    world.disk.sites().contains(&SyncSite("log.group"))
}

#[test]
fn it_is_durable_a_second_later() {
    for seed in 0..20 {
        let world = World::new(seed);
        {
            let engine = world.engine(&early()).unwrap();
            let mut job = Steps::recover(&engine).unwrap();
            assert_eq!(send(&engine, &mut job, payments([1], BEGIN_US)), (1, 0));
            world.pass_us(SECOND_US / 2);
            job.commit().unwrap();
            assert!(!is_synced(&world), "the answer waits for no sync, and neither does half a second");
            world.pass_us(SECOND_US / 2);
            job.commit().unwrap();
            assert!(is_synced(&world));
        }
        world.disk.crash();
        world.live(&early(), |engine, job| assert_eq!(send(engine, job, payments([1], BEGIN_US)), (0, 1)));
    }
}

#[test]
fn a_clock_that_goes_back_does_not_put_it_off() {
    let world = World::new(1);
    let engine = world.engine(&early()).unwrap();
    let mut job = Steps::recover(&engine).unwrap();
    assert_eq!(send(&engine, &mut job, payments([1], BEGIN_US)), (1, 0));
    world.pass_us(-3_600 * SECOND_US);
    job.commit().unwrap();
    assert!(is_synced(&world));
}

#[test]
fn regression_the_sync_of_each_log_is_measured_by_itself() {
    let world = World::new(1);
    let sync_us = SECOND_US / 10;
    let disk = slow(world.disk.shared(), world.clock.clone(), sync_us);
    let two = format!("{}{}", early(), early().replace("payments", "refunds"));
    let engine = world.engine_on(disk, &two).unwrap();
    let mut job = Steps::recover(&engine).unwrap();
    for stream in [0, 1] {
        leave(&engine, stream, payments([1], BEGIN_US), None).unwrap();
    }
    job.commit().unwrap();
    world.pass_us(SECOND_US);
    job.commit().unwrap();
    let measured = engine.ingest_measures().log_sync.counts();
    assert_eq!((measured.up_to.last(), measured.sum_us), (Some(&2), 2 * sync_us as u64));
}

/// Who was answered before hears nothing; who comes next does.
#[test]
fn after_a_sync_that_failed_nothing_more_is_taken_in() {
    let world = World::new(1);
    let engine = world.engine(&early()).unwrap();
    let mut job = Steps::recover(&engine).unwrap();
    assert_eq!(send(&engine, &mut job, payments([1], BEGIN_US)), (1, 0));
    world.disk.fail_sync(1);
    world.pass_us(SECOND_US);
    job.commit().unwrap();
    let told = try_send(&engine, &mut job, payments([2], BEGIN_US), None).unwrap().unwrap_err();
    assert!(told.to_string().starts_with("the log of `payments` cannot be written"), "{told}");
}
