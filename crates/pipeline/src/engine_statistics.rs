//! What an engine tells of its streams and views, to whoever shows it.

use crate::engine::{Engine, lock};
use crate::statistics::{DerivedStatistics, StorageStatistics, StreamStatistics, ViewStatistics, WindowStatistics};
use crate::visibility::StreamPosition;

impl Engine {
    /// Statistics of the source with this index: a stream, or behind the streams a table.
    pub fn stream_statistics(&self, stream: usize) -> StreamStatistics {
        let position = self.published().streams[stream].clone();
        let told = lock(self.told());
        StreamStatistics {
            position,
            replay: self.progress().replay(stream),
            reasons: told.reasons(stream).to_vec(),
            absent_columns: told.absent_columns(stream).to_vec(),
            held_rows: self.rows_held(stream),
        }
    }

    /// Statistics of the derived stream with this index among the project's.
    pub fn derived_statistics(&self, derived: usize) -> DerivedStatistics {
        let stream = &self.project().derived[derived];
        if let Some(windows) = self.windows_statistics(derived) {
            return windows.derived;
        }
        let published = self.published();
        if let Some(scored) = stream.scored() {
            let place = self.place_of(&stream.name);
            let position = &published.streams[place];
            return DerivedStatistics {
                rows: position.accounting.used,
                set_aside: lock(self.told()).rows_set_aside(place),
                watermark_us: position.watermark_us,
                sources: scored.rows.sources().iter().map(|source| self.place_of(&source.name)).collect(),
            };
        }
        let sources: Vec<usize> = stream.sources().iter().map(|source| self.place_of(&source.name)).collect();
        let positions: Vec<&StreamPosition> = sources.iter().map(|source| &published.streams[*source]).collect();
        let rows_of = |position: &&StreamPosition| {
            let own = position.derived_rows.iter().find(|(name, _)| **name == *stream.name);
            own.map_or(0, |(_, rows)| *rows)
        };
        let watermarks: Option<Vec<i64>> = positions.iter().map(|position| position.watermark_us).collect();
        DerivedStatistics {
            rows: positions.iter().map(rows_of).sum(),
            set_aside: lock(self.told()).derived_set_aside(&stream.name),
            watermark_us: watermarks.and_then(|watermarks| watermarks.into_iter().min()),
            sources,
        }
    }

    /// Statistics of the derived stream with this index among the project's, if its rows are those of windows.
    pub fn windows_statistics(&self, derived: usize) -> Option<WindowStatistics> {
        let stream = &self.project().derived[derived];
        let window = stream.window()?;
        let source = self.place_of(&stream.name);
        let view = self.views().iter().position(|view| view.online.closes() && view.name() == stream.name)?;
        let position = self.published().streams[source].clone();
        let open = &self.view(view).online;
        let (held, open_entities) = (open.held(), open.open_entities());
        let told = lock(self.told());
        Some(WindowStatistics {
            derived: DerivedStatistics {
                rows: position.accounting.used,
                set_aside: told.set_aside(view),
                watermark_us: position.watermark_us,
                sources: window.view.stream.sources().iter().map(|read| self.place_of(&read.name)).collect(),
            },
            held,
            open_entities,
            rows_set_aside: told.rows_set_aside(source),
            too_late: told.too_late(view),
        })
    }

    /// The stored side of each stream that has a log.
    pub fn storage_statistics(&self) -> Vec<StorageStatistics> {
        lock(self.stored()).clone()
    }

    /// Statistics of the view with this index in the project.
    pub fn view_statistics(&self, view: usize) -> ViewStatistics {
        // Before the lock: the writer waits for it too, and counting meets the shards' locks.
        let held = self.view(view).online.held();
        let told = lock(self.told());
        ViewStatistics { held, set_aside: told.set_aside(view), example_key: told.example_key(view) }
    }
}
