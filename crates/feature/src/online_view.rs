//! A view's live state, shared by one writer and many readers: entities lie in shards, each behind a lock of its own that
//! is held for as long as a few dozen events take to append, or one entity to read.
//!
//! ```text
//!   take_in(batch, version 7) ─▶ shard ▪ ▪ ▪ ▪          while it goes from shard to shard,
//!   read(keys, version 6)     ─▶ shard ▪ ▪              reads at version 6 see nothing of it anywhere
//! ```
//! A read names the version that it stands at, and all reads at one version see the same batches, in all views. The writer
//! promises not to settle a version that a reader still stands before.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use asof_window::{
    Answers, Captured, Frame, GroupWindow, ImageError, Images, KeyEncoder, Keys, Program, ReadPoint, SortedEvents,
    TieBreak, Version, WindowState, shard_of,
};

use crate::error::FeatureError;
use crate::prepared::ViewEvents;
use crate::standing_rows::{StandingRows, Way};
use crate::taking::SetAside;
use crate::view::{TakenIn, ViewAnswers, ViewPlan};

/// After so many rows appended the writer lets others have its core, so that on a busy machine a read waits for a fraction
/// of a millisecond instead of the rest of the writer's time slice.
const YIELD_EVERY_ROWS: usize = 256;
/// After so many rows a long read is asked whether it may go on.
const ASK_EVERY_ROWS: usize = 64;
/// The texts, lists and maps that one read may answer with: 64 MiB, and what its last row adds.
const READ_BYTES_MAX: usize = 64 << 20;

/// A shard, and in which of several pieces its images lie where.
type ShardRuns = (usize, Vec<(usize, Range<usize>)>);

/// A view with the windows of all its entities.
#[derive(Debug)]
pub struct OnlineView {
    plan: ViewPlan,
    keys: KeyEncoder,
    /// A power of two.
    pub(crate) shards: Vec<Mutex<WindowState>>,
    /// The shard that the next sweep begins with.
    sweep_next: AtomicUsize,
    /// Whether the writer is at work in some shard; left set by a writer that panicked.
    pub(crate) is_written: AtomicBool,
    /// Whether events may depart, which a late version of a joined table makes them do.
    joins: bool,
    /// For each source whose events are joined on their way: no event of it before this instant, in microseconds, departs any
    /// more.
    changeable_from_us: Vec<(String, AtomicI64)>,
    /// Whether some frame holds a session, from which nothing may be missing that an event can still join.
    has_sessions: bool,
    /// Sessions that ended before this instant, in microseconds, are dropped.
    sessions_from_us: AtomicI64,
    /// Of a view whose windows close, which windows these are.
    pub(crate) shape: Option<GroupWindow>,
    /// They closed if they ended before this instant, in microseconds.
    pub(crate) closed_before_us: AtomicI64,
}

/// What no read asks for any more, and no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// No read comes at a version before this one.
    pub version: Version,
    /// Nor as of an instant before this one, in microseconds; `None` is no bound.
    pub floor_us: Option<i64>,
    /// No event comes any more that is older than this, in microseconds, but for those that cannot be late; `None` while one
    /// of any age may.
    pub coming_from_us: Option<i64>,
}

/// How much a view holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Entities with events.
    pub entities: usize,
    /// Events that some read may still need.
    pub events: usize,
    /// Memory.
    pub bytes: usize,
}

impl OnlineView {
    /// A view without events, in `shards` shards, a power of two.
    pub fn new(plan: ViewPlan, shards: usize) -> Result<OnlineView, FeatureError> {
        let departs = !plan.view().stream.joining_sources().is_empty() || plan.is_over_groups();
        OnlineView::with_states(plan, shards, if departs { WindowState::with_departures } else { WindowState::new })
    }

