//! The golden cases of tables: judged, read at every position, and as training asks, in batches of several sizes.

use std::collections::BTreeSet;
use std::path::Path;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use asof_definition::Over;
use asof_feature::{DerivedPlan, Judgement, Tables, TakenIn};
use asof_window::{Verdict, Version};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::decoded::{batch, instant_us, parts, written};
use crate::world::{Batch, Into, Stored, Taken, World};

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    sql: String,
    events: Vec<Event>,
    #[serde(default)]
    judged: Vec<String>,
    set_aside: Option<Vec<usize>>,
    #[serde(default)]
    reads: Vec<Read>,
    every_event: Option<Vec<Answered>>,
}

#[derive(Debug, Deserialize)]
struct Event {
    into: Option<String>,
    columns: Map<String, Value>,
    #[serde(default)]
    partition: u32,
    arrived: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Read {
    key: Map<String, Value>,
    as_of: Value,
    position: Option<usize>,
    knowledge: Option<String>,
    expect: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Answered {
    event: usize,
    expect: Map<String, Value>,
}

/// One read of the view.
struct Asked {
    key: Vec<ArrayRef>,
    t_us: i64,
    version: Version,
}

/// A case that has run: how many of its arrivals each version has, from version 0 on.
struct Ran {
    world: World,
    known: Vec<usize>,
    taken: Vec<Taken>,
}

fn cases(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/cases").join(file);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

impl Case {
    fn world(&self, shards: usize) -> World {
        let partitions = self.events.iter().map(|event| event.partition + 1).max().unwrap_or(1);
        World::new(&self.sql, partitions, shards).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Arrival times in microseconds, by the reference's rule.
    fn arrived_us(&self, world: &World) -> Vec<i64> {
        let mut arrived_us = None;
        let arrivals = self.events.iter().map(|event| {
            let declared = world.declared(self.into(world, event));
            let own = event.columns.get(&declared.columns[declared.time_column].name).filter(|time| !time.is_null());
            arrived_us = arrived_us.max(event.arrived.as_ref().or(own).map(instant_us));
            arrived_us.unwrap_or_default()
        });
        arrivals.collect()
    }

    fn into(&self, world: &World, event: &Event) -> Into {
        match &event.into {
            None => Into::Stream,
            Some(name) => Into::Table(world.project.tables.iter().position(|table| table.name() == name).unwrap()),
        }
    }

    /// The arrivals from `start` to before `end` as batches, neighbours of one partition in one.
    fn batches(&self, world: &World, start: usize, end: usize) -> Vec<Batch> {
        let arrived_us = self.arrived_us(world);
        let mut batches: Vec<Batch> = Vec::new();
        let mut first = start;
        while first < end {
            let place = |at: usize| (self.into(world, &self.events[at]), self.events[at].partition);
            let mut next = first + 1;
            while next < end && place(next) == place(first) {
                next += 1;
            }
            let (into, partition) = place(first);
            let rows: Vec<&Map<String, Value>> = self.events[first..next].iter().map(|event| &event.columns).collect();
            let (rows, unreadable) = batch(&world.declared(into), &rows);
            batches.push(Batch { into, partition, rows, unreadable, arrived_us: arrived_us[first..next].to_vec() });
            first = next;
        }
        batches
    }

    /// Runs the case with groups of arrivals that end at `ends`, each one version.
    fn run(&self, ends: &[usize], shards: usize) -> Ran {
        let mut world = self.world(shards);
        let (mut known, mut taken) = (vec![0], Vec::new());
        for end in ends {
            let batches = self.batches(&world, known[known.len() - 1], *end);
            taken.push(world.arrive(&batches));
            known.push(*end);
        }
        Ran { world, known, taken }
    }

    /// Where groups of equal arrival times end.
    fn by_arrival(&self) -> Vec<usize> {
        let arrived_us = self.arrived_us(&self.world(1));
        (1..=arrived_us.len()).filter(|end| arrived_us.get(*end) != Some(&arrived_us[end - 1])).collect()
    }

    /// How many arrivals a read knows.
    fn known_to(&self, read: &Read, arrived_us: &[i64]) -> usize {
        let all = read.position.unwrap_or(self.events.len());
        match read.knowledge.as_deref() {
            Some("as-served") => {
                all.min(arrived_us.iter().filter(|arrived_us| **arrived_us <= instant_us(&read.as_of)).count())
            }
            _ => all,
        }
    }

    fn check_reads(&self, ran: &Ran) -> usize {
        let arrived_us = self.arrived_us(&ran.world);
        let mut checked = 0;
        for read in &self.reads {
            let known = self.known_to(read, &arrived_us);
            let Some(version) = ran.known.iter().position(|arrivals| *arrivals == known) else { continue };
            let key = parts(&key_columns(&ran.world), &read.key);
            let what = format!("{} of {} knowing {known}", read.as_of, json!(read.key));
            let asked = Asked { key, t_us: instant_us(&read.as_of), version: Version(version as u64) };
            self.check_answer(&ran.world, &asked, &read.expect, &what);
            checked += 1;
        }
        checked
    }

    fn check_answer(&self, world: &World, asked: &Asked, expect: &Map<String, Value>, what: &str) {
        let answers = world.views[0].read(&asked.key, &[asked.t_us], asked.version).unwrap();
        for (place, feature) in world.project.views[0].features.iter().enumerate() {
            let failed = answers.failures.iter().find(|failure| failure.feature == place);
            let found = match failed {
                Some(failure) => json!({"error": failure.kind.name()}),
                None => written(&answers.features[place], 0),
            };
            assert_eq!(found, expect[&feature.name], "{}: `{}` as of {what}", self.name, feature.name);
        }
    }

    /// Each event that is in the view, as of its own time, knowing all.
    fn check_every_event(&self, ran: &Ran) {
        let Some(expected) = &self.every_event else { return };
        let world = &ran.world;
        for (index, verdict) in self.verdicts(ran).iter().enumerate() {
            let listed: Vec<&Answered> = expected.iter().filter(|answered| answered.event == index).collect();
            let into = self.into(world, &self.events[index]);
            if *verdict != Verdict::Used || self.is_foreign(world, into) {
                assert!(listed.is_empty());
                continue;
            }
            let own = &self.batches(world, index, index + 1)[0].rows;
            let t_us = own.column(world.declared(into).time_column).as_primitive::<TimestampMicrosecondType>().value(0);
            let brought: Vec<TakenIn> = brought(world, own).into_iter().filter(is_in_view).collect();
            assert_eq!(brought.len(), listed.len(), "{}: event {index} in the view", self.name);
            for (taken, answered) in brought.iter().zip(listed) {
                let what = format!("event {index}");
                let asked = Asked { key: taken.keys.clone(), t_us, version: world.version };
                self.check_answer(world, &asked, &answered.expect, &what);
            }
        }
    }

    /// Whether the view is not over what arrives there.
    fn is_foreign(&self, world: &World, into: Into) -> bool {
        (world.project.views[0].over == Over::Events) != (into == Into::Stream)
    }

    /// By arrival.
    fn verdicts(&self, ran: &Ran) -> Vec<Verdict> {
        let mut verdicts: Vec<Option<Verdict>> = vec![None; self.events.len()];
        for (taken, known) in ran.taken.iter().zip(ran.known.windows(2)) {
            let places = self.places(&ran.world, known[0], known[1]);
            let told = taken.verdicts.iter().flatten();
            places.into_iter().zip(told).for_each(|(at, verdict)| verdicts[at] = Some(*verdict));
        }
        verdicts.into_iter().map(Option::unwrap).collect()
    }

    /// The arrivals in the order in which a group takes them in: tables first.
    fn places(&self, world: &World, start: usize, end: usize) -> Vec<usize> {
        let mut places: Vec<usize> = (start..end).collect();
        places.sort_by_key(|at| self.into(world, &self.events[*at]));
        places
    }

    fn check_judged(&self, ran: &Ran) {
        let name = |verdict: &Verdict| match verdict {
            Verdict::Used => "used".to_owned(),
            Verdict::Duplicate => "duplicate".to_owned(),
            Verdict::Late => "late".to_owned(),
            Verdict::Rejected(rejection) => format!("rejected: {}", rejection.name()),
        };
        let found: Vec<String> = self.verdicts(ran).iter().map(name).collect();
        assert!(self.judged.is_empty() || found == self.judged, "{}: {found:?}", self.name);
    }

    /// The indexes of events that were told to be set aside, at arrival or by a late version.
    fn told(&self, ran: &Ran) -> BTreeSet<usize> {
        let of_stream: Vec<usize> =
            (0..self.events.len()).filter(|at| self.into(&ran.world, &self.events[*at]) == Into::Stream).collect();
        let mut told = BTreeSet::new();
        for (taken, known) in ran.taken.iter().zip(ran.known.windows(2)) {
            let mut places = self.places(&ran.world, known[0], known[1]).into_iter();
            for (verdicts, aside) in taken.verdicts.iter().zip(&taken.set_aside) {
                let own: Vec<usize> = places.by_ref().take(verdicts.len()).collect();
                told.extend(aside.iter().map(|one| own[one.row]));
            }
            told.extend(taken.newly_set_aside.iter().map(|offset| of_stream[*offset as usize]));
        }
        told
    }

    /// The same after a restart: from logs alone, tables up to their ends and then the stream.
    fn run_again(&self, ran: &Ran) -> Ran {
        let mut world = self.world(8);
        let mut logs: Vec<&Stored> = ran.taken.iter().flat_map(|taken| &taken.stored).collect();
        logs.sort_by_key(|stored| stored.into);
        logs.iter().for_each(|stored| world.recall(stored, true, Judgement::Recalled));
        Ran { world, known: vec![self.events.len()], taken: Vec::new() }
    }
}

fn is_in_view(taken: &TakenIn) -> bool {
    !taken.rows.is_empty() && taken.live.as_ref().is_none_or(|live| live.value(0))
}

fn key_columns(world: &World) -> Vec<asof_definition::Column> {
    let column = |part: &asof_definition::KeyPart| asof_definition::Column {
        name: part.name.clone(),
        data_type: part.expression.data_type().clone(),
        not_null: false,
    };
    world.project.views[0].key.iter().map(column).collect()
}

/// What one row brings to the view, by each of its ways.
fn brought(world: &World, row: &RecordBatch) -> Vec<TakenIn> {
    let plan = world.views[0].plan();
    let Over::Events = plan.view().over else { return vec![plan.take_in(row, None)] };
    let derivation = DerivedPlan::new(&world.project.streams[0], &plan.view().stream.lineage());
    let derived = derivation.derive(row, None, &Tables::live(&world.tables)).unwrap();
    let feeds = derivation.feeds(&plan.view().stream.name).into_iter();
    let taken = feeds.map(|feed| {
        let (rows, used) = derived.at(feed, row, None);
        plan.take_in(rows, used)
    });
    taken.collect()
}

fn check_case(case: &Case) {
    let all = case.events.len();
    let one_by_one = case.run(&(1..=all).collect::<Vec<usize>>(), 4);
    case.check_judged(&one_by_one);
    assert_eq!(case.check_reads(&one_by_one), case.reads.len(), "{}", case.name);
    case.check_every_event(&one_by_one);
    let by_arrival = case.run(&case.by_arrival(), 1);
    case.check_judged(&by_arrival);
    case.check_reads(&by_arrival);
    case.check_every_event(&by_arrival);
    let at_once = case.run(&[all], 16);
    case.check_judged(&at_once);
    case.check_reads(&at_once);
    case.check_every_event(&at_once);
    case.check_reads(&case.run_again(&one_by_one));
    if let Some(set_aside) = &case.set_aside {
        let expected: BTreeSet<usize> = set_aside.iter().copied().collect();
        assert_eq!(case.told(&at_once), expected, "{}", case.name);
        assert!(case.told(&one_by_one).is_superset(&expected), "{}", case.name);
    }
}

#[test]
fn temporal_joins_answer_as_the_contract_says() {
    let cases = cases("temporal_joins.json");
    cases.iter().for_each(check_case);
    assert!(cases.len() >= 47);
}

#[test]
fn views_over_tables_answer_as_the_contract_says() {
    let (groups, rows): (Vec<Case>, Vec<Case>) =
        cases("table_views.json").into_iter().partition(|case| case.sql.contains("GROUP BY"));
    rows.iter().chain(&groups).for_each(check_case);
    assert!(rows.len() >= 12 && groups.len() >= 6, "{} cases of rows, {} of groups", rows.len(), groups.len());
}
