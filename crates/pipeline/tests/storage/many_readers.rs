//! Many derived streams read one stream, and each may set its events aside: room on the disk is asked for the stream's own
//! frame, and what its readers say of a row goes before the row does.

use asof_pipeline::{DeadLetterQuery, Engine};

use crate::world::{BEGIN_US, World, payment, try_send};

const READERS: usize = 64;
const ROWS: i64 = 999;
/// Enough for the rows with one letter each, and for nothing near what 64 letters a row take.
const ROOM_BYTES: u64 = 4 << 20;

/// A stream, and 64 derived ones whose expression fails where `shop` is 0.
fn sql() -> String {
    let derived = (0..READERS)
        .map(|number| format!("CREATE STREAM share_{number} AS SELECT id, 100 / shop AS share, ts FROM payments;\n"));
    let payments =
        "CREATE STREAM payments (id BIGINT NOT NULL, shop BIGINT NOT NULL CHECK (shop >= 0), ts TIMESTAMP NOT NULL,
WATERMARK FOR ts AS ts - INTERVAL '10' SECOND);\n";
    payments.to_owned() + &derived.collect::<String>()
}

fn letters_left_out(engine: &Engine) -> u64 {
    engine.maintain().unwrap();
    engine.storage_statistics()[0].letters_left_out
}

/// For each letter of the first page, its offset and who set the event aside.
fn letters(engine: &Engine, reader: Option<&str>) -> Vec<(u64, Option<String>)> {
    let reader = reader.map(str::to_owned);
    let query = DeadLetterQuery { from_offset: 0, reason: None, reader, limit: 1_000 };
    let page = engine.dead_letters(0, &query).unwrap().unwrap();
    page.letters.into_iter().map(|placed| (placed.offset, placed.letter.view)).collect()
}

#[test]
fn regression_room_is_reserved_for_the_stream_alone() {
    let world = World::new(1);
    world.live(&sql(), |engine, job| {
        world.disk.set_room(ROOM_BYTES);
        let lines = (0..ROWS).map(|id| payment(id, 1, BEGIN_US)).collect();
        let receipt = try_send(engine, job, lines, None).unwrap().unwrap();
        assert_eq!(receipt.accepted, ROWS as u64);
        assert_eq!(letters_left_out(engine), 0);
        world.disk.set_room(u64::MAX);
    });
}

#[test]
fn letters_of_readers_go_before_the_events_do() {
    let world = World::new(1);
    let refused = payment(ROWS, -1, BEGIN_US);
    let lines = || (0..ROWS).map(|id| payment(id, 0, BEGIN_US)).collect::<String>() + &refused;
    let everybodys = world.live(&sql(), |engine, job| {
        world.disk.set_room(ROOM_BYTES);
        let receipt = try_send(engine, job, lines(), None).unwrap().unwrap();
        assert_eq!((receipt.accepted, receipt.rejected), (ROWS as u64, 1));
        assert_eq!(letters_left_out(engine), (ROWS as usize * READERS) as u64);
        let counted = engine.derived_statistics(READERS - 1).set_aside;
        world.disk.set_room(u64::MAX);
        // With room for them they are there.
        let receipt = try_send(engine, job, payment(2 * ROWS, 0, BEGIN_US), None).unwrap().unwrap();
        assert_eq!(receipt.accepted, 1);
        assert_eq!(letters(engine, None)[0], (ROWS as u64, None), "the stream's own letter is kept");
        assert_eq!(letters(engine, Some("share_63")), [(ROWS as u64 + 1, Some("share_63".to_owned()))]);
        counted
    });
    assert_eq!(everybodys, ROWS as u64, "left out of the log, and counted");
    world.live(&sql(), |engine, _| assert_eq!(engine.published().rows, ROWS as u64 + 2));
}
