//! Derived streams in the real binary: over one stream and over two, live, after a kill, and in training.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::check_refused;
use crate::folder::Folder;
use crate::ingested::object;
use crate::server::Server;

const PROJECT: &str = "
CREATE STREAM payments (id BIGINT, account BIGINT NOT NULL, amount BIGINT NOT NULL, ts TIMESTAMP, PRIMARY KEY (id),
  WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE);
CREATE STREAM refunds (account BIGINT NOT NULL, share DOUBLE, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '1' MINUTE);
CREATE STREAM large AS SELECT id, account, 1000 / (amount - 7) AS part, amount, ts FROM payments WHERE amount > 5;
CREATE STREAM movements AS
SELECT account, CAST(amount AS DOUBLE) AS amount, ts FROM large WHERE part < 900 UNION ALL SELECT account, 0 - share, at FROM refunds;
CREATE FEATURE VIEW spending AS
SELECT account, count(*) OVER w AS n, sum(part) OVER w AS parts, last_value(id) OVER w AS newest FROM large
WINDOW w AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW balance AS
SELECT account, count(*) OVER w AS n, sum(amount) OVER w AS total, array_agg(amount) OVER r AS list FROM movements
WINDOW w AS (PARTITION BY account ORDER BY ts), r AS (PARTITION BY account ORDER BY ts ROWS BETWEEN 9 PRECEDING AND CURRENT ROW);
";

/// Sends events, again while the server brings its state back.
fn post(server: &Server<'_>, stream: &str, lines: &[Value]) -> (String, Value) {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    loop {
        let answer = call(server, "POST", &format!("/v1/streams/{stream}/events"), &body);
        if answer.0 != "503" {
            return answer;
        }
        std::thread::yield_now();
    }
}

fn call(server: &Server<'_>, method: &str, path: &str, body: &str) -> (String, Value) {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/x-ndjson\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), serde_json::from_str(body).unwrap_or(Value::Null))
}

fn payment(id: i64, amount: i64, second: i64) -> Value {
    json!({"id": id, "account": 1, "amount": amount, "ts": format!("2026-01-01T10:00:{second:02}Z")})
}

fn refund(share: f64, second: i64) -> Value {
    json!({"account": 1, "share": share, "at": format!("2026-01-01T10:00:{second:02}Z")})
}

/// A server whose state is back.
fn serve(folder: &Folder) -> Server<'_> {
    let server = Server::spawn(folder, folder.command("run . --listen 127.0.0.1:0 --clock event"));
    while call(&server, "GET", "/v1/objects", "").1["ready"] != true {
        std::thread::yield_now();
    }
    server
}

fn answer(server: &Server<'_>, view: &str) -> Value {
    let said = server.get(&format!("{view} account=1 --format json"));
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    serde_json::from_str::<Value>(&said.stdout).unwrap()["rows"][0].clone()
}

/// Both views, as they are after the first events and after all.
fn check_answers(server: &Server<'_>, spending: Value, balance: Value) {
    assert_eq!(answer(server, "spending"), spending);
    assert_eq!(answer(server, "balance"), balance);
}

#[test]
fn views_over_derived_streams_live_after_a_kill_and_in_training() {
    let folder = Folder::new();
    folder.file("project.sql", PROJECT);
    let server = serve(&folder);
    // 5 is not large, 7 fails in `large`, 8 gives a part of 1000 and is not among the movements.
    let payments: Vec<Value> =
        [5, 7, 8, 17, 27].iter().zip(0..).map(|(amount, id)| payment(id, *amount, 10 + id)).collect();
    let (status, receipt) = post(&server, "payments", &payments);
    assert_eq!((&status[..], &receipt["accepted"]), ("200", &json!(5)));
    assert_eq!(post(&server, "refunds", &[refund(2.5, 13), refund(1.0, 5)]).0, "200");
    let (spending, balance) = (json!([3, 1_150, 4]), json!([4, 40.5, [-1.0, 17.0, -2.5, 27.0]]));
    check_answers(&server, spending.clone(), balance.clone());
    check_objects(&server);
    check_refusals(&server);

    // Without a checkpoint: all comes from the log, set aside once.
    drop(server);
    let server = serve(&folder);
    check_answers(&server, spending, balance);
    check_objects(&server);
    server.end("INT");

    // With the checkpoint of the orderly end, and more events behind it.
    let server = serve(&folder);
    check_objects(&server);
    assert_eq!(post(&server, "payments", &[payment(9, 1_007, 13), payment(3, 17, 13)]).0, "200");
    assert_eq!(post(&server, "refunds", &[refund(0.5, 13)]).0, "200");
    let spending = json!([4, 1_151, 4]);
    // At 13 seconds: payments before refunds, in each the order of arrival.
    let balance = json!([6, 1_047.0, [-1.0, 17.0, 1_007.0, -2.5, -0.5, 27.0]]);
    check_answers(&server, spending.clone(), balance.clone());
    drop(server);
    let server = serve(&folder);
    check_answers(&server, spending, balance);
    server.end("INT");

    check_training(&folder);
    check_changed(&folder);
}

