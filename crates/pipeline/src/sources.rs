//! All that rows come to, in one list: the streams with events of their own, those of the rows of windows, those of scored
//! rows, then the tables.
//!
//! ```text
//!   0 1 2 … streams │ windows │ scored │ tables        logs, the door, positions and files know a source by its place here
//!                   │         │        └ a table's versions are judged, stored and counted as events are
//!                   │         └ rows arise when events are visible (scoring.rs)
//!                   └ rows arise when the watermark closes windows (closings.rs); nobody sends them
//! ```
//! Rule kept here: the versions of a group are prepared before its events, and each batch of them is followed at once by
//! what it changes for the streams that join its table. All of it is taken in in the same order, at one version.

use std::ops::{Index, IndexMut};

use asof_definition::{Connector, FileOrder, Project};
use asof_feature::{
    Arrivals, ComingVersions, FeatureError, MadeRows, OnlineStream, OnlineTable, Prepared, PreparedVersions, Recalled,
    Rejoined, Settled, TableHeld, Tables,
};
use asof_window::{Version, VersionBounds};

use crate::binding::{BoundScored, BoundWindows};
use crate::submission::Manner;

/// The writer's streams and tables.
#[derive(Debug)]
pub(crate) struct Sources {
    streams: Vec<OnlineStream>,
    tables: Vec<OnlineTable>,
    /// Those of the streams that have the rows of windows.
    pub(crate) windows: Vec<BoundWindows>,
    /// Those that have scored rows.
    pub(crate) scored: Vec<BoundScored>,
}

/// What versions do for the rows that are held until such come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LetsGo {
    /// Whether rows are held for no other table longer.
    pub(crate) is_awaited: bool,
    /// Bytes of the rows that go.
    pub(crate) bytes: usize,
}

/// A judged batch on its way into the views.
#[derive(Debug)]
pub(crate) enum Preparation {
    /// Of a stream.
    Events(Prepared),
    /// Of a table.
    Versions {
        versions: PreparedVersions,
        /// For each stream that joins it, what they change.
        rejoined: Vec<(usize, Rejoined)>,
    },
}

impl Preparation {
    pub(crate) fn prepared(&self) -> &Prepared {
        match self {
            Preparation::Events(prepared) => prepared,
            Preparation::Versions { versions, .. } => &versions.prepared,
        }
    }

    /// By stream, the rows that were evaluated again.
    pub(crate) fn rejoined(&self) -> &[(usize, Rejoined)] {
        match self {
            Preparation::Events(_) => &[],
            Preparation::Versions { rejoined, .. } => rejoined,
        }
    }
}

