//! Rows that get the features of a service: over crashes of all kinds each event has one, with the values that a naive model gives
//! over what was visible with it; and one that is there never changes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use asof_connect::StoredStream;
use asof_pipeline::{Engine, IngestError, Steps};

use crate::chance::Chance;
use crate::refusing_disk::{Refusals, refusing};
use crate::world::{BEGIN_US, DATA, SECOND_US, World, checkpoint, leave, send};

/// By `last_two` it matters at which of several events of one time a row stands.
const SQL: &str = "
CREATE STREAM tx (id BIGINT NOT NULL, account BIGINT NOT NULL, shop INTEGER, amount BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
  PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '10' SECOND) WITH (dedup_horizon = '1 hour', ack = 'durable');
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
SELECT a.n, a.s, a.last_two, a.before, a.others, m.n AS shop_n, r.amount - m.most AS below, 100 / (a.n - 3) AS risky
FROM REQUEST (account BIGINT, shop BIGINT, amount BIGINT) AS r
LEFT JOIN accounts AS a ON a.account = r.account LEFT JOIN shops AS m ON m.place = r.shop;
CREATE STREAM scored AS SELECT t.id, t.shop, t.amount, FEATURES(both, t).*, FEATURES(both, t).n * 2 AS twice
FROM tx t WHERE t.amount < 90;
CREATE STREAM twice AS SELECT id, FEATURES(both, t).n AS n FROM large t;
CREATE STREAM large AS SELECT id, account, shop, amount, ts FROM scored_again WHERE amount > 60;
CREATE STREAM scored_again AS SELECT t.*, FEATURES(both, t).s AS s FROM tx t;
CREATE STREAM both_ways AS SELECT id, account, shop, amount, ts FROM tx WHERE amount < 60
UNION ALL SELECT id, account, shop, amount, ts FROM tx WHERE amount > 40;
CREATE STREAM scored_ways AS SELECT id, FEATURES(both, t).n AS n FROM both_ways t;
CREATE STREAM seconds AS SELECT account, window_end, count(*) AS events
FROM TABLE(TUMBLE(TABLE tx, DESCRIPTOR(ts), INTERVAL '2' SECOND)) GROUP BY account, window_start, window_end;
CREATE FEATURE SERVICE of_account AS SELECT a.n FROM REQUEST (account BIGINT) AS r
LEFT JOIN accounts AS a ON a.account = r.account;
CREATE STREAM scored_seconds AS SELECT t.account, t.events, FEATURES(of_account, t).n AS n FROM seconds t;";

const SEEDS: u64 = 120;
const EVENTS: i64 = 60;

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
    let risky = 100_i64.checked_div(near.len() as i64 - 3)?;
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
    /// The rows that were seen, by id; `None` where it was known that there is none.
    seen: BTreeMap<i64, Option<Row>>,
    sql: String,
    refused: u64,
    crashes: u64,
    restored: u64,
}

