//! Writers that take over from one another while the older ones go on, step by step in any order, up to a crash or a kill;
//! then starts in peace.
//!
//! ```text
//!   writer 1   ──── append ── sync ── check ──────── append ──── sync ── check: fenced
//!   writer 2              claim ── open ── append ── sync ── check
//!   writer 3                                claim ── open …                       ✗ crash │ next start │ crash │ next start
//! ```
//! What any of them acknowledged is there, what is there somebody appended there, and nothing is called damage but damage.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use asof_disk::Disk;
use asof_disk::simulated::SimulatedDisk;
use asof_log::{Claim, LogError, LogReader, LogSettings, NewFrame, PartitionLog, TakeOver};

use crate::story::{Appended, Chance, PARTITION, ROOT, is_asked_for, read_all};
use crate::turns::{TurnDisk, Turns};

const SEEDS: u64 = 6_000;
const SEGMENT_BYTES: u64 = 900;

/// How firmly a frame was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ack {
    /// It outlives the end of its process.
    Written,
    /// It outlives a power cut, too.
    Synced,
}

/// What all writers have done.
#[derive(Debug, Default)]
struct Model {
    /// By offset: what was appended there, by whomever.
    appended: BTreeMap<u64, Vec<Appended>>,
    /// By offset: by which generation, and how.
    acknowledged: BTreeMap<u64, (u64, Ack, Appended)>,
    dropped_before: u64,
    /// The newest claim.
    generation: u64,
}

/// A writer's life ended, or it found what should not be.
type Life = Result<(), LogError>;

struct Writer {
    /// The offset of a frame that was acknowledged and that it did not find.
    lacks: Option<u64>,
    claim: Claim,
    log: PartitionLog,
    chance: Chance,
}

/// Claims the folder, opens the log, and looks that everything is there that was acknowledged by older writers.
fn start(disk: Arc<dyn Disk>, chance: Chance, model: &Mutex<Model>, told: &AtomicU64) -> Result<Writer, LogError> {
    let claim = Claim::take(disk.clone(), Path::new(ROOT), TakeOver::TakeOver)?;
    let own = claim.generation();
    told.store(own, Ordering::Relaxed);
    {
        let mut model = model.lock().unwrap();
        model.generation = model.generation.max(own);
    }
    let settings = LogSettings { segment_bytes: SEGMENT_BYTES, generation: own };
    let log = open_patiently(&disk, settings)?;
    let mut reader = LogReader::open(disk.clone(), Path::new(PARTITION), log.first_offset())?;
    let mut found = Vec::new();
    while let Some(frame) = reader.next_frame()?.filter(|frame| frame.head.first_offset < log.next_offset()) {
        found.push((frame.head.first_offset, frame.body));
    }
    let model = model.lock().unwrap();
    let older = model.acknowledged.range(model.dropped_before..).filter(|(_, (by, _, _))| *by < own);
    let is_there = |offset: u64, frame: &Appended| found.contains(&(offset, frame.body.clone()));
    let lacks = older.filter(|(offset, (_, _, frame))| !is_there(**offset, frame)).map(|(offset, _)| *offset).next();
    Ok(Writer { claim, log, chance, lacks })
}

/// Opens the log, again and again while another writer begins a segment: others have their turns meanwhile.
fn open_patiently(disk: &Arc<dyn Disk>, settings: LogSettings) -> Result<PartitionLog, LogError> {
    const TRIES_MAX: usize = 16;
    let mut tries = 0;
    loop {
        tries += 1;
        match PartitionLog::open(disk.clone(), Path::new(PARTITION), settings) {
            Err(LogError::Locked { .. }) if tries < TRIES_MAX => {}
            opened => return opened.map(|(log, _torn)| log),
        }
    }
}

impl Writer {
    fn write(&mut self, groups: u64, model: &Mutex<Model>) -> Life {
        // One that does not stop when it should acknowledges nothing either.
        let is_careless = self.chance.below(3) == 0;
        for _ in 0..groups {
            let group = self.group(model)?;
            match self.claim.check() {
                Err(LogError::Fenced { .. }) if is_careless => continue,
                checked => checked?,
            }
            let mut model = model.lock().unwrap();
            for (ack, frame) in group {
                model.acknowledged.insert(frame.first_offset, (self.claim.generation(), ack, frame));
            }
        }
        Ok(())
    }

    /// Appends and perhaps syncs some frames, seals, or drops what is old.
    fn group(&mut self, model: &Mutex<Model>) -> Result<Vec<(Ack, Appended)>, LogError> {
        let mut group = Vec::new();
        if self.chance.below(4) == 0 {
            self.log.reserve(self.chance.below(600))?;
        }
        for _ in 0..=self.chance.below(3) {
            group.push((Ack::Written, self.append(model)?));
            if self.chance.below(4) == 0 {
                self.log.sync()?;
            }
        }
        match self.chance.below(8) {
            0 => return Ok(group),
            1 => self.log.seal()?,
            2 if self.chance.below(2) == 0 => {
                self.log.sync()?;
                self.drop_some(model)?;
            }
            _ => self.log.sync()?,
        }
        group.iter_mut().for_each(|(ack, _)| *ack = Ack::Synced);
        Ok(group)
    }

