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

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use asof_definition::Delivery;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::deliveries::Deliveries;
use crate::kafka::held_back::HeldBack;
use crate::kafka::progress::Progress;
use crate::kafka::settings::KafkaSettings;
use crate::kafka::trouble::KafkaTrouble;

/// How long the cluster may take to answer what is not a commit.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a commit is waited for before it is asked whether anybody still waits.
const COMMIT_WAIT: Duration = Duration::from_secs(2);
/// So often it is waited again: a little longer than a transaction is open.
const COMMIT_TRIES: u32 = 35;
/// The same before progress is in the transaction. The client may ask a coordinator for ever that is another broker since (met
/// with leaders killed under load); a new writer asks the right one, and nothing was committed.
const PROGRESS_TRIES: u32 = 5;
/// What the calls of either take beyond their waits, before they are said not to come back.
const CALL_EXTRA: Duration = Duration::from_secs(5);
/// How often it is asked, while a call is waited for, whether anybody still waits.
const ASKED_EVERY: Duration = Duration::from_millis(200);
/// What is held back where nothing is open is looked at so often again, and so much later.
const LOOKS_MAX: usize = 4;
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Where a cluster keeps the offsets of groups, once there are any.
const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// A transaction that is open for so long is aborted by the broker.
const TRANSACTION_TIMEOUT_MS: &str = "60000";
/// Each first write after a commit may meet the last one's markers, and waits so long: the client's own default of 100
/// would be in the latency of every commit.
const RETRY_BACKOFF_MS: &str = "10";
/// How long a full queue is waited for before it is tried again.
const QUEUE_FULL: Duration = Duration::from_millis(20);
/// What may wait in the client to be sent.
const QUEUE_KIB: &str = "65536";

/// A message on its way to the client.
type Record<'m> = BaseRecord<'m, [u8], [u8]>;

/// A topic that is written to under a name of its own.
pub struct TopicWriter {
    producer: Arc<ThreadedProducer<Deliveries>>,
    /// Where progress is kept, and never read from.
    group: BaseConsumer,
    topic: String,
    delivery: Delivery,
    settings: KafkaSettings,
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
    /// The cluster does not say how far the topic is written.
    #[error(
        "the cluster does not say how far the topic is written ({0}): it is away, or holds a transaction of this sink that it has \
         forgotten; hint: if it is not away, stop the server, and `asof transactions DIR --abort` ends that"
    )]
    Unstable(String),
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

/// How a transaction ends.
#[derive(Debug, Clone, Copy)]
enum TransactionEnd {
    Commit,
    Abort,
}

/// Why progress could not be read.
#[derive(Debug)]
enum ReadError {
    /// The cluster did not say it in time.
    TimedOut(WriteTrouble),
    Other(WriteTrouble),
}

impl ReadError {
    fn trouble(self) -> WriteTrouble {
        match self {
            ReadError::TimedOut(trouble) | ReadError::Other(trouble) => trouble,
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
            check_leaders(&group, topic)?;
            producer.init_transactions(ANSWER).map_err(|error| trouble(&error))?;
        }
        let settings = settings.clone();
        Ok(TopicWriter { producer: Arc::new(producer), group, topic: topic.to_owned(), delivery, settings })
    }

    /// How far the source was read when the last commit was made; `None` before the first. It is waited for until `stops` says that
    /// nobody waits any more. Where the cluster has forgotten a transaction of a predecessor, rows and progress, that is aborted.
    pub fn progress(&self, stops: impl Fn() -> bool) -> Result<Option<Progress>, WriteTrouble> {
        match self.committed() {
            Err(ReadError::TimedOut(trouble)) if self.delivery == Delivery::ExactlyOnce && !stops() => {
                let held_back = self.held_back(&stops)?;
                if held_back.is_empty() {
                    return Err(WriteTrouble::Unstable(trouble.to_string()));
                }
                self.end_forgotten(&held_back, stops)?;
                self.committed().map_err(ReadError::trouble)
            }
            read => read.map_err(ReadError::trouble),
        }
    }

    /// Ends all that a predecessor had open, because somebody says so: also what the cluster has forgotten in part.
    fn end_all(&self) -> Result<(), WriteTrouble> {
        match self.committed() {
            Err(ReadError::TimedOut(_)) => self.end_forgotten(&self.held_back(&|| false)?, || false),
            read => read.map(|_progress| ()).map_err(ReadError::trouble),
        }
    }

