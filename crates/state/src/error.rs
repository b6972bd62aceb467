//! What can be wrong with stored state: each error names the object or file, and what was found there.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// Why state cannot be written, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The object store failed.
    #[error("the object `{object}` cannot be reached: {source}")]
    Store {
        /// The object, or the prefix that was listed.
        object: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// The disk failed.
    #[error("`{}` cannot be read or written: {source}", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// The bytes are not those that were written.
    #[error("`{object}` is damaged: {detail}")]
    Damaged {
        /// The object or file.
        object: String,
        /// What is wrong, and where.
        detail: String,
    },
    /// The bytes are of a format that this program does not know.
    #[error("`{object}` has format version {found}, this program reads version {known}; use the program that wrote it")]
    Version {
        /// The object or file.
        object: String,
        /// The version it has.
        found: u32,
        /// The version that is known here.
        known: u32,
    },
    /// A named object or file is not there.
    #[error("`{object}` is missing, though {named_by} names it")]
    Missing {
        /// The object or file.
        object: String,
        /// Who names it, in words.
        named_by: String,
    },
    /// The checkpoint is whole, but the caller does not accept it.
    #[error("the checkpoint `{object}` is whole, but does not fit the project and its log")]
    DoesNotFit {
        /// The manifest.
        object: String,
    },
    /// A greater generation writes here.
    #[error(
        "`{object}` was written by generation {by}: generation {generation} has been taken over and may remove nothing more"
    )]
    TakenOver {
        /// An object of the greater generation.
        object: String,
        /// Our generation.
        generation: u64,
        /// The greater generation.
        by: u64,
    },
    /// The epoch has a checkpoint already.
    #[error("the checkpoint `{object}` exists already: an epoch is written once; begin a greater one")]
    EpochTaken {
        /// The manifest.
        object: String,
    },
    /// A part or manifest is larger than its format allows.
    #[error("`{object}` would have {bytes} bytes, at most {bytes_max} are allowed; hint: write several pieces")]
    TooLarge {
        /// The object.
        object: String,
        /// Its length.
        bytes: u64,
        /// The greatest length.
        bytes_max: u64,
    },
}

impl StateError {
    pub(crate) fn damaged(object: impl Into<String>, detail: impl Into<String>) -> StateError {
        StateError::Damaged { object: object.into(), detail: detail.into() }
    }

    pub(crate) fn disk(path: &Path) -> impl FnOnce(io::Error) -> StateError {
        move |source| StateError::Disk { path: path.to_path_buf(), source }
    }

    /// Whether there was no room: it may go well later, when somebody has made some.
    pub fn is_full(&self) -> bool {
        let mut source: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = source {
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::StorageFull) {
                return true;
            }
            source = error.source();
        }
        false
    }
}
