//! A checkpoint back into memory. One that does not fit the log, or cannot be read, is passed over for the one before.

use std::thread::available_parallelism;

use asof_state::{CheckpointStore, Manifest, Part, PartKind};
use bytes::Bytes;

use crate::checkpointer::Restored;
use crate::engine::{Engine, lock};
use crate::error::PipelineError;
use crate::stream_image::{StreamImage, read_batches};
use crate::writer::Writer;

/// Parts in memory at a time: enough shards of a base for several threads.
const PARTS_AT_ONCE: usize = 8;

impl Engine {
    /// Restores the newest whole checkpoint whose offsets the logs have.
    pub(crate) fn restore_checkpoint(&self, writer: &mut Writer) -> Result<Restored, PipelineError> {
        let nothing = Restored {
            manifest: None,
            streams: vec![0; self.sources().len()],
            keys: vec![0; self.sources().len()],
            held: vec![0; self.sources().len()],
            undercut: vec![false; self.sources().len()],
            views: vec![false; self.views().len()],
        };
        let Some(storage) = self.storage() else { return Ok(nothing) };
        let store = storage.checkpoints();
        let can_be_used = |manifest: &Manifest| {
            self.fits(writer, manifest) && is_whole(&store, manifest) && self.can_open_keys(writer, manifest)
        };
        let opened = store.newest(&can_be_used)?;
        for (name, error) in &opened.passed_over {
            tracing::warn!(checkpoint = name, %error, "a checkpoint is passed over");
        }
        let Some(manifest) = opened.manifest else { return Ok(nothing) };
        self.restore(writer, &store, manifest)
    }

    /// Whether the logs have what the checkpoint says it comes from: each stream's log reaches its offset.
    fn fits(&self, writer: &Writer, manifest: &Manifest) -> bool {
        manifest.about.streams.iter().all(|about| {
            let log = self.stored_stream(writer, &about.name).and_then(|place| writer.logs[place].as_ref());
            // A stream that is gone from the project is nobody's.
            log.is_none_or(|log| {
                about.next_offset <= log.log().next_offset() && StreamImage::read(&about.image).is_some()
            })
        })
    }

    fn restore(
        &self,
        writer: &mut Writer,
        store: &CheckpointStore,
        manifest: Manifest,
    ) -> Result<Restored, PipelineError> {
        let mut streams = vec![0; self.sources().len()];
        let (mut keys, mut held) = (streams.clone(), streams.clone());
        for about in &manifest.about.streams {
            let Some(stream) = self.stored_stream(writer, &about.name) else { continue };
            let Some(image) = StreamImage::read(&about.image) else { continue };
            streams[stream] = about.next_offset;
            held[stream] = image.read_from();
            keys[stream] = self.keys_from(writer, stream, &image)?;
            lock(self.told()).restore(stream, &image.reasons);
            writer.sources[stream].set_counts(&image.counts);
            writer.logs[stream].iter_mut().for_each(|log| log.fed.restore(&image.fed));
            writer.positions[stream].watermark_us = image.watermark_us;
            image
                .watermark_us
                .into_iter()
                .for_each(|watermark_us| writer.sources[stream].set_closed_before(watermark_us));
        }
        writer.arrived_us = writer.arrived_us.max(manifest.about.arrived_us);
        let undercut = self.undercut_streams(writer, &streams)?;
        let mut views = vec![false; self.views().len()];
        for parts in manifest.parts.chunk_by(|one, other| one.scope == other.scope) {
            self.restore_parts(writer, store, parts, (&undercut, &mut views))?;
        }
        for bound in writer.sources.windows.iter_mut().filter(|one| views[one.view]) {
            // What had closed is not in the images.
            writer.positions[bound.source].watermark_us.into_iter().for_each(|closed_us| bound.windows.pass(closed_us));
        }
        for stream in 0..streams.len() {
            writer.note_position(stream);
        }
        Ok(Restored { manifest: Some(manifest), streams, keys, held, undercut, views })
    }

