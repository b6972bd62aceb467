//! What can go wrong with a log.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Why the log cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system refused a read, write or sync.
    #[error("`{path}`: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no room; nothing has changed, and the same call may go through later.
    #[error("no room is left on the disk of `{path}`: free some, or shorten the stream's retention")]
    Full {
        /// The file that was to grow.
        path: PathBuf,
    },
    /// Bytes that were durable are not what was written.
    #[error("`{path}` is damaged at byte {byte} (offset {offset}): {detail}; restore the file from a copy")]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// The folder of its partition.
        partition_folder: PathBuf,
        /// The offset of the first record that cannot be read.
        offset: u64,
        /// The byte of the file where that begins.
        byte: u64,
        /// What is wrong there.
        detail: String,
    },
    /// A file of another version of the format.
    #[error("`{path}` has format version {found}, this program reads version {known}: use the program that wrote it")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that this code reads.
        known: u32,
    },
    /// A writer with a higher generation has taken over.
    #[error("generation {found} has taken over `{path}`: this process is generation {own} and writes nothing more")]
    Fenced {
        /// The data folder, or the folder of the partition.
        path: PathBuf,
        /// The generation of this process.
        own: u64,
        /// The generation that was found.
        found: u64,
    },
    /// Another process has the data folder.
    #[error(
        "another process writes to `{path}`: stop it, or start with `--take-over` so that it can write nothing more"
    )]
    Held {
        /// The data folder.
        path: PathBuf,
    },
    /// Another process holds what is held for a moment only, while one takes over or begins a segment.
    #[error(
        "another process holds `{path}`, and lets go of it within a moment unless it hangs: wait, or end it for good \
         (`fuser {path}` names it, `kill -9` ends it), and start again"
    )]
    Locked {
        /// The file that it holds.
        path: PathBuf,
    },
    /// An earlier write or sync failed.
    #[error("the log in `{path}` takes nothing more since a write or sync of it failed: start again")]
    Broken {
        /// The folder of the partition.
        path: PathBuf,
    },
    /// Records are asked for that the log has dropped.
    #[error("`{path}` begins at offset {first_offset}, offset {offset} is no longer there")]
    Missing {
        /// The folder of the partition.
        path: PathBuf,
        /// The offset that was asked for.
        offset: u64,
        /// The first offset that is there.
        first_offset: u64,
    },
    /// A reader went on to records that no writer acknowledged, and another writer wrote others in their place.
    #[error("another writer took over `{path}` and wrote offset {offset} anew: read again from there")]
    Replaced {
        /// The folder of the partition.
        path: PathBuf,
        /// The first offset that was replaced.
        offset: u64,
    },
    /// A frame that the log does not take.
    #[error(
        "a frame with {rows} rows and {bytes} bytes does not go into the log: 1 row or more, at most {bytes_max} bytes"
    )]
    Frame {
        /// Its rows.
        rows: u32,
        /// The length of its body.
        bytes: usize,
        /// The most that a body may have.
        bytes_max: u64,
    },
}

impl LogError {
    /// Whether the system refused to do something that it may do the next time: for want of descriptors, of memory, of room.
    /// What was not done then tells nothing of what is on disk.
    pub fn may_pass(&self) -> bool {
        matches!(self, LogError::Io { .. } | LogError::Full { .. })
    }

    /// The error of the system about this path; a full disk or quota is [`LogError::Full`].
    pub(crate) fn io(path: &Path, source: io::Error) -> LogError {
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => LogError::Full { path: path.to_path_buf() },
            _other => LogError::Io { path: path.to_path_buf(), source },
        }
    }

    /// The error of the system about a write or sync that may have been done in part.
    pub(crate) fn failed(path: &Path, source: io::Error) -> LogError {
        LogError::Io { path: path.to_path_buf(), source }
    }

    /// Whether a file that was listed is no longer there.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, LogError::Io { source, .. } if source.kind() == ErrorKind::NotFound)
    }

    /// Whether the reason may be what another writer is just doing.
    pub(crate) fn may_be_of_another(&self) -> bool {
        self.is_gone() || matches!(self, LogError::Damaged { .. } | LogError::Replaced { .. })
    }

    pub(crate) fn damaged(path: &Path, offset: u64, byte: u64, detail: impl Into<String>) -> LogError {
        let partition_folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        LogError::Damaged { path: path.to_path_buf(), partition_folder, offset, byte, detail: detail.into() }
    }
}
