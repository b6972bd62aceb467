//! `LEFT JOIN table FOR SYSTEM_TIME AS OF t.ts AS alias ON …`: what a table adds to the rows of a stream.
//!
//! ```text
//!   columns of t │ columns of m │ columns of r       ON of m reads those of t; ON of r those of t and m
//! ```
//! Each row gets the columns of the version that is valid at its event time, of the row whose PRIMARY KEY has the values
//! of ON, and NULLs where there is none. How the words are read: `joined_rows`.

use std::sync::Arc;

use asof_expression::Expression;

use crate::stream::Column;
use crate::table::Table;

/// A table joined to the rows of a SELECT, as of the event time of each.
#[derive(Debug, Clone, PartialEq)]
pub struct TableJoin {
    /// By which the table's columns are qualified, folded.
    pub alias: String,
    /// The joined table.
    pub table: Arc<Table>,
    /// One value for each column of the table's PRIMARY KEY, in its order and of its type. A NULL matches nothing; one that
    /// fails sets the row aside, whatever WHERE says.
    pub key: Vec<JoinKey>,
    /// Indexes of the table's columns that the join brings: those that the SELECT names, ascending.
    pub columns: Vec<usize>,
}

/// A value that a column of a PRIMARY KEY is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinKey {
    /// Over the stream's columns and those that the joins before bring.
    pub expression: Expression,
    /// As SQL, for messages.
    pub text: String,
}

impl TableJoin {
    /// The columns that it brings, in their order. All may be NULL, whatever the table says of them.
    pub fn brings(&self) -> impl Iterator<Item = Column> + '_ {
        let columns = self.columns.iter().map(|column| &self.table.columns()[*column]);
        columns.map(|column| Column { not_null: false, ..column.clone() })
    }
}
