//! Any bytes in any file give a value or an error: no panic, and no memory beyond what is there.

use std::path::Path;

use asof_disk::Disk;
use asof_disk::simulated::SimulatedDisk;
use asof_log::{Claim, LogReader, LogSettings, PartitionLog, TakeOver};
use proptest::prelude::*;

use crate::story::{PARTITION, ROOT, append, open};

/// A segment as a writer leaves it: sealed, or with room behind the frames.
fn whole_segment(is_sealed: bool) -> Vec<u8> {
    let disk = SimulatedDisk::new(1);
    let (_claim, mut log) = open(&disk, 2000);
    for size in [0, 100, 7] {
        append(&mut log, 2, size).unwrap();
        log.sync().unwrap();
    }
    if is_sealed {
        log.seal().unwrap();
    }
    let path =
        disk.files().into_iter().find(|path| path.extension().is_some_and(|ending| ending == "segment")).unwrap();
    let file = disk.open(&path).unwrap();
    let mut bytes = vec![0; file.bytes().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Noise, or a whole segment in which pieces were replaced, and which was cut.
fn segment_bytes() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..2000);
    let pieces = prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..20)), 0..4);
    let spoilt = (any::<bool>(), pieces, any::<prop::sample::Index>()).prop_map(|(is_sealed, pieces, cut)| {
        let mut bytes = whole_segment(is_sealed);
        for (at, piece) in pieces {
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + piece.len());
            bytes[at..end].copy_from_slice(&piece[..end - at]);
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        bytes
    });
    prop_oneof![noise, spoilt]
}

fn put(disk: &SimulatedDisk, path: &Path, bytes: &[u8]) {
    disk.create(path).unwrap().write_at(0, bytes).unwrap();
}

/// Reads all, opens, and appends; whatever is there, a log that opens holds what is appended to it.
fn use_it(disk: &SimulatedDisk) -> Result<(), TestCaseError> {
    if let Ok(mut reader) = LogReader::open(disk.shared(), Path::new(PARTITION), 0) {
        while let Ok(Some(frame)) = reader.next_frame() {
            prop_assert!(frame.body.len() <= 4000);
        }
    }
    let Ok(claim) = Claim::take(disk.shared(), Path::new(ROOT), TakeOver::Refuse) else { return Ok(()) };
    let settings = LogSettings { segment_bytes: 2000, generation: claim.generation().max(5) };
    let Ok((mut log, _torn)) = PartitionLog::open(disk.shared(), Path::new(PARTITION), settings) else {
        return Ok(());
    };
    let offset = append(&mut log, 1, 10).unwrap();
    log.sync().unwrap();
    let mut reader = LogReader::open(disk.shared(), Path::new(PARTITION), offset).unwrap();
    prop_assert_eq!(reader.next_head().unwrap().unwrap().first_offset, offset);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_segments_mark_and_generation(
        first in segment_bytes(),
        second in prop::option::of(segment_bytes()),
        mark in prop::option::of(prop::collection::vec(any::<u8>(), 0..60)),
        generation in prop::option::weighted(0.1, prop::collection::vec(any::<u8>(), 0..40)),
    ) {
        let disk = SimulatedDisk::new(1);
        let folder = Path::new(PARTITION);
        disk.make_folder(folder, asof_disk::SyncSite("test")).unwrap();
        put(&disk, &folder.join("00000000000000000000-0000000001.segment"), &first);
        if let Some(second) = second {
            put(&disk, &folder.join("00000000000000000006-0000000002.segment"), &second);
        }
        if let Some(mark) = mark {
            put(&disk, &folder.join("0000000001.durable"), &mark);
        }
        if let Some(generation) = generation {
            put(&disk, Path::new("/data/generation"), &generation);
        }
        use_it(&disk)?;
    }
}
