//! Another writer is beginning a segment while this one opens its logs: it is waited for, and named if it does not end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use asof_pipeline::{Engine, Job, Phase, PipelineError, Stop, run};

use crate::refusing_disk::{Refusals, refusing};
use crate::world::{BEGIN_US, PAYMENTS, World, payments, send};

/// An engine that finds another writer beginning a segment so often.
fn engine(world: &World, beginnings: usize) -> (Engine, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(beginnings));
    let refusals = Refusals { beginnings: left.clone(), ..Refusals::default() };
    (world.engine_on(refusing(world.disk.shared(), &refusals), PAYMENTS).unwrap(), left)
}

fn run_until(engine: &Engine, stop: &Stop) -> Result<(), PipelineError> {
    let lower_priority = || ();
    let job = Job {
        folder: PathBuf::new(),
        until_us: None,
        waiting_bytes_max: 1 << 20,
        threads: 1,
        kafka: None,
        lower_priority,
    };
    run(engine, &job, stop)
}

#[test]
fn one_that_comes_to_its_end_is_waited_for() {
    let world = World::new(1);
    world.live(PAYMENTS, |engine, job| assert_eq!(send(engine, job, payments(1..4, BEGIN_US)), (3, 0)));
    let (engine, left) = engine(&world, 3);
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run_until(&engine, &stop));
        while engine.phase() != Phase::Live && !running.is_finished() {
            std::thread::yield_now();
        }
        stop.ask();
        running.join().unwrap().unwrap();
    });
    assert_eq!(left.load(Ordering::Relaxed), 0);
    assert_eq!(engine.published().rows, 3);
}

#[test]
fn one_that_hangs_is_named_after_a_while() {
    let (engine, left) = engine(&World::new(1), 1_000);
    let told = run_until(&engine, &Stop::default()).unwrap_err().to_string();
    assert_eq!(
        told,
        "another process holds `/data/log/payments/0/beginning`, and lets go of it within a moment unless it hangs: wait, \
         or end it for good (`fuser /data/log/payments/0/beginning` names it, `kill -9` ends it), and start again"
    );
    assert_eq!(1_000 - left.load(Ordering::Relaxed), 31, "three seconds, ten times a second");
}

#[test]
fn a_stop_ends_the_wait() {
    let (engine, left) = engine(&World::new(1), 1_000);
    let stop = Stop::default();
    stop.ask();
    run_until(&engine, &stop).unwrap();
    assert_eq!(left.load(Ordering::Relaxed), 999);
}
