//! What joins let go of and what they hold: a history against the watermark, a full state, versions while a start brings them
//! back, and who is told of what fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use asof_disk::hooked::HookedDisk;
use asof_pipeline::{DeadLetterQuery, Engine, IngestError, Manner, Steps};
use serde_json::{Map, Value, json};

use crate::values::read;
use crate::world::{SECOND_US, World, checkpoint, leave, project, send, source_of, try_send};

const BEGIN_US: i64 = 1_700_000_000 * SECOND_US;
/// Now, in seconds: nothing is too far in the future.
const NOW: i64 = 100_000;

const SQL: &str = "
CREATE STREAM tx (account BIGINT, merchant BIGINT, amount BIGINT, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '30' SECOND);
CREATE TABLE merchants (merchant BIGINT, fee BIGINT, at TIMESTAMP NOT NULL,
  PRIMARY KEY (merchant), WATERMARK FOR at AS at - INTERVAL '30' SECOND);
CREATE FEATURE VIEW fees AS SELECT t.account, count(*) OVER w AS n, sum(m.fee) OVER w AS fees
FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant
WINDOW w AS (PARTITION BY t.account ORDER BY t.ts ROWS BETWEEN 9 PRECEDING AND CURRENT ROW);
";

fn at(seconds: i64) -> i64 {
    BEGIN_US + seconds * SECOND_US
}

fn world(sql: &str) -> World {
    let world = World::new(1, sql);
    world.set_clock(at(NOW));
    world
}

fn event(merchant: i64, seconds: i64) -> String {
    json!({"account": 1, "merchant": merchant, "amount": 5, "ts": at(seconds)}).to_string() + "\n"
}

fn version(merchant: i64, fee: i64, at_us: i64) -> String {
    json!({"merchant": merchant, "fee": fee, "at": at_us}).to_string() + "\n"
}

fn features(engine: &Engine, view: usize) -> Value {
    json!(read(engine, view, &Map::from_iter([("account".to_owned(), Value::from(1))]), at(NOW)))
}

fn history() -> Manner {
    Manner::History { arrived: None }
}

/// Whatever was let go of, and however many rows came: `maintain` in between changes nothing.
#[test]
fn regression_a_history_in_two_batches_goes_by_the_watermark_of_its_stream() {
    for is_swept in [false, true] {
        let world = world(SQL);
        world.live(|engine, job| {
            send(engine, job, "merchants", &version(2, 1, at(10)));
            try_send(engine, job, "tx", &event(2, 60), history()).unwrap();
            try_send(engine, job, "tx", &event(2, 300), history()).unwrap();
            if is_swept {
                engine.maintain().unwrap();
            }
            let told = try_send(engine, job, "tx", &event(2, 269), history()).unwrap_err();
            let expected =
                IngestError::OutOfReach { least_us: at(269), earliest_us: at(270), other: "merchants".to_owned() };
            assert_eq!(told, expected);
            assert_eq!(try_send(engine, job, "tx", &event(2, 270), history()).unwrap().accepted, 1);
            // What was set aside is old: it may come as long as all that it needs is held.
            assert_eq!(try_send(engine, job, "tx", &event(2, 60), Manner::Replayed).unwrap().accepted, 1);
            let told = try_send(engine, job, "tx", &event(2, 59), Manner::Replayed).unwrap_err();
            assert!(matches!(told, IngestError::OutOfReach { earliest_us, .. } if earliest_us == at(60)), "{told:?}");
            assert_eq!(features(engine, 0), json!({"n": 4, "fees": 4}));
        });
    }
}

