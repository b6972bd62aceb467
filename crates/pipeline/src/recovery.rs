//! The way back after an end, orderly or not: the newest whole checkpoint, then the log from where it ends.
//!
//! ```text
//!   checkpoint   views as of offset 7,000, judge, named batches
//!   log          …… 6,999 │ 7,000 7,001 …… 9,999       frames from 7,000 on are recalled: judged once, never again
//! ```
//! A view whose definition changed has no use for the images of the old one: it takes in the whole log. A stream whose key
//! changed has no use for the keys of the old one: it takes those of all events that the log has.

use asof_connect::{StoredBatch, StoredFrame, StoredStream, StoredVerdict};
use asof_definition::Connector;
use asof_feature::{Judgement, Recalled, Settled};
use asof_state::Manifest;
use asof_window::{Accounting, Version};

use crate::engine::{Engine, lock};
use crate::error::PipelineError;
use crate::stop::Stop;
use crate::stream_log::StreamLog;
use crate::unit::verdict_of;
use crate::writer::Writer;

/// After so many rows recalled, as many entities are swept: what time has emptied goes as fast as it comes.
const SWEEP_ROWS: usize = 65_536;

/// Where the recall of a stream begins.
struct RecallFrom {
    /// For the judge, the counts and the named batches.
    judge: u64,
    /// For the keys that the judge remembers; at most `judge`.
    keys: u64,
    /// For each view of the stream.
    views: Vec<u64>,
}

impl RecallFrom {
    /// What a stream learns from the frame at this offset.
    fn judgement(&self, first_offset: u64) -> Judgement {
        match first_offset {
            offset if offset >= self.judge => Judgement::Recalled,
            offset if offset >= self.keys => Judgement::KnownButKeys,
            _ => Judgement::Known,
        }
    }
}

impl Engine {
    /// Whether some stream is stored.
    pub(crate) fn has_logs(&self) -> bool {
        self.project().streams.iter().any(|stream| matches!(stream.connector, Connector::Log(_)))
    }

    /// Whether some stream reads a file.
    pub(crate) fn has_files(&self) -> bool {
        self.project().streams.iter().any(|stream| matches!(stream.connector, Connector::File(_)))
    }

    /// Opens the logs and brings back what they know. Ends early when a stop is asked for. [`LogError::Locked`]: nothing was
    /// brought back yet, and it may be asked for again.
    ///
    /// [`LogError::Locked`]: asof_log::LogError::Locked
    pub(crate) fn recover(&self, stop: &Stop) -> Result<Option<Manifest>, PipelineError> {
        let began_us = self.wall_us();
        let mut writer = lock(self.writer());
        self.open_logs(&mut writer)?;
        let restored = self.restore_checkpoint(&mut writer)?;
        self.tell_of_no_key_secret();
        self.open_keys(&mut writer, restored.manifest.as_ref())?;
        for stream in 0..self.project().streams.len() {
            if writer.logs[stream].is_some() {
                // A view that was changed takes in what there still is: retention has let go only what no frame reaches.
                let oldest = writer.logs[stream].as_ref().map_or(0, |log| log.log().first_offset());
                let from = RecallFrom {
                    judge: restored.streams[stream],
                    keys: restored.keys[stream].max(oldest).min(restored.streams[stream]),
                    views: self
                        .views_of(stream)
                        .into_iter()
                        .map(|view| if restored.views[view] { restored.streams[stream].max(oldest) } else { oldest })
                        .collect(),
                };
                self.recall_stream(&mut writer, stream, &from, stop)?;
            }
        }
        self.visibility().publish(writer.published());
        self.sweep(&writer, usize::MAX);
        // A partition counts as idle when nothing came since the start for as long as its stream says.
        writer.last_arrivals_us = vec![Some(self.wall_us()); self.project().streams.len()];
        drop(writer);
        let now_us = self.wall_us();
        self.progress().recovered(now_us - began_us, now_us);
        if let Some(full) = self.state_full() {
            tracing::warn!(%full, "events are refused until time has emptied windows; hint: raise `memory` in [state]");
        }
        if let Some(manifest) = &restored.manifest {
            self.checkpoint_measures().begin_from(manifest);
        }
        Ok(restored.manifest)
    }

