//! Lives by chance: versions and events come late and early, checkpoints are taken, and the process ends in order, is killed,
//! or loses its power at any operation on the disk. What was acknowledged is there, and all reads are what the logs say.
//!
//! `ASOF_SIMULATION_SEED` runs one seed.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use asof_definition::Project;
use asof_disk::Disk;
use asof_disk::simulated::SimulatedDisk;
use asof_pipeline::{Clock, Engine, IngestError, Manner, Steps};
use serde_json::{Map, Value, json};

use crate::plain::{KEYS, MERCHANTS, ORDERS, Plain, REGIONS, TX, sql_without};
use crate::values::read;
use crate::world::{Answered, SECOND_US, World, checkpoint, leave, project};

const SEEDS: u64 = 300;
const BEGIN_US: i64 = 1_700_000_000 * SECOND_US;

/// The project, and the same without views that join or group rows: each life is one of them.
static PROJECTS: LazyLock<[Arc<Project>; 3]> = LazyLock::new(|| {
    let without: [&[&str]; 3] = [&[], &["by_account", "of_region"], &["by_account", "by_region", "shares", "charges"]];
    without.map(|views| project(&sql_without(views)))
});

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn of(seed: u64) -> Chance {
        Chance(!seed)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    pub(crate) fn between(&mut self, first: i64, last: i64) -> i64 {
        first + self.below((last - first + 1).cast_unsigned()).cast_signed()
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

struct Run {
    world: World,
    chance: Chance,
    now_us: i64,
    serial: i64,
    /// Serials of events that were acknowledged as used, and how many versions were, by source.
    acknowledged: BTreeSet<i64>,
    versions: [u64; 4],
    /// What came about, so that a run in which nothing happens is seen.
    seen: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    compared: u64,
    rejoined: u64,
    rejoined_orders: u64,
    restored: u64,
    late: u64,
    too_early: u64,
    crashes: u64,
    broken: u64,
}

/// A batch that was sent: its source, the serials of events, where the answer is.
type Sent = (usize, Vec<i64>, Answered);

impl Run {
    fn new(seed: u64) -> Run {
        let mut chance = Chance::of(seed);
        let mut world = World::on(SimulatedDisk::new(seed), PROJECTS[0].clone());
        world.segment_bytes = [1, 70 << 10, 90 << 10][chance.below(3) as usize];
        if chance.one_in(2) {
            world.settings.as_of_horizon_us = 20 * SECOND_US;
        }
        if chance.one_in(3) {
            world.settings.clock = Clock::System;
        }
        let (acknowledged, seen) = (BTreeSet::new(), Seen::default());
        Run { world, chance, now_us: BEGIN_US, serial: 0, acknowledged, versions: [0; 4], seen }
    }

    fn run(&mut self) {
        for _ in 0..2 + self.chance.below(4) {
            match self.chance.below(4) {
                0 => self.world.disk.crash_at(self.world.disk.operations() + self.chance.below(150)),
                1 => self.world.disk.fail_sync(1 + self.chance.below(12)),
                _ => {}
            }
            // Views that were not there are computed anew, beside those that were.
            let defined = if self.chance.one_in(3) { self.chance.below(3) } else { 0 };
            self.world.project = PROJECTS[defined as usize].clone();
            let is_well = self.life().is_some();
            // A process that came to its end may still lose its power behind it.
            let is_cut = !is_well || self.chance.one_in(2);
            self.seen.crashes += u64::from(is_cut);
            if is_cut {
                self.world.disk.crash()
            } else {
                self.world.disk.kill()
            }
            self.world.disk.crash_at(u64::MAX);
            self.world.disk.fail_sync(1 << 60);
        }
        // A last look, at a process to which nothing happens.
        self.world.project = PROJECTS[0].clone();
        assert_eq!(self.life(), Some(()));
    }

    /// A life until its end; `None` where something failed.
    fn life(&mut self) -> Option<()> {
        self.world.set_clock(self.now_us);
        let engine = self.world.engine().ok()?;
        let mut job = Steps::recover(&engine).ok()?;
        self.compare(&engine)?;
        self.seen.restored += u64::from(engine.checkpoint_measures().last().epoch > 0);
        for _ in 0..self.chance.below(20) {
            self.now_us += self.chance.between(0, 5 * SECOND_US);
            self.world.set_clock(self.now_us);
            self.step(&engine, &mut job)?;
        }
        if self.chance.one_in(3) {
            job.finish().ok()?;
        }
        Some(())
    }

    fn step(&mut self, engine: &Engine, job: &mut Steps<'_>) -> Option<()> {
        match self.chance.below(10) {
            0 | 3 => self.checkpoint(job),
            1 => job.keep_history().ok(),
            2 => engine.maintain().ok(),
            _ => self.send(engine, job),
        }?;
        self.compare(engine)
    }

    /// The next steps of a checkpoint, which takes some hundreds; `None` where the disk has failed it.
    fn checkpoint(&mut self, job: &mut Steps<'_>) -> Option<()> {
        for _ in 0..self.chance.below(600) {
            if !job.checkpoint().ok()? {
                break;
            }
        }
        Some(())
    }

    /// Leaves some batches at the door and commits them as one group.
    fn send(&mut self, engine: &Engine, job: &mut Steps<'_>) -> Option<()> {
        let sent: Vec<Sent> = (0..1 + self.chance.below(3)).map(|_| self.leave(engine)).collect();
        let committed = job.commit();
        job.spill_keys().ok()?;
        for (source, serials, answered) in sent {
            match answered.lock().unwrap().take() {
                Some(Ok(receipt)) if [TX, ORDERS].contains(&source) => {
                    // All rows are good but for being late.
                    self.seen.late += receipt.late;
                    let late: BTreeSet<u64> = receipt.refused.iter().map(|one| one.row).collect();
                    let used = serials.iter().enumerate().filter(|(row, _)| !late.contains(&(*row as u64)));
                    self.acknowledged.extend(used.map(|(_, serial)| *serial));
                }
                Some(Ok(receipt)) => self.versions[source] += receipt.accepted,
                Some(Err(IngestError::OutOfReach { .. })) => self.seen.too_early += 1,
                Some(Err(_)) => self.seen.broken += 1,
                None => {}
            }
        }
        committed.ok()
    }

    fn leave(&mut self, engine: &Engine) -> Sent {
        let source = [TX, TX, MERCHANTS, MERCHANTS, REGIONS, ORDERS][self.chance.below(6) as usize];
        let is_history = self.chance.one_in(8);
        let rows = 1 + self.chance.below(5);
        let first = self.serial;
        let lines: Vec<String> = (0..rows).map(|_| self.row(source, is_history)).collect();
        let manner = if is_history { Manner::History { arrived: None } } else { Manner::Live };
        let answered = leave(engine, source, &(lines.join("\n") + "\n"), (manner, None)).unwrap();
        (source, (first + 1..=self.serial).collect(), answered)
    }

    fn row(&mut self, source: usize, is_history: bool) -> String {
        let back = if is_history { 90 } else { 0 };
        let time_us = match self.chance.below(8) {
            0 => self.now_us - self.chance.between(35, 100) * SECOND_US,
            // Some are of one time.
            1..3 => self.now_us / (10 * SECOND_US) * (10 * SECOND_US),
            _ => self.now_us + self.chance.between(-25 - back, 3) * SECOND_US,
        };
        let mut key = || self.chance.between(-1, KEYS - 1);
        let (one, two) = (key(), key());
        let or_null = |key: i64| (key >= 0).then_some(key);
        let row = match source {
            TX => {
                self.serial += 1;
                let amount = self.chance.below(20);
                json!({"serial": self.serial, "account": or_null(one), "merchant": or_null(two), "amount": amount,
                    "ts": time_us})
            }
            ORDERS => {
                self.serial += 1;
                json!({"serial": self.serial, "account": or_null(one), "region": or_null(two), "ts": time_us})
            }
            MERCHANTS => {
                let (fee, gone) = (self.chance.below(4), self.chance.one_in(6));
                json!({"merchant": one.max(0), "region": or_null(two), "fee": fee, "gone": gone, "at": time_us})
            }
            _ => json!({"region": one.max(0), "weight": self.chance.below(9), "at": time_us}),
        };
        row.to_string()
    }

    /// Puts reads beside what the logs say, and what was acknowledged; `None` where the disk has failed.
    fn compare(&mut self, engine: &Engine) -> Option<()> {
        let plain = Plain::visible(&self.world, engine)?;
        let serials: BTreeSet<i64> = plain.serials().into_iter().collect();
        let lost: Vec<&i64> = self.acknowledged.difference(&serials).collect();
        assert!(lost.is_empty(), "acknowledged and not visible: {lost:?}");
        for source in [MERCHANTS, REGIONS] {
            assert!(plain.rows(source) as u64 >= self.versions[source], "acknowledged versions are not visible");
        }
        let published = engine.published();
        self.seen.compared += 1;
        self.seen.rejoined += published.streams[TX].rejoined_rows;
        self.seen.rejoined_orders += published.streams[ORDERS].rejoined_rows;
        for view in 0..engine.project().views.len() {
            // Of a union the slowest source counts.
            let sources = engine.reading().streams_of_view(view);
            let watermarks: Option<Vec<i64>> =
                sources.iter().map(|source| published.streams[*source].watermark_us).collect();
            let Some(watermark_us) = watermarks.and_then(|all| all.into_iter().min()) else { continue };
            let least_us = watermark_us.saturating_sub(engine.settings().as_of_horizon_us);
            for back in [0, 7, 29, 45, 90] {
                let t_us = self.now_us + (3 - back) * SECOND_US;
                for key in (0..KEYS).filter(|_| t_us >= least_us) {
                    let definition = &engine.project().views[view];
                    let key_of = Map::from_iter([(definition.key[0].name.clone(), Value::from(key))]);
                    let found = read(engine, view, &key_of, t_us);
                    let expected = plain.features(&definition.name, key, t_us);
                    assert_eq!(json!(found), json!(expected), "{} of {key}, {back} seconds ago", definition.name);
                }
            }
        }
        Some(())
    }
}

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn what_was_acknowledged_is_there_and_joined_as_the_logs_say() {
    if let Some(seed) = number("ASOF_SIMULATION_SEED") {
        return Run::new(seed).run();
    }
    let mut all = Seen::default();
    for seed in 0..number("ASOF_SIMULATION_SEEDS").unwrap_or(SEEDS) {
        let mut run = Run::new(seed);
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.run()));
        assert!(ran.is_ok(), "run it again with ASOF_SIMULATION_SEED={seed}");
        let seen = run.seen;
        all.compared += seen.compared;
        all.rejoined += seen.rejoined;
        all.rejoined_orders += seen.rejoined_orders;
        all.restored += seen.restored;
        all.late += seen.late;
        all.too_early += seen.too_early;
        all.crashes += seen.crashes;
        all.broken += seen.broken;
    }
    let joined = [all.rejoined, all.rejoined_orders, all.restored];
    let others = [all.compared, all.late, all.too_early, all.crashes, all.broken];
    assert!(joined.iter().chain(&others).all(|count| *count > 20), "too little happens: {all:?}");
}

