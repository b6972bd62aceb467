//! Tables in the real binary: delete markers of few columns, letters that come too late for joins, a table to try.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::ipc::writer::StreamWriter;
use serde_json::{Value, json};

use crate::folder::{Folder, Said};
use crate::ingested::object;
use crate::server::Server;

/// 2026-01-01T00:00:00Z in microseconds.
const BEGIN_US: i64 = 1_767_225_600_000_000;

fn project(limit: i64) -> String {
    format!(
        "CREATE STREAM tx (account BIGINT NOT NULL, merchant BIGINT, amount BIGINT CHECK (amount < {limit}),
  ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE);
CREATE TABLE merchants (merchant BIGINT PRIMARY KEY, fee BIGINT NOT NULL, gone BOOLEAN, since TIMESTAMP,
  WATERMARK FOR since AS since - INTERVAL '1' MINUTE) WITH (delete_column = 'gone');
CREATE FEATURE VIEW merchant AS SELECT merchant, fee FROM merchants;
CREATE FEATURE VIEW fees AS SELECT t.account, count(*) OVER w AS n, sum(m.fee) OVER w AS fees
FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant
WINDOW w AS (PARTITION BY t.account ORDER BY t.ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);
"
    )
}

fn serve(folder: &Folder) -> Server<'_> {
    Server::spawn(folder, folder.command("run . --listen 127.0.0.1:0 --clock event")).ready()
}

fn ask(server: &Server<'_>, words: &str) -> Said {
    Said::new(server.folder.command(&format!("{words} --url {}", server.url)).output().unwrap())
}

/// Posts a body; its status and answer.
fn post(server: &Server<'_>, source: &str, content_type: &str, body: Vec<u8>) -> (u16, Value) {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let url = format!("{}/v1/streams/{source}/events", server.url);
    let mut answer = agent.post(&url).content_type(content_type).send(body).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap())
}

fn at(minutes: i64) -> i64 {
    BEGIN_US + minutes * 60_000_000
}

fn send(server: &Server<'_>, source: &str, rows: &[Value]) -> Value {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    post(server, source, "application/x-ndjson", lines.into()).1
}

fn version(fee: i64, minutes: i64) -> Value {
    json!({"merchant": 7, "fee": fee, "since": at(minutes)})
}

fn event(amount: i64, minutes: i64) -> Value {
    json!({"account": 1, "merchant": 7, "amount": amount, "ts": at(minutes)})
}

/// A delete marker is asked for its key and its time alone, in Arrow as in JSON. What is none is set aside row by row.
#[test]
fn a_delete_marker_in_arrow_needs_no_other_column() {
    let folder = Folder::new();
    folder.file("project.sql", project(1_000));
    let server = serve(&folder);
    assert_eq!(send(&server, "merchants", &[version(3, 0)])["accepted"], 1);
    let columns: [(&str, ArrayRef); 3] = [
        ("merchant", Arc::new(Int64Array::from(vec![7, 8]))),
        ("gone", Arc::new(BooleanArray::from(vec![true, false]))),
        ("since", Arc::new(TimestampMicrosecondArray::from(vec![at(5), at(5)]))),
    ];
    let body = |columns: &[(&str, ArrayRef)]| {
        let batch = RecordBatch::try_from_iter(columns.iter().cloned()).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    };
    let arrow = "application/vnd.apache.arrow.stream";
    let (status, answer) = post(&server, "merchants", arrow, body(&columns));
    assert_eq!((status, &answer["accepted"], &answer["rejected"]), (200, &json!(1), &json!(1)), "{answer}");
    assert_eq!((&answer["refused"][0]["row"], &answer["refused"][0]["reason"]), (&json!(1), &json!("not_null")));
    // Its key and its time it must have.
    let (status, answer) = post(&server, "merchants", arrow, body(&columns[..2]));
    assert_eq!(status, 400, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("no column `since`"), "{answer}");
    let fee_at = |minute: i64| {
        let said = server.get(&format!("merchant merchant=7 --as-of 2026-01-01T00:{minute:02}:00Z --format json"));
        serde_json::from_str::<Value>(&said.stdout).unwrap()["rows"][0][0].clone()
    };
    assert_eq!((fee_at(4), fee_at(5)), (json!(3), Value::Null));
    server.end("INT");
}