/// Which streams join a table, and by that what breaks together.
impl Sources {
    pub(crate) fn new(
        streams: Vec<OnlineStream>,
        tables: Vec<OnlineTable>,
        windows: Vec<BoundWindows>,
        scored: Vec<BoundScored>,
    ) -> Sources {
        Sources { streams, tables, windows, scored }
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len() + self.tables.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &OnlineStream> {
        self.streams.iter().chain(self.tables.iter().map(OnlineTable::stream))
    }

    pub(crate) fn is_table(&self, source: usize) -> bool {
        source >= self.streams.len()
    }

    fn table_name(&self, source: usize) -> Option<&str> {
        let table = source.checked_sub(self.streams.len())?;
        Some(self.tables[table].versions().table().name())
    }

    /// The streams that join the table at this place; none for a stream.
    pub(crate) fn joining(&self, source: usize) -> Vec<usize> {
        let Some(table) = self.table_name(source) else { return Vec::new() };
        (0..self.streams.len()).filter(|stream| self.streams[*stream].joins(table)).collect()
    }

    /// The tables that the stream at this place joins; none for a table.
    pub(crate) fn joined_by(&self, source: usize) -> Vec<usize> {
        (self.streams.len()..self.len()).filter(|table| self.joining(*table).contains(&source)).collect()
    }

    /// The source and all that joins and windows connect with it, by whatever way.
    pub(crate) fn connected(&self, source: usize) -> Vec<usize> {
        let (mut connected, mut next) = (vec![source], 0);
        while let Some(one) = connected.get(next).copied() {
            let neighbours = self.joining(one).into_iter().chain(self.joined_by(one)).chain(self.beside_made(one));
            let fresh: Vec<usize> = neighbours.filter(|other| !connected.contains(other)).collect();
            connected.extend(fresh);
            next += 1;
        }
        connected
    }

    /// The streams that make rows of those of a source, and what it makes its own of if it is one.
    fn beside_made(&self, source: usize) -> Vec<usize> {
        let windows = self.windows.iter().map(|one| (one.source, &one.reads));
        let made: Vec<(usize, &Vec<usize>)> =
            windows.chain(self.scored.iter().map(|one| (one.source, &one.reads))).collect();
        let readers = made.iter().filter(|(_, reads)| reads.contains(&source)).map(|(reader, _)| *reader);
        let read = made.iter().filter(|(own, _)| *own == source).flat_map(|(_, reads)| reads.iter().copied());
        readers.chain(read).collect()
    }

    /// Whether the rows of a source arise in it: of windows, or scored.
    pub(crate) fn makes_rows(&self, source: usize) -> bool {
        let windows = self.windows.iter().map(|one| one.source);
        windows.chain(self.scored.iter().map(|one| one.source)).any(|own| own == source)
    }
}

/// The ways in.
impl Sources {
    /// Judges a batch and evaluates what it brings and what it changes.
    pub(crate) fn prepare(&mut self, source: usize, arrivals: Arrivals<'_>) -> Result<Preparation, FeatureError> {
        let joining = self.joining(source);
        let Sources { streams, tables, .. } = self;
        if source < streams.len() {
            return Ok(Preparation::Events(streams[source].prepare(arrivals, &Tables::live(&*tables))?));
        }
        let versions = tables[source - streams.len()].prepare(arrivals)?;
        let tables = Tables::live(&*tables);
        let rejoin = |stream: usize| Ok((stream, streams[stream].prepare_rejoined(&versions.changes, &tables)?));
        let rejoined = joining.into_iter().map(rejoin).collect::<Result<_, FeatureError>>()?;
        Ok(Preparation::Versions { versions, rejoined })
    }

    /// Evaluates what rows of windows bring.
    pub(crate) fn prepare_rows(
        &mut self,
        source: usize,
        rows: &MadeRows,
        offsets: &[u64],
    ) -> Result<Prepared, FeatureError> {
        let Sources { streams, tables, .. } = self;
        streams[source].prepare_rows(rows, offsets, &Tables::live(&*tables))
    }

    /// Takes a prepared batch into the views. `settled` is asked for the views of a source.
    pub(crate) fn take_in(
        &mut self,
        source: usize,
        preparation: &Preparation,
        version: Version,
        settled: impl Fn(usize) -> Vec<Settled>,
    ) -> Result<(), FeatureError> {
        match preparation {
            Preparation::Events(prepared) => self.streams[source].take_in(prepared, version, &settled(source)),
            Preparation::Versions { versions, rejoined } => {
                let Sources { streams, tables, .. } = self;
                tables[source - streams.len()].take_in(versions, version, &settled(source))?;
                let tables = Tables::live(&*tables);
                rejoined.iter().try_for_each(|(stream, rejoined)| {
                    streams[*stream].take_in_rejoined(rejoined, &tables, version, &settled(*stream))
                })
            }
        }
    }

    /// Takes in a batch from a log, and of versions what they change for rows that are held already.
    pub(crate) fn recall(
        &mut self,
        source: usize,
        recalled: Recalled<'_>,
        settled: impl Fn(usize) -> Vec<Settled>,
    ) -> Result<(), FeatureError> {
        let joining = self.joining(source);
        let Sources { streams, tables, .. } = self;
        if source < streams.len() {
            streams[source].recall(recalled, &Tables::live(&*tables), &settled(source))?;
            return Ok(());
        }
        let (_, changes) = tables[source - streams.len()].recall(recalled, &settled(source))?;
        let tables = Tables::live(&*tables);
        for stream in joining {
            // Whoever has no event yet holds none either.
            let settled = settled(stream);
            streams[stream].recall_rejoined(&changes, &tables, &vec![true; settled.len()], &settled)?;
        }
        Ok(())
    }

