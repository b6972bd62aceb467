//! Rows of closed windows for history: their log as a server writes it, from what the reference says has closed, and how the
//! answers of `--every-event` are compared with theirs.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use asof_connect::{StoredBatch, StoredVerdict};
use asof_definition::{Project, Stream};
use asof_feature::WindowStream;
use asof_history::Summary;
use serde_json::{Map, Value, json};

use crate::case::{Answered, AnsweredRow, Case, Closed, Event, decode, differences, instant_us};
use crate::stored::StoredLog;

/// Writes the logs of all streams of closed windows, up to an instant of arrival in microseconds.
pub(crate) fn write_logs(case: &Case, project: &Project, folder: &Path, until_us: i64) {
    for (name, closed) in &case.closed {
        let stream = project.derived.iter().find(|stream| stream.name == *name).unwrap();
        let form = WindowStream::new(stream.clone(), 1).unwrap().stored_form();
        let mut log = StoredLog::create(&folder.join("data"), &form);
        let closed: Vec<&Closed> = closed.iter().collect();
        let mut ranks = 0..;
        for together in closed.chunk_by(|one, other| one.at == other.at) {
            let arrived_us = instant_us(&together[0].at);
            let rows: Vec<&Closed> = together.iter().copied().filter(|one| one.row.is_some()).collect();
            let lines: Vec<String> = rows.iter().zip(&mut ranks).map(|(one, rank)| line(stream, one, rank)).collect();
            if rows.is_empty() || arrived_us > until_us {
                continue;
            }
            let batch = decoded(folder, stream, &lines);
            let times = batch.column(stream.time_column).as_primitive::<TimestampMicrosecondType>();
            let watermark_us = times.values().iter().max().map(|last_us| last_us + 1);
            // First the clock alone went on, as far as is not known.
            log.append_batch(&frame(batch.slice(0, 0), vec![StoredVerdict::Clock], None), arrived_us);
            let verdicts = vec![StoredVerdict::Used; batch.num_rows()];
            log.append_batch(&frame(batch, verdicts, watermark_us), arrived_us);
        }
        log.log.sync().unwrap();
    }
}

fn frame(used: RecordBatch, verdicts: Vec<StoredVerdict>, watermark_us: Option<i64>) -> StoredBatch {
    let (dead, producers) = (Vec::new(), Vec::new());
    StoredBatch {
        verdicts,
        arrived: None,
        arrived_is_imputed: false,
        watermark_us,
        origin: None,
        used,
        dead,
        producers,
    }
}

fn decoded(folder: &Path, stream: &Stream, lines: &[String]) -> RecordBatch {
    let columns = stream.columns.iter().map(|column| (column.name.clone(), column.data_type.clone()));
    let (batch, unreadable) = decode(folder, &columns.collect::<Vec<_>>(), lines);
    assert!(unreadable.is_empty(), "rows that a server made can be read: {lines:?}");
    RecordBatch::try_new(stream.schema(), batch.columns().to_vec()).unwrap()
}

/// A row with the columns that SQL cannot name. Parts of the key that are not selected are made up in the same order.
fn line(stream: &Arc<Stream>, closed: &Closed, rank: usize) -> String {
    let mut row = closed.row.clone().unwrap();
    let columns = &stream.derivation().unwrap().inputs[0].columns;
    let named = stream.named_columns().len();
    for place in named..stream.columns.len() {
        let selected = (0..named).find(|one| columns[*one].expression == columns[place].expression);
        let value = match (selected, &stream.columns[place].data_type) {
            _ if place == stream.time_column => closed.time.clone().unwrap(),
            (Some(one), _) => row[&stream.columns[one].name].clone(),
            (None, DataType::Int64) => json!(rank),
            (None, DataType::Utf8) => json!(format!("{rank:06}")),
            (None, other) => panic!("a part of a key of type {other} is not selected"),
        };
        row.insert(stream.columns[place].name.clone(), value);
    }
    Value::Object(row).to_string()
}

