//! Reads the topic that feeds a stream, from where the log of the stream ends.
//!
//! ```text
//!   feeder    poll ─▶ batch ─▶ decode ─▶ door ─▶ wait until it is visible ─▶ next batch, which came meanwhile
//!   watcher   partitions there are ─▶ found        ends, positions ─▶ lag, idleness, readiness
//! ```
//! Rules kept here:
//! - one batch of a stream is on its way at a time, and what was refused is sent again before anything behind it: the
//!   log has each message once, in the order of its partition;
//! - while nothing is taken in nothing is polled beyond two more batches: the client fetches ahead as far as it may,
//!   and stops;
//! - tables are read before streams: up to where their topics ended at the start;
//! - a cluster that is away is waited for; messages that are gone stop their partition, unless the stream says to skip
//!   them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use asof_connect::{EventBody, KafkaSettings, KafkaTrouble, Origin, Polled, TakeTrouble, TopicReader, TopicWatch};
use asof_definition::{KafkaFeed, KafkaStart, LostMessages};

use crate::engine::{Engine, lock};
use crate::error::PipelineError;
use crate::feed::{Feed, TroubleKind};
use crate::run::ending;
use crate::stop::Stop;
use crate::submission::{IngestError, Manner, Receipt, Submission};

/// How long the feeder waits for a message before it looks around.
const QUIET: Duration = Duration::from_millis(50);
/// How long what was refused waits before it is sent again.
const AGAIN: Duration = Duration::from_millis(100);
/// The same where the door is only full for a moment.
const KNOCK: Duration = Duration::from_millis(5);
/// How long a registry of schemas that does not answer is left alone.
const REGISTRY_AGAIN: Duration = Duration::from_secs(1);
/// How often the ends of partitions are asked for, and until everything was caught up with.
const ENDS_EVERY: Duration = Duration::from_secs(1);
const FIRST_ENDS_EVERY: Duration = Duration::from_millis(100);
/// How often it is asked which partitions there are.
const PARTITIONS_EVERY: Duration = Duration::from_secs(5);
/// How long an answer of the cluster is waited for.
const ANSWER: Duration = Duration::from_secs(3);

/// One stream and its topic.
struct Feeding<'e> {
    engine: &'e Engine,
    source: usize,
    definition: Arc<KafkaFeed>,
    feed: &'e Feed,
    stop: &'e Stop,
}

/// Events, if there are any, and where they come from.
type Batch = (Option<EventBody>, Origin);

/// A batch that was left at the door.
struct Sent {
    body: EventBody,
    origin: Origin,
    answer: Receiver<Result<Receipt, IngestError>>,
}

/// What becomes of a batch.
enum Fate {
    /// It is in the log.
    TakenIn,
    /// It is to be sent once more.
    Again(IngestError),
    /// No batch of this stream will be taken in before the next start.
    Never(IngestError),
}

impl Fate {
    fn of(outcome: Result<Receipt, IngestError>) -> Fate {
        match outcome {
            // What is not settled is in the log, and becomes visible or ends the job.
            Ok(_) | Err(IngestError::NotSettled { .. }) => Fate::TakenIn,
            Err(
                error @ (IngestError::Busy { .. }
                | IngestError::StateFull { .. }
                | IngestError::KeysFull { .. }
                | IngestError::DiskFull { .. }
                | IngestError::BehindNotSettled
                | IngestError::NotNow { .. }),
            ) => Fate::Again(error),
            Err(error) => Fate::Never(error),
        }
    }
}

/// Reads the topics of all streams that have one until a stop is asked for.
pub(crate) fn read_feeds(engine: &Engine, settings: Option<&KafkaSettings>, stop: &Stop) -> Result<(), PipelineError> {
    let fed = engine.sources().iter().enumerate().filter_map(|(source, stream)| Some((source, stream.feed()?)));
    let feedings = fed.map(|(source, definition)| {
        let feed = engine.feed(source).expect("a stream with a topic has a feed");
        Feeding { engine, source, definition: definition.clone(), feed, stop }
    });
    let feedings: Vec<Feeding<'_>> = feedings.collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = feedings
            .iter()
            .map(|feeding| {
                let settings = settings.cloned().unwrap_or_default();
                scope.spawn(move || ending(stop, || feeding.run(&settings)))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(PipelineError::Panicked)))
    })
}

