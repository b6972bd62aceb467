//! Another PRIMARY KEY over the same log: keys of the old one say nothing about those of the new one.

use std::path::Path;

use crate::world::{BEGIN_US, PAYMENTS, World, payment, payments, send, six_groups};

fn with_key(key: &str) -> String {
    PAYMENTS.replace("PRIMARY KEY (id)", key)
}

/// A world in which ids 1 to 18 were used, in shops 1001 to 1018; the log has those from 13 on.
fn world() -> World {
    let world = World::new(1);
    world.live(PAYMENTS, |engine, job| six_groups(&world, engine, job));
    world
}

#[test]
fn another_key_is_known_as_far_back_as_the_log_reaches() {
    let (world, by_shop) = (world(), with_key("PRIMARY KEY (shop)"));
    let now_us = BEGIN_US + 100_000_000;
    // Twice: the second time, the keys come from the checkpoint of the first.
    for turn in 0..2 {
        world.live(&by_shop, |engine, job| {
            let used = u64::from(turn == 0);
            // Shops of events that the log still has, with ids of their own.
            let known: String = (13..19).map(|id| payment(id + 100, id + 1_000, now_us)).collect();
            assert_eq!(send(engine, job, known), (0, 6), "turn {turn}");
            // Shops of events that it has not.
            assert_eq!(send(engine, job, payment(201, 1_001, now_us)), (used, 1 - used), "turn {turn}");
            // Shops that are numbered as ids were: an old hash would make duplicates of them.
            let as_ids: String = (1..19).map(|id| payment(id + 300, id, now_us)).collect();
            assert_eq!(send(engine, job, as_ids), (18 * used, 18 - 18 * used), "turn {turn}");
        });
    }
}

#[test]
fn back_to_the_key_of_before_it_is_the_log_again_that_counts() {
    let world = world();
    world.live(&with_key("PRIMARY KEY (id, shop)"), |engine, job| {
        assert_eq!(send(engine, job, payments([17], world.now_us())), (0, 1));
        assert_eq!(send(engine, job, payment(17, 5, world.now_us())), (1, 0));
    });
    world.live(PAYMENTS, |engine, job| {
        assert_eq!(send(engine, job, payments([13, 17], world.now_us())), (0, 2));
        assert_eq!(send(engine, job, payments([1], world.now_us())), (1, 0), "the log has it no more");
    });
}

#[test]
fn a_key_that_is_declared_later_knows_what_the_log_has() {
    let world = World::new(1);
    let without = with_key("PRIMARY KEY (id) NOT ENFORCED");
    world.live(&without, |engine, job| six_groups(&world, engine, job));
    world.live(PAYMENTS, |engine, job| {
        assert_eq!(send(engine, job, payments(13..19, world.now_us())), (0, 6));
        assert_eq!(send(engine, job, payments([1], world.now_us())), (1, 0));
    });
    world.live(&without, |engine, job| {
        assert_eq!(send(engine, job, payments(13..19, world.now_us())), (6, 0));
    });
}

/// What is not read cannot stop the start: a byte of the oldest segment's first frame is damaged.
#[test]
fn regression_without_a_key_the_log_is_not_asked_for_any() {
    let world = world();
    let oldest = "/data/log/payments/0/00000000000000000012-0000000001.segment";
    world.disk.flip(Path::new(oldest), 40 + 64).unwrap();
    world.live(&with_key("PRIMARY KEY (id) NOT ENFORCED"), |engine, job| {
        assert_eq!(send(engine, job, payments(13..19, world.now_us())), (6, 0));
    });
    let refused = world.refused(&with_key("PRIMARY KEY (shop)"));
    assert!(refused.contains(oldest), "{refused}");
}

#[test]
fn a_column_of_another_type_is_named() {
    let refused = world().refused(&PAYMENTS.replace("id BIGINT", "id INTEGER"));
    assert!(refused.contains("`id`") && refused.contains("BIGINT"), "{refused}");
}

/// What does not make the key another one costs nothing: all of it stays known.
#[test]
fn other_columns_do_not_count() {
    let world = world();
    let more = PAYMENTS.replace("shop BIGINT NOT NULL,", "shop BIGINT NOT NULL, note VARCHAR,");
    world.live(&more, |engine, job| {
        assert_eq!(send(engine, job, payments(1..19, world.now_us())), (0, 18));
    });
}
