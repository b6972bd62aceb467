//! What a view over sessions lets go of: a past that would reach into it comes too late, also where lateness is waived.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use asof_pipeline::{Engine, IngestError, Manner, Steps};

use crate::world::{BEGIN_US, SECOND_US, World, payment, send, send_as};

const STREAMS: &str = "
CREATE STREAM payments (id BIGINT NOT NULL, shop BIGINT NOT NULL, ts TIMESTAMP NOT NULL, PRIMARY KEY (id),
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND);
CREATE STREAM refunds (id BIGINT NOT NULL, shop BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND);
CREATE STREAM moved AS SELECT shop, ts FROM payments UNION ALL SELECT shop, ts FROM refunds;";

/// The open visit of a shop and the last closed one, over a stream.
fn visits_over(stream: &str) -> String {
    format!(
        "{STREAMS}
CREATE FEATURE VIEW visits AS
SELECT shop, count(*) AS n, lag(count(*)) OVER (PARTITION BY shop ORDER BY window_start) AS last_n
FROM TABLE(SESSION(TABLE {stream} PARTITION BY shop, DESCRIPTOR(ts), INTERVAL '5' SECOND))
GROUP BY shop, window_start, window_end;"
    )
}

/// Seconds after the beginning.
fn at(seconds: i64) -> i64 {
    BEGIN_US + seconds * SECOND_US
}

/// A history and a replay, neither of which is ever late.
fn manners() -> [Manner; 2] {
    [Manner::History { arrived: None }, Manner::Replayed]
}

/// The two counts of shop 7.
fn visits(engine: &Engine, as_of_us: i64) -> [Option<i64>; 2] {
    let key: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let answers = engine.reading().view(0, &[key], 1, as_of_us).unwrap();
    let count = |feature: usize| {
        let counts = answers.features[feature].as_primitive::<Int64Type>();
        counts.is_valid(0).then(|| counts.value(0))
    };
    [count(0), count(1)]
}

/// A microsecond before the watermark a session may have been dropped that the event would belong to.
fn check_too_late(engine: &Engine, job: &mut Steps<'_>, manner: &Manner) {
    let lines = payment(3, 7, at(20) - 1) + &payment(4, 7, at(25));
    let told = send_as(engine, job, lines, manner.clone()).unwrap_err();
    assert_eq!(told, IngestError::OutOfReach { least_us: at(20) - 1, earliest_us: at(20), other: "visits".to_owned() });
}

#[test]
fn a_past_that_reaches_below_the_sessions_that_are_held_is_refused() {
    for manner in manners() {
        let (world, sql) = (World::new(1), visits_over("payments"));
        world.live(&sql, |engine, job| {
            // Nothing has been let go of yet: a past of any time.
            assert_eq!(send_as(engine, job, payment(1, 7, at(0)), manner.clone()).unwrap().accepted, 1);
            send(engine, job, payment(2, 7, at(30)));
            assert_eq!(visits(engine, at(30)), [Some(1), Some(1)]);
            check_too_late(engine, job, &manner);
            let published = engine.published();
            assert_eq!((published.rows, &published.streams[0].next_offsets[..]), (2, &[2][..]), "it changed nothing");
            // At the bound itself it still counts, in a batch too that has a row which cannot be read.
            let unreadable = payment(9, 7, at(0)).replace(":7,", ":\"seven\",");
            let lines = payment(3, 7, at(20)) + &unreadable + &payment(4, 7, at(24));
            let receipt = send_as(engine, job, lines, manner.clone()).unwrap();
            assert_eq!((receipt.accepted, receipt.rejected), (2, 1));
            assert_eq!(visits(engine, at(30)), [Some(1), Some(2)]);
        });
        world.live(&sql, |engine, job| {
            assert_eq!(visits(engine, at(30)), [Some(1), Some(2)]);
            check_too_late(engine, job, &manner);
        });
        // From the log alone.
        world.remove("checkpoints");
        world.live(&sql, |engine, job| {
            assert_eq!(visits(engine, at(30)), [Some(1), Some(2)]);
            check_too_late(engine, job, &manner);
        });
    }
}

/// Of the silent one an event of any time may come.
#[test]
fn a_union_with_a_silent_source_lets_go_of_nothing() {
    for manner in manners() {
        let (world, sql) = (World::new(1), visits_over("moved"));
        world.pass_us(600 * SECOND_US);
        world.live(&sql, |engine, job| {
            (0..20).for_each(|turn| assert_eq!(send(engine, job, payment(turn, 7, at(30 * turn))), (1, 0)));
            engine.maintain().unwrap();
            assert_eq!(engine.view_statistics(0).held.events, 20);
            let receipt = send_as(engine, job, payment(20, 7, at(-1_000)) + &payment(21, 7, at(571)), manner).unwrap();
            assert_eq!(receipt.accepted, 2);
            assert_eq!(visits(engine, at(570)), [Some(1), Some(1)]);
            assert_eq!(visits(engine, at(571)), [Some(2), Some(1)]);
            assert_eq!(visits(engine, at(-1_000)), [Some(1), None]);
        });
    }
}
