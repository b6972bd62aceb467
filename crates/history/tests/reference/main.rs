//! Every case of the reference through the real engine, live and in history, bit for bit.
//!
//! - live, in arrival order; in other batch sizes; with a restart in the middle (a new engine given the log of arrivals
//!   again); with the used events shuffled as far as the case allows;
//! - history, from a file of the case's arrivals and from a log of them: `--every-event` and spines, both knowledges, over
//!   shards, threads and a memory limit that sends everything to disk.
//!
//! Cases: `tests/reference/cases` of the repository, and random ones: those in the JSON files that `ASOF_RANDOM_CASES`,
//! `ASOF_RANDOM_WINDOW_VIEWS` and `ASOF_RANDOM_CLOSED_WINDOWS` name, which the scripts `random_….py` of `tests/reference` wrote, or
//! made anew.
//! Those of streams of closed windows go through history alone: `closed_rows.rs`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may stop where it stands, and says its seed")]

mod case;
mod closed_rows;
mod drawn;
mod from_files;
mod live;
#[path = "../from_log/stored.rs"]
mod stored;

use std::path::{Path, PathBuf};

use case::Case;
use drawn::made_or_drawn;

fn cases_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/cases")
}

fn all_golden_cases() -> Vec<Case> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(cases_folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "json") && !path.ends_with("refusals.json"));
    paths.sort();
    let mut cases: Vec<Case> = paths.iter().flat_map(|path| Case::read_all(path)).collect();
    // That these are refused, and by these words, is a test of the definition's.
    cases.retain(|case| match &case.not_supported_yet {
        // What is being built already, closed windows, is tested ahead of that.
        Some(words) if case.closed.is_empty() => {
            println!("skipped: {}: {words}", case.name);
            false
        }
        Some(_) | None => true,
    });
    // Those with tables are the tests' of `joined_tables`.
    cases.retain(|case| case.tables.is_empty());
    assert!(cases.len() > 80, "the golden cases are there: {}", cases.len());
    cases
}

/// Those without closed windows: of one stream and one view live.
fn golden_cases() -> Vec<Case> {
    let cases = all_golden_cases().into_iter().filter(|case| case.closed.is_empty());
    cases.map(Case::without_looks).collect()
}

/// Those of streams of closed windows, which live are the pipeline's.
fn golden_closed_windows() -> Vec<Case> {
    let cases: Vec<Case> = all_golden_cases().into_iter().filter(|case| !case.closed.is_empty()).collect();
    assert!(cases.len() > 30, "the golden cases of closed windows are there: {}", cases.len());
    cases
}

/// Through files and the log, as far as a way has what decides about the windows.
fn check_closed_windows(cases: &[Case], of_the_log: impl Fn(&Case) -> Vec<String>) {
    let by_events: Vec<&Case> = cases.iter().filter(|case| closed_rows::are_closed_by_events(case)).collect();
    assert!(by_events.len() * 10 > cases.len(), "{} of {} cases need no clock", by_events.len(), cases.len());
    check_all(cases, |case| {
        let mut differing = of_the_log(case);
        if closed_rows::are_closed_by_events(case) {
            differing.extend(from_files::check(case));
            differing.extend(from_files::check_sorted(case).into_iter().map(|one| format!("sorted: {one}")));
        }
        differing
    });
}

/// The cases that the test command made, or, without it, fresh ones of a seed that is printed.
fn random_cases() -> Vec<Case> {
    made_or_drawn("ASOF_RANDOM_CASES", "random_cases.py", 400, Case::read_all)
}

/// The same of feature views over group windows.
fn random_window_views() -> Vec<Case> {
    made_or_drawn("ASOF_RANDOM_WINDOW_VIEWS", "random_window_views.py", 300, Case::read_all)
}

/// The same of views over streams of closed windows, but for those with tables.
fn random_closed_windows() -> Vec<Case> {
    let mut cases = made_or_drawn("ASOF_RANDOM_CLOSED_WINDOWS", "random_closed_windows.py", 300, Case::read_all);
    cases.retain(|case| case.tables.is_empty());
    cases
}

/// Runs `check` on every case and fails with all differences at once.
fn check_all(cases: &[Case], check: impl Fn(&Case) -> Vec<String>) {
    let mut differences = Vec::new();
    for case in cases {
        differences.extend(check(case).into_iter().map(|difference| format!("{}: {difference}", case.name)));
    }
    let shown = differences.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} differences in {} cases:\n{shown}", differences.len(), cases.len());
}

#[test]
fn golden_live_in_arrival_order() {
    check_all(&golden_cases(), live::in_arrival_order);
}

#[test]
fn golden_live_at_earlier_versions() {
    check_all(&golden_cases(), live::at_earlier_versions);
}

#[test]
fn golden_live_with_a_restart() {
    check_all(&golden_cases(), live::with_a_restart);
}

#[test]
fn golden_live_shuffled() {
    check_all(&golden_cases(), live::shuffled);
}

#[test]
fn golden_history() {
    check_all(&golden_cases(), from_files::check);
}

#[test]
fn golden_history_from_the_log() {
    check_all(&golden_cases(), from_files::check_log);
}

#[test]
fn random_live() {
    let cases = random_cases();
    check_all(&cases, live::in_arrival_order);
    check_all(&cases, live::at_earlier_versions);
    check_all(&cases, live::with_a_restart);
    check_all(&cases, live::shuffled);
}

#[test]
fn random_history() {
    check_all(&random_cases(), from_files::check);
}

#[test]
fn random_window_views_live() {
    let cases = random_window_views();
    check_all(&cases, live::in_arrival_order);
    check_all(&cases, live::at_earlier_versions);
    check_all(&cases, live::with_a_restart);
    check_all(&cases, live::shuffled);
}

#[test]
fn random_window_views_history() {
    let cases = random_window_views();
    check_all(&cases, from_files::check);
    check_all(&cases.into_iter().step_by(4).collect::<Vec<_>>(), from_files::check_log_once);
}

#[test]
fn golden_closed_windows_in_history() {
    check_closed_windows(&golden_closed_windows(), from_files::check_log);
}

#[test]
fn random_closed_windows_in_history() {
    check_closed_windows(&random_closed_windows(), from_files::check_log_once);
}

/// Every fourth case: a log for each position that is read takes its syncs.
#[test]
fn random_history_from_the_log() {
    let cases: Vec<Case> = random_cases().into_iter().step_by(4).collect();
    check_all(&cases, from_files::check_log_once);
}
