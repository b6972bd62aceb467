//! Runs of keys from outside: against a map as the model, on a disk that crashes, with damage, and at size.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use asof_disk::simulated::{SimulatedDisk, Synced};
use asof_disk::{Disk, FolderDisk, SyncSite, read_whole, write_whole};
use asof_state::{KeyEntry, KeyRuns, StateError};
use proptest::prelude::*;
use twox_hash::XxHash3_128;

const SITE: SyncSite = SyncSite("test");
const FOLDER: &str = "/keys/card/0";

fn hash(number: u64) -> u128 {
    XxHash3_128::oneshot_with_seed(5, &number.to_le_bytes())
}

fn entry(number: u64, time_us: i64) -> KeyEntry {
    KeyEntry { hash: hash(number), time_us }
}

fn open(disk: &SimulatedDisk, names: &[String]) -> Result<KeyRuns, StateError> {
    KeyRuns::open(disk.shared(), Path::new(FOLDER), names)
}

fn merge(runs: &mut KeyRuns) -> Option<Vec<String>> {
    let merge = runs.begin_merge()?;
    Some(runs.adopt(merge.run().expect("the runs are whole")))
}

/// What a lookup gives for each hash, as the model says it.
fn expected(model: &HashMap<u128, BTreeSet<i64>>, hashes: &[u128]) -> Vec<(usize, i64)> {
    let of = |(number, hash)| model.get(hash).into_iter().flatten().map(move |time| (number, *time));
    hashes.iter().enumerate().flat_map(of).collect()
}

/// What may happen to runs.
#[derive(Debug, Clone)]
enum Step {
    Add(Vec<(u64, i64)>),
    Forget(i64),
    Merge,
    Reopen,
}

fn added(times_us: std::ops::Range<i64>, entries_max: usize) -> impl Strategy<Value = Vec<(u64, i64)>> {
    prop::collection::vec((0..400u64, times_us), 0..entries_max)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => added(0..1000, 600).prop_map(Step::Add),
        // Runs differ in age only if their events do.
        6 => (0..10i64).prop_flat_map(|age| added(100 * age..100 * age + 100, 60)).prop_map(Step::Add),
        1 => (0..1000i64).prop_map(Step::Forget),
        2 => Just(Step::Merge),
        2 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every entry that was added is found until it is forgotten; nothing is found that was not added.
    #[test]
    fn equals_the_model(steps in steps(), is_clustered: bool) {
        let disk = SimulatedDisk::new(1);
        let mut runs = open(&disk, &[]).unwrap();
        let mut model: HashMap<u128, BTreeSet<i64>> = HashMap::new();
        let mut forgotten = i64::MIN;
        // Clustered: all in one place of the index and of the filter, where false positives abound.
        let hash = |number: u64| if is_clustered { (7 << 64) | u128::from(number) } else { hash(number) };
        for step in steps {
            match step {
                Step::Add(added) => {
                    let mut entries: Vec<KeyEntry> =
                        added.iter().map(|(number, time_us)| KeyEntry { hash: hash(*number), time_us: *time_us }).collect();
                    runs.add(&mut entries).unwrap();
                    entries.iter().for_each(|entry| model.entry(entry.hash).or_default().extend([entry.time_us]));
                }
                Step::Forget(before_us) => {
                    forgotten = forgotten.max(before_us);
                    runs.forget(before_us);
                    runs.remove_unnamed(&[]).unwrap();
                }
                Step::Merge => drop(merge(&mut runs)),
                Step::Reopen => runs = open(&disk, &runs.names()).unwrap(),
            }
            let hashes: Vec<u128> = (0..450).rev().map(hash).collect();
            let found = runs.look_up(&hashes).unwrap();
            let all = expected(&model, &hashes);
            prop_assert!(found.iter().all(|pair| all.binary_search(pair).is_ok()), "something that was never added");
            let needed = all.iter().filter(|(_, time)| *time >= forgotten);
            prop_assert!(needed.copied().all(|pair| found.binary_search(&pair).is_ok()), "something is not found");
        }
    }
}

#[test]
fn runs_whose_events_are_all_old_go() {
    let disk = SimulatedDisk::new(1);
    let mut runs = open(&disk, &[]).unwrap();
    for age in 0..3 {
        runs.add(&mut [entry(age, 10 * age as i64), entry(age + 10, 10 * age as i64 + 9)]).unwrap();
    }
    let names = runs.names();
    assert_eq!(runs.forget(9), Vec::<String>::new(), "an event at the bound is needed");
    assert_eq!(runs.forget(10), names[..1]);
    assert_eq!((runs.keys(), runs.names()), (4, names[1..].to_vec()));
    assert_eq!(runs.look_up(&[hash(0), hash(1), hash(11)]).unwrap(), [(1, 10), (2, 19)]);
    assert_eq!(runs.remove_unnamed(&names[..1]).unwrap(), 0, "a checkpoint names it");
    assert_eq!(disk.files().len(), 3);
    assert_eq!(runs.remove_unnamed(&[]).unwrap(), 1);
    assert_eq!(disk.files().len(), 2);
    assert_eq!(open(&disk, &names[1..]).unwrap().keys(), 4);
}