impl Run {
    fn group(&mut self) -> Vec<Event> {
        self.now_us += self.chance.up_to(4) * SECOND_US;
        let count = 1 + self.chance.up_to(5);
        let event = |place: i64| Event {
            id: self.next_id + place,
            account: self.chance.up_to(3),
            shop: Some(self.chance.up_to(4)).filter(|shop| *shop > 0),
            amount: self.chance.up_to(100),
            // Many of one time, none of them late.
            time_us: self.now_us - self.chance.up_to(9) * SECOND_US,
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
        let refusals = Refusals::default();
        let disk = refusing(self.world.disk.shared(), &refusals);
        let engine = self.world.engine_on(disk, &self.sql).ok()?;
        let mut job = Steps::recover(&engine).ok()?;
        self.restored += u64::from(engine.checkpoint_measures().last().epoch > 0);
        self.look(&engine);
        for _ in 0..self.chance.up_to(10) {
            self.world.pass_us(SECOND_US / 10);
            // Now and then it is not known whose the data folder is, or there is no room on the disk.
            refusals.of_generation.store(self.chance.up_to(5) == 0, Ordering::Relaxed);
            let is_full = self.chance.up_to(6) == 0;
            self.world.disk.set_room(if is_full { self.chance.up_to(90_000) as u64 } else { u64::MAX });
            match self.chance.up_to(7) {
                0 => {
                    for _ in 0..self.chance.up_to(300) {
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
        refusals.of_generation.store(false, Ordering::Relaxed);
        self.world.disk.set_room(u64::MAX);
        if self.chance.up_to(3) == 0 {
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
        match answered.lock().unwrap().take().expect("what was committed was answered") {
            Ok(receipt) => assert_eq!(receipt.late + receipt.rejected + receipt.duplicates, 0, "{receipt:?}"),
            // It may yet be seen.
            Err(IngestError::NotSettled { .. } | IngestError::BehindNotSettled | IngestError::DiskFull { .. }) => {
                self.refused += 1;
            }
            Err(_) => return None,
        }
        Some(())
    }

    /// What is there stays as it is.
    fn look(&mut self, engine: &Engine) {
        // A disk that has stopped says nothing.
        let Some((rows, scored_to)) = rows_and_progress(&self.world, engine, "scored") else { return };
        for row in rows {
            let id = row["id"].unwrap();
            let known = self.seen.entry(id).or_insert_with(|| Some(row.clone()));
            assert_eq!(known.as_ref(), Some(&row), "the row of {id} has changed");
        }
        for (offset, id) in logged(&self.world, engine).unwrap_or_default().into_iter().flatten() {
            if offset < scored_to {
                self.seen.entry(id).or_insert(None);
            }
        }
    }
}

/// The rows that the log of a stream has, as far as readers may see them.
fn rows(world: &World, engine: &Engine, stream: &str) -> Option<Vec<Row>> {
    rows_and_progress(world, engine, stream).map(|(rows, _)| rows)
}

/// The same, and up to which offset of their first way the rows before are scored.
fn rows_and_progress(world: &World, engine: &Engine, stream: &str) -> Option<(Vec<Row>, u64)> {
    let place = engine.sources().iter().position(|source| source.name == stream).unwrap();
    let form = engine.stored_form(place);
    let end_offset = engine.published().streams[place].next_offsets[0];
    let mut stored = StoredStream::open(world.disk.shared(), Path::new(DATA), &form, 0, 0).ok()?;
    let (mut rows, mut scored_to) = (Vec::new(), 0);
    while let Some(frame) = stored.next_frame().ok()? {
        if frame.first_offset >= end_offset {
            break;
        }
        let next = frame.batch.origin.as_ref().and_then(|origin| origin.next_offsets().get(&0).copied());
        scored_to = next.unwrap_or(scored_to);
        (0..frame.batch.used.num_rows()).for_each(|row| rows.push(row_of(&frame.batch.used, row)));
    }
    Some((rows, scored_to))
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

/// The events of the log of `tx`, offset and id, by group of those that came in together.
fn logged(world: &World, engine: &Engine) -> Option<Vec<Vec<(u64, i64)>>> {
    let form = engine.stored_form(0);
    let mut stored = StoredStream::open(world.disk.shared(), Path::new(DATA), &form, 0, 0).ok()?;
    let mut groups = Vec::new();
    while let Some(frame) = stored.next_frame().ok()? {
        let ids = frame.batch.used.column(0).as_primitive::<Int64Type>().clone();
        groups.push((frame.first_offset..).zip(ids.values().iter().copied()).collect());
    }
    Some(groups)
}

#[test]
fn each_event_is_scored_once_over_crashes() {
    let (mut crashes, mut restored, mut refused) = (0, 0, 0);
    let (mut scored, mut aside, mut windows) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut run = Run {
            world: World { as_of_horizon_us: if seed % 2 == 0 { 60 * SECOND_US } else { 0 }, ..World::new(seed) },
            chance: Chance(!seed),
            groups: Vec::new(),
            next_id: 0,
            now_us: BEGIN_US,
            seen: BTreeMap::new(),
            // What was acknowledged early may be lost, and with it its rows.
            sql: if seed % 4 == 3 { SQL.replace("ack = 'durable'", "ack = 'os'") } else { SQL.to_owned() },
            refused: 0,
            crashes: 0,
            restored: 0,
        };
        while run.next_id < EVENTS {
            match run.chance.up_to(4) {
                0 => run.world.disk.crash_at(run.world.disk.operations() + run.chance.up_to(160) as u64),
                1 => run.world.disk.fail_sync(1 + run.chance.up_to(12) as u64),
                _ => {}
            }
            let is_well = run.life().is_some();
            run.crashes += u64::from(!is_well);
            if is_well && run.chance.up_to(2) == 0 {
                run.world.disk.kill()
            } else {
                run.world.disk.crash()
            }
            run.world.disk.crash_at(u64::MAX);
            run.world.disk.fail_sync(1 << 60);
            run.world.disk.set_room(u64::MAX);
        }
        let engine = run.world.engine(&run.sql).unwrap();
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
        let groups = logged(&run.world, &engine).unwrap();
        let groups: Vec<Vec<Event>> = groups.iter().map(|ids| ids.iter().map(|(_, id)| sent[id]).collect()).collect();
        for (number, group) in groups.iter().enumerate() {
            visible.extend(group);
            for event in group {
                all.push(event.id);
                let row = by_id.get(&event.id).map(|row| (*row).clone());
                if event.amount >= 90 {
                    assert_eq!(row, None, "seed {seed}: {event:?}");
                    continue;
                }
                // Where the process ended in between it was scored over what the next start found.
                let mut later = visible.clone();
                let answers = groups[number + 1..].iter().map(|group| {
                    later.extend(group);
                    model(event, &later)
                });
                let answers: Vec<Option<Row>> = std::iter::once(model(event, &visible)).chain(answers).collect();
                let found = answers.iter().position(|answer| *answer == row);
                assert!(found.is_some(), "seed {seed}: {event:?} is {row:?}, not {:?}", answers[0]);
                if run.crashes + run.refused == 0 {
                    assert_eq!(found, Some(0), "seed {seed}: {event:?} is {row:?}, not {:?}", answers[0]);
                }
                aside += u64::from(row.is_none());
                scored += u64::from(row.is_some());
            }
        }
        assert_eq!(again, all, "seed {seed}");
        let large: Vec<i64> = all.iter().copied().filter(|id| sent[id].amount > 60).collect();
        assert_eq!(twice, large, "seed {seed}");
        let is_twice = |id: &&i64| sent[*id].amount > 40 && sent[*id].amount < 60;
        let mut ways: Vec<i64> = all.iter().chain(all.iter().filter(is_twice)).copied().collect();
        let mut found_ways = ids("scored_ways");
        ways.sort_unstable();
        found_ways.sort_unstable();
        assert_eq!(found_ways, ways, "seed {seed}");
        let parts = |stream: &str| -> Vec<[Option<i64>; 2]> {
            rows(&run.world, &engine, stream).unwrap().iter().map(|row| [row["account"], row["events"]]).collect()
        };
        let (closed, with_scores) = (parts("seconds"), parts("scored_seconds"));
        if seed % 2 == 0 {
            assert_eq!(with_scores, closed, "seed {seed}");
        } else {
            // Those that had closed before, by the watermark, are as of an instant that is not answered any more.
            let mut rest = closed.iter();
            assert!(with_scores.iter().all(|row| rest.any(|other| other == row)), "seed {seed}");
        }
        windows += with_scores.len();
        (crashes, restored, refused) = (crashes + run.crashes, restored + run.restored, refused + run.refused);
    }
    println!(
        "{SEEDS} seeds: {crashes} crashes, {restored} checkpoints restored, {refused} groups refused, {scored} rows scored, \
         {aside} set aside, {windows} windows"
    );
    assert!(crashes > SEEDS / 2 && restored > SEEDS / 4 && refused > SEEDS / 4);
    assert!(scored > 4_000 && aside > 200 && windows > 1_000);
}

/// Nothing passes WHERE, and what was looked at goes: the next start does not ask for it.
#[test]
fn retention_lets_go_of_what_was_looked_at() {
    let sql = "
CREATE STREAM tx (id BIGINT NOT NULL, account BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts) WITH (retention = '5 seconds');
CREATE FEATURE VIEW accounts AS SELECT account, count(*) OVER w AS n FROM tx
WINDOW w AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '1' SECOND PRECEDING AND CURRENT ROW);
CREATE FEATURE SERVICE s AS SELECT a.n FROM REQUEST (account BIGINT) AS r LEFT JOIN accounts AS a ON a.account = r.account;
CREATE STREAM never AS SELECT id, FEATURES(s, t).n FROM tx t WHERE id < 0;";
    let without = sql.split("CREATE STREAM never").next().unwrap();
    let world = World::new(1);
    let mut id = 0;
    let mut lives = |sql: &str, minutes: i64| {
        world.live(sql, |engine, job| {
            for _ in 0..minutes {
                for _ in 0..10 {
                    id += 1;
                    let time_us = BEGIN_US + id * SECOND_US;
                    world.pass_us(SECOND_US);
                    send(engine, job, format!("{{\"id\":{id},\"account\":1,\"ts\":{time_us}}}\n"));
                }
                world.pass_us(61 * SECOND_US);
                engine.maintain().unwrap();
                checkpoint(job);
                job.keep_history().unwrap();
            }
            engine.maintain().unwrap();
            let tx = engine.storage_statistics().into_iter().find(|one| one.stream == "tx");
            tx.map_or(0, |tx| tx.first_offset)
        })
    };
    assert!(lives(sql, 4) > 10, "retention lets go");
    assert!(lives(sql, 4) > 50);
    // Out of the project for a while: what came meanwhile is not scored, and keeps nobody from starting.
    lives(without, 4);
    lives(sql, 1);
}
