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
    /// A join was evaluated without its table.
    #[error("table `{table}` was not given to a join that looks into it")]
    NoTable {
        /// Name of the table.
        table: String,
    },
    /// A table holds as many versions as can be numbered.
    #[error("table `{table}`: more versions than can be numbered")]
    TableFull {
        /// Name of the table.
        table: String,
    },
    /// The writer of a view's state panicked while it took a batch in.
    #[error("feature view `{view}`: its state is torn; the process has to start again")]
    Torn {
        /// Name of the view.
        view: String,
    },
    /// The answers of one read take more memory than they may.
    #[error("feature view `{view}`: the answers of {rows} rows take more than {limit_bytes} bytes")]
    TooLarge {
        /// Name of the view.
        view: String,
        /// How many rows were answered until then.
        rows: usize,
        /// What they may take.
        limit_bytes: usize,
    },
}
