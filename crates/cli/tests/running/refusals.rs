//! Runs that cannot begin, and reads that nobody answers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::check_refused;
use crate::folder::{Folder, Said, project};
use crate::server::Server;

#[test]
fn runs_that_make_no_sense_are_refused() {
    let folder = Folder::new();
    let cases: &[(&str, &[&str])] = &[
        ("run nowhere", &["cannot read the project folder `nowhere`"]),
        ("run s.csv", &["cannot read the project folder `s.csv`", "name the folder that holds the SQL files"]),
        ("run temporary", &["`temporary` holds no `*.sql` file"]),
        ("run", &["not provided", "<DIR>"]),
        ("run . --listen 6566", &["invalid value '6566'", "such as `127.0.0.1:6566`"]),
        ("run . --listen 127.0.0.1", &["invalid value '127.0.0.1'", "an IP address and a port"]),
        ("run . --listen 127.0.0.1:65536", &["invalid value"]),
        ("run . --until yesterday", &["invalid value 'yesterday'", "`2026-01-31T12:00:00Z`"]),
        ("run . --until 2026-02-30", &["invalid value '2026-02-30'"]),
        ("run . --until 2013", &["invalid value '2013'", "before 1980", "`2013-01-01T00:00:00Z`, or microseconds"]),
        ("run . --until 20130701", &["invalid value '20130701'", "before 1980"]),
        ("run . --until -1", &["invalid value '-1'", "before 1980"]),
        ("run . --clock sundial", &["invalid value 'sundial'", "system, event"]),
        ("run . --data-dir state", &["`--data-dir` has no use here", "every stream of the project reads a file"]),
        ("run . --take-over", &["`--take-over` has no use here"]),
        ("run . --service f", &["unexpected argument '--service'"]),
    ];
    for (words, expected) in cases {
        check_refused(&folder, words, 1, expected);
    }
}

#[test]
fn an_address_that_cannot_be_had_is_told_before_files_are_read() {
    let folder = Folder::new();
    folder.file("e.jsonl", "");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    let words = format!("run . --listen {taken}");
    check_refused(&folder, &words, 2, &[&format!("`{taken}`: the port is taken"), "hint: end the other program"]);
    // An address for documentation, which no machine has.
    check_refused(&folder, "run . --listen 192.0.2.1:6566", 2, &["cannot listen on `192.0.2.1:6566`", "\n hint: "]);
}

#[test]
fn streams_that_cannot_be_read_end_the_run() {
    let folder = Folder::new();
    let run = "run . --listen 127.0.0.1:0";
    folder.file("e.jsonl", "");
    check_refused(&folder, run, 1, &["`./e.jsonl` is empty"]);
    folder.file("project.sql", project("f.jsonl", "jsonl", ""));
    check_refused(&folder, run, 1, &["cannot open `./f.jsonl`"]);
    folder.file("project.sql", "CREATE STREAM");
    check_refused(&folder, run, 1, &["./project.sql:1:"]);
}

#[test]
fn levels_of_the_log_are_checked() {
    let folder = Folder::new();
    for (level, hint) in [("wran", "did you mean `warn`?"), ("loud", "the levels are `error`, `warn`, `info`, `debug`")]
    {
        let said = folder.end(folder.command("run .").env("ASOF_LOG", level).output().unwrap());
        assert_eq!(said.code, Some(1), "{}", said.stderr);
        assert!(
            said.stderr.contains(&format!("`ASOF_LOG`: unknown level `{level}`\n hint: {hint}")),
            "{}",
            said.stderr
        );
    }
}

#[test]
fn a_body_beyond_what_can_be_is_refused_before_anything_is_printed() {
    let folder = Folder::new();
    folder.file("asof.toml", "[server]\nbody_max = \"2GiB\"\n");
    let said = folder.run("run . --listen 127.0.0.1:0");
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let expected = "`./asof.toml`, line 2: body_max in [server]: `2GiB` is more than a body can be, 1 GiB";
    assert!(said.stderr.contains(expected), "{}", said.stderr);
    assert!(!said.stderr.contains("listening"), "{}", said.stderr);
    assert_eq!(said.stdout, "");
}

/// Answers one connection with a text, and gives what `asof get` makes of it.
fn said_of(folder: &Folder, answer: String) -> Said {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut connection = listener.accept().unwrap().0;
        // What is asked is shorter and comes at once.
        assert!(connection.read(&mut [0; 4_096]).unwrap() > 0);
        connection.write_all(answer.as_bytes()).unwrap();
    });
    let said = folder.run(&format!("get f k=1 --url {url}"));
    server.join().unwrap();
    said
}

#[test]
fn a_busy_server_is_not_the_fault_of_who_asks() {
    let folder = Folder::new();
    let body = r#"{"error":{"kind":"busy","message":"too many requests","hint":"come again"}}"#;
    for (status, code) in [("429 Too Many Requests", 2), ("503 Service Unavailable", 2), ("422 Unprocessable", 1)] {
        let length = body.len();
        let said = said_of(&folder, format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"));
        assert_eq!(said.code, Some(code), "{status}: {}", said.stderr);
        assert!(said.stderr.contains("too many requests"), "{status}: {}", said.stderr);
        assert!(said.stderr.contains("hint: come again"), "{status}: {}", said.stderr);
    }
}

#[test]
fn a_read_needs_a_server() {
    let folder = Folder::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("get f k=1 --url http://{free}");
    check_refused(
        &folder,
        &nobody,
        2,
        &[&format!("nothing answers at `http://{free}`"), "hint: is `asof run` running"],
    );
    let cases: &[(&str, &[&str])] = &[
        ("get f k=1 --url https://127.0.0.1:1", &["`https://` is not supported yet", "`http://`"]),
        ("get f k=1 --url 127.0.0.1:6566", &["not the URL of a server", "`http://127.0.0.1:6566`"]),
        ("get f k=1 --url http://", &["not the URL of a server"]),
        ("get f k=1 --url http://[", &["not the URL of a server"]),
        ("get f --as-of soon", &["invalid value 'soon'"]),
        ("get f --as-of 2013", &["invalid value '2013'", "before 1980", "`2013-01-01T00:00:00Z`, or microseconds"]),
        ("get", &["not provided", "<SERVICE>"]),
    ];
    for (words, expected) in cases {
        check_refused(&folder, words, 1, expected);
    }
}

#[test]
fn reads_that_make_no_sense_are_refused() {
    let folder = Folder::new();
    let server = Server::start(&folder, "");
    let cases: &[(&str, &[&str])] = &[
        ("ff k=1 d=1", &["unknown object `ff`", "did you mean `f`?"]),
        ("e k=1", &["`e` is a stream"]),
        ("f k=1", &["`f` needs a value for `d`", "add `d=…`, or `d=null`"]),
        ("f k=1 d=1 e=1", &["`f` has no column `e`"]),
        ("f k=one d=1", &["`k`: expected BIGINT, found `one`"]),
        ("f k=1 d:=\"x\"", &["column `d`: expected BIGINT, found text `x`"]),
        ("f k=1 d=0", &["row 0: feature `ratio`: division_by_zero"]),
        (
            "v k=1 --as-of 2025-12-31T00:00:00Z",
            &["the earliest instant that stream `e` can answer", "\n hint: ", "2025-12-31T22:59:51"],
        ),
    ];
    for (words, expected) in cases {
        let said = server.get(words);
        assert_eq!(said.code, Some(1), "{words}: {}{}", said.stdout, said.stderr);
        for part in *expected {
            assert!(said.stderr.contains(part), "{words}: expected `{part}`, found\n{}", said.stderr);
        }
    }
    server.end("INT");
}