    /// Lets go of rows that no late version changes any more, though nothing comes. Not while anything waits to be taken in.
    pub(crate) fn settle(&mut self, settled: impl Fn(usize) -> Vec<Settled>) -> Result<(), FeatureError> {
        let tables = Tables::live(&self.tables);
        let mut streams = self.streams.iter_mut().enumerate();
        streams.try_for_each(|(place, stream)| stream.settle(&tables, &settled(place)))
    }

    /// The streams that look into the table at this place, also where no view reads what they join.
    pub(crate) fn looking(&self, source: usize) -> Vec<usize> {
        let Some(table) = self.table_name(source) else { return Vec::new() };
        (0..self.streams.len()).filter(|stream| self.streams[*stream].looks_into(table)).collect()
    }

    /// Looks at the next `keys_max` keys of each table and drops the versions that no stream looks up any more.
    pub(crate) fn sweep_versions(&mut self, keys_max: usize) -> Result<(), FeatureError> {
        for table in 0..self.tables.len() {
            let looking = self.looking(self.streams.len() + table).into_iter().map(|stream| &self.streams[stream]);
            let from_us: Option<Vec<i64>> = looking.map(OnlineStream::looks_up_from_us).collect();
            if let Some(from_us) = from_us {
                let looked_up_from_us = from_us.into_iter().min().unwrap_or(i64::MAX);
                let arriving_from_us = self.history_from_us(self.streams.len() + table);
                self.tables[table].sweep(VersionBounds { looked_up_from_us, arriving_from_us }, keys_max)?;
            }
        }
        Ok(())
    }

    /// The event time in microseconds before which a history of a table is refused: any is taken in until a stream that joins
    /// it has let go of something.
    fn history_from_us(&self, source: usize) -> i64 {
        match self.versions_reach_back_to(source) {
            Some((from_us, _)) => from_us,
            // Whoever looks it up without holding anything, because no view reads it, takes versions of any age.
            None if self.looking(source).is_empty() => i64::MAX,
            None => i64::MIN,
        }
    }

    /// The same of one table before all versions of it are there: those that come yet, of any age, are looked up from this
    /// instant on, in microseconds, and so are those that are there.
    pub(crate) fn sweep_recalled(
        &mut self,
        source: usize,
        looked_up_from_us: i64,
        keys_max: usize,
    ) -> Result<(), FeatureError> {
        self.tables[source - self.streams.len()].sweep_recalled(looked_up_from_us, keys_max)?;
        Ok(())
    }
}

/// What comes yet, and what came too early or too late to be waited for.
impl Sources {
    /// Says which versions may still come: of files by what is in them, of which nothing is told as soon as they have ended.
    pub(crate) fn set_coming(&mut self, project: &Project, have_files_ended: bool) {
        for table in 0..self.tables.len() {
            let joining = self.joining(self.streams.len() + table);
            let is_file =
                |stream: &usize| matches!(self.streams[*stream].plan().stream().connector, Connector::File(_));
            let coming = match &project.tables[table].versions.connector {
                Connector::File(_) if have_files_ended => ComingVersions::NoneThatChanges,
                // All files are merged by event time, tables first: no event comes before a version that holds for it.
                Connector::File(file) if file.order == FileOrder::EventTime && joining.iter().all(is_file) => {
                    ComingVersions::NoneThatChanges
                }
                Connector::File(_) | Connector::Log(_) | Connector::Derived(_) => {
                    ComingVersions::NotLate { partitions: 1 }
                }
            };
            self.tables[table].set_coming(coming);
        }
    }