fn check_objects(server: &Server<'_>) {
    let large = object(server, "large");
    assert_eq!(large["kind"], "stream");
    assert_eq!(large["reads"], json!(["payments"]));
    assert_eq!(large["counts"], json!({"rows": 3, "set_aside": 1}));
    assert_eq!(large["primary_key"], json!(["id"]));
    let movements = object(server, "movements");
    assert_eq!(movements["reads"], json!(["large", "refunds"]));
    assert_eq!(movements["counts"], json!({"rows": 4, "set_aside": 0}));
    assert_eq!(movements["positions"], json!({"payments": [5], "refunds": [2]}));
    assert_eq!(movements["watermark"], "2026-01-01T09:59:13.000000Z", "the least of its sources'");
    let (status, page) = call(server, "GET", "/v1/streams/large/dead-letters", "");
    assert_eq!(status, "200");
    let letters: Vec<(&Value, &Value, &Value)> = page["dead_letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| (&letter["offset"], &letter["view"], &letter["detail"]))
        .collect();
    let detail = json!("`1000 / (amount - 7)`: division by zero");
    assert_eq!(letters, [(&json!(1), &json!("large"), &detail)]);
}

fn check_refusals(server: &Server<'_>) {
    let (status, refused) = post(server, "movements", &[refund(1.0, 1)]);
    assert_eq!(status, "400");
    let error = &refused["error"];
    assert_eq!(error["message"], "stream `movements` is derived from others and takes no events");
    assert_eq!(error["hint"], "send them to what it sees the events of: `payments`, `refunds`");
    let (status, refused) = call(server, "GET", "/v1/streams/movements/dead-letters", "");
    assert_eq!(
        (&status[..], refused["error"]["hint"].as_str().unwrap()),
        (
            "400",
            "its dead letters are among theirs: GET /v1/streams/payments/dead-letters, GET /v1/streams/refunds/dead-letters",
        )
    );
    server.folder.file("rows.jsonl", refund(1.0, 1).to_string());
    let url = &server.url;
    let words = format!("ingest --url {url} movements rows.jsonl");
    check_refused(server.folder, &words, 1, &["stream `movements` is derived", "`payments`, `refunds`"]);
}

/// The log's events in training: both views at each instant, and each event of the union.
fn check_training(folder: &Folder) {
    folder.file("spine.csv", "account,ts\n1,2026-01-01T10:00:12Z\n1,2026-01-01T10:00:14Z\n2,2026-01-01T10:00:14Z\n");
    let made = |words: &str| {
        let said = folder.run(&format!("history . {words} --out out.jsonl"));
        assert_eq!(said.code, Some(0), "{words}: {}", said.stderr);
        let text = std::fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
        (text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>(), said.stderr)
    };
    let (rows, said) = made("--view spending --spine spine.csv");
    let answers: Vec<_> = rows.iter().map(|row| json!([row["n"], row["parts"], row["newest"]])).collect();
    assert_eq!(answers, [json!([1, 1_000, 2]), json!([4, 1_151, 4]), json!([0, null, null])]);
    assert!(said.contains("set aside for `large`"), "{said}");
    let (rows, _) = made("--view balance --spine spine.csv");
    let answers: Vec<_> = rows.iter().map(|row| json!([row["n"], row["total"], row["list"]])).collect();
    let all = json!([6, 1_047.0, [-1.0, 17.0, 1_007.0, -2.5, -0.5, 27.0]]);
    assert_eq!(answers, [json!([1, -1.0, [-1.0]]), all, json!([0, null, null])]);
    let (mut rows, _) = made("--view balance --every-event --keep amount");
    rows.sort_by_key(|row| row["list"].as_array().unwrap().len());
    let amounts: Vec<f64> = rows.iter().map(|row| row["amount"].as_f64().unwrap()).collect();
    assert_eq!(amounts, [-1.0, 17.0, 1_007.0, -2.5, -0.5, 27.0]);
}

/// A WHERE that is changed makes the views behind it anew from the log.
fn check_changed(folder: &Folder) {
    folder.file("project.sql", PROJECT.replace("amount > 5", "amount > 20"));
    let server = serve(folder);
    check_answers(&server, json!([2, 51, 4]), json!([5, 1_030.0, [-1.0, 1_007.0, -2.5, -0.5, 27.0]]));
    server.end("INT");
}

#[test]
fn check_tells_what_a_derived_stream_reads() {
    let folder = Folder::new();
    folder.file("project.sql", PROJECT);
    let said = folder.run("check .");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stdout
            .contains("stream           movements  ← large, refunds  3 columns, event time ts, no primary key\n")
    );
    assert!(said.stdout.contains("stream           large  ← payments  5 columns, event time ts, primary key (id)\n"));
    assert!(said.stderr.contains("a UNION ALL has none"), "{}", said.stderr);
    folder.file("project.sql", "CREATE STREAM one AS SELECT * FROM two;\nCREATE STREAM two AS SELECT * FROM one;");
    check_refused(&folder, "check .", 1, &["derived streams in a circle: `one` reads `two`, which reads `one`"]);
}
