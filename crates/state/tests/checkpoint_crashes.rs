//! Checkpoints on a disk that crashes, fails and lies: at every operation, with every sync left out.
//!
//! A run takes checkpoints and prunes after each. Whatever happens, the newest whole checkpoint is then as new as the last one
//! that finished, and every byte of it is right: the content of a part follows from its name.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use asof_disk::simulated::{SimulatedDisk, Synced};
use asof_disk::{Disk, SyncSite};
use asof_state::{About, CheckpointStore, DiskStore, Manifest, Part, PartKind, PartScope, StateError};

const EPOCHS: u64 = 4;
const FOLDER: &str = "/project";

fn store(disk: &SimulatedDisk, generation: u64) -> CheckpointStore {
    CheckpointStore::new(Arc::new(DiskStore::new(disk.shared(), FOLDER)), generation)
}

fn scope(is_base: bool) -> PartScope {
    let kind = PartKind::View { name: "spending".to_owned(), fingerprint: 5, is_base };
    PartScope { stream: "card".to_owned(), partition: 0, kind }
}

/// What lies in the part that was put with this number in this epoch: more than a sector, and each of its own length.
fn content(generation: u64, epoch: u64, number: u64) -> Vec<u8> {
    let text = format!("generation {generation}, epoch {epoch}, number {number}; ");
    text.repeat(20 + (epoch + number) as usize).into_bytes()
}

/// A base in each odd epoch, otherwise what the epoch before had and one part more.
fn checkpoint(store: &CheckpointStore, generation: u64, epoch: u64, before: &[Part]) -> Result<Manifest, StateError> {
    let mut writer = store.begin(epoch);
    let is_base = epoch % 2 == 1;
    if !is_base {
        before.iter().for_each(|part| writer.keep(part.clone()));
    }
    for number in 0..2 {
        writer.put(scope(is_base), content(generation, epoch, number))?;
    }
    writer.finish(About { streams: Vec::new(), arrived_us: epoch as i64 })
}

/// Takes checkpoints up to the first error. Returns the epoch of the last one that finished.
fn run(disk: &SimulatedDisk, generation: u64, epochs: std::ops::RangeInclusive<u64>) -> u64 {
    let store = store(disk, generation);
    let mut finished = 0;
    let mut parts = Vec::new();
    for epoch in epochs {
        match checkpoint(&store, generation, epoch, &parts) {
            Ok(manifest) => (finished, parts) = (epoch, manifest.parts),
            Err(_) => return finished,
        }
        if store.prune(2).is_err() {
            return finished;
        }
    }
    finished
}

/// The epoch of the newest whole checkpoint, 0 for none, if it is not older than what finished and all of it can be read.
fn newest(disk: &SimulatedDisk, finished: u64) -> Result<u64, String> {
    let store = store(disk, 9);
    let opened = store.newest(&|_| true).map_err(|error| error.to_string())?;
    let epoch = opened.manifest.as_ref().map_or(0, |manifest| manifest.epoch);
    if epoch < finished {
        return Err(format!(
            "epoch {finished} finished, epoch {epoch} is there; passed over: {:?}",
            opened.passed_over
        ));
    }
    for part in opened.manifest.iter().flat_map(|manifest| &manifest.parts) {
        let bytes = store.read_part(part).map_err(|error| error.to_string())?;
        let mut pieces = part.path.trim_end_matches(".part").rsplit(['/', '-']);
        let mut number = || -> u64 { pieces.next().map_or(0, |piece| piece.parse().unwrap_or_default()) };
        let sequence = number();
        let (_view, _kind) = (number(), number());
        let (epoch, generation) = (number(), number());
        if bytes != content(generation, epoch, sequence) {
            return Err(format!("`{}` has another content", part.path));
        }
    }
    Ok(epoch)
}

fn operations_of_a_run() -> u64 {
    let disk = SimulatedDisk::new(0);
    assert_eq!(run(&disk, 1, 1..=EPOCHS), EPOCHS);
    disk.operations()
}

/// One crash, and the check after it.
fn crash(seed: u64, point: u64, ignored: Option<(SyncSite, Synced)>) -> Result<u64, String> {
    let disk = SimulatedDisk::new(seed);
    if let Some((site, synced)) = ignored {
        disk.ignore(site, synced);
    }
    disk.crash_at(point);
    let finished = run(&disk, 1, 1..=EPOCHS);
    disk.crash();
    newest(&disk, finished).map_err(|error| format!("seed {seed}, crash at operation {point}: {error}"))
}

