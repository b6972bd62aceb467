//! SQL and configuration that no project can have.

use crate::folder::{Folder, project};
use crate::{EVERY_EVENT, check_refused};

fn check_sql(sql: &str, expected: &[&str]) {
    let folder = Folder::new();
    folder.file("project.sql", sql);
    check_refused(&folder, "check .", 1, expected);
    let said = folder.run("check .");
    assert!(said.stderr.len() < 4_000, "a message is for people: {} bytes", said.stderr.len());
}

/// The project with `expression` in the place of a feature.
fn with_feature(expression: &str) -> String {
    project("e.jsonl", "jsonl", "").replace("sum(amount) OVER w", expression)
}

#[test]
fn sql_that_cannot_be_read_is_refused() {
    let folder = Folder::new();
    folder.file("project.sql", b"CREATE STREAM \xff\xfe");
    check_refused(&folder, "check .", 1, &["`./project.sql` is not UTF-8 text"]);
    check_sql("", &["./project.sql:1:1: error: the project defines nothing"]);
    check_sql("CREATE STREAM e\0;", &["./project.sql:1:16: error: expected ("]);
    check_sql("CREATE STREAM \"e", &["./project.sql:1:15: error: expected close delimiter"]);
    check_sql(&"-".repeat(17 << 20), &["`./project.sql` is larger than 16 MiB"]);
}

#[test]
fn regression_a_byte_order_mark_is_no_word() {
    let folder = Folder::new();
    folder.file("project.sql", format!("\u{feff}{}", project("e.jsonl", "jsonl", "")));
    let said = folder.run("check .");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
}

#[test]
fn nesting_is_bounded() {
    let nested = |open: &str, close: &str, count: usize| {
        format!("sum({}amount{}) OVER w", open.repeat(count), close.repeat(count))
    };
    for (expression, expected) in [
        (nested("(", ")", 10_000), "the expression is nested too deeply"),
        (nested("abs(", ")", 5_000), "the expression is nested too deeply"),
        (nested("- ", "", 10_000), "more than 500 operators in a row"),
        (nested("amount + ", "", 20_000), "more than 500 operators in a row"),
        (nested("amount > 1 AND ", "", 20_000), "more than 500 operators in a row"),
        (nested("CASE WHEN amount > 0 THEN ", " END", 3_000), "error: "),
        ("(".repeat(10_000), "the expression is nested too deeply"),
        (format!("sum(amount) FILTER (WHERE {}true) OVER w", "NOT ".repeat(10_000)), "error: "),
    ] {
        check_sql(&with_feature(&expression), &[expected]);
    }
    let check = format!("CHECK ({}n >= 0{})", "(".repeat(10_000), ")".repeat(10_000));
    check_sql(&project("e.jsonl", "jsonl", "").replace("CHECK (n >= 0)", &check), &["nested too deeply"]);
    check_sql(&"(".repeat(10_000), &["./project.sql:1:1: error: `(` is not supported"]);
}

#[test]
fn regression_an_error_far_to_the_right_of_a_line_is_shown() {
    let good = project("e.jsonl", "jsonl", "").replace('\n', " ");
    let comment = "x".repeat(1_000_000);
    let sql = format!("{good} /*{comment}*/ CREATE FEATURE VIEW z AS SELEC 1; /*{comment}*/");
    let column = sql.find("SELEC ").unwrap() + 1;
    check_sql(&sql, &[&format!("./project.sql:1:{column}: error: "), "CREATE FEATURE VIEW z AS SELEC 1;", "─"]);
    check_sql(&format!("CREATE STREAM {comment};"), &["./project.sql:1:15: error: stream", "xxx…"]);
}

#[test]
fn a_long_line_that_is_right_is_accepted() {
    let features: Vec<String> = (0..10_000).map(|place| format!("count(*) OVER w AS c{place}")).collect();
    let folder = Folder::new();
    folder.file(
        "project.sql",
        project("e.jsonl", "jsonl", "").replace("count(*) OVER w AS c", &features.join(", ")).replace("v.c,", "v.c7,"),
    );
    let said = folder.run("check .");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("10003 features"), "{}", said.stdout);
}

