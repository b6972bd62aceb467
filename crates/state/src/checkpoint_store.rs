//! Checkpoints in an object store: the newest whole one is found, read part by part, and what none needs any more is removed.
//!
//! The rules:
//! - a checkpoint is where its manifest is; [`CheckpointWriter::finish`] writes it last;
//! - manifests are ordered by generation first: what a writer that was taken over still writes never wins;
//! - a checkpoint that is damaged or incomplete is passed over and reported, never taken in part.
//!
//! Methods wait for the store on the caller's thread. They may not be called inside of a task of the `futures` executor.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::CheckpointWriter;
use crate::in_progress::{InProgress, Uses};
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::object_name::{CHECKPOINTS, MANIFESTS, ObjectName, manifest_path};
use crate::{Part, StateError};

/// The checkpoints of a project, as one writer generation or its readers see them. Threads may share it.
#[derive(Debug)]
pub struct CheckpointStore {
    store: Arc<dyn ObjectStore>,
    generation: u64,
    in_progress: Arc<InProgress>,
}

/// What was found at a start.
#[derive(Debug)]
pub struct Opened {
    /// The newest whole checkpoint; `None` if there is none.
    pub manifest: Option<Manifest>,
    /// Newer ones that were not taken: the object of the manifest, and why.
    pub passed_over: Vec<(String, StateError)>,
}

impl CheckpointStore {
    /// Checkpoints in `store`. New ones are written as this generation.
    pub fn new(store: Arc<dyn ObjectStore>, generation: u64) -> CheckpointStore {
        CheckpointStore { store, generation, in_progress: Arc::default() }
    }

    /// The newest checkpoint whose manifest is whole, that `is_valid` accepts and whose parts are all there with their lengths.
    /// The bytes of the parts are checked when they are read.
    ///
    /// A process that was killed may have left a manifest whose name is not durable yet; the next [`CheckpointWriter::finish`]
    /// makes it so. Until then nothing may be removed that an older checkpoint needs and this one does not.
    pub fn newest(&self, is_valid: &dyn Fn(&Manifest) -> bool) -> Result<Opened, StateError> {
        let mut passed_over = Vec::new();
        for (generation, epoch) in self.manifest_names()? {
            match self.whole(generation, epoch, is_valid) {
                Ok(manifest) => return Ok(Opened { manifest: Some(manifest), passed_over }),
                Err(error) => passed_over.push((manifest_path(generation, epoch).to_string(), error)),
            }
        }
        Ok(Opened { manifest: None, passed_over })
    }

    /// Whether there is no checkpoint at all, not even a damaged one.
    pub fn is_empty(&self) -> Result<bool, StateError> {
        Ok(self.manifest_names()?.is_empty())
    }

    /// The newest whole checkpoints, newest first, at most so many: those that [`prune`](Self::prune) keeps.
    pub fn manifests(&self, kept: usize) -> Result<Vec<Manifest>, StateError> {
        let mut found = Vec::new();
        for (generation, epoch) in self.manifest_names()? {
            if found.len() == kept {
                break;
            }
            match self.whole(generation, epoch, &|_| true) {
                Ok(manifest) => found.push(manifest),
                // The store cannot be asked: to take the checkpoint for damaged would be to guess.
                Err(error @ StateError::Store { .. }) => return Err(error),
                Err(_passed_over_and_reported_by_newest) => {}
            }
        }
        Ok(found)
    }

    /// Begins a checkpoint. Epochs are used once per generation, each greater than those before.
    pub fn begin(&self, epoch: u64) -> CheckpointWriter {
        CheckpointWriter::new(Arc::clone(&self.store), self.generation, epoch, self.in_progress.begin(epoch))
    }

    /// The bytes of a part, checked against length and checksum of its manifest. Any number of threads may read at once; each
    /// needs memory for one part, at most [`PIECE_BYTES_MAX`](crate::PIECE_BYTES_MAX).
    pub fn read_part(&self, part: &Part) -> Result<Bytes, StateError> {
        wait(async {
            let path = part_location(part)?;
            let object = self.store.get(&path).await.map_err(store_error(&part.path, "a manifest"))?;
            if object.meta.size != part.bytes || !part.has_possible_length() {
                return Err(part.wrong_length(object.meta.size));
            }
            part.check(object.bytes().await.map_err(store_error(&part.path, "a manifest"))?)
        })
    }

    /// Removes all objects that neither the newest `kept` whole checkpoints (at least one is kept) nor those in progress name.
    /// Returns how many. With no whole checkpoint there, and in front of objects of a greater generation, nothing is removed.
    pub fn prune(&self, kept: usize) -> Result<usize, StateError> {
        // In this order: a checkpoint that is finished between the steps is in progress in the second or has its manifest in the
        // third, and what is put after the first is not up for removal.
        let objects = self.objects()?;
        let in_progress = self.in_progress.uses();
        let manifests = self.manifests(kept.max(1))?;
        self.refuse_if_taken_over(&objects)?;
        if manifests.is_empty() {
            return Ok(0);
        }
        let rubbish = rubbish(&objects, &manifests, &in_progress, self.generation);
        for path in &rubbish {
            wait(self.store.delete(path)).map_err(store_error(path.as_ref(), "the listing"))?;
        }
        Ok(rubbish.len())
    }

