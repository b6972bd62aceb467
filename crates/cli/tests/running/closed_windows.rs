//! Derived streams over group windows in the real binary: windows closed by events and by the clock, after a kill, with an
//! event that comes too late, in training, and from a file.

use std::fs;

use serde_json::{Value, json};

use crate::check_refused;
use crate::folder::Folder;
use crate::ingested::object;
use crate::live::post_to;
use crate::server::Server;

const WINDOWS: &str = "
CREATE STREAM spells AS
SELECT user_id, window_end, sum(amount) AS total
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY user_id, window_start, window_end;
CREATE STREAM long_spells AS SELECT user_id, total, 12 / (total - 4) AS part FROM spells;
CREATE FEATURE VIEW spending AS
SELECT user_id, count(*) OVER w AS spells, sum(total) OVER w AS total, last_value(total) OVER w AS newest FROM spells
WINDOW w AS (PARTITION BY user_id ORDER BY window_time);
";

/// Two users and NULL, which is a group. The watermark is 4 seconds after ten.
const CLICKS: &str = r#"{"id":1,"user_id":1,"amount":1,"ts":"2026-01-01T10:00:01Z"}
{"id":2,"user_id":1,"amount":2,"ts":"2026-01-01T10:00:04Z"}
{"id":3,"user_id":2,"amount":4,"ts":"2026-01-01T10:00:09Z"}
{"id":4,"user_id":null,"amount":8,"ts":"2026-01-01T10:00:05Z"}
"#;
/// Closes the first ten seconds.
const CLOSING: &str = r#"{"id":5,"user_id":1,"amount":16,"ts":"2026-01-01T10:00:15Z"}
"#;
/// Behind the watermark, and in front of it.
const LATE: &str = r#"{"id":6,"user_id":2,"amount":32,"ts":"2026-01-01T10:00:08Z"}
{"id":7,"user_id":1,"amount":64,"ts":"2026-01-01T10:00:12Z"}
"#;

/// A request each: together they take seconds.
const TRIES_MAX: usize = 100_000;

fn project(options: &str) -> String {
    let columns = "id BIGINT NOT NULL, user_id BIGINT, amount BIGINT NOT NULL, ts TIMESTAMP NOT NULL";
    format!(
        "CREATE STREAM clicks ({columns}, PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ({options});{WINDOWS}"
    )
}

fn stored() -> Folder {
    let folder = Folder::new();
    folder.file("project.sql", project("idle_timeout = '1 second'"));
    folder
}

/// Sends clicks. Gives how many were used and how many were late.
fn send(server: &Server<'_>, clicks: &str) -> (Value, Value) {
    let lines = [("content-type", "application/x-ndjson")];
    let (status, receipt) = post_to(server, "/v1/streams/clicks/events", &lines, clicks);
    assert_eq!(status, 200, "{receipt}");
    (receipt["accepted"].clone(), receipt["late"].clone())
}

/// Status and answer, whatever it is.
fn get(server: &Server<'_>, path: &str) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.get(format!("{}{path}", server.url)).call().unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

fn get_json(server: &Server<'_>, path: &str) -> (u16, Value) {
    let (status, text) = get(server, path);
    (status, serde_json::from_str(&text).unwrap())
}

/// The values of a user as of now, and the offset of the rows that they are of.
fn spending(server: &Server<'_>, user: i64) -> (Value, Value) {
    let said = server.get(&format!("spending user_id={user} --format json"));
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    let mut answer: Value = serde_json::from_str(&said.stdout).unwrap();
    let names: Vec<&String> = answer["position"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["spells"], "a view reads the rows and not the clicks");
    (answer["rows"][0].take(), answer["position"]["spells"].take())
}

/// What is told of the rows: how many there are, and the windows with some fields of them.
fn told(server: &Server<'_>, fields: &[&str]) -> (Value, Vec<Value>) {
    let mut spells = object(server, "spells");
    (spells["counts"]["rows"].take(), fields.iter().map(|field| spells["windows"][*field].take()).collect())
}

/// One window closes by an event, before and after a kill; the other one when nothing comes, after an orderly end.
fn close_all(folder: &Folder) -> Server<'_> {
    let server = Server::start(folder, "--clock event");
    assert_eq!(send(&server, CLICKS), (json!(4), json!(0)));
    assert_eq!(spending(&server, 1), (json!([0, null, null]), json!([0])));
    assert_eq!(told(&server, &["open_entities", "open_events"]), (json!(0), vec![json!(3), json!(4)]));
    drop(server);

    let server = Server::start(folder, "--clock event");
    assert_eq!(send(&server, CLOSING), (json!(1), json!(0)));
    check_after_event(&server);
    drop(server);

    let server = Server::start(folder, "--clock event");
    check_after_event(&server);
    server.end("INT");

    let server = Server::start(folder, "--clock system");
    let have_closed = (0..TRIES_MAX).any(|_| told(&server, &[]).0 == json!(4));
    assert!(have_closed, "nothing came for a second, and the window is open");
    assert_eq!(spending(&server, 1), (json!([2, 19, 16]), json!([4])));
    server
}