/// Letters that joins do not reach back to are left, and those behind them replayed.
#[test]
fn regression_letters_out_of_reach_do_not_stop_a_replay() {
    let folder = Folder::new();
    folder.file("project.sql", project(10));
    let server = serve(&folder);
    assert_eq!(send(&server, "merchants", &[version(3, 0)])["accepted"], 1);
    assert_eq!(send(&server, "tx", &[event(50, 1), event(1, 1)])["rejected"], 1);
    assert_eq!(send(&server, "merchants", &[version(4, 100)])["accepted"], 1);
    assert_eq!(send(&server, "tx", &[event(1, 100), event(60, 100)])["rejected"], 1);
    server.end("INT");
    folder.file("project.sql", project(1_000));
    let server = serve(&folder);
    let said = ask(&server, "replay-dead-letters tx");
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    assert_eq!(said.stdout, "replayed 1 dead letter: 1 used, 0 duplicates, 0 late, 0 rejected\n");
    for part in [
        "1 dead letter too old, or of a group with one that is, for what joins and sessions hold: skipped",
        "come too late: `merchants` reaches back to",
    ] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    assert_eq!(object(&server, "tx")["counts"]["used"], 3);
    // Alone it is told as what it is.
    let said = ask(&server, "replay-dead-letters tx --from 0 --reason check");
    assert!(said.stderr.contains("1 of them had been replayed before"), "{}", said.stderr);
    let rows = [("account", "1"), ("merchant", "7"), ("amount", "1"), ("ts", &at(1).to_string())];
    let lines = rows.map(|(name, _)| name).join(",") + "\n" + &rows.map(|(_, value)| value).join(",") + "\n";
    folder.file("old.csv", lines);
    let said = ask(&server, "ingest tx old.csv --history");
    assert_eq!(said.code, Some(1), "{}{}", said.stdout, said.stderr);
    for part in ["rows 1 to 1: ", "come too late", "hint: load in the order of event time"] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    server.end("INT");
}

/// A version that changes a value moves the position of the answer, which names the tables that its views join.
#[test]
fn the_position_of_an_answer_names_the_tables_that_are_joined() {
    let folder = Folder::new();
    folder.file("project.sql", project(1_000));
    let server = serve(&folder);
    assert_eq!(send(&server, "merchants", &[version(3, 0)])["accepted"], 1);
    assert_eq!(send(&server, "tx", &[event(50, 1)])["accepted"], 1);
    let answered = || {
        let said = server.get("fees account=1 --as-of 2026-01-01T00:01:00Z --format json");
        let answer: Value = serde_json::from_str(&said.stdout).unwrap();
        (answer["rows"][0][1].clone(), answer["position"].clone())
    };
    assert_eq!(answered(), (json!(3), json!({"tx": [1], "merchants": [1]})));
    assert_eq!(send(&server, "merchants", &[json!({"merchant": 7, "fee": 5, "since": at(1)})])["accepted"], 1);
    assert_eq!(answered(), (json!(5), json!({"tx": [1], "merchants": [2]})));
    server.end("INT");
}

/// A cart is worth what is in it as of then, live and over a restart, and is known while something is.
#[test]
fn the_rows_of_a_group_are_answered_over_a_restart() {
    let folder = Folder::new();
    folder.file(
        "project.sql",
        "CREATE TABLE cart_items (cart_id BIGINT, item VARCHAR, price DOUBLE, quantity BIGINT, removed BOOLEAN, ts TIMESTAMP,
  PRIMARY KEY (cart_id, item), WATERMARK FOR ts AS ts - INTERVAL '1' HOUR) WITH (delete_column = 'removed');
CREATE FEATURE VIEW cart AS
SELECT cart_id, sum(price * quantity) AS cart_value, count(*) AS items FROM cart_items GROUP BY cart_id;",
    );
    let item = |name: &str, price: f64, quantity: i64, minutes: i64| json!({"cart_id": 1, "item": name, "price": price, "quantity": quantity, "ts": at(minutes)});
    let removed = |name: &str, minutes: i64| json!({"cart_id": 1, "item": name, "removed": true, "ts": at(minutes)});
    let answered = |server: &Server<'_>, minute: i64| {
        let said = server.get(&format!("cart cart_id=1 --as-of 2026-01-01T00:{minute:02}:00Z --format json"));
        let answer: Value = serde_json::from_str(&said.stdout).unwrap();
        (answer["rows"][0].clone(), answer["known"]["cart"][0].clone(), answer["position"].clone())
    };
    let position = |versions: i64| json!({"cart_items": [versions]});
    let server = serve(&folder);
    assert_eq!(send(&server, "cart_items", &[item("pen", 10.0, 2, 1), item("book", 5.0, 1, 2)])["accepted"], 2);
    assert_eq!(answered(&server, 2), (json!([25.0, 2]), json!(true), position(2)));
    assert_eq!(send(&server, "cart_items", &[removed("book", 30), removed("pen", 31)])["accepted"], 2);
    // It comes late, and was worth more in between.
    assert_eq!(send(&server, "cart_items", &[item("pen", 10.0, 3, 5)])["accepted"], 1);
    let check = |server: &Server<'_>| {
        assert_eq!(answered(server, 2), (json!([25.0, 2]), json!(true), position(5)));
        assert_eq!(answered(server, 5), (json!([35.0, 2]), json!(true), position(5)));
        assert_eq!(answered(server, 30), (json!([30.0, 1]), json!(true), position(5)));
        assert_eq!(answered(server, 31), (json!([null, 0]), json!(false), position(5)));
    };
    check(&server);
    // It is told now and then: reads pass the time.
    let is_told = (0..200).any(|_| {
        check(&server);
        object(&server, "cart_items")["held"]["keys"] == 2
    });
    assert!(is_told, "{}", object(&server, "cart_items"));
    server.end("INT");
    let server = serve(&folder);
    check(&server);
    server.end("INT");
}
