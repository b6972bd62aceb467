//! Dropping old segments.

use std::path::Path;

use asof_disk::simulated::SimulatedDisk;
use asof_disk::{Disk, SyncSite};
use asof_log::{Claim, LogError, LogReader, LogSettings, PartitionLog, SegmentSummary, TakeOver};

use crate::story::{PARTITION, ROOT, append, open, read_all};

#[test]
fn whole_segments_are_dropped_and_the_newest_stays() {
    let disk = SimulatedDisk::new(1);
    let (_claim, mut log) = open(&disk, 1000);
    for _ in 0..10 {
        append(&mut log, 2, 700).unwrap();
        log.sync().unwrap();
    }
    assert_eq!(log.segments().len(), 10, "700 bytes and no more fit into 1000");
    assert_eq!(log.drop_segments_before(7).unwrap(), 3, "offsets 0, 2 and 4; the segment at 6 holds 7");
    assert_eq!((log.first_offset(), log.next_offset()), (6, 20));
    assert_eq!(read_all(&disk.shared(), 6).unwrap()[0].first_offset, 6);
    let refused = LogReader::open(disk.shared(), Path::new(PARTITION), 5).unwrap_err();
    assert_eq!(refused.to_string(), "`/data/log/clicks/0` begins at offset 6, offset 5 is no longer there");
    log.seal().unwrap();
    assert_eq!(log.drop_segments_before(20).unwrap(), 6, "the newest keeps the offset");
    drop(log);
    disk.crash();
    let (_claim, mut log) = open(&disk, 1000);
    assert_eq!((log.first_offset(), log.next_offset()), (18, 20));
    append(&mut log, 1, 10).unwrap();
    log.sync().unwrap();
    assert_eq!(log.drop_segments_before(20).unwrap(), 1);
    assert_eq!((log.first_offset(), log.next_offset()), (20, 21));
}

#[test]
fn regression_a_listing_that_fails_does_not_break_the_log() {
    let disk = SimulatedDisk::new(1);
    let (_claim, mut log) = open(&disk, 1000);
    append(&mut log, 1, 700).unwrap();
    append(&mut log, 1, 700).unwrap();
    let strange = Path::new(PARTITION).join("strange.segment");
    disk.create(&strange).unwrap();
    let refused = log.drop_segments_before(1).unwrap_err();
    assert!(refused.to_string().contains("its name is not one of a segment"), "{refused}");
    append(&mut log, 1, 10).unwrap();
    log.sync().unwrap();
    disk.remove(&strange).unwrap();
    assert_eq!(log.drop_segments_before(1).unwrap(), 1);
}

#[test]
fn the_offset_outlives_all_records() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let (_claim, mut log) = open(&disk, 1000);
        append(&mut log, 5, 10).unwrap();
        log.seal().unwrap();
        // The next segment has its name, and nothing in it that a sync has covered.
        append(&mut log, 1, 10).unwrap();
        assert_eq!(log.drop_segments_before(5).unwrap(), 1);
        disk.crash();
        let (_claim, mut log) = open(&disk, 1000);
        assert!([5, 6].contains(&log.next_offset()), "seed {seed}: {}", log.next_offset());
        let next = log.next_offset();
        assert_eq!(append(&mut log, 1, 10).unwrap(), next);
        log.sync().unwrap();
        disk.crash();
        assert_eq!(open(&disk, 1000).1.next_offset(), next + 1, "seed {seed}");
    }
}

/// A reader that lags learns that what it asks for is gone; it may finish the segment that it has open.
#[test]
fn a_reader_behind_retention_is_told() {
    let disk = SimulatedDisk::new(1);
    let (_claim, mut log) = open(&disk, 1000);
    for _ in 0..5 {
        append(&mut log, 1, 700).unwrap();
    }
    let mut reader = LogReader::open(disk.shared(), Path::new(PARTITION), 0).unwrap();
    assert_eq!(reader.next_head().unwrap().unwrap().first_offset, 0);
    log.drop_segments_before(3).unwrap();
    let told = loop {
        match reader.next_head() {
            Ok(head) => assert_eq!(head.unwrap().first_offset, 1, "at most the one that it knew"),
            Err(error) => break error,
        }
    };
    assert!(matches!(told, LogError::Missing { first_offset: 3, .. }), "{told}");
}

/// A writer that was overtaken has left a segment behind the end that the second one found, and the second one was killed before
/// it could remove it. The third one removes it and drops old segments, and the power is cut at this operation of it. Whether
/// what was overtaken is the log again.
pub(crate) fn overtaken_segments_come_back(seed: u64, point: u64, ignored: Option<SyncSite>) -> bool {
    let disk = SimulatedDisk::new(seed);
    if let Some(site) = ignored {
        disk.ignore_site(site);
    }
    drop(log_of_two_segments(&disk));
    let (_claim, mut new) = open(&disk, 1000);
    append(&mut new, 1, 800).unwrap();
    new.seal().unwrap();
    // What overtook it is the next to be dropped: every sync of the folder in between would make its removal durable.
    assert_eq!(new.drop_segments_before(2).unwrap(), 2);
    disk.kill();
    let overtaken = Path::new(PARTITION).join("00000000000000000002-0000000001.segment");
    put_durably(&disk, &overtaken, &left_behind());
    disk.crash_at(disk.operations() + point);
    let claim = Claim::take(disk.shared(), Path::new(ROOT), TakeOver::Refuse);
    let dropped = claim.and_then(|claim| {
        let settings = LogSettings { segment_bytes: 1000, generation: claim.generation() };
        let (mut third, _torn) = PartitionLog::open(disk.shared(), Path::new(PARTITION), settings)?;
        third.drop_segments_before(3)
    });
    assert!(dropped.is_err() || point > 0, "the crash point is one of its operations");
    disk.crash();
    let Ok(reader) = LogReader::open(disk.shared(), Path::new(PARTITION), 3) else { return true };
    let is_overtaken = |segment: &SegmentSummary| (segment.generation, segment.first_offset) == (1, 2);
    reader.segments().iter().any(is_overtaken)
}

fn log_of_two_segments(disk: &SimulatedDisk) -> PartitionLog {
    let (_claim, mut log) = open(disk, 1000);
    for _ in 0..2 {
        append(&mut log, 1, 700).unwrap();
        log.sync().unwrap();
    }
    log
}

/// The third segment of a writer that goes on where [`log_of_two_segments`] ends.
fn left_behind() -> Vec<u8> {
    let disk = SimulatedDisk::new(0);
    let mut log = log_of_two_segments(&disk);
    append(&mut log, 1, 600).unwrap();
    log.sync().unwrap();
    let path =
        disk.files().into_iter().rfind(|path| path.extension().is_some_and(|ending| ending == "segment")).unwrap();
    asof_disk::read_whole(&disk, &path, 2000).unwrap()
}

fn put_durably(disk: &SimulatedDisk, path: &Path, bytes: &[u8]) {
    let file = disk.create(path).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync(SyncSite("test")).unwrap();
    disk.sync_folder(Path::new(PARTITION), SyncSite("test")).unwrap();
}
