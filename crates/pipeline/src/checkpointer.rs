//! Checkpoints: what the views hold and the offsets that it comes from, durable together.
//!
//! ```text
//!   writer    ── batch ── batch ─┤cut├─ batch ── batch ── …       the cut takes no copy: entities are imaged before they change
//!   beside it                     └▶ images of view after view ─▶ parts ─▶ manifest (the atomic step) ─▶ older ones go
//! ```
//! A view's parts are a base and the entities touched since, checkpoint by checkpoint; when those outgrow the base, all is
//! written anew. Primary keys leave memory at the cut and become a run file, which the checkpoint names with those before. A checkpoint that fails costs nothing but replay: the log is the truth.

use asof_connect::ProducerBatch;
use asof_state::{About, CheckpointStore, CheckpointWriter, Manifest, Part, PartKind, PartScope, StreamAbout};
use asof_window::Captured;
use bytes::Bytes;

use crate::checkpoint_chain::Chain;
use crate::engine::{Engine, lock};
use crate::error::PipelineError;
use crate::key_memory::KeysAtCut;
use crate::spread::Spread;
use crate::stream_image::{StreamImage, batches_pieces};
use crate::writer::Writer;

/// Images gathered before they are written: a part.
const PART_BYTES: usize = 8 << 20;
/// Images taken while a shard is locked: a tenth of a millisecond.
const LOCKED_BYTES: usize = 32 << 10;
/// Checkpoints that are kept.
pub(crate) const KEPT: usize = 2;

/// Takes a project's checkpoints, one after the other.
#[derive(Debug)]
pub(crate) struct Checkpointer<'e> {
    engine: &'e Engine,
    store: CheckpointStore,
    epoch: u64,
    /// By view.
    views: Vec<Chain>,
    /// By source: the batches named.
    batches: Vec<Chain>,
    /// Events taken in when the last one was cut.
    rows: Option<u64>,
    /// Whether one was cut and has not ended.
    is_unfinished: bool,
}

/// The moment that a checkpoint shows.
#[derive(Debug)]
struct Cut {
    began_us: i64,
    views: Vec<Captured>,
    batches: Vec<(Captured, Vec<ProducerBatch>)>,
    /// The streams and tables that are stored.
    streams: Vec<StreamAtCut>,
    arrived_us: i64,
    rows: u64,
}

/// A stream at that moment.
#[derive(Debug)]
struct StreamAtCut {
    name: String,
    image: StreamImage,
    keys: KeysAtCut,
}

/// A checkpoint on its way to the disk.
#[derive(Debug)]
pub(crate) struct InProgress {
    cut: Cut,
    checkpoint: CheckpointWriter,
    /// Whether the primary keys of then are on disk.
    has_keys: bool,
    /// Parts of the views that are through.
    written: Vec<Vec<Part>>,
    /// Of the view that is not: the shard that comes next, the parts, the images that wait for their part.
    shard: usize,
    parts: Vec<Part>,
    images: Vec<u8>,
    /// The memory that each view takes: its share of the work.
    weights: Vec<usize>,
}

impl StreamAtCut {
    fn about(self) -> StreamAbout {
        let key_runs = self.keys.run_names().expect("the first step of a checkpoint writes its keys");
        let image = StreamImage { key_runs, ..self.image };
        StreamAbout { name: self.name, partition: 0, next_offset: image.next_offset(), image: image.json() }
    }
}

