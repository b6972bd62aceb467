//! What is served is what history computes, value for value.

use std::fs;

use serde_json::Value;

use crate::folder::{Folder, project};
use crate::server::Server;

/// Instants before, between, at and after the two events of the folder, for an entity that has them and one that has not.
const SPINE: &str = "k,d,ts
1,1,2025-12-31T23:30:00Z
1,3,2026-01-01T00:00:00Z
1,3,2026-01-01T00:00:00.999999Z
1,-7,2026-01-01T00:00:01Z
1,,2026-01-01T01:00:00Z
1,1,2026-01-01T01:00:00.000001Z
1,1,2027-01-01T00:00:00Z
2,2,2026-01-01T00:10:00Z
";

#[test]
fn a_service_answers_like_history() {
    check_like_history("--service f", |k, d| format!("f k={k} d={}", if d.is_empty() { "null" } else { d }));
}

#[test]
fn a_view_answers_like_history() {
    check_like_history("--view v", |k, _| format!("v k={k}"));
}

fn check_like_history(target: &str, words: impl Fn(&str, &str) -> String) {
    let folder = Folder::new();
    folder.file("s.csv", SPINE);
    let made = folder.run(&format!("history . {target} --spine s.csv --out out.jsonl"));
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let out = fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
    let expected: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let spine: Vec<Vec<&str>> = SPINE.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(expected.len(), spine.len());
    let server = Server::start(&folder, "");
    for (row, expected) in spine.iter().zip(&expected) {
        let [k, d, ts] = row[..] else { panic!("three columns") };
        let said = server.get(&format!("{} --as-of {ts} --format json", words(k, d)));
        assert_eq!(said.code, Some(0), "{row:?}: {}", said.stderr);
        let answer: Value = serde_json::from_str(&said.stdout).unwrap();
        let names = answer["columns"].as_array().unwrap();
        assert!(!names.is_empty());
        for (place, name) in names.iter().enumerate() {
            assert_eq!(answer["rows"][0][place], expected[name.as_str().unwrap()], "{row:?}: {name}");
        }
    }
    server.end("INT");
}

#[test]
fn a_vector_is_shown_as_a_table() {
    let folder = Folder::new();
    let server = Server::start(&folder, "");
    let said = server.get("v k=1");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let expected = "\
c       2
s       4.0
tenths  15
total   3

as of      2026-01-01T00:00:01.000000Z
position   e 2
freshness  e newest event 2026-01-01T00:00:01.000000Z, 0 s before
known      v yes
";
    assert_eq!(said.stdout, expected);
    // As of another instant, of an entity that nothing is known of.
    let said = server.get("v k=null --as-of 2026-01-01T00:00:00.5Z");
    let expected = "\
c       0
s       NULL
tenths  NULL
total   NULL

as of      2026-01-01T00:00:00.500000Z
position   e 2
freshness  e newest event 2026-01-01T00:00:01.000000Z, 0.5 s after the as-of instant
known      v no
";
    assert_eq!(said.stdout, expected);
    server.end("INT");
}

#[test]
fn values_of_every_type_arrive() {
    let columns = [
        ("a", "BOOLEAN", "true", "true"),
        ("b", "SMALLINT", "-32768", "-32768"),
        ("c", "BIGINT", "9223372036854775807", "9223372036854775807"),
        ("d", "DOUBLE", "0.1", "0.1"),
        ("f", "DECIMAL(38,2)", "123456789012345678901234567890123456.78", "123456789012345678901234567890123456.78"),
        ("g", "VARCHAR", "null", "null"),
        ("h", "DATE", "2026-01-31", "2026-01-31"),
        ("i", "TIMESTAMP", "1767225600000001", "2026-01-01T00:00:00.000001Z"),
        ("j", "VARBINARY", "AAH/", "AAH/"),
        ("l", "DOUBLE", "-Infinity", "-Infinity"),
        ("m", "BIGINT", "null", "NULL"),
        ("n", "VARCHAR", "", ""),
    ];
    let declared: Vec<String> = columns.iter().map(|(name, sql_type, ..)| format!("{name} {sql_type}")).collect();
    let selected: Vec<String> = columns.iter().map(|(name, ..)| format!("r.{name}")).collect();
    let folder = Folder::new();
    let service = format!(
        "{}CREATE FEATURE SERVICE types AS SELECT {} FROM REQUEST (k BIGINT, {}) AS r LEFT JOIN v ON v.k = r.k;",
        project("e.jsonl", "jsonl", ""),
        selected.join(", "),
        declared.join(", "),
    );
    folder.file("project.sql", service);
    let server = Server::start(&folder, "");
    let words: Vec<String> = columns.iter().map(|(name, _, value, _)| format!("{name}={value}")).collect();
    let said = server.get(&format!("types k=1 {}", words.join(" ")));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let expected: Vec<String> = columns.iter().map(|(name, .., shown)| format!("{name}  {shown}")).collect();
    let shown: Vec<&str> = said.stdout.lines().take(columns.len()).collect();
    assert_eq!(shown, expected);
    server.end("INT");
}

#[test]
fn events_beyond_until_are_not_taken_in() {
    let folder = Folder::new();
    for until in ["2026-01-01T00:00:00.999999Z", "1767225600999999", "2026-01-01T00:00:00"] {
        let server = Server::start(&folder, &format!("--until {until}"));
        let said = server.get("v k=1 --as-of 2026-01-01T00:10:00Z");
        assert!(said.stdout.starts_with("c       1\n"), "{until}: {}{}", said.stdout, said.stderr);
        assert!(server.end("INT").stderr.contains("e: 1 events in = 1 used"));
    }
}

#[test]
fn now_is_told_by_the_clock() {
    let folder = Folder::new();
    let server = Server::start(&folder, "--clock system");
    // The events are long ago, so that their frames have emptied.
    let said = server.get("v k=1");
    assert!(said.stdout.starts_with("c       0\n"), "{}{}", said.stdout, said.stderr);
    assert!(server.end("INT").stderr.contains("clock: system"));
}
