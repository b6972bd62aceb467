//! Rows of windows that close over joined rows: spines at each position and `--every-event`, in both knowledges, from the log
//! and, where no clock closed a window, from files.

use asof_history::{Knowledge, RowsOf};
use serde_json::{Map, Value, json};

use crate::case::{Case, instant_us};
use crate::closed_rows;
use crate::drawn::made_or_drawn;
use crate::golden::{Stored, cases, without_errors};
use crate::sources::{Arrival, SHAPES, Shape, Sources, Way};

fn check(stored: &Stored<'_>, shape: Shape) -> Vec<String> {
    let every = [Knowledge::EventTime, Knowledge::AsServed].into_iter();
    every.flat_map(|knowledge| every_row(stored, shape, knowledge)).chain(stored.check_reads(shape)).collect()
}

/// `--every-event` of a view over such rows, which are told from each other by their times.
fn every_row(stored: &Stored<'_>, shape: Shape, knowledge: Knowledge) -> Vec<String> {
    let Stored { case, sources, arrivals } = stored;
    let (events, rows) = match knowledge {
        Knowledge::EventTime => (&case.every_event, &case.every_row),
        Knowledge::AsServed => (&case.every_event_as_served, &case.every_row_as_served),
    };
    let Some(rows) = rows.as_ref().filter(|_| stored.has_events(arrivals.len())) else { return Vec::new() };
    stored.store(arrivals.len());
    let (found, summary) = match sources.run(0, RowsOf::EveryEvent { keep: Vec::new() }, knowledge, shape) {
        Ok(found) => found,
        Err(error) => return vec![format!("every row: {error}")],
    };
    let wanted = closed_rows::in_order(events.as_deref().unwrap_or_default(), rows);
    let wanted: Vec<_> = wanted.iter().map(without_errors).collect();
    let stream = &sources.project.views[0].stream;
    let (what, time) = (format!("every row {}", knowledge.name()), &stream.columns[stream.time_column].name);
    let mut differing = closed_rows::accounts(case, &summary);
    differing.extend(closed_rows::differences_by_time(&what, &wanted, found, time));
    differing
}

/// How many cases were checked, and how many of them from files too.
fn check_all(cases: &[Case]) -> (usize, usize) {
    let is_here = |case: &&Case| {
        let is_joined = !case.tables.is_empty() && !case.closed.is_empty();
        is_joined && case.events.iter().all(|event| event.partition == 0)
    };
    let (mut differing, mut checked, mut by_files) = (Vec::new(), 0, 0);
    for case in cases.iter().filter(is_here) {
        // Nor has a file a clock that arrivals could be ahead of.
        let has_no_clock = case.judged.iter().all(|verdict| verdict != "rejected: future");
        let ways = match has_no_clock && closed_rows::are_closed_by_events(case) {
            true => vec![Way::Log, Way::Files],
            false => vec![Way::Log],
        };
        for (number, way) in ways.iter().enumerate() {
            // A log costs some syncs of the disk at each position: shapes differ from case to case.
            let found = check(&Stored::new(case, *way), SHAPES[(case.events.len() + number) % SHAPES.len()]);
            differing.extend(found.into_iter().map(|one| format!("{} {way:?}: {one}", case.name)));
        }
        checked += 1;
        by_files += ways.len() - 1;
    }
    let shown = differing.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(differing.is_empty(), "{} differences:\n{shown}", differing.len());
    (checked, by_files)
}

#[test]
fn as_served_a_row_is_there_with_the_versions_that_it_has() {
    let sql = "
        CREATE STREAM s (id BIGINT, k BIGINT, ts TIMESTAMP NOT NULL, PRIMARY KEY (id), WATERMARK FOR ts AS ts);
        CREATE TABLE plans (k BIGINT, plan BIGINT, at TIMESTAMP NOT NULL, PRIMARY KEY (k), WATERMARK FOR at AS at);
        CREATE STREAM j AS SELECT s.k, p.plan, s.ts FROM s LEFT JOIN plans FOR SYSTEM_TIME AS OF s.ts AS p ON p.k = s.k;
        CREATE STREAM d AS SELECT k, max(plan) AS plan, window_time
        FROM TABLE(TUMBLE(TABLE j, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY k, window_start, window_end;
        CREATE FEATURE VIEW v AS SELECT k, max(plan) OVER w AS plan, count(*) OVER w AS n
        FROM d WINDOW w AS (PARTITION BY k ORDER BY window_time)";
    // A file in event-time order keeps no window open: the version of 09:00 arrives long after the row would have been made.
    let sources = Sources::unnumbered(sql, Way::ByEventTime);
    let at = |time: &str| instant_us(&json!(format!("2026-01-01T{time}Z")));
    let arrival = |into: Option<&str>, columns: Value, arrived: &str| Arrival {
        into: into.map(str::to_owned),
        columns: columns.as_object().unwrap().clone(),
        arrived_us: at(arrived),
    };
    sources.store(&[
        arrival(Some("plans"), json!({"k": 1, "plan": 7, "at": at("09:00:00")}), "12:00:00"),
        arrival(None, json!({"id": 1, "k": 1, "ts": at("10:00:05")}), "10:00:06"),
        arrival(None, json!({"id": 2, "k": 1, "ts": at("10:01:10")}), "10:01:11"),
    ]);
    let key = Map::from_iter([("k".to_owned(), json!(1))]);
    let spine = [(key.clone(), at("10:30:00")), (key.clone(), at("11:59:59")), (key, at("12:00:00"))];
    let answers = |knowledge| {
        let (rows, _) = sources.run(0, sources.spine(&spine), knowledge, SHAPES[1]).unwrap();
        rows.iter().map(|row| (row["plan"].clone(), row["n"].clone())).collect::<Vec<_>>()
    };
    let (none, whole) = ((Value::Null, json!(0)), (json!(7), json!(1)));
    assert_eq!(answers(Knowledge::EventTime), [whole.clone(), whole.clone(), whole.clone()]);
    assert_eq!(answers(Knowledge::AsServed), [none.clone(), none, whole]);
}

#[test]
fn closed_windows_over_joined_rows_answer_as_the_contract_says() {
    let (checked, _) = check_all(&cases("group_windows.json"));
    assert!(checked >= 1, "{checked}");
}

#[test]
fn random_closed_windows_over_joined_rows_answer_as_the_reference_does() {
    let drawn = made_or_drawn("ASOF_RANDOM_CLOSED_WINDOWS", "random_closed_windows.py", 300, Case::read_all);
    let (checked, by_files) = check_all(&drawn);
    assert!(checked >= 60 && by_files >= 5, "{checked}, {by_files} from files");
}
