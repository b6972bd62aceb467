//! Ctrl-C and its like: requests are answered, nothing stays behind, the exit code is 0.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::folder::{Folder, project};
use crate::server::Server;

/// How soon a server that has nothing to answer is gone.
const PROMPTLY: Duration = Duration::from_secs(3);

/// Ends a server that is doing something, and gives what it said.
fn check_ends(server: Server<'_>, signal: &str) -> String {
    let began = now();
    let said = server.end(signal);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(began.elapsed() < PROMPTLY, "{signal}: {:?}", began.elapsed());
    assert!(said.stderr.contains("stopping: requests in flight are answered"), "{}", said.stderr);
    said.stderr
}

#[allow(clippy::disallowed_methods, reason = "how promptly it ends is what is tested")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn a_served_project_ends_in_order() {
    let folder = Folder::new();
    for signal in ["INT", "TERM"] {
        let stderr = check_ends(Server::start(&folder, ""), signal);
        for expected in [
            ".: 1 stream, 1 feature view, 1 feature service",
            "clock: event (now is the newest event time)",
            "e: 2 events in = 2 used + 0 late + 0 duplicate + 0 rejected",
            "2 events taken in, ",
        ] {
            assert!(stderr.contains(expected), "expected `{expected}`, found\n{stderr}");
        }
    }
}

#[test]
fn open_connections_do_not_hold_it_up() {
    let folder = Folder::new();
    let server = Server::start(&folder, "");
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let mut kept_alive = TcpStream::connect(&address).unwrap();
    kept_alive.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut first = [0; 12];
    kept_alive.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    check_ends(server, "INT");
}

#[test]
fn a_second_interrupt_does_not_wait_for_requests() {
    let folder = Folder::new();
    let mut server = Server::start(&folder, "");
    let mut stalled = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    let head = b"POST /v1/views/v/features HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n";
    stalled.write_all(head).unwrap();
    // The server has begun with the request once it asks for the body, which never comes.
    let mut asked = [0; 12];
    stalled.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100");
    server.signal("INT");
    server.hear("stopping: ");
    let began = now();
    let said = server.end("INT");
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(began.elapsed() < PROMPTLY, "{:?}", began.elapsed());
}

#[test]
fn a_replay_ends_in_its_middle() {
    let folder = Folder::new();
    // The second event is due after a thousand seconds.
    folder.file("project.sql", project("e.jsonl", "jsonl", ", rate = '0.001x'"));
    let server = Server::start(&folder, "");
    let said = server.get("v k=1 --as-of 2026-01-01T00:10:00Z");
    assert!(said.stdout.starts_with("c       1\n"), "{}{}", said.stdout, said.stderr);
    let stderr = check_ends(server, "INT");
    assert!(stderr.contains("e: 1 events in = 1 used"), "what came in so far is accounted for: {stderr}");
}

#[test]
fn reading_ends_in_its_middle() {
    let folder = Folder::new();
    let lines =
        (0..1_000_000).map(|place| format!("e{place},{},1.5,3,{}\n", place % 1_000, 1_767_225_600_000_000_i64 + place));
    folder.events("csv", format!("id,k,amount,n,ts\n{}", lines.collect::<String>()));
    let server = Server::spawn(&folder, folder.command("run . --listen 127.0.0.1:0"));
    check_ends(server, "INT");
}
