//! Writes the rows of a sink, or its entries, to its topic: from its logs, after everything else that happens to a row.
//!
//! ```text
//!   open: cut off whoever wrote before ─▶ read progress ─▶ logs from there
//!   rows that are visible and durable ─▶ begin ─▶ send … until the commit interval after the last ─▶ commit rows and progress ─▶ …
//!          any error ─▶ still ours? ─▶ open
//! ```
//! Rules kept here:
//! - what is written is a function of the log: whoever writes it again writes the same rows in the same order of each log;
//! - a row is sent when its event is durable and readers see it, never sooner;
//! - who was taken over finds that out before it opens a writer again: the successor has the name by then;
//! - retention keeps what no commit has written yet (`history_keeper.rs`).

use std::ops::Range;
use std::time::Duration;

use asof_connect::{
    KafkaSettings, Progress, RegistryTrouble, RowMessages, SchemaError, TopicWriter, WriteTrouble, writer_name,
};
use asof_definition::{Delivery, Sink};
use asof_disk::{SyncSite, read_whole, write_whole};

use crate::engine::Engine;
use crate::error::PipelineError;
use crate::run::ending;
use crate::sink_input::SinkInput;
use crate::sink_rows::SinkBatch;
use crate::sink_state::SinkState;
use crate::stop::Stop;
use crate::storage::Storage;

/// How often it is looked for rows while there are none.
const QUIET: Duration = Duration::from_millis(5);
/// The same while a commit waits for its interval.
const BUSY: Duration = Duration::from_millis(2);
/// How long it is waited after an error.
const AGAIN: Duration = Duration::from_secs(1);
/// Messages after which a commit does not wait any longer.
const MESSAGES_MAX: usize = 20_000;
/// A file that says that a sink was written before.
const BEGUN: SyncSite = SyncSite("sink.begun");
const BEGUN_BYTES_MAX: u64 = 4_096;

/// One sink and its topic.
struct Sinking<'e> {
    engine: &'e Engine,
    sink: &'e Sink,
    state: &'e SinkState,
    settings: KafkaSettings,
    stop: &'e Stop,
    /// Under which transactions and progress stand.
    name: Option<String>,
}

/// What a commit has.
#[derive(Debug, Default)]
struct Sent {
    rows: usize,
    /// What was wrong with rows that are not in it.
    failed: Vec<String>,
}

/// Why nothing more was written.
enum Ending {
    Trouble(WriteTrouble),
    /// Nothing is written until somebody looks at it.
    Stopped(String),
    Failed(PipelineError),
}

impl From<WriteTrouble> for Ending {
    fn from(trouble: WriteTrouble) -> Ending {
        match trouble {
            trouble @ (WriteTrouble::Progress(_) | WriteTrouble::TooLarge(_)) => Ending::Stopped(trouble.to_string()),
            trouble => Ending::Trouble(trouble),
        }
    }
}

impl From<SchemaError> for Ending {
    fn from(error: SchemaError) -> Ending {
        match error {
            SchemaError::Registry(trouble @ RegistryTrouble::Passing { .. }) => {
                Ending::Trouble(WriteTrouble::Aborted(trouble.to_string()))
            }
            error => Ending::Trouble(WriteTrouble::Refused(error.into())),
        }
    }
}

impl From<PipelineError> for Ending {
    fn from(error: PipelineError) -> Ending {
        Ending::Failed(error)
    }
}

/// Writes all sinks until a stop is asked for.
pub(crate) fn write_sinks(engine: &Engine, settings: Option<&KafkaSettings>, stop: &Stop) -> Result<(), PipelineError> {
    let folder = engine.storage().and_then(Storage::print);
    let sinkings = engine.project().sinks.iter().enumerate().map(|(place, sink)| Sinking {
        engine,
        sink,
        state: engine.sink_state(place),
        settings: settings.cloned().unwrap_or_default(),
        stop,
        name: folder.map(|folder| writer_name(&sink.name, folder)),
    });
    let sinkings: Vec<Sinking<'_>> = sinkings.collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = sinkings.iter().map(|sinking| scope.spawn(|| ending(stop, || sinking.run()))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(PipelineError::Panicked)))
    })
}

