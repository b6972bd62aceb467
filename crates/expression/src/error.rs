//! Why an expression cannot be planned: what was found, where, and what to write instead.

use sqlparser::ast::{Ident, Spanned};
use sqlparser::tokenizer::Span;
use thiserror::Error;

/// An expression that the language does not have, or that does not fit its columns.
#[derive(Debug, Clone, Error, PartialEq)]
#[error("{message}")]
pub struct PlanError {
    /// Lower case, without a final dot.
    pub message: String,
    /// What to write instead, where that is known.
    pub hint: Option<String>,
    /// Where in the text that was parsed; `None` where the parser does not say.
    pub span: Option<Span>,
    /// What a caller may want to react to.
    pub kind: PlanErrorKind,
}

/// The kinds of [`PlanError`] that a caller can tell apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanErrorKind {
    /// The construct is refused, or its types do not fit.
    Invalid,
    /// No column of that name (as written, with its qualifier) is in scope.
    UnknownColumn {
        /// The folded name.
        name: String,
    },
    /// No scalar function has that name; the caller may know it as an aggregate.
    UnknownFunction {
        /// The folded name.
        name: String,
    },
}

impl PlanError {
    pub(crate) fn new(message: impl Into<String>) -> PlanError {
        PlanError { message: message.into(), hint: None, span: None, kind: PlanErrorKind::Invalid }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> PlanError {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_kind(mut self, kind: PlanErrorKind) -> PlanError {
        self.kind = kind;
        self
    }

    /// Places the error at `node`, unless it already has a place.
    pub(crate) fn at(mut self, node: &impl Spanned) -> PlanError {
        let span = node.span();
        if self.span.is_none() && span != Span::empty() {
            self.span = Some(span);
        }
        self
    }

    pub(crate) fn at_idents(mut self, idents: &[Ident]) -> PlanError {
        let span = Span::union_iter(idents.iter().map(|ident| ident.span));
        if self.span.is_none() && span != Span::empty() {
            self.span = Some(span);
        }
        self
    }
}
