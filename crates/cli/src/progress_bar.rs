//! A bar for each step of a job, on a terminal; elsewhere a line for each step that takes more than two seconds.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use asof_history::Progress;
use indicatif::{ProgressBar, ProgressStyle};

use crate::told;

/// A step that is over sooner leaves no line in a log.
const QUIET: Duration = Duration::from_secs(2);

/// Draws the progress of a job.
pub(crate) struct Bars {
    step: Mutex<Option<Step>>,
    draws: bool,
}

struct Step {
    name: String,
    began: Instant,
    bar: ProgressBar,
}

impl Bars {
    pub(crate) fn new() -> Bars {
        Bars { step: Mutex::new(None), draws: std::io::stderr().is_terminal() }
    }

    /// Ends the last step.
    pub(crate) fn finish(&self) {
        if let Some(step) = self.lock().take() {
            step.finish(self.draws);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Step>> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Step {
    fn finish(self, draws: bool) {
        self.bar.finish_and_clear();
        if !draws && self.began.elapsed() >= QUIET {
            told::remark(&format!("{}: {:.1} s", self.name, self.began.elapsed().as_secs_f64()));
        }
    }
}

impl Progress for Bars {
    #[allow(clippy::disallowed_methods, reason = "how long a step took, for people")]
    fn step(&self, name: &str, total: u64) {
        let bar = if self.draws { ProgressBar::new(total) } else { ProgressBar::hidden() };
        let template = if total > 0 { "{msg:32} {bar:40} {percent:>3} %  {eta} left" } else { "{msg:32} {spinner}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        let next = Step { name: name.to_owned(), began: Instant::now(), bar };
        if let Some(last) = self.lock().replace(next) {
            last.finish(self.draws);
        }
    }

    fn advance(&self, by: u64) {
        if let Some(step) = &*self.lock() {
            step.bar.inc(by);
        }
    }
}
