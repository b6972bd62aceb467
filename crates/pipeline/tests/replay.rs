//! Files through a running job: order, judgement, pace, limits, and what time alone does.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use asof_definition::SourceFile;
use asof_pipeline::{Clock, Engine, EngineSettings, Job, Phase, PipelineError, ReadError, Stop};
use tempfile::TempDir;

const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3_600 * SECOND_US;

/// A job over one stream `e (k, ts)` with the view `v`: events of k in the last ten seconds, and in all.
struct Running {
    folder: TempDir,
    engine: Engine,
    wall_us: Arc<AtomicI64>,
    stop: Stop,
    job: Job,
}

fn project(options: &str, lateness: &str) -> String {
    format!(
        "CREATE STREAM e (k BIGINT NOT NULL, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL {lateness})
         WITH (connector = 'file', path = 'e.jsonl', format = 'jsonl'{options});
         CREATE FEATURE VIEW v AS SELECT k, count(*) OVER s AS last_10s, count(*) OVER l AS ever FROM e
         WINDOW s AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '10' SECOND PRECEDING AND CURRENT ROW),
                l AS (PARTITION BY k ORDER BY ts);
         CREATE FEATURE VIEW short AS SELECT k, count(*) OVER s AS last_10s FROM e
         WINDOW s AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '10' SECOND PRECEDING AND CURRENT ROW)"
    )
}

impl Running {
    fn new(sql: &str, lines: &[String], clock: Clock) -> Running {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("e.jsonl"), lines.join("\n") + "\n").unwrap();
        let sources = [SourceFile { name: "project.sql".to_owned(), text: sql.to_owned() }];
        let project = asof_definition::check(&sources).expect("a sound project");
        let settings = EngineSettings { clock, as_of_horizon_us: HOUR_US, state_bytes_max: 1 << 30 };
        let wall_us = Arc::new(AtomicI64::new(1_000 * HOUR_US));
        let read = wall_us.clone();
        let engine = Engine::new(Arc::new(project), settings, Arc::new(move || read.load(Ordering::Relaxed))).unwrap();
        let job = Job {
            folder: folder.path().to_owned(),
            until_us: None,
            waiting_bytes_max: 1 << 30,
            threads: 2,
            kafka: None,
            lower_priority: || (),
        };
        Running { folder, engine, wall_us, stop: Stop::default(), job }
    }

    /// Runs the job while `watch` looks on; then asks it to stop.
    fn during<T>(&self, watch: impl FnOnce() -> T) -> (T, Result<(), PipelineError>) {
        std::thread::scope(|scope| {
            let job = scope.spawn(|| asof_pipeline::run(&self.engine, &self.job, &self.stop));
            let seen = watch();
            self.stop.ask();
            (seen, job.join().unwrap())
        })
    }

    fn to_the_end(&self) {
        self.during(|| self.wait(|| self.engine.phase() == Phase::Done)).1.unwrap();
    }

    /// Waits until `reached`; a test that waits for ever is ended by its runner.
    fn wait(&self, reached: impl Fn() -> bool) {
        while !reached() {
            std::thread::yield_now();
        }
    }

    fn position(&self) -> u64 {
        self.engine.published().streams[0].next_offsets[0]
    }

    /// `last_10s` and `ever` of an entity as of an instant in seconds.
    fn read(&self, k: i64, t_s: i64) -> (i64, i64) {
        let key: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![k]))];
        let answers = self.engine.reading().view(0, &key, 1, t_s * SECOND_US).unwrap();
        let value = |place: usize| answers.features[place].as_primitive::<Int64Type>().value(0);
        (value(0), value(1))
    }

    /// in, used, late, rejected.
    fn counts(&self) -> (u64, u64, u64, u64) {
        let counts = self.engine.published().streams[0].accounting;
        (counts.total(), counts.used, counts.late, counts.rejected())
    }
}

fn line(k: i64, t_s: i64) -> String {
    format!("{{\"k\": {k}, \"ts\": {}}}", t_s * SECOND_US)
}

/// Seconds in an order of their own, the same in every run.
fn shuffled(rows: i64) -> Vec<i64> {
    (0..rows).map(|row| row * 7_919 % rows).collect()
}

