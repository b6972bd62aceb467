//! Feature views over group windows in the real binary: checked, replayed up to an instant, trained, and live, where sessions
//! close their stream to a past that comes too late.

use serde_json::{Value, json};

use crate::folder::Folder;
use crate::live::post_to;
use crate::server::Server;

const VIEWS: &str = "
CREATE FEATURE VIEW minutes AS
SELECT user_id, count(*) AS n, sum(amount) AS total,
  lag(count(*)) OVER (PARTITION BY user_id ORDER BY window_start) AS last_n
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY user_id, window_start, window_end;
CREATE FEATURE VIEW visits AS
SELECT user_id, window_start AS began, count(*) AS n,
  lag(count(*)) OVER (PARTITION BY user_id ORDER BY window_start) AS last_n,
  lag(window_end) OVER (PARTITION BY user_id ORDER BY window_start) AS last_end
FROM TABLE(SESSION(TABLE clicks PARTITION BY user_id, DESCRIPTOR(ts), INTERVAL '5' MINUTE))
GROUP BY user_id, window_start, window_end;
CREATE FEATURE SERVICE now_v1 AS
SELECT m.n AS in_minute, v.n AS in_visit, v.last_n AS in_last_visit FROM REQUEST (user_id BIGINT) AS r
LEFT JOIN minutes AS m ON m.user_id = r.user_id LEFT JOIN visits AS v ON v.user_id = r.user_id;
";

/// The fourth is late; with the seventh the second visit of user 1 goes on, the eighth begins a third one.
const CLICKS: &str = r#"{"id":1,"user_id":1,"amount":1,"ts":"2026-01-01T10:00:00Z"}
{"id":2,"user_id":1,"amount":2,"ts":"2026-01-01T10:04:00Z"}
{"id":3,"user_id":1,"amount":4,"ts":"2026-01-01T10:03:30Z"}
{"id":4,"user_id":1,"amount":8,"ts":"2026-01-01T10:01:00Z"}
{"id":5,"user_id":1,"amount":16,"ts":"2026-01-01T10:12:00Z"}
{"id":6,"user_id":2,"amount":32,"ts":"2026-01-01T10:12:10Z"}
{"id":7,"user_id":1,"amount":64,"ts":"2026-01-01T10:12:30Z"}
{"id":8,"user_id":1,"amount":128,"ts":"2026-01-01T10:20:00Z"}
"#;

/// The project over a stream with these options.
fn project(options: &str) -> String {
    let columns = "id BIGINT NOT NULL, user_id BIGINT NOT NULL, amount BIGINT, ts TIMESTAMP NOT NULL";
    format!(
        "CREATE STREAM clicks ({columns}, PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE){options};{VIEWS}"
    )
}

fn from_file() -> Folder {
    let folder = Folder::new();
    let options = " WITH (connector = 'file', path = 'clicks.jsonl', order = 'file')";
    folder.file("project.sql", project(options)).file("clicks.jsonl", CLICKS);
    folder
}

fn row(server: &Server<'_>, words: &str) -> Value {
    let said = server.get(&format!("{words} --format json"));
    assert_eq!(said.code, Some(0), "{words}: {}{}", said.stdout, said.stderr);
    serde_json::from_str::<Value>(&said.stdout).unwrap()["rows"][0].clone()
}

#[test]
fn check_lists_views_over_group_windows() {
    let said = from_file().run("check .");
    assert_eq!((said.code, &said.stderr[..]), (Some(0), ""));
    assert!(said.stdout.contains("feature view     minutes  ← clicks  3 features by (user_id)\n"), "{}", said.stdout);
    assert!(said.stdout.contains("feature view     visits  ← clicks  4 features by (user_id)\n"), "{}", said.stdout);
    assert!(said.stdout.ends_with("ok: 1 stream, 2 feature views, 1 feature service\n"), "{}", said.stdout);
}

#[test]
fn a_replay_stops_within_a_window() {
    let folder = from_file();
    let server = Server::start(&folder, "--until 2026-01-01T10:12:30Z");
    assert_eq!(row(&server, "minutes user_id=1"), json!([2, 80, 1]));
    let (began, ended) = ("2026-01-01T10:12:00.000000Z", "2026-01-01T10:09:00.000000Z");
    assert_eq!(row(&server, "visits user_id=1"), json!([began, 2, 3, ended]));
    assert_eq!(row(&server, "now_v1 user_id=1"), json!([2, 2, 3]));
    // A visit lasts to the end of its gap, that instant included.
    let first = json!(["2026-01-01T10:00:00.000000Z", 3, null, null]);
    assert_eq!(row(&server, "visits user_id=1 --as-of 2026-01-01T10:09:00Z"), first);
    assert_eq!(row(&server, "visits user_id=1 --as-of 2026-01-01T10:09:00.000001Z"), json!([null, 0, 3, ended]));
    assert_eq!(row(&server, "visits user_id=3"), json!([null, 0, null, null]));
    let said = server.end("INT");
    assert!(said.stderr.contains("clicks: 7 events in = 6 used + 1 late"), "{}", said.stderr);
}

