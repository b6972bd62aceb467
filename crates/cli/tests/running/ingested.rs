//! `asof ingest`: files of all formats, the past, and what becomes of a file when something goes wrong on its way.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread;

use arrow::array::{Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use serde_json::{Value, json};

use crate::check_refused;
use crate::folder::{Folder, Said, column};
use crate::server::Server;

/// A stored stream and a view of it, under a name each.
fn stored(stream: &str, view: &str, with: &str) -> String {
    format!(
        "CREATE STREAM {stream} (
  id VARCHAR NOT NULL, k BIGINT NOT NULL, amount DOUBLE CHECK (amount < 900), ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
){with};
CREATE FEATURE VIEW {view} AS
SELECT k, count(*) OVER w AS events, sum(amount) OVER w AS total, last_value(id) OVER w AS newest
FROM {stream}
WINDOW w AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '10' MINUTE PRECEDING AND CURRENT ROW);
"
    )
}

const BEGIN_US: i64 = 1_767_225_600_000_000;

/// An event: its id, key, amount, and its event time in microseconds.
type Event = (String, i64, f64, i64);

/// A second apart; every seventh breaks the CHECK, every eleventh is two minutes behind, so that it is late.
fn events(count: i64) -> Vec<Event> {
    let event = |row: i64| {
        let amount = if row % 7 == 3 { 1_000.0 } else { row as f64 / 2.0 };
        let behind = if row % 11 == 10 && row > 130 { 120 } else { 0 };
        (format!("e{row}"), row % 3, amount, BEGIN_US + (row - behind) * 1_000_000)
    };
    (0..count).map(event).collect()
}

fn jsonl(events: &[Event]) -> String {
    let line = |(id, k, amount, ts): &Event| json!({"id": id, "k": k, "amount": amount, "ts": ts}).to_string() + "\n";
    events.iter().map(line).collect()
}

fn csv(events: &[Event]) -> String {
    let mut text = "ts,id,k,amount\n".to_owned();
    events.iter().for_each(|(id, k, amount, ts)| writeln!(text, "{ts},{id},{k},{amount}").unwrap());
    text
}

fn parquet(folder: &Folder, name: &str, events: &[Event]) {
    let ids = StringArray::from_iter_values(events.iter().map(|event| &event.0));
    let columns = vec![
        ("id", column(ids)),
        ("k", column(Int64Array::from_iter_values(events.iter().map(|event| event.1)))),
        ("amount", column(Float64Array::from_iter_values(events.iter().map(|event| event.2)))),
        ("ts", column(TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| event.3)))),
    ];
    folder.parquet(name, columns);
}

/// A server of a project whose streams are stored.
fn serve(folder: &Folder) -> Server<'_> {
    Server::spawn(folder, folder.command("run . --listen 127.0.0.1:0 --clock event"))
}

/// Runs a command for a server, to its end.
fn ask(server: &Server<'_>, command: &str, words: &str) -> Said {
    Said::new(server.folder.command(&format!("{command} --url {} {words}", server.url)).output().unwrap())
}

fn ingest(server: &Server<'_>, words: &str) -> Said {
    let said = ask(server, "ingest", words);
    assert_eq!(said.code, Some(0), "{words}: {}{}", said.stdout, said.stderr);
    said
}

/// The object of that name, as the server tells it.
pub(crate) fn object(server: &Server<'_>, name: &str) -> Value {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "GET /v1/objects/{name} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn every_format_comes_to_the_same() {
    let folder = Folder::new();
    let streams = [("j", "vj"), ("c", "vc"), ("p", "vp")];
    folder.file("project.sql", streams.map(|(stream, view)| stored(stream, view, "")).concat());
    let events = events(400);
    folder.file("e.jsonl", jsonl(&events)).file("rows", csv(&events));
    parquet(&folder, "e.parquet", &events);
    let server = serve(&folder);
    let mut sent = Vec::new();
    for words in ["j e.jsonl --rows-per-request 70", "c rows --format csv --rows-per-request 90", "p e.parquet"] {
        let said = ingest(&server, words);
        assert!(said.stderr.contains("    check first at row 4: CHECK (amount < 900) is false"), "{}", said.stderr);
        assert!(said.stderr.contains("    late first at row 132: "), "{words}: {}", said.stderr);
        let where_from = format!("dead letters: curl {}/v1/streams/{}/dead-letters", server.url, &words[..1]);
        assert!(said.stderr.contains(&where_from), "{}", said.stderr);
        sent.push(said.stdout);
    }
    assert_eq!(sent[0], "sent 400 rows: 322 used, 0 duplicates, 21 late, 57 rejected\n");
    assert_eq!([&sent[1], &sent[2]], [&sent[0], &sent[0]]);
    for k in 0..3 {
        let rows = streams.map(|(_, view)| {
            let said = server.get(&format!("{view} k={k} --format json"));
            let answer: Value = serde_json::from_str(&said.stdout).unwrap();
            answer["rows"].clone()
        });
        assert!(rows[0][0][0].as_u64().unwrap() > 100, "{rows:?}");
        assert_eq!([&rows[1], &rows[2]], [&rows[0], &rows[0]], "k = {k}");
    }
    server.end("INT");
}

