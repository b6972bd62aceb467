//! Rows that get the features of a service: over crashes of all kinds each event has one, with the values that a naive model gives
//! over what was visible with it; and one that is there never changes.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use asof_connect::StoredStream;
use asof_pipeline::{Engine, Steps};

use crate::world::{BEGIN_US, DATA, SECOND_US, World, leave};

/// By `last_two` it matters at which of several events of one time a row stands.
const SQL: &str = "
CREATE STREAM tx (id BIGINT NOT NULL, account BIGINT NOT NULL, shop INTEGER, amount BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
  PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '10' SECOND) WITH (dedup_horizon = '1 hour');
CREATE FEATURE VIEW accounts AS
SELECT account, count(*) OVER w AS n, sum(amount) OVER w AS s, sum(amount) OVER two AS last_two,
  sum(id) OVER before AS before, sum(amount) OVER others AS others
FROM tx
WINDOW w AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '15' SECOND PRECEDING AND CURRENT ROW),
  two AS (PARTITION BY account ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW),
  before AS (PARTITION BY account ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW),
  others AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '15' SECOND PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW);
CREATE STREAM sold AS SELECT CAST(shop AS BIGINT) AS place, amount, ts FROM tx WHERE amount > 20;
CREATE FEATURE VIEW shops AS SELECT place, count(*) OVER w AS n, max(amount) OVER w AS most FROM sold
WINDOW w AS (PARTITION BY place ORDER BY ts RANGE BETWEEN INTERVAL '15' SECOND PRECEDING AND CURRENT ROW);
CREATE FEATURE SERVICE both AS
SELECT a.n, a.s, a.last_two, a.before, a.others, m.n AS shop_n, r.amount - m.most AS below, 100 / (r.amount - 50) AS risky
FROM REQUEST (account BIGINT, shop BIGINT, amount BIGINT) AS r
LEFT JOIN accounts AS a ON a.account = r.account LEFT JOIN shops AS m ON m.place = r.shop;
CREATE STREAM scored AS SELECT t.id, t.shop, t.amount, FEATURES(both, t).*, FEATURES(both, t).n * 2 AS twice
FROM tx t WHERE t.amount < 90;
CREATE STREAM twice AS SELECT id, FEATURES(both, t).n AS n FROM large t;
CREATE STREAM large AS SELECT id, account, shop, amount, ts FROM scored_again WHERE amount > 60;
CREATE STREAM scored_again AS SELECT t.*, FEATURES(both, t).s AS s FROM tx t;";

const SEEDS: u64 = 120;
const EVENTS: i64 = 60;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % end as u64) as i64
    }
}

#[derive(Debug, Clone, Copy)]
struct Event {
    id: i64,
    account: i64,
    shop: Option<i64>,
    amount: i64,
    time_us: i64,
}

/// The columns of a row by their names.
type Row = BTreeMap<String, Option<i64>>;

