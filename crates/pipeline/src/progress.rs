//! How far the running job is, told without a lock to whoever shows it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

/// What the job does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// State is brought back from the newest checkpoint and the log.
    Recovering,
    /// Files are opened and brought into the order of event time.
    Reading,
    /// Events are taken in.
    Replaying,
    /// All files are taken in, up to their end or to `--until`; reads go on.
    Done,
    /// The same, and events are taken in as they come.
    Live,
}

impl Phase {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Recovering => "recovering",
            Phase::Reading => "reading",
            Phase::Replaying => "replaying",
            Phase::Done => "done",
            Phase::Live => "live",
        }
    }
}

/// How far the replay of one stream's file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayProgress {
    /// The file's bytes.
    pub bytes: u64,
    /// How many of them were read.
    pub bytes_read: u64,
    /// Rows taken in.
    pub rows_taken: u64,
    /// When the replay began, in wall-clock microseconds; `None` before.
    pub started_us: Option<i64>,
    /// Whether the rate is `max`, so that readiness waits for the end.
    pub is_unpaced: bool,
}

/// Written by the job, read by anybody.
#[derive(Debug)]
pub(crate) struct Progress {
    phase: AtomicU8,
    /// How long it took to bring state back; 0 before.
    recovery_us: AtomicI64,
    /// When it was back, by the wall clock; 0 before.
    recovered_at_us: AtomicI64,
    streams: Vec<StreamProgress>,
}

/// The counters of one stream.
#[derive(Debug)]
pub(crate) struct StreamProgress {
    pub(crate) bytes: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) rows_taken: AtomicU64,
    /// `i64::MIN` before it began.
    pub(crate) started_us: AtomicI64,
    /// Whether the file has no more rows.
    pub(crate) has_ended: AtomicBool,
    /// Rows that had to be taken in when the end of a followed file was first reached; `u64::MAX` before.
    pub(crate) rows_at_end: AtomicU64,
    pub(crate) is_unpaced: bool,
}

impl StreamProgress {
    /// The end of a followed file was reached, with so many rows cut.
    pub(crate) fn reached_end(&self, rows: u64) {
        self.rows_at_end.fetch_min(rows, Ordering::Relaxed);
    }

    /// Whether all rows that a followed file had when its end was first reached are taken in.
    fn has_caught_up(&self) -> bool {
        self.rows_taken.load(Ordering::Relaxed) >= self.rows_at_end.load(Ordering::Relaxed)
    }
}

impl Progress {
    /// For each stream, whether it is unpaced.
    pub(crate) fn new(unpaced: impl Iterator<Item = bool>) -> Progress {
        let stream = |is_unpaced| StreamProgress {
            bytes: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            rows_taken: AtomicU64::new(0),
            started_us: AtomicI64::new(i64::MIN),
            has_ended: AtomicBool::new(false),
            rows_at_end: AtomicU64::new(u64::MAX),
            is_unpaced,
        };
        Progress {
            phase: AtomicU8::new(Phase::Reading as u8),
            recovery_us: AtomicI64::new(0),
            recovered_at_us: AtomicI64::new(0),
            streams: unpaced.map(stream).collect(),
        }
    }

    pub(crate) fn stream(&self, stream: usize) -> &StreamProgress {
        &self.streams[stream]
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    pub(crate) fn recovered(&self, took_us: i64, at_us: i64) {
        self.recovered_at_us.store(at_us, Ordering::Relaxed);
        self.recovery_us.store(took_us.max(1), Ordering::Relaxed);
    }

    pub(crate) fn recovered_at_us(&self) -> Option<i64> {
        Some(self.recovered_at_us.load(Ordering::Relaxed)).filter(|at_us| *at_us != 0)
    }

    pub(crate) fn recovery_us(&self) -> i64 {
        self.recovery_us.load(Ordering::Relaxed)
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Recovering,
            1 => Phase::Reading,
            2 => Phase::Replaying,
            3 => Phase::Done,
            _ => Phase::Live,
        }
    }

    /// Whether no more rows come of a stream's file.
    pub(crate) fn has_ended(&self, stream: usize) -> bool {
        matches!(self.phase(), Phase::Done | Phase::Live) || self.streams[stream].has_ended.load(Ordering::Relaxed)
    }

    pub(crate) fn replay(&self, stream: usize) -> ReplayProgress {
        let counters = &self.streams[stream];
        let started_us = counters.started_us.load(Ordering::Relaxed);
        ReplayProgress {
            bytes: counters.bytes.load(Ordering::Relaxed),
            bytes_read: counters.bytes_read.load(Ordering::Relaxed),
            rows_taken: counters.rows_taken.load(Ordering::Relaxed),
            started_us: (started_us != i64::MIN).then_some(started_us),
            is_unpaced: counters.is_unpaced,
        }
    }

    /// Whether reads see what they should: all unpaced files are taken in, and paced ones have begun. In a project of both,
    /// that may last: streams are merged by event time, so that all go by the slowest.
    pub(crate) fn is_ready(&self) -> bool {
        match self.phase() {
            Phase::Recovering | Phase::Reading => false,
            Phase::Replaying => self.streams.iter().all(|stream| !stream.is_unpaced || stream.has_caught_up()),
            Phase::Done | Phase::Live => true,
        }
    }
}