    /// The offset from which the log is asked for a stream's keys: from its beginning if those of the checkpoint are of no use,
    /// from where it is read anyway if there are none to remember.
    fn keys_from(&self, writer: &Writer, stream: usize, image: &StreamImage) -> Result<u64, PipelineError> {
        let plan = writer.sources[stream].plan();
        if !plan.deduplicates() {
            return Ok(image.next_offset());
        }
        if !image.has_key_columns_of(plan) {
            tracing::warn!(
                stream = plan.stream().name,
                "the PRIMARY KEY is another one than before: repeats of earlier events are known as far back as the log reaches"
            );
            return Ok(0);
        }
        if !image.has_key_secret_of(plan) {
            return Err(self.storage().expect("a checkpoint is in a data folder").wrong_key_secret());
        }
        Ok(image.next_offset())
    }

    /// Warns where keys are hashed without a secret. Not before the checkpoints were asked: theirs may be lost.
    pub(crate) fn tell_of_no_key_secret(&self) {
        if let Some(storage) = self.storage().filter(|storage| storage.key_secret().is_none()) {
            tracing::warn!(
                folder = %storage.folder().display(),
                "the data folder was made before primary keys had a secret: who knows the program could choose keys that are \
                 taken for one; hint: streams that strangers write to belong into a new data folder"
            );
        }
    }

    /// Parts of one scope, in their order.
    fn restore_parts(
        &self,
        writer: &mut Writer,
        store: &CheckpointStore,
        parts: &[Part],
        (undercut, views): (&[bool], &mut [bool]),
    ) -> Result<(), PipelineError> {
        let scope = &parts[0].scope;
        let Some(stream) = self.stored_stream(writer, &scope.stream) else { return Ok(()) };
        match &scope.kind {
            PartKind::View { name, fingerprint, .. } => {
                let Some(view) = self.views().iter().position(|view| view.stored_name() == *name) else {
                    return Ok(());
                };
                let online = &self.view(view).online;
                let is_same_source = self.view(view).streams.contains(&stream) && self.is_stored(view);
                let is_joined = !self.view(view).tables.is_empty();
                if is_joined && self.view(view).streams.iter().any(|stream| undercut[*stream]) {
                    tracing::info!(
                        view = name,
                        "older versions of a table came meanwhile: the view is computed anew from the log"
                    );
                    return Ok(());
                }
                if !is_same_source || online.plan().fingerprint() != *fingerprint {
                    tracing::info!(view = name, "the view was changed: it is computed anew from the log");
                    return Ok(());
                }
                let threads = available_parallelism().map_or(1, usize::from);
                for parts in parts.chunks(PARTS_AT_ONCE) {
                    let images: Vec<Bytes> =
                        parts.iter().map(|part| store.read_part(part)).collect::<Result<_, _>>()?;
                    online.restore(&images, threads)?;
                }
                views[view] = true;
            }
            PartKind::Batches => {
                let log = writer.logs[stream].as_mut().expect("the stream is stored");
                for part in parts {
                    let batches = read_batches(&store.read_part(part)?).ok_or_else(|| unreadable(part))?;
                    batches.into_iter().for_each(|batch| log.producers.remember(batch));
                }
            }
        }
        Ok(())
    }

    /// The place of a stream that has a log.
    fn stored_stream(&self, writer: &Writer, name: &str) -> Option<usize> {
        let place = (0..self.sources().len()).find(|source| self.stored_form(*source).name == name)?;
        writer.logs[place].is_some().then_some(place)
    }
}

/// Whether all parts can be read: they are looked at before the first one is restored, since nothing restored goes back.
fn is_whole(store: &CheckpointStore, manifest: &Manifest) -> bool {
    manifest.parts.iter().all(|part| match store.read_part(part) {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "a checkpoint cannot be read, and an earlier one is used");
            false
        }
    })
}

fn unreadable(part: &Part) -> PipelineError {
    PipelineError::Checkpoint { path: part.path.clone(), detail: "its content is not what its kind says".to_owned() }
}
