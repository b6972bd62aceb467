//! What a running job looks like at a moment, and the line that says so.

use std::time::Instant;

use asof_pipeline::{Engine, Phase};
use asof_server::Traffic;

use crate::accounts::grouped;
use crate::instant;

/// A moment of a running job.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) phase: Phase,
    /// Of all files.
    pub(crate) bytes: u64,
    pub(crate) bytes_read: u64,
    /// Taken in so far, whatever became of them.
    pub(crate) events: u64,
    /// The newest event time, in microseconds.
    pub(crate) newest_us: Option<i64>,
    /// Calls for features that were answered so far.
    pub(crate) reads: u64,
    /// Rows in those answers.
    pub(crate) rows: u64,
    pub(crate) resident_bytes: Option<u64>,
    /// Messages of topics that are not taken in yet.
    pub(crate) behind: u64,
}

impl Sample {
    /// The present moment.
    pub(crate) fn take(engine: &Engine, traffic: &Traffic, at: Instant) -> Sample {
        let published = engine.published();
        let replays: Vec<_> =
            (0..engine.sources().len()).map(|source| engine.stream_statistics(source).replay).collect();
        let feeds = (0..engine.sources().len()).filter_map(|source| engine.feed_statistics(source));
        // Rows that are made did not arrive.
        let events = engine.sources().iter().zip(&published.streams).filter(|(stream, _)| !stream.makes_rows());
        Sample {
            at,
            phase: engine.phase(),
            bytes: replays.iter().map(|replay| replay.bytes).sum(),
            bytes_read: replays.iter().map(|replay| replay.bytes_read).sum(),
            events: events.map(|(_, position)| position.accounting.total()).sum(),
            newest_us: published.newest_us,
            reads: traffic.reads(),
            rows: traffic.rows(),
            resident_bytes: asof_server::resident_bytes(),
            behind: feeds.filter_map(|feed| feed.lag()).sum(),
        }
    }

    /// Whether something happened since an earlier moment.
    pub(crate) fn differs(&self, earlier: &Sample) -> bool {
        (self.phase, self.bytes_read, self.events, self.reads)
            != (earlier.phase, earlier.bytes_read, earlier.events, earlier.reads)
    }
}

/// The status line: the present moment, with what happens in a second as measured since an earlier one.
pub(crate) fn line(now: &Sample, earlier: &Sample) -> String {
    let seconds = now.at.saturating_duration_since(earlier.at).as_secs_f64();
    let rate = |now: u64, earlier: u64| {
        let more = now.saturating_sub(earlier) as f64;
        grouped(if seconds > 0.0 { (more / seconds).round() as u64 } else { 0 })
    };
    let mut parts = vec![phase(now)];
    if now.phase != Phase::Reading {
        parts.push(format!("{} events", grouped(now.events)));
    }
    if matches!(now.phase, Phase::Replaying | Phase::Live) {
        parts.push(format!("{}/s", rate(now.events, earlier.events)));
    }
    if now.behind > 0 {
        parts.push(format!("{} behind", grouped(now.behind)));
    }
    parts.extend(now.newest_us.map(|us| format!("newest {}", instant::to_the_second(us))));
    if now.reads > 0 {
        let (reads, rows) = (rate(now.reads, earlier.reads), rate(now.rows, earlier.rows));
        parts.push(format!("{reads} reads/s"));
        // The line of reads of one row each fits into eighty columns.
        if rows != reads {
            parts.push(format!("{rows} rows/s"));
        }
    }
    parts.extend(now.resident_bytes.map(|bytes| format!("{} MiB", grouped(bytes >> 20))));
    parts.join("  ")
}

/// `reading 45 %` of the files' bytes, `replaying`, `serving`.
fn phase(now: &Sample) -> String {
    match now.phase {
        Phase::Reading if now.bytes > 0 => {
            format!("reading {} %", (now.bytes_read as f64 / now.bytes as f64 * 100.0).floor().min(100.0))
        }
        Phase::Done | Phase::Live => "serving".to_owned(),
        phase => phase.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sample(phase: Phase) -> Sample {
        Sample {
            at: moment(),
            phase,
            bytes: 1_000,
            bytes_read: 459,
            events: 0,
            newest_us: None,
            reads: 0,
            rows: 0,
            resident_bytes: None,
            behind: 0,
        }
    }

    #[allow(clippy::disallowed_methods, reason = "only differences to it count")]
    fn moment() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_line_tells_of_its_phase() {
        let reading = sample(Phase::Reading);
        assert_eq!(line(&reading, &reading), "reading 45 %");
        let later = Sample {
            at: reading.at + Duration::from_millis(500),
            phase: Phase::Replaying,
            events: 1_234_000,
            newest_us: Some(1_500_000),
            reads: 10,
            rows: 1_000,
            resident_bytes: Some(123 << 20),
            ..reading.clone()
        };
        let expected =
            "replaying  1,234,000 events  2,468,000/s  newest 1970-01-01T00:00:01Z  20 reads/s  2,000 rows/s  123 MiB";
        assert_eq!(line(&later, &reading), expected);
        let done = Sample {
            phase: Phase::Done,
            at: later.at + Duration::from_secs(1),
            reads: later.reads + 7,
            rows: later.rows + 7,
            ..later.clone()
        };
        let expected = "serving  1,234,000 events  newest 1970-01-01T00:00:01Z  7 reads/s  123 MiB";
        assert_eq!(line(&done, &later), expected);
    }
}