    /// The same with shards that are made so.
    pub(crate) fn with_states(
        plan: ViewPlan,
        shards: usize,
        made: impl Fn(Arc<Program>) -> WindowState,
    ) -> Result<OnlineView, FeatureError> {
        let keys = plan.key_encoder().map_err(|source| refused(&plan, source))?;
        let shards = shards.next_power_of_two();
        let joining = plan.view().stream.joining_sources().into_iter();
        let joining: Vec<_> = joining.map(|source| (source.name.clone(), AtomicI64::new(i64::MIN))).collect();
        let joins = !joining.is_empty();
        let shards = (0..shards).map(|_| Mutex::new(made(plan.program().clone()))).collect();
        Ok(OnlineView {
            has_sessions: plan.program().frames().iter().any(Frame::holds_session),
            plan,
            keys,
            shards,
            sweep_next: AtomicUsize::new(0),
            is_written: AtomicBool::new(false),
            joins,
            changeable_from_us: joining,
            sessions_from_us: AtomicI64::new(i64::MIN),
            shape: None,
            closed_before_us: AtomicI64::new(i64::MIN),
        })
    }

    /// The plan.
    pub fn plan(&self) -> &ViewPlan {
        &self.plan
    }

    /// Reads entities at a version, each as of its instant in microseconds. `parts` are the parts of the entity key; a row
    /// with a NULL part answers like an entity never seen.
    pub fn read(&self, parts: &[ArrayRef], instants_us: &[i64], version: Version) -> Result<ViewAnswers, FeatureError> {
        let answers = self.read_while(parts, instants_us, version, None, || true)?;
        Ok(answers.expect("a read that always goes on ends"))
    }

