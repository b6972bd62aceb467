//! What is served is what history computes, value for value.

use std::fs;
use std::path::Path;

use asof_connect::{Format, SpineFile};
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

/// Arrays and a map, passed on by a service. The map's keys are no texts, and one of them needs no quotes in JSON.
const LISTS: &str = "
CREATE FEATURE VIEW lists AS
SELECT k, array_agg(amount) OVER r AS newest, top_k(n, 2) OVER w AS top, last_distinct(id, 5) OVER w AS ids,
       histogram(amount) OVER w AS amounts, approx_count_distinct(id) OVER w AS about, approx_quantile(n, 0.5) OVER w AS middle
FROM e
WINDOW w AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW),
       r AS (PARTITION BY k ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW);
CREATE FEATURE SERVICE g AS
SELECT l.newest, l.top, l.ids, l.amounts, l.about, l.middle FROM REQUEST (k BIGINT) AS r LEFT JOIN lists AS l ON l.k = r.k;
";

#[test]
fn arrays_and_maps_are_the_same_everywhere() {
    let folder = Folder::new();
    folder.file("project.sql", project("e.jsonl", "jsonl", "") + LISTS);
    folder.file("s.csv", "k,ts\n1,2026-01-01T00:10:00Z\n2,2026-01-01T00:10:00Z\n");
    let names = ["newest", "top", "ids", "amounts", "about", "middle"];
    let values = ["[1.5,2.5]", "[1,2]", r#"["b","a"]"#, r#"{"1.5":1,"2.5":1}"#, "2", "1.00390625"];
    let nothing = ["null", "null", "null", "null", "0", "null"];
    let object = |k: &str, values: &[&str]| {
        let members: Vec<String> =
            names.iter().zip(values).map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
        format!(r#"{{"k":{k},"ts":"2026-01-01T00:10:00.000000Z",{}}}"#, members.join(",")) + "\n"
    };
    for target in ["--view lists", "--service g"] {
        for out in ["out.jsonl", "out.csv", "out.parquet"] {
            let made = folder.run(&format!("history . {target} --spine s.csv --out {out}"));
            assert_eq!(made.code, Some(0), "{target} {out}: {}", made.stderr);
        }
        let lines = fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
        let plain = lines.replace(r#""k":"1""#, r#""k":1"#).replace(r#""k":"2""#, r#""k":2"#);
        assert_eq!(
            plain.replace(":10:00Z", ":10:00.000000Z"),
            object("1", &values) + &object("2", &nothing),
            "{target}"
        );
        let csv = fs::read_to_string(folder.path().join("out.csv")).unwrap();
        let expected = r#","[1.5,2.5]","[1,2]","[""b"",""a""]","{""1.5"":1,""2.5"":1}",2,1.00390625"#;
        assert!(csv.lines().nth(1).unwrap().ends_with(expected), "{csv}");
        assert!(csv.lines().nth(2).unwrap().ends_with(",,,,,0,"), "{csv}");
        let parquet = parquet_values(&folder.path().join("out.parquet"), &names);
        assert_eq!(parquet, [values.to_vec(), nothing.to_vec()], "{target}");
    }
    let server = Server::start(&folder, "");
    for words in ["lists k=1", "g k=1"] {
        let said = server.get(&format!("{words} --as-of 2026-01-01T00:10:00Z --format json"));
        assert!(said.stdout.contains(&format!(r#""rows":[[{}]]"#, values.join(","))), "{}{}", said.stdout, said.stderr);
        let said = server.get(&format!("{words} --as-of 2026-01-01T00:10:00Z"));
        let expected =
            "newest   [1.5,2.5]\ntop      [1,2]\nids      [\"b\",\"a\"]\namounts  {\"1.5\":1,\"2.5\":1}\nabout    2\n";
        assert!(said.stdout.starts_with(expected), "{}{}", said.stdout, said.stderr);
    }
    server.end("INT");
}

/// The values of a Parquet file as JSON, row by row.
fn parquet_values(path: &Path, names: &[&str]) -> Vec<Vec<String>> {
    let mut file = SpineFile::open(path, Format::Parquet, &[]).unwrap();
    let batch = file.next_batch().unwrap().unwrap();
    let value = |name: &&str, row| {
        let mut text = Vec::new();
        asof_connect::write_json_value(batch.column_by_name(name).unwrap(), row, &mut text);
        String::from_utf8(text).unwrap()
    };
    (0..batch.num_rows()).map(|row| names.iter().map(|name| value(name, row)).collect()).collect()
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
