//! A case through history, `--every-event` and spines, in several shapes of shards, threads and memory. Its arrivals come
//! from a JSONL file taken in its own order, or, judged already, from the project's log in the ways that a log can hold them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use asof_connect::{StoredVerdict, write_history_file};
use asof_definition::Stream;
use asof_feature::{Faced, StreamPlan};
use asof_history::{Job, Knowledge, OnError, RowsOf, Silent, SpineRows, Stop, Summary, Target};
use asof_window::{Judge, Rejection, Verdict};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::case::{Answered, Case, Event, Read, decode, differences, instant_us, read_rows};
use crate::closed_rows;
use crate::stored::{Group, StoredLog};

/// Shards, threads and memory: all must give the same bits.
const SHAPES: &[(usize, usize, usize)] = &[(1, 1, 1 << 30), (4, 2, 1 << 30), (8, 2, 1)];

/// The ways of the log, each in a shape.
const WAYS: [(Stored, (usize, usize, usize)); 3] =
    [(Stored::Live, SHAPES[0]), (Stored::Loaded, SHAPES[1]), (Stored::Dropped, SHAPES[2])];

/// Where history finds the arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// In a file.
    File,
    /// In the log, as they arrived live.
    Live,
    /// In the log, loaded at once with their arrival times.
    Loaded,
    /// The older half in a Parquet file: the log has dropped it.
    Dropped,
    /// In a file that is taken in event-time order, whatever its own.
    Sorted,
}

struct Files<'a> {
    case: &'a Case,
    stored: Stored,
    folder: TempDir,
    sql: String,
    times: Vec<Option<i64>>,
    arrivals_us: Vec<i64>,
}

/// From a file.
pub(crate) fn check(case: &Case) -> Vec<String> {
    // A file has no clock that events could be ahead of.
    if !has_one_partition(case) || case.judged.iter().any(|verdict| verdict == "rejected: future") {
        return Vec::new();
    }
    check_stored(case, Stored::File, SHAPES)
}

/// From a file that is taken in event-time order, where nothing was late or a duplicate: rows of closed windows depend on the
/// used events alone.
pub(crate) fn check_sorted(case: &Case) -> Vec<String> {
    // A table in event-time order keeps no window open.
    let is_joined = !case.tables.is_empty();
    match !is_joined && has_one_partition(case) && case.judged.iter().all(|verdict| verdict == "used") {
        true => check_stored(case, Stored::Sorted, SHAPES),
        false => Vec::new(),
    }
}

/// From the log, in every way.
pub(crate) fn check_log(case: &Case) -> Vec<String> {
    WAYS.iter().flat_map(|way| check_log_way(case, *way)).collect()
}

/// From the log in one way, which differs from case to case: each log costs some syncs of the disk.
pub(crate) fn check_log_once(case: &Case) -> Vec<String> {
    check_log_way(case, WAYS[case.events.len() % WAYS.len()])
}

fn check_log_way(case: &Case, (stored, shape): (Stored, (usize, usize, usize))) -> Vec<String> {
    if !has_one_partition(case) {
        return Vec::new();
    }
    let differing = check_stored(case, stored, &[shape]);
    differing.into_iter().map(|difference| format!("{stored:?}: {difference}")).collect()
}

/// A stream has one partition, in a file and in the log.
fn has_one_partition(case: &Case) -> bool {
    case.events.iter().all(|event| event.partition == 0)
}

fn check_stored(case: &Case, stored: Stored, shapes: &[(usize, usize, usize)]) -> Vec<String> {
    let files = Files::new(case, stored);
    let mut differing = Vec::new();
    let is_told = |knowledge: Knowledge| stored != Stored::Sorted || knowledge == Knowledge::EventTime;
    for &shape in shapes {
        for (events, rows, knowledge) in [
            (&case.every_event, &case.every_row, Knowledge::EventTime),
            (&case.every_event_as_served, &case.every_row_as_served, Knowledge::AsServed),
        ] {
            match (events, rows) {
                _ if !is_told(knowledge) => {}
                (events, Some(rows)) => {
                    let (events, rows) = (events.as_deref().unwrap_or_default(), &rows[..]);
                    differing.extend(files.every_row(shape, &closed_rows::in_order(events, rows), knowledge));
                }
                (Some(wanted), None) => differing.extend(files.every_event(shape, wanted, knowledge)),
                (None, None) => {}
            }
        }
        for (name, knowledge) in [("event-time", Knowledge::EventTime), ("as-served", Knowledge::AsServed)] {
            let positions: std::collections::BTreeSet<Option<usize>> =
                case.reads.iter().filter(|read| read.knowledge == name).map(|read| read.position).collect();
            for position in
                positions.into_iter().filter(|one| is_told(knowledge) && (stored != Stored::Sorted || one.is_none()))
            {
                let reads = case.reads.iter().filter(|read| read.knowledge == name && read.position == position);
                differing.extend(files.spine(shape, &reads.collect::<Vec<_>>(), position, knowledge));
            }
        }
    }
    differing
}

