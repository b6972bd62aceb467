//! Follows a running job for the user: the status line, the accounts when the files are taken in, and what to try.
//!
//! On a terminal one line is kept up to date. Elsewhere, as in a container's log, a line is written every ten seconds in
//! which something happened, so that an idle server writes nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use asof_definition::Stream;
use asof_pipeline::{Engine, Phase, Stop, StreamStatistics};
use asof_server::Traffic;

use crate::accounts;
use crate::screen::Screen;
use crate::status::{self, Sample};
use crate::try_next;

/// Between two looks at the job.
const PERIOD: Duration = Duration::from_millis(250);
/// Rates on the status line are those of the last second.
const SAMPLES_MAX: usize = 5;
/// Between two lines where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(10);
/// How long after the first event of a paced replay the commands to try wait for an entity in every view.
const EXAMPLES_WAIT: Duration = Duration::from_secs(2);

/// Where the job is served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Urls<'w> {
    pub(crate) server: &'w str,
    /// Where a browser finds the page, if it can.
    pub(crate) page: Option<&'w str>,
}

/// What is shown, and where.
pub(crate) struct Watch<'w> {
    engine: &'w Engine,
    traffic: &'w Traffic,
    screen: &'w Screen,
    urls: Urls<'w>,
    began: Instant,
    /// The last ones, oldest first; never empty.
    samples: VecDeque<Sample>,
    /// What was told last in lines of their own.
    line: Sample,
    first_event_at: Option<Instant>,
    /// The events that were accounted for, once they were.
    accounted: Option<u64>,
    has_suggested: bool,
}

impl<'w> Watch<'w> {
    /// A job that begins now.
    pub(crate) fn new(engine: &'w Engine, traffic: &'w Traffic, screen: &'w Screen, urls: Urls<'w>) -> Watch<'w> {
        let began = now();
        let first = Sample::take(engine, traffic, began);
        Watch {
            engine,
            traffic,
            screen,
            urls,
            began,
            samples: VecDeque::from([first.clone()]),
            line: first,
            first_event_at: None,
            accounted: None,
            has_suggested: false,
        }
    }

    /// Watches until the job is asked to stop.
    pub(crate) fn follow(mut self, stop: &Stop) {
        while !stop.wait(PERIOD) {
            self.look();
        }
        self.screen.clear();
        let last = Sample::take(self.engine, self.traffic, now());
        if last.events > self.accounted.unwrap_or(0) {
            self.account(&last);
        }
    }

    fn look(&mut self) {
        let sample = Sample::take(self.engine, self.traffic, now());
        if sample.events > 0 {
            self.first_event_at.get_or_insert(sample.at);
        }
        if sample.phase == Phase::Done && self.accounted.is_none() {
            self.account(&sample);
        }
        if sample.phase == Phase::Live && self.accounted.is_none() {
            self.tell_recovery(&sample);
        }
        if !self.has_suggested && self.has_examples(&sample) {
            self.suggest();
        }
        self.show(&sample);
        self.samples.push_back(sample);
        if self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    fn show(&mut self, sample: &Sample) {
        if self.screen.has_status() {
            return self.screen.status(&status::line(sample, &self.samples[0]));
        }
        if sample.at.saturating_duration_since(self.line.at) >= LINE_PERIOD && sample.differs(&self.line) {
            self.screen.remark(&status::line(sample, &self.line));
            self.line = sample.clone();
        }
    }

    /// What was brought back, where there was something.
    fn tell_recovery(&mut self, sample: &Sample) {
        let has_feeds = (0..self.engine.sources().len()).any(|source| self.engine.feed_statistics(source).is_some());
        if sample.events == 0 && has_feeds {
            self.screen.remark("nothing is stored yet: topics are read");
        } else if sample.events == 0 {
            self.screen.remark("ready: nothing is stored yet");
        } else {
            let seconds = self.engine.recovery_us() as f64 / 1e6;
            self.screen.remark(&format!("{} events recovered, {seconds:.1} s", accounts::grouped(sample.events)));
        }
        self.accounted = Some(sample.events);
        self.line = sample.clone();
    }

    /// What became of all events so far.
    fn account(&mut self, sample: &Sample) {
        let seconds = sample.at.saturating_duration_since(self.began).as_secs_f64();
        for (place, stream) in self.engine.sources().iter().enumerate() {
            let statistics = self.engine.stream_statistics(place);
            if stream.makes_rows() {
                self.account_rows(stream, &statistics);
                continue;
            }
            self.screen.remark(&accounts::verdicts(&stream.name, &statistics.position.accounting));
            for reason in &statistics.reasons {
                self.screen.remark(&accounts::first(&reason.name, reason.offset, &reason.detail));
            }
            for column in &statistics.absent_columns {
                self.screen.remark(&accounts::absent_column(column));
            }
            if statistics.position.accounting.used == 0 {
                self.screen.remark(&format!("warning: {}", accounts::nothing_used(&stream.name)));
            }
        }
        self.screen.remark(&format!("{} events taken in, {seconds:.1} s", accounts::grouped(sample.events)));
        self.accounted = Some(sample.events);
        self.line = sample.clone();
    }

    /// How many windows of a derived stream have closed, or rows were scored, and what became of their rows.
    fn account_rows(&self, stream: &Stream, statistics: &StreamStatistics) {
        let of = if stream.scored().is_some() { "with features" } else { "of closed windows" };
        self.screen.remark(&accounts::made_rows(&stream.name, statistics.position.accounting.used, of));
        for reason in &statistics.reasons {
            self.screen.remark(&accounts::first_of_rows(&reason.name, reason.count, &reason.detail));
        }
    }

    /// Whether the commands to try can name real entities. A paced replay is tried while it runs.
    fn has_examples(&self, sample: &Sample) -> bool {
        let waited =
            self.first_event_at.is_some_and(|first| sample.at.saturating_duration_since(first) >= EXAMPLES_WAIT);
        let everywhere = || {
            (0..self.engine.project().views.len()).all(|view| self.engine.view_statistics(view).example_key.is_some())
        };
        let has_events = self.first_event_at.is_some();
        matches!(sample.phase, Phase::Done | Phase::Live)
            || (self.engine.is_ready() && has_events && (waited || everywhere()))
    }

    fn suggest(&mut self) {
        let commands = try_next::commands(self.engine, self.urls.server).join("\n  ");
        let page = self.urls.page.map(|url| format!("\nor open {url}/ in a browser")).unwrap_or_default();
        self.screen.answer(&format!("try:\n  {commands}{page}"));
        self.has_suggested = true;
    }
}

#[allow(clippy::disallowed_methods, reason = "rates and seconds that are shown; no value depends on them")]
fn now() -> Instant {
    Instant::now()
}
