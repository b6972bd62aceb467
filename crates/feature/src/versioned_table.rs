//! A table as joins see it: which version of a row holds as of an instant, and what is in it.
//!
//! ```text
//!   versions ─▶ VersionIndex: key ─▶ (time, place, row number)      a delete marker has no row
//!          └──▶ TableRows: row number ─▶ the columns that joins bring
//! ```
//! Rule kept here: what is found depends on the versions taken in and not on their order. The place of a version, which
//! orders versions of one time, is its number among the arrivals of its partition: in a log, its offset.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::error::ArrowError;
use asof_definition::{FeatureView, Over, Stream, Table};
use asof_expression::{Expression, normalize};
use asof_window::{
    ArrivedEnd, ArrivedRow, ChangedSpan, KeyEncoder, Keys, Overtaken, RowNumber, RowVersion, VersionBounds,
    VersionIndex, VersionPlace,
};

use crate::error::FeatureError;
use crate::lookup::NO_KEY;
use crate::table_rows::TableRows;
use crate::version_arrivals::VersionArrivals;
use crate::view::nullable;

/// The versions of a table and the columns of it that some join brings.
#[derive(Debug)]
pub struct VersionedTable {
    table: Arc<Table>,
    /// Indexes of the columns that are kept, ascending.
    kept: Vec<usize>,
    keys: KeyEncoder,
    index: VersionIndex,
    rows: TableRows,
    /// For each partition seen, the place behind its last version.
    next_places: Vec<u64>,
}

/// A batch of used versions.
#[derive(Debug, Clone, Copy)]
pub struct Versions<'a> {
    /// The partition that they arrived at.
    pub partition: u32,
    /// The table's columns.
    pub batch: &'a RecordBatch,
    /// Which rows are used; `None` is all.
    pub used: Option<&'a BooleanArray>,
    /// Of the first row, how many arrivals its partition had before; in a log, its offset. The others follow.
    pub places: Places<'a>,
}

/// Where the rows of a batch stand among the arrivals of their partition.
#[derive(Debug, Clone, Copy)]
pub enum Places<'a> {
    /// One after the other from here on.
    From(u64),
    /// Each where it says, ascending.
    Each(&'a [u64]),
}

/// What a batch of versions changes for events that came before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionChanges {
    /// Name of the table.
    pub table: String,
    /// The partition that the versions arrived at.
    pub(crate) partition: u32,
    /// The place of the first of them.
    pub(crate) first_place: u64,
    /// For each version that some lookup finds.
    pub(crate) spans: Vec<ChangedKey>,
}

/// The instants at which a key's row is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChangedKey {
    pub(crate) hash: u32,
    pub(crate) span: ChangedSpan,
}

/// Versions that came before a batch and end sooner since it is there; all came to one partition.
#[derive(Debug)]
pub(crate) struct OvertakenRows {
    pub(crate) partition: u32,
    /// Their places in it.
    pub(crate) offsets: Vec<u64>,
    /// The table's columns; those that nobody evaluates again are NULL.
    pub(crate) batch: RecordBatch,
    /// When each ended before, in microseconds; the greatest number where it did not.
    pub(crate) ended_us: Vec<i64>,
    /// The same now.
    pub(crate) ends_us: Vec<i64>,
}

/// How much a table holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableHeld {
    /// Keys with versions.
    pub keys: usize,
    /// Versions that some lookup may still find, delete markers too.
    pub versions: usize,
    /// Those of them that are rows.
    pub rows: usize,
    /// Memory.
    pub bytes: usize,
}

impl Places<'_> {
    pub(crate) fn of(&self, row: usize) -> u64 {
        match self {
            Places::From(first) => first + row as u64,
            Places::Each(places) => places[row],
        }
    }
}

impl Versions<'_> {
    /// The rows that are used.
    fn rows(&self) -> Vec<u32> {
        match self.used {
            None => (0..self.batch.num_rows() as u32).collect(),
            Some(used) => used.values().set_indices_u32().filter(|row| used.is_valid(*row as usize)).collect(),
        }
    }
}

impl VersionChanges {
    /// Makes of a position at which the versions are known the one before.
    pub(crate) fn undo(&self, position: &mut [u64]) {
        if let Some(next) = position.get_mut(self.partition as usize) {
            *next = self.first_place.min(*next);
        }
    }

