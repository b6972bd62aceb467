//! Reads the partitions of a topic from offsets that its caller names, and says where they end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use asof_definition::{KafkaFeed, KafkaStart, Stream};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset, Statistics, TopicPartitionList};

use crate::event_body::EventBody;
use crate::kafka::message_batch::MessageBatch;
use crate::kafka::settings::KafkaSettings;
use crate::kafka::trouble::KafkaTrouble;
use crate::messages::decoder::{MessageDecoder, TakeTrouble};
use crate::messages::writers::WriterSchema;
use crate::origin::Origin;

/// What the client may fetch ahead of us, over all partitions.
const AHEAD_KIB: &str = "65536";
const AHEAD_MESSAGES: &str = "100000";
/// How long a broker waits for more before it answers a fetch: no longer than a reader may wait for an event.
const FETCH_WAIT_MS: &str = "100";
/// How often the client tells what it knows of its partitions.
const STATISTICS_MS: &str = "1000";

/// A consumer of one topic, in no group.
#[derive(Debug)]
pub struct TopicReader {
    topic: Topic,
    decoder: MessageDecoder,
    batch: MessageBatch,
    /// Messages that were none of the stream's.
    passed_over: u64,
}

/// The same consumer, asked about its topic from another thread.
#[derive(Debug, Clone)]
pub struct TopicWatch(Topic);

#[derive(Clone)]
struct Topic {
    consumer: Arc<BaseConsumer<Told>>,
    feed: Arc<KafkaFeed>,
}

impl fmt::Debug for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Topic").field("feed", &self.feed).finish_non_exhaustive()
    }
}

/// Where a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionEnd {
    /// Its number.
    pub partition: u32,
    /// The offset behind the last message that may be read.
    pub end_offset: u64,
}

/// What came of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// A message is in the batch.
    Message {
        /// Its partition.
        partition: u32,
        /// The offset behind it.
        next_offset: u64,
    },
    /// Nothing came.
    Nothing,
}

/// Keeps the client's last words, which its errors do not have, and what transactions hold back.
#[derive(Debug, Default)]
struct Told {
    words: Mutex<Option<String>>,
    /// By partition how many offsets lie behind the beginning of the first transaction that is open.
    held_back: Mutex<BTreeMap<u32, u64>>,
}

impl Told {
    /// What was said before is over.
    fn forget(&self) {
        *self.words.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ClientContext for Told {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        *self.words.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        let held_back = partitions.filter_map(|one| {
            let partition = u32::try_from(one.partition).ok()?;
            // Neither is known before the first answer.
            let (stable, end) = (u64::try_from(one.ls_offset).ok()?, u64::try_from(one.hi_offset).ok()?);
            Some((partition, end.saturating_sub(stable)))
        });
        *self.held_back.lock().unwrap_or_else(PoisonError::into_inner) = held_back.collect();
    }
}

impl ConsumerContext for Told {}

impl TopicReader {
    /// A reader of a stream's topic. Nothing is asked of the cluster yet.
    pub fn new(settings: &KafkaSettings, stream: &Stream, feed: &Arc<KafkaFeed>) -> Result<TopicReader, KafkaTrouble> {
        let decoder = MessageDecoder::new(stream, feed, &settings.schemas)?;
        let mut client = settings.client();
        // The client wants a group to be named; it never joins it, and keeps no offsets there.
        client.set("group.id", "asof");
        client.set("enable.auto.commit", "false");
        client.set("enable.auto.offset.store", "false");
        client.set("auto.offset.reset", "error");
        client.set("isolation.level", "read_committed");
        client.set("enable.partition.eof", "true");
        client.set("check.crcs", "true");
        client.set("fetch.wait.max.ms", FETCH_WAIT_MS);
        client.set("statistics.interval.ms", STATISTICS_MS);
        client.set("queued.max.messages.kbytes", AHEAD_KIB);
        client.set("queued.min.messages", AHEAD_MESSAGES);
        let consumer = client.create_with_context(Told::default()).map_err(|error| KafkaTrouble::of(&error))?;
        let topic = Topic { consumer: Arc::new(consumer), feed: feed.clone() };
        let batch = MessageBatch::new(feed, &decoder.columns.schema);
        Ok(TopicReader { topic, decoder, batch, passed_over: 0 })
    }

