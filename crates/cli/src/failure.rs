//! Why a command ends without having done its work.

use asof_definition::DefinitionError;
use asof_history::HistoryError;
use asof_pipeline::PipelineError;
use asof_server::ServeError;

/// A failure and whose it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The project's SQL is wrong: errors to be shown with their source lines.
    #[error("{} error{} in the project", errors.len(), if errors.len() == 1 { "" } else { "s" })]
    Definitions {
        /// What is wrong where.
        errors: Vec<DefinitionError>,
        /// The texts they point into: name and text.
        sources: Vec<asof_definition::SourceFile>,
    },
    /// The input is wrong.
    #[error("{message}")]
    Input {
        /// What is wrong, found and expected.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A server takes these events no more: they are older than what its joins or sessions still hold.
    #[error("{message}")]
    OutOfReach {
        /// How old they are, and how old they may be.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A history job failed.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A running job failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The server cannot listen, or failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Something outside failed.
    #[error("{message}")]
    Outside {
        /// What failed.
        message: String,
    },
}

impl Failure {
    pub(crate) fn input(message: impl Into<String>) -> Failure {
        Failure::Input { message: message.into(), hint: None }
    }

    pub(crate) fn input_with_hint(message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::Input { message: message.into(), hint: Some(hint.into()) }
    }

    pub(crate) fn outside(message: impl Into<String>) -> Failure {
        Failure::Outside { message: message.into() }
    }

    /// 1 for the user's input, 2 for the world outside.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Definitions { .. } | Failure::Input { .. } | Failure::OutOfReach { .. } => 1,
            Failure::History(error) if error.is_input() => 1,
            Failure::Pipeline(error) if error.is_input() => 1,
            Failure::Serve(ServeError::BodyLimit { .. }) => 1,
            Failure::History(_) | Failure::Pipeline(_) | Failure::Serve(_) | Failure::Outside { .. } => 2,
        }
    }
}
