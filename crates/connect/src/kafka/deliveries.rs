//! What becomes of messages that were given to the client: counted by its own thread, waited for by whoever commits them.
//!
//! `flush` of the crate `rdkafka` (0.39) looks every 100 ms, which were most of a commit.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};

/// Counts what has no answer yet, and what could not be delivered.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    counts: Mutex<Counts>,
    /// Told when everything has its answer.
    is_answered: Condvar,
}

#[derive(Debug, Default)]
struct Counts {
    unanswered: u64,
    failed: u64,
    /// What the client said last of what is wrong.
    words: Option<String>,
}

impl Deliveries {
    /// A message is given to the client.
    pub(crate) fn sent(&self) {
        self.lock().unanswered += 1;
    }

    /// One has its answer, or was not taken.
    pub(crate) fn answered(&self) {
        let mut counts = self.lock();
        counts.unanswered = counts.unanswered.saturating_sub(1);
        if counts.unanswered == 0 {
            self.is_answered.notify_all();
        }
    }

    /// Waits until all messages have their answers, at most so long. Returns whether they have.
    pub(crate) fn are_answered(&self, at_most: Duration) -> bool {
        let waited = self.is_answered.wait_timeout_while(self.lock(), at_most, |counts| counts.unanswered > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.unanswered == 0
    }

    /// What is said of messages that could not be delivered; `None` where all were.
    pub(crate) fn failure(&self) -> Option<String> {
        let mut counts = self.lock();
        if counts.failed == 0 {
            return None;
        }
        Some(counts.words.take().unwrap_or_else(|| "messages were not delivered".to_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Deliveries {
    fn error(&self, _error: KafkaError, reason: &str) {
        self.lock().words = Some(reason.to_owned());
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let mut counts = self.lock();
            counts.failed += 1;
            counts.words = Some(error.to_string());
        }
        self.answered();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_when_the_last_answer_comes() {
        let deliveries = Deliveries::default();
        assert!(deliveries.are_answered(Duration::ZERO), "nothing was sent");
        deliveries.sent();
        deliveries.sent();
        deliveries.answered();
        assert!(!deliveries.are_answered(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| deliveries.are_answered(Duration::from_secs(60)));
            deliveries.answered();
            assert!(waiting.join().unwrap());
        });
        assert_eq!(deliveries.failure(), None);
    }
}
