//! Random orders of versions and events: whatever the order, the views read as if all versions had come before all events,
//! at every version of theirs, while things are dropped, and after a restart.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use asof_feature::{Captured, ComingVersions, Judgement, Settled};
use asof_window::Version;
use proptest::prelude::*;

use crate::world::{Batch, Into, Stored, World};

const MINUTE_US: i64 = 60_000_000;
const KEYS: i64 = 4;
const NAMES: [&str; 4] = ["a", "b", "c", "north"];

/// A primary key that orders ties, a table behind a table, a composite key, a union of which one branch joins, a view over
/// a derived stream that joins again, failing expressions over joined columns, and entity keys from tables.
const SQL: &str = "
CREATE STREAM tx (
  id BIGINT NOT NULL, account BIGINT, merchant BIGINT, amount BIGINT, ts TIMESTAMP,
  PRIMARY KEY (id) NOT ENFORCED, WATERMARK FOR ts AS ts - INTERVAL 'LATENESS' MINUTE);
CREATE TABLE merchants (
  merchant BIGINT, region BIGINT, name VARCHAR, fee BIGINT, gone BOOLEAN, at TIMESTAMP,
  PRIMARY KEY (merchant), WATERMARK FOR at AS at - INTERVAL 'LATENESS' MINUTE) WITH (delete_column = 'gone');
CREATE TABLE regions (
  region BIGINT, kind VARCHAR, label VARCHAR, weight BIGINT, at TIMESTAMP,
  PRIMARY KEY (region, kind), WATERMARK FOR at AS at - INTERVAL 'LATENESS' MINUTE);
