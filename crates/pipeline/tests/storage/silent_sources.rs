//! A union of two streams of which one is silent: by the system clock its watermark follows once it is idle, so that views
//! over the union let go of what nobody asks for, and so do the logs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use asof_definition::SourceFile;
use asof_log::TakeOver;
use asof_pipeline::{Clock, Engine, EngineSettings, Steps};

use crate::world::{BEGIN_US, SECOND_US, World, checkpoint, payment, segments, send};

const UNION: &str = "
CREATE STREAM payments (id BIGINT NOT NULL, shop BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND) WITH (retention = '15 seconds');
CREATE STREAM refunds (id BIGINT NOT NULL, shop BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND) WITH (idle_timeout = '5 minutes');
CREATE STREAM movements AS SELECT id, shop, ts FROM payments UNION ALL SELECT id, shop, ts FROM refunds;
CREATE FEATURE VIEW moved AS SELECT shop, count(*) OVER w AS n FROM movements
WINDOW w AS (PARTITION BY shop ORDER BY ts RANGE BETWEEN INTERVAL '10' SECOND PRECEDING AND CURRENT ROW);";
const MINUTE_US: i64 = 60 * SECOND_US;

fn engine(world: &World) -> Engine {
    let storage = world.storage(world.disk.shared(), TakeOver::Refuse).unwrap();
    let sources = [SourceFile { name: "project.sql".to_owned(), text: UNION.to_owned() }];
    let project = Arc::new(asof_definition::check(&sources).expect("a sound project"));
    let settings = EngineSettings { clock: Clock::System, as_of_horizon_us: 0, state_bytes_max: usize::MAX };
    let clock = world.clock.clone();
    Engine::with_storage(project, settings, Arc::new(move || clock.load(Ordering::Relaxed)), Some(storage)).unwrap()
}

/// A payment of a shop of its own each ten seconds, for so long.
fn pay_for(world: &World, engine: &Engine, job: &mut Steps<'_>, us: i64) {
    for _ in 0..us / (10 * SECOND_US) {
        let now_us = world.now_us();
        assert_eq!(send(engine, job, payment(now_us, now_us, now_us)), (1, 0));
        world.pass_us(10 * SECOND_US);
        checkpoint(job);
        job.keep_history().unwrap();
        engine.maintain().unwrap();
    }
}

#[test]
fn it_holds_nothing_once_it_is_idle() {
    let world = World::new(1);
    let engine = engine(&world);
    let mut job = Steps::recover(&engine).unwrap();
    pay_for(&world, &engine, &mut job, 4 * MINUTE_US);
    let (held, kept) = (engine.view_statistics(0).held.events, segments(&world).len());
    assert_eq!((held, engine.derived_statistics(0).watermark_us), (24, None), "a refund of any time may come");
    assert!(kept >= 24, "{kept} segments");
    pay_for(&world, &engine, &mut job, 2 * MINUTE_US);
    let followed = engine.derived_statistics(0).watermark_us;
    assert_eq!(followed, Some(BEGIN_US + 6 * MINUTE_US - 20 * SECOND_US), "the least: that of the payments");
    let (held, kept) = (engine.view_statistics(0).held.events, segments(&world).len());
    assert!(held < 6, "{held} events are held");
    assert!(kept < 8, "{kept} segments are kept");
}
