//! What is said to the user: answers on standard output, everything else on standard error.

use std::io::Write;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, Report, Severity};

use asof_definition::{DefinitionError, SourceFile};

use crate::excerpt::Excerpt;
use crate::failure::Failure;

/// Of a message that quotes a longer text of the user, only the beginning is shown.
const MESSAGE_CHARS_MAX: usize = 600;

/// Prints a line of an answer. A reader that went away does not matter.
pub(crate) fn answer(line: &str) {
    writeln!(std::io::stdout(), "{line}").unwrap_or_default();
}

/// Prints a line about the work.
pub(crate) fn remark(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap_or_default();
}

/// Prints why a command failed.
pub(crate) fn error(failure: &Failure) {
    match failure {
        Failure::Definitions { errors, sources } => {
            for error in errors {
                remark(&render(error, sources, Severity::Error));
            }
        }
        Failure::Input { message, hint: Some(hint) } | Failure::OutOfReach { message, hint } => {
            remark(&format!("error: {message}\n hint: {hint}"));
        }
        other => remark(&format!("error: {}", other.to_string().replace("; hint: ", "\n hint: "))),
    }
}

/// Prints the warnings of a project.
pub(crate) fn warnings(warnings: &[DefinitionError], sources: &[SourceFile]) {
    for warning in warnings {
        remark(&render(warning, sources, Severity::Warning));
    }
}

/// A diagnostic with its place, its source line underlined, and its hint.
fn render(error: &DefinitionError, sources: &[SourceFile], severity: Severity) -> String {
    let text = sources.iter().find(|source| source.name == error.file).map_or("", |source| &source.text);
    let word = if severity == Severity::Error { "error" } else { "warning" };
    let said = shortened(&error.message);
    let message = format!("{}:{}:{}: {word}: {said}", error.file, error.line, error.column);
    let excerpt = Excerpt::new(&error.file, text);
    let label = LabeledSpan::new_with_span(error.label.clone(), excerpt.underlined(&error.span));
    let mut diagnostic = MietteDiagnostic::new(message).with_severity(severity).with_label(label);
    if let Some(hint) = &error.hint {
        diagnostic = diagnostic.with_help(hint);
    }
    let report = Report::new(diagnostic).with_source_code(excerpt);
    let theme = if std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let mut rendered = String::new();
    let handler = GraphicalReportHandler::new_themed(theme).with_width(120);
    match handler.render_report(&mut rendered, report.as_ref()) {
        Ok(()) => rendered,
        Err(_) => error.to_string(),
    }
}

fn shortened(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}