#[test]
fn many_runs_become_few_and_lose_what_was_forgotten() {
    let disk = SimulatedDisk::new(1);
    let mut runs = open(&disk, &[]).unwrap();
    for run in 0..16u64 {
        runs.add(&mut (0..1000).map(|number| entry(1000 * run + number, number as i64)).collect::<Vec<_>>()).unwrap();
    }
    assert!(runs.begin_merge().is_none(), "sixteen are few enough");
    runs.add(&mut [entry(5, 5), entry(5, 2000), entry(77_777, 3)]).unwrap();
    assert_eq!(runs.forget(500), Vec::<String>::new());
    let gone = merge(&mut runs).unwrap();
    assert_eq!((gone.len(), runs.names().len()), (9, 9));
    assert_eq!(runs.keys(), 8 * 1000 + 8 * 500 + 1, "the smaller half lost what was forgotten");
    assert_eq!(runs.remove_unnamed(&gone).unwrap(), 0);
    assert_eq!(runs.remove_unnamed(&[]).unwrap(), 9);
    let found = runs.look_up(&(0..16_000).map(hash).collect::<Vec<_>>()).unwrap();
    for number in 0..16_000usize {
        let is_found = found.binary_search(&(number, (number % 1000) as i64)).is_ok();
        assert!(is_found || number % 1000 < 500, "{number}");
    }
    assert!(found.contains(&(5, 2000)));
}

/// A merge runs beside everything else: keys added meanwhile stay, runs forgotten meanwhile stay away, its file is not removed.
#[test]
fn a_merge_runs_beside_the_rest() {
    let disk = SimulatedDisk::new(1);
    let mut runs = open(&disk, &[]).unwrap();
    for run in 0..17 {
        runs.add(&mut [entry(run, run as i64)]).unwrap();
    }
    let merge = runs.begin_merge().unwrap();
    let merged = std::thread::scope(|threads| threads.spawn(|| merge.run().unwrap()).join().unwrap());
    runs.add(&mut [entry(99, 99)]).unwrap();
    assert_eq!(runs.remove_unnamed(&[]).unwrap(), 0, "all are in use, and the new one is not anybody's yet");
    runs.forget(50);
    runs.adopt(merged);
    assert_eq!((runs.keys(), runs.names().len()), (1, 1));
    assert_eq!(runs.look_up(&[hash(3), hash(99)]).unwrap(), [(1, 99)]);
    assert_eq!(runs.remove_unnamed(&[]).unwrap(), 18);
}

/// Whatever a run left behind, numbers are not used again: a checkpoint may name what has them.
#[test]
fn two_writers_give_different_keys_different_names() {
    let disk = SimulatedDisk::new(1);
    let (mut one, mut other) = (open(&disk, &[]).unwrap(), open(&disk, &[]).unwrap());
    one.add(&mut [entry(1, 1)]).unwrap();
    other.add(&mut [entry(2, 2)]).unwrap();
    assert_ne!(one.names(), other.names());
    let mut both = open(&disk, &[one.names(), other.names()].concat()).unwrap();
    both.add(&mut [entry(3, 3)]).unwrap();
    assert!(both.names()[2].starts_with("0000000001-"), "{:?}", both.names());
    assert_eq!(both.look_up(&[hash(1), hash(2), hash(3)]).unwrap(), [(0, 1), (1, 2), (2, 3)]);
}

/// Adds runs up to a crash. Returns the names after the last addition that went well, and how many keys there were.
fn add_until_the_crash(disk: &SimulatedDisk) -> (Vec<String>, u64) {
    let mut done = (Vec::new(), 0);
    let Ok(mut runs) = open(disk, &[]) else { return done };
    for run in 0..4 {
        if runs.add(&mut (0..300).map(|number| entry(1000 * run + number, 7)).collect::<Vec<_>>()).is_err() {
            return done;
        }
        done = (runs.names(), runs.keys());
    }
    done
}