impl Feeding<'_> {
    fn stream_name(&self) -> &str {
        &self.engine.sources()[self.source].name
    }

    fn run(&self, settings: &KafkaSettings) -> Result<(), PipelineError> {
        let form = self.engine.stored_form(self.source);
        let reader = TopicReader::new(settings, &form, &self.definition);
        let mut reader = reader.map_err(|trouble| self.refused(trouble))?;
        let watch = reader.watch();
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                ending(self.stop, || {
                    self.watch(&watch);
                    Ok(())
                })
            });
            self.read(&mut reader);
            watching.join().unwrap_or(Err(PipelineError::Panicked))
        })
    }

    fn refused(&self, trouble: KafkaTrouble) -> PipelineError {
        PipelineError::Feed { stream: self.stream_name().to_owned(), topic: self.definition.topic.clone(), trouble }
    }

    /// The feeder.
    fn read(&self, reader: &mut TopicReader) {
        self.await_tables();
        let (mut sent, mut ready): (Option<Sent>, Option<Batch>) = (None, None);
        while !self.stop.is_asked() && !self.feed.lock().has_stopped {
            if self.feed.lock().has_lost && !self.examine_lost(reader) {
                self.stop.wait(AGAIN);
            }
            let is_drained = sent.is_none() && ready.is_none() && reader.rows() == 0;
            let may_begin = is_drained || !self.feed.lock().begins_anew;
            if may_begin {
                self.begin_found(reader);
            }
            let takes_more = may_begin && ready.is_none() && !reader.is_full();
            let wait = if is_drained { QUIET } else { Duration::ZERO };
            if takes_more && !self.poll(reader, wait) {
                continue;
            }
            // What is there is sent at once; behind a batch that is on its way it comes together first.
            let may_decode = sent.is_none() || (reader.is_full() && self.has_events());
            if ready.is_none() && reader.rows() > 0 && may_decode {
                ready = self.decode(reader);
            }
            sent = match (sent.take(), ready.take()) {
                (Some(waiting), next) => {
                    ready = next;
                    self.hear(waiting, QUIET)
                }
                (None, Some((Some(body), origin))) => self.send(body, origin),
                (None, Some((None, origin))) => {
                    self.pass_over(&origin);
                    None
                }
                (None, None) => None,
            };
        }
    }

    /// Waits until what the topics of the tables that this stream is joined with had at the start is taken in: its
    /// events find their rows.
    fn await_tables(&self) {
        if self.engine.is_table(self.source) {
            return;
        }
        let connected = lock(self.engine.writer()).sources.connected(self.source);
        let tables: Vec<usize> = connected.into_iter().filter(|source| self.engine.is_table(*source)).collect();
        let is_open = |source: &&usize| self.engine.feed(**source).is_some_and(|feed| !feed.lock().is_read());
        while let Some(table) = tables.iter().find(is_open).filter(|_| !self.stop.is_asked()) {
            let words = format!("waits until table `{}` is read", self.engine.sources()[*table].name);
            self.feed.lock().is_in_trouble(words, TroubleKind::AtDoor);
            self.stop.wait(QUIET);
        }
        self.feed.lock().is_well();
    }

    /// Takes the next message. Returns whether there was none.
    fn poll(&self, reader: &mut TopicReader, at_most: Duration) -> bool {
        match reader.poll(at_most) {
            Ok(Polled::Message { partition, next_offset }) => {
                self.feed.lock().polled(partition, next_offset);
                false
            }
            Ok(Polled::Nothing) => true,
            Err(KafkaTrouble::Lost) => {
                self.feed.lock().has_lost = true;
                true
            }
            Err(trouble) => {
                self.tell(&trouble);
                true
            }
        }
    }

    /// Begins to read the partitions that were found.
    fn begin_found(&self, reader: &TopicReader) {
        let found = self.feed.lock().found.clone();
        if found.is_empty() {
            return;
        }
        if let Err(trouble) = reader.assign(&found) {
            self.tell(&trouble);
            self.stop.wait(AGAIN);
            return;
        }
        self.note_offsets(&found);
        let mut state = self.feed.lock();
        state.found.retain(|partition, _| !found.contains_key(partition));
        state.begins_anew = false;
        state.begin(&found, self.engine.wall_us());
        drop(state);
        tracing::info!(
            stream = self.stream_name(),
            topic = self.definition.topic,
            partitions = found.len(),
            offsets = ?found,
            "reading partitions"
        );
    }

    fn note_offsets(&self, offsets: &BTreeMap<u32, u64>) {
        let mut writer = lock(self.engine.writer());
        writer.logs[self.source].iter_mut().for_each(|log| log.begin_partitions(offsets));
    }

    /// None of these messages is an event of the stream: the next frame of the log says that they were read.
    fn pass_over(&self, origin: &Origin) {
        let next = origin.next_offsets();
        self.note_offsets(&next);
        let mut state = self.feed.lock();
        state.taken_in(&next, 0);
        let is_over = state.is_well();
        drop(state);
        self.tell_well(is_over);
    }

    /// Whether some event of the stream counts.
    fn has_events(&self) -> bool {
        self.engine.published().streams[self.source].newest_us.is_some()
    }

    /// The events of what has come together. `None` where they cannot be told yet, or ever.
    fn decode(&self, reader: &mut TopicReader) -> Option<Batch> {
        // Whether times are of the unit that is declared is looked at before the first event counts.
        let taken = reader.take(!self.has_events());
        let mut state = self.feed.lock();
        (state.schemas, state.passed_over) = (reader.writers(), reader.passed_over());
        if let Ok((Some(_), origin)) = &taken {
            let runs = origin.runs().filter(|(_, first, end)| first < end);
            state.heard(runs.map(|(partition, ..)| partition), self.engine.wall_us());
        }
        drop(state);
        match taken {
            Ok(batch) => Some(batch),
            Err(TakeTrouble::Registry(trouble)) => {
                self.tell_words(trouble.to_string(), TroubleKind::Registry);
                self.stop.wait(REGISTRY_AGAIN);
                None
            }
            Err(error) => {
                self.give_up(&error.to_string());
                None
            }
        }
    }

    /// Leaves a batch at the door, however long that takes. `None` where nobody is let in any more.
    fn send(&self, body: EventBody, origin: Origin) -> Option<Sent> {
        let (sender, answer) = mpsc::channel();
        let mut submission = Submission {
            stream: self.source,
            body: body.clone(),
            manner: Manner::Live,
            batch_key: None,
            origin: Some(origin.clone()),
            received_us: self.engine.wall_us(),
            // Whoever stops does not wait for answers.
            answer: Box::new(move |outcome| _ = sender.send(outcome)),
        };
        while let Err((back, error)) = self.engine.intake().submit(submission) {
            submission = back;
            let is_busy = matches!(error, IngestError::Busy { .. });
            if !is_busy {
                self.tell_words(error.to_string(), TroubleKind::AtDoor);
            }
            if self.stop.wait(if is_busy { KNOCK } else { AGAIN }) {
                return None;
            }
        }
        Some(Sent { body, origin, answer })
    }

    /// Waits for the answer to a batch, at most so long. Gives back what is on its way still, or again.
    fn hear(&self, sent: Sent, at_most: Duration) -> Option<Sent> {
        let outcome = match sent.answer.recv_timeout(at_most) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => return Some(sent),
            // Nobody answers any more: the job ends.
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        match Fate::of(outcome) {
            Fate::TakenIn => {
                let mut state = self.feed.lock();
                state.taken_in(&sent.origin.next_offsets(), sent.origin.rows());
                let is_over = state.is_well();
                drop(state);
                self.tell_well(is_over);
                None
            }
            Fate::Again(error) => {
                self.engine.ingest_measures().refused.add(&error);
                self.tell_words(error.to_string(), TroubleKind::AtDoor);
                self.stop.wait(AGAIN);
                self.send(sent.body, sent.origin)
            }
            Fate::Never(error) => {
                self.give_up(&error.to_string());
                None
            }
        }
    }

    /// Finds the partitions whose next message is gone, and stops or skips: the client does not say which, and reads
    /// them no further. Returns whether that is done.
    fn examine_lost(&self, reader: &TopicReader) -> bool {
        let watch = reader.watch();
        let partitions: BTreeMap<u32, u64> = {
            let state = self.feed.lock();
            let read = state.partitions.iter().filter(|(_, one)| !one.is_stopped);
            read.map(|(partition, one)| (*partition, one.polled)).collect()
        };
        let numbers: Vec<u32> = partitions.keys().copied().collect();
        let ends = watch
            .starts(&numbers, KafkaStart::Earliest, ANSWER)
            .and_then(|first| Ok((first, watch.starts(&numbers, KafkaStart::Latest, ANSWER)?)))
            .and_then(|ends| reader.unassign(&numbers).map(|()| ends));
        let (first, last) = match ends {
            Ok(ends) => ends,
            Err(trouble) => {
                self.tell(&trouble);
                return false;
            }
        };
        for (partition, next) in partitions {
            let (first, last) = (first.get(&partition).copied(), last.get(&partition).copied());
            let (first, last) = (first.unwrap_or(next), last.unwrap_or(next));
            self.begin_again(partition, next, first..=last);
        }
        self.feed.lock().has_lost = false;
        true
    }

    /// Goes on with a partition of which these offsets are there.
    fn begin_again(&self, partition: u32, next: u64, there: RangeInclusive<u64>) {
        let topic = &self.definition.topic;
        let gone = format!(
            "messages of partition {partition} of topic `{topic}` are gone before they were read: offset {next} comes next, \
             and there are {} to {}",
            there.start(),
            there.end()
        );
        let mut state = self.feed.lock();
        let from = match self.definition.lost {
            _ if there.contains(&next) => next,
            LostMessages::Skip => {
                tracing::error!(stream = self.stream_name(), "{gone}; they are skipped");
                state.lost_messages += there.start().saturating_sub(next);
                *there.start()
            }
            LostMessages::Stop => {
                let told = format!("{gone}; hint: `lost_messages = 'skip'` goes on with the first that there is");
                tracing::error!(stream = self.stream_name(), "{told}");
                state.partitions.entry(partition).or_default().is_stopped = true;
                state.is_in_trouble(told, TroubleKind::Refused);
                return;
            }
        };
        state.partitions.remove(&partition);
        state.found.insert(partition, from);
        state.begins_anew = true;
    }

    /// Tells what is wrong, once.
    fn tell(&self, trouble: &KafkaTrouble) {
        let kind = if trouble.may_pass() { TroubleKind::Cluster } else { TroubleKind::Refused };
        self.tell_words(trouble.to_string(), kind);
    }

    fn tell_words(&self, trouble: String, kind: TroubleKind) {
        let (stream, topic) = (self.stream_name(), &self.definition.topic);
        if self.feed.lock().is_in_trouble(trouble.clone(), kind) {
            tracing::warn!(stream, topic, trouble, "no messages come");
        }
    }

    /// Tells that it is over, once.
    fn tell_well(&self, is_over: bool) {
        if is_over {
            tracing::info!(stream = self.stream_name(), topic = self.definition.topic, "messages come again");
        }
    }

    /// Nothing of the topic is read until the next start.
    fn give_up(&self, detail: &str) {
        tracing::error!(
            stream = self.stream_name(),
            topic = self.definition.topic,
            "the topic is read no further: {detail}; hint: mend it and start again, nothing is lost"
        );
        let mut state = self.feed.lock();
        (state.trouble, state.has_stopped) = (Some(detail.to_owned()), true);
    }

    /// The watcher.
    fn watch(&self, watch: &TopicWatch) {
        let mut partitions_at_us = None;
        while !self.stop.is_asked() && !self.feed.lock().has_stopped {
            let now_us = self.engine.wall_us();
            let every_us = PARTITIONS_EVERY.as_micros() as i64;
            if partitions_at_us.is_none_or(|at_us: i64| now_us.saturating_sub(at_us) >= every_us) {
                match self.find_partitions(watch) {
                    Ok(()) => partitions_at_us = Some(now_us),
                    Err(trouble) => self.tell(&trouble),
                }
            }
            let read: Vec<u32> = self.feed.lock().partitions.keys().copied().collect();
            if !read.is_empty() {
                let asked_us = self.engine.wall_us();
                match watch.ends(&read, ANSWER) {
                    Ok(ends) => {
                        let ends = ends.into_iter().map(|one| (one.partition, one.end_offset)).collect();
                        let positions = watch.positions();
                        let mut state = self.feed.lock();
                        state.set_ends(&positions, &ends, asked_us);
                        state.set_held_back(&watch.held_back());
                        let is_over = state.cluster_is_well();
                        drop(state);
                        self.tell_well(is_over);
                    }
                    Err(trouble) => self.tell(&trouble),
                }
            }
            let has_caught_up = self.feed.lock().has_caught_up;
            self.stop.wait(if has_caught_up { ENDS_EVERY } else { FIRST_ENDS_EVERY });
        }
    }

    /// Which partitions there are, and where those begin that were never read. One that was added while others were
    /// read is read from its beginning.
    fn find_partitions(&self, watch: &TopicWatch) -> Result<(), KafkaTrouble> {
        // One lock after the other: whoever has the writer may take the feed, and never the other way round.
        let known = self.feed.lock().known();
        let offsets = self.engine.topic_offsets(self.source);
        let mut new = watch.partitions(ANSWER)?;
        new.retain(|partition| !known.contains(partition));
        let mut found: BTreeMap<u32, u64> =
            new.iter().filter_map(|partition| Some((*partition, *offsets.get(partition)?))).collect();
        new.retain(|partition| !found.contains_key(partition));
        let start = if offsets.is_empty() { self.definition.start } else { KafkaStart::Earliest };
        if !new.is_empty() {
            found.extend(watch.starts(&new, start, ANSWER)?);
        }
        self.feed.lock().found.extend(found);
        Ok(())
    }
}