    /// The partitions that hold the same back all the time, though nothing of ours is open as far as the cluster knows.
    fn held_back(&self, stops: &impl Fn() -> bool) -> Result<Vec<HeldBack>, WriteTrouble> {
        let look = || {
            HeldBack::in_topic(&self.settings, &self.topic).map_err(|trouble| match trouble {
                KafkaTrouble::Passing(words) => WriteTrouble::Aborted(words),
                trouble => WriteTrouble::Refused(trouble),
            })
        };
        let mut found = look()?;
        for _ in 0..LOOKS_MAX {
            if found.is_empty() || stops() {
                break;
            }
            // Nothing comes: it only waits.
            let _nothing = self.group.poll(LOOK_AGAIN);
            let again = look()?;
            found.retain(|one| again.iter().any(|other| other.is_still(one)));
        }
        Ok(found)
    }

    /// Ends what a predecessor had open and the cluster has forgotten. A partition that has no leader at the moment at which a transaction
    /// ends, as all have while the only broker comes back, is taken for deleted (Apache Kafka 4.3: "these partitions are likely deleted
    /// already"), and never told: rows and progress are neither committed nor aborted then. The end of the next transaction of the same
    /// producer in those partitions decides. This one has nothing that anybody is to see, and is aborted: rows and progress go
    /// together, and are written once more.
    fn end_forgotten(&self, held_back: &[HeldBack], stops: impl Fn() -> bool) -> Result<(), WriteTrouble> {
        let partitions: Vec<i32> = held_back.iter().map(|one| one.partition).collect();
        tracing::warn!(topic = self.topic, ?partitions, "a transaction that the cluster has forgotten is aborted");
        self.begin()?;
        for partition in partitions {
            let nothing: Record<'_> = BaseRecord::to(&self.topic).partition(partition).key(&[]);
            self.producer.context().sent();
            self.producer.send(nothing).map_err(|(error, _)| trouble(&error))?;
        }
        self.end_transaction(&Progress::default(), TransactionEnd::Abort, stops)
    }

