//! A case through history: its arrivals as a JSONL file taken in its own order, `--every-event` and spines, in several
//! shapes of shards, threads and memory.

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use asof_history::{Job, Knowledge, OnError, RowsOf, Silent, SpineRows, Stop, Summary, Target};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::case::{Answered, Case, Read, decode, differences, instant_us, read_rows};

/// Shards, threads and memory: all must give the same bits.
const SHAPES: &[(usize, usize, usize)] = &[(1, 1, 1 << 30), (4, 2, 1 << 30), (8, 2, 1)];

struct Files<'a> {
    case: &'a Case,
    folder: TempDir,
    sql: String,
    times: Vec<Option<i64>>,
    arrivals_us: Vec<i64>,
}

pub(crate) fn check(case: &Case) -> Vec<String> {
    // A file has one partition and no clock that events could be ahead of.
    let one_partition = case.events.iter().all(|event| event.partition == 0);
    if !one_partition || case.judged.iter().any(|verdict| verdict == "rejected: future") {
        return Vec::new();
    }
    let files = Files::new(case);
    let mut differing = Vec::new();
    for &shape in SHAPES {
        for (wanted, knowledge) in
            [(&case.every_event, Knowledge::EventTime), (&case.every_event_as_served, Knowledge::AsServed)]
        {
            if let Some(wanted) = wanted {
                differing.extend(files.every_event(shape, wanted, knowledge));
            }
        }
        for (name, knowledge) in [("event-time", Knowledge::EventTime), ("as-served", Knowledge::AsServed)] {
            let positions: std::collections::BTreeSet<Option<usize>> =
                case.reads.iter().filter(|read| read.knowledge == name).map(|read| read.position).collect();
            for position in positions {
                let reads = case.reads.iter().filter(|read| read.knowledge == name && read.position == position);
                differing.extend(files.spine(shape, &reads.collect::<Vec<_>>(), position, knowledge));
            }
        }
    }
    differing
}

impl<'a> Files<'a> {
    fn new(case: &'a Case) -> Files<'a> {
        let folder = TempDir::new().unwrap();
        let stream = case.project(&case.sql).views[0].stream.clone();
        let columns: Vec<_> =
            stream.columns.iter().map(|column| (column.name.clone(), column.data_type.clone())).collect();
        let lines: Vec<String> = case.events.iter().map(|event| event.columns.get().replace('\n', " ")).collect();
        let (batch, _) = decode(folder.path(), &columns, &lines);
        let times: Vec<Option<i64>> =
            batch.column(stream.time_column).as_primitive::<TimestampMicrosecondType>().iter().collect();
        let arrivals_us = case.arrivals_us(&times);
        Files { case, folder, sql: over_a_file(&case.sql), times, arrivals_us }
    }

    fn write_events(&self, count: usize) {
        let lines =
            self.case.events[..count].iter().zip(&self.arrivals_us).enumerate().map(|(index, (event, arrived_us))| {
                let columns = event.columns.get().trim().replace('\n', " ");
                let inner = columns.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap().to_owned();
                let comma = if inner.trim().is_empty() { "" } else { ", " };
                format!("{{{inner}{comma}\"case_arrived\": {arrived_us}, \"case_event\": {index}}}")
            });
        std::fs::write(self.folder.path().join("events.jsonl"), lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
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
        for answered in wanted {
            let Some(row) = found.iter().find(|row| row["case_event"] == json!(answered.event)) else {
                differing.push(format!("every event: no row for event {}", answered.event));
                continue;
            };
            let what = format!("every event {}, event {}", knowledge.name(), answered.event);
            differing.extend(differences(&what, &without_errors(&answered.expect), row, &[]));
        }
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
        if count == 0 {
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

/// The case's SQL with its stream read from a file of arrivals that also has the event's number.
fn over_a_file(sql: &str) -> String {
    let options = "connector = 'file', path = 'events.jsonl', format = 'jsonl', order = 'file', \
                   arrival_column = 'case_arrived', timestamp_unit = 'us'";
    let (stream, rest) = sql.split_once(";").unwrap();
    let stream = match stream.rfind(" WITH (").or(stream.rfind("\nWITH (")) {
        Some(at) => {
            let own = stream[at + " WITH (".len()..].trim_end().trim_end_matches(')');
            // A file knows no clock to be ahead of, and the refusal of that option has its own test.
            let kept = own.split(", ").filter(|option| !option.trim_start().starts_with("ahead_max"));
            let joined = std::iter::once(options).chain(kept).collect::<Vec<_>>().join(", ");
            format!("{} WITH ({joined})", &stream[..at])
        }
        None => format!("{stream} WITH ({options})"),
    };
    let stream = stream.replacen('(', "(case_event BIGINT, ", 1);
    format!("{stream};{rest}")
}
