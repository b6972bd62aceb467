//! The simulated disk does what a folder of the system does, until it crashes; and then it forgets what it may forget.
#![allow(clippy::unwrap_used, reason = "tests fail by panic")]

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use asof_disk::simulated::{SimulatedDisk, Synced};
use asof_disk::{Disk, FolderDisk, SyncSite, read_whole, write_whole};

const SITE: SyncSite = SyncSite("test.site");

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn told<T: std::fmt::Debug>(result: io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// What 300 random calls answered, on files and folders with few names.
fn story(disk: &dyn Disk, root: &Path, seed: u64) -> Vec<String> {
    let mut chance = Chance(seed);
    let mut story = Vec::new();
    let mut files = Vec::new();
    for _ in 0..300 {
        let path = |chance: &mut Chance| match chance.below(3) {
            0 => root.join(format!("file{}", chance.below(3))),
            1 => root.join(format!("folder{}", chance.below(3))),
            _ => root.join(format!("folder{}/file{}", chance.below(3), chance.below(3))),
        };
        let (first, second) = (path(&mut chance), path(&mut chance));
        let call = chance.below(13);
        let answer = match call {
            0 => told(disk.make_folder(&first, SITE)),
            1 => told(disk.list(&first)),
            2 => told(disk.create(&first).map(|file| files.push(file))),
            3 => told(disk.open(&first).map(|file| files.push(file))),
            4 if is_file(disk, &first) && disk.list(&second).is_err() => told(disk.rename(&first, &second)),
            5 => told(disk.remove(&first)),
            6 => told(disk.sync_folder(root, SITE)),
            7 => told(disk.lock(&root.join("lock")).map(|lock| lock.is_some())),
            _ if files.is_empty() => String::new(),
            _ => {
                let file = &files[chance.below(files.len() as u64) as usize];
                let (at, count) = (chance.below(3000), chance.below(2000));
                let mut buffer = vec![0; count as usize];
                match call {
                    8 => told(file.write_at(at, &vec![call as u8; count as usize])),
                    9 => told(file.reserve(at)),
                    10 => told(file.truncate(at)),
                    11 => told(file.sync(SITE)),
                    _ => told(file.read_at(at, &mut buffer).and_then(|read| Ok((file.bytes()?, read, sum(&buffer))))),
                }
            }
        };
        let (first, second) = (first.file_name().unwrap(), second.file_name().unwrap());
        story.push(format!("call {call} of {first:?}, {second:?}: {answer}"));
    }
    story
}

fn sum(bytes: &[u8]) -> usize {
    bytes.iter().enumerate().map(|(at, byte)| (at + 1) * usize::from(*byte)).sum()
}

/// Renaming from and to folders is told differently by different systems, and nobody here does it.
fn is_file(disk: &dyn Disk, path: &Path) -> bool {
    disk.list(path).is_err_and(|error| error.kind() == ErrorKind::NotADirectory)
}

#[test]
fn both_disks_give_the_same_answers() {
    for seed in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        let simulated = SimulatedDisk::new(seed);
        simulated.make_folder(folder.path(), SITE).unwrap();
        let (found, expected) = (story(&simulated, folder.path(), seed), story(&FolderDisk, folder.path(), seed));
        for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found, expected, "seed {seed}, {number}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let after = |seed| {
        let disk = SimulatedDisk::new(seed);
        let first = story(&disk, Path::new("/"), 7);
        disk.crash();
        (first, disk.files(), story(&disk, Path::new("/"), 8))
    };
    assert_eq!(after(1), after(1));
    assert_ne!(after(1), after(2));
}

