//! Writes rows to a topic, with how far their source was read: in one transaction, or one after the other.
//!
//! ```text
//!   open      whoever wrote under this name before is cut off; then it is asked how far its source was read
//!   begin ─▶ send, send, … ─▶ commit(progress)
//! ```
//! Rules kept here:
//! - progress is read after the predecessor is cut off, never before: it cannot commit anything in between;
//! - exactly once: rows and progress become visible together or not at all;
//! - a row that is larger than a message may be is told at once, and is nobody else's trouble;
//! - after any other error the writer is of no use: a new one is opened, which goes on where the
//!   last commit ended. So there is one way back, whatever happened.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use asof_definition::Delivery;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::kafka::settings::KafkaSettings;
use crate::kafka::trouble::KafkaTrouble;

/// How long the cluster may take to answer what is not a commit.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a commit is waited for before it is asked whether anybody still waits.
const COMMIT_WAIT: Duration = Duration::from_secs(2);
/// So often it is waited again: a little longer than a transaction is open.
const COMMIT_TRIES: usize = 35;
/// The same before progress is in the transaction. The client may ask a coordinator for ever that is another broker since (met
/// with leaders killed under load); a new writer asks the right one, and nothing was committed.
const PROGRESS_TRIES: usize = 5;
/// What the calls of either take beyond their waits, before they are said not to come back.
const CALL_EXTRA: Duration = Duration::from_secs(5);
/// How often it is asked, while a call is waited for, whether anybody still waits.
const ASKED_EVERY: Duration = Duration::from_millis(200);
/// A transaction that is open for so long is aborted by the broker.
const TRANSACTION_TIMEOUT_MS: &str = "60000";
/// Each first write after a commit may meet the last one's markers, and waits so long: the client's own default of 100
/// would be in the latency of every commit.
const RETRY_BACKOFF_MS: &str = "10";
/// How long a full queue is waited for before it is tried again.
const QUEUE_FULL: Duration = Duration::from_millis(20);
/// What may wait in the client to be sent.
const QUEUE_KIB: &str = "65536";
/// The version of what stands in the metadata of the progress.
const PROGRESS_VERSION: u64 = 1;

/// Up to which offset each log is written, by the log's name.
pub type Progress = BTreeMap<String, u64>;

/// A topic that is written to under a name of its own.
pub struct TopicWriter {
    producer: Arc<ThreadedProducer<Deliveries>>,
    /// Where progress is kept, and never read from.
    group: BaseConsumer,
    topic: String,
    delivery: Delivery,
}

impl std::fmt::Debug for TopicWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TopicWriter").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// Why something could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteTrouble {
    /// Another writer of this name was opened since, or the broker gave this one up.
    #[error("another writer has the name, or the broker has given this one up: {0}")]
    Fenced(String),
    /// Whatever was not committed is to be written once more.
    #[error("{0}")]
    Aborted(String),
    /// It will not pass by itself.
    #[error(transparent)]
    Refused(KafkaTrouble),
    /// A row is larger than the topic takes.
    #[error("a row is larger than the topic takes: {0}")]
    TooLarge(String),
    /// What the cluster says of the progress is not what was written there.
    #[error("the progress that the cluster keeps cannot be read: {0}")]
    Progress(String),
}

/// Counts what could not be delivered.
#[derive(Debug, Default)]
struct Deliveries {
    failed: AtomicU64,
    words: Mutex<Option<String>>,
}

impl ClientContext for Deliveries {
    fn error(&self, _error: KafkaError, reason: &str) {
        *self.words.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failed.fetch_add(1, Ordering::Relaxed);
            *self.words.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }
    }
}

