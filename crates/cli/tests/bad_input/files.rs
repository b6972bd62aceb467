//! Files of events and spines that cannot be read, or not as declared.

use std::fs;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};

use crate::folder::{Folder, column, project};
use crate::{EVERY_EVENT, SPINE, check_refused};

const FORMATS: [&str; 3] = ["parquet", "jsonl", "csv"];
/// 2026-01-01T00:00:00Z.
const START_US: i64 = 1_767_225_600_000_000;

/// The events of `e` as Parquet columns.
fn event_columns() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("id", column(StringArray::from(vec!["a", "b"]))),
        ("k", column(Int64Array::from(vec![1, 1]))),
        ("amount", column(Float64Array::from(vec![1.5, 2.5]))),
        ("n", column(Int64Array::from(vec![1, 2]))),
        ("ts", column(TimestampMicrosecondArray::from(vec![START_US, START_US + 1]))),
    ]
}

/// A service job whose spine is `name`.
fn spine_of(name: &str) -> String {
    SPINE.replace("s.csv", name)
}

#[test]
fn files_that_are_none_are_refused_as_events_and_as_spine() {
    for format in FORMATS {
        let (file, spine) = (format!("e.{format}"), format!("spine.{format}"));
        let folder = Folder::new();
        folder.file("project.sql", project(&file, format, ""));
        if format != "jsonl" {
            check_refused(&folder, EVERY_EVENT, 1, &[&format!("cannot open `./{file}`: No such file"), "hint: "]);
        }
        check_refused(&folder, &spine_of(&spine), 1, &[&format!("cannot open `{spine}`: No such file"), "hint: "]);
        folder.file(&file, "").file(&spine, "");
        check_refused(&folder, EVERY_EVENT, 1, &[&format!("`./{file}` is empty")]);
        check_refused(&folder, &spine_of(&spine), 1, &[&format!("`{spine}` is empty")]);
    }
    let folder = Folder::new();
    for format in FORMATS {
        let name = format!("folder.{format}");
        folder.folder(&name).file("project.sql", project(&name, format, ""));
        check_refused(&folder, EVERY_EVENT, 1, &[&format!("`./{name}` is a folder, not a file")]);
        folder.file("project.sql", project("e.jsonl", "jsonl", ""));
        check_refused(&folder, &spine_of(&name), 1, &[&format!("`{name}` is a folder, not a file")]);
    }
    folder.file("project.sql", project("nowhere/e.csv", "csv", ""));
    check_refused(&folder, EVERY_EVENT, 1, &["cannot open `./nowhere/e.csv`", "there is no folder `./nowhere`"]);
    folder.file("project.sql", project("/dev/null", "csv", ""));
    check_refused(&folder, EVERY_EVENT, 1, &["`/dev/null` is a device or pipe, not a file"]);
    check_refused(&folder, &spine_of("s.txt"), 1, &["cannot tell the format of `s.txt`", "end it in `.parquet`"]);
}

