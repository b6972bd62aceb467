//! Groups of a table's rows against the simplest model: all versions that are known, gone over for each read. Versions come in
//! any order, by several partitions, delete rows, move them between groups, come at equal times, fail, and are let go of.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use asof_feature::{Captured, Judgement, Settled};
use asof_window::Version;
use proptest::prelude::*;

use crate::world::{Batch, Into, Stored, World};

const MINUTE_US: i64 = 60_000_000;
const ITEMS: i64 = 5;
const CARTS: i64 = 3;
const NAMES: [&str; 3] = ["ink", "pen", "book"];
const PARTITIONS: u32 = 2;
const INSTANTS: [i64; 9] = [-1, 0, 5, 12, 17, 22, 30, 39, 90];
/// Reads go so far back behind the watermark.
const FLOOR_BACK_US: i64 = 10 * MINUTE_US;

/// A row with a quantity of 3 does not pass, and one without a price fails.
const SQL: &str = "
CREATE TABLE items (
  item BIGINT, cart BIGINT, name VARCHAR, price BIGINT, quantity BIGINT, unread VARCHAR, gone BOOLEAN, at TIMESTAMP,
  PRIMARY KEY (item), WATERMARK FOR at AS at - INTERVAL 'LATENESS' MINUTE) WITH (delete_column = 'gone');
CREATE FEATURE VIEW cart AS
SELECT cart, count(*) AS n, sum(60 / price * quantity) AS total, max(name) AS last_name, median(quantity) AS middle,
  count(DISTINCT name) AS names, first_value(item) AS oldest, count(*) FILTER (WHERE price > 2) AS dear
FROM items WHERE quantity <> 3 GROUP BY cart;
CREATE FEATURE VIEW named AS
SELECT upper(name) AS name, count(*) AS n, avg(price) AS price FROM items GROUP BY upper(name);
";

/// One version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    item: i64,
    cart: Option<i64>,
    name: usize,
    price: i64,
    quantity: i64,
    gone: bool,
    minute: i64,
}

/// A version that was used.
#[derive(Debug, Clone)]
struct Known {
    row: Row,
    partition: u32,
    offset: u64,
}

impl Known {
    fn order(&self) -> (i64, i64, u32, u64) {
        (self.row.minute, self.row.item, self.partition, self.offset)
    }
}

fn row() -> impl Strategy<Value = Row> {
    let cart = prop::option::weighted(0.95, 0..CARTS);
    let values = (0..3usize, 0..5i64, 1..5i64, prop::bool::weighted(0.2));
    (0..ITEMS, cart, values, 0..40i64).prop_map(|(item, cart, (name, price, quantity, gone), minute)| Row {
        item,
        cart,
        name,
        price,
        quantity,
        gone,
        minute,
    })
}

/// Batches by partition; those of a group are one version.
type Group = Vec<(u32, Vec<Row>)>;

fn groups() -> impl Strategy<Value = Vec<Group>> {
    let batch = (0..PARTITIONS, prop::collection::vec(row(), 1..7));
    prop::collection::vec(prop::collection::vec(batch, 1..4), 1..14)
}

fn numbers(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn batch(world: &World, partition: u32, rows: &[Row]) -> Batch {
    let number = |of: &dyn Fn(&Row) -> Option<i64>| numbers(rows.iter().map(of));
    let columns: Vec<ArrayRef> = vec![
        number(&|row| Some(row.item)),
        number(&|row| row.cart),
        Arc::new(rows.iter().map(|row| Some(NAMES[row.name])).collect::<StringArray>()),
        number(&|row| Some(row.price)),
        number(&|row| Some(row.quantity)),
        Arc::new(rows.iter().map(|_| Some("never asked for")).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.gone.then_some(true)).collect::<BooleanArray>()),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.minute * MINUTE_US))),
    ];
    let declared = world.declared(Into::Table(0));
    let fields = declared.columns.iter().zip(columns).map(|(column, array)| (column.name.clone(), array, true));
    Batch {
        into: Into::Table(0),
        partition,
        rows: RecordBatch::try_from_iter_with_nullable(fields).unwrap(),
        unreadable: Vec::new(),
        arrived_us: vec![1_000 * MINUTE_US; rows.len()],
    }
}

