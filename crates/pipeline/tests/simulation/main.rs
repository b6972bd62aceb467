//! The shipped pipeline in a simulated world: clock, disk, crashes, producers and the order of all steps come from a seed.
//!
//! ```text
//!   chance ─▶ world ─▶ steps of asof_pipeline, on a simulated disk
//!               ├─ producers, batch, event      what is sent, in which form, arriving how
//!               ├─ model, windows               what must be true of it
//!               └─ stored                       what is on the disk
//! ```
//! `ASOF_SIMULATION_SEEDS` says how many seeds are run, `ASOF_SIMULATION_SEED` runs one and prints what happens.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![allow(clippy::print_stdout, reason = "a seed that was asked for tells what happens")]

mod batch;
mod chance;
mod event;
mod hooked_disk;
mod model;
mod producers;
mod project;
mod stored;
mod sync_sites;
mod trace;
mod windows;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use asof_disk::SyncSite;
use asof_disk::simulated::Synced;

use crate::world::World;

const SEEDS: u64 = 3_000;

/// How a seed went.
pub(crate) struct Run {
    pub(crate) violation: Option<String>,
    pub(crate) digest: u64,
    pub(crate) syncs: Vec<(SyncSite, Synced)>,
    /// How many batches came too late for sessions.
    pub(crate) out_of_reach: u64,
}

/// Runs a seed, perhaps on a disk that ignores some sync.
pub(crate) fn run(seed: u64, ignored: Option<(SyncSite, Synced)>, is_told: bool) -> Run {
    let mut world = World::new(seed, is_told);
    if let Some((site, synced)) = ignored {
        world.disk.ignore(site, synced);
    }
    let violation = match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(ran) => ran.err(),
        Err(_) => Some("a panic".to_owned()),
    };
    let operations = world.disk.operations();
    world.trace.add(|| format!("{operations} operations"));
    let (digest, syncs) = (world.trace.digest(), world.disk.syncs());
    Run { violation, digest, syncs, out_of_reach: world.out_of_reach }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn nothing_that_was_acknowledged_is_lost_or_doubled() {
    if let Some(seed) = number("ASOF_SIMULATION_SEED") {
        let run = run(seed, None, true);
        assert_eq!(run.violation, None, "seed {seed}");
        return;
    }
    for seed in 0..number("ASOF_SIMULATION_SEEDS").unwrap_or(SEEDS) {
        if let Some(violation) = run(seed, None, false).violation {
            panic!("seed {seed}: {violation}\nrun it again with ASOF_SIMULATION_SEED={seed}");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..30 {
        assert_eq!(run(seed, None, false).digest, run(seed, None, false).digest, "seed {seed}");
    }
}

#[test]
fn histories_come_too_late_for_sessions_now_and_then() {
    // Those whose project has sessions.
    let refused: u64 = (5..200).step_by(8).map(|seed| run(seed, None, false).out_of_reach).sum();
    assert!(refused > 20, "only {refused} batches were out of reach");
}
