//! What the writer tells of tables and of the rows held for them, now and then: whoever asks must not wait for a sync.

use asof_feature::TableHeld;

use crate::engine::{Engine, lock};
use crate::statistics::TableStatistics;
use crate::writer::Writer;

/// As it was when it was last looked at.
#[derive(Debug, Default)]
pub(crate) struct TablesTold {
    /// By table.
    held: Vec<TableHeld>,
    /// By stream.
    rows_held: Vec<usize>,
}

impl Engine {
    /// Tells what tables hold at present.
    pub(crate) fn tell_tables(&self, writer: &Writer) {
        let (held, rows_held) = (writer.sources.tables_held(), writer.sources.rows_held());
        *lock(self.tables_told()) = TablesTold { held, rows_held };
    }

    /// Statistics of the table with this index among the project's.
    pub fn table_statistics(&self, table: usize) -> TableStatistics {
        let held = lock(self.tables_told()).held.get(table).copied().unwrap_or_default();
        TableStatistics { held, versions: self.stream_statistics(self.source_of_table(table)) }
    }

    /// How many rows of a stream are held for late versions of the tables that it joins.
    pub(crate) fn rows_held(&self, stream: usize) -> usize {
        lock(self.tables_told()).rows_held.get(stream).copied().unwrap_or_default()
    }
}