fn world(lateness: i64, shards: usize) -> World {
    World::new(&SQL.replace("LATENESS", &lateness.to_string()), PARTITIONS, shards).unwrap()
}

fn take(world: &mut World, group: &Group, log: &mut Vec<Stored>) {
    let batches: Vec<Batch> = group.iter().map(|(partition, rows)| batch(world, *partition, rows)).collect();
    log.extend(world.arrive(&batches).stored);
}

/// What the log has.
fn known(log: &[Stored]) -> Vec<Known> {
    let of = |stored: &Stored| -> Vec<Known> {
        let number = |column: usize, row: usize| {
            let numbers = stored.used.column(column).as_primitive::<Int64Type>();
            numbers.is_valid(row).then(|| numbers.value(row))
        };
        let names = stored.used.column(2).as_string::<i32>();
        let gone = stored.used.column(6).as_boolean();
        let times = stored.used.column(7).as_primitive::<TimestampMicrosecondType>();
        let row = |row: usize| Row {
            item: number(0, row).unwrap(),
            cart: number(1, row),
            name: NAMES.iter().position(|name| *name == names.value(row)).unwrap(),
            price: number(3, row).unwrap(),
            quantity: number(4, row).unwrap(),
            gone: gone.is_valid(row) && gone.value(row),
            minute: times.value(row) / MINUTE_US,
        };
        let rows = stored.offsets.iter().enumerate();
        rows.map(|(at, offset)| Known { row: row(at), partition: stored.partition, offset: *offset }).collect()
    };
    log.iter().flat_map(of).collect()
}

/// Of each item the newest version until an instant, in the order of events.
fn valid(known: &[Known], minute: i64) -> Vec<Row> {
    let mut newest: BTreeMap<i64, &Known> = BTreeMap::new();
    let mut ordered: Vec<&Known> = known.iter().filter(|one| one.row.minute <= minute).collect();
    ordered.sort_by_key(|one| one.order());
    ordered.into_iter().for_each(|one| {
        newest.insert(one.row.item, one);
    });
    let mut rows: Vec<&Known> = newest.into_values().filter(|one| !one.row.gone).collect();
    rows.sort_by_key(|one| one.order());
    rows.into_iter().map(|one| one.row.clone()).collect()
}

fn text(value: Option<impl std::fmt::Display>) -> String {
    value.map_or("NULL".to_owned(), |value| value.to_string())
}

/// The features of a cart, as text.
fn expected_cart(known: &[Known], cart: i64, minute: i64) -> String {
    let is_in = |row: &Row| row.cart == Some(cart) && row.quantity != 3 && row.price != 0;
    let rows: Vec<Row> = valid(known, minute).into_iter().filter(is_in).collect();
    let mut quantities: Vec<i64> = rows.iter().map(|row| row.quantity).collect();
    quantities.sort_unstable();
    let middle =
        (!rows.is_empty()).then(|| (quantities[(rows.len() - 1) / 2] as f64 + quantities[rows.len() / 2] as f64) / 2.0);
    let mut names: Vec<&str> = rows.iter().map(|row| NAMES[row.name]).collect();
    names.sort_unstable();
    names.dedup();
    let total = (!rows.is_empty()).then(|| rows.iter().map(|row| 60 / row.price * row.quantity).sum::<i64>());
    let dear = rows.iter().filter(|row| row.price > 2).count();
    let (last_name, oldest) = (names.last(), rows.first().map(|row| row.item));
    format!(
        "{} {} {} {} {} {} {dear} known {}",
        rows.len(),
        text(total),
        text(last_name),
        text(middle),
        names.len(),
        text(oldest),
        !rows.is_empty()
    )
}

/// The features of a name, as text.
fn expected_name(known: &[Known], name: usize, minute: i64) -> String {
    let rows: Vec<Row> = valid(known, minute).into_iter().filter(|row| row.name == name).collect();
    let price = (!rows.is_empty()).then(|| rows.iter().map(|row| row.price).sum::<i64>() as f64 / rows.len() as f64);
    format!("{} {} known {}", rows.len(), text(price), !rows.is_empty())
}

