//! The files of a log: two segments, the mark, the generation. Read, opened to write, appended to and read again; as they
//! are, and with their checksums made right.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use asof_disk::Disk;
use asof_fuzz::{begin, cut, disk_of, file, joined, seal_record, seal_segment};
use asof_log::{Claim, Frame, LogError, LogReader, LogSettings, NewFrame, PartitionLog, TakeOver};

const FOLDER: &str = "/data/log/clicks/0";
const FILES: [&str; 4] = [
    "/data/generation",
    "/data/log/clicks/0/0000000001.durable",
    "/data/log/clicks/0/00000000000000000000-0000000001.segment",
    "/data/log/clicks/0/00000000000000000005-0000000001.segment",
];
const BODY: &[u8] = b"appended";

libfuzzer_sys::fuzz_target!(init: begin(seeds()), |bytes: &[u8]| {
    let [are_there, files @ ..] = cut::<5>(bytes);
    let are_there = are_there.first().copied().unwrap_or(u8::MAX);
    check(are_there, &files.map(<[u8]>::to_vec));
    check(are_there, &sealed(files));
});

/// All files; and only the first segment, which is not sealed then.
fn seeds() -> [(String, Vec<u8>); 2] {
    let sample = |name: &str| file(&format!("crates/log/tests/samples/{name}"));
    let (generation, mark) = (sample("generation-1"), sample("mark-1"));
    let (sealed, unsealed) = (sample("sealed-1.segment"), sample("unsealed-1.segment"));
    check_mark([&generation, &mark, &sealed, &unsealed]);
    let all = joined(&[&[u8::MAX], &generation, &mark, &sealed, &unsealed]);
    let one = joined(&[&[0b0100], &[], &[], &sealed[..160], &[]]);
    [("all".to_owned(), all), ("one".to_owned(), one)]
}

/// The mark is read from where it lies: without it, damage in the last frame would pass for a torn tail.
fn check_mark(files: [&[u8]; 4]) {
    const LAST_BODY_BYTE: usize = 40 + 64;
    let mut files = files.map(<[u8]>::to_vec);
    files[3][LAST_BODY_BYTE] ^= 1;
    let named: Vec<(&str, &[u8])> = FILES.into_iter().zip(files.iter().map(Vec::as_slice)).collect();
    let settings = LogSettings { segment_bytes: 2000, generation: 2 };
    let opened = PartitionLog::open(disk_of(&named).shared(), Path::new(FOLDER), settings);
    assert!(matches!(opened, Err(LogError::Damaged { offset: 5, .. })), "{opened:?}");
}

fn sealed(files: [&[u8]; 4]) -> [Vec<u8>; 4] {
    let mut files = files.map(<[u8]>::to_vec);
    let [generation, mark, segments @ ..] = &mut files;
    seal_record(generation);
    seal_record(mark);
    segments.iter_mut().for_each(|segment| seal_segment(segment));
    files
}

/// Bit n of `are_there` says whether file n is there.
fn check(are_there: u8, files: &[Vec<u8>; 4]) {
    let named = FILES.into_iter().zip(files.iter().map(Vec::as_slice)).enumerate();
    let named: Vec<(&str, &[u8])> = named.filter(|(n, _)| are_there >> n & 1 == 1).map(|(_, file)| file).collect();
    let disk = disk_of(&named).shared();
    let before = frames(&disk, 0);
    let Ok(claim) = Claim::take(disk.clone(), Path::new("/data"), TakeOver::Refuse) else { return };
    let settings = LogSettings { segment_bytes: 2000, generation: claim.generation().max(2) };
    let Ok((mut log, _torn)) = PartitionLog::open(disk.clone(), Path::new(FOLDER), settings) else { return };
    let offset = append(&mut log).expect("a log that opens takes frames");
    let appended = frames(&disk, offset).expect("what was appended can be read");
    assert_eq!(
        appended.iter().map(|frame| (frame.head.first_offset, &frame.body[..])).collect::<Vec<_>>(),
        [(offset, BODY)]
    );
    // What a reader took for whole to its end is still there, and then what was appended.
    if let (Ok(before), Ok(after)) = (before, frames(&disk, 0)) {
        assert_eq!(after[..before.len()], before);
        assert_eq!(after.last(), appended.last());
    }
}

fn frames(disk: &Arc<dyn Disk>, from: u64) -> Result<Vec<Frame>, LogError> {
    let mut reader = LogReader::open(disk.clone(), Path::new(FOLDER), from)?;
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        frames.push(frame);
    }
    Ok(frames)
}

fn append(log: &mut PartitionLog) -> Result<u64, LogError> {
    let offset = log.append(NewFrame { rows: 1, arrived_us: 0, dead: 0, newest_us: 0, body: BODY })?;
    log.sync()?;
    Ok(offset)
}
