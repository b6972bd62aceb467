//! Sends batches of events, each until it is taken in.
//! ```text
//!   batch ─▶ sent ─▶ 200, or 422 with counts: its receipt
//!             ▲ └──▶ 429, 503, no answer: wait, then once more, for a minute at most
//!             └───────┘   (the key of the batch makes a repeat change nothing)
//! ```
//! What the server refuses for good is told as it says it.

use std::time::{Duration, Instant};

use asof_pipeline::Stop;
use serde::Deserialize;

use crate::client::{Client, EventBatch, Reply};
use crate::failure::Failure;

/// How long one batch is tried.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries, where the server does not say.
const PAUSE: Duration = Duration::from_secs(1);

/// Sends to one stream of one server.
#[derive(Debug)]
pub(crate) struct EventSender<'s> {
    pub(crate) client: &'s Client,
    pub(crate) stop: &'s Stop,
    /// With the query that says how the events arrive.
    pub(crate) path: String,
    /// What to do where the server knows the key of a batch from other bytes.
    pub(crate) other_bytes_hint: &'static str,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) accepted: u64,
    pub(crate) duplicates: u64,
    pub(crate) late: u64,
    pub(crate) rejected: u64,
    /// The first ones.
    pub(crate) refused: Vec<RefusedRow>,
    /// Whether the batch had been taken in before; the counts are those of then, and no rows are listed.
    #[serde(skip)]
    pub(crate) is_repeat: bool,
}

/// A row that was not used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct RefusedRow {
    /// Its place in the batch, from 0.
    pub(crate) row: usize,
    pub(crate) reason: String,
    pub(crate) detail: String,
}

impl EventSender<'_> {
    /// Sends a batch until it is taken in; `None` if a stop is asked for before it is.
    #[allow(clippy::disallowed_methods, reason = "how long a server is waited for")]
    pub(crate) fn send(&self, batch: &EventBatch) -> Result<Option<Receipt>, Failure> {
        let began = Instant::now();
        while !self.stop.is_asked() {
            let (failure, pause) = match self.client.send(&self.path, batch) {
                Ok(reply) if matches!(reply.status, 200 | 422) => return self.receipt(&reply).map(Some),
                Ok(reply) if matches!(reply.status, 429 | 503) => {
                    (self.client.refusal(&self.path, &reply), reply.retry_after.unwrap_or(PAUSE))
                }
                Ok(reply) => return Err(self.client.refusal(&self.path, &reply)),
                Err(failure @ Failure::Outside { .. }) => (failure, PAUSE),
                Err(failure) => return Err(failure),
            };
            if began.elapsed() + pause > PATIENCE {
                return Err(failure);
            }
            self.stop.wait(pause);
        }
        Ok(None)
    }

    /// The counts in an answer. What has none but 422 is a key that named other bytes before, or comes too late for good.
    fn receipt(&self, reply: &Reply) -> Result<Receipt, Failure> {
        match serde_json::from_str(&reply.body) {
            Ok(receipt) => Ok(Receipt { is_repeat: reply.is_repeat, ..receipt }),
            Err(error) if reply.status == 200 => Err(Failure::outside(format!(
                "the server's answer is not understood: {error}; hint: is it of this release?"
            ))),
            Err(_) => Err(match self.client.refusal(&self.path, reply) {
                Failure::Input { message, .. } => Failure::input_with_hint(message, self.other_bytes_hint),
                other => other,
            }),
        }
    }
}