/// By the system clock a file that has ended is idle, also one that never had a row: a view over both files lets go.
#[test]
fn regression_a_file_without_rows_holds_nothing_of_a_union() {
    let file = |name: &str, format: &str| {
        format!(
            "CREATE STREAM {name} (k BIGINT NOT NULL, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
             WITH (connector = 'file', path = '{name}.{format}', format = '{format}', timestamp_unit = 'us');"
        )
    };
    let view = "CREATE STREAM both AS SELECT k, ts FROM e UNION ALL SELECT k, ts FROM f;
        CREATE FEATURE VIEW v AS SELECT k, count(*) OVER s AS n FROM both
        WINDOW s AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '10' SECOND PRECEDING AND CURRENT ROW);";
    let sql = file("e", "jsonl") + &file("f", "csv") + view;
    let running = Running::new(&sql, &[line(1, 10), line(2, 20)], Clock::System);
    std::fs::write(running.folder.path().join("f.csv"), "k,ts\n").unwrap();
    let held = || running.engine.view_statistics(0).held.events;
    let seen = running.during(|| {
        running.wait(|| running.engine.phase() == Phase::Done);
        let before = held();
        running.wall_us.fetch_add(2 * 60 * SECOND_US, Ordering::Relaxed);
        running.wait(|| running.engine.published().streams[0].watermark_us > Some(HOUR_US));
        running.wait(|| held() == 0);
        (before, running.engine.derived_statistics(0).watermark_us)
    });
    assert_eq!(seen.0, (2, Some(1_000 * HOUR_US + 2 * 60 * SECOND_US)));
    seen.1.unwrap();
}

const IN_MICROSECONDS: &str = ", timestamp_unit = 'us'";

#[test]
fn history_is_taken_in_event_time_order_and_none_is_late() {
    let lines: Vec<String> = shuffled(5_000).into_iter().map(|t_s| line(t_s % 3, t_s)).collect();
    let running = Running::new(&project(IN_MICROSECONDS, "'1' SECOND"), &lines, Clock::Event);
    running.to_the_end();
    assert_eq!(running.counts(), (5_000, 5_000, 0, 0));
    assert_eq!(running.position(), 5_000);
    assert_eq!(running.engine.reading().now_us(), 4_999 * SECOND_US);
    assert_eq!(running.read(4_999 % 3, 4_999), (4, 1_667));
}

#[test]
fn rows_that_wait_on_disk_are_the_same_rows() {
    let lines: Vec<String> = shuffled(30_000).into_iter().map(|t_s| line(t_s % 3, t_s)).collect();
    let mut running = Running::new(&project(IN_MICROSECONDS, "'1' SECOND"), &lines, Clock::Event);
    running.job.waiting_bytes_max = 1;
    running.to_the_end();
    assert_eq!(running.counts(), (30_000, 30_000, 0, 0));
    assert_eq!(running.read(0, 29_999), (3, 10_000));
}

#[test]
fn arrivals_are_taken_as_they_stand_and_lateness_applies() {
    let lines = [line(1, 100), line(1, 95), line(1, 89), line(1, 120), line(1, 109), line(1, 110)];
    let options = format!("{IN_MICROSECONDS}, order = 'file'");
    let running = Running::new(&project(&options, "'10' SECOND"), &lines, Clock::Event);
    running.to_the_end();
    assert_eq!(running.counts(), (6, 4, 2, 0));
    assert_eq!(running.read(1, 120), (2, 4));
    let reasons = running.engine.stream_statistics(0).reasons;
    assert_eq!((reasons[0].name.as_str(), reasons[0].count, reasons[0].offset), ("late", 2, 2));
}

/// A row that is rejected moves nothing: not the replay's clock, so that it cuts nothing off behind it.
#[test]
fn a_rejected_row_moves_no_clock() {
    let sql = project(&format!("{IN_MICROSECONDS}, order = 'file'"), "'10' SECOND")
        .replace("k BIGINT NOT NULL", "k BIGINT NOT NULL CHECK (k > 0)");
    let lines = [line(1, 100), line(-1, 250_000_000_000), line(1, 105), line(1, 120), line(1, 110)];
    let mut running = Running::new(&sql, &lines, Clock::Event);
    running.job.until_us = Some(110 * SECOND_US);
    running.to_the_end();
    assert_eq!(running.counts(), (3, 2, 0, 1), "up to the first row beyond");
    assert_eq!(running.read(1, 110), (2, 2));
}

#[test]
fn what_cannot_be_used_is_counted_and_told() {
    let lines = ["{\"k\": \"x\", \"ts\": 5}".to_owned(), "{\"k\": 1}".to_owned(), "nonsense".to_owned(), line(1, 9)];
    let running = Running::new(&project(IN_MICROSECONDS, "'1' SECOND"), &lines, Clock::Event);
    running.to_the_end();
    assert_eq!(running.counts(), (4, 1, 0, 3));
    let told: Vec<(String, u64, u64)> = running
        .engine
        .stream_statistics(0)
        .reasons
        .into_iter()
        .map(|reason| (reason.name, reason.count, reason.offset))
        .collect();
    assert_eq!(told, [("unreadable".to_owned(), 2, 0), ("not_null".to_owned(), 1, 1)]);
}

