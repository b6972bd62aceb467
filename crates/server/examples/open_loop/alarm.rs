//! Wakes the loop just before a request is due: epoll alone waits in whole milliseconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::Waker;

/// A sleep ends about 50 µs late (the kernel's timer slack), and waking the other thread takes its time too: the alarm
/// aims this much too early, and the rest of the wait is spun.
pub(crate) const SPIN_NS: u64 = 100_000;
/// Below this interval the next request is always nearly due, and an alarm would cost more than it saves.
const ALARM_INTERVAL_MIN_NS: f64 = 150_000.0;

/// Wakes the generator `SPIN_NS` before each request is due.
pub(crate) struct Alarm {
    interval_ns: Option<f64>,
    is_over: AtomicBool,
}

impl Alarm {
    /// Without an interval it never rings.
    pub(crate) fn new(interval_ns: Option<f64>) -> Alarm {
        Alarm { interval_ns, is_over: AtomicBool::new(false) }
    }

    pub(crate) fn silence(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_needed(&self) -> bool {
        self.interval_ns.is_some_and(|interval_ns| interval_ns >= ALARM_INTERVAL_MIN_NS)
    }

    /// Rings until it is silenced.
    pub(crate) fn ring(&self, start: Instant, waker: &Waker) {
        let Some(interval_ns) = self.interval_ns.filter(|_| self.is_needed()) else { return };
        let now_ns = || start.elapsed().as_nanos() as u64;
        while !self.is_over.load(Ordering::Relaxed) {
            // Read before waking: what is nearly due now the woken one sees, and what is not gets a ring of its own.
            let rung_ns = now_ns();
            waker.wake().expect("the poll outlives the scope of this thread");
            let due_ns = (((rung_ns + SPIN_NS) as f64 / interval_ns).floor() + 1.0) * interval_ns;
            std::thread::sleep(Duration::from_nanos((due_ns as u64 - SPIN_NS).saturating_sub(now_ns())));
        }
    }
}
