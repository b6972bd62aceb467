//! One flipped bit, in every byte of every file: detected and named, or harmless.

use std::path::{Path, PathBuf};

use asof_disk::Disk;
use asof_disk::simulated::SimulatedDisk;
use asof_log::{Claim, LogError, LogSettings, PartitionLog, TakeOver, TornTail};

use crate::story::{Appended, PARTITION, ROOT, append, open, read_all};

const HEADER: u64 = 40;
const HEAD: u64 = 64;
/// Three bytes of padding behind each.
const BODY: u64 = 101;
const FRAME: u64 = 168;

/// Two segments with four frames each, every frame synced for itself; the second one sealed, or left by a process that ended.
fn small_log(is_sealed: bool) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let (_claim, mut log) = open(&disk, 800);
    for _ in 0..8 {
        append(&mut log, 2, BODY as usize).unwrap();
        log.sync().unwrap();
    }
    if is_sealed {
        log.seal().unwrap();
    }
    disk.kill();
    disk
}

fn segments(disk: &SimulatedDisk) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "segment");
    disk.files().into_iter().filter(is_segment).collect()
}

/// Whether a checksum covers this byte of a segment: of the header, or of one of the four frames.
fn is_covered(byte: u64) -> bool {
    let in_frames = byte.wrapping_sub(HEADER);
    byte < HEADER || (in_frames < 4 * FRAME && in_frames % FRAME < HEAD + BODY)
}

fn open_and_read(disk: &SimulatedDisk) -> Result<(Vec<Appended>, Option<TornTail>), LogError> {
    let claim = Claim::take(disk.shared(), Path::new(ROOT), TakeOver::Refuse)?;
    let settings = LogSettings { segment_bytes: 800, generation: claim.generation() };
    let (_log, torn) = PartitionLog::open(disk.shared(), Path::new(PARTITION), settings)?;
    Ok((read_all(&disk.shared(), 0)?, torn))
}

fn check_named(error: &LogError, path: &Path, byte: u64) {
    let LogError::Damaged { path: named, partition_folder, byte: begin, .. } = error else {
        panic!("a flip in byte {byte} of {path:?} is told as {error}");
    };
    assert_eq!((named.as_path(), partition_folder.as_path()), (path, Path::new(PARTITION)));
    assert!(*begin <= byte && byte < begin + FRAME, "byte {byte} is told as {begin}");
}

#[test]
fn a_flip_in_any_byte_of_a_segment_is_found_or_harmless() {
    for is_sealed in [true, false] {
        let expected = read_all(&small_log(is_sealed).shared(), 0).unwrap();
        assert_eq!(expected.len(), 8);
        for path in segments(&small_log(is_sealed)) {
            let bytes = small_log(is_sealed).open(&path).unwrap().bytes().unwrap();
            for byte in 0..bytes {
                let disk = small_log(is_sealed);
                disk.flip(&path, byte).unwrap();
                let read = read_all(&disk.shared(), 0);
                let opened = open_and_read(&disk);
                if is_covered(byte) {
                    check_named(&read.unwrap_err(), &path, byte);
                    check_named(&opened.unwrap_err(), &path, byte);
                } else {
                    assert_eq!(read.unwrap(), expected, "byte {byte} of {path:?}");
                    assert_eq!(opened.unwrap().0, expected, "byte {byte} of {path:?}");
                }
            }
        }
    }
}

/// Without the mark, what the last sync covered is known by nobody; everything before is.
#[test]
fn without_the_mark_only_the_last_group_can_pass_for_a_torn_tail() {
    let expected = read_all(&small_log(false).shared(), 0).unwrap();
    let path = segments(&small_log(false)).pop().unwrap();
    for byte in (0..HEADER + 4 * FRAME).filter(|byte| is_covered(*byte)) {
        let disk = small_log(false);
        disk.remove(&Path::new(PARTITION).join("0000000001.durable")).unwrap();
        disk.flip(&path, byte).unwrap();
        let read = read_all(&disk.shared(), 0);
        let opened = open_and_read(&disk);
        if byte < HEADER + 3 * FRAME {
            check_named(&read.unwrap_err(), &path, byte);
            check_named(&opened.unwrap_err(), &path, byte);
            continue;
        }
        assert_eq!(read.unwrap(), expected[..7]);
        let (frames, torn) = opened.unwrap();
        assert_eq!(frames, expected[..7]);
        let torn = torn.unwrap();
        assert_eq!((&torn.path, torn.at_byte, torn.offset), (&path, HEADER + 3 * FRAME, 14));
        assert!(torn.bytes > HEAD && torn.bytes <= FRAME, "{torn:?}");
    }
}

#[test]
fn a_flip_in_the_mark_is_harmless_and_in_the_generation_is_named() {
    let expected = read_all(&small_log(false).shared(), 0).unwrap();
    for byte in 0..48 {
        let disk = small_log(false);
        disk.flip(&Path::new(PARTITION).join("0000000001.durable"), byte).unwrap();
        assert_eq!(open_and_read(&disk).unwrap(), (expected.clone(), None));
    }
    for byte in 0..32 {
        let disk = small_log(false);
        disk.flip(Path::new("/data/generation"), byte).unwrap();
        let told = open_and_read(&disk).unwrap_err().to_string();
        assert_eq!(
            told,
            "`/data/generation` is damaged at byte 0 (offset 0): the generation does not match its checksum; \
             restore the file from a copy"
        );
    }
}

/// A lost bit in the room behind the frames is told, and nothing else.
#[test]
fn garbage_behind_the_frames_is_left_behind_and_told() {
    let disk = small_log(false);
    let path = segments(&disk).pop().unwrap();
    disk.flip(&path, HEADER + 4 * FRAME + 9).unwrap();
    let (frames, torn) = open_and_read(&disk).unwrap();
    assert_eq!(frames.len(), 8);
    assert_eq!(torn, Some(TornTail { path, at_byte: HEADER + 4 * FRAME, offset: 16, bytes: 10 }));
    disk.kill();
    assert_eq!(open_and_read(&disk).unwrap().1, None, "once");
}

#[test]
fn a_missing_segment_is_named() {
    let disk = small_log(true);
    let (_claim, mut log) = open(&disk, 800);
    append(&mut log, 1, 10).unwrap();
    log.sync().unwrap();
    disk.kill();
    let [first, second, third] = segments(&disk).try_into().unwrap();
    disk.remove(&second).unwrap();
    for error in [read_all(&disk.shared(), 0).unwrap_err(), open_and_read(&disk).unwrap_err()] {
        let told = error.to_string();
        assert!(told.contains(&*first.to_string_lossy()), "{told}");
        assert!(told.contains("(offset 8): it ends here, and the next segment begins at offset 16"), "{told}");
    }
    let disk = small_log(true);
    let (_claim, mut log) = open(&disk, 800);
    append(&mut log, 1, 10).unwrap();
    log.sync().unwrap();
    disk.kill();
    disk.remove(&third).unwrap();
    let told = open_and_read(&disk).unwrap_err().to_string();
    assert!(told.contains(&*third.to_string_lossy()) && told.contains("(offset 16): the file is gone"), "{told}");
}

#[test]
fn another_version_and_a_foreign_name_are_refused() {
    let disk = SimulatedDisk::new(1);
    disk.make_folder(Path::new(PARTITION), asof_disk::SyncSite("test")).unwrap();
    disk.create(&Path::new(PARTITION).join("7-1.segment")).unwrap();
    let told = open_and_read(&disk).unwrap_err().to_string();
    assert!(told.contains("/7-1.segment` is damaged") && told.contains("its name is not one of a segment"), "{told}");
}