    fn refuse_if_taken_over(&self, objects: &[Path]) -> Result<(), StateError> {
        let generation = self.generation;
        for path in objects {
            match ObjectName::read(path.as_ref()) {
                Some(name) if name.generation() > generation => {
                    let (object, by) = (path.to_string(), name.generation());
                    return Err(StateError::TakenOver { object, generation, by });
                }
                _ours_or_older_or_nobodys => {}
            }
        }
        Ok(())
    }

    fn objects(&self) -> Result<Vec<Path>, StateError> {
        let prefix = Path::from(CHECKPOINTS);
        let listed = self.store.list(Some(&prefix)).map_ok(|about| about.location).try_collect();
        wait(listed).map_err(store_error(CHECKPOINTS, "the project"))
    }

    /// Generation and epoch of each manifest, the newest first.
    fn manifest_names(&self) -> Result<Vec<(u64, u64)>, StateError> {
        let listed = wait(self.store.list_with_delimiter(Some(&Path::from(MANIFESTS))));
        let listed = listed.map_err(store_error(MANIFESTS, "the project"))?;
        let mut names = Vec::new();
        for about in listed.objects {
            if let Some(ObjectName::Manifest { generation, epoch }) = ObjectName::read(about.location.as_ref()) {
                names.push((generation, epoch));
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    fn whole(&self, generation: u64, epoch: u64, is_valid: &dyn Fn(&Manifest) -> bool) -> Result<Manifest, StateError> {
        let path = manifest_path(generation, epoch);
        let manifest = wait(read_manifest(&*self.store, &path))?;
        if (manifest.generation, manifest.epoch) != (generation, epoch) {
            let detail = format!("it says generation {}, epoch {}", manifest.generation, manifest.epoch);
            return Err(StateError::damaged(path, detail));
        }
        if !is_valid(&manifest) {
            return Err(StateError::DoesNotFit { object: path.into() });
        }
        for part in &manifest.parts {
            wait(check_is_there(&*self.store, part, path.as_ref()))?;
        }
        Ok(manifest)
    }
}

/// Waits on this thread; nothing else runs on it meanwhile.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    futures::executor::block_on(future)
}

/// Which of the objects may go. Objects that are not a checkpoint's, or a later generation's, are not ours to judge.
fn rubbish(objects: &[Path], manifests: &[Manifest], in_progress: &Uses, generation: u64) -> Vec<Path> {
    let mut named: BTreeSet<String> = in_progress.kept.clone();
    for manifest in manifests {
        named.insert(manifest_path(manifest.generation, manifest.epoch).into());
        named.extend(manifest.parts.iter().map(|part| part.path.clone()));
    }
    let is_rubbish = |path: &&Path| match ObjectName::read(path.as_ref()) {
        None => false,
        Some(name) if name.generation() > generation => false,
        Some(ObjectName::Part { generation: of, epoch }) if of == generation && in_progress.epochs.contains(&epoch) => {
            false
        }
        Some(_) => !named.contains(path.as_ref()),
    };
    let mut rubbish: Vec<Path> = objects.iter().filter(is_rubbish).cloned().collect();
    // Manifests before parts: who reads meanwhile finds no manifest whose parts are going.
    rubbish.sort_by_key(|path| ObjectName::read(path.as_ref()));
    rubbish
}

async fn read_manifest(store: &dyn ObjectStore, path: &Path) -> Result<Manifest, StateError> {
    let object = store.get(path).await.map_err(store_error(path.as_ref(), "the listing"))?;
    if object.meta.size > MANIFEST_BYTES_MAX {
        let detail = format!("it has {} bytes, over {MANIFEST_BYTES_MAX}", object.meta.size);
        return Err(StateError::damaged(path.as_ref(), detail));
    }
    let bytes = object.bytes().await.map_err(store_error(path.as_ref(), "the listing"))?;
    Manifest::decode(path.as_ref(), &bytes)
}

/// That the object of a part is there with its length.
pub(crate) async fn check_is_there(store: &dyn ObjectStore, part: &Part, manifest: &str) -> Result<(), StateError> {
    let found = store.head(&part_location(part)?).await.map_err(store_error(&part.path, manifest))?;
    if found.size == part.bytes { Ok(()) } else { Err(part.wrong_length(found.size)) }
}

/// Parsed as it stands: `Path::from` would encode the `%` of encoded names once more.
pub(crate) fn part_location(part: &Part) -> Result<Path, StateError> {
    Path::parse(&part.path).map_err(|error| StateError::damaged(&part.path, format!("a manifest names it: {error}")))
}

/// An object that is not there is missing; anything else is the store's failure.
pub(crate) fn store_error(object: &str, named_by: &str) -> impl FnOnce(object_store::Error) -> StateError {
    let (object, named_by) = (object.to_owned(), named_by.to_owned());
    move |source| match source {
        object_store::Error::NotFound { .. } => StateError::Missing { object, named_by },
        source => StateError::Store { object, source },
    }
}