/// What the service answers for an event over visible ones; `None` where a feature has no value.
fn model(event: &Event, visible: &[Event]) -> Option<Row> {
    let is_near = |other: &&Event| other.time_us <= event.time_us && other.time_us >= event.time_us - 15 * SECOND_US;
    let mut of_account: Vec<&Event> =
        visible.iter().filter(|other| other.account == event.account && other.time_us <= event.time_us).collect();
    of_account.sort_by_key(|other| (other.time_us, other.id));
    let own = of_account.iter().position(|other| other.id == event.id).unwrap();
    let near: Vec<&&Event> = of_account.iter().filter(|other| is_near(other)).collect();
    let two: i64 = of_account[own.saturating_sub(1)..=own].iter().map(|other| other.amount).sum();
    let before: Vec<i64> = of_account[own.saturating_sub(2)..own].iter().map(|other| other.id).collect();
    let in_shop = |other: &&Event| event.shop.is_some() && other.shop == event.shop && other.amount > 20;
    let sold: Vec<i64> = visible.iter().filter(in_shop).filter(is_near).map(|other| other.amount).collect();
    let risky = 100_i64.checked_div(event.amount - 50)?;
    let row = [
        ("id", Some(event.id)),
        ("shop", event.shop),
        ("amount", Some(event.amount)),
        ("n", Some(near.len() as i64)),
        ("s", Some(near.iter().map(|other| other.amount).sum())),
        ("last_two", Some(two)),
        ("before", Some(before.iter().sum()).filter(|_| !before.is_empty())),
        ("others", Some(near.iter().map(|other| other.amount).sum::<i64>() - event.amount).filter(|_| near.len() > 1)),
        ("shop_n", Some(sold.len() as i64)),
        ("below", sold.iter().max().map(|most| event.amount - most)),
        ("risky", Some(risky)),
        ("twice", Some(2 * near.len() as i64)),
    ];
    Some(row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

struct Run {
    world: World,
    chance: Chance,
    /// Sent so far, and known to be in the log, by the group that made them visible.
    groups: Vec<Vec<Event>>,
    next_id: i64,
    now_us: i64,
    /// The rows that were seen, by id.
    seen: BTreeMap<i64, Row>,
    crashes: u64,
    restored: u64,
}

impl Run {
    fn group(&mut self) -> Vec<Event> {
        self.now_us += self.chance.below(4) * SECOND_US;
        let count = 1 + self.chance.below(5);
        let event = |place: i64| Event {
            id: self.next_id + place,
            account: self.chance.below(3),
            shop: Some(self.chance.below(4)).filter(|shop| *shop > 0),
            amount: self.chance.below(100),
            // Many of one time, none of them late.
            time_us: self.now_us - self.chance.below(9) * SECOND_US,
        };
        let mut events: Vec<Event> = (0..count).map(event).collect();
        // Ids are not in the order of arrival.
        let ids: Vec<i64> = events.iter().rev().map(|event| event.id).collect();
        events.iter_mut().zip(ids).for_each(|(event, id)| event.id = id);
        self.next_id += count;
        events
    }

    /// A life until something happens to it.
    fn life(&mut self) -> Option<()> {
        let engine = self.world.engine(SQL).ok()?;
        let mut job = Steps::recover(&engine).ok()?;
        self.restored += u64::from(engine.checkpoint_measures().last().epoch > 0);
        self.look(&engine);
        for _ in 0..self.chance.below(10) {
            self.world.pass_us(SECOND_US / 10);
            match self.chance.below(7) {
                0 => {
                    for _ in 0..self.chance.below(300) {
                        if !job.checkpoint().ok()? {
                            break;
                        }
                    }
                }
                1 => engine.maintain().ok()?,
                _ => self.send(&engine, &mut job)?,
            }
            self.look(&engine);
        }
        if self.chance.below(3) == 0 {
            job.finish().ok()?;
        }
        Some(())
    }

    fn send(&mut self, engine: &Engine, job: &mut Steps<'_>) -> Option<()> {
        let group = self.group();
        let line = |event: &Event| {
            let Event { id, account, shop, amount, time_us } = event;
            let shop = shop.map_or("null".to_owned(), |shop| shop.to_string());
            format!("{{\"id\":{id},\"account\":{account},\"shop\":{shop},\"amount\":{amount},\"ts\":{time_us}}}\n")
        };
        let answered = leave(engine, 0, group.iter().map(line).collect(), None).ok()?;
        // Whether it came in is known at the next start.
        self.groups.push(group);
        job.commit().ok()?;
        let receipt = answered.lock().unwrap().take().expect("what was committed was answered").ok()?;
        assert_eq!(receipt.late + receipt.rejected + receipt.duplicates, 0, "{receipt:?}");
        Some(())
    }

    /// What is there stays as it is.
    fn look(&mut self, engine: &Engine) {
        // A disk that has stopped says nothing.
        for row in rows(&self.world, engine, "scored").unwrap_or_default() {
            let id = row["id"].unwrap();
            let known = self.seen.entry(id).or_insert_with(|| row.clone());
            assert_eq!(*known, row, "the row of {id} has changed");
        }
    }
}

/// The rows that the log of a stream has, as far as readers may see them.
fn rows(world: &World, engine: &Engine, stream: &str) -> Option<Vec<Row>> {
    let place = engine.sources().iter().position(|source| source.name == stream).unwrap();
    let form = engine.stored_form(place);
    let end_offset = engine.published().streams[place].next_offsets[0];
    let mut stored = StoredStream::open(world.disk.shared(), Path::new(DATA), &form, 0, 0).ok()?;
    let mut rows = Vec::new();
    while let Some(frame) = stored.next_frame().ok()? {
        if frame.first_offset >= end_offset {
            break;
        }
        (0..frame.batch.used.num_rows()).for_each(|row| rows.push(row_of(&frame.batch.used, row)));
    }
    Some(rows)
}

fn row_of(batch: &RecordBatch, row: usize) -> Row {
    let columns = batch.schema_ref().fields().iter().zip(batch.columns());
    let integers = columns.filter_map(|(field, column)| {
        let value = match column.data_type() {
            DataType::Int64 => column.as_primitive::<Int64Type>().value(row),
            DataType::Int32 => i64::from(column.as_primitive::<Int32Type>().value(row)),
            _ => return None,
        };
        Some((field.name().clone(), column.is_valid(row).then_some(value)))
    });
    integers.collect()
}

/// The events of the log of `tx`, by group of those that came in together.
fn logged(world: &World, engine: &Engine) -> Vec<Vec<i64>> {
    let form = engine.stored_form(0);
    let mut stored = StoredStream::open(world.disk.shared(), Path::new(DATA), &form, 0, 0).unwrap();
    let mut groups = Vec::new();
    while let Some(frame) = stored.next_frame().unwrap() {
        let ids = frame.batch.used.column(0).as_primitive::<Int64Type>().clone();
        groups.push(ids.values().to_vec());
    }
    groups
}

#[test]
fn each_event_is_scored_once_over_crashes() {
    let (mut crashes, mut restored, mut scored, mut aside) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        let mut run = Run {
            world: World::new(seed),
            chance: Chance(!seed),
            groups: Vec::new(),
            next_id: 0,
            now_us: BEGIN_US,
            seen: BTreeMap::new(),
            crashes: 0,
            restored: 0,
        };
        while run.next_id < EVENTS {
            match run.chance.below(4) {
                0 => run.world.disk.crash_at(run.world.disk.operations() + run.chance.below(160) as u64),
                1 => run.world.disk.fail_sync(1 + run.chance.below(12) as u64),
                _ => {}
            }
            let is_well = run.life().is_some();
            run.crashes += u64::from(!is_well);
            if is_well && run.chance.below(2) == 0 {
                run.world.disk.kill()
            } else {
                run.world.disk.crash()
            }
            run.world.disk.crash_at(u64::MAX);
            run.world.disk.fail_sync(1 << 60);
        }
        let engine = run.world.engine(SQL).unwrap();
        let mut job = Steps::recover(&engine).unwrap();
        run.send(&engine, &mut job).unwrap();
        run.look(&engine);
        let sent: BTreeMap<i64, Event> = run.groups.iter().flatten().map(|event| (event.id, *event)).collect();
        let found = rows(&run.world, &engine, "scored").unwrap();
        let by_id: BTreeMap<i64, &Row> = found.iter().map(|row| (row["id"].unwrap(), row)).collect();
        assert_eq!(by_id.len(), found.len(), "seed {seed}: an event has two rows");
        let ids = |stream: &str| -> Vec<i64> {
            rows(&run.world, &engine, stream).unwrap().iter().map(|row| row["id"].unwrap()).collect()
        };
        let (again, twice) = (ids("scored_again"), ids("twice"));
        let (mut visible, mut all): (Vec<Event>, Vec<i64>) = (Vec::new(), Vec::new());
        let groups: Vec<Vec<Event>> =
            logged(&run.world, &engine).iter().map(|ids| ids.iter().map(|id| sent[id]).collect()).collect();
        for (number, group) in groups.iter().enumerate() {
            visible.extend(group);
            for event in group {
                all.push(event.id);
                let is_in = event.amount < 90 && event.amount != 50;
                assert_eq!(by_id.contains_key(&event.id), is_in, "seed {seed}: {event:?}");
                aside += u64::from(event.amount == 50);
                let Some(row) = by_id.get(&event.id) else { continue };
                // Where the process ended in between it was scored over what the next start found.
                let mut later = visible.clone();
                let answers = groups[number + 1..].iter().map(|group| {
                    later.extend(group);
                    model(event, &later).unwrap()
                });
                let answers: Vec<Row> = std::iter::once(model(event, &visible).unwrap()).chain(answers).collect();
                let found = answers.iter().position(|answer| answer == *row);
                assert!(found.is_some(), "seed {seed}: {event:?} is {row:?}, not {:?}", answers[0]);
                if run.crashes == 0 {
                    assert_eq!(found, Some(0), "seed {seed}: {event:?} is {row:?}, not {:?}", answers[0]);
                }
                scored += 1;
            }
        }
        assert_eq!(again, all, "seed {seed}");
        let large: Vec<i64> = all.iter().copied().filter(|id| sent[id].amount > 60).collect();
        assert_eq!(twice, large, "seed {seed}");
        (crashes, restored) = (crashes + run.crashes, restored + run.restored);
    }
    println!("{SEEDS} seeds: {crashes} crashes, {restored} checkpoints restored, {scored} rows scored, {aside} set aside");
    assert!(crashes > SEEDS / 2 && restored > SEEDS / 4 && scored > 4_000 && aside > 20);
}