/// A file of the system keeps what a lock protects from a second one, and what was reserved reads as zeros.
#[test]
fn a_folder_of_the_system_locks_and_reserves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let held = FolderDisk.lock(&path).unwrap().unwrap();
    assert!(FolderDisk.lock(&path).unwrap().is_none());
    drop(held);
    assert!(FolderDisk.lock(&path).unwrap().is_some());
    let file = FolderDisk.open(&path).unwrap();
    file.write_at(0, b"begin").unwrap();
    file.reserve(100_000).unwrap();
    file.reserve(10).unwrap();
    let mut bytes = vec![1; 200_000];
    assert_eq!((file.bytes().unwrap(), file.read_at(0, &mut bytes).unwrap()), (100_000, 100_000));
    assert_eq!((&bytes[..5], bytes[5..100_000].iter().max()), (&b"begin"[..], Some(&0)));
    assert!(file.reserve(u64::MAX).is_err(), "and the disk is not filled with zeros");
    assert_eq!(file.bytes().unwrap(), 100_000);
}

#[test]
fn a_write_that_was_not_synced_survives_in_any_sectors() {
    let mut survivors = BTreeSet::new();
    for seed in 0..400 {
        let disk = SimulatedDisk::new(seed);
        write_whole(&disk, Path::new("/file"), &[1; 1600], SITE).unwrap();
        let file = disk.open(Path::new("/file")).unwrap();
        file.write_at(256, &[2; 1024]).unwrap();
        file.write_at(1500, &[3; 10]).unwrap();
        disk.crash();
        assert_eq!(file.bytes().unwrap_err().to_string(), "the disk crashed", "a handle of before");
        let bytes = read_whole(&disk, Path::new("/file"), 5000).unwrap();
        // The write begins and ends within sectors: 256..512, 512..1024, 1024..1280.
        let kept = [256, 511, 512, 1023, 1024, 1279, 1500, 1509].map(|at: usize| bytes[at]);
        assert!(kept.chunks(2).all(|sector| sector[0] == sector[1]), "seed {seed}: sectors are whole");
        assert_eq!((bytes.len(), bytes[255], bytes[1280], bytes[1499]), (1600, 1, 1, 1));
        survivors.insert(kept);
    }
    assert_eq!(survivors.len(), 16, "every subset of the four sectors");
}

#[test]
fn what_was_synced_stays_and_names_come_and_go_each_for_itself() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimulatedDisk::new(seed);
        write_whole(&disk, Path::new("/old"), b"old", SITE).unwrap();
        write_whole(&disk, Path::new("/moved"), b"moved", SITE).unwrap();
        let file = disk.create(Path::new("/new")).unwrap();
        file.write_at(0, b"new").unwrap();
        file.sync(SITE).unwrap();
        disk.remove(Path::new("/old")).unwrap();
        disk.rename(Path::new("/moved"), Path::new("/there")).unwrap();
        disk.crash();
        let files = disk.files();
        let is_there = |name: &str| files.contains(&PathBuf::from(name));
        assert!(is_there("/moved") != is_there("/there"), "seed {seed}: a renaming is kept whole or not at all");
        if is_there("/new") {
            assert_eq!(read_whole(&disk, Path::new("/new"), 10).unwrap(), b"new", "its content was synced");
        }
        seen.insert((is_there("/new"), is_there("/old"), is_there("/moved")));
    }
    assert_eq!(seen.len(), 8);
}

/// A process that ends between making a folder and syncing its name leaves that to the next one.
#[test]
fn a_folder_is_durable_though_an_earlier_process_made_it() {
    for seed in 0..50 {
        for point in 0..8 {
            let disk = SimulatedDisk::new(seed);
            disk.crash_at(point);
            let made = disk.make_folder(Path::new("/a/b/c"), SITE);
            assert_eq!(made.is_err(), point < 6, "three folders and three syncs");
            disk.kill();
            disk.make_folder(Path::new("/a/b/c"), SITE).unwrap();
            disk.crash();
            assert_eq!(disk.list(Path::new("/a/b/c")).unwrap(), [], "seed {seed}, point {point}");
        }
    }
}

