//! What fails since a version came, what comes too late for joins, what breaks together, and what tables take of memory.

use asof_pipeline::{DeadLetterQuery, Engine, IngestError, Manner};
use serde_json::{Map, Value, json};

use crate::plain::{MERCHANTS, TX, sql_without};
use crate::values::read;
use crate::world::{SECOND_US, World, checkpoint, leave, send, try_send};

const BEGIN_US: i64 = 1_700_000_000 * SECOND_US;

/// Seconds after the beginning.
fn at(seconds: i64) -> i64 {
    BEGIN_US + seconds * SECOND_US
}

/// Of joins alone: groups of rows need more of a table.
fn sql() -> String {
    sql_without(&["of_region"])
}

fn world() -> World {
    let world = World::new(1, &sql());
    world.set_clock(at(60));
    world
}

fn event(serial: i64, amount: i64, seconds: i64) -> String {
    json!({"serial": serial, "account": 1, "merchant": 2, "amount": amount, "ts": at(seconds)}).to_string() + "\n"
}

fn merchant(fee: i64, seconds: i64) -> String {
    json!({"merchant": 2, "region": 3, "fee": fee, "at": at(seconds)}).to_string() + "\n"
}

fn features(engine: &Engine, view: usize, key: i64) -> Value {
    let name = &engine.project().views[view].key[0].name;
    json!(read(engine, view, &Map::from_iter([(name.clone(), Value::from(key))]), at(60)))
}

/// Of a source: offset, reader, detail and text of what was set aside.
fn letters(engine: &Engine, source: usize) -> Vec<(u64, String, String, String)> {
    let query = DeadLetterQuery { limit: 100, ..DeadLetterQuery::default() };
    let page = engine.dead_letters(source, &query).unwrap().unwrap();
    let told = |placed: asof_pipeline::PlacedDeadLetter| {
        let letter = placed.letter;
        (placed.offset, letter.view.unwrap(), letter.detail, letter.raw)
    };
    page.letters.into_iter().map(told).collect()
}

#[test]
fn an_event_that_fails_by_a_late_version_is_told_with_the_version() {
    let world = world();
    let check = |engine: &Engine| {
        assert_eq!(features(engine, 2, 1), json!({"n": 1, "shares": 3}));
        assert!(letters(engine, TX).is_empty());
        let told = letters(engine, MERCHANTS);
        assert_eq!(told.len(), 1, "{told:?}");
        let (offset, reader, detail, raw) = &told[0];
        assert_eq!((*offset, &reader[..]), (1, "priced"));
        let event: Value = serde_json::from_str(raw).unwrap();
        assert_eq!(event, json!({"stream": "tx", "partition": 0, "offset": 1}));
        assert!(detail.contains("ivi"), "{detail}");
        assert_eq!(engine.derived_statistics(0).set_aside, 1);
        let reasons = engine.table_statistics(0).versions.reasons;
        assert_eq!((&reasons[0].name[..], reasons[0].count, reasons[0].offset), ("set aside for `priced`", 1, 1));
    };
    world.live(|engine, job| {
        send(engine, job, "merchants", &merchant(2, 0));
        send(engine, job, "tx", &(event(1, 6, 20) + &event(2, 8, 40)));
        assert_eq!(features(engine, 2, 1), json!({"n": 2, "shares": 7}));
        // From second 30 on the fee was nothing.
        send(engine, job, "merchants", &merchant(0, 30));
        check(engine);
        assert_eq!(engine.published().streams[TX].rejoined_rows, 1);
    });
    world.live(|engine, job| {
        check(engine);
        checkpoint(job);
    });
    world.live(|engine, job| {
        check(engine);
        // What was told is not taken back, and what comes is joined anew.
        send(engine, job, "merchants", &merchant(4, 35));
        assert_eq!(features(engine, 2, 1), json!({"n": 2, "shares": 5}));
        assert_eq!(letters(engine, MERCHANTS).len(), 1);
    });
}

