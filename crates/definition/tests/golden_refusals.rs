//! Every refusal with its place and words: `golden_refusals.txt` holds SQL and what is said about it.
//!
//! A case is `#### name`, SQL, `----`, the rendered errors (or warnings, or `accepted`). A case that begins with `view`,
//! `service`, `scored`, `table` or `window` on a line of its own is read after the common streams, views and tables below; one of
//! tables or group windows is read as if they were evaluated already. To take over what the code says now, run the test with GOLDEN_UPDATE=1 and read
//! the difference.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::fmt::Write;
use std::path::Path;

use asof_definition::{DefinitionError, SourceFile, check, check_ahead};

const STREAMS: &str = "
CREATE STREAM tx (
  id VARCHAR NOT NULL, account_id BIGINT NOT NULL, merchant_id BIGINT, amount DOUBLE, country VARCHAR, flag BOOLEAN,
  ts TIMESTAMP NOT NULL, PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '30' SECOND);
CREATE STREAM bare (account_id BIGINT, amount DOUBLE, ts TIMESTAMP, WATERMARK FOR ts AS ts);
";

const VIEWS: &str = "
CREATE FEATURE VIEW activity AS
SELECT account_id, count(*) OVER w AS n, avg(amount) OVER w AS mean FROM tx WINDOW w AS (PARTITION BY account_id ORDER BY ts);
CREATE FEATURE VIEW pairs AS
SELECT account_id, country, count(*) OVER w AS n FROM tx WINDOW w AS (PARTITION BY account_id, country ORDER BY ts);
";

const TABLES: &str = "
CREATE TABLE merchants (merchant_id BIGINT PRIMARY KEY, category VARCHAR NOT NULL, fee BIGINT, ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE);
CREATE TABLE prices (product VARCHAR, region VARCHAR, price BIGINT, since TIMESTAMP, PRIMARY KEY (product, region),
  WATERMARK FOR since AS since);
CREATE STREAM timeless AS SELECT account_id, merchant_id FROM tx;
CREATE STREAM small AS SELECT CAST(account_id AS INTEGER) AS merchant_id, amount, ts FROM tx;
";

/// What rows are scored with, beside the views.
const SERVICES: &str = "
CREATE FEATURE SERVICE fraud AS SELECT a.n, r.amount - a.mean AS above, a.n AS \"Odd\" FROM REQUEST (account_id BIGINT, amount DOUBLE)
AS r LEFT JOIN activity AS a ON a.account_id = r.account_id;
CREATE STREAM scored AS SELECT t.*, FEATURES(fraud, t).above FROM tx t;
";

/// What group windows are over, beside the streams.
const WINDOWED: &str = "
CREATE STREAM kept (id BIGINT, k BIGINT, a BIGINT, ts TIMESTAMP, PRIMARY KEY (id), WATERMARK FOR ts AS ts)
  WITH (retention = '2 hours');
CREATE STREAM minutes AS SELECT account_id, window_start, window_end, count(*) AS n
FROM TABLE(TUMBLE(TABLE tx, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY account_id, window_start, window_end;
";

fn files(sql: &str) -> Vec<SourceFile> {
    let file = |name: &str, text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
    match sql.split_once('\n') {
        Some(("view", text)) => vec![file("streams.sql", STREAMS), file("a.sql", text)],
        Some(("service", text)) => vec![file("streams.sql", STREAMS), file("views.sql", VIEWS), file("a.sql", text)],
        Some(("scored", text)) => vec![
            file("streams.sql", STREAMS),
            file("views.sql", VIEWS),
            file("services.sql", SERVICES),
            file("a.sql", text),
        ],
        Some(("table", text)) => vec![file("streams.sql", STREAMS), file("tables.sql", TABLES), file("a.sql", text)],
        Some(("window", text)) => {
            vec![file("streams.sql", STREAMS), file("windowed.sql", WINDOWED), file("a.sql", text)]
        }
        _ => vec![file("a.sql", sql)],
    }
}

fn render(sql: &str) -> String {
    let files = files(sql);
    let is_ahead = sql.starts_with("table\n") || sql.starts_with("window\n");
    let read = if is_ahead { check_ahead } else { check };
    let said = match read(&files) {
        Ok(project) if project.warnings.is_empty() => return "accepted\n".to_owned(),
        Ok(project) => {
            project.warnings.iter().map(|warning| format!("warning: {}", underlined(warning, &files))).collect()
        }
        Err(errors) => errors.iter().map(|error| underlined(error, &files)).collect::<Vec<_>>(),
    };
    said.concat()
}

fn underlined(error: &DefinitionError, files: &[SourceFile]) -> String {
    let text = &files.iter().find(|file| file.name == error.file).unwrap().text;
    let mut rendered = format!("{error}\n");
    if let Some(line) = text.lines().nth(error.line - 1) {
        let underlined = text[error.span.clone()].lines().next().unwrap_or_default().chars().count().max(1);
        let label = error.label.as_deref().map(|label| format!(" {label}")).unwrap_or_default();
        writeln!(rendered, "  {line}\n  {}{}{label}", " ".repeat(error.column - 1), "^".repeat(underlined)).unwrap();
    }
    rendered
}

#[test]
fn refusals_are_as_written_down() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_refusals.txt");
    let golden = std::fs::read_to_string(&path).unwrap();
    let mut found = String::new();
    let mut cases = 0;
    for case in golden.split("#### ").skip(1) {
        let (name, rest) = case.split_once('\n').unwrap();
        let sql = rest.split_once("\n----").map_or(rest, |(sql, _)| sql).trim_end();
        writeln!(found, "#### {name}\n{sql}\n----\n{}", render(sql)).unwrap();
        cases += 1;
    }
    assert!(cases > 100, "only {cases} cases");
    if std::env::var_os("GOLDEN_UPDATE").is_some() {
        std::fs::write(&path, &found).unwrap();
        return;
    }
    for (expected, found) in golden.split("#### ").skip(1).zip(found.split("#### ").skip(1)) {
        assert_eq!(found.trim_end(), expected.trim_end());
    }
}
