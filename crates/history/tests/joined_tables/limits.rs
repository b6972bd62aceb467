//! What a job over tables is refused, what it is told, and what does not change its answers: the memory limit, the order of
//! rows in files, empty tables, delete markers.

use asof_history::{HistoryError, Knowledge, RowsOf, Target};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::sources::{Arrival, SHAPES, Shape, Sources, Way};

const MINUTE_US: i64 = 60_000_000;

/// The options of the sources are added.
const SQL: &str = "
CREATE STREAM tx (account BIGINT, merchant BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1' HOUR);
CREATE TABLE merchants (merchant BIGINT, name VARCHAR NOT NULL, fee BIGINT NOT NULL CHECK (fee > 0), gone BOOLEAN,
  at TIMESTAMP, PRIMARY KEY (merchant), WATERMARK FOR at AS at - INTERVAL '1' DAY) WITH (delete_column = 'gone');
CREATE FEATURE VIEW fees AS
SELECT t.account, count(*) OVER w AS n, sum(m.fee) OVER w AS fees, max(m.name) OVER w AS name
FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant
WINDOW w AS (PARTITION BY t.account ORDER BY t.ts);
CREATE FEATURE VIEW merchant AS SELECT merchant, name, fee FROM merchants;
CREATE FEATURE SERVICE both AS SELECT f.n, f.fees, m.name, m.fee
FROM REQUEST (account BIGINT, merchant BIGINT) AS r
LEFT JOIN fees AS f ON f.account = r.account LEFT JOIN merchant AS m ON m.merchant = r.merchant;
";

fn event(account: i64, merchant: i64, minute: i64) -> Arrival {
    let columns = json!({"account": account, "merchant": merchant, "ts": minute * MINUTE_US});
    Arrival { into: None, columns: columns.as_object().unwrap().clone(), arrived_us: minute * MINUTE_US }
}

fn version(merchant: i64, name: Value, fee: Value, gone: bool, (minute, arrived): (i64, i64)) -> Arrival {
    let columns = json!({"merchant": merchant, "name": name, "fee": fee, "gone": gone, "at": minute * MINUTE_US});
    Arrival {
        into: Some("merchants".to_owned()),
        columns: columns.as_object().unwrap().clone(),
        arrived_us: arrived * MINUTE_US,
    }
}

fn key(name: &str, value: i64) -> Map<String, Value> {
    [(name.to_owned(), json!(value))].into_iter().collect()
}

/// The answers to reads of a view at minutes.
fn answers(
    sources: &Sources,
    view: usize,
    reads: &[(i64, i64)],
    knowledge: Knowledge,
    shape: Shape,
) -> Result<Vec<Map<String, Value>>, HistoryError> {
    let name = ["account", "merchant"][view];
    let reads: Vec<_> = reads.iter().map(|(of, minute)| (key(name, *of), minute * MINUTE_US)).collect();
    let (rows, _) = sources.run(view, sources.spine(&reads), knowledge, shape)?;
    Ok(rows)
}

#[test]
fn versions_that_do_not_fit_end_the_job_with_their_number() {
    let sources = Sources::new(SQL, Way::Files);
    let versions =
        (0..3_000).map(|at| version(at % 700, json!(format!("merchant {at}")), json!(at + 1), false, (at, at)));
    let events = (0..3_000).map(|at| event(at % 50, at % 900, at + 3));
    let mut arrivals: Vec<Arrival> = versions.chain(events).collect();
    arrivals.sort_by_key(|arrival| arrival.arrived_us);
    sources.store(&arrivals);
    let reads: Vec<(i64, i64)> = (0..200).map(|read| (read % 50, read * 17)).collect();
    for knowledge in [Knowledge::EventTime, Knowledge::AsServed] {
        let ask = |memory_limit_bytes| {
            answers(&sources, 0, &reads, knowledge, Shape { shards: 4, threads: 2, memory_limit_bytes })
        };
        let wanted = ask(1 << 30).unwrap();
        let Err(HistoryError::VersionsTooLarge { bytes, limit_bytes }) = ask(30_000) else {
            panic!("3,000 versions fit 10,000 bytes")
        };
        assert!(bytes > limit_bytes && limit_bytes == 10_000, "{bytes} of {limit_bytes}");
        // The least limit, to a hundredth: what waits has no room beside the versions and goes to disk.
        let (mut low, mut high) = (30_000, 1 << 30);
        while high - low > low / 100 {
            let middle = low + (high - low) / 2;
            match ask(middle) {
                Ok(found) => {
                    assert_eq!(found, wanted);
                    high = middle;
                }
                Err(_) => low = middle,
            }
        }
        assert!(high < 3 << 20, "{high}");
    }
}

/// A table that one view of a service joins and another stands over is read once, for both.
#[test]
fn a_service_answers_as_its_views_do() {
    let sources = Sources::new(SQL, Way::Files);
    // Every other version is three minutes late; each hits events that have come.
    let late = |at: i64| if at % 2 == 0 { 3 } else { 0 };
    let versions =
        (1..60).map(|at| version(at % 3, json!(format!("m{at}")), json!(at), at % 7 == 0, (at, at + late(at))));
    let mut arrivals: Vec<Arrival> = versions.chain((1..60).map(|at| event(at % 4, at % 3, at))).collect();
    arrivals.sort_by_key(|arrival| arrival.arrived_us);
    sources.store(&arrivals);
    let reads: Vec<(i64, i64, i64)> = (0..140).map(|read| (read % 5, read % 4, read / 2)).collect();
    for (knowledge, shape) in [(Knowledge::EventTime, SHAPES[0]), (Knowledge::AsServed, SHAPES[1])] {
        let of_view = |view: usize, key: fn(&(i64, i64, i64)) -> i64| {
            let reads: Vec<(i64, i64)> = reads.iter().map(|read| (key(read), read.2)).collect();
            answers(&sources, view, &reads, knowledge, shape).unwrap()
        };
        let (fees, merchants) = (of_view(0, |read| read.0), of_view(1, |read| read.1));
        let asked = |(account, merchant, minute): &(i64, i64, i64)| {
            let keys = key("account", *account).into_iter().chain(key("merchant", *merchant));
            (keys.collect::<Map<String, Value>>(), minute * MINUTE_US)
        };
        let spine = sources.spine(&reads.iter().map(asked).collect::<Vec<_>>());
        let service = Target::Service(sources.project.services[0].clone());
        let (rows, summary) = sources.run_for(service, spine, knowledge, shape).unwrap();
        assert_eq!((summary.streams.len(), summary.tables.len()), (1, 1));
        for ((row, fees), merchant) in rows.iter().zip(&fees).zip(&merchants) {
            let wanted = [&fees["n"], &fees["fees"], &merchant["name"], &merchant["fee"]];
            assert_eq!([&row["n"], &row["fees"], &row["name"], &row["fee"]], wanted, "{}: {row:?}", knowledge.name());
        }
        assert!(fees.iter().any(|row| !row["fees"].is_null()) && merchants.iter().any(|row| !row["fee"].is_null()));
    }
}

/// A delete marker need only say what it deletes, and when: the other columns may be NULL, whatever is declared of them.
#[test]
fn a_delete_marker_says_its_key_and_time_alone() {
    for way in [Way::Files, Way::Log] {
        let sources = Sources::new(SQL, way);
        sources.store(&[
            version(1, json!("a"), json!(3), false, (1, 1)),
            event(1, 1, 2),
            version(1, Value::Null, Value::Null, true, (3, 3)),
            version(2, Value::Null, json!(3), false, (3, 3)),
            event(1, 1, 4),
        ]);
        for knowledge in [Knowledge::EventTime, Knowledge::AsServed] {
            let fees = answers(&sources, 0, &[(1, 2), (1, 4)], knowledge, SHAPES[1]).unwrap();
            assert_eq!(fees.iter().map(|row| [&row["n"], &row["fees"]]).collect::<Vec<_>>(), [[1, 3], [2, 3]]);
            let rows = answers(&sources, 1, &[(1, 2), (1, 3), (2, 4)], knowledge, SHAPES[1]).unwrap();
            assert_eq!(
                rows.iter().map(|row| &row["name"]).collect::<Vec<_>>(),
                [&json!("a"), &Value::Null, &Value::Null]
            );
        }
        let rows = RowsOf::EveryEvent { keep: Vec::new() };
        let (every, summary) = sources.run(1, rows, Knowledge::EventTime, SHAPES[1]).unwrap();
        assert_eq!((every.len(), summary.tables[0].accounting.used), (1, 2), "a marker is used, and no row");
    }
}

#[test]
fn a_table_without_versions_has_no_rows() {
    for way in [Way::Files, Way::Log] {
        let sources = Sources::new(SQL, way);
        sources.store(&[event(1, 1, 2)]);
        let spine = sources.spine(&[(key("account", 1), 5 * MINUTE_US)]);
        let (rows, summary) = sources.run(0, spine, Knowledge::AsServed, SHAPES[0]).unwrap();
        assert_eq!((&rows[0]["n"], &rows[0]["fees"]), (&json!(1), &Value::Null));
        let told = "no version of table `merchants` was used: it has no rows, and joins with it give NULLs";
        assert_eq!(summary.warnings, [told]);
        let rows = answers(&sources, 1, &[(1, 9)], Knowledge::EventTime, SHAPES[0]).unwrap();
        assert_eq!(rows[0]["name"], Value::Null);
    }
}

#[test]
fn as_served_needs_the_arrival_times_of_tables() {
    let sql =
        SQL.replace("(delete_column", "(connector = 'file', path = 'merchants.jsonl', format = 'jsonl', delete_column");
    let sources = Sources::new(&sql, Way::Log);
    sources.store(&[event(1, 1, 2)]);
    std::fs::write(sources.path().join("merchants.jsonl"), "{\"merchant\": 1}\n").unwrap();
    let error = answers(&sources, 0, &[(1, 9)], Knowledge::AsServed, SHAPES[0]).unwrap_err().to_string();
    assert_eq!(
        error,
        "`--knowledge as-served` needs the arrival times of table `merchants`; hint: name their column: WITH (…, \
         arrival_column = 'arrived')"
    );
}

/// Whatever fails on it, before the view's WHERE or behind it, and with however many versions.
#[test]
fn an_event_is_told_as_set_aside_once() {
    let sql = SQL.replace("m.merchant = t.merchant\nWINDOW", "m.merchant = 10 / t.merchant\nWINDOW");
    let sources = Sources::new(&sql.replace("sum(m.fee) OVER w", "sum(60 / (m.fee - 3)) OVER w"), Way::Files);
    let fee = |fee: i64, times: (i64, i64)| version(1, json!("a"), json!(fee), false, times);
    sources.store(&[fee(5, (1, 1)), event(1, 10, 5), event(1, 0, 5), fee(3, (2, 6)), fee(3, (3, 7)), fee(4, (4, 8))]);
    let reads: Vec<_> = [5, 6, 7, 8].map(|minute| (key("account", 1), minute * MINUTE_US)).to_vec();
    let expected = [
        (Knowledge::AsServed, [json!(30), Value::Null, Value::Null, json!(60)], 2),
        (Knowledge::EventTime, [json!(60), json!(60), json!(60), json!(60)], 1),
    ];
    for (knowledge, fees, set_aside) in expected {
        let (rows, summary) = sources.run(0, sources.spine(&reads), knowledge, SHAPES[0]).unwrap();
        assert_eq!(rows.iter().map(|row| row["fees"].clone()).collect::<Vec<_>>(), fees, "{}", knowledge.name());
        assert_eq!(summary.streams[0].set_aside, [("fees".to_owned(), set_aside)], "{}", knowledge.name());
    }
}

/// What is kept of an event is what it was joined with when it came.
#[test]
fn joined_columns_are_kept_as_they_were_served() {
    let sources = Sources::new(SQL, Way::Files);
    sources.store(&[
        version(1, json!("old"), json!(3), false, (1, 1)),
        event(1, 1, 5),
        version(1, json!("new"), json!(4), false, (2, 6)),
    ]);
    let keep = || RowsOf::EveryEvent { keep: vec!["m.name".to_owned()] };
    for (knowledge, name, fees) in [(Knowledge::AsServed, "old", 3), (Knowledge::EventTime, "new", 4)] {
        let (rows, _) = sources.run(0, keep(), knowledge, SHAPES[0]).unwrap();
        assert_eq!((rows.len(), &rows[0]["m.name"], &rows[0]["fees"]), (1, &json!(name), &json!(fees)));
    }
    let wrong = RowsOf::EveryEvent { keep: vec!["m.nam".to_owned()] };
    let error = sources.run(0, wrong, Knowledge::EventTime, SHAPES[0]).unwrap_err().to_string();
    assert_eq!(error, "the rows of feature view `fees` have no column `m.nam` to keep; hint: did you mean `m.name`?");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Files in event-time order may have their rows in any order, and so may a load of the log: arrival is what a column
    /// says. The times of a merchant's versions differ, since of equal ones the last row stands.
    #[test]
    fn the_order_of_rows_changes_nothing(
        merchants in prop::collection::btree_map((0..3i64, 0..40i64), (0..30i64, 1..9i64, any::<bool>()), 1..30),
        events in prop::collection::vec((0..3i64, 0..3i64, 0..40i64, 0..30i64), 1..30),
        salt in any::<u64>(),
    ) {
        let versions = merchants.into_iter().map(|((merchant, minute), (lag, fee, gone))| {
            version(merchant, json!("m"), json!(fee), gone && fee < 4, (minute, minute + lag))
        });
        let events = events.into_iter().map(|(account, merchant, minute, lag)| Arrival {
            arrived_us: (minute + lag) * MINUTE_US,
            ..event(account, merchant, minute)
        });
        let mut arrivals: Vec<Arrival> = versions.chain(events).collect();
        let reads: Vec<(i64, i64)> = (0..90).map(|read| (read % 3, read)).collect();
        let sql = SQL.replace("INTERVAL '1' DAY", "INTERVAL '9' DAY").replace("INTERVAL '1' HOUR", "INTERVAL '9' DAY");
        let mut wanted: Option<Vec<_>> = None;
        for turn in 0..4 {
            let way = [Way::Files, Way::ByEventTime, Way::ByEventTime, Way::Loaded][turn];
            if turn < 2 {
                arrivals.sort_by_key(|arrival| arrival.arrived_us);
            } else {
                arrivals.sort_by_key(|one| scattered(&one.columns, salt));
            }
            let sources = Sources::new(&sql, way);
            sources.store(&arrivals);
            let found: Vec<_> = [Knowledge::AsServed, Knowledge::EventTime]
                .into_iter()
                .flat_map(|knowledge| [0, 1].map(|view| answers(&sources, view, &reads, knowledge, SHAPES[1]).unwrap()))
                .map(|rows| rows.into_iter().map(|row| Value::Object(row).to_string()).collect::<Vec<String>>())
                .collect();
            let wanted = wanted.get_or_insert_with(|| found.clone());
            prop_assert_eq!(&found, wanted, "{:?}", way);
        }
    }
}

/// A place among others that has nothing to do with what a row holds.
fn scattered(columns: &Map<String, Value>, salt: u64) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
    Value::Object(columns.clone()).to_string().bytes().fold(salt | 1, step)
}