impl Sinking<'_> {
    fn run(&self) -> Result<(), PipelineError> {
        let mut input = SinkInput::of(self.engine, self.sink)?;
        while !self.stop.is_asked() {
            match self.write(&mut input) {
                Ok(()) => break,
                Err(Ending::Failed(error)) => return Err(error),
                Err(Ending::Stopped(detail)) => {
                    tracing::error!(sink = self.sink.name, "nothing is written any more: {detail}");
                    let mut told = self.state.lock();
                    (told.trouble, told.has_stopped) = (Some(detail), true);
                    break;
                }
                Err(Ending::Trouble(trouble)) => {
                    self.tell(&trouble);
                    // Whoever has taken over has opened a writer of the same name: ours must not cut that off.
                    if let Some(storage) = self.engine.storage()
                        && let Err(error) = storage.check()
                        && !error.may_pass()
                    {
                        return Err(error);
                    }
                    self.state.lock().reopened += 1;
                    self.stop.wait(AGAIN);
                }
            }
        }
        Ok(())
    }

    fn tell(&self, trouble: &WriteTrouble) {
        let words = trouble.to_string();
        let mut told = self.state.lock();
        if told.trouble.as_ref() != Some(&words) {
            tracing::warn!(sink = self.sink.name, topic = self.sink.topic, trouble = words, "rows are not written");
            told.trouble = Some(words);
        }
    }

    /// Writes until a stop or an error.
    fn write(&self, input: &mut SinkInput) -> Result<(), Ending> {
        let Some(name) = &self.name else {
            let detail = "the data folder was made before it had a secret, and nothing tells it from others; hint: a project with \
                          sinks needs a new data folder";
            return Err(Ending::Stopped(detail.to_owned()));
        };
        let mut messages = RowMessages::open(&self.settings.schemas, self.sink)?;
        let writer = TopicWriter::open(&self.settings, &self.sink.topic, name, self.sink.delivery)?;
        let progress = match writer.progress(|| self.stop.is_asked())? {
            Some(progress) => progress,
            None => self.first_progress(input)?,
        };
        self.check_not_older(input, &progress)?;
        let lost = input.begin(self.engine, &progress)?;
        {
            let mut told = self.state.lock();
            told.lost_offsets += lost;
            told.progress = Some(progress);
            told.scheduled = input.scheduled() as u64;
        }
        let (mut is_begun, mut pause_us) = (false, 0..0);
        while !self.stop.is_asked() {
            if !input.has_more(self.engine) {
                self.stop.wait(QUIET);
                continue;
            }
            let progress = self.commit(&writer, input, &mut messages, &mut pause_us)?;
            if !is_begun {
                self.note_begun()?;
                is_begun = true;
            }
            self.state.lock().progress = Some(progress);
        }
        Ok(())
    }

    /// What is in the topic has to be in the logs too.
    fn check_not_older(&self, input: &SinkInput, progress: &Progress) -> Result<(), Ending> {
        for log in input.logs() {
            let offset = progress.logs.get(&log.name).copied().unwrap_or(0);
            // Of what comes after the opening nobody but this process can have written anything.
            let attempted = self.state.lock().attempted.logs.get(&log.name).copied().unwrap_or(0);
            let end_offset = log.opened_at(self.engine).max(attempted);
            if offset > end_offset {
                let detail = format!(
                    "topic `{}` has rows of `{}` up to offset {offset}, and its log had {end_offset}: the data folder is \
                     older than the topic; hint: bring the newer one back, or give the sink another name",
                    self.sink.topic, log.name
                );
                return Err(Ending::Stopped(detail));
            }
        }
        Ok(())
    }

    /// One commit, of what comes until the interval after the last one is over: after a quiet time at once. `pause_us` is that
    /// interval, from the beginning of a commit's end to the next one's, and at least half of it between them: brokers work on.
    fn commit(
        &self,
        writer: &TopicWriter,
        input: &mut SinkInput,
        messages: &mut RowMessages,
        pause_us: &mut Range<i64>,
    ) -> Result<Progress, Ending> {
        let began_us = self.engine.wall_us();
        writer.begin()?;
        let mut sent = self.gather(writer, input, messages, pause_us)?;
        let ends_us = self.engine.wall_us();
        while let Some(batch) = input.send(self.engine, messages)? {
            self.send(writer, batch, &mut sent)?;
        }
        if !input.make_durable(self.engine) {
            let why = "what the entries were read from could not be made durable".to_owned();
            return Err(Ending::Trouble(WriteTrouble::Aborted(why)));
        }
        if self.sink.delivery == Delivery::AtLeastOnce {
            self.check_ours()?;
        }
        let progress = input.progress();
        self.state.lock().attempted.clone_from(&progress);
        writer.commit(&progress, || self.stop.is_asked())?;
        input.committed();
        let (ended_us, interval_us) = (self.engine.wall_us(), self.sink.commit_interval_us);
        *pause_us = ended_us..(ends_us + interval_us).max(ended_us + interval_us / 2);
        self.state.commits.add(ended_us.saturating_sub(began_us), 1);
        self.tell_committed(sent, input.scheduled());
        Ok(progress)
    }

    /// Sends what is there and what comes until a commit is due.
    fn gather(
        &self,
        writer: &TopicWriter,
        input: &mut SinkInput,
        messages: &mut RowMessages,
        pause_us: &Range<i64>,
    ) -> Result<Sent, Ending> {
        let began_us = self.engine.wall_us();
        let (mut sent, mut is_durable) = (Sent::default(), false);
        loop {
            let batch = input.next(self.engine, messages)?;
            let is_any = batch.is_some();
            batch.map_or(Ok(()), |batch| self.send(writer, batch, &mut sent))?;
            // A clock that went back does not hold rows up. What waits goes along, and is not waited for longer than an interval.
            let now_us = self.engine.wall_us();
            let is_long = !(began_us..began_us + self.sink.commit_interval_us).contains(&now_us);
            let is_due = !pause_us.contains(&now_us) && (!is_any || is_long);
            let is_full = sent.rows + input.waiting() >= MESSAGES_MAX;
            if is_full || (is_due && is_durable) || self.stop.is_asked() {
                return Ok(sent);
            }
            if is_due {
                input.logs().iter().for_each(|log| _ = log.make_durable(self.engine));
                is_durable = true;
            } else if !is_any {
                self.stop.wait(BUSY);
            }
        }
    }

    fn tell_committed(&self, sent: Sent, scheduled: usize) {
        let mut told = self.state.lock();
        told.rows += sent.rows as u64;
        told.scheduled = scheduled as u64;
        told.set_aside += sent.failed.len() as u64;
        if told.first_set_aside.is_none() {
            told.first_set_aside = sent.failed.into_iter().next();
        }
        if told.trouble.take().is_some() {
            tracing::info!(sink = self.sink.name, topic = self.sink.topic, "rows are written again");
        }
    }

    /// Without transactions nothing cuts off who was taken over but the data folder.
    fn check_ours(&self) -> Result<(), Ending> {
        match self.engine.storage().map_or(Ok(()), Storage::check) {
            Err(error) if error.may_pass() => Err(Ending::Trouble(WriteTrouble::Aborted(error.to_string()))),
            checked => Ok(checked?),
        }
    }

    fn send(&self, writer: &TopicWriter, mut batch: SinkBatch, sent: &mut Sent) -> Result<(), Ending> {
        sent.failed.append(&mut batch.failed);
        for (key, value) in &batch.messages {
            if writer.send(key.as_deref(), value, || self.stop.is_asked())? {
                sent.rows += 1;
            } else {
                sent.failed.push(format!("a message of {} bytes is larger than one may be", value.len()));
            }
        }
        Ok(())
    }

    /// Where a sink begins of which the cluster knows nothing: at the beginning, if it was never written, or may be once more.
    fn first_progress(&self, input: &SinkInput) -> Result<Progress, Ending> {
        let storage = self.engine.storage().expect("a sink reads logs");
        let path = storage.folder().join("sinks").join(asof_connect::folder_name(&self.sink.name));
        match read_whole(&**storage.disk(), &path, BEGUN_BYTES_MAX) {
            Ok(topic) if topic == self.sink.topic.as_bytes() && !input.may_repeat() => {
                let detail = format!(
                    "topic `{}` was written before, and the cluster has forgotten how far (it does after \
                     `offsets.retention.minutes` without a commit); hint: give the sink another name, which writes all rows again",
                    self.sink.topic
                );
                Err(Ending::Stopped(detail))
            }
            Ok(_) => Ok(input.first_progress(self.engine)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(input.first_progress(self.engine)),
            Err(source) => Err(Ending::Failed(PipelineError::Data { path, source })),
        }
    }

    /// From now on the cluster has to know how far the topic is written.
    fn note_begun(&self) -> Result<(), PipelineError> {
        let storage = self.engine.storage().expect("a sink reads logs");
        storage.check()?;
        let folder = storage.folder().join("sinks");
        let path = folder.join(asof_connect::folder_name(&self.sink.name));
        let disk = storage.disk();
        if read_whole(&**disk, &path, BEGUN_BYTES_MAX).is_ok_and(|topic| topic == self.sink.topic.as_bytes()) {
            return Ok(());
        }
        let written = disk
            .make_folder(&folder, BEGUN)
            .and_then(|()| write_whole(&**disk, &path, self.sink.topic.as_bytes(), BEGUN));
        written.map_err(|source| PipelineError::Data { path, source })
    }
}