impl TopicWriter {
    /// Opens a writer under a name; whoever had it is cut off.
    pub fn open(
        settings: &KafkaSettings,
        topic: &str,
        name: &str,
        delivery: Delivery,
    ) -> Result<TopicWriter, WriteTrouble> {
        let mut client = settings.client();
        client.set("acks", "all");
        client.set("enable.idempotence", "true");
        client.set("linger.ms", "5");
        client.set("compression.type", "lz4");
        client.set("retry.backoff.ms", RETRY_BACKOFF_MS);
        client.set("queue.buffering.max.kbytes", QUEUE_KIB);
        // As the Java client does: equal keys of both go to equal partitions.
        client.set("partitioner", "murmur2_random");
        if delivery == Delivery::ExactlyOnce {
            client.set("transactional.id", name);
            client.set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS);
        }
        let producer: ThreadedProducer<Deliveries> =
            client.create_with_context(Deliveries::default()).map_err(|error| trouble(&error))?;
        let mut client = settings.client();
        client.set("group.id", name);
        client.set("enable.auto.commit", "false");
        let group: BaseConsumer = client.create().map_err(|error| trouble(&error))?;
        if delivery == Delivery::ExactlyOnce {
            producer.init_transactions(ANSWER).map_err(|error| trouble(&error))?;
        }
        Ok(TopicWriter { producer: Arc::new(producer), group, topic: topic.to_owned(), delivery })
    }

    /// How far the source was read when the last commit was made; `None` before the first.
    pub fn progress(&self) -> Result<Option<Progress>, WriteTrouble> {
        let asked = self.place(Offset::Invalid, None)?;
        let answered = self.group.committed_offsets(asked, ANSWER).map_err(|error| trouble(&error))?;
        let elements = answered.elements();
        if let Some(error) = elements.first().and_then(|element| element.error().err()) {
            return Err(trouble(&error));
        }
        let kept = elements.first().filter(|element| matches!(element.offset(), Offset::Offset(_)));
        kept.map(|element| read_progress(element.metadata())).transpose()
    }

    /// Begins what the next commit ends.
    pub fn begin(&self) -> Result<(), WriteTrouble> {
        match self.delivery {
            Delivery::ExactlyOnce => self.producer.begin_transaction().map_err(|error| trouble(&error)),
            Delivery::AtLeastOnce => Ok(()),
        }
    }

    /// Sends a message. It waits where too many are on their way, until `stops` says that nobody waits any more. `false`: it is
    /// larger than a message may be, and not sent.
    pub fn send(&self, key: Option<&[u8]>, value: &[u8], stops: impl Fn() -> bool) -> Result<bool, WriteTrouble> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).payload(value);
        if let Some(key) = key {
            record = record.key(key);
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(true),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => return Ok(false),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) if !stops() => {
                    record = back;
                    // That it did not empty in that time is no error.
                    let _emptied = self.producer.flush(QUEUE_FULL);
                }
                Err((error, _)) => return Err(trouble(&error)),
            }
        }
    }

    /// Makes all that was sent since `begin` durable, and with it that the source was read so far. A cluster that is away is
    /// waited for until its transaction is given up, or `stops` says that nobody waits any more.
    pub fn commit(&self, progress: &Progress, stops: impl Fn() -> bool) -> Result<(), WriteTrouble> {
        let place = self.place(Offset::Offset(0), Some(progress))?;
        match self.delivery {
            Delivery::ExactlyOnce => {
                let group = self.group.group_metadata();
                let group = group.ok_or_else(|| WriteTrouble::Aborted("the client has no group".to_owned()))?;
                self.commit_transaction(place, group, stops)
            }
            Delivery::AtLeastOnce => {
                self.producer.flush(ANSWER).map_err(|error| trouble(&error))?;
                let context = self.producer.context();
                if context.failed.load(Ordering::Relaxed) > 0 {
                    let words = context.words.lock().unwrap_or_else(PoisonError::into_inner).take();
                    return Err(WriteTrouble::Aborted(
                        words.unwrap_or_else(|| "messages were not delivered".to_owned()),
                    ));
                }
                self.group.commit(&place, CommitMode::Sync).map_err(|error| trouble(&error))
            }
        }
    }

    /// Commits on a thread of its own. Where a coordinator moves while it is asked, the client (librdkafka 2.12) may never come back
    /// from a call: then it is left alone, as it is, and whoever opens the next writer cuts it off.
    fn commit_transaction(
        &self,
        place: TopicPartitionList,
        group: ConsumerGroupMetadata,
        stops: impl Fn() -> bool,
    ) -> Result<(), WriteTrouble> {
        let (producer, is_given_up) = (self.producer.clone(), Arc::new(AtomicBool::new(false)));
        let (steps, step) = mpsc::channel();
        let given_up = is_given_up.clone();
        let calls = move || {
            let offered = patiently(PROGRESS_TRIES, &given_up, || {
                producer.send_offsets_to_transaction(&place, &group, COMMIT_WAIT)
            });
            // Nobody may listen any more.
            steps.send(offered.clone()).unwrap_or_default();
            if offered.is_ok() {
                // One that took too long goes on where it was when it is called again.
                let committed = patiently(COMMIT_TRIES, &given_up, || producer.commit_transaction(COMMIT_WAIT));
                steps.send(committed).unwrap_or_default();
            }
        };
        let spawned = std::thread::Builder::new().name("asof-commit".to_owned()).spawn(calls);
        spawned.map_err(|error| WriteTrouble::Aborted(format!("a commit has no thread: {error}")))?;
        for (call, tries) in [("send_offsets_to_transaction", PROGRESS_TRIES), ("commit_transaction", COMMIT_TRIES)] {
            let mut left = COMMIT_WAIT * u32::try_from(tries).unwrap_or(u32::MAX) + CALL_EXTRA;
            loop {
                match step.recv_timeout(ASKED_EVERY) {
                    Ok(outcome) => break outcome?,
                    Err(_) if left.is_zero() => {
                        return Err(WriteTrouble::Aborted(format!("the client does not come back from {call}")));
                    }
                    Err(_) => left = left.saturating_sub(ASKED_EVERY),
                }
                if stops() {
                    is_given_up.store(true, Ordering::Relaxed);
                    left = left.min(COMMIT_WAIT + CALL_EXTRA);
                }
            }
        }
        Ok(())
    }

    /// Where the progress stands: with the first partition of the topic, which every topic has. What it says is in the text
    /// beside the offset, since a sink may read several logs.
    fn place(&self, offset: Offset, progress: Option<&Progress>) -> Result<TopicPartitionList, WriteTrouble> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, 0, offset).map_err(|error| trouble(&error))?;
        if let (Some(progress), Some(mut element)) = (progress, list.find_partition(&self.topic, 0)) {
            element.set_metadata(progress_text(progress));
        }
        Ok(list)
    }
}