#[test]
fn a_history_that_reaches_below_what_joins_know_is_refused() {
    let world = world();
    world.live(|engine, job| {
        let history = || Manner::History { arrived: None };
        // Before the first event versions may be as old as they like.
        assert_eq!(try_send(engine, job, "merchants", &merchant(1, -500), history()).unwrap().accepted, 1);
        send(engine, job, "merchants", &merchant(2, 50));
        send(engine, job, "regions", &(json!({"region": 3, "weight": 1, "at": at(50)}).to_string() + "\n"));
        send(engine, job, "tx", &event(1, 6, 50));
        let told = try_send(engine, job, "merchants", &(merchant(3, 45) + &merchant(3, 19)), history()).unwrap_err();
        let expected = IngestError::OutOfReach { least_us: at(19), earliest_us: at(20), other: "tx".to_owned() };
        assert_eq!(told, expected);
        assert_eq!(
            told.to_string(),
            format!(
                "rows from {} on, by event time, come too late: `tx` reaches back to {}",
                asof_connect::instant_text(at(19)),
                asof_connect::instant_text(at(20))
            )
        );
        assert_eq!(engine.published().streams[MERCHANTS].accounting.total(), 2);
        assert_eq!(try_send(engine, job, "merchants", &merchant(3, 20), history()).unwrap().accepted, 1);
        // Time goes on, and versions that nobody looks up are dropped.
        world.set_clock(at(300));
        for source in ["merchants", "regions", "tx"] {
            let row = match source {
                "merchants" => merchant(5, 300),
                "tx" => event(2, 6, 300),
                _ => json!({"region": 3, "weight": 2, "at": at(300)}).to_string() + "\n",
            };
            send(engine, job, source, &row);
        }
        engine.maintain().unwrap();
        let told = try_send(engine, job, "tx", &event(3, 6, 100), history()).unwrap_err();
        let IngestError::OutOfReach { least_us, earliest_us, other } = told else { panic!("{told:?}") };
        assert_eq!((least_us, earliest_us), (at(100), at(270)));
        assert!(["merchants", "regions"].contains(&&other[..]), "{other}");
        // Rows that are refused anyway say nothing of time.
        let unreadable = event(4, 6, 100).replace("6", "\"many\"");
        let receipt = try_send(engine, job, "tx", &(unreadable + &event(5, 6, 280)), history()).unwrap();
        assert_eq!((receipt.accepted, receipt.rejected), (1, 1));
    });
}

/// The table has let go of nothing yet that a history may not precede: a delete marker stays.
#[test]
fn regression_a_history_before_a_delete_does_not_undo_it() {
    let world = world();
    world.live(|engine, job| {
        let marker = json!({"merchant": 2, "gone": true, "at": at(5)}).to_string() + "\n";
        send(engine, job, "merchants", &marker);
        send(engine, job, "merchants", &(json!({"merchant": 9, "at": at(50)}).to_string() + "\n"));
        send(engine, job, "tx", &event(1, 6, 40));
        engine.maintain().unwrap();
        let history = Manner::History { arrived: None };
        assert_eq!(try_send(engine, job, "merchants", &merchant(3, 0), history).unwrap().accepted, 1);
        assert_eq!(features(engine, 0, 1), json!({"n": 1, "fees": null, "joined": 0}));
    });
}

/// Orders join a table that has come far, and the union's other events one that has not: these may still go.
#[test]
fn a_union_holds_what_its_slowest_join_may_change() {
    let mut world = world();
    world.settings.as_of_horizon_us = 0;
    world.live(|engine, job| {
        send(engine, job, "regions", &(json!({"region": 3, "weight": 1, "at": at(100)}).to_string() + "\n"));
        send(engine, job, "merchants", &merchant(5, 0));
        send(engine, job, "tx", &(event(1, 6, 10) + &event(2, 6, 20) + &event(3, 6, 30)));
        send(engine, job, "tx", &(json!({"serial": 4, "amount": 6, "ts": at(90)}).to_string() + "\n"));
        send(engine, job, "orders", &(json!({"serial": 1, "account": 2, "ts": at(90)}).to_string() + "\n"));
        engine.maintain().unwrap();
        assert_eq!(features(engine, 5, 1), json!({"n": 0, "charges": null, "last_two": 10}));
        // That of second 30 costs nothing any more: the first two are the last ones.
        send(engine, job, "merchants", &merchant(0, 25));
        assert_eq!(features(engine, 5, 1), json!({"n": 0, "charges": null, "last_two": 10}));
        send(engine, job, "merchants", &merchant(7, 15));
        assert_eq!(features(engine, 5, 1), json!({"n": 0, "charges": null, "last_two": 12}));
    });
}

