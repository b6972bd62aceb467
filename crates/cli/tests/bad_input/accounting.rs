//! What is wrong with single events or rows is counted, with the first of each kind, and the job goes on.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::folder::{Folder, project};
use crate::{EVERY_EVENT, SPINE, check_refused};

/// An event at `second` of 2026-01-01T00, used unless something else is said.
fn event(id: &str, second: u32, more: &str) -> String {
    format!("{{\"id\":{id},\"k\":1,\"ts\":\"2026-01-01T00:{:02}:{:02}Z\"{more}}}\n", second / 60, second % 60)
}

/// Runs a job that must succeed and gives its summary, of one stream whose accounts add up.
fn summary(folder: &Folder, words: &str) -> Value {
    let said = folder.run(&format!("{words} --format json"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let summary: Value = serde_json::from_str(&said.stdout).unwrap();
    let stream = &summary["streams"][0];
    let count = |value: &Value| value.as_u64().unwrap();
    let rejected: u64 = stream["rejected"].as_object().unwrap().values().map(count).sum();
    let parts = rejected + count(&stream["duplicate"]) + count(&stream["late"]) + count(&stream["used"]);
    assert_eq!(count(&stream["in"]), parts, "{summary}");
    summary
}

/// in, used, late, duplicate, then unreadable, not_null, check, future.
fn check_counts(folder: &Folder, expected: [u64; 8]) -> Value {
    let summary = summary(folder, EVERY_EVENT);
    let stream = &summary["streams"][0];
    let verdicts = ["in", "used", "late", "duplicate"].map(|name| stream[name].as_u64().unwrap());
    let rejected = ["unreadable", "not_null", "check", "future"].map(|name| stream["rejected"][name].as_u64().unwrap());
    assert_eq!([verdicts, rejected].concat(), expected, "{summary}");
    summary
}

#[test]
fn every_event_is_counted_once() {
    let events = [
        event("\"a\"", 0, ""),
        event("\"a\"", 0, ""),
        event("\"b\"", 0, ",\"n\":-1"),
        event("null", 0, ""),
        event("\"c\"", 0, ",\"amount\":\"much\""),
        event("\"d\"", 600, ""),
        event("\"e\"", 0, ""),
        event("\"f\"", 590, ""),
        "not json\n".to_owned(),
    ];
    let folder = Folder::new();
    folder.events("jsonl", events.concat());
    let counted = check_counts(&folder, [9, 4, 0, 1, 2, 1, 1, 0]);
    let reasons = counted["streams"][0]["reasons"].as_array().unwrap();
    let named: Vec<_> = reasons.iter().map(|reason| (reason["name"].as_str().unwrap(), &reason["first_row"])).collect();
    assert_eq!(named, [("check", &json!(2)), ("not_null", &json!(3)), ("unreadable", &json!(4))]);
    // As arrivals: the third from the end is later than the ten seconds allowed, the second from the end is just not.
    folder.file("project.sql", project("e.jsonl", "jsonl", ", order = 'file'"));
    check_counts(&folder, [9, 3, 1, 1, 2, 1, 1, 0]);
    let said = folder.run(EVERY_EVENT);
    for expected in [
        "e: 9 events in = 3 used + 1 late + 1 duplicate + 4 rejected",
        "late first at row 7: event time is behind the watermark",
        "check first at row 3: CHECK (n >= 0) is false",
        "not_null first at row 4: `id` is NULL",
        "unreadable first at row 5: column `amount`: expected DOUBLE, found text `much`",
    ] {
        assert!(said.stderr.contains(expected), "{}", said.stderr);
    }
}

#[test]
fn absurd_dates_are_unreadable() {
    let dates = [
        "\"10000-01-01T00:00:00Z\"",
        "\"+10000-01-01T00:00:00Z\"",
        "\"0000-01-01T00:00:00Z\"",
        "\"-0001-01-01T00:00:00Z\"",
        "\"2026-02-30T00:00:00Z\"",
        "\"2026-01-01T25:00:00Z\"",
        "\"2026-01-01T00:00:00+99:00\"",
        "\"\"",
        "\"yesterday\"",
        "true",
        "[1]",
        "{}",
        "9223372036854775808",
        "-9223372036854775809",
        "1e300",
        "0.5",
        "9223372036854775807",
        "-9223372036854775808",
    ];
    let possible = ["1767225600000000", "\"9999-12-31T23:59:59.999999Z\""];
    let line = |(place, date): (usize, &&str)| format!("{{\"id\":\"{place}\",\"k\":1,\"ts\":{date}}}\n");
    let lines: String = possible.iter().chain(&dates).enumerate().map(line).collect();
    let folder = Folder::new();
    folder.events("jsonl", lines);
    check_counts(&folder, [20, 2, 0, 0, 18, 0, 0, 0]);
    let rows: String = dates[..8].iter().enumerate().map(|(place, date)| format!("{place},1,{date}\n")).collect();
    folder.events("csv", format!("id,k,ts\n{rows}"));
    // An empty field is NULL, quoted or not, where it is no text.
    check_counts(&folder, [8, 0, 0, 0, 7, 1, 0, 0]);
}

#[test]
fn a_stream_of_which_nothing_is_used_is_warned_of() {
    let folder = Folder::new();
    for (format, content, counts) in [
        ("jsonl", &b"[{\"id\":\"a\"}]\n"[..], [1, 0, 0, 0, 1, 0, 0, 0]),
        ("jsonl", b"\xff\xfe{\0\n", [1, 0, 0, 0, 1, 0, 0, 0]),
        ("csv", b"id,k,amount,n,ts\n", [0, 0, 0, 0, 0, 0, 0, 0]),
        ("csv", b"id,k,amount,n,ts\na\n", [1, 0, 0, 0, 1, 0, 0, 0]),
    ] {
        folder.events(format, content);
        let counted = check_counts(&folder, counts);
        assert!(counted["warnings"][0].as_str().unwrap().starts_with("no event of stream `e` was used"), "{counted}");
    }
}

#[test]
fn a_missing_nullable_column_is_told() {
    let folder = Folder::new();
    folder.events("csv", "id,k,n,ts\na,1,1,2026-01-01T00:00:00Z\n");
    let counted = check_counts(&folder, [1, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(counted["streams"][0]["absent_columns"], json!(["amount"]));
    assert!(folder.run(EVERY_EVENT).stderr.contains("column `amount` is not in the file: read as NULL"));
}

#[test]
fn failing_expressions_are_told_by_row_and_feature_or_counted() {
    let folder = Folder::new();
    // The view's own argument fails on the event: it is set aside for the view.
    folder.events("jsonl", event("\"a\"", 0, ",\"n\":0") + &event("\"b\"", 1, ",\"n\":5"));
    let counted = check_counts(&folder, [2, 2, 0, 0, 0, 0, 0, 0]);
    assert_eq!(counted["streams"][0]["set_aside"], json!([{"view": "v", "events": 1}]));
    assert_eq!(counted["rows"], json!(1));
    let said = folder.run(EVERY_EVENT);
    assert!(said.stderr.contains("1 used events set aside for `v`"), "{}", said.stderr);
    assert!(said.stderr.contains("first at row 1: `sum(10 / n) OVER w`: division by zero"), "{}", said.stderr);
    // A total that does not fit fails on the read.
    let folder = Folder::new();
    let greatest = format!(",\"n\":{}", i64::MAX);
    folder.events("jsonl", event("\"a\"", 0, &greatest) + &event("\"b\"", 1, &greatest));
    let expected = ["the event with id b", "feature `total`: out_of_range", "hint: `--on-error null`"];
    check_refused(&folder, EVERY_EVENT, 1, &expected);
    let counted = summary(&folder, &format!("{EVERY_EVENT} --on-error null"));
    assert_eq!(counted["failed_values"], json!(1));
    // On a row of a spine.
    let folder = Folder::new();
    folder.file("s.csv", "k,d,ts\n1,1,2026-01-01T00:10:00Z\n1,0,2026-01-01T00:10:00Z\n1,0,2026-01-01T00:10:00Z\n");
    check_refused(&folder, SPINE, 1, &["spine `s.csv`, row 2: feature `ratio`: division_by_zero"]);
    assert_eq!(summary(&folder, &format!("{SPINE} --on-error null"))["failed_values"], json!(2));
    let said = folder.run(&format!("{SPINE} --on-error null"));
    assert!(said.stderr.contains("2 values failed, written as NULL"), "{}", said.stderr);
}

#[test]
fn a_line_beyond_the_limit_is_rejected_alone() {
    let folder = Folder::new();
    let long = "x".repeat(20 << 20);
    folder.events("jsonl", event(&format!("\"{long}\""), 0, "") + &event("\"b\"", 1, ""));
    let counted = check_counts(&folder, [2, 1, 0, 0, 1, 0, 0, 0]);
    assert_eq!(counted["streams"][0]["reasons"][0]["detail"], json!("the row is longer than 16 MiB"));
    folder.events("csv", format!("id,k,ts\n\"{long}\",1,2026-01-01T00:00:00Z\nb,1,2026-01-01T00:00:01Z\n"));
    check_counts(&folder, [2, 1, 0, 0, 1, 0, 0, 0]);
    // Nesting costs no stack.
    folder.events("jsonl", event("\"b\"", 1, &format!(",\"deep\":{}{}", "[".repeat(100_000), "]".repeat(100_000))));
    check_counts(&folder, [1, 1, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_million_bad_lines_are_counted_in_little_memory() {
    let folder = Folder::new();
    folder.events("jsonl", "{\"id\": nonsense\n".repeat(1_000_000));
    let counted = check_counts(&folder, [1_000_000, 0, 0, 0, 1_000_000, 0, 0, 0]);
    assert!(counted["seconds"].as_f64().unwrap() < 30.0, "{counted}");
    let peak_kib = peak_memory_kib(folder.command(EVERY_EVENT));
    assert!(peak_kib < 300 << 10, "{peak_kib} KiB");
}

/// The peak memory of a run, as last read while it ran.
fn peak_memory_kib(mut command: Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmHWM:"));
        peak_kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(peak_kib);
        std::thread::yield_now();
    }
    assert!(peak_kib > 0, "nothing was read of {status}");
    peak_kib
}