/// Every key of the runs that were named is there after a crash at this operation.
fn crash(seed: u64, point: u64, ignored: Option<(SyncSite, Synced)>) -> Result<u64, String> {
    let disk = SimulatedDisk::new(seed);
    if let Some((site, synced)) = ignored {
        disk.ignore(site, synced);
    }
    disk.crash_at(point);
    let (names, keys) = add_until_the_crash(&disk);
    disk.crash();
    let runs = open(&disk, &names).map_err(|error| error.to_string())?;
    let hashes: Vec<u128> = (0..keys).map(|number| hash(1000 * (number / 300) + number % 300)).collect();
    let found = runs.look_up(&hashes).map_err(|error| error.to_string())?;
    runs.remove_unnamed(&names).map_err(|error| error.to_string())?;
    let left = disk.files().len();
    if found.len() as u64 == keys && left == names.len() {
        Ok(keys)
    } else {
        Err(format!("{} of {keys} keys found, {left} files of {}", found.len(), names.len()))
    }
}

fn operations_of_a_run() -> u64 {
    let disk = SimulatedDisk::new(0);
    assert_eq!(add_until_the_crash(&disk).1, 1200);
    disk.operations()
}

#[test]
fn at_every_crash_the_named_runs_are_whole() {
    let mut found = BTreeSet::new();
    for seed in 0..30 {
        for point in 0..=operations_of_a_run() {
            found
                .insert(crash(seed, point, None).unwrap_or_else(|error| panic!("seed {seed}, point {point}: {error}")));
        }
    }
    assert_eq!(found, [0, 300, 600, 900, 1200].into(), "crashes come before, between and after all additions");
}

#[test]
fn leaving_out_any_sync_of_a_run_is_found() {
    let disk = SimulatedDisk::new(0);
    add_until_the_crash(&disk);
    let sites = [
        (SyncSite("keys.folder"), Synced::Folder),
        (SyncSite("keys.name"), Synced::Folder),
        (SyncSite("keys.run"), Synced::File),
    ];
    assert_eq!(disk.syncs(), sites, "each sync site of runs is left out below");
    for site in sites {
        let mut crashes = (0..40).flat_map(|seed| (0..=operations_of_a_run()).map(move |point| (seed, point)));
        assert!(
            crashes.any(|(seed, point)| crash(seed, point, Some(site)).is_err()),
            "leaving out {site:?} loses nothing"
        );
    }
}

#[test]
fn a_full_disk_refuses_and_the_caller_has_its_keys() {
    let disk = SimulatedDisk::new(1);
    let mut runs = open(&disk, &[]).unwrap();
    let mut entries: Vec<KeyEntry> = (0..5000).map(|number| entry(number, 1)).collect();
    disk.set_room(50_000);
    let error = runs.add(&mut entries).unwrap_err();
    assert!(error.is_full(), "{error}");
    assert_eq!((runs.keys(), runs.names().len(), entries.len()), (0, 0, 5000));
    disk.set_room(u64::MAX);
    runs.add(&mut entries).unwrap();
    assert_eq!((runs.keys(), disk.files().len()), (5000, 1));
}

#[test]
fn every_flipped_byte_is_found_and_named() {
    let disk = SimulatedDisk::new(1);
    let mut runs = open(&disk, &[]).unwrap();
    runs.add(&mut (0..400).map(|number| entry(number, number as i64)).collect::<Vec<_>>()).unwrap();
    let (names, hashes) = (runs.names(), (0..400).map(hash).collect::<Vec<u128>>());
    let path = Path::new(FOLDER).join(&names[0]);
    let whole = read_whole(&disk, &path, 1 << 20).unwrap();
    for byte in 0..whole.len() as u64 {
        disk.flip(&path, byte).unwrap();
        let error = open(&disk, &names).and_then(|runs| runs.look_up(&hashes)).unwrap_err();
        assert!(error.to_string().contains(&names[0]), "byte {byte}: {error}");
        write_whole(&disk, &path, &whole, SITE).unwrap();
    }
    assert_eq!(open(&disk, &names).unwrap().look_up(&hashes).unwrap().len(), 400);
}

#[test]
fn damage_is_told_with_its_place() {
    let disk = SimulatedDisk::new(1);
    let mut runs = open(&disk, &[]).unwrap();
    runs.add(&mut (0..400).map(|number| entry(number, number as i64)).collect::<Vec<_>>()).unwrap();
    let names = runs.names();
    let path = Path::new(FOLDER).join(&names[0]);
    disk.flip(&path, 8000).unwrap();
    let error = runs.look_up(&(0..400).map(hash).collect::<Vec<_>>()).unwrap_err();
    let expected = format!("`{}` is damaged: the page at byte 4096 has not the checksum that it names", path.display());
    assert_eq!(error.to_string(), expected);
    disk.remove(&path).unwrap();
    let error = open(&disk, &names).unwrap_err();
    assert_eq!(error.to_string(), format!("`{}` is missing, though a checkpoint names it", path.display()));
    for name in ["../x", "1-0000000000000000.keys", ""] {
        assert!(matches!(open(&disk, &[name.to_owned()]), Err(StateError::Damaged { .. })), "{name}");
    }
}

