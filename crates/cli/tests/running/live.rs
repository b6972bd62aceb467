//! Streams without a connector: events posted, stored, read back after a kill; who else writes; files that grow.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::check_refused;
use crate::folder::Folder;
use crate::server::Server;

const PROJECT: &str = "
CREATE STREAM e (
  id BIGINT NOT NULL, k BIGINT NOT NULL, x DOUBLE CHECK (x < 900), ts TIMESTAMP NOT NULL,
  PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
);
CREATE FEATURE VIEW v AS
SELECT k, count(*) OVER l AS events, sum(x) OVER l AS total
FROM e WINDOW l AS (PARTITION BY k ORDER BY ts);
";
const EVENTS: &str = r#"{"id":1,"k":7,"x":1.5,"ts":"2026-01-01T00:00:10Z"}
{"id":1,"k":7,"x":1.5,"ts":"2026-01-01T00:00:10Z"}
{"id":2,"k":7,"x":901,"ts":"2026-01-01T00:00:11Z"}
{"id":3,"k":7,"x":2,"ts":"2026-01-01T00:00:12Z"}
{"id":4,"k":7,"x":2,"ts":"2025-01-01T00:00:12Z"}
"#;

fn post(server: &Server<'_>, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    post_to(server, "/v1/streams/e/events", headers, body)
}

pub(crate) fn post_to(server: &Server<'_>, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.post(format!("{}{path}", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request.send(body).unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap())
}

fn row_of_seven(server: &Server<'_>) -> Value {
    let said = server.get("v k=7 --format json");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    serde_json::from_str::<Value>(&said.stdout).unwrap()["rows"][0].clone()
}

#[test]
fn what_is_acknowledged_is_there_after_a_kill() {
    let folder = Folder::new();
    folder.file("project.sql", PROJECT);
    let server = Server::start(&folder, "");
    let lines = [("content-type", "application/x-ndjson")];
    let (status, receipt) = post(&server, &lines, EVENTS);
    assert_eq!(status, 200, "{receipt}");
    let late = json!({"row": 4, "reason": "late", "detail": "event time is behind the watermark"});
    let check = json!({"row": 2, "reason": "check", "detail": "CHECK (x < 900) is false"});
    assert_eq!(receipt, json!({"accepted": 2, "duplicates": 1, "late": 1, "rejected": 1, "refused": [check, late]}));
    assert_eq!(row_of_seven(&server), json!([2, 3.5]));
    // Without a chance to end in order.
    drop(server);

    let server = Server::start(&folder, "");
    assert_eq!(row_of_seven(&server), json!([2, 3.5]));
    let named = [("content-type", "application/x-ndjson"), ("idempotency-key", "one")];
    let five = r#"{"id":5,"k":7,"x":1,"ts":"2026-01-01T00:00:13Z"}"#;
    let (_, first) = post(&server, &named, five);
    assert_eq!(first["accepted"], 1);
    let said = server.end("INT");
    assert_eq!(said.code, Some(0), "{}", said.stderr);

    let server = Server::start(&folder, "");
    let (status, again) = post(&server, &named, five);
    assert_eq!((status, &again["accepted"], &again["duplicates"]), (200, &json!(1), &json!(0)));
    let (status, other) = post(&server, &named, EVENTS);
    assert_eq!((status, &other["error"]["message"]), (422, &json!("the key `one` named another batch before")));
    assert_eq!(row_of_seven(&server), json!([3, 4.5]));
    let (status, receipt) = post(&server, &[], r#"{"id":6,"k":7,"x":901,"ts":"2026-01-01T00:00:14Z"}"#);
    assert_eq!((status, &receipt["rejected"]), (422, &json!(1)));
}

#[test]
fn a_second_writer_is_refused_and_a_take_over_fences_the_first() {
    let folder = Folder::new();
    folder.file("project.sql", PROJECT);
    let first = Server::start(&folder, "");
    let one = r#"{"id":1,"k":7,"x":1,"ts":"2026-01-01T00:00:13Z"}"#;
    assert_eq!(post(&first, &[], one).0, 200);
    check_refused(&folder, "run . --listen 127.0.0.1:0", 2, &["--take-over"]);
    let second = Server::start(&folder, "--take-over");
    assert_eq!(row_of_seven(&second), json!([1, 1.0]));
    let two = r#"{"id":2,"k":7,"x":2,"ts":"2026-01-01T00:00:14Z"}"#;
    let (status, refused) = post(&first, &[], two);
    assert_eq!(status, 503, "{refused}");
    assert_eq!(post(&second, &[], two).0, 200);
    assert_eq!(row_of_seven(&second), json!([2, 3.0]));
}

/// Here it is this process that hangs.
#[test]
fn who_hangs_while_it_begins_a_segment_is_named() {
    let folder = Folder::new();
    folder.file("project.sql", PROJECT);
    assert_eq!(Server::start(&folder, "").end("INT").code, Some(0));
    let beginning = File::open(folder.path().join(".asof/log/e/0/beginning")).unwrap();
    beginning.try_lock().unwrap();
    let expected = ["/log/e/0/beginning`, and lets go of it within a moment unless it hangs", "`kill -9`"];
    check_refused(&folder, "run . --listen 127.0.0.1:0 --take-over", 2, &expected);
    beginning.unlock().unwrap();
    assert_eq!(Server::start(&folder, "--take-over").end("INT").code, Some(0));
}

const OF_BEFORE: &str = "the data folder was made before primary keys had a secret";

#[test]
fn a_lost_key_secret_is_not_taken_for_one_that_never_was() {
    let folder = Folder::new();
    folder.file("project.sql", PROJECT);
    let server = Server::start(&folder, "");
    assert_eq!(post(&server, &[], r#"{"id":1,"k":7,"x":1,"ts":"2026-01-01T00:00:13Z"}"#).0, 200);
    assert_eq!(server.end("INT").code, Some(0));
    fs::remove_file(folder.path().join(".asof/key-secret")).unwrap();
    let said = folder.run("run . --listen 127.0.0.1:0");
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("it is not there, and the checkpoints were written with one"), "{}", said.stderr);
    assert!(!said.stderr.contains(OF_BEFORE), "{}", said.stderr);
}

#[test]
fn a_data_folder_of_before_there_were_secrets_is_told() {
    let folder = Folder::new();
    let payments = "CREATE STREAM payments (id BIGINT NOT NULL, shop BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
        PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '10' SECOND);";
    folder.file("project.sql", payments);
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipeline/tests/samples/data-folder-1");
    copy(&sample, &folder.path().join(".asof"));
    let said = Server::start(&folder, "").end("INT");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(said.stderr.matches(OF_BEFORE).count(), 1, "{}", said.stderr);
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { copy(&from, &to) } else { fs::copy(&from, &to).map(drop).unwrap() }
    }
}

