//! A file taken as it stands: late events, repeats and rejected rows are judged and served as history judges and computes
//! them.

use std::fmt::Write;
use std::fs;

use serde_json::Value;

use crate::folder::Folder;
use crate::server::Server;

const PROJECT: &str = "
CREATE STREAM e (
  id BIGINT NOT NULL, k BIGINT NOT NULL, x DOUBLE CHECK (x < 900), ts TIMESTAMP NOT NULL,
  PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
) WITH (connector = 'file', path = 'e.jsonl', format = 'jsonl', order = 'file');
CREATE FEATURE VIEW v AS
SELECT k, count(*) OVER m AS events, sum(x) OVER m AS total, stddev_samp(x) OVER l AS deviation,
       last_value(id) OVER three AS newest, min(x) OVER three AS least
FROM e
WINDOW m AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '5' MINUTE PRECEDING AND CURRENT ROW),
       l AS (PARTITION BY k ORDER BY ts),
       three AS (PARTITION BY k ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW);
";
const ENTITIES: u64 = 6;
const ROWS: u64 = 4_000;

/// Event times stray up to two minutes back, so that some are late; some ids come again, some values break the CHECK.
fn lines() -> String {
    let mut random: u64 = 7;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut lines = String::new();
    for row in 0..ROWS {
        let id = if draw(20) == 0 { row.saturating_sub(draw(50)) } else { row };
        let astray = if draw(10) == 0 { 120 } else { 10 };
        let second = 1_767_225_600 + row - row.min(draw(astray));
        let scale = if draw(40) == 0 { 37.0 } else { 0.37 };
        let (k, x) = (draw(ENTITIES), draw(905) as f64 * scale);
        writeln!(lines, "{{\"id\": {id}, \"k\": {k}, \"x\": {x}, \"ts\": {second}000000}}").unwrap();
    }
    lines
}

#[test]
fn arrivals_as_they_stand_are_served_like_history() {
    let folder = Folder::new();
    folder.file("project.sql", PROJECT).file("e.jsonl", lines());
    let instants = ["2026-01-01T00:20:00Z", "2026-01-01T01:00:07.5Z", "2026-01-01T01:06:38Z", "2026-01-01T03:00:00Z"];
    let mut spine = "k,ts\n".to_owned();
    for ts in instants {
        (0..=ENTITIES).for_each(|k| writeln!(spine, "{k},{ts}").unwrap());
    }
    folder.file("s.csv", &spine);
    let made = folder.run("history . --view v --spine s.csv --out out.jsonl");
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let judged = made.stderr.lines().find(|line| line.starts_with("e: ")).unwrap().to_owned();
    for verdict in ["late", "duplicate", "rejected"] {
        assert!(!judged.contains(&format!(" 0 {verdict}")), "the test has no {verdict} event: {judged}");
    }
    let out = fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
    let server = Server::start(&folder, "");
    for (row, expected) in spine.lines().skip(1).zip(out.lines()) {
        let (k, ts) = row.split_once(',').unwrap();
        let expected: Value = serde_json::from_str(expected).unwrap();
        let said = server.get(&format!("v k={k} --as-of {ts} --format json"));
        assert_eq!(said.code, Some(0), "{row}: {}", said.stderr);
        let answer: Value = serde_json::from_str(&said.stdout).unwrap();
        for (place, name) in answer["columns"].as_array().unwrap().iter().enumerate() {
            assert_eq!(answer["rows"][0][place], expected[name.as_str().unwrap()], "{row}: {name}");
        }
    }
    assert!(server.end("INT").stderr.contains(&judged), "served otherwise than {judged}");
}