CREATE FEATURE VIEW by_account AS
SELECT t.account, count(*) OVER h AS n, sum(t.amount / m.fee) OVER h AS shares, count(m.name) OVER h AS named
FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant
WINDOW h AS (PARTITION BY t.account ORDER BY t.ts RANGE BETWEEN INTERVAL '20' MINUTE PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW by_label AS
SELECT r.label, count(*) OVER w AS n, last_value(t.id) OVER w AS last, sum(r.weight) OVER l AS weight
FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant
LEFT JOIN regions FOR SYSTEM_TIME AS OF t.ts AS r ON r.region = m.region AND r.kind = m.name
WHERE t.amount > 2
WINDOW w AS (PARTITION BY r.label ORDER BY t.ts ROWS BETWEEN 3 PRECEDING AND CURRENT ROW),
  l AS (PARTITION BY r.label ORDER BY t.ts);
CREATE STREAM priced AS
SELECT t.id, t.account, m.region, m.name, 60 / (t.amount - m.fee) AS price, t.ts
FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant WHERE m.fee <> 3;
CREATE STREAM either AS
SELECT account, name, price FROM priced UNION ALL SELECT account, 'plain' AS name, amount AS price FROM tx;
CREATE FEATURE VIEW by_either AS
SELECT account, sum(price) OVER h AS prices, last_value(name) OVER r AS last, count(*) OVER r AS n FROM either
WINDOW h AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '20' MINUTE PRECEDING AND CURRENT ROW),
  r AS (PARTITION BY account ORDER BY ts ROWS BETWEEN 4 PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW of_priced AS
SELECT p.account, count(*) OVER w AS n, max(r.label) OVER w AS label, sum(r.weight * p.price) OVER w AS weighed
FROM priced AS p LEFT JOIN regions FOR SYSTEM_TIME AS OF p.ts AS r ON r.region = p.region AND r.kind = p.name
WINDOW w AS (PARTITION BY p.account ORDER BY p.ts);
CREATE FEATURE VIEW plain AS
SELECT account, count(*) OVER w AS n, sum(amount) OVER w AS s FROM tx WINDOW w AS (PARTITION BY account ORDER BY ts);
CREATE FEATURE VIEW merchant AS
SELECT merchant, name, 60 / fee AS share, coalesce(region, 9) AS region FROM merchants WHERE 100 / (fee - 4) > -60;
CREATE FEATURE VIEW region AS SELECT region, kind, label, weight FROM regions;
";
/// Of the entity keys of a view: 0 are numbers, 1 names, 2 both.
const VIEW_KEYS: [usize; 7] = [0, 1, 0, 0, 0, 0, 2];
/// Reads go so far back behind the watermark.
const FLOOR_BACK_US: i64 = 30 * MINUTE_US;

#[derive(Debug, Clone)]
enum Row {
    Event { id: i64, account: Option<i64>, merchant: Option<i64>, amount: i64, minute: i64 },
    Merchant { merchant: i64, region: Option<i64>, name: usize, fee: i64, gone: Option<bool>, minute: i64 },
    Region { region: i64, kind: usize, label: usize, weight: i64, minute: i64 },
}

fn row() -> impl Strategy<Value = Row> {
    let key = || prop::option::weighted(0.95, 0..KEYS);
    let event = (0..30i64, key(), key(), 0..8i64, 0..40i64)
        .prop_map(|(id, account, merchant, amount, minute)| Row::Event { id, account, merchant, amount, minute });
    let gone = prop::option::weighted(0.4, prop::bool::weighted(0.6));
    let merchant =
        (0..KEYS, key(), 0..3usize, 0..6i64, gone, 0..40i64).prop_map(|(merchant, region, name, fee, gone, minute)| {
            Row::Merchant { merchant, region, name, fee, gone, minute }
        });
    let region = (0..KEYS, 0..3usize, 0..4usize, 0..6i64, 0..40i64)
        .prop_map(|(region, kind, label, weight, minute)| Row::Region { region, kind, label, weight, minute });
    prop_oneof![5 => event, 3 => merchant, 2 => region]
}

/// Groups of batches of rows: each group is one version.
fn groups() -> impl Strategy<Value = Vec<Vec<Vec<Row>>>> {
    let batch = prop::collection::vec(row(), 1..8);
    prop::collection::vec(prop::collection::vec(batch, 1..4), 1..14)
}

fn into(row: &Row) -> Into {
    match row {
        Row::Event { .. } => Into::Stream,
        Row::Merchant { .. } => Into::Table(0),
        Row::Region { .. } => Into::Table(1),
    }
}

fn numbers(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn texts(values: impl Iterator<Item = usize>) -> ArrayRef {
    Arc::new(values.map(|name| Some(NAMES[name])).collect::<StringArray>())
}

fn columns(rows: &[&Row]) -> Vec<ArrayRef> {
    let number = |of: &dyn Fn(&Row) -> Option<i64>| numbers(rows.iter().map(|row| of(row)));
    let text = |of: &dyn Fn(&Row) -> usize| texts(rows.iter().map(|row| of(row)));
    let minute = |row: &Row| match row {
        Row::Event { minute, .. } | Row::Merchant { minute, .. } | Row::Region { minute, .. } => *minute,
    };
    let times = rows.iter().map(|row| minute(row) * MINUTE_US);
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(times));
    macro_rules! of {
        ($kind:ident, $field:ident, $make:expr, $none:expr) => {
            &|row: &Row| match row {
                Row::$kind { $field, .. } => $make(*$field),
                _ => $none,
            }
        };
    }
    match into(rows[0]) {
        Into::Stream => vec![
            number(of!(Event, id, Some, None)),
            number(of!(Event, account, std::convert::identity, None)),
            number(of!(Event, merchant, std::convert::identity, None)),
            number(of!(Event, amount, Some, None)),
            times,
        ],
        Into::Table(0) => {
            let gone = rows.iter().map(|row| match row {
                Row::Merchant { gone, .. } => *gone,
                _ => None,
            });
            vec![
                number(of!(Merchant, merchant, Some, None)),
                number(of!(Merchant, region, std::convert::identity, None)),
                text(of!(Merchant, name, std::convert::identity, 0)),
                number(of!(Merchant, fee, Some, None)),
                Arc::new(gone.collect::<BooleanArray>()),
                times,
            ]
        }
        Into::Table(_) => vec![
            number(of!(Region, region, Some, None)),
            text(of!(Region, kind, std::convert::identity, 0)),
            text(of!(Region, label, std::convert::identity, 0)),
            number(of!(Region, weight, Some, None)),
            times,
        ],
    }
}

/// The rows of a batch by where they go, in their order.
fn batches(world: &World, rows: &[Row]) -> Vec<Batch> {
    let all = [Into::Stream, Into::Table(0), Into::Table(1)];
    let own = |place: Into| {
        let rows: Vec<&Row> = rows.iter().filter(|row| into(row) == place).collect();
        let first = rows.first()?;
        let declared = world.declared(into(first));
        let fields = declared.columns.iter().map(|column| column.name.clone()).zip(columns(&rows));
        let rows_batch =
            RecordBatch::try_from_iter_with_nullable(fields.map(|(name, array)| (name, array, true))).unwrap();
        let arrived_us = vec![1_000 * MINUTE_US; rows.len()];
        Some(Batch { into: place, partition: 0, rows: rows_batch, unreadable: Vec::new(), arrived_us })
    };
    all.into_iter().filter_map(own).collect()
}

fn world(lateness: i64, shards: usize) -> World {
    World::new(&SQL.replace("LATENESS", &lateness.to_string()), 1, shards).unwrap()
}

/// All that can be read at a version, as of some instants from `from_us` on.
fn read(world: &World, version: Version, from_us: i64) -> Vec<String> {
    let mut all = Vec::new();
    for (view, keys) in VIEW_KEYS.into_iter().enumerate() {
        for key in 0..KEYS {
            let number = || numbers(std::iter::once(Some(key)));
            for (name, t_us) in [0, 5, 17, 22, 39, 45, 90].into_iter().map(|minute| minute * MINUTE_US).enumerate() {
                let parts = match keys {
                    0 => vec![number()],
                    1 => vec![texts(std::iter::once(key as usize))],
                    _ => vec![number(), texts(std::iter::once(name % 4))],
                };
                if t_us >= from_us {
                    let of = &world.project.views[view].name;
                    all.push(format!("{of} {key} {t_us}: {}", world.read(view, &parts, t_us, version)));
                }
            }
        }
    }
    all
}

/// What logs have, in the plainest order: the tables up to their ends, then the stream.
fn plainest(lateness: i64, logs: &[Stored]) -> World {
    let mut world = world(lateness, 2);
    let mut logs: Vec<&Stored> = logs.iter().collect();
    logs.sort_by_key(|stored| stored.into);
    logs.iter().for_each(|stored| world.recall(stored, true, Judgement::Recalled));
    world
}

/// Takes a group in and adds what the logs keep of it.
fn take(world: &mut World, group: &[Vec<Row>], logs: &mut Vec<Stored>) -> usize {
    let mut batches: Vec<Batch> = group.iter().flat_map(|rows| batches(world, rows)).collect();
    batches.sort_by_key(|batch| batch.into);
    let taken = world.arrive(&batches);
    logs.extend(taken.stored);
    taken.rejoined
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Nothing is settled: every version can be read until the end.
    #[test]
    fn every_version_reads_as_if_tables_had_come_first(groups in groups(), lateness in prop::sample::select(vec![3i64, 60])) {
        let mut live = world(lateness, 4);
        let mut logs: Vec<Vec<Stored>> = vec![Vec::new()];
        for group in &groups {
            let mut log = logs[logs.len() - 1].clone();
            take(&mut live, group, &mut log);
            logs.push(log);
        }
        for (version, log) in logs.iter().enumerate() {
            let expected = plainest(lateness, log);
            prop_assert_eq!(read(&live, Version(version as u64), 0), read(&expected, Version(0), 0), "version {}", version);
        }
    }

    /// Versions are settled as they come, events and versions dropped that no read needs.
    #[test]
    fn what_is_dropped_is_needed_by_no_one(groups in groups(), lateness in 2..12i64) {
        let (mut live, mut log) = (world(lateness, 4), Vec::new());
        for (turn, group) in groups.iter().enumerate() {
            let later: Vec<Vec<Row>> = group.iter().map(|rows| rows.iter().map(|row| moved(row, turn)).collect()).collect();
            take(&mut live, &later, &mut log);
            let watermark_us = live.stream.as_ref().unwrap().watermark_us();
            let floor_us = watermark_us.map(|watermark_us| watermark_us - FLOOR_BACK_US);
            live.settle(Settled { version: live.version, floor_us, coming_from_us: None });
            let expected = plainest(lateness, &log);
            let from_us = floor_us.unwrap_or_default();
            prop_assert_eq!(read(&live, live.version, from_us), read(&expected, Version(0), from_us));
        }
    }

    /// A checkpoint has the views, the counts and where held rows begin; the rest comes from the logs.
    #[test]
    fn a_restart_changes_nothing(groups in groups(), lateness in 2..30i64, cut in 0..14usize, behind in 0..3usize) {
        let (mut live, mut log) = (world(lateness, 4), Vec::new());
        let cut = cut.min(groups.len());
        groups[..cut].iter().for_each(|group| { take(&mut live, group, &mut log); });
        let checkpoint = Checkpoint::of(&live, log.len());
        // Some groups more come before the crash.
        let crash = (cut + behind).min(groups.len());
        groups[cut..crash].iter().for_each(|group| { take(&mut live, group, &mut log); });
        let mut again = checkpoint.restored(lateness, &log);
        prop_assert_eq!(read(&again, Version(0), 0), read(&live, live.version, 0), "after the restart");
        let mut ignored = Vec::new();
        for group in &groups[crash..] {
            let rejoined = take(&mut live, group, &mut log);
            prop_assert_eq!(take(&mut again, group, &mut ignored), rejoined, "as many rows are held");
            prop_assert_eq!(read(&again, again.version, 0), read(&live, live.version, 0));
        }
        // Not the rows of derived streams: those of the log were counted with the versions of today.
        let counts = |world: &World| {
            let counts = world.stream.as_ref().unwrap().counts();
            (counts.accounting, counts.newest_us, counts.partitions)
        };
        prop_assert_eq!(counts(&again), counts(&live));
    }
}

/// Later by some minutes for each turn.
fn moved(row: &Row, turn: usize) -> Row {
    let mut row = row.clone();
    match &mut row {
        Row::Event { minute, .. } | Row::Merchant { minute, .. } | Row::Region { minute, .. } => {
            *minute = *minute / 4 + 4 * turn as i64;
        }
    }
    row
}

/// What is stored of a world.
struct Checkpoint {
    images: Vec<Vec<u8>>,
    counts: Vec<asof_feature::StreamCounts>,
    held_from: Vec<(u32, u64)>,
    /// How many batches of the logs it has.
    batches: usize,
}

impl Checkpoint {
    fn of(world: &World, batches: usize) -> Checkpoint {
        let image = |view: &Arc<asof_feature::OnlineView>| {
            view.begin_capture(Captured::Whole);
            let mut image = Vec::new();
            for shard in 0..view.shards() {
                while !view.capture(shard, 1_000, &mut image) {}
            }
            image
        };
        let stream = world.stream.as_ref().unwrap();
        let tables = world.tables.iter().map(|table| table.stream().counts());
        Checkpoint {
            images: world.views.iter().map(image).collect(),
            counts: tables.chain([stream.counts()]).collect(),
            held_from: stream.held_from(),
            batches,
        }
    }

    /// The steps of a recovery: the tables as they were, the held rows, then what came later to the tables, then to the
    /// stream.
    fn restored(&self, lateness: i64, log: &[Stored]) -> World {
        let mut world = world(lateness, 8);
        for (view, image) in world.views.iter().zip(&self.images) {
            view.restore(std::slice::from_ref(image), 2).unwrap();
        }
        for (place, table) in world.tables.iter_mut().enumerate() {
            table.stream_mut().set_counts(&self.counts[place]);
        }
        world.stream.as_mut().unwrap().set_counts(&self.counts[world.tables.len()]);
        let (known, later) = log.split_at(self.batches);
        let is_table = |stored: &&Stored| stored.into != Into::Stream;
        known.iter().filter(is_table).for_each(|stored| world.recall(stored, false, Judgement::Known));
        let held_from = self.held_from.iter().find(|(partition, _)| *partition == 0).map(|(_, offset)| *offset);
        for stored in known.iter().filter(|stored| !is_table(stored)) {
            if held_from.is_some_and(|from| stored.offsets.last().is_some_and(|last| *last >= from)) {
                world.recall(stored, false, Judgement::Known);
            }
        }
        later.iter().filter(is_table).for_each(|stored| world.recall(stored, true, Judgement::Recalled));
        let of_stream = later.iter().filter(|stored| !is_table(stored));
        of_stream.for_each(|stored| world.recall(stored, true, Judgement::Recalled));
        for into in [Into::Stream, Into::Table(0), Into::Table(1)] {
            let arrivals = |stored: &Stored| stored.counts.total();
            let next = log.iter().filter(|stored| stored.into == into).map(arrivals).sum();
            world.set_next_offset(into, 0, next);
        }
        world
    }
}

/// Which rows are held, and which of them versions reach: without any the tests above would pass for nothing.
#[test]
fn versions_reach_the_rows_that_are_held() {
    let mut live = world(60, 4);
    let event = |id, minute| Row::Event { id, account: Some(1), merchant: Some(1), amount: 6, minute };
    let version = |fee, minute| Row::Merchant { merchant: 1, region: None, name: 0, fee, gone: None, minute };
    let (mut log, at) = (Vec::new(), 30 * MINUTE_US);
    take(&mut live, &[vec![event(1, 20), event(2, 21), event(3, 10)]], &mut log);
    let account = [numbers(std::iter::once(Some(1)))];
    let shares = |live: &World, version| live.read(0, &account, at, Version(version));
    assert_eq!(live.stream.as_ref().unwrap().held_rows(), 3);
    assert_eq!(take(&mut live, &[vec![version(2, 15)]], &mut log), 2);
    assert_eq!(take(&mut live, &[vec![version(3, 21)]], &mut log), 1);
    assert_eq!(take(&mut live, &[vec![version(1, 5)]], &mut log), 1);
    assert!(shares(&live, 2) != shares(&live, 1) && shares(&live, 3) != shares(&live, 2));
    assert_eq!(live.stream.as_ref().unwrap().held_from(), [(0, 0)]);
    assert_eq!(live.stream.as_ref().unwrap().accounting().used, 3);
}

/// Behind a table the key that a row asks for changes with the version that it has.
#[test]
fn versions_reach_rows_by_the_key_that_they_ask_for_now() {
    let (mut live, mut log) = (world(60, 1), Vec::new());
    let merchant =
        |region, minute| Row::Merchant { merchant: 1, region: Some(region), name: 0, fee: 1, gone: None, minute };
    let region = |region, minute| Row::Region { region, kind: 0, label: 0, weight: 1, minute };
    let event = Row::Event { id: 1, account: Some(1), merchant: Some(1), amount: 6, minute: 30 };
    take(&mut live, &[vec![merchant(2, 1), event]], &mut log);
    assert_eq!(take(&mut live, &[vec![region(2, 2)]], &mut log), 1);
    assert_eq!(take(&mut live, &[vec![merchant(3, 3)]], &mut log), 1);
    assert_eq!(take(&mut live, &[vec![region(2, 4)]], &mut log), 0, "it asks for another one now");
    assert_eq!(take(&mut live, &[vec![region(3, 5)]], &mut log), 1);
    assert_eq!(take(&mut live, &[vec![region(3, 31)]], &mut log), 0, "it holds from after the event on");
}

/// A table that changes no more holds nothing up; one that has had no version yet may still change everything.
#[test]
fn rows_are_held_as_long_as_versions_may_come() {
    let event = |id, minute| Row::Event { id, account: Some(1), merchant: Some(1), amount: 6, minute };
    let region = |minute| Row::Region { region: 0, kind: 0, label: 0, weight: 1, minute };
    let merchant = |minute| Row::Merchant { merchant: 2, region: None, name: 0, fee: 1, gone: None, minute };
    let (mut live, mut log) = (world(5, 1), Vec::new());
    let held = |world: &World| world.stream.as_ref().unwrap().held_rows();
    take(&mut live, &[vec![event(1, 10), event(2, 20), event(3, 30)]], &mut log);
    take(&mut live, &[vec![merchant(30)]], &mut log);
    assert_eq!((held(&live), live.stream.as_ref().unwrap().held_from_us()), (3, None));
    take(&mut live, &[vec![region(36)]], &mut log);
    assert_eq!(live.stream.as_ref().unwrap().held_from_us(), Some(25 * MINUTE_US), "the least of the watermarks");
    live.tables.iter_mut().for_each(|table| table.set_coming(ComingVersions::NoneThatChanges));
    take(&mut live, &[vec![event(4, 31)]], &mut log);
    assert_eq!((held(&live), live.stream.as_ref().unwrap().looks_up_from_us()), (0, Some(26 * MINUTE_US)));
}

/// What no view reads of a table is not there, and a version that changes nothing of it moves no event.
#[test]
fn what_no_join_brings_is_not_kept() {
    let live = world(60, 1);
    let brought = |table: usize| live.tables[table].versions().columns_kept();
    assert_eq!(brought(0), ["region", "name", "fee"]);
    assert_eq!(brought(1), ["label", "weight"]);
}
