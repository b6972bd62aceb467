//! Arrivals at a stream and at tables, stored where history finds them, and jobs over that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use asof_connect::{StoredVerdict, TimeUnit};
use asof_definition::{Project, SourceFile, Stream, check_ahead};
use asof_feature::{Faced, StreamPlan};
use asof_history::{HistoryError, Job, Knowledge, OnError, RowsOf, Silent, SpineRows, Stop, Summary, Target};
use asof_window::{Judge, Rejection, Verdict};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::case::read_rows;
use crate::decoded::batch;
use crate::stored::{Group, StoredLog};

/// What arrives.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// The table; `None` for the stream.
    pub(crate) into: Option<String>,
    pub(crate) columns: Map<String, Value>,
    pub(crate) arrived_us: i64,
}

/// Where history finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// In files, that are taken as arrivals.
    Files,
    /// In files, whose rows are taken in event-time order.
    ByEventTime,
    /// In the project's own log, as it arrived live.
    Log,
    /// In the log, loaded at once with its arrival times.
    Loaded,
}

/// Shards, threads and memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) shards: usize,
    pub(crate) threads: usize,
    pub(crate) memory_limit_bytes: usize,
}

pub(crate) const SHAPES: [Shape; 2] = [
    Shape { shards: 1, threads: 1, memory_limit_bytes: 1 << 30 },
    Shape { shards: 8, threads: 2, memory_limit_bytes: 1 << 30 },
];

/// A row without an event time.
const REJECTED: &str = r#"{"case_arrived": 0}"#;

/// A project folder with its sources.
pub(crate) struct Sources {
    folder: TempDir,
    pub(crate) project: Project,
    pub(crate) way: Way,
}

impl Sources {
    /// A project without any arrivals, with the number of each in its streams.
    pub(crate) fn new(sql: &str, way: Way) -> Sources {
        Sources::of(with_options(sql, way), way)
    }

    /// The same without numbers: a window of many events has none.
    pub(crate) fn unnumbered(sql: &str, way: Way) -> Sources {
        let is_declared = |text: &str| text.starts_with("CREATE TABLE") || !text.contains("SELECT");
        let statements = sql.split(';').map(|statement| match statement.trim_start() {
            "" => String::new(),
            text if is_declared(text) => with_option(statement, &options(text.split_whitespace().nth(2).unwrap(), way)),
            _ => statement.to_owned(),
        });
        Sources::of(statements.collect::<Vec<_>>().join(";"), way)
    }