impl<'e> Checkpointer<'e> {
    /// Goes on after a checkpoint that was restored, or begins.
    pub(crate) fn new(engine: &'e Engine, store: CheckpointStore, restored: Option<&Manifest>) -> Checkpointer<'e> {
        let (views, streams) = (engine.views().len(), engine.sources().len());
        let none = |count| (0..count).map(|_| Chain::default()).collect();
        Checkpointer {
            engine,
            store,
            epoch: restored.map_or(0, |manifest| manifest.epoch),
            views: none(views),
            batches: none(streams),
            rows: None,
            is_unfinished: false,
        }
    }

    /// Takes a checkpoint if anything came since the last one. Returns whether it did.
    pub(crate) fn take(&mut self, spread: Spread<'_>) -> Result<bool, PipelineError> {
        let Some(mut checkpoint) = self.begin()? else { return Ok(false) };
        while !self.step(&mut checkpoint)? {
            // Not with a lock in its hands.
            spread.wait(self.share_done(&checkpoint), self.engine.wall_us() - checkpoint.cut.began_us);
        }
        self.finish(checkpoint)?;
        Ok(true)
    }

    /// Cuts: between two batches, in a moment. `None` if nothing came since the last one.
    pub(crate) fn begin(&mut self) -> Result<Option<InProgress>, PipelineError> {
        if self.rows == Some(self.engine.published().rows + self.engine.assignments()) {
            return Ok(None);
        }
        let storage = self.engine.storage().expect("checkpoints are taken where there is a data folder");
        storage.check()?;
        if std::mem::replace(&mut self.is_unfinished, true) {
            // What an abandoned one captured is nowhere.
            self.forget_chains();
        }
        let Some(cut) = self.cut()? else {
            self.is_unfinished = false;
            return Ok(None);
        };
        self.epoch += 1;
        let checkpoint = self.store.begin(self.epoch);
        let (written, parts, images) = (Vec::new(), Vec::new(), Vec::with_capacity(PART_BYTES + 2 * LOCKED_BYTES));
        let weights = (0..self.views.len()).map(|view| self.weight(view)).collect();
        Ok(Some(InProgress { cut, checkpoint, has_keys: false, written, shard: 0, parts, images, weights }))
    }

    fn weight(&self, view: usize) -> usize {
        if self.engine.is_stored(view) { self.engine.view(view).online.held().bytes } else { 0 }
    }

    /// The share of the images that are taken, from 0 to 1.
    fn share_done(&self, checkpoint: &InProgress) -> f64 {
        let InProgress { weights, written, shard, .. } = checkpoint;
        let (through, left) = weights.split_at(written.len());
        let Some(in_work) = left.first() else { return 1.0 };
        let shards = self.engine.view(written.len()).online.shards();
        let of_it = *in_work as f64 * *shard as f64 / shards as f64;
        let all = weights.iter().sum::<usize>().max(1);
        (through.iter().sum::<usize>() as f64 + of_it) / all as f64
    }

    /// Cuts when no keys wait for the disk: those that are in memory have to take their place.
    /// `None` while the writer's state is not whole: the next start computes it from the log.
    fn cut(&self) -> Result<Option<Cut>, PipelineError> {
        loop {
            let spilled = self.engine.spill_keys();
            spilled.inspect_err(|_| self.engine.checkpoint_measures().failed())?;
            let mut writer = lock(self.engine.writer());
            let began_us = self.engine.wall_us();
            if !writer.is_whole() {
                return Ok(None);
            }
            if !writer.keys_wait() {
                let cut = self.cut_here(&mut writer, began_us);
                drop(writer);
                self.engine.checkpoint_measures().pause.add(self.engine.wall_us() - began_us, 1);
                return Ok(Some(cut));
            }
        }
    }

    fn cut_here(&self, writer: &mut Writer, began_us: i64) -> Cut {
        let views: Vec<Captured> = self.views.iter().map(Chain::next).collect();
        for (view, what) in views.iter().enumerate().filter(|(view, _)| self.engine.is_stored(*view)) {
            self.engine.view(view).online.begin_capture(*what);
        }
        let (mut batches, mut streams) = (Vec::new(), Vec::new());
        for stream in 0..writer.sources.len() {
            let what = self.batches[stream].next();
            batches.push((what, writer.take_batches(stream, what)));
            if writer.logs[stream].is_some() {
                streams.push(self.stream_at_cut(writer, stream));
            }
        }
        let (arrived_us, rows) = (writer.arrived_us, writer.published().rows + self.engine.assignments());
        Cut { began_us, views, batches, streams, arrived_us, rows }
    }

    fn stream_at_cut(&self, writer: &mut Writer, stream: usize) -> StreamAtCut {
        StreamAtCut {
            name: self.engine.stored_form(stream).name.clone(),
            keys: writer.cut_keys(stream),
            image: StreamImage::of(writer, stream, lock(self.engine.told()).reasons(stream)),
        }
    }

    /// Writes the keys, then the next images. Returns whether all are written.
    pub(crate) fn step(&mut self, checkpoint: &mut InProgress) -> Result<bool, PipelineError> {
        if !checkpoint.has_keys {
            self.engine.spill_keys().inspect_err(|_| self.give_up())?;
            checkpoint.has_keys = true;
            return Ok(false);
        }
        let view = checkpoint.written.len();
        if view == self.views.len() {
            return Ok(true);
        }
        if !self.engine.is_stored(view) {
            checkpoint.written.push(Vec::new());
            return Ok(false);
        }
        let online = &self.engine.view(view).online;
        if checkpoint.shard < online.shards() {
            let is_through = online.capture(checkpoint.shard, LOCKED_BYTES, &mut checkpoint.images);
            checkpoint.shard += usize::from(is_through);
            if checkpoint.images.len() < PART_BYTES {
                return Ok(false);
            }
        }
        let is_last = checkpoint.shard == online.shards();
        // Also if it is empty: that there is a base says that the view was captured.
        if !checkpoint.images.is_empty() || (is_last && checkpoint.parts.is_empty()) {
            let scope = self.view_scope(view, checkpoint.cut.views[view]);
            let images = Bytes::from(std::mem::take(&mut checkpoint.images));
            let part = checkpoint.checkpoint.put(scope, images.clone()).inspect_err(|_| self.give_up())?;
            checkpoint.parts.push(part);
            // The same memory again: fresh pages cost more than all images.
            checkpoint.images = images.into();
            checkpoint.images.clear();
        }
        if is_last {
            checkpoint.written.push(std::mem::take(&mut checkpoint.parts));
            checkpoint.shard = 0;
        }
        Ok(false)
    }

    /// Makes the checkpoint the newest one, and drops those that are not kept.
    pub(crate) fn finish(&mut self, checkpoint: InProgress) -> Result<(), PipelineError> {
        let (began_us, rows) = (checkpoint.cut.began_us, checkpoint.cut.rows);
        let manifest = self.write(checkpoint).inspect_err(|_| self.give_up())?;
        self.rows = Some(rows);
        self.is_unfinished = false;
        self.engine.checkpoint_measures().taken(&manifest, began_us, self.engine.wall_us());
        // Whoever has taken over may be reading what this process would not keep.
        self.engine.storage().expect("checkpoints are taken where there is a data folder").check()?;
        self.store.prune(KEPT)?;
        self.engine.tidy_keys(&self.store.manifests(KEPT)?)
    }

    /// What was captured is lost with the checkpoint: the next one begins anew.
    fn give_up(&mut self) {
        self.is_unfinished = false;
        self.forget_chains();
        self.end_captures();
        self.engine.checkpoint_measures().failed();
    }

    /// What a capture keeps for a checkpoint that never comes would grow until the next one.
    fn end_captures(&self) {
        let mut images = Vec::new();
        for view in 0..self.views.len() {
            let online = &self.engine.view(view).online;
            online.begin_capture(Captured::Touched);
            for shard in 0..online.shards() {
                while !online.capture(shard, LOCKED_BYTES, &mut images) {
                    images.clear();
                }
            }
        }
    }

    fn forget_chains(&mut self) {
        for chain in self.views.iter_mut().chain(&mut self.batches) {
            *chain = Chain::default();
        }
    }

    fn write(&mut self, checkpoint: InProgress) -> Result<Manifest, PipelineError> {
        let InProgress { cut, mut checkpoint, written, .. } = checkpoint;
        for ((chain, what), parts) in self.views.iter_mut().zip(&cut.views).zip(written) {
            chain.extend(*what, parts);
        }
        for ((source, chain), (what, batches)) in self.batches.iter_mut().enumerate().zip(cut.batches) {
            let stream = self.engine.stored_form(source).name.clone();
            let scope = PartScope { stream, partition: 0, kind: PartKind::Batches };
            let parts = batches_pieces(&batches).into_iter().map(|piece| checkpoint.put(scope.clone(), piece));
            chain.extend(what, parts.collect::<Result<_, _>>()?);
        }
        for chain in self.views.iter().chain(&self.batches) {
            chain.parts.iter().for_each(|part| checkpoint.keep(part.clone()));
        }
        // A log that is not synced with every answer must not be behind the checkpoint. Most of that beside whoever writes it.
        (0..self.engine.sources().len()).for_each(|source| self.engine.sync_beside(source, |_| true));
        self.engine.sync_logs()?;
        let streams = cut.streams.into_iter().map(StreamAtCut::about).collect();
        Ok(checkpoint.finish(About { streams, arrived_us: cut.arrived_us })?)
    }

    fn view_scope(&self, view: usize, what: Captured) -> PartScope {
        let bound = self.engine.view(view);
        let plan = bound.online.plan();
        let kind = PartKind::View {
            name: bound.stored_name(),
            fingerprint: plan.fingerprint(),
            is_base: what == Captured::Whole,
        };
        PartScope { stream: self.engine.stored_form(bound.streams[0]).name.clone(), partition: 0, kind }
    }
}

/// What a checkpoint brought back: for each source the offset from which its log goes on, and whether each view has all
/// events before those.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) manifest: Option<Manifest>,
    pub(crate) streams: Vec<u64>,
    /// The offset from which the log is asked for a stream's keys: an earlier one where its key was another then.
    pub(crate) keys: Vec<u64>,
    /// The offset from which the log is asked for rows that are held for late versions.
    pub(crate) held: Vec<u64>,
    /// Whether a stream's events have to be joined anew.
    pub(crate) undercut: Vec<bool>,
    pub(crate) views: Vec<bool>,
}
