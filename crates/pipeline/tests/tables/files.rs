//! Tables that read files: beside streams that do so too, and beside streams that are stored.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use asof_connect::{BodyForm, BodyLimits, EventBody};
use asof_disk::hooked::{HookedDisk, Operation};
use asof_disk::simulated::SimulatedDisk;
use asof_feature::StreamPlan;
use asof_pipeline::{Engine, IngestError, Job, Manner, Phase, PipelineError, Steps, Stop, StreamBatch, run};
use serde_json::{Map, Value, json};

use crate::values::read;
use crate::world::{SECOND_US, World, leave, project, try_send};

const BEGIN_US: i64 = 1_700_000_000 * SECOND_US;

fn sql(stream: &str, table: &str) -> String {
    format!(
        "CREATE STREAM tx (account BIGINT NOT NULL, merchant BIGINT, ts TIMESTAMP NOT NULL,
           WATERMARK FOR ts AS ts - INTERVAL '10' SECOND){stream};
         CREATE TABLE merchants (merchant BIGINT, fee BIGINT, at TIMESTAMP NOT NULL, PRIMARY KEY (merchant),
           WATERMARK FOR at AS at - INTERVAL '10' SECOND){table};
         CREATE FEATURE VIEW fees AS SELECT t.account, count(*) OVER w AS n, sum(m.fee) OVER w AS fees
           FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant
           WINDOW w AS (PARTITION BY t.account ORDER BY t.ts);
         CREATE FEATURE VIEW merchant AS SELECT merchant, fee FROM merchants;"
    )
}

fn file(name: &str, options: &str) -> String {
    format!(" WITH (connector = 'file', path = '{name}.jsonl', format = 'jsonl'{options})")
}

fn at(seconds: i64) -> i64 {
    BEGIN_US + seconds * SECOND_US
}

/// A version of each pair of fee and second.
fn versions(pairs: &[(i64, i64)]) -> String {
    let line = |(fee, seconds): &(i64, i64)| json!({"merchant": 1, "fee": fee, "at": at(*seconds)}).to_string() + "\n";
    pairs.iter().map(line).collect()
}

fn events(seconds: &[i64]) -> String {
    let line = |seconds: &i64| json!({"account": 7, "merchant": 1, "ts": at(*seconds)}).to_string() + "\n";
    seconds.iter().map(line).collect()
}

fn features(engine: &Engine, view: usize, key: &str, value: i64, seconds: i64) -> Value {
    json!(read(engine, view, &Map::from_iter([(key.to_owned(), Value::from(value))]), at(seconds)))
}

/// Asks for a stop when it goes, also by a failed assertion: nobody would wait for the end of a job otherwise.
struct StopAtEnd<'s>(&'s Stop);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.ask();
    }
}

/// A life of the running job from the end of its files on.
fn live(engine: &Engine, folder: &Path, look: impl FnOnce(&Engine)) {
    let (stop, lower_priority) = (Stop::default(), || ());
    let job = Job {
        folder: folder.to_owned(),
        until_us: None,
        waiting_bytes_max: 1 << 20,
        threads: 1,
        kafka: None,
        lower_priority,
    };
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(engine, &job, &stop));
        let stop_at_end = StopAtEnd(&stop);
        while !matches!(engine.phase(), Phase::Live | Phase::Done) && !running.is_finished() {
            std::thread::yield_now();
        }
        look(engine);
        drop(stop_at_end);
        running.join().unwrap().unwrap();
    });
}

fn send(engine: &Engine, source: usize, lines: &str) {
    let answered = leave(engine, source, lines, (Manner::Live, None)).unwrap();
    while answered.lock().unwrap().is_none() {
        std::thread::yield_now();
    }
    let rows = lines.lines().count() as u64;
    assert_eq!(answered.lock().unwrap().take().unwrap().unwrap().accepted, rows);
}

fn without_storage(sql: &str) -> Engine {
    let world = World::new(1, sql);
    Engine::new(world.project.clone(), world.settings, Arc::new(|| at(10_000))).unwrap()
}

