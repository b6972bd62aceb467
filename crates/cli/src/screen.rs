//! The terminal while a job runs: one status line at the bottom, everything else above it.
//!
//! Whoever writes goes through [`Screen`], the server's log too, so that nothing is written into the status line. Where
//! standard error is no terminal there is no status line, and lines simply follow each other.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

use crate::told;

/// Shared by all who write; clones write to the same terminal.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    line: ProgressBar,
    has_status: bool,
}

impl Screen {
    pub(crate) fn new() -> Screen {
        let has_status = std::io::stderr().is_terminal();
        let line = if has_status { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{wide_msg}").expect("the template is a constant that is right");
        line.set_style(style);
        Screen { line, has_status }
    }

    /// Whether there is a status line to be kept up to date.
    pub(crate) fn has_status(&self) -> bool {
        self.has_status
    }

    /// Shows the status line anew.
    pub(crate) fn status(&self, text: &str) {
        self.line.set_message(text.to_owned());
        self.line.tick();
    }

    /// Prints a line about the work.
    pub(crate) fn remark(&self, line: &str) {
        self.line.suspend(|| told::remark(line));
    }

    /// Prints a line of the answer.
    pub(crate) fn answer(&self, line: &str) {
        self.line.suspend(|| told::answer(line));
    }

    /// Takes the status line away.
    pub(crate) fn clear(&self) {
        self.line.finish_and_clear();
    }
}

/// Writes pieces of a log, each made of whole lines.
#[derive(Debug)]
pub(crate) struct AboveStatus<'s> {
    screen: &'s Screen,
}

impl Write for AboveStatus<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.screen.line.suspend(|| std::io::stderr().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

impl<'s> MakeWriter<'s> for Screen {
    type Writer = AboveStatus<'s>;

    fn make_writer(&'s self) -> AboveStatus<'s> {
        AboveStatus { screen: self }
    }
}