fn read(world: &World, view: usize, key: ArrayRef, minute: i64, version: Version) -> String {
    let answers = world.views[view].read(&[key], &[minute * MINUTE_US], version).unwrap();
    assert!(answers.failures.is_empty());
    let value = |array: &ArrayRef| match array.data_type() {
        _ if array.is_null(0) => "NULL".to_owned(),
        arrow::datatypes::DataType::Float64 => array.as_primitive::<Float64Type>().value(0).to_string(),
        arrow::datatypes::DataType::Utf8 => array.as_string::<i32>().value(0).to_owned(),
        _ => array.as_primitive::<Int64Type>().value(0).to_string(),
    };
    let features: Vec<String> = answers.features.iter().map(value).collect();
    format!("{} known {}", features.join(" "), answers.known.value(0))
}

/// All that can be read at a version as of some instants from `from_us` on, beside what the model says.
/// Images of each view by shard, how many batches they have, and the counts.
type Checkpoint = (Vec<Vec<Vec<u8>>>, usize, asof_feature::StreamCounts);

fn check(world: &World, log: &[Stored], version: Version, from_us: i64) -> Result<(), TestCaseError> {
    let known = known(log);
    for minute in INSTANTS.into_iter().filter(|minute| minute * MINUTE_US >= from_us) {
        for cart in 0..CARTS {
            let found = read(world, 0, numbers(std::iter::once(Some(cart))), minute, version);
            prop_assert_eq!(found, expected_cart(&known, cart, minute), "cart {} at {}", cart, minute);
        }
        for (place, name) in NAMES.iter().enumerate() {
            let key = Arc::new(StringArray::from(vec![name.to_uppercase()]));
            let found = read(world, 1, key, minute, version);
            prop_assert_eq!(found, expected_name(&known, place, minute), "{} at {}", name, minute);
        }
    }
    Ok(())
}

fn later(group: &Group, turn: usize) -> Group {
    let mut later = group.clone();
    let rows = later.iter_mut().flat_map(|(_, rows)| rows);
    rows.for_each(|row| row.minute = row.minute / 4 + 3 * turn as i64);
    later
}

/// The floor of reads behind the least watermark of the partitions.
fn floor_us(world: &World) -> Option<i64> {
    let from_us = world.tables[0].changeable_from_us();
    (from_us > i64::MIN).then(|| from_us - FLOOR_BACK_US)
}

fn settle(world: &mut World) -> Option<i64> {
    let floor_us = floor_us(world);
    world.settle(Settled { version: world.version, floor_us, coming_from_us: None });
    floor_us
}

/// The images of the views.
fn captured(world: &World, what: Captured) -> Vec<Vec<u8>> {
    let capture = |view: &Arc<asof_feature::OnlineView>| {
        view.begin_capture(what);
        let mut images = Vec::new();
        for shard in 0..view.shards() {
            while !view.capture(shard, 500, &mut images) {}
        }
        images
    };
    world.views.iter().map(capture).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Nothing is settled: every version can be read until the end, and late ones change only what comes after.
    #[test]
    fn every_version_reads_as_the_model(groups in groups(), lateness in prop::sample::select(vec![3i64, 60])) {
        let mut live = world(lateness, 4);
        let mut logs: Vec<Vec<Stored>> = vec![Vec::new()];
        for group in &groups {
            let mut log = logs[logs.len() - 1].clone();
            take(&mut live, group, &mut log);
            logs.push(log);
        }
        for (version, log) in logs.iter().enumerate() {
            check(&live, log, Version(version as u64), i64::MIN)?;
        }
    }

    /// Versions of the table and rows of groups are let go of as no read needs them, and in the middle
    /// the process starts again: from the images, and the versions from the log.
    #[test]
    fn what_is_let_go_of_is_needed_by_no_one(groups in groups(), lateness in 2..12i64, cut in 0..14usize, crash in 0..3usize) {
        let (mut live, mut log) = (world(lateness, 4), Vec::new());
        let mut stored: Option<Checkpoint> = None;
        for (turn, group) in groups.iter().enumerate() {
            if turn == cut + crash && let Some((images, batches, counts)) = stored.take() {
                live = restored(lateness, &images, &counts, log.split_at(batches));
            }
            take(&mut live, &later(group, turn), &mut log);
            let from_us = settle(&mut live);
            check(&live, &log, live.version, from_us.unwrap_or(i64::MIN))?;
            match turn {
                _ if turn + 1 == cut => {
                    stored = Some((vec![captured(&live, Captured::Whole)], log.len(), live.tables[0].stream().counts()));
                }
                // The next one builds on it.
                _ if turn == cut && let Some((images, batches, counts)) = &mut stored => {
                    images.push(captured(&live, Captured::Touched));
                    (*batches, *counts) = (log.len(), live.tables[0].stream().counts());
                }
                _ => {}
            }
        }
    }

    /// The same without any image: the views come from the log.
    #[test]
    fn a_start_from_the_log_changes_nothing(groups in groups(), lateness in 2..30i64) {
        let (mut live, mut log) = (world(lateness, 4), Vec::new());
        groups.iter().for_each(|group| take(&mut live, group, &mut log));
        let mut again = world(lateness, 1);
        log.iter().for_each(|stored| again.recall(stored, true, Judgement::Recalled));
        check(&again, &log, Version(0), i64::MIN)?;
        // By partition, not in the order in which they came.
        let mut again = world(lateness, 1);
        log.iter().filter(|one| one.partition == 1).for_each(|stored| again.recall(stored, true, Judgement::Recalled));
        log.iter().filter(|one| one.partition == 0).for_each(|stored| again.recall(stored, true, Judgement::Recalled));
        check(&again, &log, Version(0), i64::MIN)?;
    }
}

