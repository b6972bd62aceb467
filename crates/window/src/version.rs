//! Versions of live state: which batches a read sees.

/// Counts the batches taken in: a read at version v sees the events of batches 1 to v, at version 0 none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

/// Where a read of live state stands: what it knows, and the instant that it asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPoint {
    /// Events of later batches are not seen.
    pub version: Version,
    /// The as-of instant in microseconds.
    pub t_us: i64,
}
