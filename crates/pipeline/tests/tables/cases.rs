//! The golden cases of tables and of windows that close, live: one batch after the other over the door, with restarts between any
//! two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use asof_pipeline::{Clock, DeadLetterQuery, Engine, Receipt, Steps};
use serde_json::{Map, Value, json};

use crate::drawn::made_or_drawn;
use crate::values::{instant_us, read, with_texts};
use crate::world::{World, checkpoint, send, source_of};

struct Case {
    name: String,
    sql: String,
    events: Vec<Event>,
    judged: Vec<String>,
    set_aside: Vec<usize>,
    /// By stream of windows.
    windows: BTreeMap<String, Windows>,
    reads: Vec<Read>,
    every_event: Vec<(usize, Map<String, Value>)>,
    /// When rows of windows have their event times, in microseconds.
    row_times_us: Vec<i64>,
}

/// What becomes of a stream of windows.
struct Windows {
    rows: u64,
    rows_set_aside: u64,
    too_late: Vec<usize>,
}

struct Event {
    /// `None` is the first stream.
    into: Option<String>,
    /// Nothing comes, and somebody looks at the clock.
    is_look: bool,
    columns: Map<String, Value>,
    arrived_us: i64,
}

struct Read {
    key: Map<String, Value>,
    as_of_us: i64,
    /// How many arrivals are known.
    known: usize,
    expect: Map<String, Value>,
}

/// What happens between two arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    /// An orderly end with a checkpoint.
    OrderlyRestart,
    /// The process is killed. A checkpoint is taken behind so many arrivals, and no other.
    Kill {
        checkpoint_behind: usize,
    },
}

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/cases").join(file)
}

fn cases(path: &Path) -> Vec<Case> {
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    // The log has one partition.
    let is_here =
        |case: &&Value| list(&case["events"]).iter().all(|event| event["partition"].as_i64().unwrap_or(0) == 0);
    cases.iter().filter(is_here).map(Case::of).collect()
}

fn list(json: &Value) -> &[Value] {
    json.as_array().map_or(&[], |list| list)
}

fn object(json: &Value) -> Map<String, Value> {
    json.as_object().unwrap().clone()
}

impl Case {
    fn of(json: &Value) -> Case {
        let sql = json["sql"].as_str().unwrap().to_owned();
        let world = World::new(0, &sql);
        let mut arrived_us = None;
        let event = |event: &Value| {
            let is_look = event["into"] == "clock";
            let into = event["into"].as_str().filter(|_| !is_look).map(str::to_owned);
            let declared = match &into {
                Some(name) => &world.project.table(name).unwrap().versions,
                None => &world.project.streams[0],
            };
            let own = event["columns"].get(&declared.columns[declared.time_column].name).filter(|own| !own.is_null());
            arrived_us = arrived_us.max(event.get("arrived").or(own).map(instant_us));
            let columns = object(&event["columns"]);
            Event { into, is_look, columns, arrived_us: arrived_us.unwrap_or_default() }
        };
        let events: Vec<Event> = list(&json["events"]).iter().map(event).collect();
        let reads = list(&json["reads"]).iter().map(|read| Read::of(read, &events)).collect();
        let every_event = list(&json["every_event"]).iter();
        let windows = json["closed"].as_object().into_iter().flatten().map(|(name, closed)| {
            let is_row = |one: &&Value| one.get("row").is_some();
            let rows = list(closed).iter().filter(is_row).count() as u64;
            let too_late = list(&json["too_late"][name]).iter().map(|at| at.as_u64().unwrap() as usize).collect();
            (name.clone(), Windows { rows, rows_set_aside: list(closed).len() as u64 - rows, too_late })
        });
        let rows = json["closed"].as_object().into_iter().flat_map(|streams| streams.values()).flat_map(list);
        Case {
            row_times_us: rows.filter_map(|row| row.get("time").map(instant_us)).collect(),
            windows: windows.collect(),
            name: json["name"].as_str().unwrap().to_owned(),
            judged: list(&json["judged"]).iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
            set_aside: list(&json["set_aside"]).iter().map(|one| one.as_u64().unwrap() as usize).collect(),
            every_event: every_event
                .map(|one| (one["event"].as_u64().unwrap() as usize, object(&one["expect"])))
                .collect(),
            sql,
            events,
            reads,
        }
    }