    /// The same, given up (`None`) when `go_on`, asked now and then, says no. [`FeatureError::TooLarge`] where the answers would
    /// take more memory than a read may. Rows that stand at events of the view, which they come to by these ways, are read as
    /// of these events.
    pub fn read_while(
        &self,
        parts: &[ArrayRef],
        instants_us: &[i64],
        version: Version,
        standing: Option<(StandingRows<'_>, &[Way])>,
        mut go_on: impl FnMut() -> bool,
    ) -> Result<Option<ViewAnswers>, FeatureError> {
        let parts: Vec<ArrayRef> = parts.iter().map(asof_expression::normalize).collect();
        let keys = self.keys.encode(&parts).map_err(|source| refused(&self.plan, source))?;
        let mut answers = Answers::with_capacity(self.plan.program(), instants_us.len());
        let mut ties = Vec::new();
        for (row, t_us) in instants_us.iter().enumerate() {
            if row % ASK_EVERY_ROWS == ASK_EVERY_ROWS - 1 && !go_on() {
                return Ok(None);
            }
            let whole = parts.iter().all(|part| part.is_valid(row));
            let at = ReadPoint { version, t_us: *t_us };
            ties.clear();
            ties.extend(standing.iter().flat_map(|(rows, ways)| rows.ties(row, ways)));
            let mut state = self.lock_to_read(self.shard(&keys, row))?;
            state.read_standing(whole.then_some((&keys, row)), at, &ties, &mut answers);
            drop(state);
            if answers.text_bytes() > READ_BYTES_MAX {
                let view = self.plan.view().name.clone();
                return Err(FeatureError::TooLarge { view, rows: row + 1, limit_bytes: READ_BYTES_MAX });
            }
        }
        self.plan.features(answers.finish()).map(Some)
    }

    /// For each entity the first instant behind `t_us`, in microseconds, as of which it may be answered otherwise, though no event
    /// comes; `None`: it never is.
    pub fn next_changes(&self, parts: &[ArrayRef], t_us: i64) -> Result<Vec<Option<i64>>, FeatureError> {
        let parts: Vec<ArrayRef> = parts.iter().map(asof_expression::normalize).collect();
        let keys = self.keys.encode(&parts).map_err(|source| refused(&self.plan, source))?;
        (0..keys.len())
            .map(|row| Ok(self.lock_to_read(self.shard(&keys, row))?.next_change_us(&keys, row, t_us)))
            .collect()
    }

    /// The parts of the keys of a shard's entities, in columns.
    pub fn keys_of(&self, shard: usize) -> Result<Vec<ArrayRef>, FeatureError> {
        let state = self.lock_to_read(shard)?;
        state.keys(&self.keys).map_err(|source| refused(&self.plan, source))
    }

    /// Drops what no read needs any more, in the next `entities_max` entities. Returns how many entities were dropped.
    pub fn sweep(&self, settled: Settled, entities_max: usize) -> usize {
        const TURN_ENTITIES: usize = 256;
        let (mut dropped, mut looked_at) = (0, 0);
        self.is_written.store(true, Ordering::Release);
        for _ in 0..self.shards.len() {
            if looked_at >= entities_max {
                break;
            }
            let next = self.sweep_next.fetch_add(1, Ordering::Relaxed) & (self.shards.len() - 1);
            let mut state = lock(&self.shards[next]);
            self.settle(&mut state, settled);
            dropped += state.sweep(TURN_ENTITIES);
            looked_at += TURN_ENTITIES.min(state.entities().max(1));
        }
        self.is_written.store(false, Ordering::Release);
        dropped
    }

    /// What all shards hold.
    pub fn held(&self) -> Held {
        self.shards.iter().fold(Held::default(), |held, shard| {
            let state = lock(shard);
            Held {
                entities: held.entities + state.entities(),
                events: held.events + state.events(),
                bytes: held.bytes + state.memory_bytes(),
            }
        })
    }

    /// How many shards there are; they are numbered from 0.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Begins a capture of all shards at this moment, which is between two batches where the writer calls it. Takes the
    /// same short time whatever the view holds. See [`WindowState::begin_capture`].
    pub fn begin_capture(&self, what: Captured) {
        self.shards.iter().for_each(|shard| lock(shard).begin_capture(what));
    }

    /// Appends images of a shard's entities as they were when the capture began, about `bytes_max` of them, and returns
    /// whether the shard is done. The shard is locked for as long. See [`WindowState::capture`].
    pub fn capture(&self, shard: usize, bytes_max: usize, out: &mut Vec<u8>) -> bool {
        lock(&self.shards[shard]).capture(bytes_max, out)
    }

    /// Puts entities back, from images that a view with the same [`ViewPlan::fingerprint`] captured, in any number of
    /// shards, by several threads; an image replaces what its entity had, or adds to it. Returns how many. After an error some are back: the view is of no
    /// use then.
    pub fn restore(&self, pieces: &[impl AsRef<[u8]> + Sync], threads: usize) -> Result<usize, FeatureError> {
        self.is_written.store(true, Ordering::Release);
        let restored = self.restore_all(pieces, threads);
        self.is_written.store(false, Ordering::Release);
        restored.map_err(|source| FeatureError::Image { view: self.plan.view().name.clone(), source })
    }

    /// Several threads, each of which takes shard after shard: in a shard the images go back in their order, so that the state
    /// is the same whatever the threads.
    fn restore_all(&self, pieces: &[impl AsRef<[u8]> + Sync], threads: usize) -> Result<usize, ImageError> {
        let runs = self.runs_by_shard(pieces)?;
        let (next, restored) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            while let Some((shard, runs)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut state = lock(&self.shards[*shard]);
                for (piece, run) in runs {
                    let images = &pieces[*piece].as_ref()[run.clone()];
                    let count = state.restore(images).map_err(|error| error.moved_by(run.start))?;
                    restored.fetch_add(count, Ordering::Relaxed);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads.min(runs.len())).map(|_| scope.spawn(work)).collect();
            let ended = others.into_iter().map(|other| other.join().expect("restoring does not panic"));
            std::iter::once(work()).chain(ended).collect::<Result<(), ImageError>>()
        })?;
        Ok(restored.into_inner())
    }

    /// Cuts the images where the shard changes, which is seldom: a capture goes from shard to shard.
    fn runs_by_shard(&self, pieces: &[impl AsRef<[u8]>]) -> Result<Vec<ShardRuns>, ImageError> {
        let mut by_shard: BTreeMap<usize, Vec<(usize, Range<usize>)>> = BTreeMap::new();
        for (place, piece) in pieces.iter().enumerate() {
            let mut at = 0;
            for image in Images::new(piece.as_ref()) {
                let image = image?;
                if image.has_word_key() != self.keys.gives_words() {
                    return Err(image.damaged("its key is of another kind"));
                }
                let end = at + image.bytes().len();
                let runs = by_shard.entry(shard_of(image.hash(), self.shards.len()) as usize).or_default();
                match runs.last_mut() {
                    Some((last, run)) if *last == place && run.end == at => run.end = end,
                    _ => runs.push((place, at..end)),
                }
                at = end;
            }
        }
        Ok(by_shard.into_iter().collect())
    }

