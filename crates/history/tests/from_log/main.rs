//! History from the project's own log, against answers worked out by hand and against a file of the same used events. All
//! golden cases of the reference go through the log in `tests/reference`.
//!
//! What is stored of `payments` (seconds after `T`; allowed lateness 10 s). Amounts are powers of two, so that a sum tells
//! which payments are in it:
//! ```text
//!   offset   event   at    arrived   amount   judged
//!   0–2      a b c   0 10 20   5 8 30   1 2 4    used           a history that was loaded
//!   3        d       100   101        8       used           live, one batch
//!   4        d       100   101        8       duplicate
//!   5        x       100   101       −1       check
//!   6        e        50   101       64       late
//!   7        f        95   101       16       used
//!   8        g       200   201       32       used           live
//!   9                      201                unreadable
//!   10       e        50   301       64       used           the dead letter, injected again
//! ```

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod stored;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use asof_connect::StoredVerdict::{self, Check, Duplicate, Late, Unreadable, Used};
use asof_connect::write_history_file;
use asof_definition::{Project, SourceFile};
use asof_history::{
    HistoryError, Job, Knowledge, OnError, Origin, Progress, RowsOf, Silent, SpineRows, Stop, Summary, Target,
};
use tempfile::TempDir;

use crate::stored::{Group, StoredLog};

/// 2024-01-01T00:00:00Z.
const T_US: i64 = 1_704_067_200_000_000;

const COLUMNS: &str = "payment VARCHAR NOT NULL, account BIGINT NOT NULL, amount DOUBLE NOT NULL CHECK (amount >= 0),
    ts TIMESTAMP NOT NULL, PRIMARY KEY (payment), WATERMARK FOR ts AS ts - INTERVAL '10' SECOND";

const FILE: &str = "WITH (connector = 'file', path = 'payments.jsonl', format = 'jsonl', arrival_column = 'arrived')";

const FEATURES: &str = "SELECT account, count(*) OVER h AS payments, sum(amount) OVER h AS spent,
        last_value(payment) OVER h AS latest FROM payments
    WINDOW h AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW)";

/// Threads, shards, memory.
const SHAPES: [(usize, usize, usize); 3] = [(1, 1, 1 << 30), (2, 8, 1 << 30), (2, 4, 1)];

struct Stored {
    folder: TempDir,
    log: StoredLog,
}

fn project(options: &str) -> Project {
    let text = format!("CREATE STREAM payments ({COLUMNS}) {options};\nCREATE FEATURE VIEW spending AS {FEATURES};");
    checked(text)
}

fn checked(text: String) -> Project {
    let file = SourceFile { name: "features.sql".to_owned(), text };
    asof_definition::check_ahead(&[file]).unwrap_or_else(|errors| panic!("{}", errors[0]))
}

fn at(second: i64) -> i64 {
    T_US + second * 1_000_000
}

fn payment(name: &str, second: i64, amount: i32) -> String {
    format!(r#"{{"payment": "{name}", "account": 7, "amount": {amount}, "ts": {}}}"#, at(second))
}

fn live(arrived: i64, rows: Vec<(String, StoredVerdict)>) -> Group {
    let (rows, verdicts) = rows.into_iter().unzip();
    Group { arrived_us: at(arrived), each_us: None, is_imputed: false, rows, verdicts }
}

fn groups() -> [Group; 4] {
    let loaded = Group {
        arrived_us: at(60),
        each_us: Some(vec![at(5), at(8), at(30)]),
        is_imputed: false,
        rows: vec![payment("a", 0, 1), payment("b", 10, 2), payment("c", 20, 4)],
        verdicts: vec![Used; 3],
    };
    let batch = vec![
        (payment("d", 100, 8), Used),
        (payment("d", 100, 8), Duplicate),
        (payment("x", 100, -1), Check),
        (payment("e", 50, 64), Late),
        (payment("f", 95, 16), Used),
    ];
    [
        loaded,
        live(101, batch),
        live(201, vec![(payment("g", 200, 32), Used), ("{\"payment\": 1".to_owned(), Unreadable)]),
        live(301, vec![(payment("e", 50, 64), Used)]),
    ]
}

/// A writer has the log open, and has not sealed it.
fn stored() -> Stored {
    let folder = TempDir::new().unwrap();
    let mut log = StoredLog::create(&folder.path().join(".asof"), &project("").streams[0]);
    groups().iter().for_each(|group| log.append(group));
    log.log.sync().unwrap();
    Stored { folder, log }
}

impl Stored {
    fn data_folder(&self) -> PathBuf {
        self.folder.path().join(".asof")
    }
}

/// A spine of the account at these seconds.
fn spine(folder: &Path, seconds: &[i64]) -> RowsOf {
    let path = folder.join("spine.jsonl");
    let rows: Vec<String> =
        seconds.iter().map(|second| format!("{{\"account\": 7, \"at\": {}}}\n", at(*second))).collect();
    std::fs::write(&path, rows.concat()).unwrap();
    RowsOf::Spine(SpineRows { path, time_column: "at".to_owned(), time_unit: None, before: false })
}

fn job(folder: &Path, target: Target, rows: RowsOf, knowledge: Knowledge) -> Job {
    Job {
        folder: folder.to_owned(),
        data_folder: folder.join(".asof"),
        target,
        rows,
        out: folder.join("out.jsonl"),
        knowledge,
        on_error: OnError::Fail,
        memory_limit_bytes: 1 << 30,
        threads: 2,
        shards: None,
        stop: Stop::default(),
    }
}

fn answers(job: &Job, progress: &dyn Progress) -> (Vec<serde_json::Value>, Summary) {
    let summary = asof_history::run(job, progress).unwrap();
    let text = std::fs::read_to_string(&job.out).unwrap();
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), summary)
}

