//! Crashes at every operation: what was durable is there, what is there is a prefix, and offsets go on without a gap.

use asof_disk::simulated::SimulatedDisk;
use asof_log::{LogSettings, PartitionLog};

use crate::story::{Chance, End, Model, PARTITION, append, open, read_all};

/// What ends the life of a writer.
#[derive(Clone, Copy, Debug)]
enum Blow {
    PowerCut,
    Kill,
    FailedSync,
    FailedWrite,
}

/// A life that ends at this operation, one or two that end anywhere, and one that must find everything.
fn check(seed: u64, blow: Blow, point: u64) {
    let told = |end| {
        if let End::Broken(promise) = end {
            panic!("seed {seed}, {blow:?} at operation {point}: {promise}");
        }
    };
    let disk = SimulatedDisk::new(seed);
    let mut chance = Chance(!seed ^ point << 32);
    let mut model = Model::default();
    let strike = |disk: &SimulatedDisk, model: &mut Model, chance: &mut Chance, point: u64| {
        match blow {
            Blow::FailedSync => disk.fail_sync(1 + point % 12),
            Blow::FailedWrite => disk.fail_write(1 + point % 20),
            Blow::PowerCut | Blow::Kill => disk.crash_at(disk.operations() + point),
        }
        model.live(disk, chance, 6).unwrap_or_else(told);
        match (blow, chance.below(4)) {
            (Blow::Kill, 1..) | (Blow::FailedSync | Blow::FailedWrite, 0..2) => disk.kill(),
            _ => disk.crash(),
        }
    };
    strike(&disk, &mut model, &mut chance, point);
    for _ in 0..=chance.below(2) {
        let point = chance.below(60);
        strike(&disk, &mut model, &mut chance, point);
    }
    for _ in 0..2 {
        // What was to fail may not have come yet.
        disk.fail_sync(u64::MAX);
        disk.fail_write(u64::MAX);
        let lived = model.live(&disk, &mut chance, 2);
        assert!(!matches!(lived, Err(End::Failed)), "seed {seed}, {blow:?} at {point}: nothing was to fail any more");
        lived.unwrap_or_else(told);
        disk.crash();
    }
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_durable() {
    for seed in 0..60 {
        (0..90).for_each(|point| check(seed, Blow::PowerCut, point));
    }
}

#[test]
fn a_kill_at_any_operation_loses_nothing_durable() {
    for seed in 0..60 {
        (0..90).for_each(|point| check(seed, Blow::Kill, point));
    }
}

#[test]
fn a_failed_sync_loses_nothing_durable() {
    for seed in 0..400 {
        (0..12).for_each(|point| check(seed, Blow::FailedSync, point));
    }
}

#[test]
fn a_failed_write_loses_nothing_durable() {
    for seed in 0..400 {
        (0..20).for_each(|point| check(seed, Blow::FailedWrite, point));
    }
}

/// Also of a failed write the next call knows nothing, until the log is opened anew.
#[test]
fn a_log_that_failed_takes_nothing_until_it_is_opened_anew() {
    let failures: [fn(&SimulatedDisk, &mut PartitionLog) -> bool; 4] = [
        |disk, log| {
            disk.fail_write(1);
            append(log, 1, 100).is_err()
        },
        |disk, log| {
            disk.fail_sync(1);
            append(log, 1, 100).is_ok() && log.sync().is_err()
        },
        |disk, log| {
            disk.fail_sync(1);
            log.seal().is_err()
        },
        |disk, log| {
            disk.fail_write(1);
            log.seal().is_err()
        },
    ];
    for fail in failures {
        let disk = SimulatedDisk::new(1);
        let (claim, mut log) = open(&disk, 3000);
        append(&mut log, 1, 100).unwrap();
        log.sync().unwrap();
        assert!(fail(&disk, &mut log));
        let told = append(&mut log, 1, 100).unwrap_err().to_string();
        assert_eq!(
            told,
            "the log in `/data/log/clicks/0` takes nothing more since a write or sync of it failed: start again"
        );
        assert!(log.sync().is_err() && log.seal().is_err() && log.reserve(1).is_err());
        assert!(log.drop_segments_before(1).is_err());
        // By the same writer, under the same generation.
        let settings = LogSettings { segment_bytes: 3000, generation: claim.generation() };
        let (mut log, _torn) = PartitionLog::open(disk.shared(), PARTITION.as_ref(), settings).unwrap();
        let offset = append(&mut log, 1, 100).unwrap();
        assert!([1, 2].contains(&offset), "what failed may be there");
        log.sync().unwrap();
        disk.crash();
        assert_eq!(read_all(&disk.shared(), 0).unwrap().len() as u64, offset + 1);
    }
}
