//! Who may write: the lock, the generation, and a writer that was overtaken.

use std::path::Path;

use asof_disk::Disk;
use asof_disk::simulated::SimulatedDisk;
use asof_log::{Claim, LogError, LogSettings, PartitionLog, TakeOver};

use crate::story::{PARTITION, ROOT, append, open, read_all};

fn take(disk: &SimulatedDisk, how: TakeOver) -> Result<Claim, LogError> {
    Claim::take(disk.shared(), Path::new(ROOT), how)
}

#[test]
fn a_second_writer_is_refused_until_the_first_has_ended() {
    let disk = SimulatedDisk::new(1);
    let first = take(&disk, TakeOver::Refuse).unwrap();
    let refused = take(&disk, TakeOver::Refuse).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "another process writes to `/data`: stop it, or start with `--take-over` so that it can write nothing more"
    );
    assert_eq!(first.generation(), 1);
    first.check().unwrap();
    drop(first);
    assert_eq!(take(&disk, TakeOver::Refuse).unwrap().generation(), 2);
}

#[test]
fn who_takes_over_fences_the_other_and_keeps_out_a_third() {
    let disk = SimulatedDisk::new(1);
    let old = take(&disk, TakeOver::Refuse).unwrap();
    let new = take(&disk, TakeOver::TakeOver).unwrap();
    assert_eq!((old.generation(), new.generation()), (1, 2));
    let fenced = old.check().unwrap_err();
    assert_eq!(
        fenced.to_string(),
        "generation 2 has taken over `/data`: this process is generation 1 and writes nothing more"
    );
    new.check().unwrap();
    drop(old);
    // The lock is free for a moment, and taken by whoever asks first; the next check takes it.
    new.check().unwrap();
    assert!(matches!(take(&disk, TakeOver::Refuse), Err(LogError::Held { .. })));
    new.check().unwrap();
}

#[test]
fn nobody_takes_over_from_who_holds_others_off() {
    let disk = SimulatedDisk::new(1);
    let old = take(&disk, TakeOver::Refuse).unwrap();
    let held = old.hold().unwrap();
    assert_eq!(
        take(&disk, TakeOver::TakeOver).unwrap_err().to_string(),
        "another process holds `/data/generation.lock`, and lets go of it within a moment unless it hangs: wait, or end \
         it for good (`fuser /data/generation.lock` names it, `kill -9` ends it), and start again"
    );
    old.check().unwrap();
    drop(held);
    let new = take(&disk, TakeOver::TakeOver).unwrap();
    assert!(matches!(old.hold(), Err(LogError::Fenced { own: 1, found: 2, .. })));
    drop(new.hold().unwrap());
}

/// What the old writer acknowledged before it was fenced is in the log of the new one; what it wrote after is not.
#[test]
fn a_writer_that_was_overtaken_changes_nothing() {
    for seed in 0..30 {
        let disk = SimulatedDisk::new(seed);
        let (old_claim, mut old) = open(&disk, 2000);
        append(&mut old, 3, 500).unwrap();
        old.sync().unwrap();
        old_claim.check().unwrap();
        let (new_claim, mut new) = open(&disk, 2000);
        assert_eq!(new.next_offset(), 3);
        // It writes behind its end, over the footer that the new writer put there, and can begin no segment.
        append(&mut old, 1, 700).unwrap();
        old.sync().unwrap();
        let fenced = (0..3).find_map(|_| append(&mut old, 1, 700).err());
        assert!(matches!(fenced, Some(LogError::Fenced { own: 1, found: 2, .. })), "{fenced:?}");
        assert!(matches!(old_claim.check(), Err(LogError::Fenced { .. })));
        append(&mut new, 1, 300).unwrap();
        new.sync().unwrap();
        new_claim.check().unwrap();
        let expected = read_all(&disk.shared(), 0).unwrap();
        assert_eq!(expected.len(), 2);
        assert_eq!(expected[1].body.len(), 300, "the new writer's");
        if seed % 2 == 0 {
            disk.crash()
        } else {
            disk.kill()
        }
        let (_claim, third) = open(&disk, 2000);
        assert_eq!(third.next_offset(), 4, "seed {seed}");
        assert_eq!(read_all(&disk.shared(), 0).unwrap(), expected, "seed {seed}");
        let overtaken = |path: &std::path::PathBuf| {
            path.to_string_lossy().contains("-0000000001") && !path.ends_with("00000000000000000000-0000000001.segment")
        };
        assert!(!disk.files().iter().any(overtaken), "what was overtaken is removed: {:?}", disk.files());
    }
}

#[test]
fn a_log_of_a_newer_generation_is_not_opened() {
    let disk = SimulatedDisk::new(1);
    let (_claim, _old) = open(&disk, 2000);
    let (_claim, mut new) = open(&disk, 2000);
    append(&mut new, 1, 10).unwrap();
    let settings = LogSettings { segment_bytes: 2000, generation: 1 };
    let refused = PartitionLog::open(disk.shared(), Path::new(PARTITION), settings).unwrap_err();
    assert!(matches!(refused, LogError::Fenced { own: 1, found: 2, .. }), "{refused}");
}

/// A generation that went back, or is unreadable, acknowledges nothing.
#[test]
fn a_generation_that_is_not_ours_stops_the_writer() {
    let disk = SimulatedDisk::new(1);
    let claim = take(&disk, TakeOver::Refuse).unwrap();
    disk.remove(Path::new("/data/generation")).unwrap();
    let told = claim.check().unwrap_err().to_string();
    assert!(told.contains("`/data/generation`") && told.contains("it says 0"), "{told}");
}