#[test]
fn garbled_and_truncated_files_are_refused() {
    let garbage: Vec<u8> = (0..20_000u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let folder = Folder::new();
    folder.parquet("good.parquet", event_columns());
    let good = fs::read(folder.path().join("good.parquet")).unwrap();
    let mut garbled = good.clone();
    garbled[8..good.len() / 3].fill(0xa5);
    let too_long = [&b"PAR1"[..], &[0x78; 100], b"PAR1"].concat();
    for content in [&garbage, &good[..good.len() / 2].to_vec(), &good[good.len() / 2..].to_vec(), &garbled, &too_long] {
        folder.events("parquet", content).file("spine.parquet", content);
        check_refused(&folder, EVERY_EVENT, 1, &["`./e.parquet` is not a readable Parquet file"]);
        let spine = spine_of("spine.parquet");
        check_refused(&folder, &format!("{spine} --time-column ts"), 1, &["spine.parquet"]);
    }
    // A file of another format than it says.
    folder.events("parquet", "id,k,amount,n,ts\n");
    check_refused(&folder, EVERY_EVENT, 1, &["`./e.parquet` is not a readable Parquet file"]);
    folder.events("csv", &good);
    check_refused(&folder, EVERY_EVENT, 1, &["`./e.csv`"]);
    folder.events("csv", &garbage);
    check_refused(&folder, EVERY_EVENT, 1, &["`./e.csv`"]);
    for name in ["spine.csv", "spine.jsonl"] {
        folder.file(name, &garbage);
        check_refused(&folder, &spine_of(name), 1, &[&format!("`{name}`")]);
    }
}

#[test]
fn columns_must_be_there_once_and_of_a_fitting_type() {
    let folder = Folder::new();
    let without = |name: &str| event_columns().into_iter().filter(|(column, _)| *column != name).collect::<Vec<_>>();
    let with = |name: &'static str, array: ArrayRef| [without(name), vec![(name, array)]].concat();
    folder.file("project.sql", project("e.parquet", "parquet", ""));
    let times = event_columns().pop().unwrap().1;
    for (columns, expected) in [
        (without("k"), "`./e.parquet` has no column `k`"),
        ([without("ts"), vec![("tss", times)]].concat(), "has no column `ts`\n hint: did you mean `tss`?"),
        (
            with("ts", column(BooleanArray::from(vec![true, false]))),
            "column `ts` of `./e.parquet` is BOOLEAN, which cannot be read as TIMESTAMP",
        ),
        (
            with("k", column(BooleanArray::from(vec![true, false]))),
            "column `k` of `./e.parquet` is BOOLEAN, which cannot be read as BIGINT",
        ),
    ] {
        folder.parquet("e.parquet", columns);
        check_refused(&folder, EVERY_EVENT, 1, &[expected]);
    }
    for (header, expected) in [
        ("id,amount,n,ts", "`./e.csv` has no column `k`"),
        ("id,kk,amount,n,tz", "did you mean"),
        ("id;k;amount;n;ts", "hint: it has `id;k;amount;n;ts`"),
        ("id,k,amount,n,ts,k", "`./e.csv` has two columns named `k`"),
    ] {
        folder.events("csv", format!("{header}\n"));
        check_refused(&folder, EVERY_EVENT, 1, &[expected]);
    }
}

#[test]
fn a_spine_is_right_in_every_row_or_refused() {
    let folder = Folder::new();
    for (content, expected) in [
        ("k,d,ts\n1,1,2026-01-01T00:10:00Z\n2,2,\n", "spine `s.csv`, row 2: `ts` is NULL\n hint: every row"),
        ("k,d,ts\n1,1,2026-01-01T00:10:00Z\n2,2,soon\n", "spine `s.csv`, row 2: `ts` is no instant"),
        ("k,d,ts\n1,1,10000-01-01T00:00:00Z\n", "spine `s.csv`, row 1: `ts` is no instant"),
        ("k,d,ts\n1,1,2026-02-30T00:00:00Z\n", "spine `s.csv`, row 1: `ts` is no instant"),
        ("k,d,tz\n1,1,2026-01-01T00:10:00Z\n", "`s.csv` has no column `ts`\n hint: did you mean `tz`?"),
        ("k,ts\n1,2026-01-01T00:10:00Z\n", "`s.csv` has no column `d`\n hint: it has `k`, `ts`"),
        ("k,d,ts\none,1,2026-01-01T00:10:00Z\n", "spine `s.csv`: column `k`: VARCHAR cannot be read as BIGINT"),
        (
            "k,d,ts,c\n1,1,2026-01-01T00:10:00Z,1\n",
            "the spine has a column `c` and so has the output a feature `c`\n hint: rename",
        ),
        ("k,d,ts,d\n1,1,2026-01-01T00:10:00Z,1\n", "`s.csv` has two columns named `d`"),
        ("k,d,ts\n1,1,2026-01-01T00:10:00Z\n1,1\n", "`s.csv`, row 2: expected 3 fields as in the header, found 2"),
        ("k,d,ts\n1,1,1767225600\n", "they look like seconds"),
        ("k,d,ts\n1,1,1767225600000\n", "they look like milliseconds"),
        (
            "k,d,ts\n1,1,2026-01-01T00:10:00Z\n1,0,2026-01-01T00:10:00Z\n",
            "spine `s.csv`, row 2: feature `ratio`: division_by_zero",
        ),
    ] {
        folder.file("s.csv", content);
        check_refused(&folder, SPINE, 1, &[expected]);
    }
    folder.file("s.csv", "k,d,ts\n1,1,9223372036854775807\n");
    check_refused(&folder, &format!("{SPINE} --time-unit s"), 1, &["spine `s.csv`, row 1: `ts` is no instant"]);
    folder.file("s.jsonl", "{\"k\":1,\"d\":1,\"ts\":\"2026-01-01T00:00:00Z\"}\n[]\n");
    check_refused(&folder, &spine_of("s.jsonl"), 1, &["`s.jsonl`, row 2: no JSON object"]);
    folder.file("s.jsonl", format!("{{\"k\":1,\"text\":\"{}\"}}\n", "x".repeat(20 << 20)));
    check_refused(&folder, &spine_of("s.jsonl"), 1, &["`s.jsonl`, row 1: the row is longer than 16 MiB"]);
    folder.parquet(
        "s.parquet",
        vec![
            ("k", column(Int64Array::from(vec![1, 2]))),
            ("d", column(Int64Array::from(vec![1, 2]))),
            ("ts", column(TimestampMicrosecondArray::from(vec![Some(START_US), None]))),
        ],
    );
    check_refused(&folder, &spine_of("s.parquet"), 1, &["spine `s.parquet`, row 2: `ts` is NULL"]);
}

#[test]
fn a_spine_at_the_ends_of_time_is_answered() {
    let folder = Folder::new();
    folder.file("s.csv", "k,d,ts\n1,1,9223372036854775807\n1,1,-9223372036854775808\n1,1,9999-12-31T23:59:59Z\n");
    let refused = folder.run(SPINE);
    assert_eq!(refused.code, Some(1), "numbers and text in one column are text: {}", refused.stderr);
    folder.file("s.csv", "k,d,ts\n1,1,9223372036854775807\n");
    check_refused(&folder, SPINE, 1, &["spine `s.csv`, row 1: `ts` is no instant"]);
    folder.file("s.csv", "k,d,ts\n1,1,9999-12-31T23:59:59.999999Z\n1,1,0001-01-01T00:00:00Z\n");
    let said = folder.run(&format!("{SPINE} --before"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let out = fs::read_to_string(folder.path().join("out.csv")).unwrap();
    let counts: Vec<&str> = out.lines().skip(1).map(|line| line.split(',').nth(3).unwrap()).collect();
    assert_eq!(counts, ["0", "0"], "{out}");
}

#[test]
fn event_times_in_another_unit_are_refused_with_the_unit() {
    let folder = Folder::new();
    for (count, unit) in [(1_767_225_600i64, "seconds"), (1_767_225_600_000, "milliseconds"), (0, "`timestamp_unit`")] {
        folder.events("jsonl", format!("{{\"id\":\"a\",\"k\":1,\"ts\":{count}}}\n"));
        check_refused(&folder, EVERY_EVENT, 1, &["time column `ts` of `./e.jsonl` all fall before 1980", unit]);
        folder.events("csv", format!("id,k,ts\na,1,{count}\n"));
        check_refused(&folder, EVERY_EVENT, 1, &["time column `ts` of `./e.csv` all fall before 1980", unit]);
    }
    folder.parquet(
        "e.parquet",
        vec![
            ("id", column(StringArray::from(vec!["a"]))),
            ("k", column(Int64Array::from(vec![1]))),
            ("ts", column(Int64Array::from(vec![1_767_225_600]))),
        ],
    );
    folder.file("project.sql", project("e.parquet", "parquet", ""));
    check_refused(&folder, EVERY_EVENT, 1, &["time column `ts` of `./e.parquet`", "`timestamp_unit = 's'`"]);
    folder.file("project.sql", project("e.parquet", "parquet", ", timestamp_unit = 's'"));
    let said = folder.run(EVERY_EVENT);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
}

#[test]
fn streams_of_which_nothing_is_stored_are_refused_by_name() {
    let folder = Folder::new();
    let sql = project("e.jsonl", "jsonl", "");
    folder.file("project.sql", sql.replace(" WITH (connector = 'file', path = 'e.jsonl', format = 'jsonl')", ""));
    let said = ["nothing is stored of stream `e` yet", "`asof run` stores", "`asof ingest e FILE`", "`--data-dir`"];
    for (words, data_folder) in [("", "./.asof"), (" --data-dir elsewhere", "elsewhere")] {
        let place = format!("`{data_folder}` has no events of it");
        check_refused(&folder, &format!("{EVERY_EVENT}{words}"), 1, &[&said[..], &[&place]].concat());
    }
    folder.file("asof.toml", "[storage]\ndata_dir = \"kept\"\n");
    check_refused(&folder, EVERY_EVENT, 1, &["`./kept` has no events of it"]);
}

/// History reads what is there now; who appends goes on.
#[test]
fn followed_files_are_read_as_they_stand() {
    let folder = Folder::new();
    folder.file("project.sql", project("e.jsonl", "jsonl", ", follow = true"));
    let said = folder.run(EVERY_EVENT);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.contains("e: 2 events in = 2 used"), "{}", said.stderr);
}