fn check_after_event(server: &Server<'_>) {
    assert_eq!(spending(server, 1), (json!([1, 3, 3]), json!([3])));
    assert_eq!(spending(server, 2), (json!([1, 4, 4]), json!([3])));
    let (rows, fields) = told(server, &["open_entities", "open_events", "position", "newest_row"]);
    assert_eq!((rows, json!(fields)), (json!(3), json!([1, 1, [3], "2026-01-01T10:00:09.999999Z"])));
}

#[test]
fn windows_close_by_events_and_by_the_clock_and_each_row_is_there_once() {
    let folder = stored();
    let server = close_all(&folder);
    // By its own partition the first is late; the second is used, and its window has closed.
    assert_eq!(send(&server, LATE), (json!(1), json!(1)));
    check_too_late(&server);
    // A look at the clock that an event came too late for has an offset among the rows.
    let answered = spending(&server, 1);
    assert_eq!(answered, (json!([2, 19, 16]), json!([5])));
    drop(server);

    let server = Server::start(&folder, "");
    assert_eq!(spending(&server, 1), answered, "after a kill");
    check_too_late(&server);
    server.end("INT");
    let server = Server::start(&folder, "");
    assert_eq!(spending(&server, 1), answered, "from the checkpoint");
    check_too_late(&server);
}

/// One event was used, and came too late for its window: told, a letter of the windows, and not to be sent again.
fn check_too_late(server: &Server<'_>) {
    let (rows, fields) = told(server, &["too_late", "rows_set_aside", "open_events"]);
    assert_eq!((rows, json!(fields)), (json!(4), json!([1, 0, 0])));
    let clicks = object(server, "clicks");
    let names: Vec<&Value> = clicks["reasons"].as_array().unwrap().iter().map(|reason| &reason["name"]).collect();
    assert_eq!(names, [&json!("late"), &json!("late for `spells`")]);
    let (status, page) = get_json(server, "/v1/streams/spells/dead-letters?reason=late");
    let letters = page["dead_letters"].as_array().unwrap();
    assert_eq!((status, letters.len(), &page["stream"]), (200, 1, &json!("spells")));
    let letter = &letters[0];
    assert_eq!((&letter["offset"], &letter["reason"], &letter["view"]), (&json!(6), &json!("late"), &json!("spells")));
    assert_eq!(letter["detail"], "a window that it belongs to had closed");
    assert!(letter["event"].as_str().unwrap().contains("\"id\":7"), "{letter}");

    let said = server.folder.run(&format!("replay-dead-letters --url {} clicks --from 6", server.url));
    assert_eq!((said.code, &said.stdout[..]), (Some(0), "no dead letters to replay\n"), "{}", said.stderr);
    let skipped = "1 dead letter too late for a window that had closed and used otherwise: skipped";
    assert!(said.stderr.contains(skipped), "{}", said.stderr);
}

#[test]
fn a_stream_of_windows_is_told_and_takes_no_events() {
    let folder = stored();
    let server = Server::start(&folder, "--clock event");
    send(&server, CLICKS);
    send(&server, CLOSING);
    let spells = object(&server, "spells");
    assert_eq!((&spells["kind"], &spells["reads"]), (&json!("stream"), &json!(["clicks"])));
    assert_eq!((&spells["positions"], &spells["primary_key"]), (&json!({"clicks": [5]}), &json!([])));
    assert_eq!(
        (&spells["time_column"], &spells["watermark"]),
        (&json!("window_time"), &json!("2026-01-01T10:00:10.000000Z"))
    );
    let windows = &spells["windows"];
    assert_eq!((&windows["shape"], &windows["key"]), (&json!("TUMBLE(INTERVAL '10' SECOND)"), &json!(["user_id"])));
    // What logs take is counted now and then.
    let is_counted = (0..TRIES_MAX).any(|_| told(&server, &["log_bytes"]).1[0].as_u64() > Some(0));
    assert!(is_counted, "the log of the rows has no bytes");
    let logs = folder.names(".asof/log");
    let of_rows = logs.iter().filter(|name| name.starts_with("spells%2E"));
    assert_eq!(of_rows.count(), 1, "the log of the rows bears a mark of how they are computed: {logs:?}");
    // One of three totals is 4.
    let rest = object(&server, "long_spells");
    assert_eq!((&rest["counts"], &rest["origins"]), (&json!({"rows": 2, "set_aside": 1}), &json!(["clicks"])));
    assert_eq!((&rest["positions"], &rest["windows"]), (&json!({"spells": [3]}), &Value::Null));
    check_metrics(&server);
    check_doors(&server);
}