    fn of(text: String, way: Way) -> Sources {
        let file = SourceFile { name: "case.sql".to_owned(), text };
        let project =
            check_ahead(std::slice::from_ref(&file)).unwrap_or_else(|errors| panic!("{}\n{}", errors[0], file.text));
        Sources { folder: TempDir::new().unwrap(), project, way }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn data_folder(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Stores these arrivals and nothing else.
    pub(crate) fn store(&self, arrivals: &[Arrival]) {
        if self.data_folder().exists() {
            std::fs::remove_dir_all(self.data_folder()).unwrap();
        }
        for stream in &self.project.streams {
            let own = arrivals.iter().enumerate().filter(|(_, one)| one.into.is_none());
            self.store_one(stream, stream, &StreamPlan::new(stream.clone()).unwrap(), own.collect());
        }
        for table in &self.project.tables {
            let own = arrivals.iter().enumerate().filter(|(_, one)| one.into.as_deref() == Some(table.name()));
            self.store_one(&table.versions, &table.stored(), &StreamPlan::of_table(table).unwrap(), own.collect());
        }
    }

    fn store_one(&self, declared: &Stream, stored: &Arc<Stream>, plan: &StreamPlan, arrivals: Vec<(usize, &Arrival)>) {
        let rows = arrivals.iter().map(|(number, arrival)| {
            let mut columns = arrival.columns.clone();
            columns.insert("case_arrived".to_owned(), json!(arrival.arrived_us));
            columns.insert("case_event".to_owned(), json!(number));
            columns
        });
        let rows: Vec<Map<String, Value>> = rows.collect();
        let lines: Vec<String> = rows.iter().map(|row| Value::Object(row.clone()).to_string()).collect();
        if matches!(self.way, Way::Files | Way::ByEventTime) {
            // A file that holds nothing at all is refused: one without arrivals has a row that is rejected.
            let lines = if lines.is_empty() { vec![REJECTED.to_owned()] } else { lines };
            let path = self.path().join(format!("{}.jsonl", declared.name));
            return std::fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        }
        if rows.is_empty() {
            return;
        }
        let arrived_us: Vec<i64> = arrivals.iter().map(|(_, arrival)| arrival.arrived_us).collect();
        let verdicts = verdicts(declared, plan, &rows, &arrived_us);
        let mut log = StoredLog::create(&self.data_folder(), stored);
        let mut first = 0;
        let is_loaded = self.way == Way::Loaded;
        for together in arrived_us.chunk_by(|one, other| one == other || is_loaded) {
            let own = first..first + together.len();
            first = own.end;
            log.append(&Group {
                arrived_us: together[0],
                each_us: is_loaded.then(|| together.to_vec()),
                is_imputed: false,
                rows: lines[own.clone()].to_vec(),
                verdicts: verdicts[own].to_vec(),
            });
        }
        log.log.sync().unwrap();
    }

    /// The rows that a job over a view gives, and its summary.
    pub(crate) fn run(
        &self,
        view: usize,
        rows: RowsOf,
        knowledge: Knowledge,
        shape: Shape,
    ) -> Result<(Vec<Map<String, Value>>, Summary), HistoryError> {
        self.run_for(Target::View(self.project.views[view].clone()), rows, knowledge, shape)
    }

    /// The same of any target.
    pub(crate) fn run_for(
        &self,
        target: Target,
        rows: RowsOf,
        knowledge: Knowledge,
        shape: Shape,
    ) -> Result<(Vec<Map<String, Value>>, Summary), HistoryError> {
        let out = self.path().join("out.jsonl");
        let job = Job {
            folder: self.path().to_owned(),
            data_folder: self.data_folder(),
            target,
            rows,
            out: out.clone(),
            knowledge,
            on_error: OnError::Null,
            memory_limit_bytes: shape.memory_limit_bytes,
            threads: shape.threads,
            shards: Some(shape.shards),
            stop: Stop::default(),
        };
        asof_history::run(&job, &Silent).map(|summary| (read_rows(&out), summary))
    }

    /// The rows of a spine with these keys and instants.
    pub(crate) fn spine(&self, reads: &[(Map<String, Value>, i64)]) -> RowsOf {
        let line = |(row, (key, as_of_us)): (usize, &(Map<String, Value>, i64))| {
            let mut line = key.clone();
            line.insert("spine_at".to_owned(), json!(as_of_us));
            line.insert("spine_row".to_owned(), json!(row));
            Value::Object(line).to_string() + "\n"
        };
        let path = self.path().join("spine.jsonl");
        std::fs::write(&path, reads.iter().enumerate().map(line).collect::<String>()).unwrap();
        let time_unit = Some(TimeUnit::Microsecond);
        RowsOf::Spine(SpineRows { path, time_column: "spine_at".to_owned(), time_unit, before: false })
    }
}

/// The verdicts on rows, as a server decides.
fn verdicts(
    declared: &Stream,
    plan: &StreamPlan,
    rows: &[Map<String, Value>],
    arrived_us: &[i64],
) -> Vec<StoredVerdict> {
    let (batch, unreadable) = batch(declared, &rows.iter().collect::<Vec<_>>());
    let rejected = plan.rejected(&batch, unreadable);
    let keys = plan.primary_keys(&batch).unwrap();
    let faced = Faced { partition: 0, batch: &batch, rejected: &rejected, primary_keys: keys.as_ref() };
    let judged = plan.judge(&mut Judge::new(plan.rules()), faced, |row, _| arrived_us[row]);
    let stored = judged.into_iter().map(|verdict| match verdict {
        Verdict::Used => StoredVerdict::Used,
        Verdict::Duplicate => StoredVerdict::Duplicate,
        Verdict::Late => StoredVerdict::Late,
        Verdict::Rejected(Rejection::Unreadable) => StoredVerdict::Unreadable,
        Verdict::Rejected(Rejection::NotNull) => StoredVerdict::NotNull,
        Verdict::Rejected(Rejection::Check) => StoredVerdict::Check,
        Verdict::Rejected(Rejection::Future) => StoredVerdict::Future,
    });
    stored.collect()
}

/// The SQL with the options of its sources, which also have the number of each arrival where an answer is to name it: in
/// the stream, passed on by what is derived from it, or in the tables of a project without a stream.
fn with_options(sql: &str, way: Way) -> String {
    let has_stream = sql.contains("CREATE STREAM");
    let statements = sql.split(';').map(|statement| {
        let text = statement.trim_start();
        let is_stream = text.starts_with("CREATE STREAM");
        if is_stream && text.contains("SELECT") {
            return statement.replace("SELECT ", "SELECT case_event, ").replace("SELECT case_event, *", "SELECT *");
        }
        if !is_stream && !text.starts_with("CREATE TABLE") {
            return statement.to_owned();
        }
        let is_numbered = is_stream || !has_stream;
        let declared =
            if is_numbered { statement.replacen('(', "(case_event BIGINT, ", 1) } else { statement.to_owned() };
        with_option(&declared, &options(text.split_whitespace().nth(2).unwrap(), way))
    });
    statements.collect::<Vec<_>>().join(";")
}

fn options(name: &str, way: Way) -> String {
    match way {
        Way::Files => format!(
            "connector = 'file', path = '{name}.jsonl', format = 'jsonl', order = 'file', \
             arrival_column = 'case_arrived', timestamp_unit = 'us'"
        ),
        Way::ByEventTime => options(name, Way::Files).replace("order = 'file', ", ""),
        Way::Log | Way::Loaded => "timestamp_unit = 'us'".to_owned(),
    }
}

fn with_option(statement: &str, options: &str) -> String {
    match statement.rfind(" WITH (") {
        Some(at) => format!("{} WITH ({options}, {}", &statement[..at], &statement[at + " WITH (".len()..]),
        None => format!("{statement} WITH ({options})"),
    }
}

/// The time of a batch's one row.
pub(crate) fn time_us(row: &RecordBatch, time_column: usize) -> i64 {
    row.column(time_column).as_primitive::<TimestampMicrosecondType>().value(0)
}