    /// Runs the case, and checks after each arrival, and again after each restart, what is known then. It ends where a restart
    /// has forgotten that somebody had looked at the clock: it closed windows without any row, and what comes now is in time.
    fn check(&self, between: Between) {
        let mut world = World::new(1, &self.sql);
        if !self.windows.is_empty() {
            world.settings.clock = Clock::System;
        }
        let (mut judged, mut at, mut closed) = (Vec::new(), 0, Vec::new());
        let batches = self.batches();
        let lives = if between == Between::Nothing { 1 } else { batches.len() + 1 };
        for life in 0..lives {
            let until = if between == Between::Nothing { batches.len() } else { life };
            let goes_on = world.live(|engine, job| {
                if self.has_forgotten(engine, &closed) {
                    return false;
                }
                self.check_reads(engine, at, between);
                for batch in batches[..until].iter().filter(|batch| batch.start >= at) {
                    judged.extend(self.send(&world, engine, job, batch.clone()));
                    self.check_reads(engine, batch.end, between);
                }
                at = batches[..until].last().map_or(0, |batch| batch.end);
                if at == self.events.len() {
                    self.check_end(engine, &judged);
                }
                let is_orderly = between == Between::OrderlyRestart;
                if is_orderly || between == (Between::Kill { checkpoint_behind: at }) {
                    checkpoint(job);
                }
                closed = closed_before(engine);
                true
            });
            if !goes_on {
                return;
            }
        }
        // Once more, so that the last arrival is behind a restart too.
        world.live(|engine, _| {
            if !self.has_forgotten(engine, &closed) {
                self.check_end(engine, &judged);
            }
        });
    }

    /// Whether windows are not closed that were before, given how far they were. Those with rows always are.
    fn has_forgotten(&self, engine: &Engine, closed: &[(Option<i64>, u64)]) -> bool {
        let now = closed_before(engine);
        for ((_, rows_before), (_, rows)) in closed.iter().zip(&now) {
            assert_eq!(rows, rows_before, "{}: rows are there again", self.name);
        }
        closed.iter().zip(&now).any(|((before_us, _), (now_us, _))| now_us < before_us)
    }

    /// Arrivals at one time are one batch, where windows close behind them.
    fn batches(&self) -> Vec<Range<usize>> {
        let mut batches: Vec<Range<usize>> = Vec::new();
        for (at, event) in self.events.iter().enumerate() {
            let goes_with = |before: &Event| {
                let is_same = before.arrived_us == event.arrived_us && before.into == event.into;
                is_same && !before.is_look && !event.is_look && !self.windows.is_empty()
            };
            match batches.last_mut() {
                Some(batch) if goes_with(&self.events[at - 1]) => batch.end = at + 1,
                _ => batches.push(at..at + 1),
            }
        }
        batches
    }

    /// Whether a start would forget for how long nothing came that was used: it begins to wait anew.
    fn goes_by_the_clock(&self) -> bool {
        !self.windows.is_empty() && self.judged.iter().any(|verdict| verdict != "used")
    }

    fn send(&self, world: &World, engine: &Engine, job: &mut Steps<'_>, batch: Range<usize>) -> Vec<String> {
        let first = &self.events[batch.start];
        world.set_clock(first.arrived_us);
        if first.is_look {
            engine.maintain().unwrap();
            return vec!["clock".to_owned()];
        }
        let into = first.into.clone().unwrap_or_else(|| engine.project().streams[0].name.clone());
        let source = &engine.sources()[self.source(engine, first)];
        let line = |event: &Event| format!("{}\n", json!(with_texts(source, &event.columns)));
        let lines: String = self.events[batch.clone()].iter().map(line).collect();
        verdicts(&send(engine, job, &into, &lines), batch.len(), self.judged.get(batch).unwrap_or(&[]))
    }

