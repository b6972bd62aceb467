//! The three commands that a run prints work as they are printed, in a shell.

use std::process::Command;

use serde_json::Value;

use crate::folder::{Folder, Said, project};
use crate::server::Server;

/// A view whose name and key a shell would take apart.
const AWKWARD: &str = "
CREATE STREAM e (id VARCHAR NOT NULL, ts TIMESTAMP NOT NULL, PRIMARY KEY (id),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  WITH (connector = 'file', path = 'e.jsonl', format = 'jsonl');
CREATE FEATURE VIEW \"it's $HOME / a view?\" AS
SELECT id, count(*) OVER (PARTITION BY id ORDER BY ts) AS c FROM e;
";
const AWKWARD_EVENT: &str = r#"{"id":"it's \"$HOME\" `id` \\ & ä=:\t*","ts":"2026-01-01T00:00:00Z"}"#;

#[test]
fn commands_for_a_service_name_a_real_entity() {
    let folder = Folder::new();
    let server = Server::start(&folder, "");
    let read = check_commands(&server);
    assert_eq!(read["service"], "f");
    assert_eq!(read["rows"][0][0], 2, "the entity of the events: {read}");
    server.end("INT");
}

#[test]
fn commands_for_a_view_survive_the_shell() {
    let folder = Folder::new();
    folder.file("project.sql", AWKWARD).file("e.jsonl", AWKWARD_EVENT);
    let server = Server::start(&folder, "");
    let read = check_commands(&server);
    assert_eq!(read["rows"][0][0], 1, "the entity of the event: {read}");
    server.end("INT");
}

#[test]
fn a_paced_replay_can_be_tried_while_it_runs() {
    let folder = Folder::new();
    folder.file("project.sql", project("e.jsonl", "jsonl", ", rate = '0.001x'"));
    let server = Server::start(&folder, "");
    let read = check_commands(&server);
    assert_eq!(read["rows"][0][0], 1, "the second event is not due yet: {read}");
    server.end("INT");
}

#[test]
fn a_project_of_streams_shows_them() {
    let folder = Folder::new();
    let sql = project("e.jsonl", "jsonl", "");
    folder.file("project.sql", sql.split("CREATE FEATURE VIEW").next().unwrap());
    let server = Server::start(&folder, "");
    for command in server.commands() {
        assert!(!answer_of_curl(&folder, &command).is_empty(), "{command}");
    }
    server.end("INT");
}

/// A table without a stream is the one that takes events: a row, and no delete marker.
#[test]
fn a_project_of_a_table_brings_it_a_row() {
    let folder = Folder::new();
    folder.file(
        "project.sql",
        "CREATE TABLE shops (shop BIGINT PRIMARY KEY, fee BIGINT NOT NULL, gone BOOLEAN, since TIMESTAMP,
           WATERMARK FOR since AS since - INTERVAL '1' MINUTE) WITH (delete_column = 'gone');
         CREATE FEATURE VIEW shop AS SELECT shop, fee FROM shops;",
    );
    let server = Server::start(&folder, "");
    let commands = server.commands();
    let [post, read, _] = commands.as_slice() else { panic!("three commands: {commands:?}") };
    let receipt: Value = serde_json::from_str(&answer_of_curl(&folder, post)).unwrap();
    assert_eq!(receipt["accepted"], 1, "{post}: {receipt}");
    let answer: Value = serde_json::from_str(&answer_of_curl(&folder, read)).unwrap();
    assert_eq!(answer["rows"][0][0], 1, "{read}: {answer}");
    server.end("INT");
}

/// Runs the three commands; gives the answer of the first, which the second shows as a table.
fn check_commands(server: &Server<'_>) -> Value {
    let commands = server.commands();
    let [curl, get, object] = commands.as_slice() else { panic!("three commands: {commands:?}") };
    let read: Value = serde_json::from_str(&answer_of_curl(server.folder, curl)).unwrap();
    let shown = shell(server.folder, get);
    assert_eq!(shown.code, Some(0), "{get}: {}", shown.stderr);
    let first = format!("{}  {}", read["columns"][0].as_str().unwrap(), read["rows"][0][0]);
    assert_eq!(shown.stdout.split_whitespace().collect::<Vec<_>>()[..2].join("  "), first);
    let object: Value = serde_json::from_str(&answer_of_curl(server.folder, object)).unwrap();
    assert!(object["features"].is_array(), "{object}");
    read
}

fn shell(folder: &Folder, script: &str) -> Said {
    Said::new(Command::new("sh").args(["-c", script]).current_dir(folder.path()).output().unwrap())
}

/// Lets a shell read the command, then does what curl would do with its words.
fn answer_of_curl(folder: &Folder, command: &str) -> String {
    let said = shell(folder, &format!("curl() {{ printf '%s\\0' \"$@\"; }}; {command}"));
    let words: Vec<&str> = said.stdout.split_terminator('\0').collect();
    let mut answer = match words[..] {
        ["-s", url] => ureq::get(url).call(),
        ["-s", url, "-d", body] => ureq::post(url).content_type("application/x-www-form-urlencoded").send(body),
        _ => panic!("`{command}` reads as {words:?}"),
    }
    .unwrap_or_else(|error| panic!("{command}: {error}"));
    answer.body_mut().read_to_string().unwrap()
}
