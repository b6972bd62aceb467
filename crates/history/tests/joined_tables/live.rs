//! Random arrivals of events and versions: history answers what the live library answered, as-served at each moment, and
//! knowing event times at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use asof_definition::{Column, KeyPart, Over};
use asof_feature::{DerivedPlan, OnlineView, Tables, TakenIn};
use asof_history::{Knowledge, RowsOf};
use asof_window::Version;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::decoded::{batch, parts, written};
use crate::sources::{Arrival, SHAPES, Shape, Sources, Way};
use crate::world::{Batch, Into, Stored, World};

const MINUTE_US: i64 = 60_000_000;
const KEYS: i64 = 4;
const NAMES: [&str; 4] = ["a", "b", "c", "north"];
/// The first group arrives then, each other some minutes after the one before.
const BEGIN: i64 = 100;

/// A table behind a table, a composite key, delete markers, a union of which one branch joins, a view over a derived stream
/// that joins again, group windows over what is joined, failing expressions over joined columns, entity keys from tables, and
/// groups of rows.
/// Features over ROWS begin with `r_`.
const SQL: &str = "
CREATE STREAM tx (
  id BIGINT NOT NULL, account BIGINT, merchant BIGINT, amount BIGINT, ts TIMESTAMP,
  PRIMARY KEY (id) NOT ENFORCED, WATERMARK FOR ts AS ts - INTERVAL '15' MINUTE);
CREATE TABLE merchants (
  merchant BIGINT, region BIGINT, name VARCHAR, fee BIGINT, gone BOOLEAN, at TIMESTAMP,
  PRIMARY KEY (merchant), WATERMARK FOR at AS at - INTERVAL '15' MINUTE) WITH (delete_column = 'gone');
CREATE TABLE regions (
  region BIGINT, kind VARCHAR, label VARCHAR, weight BIGINT, at TIMESTAMP,
  PRIMARY KEY (region, kind), WATERMARK FOR at AS at - INTERVAL '15' MINUTE);
