//! Why a running job cannot go on.

use asof_connect::{ConnectError, KafkaTrouble};
use asof_feature::FeatureError;
use asof_log::LogError;
use asof_state::StateError;
use std::path::PathBuf;

use crate::submission::IngestError;

/// An error of a running job. What the user can mend says where and how.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A file cannot be opened or read.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A definition cannot be bound, or a batch not be taken.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// The state has outgrown its limit.
    #[error(
        "the state holds {held_bytes} bytes, more than its limit of {limit_bytes}; hint: raise `memory` in [state] of asof.toml, or shorten the longest frames"
    )]
    Memory {
        /// What it holds.
        held_bytes: usize,
        /// What it may.
        limit_bytes: usize,
    },
    /// Rows waiting on disk could not be written or read back.
    #[error("cannot use the temporary file `{}`: {source}; hint: TMPDIR names the folder for temporary files", path.display())]
    Spill {
        /// The file.
        path: PathBuf,
        /// What the system or Arrow says.
        source: arrow::error::ArrowError,
    },
    /// The log or the data folder.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A log that cannot be written any more.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// A checkpoint.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file of the data folder.
    #[error("cannot write `{}`: {source}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A checkpoint that reads well and says nothing sensible.
    #[error(
        "the checkpoint's part `{path}` cannot be used: {detail}; hint: remove it, and state is computed anew from the log"
    )]
    Checkpoint {
        /// The part.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The secret that primary keys are hashed with.
    #[error(
        "the secret of primary keys, `{}`, cannot be used: {detail}; hint: bring it back from a copy of the data folder",
        path.display()
    )]
    KeySecret {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The topic that feeds a stream cannot be read at all.
    #[error("stream `{stream}` cannot read topic `{topic}`: {trouble}")]
    Feed {
        /// The stream.
        stream: String,
        /// The topic.
        topic: String,
        /// Why.
        trouble: KafkaTrouble,
    },
    /// A column operation failed: a defect of ours.
    #[error("internal: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A thread panicked: a defect of ours, told by the panic's own message.
    #[error("internal: a thread of the pipeline panicked")]
    Panicked,
}

impl PipelineError {
    /// Whether the system refused to do something that it may do the next time.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, PipelineError::Log(error) if error.may_pass())
    }

    /// Whether the user's input is at fault, rather than the world outside.
    pub fn is_input(&self) -> bool {
        match self {
            PipelineError::Connect(error) => error.is_input(),
            PipelineError::Feature(FeatureError::Program { .. }) => true,
            _ => false,
        }
    }
}