#[test]
fn training_has_the_windows_of_each_instant() {
    let folder = from_file();
    let made = |words: &str| -> Vec<Value> {
        let said = folder.run(&format!("history . {words} --out out.jsonl"));
        assert_eq!(said.code, Some(0), "{words}: {}", said.stderr);
        let text = std::fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    folder.file(
        "spine.csv",
        "user_id,ts\n1,2026-01-01T10:04:30Z\n1,2026-01-01T10:09:00Z\n1,2026-01-01T10:09:00.000001Z\n\
         1,2026-01-01T10:12:30Z\n1,2026-01-01T10:13:00Z\n2,2026-01-01T10:12:10Z\n3,2026-01-01T10:12:10Z\n",
    );
    let rows = made("--service now_v1 --spine spine.csv");
    let answers: Vec<Value> =
        rows.iter().map(|row| json!([row["in_minute"], row["in_visit"], row["in_last_visit"]])).collect();
    let expected = json!([[1, 3, null], [0, 3, null], [0, 0, 3], [2, 2, 3], [0, 2, 3], [1, 1, null], [0, 0, null]]);
    assert_eq!(json!(answers), expected);
    let mut rows = made("--view visits --every-event");
    rows.sort_by_key(|row| row["id"].as_i64());
    let answers: Vec<Value> = rows.iter().map(|row| json!([row["id"], row["n"], row["last_n"]])).collect();
    let expected = json!([[1, 1, null], [2, 3, null], [3, 2, null], [5, 1, 3], [6, 1, null], [7, 2, 3], [8, 1, 2]]);
    assert_eq!(json!(answers), expected);
}

/// Sends one click of user 1, so many minutes and seconds after ten.
fn send(server: &Server<'_>, query: &str, id: i64, time: &str) -> (u16, Value) {
    let body = json!({"id": id, "user_id": 1, "amount": 1, "ts": format!("2026-01-01T10:{time}Z")}).to_string();
    post_to(server, &format!("/v1/streams/clicks/events{query}"), &[], &body)
}

#[test]
fn a_past_below_the_sessions_that_are_held_is_refused() {
    let folder = Folder::new();
    folder.file("project.sql", project("")).file("asof.toml", "[state]\nas_of_horizon = '10m'\n");
    let server = Server::start(&folder, "--clock event");
    // A past before live events is taken in, in the order of event time.
    assert_eq!(send(&server, "?history=true", 1, "00:00").0, 200);
    assert_eq!(send(&server, "?history=true", 2, "20:00").0, 200);
    assert_eq!(send(&server, "", 3, "40:00").0, 200);
    assert_eq!(send(&server, "", 4, "30:00").0, 422);
    let began = "2026-01-01T10:40:00.000000Z";
    let ended = "2026-01-01T10:25:00.000000Z";
    assert_eq!(row(&server, "visits user_id=1"), json!([began, 1, 1, ended]));

    // The watermark is 10:39, and reads stand at 10:29 and later: older sessions than that are dropped.
    for query in ["?history=true", "?replayed=true"] {
        let message = "rows from 2026-01-01T10:28:59.999999Z on, by event time, come too late: `visits` reaches back to \
                       2026-01-01T10:29:00.000000Z";
        let hint =
            "load in the order of event time, tables before the streams that join them, and all before live events";
        let refused = json!({"error": {"kind": "out_of_reach", "message": message, "hint": hint}});
        assert_eq!(send(&server, query, 5, "28:59.999999"), (422, refused), "{query}");
    }
    let (status, page) = get(&server, "/v1/streams/clicks/dead-letters");
    let reasons: Vec<&Value> = page["dead_letters"].as_array().unwrap().iter().map(|one| &one["reason"]).collect();
    assert_eq!((status, reasons), (200, vec![&json!("late")]), "what is refused whole leaves no letter");
    assert_eq!(row(&server, "visits user_id=1"), json!([began, 1, 1, ended]));

    // At the bound itself it still counts, and what is late may be replayed.
    assert_eq!(send(&server, "?history=true", 6, "29:00").1["accepted"], 1);
    assert_eq!(send(&server, "?replayed=true", 4, "30:00").1["accepted"], 1);
    let expected = json!([began, 1, 2, "2026-01-01T10:35:00.000000Z"]);
    assert_eq!(row(&server, "visits user_id=1"), expected);
    drop(server);
    let server = Server::start(&folder, "--clock event");
    assert_eq!(row(&server, "visits user_id=1"), expected, "after a kill");
    server.end("INT");
}

fn get(server: &Server<'_>, path: &str) -> (u16, Value) {
    let mut answer = ureq::get(format!("{}{path}", server.url)).call().unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap())
}
