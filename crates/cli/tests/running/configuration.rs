//! What `asof.toml` and the environment say is what runs; the command line goes before the environment before the file.

use std::net::TcpListener;
use std::process::Command;

use crate::folder::Folder;
use crate::server::Server;

/// Starts a server where only the last place to say so names a port that is free.
fn listens(folder: &Folder, variable: Option<&str>, argument: Option<&str>) -> bool {
    let mut command = match argument {
        Some(address) => folder.command(&format!("run . --listen {address}")),
        None => folder.command("run ."),
    };
    if let Some(address) = variable {
        command.env("ASOF_SERVER__LISTEN", address);
    }
    starts(folder, command)
}

fn starts(folder: &Folder, command: Command) -> bool {
    let said = Server::spawn(folder, command).ready().end("INT");
    said.code == Some(0)
}

#[test]
fn the_command_line_goes_before_the_environment_before_the_file() {
    let folder = Folder::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    folder.file("asof.toml", format!("[server]\nlisten = \"{free}\"\n"));
    assert!(listens(&folder, None, None));
    let said = folder.end(folder.command("run .").env("ASOF_SERVER__LISTEN", &taken).output().unwrap());
    assert_eq!(said.code, Some(2), "the variable goes before the file: {}", said.stderr);
    folder.file("asof.toml", format!("[server]\nlisten = \"{taken}\"\n"));
    assert!(listens(&folder, Some(free), None));
    assert!(listens(&folder, Some(&taken), Some("localhost:0")));
}

/// What `asof get v k=1` says with this configuration: its exit code and what stands on standard error.
fn check_get(toml: &str, words: &str, code: i32, expected: &str) {
    let folder = Folder::new();
    folder.file("asof.toml", toml);
    let server = Server::start(&folder, "");
    let said = server.get(words);
    assert_eq!(said.code, Some(code), "{toml}: {}", said.stderr);
    assert!(said.stderr.contains(expected), "{toml}: expected `{expected}`, found\n{}", said.stderr);
    server.end("INT");
}

#[test]
fn limits_are_those_of_the_file() {
    check_get("[server]\nbody_max = \"20B\"\n", "v k=1", 1, "20 bytes");
    check_get("[server]\nbody_max = \"1KiB\"\nrows_max = 1\nrequest_timeout = \"5s\"\n", "v k=1", 0, "");
    let early = "v k=1 --as-of 2025-12-31T23:30:00Z";
    check_get("[state]\nas_of_horizon = \"1h\"\n", early, 0, "");
    check_get("[state]\nas_of_horizon = \"0s\"\n", early, 1, "the earliest instant that stream `e` can answer");
    check_get("[state]\nas_of_horizon = \"29min\"\n", early, 1, "the earliest instant that stream `e` can answer");
}

#[test]
fn every_key_has_its_variable() {
    let folder = Folder::new();
    let mut command = folder.command("run .");
    command.envs([
        ("ASOF_SERVER__LISTEN", "127.0.0.1:0"),
        ("ASOF_SERVER__BODY_MAX", "20B"),
        ("ASOF_SERVER__ROWS_MAX", "7"),
        ("ASOF_SERVER__REQUESTS_MAX", "7"),
        ("ASOF_SERVER__CONNECTIONS_MAX", "7"),
        ("ASOF_SERVER__REQUEST_TIMEOUT", "3s"),
        ("ASOF_SERVER__IDLE_TIMEOUT", "3s"),
        ("ASOF_STATE__MEMORY", "100MiB"),
        ("ASOF_STATE__AS_OF_HORIZON", "1h"),
    ]);
    let server = Server::spawn(&folder, command).ready();
    assert_eq!(server.get("v k=1").code, Some(1), "the body is longer than 20 bytes");
    assert_eq!(server.end("INT").code, Some(0));
}

#[test]
fn state_beyond_its_limit_ends_the_run() {
    let folder = Folder::new();
    // Ten thousand entities in a hundred kilobytes: the state is looked at every four thousand rows.
    let lines = (0..10_000).map(|place| format!("e{place},{place},1.5,3,{}\n", 1_767_225_600_000_000_i64 + place));
    folder.events("csv", format!("id,k,amount,n,ts\n{}", lines.collect::<String>()));
    folder.file("asof.toml", "[state]\nmemory = \"100KB\"\n");
    let said = folder.run("run . --listen 127.0.0.1:0");
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("more than its limit of 100000\n hint: raise `memory` in [state]"), "{}", said.stderr);
}
