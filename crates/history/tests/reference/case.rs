//! A case as the reference writes it, and how its values are compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use asof_connect::{EventFile, Format, TableWriter, TimeUnit, Wanted, WantedColumn};
use asof_definition::{Project, SourceFile};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) sql: String,
    pub(crate) events: Vec<Event>,
    #[serde(default)]
    pub(crate) judged: Vec<String>,
    #[serde(default)]
    pub(crate) set_aside: Vec<usize>,
    #[serde(default)]
    pub(crate) reads: Vec<Read>,
    pub(crate) every_event: Option<Vec<Answered>>,
    pub(crate) every_event_as_served: Option<Vec<Answered>>,
    #[serde(default)]
    pub(crate) stream: Value,
    #[serde(default)]
    pub(crate) tables: Map<String, Value>,
    /// The windows of derived streams that have closed, in the order in which they did.
    #[serde(default)]
    pub(crate) closed: BTreeMap<String, Vec<Closed>>,
    /// The used events that came too late for a window.
    #[serde(default)]
    pub(crate) too_late: BTreeMap<String, Vec<usize>>,
    pub(crate) every_row: Option<Vec<AnsweredRow>>,
    pub(crate) every_row_as_served: Option<Vec<AnsweredRow>>,
    /// The words by which the definition refuses a construct that is not built yet.
    pub(crate) not_supported_yet: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) columns: Box<RawValue>,
    /// The table that it is a version of, or `clock` for a look at that; `None` for an event of the stream.
    pub(crate) into: Option<String>,
    #[serde(default)]
    pub(crate) partition: u32,
    pub(crate) arrived: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Read {
    pub(crate) key: Map<String, Value>,
    pub(crate) as_of: Value,
    pub(crate) position: Option<usize>,
    #[serde(default = "event_time")]
    pub(crate) knowledge: String,
    pub(crate) expect: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Answered {
    pub(crate) event: usize,
    pub(crate) expect: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Closed {
    pub(crate) at: Value,
    /// Absent where a column failed.
    pub(crate) time: Option<Value>,
    pub(crate) row: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AnsweredRow {
    /// Its place among the answers.
    pub(crate) row: usize,
    pub(crate) expect: Map<String, Value>,
}

impl Event {
    /// Whether somebody looks at the clock, and nothing arrives.
    pub(crate) fn is_look(&self) -> bool {
        self.into.as_deref() == Some("clock")
    }
}

fn event_time() -> String {
    "event-time".to_owned()
}

impl Case {
    pub(crate) fn read_all(path: &Path) -> Vec<Case> {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut cases: Vec<Case> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        cases.iter_mut().for_each(|case| case.name = format!("{file}/{}", case.name));
        cases
    }

    /// The same without looks at the clock: nothing arrives by one, and to a feature view it tells nothing.
    pub(crate) fn without_looks(mut self) -> Case {
        let is_look: Vec<bool> = self.events.iter().map(Event::is_look).collect();
        let before = |place: usize| is_look[..place].iter().filter(|is_look| **is_look).count();
        for place in self.reads.iter_mut().filter_map(|read| read.position.as_mut()).chain(&mut self.set_aside) {
            *place -= before(*place);
        }
        for answered in self.every_event.iter_mut().chain(&mut self.every_event_as_served).flatten() {
            answered.event -= before(answered.event);
        }
        self.events.retain(|event| !event.is_look());
        self.judged.retain(|verdict| verdict != "clock");
        self
    }

    pub(crate) fn project(&self, sql: &str) -> Project {
        let file = SourceFile { name: "case.sql".to_owned(), text: sql.to_owned() };
        asof_definition::check_ahead(&[file]).unwrap_or_else(|errors| panic!("{}: {}\n{sql}", self.name, errors[0]))
    }

    /// Arrival times in microseconds: given, or else the event time, never decreasing. Taken from the reference's rule.
    pub(crate) fn arrivals_us(&self, times: &[Option<i64>]) -> Vec<i64> {
        let mut arrived_us = None;
        let arrivals = self.events.iter().zip(times).map(|(event, own)| {
            let given = event.arrived.as_ref().map(instant_us).or(*own);
            arrived_us = arrived_us.max(given);
            arrived_us.unwrap_or(0)
        });
        arrivals.collect()
    }
}

/// RFC 3339 text or whole microseconds.
pub(crate) fn instant_us(value: &Value) -> i64 {
    match value {
        Value::Number(number) => number.as_i64().unwrap(),
        other => {
            let column: ArrayRef = Arc::new(arrow::array::StringArray::from(vec![other.as_str().unwrap()]));
            let timestamp = arrow::datatypes::DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
            let (converted, failed) = asof_connect::convert(&column, &timestamp, None).unwrap();
            assert!(failed.is_empty(), "{other} is an instant");
            arrow::array::AsArray::as_primitive::<arrow::datatypes::TimestampMicrosecondType>(&converted).value(0)
        }
    }
}

/// JSON objects as typed columns, by the same decoder that files have; unreadable rows beside.
pub(crate) fn decode(
    folder: &Path,
    columns: &[(String, arrow::datatypes::DataType)],
    lines: &[String],
) -> (RecordBatch, Vec<usize>) {
    let wanted = Wanted {
        columns: columns
            .iter()
            .map(|(name, data_type)| WantedColumn { name: name.clone(), data_type: data_type.clone() })
            .collect(),
        time_unit: Some(TimeUnit::Microsecond),
    };
    let path = folder.join("decoded.jsonl");
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    let mut file = EventFile::open(&path, Format::Jsonl, &wanted).unwrap();
    let decoder = file.decoder();
    let mut found = None;
    while let Some(piece) = file.next_piece().unwrap() {
        decoder
            .decode(piece, &mut |decoded| {
                assert!(found.is_none(), "a case fits one batch");
                found = Some((decoded.batch, decoded.unreadable.iter().map(|one| one.row).collect()));
                Ok::<_, asof_connect::ConnectError>(())
            })
            .unwrap();
    }
    found.unwrap()
}

/// Rows of columns as JSON objects, written by the same encoder that outputs have.
pub(crate) fn rows(folder: &Path, batch: &RecordBatch) -> Vec<Map<String, Value>> {
    if batch.num_rows() == 0 {
        return Vec::new();
    }
    let path = folder.join("rows.jsonl");
    let writer = TableWriter::create(&path, Format::Jsonl, batch.schema()).unwrap();
    writer.append(std::slice::from_ref(batch)).unwrap();
    writer.finish().unwrap();
    read_rows(&path)
}

pub(crate) fn read_rows(path: &Path) -> Vec<Map<String, Value>> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Differences of one answer; features in `failed` are errors of the kind beside them.
pub(crate) fn differences(
    what: &str,
    expect: &Map<String, Value>,
    found: &Map<String, Value>,
    failed: &[(String, &'static str)],
) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, wanted) in expect {
        let failure =
            failed.iter().find(|(feature, _)| feature == name).map(|(_, kind)| serde_json::json!({"error": kind}));
        let got = failure.or_else(|| found.get(name).cloned());
        // As text: 3 is not 3.0, and -0.0 is not 0.0.
        let got = got.map_or("(absent)".to_owned(), |got| respelled(got).to_string());
        let wanted = respelled(wanted.clone()).to_string();
        if got != wanted {
            differences.push(format!("{what}: {name}: expected {wanted}, found {got}"));
        }
    }
    differences
}

/// The doubles among the names of a histogram in one spelling: 1e-09 and 1e-9 are both the shortest digits.
fn respelled(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let name = |name: String| match name.parse::<f64>() {
        Ok(double) if name.contains(['.', 'e']) && double.is_finite() => format!("{double:e}"),
        _ => name,
    };
    Value::Object(members.into_iter().map(|(written, count)| (name(written), count)).collect())
}