    /// Whether no lookup finds anything else than before.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

impl VersionedTable {
    /// A table without versions, that keeps the columns at `kept`.
    pub fn new(table: Arc<Table>, kept: Vec<usize>) -> Result<VersionedTable, FeatureError> {
        let type_of = |column: &usize| table.columns()[*column].data_type.clone();
        let key_types: Vec<DataType> = table.key().iter().map(type_of).collect();
        let keys = KeyEncoder::new(&key_types).map_err(|source| refused(&table, source))?;
        let rows = TableRows::new(kept.iter().map(type_of).collect());
        Ok(VersionedTable { table, kept, keys, index: VersionIndex::default(), rows, next_places: Vec::new() })
    }

    /// A table without versions, that keeps what these derived streams and views join of it, and what views over groups of its
    /// rows evaluate again.
    pub fn read_by(
        table: &Arc<Table>,
        derived: &[Arc<Stream>],
        views: &[Arc<FeatureView>],
    ) -> Result<VersionedTable, FeatureError> {
        let grouped = views.iter().filter(|view| matches!(&view.over, Over::Groups(own) if own.name() == table.name()));
        let grouped: Vec<usize> = grouped.flat_map(|view| columns_read(view)).collect();
        let key = if grouped.is_empty() { &[][..] } else { table.key() };
        let joined = joined_columns(table, derived, views);
        VersionedTable::keeping(table, joined.into_iter().chain(grouped).chain(key.iter().copied()).collect())
    }

    /// A table without versions, that keeps what these derived streams and views join of it.
    pub fn joined_by(
        table: &Arc<Table>,
        derived: &[Arc<Stream>],
        views: &[Arc<FeatureView>],
    ) -> Result<VersionedTable, FeatureError> {
        VersionedTable::keeping(table, joined_columns(table, derived, views))
    }

    fn keeping(table: &Arc<Table>, mut kept: Vec<usize>) -> Result<VersionedTable, FeatureError> {
        kept.sort_unstable();
        kept.dedup();
        VersionedTable::new(table.clone(), kept)
    }

    /// The definition.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The names of the columns that are kept.
    pub fn columns_kept(&self) -> Vec<&str> {
        self.kept.iter().map(|column| &self.table.columns()[*column].name[..]).collect()
    }

    /// Takes in used versions, late ones or not.
    pub fn take_in(&mut self, versions: Versions<'_>) -> Result<VersionChanges, FeatureError> {
        let Versions { partition, batch, places, .. } = versions;
        let used = versions.rows();
        let mut changes = VersionChanges {
            table: self.table.name().to_owned(),
            partition,
            first_place: used.first().map_or(u64::MAX, |row| places.of(*row as usize)),
            spans: Vec::with_capacity(used.len()),
        };
        self.next_places.resize(self.next_places.len().max(partition as usize + 1), 0);
        let next = &mut self.next_places[partition as usize];
        *next = used.last().map_or(*next, |row| places.of(*row as usize) + 1).max(*next);
        let keys = self.own_keys(batch, &used)?;
        let numbers = self.keep(batch, &used)?;
        let times = batch.column(self.table.versions.time_column).as_primitive::<TimestampMicrosecondType>();
        for (place, (row, number)) in used.iter().zip(numbers).enumerate() {
            let offset = places.of(*row as usize);
            let version = RowVersion { time_us: times.value(*row as usize), partition, offset, row: number };
            if let Some(span) = self.index.insert(&keys, place, version) {
                changes.spans.push(ChangedKey { hash: short_hash(&keys, place), span });
            }
        }
        Ok(changes)
    }

    /// When each row of a batch that was taken in ends by all versions that are there: the event time in microseconds of the
    /// next one of its key. The greatest number where there is none, and for rows that are not used.
    pub fn ends_us(&self, versions: Versions<'_>) -> Result<Vec<i64>, FeatureError> {
        let mut ends_us = vec![i64::MAX; versions.batch.num_rows()];
        let used = versions.rows();
        let keys = self.own_keys(versions.batch, &used)?;
        for (place, row) in used.into_iter().enumerate() {
            ends_us[row as usize] = self.index.end_us(&keys, place, self.place_of(&versions, row));
        }
        Ok(ends_us)
    }

    /// The same by the versions that had arrived at the instant in microseconds beside each row.
    pub fn arrived_ends(
        &self,
        versions: Versions<'_>,
        arrivals: &VersionArrivals,
        known_us: &[i64],
    ) -> Result<Vec<ArrivedEnd>, FeatureError> {
        let mut ends = vec![ArrivedEnd { end_us: i64::MAX, until_us: i64::MAX }; versions.batch.num_rows()];
        let used = versions.rows();
        let keys = self.own_keys(versions.batch, &used)?;
        for (place, row) in used.into_iter().enumerate() {
            let known = (self.place_of(&versions, row), known_us[row as usize]);
            ends[row as usize] = self.index.arrived_end(&keys, place, known, |_, place| arrivals.of(place));
        }
        Ok(ends)
    }