fn check_metrics(server: &Server<'_>) {
    let (_, metrics) = get(server, "/metrics");
    for line in [
        r#"asof_derived_rows_total{stream="spells"} 3"#,
        r#"asof_windows_open_entities{stream="spells"} 1"#,
        r#"asof_windows_open_events{stream="spells"} 1"#,
        r#"asof_windows_too_late_total{stream="spells"} 0"#,
        r#"asof_windows_rows_set_aside_total{stream="spells"} 0"#,
        r#"asof_derived_set_aside_total{stream="long_spells"} 1"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    for beginning in [r#"asof_log_bytes{stream="spells"} "#, r#"asof_windows_open_bytes{stream="spells"} "#] {
        assert!(metrics.lines().any(|found| found.starts_with(beginning)), "{beginning} is not in\n{metrics}");
    }
    assert!(!metrics.contains(r#"asof_stream_events_total{stream="spells""#), "rows did not come in:\n{metrics}");
}

fn check_doors(server: &Server<'_>) {
    let folder = server.folder;
    for stream in ["spells", "long_spells"] {
        let (status, refused) = post_to(server, &format!("/v1/streams/{stream}/events"), &[], CLOSING);
        let error = &refused["error"];
        assert_eq!((status, &error["hint"]), (400, &json!("send them to what it sees the events of: `clicks`")));
        assert_eq!(error["message"], format!("stream `{stream}` is derived from others and takes no events"));
        folder.file("rows.jsonl", CLOSING);
        for command in [
            format!("ingest --url {} {stream} rows.jsonl", server.url),
            format!("replay-dead-letters --url {} {stream}", server.url),
        ] {
            check_refused(folder, &command, 1, &["is derived from others", "`clicks`"]);
        }
    }
    let (status, refused) = get_json(server, "/v1/streams/long_spells/dead-letters");
    let message = "derived stream `long_spells` reads rows of closed windows, which leave no dead letters";
    assert_eq!((status, &refused["error"]["message"]), (400, &json!(message)));
    let (_, document) = get_json(server, "/openapi.json");
    let paths = document["paths"].as_object().unwrap();
    let has = |path: &str| paths.contains_key(path);
    assert!(has("/v1/streams/spells/dead-letters") && !has("/v1/streams/spells/events"), "{paths:?}");
}

#[test]
fn training_has_the_rows_that_were_served() {
    let folder = stored();
    close_all(&folder).end("INT");
    let made = |words: &str| -> Vec<Value> {
        let said = folder.run(&format!("history . --view spending {words} --out out.jsonl"));
        assert_eq!(said.code, Some(0), "{words}: {}", said.stderr);
        let text = fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.map(|row| json!([row["user_id"], row["spells"], row["total"], row["newest"]])).collect()
    };
    folder.file(
        "spine.csv",
        "user_id,ts\n1,2026-01-01T10:00:09.999998Z\n1,2026-01-01T10:00:09.999999Z\n1,2026-01-01T10:00:30Z\n\
         2,2026-01-01T10:00:30Z\n3,2026-01-01T10:00:30Z\n",
    );
    let expected = json!([[1, 0, null, null], [1, 1, 3, 3], [1, 2, 19, 16], [2, 1, 4, 4], [3, 0, null, null]]);
    assert_eq!(json!(made("--spine spine.csv")), expected);
    let mut rows = made("--every-event");
    rows.sort_by_key(|row| (row[0].as_i64(), row[1].as_i64()));
    assert_eq!(json!(rows), json!([[1, 1, 3, 3], [1, 2, 19, 16], [2, 1, 4, 4]]));
    // They became visible when this test ran.
    folder.file("spine.csv", "user_id,ts\n1,2026-01-01T10:00:30Z\n1,2100-01-01T00:00:00Z\n");
    let expected = json!([[1, 0, null, null], [1, 2, 19, 16]]);
    assert_eq!(json!(made("--spine spine.csv --knowledge as-served")), expected);
}

#[test]
fn windows_over_a_file_are_accounted_for() {
    let folder = Folder::new();
    folder.file("project.sql", project("connector = 'file', path = 'clicks.jsonl', order = 'file'"));
    folder.file("clicks.jsonl", format!("{CLICKS}{CLOSING}{LATE}"));
    let said = folder.run("check .");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let line = "stream           spells  ← clicks  3 columns, event time window_time, no primary key, \
                windows TUMBLE(INTERVAL '10' SECOND) by (user_id)\n";
    assert!(said.stdout.contains(line), "{}", said.stdout);
    let described: Value = serde_json::from_str(&folder.run("check . --format json").stdout).unwrap();
    assert_eq!(described["objects"][1]["windows"], "TUMBLE(INTERVAL '10' SECOND)");

    let server = Server::start(&folder, "");
    assert_eq!(spending(&server, 1), (json!([1, 3, 3]), json!([3])));
    assert_eq!(told(&server, &["log_bytes"]), (json!(3), vec![Value::Null]), "made anew at each start");
    let said = server.end("INT");
    for expected in [
        "clicks: 7 events in = 6 used + 1 late",
        "spells: 3 rows of closed windows",
        "1 set aside for `long_spells`, the first: `12 / (total - 4)`: division by zero",
        "7 events taken in",
    ] {
        assert!(said.stderr.contains(expected), "expected `{expected}`, found\n{}", said.stderr);
    }
}