    /// What another thread may ask.
    pub fn watch(&self) -> TopicWatch {
        TopicWatch(self.topic.clone())
    }

    /// Begins to read partitions at these offsets, beside those that are read already.
    pub fn assign(&self, offsets: &BTreeMap<u32, u64>) -> Result<(), KafkaTrouble> {
        let offset = |offset: u64| Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        let list = self.topic.list(offsets.iter().map(|(partition, own)| (*partition, offset(*own))))?;
        self.topic.consumer.incremental_assign(&list).map_err(|error| self.topic.trouble(&error))
    }

    /// Reads partitions no further.
    pub fn unassign(&self, partitions: &[u32]) -> Result<(), KafkaTrouble> {
        let list = self.topic.list(partitions.iter().map(|partition| (*partition, Offset::Invalid)))?;
        self.topic.consumer.incremental_unassign(&list).map_err(|error| self.topic.trouble(&error))
    }

    /// Waits for the next message, at most so long, and takes it into the batch.
    pub fn poll(&mut self, at_most: Duration) -> Result<Polled, KafkaTrouble> {
        loop {
            return match self.topic.consumer.poll(at_most) {
                None => Ok(Polled::Nothing),
                Some(Ok(message)) => {
                    self.batch.push(&message);
                    let (partition, offset) = (message.partition().unsigned_abs(), message.offset().unsigned_abs());
                    Ok(Polled::Message { partition, next_offset: offset + 1 })
                }
                // One partition has come to its end; behind that others have more.
                Some(Err(KafkaError::PartitionEOF(_))) => continue,
                Some(Err(error)) => Err(self.topic.trouble(&error)),
            };
        }
    }

    /// How many messages are in the batch.
    pub fn rows(&self) -> usize {
        self.batch.rows()
    }

    /// Whether the batch takes no more.
    pub fn is_full(&self) -> bool {
        self.batch.is_full()
    }

    /// The events of the batch, if there are any, and where they come from; the next batch begins. After an error that may pass
    /// the batch is as it was.
    pub fn take(&mut self, looks_at_unit: bool) -> Result<(Option<EventBody>, Origin), TakeTrouble> {
        let read = self.batch.read(&mut self.decoder, looks_at_unit)?;
        self.passed_over += read.passed_over.iter().filter(|passed| **passed).count() as u64;
        let next = MessageBatch::new(&self.topic.feed, &self.decoder.columns.schema);
        std::mem::replace(&mut self.batch, next).finish(read, self.decoder.is_text()).map_err(TakeTrouble::Unit)
    }

    /// The schemas of a registry that messages named so far.
    pub fn writers(&self) -> Vec<WriterSchema> {
        self.decoder.writers()
    }

    /// Messages that were of another type than the stream reads.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }
}

impl TopicWatch {
    /// The partitions that the topic has, in their order.
    pub fn partitions(&self, at_most: Duration) -> Result<Vec<u32>, KafkaTrouble> {
        let Topic { consumer, feed } = &self.0;
        let metadata = consumer.fetch_metadata(Some(&feed.topic), at_most).map_err(|error| self.0.trouble(&error))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == feed.topic);
        if let Some(code) = topic.and_then(|topic| topic.error()) {
            return Err(KafkaTrouble::of(&KafkaError::MetadataFetch(code.into())));
        }
        let mut partitions: Vec<u32> = topic
            .into_iter()
            .flat_map(|topic| topic.partitions().iter().map(|partition| partition.id().unsigned_abs()))
            .collect();
        if partitions.is_empty() {
            return Err(KafkaTrouble::Passing(format!("there is no topic `{}` yet", feed.topic)));
        }
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// The offsets at which partitions are read that were never read before.
    pub fn starts(
        &self,
        partitions: &[u32],
        start: KafkaStart,
        at_most: Duration,
    ) -> Result<BTreeMap<u32, u64>, KafkaTrouble> {
        let asked = match start {
            KafkaStart::Earliest => Offset::Beginning,
            KafkaStart::Latest => Offset::End,
            KafkaStart::At(us) => Offset::Offset(us.div_euclid(1_000) + i64::from(us.rem_euclid(1_000) > 0)),
        };
        let mut found = self.offsets(partitions, asked, at_most)?.whole()?;
        let missing: Vec<u32> = partitions.iter().copied().filter(|one| !found.contains_key(one)).collect();
        if !missing.is_empty() {
            // Nothing is as new as that.
            found.extend(self.offsets(&missing, Offset::End, at_most)?.whole()?);
        }
        Ok(found)
    }