    fn append(&mut self, model: &Mutex<Model>) -> Result<Appended, LogError> {
        let first_offset = self.log.next_offset();
        let (rows, arrived_us) = (1 + self.chance.below(3) as u32, self.chance.below(1 << 50) as i64);
        let body: Vec<u8> = (0..16 + self.chance.below(400)).map(|_| self.chance.below(256) as u8).collect();
        let frame = Appended { first_offset, rows, arrived_us, body };
        model.lock().unwrap().appended.entry(first_offset).or_default().push(frame.clone());
        let newest_us = arrived_us;
        self.log.append(NewFrame { rows, arrived_us, dead: 0, newest_us, body: &frame.body })?;
        Ok(frame)
    }

    fn drop_some(&mut self, model: &Mutex<Model>) -> Life {
        let before = self.chance.below(self.log.next_offset() + 1);
        match self.claim.check() {
            Err(LogError::Fenced { .. }) => return Ok(()),
            checked => checked?,
        }
        {
            let mut model = model.lock().unwrap();
            model.dropped_before = model.dropped_before.max(before);
        }
        self.log.drop_segments_before(before).map(drop)
    }
}

/// Whether a life of this generation may end like this; no generation: before it had one.
fn is_fair(error: &LogError, own: u64, model: &Model) -> bool {
    let is_overtaken = model.generation > own;
    match error {
        LogError::Fenced { found, .. } => *found > own,
        LogError::Locked { .. } => true,
        LogError::Io { source, .. } if is_asked_for(source) || source.to_string().contains("was killed") => true,
        // What it asks for was dropped by an older writer just now, or overtaken by a newer one.
        LogError::Io { source, .. } if source.kind() == ErrorKind::NotFound => model.dropped_before > 0 || is_overtaken,
        LogError::Missing { .. } => model.dropped_before > 0,
        LogError::Replaced { .. } => is_overtaken,
        _other => false,
    }
}

/// A writer among others, from its first operation to its end.
fn live(disk: &TurnDisk, mut chance: Chance, idle: u64, model: &Mutex<Model>) -> Result<(), String> {
    let _ends = disk.turns.begin(disk.writer);
    for _ in 0..idle {
        if disk.list(Path::new("/")).is_err() {
            return Ok(());
        }
    }
    let groups = 1 + chance.below(8);
    let own = AtomicU64::new(u64::MAX);
    let mut lacks = None;
    let lived = start(Arc::new(disk.clone()), chance, model, &own).and_then(|mut writer| {
        lacks = writer.lacks;
        writer.write(groups, model)
    });
    let (own, model) = (own.into_inner(), model.lock().unwrap());
    match lived {
        _ if lacks.is_some() => Err(format!("generation {own} does not find {lacks:?}, which was acknowledged")),
        Err(error) if !is_fair(&error, own, &model) => Err(format!("generation {own}: {error}")),
        _fairly => Ok(()),
    }
}

/// The last starts, with nobody else about.
fn start_in_peace(disk: &SimulatedDisk, chance: Chance, model: &Mutex<Model>) -> Result<(), String> {
    let told = |error: LogError| format!("in peace: {error}");
    let mut writer = start(disk.shared(), chance, model, &AtomicU64::new(0)).map_err(told)?;
    let first_offset = writer.log.first_offset();
    let found = read_all(&disk.shared(), first_offset).map_err(told)?;
    model.lock().unwrap().check(first_offset, &found, writer.log.next_offset())?;
    writer.write(2, model).map_err(told)
}

impl Model {
    fn check(&self, first_offset: u64, found: &[Appended], next_offset: u64) -> Result<(), String> {
        if first_offset > self.dropped_before {
            return Err(format!("the log begins at {first_offset}, dropped was before {}", self.dropped_before));
        }
        let mut end = first_offset;
        for frame in found {
            let appended = self.appended.get(&end).is_some_and(|appended| appended.contains(frame));
            if frame.first_offset != end || !appended {
                return Err(format!("at {end} there is {frame:?}, which nobody appended there"));
            }
            end += u64::from(frame.rows);
        }
        if end != next_offset {
            return Err(format!("the next offset is {next_offset}, and the frames end at {end}"));
        }
        for (generation, _, frame) in self.acknowledged.range(first_offset..).map(|(_, promised)| promised) {
            if !found.contains(frame) {
                return Err(format!("generation {generation} acknowledged {frame:?}, and it is gone"));
            }
        }
        Ok(())
    }

