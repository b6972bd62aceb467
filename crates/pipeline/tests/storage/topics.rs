//! A topic that feeds a stream: whatever happens to the disk and the process, each of its messages is in the log once, and is
//! judged as the messages before it in its own partition say.
//!
//! The reader goes on where the log of the stream ends, over crashes of all kinds. The model judges each partition alone, in
//! one go, without a disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use asof_connect::{BodyForm, BodyLimits, EventBody, Origin};
use asof_pipeline::{DeadLetterQuery, Engine, IngestError, Manner, Receipt, Steps, Submission};

use crate::chance::Chance;
use crate::world::{BEGIN_US, SECOND_US, World, checkpoint};

const SQL: &str = "
CREATE STREAM payments (id BIGINT NOT NULL, shop BIGINT NOT NULL, ts TIMESTAMP NOT NULL, PRIMARY KEY (id),
WATERMARK FOR ts AS ts - INTERVAL '10' SECOND) WITH (connector = 'kafka', topic = 'payments', dedup_horizon = '20 seconds',
  ahead_max = '1 hour');
CREATE FEATURE VIEW shops AS
SELECT shop, count(*) OVER w AS n, sum(id) OVER w AS ids FROM payments WINDOW w AS (PARTITION BY shop ORDER BY ts);";
const PARTITIONS: u32 = 3;
const MESSAGES: usize = 60;
const SHOPS: i64 = 3;
const SEEDS: u64 = 150;

/// A message: offsets have gaps, as behind transactions.
#[derive(Debug, Clone, Copy)]
struct Message {
    offset: u64,
    id: i64,
    shop: i64,
    time_us: i64,
}

type Topic = Vec<Vec<Message>>;

fn topic(chance: &mut Chance) -> Topic {
    let mut partition = || {
        let mut offset = 0;
        let message = |place: usize| {
            offset += 1 + chance.below(4) / 3 * chance.below(5);
            // The same ids come again, in this partition and in others, and time goes on by leaps and back.
            let id = chance.below(12) as i64;
            let behind_s = chance.below(16) as i64;
            let time_us = BEGIN_US + (place as i64 * 2 - behind_s) * SECOND_US;
            Message { offset, id, shop: chance.below(SHOPS as u64) as i64, time_us }
        };
        (0..MESSAGES).map(message).collect()
    };
    (0..PARTITIONS).map(|_| partition()).collect()
}

/// What the rules say of a partition's messages.
#[derive(Debug, Default, PartialEq, Eq)]
struct Judged {
    duplicate: u64,
    late: Vec<(u32, u64)>,
    /// By shop: number and sum of ids.
    used: BTreeMap<i64, (i64, i64)>,
}

fn model(topic: &Topic) -> Judged {
    let mut judged = Judged::default();
    for (partition, messages) in topic.iter().enumerate() {
        let mut used: Vec<&Message> = Vec::new();
        for message in messages {
            let newest_us = used.iter().map(|one| one.time_us).max().unwrap_or(i64::MIN);
            let watermark_us = newest_us.saturating_sub(10 * SECOND_US);
            let repeats = |one: &&&Message| {
                let is_known = one.time_us >= watermark_us.saturating_sub(20 * SECOND_US);
                is_known && one.id == message.id && (one.time_us - message.time_us).abs() <= 20 * SECOND_US
            };
            if used.iter().any(|one| repeats(&one)) {
                judged.duplicate += 1;
            } else if message.time_us < watermark_us {
                judged.late.push((partition as u32, message.offset));
            } else {
                let shop = judged.used.entry(message.shop).or_default();
                *shop = (shop.0 + 1, shop.1 + message.id);
                used.push(message);
            }
        }
    }
    judged.late.sort_unstable();
    judged
}

struct Run {
    world: World,
    chance: Chance,
    topic: Topic,
    crashes: u64,
    restored: u64,
}

impl Run {
    fn life(&mut self) -> Option<()> {
        let engine = self.world.engine(SQL).ok()?;
        let mut job = Steps::recover(&engine).ok()?;
        self.restored += u64::from(engine.checkpoint_measures().last().epoch > 0);
        for _ in 0..self.chance.below(12) {
            self.world.pass_us(SECOND_US / 10);
            match self.chance.below(6) {
                0 => {
                    for _ in 0..self.chance.below(400) {
                        if !job.checkpoint().ok()? {
                            break;
                        }
                    }
                }
                1 => engine.maintain().ok()?,
                _ => self.read(&engine, &mut job)?,
            }
        }
        if self.chance.below(3) == 0 {
            job.finish().ok()?;
        }
        Some(())
    }

    /// Takes the next messages in, as the log says which are next.
    fn read(&mut self, engine: &Engine, job: &mut Steps<'_>) -> Option<()> {
        let next = engine.topic_offsets(0);
        let mut origin = Origin::of_topic("payments");
        let mut lines = String::new();
        for _ in 0..1 + self.chance.below(3) {
            // Runs of a partition, one or two of one and the same.
            let partition = self.chance.below(u64::from(PARTITIONS)) as u32;
            let taken = origin.next_offsets().get(&partition).copied();
            let from = taken.or(next.get(&partition).copied()).unwrap_or(0);
            let rest = self.topic[partition as usize].iter().filter(|message| message.offset >= from);
            for message in rest.take(1 + self.chance.below(6) as usize) {
                origin.push(partition, message.offset);
                let Message { id, shop, time_us, .. } = message;
                lines += &format!("{{\"id\":{id},\"shop\":{shop},\"ts\":{time_us}}}\n");
            }
        }
        if origin.rows() == 0 {
            return Some(());
        }
        let answered = leave(engine, lines, origin);
        let committed = job.commit();
        job.spill_keys().ok()?;
        committed.ok()?;
        let answer = answered.lock().unwrap().take();
        answer.expect("what was committed was answered").ok().map(drop)
    }

