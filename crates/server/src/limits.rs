//! What clients may ask for at once. Beyond a limit the newest is refused, by name.

use std::time::Duration;

use crate::error::ServeError;

/// A request's line and headers together; beyond it the request is refused.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;
/// What hyper buffers of a connection: a whole head, so that one that is too long is told so in our own words.
pub(crate) const BUFFER_BYTES_MAX: usize = 64 << 10;
/// The bodies of all requests together may take this many times the greatest body, and so may their answers.
const BODIES_MAX: usize = 32;
/// The most that [`Limits::body_bytes_max`] can be: one row's text columns share a body, and a text column of a batch has
/// 32-bit offsets.
pub const BODY_BYTES_CEILING: usize = 1 << 30;

/// The limits of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The greatest body of a request; at most 1 GiB.
    pub body_bytes_max: usize,
    /// Rows in one request.
    pub rows_max: usize,
    /// Requests being answered at one moment; beyond it they are told to come again.
    pub requests_max: usize,
    /// Connections at one moment; beyond it they are turned away.
    pub connections_max: usize,
    /// How long a request's head and body together may take to arrive, and an answer to be taken.
    pub request_timeout: Duration,
    /// How long a connection may stand without a request.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes_max: 8 << 20,
            rows_max: 10_000,
            requests_max: 1_024,
            connections_max: 16_384,
            request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
        }
    }
}

impl Limits {
    /// What all bodies in memory may take together, and all answers: 256 MiB each for bodies of 8 MiB.
    pub(crate) fn shared_bytes_max(&self) -> usize {
        self.body_bytes_max.saturating_mul(BODIES_MAX)
    }

    pub(crate) fn check(&self) -> Result<(), ServeError> {
        if self.body_bytes_max > BODY_BYTES_CEILING {
            return Err(ServeError::BodyLimit { found: self.body_bytes_max, ceiling: BODY_BYTES_CEILING });
        }
        Ok(())
    }
}