fn view(project: &Project) -> Target {
    Target::View(project.views[0].clone())
}

/// What was spent at these seconds, and the latest payment.
fn spent(stored: &Stored, knowledge: Knowledge, seconds: &[i64]) -> Vec<(i64, String)> {
    let folder = stored.folder.path();
    let (rows, _) = answers(&job(folder, view(&project("")), spine(folder, seconds), knowledge), &Silent);
    let of = |row: &serde_json::Value| {
        (row["spent"].as_f64().unwrap_or(0.0) as i64, row["latest"].as_str().unwrap_or("").to_owned())
    };
    rows.iter().map(of).collect()
}

fn named(values: &[(i64, &str)]) -> Vec<(i64, String)> {
    values.iter().map(|(spent, latest)| (*spent, (*latest).to_owned())).collect()
}

#[test]
fn event_time_counts_every_used_event_at_its_own_time() {
    let stored = stored();
    let found = spent(&stored, Knowledge::EventTime, &[-1, 0, 20, 49, 50, 100, 200]);
    let expected = [(0, ""), (1, "a"), (7, "c"), (7, "c"), (71, "e"), (95, "d"), (127, "g")];
    assert_eq!(found, named(&expected));
}

#[test]
fn as_served_counts_what_had_arrived() {
    let stored = stored();
    let found = spent(&stored, Knowledge::AsServed, &[4, 5, 9, 10, 29, 30, 99, 100, 101, 200, 201, 300, 301]);
    let expected = [
        (0, ""),    // a has happened and not arrived
        (1, "a"),   // arrived at the very instant
        (1, "a"),   // b has arrived, and happens a second later
        (3, "b"),   // it happens now
        (3, "b"),   // c has not arrived
        (7, "c"),   // it has
        (7, "c"),   // e was late: only its second arrival counts
        (7, "c"),   // d and f have happened, their batch has not arrived
        (31, "d"),  // d and f at once
        (31, "d"),  // g not yet
        (63, "g"),  //
        (63, "g"),  //
        (127, "g"), // e, once it was injected again
    ];
    assert_eq!(found, named(&expected));
}

#[test]
fn every_event_is_answered_once_and_as_it_was_scored() {
    let stored = stored();
    let folder = stored.folder.path();
    for (knowledge, expected) in [
        (Knowledge::EventTime, [("a", 1), ("b", 3), ("c", 7), ("d", 95), ("e", 71), ("f", 87), ("g", 127)]),
        (Knowledge::AsServed, [("a", 1), ("b", 3), ("c", 7), ("d", 31), ("e", 71), ("f", 23), ("g", 63)]),
    ] {
        let rows = RowsOf::EveryEvent { keep: Vec::new() };
        let (rows, _) = answers(&job(folder, view(&project("")), rows, knowledge), &Silent);
        let of =
            |row: &serde_json::Value| (row["payment"].as_str().unwrap().to_owned(), row["spent"].as_f64().unwrap());
        let mut found: Vec<(String, f64)> = rows.iter().map(of).collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(found, expected.map(|(name, spent)| (name.to_owned(), f64::from(spent))), "{}", knowledge.name());
    }
}

