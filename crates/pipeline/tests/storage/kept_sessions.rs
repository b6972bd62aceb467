//! How long sessions are kept that something may still join: while a group is held back whose history was held against them,
//! and while a log comes again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use asof_definition::SourceFile;
use asof_disk::Disk;
use asof_disk::hooked::{HookedDisk, Operation};
use asof_log::TakeOver;
use asof_pipeline::{Clock, Engine, EngineSettings, IngestError, Manner, Steps};

use crate::refusing_disk::{Refusals, refusing};
use crate::world::{BEGIN_US, SECOND_US, World, payment, send, send_as};

const MINUTE_US: i64 = 60 * SECOND_US;

/// The visit of a shop that is open.
fn visits(lateness_seconds: i64, gap_seconds: i64) -> String {
    format!(
        "CREATE STREAM payments (id BIGINT NOT NULL, shop BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '{lateness_seconds}' SECOND);
CREATE FEATURE VIEW visits AS SELECT shop, count(*) AS n
FROM TABLE(SESSION(TABLE payments PARTITION BY shop, DESCRIPTOR(ts), INTERVAL '{gap_seconds}' SECOND))
GROUP BY shop, window_start, window_end;"
    )
}

/// An engine whose idle streams follow the clock.
fn engine(world: &World, disk: Arc<dyn Disk>, sql: String, as_of_horizon_us: i64) -> Engine {
    let storage = world.storage(disk, TakeOver::Refuse).unwrap();
    let sources = [SourceFile { name: "project.sql".to_owned(), text: sql }];
    let project = Arc::new(asof_definition::check(&sources).expect("a sound project"));
    let settings = EngineSettings { clock: Clock::System, as_of_horizon_us, state_bytes_max: usize::MAX };
    let clock = world.clock.clone();
    Engine::with_storage(project, settings, Arc::new(move || clock.load(Ordering::Relaxed)), Some(storage)).unwrap()
}

/// How many events the open visit of shop 7 has.
fn visit(engine: &Engine, as_of_us: i64) -> i64 {
    let key: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let answers = engine.reading().view(0, &[key], 1, as_of_us).unwrap();
    answers.features[0].as_primitive::<Int64Type>().value(0)
}

/// The watermark follows the clock meanwhile, and with it what reads may still ask for.
#[test]
fn regression_no_session_goes_while_a_history_is_held_back_that_joins_it() {
    let (world, refusals) = (World::new(1), Refusals::default());
    let engine = engine(&world, refusing(world.disk.shared(), &refusals), visits(10, 3_600), 60 * MINUTE_US);
    let mut job = Steps::recover(&engine).unwrap();
    let minute = |minute: i64| BEGIN_US + minute * MINUTE_US;
    send(&engine, &mut job, payment(1, 7, minute(0)));
    world.pass_us(110 * MINUTE_US);
    send(&engine, &mut job, payment(2, 7, minute(110)));
    assert_eq!(visit(&engine, minute(110)), 1);
    refusals.of_generation.store(true, Ordering::Relaxed);
    let history = Manner::History { arrived: None };
    let told = send_as(&engine, &mut job, payment(3, 7, minute(55)), history).unwrap_err();
    assert!(matches!(told, IngestError::NotSettled { .. }), "{told:?}");
    world.pass_us(30 * MINUTE_US);
    engine.maintain().unwrap();
    assert_eq!(engine.published().streams[0].watermark_us, Some(minute(140) - 10 * SECOND_US));
    assert_eq!(engine.view_statistics(0).held.events, 2);
    refusals.of_generation.store(false, Ordering::Relaxed);
    job.commit().unwrap();
    assert_eq!(visit(&engine, minute(140)), 3);
    // What is not held back is let go of again.
    world.pass_us(300 * MINUTE_US);
    send(&engine, &mut job, payment(4, 7, world.now_us()));
    engine.maintain().unwrap();
    assert_eq!(engine.view_statistics(0).held.events, 1);
}

const SHOPS: i64 = 1_000;

/// Payments of all shops at one time but of those that are left out.
fn of_all_shops(time_us: i64, left_out: &[i64]) -> String {
    let shops = (0..SHOPS).filter(|shop| !left_out.contains(shop));
    shops.map(|shop| payment(time_us - BEGIN_US + shop, shop, time_us)).collect()
}

/// A disk that notes the most that an engine holds whenever something is read.
fn watched(disk: Arc<dyn Disk>, engine: &Arc<OnceLock<Weak<Engine>>>, most: &Arc<AtomicUsize>) -> Arc<dyn Disk> {
    let (engine, most) = (engine.clone(), most.clone());
    Arc::new(HookedDisk::new(disk, move |operation| {
        if let (Operation::Read, Some(engine)) = (operation, engine.get().and_then(Weak::upgrade)) {
            most.fetch_max(engine.held_bytes(), Ordering::Relaxed);
        }
        Ok(())
    }))
}

/// 200 visits of each shop, of which a few are held at a time.
#[test]
fn regression_recovery_lets_go_of_sessions_as_life_did() {
    let world = World::new(1);
    let first = engine(&world, world.disk.shared(), visits(10, 10), 0);
    let mut job = Steps::recover(&first).unwrap();
    let mut most_in_life = 0;
    for _ in 0..200 {
        send(&first, &mut job, of_all_shops(world.now_us(), &[]));
        world.pass_us(MINUTE_US);
        most_in_life = most_in_life.max(first.held_bytes());
    }
    drop(job);
    drop(first);
    world.disk.kill();
    let (place, most) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
    let second = Arc::new(engine(&world, watched(world.disk.shared(), &place, &most), visits(10, 10), 0));
    place.set(Arc::downgrade(&second)).unwrap();
    let job = Steps::recover(&second).unwrap();
    let most = most.load(Ordering::Relaxed);
    assert!(most > 0 && most <= 2 * most_in_life, "{most} bytes, {most_in_life} in life");
    assert_eq!(visit(&second, world.now_us() - MINUTE_US), 1);
    drop(job);
}

/// The link that is missing comes behind more events than recovery brings at a time, and would be late by the lateness of now.
#[test]
fn a_lateness_that_was_longer_joins_what_it_joined() {
    let world = World::new(1);
    let second = |second: i64| BEGIN_US + second * SECOND_US;
    let first = engine(&world, world.disk.shared(), visits(600, 2), 0);
    let mut job = Steps::recover(&first).unwrap();
    for at in 0..140 {
        let left_out: &[i64] = if [5, 6].contains(&at) { &[7] } else { &[] };
        send(&first, &mut job, of_all_shops(second(at), left_out));
        world.pass_us(SECOND_US);
    }
    assert_eq!(visit(&first, second(139)), 133);
    send(&first, &mut job, payment(-1, 7, second(5)));
    assert_eq!(visit(&first, second(139)), 139);
    drop(job);
    drop(first);
    world.disk.kill();
    let second_life = engine(&world, world.disk.shared(), visits(1, 2), 0);
    let _job = Steps::recover(&second_life).unwrap();
    assert_eq!(visit(&second_life, second(139)), 139);
}
