//! Sinks of feature views: whatever fails or crashes between commits, the last entry of each entity is what a naive model says of the
//! entity as of the sink's instant.

use std::collections::BTreeMap;

use asof_connect::Progress;
use asof_pipeline::{Clock, Engine, SinkSteps, Steps};

use crate::chance::Chance;
use crate::world::{SECOND_US, World, checkpoint, leave};

/// Of `recent` entities are let go of, of `always` none.
const SQL: &str = "
CREATE STREAM tx (id BIGINT NOT NULL, account BIGINT, shop VARCHAR NOT NULL, amount BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
  PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '600' SECOND) WITH (dedup_horizon = '1 hour', ack = 'ACK');
CREATE STREAM sold AS SELECT account, shop, amount, ts FROM tx WHERE amount > 10;
CREATE FEATURE VIEW recent AS
SELECT account, shop, count(*) OVER w AS n, sum(amount) OVER w AS s, count(*) OVER earlier AS earlier, count(*) OVER h AS in_hour
FROM sold
WINDOW w AS (PARTITION BY account, shop ORDER BY ts RANGE BETWEEN INTERVAL '15' SECOND PRECEDING AND CURRENT ROW),
  earlier AS (PARTITION BY account, shop ORDER BY ts RANGE BETWEEN INTERVAL '20' SECOND PRECEDING AND INTERVAL '5' SECOND PRECEDING),
  h AS (PARTITION BY account, shop, date_trunc('hour', ts) ORDER BY ts);
CREATE FEATURE VIEW always AS
SELECT shop, sum(amount) OVER two AS last_two, count(*) OVER l AS n FROM tx WHERE amount < 90
WINDOW two AS (PARTITION BY shop ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), l AS (PARTITION BY shop ORDER BY ts);
CREATE SINK recent_entries WITH (connector = 'kafka', topic = 'recent') AS SELECT * FROM recent;
CREATE SINK always_entries WITH (connector = 'kafka', topic = 'always') AS SELECT n AS number, shop AS place, last_two FROM always AS a;";

const HOUR_US: i64 = 3_600 * SECOND_US;
const SEEDS: u64 = 150;
const STEPS: u64 = 60;

#[derive(Debug, Clone)]
struct Event {
    id: i64,
    account: Option<i64>,
    shop: &'static str,
    amount: i64,
    time_us: i64,
}

/// A topic: the last message of each key, and what was committed with it.
#[derive(Debug, Default)]
struct Topic {
    entries: BTreeMap<String, String>,
    progress: Option<Progress>,
    messages: usize,
}

/// The entries of `recent` as of an instant, by key.
fn recent(events: &[Event], t_us: i64) -> BTreeMap<String, String> {
    let mut of_keys: BTreeMap<(i64, &str), Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.amount > 10) {
        of_keys.entry((event.account.unwrap_or(-1), event.shop)).or_default().push(event);
    }
    of_keys.remove(&(-1, "a"));
    of_keys.remove(&(-1, "b"));
    let entry = |((account, shop), own): ((i64, &str), Vec<&Event>)| {
        let within = |from_us: i64, to_us: i64| {
            own.iter().filter(move |event| (from_us..=to_us).contains(&event.time_us)).map(|event| event.amount)
        };
        let near: Vec<i64> = within(t_us - 15 * SECOND_US, t_us).collect();
        let sum = if near.is_empty() { "null".to_owned() } else { near.iter().sum::<i64>().to_string() };
        let earlier = within(t_us - 20 * SECOND_US, t_us - 5 * SECOND_US).count();
        let in_hour = within(t_us.div_euclid(HOUR_US) * HOUR_US, t_us).count();
        let key = format!("{{\"account\":{account},\"shop\":\"{shop}\"}}");
        let value = format!(
            "{{\"account\":{account},\"shop\":\"{shop}\",\"n\":{},\"s\":{sum},\"earlier\":{earlier},\"in_hour\":{in_hour}}}",
            near.len()
        );
        (key, value)
    };
    of_keys.into_iter().map(entry).collect()
}

/// Those of `always`.
fn always(events: &[Event], t_us: i64) -> BTreeMap<String, String> {
    let mut of_shops: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.amount < 90) {
        of_shops.entry(event.shop).or_default().push(event);
    }
    let entry = |(shop, mut own): (&str, Vec<&Event>)| {
        own.retain(|event| event.time_us <= t_us);
        own.sort_by_key(|event| (event.time_us, event.id));
        let two = own[own.len().saturating_sub(2)..].iter().map(|event| event.amount);
        let two = if own.is_empty() { "null".to_owned() } else { two.sum::<i64>().to_string() };
        let value = format!("{{\"number\":{},\"place\":\"{shop}\",\"last_two\":{two}}}", own.len());
        (shop.to_owned(), value)
    };
    of_shops.into_iter().map(entry).collect()
}

struct Run {
    world: World,
    chance: Chance,
    /// Visible ones, in the order of their offsets.
    events: Vec<Event>,
    topics: [Topic; 2],
    committed: usize,
    /// How far the clock has been.
    greatest_us: i64,
}

impl Run {
    fn new(world: World, seed: u64) -> Run {
        let greatest_us = world.now_us();
        Run { world, chance: Chance(seed), events: Vec::new(), topics: Default::default(), committed: 0, greatest_us }
    }
}

