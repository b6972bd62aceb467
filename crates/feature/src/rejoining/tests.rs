//! What is kept of a change between the log and the views.

use arrow::array::{AsArray, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Int64Type};
use asof_definition::{Project, SourceFile, check};
use asof_window::Lateness;

use super::*;
use crate::arrivals::{Arrivals, ArrivedAt};
use crate::online_table::OnlineTable;
use crate::stream::{Faced, StreamPlan};
use crate::versioned_table::VersionedTable;
use crate::view::ViewPlan;

const SQL: &str = "
CREATE STREAM tx (k BIGINT, amount BIGINT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '1' DAY);
CREATE TABLE rates (k BIGINT, rate BIGINT, at TIMESTAMP NOT NULL, PRIMARY KEY (k),
  WATERMARK FOR at AS at - INTERVAL '1' DAY);
CREATE FEATURE VIEW v AS SELECT t.k, sum(t.amount / r.rate) OVER w AS shares
FROM tx AS t LEFT JOIN rates FOR SYSTEM_TIME AS OF t.ts AS r ON r.k = t.k
WINDOW w AS (PARTITION BY t.k ORDER BY t.ts);
";
const ROWS: usize = KEPT_ROWS + 3 * STEP_ROWS;

fn arrivals<'a>(batch: &'a RecordBatch, offsets: &'a [u64]) -> Arrivals<'a> {
    let faced = Faced { partition: 0, batch, rejected: &[], primary_keys: None };
    Arrivals { faced, arrived_us: ArrivedAt::All(1), offsets, lateness: Lateness::Applied, used_before: &[], fed: None }
}

fn batch(stream: &asof_definition::Stream, rows: usize, value: i64) -> RecordBatch {
    let column = |value: i64| Arc::new(Int64Array::from(vec![value; rows])) as ArrayRef;
    let times = Arc::new(TimestampMicrosecondArray::from_iter_values(0..rows as i64));
    RecordBatch::try_new(stream.schema(), vec![column(1), column(value), times]).unwrap()
}

fn stream(project: &Project) -> (OnlineStream, Arc<OnlineView>) {
    let plan = StreamPlan::new(project.streams[0].clone()).unwrap();
    let view = Arc::new(OnlineView::new(ViewPlan::new(project.views[0].clone()).unwrap(), 2).unwrap());
    (OnlineStream::new(plan.clone(), plan.file_rules(), &[], vec![view.clone()]), view)
}

/// A version that changes all that is held; gives what is kept of it: rows with what they bring, rows for later, details.
fn check_kept(rate: i64, expected: (usize, usize, usize), shares: Option<i64>) {
    let project = check(&[SourceFile { name: "p.sql".to_owned(), text: SQL.to_owned() }]).unwrap();
    let (mut stream, view) = stream(&project);
    let versions = VersionedTable::joined_by(&project.tables[0], &[], &project.views).unwrap();
    let plan = StreamPlan::of_table(&project.tables[0]).unwrap();
    let mut tables = [OnlineTable::new(versions, plan.clone(), plan.file_rules(), Vec::new())];
    let settled = [Settled { version: Version(0), floor_us: None, coming_from_us: None }];
    let offsets: Vec<u64> = (0..ROWS as u64).collect();
    let events = batch(&project.streams[0], ROWS, 6);
    let prepared = stream.prepare(arrivals(&events, &offsets), &Tables::live(&tables)).unwrap();
    stream.take_in(&prepared, Version(1), &settled).unwrap();
    let version = batch(&project.tables[0].versions, 1, rate);
    let changes = tables[0].prepare(arrivals(&version, &[0])).unwrap().changes;
    let rejoined = stream.prepare_rejoined(&changes, &Tables::live(&tables)).unwrap();
    assert_eq!(rejoined.row_count(), ROWS);
    let rows_of = |is_one: fn(&Change) -> bool| -> usize {
        rejoined.steps.iter().filter(|step| is_one(&step.change)).map(|step| step.offsets.len()).sum()
    };
    let moves = rows_of(|change| matches!(change, Change::Moves(..)));
    let later = rows_of(|change| matches!(change, Change::Later(_)));
    let all = || rejoined.steps.iter().flat_map(RejoinedRows::all_set_aside).flatten();
    assert_eq!((moves, later, all().filter(|one| !one.detail.is_empty()).count()), expected);
    stream.take_in_rejoined(&rejoined, &Tables::live(&tables), Version(2), &settled).unwrap();
    let key = [Arc::new(Int64Array::from(vec![1])) as ArrayRef];
    let answers = view.read(&key, &[ROWS as i64], Version(2)).unwrap();
    let found = arrow::compute::cast(&answers.features[0], &DataType::Int64).unwrap();
    assert_eq!(found.as_primitive::<Int64Type>(), &Int64Array::from(vec![shares]));
}

/// What rows bring is kept up to a bound, and all of them are changed.
#[test]
fn one_version_keeps_no_more_than_its_bound() {
    check_kept(2, (KEPT_ROWS, ROWS - KEPT_ROWS, 0), Some(3 * ROWS as i64));
}

/// Rows that fail leave: of some the detail is kept, of further steps one each.
#[test]
fn details_of_failures_have_a_bound() {
    check_kept(0, (KEPT_ROWS, ROWS - KEPT_ROWS, STEP_ROWS + 6), None);
}
