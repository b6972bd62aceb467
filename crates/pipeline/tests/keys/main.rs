//! Primary keys beyond memory: the verdicts of an engine whose judge may hold a hundred keys are those of a model that
//! remembers everything, whatever becomes of the process and of the disk in between.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod model;
mod world;

use asof_disk::SyncSite;
use asof_disk::simulated::Synced;

use crate::world::{Plan, run};

/// So many by default; more by the environment variable `ASOF_KEYS_SEEDS`.
const SEEDS: u64 = 60;

fn seeds() -> u64 {
    std::env::var("ASOF_KEYS_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap())
}

#[test]
fn verdicts_are_those_of_a_model_that_remembers_everything() {
    let plan = Plan { turns: 250, ..Plan::default() };
    let (mut duplicates, mut late, mut refused, mut runs_max) = (0, 0, 0, 0);
    for seed in 0..seeds() {
        let seen = run(seed, plan).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        duplicates += seen.counts.duplicate;
        late += seen.counts.late;
        refused += seen.refused;
        runs_max = runs_max.max(seen.runs_max);
    }
    println!("{duplicates} duplicates, {late} late, {refused} refusals for keys, up to {runs_max} runs");
    // Merging begins at seventeen.
    assert!(duplicates > 1_000 && late > 1_000 && refused > 10 && runs_max > 20);
}

#[test]
fn a_crash_at_any_operation_loses_and_invents_no_key() {
    for seed in 1_000..1_002 {
        let plan = Plan { turns: 60, ..Plan::default() };
        let operations = run(seed, plan).unwrap_or_else(|error| panic!("seed {seed}: {error}")).operations;
        assert!(operations > 100, "{operations}");
        for point in 0..operations {
            let plan = Plan { crash_at: Some(point), ..plan };
            run(seed, plan).unwrap_or_else(|error| panic!("seed {seed}, crash at {point}: {error}"));
        }
    }
}

#[test]
fn leaving_out_any_sync_of_keys_is_found() {
    let plan = Plan { turns: 250, ..Plan::default() };
    let sites = [
        (SyncSite("keys.folder"), Synced::Folder),
        (SyncSite("keys.name"), Synced::Folder),
        (SyncSite("keys.run"), Synced::File),
    ];
    let seen = run(0, plan).unwrap().syncs;
    let of_keys: Vec<_> = seen.into_iter().filter(|(site, _)| site.0.starts_with("keys.")).collect();
    assert_eq!(of_keys, sites, "each sync site of keys is left out below");
    for site in sites {
        let plan = Plan { ignored: Some(site), ..plan };
        let violation = (0..200).find_map(|seed| run(seed, plan).err().map(|error| (seed, error)));
        println!("{site:?}: {:?}", violation.as_ref().unwrap_or_else(|| panic!("leaving out {site:?} loses nothing")));
    }
}