#[test]
fn rows_that_cannot_be_read_are_told() {
    let folder = Folder::new();
    folder.file("project.sql", stored("e", "v", ""));
    folder.file("e.csv", "id,k,ts\na,1,1767225600000000\nb,one,1767225601000000\nc,1,1767225602000000\n");
    folder.file("e.jsonl", "{\"id\":\"a\",\"k\":1,\"ts\":1767225600000000}\n\nnonsense\n");
    let server = serve(&folder);
    let said = ingest(&server, "e e.csv");
    assert_eq!(said.stdout, "sent 2 rows: 2 used, 0 duplicates, 0 late, 0 rejected\n");
    for part in [
        "unreadable first at row 2: column `k`: expected BIGINT, found text `one`",
        "1 row could not be read",
        "column `amount` is not in the file",
    ] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    let said = ingest(&server, "e e.jsonl");
    assert_eq!(said.stdout, "sent 2 rows: 1 used, 0 duplicates, 0 late, 1 rejected\n");
    assert!(said.stderr.contains("unreadable first at row 2: "), "{}", said.stderr);
    assert_eq!(object(&server, "e")["counts"]["rejected"]["unreadable"], 1);
    server.end("INT");
}

#[test]
fn the_past_is_known_as_it_arrived() {
    let folder = Folder::new();
    let mut events = events(300);
    // In no order at all; the arrivals are minutes after the event times, the older the later.
    events.sort_by_key(|(id, ..)| id.clone());
    let mut text = "received,id,k,amount,ts\n".to_owned();
    for (id, k, amount, ts) in &events {
        writeln!(text, "{},{id},{k},{amount},{ts}", ts + 60_000_000 + (BEGIN_US + 300_000_000 - ts) / 2).unwrap();
    }
    folder.file("e.csv", &text);
    let file = " WITH (connector = 'file', path = '../e.csv', arrival_column = 'received')";
    folder.folder("files").folder("logs");
    folder.file("files/project.sql", stored("arrived", "va", file) + &stored("imputed", "vi", file));
    folder.file("logs/project.sql", stored("arrived", "va", "") + &stored("imputed", "vi", ""));
    let mut spine = "k,ts\n".to_owned();
    (0..12).for_each(|step| (0..3).for_each(|k| writeln!(spine, "{k},{}", BEGIN_US + step * 40_000_000).unwrap()));
    folder.file("s.csv", spine);

    let server = Server::spawn(&folder, folder.command("run logs --listen 127.0.0.1:0 --clock event"));
    let as_arrived = ingest(&server, "arrived e.csv --history --arrival-column received --rows-per-request 40");
    let as_imputed = ingest(&server, "imputed e.csv --history --rows-per-request 40");
    assert_eq!(as_arrived.stdout, "sent 300 rows: 257 used, 0 duplicates, 0 late, 43 rejected\n");
    assert_eq!(as_imputed.stdout, as_arrived.stdout);
    server.end("INT");

    let made = |project: &str, view: &str, knowledge: &str| {
        let words = format!("history {project} --view {view} --spine s.csv --out out.csv --knowledge {knowledge}");
        let said = folder.run(&words);
        assert_eq!(said.code, Some(0), "{words}: {}", said.stderr);
        std::fs::read_to_string(folder.path().join("out.csv")).unwrap()
    };
    let (all, served) = (made("files", "va", "event-time"), made("files", "va", "as-served"));
    assert_ne!(all, served, "the test tells the two knowledges apart");
    assert_eq!(made("logs", "va", "event-time"), all);
    assert_eq!(made("logs", "va", "as-served"), served);
    assert_eq!(made("logs", "vi", "event-time"), all);
    assert_eq!(made("logs", "vi", "as-served"), all, "what arrived at its event times is known then");
}

