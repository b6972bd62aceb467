//! Which version readers see, and which ones are still being read.
//!
//! ```text
//!   writer:  take in batch 8 everywhere ─▶ publish(8)
//!   reader:  pin() → 7 … reads of all views at 7 … unpin        oldest() = 7: nothing that 7 needs may be settled
//! ```
//! One short lock guards both; it is held for a few dozen nanoseconds, never while a batch is taken in or a value read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use asof_window::{Accounting, Version};

/// What a version knows of the streams.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The version.
    pub version: Version,
    /// Events judged up to here, of all streams, and versions of all tables.
    pub rows: u64,
    /// The newest event time over all streams, or over all tables where there is no stream, in microseconds.
    pub newest_us: Option<i64>,
    /// In the order of the project's streams, and behind them its tables.
    pub streams: Vec<StreamPosition>,
}

impl Published {
    /// How many rows came in or were evaluated again up to here.
    pub(crate) fn changes(&self) -> u64 {
        self.rows + self.streams.iter().map(|stream| stream.rejoined_rows).sum::<u64>()
    }

    /// The earliest instant that reads of a view over these streams may stand at, the horizon before the least of their
    /// watermarks, and the stream whose that is. `None` while one of them has no watermark.
    pub(crate) fn earliest_of(&self, streams: &[usize], as_of_horizon_us: i64) -> Option<(i64, usize)> {
        let earliest = |stream: &usize| {
            self.streams[*stream]
                .watermark_us
                .map(|watermark_us| (watermark_us.saturating_sub(as_of_horizon_us), *stream))
        };
        let earliest: Option<Vec<(i64, usize)>> = streams.iter().map(earliest).collect();
        earliest?.into_iter().min()
    }

    /// The event time in microseconds before which no event of these streams comes any more; `None` while one of any age may.
    pub(crate) fn coming_from(&self, streams: &[usize]) -> Option<i64> {
        let coming: Option<Vec<i64>> = streams.iter().map(|stream| self.streams[*stream].coming_from_us).collect();
        coming?.into_iter().min()
    }
}

/// How far a stream has come at a version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamPosition {
    /// For each partition, the next visible offset. Of a file taken in event-time order: how many of its rows, in that
    /// order, are visible.
    pub next_offsets: Vec<u64>,
    /// The watermark in microseconds, before the first used event `None`.
    pub watermark_us: Option<i64>,
    /// The event time in microseconds before which its next events are late, whatever the clock says; before the first used
    /// event `None`, and while some are held back that cannot be late.
    pub coming_from_us: Option<i64>,
    /// The newest used event time in microseconds.
    pub newest_us: Option<i64>,
    /// How long the last used event had been on its way, in milliseconds; `None` where the source tells no arrival time.
    pub arrival_lag_ms: Option<i64>,
    /// What became of all arrivals.
    pub accounting: Accounting,
    /// How many rows each derived stream got of its events, by name. A position is copied with every version, names are not.
    pub derived_rows: Vec<(Arc<str>, u64)>,
    /// How many of its events were evaluated again since the start, because a version of a table came after them.
    pub rejoined_rows: u64,
}

/// The version that readers see, and the ones being read.
#[derive(Debug)]
pub(crate) struct Visibility {
    state: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    published: Arc<Published>,
    /// Readers by the version they stand at, and what that was.
    pinned: BTreeMap<Version, (usize, Arc<Published>)>,
}

impl Visibility {
    pub(crate) fn new(first: Published) -> Visibility {
        Visibility { state: Mutex::new(Seen { published: Arc::new(first), pinned: BTreeMap::new() }) }
    }

    /// The version that reads begin at.
    pub(crate) fn published(&self) -> Arc<Published> {
        self.lock().published.clone()
    }

    /// Lets reads begin at a later version, or at the same one with a later watermark.
    pub(crate) fn publish(&self, next: Published) {
        let mut seen = self.lock();
        debug_assert!(next.version >= seen.published.version, "versions never go back");
        seen.published = Arc::new(next);
    }

    /// Begins a read; the version stays readable until [`Visibility::unpin`].
    pub(crate) fn pin(&self) -> Arc<Published> {
        let mut seen = self.lock();
        let published = seen.published.clone();
        seen.pinned.entry(published.version).or_insert_with(|| (0, published.clone())).0 += 1;
        published
    }

    /// Ends a read that [`Visibility::pin`] began at `version`.
    pub(crate) fn unpin(&self, version: Version) {
        let mut seen = self.lock();
        if let Some((readers, _)) = seen.pinned.get_mut(&version) {
            *readers -= 1;
            if *readers == 0 {
                seen.pinned.remove(&version);
            }
        }
    }

    /// The oldest version that a read stands at or may begin at.
    pub(crate) fn oldest(&self) -> Arc<Published> {
        let seen = self.lock();
        seen.pinned.first_key_value().map_or_else(|| seen.published.clone(), |(_, (_, published))| published.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(version: u64) -> Published {
        Published { version: Version(version), rows: 0, newest_us: None, streams: Vec::new() }
    }

    #[test]
    fn what_is_pinned_stays_the_oldest() {
        let visibility = Visibility::new(at(0));
        visibility.publish(at(1));
        let one = visibility.pin().version;
        let also_one = visibility.pin().version;
        visibility.publish(at(2));
        let two = visibility.pin().version;
        assert_eq!((one, also_one, two), (Version(1), Version(1), Version(2)));
        assert_eq!(visibility.oldest().version, Version(1));
        visibility.unpin(one);
        assert_eq!(visibility.oldest().version, Version(1));
        visibility.unpin(also_one);
        visibility.publish(at(3));
        assert_eq!(visibility.oldest().version, Version(2));
        visibility.unpin(two);
        assert_eq!(visibility.oldest().version, Version(3));
        assert_eq!(visibility.published().version, Version(3));
    }
}