    /// The versions that end sooner since a batch was taken in, which was the last; delete markers are none.
    pub(crate) fn overtaken(
        &self,
        versions: Versions<'_>,
        changes: &VersionChanges,
    ) -> Result<Vec<OvertakenRows>, FeatureError> {
        let (used, position) = (versions.rows(), self.position_before(changes));
        let keys = self.own_keys(versions.batch, &used)?;
        let mut by_partition: BTreeMap<u32, BTreeMap<u64, Overtaken>> = BTreeMap::new();
        for (place, row) in used.into_iter().enumerate() {
            let overtaken = self.index.overtaken(&keys, place, self.place_of(&versions, row), &position);
            // Of several versions that follow it all say the same.
            if let Some(one) = overtaken.filter(|one| one.version.row.is_some() && one.end_us < one.ended_us) {
                by_partition.entry(one.version.partition).or_default().insert(one.version.offset, one);
            }
        }
        by_partition.into_iter().map(|(partition, rows)| self.overtaken_rows(partition, rows)).collect()
    }

    fn overtaken_rows(&self, partition: u32, rows: BTreeMap<u64, Overtaken>) -> Result<OvertakenRows, FeatureError> {
        let numbers: Vec<Option<RowNumber>> = rows.values().map(|one| one.version.row).collect();
        let mut kept = self.gather(&self.kept, &numbers)?.into_iter();
        let times = TimestampMicrosecondArray::from_iter_values(rows.values().map(|one| one.version.time_us));
        let columns = self.table.columns().iter().enumerate().map(|(place, column)| {
            let own = self.kept.binary_search(&place).ok().and_then(|_| kept.next());
            match own {
                _ if place == self.table.versions.time_column => Arc::new(times.clone()) as ArrayRef,
                Some(own) => own,
                None => new_null_array(&column.data_type, numbers.len()),
            }
        });
        let columns: Vec<ArrayRef> = columns.collect();
        let schema = nullable(&self.table.versions.schema());
        Ok(OvertakenRows {
            partition,
            batch: RecordBatch::try_new(schema, columns).map_err(|source| refused(&self.table, source))?,
            offsets: rows.keys().copied().collect(),
            ended_us: rows.values().map(|one| one.ended_us).collect(),
            ends_us: rows.values().map(|one| one.end_us).collect(),
        })
    }

    fn place_of(&self, versions: &Versions<'_>, row: u32) -> VersionPlace {
        let times = versions.batch.column(self.table.versions.time_column).as_primitive::<TimestampMicrosecondType>();
        let offset = versions.places.of(row as usize);
        VersionPlace { time_us: times.value(row as usize), partition: versions.partition, offset }
    }

    fn own_keys(&self, batch: &RecordBatch, rows: &[u32]) -> Result<Keys, FeatureError> {
        let parts = self.taken(batch, self.table.key(), rows)?;
        self.encode(&parts.iter().map(normalize).collect::<Vec<ArrayRef>>())
    }

    /// Keeps the rows of versions; a delete marker has none.
    fn keep(&mut self, batch: &RecordBatch, rows: &[u32]) -> Result<Vec<Option<RowNumber>>, FeatureError> {
        let markers = self.table.deleted.map(|column| batch.column(column).as_boolean());
        let is_marker = |row: u32| markers.is_some_and(|all| all.is_valid(row as usize) && all.value(row as usize));
        let kept: Vec<u32> = rows.iter().copied().filter(|row| !is_marker(*row)).collect();
        let columns = self.taken(batch, &self.kept, &kept)?;
        let numbers = self.rows.append(&columns, kept.len()).map_err(|source| refused(&self.table, source))?;
        let full = || FeatureError::TableFull { table: self.table.name().to_owned() };
        let mut numbers = numbers.ok_or_else(full)?.into_iter();
        Ok(rows.iter().map(|row| if is_marker(*row) { None } else { numbers.next() }).collect())
    }

    fn taken(&self, batch: &RecordBatch, columns: &[usize], rows: &[u32]) -> Result<Vec<ArrayRef>, FeatureError> {
        let rows = UInt32Array::from(rows.to_vec());
        let taken = columns.iter().map(|column| take(batch.column(*column), &rows, None));
        taken.collect::<Result<_, _>>().map_err(|source| refused(&self.table, source))
    }

