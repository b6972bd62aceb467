//! Why a training set cannot be made.

use std::path::PathBuf;

use asof_connect::ConnectError;
use asof_feature::FeatureError;

/// An error of a history job. What the user can mend says where and how.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A definition cannot be bound.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// The request asks for something that its project or files do not have.
    #[error("{message}{}", hint.as_ref().map(|hint| format!("; hint: {hint}")).unwrap_or_default())]
    Request {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// An expression failed on a row.
    #[error(
        "{place}: feature `{feature}`: {kind}: {detail}; hint: `--on-error null` makes such values NULL, counts them and goes on"
    )]
    RowFailed {
        /// The row, in words.
        place: String,
        /// The feature.
        feature: String,
        /// What went wrong, as a public name.
        kind: &'static str,
        /// What went wrong, in words.
        detail: String,
    },
    /// The versions of the tables that are joined do not fit.
    #[error(
        "the versions of the tables that are joined or grouped take {bytes} bytes of memory, and {limit_bytes} may be \
         theirs, a third of the limit; hint: raise it with `--memory-limit`"
    )]
    VersionsTooLarge {
        /// What those read so far take.
        bytes: usize,
        /// What they may take.
        limit_bytes: usize,
    },
    /// The job was asked to stop.
    #[error("stopped before the end; nothing was written")]
    Stopped,
    /// A worker thread panicked: a defect of ours, told by the panic's own message.
    #[error("internal: a worker thread panicked")]
    Panicked,
    /// The spine is read twice and was not the same the second time.
    #[error("the spine `{}` changed while it was read; hint: read a finished copy", path.display())]
    SpineChanged {
        /// The file.
        path: PathBuf,
    },
    /// Data waiting on disk could not be written or read back.
    #[error("cannot use the temporary file `{}`: {source}; hint: TMPDIR names the folder for temporary files", path.display())]
    Spill {
        /// The file.
        path: PathBuf,
        /// What the system or Arrow says.
        source: arrow::error::ArrowError,
    },
    /// A column operation failed: a defect of ours.
    #[error("internal: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl HistoryError {
    pub(crate) fn request(message: impl Into<String>) -> HistoryError {
        HistoryError::Request { message: message.into(), hint: None }
    }

    pub(crate) fn request_with_hint(message: impl Into<String>, hint: impl Into<String>) -> HistoryError {
        HistoryError::Request { message: message.into(), hint: Some(hint.into()) }
    }

    /// Whether the user's input is at fault, rather than the world outside.
    pub fn is_input(&self) -> bool {
        match self {
            HistoryError::Connect(error) => error.is_input(),
            HistoryError::Feature(FeatureError::Program { .. })
            | HistoryError::Request { .. }
            | HistoryError::RowFailed { .. }
            | HistoryError::VersionsTooLarge { .. }
            | HistoryError::SpineChanged { .. } => true,
            HistoryError::Feature(_)
            | HistoryError::Panicked
            | HistoryError::Stopped
            | HistoryError::Spill { .. }
            | HistoryError::Arrow(_) => false,
        }
    }
}
