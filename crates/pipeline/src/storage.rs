//! A project's data folder, claimed by this process: where its logs, its checkpoints and its history lie, and the secret that
//! its primary keys are hashed with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use asof_connect::writer_name;
use asof_definition::Sink;
use asof_disk::Disk;
use asof_feature::KeySecret;
use asof_log::{Claim, LogSettings, TakeOver};
use asof_state::{CheckpointStore, DiskStore};

use crate::error::PipelineError;
use crate::key_secret_file::{self, Draw, key_secret, not_that_of_checkpoints};

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
    key_secret: Option<KeySecret>,
}

/// Under which name a sink of this data folder, which somebody else may have, writes its transactions; `None` where it never wrote
/// any.
pub fn transactional_id(disk: &dyn Disk, folder: &Path, sink: &Sink) -> Result<Option<String>, PipelineError> {
    let secret = key_secret_file::read(disk, folder)?;
    Ok(secret.map(|secret| writer_name(&sink.name, print_of(&secret))))
}

/// 64 bits of a hash tell nothing of the 192 bytes that it was made with.
fn print_of(secret: &KeySecret) -> u64 {
    secret.hash(b"asof: sinks of this data folder").0 as u64
}

impl Storage {
    /// Claims a data folder, which is made if it is not there. Refused while another process holds it, unless it is taken
    /// over. `draw` fills bytes by chance, for the secret of a new data folder.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        take_over: TakeOver,
        settings: StorageSettings,
        draw: Draw<'_>,
    ) -> Result<Storage, PipelineError> {
        let claim = Claim::take(disk.clone(), folder, take_over)?;
        let checkpoints = checkpoints(&disk, folder, claim.generation());
        let key_secret = key_secret(&*disk, folder, &claim, &checkpoints, draw)?;
        Ok(Storage { disk, folder: folder.to_owned(), claim, settings, key_secret })
    }

    /// What primary keys are hashed with; `None` for a data folder of before there were secrets.
    pub(crate) fn key_secret(&self) -> Option<&KeySecret> {
        self.key_secret.as_ref()
    }

    /// The error where the checkpoints were written with another one.
    pub(crate) fn wrong_key_secret(&self) -> PipelineError {
        not_that_of_checkpoints(&self.folder, self.key_secret())
    }

    /// Tells this data folder from others: under it sinks write. `None` where nothing tells it.
    pub(crate) fn print(&self) -> Option<u64> {
        self.key_secret().map(print_of)
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
        checkpoints(&self.disk, &self.folder, self.generation())
    }

    pub(crate) fn log_settings(&self) -> LogSettings {
        LogSettings { segment_bytes: self.settings.segment_bytes, generation: self.generation() }
    }
}

fn checkpoints(disk: &Arc<dyn Disk>, folder: &Path, generation: u64) -> CheckpointStore {
    CheckpointStore::new(Arc::new(DiskStore::new(disk.clone(), folder)), generation)
}
