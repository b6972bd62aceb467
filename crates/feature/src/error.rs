//! Why a definition cannot be bound, or a batch not be taken.

use asof_window::{ImageError, ProgramError};

/// A checked definition that still cannot be bound to window state.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// The view needs more than a window program can carry.
    #[error("feature view `{view}`: {source}")]
    Program {
        /// Name of the view.
        view: String,
        /// What it exceeds.
        source: ProgramError,
    },
    /// Arrow refused a batch or a key type.
    #[error("{object}: {source}")]
    Arrow {
        /// Kind and name: feature view `account_activity`.
        object: String,
        /// What Arrow says.
        source: arrow::error::ArrowError,
    },
    /// Bytes that should hold entities of a view hold something else.
    #[error("feature view `{view}`: {source}")]
    Image {
        /// Name of the view.
        view: String,
        /// What is wrong with them.
        source: ImageError,
    },
    /// The writer of a view's state panicked while it took a batch in.
    #[error("feature view `{view}`: its state is torn; the process has to start again")]
    Torn {
        /// Name of the view.
        view: String,
    },
}
