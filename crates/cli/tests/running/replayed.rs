//! `asof replay-dead-letters`: what a stream has set aside, sent once more.

use crate::check_refused;
use crate::folder::{Folder, Said};
use crate::ingested::object;
use crate::server::Server;

fn project(limit: u32) -> String {
    format!(
        "CREATE STREAM e (
  id VARCHAR NOT NULL, k BIGINT NOT NULL, amount BIGINT CHECK (amount < {limit}), ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
);
CREATE FEATURE VIEW v AS
SELECT k, count(*) OVER w AS events, sum(amount) OVER w AS total
FROM e WINDOW w AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);
"
    )
}

/// Two good events, one beyond the limit, one behind the watermark, and no JSON at all.
const EVENTS: &str = r#"{"id":"a","k":1,"amount":1,"ts":"2026-01-01T00:00:00Z"}
{"id":"b","k":1,"amount":2,"ts":"2026-01-01T00:10:00Z"}
{"id":"c","k":1,"amount":2000,"ts":"2026-01-01T00:10:01Z"}
{"id":"d","k":1,"amount":40,"ts":"2026-01-01T00:05:00Z"}
nonsense
"#;

fn serve(folder: &Folder) -> Server<'_> {
    Server::spawn(folder, folder.command("run . --listen 127.0.0.1:0 --clock event")).ready()
}

fn ask(server: &Server<'_>, words: &str, code: i32) -> Said {
    let said = Said::new(server.folder.command(&format!("{words} --url {}", server.url)).output().unwrap());
    assert_eq!(said.code, Some(code), "{words}: {}{}", said.stdout, said.stderr);
    said
}

fn check_served(server: &Server<'_>, expected: &str) {
    let said = server.get("v k=1 --as-of 2026-01-01T00:11:00Z --format json");
    assert!(said.stdout.contains(&format!("\"rows\":[{expected}]")), "{}{}", said.stdout, said.stderr);
}

#[test]
fn what_was_set_aside_counts_once_after_the_stream_was_mended() {
    let folder = Folder::new();
    folder.file("project.sql", project(1_000)).file("e.jsonl", EVENTS);
    let server = serve(&folder);
    assert_eq!(ask(&server, "replay-dead-letters e", 0).stdout, "no dead letters to replay\n");
    let sent = ask(&server, "ingest e e.jsonl", 0);
    assert_eq!(sent.stdout, "sent 5 rows: 2 used, 0 duplicates, 1 late, 2 rejected\n");
    check_served(&server, "[2,3]");

    // Too early: nothing is mended, and what is set aside again is a new dead letter.
    let said = ask(&server, "replay-dead-letters e --reason check", 1);
    assert_eq!(said.stdout, "replayed 1 dead letter: 0 used, 0 duplicates, 0 late, 1 rejected\n");
    assert!(said.stderr.contains("    check first at offset 2: CHECK (amount < 1000) is false"), "{}", said.stderr);
    assert!(said.stderr.contains("no replayed event was used"), "{}", said.stderr);
    assert_eq!(object(&server, "e")["position"][0], 6);
    server.end("INT");

    folder.file("project.sql", project(5_000));
    let server = serve(&folder);
    let said = ask(&server, "replay-dead-letters e", 0);
    // The letter of offset 2 had its turn; its successor at offset 5 is used now.
    assert_eq!(said.stdout, "replayed 4 dead letters: 2 used, 0 duplicates, 0 late, 2 rejected\n");
    assert!(said.stderr.contains("    unreadable first at offset 4: the row is not JSON"), "{}", said.stderr);
    assert!(said.stderr.contains("1 of them had been replayed before and count once"), "{}", said.stderr);
    check_served(&server, "[4,2043]");
    let counts = object(&server, "e")["counts"].clone();
    assert_eq!((&counts["used"], &counts["in"]), (&4.into(), &9.into()));

    // Of what is no JSON each replay leaves a letter, and only the newest has not had its turn.
    for (words, replayed) in [("", 5), (" --reason late", 1), (" --from 5", 3), (" --reason not_null", 0)] {
        let said = ask(&server, &format!("replay-dead-letters e{words}"), 0);
        let expected = if replayed == 0 { "no dead".to_owned() } else { format!("replayed {replayed} dead") };
        assert!(said.stdout.starts_with(&expected), "{words}: {}", said.stdout);
    }
    check_served(&server, "[4,2043]");
    server.end("INT");
}

#[test]
fn replays_that_make_no_sense_are_refused() {
    let folder = Folder::new();
    folder.file(
        "project.sql",
        project(1_000)
            + "CREATE STREAM f (ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH (connector = 'file', path = 'e.jsonl');",
    );
    folder.file("e.jsonl", EVENTS);
    check_refused(&folder, "replay-dead-letters e --from x", 1, &["invalid value 'x'"]);
    check_refused(&folder, "replay-dead-letters", 1, &["<STREAM>"]);
    let server = serve(&folder);
    for (words, expected) in [
        ("ee", &["unknown object `ee`", "did you mean `e`?"][..]),
        ("v", &["`v` is a feature view"]),
        ("f", &["stream `f` reads a file"]),
        ("e --reason chek", &["unknown reason `chek`", "did you mean `check`?"]),
    ] {
        let said = ask(&server, &format!("replay-dead-letters {words}"), 1);
        for part in expected {
            assert!(said.stderr.contains(part), "{words}: expected `{part}`, found\n{}", said.stderr);
        }
    }
    server.end("INT");
}