impl Run {
    fn lines(&mut self) -> String {
        let count = 1 + self.chance.up_to(4);
        let mut lines = String::new();
        for _ in 0..count {
            // Some lie ahead; none is late.
            let time_us = self.world.now_us() + (self.chance.up_to(40) - 25) * SECOND_US + self.chance.up_to(2);
            let account = Some(self.chance.up_to(4)).filter(|account| *account < 3);
            let shop = if self.chance.below(2) == 0 { "a" } else { "b" };
            let event = Event { id: self.events.len() as i64, account, shop, amount: self.chance.up_to(100), time_us };
            let account = event.account.map_or("null".to_owned(), |account| account.to_string());
            lines += &format!(
                "{{\"id\":{},\"account\":{account},\"shop\":\"{shop}\",\"amount\":{},\"ts\":{time_us}}}\n",
                event.id, event.amount
            );
            self.events.push(event);
        }
        lines
    }

    /// A life of the process, until it is killed, ends, or the power is cut.
    fn live(&mut self, sql: &str, steps: u64) {
        let engine = self.world.engine(sql).unwrap();
        let mut job = Steps::recover(&engine).unwrap();
        let there = engine.published().streams[0].next_offsets[0] as usize;
        self.events.truncate(there);
        let mut sinks = [0, 1].map(|sink| SinkSteps::new(&engine, sink).unwrap());
        if self.chance.below(2) == 0 {
            // Events come, and time passes, before the cluster is there.
            self.step(&engine, &mut job);
        }
        for (sink, topic) in sinks.iter_mut().zip(&self.topics) {
            sink.begin(topic.progress.as_ref()).unwrap();
        }
        for _ in 0..steps {
            self.step(&engine, &mut job);
            for (place, sink) in sinks.iter_mut().enumerate() {
                match self.chance.below(4) {
                    0 => self.commit(sink, place),
                    1 if self.chance.below(3) == 0 => {
                        let _lost = sink.commit().unwrap();
                        sink.begin(self.topics[place].progress.as_ref()).unwrap();
                    }
                    _ => {}
                }
            }
        }
        sinks.iter_mut().enumerate().for_each(|(place, sink)| self.commit(sink, place));
        match self.chance.below(3) {
            0 => job.finish().unwrap(),
            1 => self.world.disk.kill(),
            _ => self.world.disk.crash(),
        }
    }

    fn step(&mut self, engine: &Engine, job: &mut Steps<'_>) {
        match self.chance.below(6) {
            0..=2 => {
                let lines = self.lines();
                let answered = leave(engine, 0, lines, None).unwrap();
                job.commit().unwrap();
                job.spill_keys().unwrap();
                let receipt = answered.lock().unwrap().take().unwrap().unwrap();
                assert_eq!(receipt.late + receipt.rejected + receipt.duplicates, 0, "{receipt:?}");
            }
            3 if self.chance.below(5) == 0 => self.world.pass_us(-self.chance.up_to(30) * SECOND_US),
            3 => self.world.pass_us(1 + self.chance.up_to(2)),
            4 => self.world.pass_us(self.chance.up_to(20) * SECOND_US),
            _ if self.chance.below(4) == 0 => checkpoint(job),
            _ => self.world.pass_us(self.chance.up_to(300) * SECOND_US),
        }
        engine.maintain().unwrap();
        self.greatest_us = self.greatest_us.max(self.world.now_us());
    }

    fn commit(&mut self, sink: &mut SinkSteps<'_>, place: usize) {
        let topic = &mut self.topics[place];
        if let Some((messages, progress)) = sink.commit().unwrap() {
            sink.committed();
            self.committed += 1;
            topic.messages += messages.len();
            topic.progress = Some(progress);
            for (key, value) in messages {
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                topic.entries.insert(text(key.unwrap()), text(value));
            }
        }
        let t_us = self.world.now_us();
        if t_us < self.greatest_us {
            // Some entries are of an instant that comes again.
            return;
        }
        let wanted = if place == 0 { recent(&self.events, t_us) } else { always(&self.events, t_us) };
        assert_eq!(topic.entries, wanted, "sink {place} as of {t_us}");
    }
}

#[test]
fn the_last_entry_of_each_entity_is_what_it_is_now() {
    let (mut commits, mut messages) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        (world.reads_by, world.as_of_horizon_us) = (Clock::System, 2 * HOUR_US);
        world.pass_us((seed as i64 % 7) * 500 * SECOND_US);
        let mut run = Run::new(world, seed);
        let sql = SQL.replace("ACK", if seed % 2 == 0 { "os" } else { "durable" });
        let mut left = STEPS;
        while left > 0 {
            let steps = (1 + run.chance.below(20)).min(left);
            run.live(&sql, steps);
            run.world.pass_us(run.chance.up_to(200) * SECOND_US);
            left -= steps;
        }
        commits += run.committed;
        messages += run.topics.iter().map(|topic| topic.messages).sum::<usize>();
    }
    // Neither nothing, nor all entities each time.
    assert!(commits > 2_000 && (2_000..60_000).contains(&messages), "{commits} commits, {messages} messages");
}

/// Entries of another definition are other entries.
#[test]
fn another_definition_writes_all_entities_again() {
    let mut world = World::new(7);
    (world.reads_by, world.as_of_horizon_us) = (Clock::System, 2 * HOUR_US);
    let sql = SQL.replace("ACK", "durable");
    let mut run = Run::new(world, 7);
    run.live(&sql, 20);
    let progress = run.topics[1].progress.clone();
    let again = |sql: &str| {
        let mut written = 0;
        run.world.live(sql, |engine, _| {
            let mut sink = SinkSteps::new(engine, 1).unwrap();
            sink.begin(progress.as_ref()).unwrap();
            written = sink.commit().unwrap().map_or(0, |(messages, _)| messages.len());
        });
        written
    };
    assert_eq!(again(&sql), 0, "nothing has changed");
    assert_eq!(again(&sql.replace("n AS number,", "last_two AS again, n AS number,")), 2);
    assert_eq!(again(&sql.replace("sum(amount) OVER two", "max(amount) OVER two")), 2);
}
