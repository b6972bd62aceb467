//! Memory that all requests share: bodies on their way in have a room, answers on their way out another. What is small
//! takes no part of it, so that nobody's large requests turn away small ones: the number of connections bounds those.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::problem::{Kind, Problem};

/// Up to here a body or an answer is small: at 16,384 connections, 256 MiB.
pub(crate) const SMALL_BYTES_MAX: usize = 16 << 10;

/// How much there is, and may be.
#[derive(Debug)]
pub(crate) struct Room {
    /// Of what, in words.
    what: &'static str,
    bytes_max: usize,
    held_bytes: AtomicUsize,
}

/// A share of a room, given back when it goes.
#[derive(Debug)]
pub(crate) struct Share {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    pub(crate) fn new(what: &'static str, bytes_max: usize) -> Arc<Room> {
        Arc::new(Room { what, bytes_max, held_bytes: AtomicUsize::new(0) })
    }

    /// A share of nothing yet.
    pub(crate) fn share(self: &Arc<Room>) -> Share {
        Share { room: self.clone(), bytes: 0 }
    }
}

impl Share {
    /// Makes the share that of something with `bytes`, which never get fewer. What is small takes none.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        if bytes <= SMALL_BYTES_MAX || bytes <= self.bytes {
            return Ok(());
        }
        let more = bytes - self.bytes;
        self.bytes = bytes;
        let before = self.room.held_bytes.fetch_add(more, Ordering::Relaxed);
        // One that is larger than the room has it for itself: it will never find more.
        if before > 0 && before + more > self.room.bytes_max {
            let problem = Problem::new(Kind::TooMany, format!("{} take too much memory", self.room.what));
            return Err(problem.hint("come again in a second, or send smaller requests"));
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_room_takes_what_is_small() {
        let room = Room::new("things", 100_000);
        let (mut one, mut two, mut small) = (room.share(), room.share(), room.share());
        assert!(one.hold(50_000).is_ok());
        assert!(one.hold(70_000).is_ok());
        assert!(two.hold(SMALL_BYTES_MAX).is_ok());
        assert!(two.hold(40_000).is_err());
        assert!(small.hold(SMALL_BYTES_MAX).is_ok());
        drop((one, two));
        assert!(room.share().hold(100_000).is_ok());
        assert!(room.share().hold(100_001).is_ok(), "alone");
        assert_eq!(room.held_bytes.load(Ordering::Relaxed), 0);
    }
}