    /// Keys in the table's own encoding.
    pub(crate) fn encode(&self, parts: &[ArrayRef]) -> Result<Keys, FeatureError> {
        self.keys.encode(parts).map_err(|source| refused(&self.table, source))
    }

    /// The rows that keys have as of the instants beside them; at a position of the table, the newest if there is none.
    pub(crate) fn look_up(&self, keys: &Keys, instants_us: &[i64], position: Option<&[u64]>) -> Vec<Option<RowNumber>> {
        let mut found = Vec::with_capacity(keys.len());
        self.index.look_up(keys, instants_us, position, &mut found);
        found
    }

    /// The rows that keys have as of the instants beside them, of the versions that had arrived at the instants of
    /// `known_us`.
    pub(crate) fn look_up_arrived(
        &self,
        keys: &Keys,
        instants_us: &[i64],
        arrivals: &VersionArrivals,
        known_us: &[i64],
    ) -> Vec<ArrivedRow> {
        let instants_us = instants_us.iter().copied().zip(known_us.iter().copied());
        self.index.look_up_arrived(keys, instants_us, |_, place| arrivals.of(place))
    }

    /// Columns of the table, which are kept, in rows that were found.
    pub(crate) fn gather(&self, columns: &[usize], rows: &[Option<RowNumber>]) -> Result<Vec<ArrayRef>, FeatureError> {
        let place = |column: &usize| self.kept.binary_search(column).expect("joined columns are kept");
        let places: Vec<usize> = columns.iter().map(place).collect();
        self.rows.gather(&places, rows).map_err(|source| refused(&self.table, source))
    }

    /// The position at which the versions of `changes`, which came last, are not known yet.
    pub(crate) fn position_before(&self, changes: &VersionChanges) -> Vec<u64> {
        let mut position = self.next_places.clone();
        changes.undo(&mut position);
        position
    }

    /// The position at which all versions are known: for each partition the place behind its last one.
    pub(crate) fn position(&self) -> &[u64] {
        &self.next_places
    }

    /// Looks at the next `keys_max` keys and drops what no lookup within `bounds` finds. See [`VersionIndex::sweep`].
    pub fn sweep(&mut self, bounds: VersionBounds, keys_max: usize) -> Result<usize, FeatureError> {
        let mut dropped = Vec::new();
        let gone = self.index.sweep(bounds, keys_max, &mut dropped);
        self.rows.drop_rows(&dropped).map_err(|source| refused(&self.table, source))?;
        Ok(gone)
    }

    /// The event time in microseconds from which on all delete markers are held; `None` where none was dropped yet.
    pub(crate) fn markers_from_us(&self) -> Option<i64> {
        self.index.markers_from_us()
    }

    /// How much it holds.
    pub fn held(&self) -> TableHeld {
        let bytes = self.index.memory_bytes() + self.rows.memory_bytes();
        let (keys, versions) = (self.index.keys(), self.index.versions());
        TableHeld { keys, versions, rows: self.rows.rows(), bytes }
    }
}

/// 32 bits of a key's hash, by which held rows find what changes them; never [`NO_KEY`].
pub(crate) fn short_hash(keys: &Keys, row: usize) -> u32 {
    match keys.hash(row) as u32 {
        NO_KEY => NO_KEY + 1,
        hash => hash,
    }
}

/// The columns of a table that joins bring.
fn joined_columns(table: &Table, derived: &[Arc<Stream>], views: &[Arc<FeatureView>]) -> Vec<usize> {
    let streams = derived.iter().chain(views.iter().map(|view| &view.stream));
    let inputs = streams.filter_map(|stream| stream.derivation()).flat_map(|derivation| &derivation.inputs);
    let joins = inputs.flat_map(|input| &input.joins).filter(|join| join.table.name() == table.name());
    joins.flat_map(|join| join.columns.iter().copied()).collect()
}

/// The columns that a view over groups reads of a version; some more than once.
fn columns_read(view: &FeatureView) -> Vec<usize> {
    let keys = view.key.iter().map(|part| &part.expression);
    let read = view.aggregates.iter().flat_map(|one| [&one.argument, &one.by, &one.filter]).flatten();
    view.filter.iter().chain(keys).chain(read).flat_map(Expression::columns).collect()
}

fn refused(table: &Table, source: ArrowError) -> FeatureError {
    FeatureError::Arrow { object: format!("table `{}`", table.name()), source }
}