/// Both files are merged by event time. A version holds for an event of its own time, wherever slices end.
#[test]
fn versions_come_before_events_of_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let seconds: Vec<i64> = (0..10_000).collect();
    let each: Vec<(i64, i64)> = seconds.iter().map(|second| (*second, *second)).collect();
    // In no order of time.
    let turned: Vec<i64> = seconds.iter().map(|second| second * 7_919 % 10_000).collect();
    std::fs::write(folder.path().join("merchants.jsonl"), versions(&each)).unwrap();
    std::fs::write(folder.path().join("tx.jsonl"), events(&turned)).unwrap();
    let engine = without_storage(&sql(&file("tx", ""), &file("merchants", "")));
    live(&engine, folder.path(), |engine| {
        let all: i64 = seconds.iter().sum();
        assert_eq!(features(engine, 0, "account", 7, 10_000), json!({"n": 10_000, "fees": all}));
        assert_eq!(features(engine, 0, "account", 7, 99), json!({"n": 100, "fees": 99 * 100 / 2}));
        assert_eq!(features(engine, 1, "merchant", 1, 5_000), json!({"fee": 5_000}));
        assert_eq!(engine.published().streams[0].rejoined_rows, 0, "no version came late");
        engine.maintain().unwrap();
        assert_eq!(engine.stream_statistics(0).held_rows, 0);
        assert_eq!(engine.table_statistics(0).versions.replay.rows_taken, 10_000);
    });
}

/// In the order of a file versions come late, and those behind the watermark not at all.
#[test]
fn late_versions_of_a_file_change_what_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let late = versions(&[(1, 0), (2, 20), (4, 12), (8, 5), (16, 40)]);
    std::fs::write(folder.path().join("merchants.jsonl"), late).unwrap();
    std::fs::write(folder.path().join("tx.jsonl"), events(&[6, 13, 21, 30, 39])).unwrap();
    let engine = without_storage(&sql(&file("tx", ""), &file("merchants", ", order = 'file'")));
    live(&engine, folder.path(), |engine| {
        let counts = engine.published().streams[1].accounting;
        assert_eq!((counts.used, counts.late), (4, 1), "that of second 5 is behind the watermark of second 10");
        assert_eq!(features(engine, 0, "account", 7, 60), json!({"n": 5, "fees": 1 + 4 + 2 + 2 + 2}));
    });
}

/// The events are in the log, the versions are read again at each start.
#[test]
fn a_table_of_a_file_beside_a_stored_stream_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("merchants.jsonl"), versions(&[(1, 0), (2, 20)])).unwrap();
    let world = World::on(SimulatedDisk::new(1), project(&sql("", &file("merchants", ""))));
    world.set_clock(at(40));
    for life in 1..4i64 {
        let engine = world.engine().unwrap();
        live(&engine, folder.path(), |engine| {
            let before =
                json!({"n": 2 * (life - 1), "fees": if life > 1 { json!(3 * (life - 1)) } else { Value::Null }});
            assert_eq!(features(engine, 0, "account", 7, 60), before);
            send(engine, 0, &events(&[15, 25]));
            assert_eq!(features(engine, 0, "account", 7, 60), json!({"n": 2 * life, "fees": 3 * life}));
        });
    }
    // Another file, another past.
    std::fs::write(folder.path().join("merchants.jsonl"), versions(&[(5, 0), (7, 20)])).unwrap();
    let engine = world.engine().unwrap();
    live(&engine, folder.path(), |engine| {
        assert_eq!(features(engine, 0, "account", 7, 60), json!({"n": 6, "fees": 36}));
    });
}