    fn check_reads(&self, engine: &Engine, known: usize, between: Between) {
        for one in self.reads.iter().filter(|one| one.known == known) {
            let what = format!("{} as of {} knowing {known}, {between:?}", json!(one.key), one.as_of_us);
            self.check_answer(engine, &one.key, one.as_of_us, &one.expect, &what);
        }
    }

    fn check_answer(
        &self,
        engine: &Engine,
        key: &Map<String, Value>,
        as_of_us: i64,
        expect: &Map<String, Value>,
        what: &str,
    ) {
        let found = read(engine, 0, key, as_of_us);
        if found.values().any(|value| value.get("error").is_some()) {
            // A read of a view ends with the first feature that fails.
            found.iter().for_each(|(name, value)| assert_eq!(value, &expect[name], "{}: {what}", self.name));
        } else {
            assert_eq!(json!(found), json!(expect), "{}: {what}", self.name);
        }
    }

    /// What is known of all arrivals.
    fn check_end(&self, engine: &Engine, judged: &[String]) {
        assert!(self.judged.is_empty() || judged == self.judged, "{}: {judged:?}", self.name);
        for (event, expect) in &self.every_event {
            let event = &self.events[*event];
            let definition = &engine.project().views[0];
            // Other keys have to be computed.
            let mut parts = definition.key.iter();
            let has_key = parts.all(|part| part.text == part.name && event.columns.contains_key(&part.name));
            let own = engine.sources()[self.source(engine, event)].clone();
            let time = &own.columns[own.time_column].name;
            let at_us = instant_us(&event.columns[time]);
            // As of an instant with several events a read knows them all, an event only those before it.
            let events = self.events.iter().filter_map(|event| event.columns.get(time)).map(instant_us);
            let is_alone = events.chain(self.row_times_us.iter().copied()).filter(|us| *us == at_us).count() == 1;
            if has_key && (is_alone || self.windows.is_empty()) {
                let what = format!("every event: {}", json!(event.columns));
                self.check_answer(engine, &event.columns, at_us, expect, &what);
            }
        }
        self.check_windows(engine);
        let told = self.told(engine);
        assert!(self.set_aside.iter().all(|event| told.contains(event)), "{}: {told:?}", self.name);
    }

    fn check_windows(&self, engine: &Engine) {
        for (derived, stream) in engine.project().derived.iter().enumerate() {
            let Some(told) = engine.windows_statistics(derived) else { continue };
            let Windows { rows, rows_set_aside, too_late } = &self.windows[&stream.name];
            assert_eq!(told.derived.rows, *rows, "{}: rows of {}", self.name, stream.name);
            let in_this_life = told.rows_set_aside;
            assert!(in_this_life <= *rows_set_aside, "{}: {in_this_life} rows set aside", self.name);
            assert_eq!(told.too_late, too_late.len() as u64, "{}: too late for {}", self.name, stream.name);
            assert_eq!(self.too_late(engine, &stream.name), *too_late, "{}: letters of {}", self.name, stream.name);
        }
    }

    /// The arrivals that dead letters say came too late for a stream of windows.
    fn too_late(&self, engine: &Engine, name: &str) -> Vec<usize> {
        let events: Vec<usize> = (0..self.events.len()).filter(|at| !self.events[*at].is_look).collect();
        let mut found = Vec::new();
        for source in 0..engine.project().streams.len() {
            let own: Vec<usize> =
                events.iter().copied().filter(|at| self.source(engine, &self.events[*at]) == source).collect();
            let query = DeadLetterQuery { reason: Some("late".to_owned()), limit: 1_000, ..Default::default() };
            let letters = engine.dead_letters(source, &query).unwrap().unwrap().letters;
            let of_windows = letters.into_iter().filter(|placed| placed.letter.view.as_deref() == Some(name));
            found.extend(of_windows.map(|placed| own[placed.offset as usize]));
        }
        found.sort_unstable();
        found
    }

    fn source(&self, engine: &Engine, event: &Event) -> usize {
        event.into.as_ref().map_or(0, |name| source_of(engine, name))
    }