    /// Evaluates what the rows of a batch that are true in `used` (`None` is all) bring: the rows set aside, and the
    /// events, if there are any.
    pub(crate) fn bring(
        &self,
        batch: &RecordBatch,
        used: Option<&BooleanArray>,
        times: &ArrayRef,
    ) -> Result<(Vec<SetAside>, Option<ViewEvents>), FeatureError> {
        let mut taken = self.plan.take_in(batch, used);
        let set_aside = std::mem::take(&mut taken.set_aside);
        Ok((set_aside, self.events_of(taken, times)?))
    }

    /// The events of what is taken in, with the times of the batch; `None` if there are none.
    pub(crate) fn events_of(&self, taken: TakenIn, times: &ArrayRef) -> Result<Option<ViewEvents>, FeatureError> {
        let TakenIn { rows, whole, keys: parts, carried, .. } = taken;
        if rows.is_empty() {
            return Ok(None);
        }
        let times = if whole { Ok(times.clone()) } else { take(times, &rows, None) };
        let times = times.map_err(|source| refused(&self.plan, source))?;
        let times: ScalarBuffer<i64> = times.as_primitive::<TimestampMicrosecondType>().values().clone();
        let events = SortedEvents::new(self.plan.program(), times, &carried);
        let keys = self.keys.encode(&parts).map_err(|source| refused(&self.plan, source))?;
        let (by_shard, starts) = self.by_shard(&keys);
        let last_key = parts.iter().map(|part| part.slice(part.len() - 1, 1)).collect();
        Ok(Some(ViewEvents { batch_rows: rows, keys, events, by_shard, starts, last_key }))
    }

