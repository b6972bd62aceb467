//! The secret of primary keys: drawn once, never guessed anew, and not there in old data folders.

use std::fs;
use std::path::Path;

use asof_log::TakeOver;

use crate::world::{BEGIN_US, PAYMENTS, World, chance, checkpoint, payments, send, six_groups};

/// A data folder as it was made before there were secrets: what [`six_groups`] leaves, with 3 keys to a run.
fn old_sample(world: &World) {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/data-folder-1");
    let mut folders = vec![sample.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                world.write(path.strip_prefix(&sample).unwrap(), &fs::read(&path).unwrap());
            }
        }
    }
}

#[test]
fn it_is_drawn_once_for_each_data_folder() {
    let mut world = World::new(1);
    world.live(PAYMENTS, |engine, job| six_groups(&world, engine, job));
    let first = world.bytes("key-secret").unwrap();
    assert_eq!(first[16..208], chance(1));
    assert_eq!(first, include_bytes!("../samples/key-secret-1"), "what is written now is what was written then");
    world.drawn = 2;
    world.live(PAYMENTS, |engine, job| {
        assert_eq!(send(engine, job, payments(1..20, BEGIN_US + 120_000_000)), (1, 18));
    });
    assert_eq!(world.bytes("key-secret").unwrap(), first);
}

#[test]
fn hashes_of_two_data_folders_have_nothing_in_common() {
    let runs = |drawn| {
        let mut world = World::new(1);
        world.drawn = drawn;
        world.live(PAYMENTS, |engine, job| six_groups(&world, engine, job));
        let paths = world.disk.files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "keys"));
        paths.map(|path| world.bytes(path.to_str().unwrap()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(runs(1), runs(1));
    assert!(runs(1).iter().all(|run| !runs(2).contains(run)));
}

#[test]
fn who_takes_over_has_the_same() {
    let mut world = World::new(1);
    let old = world.storage(world.disk.shared(), TakeOver::Refuse).unwrap();
    let drawn = world.bytes("key-secret").unwrap();
    world.drawn = 2;
    let new = world.storage(world.disk.shared(), TakeOver::TakeOver).unwrap();
    assert_eq!((old.generation(), new.generation()), (1, 2));
    assert_eq!(world.bytes("key-secret").unwrap(), drawn);
}

#[test]
fn damage_is_named_and_never_drawn_over() {
    let world = World::new(1);
    world.live(PAYMENTS, |engine, job| six_groups(&world, engine, job));
    let whole = world.bytes("key-secret").unwrap();
    for byte in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[byte] ^= 4;
        world.write(Path::new("key-secret"), &damaged);
        let expected = "the secret of primary keys, `/data/key-secret`, cannot be used: it is damaged: it does not match \
                        its checksum; hint: bring it back from a copy of the data folder";
        assert_eq!(world.refused(PAYMENTS), expected, "byte {byte}");
    }
    world.write(Path::new("key-secret"), &[whole.as_slice(), &[0]].concat());
    assert!(world.refused(PAYMENTS).contains("has 217 bytes, at most 216 were expected"));
    world.write(Path::new("key-secret"), &whole);
    world.live(PAYMENTS, |engine, job| {
        assert_eq!(send(engine, job, payments(1..19, BEGIN_US + 100_000_000)), (0, 18));
    });
}

#[test]
fn a_lost_or_another_one_beside_checkpoints_is_refused() {
    let world = World::new(1);
    world.live(PAYMENTS, |engine, job| six_groups(&world, engine, job));
    let own = world.bytes("key-secret").unwrap();
    world.remove("key-secret");
    let lost = world.refused(PAYMENTS);
    assert!(lost.contains("`/data/key-secret`") && lost.contains("it is not there, and the checkpoints"), "{lost}");
    assert!(world.bytes("key-secret").is_err(), "nothing is drawn in its place");
    let mut other = World::new(1);
    other.drawn = 2;
    other.live(PAYMENTS, |_, _| ());
    world.write(Path::new("key-secret"), &other.bytes("key-secret").unwrap());
    let wrong = world.refused(PAYMENTS);
    assert!(wrong.contains("the checkpoints were written with another one"), "{wrong}");
    world.write(Path::new("key-secret"), &own);
    world.live(PAYMENTS, |_, _| ());
}

/// Without a checkpoint all keys are of the log, whatever they are hashed with.
#[test]
fn a_lost_one_beside_nothing_but_the_log_is_drawn_again() {
    let mut world = World::new(1);
    {
        let engine = world.engine(PAYMENTS).unwrap();
        let mut job = asof_pipeline::Steps::recover(&engine).unwrap();
        assert_eq!(send(&engine, &mut job, payments(1..9, BEGIN_US)), (8, 0));
    }
    world.disk.crash();
    world.remove("key-secret");
    world.drawn = 2;
    world.live(PAYMENTS, |engine, job| assert_eq!(send(engine, job, payments(1..10, BEGIN_US)), (1, 8)));
    assert_eq!(world.bytes("key-secret").unwrap()[16..208], chance(2));
}

/// Keys of before are known, those that the log does not have any more too; and it stays so.
#[test]
fn an_old_data_folder_goes_on_without() {
    let world = World::new(1);
    old_sample(&world);
    world.pass_us(120_000_000);
    for turn in 0..3 {
        world.live(PAYMENTS, |engine, job| {
            let used = u64::from(turn == 0);
            assert_eq!(send(engine, job, payments(1..20, world.now_us())), (used, 19 - used), "turn {turn}");
            checkpoint(job);
        });
        assert!(world.bytes("key-secret").is_err(), "it has none, and gets none");
        assert!(world.bytes("log/payments/0/durable").is_err(), "the mark of before gives way to one of a generation");
    }
}