/// The other way round: versions are stored, and the events of a file are replayed over them at each start.
#[test]
fn a_stored_table_beside_a_stream_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tx.jsonl"), events(&[15, 25])).unwrap();
    let world = World::on(SimulatedDisk::new(1), project(&sql(&file("tx", ""), "")));
    world.set_clock(at(40));
    let engine = world.engine().unwrap();
    live(&engine, folder.path(), |engine| {
        assert_eq!(features(engine, 0, "account", 7, 60), json!({"n": 2, "fees": null}));
        send(engine, 1, &versions(&[(1, 0), (2, 20)]));
        assert_eq!(features(engine, 0, "account", 7, 60), json!({"n": 2, "fees": 3}));
        assert_eq!(engine.published().streams[0].rejoined_rows, 2);
    });
    drop(engine);
    let engine = world.engine().unwrap();
    live(&engine, folder.path(), |engine| {
        assert_eq!(features(engine, 0, "account", 7, 60), json!({"n": 2, "fees": 3}));
        assert_eq!(features(engine, 1, "merchant", 1, 60), json!({"fee": 2}));
    });
}

/// The next rows of the table's file, from `first` on.
fn of_file(engine: &Engine, pairs: &[(i64, i64)], first: u64) -> Vec<StreamBatch> {
    let bytes = versions(pairs).into_bytes();
    let limits = BodyLimits { rows_max: 100 };
    let body = EventBody::read(bytes.into(), BodyForm::Ndjson, &engine.sources()[1], limits).unwrap();
    let batch = body.batches()[0].batch.clone();
    let primary_keys = StreamPlan::of_table(&engine.project().tables[0]).unwrap().primary_keys(&batch).unwrap();
    let offsets = (first..first + pairs.len() as u64).collect();
    let (partition, rejected, arrived) = (0, Vec::new(), None);
    vec![StreamBatch { stream: 1, partition, batch, rejected, primary_keys, offsets, fed: None, arrived }]
}

/// A version must not change an event that no read sees yet, or ever will.
#[test]
fn a_file_waits_for_what_a_log_holds_back() {
    let world = World::on(SimulatedDisk::new(1), project(&sql("", &file("merchants", ""))));
    world.set_clock(at(40));
    let refuses = Arc::new(AtomicBool::new(false));
    let asked = refuses.clone();
    let disk = HookedDisk::new(world.disk.shared(), move |operation| match operation {
        Operation::Open(path) if path.ends_with("generation") && asked.load(Ordering::Relaxed) => {
            Err(std::io::Error::other("too many open files"))
        }
        _ => Ok(()),
    });
    let engine = world.engine_on(Arc::new(disk)).unwrap();
    let mut job = Steps::recover(&engine).unwrap();
    let fees = || features(&engine, 0, "account", 7, 60);
    let has_to_wait = |pairs: &[(i64, i64)]| {
        let told = engine.take_in(of_file(&engine, pairs, 1)).unwrap_err();
        assert!(matches!(told, PipelineError::Ingest(IngestError::BehindNotSettled)), "{told:?}");
    };
    engine.take_in(of_file(&engine, &[(1, 0)], 0)).unwrap();
    try_send(&engine, &mut job, "tx", &events(&[15]), Manner::Live).unwrap();
    assert_eq!(fees(), json!({"n": 1, "fees": 1}));
    refuses.store(true, Ordering::Relaxed);
    let told = try_send(&engine, &mut job, "tx", &events(&[25]), Manner::Live).unwrap_err();
    assert!(matches!(told, IngestError::NotSettled { .. }), "{told:?}");
    has_to_wait(&[(4, 10)]);
    assert_eq!(fees(), json!({"n": 1, "fees": 1}));
    refuses.store(false, Ordering::Relaxed);
    job.commit().unwrap();
    assert_eq!(fees(), json!({"n": 2, "fees": 2}));
    engine.take_in(of_file(&engine, &[(4, 10)], 1)).unwrap();
    assert_eq!(fees(), json!({"n": 2, "fees": 8}));
    world.disk.fail_sync(1);
    let told = try_send(&engine, &mut job, "tx", &events(&[30]), Manner::Live).unwrap_err();
    assert!(matches!(told, IngestError::Broken { .. }), "{told:?}");
    has_to_wait(&[(7, 12)]);
    assert_eq!(fees(), json!({"n": 2, "fees": 8}));
}
