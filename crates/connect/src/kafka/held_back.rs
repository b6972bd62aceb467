//! Transactions that are open: what they hold back in a topic from readers of what is committed.
//!
//! ```text
//!   partition   … ● ● ● ○ ○ ● ○ │      ○ of a transaction that is open: whoever reads what is committed stops before the first
//!                       └ stable  └ end
//! ```
//! Asked for are the two ends of each partition, which every broker tells; who the transaction is of is not.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use crate::kafka::settings::KafkaSettings;
use crate::kafka::trouble::KafkaTrouble;

/// How long the cluster may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// What an open transaction holds back in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBack {
    /// The partition.
    pub partition: i32,
    /// Up to where readers of what is committed see it.
    pub stable_offset: i64,
    /// Where it ends.
    pub end_offset: i64,
}

impl HeldBack {
    /// Whether it is the same that was held back before.
    pub(crate) fn is_still(&self, before: &HeldBack) -> bool {
        (self.partition, self.stable_offset) == (before.partition, before.stable_offset)
    }

    /// The partitions of a topic in which something is held back at the moment. A transaction that is on its way holds back too.
    pub fn in_topic(settings: &KafkaSettings, topic: &str) -> Result<Vec<HeldBack>, KafkaTrouble> {
        let trouble = |error: KafkaError| KafkaTrouble::of(&error);
        let (committed, all) = (client(settings, "read_committed")?, client(settings, "read_uncommitted")?);
        let metadata = all.fetch_metadata(Some(topic), ANSWER).map_err(trouble)?;
        let mut held_back = Vec::new();
        for found in metadata.topics().iter().filter(|found| found.name() == topic) {
            if found.partitions().is_empty() {
                return Err(KafkaTrouble::Passing(format!("there is no topic `{topic}`")));
            }
            for partition in found.partitions().iter().map(|partition| partition.id()) {
                // What becomes committed in between is not held back.
                let end_offset = all.fetch_watermarks(topic, partition, ANSWER).map_err(trouble)?.1;
                let stable_offset = committed.fetch_watermarks(topic, partition, ANSWER).map_err(trouble)?.1;
                if stable_offset < end_offset {
                    held_back.push(HeldBack { partition, stable_offset, end_offset });
                }
            }
        }
        held_back.sort_by_key(|one| one.partition);
        Ok(held_back)
    }
}

fn client(settings: &KafkaSettings, isolation: &str) -> Result<BaseConsumer, KafkaTrouble> {
    let mut client = settings.client();
    // The client wants a group to be named; it never joins it.
    client.set("group.id", "asof");
    client.set("isolation.level", isolation);
    client.create().map_err(|error| KafkaTrouble::of(&error))
}
