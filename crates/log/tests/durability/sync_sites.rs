//! Each sync is there because something is lost without it.

use std::collections::BTreeSet;

use asof_disk::SyncSite;
use asof_disk::simulated::{SimulatedDisk, Synced};
use asof_log::SYNC_SITES;

use crate::retention::overtaken_segments_come_back;
use crate::story::{Chance, End, Model};

const SEEDS_MAX: u64 = 3000;

/// Lives that end in power cuts and kills, with one sync ignored. Returns the promise that was broken.
fn broken_promise(seed: u64, ignored: (SyncSite, Synced)) -> Option<String> {
    let disk = SimulatedDisk::new(seed);
    disk.ignore(ignored.0, ignored.1);
    // Not the chances of the disk, which has the same generator.
    let mut chance = Chance(!seed);
    let mut model = Model::default();
    for _ in 0..6 {
        if chance.below(2) == 0 {
            disk.crash_at(disk.operations() + chance.below(60));
        }
        let groups = chance.below(8) as usize;
        if let Err(End::Broken(promise)) = model.live(&disk, &mut chance, groups) {
            return Some(promise);
        }
        if chance.below(3) == 0 { disk.kill() } else { disk.crash() }
    }
    None
}

/// What this crate syncs: each site with what it syncs.
fn syncs() -> BTreeSet<(SyncSite, Synced)> {
    let mut syncs = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimulatedDisk::new(seed);
        // Not the chances of the disk, which has the same generator.
        let mut chance = Chance(!seed);
        let mut model = Model::default();
        for _ in 0..4 {
            if let Err(End::Broken(promise)) = model.live(&disk, &mut chance, 8) {
                panic!("seed {seed}: {promise}");
            }
            disk.kill();
        }
        syncs.extend(disk.syncs());
    }
    syncs
}

fn is_overtaken((site, _): &(SyncSite, Synced)) -> bool {
    site.0 == "log.overtaken"
}

#[test]
fn every_sync_that_is_left_out_loses_something() {
    for ignored in syncs() {
        let broken = (0..SEEDS_MAX).find_map(|seed| broken_promise(seed, ignored).map(|promise| (seed, promise)));
        let (seed, promise) = broken.unwrap_or_else(|| panic!("{ignored:?} was left out, and nothing was lost"));
        println!("{ignored:?}: seed {seed}: {promise}");
    }
}

#[test]
fn without_its_sync_a_segment_that_was_overtaken_comes_back() {
    let site = *SYNC_SITES.iter().find(|site| site.0 == "log.overtaken").unwrap();
    let comes_back = |seed, ignored| (0..60).any(|point| overtaken_segments_come_back(seed, point, ignored));
    let broken = |ignored: Option<SyncSite>| (0..100).any(|seed| comes_back(seed, ignored));
    assert!(broken(Some(site)), "left out, and nothing came back");
    assert!(!broken(None));
}

#[test]
fn every_site_of_this_crate_has_a_test_here() {
    let mut tested: BTreeSet<SyncSite> =
        syncs().into_iter().filter(|sync| !is_overtaken(sync)).map(|(site, _)| site).collect();
    tested.insert(SyncSite("log.overtaken"));
    assert_eq!(tested, BTreeSet::from(SYNC_SITES));
}
