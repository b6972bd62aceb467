//! An error before it is placed in its file: the parser's span instead of bytes.

use asof_expression::sqlparser::ast::Spanned;
use asof_expression::sqlparser::parser::ParserError;
use asof_expression::sqlparser::tokenizer::{Location, Span};
use asof_expression::{PlanError, nearest};

/// Why a piece of SQL is not accepted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) label: Option<String>,
    pub(crate) hint: Option<String>,
    /// Set where another refusal, which is reported, is the reason: this one is not.
    pub(crate) is_consequence: bool,
}

impl Refusal {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Refusal {
        Refusal { span, message: message.into(), label: None, hint: None, is_consequence: false }
    }

    /// Refused because something that it reads was.
    pub(crate) fn consequence(span: Span) -> Refusal {
        Refusal { is_consequence: true, ..Refusal::new(span, "what it reads is refused") }
    }

    /// At a node of the syntax tree.
    pub(crate) fn at(node: &impl Spanned, message: impl Into<String>) -> Refusal {
        Refusal::new(node.span(), message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Refusal {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Refusal {
        self.label = Some(label.into());
        self
    }

    /// With the nearest of the known names as a hint, or all of them where none is near.
    pub(crate) fn did_you_mean<'a>(self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Refusal {
        let known: Vec<&str> = known.into_iter().collect();
        match nearest(name, known.iter().copied()) {
            Some(near) => self.hint(format!("did you mean `{near}`?")),
            None if known.is_empty() => self,
            None => self.hint(format!("known are `{}`", known.join("`, `"))),
        }
    }

    /// The place, unless the refusal already has one.
    pub(crate) fn or_at(mut self, span: Span) -> Refusal {
        if self.span == Span::empty() {
            self.span = span;
        }
        self
    }
}

impl From<PlanError> for Refusal {
    fn from(error: PlanError) -> Refusal {
        let PlanError { message, hint, span, kind: _ } = error;
        Refusal { span: span.unwrap_or(Span::empty()), message, label: None, hint, is_consequence: false }
    }
}

impl From<ParserError> for Refusal {
    fn from(error: ParserError) -> Refusal {
        match error {
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
                let (message, location) = split_location(&message);
                Refusal::new(location.map_or(Span::empty(), |at| Span::new(at, at)), lower_first(message))
            }
            ParserError::RecursionLimitExceeded => Refusal::new(Span::empty(), "the expression is nested too deeply"),
        }
    }
}

/// The parser writes the place into its message: `Expected: ), found: x at Line: 1, Column: 5`.
fn split_location(message: &str) -> (&str, Option<Location>) {
    let Some((words, place)) = message.rsplit_once(" at Line: ") else {
        return (message, None);
    };
    let Some((line, column)) = place.split_once(", Column: ") else {
        return (message, None);
    };
    match (line.trim().parse(), column.trim().parse()) {
        (Ok(line), Ok(column)) => (words, Some(Location::new(line, column))),
        _ => (message, None),
    }
}

/// `Expected: ), found: x` → ``expected `)`, found `x` ``.
fn lower_first(message: &str) -> String {
    if let Some((expected, found)) = message.strip_prefix("Expected: ").and_then(|rest| rest.split_once(", found: ")) {
        let found = if found == "EOF" { "the end of the statement".to_owned() } else { format!("`{found}`") };
        return format!("expected {expected}, found {found}");
    }
    let mut letters = message.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect::<String>().trim_end_matches('.').to_owned(),
        None => "unreadable SQL".to_owned(),
    }
}
