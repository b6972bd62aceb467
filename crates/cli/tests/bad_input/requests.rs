//! A good project, asked wrongly.

use crate::folder::Folder;
use crate::{EVERY_EVENT, SPINE, check_refused};

#[test]
fn what_is_not_there_is_named() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("plan .", "", &["`asof plan` is not supported yet", "`asof --help` lists the commands"]),
        ("rum .", "", &["unknown command `rum`", "did you mean `run`?"]),
        ("histroy .", "", &["unknown command `histroy`", "did you mean `history`?"]),
        ("frobnicate", "", &["unknown command `frobnicate`", "`asof --help`"]),
        ("", "", &["Usage: asof <COMMAND>"]),
        ("check nowhere", "", &["cannot read the project folder `nowhere`"]),
        ("check s.csv", "", &["cannot read the project folder `s.csv`", "name the folder that holds the SQL files"]),
        ("check temporary", "", &["`temporary` holds no `*.sql` file", "a project is a folder with SQL files"]),
        ("history . --view w --every-event --out out.csv", "", &["unknown feature view `w`", "known are `v`"]),
        ("history . --view f --every-event --out out.csv", "", &["unknown feature view `f`", "use `--service f`"]),
        (
            "history . --service ff --spine s.csv --out out.csv",
            "",
            &["unknown feature service `ff`", "did you mean `f`?"],
        ),
        ("history . --service v --spine s.csv --out out.csv", "", &["unknown feature service `v`", "use `--view v`"]),
        (EVERY_EVENT, "--keep amuont", &["stream `e` has no column `amuont` to keep", "did you mean `amount`?"]),
        (
            EVERY_EVENT,
            "--knowledge as-served",
            &["needs the arrival times of stream `e`", "arrival_column = 'arrived'"],
        ),
        (EVERY_EVENT, "--knowledge now", &["invalid value 'now'", "event-time, as-served"]),
        (SPINE, "--time-column when", &["`s.csv` has no column `when`", "it has `k`, `d`, `ts`", "`--time-column`"]),
        (SPINE, "--time-unit h", &["invalid value 'h'", "possible values: s, ms, us, ns"]),
    ];
    check_all(cases);
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("history . --service f --every-event --out out.csv", "", &["`--every-event` answers a view", "use `--view`"]),
        (EVERY_EVENT, "--spine s.csv", &["'--every-event' cannot be used with '--spine <FILE>'"]),
        (EVERY_EVENT, "--service f", &["cannot be used with"]),
        (EVERY_EVENT, "--before", &["'--before'", "cannot be used with"]),
        (EVERY_EVENT, "--time-unit s", &["'--time-unit <UNIT>'", "cannot be used with"]),
        (EVERY_EVENT, "--time-column ts", &["'--time-column <COLUMN>'", "cannot be used with"]),
        (SPINE, "--keep amount", &["'--keep <COLUMN,…>'", "cannot be used with"]),
        ("history . --view v --every-event", "", &["not provided", "--out <FILE>"]),
        ("history . --out out.csv", "", &["not provided", "<--service <SERVICE>|--view <VIEW>>"]),
        (EVERY_EVENT, "--every", &["unexpected argument '--every'"]),
    ];
    check_all(cases);
}

#[test]
fn sizes_and_counts_are_checked() {
    let cases: &[(&str, &str, &[&str])] = &[
        (EVERY_EVENT, "--memory-limit 0", &["`0` is no sensible size"]),
        (EVERY_EVENT, "--memory-limit 2elephants", &["unknown unit `elephants`", "`2GiB`"]),
        (EVERY_EVENT, "--memory-limit 1e3", &["unknown unit `e3`"]),
        (EVERY_EVENT, "--memory-limit=-1", &["write a size as `2GiB`"]),
        (EVERY_EVENT, "--memory-limit 99999999TiB", &["no sensible size"]),
        (EVERY_EVENT, "--threads 0", &["0 is not in 1..=256"]),
        (EVERY_EVENT, "--threads 1000", &["1000 is not in 1..=256"]),
        (EVERY_EVENT, "--threads two", &["invalid value 'two'"]),
    ];
    check_all(cases);
}

#[test]
fn outputs_that_cannot_be_written_are_refused() {
    let folder = Folder::new();
    folder.folder("folder.csv");
    for (out, code, expected) in [
        ("nowhere/out.csv", 2, "cannot write `nowhere/out.csv`: No such file or directory"),
        ("s.csv/out.csv", 2, "cannot write `s.csv/out.csv`: Not a directory"),
        ("folder.csv", 1, "`folder.csv` is a folder, not a file"),
        (
            "out.xlsx",
            1,
            "cannot tell the format of `out.xlsx` from its name\n hint: end it in `.parquet`, `.jsonl` or `.csv`",
        ),
        ("out", 1, "cannot tell the format of `out` from its name"),
    ] {
        check_refused(&folder, &format!("history . --view v --every-event --out {out}"), code, &[expected]);
    }
}

#[test]
fn a_temporary_folder_that_is_not_there_is_the_world_outside() {
    let folder = Folder::new();
    let output = folder.command(EVERY_EVENT).env("TMPDIR", "/nowhere").output().unwrap();
    let said = folder.end(output);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("`/nowhere`") && said.stderr.contains("hint: TMPDIR names"), "{}", said.stderr);
    assert!(!folder.has_output());
}

fn check_all(cases: &[(&str, &str, &[&str])]) {
    let folder = Folder::new();
    for (words, more, expected) in cases {
        check_refused(&folder, &format!("{words} {more}"), 1, expected);
    }
}
