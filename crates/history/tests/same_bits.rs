//! The same request gives the same bytes whatever the order of the input, its format, the number of threads and shards,
//! and whether data waited in memory or on disk. Over the sample of `examples/fraud` (20,000 events with a primary key,
//! repeats of some of them, ties and disorder), a service over three views and a view with ordered features.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::path::{Path, PathBuf};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use asof_connect::{Format, SpineFile, TableWriter};
use asof_definition::{Project, SourceFile};
use asof_history::{Job, Knowledge, OnError, RowsOf, Silent, SpineRows, Stop, Target};
use tempfile::TempDir;

/// A view whose answers follow the order of ties, and one with every kind of accumulator.
const MORE_VIEWS: &str = "
CREATE FEATURE VIEW recent AS
SELECT account_id, array_agg(amount) OVER last3 AS amounts, last_value(merchant_id) OVER last3 AS merchant,
       min_by(country, amount) OVER d7 AS cheap, mode(country) OVER d7 AS usual, median(amount) OVER d7 AS middle,
       count(DISTINCT device_id) OVER d7 AS devices, max(country) OVER d7 AS country, var_pop(amount) OVER d7 AS spread,
       regr_slope(amount, merchant_id) OVER d7 AS slope, corr(amount, device_id) OVER d7 AS together,
       decayed_sum(amount, INTERVAL '5' HOUR) OVER d7 AS lately, decayed_avg(amount, INTERVAL '17' HOUR) OVER d7 AS level,
       histogram(country) OVER d7 AS countries, top_k(merchant_id, 3) OVER d7 AS merchants,
       last_distinct(device_id, 3) OVER d7 AS lately_used, approx_count_distinct(merchant_id) OVER d7 AS about,
       approx_quantile(amount, 0.9) OVER d7 AS high
FROM transactions
WINDOW last3 AS (PARTITION BY account_id ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW),
       d7 AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY PRECEDING AND CURRENT ROW);";

struct Shape {
    threads: usize,
    shards: usize,
    memory_limit_bytes: usize,
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fraud")
}

fn project(events: &str, format: &str) -> Project {
    let text = std::fs::read_to_string(example().join("features.sql")).unwrap();
    let text = text.replace("data/transactions.parquet", events).replace("'parquet'", &format!("'{format}'"));
    let file = SourceFile { name: "features.sql".to_owned(), text: text + MORE_VIEWS };
    asof_definition::check(&[file]).unwrap()
}

fn read_all(path: &Path) -> RecordBatch {
    let mut file = SpineFile::open(path, Format::from_path(path).unwrap(), &[]).unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = file.next_batch().unwrap() {
        batches.push(batch);
    }
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn write(folder: &Path, name: &str, format: Format, batch: &RecordBatch) {
    let writer = TableWriter::create(&folder.join(name), format, batch.schema()).unwrap();
    writer.append(std::slice::from_ref(batch)).unwrap();
    writer.finish().unwrap();
}

/// The rows in another order, the same in every run, with every tenth event sent twice.
fn disordered(batch: &RecordBatch) -> RecordBatch {
    let mut rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
    rows.extend((0..batch.num_rows() as u32).step_by(10));
    rows.sort_by_key(|row| u64::from(*row).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17));
    take_record_batch(batch, &UInt32Array::from(rows)).unwrap()
}

fn answers(folder: &Path, project: &Project, target: Target, every_event: bool, shape: &Shape) -> Vec<String> {
    assert!(project.streams.len() == 1);
    let out = folder.join("out.jsonl");
    let rows = match every_event {
        true => RowsOf::EveryEvent { keep: vec!["amount".to_owned()] },
        false => RowsOf::Spine(SpineRows {
            path: example().join("spine.parquet"),
            time_column: "ts".to_owned(),
            time_unit: None,
            before: true,
        }),
    };
    let job = Job {
        folder: folder.to_owned(),
        data_folder: folder.join(".asof"),
        target,
        rows,
        out: out.clone(),
        knowledge: Knowledge::EventTime,
        on_error: OnError::Fail,
        memory_limit_bytes: shape.memory_limit_bytes,
        threads: shape.threads,
        shards: Some(shape.shards),
        stop: Stop::default(),
    };
    asof_history::run(&job, &Silent).unwrap();
    let text = std::fs::read_to_string(&out).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if every_event {
        lines.sort(); // The order of rows is unspecified.
    }
    lines
}

#[test]
fn order_format_threads_shards_and_memory_change_no_bit() {
    let folder = TempDir::new().unwrap();
    let events = read_all(&example().join("data/transactions.parquet"));
    let disordered = disordered(&events);
    write(folder.path(), "plain.parquet", Format::Parquet, &events);
    write(folder.path(), "disordered.parquet", Format::Parquet, &disordered);
    write(folder.path(), "disordered.jsonl", Format::Jsonl, &disordered);
    write(folder.path(), "disordered.csv", Format::Csv, &disordered);
    let inputs = [
        ("plain.parquet", "parquet"),
        ("disordered.parquet", "parquet"),
        ("disordered.jsonl", "jsonl"),
        ("disordered.csv", "csv"),
    ];
    let shapes = [
        Shape { threads: 1, shards: 1, memory_limit_bytes: 1 << 30 },
        Shape { threads: 2, shards: 64, memory_limit_bytes: 1 << 30 },
        Shape { threads: 3, shards: 16, memory_limit_bytes: 1 },
    ];
    for (what, every_event) in [("fraud_v1", false), ("recent", false), ("recent", true), ("account_activity", true)] {
        let mut first: Option<Vec<String>> = None;
        for (name, format) in inputs {
            for shape in &shapes {
                let project = project(name, format);
                let target = match project.service(what) {
                    Ok(service) => Target::Service(service.clone()),
                    Err(_) => Target::View(project.view(what).unwrap().clone()),
                };
                let found = answers(folder.path(), &project, target, every_event, shape);
                let first = first.get_or_insert_with(|| found.clone());
                assert!(found.len() > 1_000, "{what} answers {} rows", found.len());
                let differing = first.iter().zip(&found).find(|(one, other)| one != other);
                assert!(
                    first.len() == found.len() && differing.is_none(),
                    "{what} from {name} on {} threads, {} shards: {differing:?}",
                    shape.threads,
                    shape.shards,
                );
            }
        }
    }
}