#[test]
fn the_summary_tells_what_was_judged_when_it_arrived() {
    let stored = stored();
    let folder = stored.folder.path();
    let (_, summary) = answers(&job(folder, view(&project("")), spine(folder, &[0]), Knowledge::EventTime), &Silent);
    let [stream] = &summary.streams[..] else { panic!("one stream: {summary:?}") };
    let verdicts = stream.accounting;
    assert_eq!((verdicts.used, verdicts.duplicate, verdicts.late, verdicts.check), (7, 1, 1, 1));
    assert_eq!((verdicts.unreadable, verdicts.total()), (1, 11));
    let mut reasons: Vec<_> = stream.reasons.iter().map(|one| (&one.name[..], one.offset, &one.detail[..])).collect();
    reasons.sort_unstable();
    let expected = [
        ("check", 5, "check when it came"),
        ("late", 6, "late when it came"),
        ("unreadable", 9, "unreadable when it came"),
    ];
    assert_eq!(reasons, expected);
    assert_eq!((stream.origin, stream.first_offset, stream.imputed), (Origin::Log, 0, 0));
    assert!(summary.warnings.iter().all(|warning| warning.contains("stand at an event")), "{:?}", summary.warnings);
}

#[test]
fn the_log_answers_as_a_file_of_the_same_used_events_does() {
    let stored = stored();
    let folder = stored.folder.path();
    let (mut lines, groups) = (Vec::new(), groups());
    for group in &groups {
        for (row, text) in group.rows.iter().enumerate().filter(|(row, _)| group.verdicts[*row] == Used) {
            let arrived_us = group.each_us.as_ref().map_or(group.arrived_us, |each_us| each_us[row]);
            lines.push(format!("{}, \"arrived\": {arrived_us}}}\n", text.strip_suffix('}').unwrap()));
        }
    }
    std::fs::write(folder.join("payments.jsonl"), lines.concat()).unwrap();
    for knowledge in [Knowledge::EventTime, Knowledge::AsServed] {
        for rows in [spine(folder, &(0..320).collect::<Vec<_>>()), RowsOf::EveryEvent { keep: Vec::new() }] {
            let is_spine = matches!(rows, RowsOf::Spine(_));
            let of_file = job(folder, view(&project(FILE)), rows.clone(), knowledge);
            let (expected, _) = answers(&of_file, &Silent);
            for (threads, shards, memory_limit_bytes) in SHAPES {
                let of_log = job(folder, view(&project("")), rows.clone(), knowledge);
                let of_log = Job { threads, shards: Some(shards), memory_limit_bytes, ..of_log };
                let (found, _) = answers(&of_log, &Silent);
                assert_eq!(found.len(), if is_spine { 320 } else { 7 });
                assert!(sorted(&found) == sorted(&expected), "{} {found:?}\n{expected:?}", knowledge.name());
            }
        }
    }
}

fn sorted(rows: &[serde_json::Value]) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
    rows.sort_unstable();
    rows
}

/// Segments that are also Parquet files, are Parquet files only, or are gone.
#[test]
fn older_events_come_from_parquet_files() {
    let Stored { folder, mut log } = stored();
    log.log.seal().unwrap();
    log.append(&live(400, vec![(payment("h", 390, 128), Used), (payment("h", 390, 128), Duplicate)]));
    log.log.sync().unwrap();
    let stream = project("").streams[0].clone();
    write_history_file(&log.disk, &folder.path().join(".asof"), &stream, 0, 0..11, &mut |_| ()).unwrap();
    let both = Stored { folder, log };
    let instants = [50, 101, 301, 400];
    let event_time = named(&[(71, "e"), (95, "d"), (127, "g"), (255, "h")]);
    let as_served = named(&[(7, "c"), (31, "d"), (127, "g"), (255, "h")]);
    assert_eq!(spent(&both, Knowledge::EventTime, &instants), event_time);
    assert_eq!(spent(&both, Knowledge::AsServed, &instants), as_served);

    let Stored { folder, mut log } = both;
    assert_eq!(log.log.drop_segments_before(11).unwrap(), 1);
    let only = Stored { folder, log };
    assert_eq!(spent(&only, Knowledge::EventTime, &instants), event_time);
    assert_eq!(spent(&only, Knowledge::AsServed, &instants), as_served);
    let path = only.folder.path();
    let of_all = job(path, view(&project("")), spine(path, &instants), Knowledge::EventTime);
    let (_, summary) = answers(&of_all, &Silent);
    assert_eq!((summary.streams[0].accounting.total(), summary.streams[0].accounting.late), (13, 1));
    assert_eq!(summary.streams[0].reasons, [], "their frames are gone");

    std::fs::remove_dir_all(only.data_folder().join("history")).unwrap();
    let (rows, summary) = answers(&of_all, &Silent);
    assert_eq!(rows[3]["spent"], 128.0);
    assert_eq!((summary.streams[0].first_offset, summary.streams[0].accounting.total()), (11, 2));
    assert!(summary.warnings[0].contains("stream `payments` is stored from offset 11 on"), "{:?}", summary.warnings);
}