#[test]
fn what_joins_hold_together_breaks_together() {
    let sql = format!(
        "{}\nCREATE STREAM alone (k BIGINT NOT NULL, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '9' SECOND);
         CREATE FEATURE VIEW counted AS SELECT k, count(*) OVER w AS n FROM alone WINDOW w AS (PARTITION BY k ORDER BY ts);",
        sql()
    );
    for (first_source, first, second_source, second) in [
        ("merchants", merchant(2, 40), "tx", event(2, 6, 45)),
        ("tx", event(2, 6, 45), "merchants", merchant(2, 40)),
        ("merchants", merchant(2, 40), "regions", json!({"region": 3, "weight": 2, "at": at(40)}).to_string() + "\n"),
    ] {
        let world = World::new(1, &sql);
        world.set_clock(at(60));
        let before = json!({"n": 1, "fees": 1, "joined": 1});
        world.live(|engine, job| {
            send(engine, job, "merchants", &merchant(1, 0));
            send(engine, job, "tx", &event(1, 6, 45));
            assert_eq!(features(engine, 0, 1), before);
            world.disk.fail_sync(1);
            let broken = try_send(engine, job, first_source, &first, Manner::Live).unwrap_err();
            assert!(matches!(&broken, IngestError::Broken { stream, .. } if stream == first_source), "{broken:?}");
            let beside = try_send(engine, job, second_source, &second, Manner::Live).unwrap_err();
            assert!(matches!(&beside, IngestError::Broken { stream, .. } if stream == second_source), "{beside:?}");
            assert_eq!(features(engine, 0, 1), before, "nothing is seen that may not be stored");
            let lines = json!({"k": 1, "ts": at(50)}).to_string() + "\n";
            assert_eq!(send(engine, job, "alone", &lines).accepted, 1);
            assert!(!job.checkpoint().unwrap(), "a checkpoint of now would have what no log has");
        });
        world.disk.fail_sync(1 << 60);
        world.live(|engine, job| {
            send(engine, job, second_source, &second);
            assert_eq!(features(engine, 6, 1), json!({"n": 1}));
        });
    }
}

/// A group of a version and an event of which one log cannot be made durable.
#[test]
fn a_group_that_joins_is_seen_as_one_or_not_at_all() {
    for nth in [1, 2] {
        let world = world();
        world.live(|engine, job| {
            send(engine, job, "merchants", &merchant(1, 0));
            send(engine, job, "tx", &event(1, 6, 45));
            world.disk.fail_sync(nth);
            let answers = [(MERCHANTS, merchant(2, 40)), (TX, event(2, 6, 45))]
                .map(|(source, lines)| leave(engine, source, &lines, (Manner::Live, None)).unwrap());
            job.commit().unwrap();
            for answer in answers {
                let told = answer.lock().unwrap().take().unwrap().unwrap_err();
                assert!(matches!(told, IngestError::Broken { .. }), "{told:?}");
            }
            assert_eq!(features(engine, 0, 1), json!({"n": 1, "fees": 1, "joined": 1}));
        });
    }
}

#[test]
fn a_table_tells_what_it_holds_and_lets_go_of_what_nobody_looks_up() {
    let world = world();
    world.live(|engine, job| {
        for (fee, seconds) in [(1, 0), (2, 10), (3, 20)] {
            send(engine, job, "merchants", &merchant(fee, seconds));
        }
        send(engine, job, "tx", &event(1, 6, 15));
        engine.maintain().unwrap();
        let held = engine.table_statistics(0).held;
        assert_eq!((held.keys, held.versions, held.rows), (1, 3, 3));
        assert!(held.bytes > 0 && engine.held_bytes() > held.bytes);
        assert_eq!(engine.stream_statistics(TX).held_rows, 1);
        let statistics = engine.table_statistics(0).versions;
        assert_eq!(statistics.position.accounting.used, 3);
        assert_eq!(statistics.position.watermark_us, Some(at(-10)));
        world.set_clock(at(300));
        send(engine, job, "merchants", &merchant(4, 300));
        send(engine, job, "regions", &(json!({"region": 3, "weight": 1, "at": at(300)}).to_string() + "\n"));
        send(engine, job, "tx", &event(2, 6, 300));
        engine.maintain().unwrap();
        let held = engine.table_statistics(0).held;
        assert_eq!((held.keys, held.versions), (1, 2), "that of second 20 holds until 300");
        assert_eq!(engine.stream_statistics(TX).held_rows, 1);
    });
}

#[test]
fn a_table_that_fills_the_state_turns_its_producers_away() {
    let mut world = world();
    world.settings.state_bytes_max = 400_000;
    world.live(|engine, job| {
        let rows = |from: i64| -> String {
            let row = |key| json!({"merchant": key, "region": 1, "fee": 1, "at": at(50)}).to_string() + "\n";
            (from..from + 2_000).map(row).collect()
        };
        let mut told = Ok(());
        for turn in 0..20 {
            told = try_send(engine, job, "merchants", &rows(turn * 2_000), Manner::Live).map(|_| ());
            engine.maintain().unwrap();
            if told.is_err() {
                break;
            }
        }
        assert!(matches!(told, Err(IngestError::StateFull { .. })), "{told:?}");
        assert!(engine.held_bytes() > 400_000);
    });
}
