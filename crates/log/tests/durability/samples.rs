//! Files as version 1 wrote them load, and this code still writes the same bytes.
//!
//! Anew, for a version to come, beside the old ones: `ASOF_WRITE_SAMPLES=1 cargo test --release -p asof-log samples`.

use std::path::{Path, PathBuf};

use asof_disk::Disk;
use asof_disk::simulated::SimulatedDisk;
use asof_log::{Claim, LogError, LogReader, LogSettings, NewFrame, PartitionLog, TakeOver};

use crate::story::{PARTITION, ROOT};

/// The files of a small log: each sample with its place in the data folder.
const SAMPLES: [(&str, &str); 4] = [
    ("generation-1", "/data/generation"),
    ("mark-1", "/data/log/clicks/0/0000000001.durable"),
    ("sealed-1.segment", "/data/log/clicks/0/00000000000000000000-0000000001.segment"),
    ("unsealed-1.segment", "/data/log/clicks/0/00000000000000000005-0000000001.segment"),
];

const FRAMES: [NewFrame<'static>; 3] = [
    NewFrame { rows: 2, arrived_us: 1_700_000_000_000_001, dead: 0, newest_us: 1_699_999_999_000_000, body: b"one" },
    NewFrame { rows: 3, arrived_us: 1_700_000_000_000_002, dead: 3, newest_us: i64::MIN, body: b"" },
    NewFrame { rows: 1, arrived_us: 1_700_000_000_000_003, dead: 0, newest_us: -5, body: b"sixteen bytes ok" },
];

fn written() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let claim = Claim::take(disk.shared(), Path::new(ROOT), TakeOver::Refuse).unwrap();
    let settings = LogSettings { segment_bytes: 400, generation: claim.generation() };
    let (mut log, _torn) = PartitionLog::open(disk.shared(), Path::new(PARTITION), settings).unwrap();
    log.append(FRAMES[0]).unwrap();
    log.sync().unwrap();
    log.append(FRAMES[1]).unwrap();
    log.seal().unwrap();
    log.append(FRAMES[2]).unwrap();
    log.sync().unwrap();
    disk
}

fn read(disk: &SimulatedDisk, path: &str) -> Vec<u8> {
    asof_disk::read_whole(disk, Path::new(path), 10_000).unwrap()
}

fn sample_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)
}

fn samples() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    disk.make_folder(Path::new(PARTITION), asof_disk::SyncSite("test")).unwrap();
    for (name, path) in SAMPLES {
        disk.create(Path::new(path)).unwrap().write_at(0, &std::fs::read(sample_path(name)).unwrap()).unwrap();
    }
    disk
}

#[test]
fn this_code_writes_the_bytes_of_version_1() {
    let written = written();
    for (name, path) in SAMPLES {
        let bytes = read(&written, path);
        if std::env::var_os("ASOF_WRITE_SAMPLES").is_some() {
            std::fs::write(sample_path(name), &bytes).unwrap();
        }
        assert!(
            bytes == std::fs::read(sample_path(name)).unwrap(),
            "{name} differs: a new version must keep the old ones"
        );
    }
}

#[test]
fn samples_of_version_1_load() {
    let disk = samples();
    let mut reader = LogReader::open(disk.shared(), Path::new(PARTITION), 0).unwrap();
    for frame in FRAMES {
        let read = reader.next_frame().unwrap().unwrap();
        let head = read.head;
        assert_eq!(
            (head.rows, head.arrived_us, head.dead, head.newest_us),
            (frame.rows, frame.arrived_us, frame.dead, frame.newest_us)
        );
        assert_eq!(read.body, frame.body);
    }
    assert_eq!(reader.next_frame().unwrap(), None);
    let claim = Claim::take(disk.shared(), Path::new(ROOT), TakeOver::Refuse).unwrap();
    assert_eq!(claim.generation(), 2);
    let settings = LogSettings { segment_bytes: 400, generation: 2 };
    let (log, torn) = PartitionLog::open(disk.shared(), Path::new(PARTITION), settings).unwrap();
    assert_eq!((log.next_offset(), torn), (6, None));
    let newest: Vec<_> = log.segments().iter().map(|segment| (segment.newest_arrived_us, segment.newest_us)).collect();
    assert_eq!(newest, [(1_700_000_000_000_002, 1_699_999_999_000_000), (1_700_000_000_000_003, -5)]);
}

/// The mark that all generations shared, once. Nothing but it knows that the last frame was durable.
#[test]
fn the_shared_mark_of_before_is_read_and_then_removed() {
    let (own, shared) = (Path::new(SAMPLES[1].1), &Path::new(PARTITION).join("durable"));
    let last = Path::new(SAMPLES[3].1);
    let open = |disk: &SimulatedDisk| {
        let settings = LogSettings { segment_bytes: 400, generation: 2 };
        PartitionLog::open(disk.shared(), Path::new(PARTITION), settings)
    };
    let disk = samples();
    disk.rename(own, shared).unwrap();
    let (log, torn) = open(&disk).unwrap();
    assert_eq!((log.next_offset(), torn), (6, None));
    assert!(!disk.files().contains(shared), "{:?}", disk.files());

    // A byte in the body of the last frame: behind the header of the segment and the head of the frame.
    for (is_shared, is_damaged) in [(true, true), (false, false)] {
        let disk = samples();
        disk.flip(last, 40 + 64).unwrap();
        if is_shared {
            disk.rename(own, shared).unwrap()
        } else {
            disk.remove(own).unwrap()
        }
        let mut reader = LogReader::open(disk.shared(), Path::new(PARTITION), 5).unwrap();
        let read = reader.next_frame();
        let opened = open(&disk);
        if is_damaged {
            assert!(matches!(read, Err(LogError::Damaged { offset: 5, .. })), "{read:?}");
            assert!(matches!(opened, Err(LogError::Damaged { offset: 5, .. })), "{opened:?}");
            assert!(disk.files().contains(shared), "a start that is refused changes nothing");
        } else {
            assert_eq!(read.unwrap(), None);
            assert_eq!(opened.unwrap().1.map(|torn| torn.offset), Some(5));
        }
    }
}

#[test]
fn another_version_is_named() {
    for (name, path) in [SAMPLES[0], SAMPLES[2], SAMPLES[3]] {
        let disk = samples();
        let mut bytes = read(&disk, path);
        bytes[8] = 2;
        let record = if name.starts_with("generation") { 32 } else { 40 };
        let sum = twox_hash::XxHash3_64::oneshot(&bytes[..record - 8]);
        bytes[record - 8..record].copy_from_slice(&sum.to_le_bytes());
        disk.open(Path::new(path)).unwrap().write_at(0, &bytes).unwrap();
        let settings = LogSettings { segment_bytes: 400, generation: 9 };
        let told = Claim::take(disk.shared(), Path::new(ROOT), TakeOver::Refuse)
            .and_then(|_claim| PartitionLog::open(disk.shared(), Path::new(PARTITION), settings))
            .unwrap_err();
        let expected =
            format!("`{path}` has format version 2, this program reads version 1: use the program that wrote it");
        assert_eq!(told.to_string(), expected);
    }
}
