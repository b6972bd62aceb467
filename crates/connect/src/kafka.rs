//! Kafka, and whatever speaks its protocol: the only place that knows its client.
//!
//! ```text
//!   TopicReader   partitions assigned at offsets of ours ─▶ messages ─▶ MessageBatch ─▶ EventBody and Origin
//!   TopicWatch    beside it, on another thread: which partitions there are, and where each ends
//!   TopicWriter   rows of a sink ─▶ messages, with how far its source was read
//!   HeldBack      what open transactions keep from readers of what is committed
//! ```
//! Rules kept here:
//! - a reader commits no offsets and joins no group: how far a topic was read stands in the log of its stream;
//! - messages of transactions that were aborted, or are open, are not seen;
//! - what waits in memory is bounded: what the client fetched ahead, and one batch;
//! - nothing that only Apache's broker has is asked of a broker.

pub(crate) mod deliveries;
pub(crate) mod held_back;
pub(crate) mod message_batch;
pub(crate) mod progress;
pub(crate) mod settings;
pub(crate) mod topic_reader;
pub(crate) mod topic_writer;
pub(crate) mod trouble;