impl<'a> Files<'a> {
    fn new(case: &'a Case, stored: Stored) -> Files<'a> {
        let folder = TempDir::new().unwrap();
        let stream = case.project(&case.sql).streams[0].clone();
        let columns: Vec<_> =
            stream.columns.iter().map(|column| (column.name.clone(), column.data_type.clone())).collect();
        let lines: Vec<String> = case.events.iter().map(|event| event.columns.get().replace('\n', " ")).collect();
        let (batch, _) = decode(folder.path(), &columns, &lines);
        let times: Vec<Option<i64>> =
            batch.column(stream.time_column).as_primitive::<TimestampMicrosecondType>().iter().collect();
        let arrivals_us = case.arrivals_us(&times);
        let options = match stored {
            Stored::File => FILE_OPTIONS,
            Stored::Sorted => SORTED_OPTIONS,
            Stored::Live | Stored::Loaded | Stored::Dropped => LOG_OPTIONS,
        };
        // A window of many events has no number of one.
        let sql = if case.closed.is_empty() {
            with_options(&case.sql, options)
        } else {
            with_stream_options(&case.sql, options)
        };
        Files { case, stored, folder, sql, times, arrivals_us }
    }

    /// Stores the first `count` events, and nothing else.
    fn write_events(&self, count: usize) {
        let events = self.case.events[..count].iter().zip(&self.arrivals_us).enumerate();
        let events = events.filter(|(_, (event, _))| !event.is_look());
        let lines = events.clone().map(|(index, (event, arrived_us))| {
            let columns = event.columns.get().trim().replace('\n', " ");
            let inner = columns.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap().to_owned();
            let comma = if inner.trim().is_empty() { "" } else { ", " };
            format!("{{{inner}{comma}\"case_arrived\": {arrived_us}, \"case_event\": {index}}}")
        });
        let lines: Vec<String> = lines.collect();
        let arrivals_us: Vec<i64> = events.map(|(_, (_, arrived_us))| *arrived_us).collect();
        match self.stored {
            Stored::File | Stored::Sorted => {
                std::fs::write(self.folder.path().join("events.jsonl"), lines.join("\n") + "\n").unwrap();
            }
            Stored::Live | Stored::Loaded | Stored::Dropped => {
                self.write_log(&lines, &arrivals_us);
                let until_us = self.arrivals_us[count - 1];
                closed_rows::write_logs(self.case, &self.case.project(&self.sql), self.folder.path(), until_us);
            }
        }
    }

    fn write_log(&self, lines: &[String], arrivals_us: &[i64]) {
        let data_folder = self.data_folder();
        if data_folder.exists() {
            std::fs::remove_dir_all(&data_folder).unwrap();
        }
        let stream = self.case.project(&self.sql).streams[0].clone();
        let verdicts = self.verdicts(&stream, lines, arrivals_us);
        let mut log = StoredLog::create(&data_folder, &stream);
        let mut first = 0;
        // Equal arrival times are one batch; what is loaded arrives at once, at some time that does not count.
        for together in arrivals_us.chunk_by(|one, other| one == other || self.stored == Stored::Loaded) {
            let (before, rows) = (first, first..first + together.len());
            log.append(&Group {
                arrived_us: together[0],
                each_us: (self.stored == Stored::Loaded).then(|| together.to_vec()),
                is_imputed: false,
                rows: lines[rows.clone()].to_vec(),
                verdicts: verdicts[rows.clone()].to_vec(),
            });
            first = rows.end;
            if self.stored == Stored::Dropped && before < lines.len() / 2 && first >= lines.len() / 2 {
                log.log.seal().unwrap();
            }
        }
        log.log.sync().unwrap();
        if let (Stored::Dropped, [older @ .., last]) = (self.stored, &log.log.segments()[..])
            && !older.is_empty()
        {
            write_history_file(&log.disk, &data_folder, &stream, 0, 0..last.first_offset, &mut |_| ()).unwrap();
            assert_eq!(log.log.drop_segments_before(last.first_offset).unwrap(), older.len());
        }
    }

    /// The verdicts on all lines, as a server decides.
    fn verdicts(&self, stream: &Arc<Stream>, lines: &[String], arrivals_us: &[i64]) -> Vec<StoredVerdict> {
        let plan = StreamPlan::new(stream.clone()).unwrap();
        let columns: Vec<_> =
            stream.columns.iter().map(|column| (column.name.clone(), column.data_type.clone())).collect();
        let (batch, unreadable) = decode(self.folder.path(), &columns, lines);
        let rejected = plan.rejected(&batch, unreadable.into_iter().map(|row| (row, String::new())).collect());
        let primary_keys = plan.primary_keys(&batch).unwrap();
        let faced = Faced { partition: 0, batch: &batch, rejected: &rejected, primary_keys: primary_keys.as_ref() };
        let judged = plan.judge(&mut Judge::new(plan.rules()), faced, |row, _| arrivals_us[row]);
        judged.into_iter().map(stored_verdict).collect()
    }

    fn data_folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run(
        &self,
        rows: RowsOf,
        out: &Path,
        knowledge: Knowledge,
        shape: (usize, usize, usize),
        on_error: OnError,
    ) -> Result<Summary, asof_history::HistoryError> {
        let project = self.case.project(&self.sql);
        let (shards, threads, memory_limit_bytes) = shape;
        let job = Job {
            folder: self.folder.path().to_owned(),
            data_folder: self.data_folder(),
            target: Target::View(project.views[0].clone()),
            rows,
            out: out.to_owned(),
            knowledge,
            on_error,
            memory_limit_bytes,
            threads,
            shards: Some(shards),
            stop: Stop::default(),
        };
        asof_history::run(&job, &Silent)
    }

    fn every_event(&self, shape: (usize, usize, usize), wanted: &[Answered], knowledge: Knowledge) -> Vec<String> {
        if self.case.events.is_empty() {
            return Vec::new();
        }
        self.write_events(self.case.events.len());
        let out = self.folder.path().join("out.jsonl");
        let rows = RowsOf::EveryEvent { keep: vec!["case_event".to_owned()] };
        let summary = match self.run(rows, &out, knowledge, shape, OnError::Null) {
            Ok(summary) => summary,
            Err(error) => return vec![format!("every event: {error}")],
        };
        let mut differing = Vec::new();
        let accounting = summary.streams[0].accounting;
        let used = self.case.judged.iter().filter(|verdict| *verdict == "used").count() as u64;
        if !self.case.judged.is_empty()
            && (accounting.used, accounting.total()) != (used, self.case.events.len() as u64)
        {
            differing.push(format!("accounting of the file: {accounting:?}, {used} should be used"));
        }
        let found = read_rows(&out);
        if found.len() != wanted.len() {
            differing.push(format!("every event {}: {} rows, not {}", knowledge.name(), found.len(), wanted.len()));
        }
        let mut left: Vec<&Map<String, Value>> = found.iter().collect();
        for answered in wanted {
            let what = format!("every event {}, event {}", knowledge.name(), answered.event);
            let wanted = without_errors(&answered.expect);
            // By UNION ALL one event may be several rows, in any order: the row that fits best is taken.
            let of_event = (0..left.len()).filter(|place| left[*place]["case_event"] == json!(answered.event));
            let best = of_event.map(|place| (differences(&what, &wanted, left[place], &[]), place));
            match best.min_by_key(|(differing, _)| differing.len()) {
                Some((own, place)) => {
                    differing.extend(own);
                    left.swap_remove(place);
                }
                None => differing.push(format!("every event: no row for event {}", answered.event)),
            }
        }
        differing
    }

    /// The same of a view that sees rows of closed windows, by the order of event times: of one time they may come in any.
    fn every_row(
        &self,
        shape: (usize, usize, usize),
        wanted: &[Map<String, Value>],
        knowledge: Knowledge,
    ) -> Vec<String> {
        if self.case.events.iter().all(Event::is_look) {
            return Vec::new();
        }
        self.write_events(self.case.events.len());
        let out = self.folder.path().join("out.jsonl");
        let summary = match self.run(RowsOf::EveryEvent { keep: Vec::new() }, &out, knowledge, shape, OnError::Null) {
            Ok(summary) => summary,
            Err(error) => return vec![format!("every row: {error}")],
        };
        let project = self.case.project(&self.sql);
        let mut differing = closed_rows::accounts(self.case, &summary);
        let stream = &project.views[0].stream;
        let time = &stream.columns[stream.time_column].name;
        let wanted: Vec<Map<String, Value>> = wanted.iter().map(without_errors).collect();
        let what = format!("every row {}", knowledge.name());
        differing.extend(closed_rows::differences_by_time(&what, &wanted, read_rows(&out), time));
        differing
    }

    fn spine(
        &self,
        shape: (usize, usize, usize),
        reads: &[&Read],
        position: Option<usize>,
        knowledge: Knowledge,
    ) -> Vec<String> {
        let count = position.unwrap_or(self.case.events.len());
        // Where somebody looked at the clock at most, nothing is stored.
        if self.case.events[..count].iter().all(Event::is_look) {
            return Vec::new();
        }
        self.write_events(count);
        let spine = self.folder.path().join("spine.jsonl");
        let line = |(row, read): (usize, &&Read)| {
            let mut line: Map<String, Value> = read.key.clone();
            line.insert("spine_at".to_owned(), json!(instant_us(&read.as_of)));
            line.insert("spine_row".to_owned(), json!(row));
            Value::Object(line).to_string()
        };
        let lines: Vec<String> = reads.iter().enumerate().map(line).collect();
        std::fs::write(&spine, lines.join("\n") + "\n").unwrap();
        let rows = RowsOf::Spine(SpineRows {
            path: spine,
            time_column: "spine_at".to_owned(),
            time_unit: Some(asof_connect::TimeUnit::Microsecond),
            before: false,
        });
        let out = self.folder.path().join("answers.jsonl");
        if let Err(error) = self.run(rows, &out, knowledge, shape, OnError::Null) {
            return vec![format!("spine: {error}")];
        }
        let found = read_rows(&out);
        let numbers: Vec<u64> = found.iter().map(|row| row["spine_row"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..reads.len() as u64).collect::<Vec<_>>(), "the spine's rows in their order");
        let mut differing = Vec::new();
        for (read, row) in reads.iter().zip(&found) {
            let what = format!("spine {:?} as of {} {}", read.key, read.as_of, knowledge.name());
            differing.extend(differences(&what, &without_errors(&read.expect), row, &[]));
        }
        debug_assert_eq!(self.times.len(), self.case.events.len());
        differing
    }
}

/// With `--on-error null` a failing feature is NULL.
fn without_errors(expect: &Map<String, Value>) -> Map<String, Value> {
    let value = |value: &Value| if value.get("error").is_some() { Value::Null } else { value.clone() };
    expect.iter().map(|(name, wanted)| (name.clone(), value(wanted))).collect()
}

fn stored_verdict(verdict: Verdict) -> StoredVerdict {
    match verdict {
        Verdict::Used => StoredVerdict::Used,
        Verdict::Duplicate => StoredVerdict::Duplicate,
        Verdict::Late => StoredVerdict::Late,
        Verdict::Rejected(Rejection::Unreadable) => StoredVerdict::Unreadable,
        Verdict::Rejected(Rejection::NotNull) => StoredVerdict::NotNull,
        Verdict::Rejected(Rejection::Check) => StoredVerdict::Check,
        Verdict::Rejected(Rejection::Future) => StoredVerdict::Future,
    }
}

/// A file of arrivals.
const FILE_OPTIONS: &[&str] = &[
    "connector = 'file'",
    "path = 'events.jsonl'",
    "format = 'jsonl'",
    "order = 'file'",
    "arrival_column = 'case_arrived'",
    "timestamp_unit = 'us'",
];
/// The same in event-time order.
const SORTED_OPTIONS: &[&str] = &[
    "connector = 'file'",
    "path = 'events.jsonl'",
    "format = 'jsonl'",
    "arrival_column = 'case_arrived'",
    "timestamp_unit = 'us'",
];
const LOG_OPTIONS: &[&str] = &["timestamp_unit = 'us'"];

/// The case's SQL with these options of its stream.
fn with_stream_options(sql: &str, options: &[&str]) -> String {
    let (stream, rest) = sql.split_once(";").unwrap();
    let stream = match stream.rfind(" WITH (").or(stream.rfind("\nWITH (")) {
        Some(at) => {
            let own = stream[at + " WITH (".len()..].trim_end().trim_end_matches(')');
            // A file knows no clock to be ahead of, and the refusal of that option has its own test.
            let is_taken = |option: &&str| options == LOG_OPTIONS || !option.trim_start().starts_with("ahead_max");
            let joined = options.iter().copied().chain(own.split(", ").filter(is_taken)).collect::<Vec<_>>().join(", ");
            format!("{} WITH ({joined})", &stream[..at])
        }
        None => format!("{stream} WITH ({})", options.join(", ")),
    };
    format!("{stream};{rest}")
}

/// The same of one which also has the event's number, and passes it on.
fn with_options(sql: &str, options: &[&str]) -> String {
    let sql = with_stream_options(sql, options);
    let (stream, rest) = sql.split_once(";").unwrap();
    let stream = stream.replacen('(', "(case_event BIGINT, ", 1);
    let derived = |statement: &str| match statement.trim_start().starts_with("CREATE STREAM") {
        true => statement.replace("SELECT ", "SELECT case_event, ").replace("SELECT case_event, *", "SELECT *"),
        false => statement.to_owned(),
    };
    format!("{stream};{}", rest.split(';').map(derived).collect::<Vec<_>>().join(";"))
}