    /// Where partitions end for who reads what is committed; of those whose brokers answer.
    pub fn ends(&self, partitions: &[u32], at_most: Duration) -> Result<Vec<PartitionEnd>, KafkaTrouble> {
        let Answered { offsets, trouble } = self.offsets(partitions, Offset::End, at_most)?;
        if let Some(trouble) = trouble.filter(|_| offsets.is_empty()) {
            return Err(trouble);
        }
        self.0.consumer.context().forget();
        Ok(offsets.into_iter().map(|(partition, end_offset)| PartitionEnd { partition, end_offset }).collect())
    }

    /// By partition that is read how many offsets transactions that are open hold back from who reads what is committed.
    pub fn held_back(&self) -> BTreeMap<u32, u64> {
        self.0.consumer.context().held_back.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next offset of each partition that is read: behind the last message that was polled, and behind what no reader
    /// sees after it.
    pub fn positions(&self) -> BTreeMap<u32, u64> {
        let positions = self.0.consumer.position().map(|list| offsets_of(&list));
        positions.unwrap_or_default()
    }

    /// What the cluster answers: an offset by its kind, or the first at or after a timestamp in milliseconds.
    fn offsets(&self, partitions: &[u32], asked: Offset, at_most: Duration) -> Result<Answered, KafkaTrouble> {
        let list = self.0.list(partitions.iter().map(|partition| (*partition, asked)))?;
        let answered = self.0.consumer.offsets_for_times(list, at_most).map_err(|error| self.0.trouble(&error))?;
        let failed = answered.elements().iter().find_map(|element| element.error().err());
        Ok(Answered { offsets: offsets_of(&answered), trouble: failed.map(|error| self.0.trouble(&error)) })
    }
}

/// Offsets of partitions, and what kept others from being told.
struct Answered {
    offsets: BTreeMap<u32, u64>,
    trouble: Option<KafkaTrouble>,
}

impl Answered {
    fn whole(self) -> Result<BTreeMap<u32, u64>, KafkaTrouble> {
        self.trouble.map_or(Ok(self.offsets), Err)
    }
}

impl Topic {
    fn list(&self, offsets: impl Iterator<Item = (u32, Offset)>) -> Result<TopicPartitionList, KafkaTrouble> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            list.add_partition_offset(&self.feed.topic, partition, offset).map_err(|error| self.trouble(&error))?;
        }
        Ok(list)
    }

    /// An error with what the client has said since the last one.
    fn trouble(&self, error: &KafkaError) -> KafkaTrouble {
        let words = self.consumer.context().words.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (KafkaTrouble::of(error), words) {
            (KafkaTrouble::Passing(_), Some(words)) => KafkaTrouble::Passing(words),
            (KafkaTrouble::Refused { hint, .. }, Some(detail)) => KafkaTrouble::Refused { detail, hint },
            (trouble, _) => trouble,
        }
    }
}

fn offsets_of(list: &TopicPartitionList) -> BTreeMap<u32, u64> {
    let one = |partition: i32, offset| match offset {
        Offset::Offset(offset) if offset >= 0 => Some((partition.unsigned_abs(), offset.unsigned_abs())),
        _ => None,
    };
    let told = list.elements();
    let whole = told.iter().filter(|element| element.error().is_ok());
    whole.filter_map(|element| one(element.partition(), element.offset())).collect()
}