    /// Flips a bit of a frame that a sync has covered. False if there is none.
    fn spoil(&self, disk: &SimulatedDisk, chance: &mut Chance) -> bool {
        let synced: Vec<&Appended> =
            self.acknowledged.values().filter(|(_, ack, _)| *ack == Ack::Synced).map(|(_, _, frame)| frame).collect();
        if synced.is_empty() {
            return false;
        }
        // The last ones are those that nothing but the mark knows of.
        let place = synced.len() - 1 - chance.below(synced.len().min(3) as u64) as usize;
        let body = &synced[place].body;
        for path in disk.files() {
            let bytes = asof_disk::read_whole(disk, &path, 1 << 20).unwrap();
            if let Some(at) = bytes.windows(body.len()).position(|window| window == body) {
                disk.flip(&path, at as u64 + chance.below(body.len() as u64)).unwrap();
                return true;
            }
        }
        false
    }
}

/// How a seed went.
#[derive(Default)]
struct Run {
    violation: Option<String>,
    /// How many claims there were, and how many of them by writers that others had not ended before.
    claims: u64,
    is_spoilt: bool,
}

fn run(seed: u64) -> Run {
    let disk = SimulatedDisk::new(seed);
    let mut chance = Chance(!seed);
    let model = Mutex::new(Model::default());
    let writers = 2 + chance.below(2) as usize;
    let lives: Vec<u64> =
        (0..writers).map(|_| if chance.below(3) == 0 { 20 + chance.below(400) } else { u64::MAX }).collect();
    let turns = Turns::new(seed, &lives);
    if chance.below(2) == 0 {
        disk.crash_at(chance.below(500));
    }
    let mut run = Run { violation: among_others(&disk, &turns, &mut chance, &model), ..Run::default() };
    run.claims = model.lock().unwrap().generation;
    if run.violation.is_some() {
        return run;
    }
    if chance.below(2) == 0 {
        disk.kill();
        run.is_spoilt = chance.below(3) == 0 && model.lock().unwrap().spoil(&disk, &mut chance);
    } else {
        power_cut(&disk, &model);
    }
    let started = start_in_peace(&disk, Chance(seed), &model);
    run.violation = match started {
        Ok(()) if run.is_spoilt => Some("damage was not told".to_owned()),
        Err(told) if run.is_spoilt && told.contains("damaged") => None,
        started => started.err(),
    };
    if run.violation.is_none() && !run.is_spoilt {
        power_cut(&disk, &model);
        run.violation = start_in_peace(&disk, Chance(seed), &model).err();
    }
    run
}

fn power_cut(disk: &SimulatedDisk, model: &Mutex<Model>) {
    disk.crash();
    model.lock().unwrap().acknowledged.retain(|_, (_, ack, _)| *ack == Ack::Synced);
}

/// The writers' lives beside each other; what one of them should not have met.
fn among_others(disk: &SimulatedDisk, turns: &Arc<Turns>, chance: &mut Chance, model: &Mutex<Model>) -> Option<String> {
    let mut violation = None;
    std::thread::scope(|scope| {
        let mut lives = Vec::new();
        for writer in 0..turns.writers() {
            let disk = TurnDisk { disk: disk.clone(), turns: turns.clone(), writer };
            let own_chance = Chance(chance.below(u64::MAX));
            let idle = if writer == 0 { 0 } else { chance.below(250) };
            lives.push(scope.spawn(move || live(&disk, own_chance, idle, model)));
        }
        for life in lives {
            let lived = life.join().unwrap_or_else(|_| Err("a panic".to_owned()));
            violation = violation.take().or(lived.err());
        }
    });
    violation
}

#[test]
fn writers_that_take_over_from_one_another_lose_nothing_and_leave_no_damage() {
    let (mut claims, mut spoilt) = (0, 0);
    for seed in 0..SEEDS {
        let run = run(seed);
        assert_eq!(run.violation, None, "seed {seed}");
        claims += run.claims;
        spoilt += u64::from(run.is_spoilt);
    }
    println!("{SEEDS} seeds: {claims} claims, {spoilt} times damage");
    assert!(claims > SEEDS * 3 / 2 && spoilt > SEEDS / 20, "{claims} claims, {spoilt} times damage");
}

#[test]
fn the_same_seed_is_the_same_order() {
    for seed in 0..20 {
        let operations = |seed| {
            let disk = SimulatedDisk::new(seed);
            let (mut chance, model) = (Chance(seed), Mutex::new(Model::default()));
            let turns = Turns::new(seed, &[u64::MAX, u64::MAX]);
            let violation = among_others(&disk, &turns, &mut chance, &model);
            (violation, disk.operations(), model.into_inner().unwrap().acknowledged)
        };
        assert_eq!(operations(seed), operations(seed), "seed {seed}");
    }
}
