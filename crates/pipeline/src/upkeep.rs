//! What an engine lets go of: events that no read asks for any more, as time and the oldest read tell. Time goes on though no
//! event comes, so that idle streams follow the clock.

use std::sync::atomic::Ordering;

use asof_definition::Connector;
use asof_feature::Settled;

use crate::clock::Clock;
use crate::engine::{Engine, SWEEP_ROWS, lock};
use crate::error::PipelineError;
use crate::sources::LetsGo;
use crate::stream_log::StreamLog;
use crate::submission::IngestError;
use crate::unit::Unit;
use crate::visibility::Published;
use crate::writer::Writer;

/// A full state takes this part of its limit more of the versions that rows are held for.
const SPARE_PART: usize = 8;

impl Engine {
    /// What has to happen from time to time though no event comes: idle streams' watermarks follow the clock, and what
    /// time has emptied is dropped.
    pub fn maintain(&self) -> Result<(), PipelineError> {
        let mut writer = lock(self.writer());
        let now_us = self.wall_us();
        self.note_fed_partitions(&mut writer, now_us);
        if self.settings().clock == Clock::System && self.follow_clock(&mut writer, now_us) {
            self.visibility().publish(writer.published());
        }
        if !writer.is_torn {
            self.close_idle_windows(&mut writer)?;
            self.tend_scores(&mut writer)?;
        }
        if writer.is_torn {
            // What is prepared may yet be looked up in the tables as they are.
            self.sweep_views(&writer, SWEEP_ROWS);
        } else {
            let oldest = self.visibility().oldest();
            writer.sources.settle(|stream| self.settled(&oldest, stream))?;
            self.sweep(&mut writer, SWEEP_ROWS)?;
        }
        self.tell_tables(&writer);
        *lock(self.stored()) = writer.logs.iter().flatten().map(StreamLog::statistics).collect();
        // Where producers can be refused, they are.
        if self.stores() { Ok(()) } else { self.within_memory() }
    }

    /// All files are taken in to their end, or as far as they are to be: no more versions come of them.
    pub(crate) fn end_files(&self) {
        lock(self.writer()).sources.set_coming(self.project(), true);
    }

    /// For each view that sees a source's events, what no read and no event of it asks for any more, given the oldest version
    /// that is read.
    pub(crate) fn settled(&self, oldest: &Published, stream: usize) -> Vec<Settled> {
        self.views_of(stream).into_iter().map(|view| self.settled_of(oldest, view)).collect()
    }

    fn settled_of(&self, oldest: &Published, view: usize) -> Settled {
        let streams = &self.view(view).streams;
        let earliest = oldest.earliest_of(streams, self.settings().as_of_horizon_us);
        let awaited_from_us = self.awaited_from_us().load(Ordering::Relaxed);
        Settled {
            version: oldest.version,
            floor_us: earliest.map(|(earliest_us, _)| earliest_us.min(awaited_from_us)),
            coming_from_us: oldest.coming_from(streams),
        }
    }

    /// Drops what no read, no event and no late version needs any more: of views, and then of tables.
    pub(crate) fn sweep(&self, writer: &mut Writer, entities_max: usize) -> Result<(), PipelineError> {
        self.sweep_views(writer, entities_max);
        // A group that is held back still evaluates rows anew, by the versions of before.
        if writer.unsettled.is_none() {
            writer.sources.sweep_versions(entities_max)?;
        }
        Ok(())
    }

    /// Of views alone.
    pub(crate) fn sweep_views(&self, writer: &Writer, entities_max: usize) {
        let oldest = self.visibility().oldest();
        let mut held_bytes = writer.keys_memory_bytes() + writer.sources.versions_bytes();
        for (place, view) in self.views().iter().enumerate() {
            view.online.sweep(self.settled_of(&oldest, place), entities_max);
            held_bytes += view.online.held().bytes;
        }
        self.set_held_bytes(held_bytes);
    }

    /// A replay that outgrows its memory ends with an error.
    pub(crate) fn within_memory(&self) -> Result<(), PipelineError> {
        let (held_bytes, limit_bytes) = (self.held_bytes(), self.settings().state_bytes_max);
        if held_bytes > limit_bytes { Err(PipelineError::Memory { held_bytes, limit_bytes }) } else { Ok(()) }
    }

    /// Why producers are refused when the state is as large as it may be.
    pub(crate) fn state_full(&self) -> Option<IngestError> {
        let (held_bytes, limit_bytes) = (self.held_bytes(), self.settings().state_bytes_max);
        (held_bytes > limit_bytes).then_some(IngestError::StateFull { held_bytes, limit_bytes })
    }

    /// The same of one unit. Versions that rows are held for are taken in a little longer, and those that let go of more than
    /// they bring at any time: nothing else would free these rows.
    pub(crate) fn state_full_for(&self, writer: &Writer, unit: &Unit) -> Option<IngestError> {
        let full = self.state_full()?;
        let plan = writer.sources[unit.stream].plan();
        let known_us = self.wall_us().saturating_add(plan.stream().ahead_max_us);
        let Some(newest_us) = unit.newest_us(plan, known_us) else { return Some(full) };
        let LetsGo { is_awaited, bytes } = writer.sources.lets_go(unit.stream, newest_us);
        let limit_bytes = self.settings().state_bytes_max;
        let is_little = self.held_bytes() <= limit_bytes.saturating_add(limit_bytes / SPARE_PART);
        (!(bytes > unit.bytes() || is_awaited && is_little)).then_some(full)
    }

    /// Tells streams which partitions of their topics there are, and which hold their watermark back.
    pub(crate) fn note_fed_partitions(&self, writer: &mut Writer, now_us: i64) {
        for (place, stream) in self.sources().iter().enumerate() {
            let Some(feed) = self.feed(place) else { continue };
            // The event clock knows of no waiting.
            let may_idle = self.settings().clock == Clock::System;
            for (partition, is_idle) in feed.lock().idleness(stream.idle_timeout_us, now_us) {
                writer.sources[place].set_fed_partition(partition, is_idle && may_idle);
            }
        }
    }

    /// A stream without arrivals that were used for its idle timeout, or without any since the start for as long, has no partition that
    /// holds its watermark back: it follows the wall clock. A file that has more rows is not idle, only slow. Returns whether
    /// a watermark moved.
    pub(crate) fn follow_clock(&self, writer: &mut Writer, now_us: i64) -> bool {
        let mut moved = false;
        for (place, stream) in self.sources().iter().enumerate() {
            let idle_from_us = writer.last_arrivals_us[place].saturating_add(stream.idle_timeout_us);
            let position = &mut writer.positions[place];
            let has_events = !writer.sources.makes_rows(place);
            let is_fed =
                matches!(stream.connector, Connector::Log(_)) || has_events && self.progress().has_ended(place);
            let followed_us = Some(now_us.saturating_sub(stream.lateness_us));
            let is_idle = match self.feed(place) {
                Some(feed) => has_only_idle(&feed.lock().idleness(stream.idle_timeout_us, now_us)),
                None => is_fed && idle_from_us <= now_us,
            };
            if is_idle && writer.sources[place].watermark_us().is_some() {
                writer.clock_watermarks_us[place] = writer.clock_watermarks_us[place].max(followed_us);
            }
            if is_idle && position.watermark_us < followed_us {
                position.watermark_us = followed_us;
                moved = true;
            }
        }
        moved
    }
}

/// Of the partitions of a topic, whether there are any and all of them idle.
fn has_only_idle(partitions: &[(u32, bool)]) -> bool {
    !partitions.is_empty() && partitions.iter().all(|(_, is_idle)| *is_idle)
}
