//! Syncs of logs beside their writer: of events that are seen, and that nobody waits for.
//!
//! ```text
//!   writer     append ─▶ visible ─▶ append ─▶ visible ─▶ append …
//!   this       what is written ─▶ sync (no lock) ─▶ durable up to there
//! ```
//! For whom: `ack = 'os'`, and streams of topics, which have their events. About once a second (`UNSYNCED_MAX_US`), and when a sink
//! has rows to commit.

use crate::engine::{Engine, lock};
use crate::stream_log::StreamLog;
use crate::submission::IngestError;
use crate::writer::Writer;

impl Engine {
    /// Makes those logs durable whose oldest event has waited for its time.
    pub(crate) fn sync_overdue(&self) {
        let now_us = self.wall_us();
        for source in 0..self.sources().len() {
            self.sync_beside(source, |log| log.is_overdue(now_us));
        }
    }

    /// Makes durable what the log of a source has now, if that `is_wanted`, while others write to it.
    pub(crate) fn sync_beside(&self, source: usize, is_wanted: impl Fn(&StreamLog) -> bool) {
        let began_us = self.wall_us();
        let unsynced = {
            let mut writer = lock(self.writer());
            let Some(log) =
                writer.logs[source].as_mut().filter(|log| log.is_dirty() && !log.is_broken() && is_wanted(log))
            else {
                return;
            };
            match log.unsynced() {
                Some(unsynced) => unsynced,
                // A segment has ended, and all of it is durable: it has only to be noted.
                None => {
                    let synced = log.sync();
                    return note(&mut writer, synced);
                }
            }
        };
        let synced = unsynced.sync();
        self.ingest_measures().log_sync.add(self.wall_us() - began_us, 1);
        let mut writer = lock(self.writer());
        let Some(log) = &mut writer.logs[source] else { return };
        let noted = log.note_synced(&unsynced, synced, began_us);
        note(&mut writer, noted);
    }
}

fn note(writer: &mut Writer, synced: Result<(), IngestError>) {
    if let Err(error) = synced {
        tracing::warn!(%error, "events that are seen may not be on disk");
        writer.break_connected();
    }
}