/// The sample with bytes replaced, whose header page and entry pages are then given right checksums, or not.
#[test]
fn garbage_is_an_error() {
    let sample = SAMPLE.to_vec();
    let byte = prop_oneof![0..72usize, 4080..4096usize, 4096..SAMPLE.len(), 8176..8192usize];
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let changes = prop::collection::vec((byte, any::<u8>()), 1..5);
    proptest!(config, |(changes in changes, is_checked: bool, length in 0..SAMPLE.len() + 100)| {
        let mut bytes = sample.clone();
        changes.iter().for_each(|(at, byte)| bytes[*at] = *byte);
        for page in 0..3 * usize::from(is_checked) {
            let (from, checksum) = (4096 * page, 4096 * page + 4088);
            let sum = twox_hash::XxHash3_64::oneshot_with_seed(page as u64, &bytes[from..checksum]);
            bytes[checksum..checksum + 8].copy_from_slice(&sum.to_le_bytes());
        }
        if changes.len() == 4 {
            bytes.resize(length, 0);
        }
        let disk = SimulatedDisk::new(1);
        disk.make_folder(Path::new(FOLDER), SITE).unwrap();
        write_whole(&disk, &Path::new(FOLDER).join(SAMPLE_NAME), &bytes, SITE).unwrap();
        // Any answer will do, as long as there is one.
        if let Ok(runs) = open(&disk, &[SAMPLE_NAME.to_owned()]) {
            prop_assert!(runs.memory_bytes() < 10_000);
            drop(runs.look_up(&(0..300).map(hash).collect::<Vec<_>>()));
        }
    });
}

const SAMPLE_NAME: &str = "0000000000-36f30190a3251c99.keys";
/// Written by version 1. A new version reads it too, or says which program does.
const SAMPLE: &[u8] = include_bytes!("samples/0000000000-36f30190a3251c99.keys");

#[test]
fn the_old_sample_is_read() {
    let disk = SimulatedDisk::new(1);
    disk.make_folder(Path::new(FOLDER), SITE).unwrap();
    write_whole(&disk, &Path::new(FOLDER).join(SAMPLE_NAME), SAMPLE, SITE).unwrap();
    let runs = open(&disk, &[SAMPLE_NAME.to_owned()]).unwrap();
    let found = runs.look_up(&(0..300).map(hash).collect::<Vec<_>>()).unwrap();
    assert_eq!(found, (0..200).map(|number| (number, number as i64 - 100)).collect::<Vec<_>>());
}

/// A key that is not there is mostly known not to be without a read: after its process ended, every read fails.
#[test]
fn few_lookups_of_absent_keys_read() {
    let disk = SimulatedDisk::new(1);
    let mut runs = open(&disk, &[]).unwrap();
    runs.add(&mut (0..10_000).map(|number| entry(number, 1)).collect::<Vec<_>>()).unwrap();
    disk.kill();
    assert!(runs.look_up(&[hash(1)]).is_err());
    let read = (10_000..30_000).filter(|number| runs.look_up(&[hash(*number)]).is_err()).count();
    assert!((20..120).contains(&read), "{read} of 20,000: 0.4 % expected");
}

/// Three million keys in three runs on the real disk: memory as the file head says, and nothing is missed.
#[test]
fn millions_of_keys_take_little_memory() {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("keys-{}", std::process::id()));
    let mut runs = KeyRuns::open(std::sync::Arc::new(FolderDisk), &folder, &[]).unwrap();
    for run in 0..3 {
        let mut entries: Vec<KeyEntry> =
            (0..1_000_000).map(|number| entry(1_000_000 * run + number, run as i64)).collect();
        runs.add(&mut entries).unwrap();
    }
    let per_key = runs.memory_bytes() as f64 / runs.keys() as f64;
    assert!((1.54..1.56).contains(&per_key), "12 bits and 8 / 170 bytes a key: {per_key}");
    assert!(per_key * 1e8 < 200.0 * 1024.0 * 1024.0, "100 M keys take less than 200 MiB");

    let runs = KeyRuns::open(std::sync::Arc::new(FolderDisk), &folder, &runs.names()).unwrap();
    let here: Vec<u128> = (0..3_000_000).step_by(61).map(hash).collect();
    let found = runs.look_up(&here).unwrap();
    let expected = (0..here.len()).map(|at| (at, at as i64 * 61 / 1_000_000)).collect::<Vec<_>>();
    assert!(found == expected, "each key is in its run");
    assert_eq!(runs.look_up(&(4_000_000..4_050_000).map(hash).collect::<Vec<_>>()).unwrap(), []);
    std::fs::remove_dir_all(&folder).unwrap();
}