/// Calls again what took too long, so many times, unless it was given up.
fn patiently(
    tries: usize,
    is_given_up: &AtomicBool,
    mut call: impl FnMut() -> Result<(), KafkaError>,
) -> Result<(), WriteTrouble> {
    let mut outcome = call();
    for _ in 1..tries {
        match &outcome {
            Err(KafkaError::Transaction(error)) if error.is_retriable() && !is_given_up.load(Ordering::Relaxed) => {
                outcome = call();
            }
            _ => break,
        }
    }
    outcome.map_err(|error| trouble(&error))
}

fn progress_text(progress: &Progress) -> String {
    json!({"asof": PROGRESS_VERSION, "logs": progress}).to_string()
}

fn read_progress(text: &str) -> Result<Progress, WriteTrouble> {
    let wrong = || WriteTrouble::Progress(text.to_owned());
    let json: Value = serde_json::from_str(text).map_err(|_| wrong())?;
    if json["asof"] != json!(PROGRESS_VERSION) {
        return Err(wrong());
    }
    let logs = json["logs"].as_object().ok_or_else(wrong)?;
    logs.iter().map(|(log, offset)| Ok((log.clone(), offset.as_u64().ok_or_else(wrong)?))).collect()
}

/// What is to be done about an error.
fn trouble(error: &KafkaError) -> WriteTrouble {
    let words = || error.to_string();
    let refused = KafkaTrouble::of(error);
    match error {
        _ if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
            WriteTrouble::TooLarge(words())
        }
        _ if matches!(refused, KafkaTrouble::Refused { .. }) => WriteTrouble::Refused(refused),
        KafkaError::Transaction(own) if own.is_fatal() => WriteTrouble::Fenced(own.string()),
        KafkaError::Transaction(own) => WriteTrouble::Aborted(own.string()),
        _ => WriteTrouble::Aborted(words()),
    }
}

/// A name under which one sink of one data folder writes.
pub fn writer_name(sink: &str, folder: u64) -> String {
    format!("asof-{sink}-{folder:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reads_back() {
        let progress: Progress = [("payments".to_owned(), 7), ("rows \"x\"".to_owned(), u64::MAX)].into();
        assert_eq!(read_progress(&progress_text(&progress)), Ok(progress));
        for wrong in ["", "{}", "{\"asof\":2,\"logs\":{}}", "{\"asof\":1,\"logs\":{\"a\":-1}}"] {
            assert!(read_progress(wrong).is_err(), "{wrong}");
        }
    }
}