/// The steps of a recovery: the images, the versions that they have, and those that came later.
fn restored(
    lateness: i64,
    images: &[Vec<Vec<u8>>],
    counts: &asof_feature::StreamCounts,
    (before, after): (&[Stored], &[Stored]),
) -> World {
    let mut world = world(lateness, 8);
    for images in images {
        for (view, image) in world.views.iter().zip(images) {
            view.restore(std::slice::from_ref(image), 2).unwrap();
        }
    }
    world.tables[0].stream_mut().set_counts(counts);
    before.iter().for_each(|stored| world.recall(stored, false, Judgement::Known));
    after.iter().for_each(|stored| world.recall(stored, true, Judgement::Recalled));
    for partition in 0..PARTITIONS {
        let own = before.iter().chain(after).filter(|stored| stored.partition == partition);
        let next = own.map(|stored| stored.counts.total()).sum();
        world.set_next_offset(Into::Table(0), partition, next);
    }
    world
}

fn version(item: i64, cart: i64, gone: bool, minute: i64) -> Row {
    Row { item, cart: Some(cart), name: 0, price: 1, quantity: 1, gone, minute }
}

/// What is held: rows that ended before all reads go, from the views and from the table, and delete markers with them.
#[test]
fn rows_that_ended_are_let_go_of() {
    let (mut live, mut log) = (world(1, 1), Vec::new());
    let held = |world: &World| (world.views[0].held().events, world.tables[0].versions().held().versions);
    for minute in 0..100 {
        let group = vec![(0, vec![version(1, 1, false, minute)]), (1, vec![version(2, 1, minute > 50, minute)])];
        take(&mut live, &group, &mut log);
    }
    assert_eq!(held(&live).1, 200);
    assert_eq!(live.tables[0].groups_reach_back_to(), None, "nothing was let go of yet");
    // The watermark is at 98, and reads go back to 88.
    assert_eq!(settle(&mut live), Some(88 * MINUTE_US));
    take(&mut live, &vec![(0, vec![version(1, 1, false, 100)])], &mut log);
    settle(&mut live);
    settle(&mut live);
    let (events, versions) = held(&live);
    assert_eq!((events, versions), (13, 13 + 11), "from 88 on, and the markers that may yet end something");
    let reach = live.tables[0].groups_reach_back_to();
    assert_eq!(reach, Some((98 * MINUTE_US, "cart")));
}

/// Only what the view reads of a version is kept, with the key.
#[test]
fn what_no_group_reads_is_not_kept() {
    let live = world(60, 1);
    assert_eq!(live.tables[0].versions().columns_kept(), ["item", "cart", "name", "price", "quantity"]);
}