#[test]
fn arrival_times_that_are_not_known_are_told() {
    let folder = TempDir::new().unwrap();
    let mut log = StoredLog::create(&folder.path().join(".asof"), &project("").streams[0]);
    let rows = vec![payment("a", 10, 1), payment("b", 20, 2)];
    let each_us = Some(vec![at(10), at(20)]);
    log.append(&Group { arrived_us: at(99), each_us, is_imputed: true, rows, verdicts: vec![Used; 2] });
    log.log.sync().unwrap();
    let stored = Stored { folder, log };
    assert_eq!(spent(&stored, Knowledge::AsServed, &[9, 10, 20]), named(&[(0, ""), (1, "a"), (3, "b")]));
    let path = stored.folder.path();
    for (knowledge, warned) in [(Knowledge::EventTime, false), (Knowledge::AsServed, true)] {
        let (_, summary) = answers(&job(path, view(&project("")), spine(path, &[9]), knowledge), &Silent);
        let says = |warning: &String| warning.starts_with("2 used events of stream `payments` were loaded without");
        assert_eq!(summary.warnings.iter().any(says), warned, "{:?}", summary.warnings);
    }
}

#[test]
fn an_event_is_set_aside_by_the_view_as_it_is_today() {
    let stored = stored();
    let folder = stored.folder.path();
    let text = format!(
        "CREATE STREAM payments ({COLUMNS});\nCREATE FEATURE VIEW inverse AS
         SELECT account, sum(1 / (cast(amount AS BIGINT) - 64)) OVER h AS s FROM payments
         WINDOW h AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);"
    );
    let job = job(folder, view(&checked(text)), RowsOf::EveryEvent { keep: Vec::new() }, Knowledge::EventTime);
    let (rows, summary) = answers(&job, &Silent);
    assert_eq!((rows.len(), summary.streams[0].accounting.used), (6, 7));
    assert_eq!(summary.streams[0].set_aside, [("inverse".to_owned(), 1)]);
    let reason = summary.streams[0].reasons.iter().find(|one| one.name == "set aside for `inverse`");
    assert_eq!(reason.unwrap().offset, 10, "the division by zero is that of the amount 64");
}

#[test]
fn streams_of_files_and_of_the_log_go_together() {
    let stored = stored();
    let folder = stored.folder.path();
    std::fs::write(folder.join("logins.csv"), format!("account,ts\n7,{}\n7,{}\n", at(30), at(60))).unwrap();
    let text = format!(
        "CREATE STREAM payments ({COLUMNS});
         CREATE FEATURE VIEW spending AS {FEATURES};
         CREATE STREAM logins (account BIGINT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
         WITH (connector = 'file', path = 'logins.csv', format = 'csv');
         CREATE FEATURE VIEW seen AS SELECT account, count(*) OVER h AS logins FROM logins
         WINDOW h AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);
         CREATE FEATURE SERVICE both AS SELECT p.spent, l.logins FROM REQUEST (account BIGINT) AS r
         LEFT JOIN spending AS p ON p.account = r.account LEFT JOIN seen AS l ON l.account = r.account;"
    );
    let target = Target::Service(checked(text).services[0].clone());
    let (rows, summary) = answers(&job(folder, target, spine(folder, &[30, 60]), Knowledge::EventTime), &Silent);
    let values: Vec<_> = rows.iter().map(|row| (row["spent"].as_f64(), row["logins"].as_i64())).collect();
    assert_eq!(values, [(Some(7.0), Some(1)), (Some(71.0), Some(2))]);
    let origins: Vec<_> = summary.streams.iter().map(|stream| (&stream.name[..], stream.origin)).collect();
    assert_eq!(origins, [("logins", Origin::File), ("payments", Origin::Log)]);
}

