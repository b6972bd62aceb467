//! A project's data folder, claimed by this process: where its logs, its checkpoints and its history lie.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use asof_disk::Disk;
use asof_log::{Claim, LogSettings, TakeOver};
use asof_state::{CheckpointStore, DiskStore};

use crate::error::PipelineError;

/// How a project is stored.
#[derive(Debug, Clone, Copy)]
pub struct StorageSettings {
    /// The size at which a segment of a log is sealed.
    pub segment_bytes: u64,
    /// How long after a checkpoint the next one begins.
    pub checkpoint_every: Duration,
    /// Memory for events that wait to be taken in.
    pub waiting_bytes_max: usize,
    /// How many primary keys of used events of a stream are in memory before they go to the disk. Of twice as many, half are
    /// on their way.
    pub keys_in_memory_max: usize,
}

impl Default for StorageSettings {
    fn default() -> StorageSettings {
        StorageSettings {
            segment_bytes: 128 << 20,
            checkpoint_every: Duration::from_secs(60),
            waiting_bytes_max: 64 << 20,
            // 105 MB: a few more, and their tables would double.
            keys_in_memory_max: 3_500_000,
        }
    }
}

/// The data folder and the right to write there.
#[derive(Debug)]
pub struct Storage {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    claim: Claim,
    settings: StorageSettings,
}

impl Storage {
    /// Claims a data folder, which is made if it is not there. Refused while another process holds it, unless it is taken
    /// over.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        take_over: TakeOver,
        settings: StorageSettings,
    ) -> Result<Storage, PipelineError> {
        let claim = Claim::take(disk.clone(), folder, take_over)?;
        Ok(Storage { disk, folder: folder.to_owned(), claim, settings })
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The number of this writer: greater than that of every one before.
    pub fn generation(&self) -> u64 {
        self.claim.generation()
    }

    pub(crate) fn settings(&self) -> &StorageSettings {
        &self.settings
    }

    /// An error if another writer has taken over.
    pub(crate) fn check(&self) -> Result<(), PipelineError> {
        Ok(self.claim.check()?)
    }

    /// Where checkpoints lie.
    pub(crate) fn checkpoints(&self) -> CheckpointStore {
        let store = Arc::new(DiskStore::new(self.disk.clone(), self.folder.clone()));
        CheckpointStore::new(store, self.generation())
    }

    pub(crate) fn log_settings(&self) -> LogSettings {
        LogSettings { segment_bytes: self.settings.segment_bytes, generation: self.generation() }
    }
}
