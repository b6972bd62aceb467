//! Batches that producers have named, and what became of them: sent again, they change nothing and get the same counts.
//!
//! Remembered are the last [`BATCHES_MAX`] of a stream, as far as their names take no more than [`NAMES_BYTES_MAX`]. They are
//! stored in the log with the events of their batch, so that both are there after a crash or neither is.

use std::collections::{HashMap, VecDeque};

use asof_connect::ProducerBatch;
use asof_window::Captured;

use crate::submission::{BatchKey, IngestError, Receipt};

/// How many batches of a stream are remembered: at 200 bytes each beside the two copies of its name, 20 MiB.
const BATCHES_MAX: usize = 100_000;
/// How long their names may be together: 100,000 UUIDs of 36 bytes have room, and of names as long as they may be
/// ([`BATCH_KEY_BYTES_MAX`](crate::BATCH_KEY_BYTES_MAX), 256 bytes) the last 16,384. A name is kept three times, 12 MiB.
const NAMES_BYTES_MAX: usize = 4 << 20;

/// The named batches of one stream.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    by_key: HashMap<String, ProducerBatch>,
    /// Keys, oldest first.
    order: VecDeque<String>,
    /// How many at the end of `order` no checkpoint has.
    fresh: usize,
    /// How long the names in `order` are together.
    names_bytes: usize,
}

impl Producers {
    /// What became of a batch that was taken in before; an error if its name was another's.
    pub(crate) fn find(&self, key: &BatchKey) -> Option<Result<Receipt, IngestError>> {
        let batch = self.by_key.get(&key.name)?;
        if batch.digest != key.digest {
            return Some(Err(IngestError::KeyOfAnother { key: key.name.clone() }));
        }
        Some(Ok(Receipt {
            accepted: u64::from(batch.accepted),
            duplicates: u64::from(batch.duplicates),
            late: u64::from(batch.late),
            rejected: u64::from(batch.rejected),
            refused: Vec::new(),
            is_repeat: true,
        }))
    }

    /// Remembers a batch, and forgets the oldest beyond the bounds.
    pub(crate) fn remember(&mut self, batch: ProducerBatch) {
        let key = batch.key.clone();
        if self.by_key.insert(key.clone(), batch).is_none() {
            self.names_bytes += key.len();
            self.order.push_back(key);
            self.fresh += 1;
        }
        while (self.order.len() > BATCHES_MAX || self.names_bytes > NAMES_BYTES_MAX)
            && let Some(oldest) = self.order.pop_front()
        {
            self.names_bytes -= oldest.len();
            self.by_key.remove(&oldest);
        }
    }

    /// Those remembered since this was last called, or all; oldest first.
    pub(crate) fn take(&mut self, what: Captured) -> Vec<ProducerBatch> {
        let known = match what {
            Captured::Whole => 0,
            Captured::Touched => self.order.len() - self.fresh.min(self.order.len()),
        };
        self.fresh = 0;
        self.order.iter().skip(known).map(|key| self.by_key[key].clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(key: &str, digest: u64) -> ProducerBatch {
        ProducerBatch { key: key.to_owned(), digest, rows: 3, accepted: 2, duplicates: 0, late: 1, rejected: 0 }
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut producers = Producers::default();
        let key = |name: &str, digest| BatchKey { name: name.to_owned(), digest };
        producers.remember(batch("first", 1));
        let receipt = producers.find(&key("first", 1)).unwrap().unwrap();
        assert_eq!((receipt.accepted, receipt.late, receipt.is_repeat), (2, 1, true));
        assert!(producers.find(&key("first", 2)).unwrap().is_err());
        for number in 0..BATCHES_MAX - 1 {
            producers.remember(batch(&number.to_string(), 0));
        }
        assert!(producers.find(&key("first", 1)).is_some());
        producers.remember(batch("one more", 0));
        assert!(producers.find(&key("first", 1)).is_none());
        assert_eq!(producers.take(Captured::Whole).len(), BATCHES_MAX);
        producers.remember(batch("a new one", 0));
        assert_eq!(producers.take(Captured::Touched), [batch("a new one", 0)]);
        assert!(producers.take(Captured::Touched).is_empty());
    }

    #[test]
    fn long_names_are_forgotten_sooner() {
        let mut producers = Producers::default();
        let name = |number: usize| format!("{number:0>256}");
        let fitting = NAMES_BYTES_MAX / 256;
        (0..fitting).for_each(|number| producers.remember(batch(&name(number), 0)));
        let is_known =
            |producers: &Producers, number| producers.find(&BatchKey { name: name(number), digest: 0 }).is_some();
        assert!(is_known(&producers, 0));
        // The same once more is not one more.
        producers.remember(batch(&name(1), 0));
        assert!(is_known(&producers, 0));
        producers.remember(batch("x", 0));
        assert!(!is_known(&producers, 0) && is_known(&producers, 1));
        assert_eq!(producers.take(Captured::Whole).len(), fitting);
    }
}
