//! Groups of a table's rows beside the door: a history against what was let go of, and letters of versions that fail.

use asof_pipeline::{DeadLetterQuery, Engine, IngestError, Manner};
use serde_json::{Map, Value, json};

use crate::values::read;
use crate::world::{SECOND_US, World, checkpoint, send, source_of, try_send};

const BEGIN_US: i64 = 1_700_000_000 * SECOND_US;
/// Now, in seconds: nothing is too far in the future.
const NOW: i64 = 100_000;

const SQL: &str = "
CREATE TABLE items (item BIGINT, cart BIGINT, price BIGINT, gone BOOLEAN, at TIMESTAMP NOT NULL,
  PRIMARY KEY (item), WATERMARK FOR at AS at - INTERVAL '30' SECOND) WITH (delete_column = 'gone');
CREATE FEATURE VIEW cart AS SELECT cart, count(*) AS n, sum(60 / price) AS total FROM items GROUP BY cart;
";

fn at(seconds: i64) -> i64 {
    BEGIN_US + seconds * SECOND_US
}

fn world() -> World {
    let mut world = World::new(1, SQL);
    world.settings.as_of_horizon_us = 10 * SECOND_US;
    world.set_clock(at(NOW));
    world
}

fn version(item: i64, price: i64, seconds: i64) -> String {
    json!({"item": item, "cart": 1, "price": price, "at": at(seconds)}).to_string() + "\n"
}

fn marker(item: i64, seconds: i64) -> String {
    json!({"item": item, "gone": true, "at": at(seconds)}).to_string() + "\n"
}

fn cart(engine: &Engine, seconds: i64) -> Value {
    json!(read(engine, 0, &Map::from_iter([("cart".to_owned(), Value::from(1))]), at(seconds)))
}

/// A history is taken in as long as the delete markers that would end its rows are held: behind them a row of it would be valid
/// for ever. After a start they are there again.
#[test]
fn a_history_reaches_back_to_the_markers_that_are_held() {
    let world = world();
    let history = || Manner::History { arrived: None };
    world.live(|engine, job| {
        send(engine, job, "items", &(version(1, 6, 100) + &marker(1, 200) + &version(2, 2, 1_000)));
        assert_eq!(try_send(engine, job, "items", &version(1, 5, 150), history()).unwrap().accepted, 1);
        assert_eq!(cart(engine, 1_000), json!({"n": 1, "total": 30}), "a marker came before and ends it");
        send(engine, job, "items", &version(3, 3, 1_001));
        engine.maintain().unwrap();
        engine.maintain().unwrap();
        let told = try_send(engine, job, "items", &version(1, 4, 160), history()).unwrap_err();
        let expected = IngestError::OutOfReach { least_us: at(160), earliest_us: at(971), other: "cart".to_owned() };
        assert_eq!(told, expected);
        assert_eq!(try_send(engine, job, "items", &version(4, 4, 971), history()).unwrap().accepted, 1);
        assert_eq!(cart(engine, 1_001), json!({"n": 3, "total": 30 + 20 + 15}));
        checkpoint(job);
    });
    world.live(|engine, job| {
        assert_eq!(cart(engine, 1_001), json!({"n": 3, "total": 30 + 20 + 15}));
        let told = try_send(engine, job, "items", &marker(2, 1_000), history());
        assert_eq!(told.unwrap().accepted, 1);
        assert_eq!(cart(engine, 1_001), json!({"n": 2, "total": 20 + 15}));
    });
}

/// Later markers are let go of, too.
#[test]
fn markers_are_let_go_of_again_and_again() {
    let world = world();
    world.live(|engine, job| {
        for turn in 0..50 {
            let seconds = 100 + turn * 60;
            send(engine, job, "items", &(version(turn, 1, seconds) + &marker(turn, seconds + 1)));
            engine.maintain().unwrap();
        }
        let held = engine.table_statistics(0).held;
        assert!(held.keys <= 4 && held.versions <= 8, "{held:?}");
        assert!(engine.view_statistics(0).held.events <= 4);
        assert_eq!(cart(engine, 100 + 49 * 60), json!({"n": 1, "total": 60}));
    });
}

/// A version that fails is told once, when it comes; those that it follows are evaluated anew in silence.
#[test]
fn a_version_that_fails_is_told_once() {
    let world = world();
    world.live(|engine, job| {
        send(engine, job, "items", &(version(1, 0, 100) + &version(2, 2, 100)));
        send(engine, job, "items", &(version(1, 3, 110) + &version(1, 0, 120)));
        send(engine, job, "items", &version(1, 6, 115));
        assert_eq!(cart(engine, 120), json!({"n": 1, "total": 30}));
        assert_eq!(cart(engine, 119), json!({"n": 2, "total": 30 + 10}));
        let query = DeadLetterQuery { limit: 100, ..DeadLetterQuery::default() };
        let page = engine.dead_letters(source_of(engine, "items"), &query).unwrap().unwrap();
        let letters: Vec<(u64, Option<String>)> =
            page.letters.iter().map(|placed| (placed.offset, placed.letter.view.clone())).collect();
        assert_eq!(letters, [0, 3].map(|offset| (offset, Some("cart".to_owned()))));
    });
    world.live(|engine, _| assert_eq!(cart(engine, 119), json!({"n": 2, "total": 30 + 10})));
}
