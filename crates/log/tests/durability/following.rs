//! A reader behind a writer: everything in order, nothing half written, and damage told from what is not written yet.

use std::path::Path;
use std::sync::Arc;

use asof_disk::simulated::SimulatedDisk;
use asof_disk::{Disk, FolderDisk};
use asof_log::{Claim, LogError, LogReader, LogSettings, NewFrame, PartitionLog, TakeOver};

use crate::story::{Chance, PARTITION, append, body_of, open};

fn reader(disk: &SimulatedDisk, from: u64) -> LogReader {
    LogReader::open(disk.shared(), Path::new(PARTITION), from).unwrap()
}

#[test]
fn a_reader_keeps_up_with_every_append() {
    for seed in 0..40 {
        let disk = SimulatedDisk::new(seed);
        let mut chance = Chance(seed);
        let mut following = reader(&disk, 0);
        assert_eq!(following.next_frame().unwrap(), None, "there is no folder yet");
        let (_claim, mut log) = open(&disk, 3000);
        for _ in 0..60 {
            let first = append(&mut log, 1 + chance.below(4) as u32, chance.below(900) as usize).unwrap();
            let frame = following.next_frame().unwrap().unwrap();
            assert_eq!((frame.head.first_offset, frame.head.end_offset()), (first, log.next_offset()), "seed {seed}");
            assert_eq!(frame.body, body_of(first, frame.body.len()));
            assert_eq!(following.next_frame().unwrap(), None);
            match chance.below(10) {
                0 => log.seal().unwrap(),
                1 => (_, log) = open(&disk, 3000),
                2..5 => log.sync().unwrap(),
                _ => {}
            }
            assert_eq!(following.next_frame().unwrap(), None);
        }
        assert_eq!(following.segments().last().unwrap().end_offset, log.next_offset());
    }
}

#[test]
fn reading_begins_in_the_middle() {
    let disk = SimulatedDisk::new(1);
    let (_claim, mut log) = open(&disk, 1000);
    for _ in 0..20 {
        append(&mut log, 5, 200).unwrap();
    }
    for from in 0..100 {
        assert_eq!(reader(&disk, from).next_head().unwrap().unwrap().first_offset, from / 5 * 5);
    }
    let mut ahead = reader(&disk, 103);
    assert_eq!(ahead.next_head().unwrap(), None);
    append(&mut log, 5, 200).unwrap();
    assert_eq!(ahead.next_head().unwrap().unwrap().first_offset, 100);
}

/// Every prefix of the writer's bytes, as another process may see them: a frame is given out when it is whole, not before.
#[test]
fn a_frame_half_written_is_not_read() {
    let disk = SimulatedDisk::new(1);
    let (_claim, mut log) = open(&disk, 3000);
    append(&mut log, 1, 50).unwrap();
    append(&mut log, 1, 90).unwrap();
    let path = log_file(&disk);
    let file = disk.open(&path).unwrap();
    let mut bytes = vec![0; file.bytes().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    let copied = SimulatedDisk::new(1);
    copied.make_folder(Path::new(PARTITION), asof_disk::SyncSite("test")).unwrap();
    let copy = copied.create(&path).unwrap();
    let mut following = reader(&copied, 0);
    let mut seen = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        copy.write_at(at as u64, &[*byte]).unwrap();
        while let Some(frame) = following.next_frame().unwrap() {
            seen.push((at, frame.head.first_offset));
        }
    }
    // Header 40, head 64, body 50, padding 6; head 64, body 90. A body that ends in zeros would be whole before.
    assert_eq!(seen, [(40 + 64 + 50 - 1, 0), (40 + 120 + 64 + 90 - 1, 1)]);
}

fn log_file(disk: &SimulatedDisk) -> std::path::PathBuf {
    disk.files().into_iter().find(|path| path.extension().is_some_and(|ending| ending == "segment")).unwrap()
}

/// Bad bytes at the end are a frame being written, until the writer's mark, a later frame or a footer says otherwise.
#[test]
fn a_torn_tail_becomes_damage_when_the_writer_says_it_was_durable() {
    let disk = SimulatedDisk::new(1);
    let (_claim, mut log) = open(&disk, 3000);
    append(&mut log, 1, 50).unwrap();
    log.sync().unwrap();
    append(&mut log, 1, 50).unwrap();
    disk.flip(&log_file(&disk), 160 + 70).unwrap();
    let mut following = reader(&disk, 0);
    assert_eq!(following.next_head().unwrap().unwrap().first_offset, 0);
    assert_eq!(following.next_head().unwrap(), None, "not known to be damage yet");
    log.sync().unwrap();
    let told = following.next_frame().unwrap_err();
    assert!(matches!(told, LogError::Damaged { offset: 1, byte: 160, .. }), "{told}");
    disk.remove(&Path::new(PARTITION).join("0000000001.durable")).unwrap();
    let mut without_mark = reader(&disk, 1);
    assert_eq!(without_mark.next_head().unwrap(), None);
    append(&mut log, 1, 50).unwrap();
    assert!(
        matches!(reader(&disk, 1).next_frame(), Err(LogError::Damaged { offset: 1, byte: 160, .. })),
        "a later frame"
    );
    log.seal().unwrap();
    assert!(matches!(without_mark.next_frame(), Err(LogError::Damaged { offset: 1, byte: 160, .. })), "the footer");
}

/// Two threads on files of the system, with no more between them than the files.
#[test]
fn a_reader_follows_a_writer_in_another_thread() {
    const FRAMES: u64 = 3000;
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(FolderDisk);
    let partition = folder.path().join("log/clicks/0");
    let claim = Claim::take(disk.clone(), folder.path(), TakeOver::Refuse).unwrap();
    let settings = LogSettings { segment_bytes: 50_000, generation: claim.generation() };
    let (mut log, _torn) = PartitionLog::open(disk.clone(), &partition, settings).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut following = LogReader::open(disk.clone(), &partition, 0).unwrap();
            let mut next = 0;
            while next < FRAMES {
                let Some(frame) = following.next_frame().unwrap() else {
                    std::thread::yield_now();
                    continue;
                };
                assert_eq!(frame.head.first_offset, next);
                assert_eq!(frame.body, body_of(next, frame.body.len()));
                next = frame.head.end_offset();
            }
        });
        for number in 0..FRAMES {
            let body = body_of(number, (number % 700) as usize);
            log.append(NewFrame { rows: 1, arrived_us: 0, dead: 0, newest_us: i64::MIN, body: &body }).unwrap();
            if number % 50 == 0 {
                log.sync().unwrap();
            }
        }
    });
    log.seal().unwrap();
    assert!(log.segments().len() > 20);
}
