//! What is wrong with a definition, where, and what to write instead.

use std::fmt;
use std::ops::Range;

use thiserror::Error;

use crate::refusal::Refusal;
use crate::source::{Places, SourceFile};

/// An error (or, in [`crate::Project::warnings`], a warning) at a place of a file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct DefinitionError {
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The bytes of the file's text to underline.
    pub span: Range<usize>,
    /// What was found and expected: lower case, no final dot.
    pub message: String,
    /// A few words to stand under the underlined text.
    pub label: Option<String>,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl DefinitionError {
    pub(crate) fn place(refusal: Refusal, file: &SourceFile, places: &Places) -> DefinitionError {
        let Refusal { span, message, label, hint, is_consequence: _ } = refusal;
        let bytes = places.bytes(span);
        let (line, column) = places.line_and_column(bytes.start);
        DefinitionError { file: file.name.clone(), line, column, span: bytes, message, label, hint }
    }
}
