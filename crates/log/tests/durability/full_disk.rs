//! A full disk: refused before anything has changed, and on again when there is room.

use asof_disk::simulated::SimulatedDisk;
use asof_log::LogError;

use crate::story::{append, open, read_all};

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = SimulatedDisk::new(1);
    let (_claim, mut log) = open(&disk, 100_000);
    append(&mut log, 1, 500).unwrap();
    log.sync().unwrap();
    disk.set_room(150_000);
    let full = log.reserve(1_000_000).unwrap_err();
    assert!(matches!(full, LogError::Full { .. }), "{full}");
    assert!(full.to_string().contains("no room is left on the disk of `/data/log/clicks/0/"), "{full}");
    let mut written = 1;
    // What was reserved is there; then the disk is full, and stays whole.
    let full = loop {
        match append(&mut log, 1, 30_000) {
            Ok(_) => written += 1,
            Err(full) => break full,
        }
        log.sync().unwrap();
    };
    assert!(matches!(full, LogError::Full { .. }), "{full}");
    assert!((4..6).contains(&written), "{written} frames of 30,000 bytes fit into 150,000");
    assert!(matches!(append(&mut log, 1, 100_000), Err(LogError::Full { .. })), "refused again, not broken");
    assert_eq!(read_all(&disk.shared(), 0).unwrap().len(), written);
    disk.set_room(u64::MAX);
    assert_eq!(append(&mut log, 1, 100_000).unwrap(), written as u64);
    log.sync().unwrap();
    disk.crash();
    assert_eq!(open(&disk, 100_000).1.next_offset(), written as u64 + 1);
}

/// After a reservation no write fails for want of room, whatever frames the bytes come in.
#[test]
fn what_was_reserved_finds_room() {
    for frames in [1, 7, 64] {
        for already in 0..30 {
            let disk = SimulatedDisk::new(already);
            let (_claim, mut log) = open(&disk, 5000);
            for _ in 0..already {
                append(&mut log, 1, 333).unwrap();
            }
            log.sync().unwrap();
            log.reserve(3200).unwrap();
            disk.set_room(0);
            for _ in 0..frames {
                append(&mut log, 1, 3200 / frames).unwrap();
            }
            log.sync().unwrap();
            log.seal().unwrap();
            assert_eq!(read_all(&disk.shared(), 0).unwrap().len(), already as usize + frames);
        }
    }
}

/// A full disk does not keep a service from starting and reading.
#[test]
fn a_log_is_opened_on_a_full_disk() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let (claim, mut log) = open(&disk, 5000);
        append(&mut log, 1, 333).unwrap();
        log.sync().unwrap();
        append(&mut log, 1, 333).unwrap();
        drop(claim);
        disk.crash();
        let claim = asof_log::Claim::take(disk.shared(), "/data".as_ref(), asof_log::TakeOver::Refuse).unwrap();
        disk.set_room(0);
        let settings = asof_log::LogSettings { segment_bytes: 5000, generation: claim.generation() };
        let (mut log, _torn) =
            asof_log::PartitionLog::open(disk.shared(), crate::story::PARTITION.as_ref(), settings).unwrap();
        assert!(log.next_offset() >= 1);
        assert!(matches!(append(&mut log, 1, 10), Err(LogError::Full { .. })));
        disk.set_room(u64::MAX);
        append(&mut log, 1, 10).unwrap();
        log.sync().unwrap();
    }
}

#[test]
fn a_frame_that_is_no_frame_is_refused() {
    let disk = SimulatedDisk::new(1);
    let (_claim, mut log) = open(&disk, 5000);
    let refused = append(&mut log, 0, 10).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a frame with 0 rows and 10 bytes does not go into the log: 1 row or more, at most 1073741824 bytes"
    );
    assert_eq!(append(&mut log, u32::MAX, 0).unwrap(), 0);
    assert_eq!(append(&mut log, 1, 20_000).unwrap(), u64::from(u32::MAX), "longer than a segment, in one of its own");
    log.sync().unwrap();
    let read = read_all(&disk.shared(), 5).unwrap();
    assert_eq!((read[0].rows, read[1].body.len()), (u32::MAX, 20_000));
}