CREATE STREAM priced AS
SELECT t.id, t.account, m.region, m.name, 60 / (t.amount - m.fee) AS price, t.ts
FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant WHERE m.fee <> 3;
CREATE STREAM either AS
SELECT account, name, price FROM priced UNION ALL SELECT account, 'plain' AS name, amount AS price FROM tx;
CREATE FEATURE VIEW by_account AS
SELECT t.account, count(*) OVER h AS n, sum(t.amount / m.fee) OVER h AS shares, count(m.name) OVER h AS named
FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant
WINDOW h AS (PARTITION BY t.account ORDER BY t.ts RANGE BETWEEN INTERVAL '20' MINUTE PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW by_label AS
SELECT r.label, count(*) OVER w AS r_n, last_value(t.id) OVER w AS r_last, sum(r.weight) OVER l AS weight
FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant
LEFT JOIN regions FOR SYSTEM_TIME AS OF t.ts AS r ON r.region = m.region AND r.kind = m.name
WHERE t.amount > 2
WINDOW w AS (PARTITION BY r.label ORDER BY t.ts ROWS BETWEEN 3 PRECEDING AND CURRENT ROW),
  l AS (PARTITION BY r.label ORDER BY t.ts);
CREATE FEATURE VIEW by_either AS
SELECT account, sum(price) OVER h AS prices, last_value(name) OVER r AS r_last, count(*) OVER r AS r_n FROM either
WINDOW h AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '20' MINUTE PRECEDING AND CURRENT ROW),
  r AS (PARTITION BY account ORDER BY ts ROWS BETWEEN 4 PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW of_priced AS
SELECT p.account, count(*) OVER w AS n, max(r.label) OVER w AS label, sum(r.weight * p.price) OVER w AS weighed
FROM priced AS p LEFT JOIN regions FOR SYSTEM_TIME AS OF p.ts AS r ON r.region = p.region AND r.kind = p.name
WINDOW w AS (PARTITION BY p.account ORDER BY p.ts);
CREATE FEATURE VIEW sessions AS
SELECT account, count(*) AS n, sum(price) AS prices, max(name) FILTER (WHERE price > 2) AS name,
  lag(count(*)) OVER (PARTITION BY account ORDER BY window_start) AS last_n,
  lag(sum(price)) OVER (PARTITION BY account ORDER BY window_start) AS last_prices
FROM TABLE(SESSION(TABLE either PARTITION BY account, DESCRIPTOR(ts), INTERVAL '3' MINUTE))
GROUP BY account, window_start, window_end;
CREATE FEATURE VIEW hops AS
SELECT name, count(*) AS n, max(price) AS price,
  lag(count(DISTINCT account)) OVER (PARTITION BY name ORDER BY window_start) AS last_accounts
FROM TABLE(HOP(TABLE priced, DESCRIPTOR(ts), INTERVAL '3' MINUTE, INTERVAL '8' MINUTE))
GROUP BY name, window_start, window_end;
CREATE FEATURE VIEW merchant AS
SELECT merchant, name, 60 / fee AS share, coalesce(region, 9) AS region FROM merchants WHERE 100 / (fee - 4) > -60;
CREATE FEATURE VIEW of_name AS
SELECT name, count(*) AS n, sum(60 / fee) AS shares, median(merchant) AS middle, first_value(merchant) AS oldest,
  min_by(region, fee) AS region
FROM merchants WHERE fee <> 3 GROUP BY name;
CREATE FEATURE VIEW of_label AS
SELECT label, count(DISTINCT region) AS regions, avg(weight) FILTER (WHERE weight > 1) AS weight FROM regions GROUP BY label;
CREATE FEATURE VIEW region AS SELECT region, kind, label, weight FROM regions;
";

/// A row with the minutes by which it comes after its event time.
#[derive(Debug, Clone)]
struct Coming {
    into: Option<&'static str>,
    columns: Vec<(&'static str, Value)>,
    time: &'static str,
    lag: i64,
}

fn coming() -> impl Strategy<Value = Coming> {
    let key = || prop::option::weighted(0.95, 0..KEYS);
    let lag = || prop_oneof![3 => 0..3i64, 2 => 0..18i64];
    let event = (0..30i64, key(), key(), 0..8i64, lag()).prop_map(|(id, account, merchant, amount, lag)| Coming {
        into: None,
        columns: vec![
            ("id", json!(id)),
            ("account", json!(account)),
            ("merchant", json!(merchant)),
            ("amount", json!(amount)),
        ],
        time: "ts",
        lag,
    });
    let gone = prop::option::weighted(0.4, prop::bool::weighted(0.6));
    let merchant = (0..KEYS, key(), 0..3usize, 0..6i64, gone, lag());
    let merchant = merchant.prop_map(|(merchant, region, name, fee, gone, lag)| Coming {
        into: Some("merchants"),
        columns: vec![
            ("merchant", json!(merchant)),
            ("region", json!(region)),
            ("name", json!(NAMES[name])),
            ("fee", json!(fee)),
            ("gone", json!(gone)),
        ],
        time: "at",
        lag,
    });
    let region = (0..KEYS, 0..3usize, 0..4usize, 0..6i64, lag());
    let region = region.prop_map(|(region, kind, label, weight, lag)| Coming {
        into: Some("regions"),
        columns: vec![
            ("region", json!(region)),
            ("kind", json!(NAMES[kind])),
            ("label", json!(NAMES[label])),
            ("weight", json!(weight)),
        ],
        time: "at",
        lag,
    });
    prop_oneof![5 => event, 3 => merchant, 2 => region]
}

/// Groups that arrive at once, each with the minutes since the one before.
fn groups() -> impl Strategy<Value = Vec<(i64, Vec<Coming>)>> {
    prop::collection::vec((1..6i64, prop::collection::vec(coming(), 1..10)), 1..14)
}

/// A world that has taken in groups, and when each came.
struct Lived {
    world: World,
    arrived_us: Vec<i64>,
    arrivals: Vec<Arrival>,
    /// For each view over events, what each event that came into it was answered, in any order.
    scores: BTreeMap<usize, Vec<String>>,
}

impl Lived {
    fn new(groups: &[(i64, Vec<Coming>)]) -> Lived {
        let world = World::new(SQL, 1, 4).unwrap();
        let mut lived = Lived { world, arrived_us: Vec::new(), arrivals: Vec::new(), scores: BTreeMap::new() };
        let mut minute = BEGIN;
        for (after, rows) in groups {
            minute += after;
            lived.take(minute * MINUTE_US, rows);
        }
        lived
    }

    fn take(&mut self, arrived_us: i64, rows: &[Coming]) {
        let arrival = |row: &Coming| {
            let own = row.columns.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            let time = (row.time.to_owned(), json!(arrived_us - row.lag * MINUTE_US));
            Arrival { into: row.into.map(str::to_owned), columns: own.chain([time]).collect(), arrived_us }
        };
        let arrivals: Vec<Arrival> = rows.iter().map(arrival).collect();
        let batches: Vec<Batch> =
            [None, Some("merchants"), Some("regions")].iter().filter_map(|into| self.batch(*into, &arrivals)).collect();
        let taken = self.world.arrive(&batches);
        self.arrived_us.push(arrived_us);
        self.arrivals.extend(arrivals);
        for stored in taken.stored.iter().filter(|stored| stored.into == Into::Stream) {
            self.score(stored);
        }
    }

    fn batch(&self, name: Option<&str>, arrivals: &[Arrival]) -> Option<Batch> {
        let own: Vec<&Arrival> = arrivals.iter().filter(|one| one.into.as_deref() == name).collect();
        let arrived_us = own.first()?.arrived_us;
        let place = |name: &str| self.world.project.tables.iter().position(|table| table.name() == name).unwrap();
        let into = name.map_or(Into::Stream, |name| Into::Table(place(name)));
        let columns: Vec<&Map<String, Value>> = own.iter().map(|one| &one.columns).collect();
        let (rows, unreadable) = batch(&self.world.declared(into), &columns);
        Some(Batch { into, partition: 0, rows, unreadable, arrived_us: vec![arrived_us; own.len()] })
    }

    /// What used events are answered as they come.
    fn score(&mut self, stored: &Stored) {
        let world = &self.world;
        let time_column = world.project.streams[0].time_column;
        for (place, view) in world.views.iter().enumerate().filter(|(_, view)| view.plan().view().over == Over::Events)
        {
            for row in 0..stored.used.num_rows() {
                let row = stored.used.slice(row, 1);
                let t_us = crate::sources::time_us(&row, time_column);
                for taken in brought(world, view, &row).into_iter().filter(|taken| !taken.rows.is_empty()) {
                    let answer = self.answer(place, &taken.keys, t_us, world.version);
                    self.scores.entry(place).or_default().push(text(view, &taken.keys, &answer));
                }
            }
        }
    }

    /// The features of one read, by name.
    fn answer(&self, view: usize, key: &[ArrayRef], t_us: i64, version: Version) -> Map<String, Value> {
        let answers = self.world.views[view].read(key, &[t_us], version).unwrap();
        let names = self.world.project.views[view].features.iter().map(|feature| feature.name.clone());
        names.zip(answers.features.iter().map(|feature| written(feature, 0))).collect()
    }
}

/// What a row brings to a view over events, by each of its ways, knowing what the world knows now.
fn brought(world: &World, view: &Arc<OnlineView>, row: &arrow::array::RecordBatch) -> Vec<TakenIn> {
    let plan = view.plan();
    let derivation = DerivedPlan::new(&world.project.streams[0], &plan.view().stream.lineage());
    let derived = derivation.derive(row, None, &Tables::live(&world.tables)).unwrap();
    let feeds = derivation.feeds(&plan.view().stream.name).into_iter();
    let taken = feeds.map(|feed| {
        let (rows, used) = derived.at(feed, row, None);
        plan.take_in(rows, used)
    });
    taken.collect()
}

/// An answer to an event without what depends on where among its peers it stands.
fn text(view: &Arc<OnlineView>, key: &[ArrayRef], answer: &Map<String, Value>) -> String {
    let names = view.plan().view().key.iter().map(|part| part.name.clone());
    let key: Map<String, Value> = names.zip(key.iter().map(|part| written(part, 0))).collect();
    let features = answer.iter().filter(|(name, _)| !name.starts_with("r_"));
    let features: BTreeMap<&String, &Value> = features.collect();
    format!("{} {features:?}", Value::Object(key))
}

/// All keys that may be asked for.
fn keys(parts: &[KeyPart]) -> Vec<Map<String, Value>> {
    let values = |part: &KeyPart| match part.expression.data_type() {
        arrow::datatypes::DataType::Utf8 => NAMES.iter().map(|name| json!(name)).collect::<Vec<Value>>(),
        _ => (0..KEYS).map(|key| json!(key)).collect(),
    };
    parts.iter().fold(vec![Map::new()], |keys, part| {
        let with = |key: &Map<String, Value>, value: Value| {
            key.clone().into_iter().chain([(part.name.clone(), value)]).collect::<Map<String, Value>>()
        };
        keys.iter().flat_map(|key| values(part).into_iter().map(move |value| with(key, value))).collect()
    })
}

fn columns(parts: &[KeyPart]) -> Vec<Column> {
    let column = |part: &KeyPart| Column {
        name: part.name.clone(),
        data_type: part.expression.data_type().clone(),
        not_null: false,
    };
    parts.iter().map(column).collect()
}

/// Asks history for all views at `instants_us` and compares with what the live world answers at the version beside each.
fn check_spine(
    lived: &Lived,
    sources: &Sources,
    instants_us: &[(i64, Version)],
    knowledge: Knowledge,
    shape: Shape,
) -> Result<(), TestCaseError> {
    for (view, declared) in lived.world.project.views.iter().enumerate() {
        let keys = keys(&declared.key);
        let asked = instants_us.iter().flat_map(|at| keys.iter().map(move |key| (key, *at)));
        let reads: Vec<_> = asked.clone().map(|(key, (t_us, _))| (key.clone(), t_us)).collect();
        let (found, _) = sources.run(view, sources.spine(&reads), knowledge, shape).unwrap();
        prop_assert_eq!(found.len(), reads.len());
        for ((key, (t_us, version)), found) in asked.zip(found) {
            let expected = lived.answer(view, &parts(&columns(&declared.key), key), t_us, version);
            for (name, expected) in expected {
                let what = format!("{} {key:?} {name} as of {}", declared.name, t_us / MINUTE_US);
                prop_assert_eq!(found[&name].to_string(), expected.to_string(), "{} {}", knowledge.name(), what);
            }
        }
    }
    Ok(())
}

fn check_scores(lived: &Lived, sources: &Sources, shape: Shape) -> Result<(), TestCaseError> {
    let none = Vec::new();
    for (place, view) in
        lived.world.views.iter().enumerate().filter(|(_, view)| view.plan().view().over == Over::Events)
    {
        let rows = RowsOf::EveryEvent { keep: Vec::new() };
        let (found, _) = sources.run(place, rows, Knowledge::AsServed, shape).unwrap();
        let declared = &lived.world.project.views[place];
        let of_row = |row: &Map<String, Value>| {
            let column = columns(&declared.key);
            let answer = declared.features.iter().map(|feature| (feature.name.clone(), row[&feature.name].clone()));
            text(view, &parts(&column, row), &answer.collect())
        };
        let mut found: Vec<String> = found.iter().map(of_row).collect();
        let mut expected = lived.scores.get(&place).unwrap_or(&none).clone();
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected, "scores of {}", declared.name);
    }
    Ok(())
}

fn check(groups: &[(i64, Vec<Coming>)], way: Way) -> Result<(), TestCaseError> {
    let lived = Lived::new(groups);
    if lived.arrivals.iter().all(|one| one.into.is_some()) {
        return Ok(()); // A stream of which nothing is stored has no history.
    }
    let sources = Sources::new(SQL, way);
    sources.store(&lived.arrivals);
    let last = Version(lived.arrived_us.len() as u64);
    let served: Vec<(i64, Version)> = (lived.arrived_us.iter().zip(1..))
        .flat_map(|(arrived_us, version)| {
            let next = lived.arrived_us.get(version as usize).copied().unwrap_or(i64::MAX);
            let instants_us = [*arrived_us, (arrived_us + 2 * MINUTE_US).min(next - 1)];
            instants_us.map(|t_us| (t_us, Version(version)))
        })
        .collect();
    let known: Vec<(i64, Version)> =
        (BEGIN - 20..BEGIN + 80).step_by(7).map(|minute| (minute * MINUTE_US, last)).collect();
    for shape in SHAPES {
        check_spine(&lived, &sources, &served, Knowledge::AsServed, shape)?;
        check_spine(&lived, &sources, &known, Knowledge::EventTime, shape)?;
    }
    check_scores(&lived, &sources, SHAPES[1])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn history_of_files_equals_the_live_library(groups in groups()) {
        check(&groups, Way::Files)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn history_of_the_log_equals_the_live_library(groups in groups(), is_loaded in any::<bool>()) {
        check(&groups, if is_loaded { Way::Loaded } else { Way::Log })?;
    }
}

/// The first test would pass for nothing if versions never came late: of some arrivals of which one does, both knowledges
/// and both answers differ.
#[test]
fn a_late_version_is_known_from_its_arrival_on() {
    let event = |lag| Coming {
        into: None,
        columns: vec![("id", json!(1)), ("account", json!(1)), ("merchant", json!(1)), ("amount", json!(6))],
        time: "ts",
        lag,
    };
    let version = |fee: i64, lag| Coming {
        into: Some("merchants"),
        columns: vec![("merchant", json!(1)), ("name", json!("a")), ("fee", json!(fee))],
        time: "at",
        lag,
    };
    let groups = [(1, vec![version(1, 5)]), (1, vec![event(1)]), (4, vec![version(2, 6)])];
    let lived = Lived::new(&groups);
    let sources = Sources::new(SQL, Way::Files);
    sources.store(&lived.arrivals);
    let key = [("account".to_owned(), json!(1))].into_iter().collect::<Map<String, Value>>();
    let reads: Vec<_> = [2, 5, 6].map(|minute| (key.clone(), (BEGIN + minute) * MINUTE_US)).to_vec();
    let shares = |knowledge| {
        let (found, _) = sources.run(0, sources.spine(&reads), knowledge, SHAPES[0]).unwrap();
        found.iter().map(|row| row["shares"].as_i64().unwrap()).collect::<Vec<i64>>()
    };
    assert_eq!(shares(Knowledge::AsServed), [6, 6, 3]);
    assert_eq!(shares(Knowledge::EventTime), [3, 3, 3]);
}
