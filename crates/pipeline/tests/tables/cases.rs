//! The golden cases of tables, live: one arrival after the other over the door, with restarts between any two of them.

use std::collections::BTreeSet;
use std::path::Path;

use asof_pipeline::{DeadLetterQuery, Engine, Receipt, Steps};
use serde_json::{Map, Value, json};

use crate::values::{instant_us, read, with_texts};
use crate::world::{World, checkpoint, send, source_of};

struct Case {
    name: String,
    sql: String,
    events: Vec<Event>,
    judged: Vec<String>,
    set_aside: Vec<usize>,
    reads: Vec<Read>,
    every_event: Vec<(usize, Map<String, Value>)>,
}

struct Event {
    /// `None` is the first stream.
    into: Option<String>,
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

fn cases(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/cases").join(file);
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let is_here = |case: &&Value| {
        // The log has one partition, and groups of rows are refused by name.
        let has_partitions = list(&case["events"]).iter().any(|event| event["partition"].as_i64().unwrap_or(0) > 0);
        let has_groups = file == "table_views.json" && case["sql"].as_str().unwrap().contains("GROUP BY");
        !has_partitions && !has_groups
    };
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
            let into = event["into"].as_str().map(str::to_owned);
            let declared = match &into {
                Some(name) => &world.project.table(name).unwrap().versions,
                None => &world.project.streams[0],
            };
            let own = event["columns"].get(&declared.columns[declared.time_column].name).filter(|own| !own.is_null());
            arrived_us = arrived_us.max(event.get("arrived").or(own).map(instant_us));
            Event { into, columns: object(&event["columns"]), arrived_us: arrived_us.unwrap_or_default() }
        };
        let events: Vec<Event> = list(&json["events"]).iter().map(event).collect();
        let reads = list(&json["reads"]).iter().map(|read| Read::of(read, &events)).collect();
        let every_event = list(&json["every_event"]).iter();
        Case {
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

    /// Runs the case, and checks after each arrival, and again after each restart, what is known then.
    fn check(&self, between: Between) {
        let world = World::new(1, &self.sql);
        let (mut judged, mut at) = (Vec::new(), 0);
        let lives = if between == Between::Nothing { 1 } else { self.events.len() + 1 };
        for life in 0..lives {
            let until = if between == Between::Nothing { self.events.len() } else { life };
            world.live(|engine, job| {
                self.check_reads(engine, at, between);
                while at < until {
                    judged.push(self.send(&world, engine, job, at));
                    at += 1;
                    self.check_reads(engine, at, between);
                }
                if at == self.events.len() {
                    self.check_end(engine, &judged);
                }
                let is_orderly = between == Between::OrderlyRestart;
                if is_orderly || between == (Between::Kill { checkpoint_behind: at }) {
                    checkpoint(job);
                }
            });
        }
        // Once more, so that the last arrival is behind a restart too.
        world.live(|engine, _| self.check_end(engine, &judged));
    }

    fn send(&self, world: &World, engine: &Engine, job: &mut Steps<'_>, at: usize) -> String {
        let event = &self.events[at];
        world.set_clock(event.arrived_us);
        let into = event.into.clone().unwrap_or_else(|| engine.project().streams[0].name.clone());
        let columns = with_texts(&engine.sources()[self.source(engine, event)], &event.columns);
        verdict(&send(engine, job, &into, &format!("{}\n", json!(columns))))
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
            if has_key {
                let what = format!("every event: {}", json!(event.columns));
                self.check_answer(engine, &event.columns, instant_us(&event.columns[time]), expect, &what);
            }
        }
        let told = self.told(engine);
        assert!(self.set_aside.iter().all(|event| told.contains(event)), "{}: {told:?}", self.name);
    }

    fn source(&self, engine: &Engine, event: &Event) -> usize {
        event.into.as_ref().map_or(0, |name| source_of(engine, name))
    }

    /// The arrivals that dead letters say were set aside: of the stream at their offsets, or by a letter of a table.
    fn told(&self, engine: &Engine) -> BTreeSet<usize> {
        let of = |source: usize| -> Vec<usize> {
            (0..self.events.len()).filter(|at| self.source(engine, &self.events[*at]) == source).collect()
        };
        let mut told = BTreeSet::new();
        for source in 0..engine.sources().len() {
            let query = DeadLetterQuery { reason: Some("set_aside".to_owned()), limit: 1_000, ..Default::default() };
            for placed in engine.dead_letters(source, &query).unwrap().unwrap().letters {
                let event: Value = serde_json::from_str(&placed.letter.raw).unwrap();
                let offset = if placed.letter.raw_is_cut { event["offset"].as_u64().unwrap() } else { placed.offset };
                let source = event["stream"].as_str().map_or(source, |name| source_of(engine, name));
                told.insert(of(source)[offset as usize]);
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

fn verdict(receipt: &Receipt) -> String {
    match (receipt.accepted, receipt.duplicates, receipt.late) {
        (1, _, _) => "used".to_owned(),
        (_, 1, _) => "duplicate".to_owned(),
        (_, _, 1) => "late".to_owned(),
        _ => format!("rejected: {}", receipt.refused[0].reason),
    }
}

fn check_all(file: &str) -> usize {
    let cases = cases(file);
    for case in &cases {
        case.check(Between::Nothing);
        case.check(Between::OrderlyRestart);
        for checkpoint_behind in 0..=case.events.len() {
            case.check(Between::Kill { checkpoint_behind });
        }
    }
    cases.len()
}

#[test]
fn temporal_joins_answer_as_the_contract_says_over_restarts() {
    assert!(check_all("temporal_joins.json") >= 46);
}

#[test]
fn views_over_tables_answer_as_the_contract_says_over_restarts() {
    assert!(check_all("table_views.json") >= 12);
}