/// Whether events and versions alone closed all windows of a case, as where they come from a file: no clock had a part in it.
pub(crate) fn are_closed_by_events(case: &Case) -> bool {
    let project = case.project(&case.sql);
    let times = times_us(case, &project);
    let arrivals_us = case.arrivals_us(&times);
    let passed_us = |source: &Arc<Stream>, last_us: i64| {
        let own = |event: &Event| {
            event.into.as_ref().map_or(source.name == project.streams[0].name, |into| *into == source.name)
        };
        let used = (0..case.events.len()).filter(|place| case.judged[*place] == "used" && own(&case.events[*place]));
        let mut newer =
            used.filter(|place| times[*place].is_some_and(|time_us| time_us - source.lateness_us > last_us));
        newer.next().map(|place| arrivals_us[place])
    };
    let by_events = |(name, closed): (&String, &Closed)| {
        let stream = project.derived.iter().find(|stream| stream.name == *name).unwrap();
        closed.time.as_ref().map(instant_us).is_none_or(|last_us| {
            let passed: Option<Vec<i64>> = stream.closed_by().iter().map(|source| passed_us(source, last_us)).collect();
            passed.and_then(|passed| passed.into_iter().max()) == Some(instant_us(&closed.at))
        })
    };
    let mut closed = case.closed.iter().flat_map(|(name, closed)| closed.iter().map(move |one| (name, one)));
    case.too_late.values().all(Vec::is_empty) && closed.all(by_events)
}

/// The event times of all arrivals, in microseconds; `None` of one that cannot be read, and of looks at the clock.
fn times_us(case: &Case, project: &Project) -> Vec<Option<i64>> {
    let declared = |event: &Event| match &event.into {
        None => Some(project.streams[0].clone()),
        Some(into) => project.tables.iter().find(|table| table.name() == into).map(|table| table.versions.clone()),
    };
    let folder = tempfile::TempDir::new().unwrap();
    let time_us = |event: &Event| {
        let declared = declared(event)?;
        let time = &declared.columns[declared.time_column];
        let line = event.columns.get().replace('\n', " ");
        let (batch, _) = decode(folder.path(), &[(time.name.clone(), time.data_type.clone())], &[line]);
        batch.column(0).as_primitive::<TimestampMicrosecondType>().iter().next().flatten()
    };
    case.events.iter().map(time_us).collect()
}

/// The answers of events and of rows in the order of event times.
pub(crate) fn in_order(events: &[Answered], rows: &[AnsweredRow]) -> Vec<Map<String, Value>> {
    let mut events = events.iter();
    let mut rows = rows.iter().peekable();
    let mut answers = Vec::new();
    loop {
        let next = match rows.next_if(|row| row.row == answers.len()) {
            Some(row) => Some(&row.expect),
            None => events.next().map(|event| &event.expect),
        };
        match next {
            Some(expect) => answers.push(expect.clone()),
            None => break,
        }
    }
    assert!(rows.next().is_none(), "each answer has its place");
    answers
}

/// Differences of answers in the order of event times from rows in any: of one time the one that fits best is taken.
pub(crate) fn differences_by_time(
    what: &str,
    wanted: &[Map<String, Value>],
    mut found: Vec<Map<String, Value>>,
    time: &str,
) -> Vec<String> {
    if wanted.len() != found.len() {
        return vec![format!("{what}: {} rows, not {}", found.len(), wanted.len())];
    }
    found.sort_by_key(|row| instant_us(&row[time]));
    let (mut differing, mut first) = (Vec::new(), 0);
    for together in found.chunk_by(|one, other| one[time] == other[time]) {
        let mut left: Vec<&Map<String, Value>> = together.iter().collect();
        for (place, wanted) in wanted[first..first + together.len()].iter().enumerate() {
            let what = format!("{what}, answer {} at {}", first + place, together[0][time]);
            let fits = left.iter().enumerate().map(|(place, row)| (differences(&what, wanted, row, &[]), place));
            let (own, best) = fits.min_by_key(|(differing, _)| differing.len()).unwrap();
            differing.extend(own);
            left.swap_remove(best);
        }
        first += together.len();
    }
    differing
}

/// Every row that was made is counted as used, and nothing else.
pub(crate) fn accounts(case: &Case, summary: &Summary) -> Vec<String> {
    let mut differing = Vec::new();
    for stream in &summary.streams {
        let Some(closed) = case.closed.get(&stream.name) else { continue };
        let rows = closed.iter().filter(|one| one.row.is_some()).count() as u64;
        if (stream.accounting.used, stream.accounting.total()) != (rows, rows) {
            differing.push(format!("rows of `{}`: {:?}, not {rows}", stream.name, stream.accounting));
        }
    }
    differing
}