    /// A process to which nothing happens reads what is left.
    fn finish(&mut self) -> Judged {
        let seen = self.read_on();
        // And so it is after one more start.
        self.world.disk.kill();
        let engine = self.world.engine(SQL).unwrap();
        let _job = Steps::recover(&engine).unwrap();
        assert_eq!(self::seen(&engine), seen);
        seen
    }

    fn read_on(&mut self) -> Judged {
        let engine = self.world.engine(SQL).unwrap();
        let mut job = Steps::recover(&engine).unwrap();
        while self.topic.iter().enumerate().any(|(partition, messages)| {
            let next = engine.topic_offsets(0).get(&(partition as u32)).copied().unwrap_or(0);
            messages.last().is_some_and(|last| last.offset >= next)
        }) {
            self.read(&engine, &mut job).unwrap();
        }
        checkpoint(&mut job);
        seen(&engine)
    }
}

fn leave(engine: &Engine, lines: String, origin: Origin) -> Arc<Mutex<Option<Result<Receipt, IngestError>>>> {
    let definition = &engine.project().streams[0];
    let limits = BodyLimits { rows_max: 1_000 };
    let body = EventBody::read(lines.into_bytes().into(), BodyForm::Ndjson, definition, limits).unwrap();
    let answered = Arc::new(Mutex::new(None));
    let told = answered.clone();
    let answer = Box::new(move |outcome| *told.lock().unwrap() = Some(outcome));
    let (manner, received_us) = (Manner::Live, engine.wall_us());
    let submission = Submission { stream: 0, body, manner, batch_key: None, origin: Some(origin), received_us, answer };
    assert!(engine.intake().submit(submission).is_ok());
    answered
}

fn seen(engine: &Engine) -> Judged {
    let accounting = engine.published().streams[0].accounting;
    let query = DeadLetterQuery { reason: Some("late".to_owned()), limit: 1_000, ..DeadLetterQuery::default() };
    let letters = engine.dead_letters(0, &query).unwrap().unwrap().letters;
    let mut late: Vec<(u32, u64)> = letters.iter().map(|letter| letter.place.unwrap()).collect();
    late.sort_unstable();
    assert_eq!(accounting.late, late.len() as u64);
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..SHOPS));
    let as_of_us = BEGIN_US + 1_000 * SECOND_US;
    let answers = engine.reading().view(0, &[keys], SHOPS as usize, as_of_us).unwrap();
    let [n, ids] = [0, 1].map(|feature| answers.features[feature].as_primitive::<Int64Type>().clone());
    let used = (0..SHOPS).map(|shop| (shop, (n.value(shop as usize), ids.value(shop as usize))));
    Judged { duplicate: accounting.duplicate, late, used: used.collect() }
}

#[test]
fn each_message_of_a_topic_counts_once_over_crashes() {
    let (mut crashes, mut restored, mut late, mut duplicates) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        let mut chance = Chance(!seed);
        let topic = topic(&mut chance);
        let mut run = Run { world: World::new(seed), chance, topic, crashes: 0, restored: 0 };
        for _ in 0..2 + run.chance.below(5) {
            match run.chance.below(4) {
                0 => run.world.disk.crash_at(run.world.disk.operations() + run.chance.below(120)),
                1 => run.world.disk.fail_sync(1 + run.chance.below(12)),
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
        let seen = run.finish();
        assert_eq!(seen, model(&run.topic), "seed {seed}");
        (crashes, restored) = (crashes + run.crashes, restored + run.restored);
        (late, duplicates) = (late + seen.late.len(), duplicates + seen.duplicate);
    }
    println!("{SEEDS} seeds: {crashes} crashes, {restored} checkpoints restored, {late} late, {duplicates} duplicates");
    assert!(crashes > SEEDS / 10 && restored > SEEDS / 4 && late > 100 && duplicates > 1_000);
}

#[test]
fn a_batch_that_was_read_before_breaks_the_log_rather_than_count_twice() {
    let world = World::new(1);
    world.live(SQL, |engine, job| {
        let origin = || {
            let mut origin = Origin::of_topic("payments");
            origin.push(2, 7);
            origin
        };
        let line = || format!("{{\"id\":1,\"shop\":1,\"ts\":{BEGIN_US}}}\n");
        let sent = leave(engine, line(), origin());
        job.commit().unwrap();
        assert!(sent.lock().unwrap().take().unwrap().is_ok());
        assert_eq!(engine.topic_offsets(0), BTreeMap::from([(2, 8)]));
        let again = leave(engine, line(), origin());
        job.commit().unwrap();
        let told = again.lock().unwrap().take().unwrap().unwrap_err();
        assert!(told.to_string().contains("offset 7 of partition 2 after 8"), "{told}");
    });
}