fn refused(job: &Job) -> String {
    match asof_history::run(job, &Silent) {
        Ok(summary) => panic!("it should be refused: {summary:?}"),
        Err(error @ HistoryError::Request { .. }) => error.to_string(),
        Err(other) => panic!("not the fault of the request: {other}"),
    }
}

#[test]
fn nothing_stored_and_outputs_among_the_stored_are_refused() {
    let stored = stored();
    let folder = stored.folder.path();
    let of_log = job(folder, view(&project("")), spine(folder, &[0]), Knowledge::EventTime);
    let missing = TempDir::new().unwrap();
    for data_folder in [missing.path().join("nowhere"), missing.path().to_owned()] {
        let said = refused(&Job { data_folder, ..of_log.clone() });
        assert!(said.starts_with("nothing is stored of stream `payments` yet"), "{said}");
        assert!(said.contains("`asof run`") && said.contains("`asof ingest payments FILE`"), "{said}");
    }
    let said = refused(&Job { out: stored.data_folder().join("log/out.csv"), ..of_log });
    assert!(said.contains("lies in the data folder"), "{said}");
}

/// Counts the bytes of the reading, and appends to the log once it has begun.
struct Meanwhile<'a> {
    log: Mutex<&'a mut StoredLog>,
    total: AtomicU64,
    advanced: AtomicU64,
    is_reading: AtomicU64,
}