/// The same rows, recovered with the newest checkpoint and from the logs alone.
#[test]
fn a_checkpoint_is_a_short_cut_and_nothing_else() {
    let world = World::on(SimulatedDisk::new(3), PROJECTS[0].clone());
    let mut run = Run { world, ..Run::new(3) };
    for _ in 0..4 {
        run.world.set_clock(run.now_us);
        let engine = run.world.engine().unwrap();
        let mut job = Steps::recover(&engine).unwrap();
        for turn in 0..12 {
            run.now_us += 3 * SECOND_US;
            run.world.set_clock(run.now_us);
            run.send(&engine, &mut job).unwrap();
            if turn == 6 {
                checkpoint(&mut job);
            }
        }
        drop(job);
        drop(engine);
        run.world.disk.kill();
        run.world.live(|engine, _| run_compare(&run.world, engine, run.now_us));
        let is_part = |path: &&std::path::PathBuf| path.starts_with("/data/checkpoints");
        run.world.disk.files().iter().filter(is_part).for_each(|path| run.world.disk.remove(path).unwrap());
        run.world.live(|engine, _| run_compare(&run.world, engine, run.now_us));
    }
}

fn run_compare(world: &World, engine: &Engine, now_us: i64) {
    let plain = Plain::visible(world, engine).unwrap();
    assert!(plain.rows(TX) > 0 && plain.rows(MERCHANTS) > 0);
    for view in 0..engine.project().views.len() {
        for key in 0..KEYS {
            let definition = &engine.project().views[view];
            let found =
                read(engine, view, &Map::from_iter([(definition.key[0].name.clone(), Value::from(key))]), now_us);
            let expected = plain.features(&definition.name, key, now_us);
            assert_eq!(json!(found), json!(expected), "{} of {key}", definition.name);
        }
    }
}
