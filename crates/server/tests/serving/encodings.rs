//! Every type in and out again. The service gives back what it was sent, so each case shows both encodings.

use crate::project::{Served, limits};

/// One column of `echo_v1` with a value, all others null: what comes back.
fn check(served: &Served, column: &str, value: &str, expected: &str) {
    let columns = ["flag", "small", "number", "big", "single", "twice", "exact", "word", "bytes", "day", "at"];
    let of = |name: &&str| format!(r#""{name}":{}"#, if *name == column { value } else { "null" });
    let row: Vec<String> = columns.iter().map(of).collect();
    let answer = served.post("/v1/services/echo_v1/features", format!(r#"{{"rows":[{{{}}}]}}"#, row.join(",")));
    let back: Vec<&str> = columns.iter().map(|name| if *name == column { expected } else { "null" }).collect();
    let rows = format!(r#""rows":[[{}]]"#, back.join(","));
    assert!(answer.body.contains(&rows), "{column} {value}: {}", answer.body);
}

#[test]
fn every_type_goes_in_and_comes_out() {
    let served = Served::start(limits());
    for (column, value, expected) in [
        ("flag", "true", "true"),
        ("flag", "null", "null"),
        ("small", "-32768", "-32768"),
        ("number", "2147483647", "2147483647"),
        ("big", "9223372036854775807", "9223372036854775807"),
        ("big", "-9223372036854775808", "-9223372036854775808"),
        ("big", "9007199254740993", "9007199254740993"),
        ("single", "0.1", "0.10000000149011612"),
        ("single", "1e39", "\"Infinity\""),
        ("twice", "0.1", "0.1"),
        ("twice", "-0.0", "0.0"),
        ("twice", "5", "5.0"),
        ("twice", "1e-320", "1e-320"),
        ("twice", "\"NaN\"", "\"NaN\""),
        ("twice", "\"-Infinity\"", "\"-Infinity\""),
        ("exact", "\"12.5\"", "\"12.50\""),
        ("exact", "12", "\"12.00\""),
        ("exact", "\"-99999999.99\"", "\"-99999999.99\""),
        ("word", "\"a\\u00e9\\n\\\"\\u0000\"", "\"aé\\n\\\"\\u0000\""),
        ("word", "\"\"", "\"\""),
        ("bytes", "\"AAEC\"", "\"AAEC\""),
        ("day", "\"2026-01-31\"", "\"2026-01-31\""),
        ("at", "\"2026-01-01T01:00:00.1234567+01:00\"", "\"2026-01-01T00:00:00.123456Z\""),
        ("at", "1767225600000000", "\"2026-01-01T00:00:00.000000Z\""),
    ] {
        check(&served, column, value, expected);
    }
}
