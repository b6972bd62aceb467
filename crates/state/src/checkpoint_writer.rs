//! A checkpoint in progress: parts are put one after the other, the manifest last.

use std::sync::Arc;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::checkpoint_store::{check_is_there, part_location, store_error, wait};
use crate::in_progress::Progress;
use crate::object_name::{manifest_path, part_path};
use crate::{About, Manifest, Part, PartScope, StateError};

/// Writes one checkpoint. Dropped before [`finish`](Self::finish), it leaves parts that no manifest names.
#[derive(Debug)]
pub struct CheckpointWriter {
    store: Arc<dyn ObjectStore>,
    generation: u64,
    epoch: u64,
    progress: Progress,
    /// In the order of the manifest.
    parts: Vec<Part>,
    /// How many were written.
    put: usize,
}

impl CheckpointWriter {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        generation: u64,
        epoch: u64,
        progress: Progress,
    ) -> CheckpointWriter {
        CheckpointWriter { store, generation, epoch, progress, parts: Vec::new(), put: 0 }
    }

    /// Writes a part, durable when this returns: at most [`PIECE_BYTES_MAX`](crate::PIECE_BYTES_MAX) bytes, any number of parts
    /// of one scope. After an error the checkpoint may go on or be dropped. Nothing is kept of the bytes: a caller with a
    /// clone of them is the only one to have them afterwards.
    pub fn put(&mut self, scope: PartScope, bytes: impl Into<Bytes>) -> Result<Part, StateError> {
        if self.put == 0 {
            self.refuse_if_finished_before()?;
        }
        let path = part_path(&scope, self.generation, self.epoch, self.put);
        let bytes = bytes.into();
        let (part, header) = Part::write(scope, path, &bytes)?;
        let location = part_location(&part)?;
        // Not `Create`: an earlier process may have left an unfinished checkpoint of this epoch.
        wait(self.store.put(&location, PutPayload::from_iter([header, bytes])))
            .map_err(store_error(&part.path, "the checkpoint"))?;
        self.put += 1;
        self.parts.push(part.clone());
        Ok(part)
    }

    /// Names a part of an earlier checkpoint again, without writing it. One that this checkpoint names already moves to the end:
    /// parts stand in the manifest in the order in which they were last named.
    pub fn keep(&mut self, part: Part) {
        self.progress.keep(&part.path);
        self.parts.retain(|named| named.path != part.path);
        self.parts.push(part);
    }

    /// Makes the checkpoint exist. After an error it may or may not.
    pub fn finish(self, about: About) -> Result<Manifest, StateError> {
        let path = manifest_path(self.generation, self.epoch);
        // Parts that were kept may have been removed by another writer meanwhile.
        for part in &self.parts {
            wait(check_is_there(&*self.store, part, path.as_ref()))?;
        }
        let manifest = Manifest { generation: self.generation, epoch: self.epoch, parts: self.parts, about };
        let bytes = manifest.encode(path.as_ref())?;
        // The atomic step. Each part was durable when its `put` returned, so a manifest that is there, after whatever crash,
        // names parts that are there; before this put the checkpoint is rubbish, after it the checkpoint exists.
        let put = self.store.put_opts(&path, bytes.into(), PutOptions::from(PutMode::Create));
        match wait(put) {
            Ok(_) => Ok(manifest),
            Err(object_store::Error::AlreadyExists { .. }) => Err(StateError::EpochTaken { object: path.into() }),
            Err(error) => Err(store_error(path.as_ref(), "the checkpoint")(error)),
        }
    }

    /// Parts put for an epoch that is finished would replace those that its manifest names.
    fn refuse_if_finished_before(&self) -> Result<(), StateError> {
        let path = manifest_path(self.generation, self.epoch);
        match wait(self.store.head(&path)) {
            Ok(_) => Err(StateError::EpochTaken { object: path.into() }),
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(store_error(path.as_ref(), "the checkpoint")(error)),
        }
    }
}
