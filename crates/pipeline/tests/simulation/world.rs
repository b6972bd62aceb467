//! The world of one seed: a disk, a clock, producers, someone who pages through dead letters, and life after life of the
//! pipeline.
//!
//! ```text
//!   open ─▶ recover ─▶ compare with the model ─▶ steps … ─▶ orderly end │ kill │ power cut ─▶ open ─▶ …
//!   life.rs            recovered.rs               step.rs                 life.rs
//!                                                  └ each drawn from the seed, each followed by a comparison
//! ```
//! Read next: `step.rs` for what may happen, `comparison.rs` for what must hold.

mod answers;
mod comparison;
mod faults;
mod letters;
mod life;
mod recovered;
mod step;
mod take_over;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use asof_disk::simulated::SimulatedDisk;
use asof_pipeline::{Clock, StorageSettings};

use self::answers::Answers;
use self::letters::Walk;
use crate::chance::Chance;
use crate::hooked_disk::Hook;
use crate::model::{Checked, Model};
use crate::producers::Producers;
use crate::project::{HOUR_US, SECOND_US, Variant};
use crate::trace::Trace;

pub(crate) struct World {
    pub(crate) disk: SimulatedDisk,
    pub(crate) trace: Trace,
    chance: Chance,
    data: PathBuf,
    clock: Arc<AtomicI64>,
    /// What "now" is to reads that name no instant, and whether idle streams follow it.
    reads_by: Clock,
    variant: Variant,
    settings: StorageSettings,
    state_bytes_max: usize,
    /// What the state held last.
    held_bytes: usize,
    producers: Producers,
    model: Model,
    /// Between which the arrival time lies that was given out last: a power cut may have taken the group that had it.
    arrived_us: RangeInclusive<i64>,
    hook: Hook,
    /// Whether something was made to fail in this life, so that errors are no surprise.
    is_faulty: bool,
    /// Whether that may break a log: a disk that is only full must not.
    is_breakable: bool,
    is_full: bool,
    /// How many batches came too late for sessions.
    pub(crate) out_of_reach: u64,
    answers: Answers,
    /// How far someone has paged through dead letters: a restart does not stop him.
    walk: Option<Walk>,
}

impl World {
    pub(crate) fn new(seed: u64, is_told: bool) -> World {
        let mut chance = Chance::new(seed);
        let segment_bytes = [1, 76 << 10, 90 << 10, 400 << 10][chance.below(4) as usize];
        let keys_in_memory_max = [2, 20, 1_000_000][chance.below(3) as usize];
        let waiting_bytes_max = if chance.one_in(4) { 30_000 } else { 64 << 20 };
        // Not drawn: what a seed does stays what it was.
        let (moves_beats, has_sessions) = (seed % 4 == 3, seed % 8 == 5);
        World {
            disk: SimulatedDisk::new(seed),
            trace: Trace::new(is_told),
            data: PathBuf::from("/data"),
            // Some seconds before a full hour.
            clock: Arc::new(AtomicI64::new(472_222 * HOUR_US - 30 * SECOND_US)),
            reads_by: if chance.one_in(2) { Clock::System } else { Clock::Event },
            variant: Variant { is_changed: false, is_bounded: chance.one_in(2), moves_beats, has_sessions },
            settings: StorageSettings {
                segment_bytes,
                checkpoint_every: Duration::MAX,
                waiting_bytes_max,
                keys_in_memory_max,
            },
            state_bytes_max: usize::MAX,
            held_bytes: 0,
            producers: Producers::default(),
            model: Model::default(),
            arrived_us: i64::MIN..=i64::MIN,
            hook: Hook::default(),
            is_faulty: false,
            is_breakable: false,
            is_full: false,
            out_of_reach: 0,
            answers: Answers::default(),
            walk: None,
            chance,
        }
    }

    /// Some lives, and a last one in which all is acknowledged and compared.
    pub(crate) fn run(&mut self) -> Checked<()> {
        for life in 0..2 + self.chance.below(4) {
            self.trace.add(|| format!("life {life}"));
            self.prepare_life();
            let steps = 4 + self.chance.below(24);
            self.live(steps)?;
        }
        self.trace.add(|| "the last lives".to_owned());
        self.settle()?;
        self.power_cut();
        self.begin_whole();
        self.last_look()
    }

    fn now_us(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }
}