    /// The arrivals that dead letters say were set aside: of the stream at their offsets, or by a letter of a table.
    fn told(&self, engine: &Engine) -> BTreeSet<usize> {
        let of = |source: usize| -> Vec<usize> {
            let is_of = |event: &Event| !event.is_look && self.source(engine, event) == source;
            (0..self.events.len()).filter(|at| is_of(&self.events[*at])).collect()
        };
        let mut told = BTreeSet::new();
        let has_arrivals = |source: &usize| engine.sources()[*source].derivation().is_none();
        for source in (0..engine.sources().len()).filter(has_arrivals) {
            let query = DeadLetterQuery { reason: Some("set_aside".to_owned()), limit: 1_000, ..Default::default() };
            for placed in engine.dead_letters(source, &query).unwrap().unwrap().letters {
                let event: Value = serde_json::from_str(&placed.letter.raw).unwrap();
                let offset = if placed.letter.raw_is_cut { event["offset"].as_u64().unwrap() } else { placed.offset };
                let source = event["stream"].as_str().map_or(source, |name| source_of(engine, name));
                // A row of windows is told of at its own place, and is no arrival.
                if has_arrivals(&source) {
                    told.insert(of(source)[offset as usize]);
                }
            }
        }
        told
    }
}

impl Read {
    fn of(json: &Value, events: &[Event]) -> Read {
        let as_of_us = instant_us(&json["as_of"]);
        let all = json["position"].as_u64().map_or(events.len(), |position| position as usize);
        let arrived = events.iter().filter(|event| event.arrived_us <= as_of_us).count();
        let known = if json["knowledge"] == "as-served" { all.min(arrived) } else { all };
        Read { key: object(&json["key"]), as_of_us, known, expect: object(&json["expect"]) }
    }
}

/// For each stream of windows the instant before which they have closed, in microseconds, and how many rows it has.
fn closed_before(engine: &Engine) -> Vec<(Option<i64>, u64)> {
    let told = (0..engine.project().derived.len()).filter_map(|derived| engine.windows_statistics(derived));
    told.map(|told| (told.derived.watermark_us, told.derived.rows)).collect()
}

/// How the events of a batch were judged. A receipt has counts and what was refused: of several it is asked whether these are
/// those expected.
fn verdicts(receipt: &Receipt, events: usize, expected: &[String]) -> Vec<String> {
    if events > 1 {
        let count = |verdict: &str| expected.iter().filter(|one| one.starts_with(verdict)).count() as u64;
        let counts = (receipt.accepted, receipt.duplicates, receipt.late, receipt.rejected);
        assert_eq!(counts, (count("used"), count("duplicate"), count("late"), count("rejected")));
        return expected.to_vec();
    }
    let verdict = match (receipt.accepted, receipt.duplicates, receipt.late) {
        (1, _, _) => "used".to_owned(),
        (_, 1, _) => "duplicate".to_owned(),
        (_, _, 1) => "late".to_owned(),
        _ => format!("rejected: {}", receipt.refused[0].reason),
    };
    vec![verdict]
}

fn check_all(cases: &[Case]) -> usize {
    for case in cases {
        case.check(Between::Nothing);
        if case.goes_by_the_clock() {
            continue;
        }
        case.check(Between::OrderlyRestart);
        for checkpoint_behind in 0..=case.events.len() {
            case.check(Between::Kill { checkpoint_behind });
        }
    }
    cases.len()
}

#[test]
fn temporal_joins_answer_as_the_contract_says_over_restarts() {
    assert!(check_all(&cases(&golden("temporal_joins.json"))) >= 46);
}

#[test]
fn views_over_tables_answer_as_the_contract_says_over_restarts() {
    assert!(check_all(&cases(&golden("table_views.json"))) >= 18);
}

#[test]
fn closed_windows_answer_as_the_contract_says_over_restarts() {
    assert!(check_all(&cases(&golden("group_windows.json"))) >= 40);
}

#[test]
fn random_closed_windows_answer_as_the_reference_does_over_restarts() {
    let drawn = made_or_drawn("ASOF_RANDOM_CLOSED_WINDOWS", "random_closed_windows.py", 300, cases);
    assert!(check_all(&drawn) >= 100);
}