    /// Opens the logs that are not open yet.
    fn open_logs(&self, writer: &mut Writer) -> Result<(), PipelineError> {
        let Some(storage) = self.storage() else { return Ok(()) };
        for (place, stream) in self.project().streams.iter().enumerate() {
            let (Connector::Log(_), None) = (&stream.connector, &writer.logs[place]) else { continue };
            let (disk, settings) = (storage.disk().clone(), storage.log_settings());
            let set_aside_max = writer.streams[place].set_aside_max();
            let (log, torn) = StreamLog::open(disk, storage.folder(), stream, set_aside_max, settings)?;
            if let Some(torn) = torn {
                tracing::warn!(
                    stream = stream.name,
                    path = %torn.path.display(),
                    offset = torn.offset,
                    bytes = torn.bytes,
                    "the log's last write was cut off when its writer ended; what was not acknowledged is gone"
                );
            }
            writer.logs[place] = Some(log);
        }
        Ok(())
    }

    fn recall_stream(
        &self,
        writer: &mut Writer,
        stream: usize,
        from: &RecallFrom,
        stop: &Stop,
    ) -> Result<(), PipelineError> {
        let storage = self.storage().expect("a log is open only where there is a data folder");
        let first = from.views.iter().copied().fold(from.keys, u64::min);
        let definition = &self.project().streams[stream];
        let mut stored = StoredStream::open(storage.disk().clone(), storage.folder(), definition, 0, first)?;
        // What a writer that was taken over appends behind the end is nobody's: it was never acknowledged.
        let end_offset = writer.logs[stream].as_ref().map_or(0, |log| log.log().next_offset());
        let mut rows = 0;
        while let Some(frame) = stored.next_frame()?.filter(|frame| frame.first_offset < end_offset) {
            if stop.is_asked() {
                return Ok(());
            }
            rows += frame.batch.verdicts.len();
            self.recall(writer, stream, from, frame)?;
            if rows >= SWEEP_ROWS {
                rows = 0;
                writer.note_position(stream);
                self.visibility().publish(writer.published());
                self.sweep(writer, SWEEP_ROWS);
            }
        }
        writer.note_position(stream);
        Ok(())
    }

    fn recall(
        &self,
        writer: &mut Writer,
        stream: usize,
        from: &RecallFrom,
        frame: StoredFrame,
    ) -> Result<(), PipelineError> {
        let StoredFrame { first_offset, arrived_us, batch: stored } = frame;
        let mut counts = Accounting::default();
        let verdicts = stored.verdicts.iter().map(|verdict| verdict_of(*verdict));
        verdicts.for_each(|verdict| counts.count(verdict));
        let is_new = first_offset >= from.judge;
        let views: Vec<bool> = from.views.iter().map(|from| first_offset >= *from).collect();
        let offsets = used_offsets(&stored, first_offset);
        let primary_keys = writer.streams[stream].plan().primary_keys(&stored.used)?;
        let recalled = Recalled {
            partition: 0,
            used: &stored.used,
            offsets: &offsets,
            primary_keys: primary_keys.as_ref(),
            counts,
            views: &views,
            judgement: from.judgement(first_offset),
        };
        let oldest = self.visibility().oldest();
        let settled = self.settled(&oldest, stream).into_iter();
        let settled: Vec<Settled> = settled.map(|one| Settled { version: Version(0), ..one }).collect();
        writer.streams[stream].recall(recalled, &settled)?;
        writer.spill_recalled(stream)?;
        writer.arrived_us = writer.arrived_us.max(arrived_us);
        if is_new {
            lock(self.told()).recall(stream, &self.views_of(stream), first_offset, &stored.dead);
            let log = writer.logs[stream].as_mut().expect("a stream that is recalled has a log");
            stored.producers.into_iter().for_each(|batch| log.producers.remember(batch));
        }
        Ok(())
    }
}

/// The offsets of a stored batch's used rows.
fn used_offsets(stored: &StoredBatch, first_offset: u64) -> Vec<u64> {
    let used = stored.verdicts.iter().enumerate().filter(|(_, verdict)| **verdict == StoredVerdict::Used);
    used.map(|(row, _)| first_offset + row as u64).collect()
}
