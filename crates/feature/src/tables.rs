//! The tables that joins look into, and how much of their versions is known.

use crate::error::FeatureError;
use crate::online_table::OnlineTable;
use crate::version_arrivals::VersionArrivals;
use crate::versioned_table::{VersionChanges, VersionedTable};

/// Tables by name, each with all its versions or as it was at a position. Cheap to make for each batch.
#[derive(Debug, Clone, Default)]
pub struct Tables<'a> {
    known: Vec<KnownTable<'a>>,
}

#[derive(Debug, Clone)]
pub(crate) struct KnownTable<'a> {
    pub(crate) table: &'a VersionedTable,
    pub(crate) knowledge: Knowledge<'a>,
    /// The least event time in microseconds of a version that may still come.
    pub(crate) changeable_from_us: i64,
}

/// How much of each table is known at some moment: by name, the next place of each partition.
#[derive(Debug, Clone)]
pub(crate) struct TablePositions(Vec<(String, Vec<u64>)>);

/// Which versions of a table are known.
#[derive(Debug, Clone)]
pub(crate) enum Knowledge<'a> {
    /// All that are there.
    All,
    /// Those before a position, the next place of each partition.
    Position(Vec<u64>),
    /// Row by row of a batch those that had arrived at the instant, in microseconds. They came in one partition.
    Arrived { arrivals: &'a VersionArrivals, known_us: &'a [i64] },
}

impl<'a> Tables<'a> {
    /// Of a project that joins none.
    pub fn none() -> Tables<'a> {
        Tables::default()
    }

    /// These tables with all their versions: no others come.
    pub fn complete(tables: impl IntoIterator<Item = &'a VersionedTable>) -> Tables<'a> {
        let known = |table| KnownTable { table, knowledge: Knowledge::All, changeable_from_us: i64::MAX };
        Tables { known: tables.into_iter().map(known).collect() }
    }

    /// These tables with all their versions, of which each row of a batch knows those that had arrived at the instant in
    /// microseconds beside it. What is derived tells until when that is so: [`Derived::until_us`](crate::Derived::until_us).
    pub fn as_served(
        tables: impl IntoIterator<Item = (&'a VersionedTable, &'a VersionArrivals)>,
        known_us: &'a [i64],
    ) -> Tables<'a> {
        let known = |(table, arrivals)| KnownTable {
            table,
            knowledge: Knowledge::Arrived { arrivals, known_us },
            changeable_from_us: i64::MAX,
        };
        Tables { known: tables.into_iter().map(known).collect() }
    }

    /// These tables with the versions that have come so far.
    pub fn live(tables: impl IntoIterator<Item = &'a OnlineTable>) -> Tables<'a> {
        let known = |table: &'a OnlineTable| KnownTable {
            table: table.versions(),
            knowledge: Knowledge::All,
            changeable_from_us: table.changeable_from_us(),
        };
        Tables { known: tables.into_iter().map(known).collect() }
    }

    /// How much of them is known now.
    pub(crate) fn positions(&self) -> TablePositions {
        let of = |known: &KnownTable<'_>| (known.table.table().name().to_owned(), known.table.position().to_vec());
        TablePositions(self.known.iter().map(of).collect())
    }

    /// The same as they were at some moment.
    pub(crate) fn at_positions(&self, positions: &TablePositions) -> Tables<'a> {
        positions.0.iter().fold(self.clone(), |tables, (table, position)| tables.at(table, position))
    }

    /// The same with one of them as it was at a position: the next place of each partition, none of those beyond.
    pub fn at(&self, table: &str, position: &[u64]) -> Tables<'a> {
        let mut tables = self.clone();
        let known = tables.known.iter_mut().filter(|known| known.table.table().name() == table);
        known.for_each(|known| known.knowledge = Knowledge::Position(position.to_vec()));
        tables
    }

    /// The same without the versions of `changes`, which are the last that came to their table.
    pub fn before(&self, changes: &VersionChanges) -> Tables<'a> {
        let known = self.known.iter().find(|known| known.table.table().name() == changes.table);
        match known {
            Some(known) => self.at(&changes.table, &known.table.position_before(changes)),
            None => self.clone(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Result<&KnownTable<'a>, FeatureError> {
        let known = self.known.iter().find(|known| known.table.table().name() == name);
        known.ok_or_else(|| FeatureError::NoTable { table: name.to_owned() })
    }
}

impl TablePositions {
    /// The moment before these changes.
    pub(crate) fn before(&self, changes: &VersionChanges) -> TablePositions {
        let mut before = self.clone();
        let own = before.0.iter_mut().filter(|(table, _)| *table == changes.table);
        own.for_each(|(_, position)| changes.undo(position));
        before
    }
}
