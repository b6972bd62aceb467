//! Every open connection and how long it may stay where it is. One ticking task looks at all of them and cuts off those
//! that are over their time, so that a request costs no timer of its own.
//!
//! ```text
//!            first byte          body complete         answer made          answer taken
//!   Idle ───────────────▶ Arriving ──────────▶ Answering ─────────▶ Sending ────────────▶ Idle
//!   idle_timeout          request_timeout      (our own work)       request_timeout
//! ```
//! A connection that closes with part of a request unread stays a moment in `Closing`, so that the client can take the
//! answer before it learns of the end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::limits::Limits;
use crate::traffic::Traffic;

/// A timeout is kept to an eighth of itself, or better.
const TICKS_PER_TIMEOUT: u32 = 8;
const TICK_MIN: Duration = Duration::from_millis(5);
const TICK_MAX: Duration = Duration::from_millis(500);
/// How long a closing connection is listened to.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(2);
/// Bits of a connection's word that hold its phase; the rest is the tick at which it began.
const PHASE_BITS: u32 = 3;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Idle,
    Arriving,
    Answering,
    Sending,
    Closing,
}

impl Phase {
    const ALL: [Phase; 5] = [Phase::Idle, Phase::Arriving, Phase::Answering, Phase::Sending, Phase::Closing];
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The phase and since when, written together.
    word: AtomicU64,
    ticks: Arc<AtomicU64>,
    /// Whether part of a request stays unread.
    lingers: AtomicBool,
    task: OnceLock<AbortHandle>,
}

impl Connection {
    /// Begins a phase.
    pub(crate) fn enter(&self, phase: Phase) {
        let since = self.ticks.load(Ordering::Relaxed);
        self.word.store(since << PHASE_BITS | phase as u64, Ordering::Relaxed);
    }

    /// Begins `next` if the connection stands in `phase`. Only the connection's own task changes phases.
    pub(crate) fn leave(&self, phase: Phase, next: Phase) {
        if self.phase().0 == phase {
            self.enter(next);
        }
    }

    /// Says whether part of the request is unread.
    pub(crate) fn linger(&self, is_unread: bool) {
        self.lingers.store(is_unread, Ordering::Relaxed);
    }

    pub(crate) fn lingers(&self) -> bool {
        self.lingers.load(Ordering::Relaxed)
    }

    /// The task that serves it.
    pub(crate) fn served_by(&self, task: AbortHandle) {
        self.task.set(task).expect("a connection is served by one task");
    }

    /// The phase and the tick at which it began.
    fn phase(&self) -> (Phase, u64) {
        let word = self.word.load(Ordering::Relaxed);
        (Phase::ALL[(word & ((1 << PHASE_BITS) - 1)) as usize], word >> PHASE_BITS)
    }
}

/// How many ticks a phase may last.
#[derive(Debug, Clone, Copy)]
struct Allowed {
    idle: u64,
    request: u64,
    closing: u64,
}

impl Allowed {
    fn ticks(self, phase: Phase) -> Option<u64> {
        match phase {
            Phase::Idle => Some(self.idle),
            Phase::Arriving | Phase::Sending => Some(self.request),
            Phase::Answering => None,
            Phase::Closing => Some(self.closing),
        }
    }
}

/// All open connections.
#[derive(Debug)]
pub(crate) struct Connections {
    ticks: Arc<AtomicU64>,
    tick: Duration,
    allowed: Allowed,
    connections_max: usize,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next_id: AtomicU64,
    cut_off: AtomicU64,
    turned_away: AtomicU64,
    traffic: Arc<Traffic>,
}

/// An open connection's entry, taken out when it goes.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) connection: Arc<Connection>,
    id: u64,
    connections: Arc<Connections>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.connections.open().remove(&self.id);
        self.connections.traffic.closed();
    }
}

impl Connections {
    pub(crate) fn new(limits: &Limits, traffic: Arc<Traffic>) -> Connections {
        let shortest = limits.request_timeout.min(limits.idle_timeout);
        let tick = (shortest / TICKS_PER_TIMEOUT).clamp(TICK_MIN, TICK_MAX);
        // A phase begins somewhere within a tick: one more, so that nobody is cut off early.
        let ticks = |timeout: Duration| timeout.as_nanos().div_ceil(tick.as_nanos()) as u64 + 1;
        let allowed = Allowed {
            idle: ticks(limits.idle_timeout),
            request: ticks(limits.request_timeout),
            closing: ticks(CLOSING_TIMEOUT.min(limits.request_timeout)),
        };
        Connections {
            ticks: Arc::default(),
            tick,
            allowed,
            connections_max: limits.connections_max,
            open: Mutex::default(),
            next_id: AtomicU64::new(0),
            cut_off: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            traffic,
        }
    }

    /// An entry for a new connection; `None` if there are too many.
    pub(crate) fn enter(self: &Arc<Connections>) -> Option<Entry> {
        let mut open = self.open();
        if open.len() >= self.connections_max {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let connection = Arc::new(Connection {
            word: AtomicU64::new(0),
            ticks: self.ticks.clone(),
            lingers: AtomicBool::new(false),
            task: OnceLock::new(),
        });
        connection.enter(Phase::Idle);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        open.insert(id, connection.clone());
        self.traffic.opened();
        Some(Entry { connection, id, connections: self.clone() })
    }

    /// How long a tick is.
    pub(crate) fn tick_length(&self) -> Duration {
        self.tick
    }

    /// Time goes on by a tick: connections over their time are cut off.
    pub(crate) fn tick(&self) {
        let now = self.ticks.fetch_add(1, Ordering::Relaxed) + 1;
        let is_over = |connection: &Connection| {
            let (phase, since) = connection.phase();
            self.allowed.ticks(phase).is_some_and(|allowed| now.saturating_sub(since) > allowed)
        };
        let over: Vec<Arc<Connection>> =
            self.open().values().filter(|connection| is_over(connection)).cloned().collect();
        for connection in over {
            // Not yet set for a connection of this very moment: the next tick finds it.
            if let Some(task) = connection.task.get() {
                task.abort();
                self.cut_off.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(phase = ?connection.phase().0, "cut off a connection that is over its time");
            }
        }
    }

    /// Connections cut off because they were over their time.
    pub(crate) fn cut_off(&self) -> u64 {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Connections turned away because there were too many.
    pub(crate) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_and_their_beginnings_are_kept_together() {
        let limits = Limits { connections_max: 1, ..Limits::default() };
        let traffic = Arc::new(Traffic::default());
        let connections = Arc::new(Connections::new(&limits, traffic.clone()));
        let entry = connections.enter().unwrap();
        assert_eq!(entry.connection.phase(), (Phase::Idle, 0));
        connections.tick();
        for phase in Phase::ALL {
            entry.connection.enter(phase);
            assert_eq!(entry.connection.phase(), (phase, 1));
        }
        entry.connection.leave(Phase::Sending, Phase::Idle);
        assert_eq!(entry.connection.phase(), (Phase::Closing, 1));
        assert!(connections.enter().is_none());
        assert_eq!((traffic.connections(), connections.turned_away()), (1, 1));
        drop(entry);
        assert!(connections.enter().is_some());
        assert_eq!(traffic.connections(), 0);
    }
}
