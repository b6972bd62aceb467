//! A table as joins see it: which version of a row holds as of an instant, and what is in it.
//!
//! ```text
//!   versions ─▶ VersionIndex: key ─▶ (time, place, row number)      a delete marker has no row
//!          └──▶ TableRows: row number ─▶ the columns that joins bring
//! ```
//! Rule kept here: what is found depends on the versions taken in and not on their order. The place of a version, which
//! orders versions of one time, is its number among the arrivals of its partition: in a log, its offset.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::error::ArrowError;
use asof_definition::{FeatureView, Stream, Table};
use asof_expression::normalize;
use asof_window::{ArrivedRow, ChangedSpan, KeyEncoder, Keys, RowNumber, RowVersion, VersionBounds, VersionIndex};

use crate::error::FeatureError;
use crate::lookup::NO_KEY;
use crate::table_rows::TableRows;
use crate::version_arrivals::VersionArrivals;

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

    /// A table without versions, that keeps what these derived streams and views join of it.
    pub fn joined_by(
        table: &Arc<Table>,
        derived: &[Arc<Stream>],
        views: &[Arc<FeatureView>],
    ) -> Result<VersionedTable, FeatureError> {
        let streams = derived.iter().chain(views.iter().map(|view| &view.stream));
        let inputs = streams.filter_map(|stream| stream.derivation()).flat_map(|derivation| &derivation.inputs);
        let joins = inputs.flat_map(|input| &input.joins).filter(|join| join.table.name() == table.name());
        let mut kept: Vec<usize> = joins.flat_map(|join| join.columns.iter().copied()).collect();
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
        let Versions { partition, batch, used, places } = versions;
        let used: Vec<u32> = match used {
            None => (0..batch.num_rows() as u32).collect(),
            Some(used) => used.values().set_indices_u32().filter(|row| used.is_valid(*row as usize)).collect(),
        };
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

fn refused(table: &Table, source: ArrowError) -> FeatureError {
    FeatureError::Arrow { object: format!("table `{}`", table.name()), source }
}
