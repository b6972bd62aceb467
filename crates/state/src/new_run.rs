//! One more run on its way to the disk, beside lookups and merges; and files that nobody names on their way out.
//!
//! ```text
//!   KeyRuns::begin_run ─▶ NewRun ── write (any thread) ─▶ WrittenRun ─▶ KeyRuns::join
//!   KeyRuns::files ─▶ KeyFiles ── list ─▶ KeyRuns::unused ─▶ KeyFiles::remove
//! ```
//! What touches the disk needs no hold of the [`KeyRuns`](crate::KeyRuns), so that whoever looks keys up waits for neither.

use crate::key_run::KeyRun;
use crate::key_run_writer::{KeyRunWriter, Place};
use crate::{KeyEntry, StateError};

/// A run to be written. There is one at a time; one that fails is begun again.
pub struct NewRun {
    place: Place,
    sequence: u64,
}

/// A run that is durable and not in use yet.
pub struct WrittenRun(Option<KeyRun>);

/// The folder of the runs of one partition.
pub struct KeyFiles(Place);

impl NewRun {
    pub(crate) fn new(place: Place, sequence: u64) -> NewRun {
        NewRun { place, sequence }
    }

    /// Writes the entries, which come in order and are at most `keys_max`. They are durable when this returns; after an error,
    /// such as a full disk, none is here and the caller still has them all.
    pub fn write(self, keys_max: u64, entries: impl IntoIterator<Item = KeyEntry>) -> Result<WrittenRun, StateError> {
        let mut writer = KeyRunWriter::begin(&self.place, self.sequence, keys_max)?;
        let mut last = None;
        for entry in entries {
            if last != Some(entry) {
                writer.push(entry)?;
                last = Some(entry);
            }
        }
        Ok(WrittenRun(writer.finish()?))
    }
}

impl WrittenRun {
    pub(crate) fn into_run(self) -> Option<KeyRun> {
        self.0
    }

    /// The name of the run; `None` if it got no entries, and there is none.
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(KeyRun::name)
    }
}

impl KeyFiles {
    pub(crate) fn new(place: Place) -> KeyFiles {
        KeyFiles(place)
    }

    /// The names of all files there.
    pub fn list(&self) -> Result<Vec<String>, StateError> {
        let entries = self.0.disk.list(&self.0.folder).map_err(StateError::disk(&self.0.folder))?;
        Ok(entries.into_iter().filter(|entry| !entry.is_folder).map(|entry| entry.name).collect())
    }

    /// Removes these files.
    pub fn remove(&self, names: &[String]) -> Result<(), StateError> {
        names.iter().try_for_each(|name| {
            let path = self.0.folder.join(name);
            self.0.disk.remove(&path).map_err(StateError::disk(&path))
        })
    }
}