#[test]
fn until_is_inclusive_and_reads_beyond_it_go_on() {
    let lines: Vec<String> = (0..100).map(|t_s| line(1, t_s)).collect();
    let mut running = Running::new(&project(IN_MICROSECONDS, "'1' SECOND"), &lines, Clock::Event);
    running.job.until_us = Some(50 * SECOND_US);
    running.to_the_end();
    assert_eq!(running.position(), 51);
    assert_eq!(running.read(1, 50), (11, 51));
    assert_eq!(running.read(1, 55), (6, 51));
    assert_eq!(running.read(1, 61), (0, 51));
}

#[test]
fn a_paced_replay_follows_the_wall_clock() {
    let lines: Vec<String> = (0..1_000).map(|t_s| line(1, t_s)).collect();
    for (rate, after_a_second, after_three) in [("100/s", 101, 301), ("50x", 51, 151)] {
        let options = format!("{IN_MICROSECONDS}, rate = '{rate}'");
        let running = Running::new(&project(&options, "'1' SECOND"), &lines, Clock::Event);
        let (seen, ended) = running.during(|| {
            running.wait(|| running.position() == 1);
            running.wall_us.fetch_add(SECOND_US + 1, Ordering::Relaxed);
            running.wait(|| running.position() >= after_a_second);
            let one = running.position();
            running.wall_us.fetch_add(2 * SECOND_US, Ordering::Relaxed);
            running.wait(|| running.position() >= after_three);
            assert!(running.engine.is_ready(), "a paced replay is ready while it runs");
            (one, running.position(), running.engine.phase())
        });
        ended.unwrap();
        assert_eq!(seen, (after_a_second, after_three, Phase::Replaying), "{rate}");
    }
}

#[test]
fn reads_stand_within_the_horizon() {
    let lines: Vec<String> = (0..10_000).map(|t_s| line(1, t_s)).collect();
    let running = Running::new(&project(IN_MICROSECONDS, "'100' SECOND"), &lines, Clock::Event);
    running.to_the_end();
    let earliest_s = 9_999 - 100 - 3_600;
    assert_eq!(running.read(1, earliest_s), (11, earliest_s + 1));
    let key: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![1]))];
    let error = running.engine.reading().view(0, &key, 1, earliest_s * SECOND_US - 1).unwrap_err();
    assert!(
        matches!(error, ReadError::TooEarly { earliest_us, .. } if earliest_us == earliest_s * SECOND_US),
        "{error}"
    );
}

#[test]
fn a_state_beyond_its_limit_ends_the_job() {
    let lines: Vec<String> = (0..20_000).map(|t_s| line(t_s, t_s)).collect();
    let mut running = Running::new(&project(IN_MICROSECONDS, "'1' SECOND"), &lines, Clock::Event);
    let settings = EngineSettings { state_bytes_max: 10_000, ..*running.engine.settings() };
    running.engine = Engine::new(running.engine.project().clone(), settings, Arc::new(|| 0)).unwrap();
    let error = asof_pipeline::run(&running.engine, &running.job, &running.stop).unwrap_err();
    assert!(matches!(error, PipelineError::Memory { limit_bytes: 10_000, .. }), "{error}");
}

/// With the system clock, time passes though no event comes: values slide, the watermark follows, entities go.
#[test]
fn windows_empty_by_time_alone() {
    let lines: Vec<String> = (0..1_000).map(|t_s| line(t_s % 50, t_s)).collect();
    let running = Running::new(&project(IN_MICROSECONDS, "'1' SECOND"), &lines, Clock::System);
    running.wall_us.store(1_000 * SECOND_US, Ordering::Relaxed);
    let held = || running.engine.view_statistics(1).held;
    let ((), ended) = running.during(|| {
        running.wait(|| running.engine.phase() == Phase::Done);
        let now_s = || running.engine.reading().now_us() / SECOND_US;
        assert_eq!((now_s(), running.read(7, now_s())), (1_000, (0, 20)));
        assert_eq!(running.read(40, now_s()), (1, 20));
        assert_eq!(held().entities, 50);
        running.wall_us.store(3 * HOUR_US, Ordering::Relaxed);
        running.wait(|| held().entities == 0);
        assert_eq!(held().events, 0);
        assert_eq!(running.read(40, now_s()), (0, 20), "a lifetime is not emptied by time");
        assert_eq!(running.engine.published().streams[0].watermark_us, Some(3 * HOUR_US - SECOND_US));
    });
    ended.unwrap();
}

#[test]
fn a_missing_file_is_told() {
    let running = Running::new(&project(IN_MICROSECONDS, "'1' SECOND"), &[line(1, 1)], Clock::Event);
    let path: &Path = running.folder.path();
    std::fs::remove_file(path.join("e.jsonl")).unwrap();
    let error = asof_pipeline::run(&running.engine, &running.job, &running.stop).unwrap_err();
    assert!(error.is_input() && error.to_string().contains("e.jsonl"), "{error}");
}