#[test]
fn at_every_crash_the_newest_checkpoint_is_whole_and_not_older_than_the_last_finished_one() {
    let mut found = BTreeSet::new();
    for seed in 0..40 {
        for point in 0..=operations_of_a_run() {
            found.insert(crash(seed, point, None).unwrap_or_else(|error| panic!("{error}")));
        }
    }
    assert_eq!(found, (0..=EPOCHS).collect(), "crashes come before, between and after all checkpoints");
}

/// After a crash a writer of the next generation goes on, its checkpoints win, and nothing that none needs stays for ever.
#[test]
fn the_next_generation_goes_on_and_cleans_up() {
    for seed in 0..20 {
        for point in 0..operations_of_a_run() {
            let disk = SimulatedDisk::new(seed);
            disk.crash_at(point);
            run(&disk, 1, 1..=EPOCHS);
            // Every other time only the process ends: what it did not sync is visible, and not durable.
            if point % 2 == 0 {
                disk.crash()
            } else {
                disk.kill()
            }
            assert_eq!(run(&disk, 2, 5..=6), 6, "seed {seed}, point {point}");
            let manifest = store(&disk, 2).newest(&|_| true).unwrap().manifest.unwrap();
            assert_eq!((manifest.generation, manifest.epoch), (2, 6));
            // Two manifests; parts of epoch 5, which 6 keeps, and of 6.
            assert_eq!(disk.files().len(), 6, "seed {seed}, point {point}: {:?}", disk.files());
            disk.crash();
            newest(&disk, 6).unwrap_or_else(|error| panic!("seed {seed}, point {point}: {error}"));
        }
    }
}

/// Which syncs the store has, and that leaving any of them out loses a checkpoint: the test above would fail without it.
#[test]
fn leaving_out_any_sync_of_a_checkpoint_is_found() {
    let disk = SimulatedDisk::new(0);
    run(&disk, 1, 1..=EPOCHS);
    let sites = [
        (SyncSite("store.folder"), Synced::Folder),
        (SyncSite("store.object"), Synced::File),
        (SyncSite("store.object"), Synced::Folder),
    ];
    assert_eq!(disk.syncs(), sites, "each sync site of checkpoints is left out below");
    for site in sites {
        let mut crashes = (0..40).flat_map(|seed| (0..=operations_of_a_run()).map(move |point| (seed, point)));
        let lost = crashes.any(|(seed, point)| crash(seed, point, Some(site)).is_err());
        assert!(lost, "leaving out {site:?} loses nothing");
    }
}

/// A sync that fails fails its checkpoint; later ones are whole, and durable, nevertheless.
#[test]
fn after_a_failed_sync_later_checkpoints_are_durable() {
    let mut failed = 0;
    for seed in 0..30 {
        for nth in 1..40 {
            let disk = SimulatedDisk::new(seed);
            disk.make_folder(Path::new(FOLDER), SyncSite("test")).unwrap();
            disk.fail_sync(nth);
            let store = store(&disk, 1);
            let finished = (1..=EPOCHS).filter(|epoch| checkpoint(&store, 1, *epoch, &[]).is_ok()).collect::<Vec<_>>();
            failed += EPOCHS as usize - finished.len();
            disk.crash();
            newest(&disk, *finished.last().unwrap()).unwrap_or_else(|error| panic!("seed {seed}, sync {nth}: {error}"));
        }
    }
    assert!(failed > 100, "{failed}");
}

#[test]
fn a_full_disk_refuses_and_later_has_room_again() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    let first = checkpoint(&store, 1, 1, &[]).unwrap();
    disk.set_room(first.parts.iter().map(|part| part.bytes).sum::<u64>() + 1500);
    let error = checkpoint(&store, 1, 2, &[]).unwrap_err();
    assert!(error.is_full(), "{error}");
    assert!(error.to_string().starts_with("the object `checkpoints/"), "{error}");
    assert_eq!(newest(&disk, 1), Ok(1));
    disk.set_room(u64::MAX);
    checkpoint(&store, 1, 3, &[]).unwrap();
    store.prune(1).unwrap();
    assert_eq!((newest(&disk, 3), disk.files().len()), (Ok(3), 3), "{:?}", disk.files());
}