    /// Takes in events as part of a version; `tie_of` a row of the batch says what orders it among its peers.
    pub(crate) fn take_in<'a>(
        &self,
        brought: &ViewEvents,
        tie_of: impl Fn(usize) -> TieBreak<'a>,
        version: Version,
        settled: Settled,
    ) {
        self.change(brought, settled, |state, rows| {
            let run = brought.events.run(0, brought.events.len());
            let tie = |row| tie_of(brought.batch_rows.value(row) as usize);
            state.append(&brought.keys, rows, &run, version, tie);
        });
    }

    /// Lets events go as part of a version, which are known by their times and what `tie_of` says.
    pub(crate) fn depart<'a>(
        &self,
        gone: &ViewEvents,
        tie_of: impl Fn(usize) -> TieBreak<'a>,
        version: Version,
        settled: Settled,
    ) {
        self.change(gone, settled, |state, rows| {
            let run = gone.events.run(0, gone.events.len());
            state.depart(&gone.keys, rows, &run, version, |row| tie_of(gone.batch_rows.value(row) as usize));
        });
    }

    /// Changes one shard after the other by the rows that are its own.
    fn change(&self, events: &ViewEvents, settled: Settled, mut change: impl FnMut(&mut WindowState, &[u32])) {
        let ViewEvents { by_shard, starts, .. } = events;
        self.is_written.store(true, Ordering::Release);
        let mut changed = 0;
        for (shard, part) in self.shards.iter().zip(starts.windows(2)).filter(|(_, part)| part[0] < part[1]) {
            let mut state = lock(shard);
            self.settle(&mut state, settled);
            let rows = &by_shard[part[0]..part[1]];
            change(&mut state, rows);
            drop(state);
            changed += rows.len();
            if changed >= YIELD_EVERY_ROWS {
                changed = 0;
                std::thread::yield_now();
            }
        }
        self.is_written.store(false, Ordering::Release);
    }

    /// No event of a source before this instant departs any more: all that do were let go. It does not go back.
    pub(crate) fn settle_events_before(&self, source: &str, from_us: i64) {
        let own = self.changeable_from_us.iter().find(|(name, _)| name == source);
        if let Some((_, known_us)) = own {
            known_us.fetch_max(from_us, Ordering::Relaxed);
        }
    }

    /// The least of what its sources said; `None` where nothing is joined.
    fn changeable_from_us(&self) -> Option<i64> {
        self.changeable_from_us.iter().map(|(_, from_us)| from_us.load(Ordering::Relaxed)).min()
    }

    /// What no read, no event and no window needs any more, of a view whose windows close.
    pub(crate) fn settled_windows(&self) -> Settled {
        let floor_us = Some(self.closed_before_us()).filter(|floor_us| *floor_us > i64::MIN);
        Settled { version: Version(0), floor_us, coming_from_us: None }
    }

    fn settle(&self, state: &mut WindowState, settled: Settled) {
        if self.closes() {
            let Settled { version, floor_us, .. } = self.settled_windows();
            return state.settle(version, floor_us);
        }
        state.settle(settled.version, settled.floor_us);
        if let Some(from_us) = self.changeable_from_us() {
            state.settle_events_before(from_us);
        }
        if let Some(from_us) = self.sessions_settled_before(settled) {
            state.settle_sessions_before(from_us);
        }
        self.note_settled(settled);
    }

    /// Takes note of what sessions will be dropped with the next change.
    pub(crate) fn note_settled(&self, settled: Settled) {
        if self.closes() {
            // What comes later is too late for a window, and is told so.
            return;
        }
        if let (Some(from_us), Some(floor_us)) = (self.sessions_settled_before(settled), settled.floor_us) {
            self.sessions_from_us.fetch_max(from_us.min(floor_us), Ordering::Relaxed);
        }
    }

    /// No event joins a session any more that ended before this instant.
    fn sessions_settled_before(&self, settled: Settled) -> Option<i64> {
        let coming_from_us = settled.coming_from_us.filter(|_| self.has_sessions)?;
        Some(coming_from_us.min(self.changeable_from_us().unwrap_or(i64::MAX)))
    }

    /// The event time in microseconds from which on all sessions are held whole: an older event would come too late to join
    /// one. `None` where none was dropped yet.
    pub(crate) fn sessions_from_us(&self) -> Option<i64> {
        Some(self.sessions_from_us.load(Ordering::Relaxed)).filter(|from_us| *from_us > i64::MIN)
    }

    /// Whether late versions of tables change which events it has.
    pub(crate) fn joins(&self) -> bool {
        self.joins
    }

    /// A read changes nothing but the cursors, so that the state can be read on when one panicked. After a writer's panic a
    /// batch may stand there in part: nothing is read then.
    fn lock_to_read(&self, shard: usize) -> Result<MutexGuard<'_, WindowState>, FeatureError> {
        match self.shards[shard].lock() {
            Ok(state) => Ok(state),
            Err(_) if self.is_written.load(Ordering::Acquire) => {
                Err(FeatureError::Torn { view: self.plan.view().name.clone() })
            }
            Err(poisoned) => {
                let mut state = poisoned.into_inner();
                state.forget_cursors();
                self.shards[shard].clear_poison();
                Ok(state)
            }
        }
    }

    pub(crate) fn shard(&self, keys: &Keys, row: usize) -> usize {
        shard_of(keys.hash(row), self.shards.len()) as usize
    }

    /// The rows in the order of their shards, and for each shard where its rows begin (and, last, where they end).
    fn by_shard(&self, keys: &Keys) -> (Vec<u32>, Vec<usize>) {
        let shards: Vec<u32> = (0..keys.len()).map(|row| self.shard(keys, row) as u32).collect();
        let mut starts = vec![0; self.shards.len() + 1];
        shards.iter().for_each(|shard| starts[*shard as usize + 1] += 1);
        (0..self.shards.len()).for_each(|shard| starts[shard + 1] += starts[shard]);
        let mut next = starts.clone();
        let mut rows = vec![0; shards.len()];
        for (row, shard) in shards.into_iter().enumerate() {
            rows[next[shard as usize]] = row as u32;
            next[shard as usize] += 1;
        }
        (rows, starts)
    }
}

/// For the writer and for counting. The state itself is whole between any two calls; cursors that a reader's panic left
/// halfway are made anew.
pub(crate) fn lock(shard: &Mutex<WindowState>) -> MutexGuard<'_, WindowState> {
    shard.lock().unwrap_or_else(|poisoned| {
        let mut state = poisoned.into_inner();
        state.forget_cursors();
        state
    })
}

pub(crate) fn refused(plan: &ViewPlan, source: ArrowError) -> FeatureError {
    FeatureError::Arrow { object: format!("feature view `{}`", plan.view().name), source }
}