    /// The event time in microseconds before which arrivals that cannot be late come too late all the same, and the name of
    /// what has let go of what they need: for versions a stream that joins the table, or a view over groups of its rows; for
    /// events a table. `None`: none do.
    ///
    /// Events of a history go by the watermark of their stream, whatever is held yet: the same batches are taken in whenever
    /// anything is let go. Those sent once more, old as they are, go by what is held.
    pub(crate) fn reaches_back_to(&self, source: usize, manner: &Manner) -> Option<(i64, String)> {
        if self.is_table(source) {
            return self.versions_reach_back_to(source).max(self.groups_reach_back_to(source));
        }
        let stream = &self.streams[source];
        let looked_up_from_us = match manner {
            Manner::Replayed => stream.looks_up_from_us(),
            Manner::History { .. } | Manner::Live => stream.coming_from_us(),
        };
        let mut tables = self.tables.iter().map(|table| table.versions().table().name());
        let table = tables.find(|table| stream.looks_into(table));
        let joined = looked_up_from_us.zip(table.map(str::to_owned));
        let sessions = stream.sessions_from_us().map(|(from_us, view)| (from_us, view.to_owned()));
        joined.into_iter().chain(sessions).max()
    }

    /// What a version of this source as of an instant, in microseconds, does for the rows that are held: nothing where the
    /// source is a stream, or other tables hold them longer.
    pub(crate) fn lets_go(&self, source: usize, newest_us: i64) -> LetsGo {
        let mut lets_go = LetsGo { is_awaited: false, bytes: 0 };
        if !self.is_table(source) {
            return lets_go;
        }
        let changeable_from_us = |table: usize| self.tables[table - self.streams.len()].changeable_from_us();
        let reached_us = newest_us.saturating_sub(self[source].plan().stream().lateness_us);
        let own_us = changeable_from_us(source);
        for stream in self.joining(source) {
            let others = self.joined_by(stream).into_iter().filter(|table| *table != source);
            let others_us = others.map(changeable_from_us).min().unwrap_or(i64::MAX);
            if own_us <= others_us && own_us < reached_us {
                lets_go.is_awaited |= self.streams[stream].held_rows() > 0;
                lets_go.bytes += self.streams[stream].held_bytes_before(others_us.min(reached_us));
            }
        }
        lets_go
    }

    fn versions_reach_back_to(&self, source: usize) -> Option<(i64, String)> {
        let streams = self.joining(source).into_iter().map(|stream| &self.streams[stream]);
        let began = streams.filter(|stream| stream.newest_us().is_some());
        began.filter_map(|one| Some((one.held_from_us()?, one.plan().stream().name.clone()))).max()
    }

    fn groups_reach_back_to(&self, source: usize) -> Option<(i64, String)> {
        let (from_us, view) = self.tables[source.checked_sub(self.streams.len())?].groups_reach_back_to()?;
        Some((from_us, view.to_owned()))
    }

    /// Bytes of the versions that joins look up and groups of rows need.
    pub(crate) fn versions_bytes(&self) -> usize {
        self.tables.iter().map(|table| table.versions().held().bytes).sum()
    }

    /// By table, what it holds for joins.
    pub(crate) fn tables_held(&self) -> Vec<TableHeld> {
        self.tables.iter().map(|table| table.versions().held()).collect()
    }

    /// By stream, the rows held for late versions.
    pub(crate) fn rows_held(&self) -> Vec<usize> {
        self.streams.iter().map(OnlineStream::held_rows).collect()
    }
}

/// A source as a stream: its judge, its counts, its plan.
impl Index<usize> for Sources {
    type Output = OnlineStream;

    fn index(&self, source: usize) -> &OnlineStream {
        match source.checked_sub(self.streams.len()) {
            Some(table) => self.tables[table].stream(),
            None => &self.streams[source],
        }
    }
}

impl IndexMut<usize> for Sources {
    fn index_mut(&mut self, source: usize) -> &mut OnlineStream {
        match source.checked_sub(self.streams.len()) {
            Some(table) => self.tables[table].stream_mut(),
            None => &mut self.streams[source],
        }
    }
}