#[test]
fn unknown_configuration_is_refused() {
    let folder = Folder::new();
    for (toml, expected) in [
        ("[state]\nmemroy = \"1GiB\"\n", ", line 2: unknown key `memroy` in [state]\n hint: did you mean `memory`?"),
        ("[state]\nfoo = 1\n", ", line 2: unknown key `foo` in [state]\n hint: its keys are `memory`, `as_of_horizon`"),
        ("[sate]\nmemory = \"1GiB\"\n", ", line 1: unknown section `sate`\n hint: did you mean `state`?"),
        ("\n[sate]\n", ", line 2: unknown section `sate`"),
        (
            "[other]\n",
            ", line 1: unknown section `other`\n hint: the sections are `server`, `storage`, `checkpoint`, `state`",
        ),
        ("memory = \"1GiB\"\n", ", line 1: `memory` stands outside of all sections"),
        ("[auth]\n", "[auth] is not supported yet"),
        ("[kafka]\nbrokers = \"nowhere\"\n", "brokers in [kafka]: `nowhere` is no broker; write host:port"),
        (
            "[kafka]\nsecurity = \"tls\"\n",
            "expected one of `plaintext`, `ssl`, `sasl_plaintext`, `sasl_ssl`, found `tls`",
        ),
        ("[kafka]\nsecurity = \"ssl\"\n", "`brokers` is missing in [kafka]"),
        (
            "[kafka]\nbrokers = \"one:9092\"\npassword = \"open sesame\"\n",
            "`password` needs security = \"sasl_plaintext\" or \"sasl_ssl\" in [kafka]",
        ),
        ("[checkpoint]\ninterval = \"0s\"\n", "`0s` leaves no time at all"),
        ("[storage]\nsegment_size = \"1KiB\"\n", "`1KiB` is not from 64KiB to 4GiB"),
        ("[storage]\ndata_dir = \"\"\n", "the path is empty"),
        ("[storage]\nobject_store = \"s3://b\"\n", "not supported yet: checkpoints lie in the data folder"),
        ("[state\n", "TOML parse error at line 1"),
        ("[state]\nmemory = \"lots\"\n", ", line 2: memory in [state]: unknown unit `lots`"),
        ("[state]\nmemory = 1\n", "memory in [state]: expected text in quotes, found `1`"),
        ("[state]\nas_of_horizon = \"1 hour\"\n", "as_of_horizon in [state]: unknown unit `hour`"),
        ("[server]\nlisten = \"6566\"\n", "listen in [server]: expected an IP address and a port"),
        (
            "[server]\nrows_max = \"many\"\n",
            "rows_max in [server]: expected a whole number from 1 to 1000000000, found text",
        ),
        ("[server]\nrows_max = 0\n", "rows_max in [server]: expected a whole number from 1 to 1000000000, found `0`"),
        ("[server]\nrequests_max = -1\n", "requests_max in [server]: expected a whole number"),
        ("[server]\nconnections_max = 1.5\n", "connections_max in [server]: expected a whole number"),
        ("[server]\nbody_max = 8\n", "body_max in [server]: expected text in quotes"),
        ("[server]\nrequest_timeout = \"10\"\n", "request_timeout in [server]: write a duration with its unit"),
        ("[server]\nidle_timeout = \"0s\"\n", "idle_timeout in [server]: `0s` leaves no time at all"),
    ] {
        folder.file("asof.toml", toml);
        check_refused(&folder, EVERY_EVENT, 1, &["`./asof.toml`", expected]);
    }
    folder.file("asof.toml", b"\xff");
    check_refused(&folder, EVERY_EVENT, 1, &["cannot read `./asof.toml`"]);
}

#[test]
fn unknown_variables_are_refused() {
    let folder = Folder::new();
    for (name, value, expected) in [
        ("ASOF_STATE__MEMORY", "lots", "`ASOF_STATE__MEMORY`: unknown unit `lots`"),
        (
            "ASOF_STATE__MEMROY",
            "1GiB",
            "`ASOF_STATE__MEMROY` is no setting of this release\n hint: did you mean `ASOF_STATE__MEMORY`?",
        ),
        ("ASOF_state__memory", "1GiB", "`ASOF_state__memory` is no setting of this release\n hint: did you mean"),
        ("ASOF_X__Y", "", "`ASOF_X__Y` is no setting of this release\n hint: the settings are `ASOF_SERVER__LISTEN`"),
        ("ASOF_KAFKA__BROKERS", "", "`ASOF_KAFKA__BROKERS`: `` is no broker"),
        ("ASOF_AUTH__KEYS", "", "`ASOF_AUTH__KEYS`: [auth] is not supported yet"),
        ("ASOF_SERVER__LISTEN", "6566", "`ASOF_SERVER__LISTEN`: expected an IP address and a port"),
        (
            "ASOF_SERVER__ROWS_MAX",
            "",
            "`ASOF_SERVER__ROWS_MAX`: expected a whole number from 1 to 1000000000, found ``",
        ),
    ] {
        let said = folder.end(folder.command(EVERY_EVENT).env(name, value).output().unwrap());
        assert_eq!(said.code, Some(1), "{}", said.stderr);
        assert!(said.stderr.contains(expected), "{}", said.stderr);
        assert!(!folder.has_output());
    }
}