/// Enough requests of one row that something can happen between them.
const ROWS: i64 = 4_000;

fn spawn_ingest(server: &Server<'_>) -> Child {
    let mut command = server.folder.command(&format!("ingest --url {} e e.jsonl --rows-per-request 1", server.url));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The next offset of the stream.
fn offset(server: &Server<'_>) -> u64 {
    object(server, "e")["position"][0].as_u64().unwrap_or(0)
}

/// Waits until the stream has this many events.
fn wait_for(server: &Server<'_>, child: &mut Child, position: u64) {
    while offset(server) < position {
        assert!(child.try_wait().unwrap().is_none(), "the file ended before it was to be cut off");
        thread::yield_now();
    }
}

#[test]
fn what_is_cut_off_and_repeated_counts_once() {
    let folder = Folder::new();
    folder.file("project.sql", stored("e", "v", ""));
    folder.file("e.jsonl", jsonl(&events(ROWS)));
    let server = serve(&folder);

    let mut interrupted = spawn_ingest(&server);
    wait_for(&server, &mut interrupted, 100);
    let kill = std::process::Command::new("kill").args(["-INT", &interrupted.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let said = Said::new(interrupted.wait_with_output().unwrap());
    assert_eq!(said.code, Some(2), "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.starts_with("sent "), "{}", said.stdout);
    let expected = "stopped before the end of `e.jsonl`\n hint: run the same command again: it goes on";
    assert!(said.stderr.contains(expected), "{}", said.stderr);

    let position = offset(&server);
    let mut killed = spawn_ingest(&server);
    wait_for(&server, &mut killed, position + 100);
    killed.kill().unwrap();
    killed.wait().unwrap();

    let position = offset(&server);
    let mut whole = spawn_ingest(&server);
    wait_for(&server, &mut whole, position + 100);
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    // Without a warning, in the middle of it.
    drop(server);
    let server = Server::spawn(&folder, folder.command(&format!("run . --listen {address} --clock event")));
    let said = Said::new(whole.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.starts_with("sent 4,000 rows: "), "{}", said.stdout);
    assert!(said.stderr.contains("had been taken in before and count once"), "{}", said.stderr);

    let counts = object(&server, "e")["counts"].clone();
    assert_eq!(counts["in"], ROWS);
    let words = |count: &Value, noun: &str| {
        let count = count.as_u64().unwrap();
        let thousands = if count < 1_000 { String::new() } else { format!("{},", count / 1_000) };
        let rest = if count < 1_000 { count.to_string() } else { format!("{:03}", count % 1_000) };
        format!("{thousands}{rest} {noun}")
    };
    let (used, late) = (words(&counts["used"], "used"), words(&counts["late"], "late"));
    let rejected = words(&counts["rejected"]["check"], "rejected");
    assert_eq!(said.stdout, format!("sent 4,000 rows: {used}, 0 duplicates, {late}, {rejected}\n"));
    server.end("INT");
}

#[test]
fn files_that_cannot_be_sent_are_refused() {
    let folder = Folder::new();
    let file = " WITH (connector = 'file', path = 'e.jsonl')";
    folder.file("project.sql", stored("e", "v", "") + &stored("from_file", "vf", file));
    folder.file("e.jsonl", jsonl(&events(30))).file("e.csv", csv(&events(30)));
    folder.file("late.csv", "id,k,ts\na,1,1000\n").file("no_k.csv", "id,amount,ts\na,1,1767225600000000\n");
    folder.file("bad.csv", "id,k,amount,ts\na,1,1000,1767225600000000\n").file("empty.jsonl", "");
    folder.file("blank.jsonl", "\n\n");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("ingest e e.jsonl --url http://{free}");
    check_refused(
        &folder,
        &nobody,
        2,
        &[&format!("nothing answers at `http://{free}`"), "hint: is `asof run` running"],
    );
    let server = serve(&folder);
    ingest(&server, "e e.csv --rows-per-request 10");
    let cases: &[(&str, &[&str])] = &[
        ("ee e.jsonl", &["unknown object `ee`", "did you mean `e`?"]),
        ("v e.jsonl", &["`v` is a feature view", "the stream that it reads, `e`"]),
        ("from_file e.jsonl", &["stream `from_file` reads a file and takes no events over HTTP"]),
        ("e f.csv", &["cannot open `f.csv`", "did you mean `e.csv`?"]),
        ("e project.sql", &["cannot tell the format of `project.sql`"]),
        ("e e.csv --format parquet", &["`e.csv`"]),
        ("e empty.jsonl", &["`empty.jsonl` is empty"]),
        ("e blank.jsonl", &["no row of `blank.jsonl` was used"]),
        ("e no_k.csv", &["`no_k.csv` has no column `k`"]),
        ("e late.csv", &["all fall before 1980"]),
        ("e bad.csv", &["no row of `bad.csv` was used", "check first at row 1: CHECK (amount < 900) is false"]),
        (
            "e e.csv --rows-per-request 7",
            &["rows 1 to 7: ", "named another batch before", "give the options of that time"],
        ),
        ("e e.csv --arrival-column ts", &["--history"]),
        ("e e.csv --history --arrival-column when", &["`e.csv` has no column `when`"]),
        ("e e.csv --rows-per-request 0", &["0 is not in 1..=65536"]),
    ];
    for (words, expected) in cases {
        let said = ask(&server, "ingest", words);
        assert_eq!(said.code, Some(1), "{words}: {}{}", said.stdout, said.stderr);
        for part in *expected {
            assert!(said.stderr.contains(part), "{words}: expected `{part}`, found\n{}", said.stderr);
        }
    }
    assert_eq!(object(&server, "e")["counts"]["in"], 31);
    server.end("INT");
}

/// Reads a request from a connection: its head and body.
fn request(connection: &mut BufReader<TcpStream>) -> (String, Vec<u8>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(connection.read_line(&mut head).unwrap() > 0, "the connection ended: {head}");
    }
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ").map(|text| text.parse().unwrap()));
    let mut body = vec![0; length.unwrap_or(0)];
    connection.read_exact(&mut body).unwrap();
    (head, body)
}

#[test]
fn a_busy_server_is_asked_again() {
    let folder = Folder::new();
    folder.file("e.jsonl", "{}\n");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stream =
        r#"{"kind":"stream","name":"e","columns":[],"time_column":"ts","source":{"connector":"log"},"position":[0]}"#;
    let answers = [
        ("200 OK", "", stream),
        ("429 Too Many Requests", "Retry-After: 0\r\n", r#"{"error":{"kind":"too_many_requests","message":"busy"}}"#),
        // Nothing at all.
        ("", "", ""),
        ("503 Service Unavailable", "Retry-After: 0\r\n", "no JSON"),
        ("200 OK", "", r#"{"accepted":1,"duplicates":0,"late":0,"rejected":0,"refused":[]}"#),
    ];
    let server = thread::spawn(move || {
        let mut requests = Vec::new();
        for (status, headers, body) in answers {
            let mut connection = BufReader::new(listener.accept().unwrap().0);
            requests.push(request(&mut connection));
            if !status.is_empty() {
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n");
                connection.get_mut().write_all((head + body).as_bytes()).unwrap();
            }
        }
        requests
    });
    let said = folder.run(&format!("ingest e e.jsonl --url {url}"));
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    assert_eq!(said.stdout, "sent 1 row: 1 used, 0 duplicates, 0 late, 0 rejected\n");
    let requests = server.join().unwrap();
    assert!(requests[0].0.starts_with("GET /v1/objects/e HTTP/1.1\r\n"), "{}", requests[0].0);
    assert!(requests[1].0.starts_with("POST /v1/streams/e/events HTTP/1.1\r\n"), "{}", requests[1].0);
    assert!(requests[1].0.to_lowercase().contains("\r\nidempotency-key: ingest:"), "{}", requests[1].0);
    assert_eq!(requests[1].1, b"{}\n");
    for again in &requests[2..] {
        assert_eq!(*again, requests[1], "sent again as it was");
    }
}