    fn committed(&self) -> Result<Option<Progress>, ReadError> {
        let other = ReadError::Other;
        let asked = self.place(Offset::Invalid, None).map_err(other)?;
        let answered = self.group.committed_offsets(asked, ANSWER).map_err(|error| match &error {
            KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut) => ReadError::TimedOut(trouble(&error)),
            _ => other(trouble(&error)),
        })?;
        let elements = answered.elements();
        if let Some(error) = elements.first().and_then(|element| element.error().err()) {
            return Err(other(trouble(&error)));
        }
        let kept = elements.first().filter(|element| matches!(element.offset(), Offset::Offset(_)));
        let read = |text: &str| Progress::read(text).ok_or_else(|| other(WriteTrouble::Progress(text.to_owned())));
        kept.map(|element| read(element.metadata())).transpose()
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
        let mut record: Record<'_> = BaseRecord::to(&self.topic).payload(value);
        if let Some(key) = key {
            record = record.key(key);
        }
        let deliveries = self.producer.context();
        deliveries.sent();
        let refused = loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(true),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) if !stops() => {
                    record = back;
                    // That it did not empty in that time is no error.
                    let _emptied = self.producer.flush(QUEUE_FULL);
                }
                Err((error, _)) => break error,
            }
        };
        deliveries.answered();
        match refused {
            KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge) => Ok(false),
            error => Err(trouble(&error)),
        }
    }

    /// Makes all that was sent since `begin` durable, and with it that the source was read so far. A cluster that is away is
    /// waited for until its transaction is given up, or `stops` says that nobody waits any more.
    pub fn commit(&self, progress: &Progress, stops: impl Fn() -> bool) -> Result<(), WriteTrouble> {
        match self.delivery {
            Delivery::ExactlyOnce => self.end_transaction(progress, TransactionEnd::Commit, stops),
            Delivery::AtLeastOnce => {
                let place = self.place(Offset::Offset(0), Some(progress))?;
                let deliveries = self.producer.context();
                delivered(deliveries, stops)?;
                deliveries.failure().map_or(Ok(()), |words| Err(WriteTrouble::Aborted(words)))?;
                self.group.commit(&place, CommitMode::Sync).map_err(|error| trouble(&error))
            }
        }
    }

    /// Ends a transaction with its progress, on a thread of its own. Where a coordinator moves while it is asked, the client (librdkafka
    /// 2.12, its issue 5511) may never come back from a call: then it is left alone, as it is, and whoever opens the next writer cuts it
    /// off.
    fn end_transaction(
        &self,
        progress: &Progress,
        end: TransactionEnd,
        stops: impl Fn() -> bool,
    ) -> Result<(), WriteTrouble> {
        let place = self.place(Offset::Offset(0), Some(progress))?;
        let group = self.group.group_metadata();
        let group = group.ok_or_else(|| WriteTrouble::Aborted("the client has no group".to_owned()))?;
        let (producer, is_given_up) = (self.producer.clone(), Arc::new(AtomicBool::new(false)));
        let (steps, step) = mpsc::channel();
        let given_up = is_given_up.clone();
        let calls = move || {
            // Nobody may listen any more.
            let tell = |outcome: Result<(), WriteTrouble>| {
                steps.send(outcome.clone()).unwrap_or_default();
                outcome
            };
            tell(delivered(producer.context(), || given_up.load(Ordering::Relaxed)))?;
            tell(patiently(PROGRESS_TRIES, &given_up, || {
                producer.send_offsets_to_transaction(&place, &group, COMMIT_WAIT)
            }))?;
            // One that took too long goes on where it was when it is called again.
            tell(patiently(COMMIT_TRIES, &given_up, || match end {
                TransactionEnd::Commit => producer.commit_transaction(COMMIT_WAIT),
                TransactionEnd::Abort => producer.abort_transaction(COMMIT_WAIT),
            }))
        };
        let spawned = std::thread::Builder::new().name("asof-commit".to_owned()).spawn(calls);
        spawned.map_err(|error| WriteTrouble::Aborted(format!("a commit has no thread: {error}")))?;
        let calls = [
            ("its messages", COMMIT_TRIES),
            ("send_offsets_to_transaction", PROGRESS_TRIES),
            ("the end of a transaction", COMMIT_TRIES),
        ];
        for (call, tries) in calls {
            let mut left = COMMIT_WAIT * tries + CALL_EXTRA;
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
            element.set_metadata(progress.text());
        }
        Ok(list)
    }
}

/// Whether all partitions have leaders that the end of a predecessor's transaction goes to. To a broker that has just come back one
/// without a leader may look deleted (`TopicWriter::end_forgotten`): it would not be told, and the next commit would be that of the
/// predecessor's rows, too.
fn check_leaders(client: &BaseConsumer, topic: &str) -> Result<(), WriteTrouble> {
    for topic in [topic, OFFSETS_TOPIC] {
        let metadata = client.fetch_metadata(Some(topic), ANSWER).map_err(|error| trouble(&error))?;
        let partitions = metadata.topics().iter().flat_map(|found| found.partitions());
        if let Some(partition) = partitions.clone().find(|partition| partition.leader() < 0) {
            let words = format!("partition {} of topic `{topic}` has no leader at the moment", partition.id());
            return Err(WriteTrouble::Aborted(words));
        }
        if topic != OFFSETS_TOPIC && partitions.count() == 0 {
            return Err(WriteTrouble::Aborted(format!("there is no topic `{topic}`")));
        }
    }
    Ok(())
}

/// Waits until all messages have their answers. A cluster that is away is waited for as long as a transaction is open.
fn delivered(deliveries: &Deliveries, stops: impl Fn() -> bool) -> Result<(), WriteTrouble> {
    for _ in 0..(COMMIT_WAIT * COMMIT_TRIES).as_millis() / ASKED_EVERY.as_millis() {
        if deliveries.are_answered(ASKED_EVERY) {
            return Ok(());
        }
        if stops() {
            break;
        }
    }
    Err(WriteTrouble::Aborted("messages were not delivered in time".to_owned()))
}

/// Ends what a writer of this name has open, also what the cluster has forgotten, and cuts the writer off if it still is one.
pub fn cut_off(settings: &KafkaSettings, topic: &str, name: &str) -> Result<(), WriteTrouble> {
    TopicWriter::open(settings, topic, name, Delivery::ExactlyOnce)?.end_all()
}

/// Calls again what took too long, so many times, unless it was given up.
fn patiently(
    tries: u32,
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