#[test]
fn a_crash_point_fails_everything_until_the_crash() {
    let disk = SimulatedDisk::new(3);
    let held = disk.lock(Path::new("/lock")).unwrap().unwrap();
    assert!(disk.lock(Path::new("/lock")).unwrap().is_none());
    disk.crash_at(disk.operations() + 1);
    let file = disk.create(Path::new("/file")).unwrap();
    assert_eq!(file.write_at(0, b"lost").unwrap_err().to_string(), "the disk crashed");
    assert!(disk.list(Path::new("/")).is_err() && disk.open(Path::new("/file")).is_err() && file.sync(SITE).is_err());
    disk.crash();
    let _second = disk.lock(Path::new("/lock")).unwrap().unwrap();
    drop(held);
    assert!(disk.lock(Path::new("/lock")).unwrap().is_none(), "the lock of an earlier life gives nothing back");
}

#[test]
fn a_site_that_is_ignored_syncs_nothing() {
    let lost = |ignored: Option<Synced>| {
        let lost_by = |seed| {
            let disk = SimulatedDisk::new(seed);
            ignored.into_iter().for_each(|synced| disk.ignore(SITE, synced));
            write_whole(&disk, Path::new("/file"), &[1; 100], SITE).unwrap();
            assert_eq!(disk.sites(), [SITE]);
            assert_eq!(disk.syncs(), [(SITE, Synced::File), (SITE, Synced::Folder)]);
            disk.crash();
            read_whole(&disk, Path::new("/file"), 100).ok() != Some(vec![1; 100])
        };
        (0..100).filter(|seed| lost_by(*seed)).count()
    };
    assert_eq!(lost(None), 0);
    assert!(lost(Some(Synced::File)) > 20 && lost(Some(Synced::Folder)) > 20);
}

/// After a failed sync the process still sees what it wrote, and a sync that returns well does not bring it back.
#[test]
fn a_failed_sync_may_have_lost_what_the_next_one_promises() {
    let lost_by = |seed| {
        let disk = SimulatedDisk::new(seed);
        write_whole(&disk, Path::new("/file"), &[1; 100], SITE).unwrap();
        let file = disk.open(Path::new("/file")).unwrap();
        file.write_at(0, &[2; 100]).unwrap();
        disk.fail_sync(1);
        assert_eq!(file.sync(SITE).unwrap_err().raw_os_error(), Some(5));
        file.sync(SITE).unwrap();
        assert_eq!(read_whole(&disk, Path::new("/file"), 100).unwrap(), [2; 100]);
        disk.crash();
        read_whole(&disk, Path::new("/file"), 100).unwrap() != [2; 100]
    };
    let lost = (0..100).filter(|seed| lost_by(*seed)).count();
    assert!((10..90).contains(&lost), "{lost}");
}

#[test]
fn room_ends_and_comes_back() {
    let disk = SimulatedDisk::new(1);
    disk.set_room(1000);
    let file = disk.create(Path::new("/file")).unwrap();
    file.reserve(800).unwrap();
    let full = |result: io::Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
    full(file.reserve(1001));
    assert_eq!(file.bytes().unwrap(), 800);
    full(file.write_at(700, &[1; 500]));
    assert_eq!(file.bytes().unwrap(), 1000, "as much as fits was written");
    full(disk.create(Path::new("/other")).map(drop));
    file.write_at(0, &[1; 1000]).unwrap();
    disk.remove(Path::new("/file")).unwrap();
    disk.create(Path::new("/other")).unwrap().reserve(1000).unwrap();
    disk.set_room(u64::MAX);
    file.write_at(0, &[1; 5000]).unwrap();
}

#[test]
fn a_flipped_bit_stays() {
    let disk = SimulatedDisk::new(1);
    write_whole(&disk, Path::new("/file"), &[0; 10], SITE).unwrap();
    disk.flip(Path::new("/file"), 3).unwrap();
    disk.crash();
    assert_eq!(read_whole(&disk, Path::new("/file"), 10).unwrap(), [0, 0, 0, 8, 0, 0, 0, 0, 0, 0]);
    assert_eq!(disk.flip(Path::new("/file"), 10).unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn clones_are_the_same_disk() {
    let disk = SimulatedDisk::new(1);
    let shared: Arc<dyn Disk> = disk.shared();
    shared.create(Path::new("/file")).unwrap();
    assert_eq!(disk.clone().files(), [PathBuf::from("/file")]);
}