impl Progress for Meanwhile<'_> {
    fn step(&self, name: &str, total: u64) {
        let is_reading = name == "reading payments";
        self.is_reading.store(u64::from(is_reading), Ordering::SeqCst);
        if is_reading {
            self.total.store(total, Ordering::SeqCst);
            let mut log = self.log.lock().unwrap();
            log.append(&live(500, vec![(payment("z", 40, 1024), Used)]));
            log.append(&live(501, vec![(payment("z", 40, 1024), Late)]));
            log.log.sync().unwrap();
        }
    }

    fn advance(&self, by: u64) {
        self.advanced.fetch_add(by * self.is_reading.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

#[test]
fn what_comes_while_a_job_reads_is_not_part_of_it() {
    let Stored { folder, mut log } = stored();
    let path = folder.path();
    let of_log = job(path, view(&project("")), spine(path, &[50]), Knowledge::EventTime);
    let progress = Meanwhile {
        log: Mutex::new(&mut log),
        total: AtomicU64::new(0),
        advanced: AtomicU64::new(0),
        is_reading: AtomicU64::new(0),
    };
    let (rows, summary) = answers(&of_log, &progress);
    assert_eq!(rows[0]["spent"], 71.0);
    assert_eq!((summary.streams[0].accounting.total(), summary.streams[0].accounting.late), (11, 1));
    let (total, advanced) = (progress.total.into_inner(), progress.advanced.into_inner());
    assert!(total > 1_000 && advanced == total, "{advanced} of {total} bytes");
    let (rows, summary) = answers(&of_log, &Silent);
    assert_eq!((rows[0]["spent"].as_f64(), summary.streams[0].accounting.total()), (Some(1_095.0), 13));
}

#[test]
fn a_damaged_log_is_named() {
    let stored = stored();
    let folder = stored.folder.path();
    let segments = asof_connect::stream_folder(&stored.data_folder(), "payments", 0);
    let segment = std::fs::read_dir(&segments)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "segment"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let place = bytes.windows(8).position(|window| window == at(20).to_le_bytes()).unwrap();
    bytes[place] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let of_log = job(folder, view(&project("")), spine(folder, &[0]), Knowledge::EventTime);
    let error = asof_history::run(&of_log, &Silent).unwrap_err();
    let said = error.to_string();
    assert!(said.contains(".segment") && said.contains("damaged") && said.contains("offset 0"), "{said}");
    assert!(!error.is_input() && !of_log.out.exists(), "no output is left");
}

/// Payments of each minute, and a view over their rows.
fn minutes(options: &str, total: &str) -> Project {
    checked(format!(
        "CREATE STREAM payments ({COLUMNS}) {options};
         CREATE STREAM minutes AS SELECT account, {total} AS total
         FROM TABLE(TUMBLE(TABLE payments, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY account, window_start, window_end;
         CREATE FEATURE VIEW spending AS SELECT account, count(*) OVER h AS minutes, sum(total) OVER h AS spent FROM minutes
         WINDOW h AS (PARTITION BY account ORDER BY window_time RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);"
    ))
}

#[test]
fn rows_of_windows_that_no_server_has_made_are_told() {
    let stored = stored();
    let folder = stored.folder.path();
    let job = job(folder, view(&minutes("", "sum(amount)")), spine(folder, &[300]), Knowledge::EventTime);
    let message = refused(&job);
    assert!(
        message.starts_with("no rows of the closed windows of stream `minutes` are stored, as it is defined now: `")
    );
    assert!(message.contains("; hint: run `asof run` once: the server makes the rows"), "{message}");
}

#[test]
fn windows_over_a_file_and_the_log_together_are_refused() {
    let folder = TempDir::new().unwrap();
    let project = checked(format!(
        "CREATE STREAM payments ({COLUMNS});
         CREATE STREAM older ({COLUMNS}) {FILE};
         CREATE STREAM both AS SELECT account, amount, ts FROM payments UNION ALL SELECT account, amount, ts FROM older;
         CREATE STREAM minutes AS SELECT account, sum(amount) AS total
         FROM TABLE(TUMBLE(TABLE both, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY account, window_start, window_end;
         CREATE FEATURE VIEW spending AS SELECT account, sum(total) OVER h AS spent FROM minutes
         WINDOW h AS (PARTITION BY account ORDER BY window_time);"
    ));
    let job = job(folder.path(), view(&project), spine(folder.path(), &[300]), Knowledge::EventTime);
    assert_eq!(
        refused(&job),
        "stream `minutes` is a group window over a file, of `older`, and the log, of `payments`, together, which is not \
         supported yet in history; hint: declare `older` without the connector, and store its events by `asof ingest older FILE`"
    );
}

/// The file is not sorted, has a duplicate, and its payment of 0:50 arrives at 5:00, long after the minute was over: the row of
/// it is there no sooner. That of 2:00 is a minute that has not ended by the last event.
#[test]
fn rows_of_windows_over_a_file_arrive_when_they_are_whole_and_the_watermark_has_passed() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let arrived = |name: &str, second: i64, amount: i32, arrived: i64| {
        let row = payment(name, second, amount);
        format!("{}, \"arrived\": {}}}\n", row.strip_suffix('}').unwrap(), at(arrived))
    };
    let rows = [
        arrived("c", 65, 4, 66),
        arrived("a", 0, 1, 5),
        arrived("a", 1, 512, 6),
        arrived("b", 50, 2, 300),
        arrived("e", 51, 16, 52),
        arrived("d", 120, 8, 121),
        arrived("f", 130, 32, 131),
        arrived("g", 131, 64, 132),
    ];
    std::fs::write(folder.join("payments.jsonl"), rows.concat()).unwrap();
    let project = minutes(FILE, "sum(amount)");
    for (threads, shards, memory_limit_bytes) in SHAPES {
        for (knowledge, expect) in [
            (Knowledge::EventTime, [(0, None), (1, Some(19.0)), (2, Some(23.0)), (2, Some(23.0))]),
            (Knowledge::AsServed, [(0, None), (0, None), (0, None), (2, Some(23.0))]),
        ] {
            let job = job(folder, view(&project), spine(folder, &[59, 60, 299, 300]), knowledge);
            let job = Job { threads, shards: Some(shards), memory_limit_bytes, ..job };
            let (rows, summary) = answers(&job, &Silent);
            let found: Vec<_> =
                rows.iter().map(|row| (row["minutes"].as_i64().unwrap(), row["spent"].as_f64())).collect();
            assert_eq!(found, expect, "{knowledge:?}");
            let used: Vec<_> =
                summary.streams.iter().map(|stream| (&stream.name[..], stream.accounting.used)).collect();
            assert_eq!(used, [("payments", 7), ("minutes", 2)]);
        }
    }
    let project = minutes(FILE, "1 / (count(*) - 3)");
    let (_, summary) = answers(&job(folder, view(&project), spine(folder, &[300]), Knowledge::EventTime), &Silent);
    let warning =
        "1 closed windows of stream `minutes` have no row, because a column of it failed: `1 / (count(*) - 3)`: ";
    assert!(summary.warnings.iter().any(|one| one.starts_with(warning)), "{:?}", summary.warnings);
    assert_eq!(summary.streams[1].accounting.used, 1);
}