#[test]
fn rows_appended_to_a_followed_file_are_taken_in() {
    let folder = Folder::new();
    let followed = ") WITH (connector = 'file', path = 'e.jsonl', follow = true);";
    folder.file("project.sql", PROJECT.replacen(");", followed, 1)).file("e.jsonl", EVENTS);
    let server = Server::start(&folder, "");
    assert_eq!(row_of_seven(&server), json!([2, 3.5]));
    let mut file = OpenOptions::new().append(true).open(folder.path().join("e.jsonl")).unwrap();
    file.write_all(br#"{"id":9,"k":7,"x":0.25,"ts":"2026-01-01T00:00:15Z"}"#).unwrap();
    file.write_all(b"\n").unwrap();
    // Each try is a process of its own: together they take seconds.
    let came = (0..1_000).any(|_| row_of_seven(&server) == json!([3, 3.75]));
    assert!(came, "the appended row does not come");
}

/// Path, headers, body; then the status and some words of the message.
type Refused<'c> = (&'c str, &'c [(&'c str, &'c str)], &'c str, u16, &'c str);

#[test]
fn events_that_make_no_sense_are_refused_by_name() {
    let folder = Folder::new();
    let file =
        "CREATE STREAM f (k BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH (connector = 'file', path = 'f.jsonl');";
    folder.file("project.sql", format!("{PROJECT}{file}")).file("f.jsonl", "{\"k\":1,\"ts\":\"2026-01-01\"}\n");
    let server = Server::start(&folder, "--clock system");
    let long = "x".repeat(257);
    let key = [("idempotency-key", long.as_str())];
    let cases: &[Refused<'_>] = &[
        ("/v1/streams/ee/events", &[], "{}", 404, "unknown stream `ee`"),
        ("/v1/streams/f/events", &[], "{}", 400, "stream `f` reads a file and takes no events over HTTP"),
        ("/v1/streams/e/events?histroy=true", &[], "{}", 400, "unknown query parameter `histroy`"),
        ("/v1/streams/e/events?history=1", &[], "{}", 400, "expected true or false, found `1`"),
        ("/v1/streams/e/events?history=true&replayed=true", &[], "{}", 400, "exclude each other"),
        ("/v1/streams/e/events?arrival_column=a", &[], "{}", 400, "goes with `history=true`"),
        ("/v1/streams/e/events", &key, "{}", 400, "1 to 256 bytes"),
        ("/v1/streams/e/events", &[], "[{},", 400, "the body is not JSON that can be read"),
        ("/v1/streams/e/events", &[], "{\"id\":1,\"ts\":1767225610}", 400, "all fall before 1980"),
        ("/v1/streams/e/events", &[], "{\"id\":1}", 422, ""),
    ];
    for (path, headers, body, status, expected) in cases {
        let (found, answer) = post_to(&server, path, headers, body);
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(found == *status && message.contains(expected), "{path} {body}: {found} {answer}");
    }
    for body in ["", "[]", " \n"] {
        let lines = [("content-type", "application/x-ndjson")];
        let (status, receipt) = post(&server, if body == "[]" { &[] } else { &lines }, body);
        assert_eq!((status, &receipt["accepted"]), (200, &json!(0)), "`{body}`: {receipt}");
    }
    let array =
        r#"[{"id":1,"k":7,"x":1,"ts":"2026-01-01T00:00:13Z"},{"id":2,"k":7,"x":null,"ts":"2026-01-01T00:00:13Z"}]"#;
    assert_eq!(post(&server, &[], array).1["accepted"], 2);
    assert_eq!(row_of_seven(&server), json!([2, 1.0]));
}