/// A silent table keeps events of any age changeable.
fn fill(engine: &Engine, job: &mut Steps<'_>) -> i64 {
    for turn in 1..1_000 {
        let told = try_send(engine, job, "tx", &event(2, turn * 90).repeat(1_000), Manner::Live);
        engine.maintain().unwrap();
        match told {
            Ok(_) => {}
            Err(IngestError::StateFull { .. }) => return turn * 90,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the state is never full");
}

fn small_world() -> World {
    let mut world = world(SQL);
    world.settings.as_of_horizon_us = 10 * SECOND_US;
    world.settings.state_bytes_max = 1 << 20;
    world
}

#[test]
fn regression_a_state_full_of_rows_held_for_versions_takes_these_in() {
    let world = small_world();
    world.live(|engine, job| {
        send(engine, job, "merchants", &version(2, 1, at(0)));
        let last = fill(engine, job);
        let held = engine.stream_statistics(0).held_rows;
        assert!(held > 1_000, "{held}");
        let told = try_send(engine, job, "tx", &event(2, last), Manner::Live).unwrap_err();
        assert!(matches!(told, IngestError::StateFull { .. }), "{told:?}");
        assert_eq!(
            try_send(engine, job, "merchants", &version(2, 1, at(last + 40)), Manner::Live).unwrap().accepted,
            1
        );
        engine.maintain().unwrap();
        assert_eq!(engine.stream_statistics(0).held_rows, 0);
        assert_eq!(try_send(engine, job, "tx", &event(2, last + 60), Manner::Live).unwrap().accepted, 1);
        assert_eq!(features(engine, 0), json!({"n": 10, "fees": 10}));
    });
}

/// Versions of one time let nothing go; those of ever newer ones are awaited, up to a bound. One that frees the state comes in
/// even then.
#[test]
fn versions_beyond_a_full_state_have_an_end() {
    let world = small_world();
    let limit_bytes = world.settings.state_bytes_max;
    world.live(|engine, job| {
        send(engine, job, "merchants", &version(2, 1, at(0)));
        let last = fill(engine, job);
        let old: String = (0..100).map(|row| version(1_000 + row, 1, at(0))).collect();
        let told = try_send(engine, job, "merchants", &old, Manner::Live).unwrap_err();
        assert!(matches!(told, IngestError::StateFull { .. }), "{told:?}");
        let mut accepted = 0;
        for turn in 1..1_000 {
            let versions: String = (0..100).map(|row| version(turn * 100 + row, 1, at(0) + turn)).collect();
            let told = try_send(engine, job, "merchants", &versions, Manner::Live);
            engine.maintain().unwrap();
            match told {
                Ok(receipt) => accepted += receipt.accepted,
                Err(IngestError::StateFull { held_bytes, .. }) => {
                    assert!(held_bytes > limit_bytes + limit_bytes / 8, "{held_bytes}");
                    assert!(held_bytes < limit_bytes + limit_bytes / 4, "{held_bytes}");
                    break;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(accepted > 500, "{accepted}");
        let frees = version(2, 1, at(last + 40));
        assert_eq!(try_send(engine, job, "merchants", &frees, Manner::Live).unwrap().accepted, 1);
        engine.maintain().unwrap();
        assert_eq!(engine.stream_statistics(0).held_rows, 0);
    });
}

/// Of two tables the one that rows wait for longest is let in.
#[test]
fn regression_a_lively_table_does_not_take_the_room_of_a_silent_one() {
    let sql = SQL
        .replace(
            "CREATE FEATURE VIEW",
            "CREATE TABLE rates (merchant BIGINT, rate BIGINT, at TIMESTAMP NOT NULL,
  PRIMARY KEY (merchant), WATERMARK FOR at AS at - INTERVAL '30' SECOND);
CREATE FEATURE VIEW",
        )
        .replace("WINDOW w", "LEFT JOIN rates FOR SYSTEM_TIME AS OF t.ts AS r ON r.merchant = t.merchant WINDOW w")
        .replace("sum(m.fee)", "sum(m.fee + r.rate)");
    let mut world = world(&sql);
    world.settings.as_of_horizon_us = 10 * SECOND_US;
    world.settings.state_bytes_max = 1 << 20;
    let rate = |seconds: i64| json!({"merchant": 2, "rate": 1, "at": at(seconds)}).to_string() + "\n";
    world.live(|engine, job| {
        send(engine, job, "merchants", &version(2, 1, at(0)));
        send(engine, job, "rates", &rate(10));
        let last = fill(engine, job);
        let told = try_send(engine, job, "rates", &rate(last + 40), Manner::Live).unwrap_err();
        assert!(matches!(told, IngestError::StateFull { .. }), "{told:?}");
        let newer = version(2, 1, at(last + 40));
        assert_eq!(try_send(engine, job, "merchants", &newer, Manner::Live).unwrap().accepted, 1);
        engine.maintain().unwrap();
        assert_eq!(try_send(engine, job, "rates", &rate(last + 40), Manner::Live).unwrap().accepted, 1);
        engine.maintain().unwrap();
        assert_eq!(engine.stream_statistics(0).held_rows, 0);
    });
}

const VERSIONS: i64 = 150_000;
const MERCHANTS: i64 = 10;

/// What a table held at most, whenever it was told of, while a world was recovered.
fn recovered(world: &World, look: impl FnOnce(&Engine)) -> usize {
    let (engine, most) = (Arc::new(OnceLock::<Weak<Engine>>::new()), Arc::new(AtomicUsize::new(0)));
    let (asked, greatest) = (engine.clone(), most.clone());
    let disk = HookedDisk::new(world.disk.shared(), move |_| {
        if let Some(engine) = asked.get().and_then(Weak::upgrade) {
            greatest.fetch_max(engine.table_statistics(0).held.versions, Ordering::Relaxed);
        }
        Ok(())
    });
    let own = Arc::new(world.engine_on(Arc::new(disk)).unwrap());
    engine.set(Arc::downgrade(&own)).unwrap();
    let job = Steps::recover(&own).unwrap();
    look(&own);
    drop(job);
    drop(own);
    world.disk.kill();
    most.load(Ordering::Relaxed)
}

/// The log of a table has every version that ever came; a start holds those that some event may be joined with.
#[test]
fn regression_a_start_lets_go_of_versions_that_nobody_looks_up() {
    let mut world = world(SQL);
    let fee_at = |merchant: i64, seconds: i64| {
        // A version a millisecond, the merchants in turn.
        let newest = seconds * 1_000;
        newest - (newest - merchant).rem_euclid(MERCHANTS)
    };
    let rows = |first: i64| -> String {
        let row = |number: i64| version(number % MERCHANTS, number, BEGIN_US + number * 1_000);
        (first..first + 10_000).map(row).collect()
    };
    world.live(|engine, job| {
        (0..VERSIONS / 10_000).for_each(|batch| drop(send(engine, job, "merchants", &rows(batch * 10_000))));
        send(engine, job, "tx", &(event(1, 100) + &event(2, 125)));
        checkpoint(job);
        // Older than all that the checkpoint knows, and not late.
        send(engine, job, "tx", &event(3, 96));
    });
    let fees = fee_at(1, 100) + fee_at(2, 125) + fee_at(3, 96);
    let expected = json!({"n": 3, "fees": fees});
    let check = |engine: &Engine| assert_eq!(features(engine, 0), expected);
    let held = recovered(&world, check);
    assert!((1..100_000).contains(&held), "held {held} of {VERSIONS} versions");
    // A view that is computed anew is joined with versions of any age.
    let first = SQL.find("CREATE FEATURE VIEW").unwrap();
    world.project = project(&format!("{SQL}{}", SQL[first..].replace("VIEW fees", "VIEW again")));
    let held = recovered(&world, |engine| {
        check(engine);
        assert_eq!(features(engine, 1), expected);
    });
    assert!(held > 100_000, "held {held} of {VERSIONS} versions");
}

/// What is held for late versions has the columns that views need, not those of a stream that none reads.
#[test]
fn regression_a_derived_stream_without_views_has_no_late_letters() {
    let sql = format!(
        "{SQL}CREATE STREAM unread AS SELECT t.account, m.fee / coalesce(t.amount, 0) AS share, t.ts
         FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant;"
    );
    world(&sql).live(|engine, job| {
        send(engine, job, "tx", &event(2, 60));
        send(engine, job, "merchants", &version(2, 1, at(10)));
        assert_eq!(features(engine, 0), json!({"n": 1, "fees": 1}), "it came late and counts");
        let query = DeadLetterQuery { limit: 100, ..DeadLetterQuery::default() };
        let page = engine.dead_letters(source_of(engine, "merchants"), &query).unwrap().unwrap();
        assert!(page.letters.is_empty(), "{:?}", page.letters);
        assert_eq!(engine.derived_statistics(0).set_aside, 0);
    });
}

/// One version may change all that is held, and another of the same group some of it once more: what is kept between the log
/// and the views has a bound, and what is evaluated again later knows no more than it did then.
#[test]
fn a_version_that_changes_more_rows_than_are_kept() {
    const ROWS: i64 = 60_000;
    let by_fee = "CREATE FEATURE VIEW by_fee AS SELECT m.fee, count(*) OVER w AS n
        FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant
        WINDOW w AS (PARTITION BY m.fee ORDER BY t.ts);";
    let world = world(&format!("{}{by_fee}", SQL.replace("ROWS BETWEEN 9 PRECEDING AND CURRENT ROW", "")));
    let event = |row: i64| {
        // Every third is of another merchant, which stays as it is.
        let merchant = i64::from(row % 3 > 0);
        json!({"account": 1, "merchant": merchant, "amount": row, "ts": at(0) + row * 1_000}).to_string() + "\n"
    };
    let check = |engine: &Engine, changes: &[(i64, i64)]| {
        let fee_of = |row: &i64| changes.iter().rev().find(|(from, _)| from * 1_000 <= *row).map_or(0, |(_, fee)| *fee);
        let fees: Vec<i64> = (0..ROWS).filter(|row| row % 3 > 0).map(|row| fee_of(&row)).collect();
        assert_eq!(features(engine, 0), json!({"n": ROWS, "fees": fees.iter().sum::<i64>()}));
        for fee in 1..9 {
            let of_fee = json!(read(engine, 1, &Map::from_iter([("fee".to_owned(), Value::from(fee))]), at(NOW)));
            assert_eq!(of_fee, json!({"n": fees.iter().filter(|own| **own == fee).count()}), "{fee}");
        }
    };
    let all = [(0, 3), (20, 5), (30, 1), (40, 7)];
    world.live(|engine, job| {
        for batch in 0..ROWS / 10_000 {
            let rows: String = (batch * 10_000..(batch + 1) * 10_000).map(event).collect();
            send(engine, job, "tx", &rows);
        }
        assert_eq!(features(engine, 0), json!({"n": ROWS, "fees": null}));
        // A live batch and a history are prepared one after the other, and taken in together.
        let merchants = source_of(engine, "merchants");
        let sent = [(version(1, 3, at(0)), Manner::Live), (version(1, 5, at(20)) + &version(1, 7, at(40)), history())]
            .map(|(lines, manner)| leave(engine, merchants, &lines, (manner, None)).unwrap());
        job.commit().unwrap();
        sent.iter().for_each(|answer| assert!(answer.lock().unwrap().take().unwrap().is_ok()));
        check(engine, &[(0, 3), (20, 5), (40, 7)]);
        assert_eq!(engine.published().streams[0].rejoined_rows, 40_000 + 26_667);
        send(engine, job, "merchants", &version(1, 1, at(30)));
        check(engine, &all);
    });
    world.live(|engine, _| check(engine, &all));
}
