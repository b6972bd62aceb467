//! What the joins of one SELECT add to a batch: the columns of the versions that are valid at the events' times.
//!
//! ```text
//!   batch ─▶ ON: key of each row ─▶ version as of its event time ─▶ columns gathered ─▶ wider batch ─▶ next join
//! ```
//! One probe for each row and one gather for each column. A row without a key, or whose key has no version then, gets
//! NULLs; one whose ON fails is set aside, whatever WHERE says.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{Field, Schema, SchemaRef};
use asof_definition::{DerivedInput, TableJoin};
use asof_expression::normalize;
use asof_window::{Keys, RowNumber};

use crate::error::FeatureError;
use crate::tables::{Knowledge, KnownTable, Tables};
use crate::taking::Taking;
use crate::versioned_table::short_hash;
use crate::view::nullable;

/// In place of the hash of a row that asks for no key.
pub(crate) const NO_KEY: u32 = 0;

/// A join, ready to look up.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    /// Its number among all joins on the ways from the source.
    pub(crate) number: usize,
    /// The columns of the rows with those that it brings.
    schema: SchemaRef,
}

/// What is known of the lookups of one join, row by row.
#[derive(Debug)]
pub(crate) struct LookedUp {
    /// The hashes of the keys asked for.
    pub(crate) hashes: Vec<u32>,
    /// When a version arrives by which something else is found; nothing where all versions are known.
    pub(crate) until_us: Vec<i64>,
}

/// The joins of an input, numbered from `first_number` on.
pub(crate) fn lookups(input: &DerivedInput, first_number: usize) -> Vec<Lookup> {
    let mut schema = nullable(&input.stream.schema());
    let joins = input.joins.iter().zip(first_number..);
    let lookups = joins.map(|(join, number)| {
        schema = widened(&schema, join);
        Lookup { number, schema: schema.clone() }
    });
    lookups.collect()
}

fn widened(schema: &SchemaRef, join: &TableJoin) -> SchemaRef {
    let own = schema.fields().iter().map(|field| field.as_ref().clone());
    let brought = join.brings().map(|one| Field::new(format!("{}.{}", join.alias, one.name), one.data_type, true));
    Arc::new(Schema::new(own.chain(brought).collect::<Vec<Field>>()))
}

impl Lookup {
    /// Widens the batch by what `join` brings to each row as of its event time.
    pub(crate) fn join(
        &self,
        join: &TableJoin,
        times_us: &[i64],
        tables: &Tables<'_>,
        taking: &mut Taking<'_>,
    ) -> Result<LookedUp, FeatureError> {
        let known = tables.get(join.table.name())?;
        let parts: Vec<ArrayRef> =
            join.key.iter().map(|part| normalize(&taking.evaluate(&part.expression, &part.text, None))).collect();
        let keys = known.table.encode(&parts)?;
        let (mut found, mut until_us) = look_up(known, &keys, times_us);
        let mut hashes: Vec<u32> = (0..keys.len()).map(|row| short_hash(&keys, row)).collect();
        let nulls: Vec<_> = parts.iter().filter_map(|part| part.logical_nulls()).collect();
        let is_whole = |row: usize| nulls.iter().all(|nulls| nulls.is_valid(row));
        let is_in = |row: usize| taking.rows().is_none_or(|rows| rows.is_valid(row) && rows.value(row));
        for row in (0..keys.len()).filter(|row| !(is_whole(*row) && is_in(*row))) {
            (found[row], hashes[row]) = (None, NO_KEY);
            until_us.get_mut(row).into_iter().for_each(|until_us| *until_us = i64::MAX);
        }
        let columns = known.table.gather(&join.columns, &found as &[Option<RowNumber>])?;
        let refused = |source| FeatureError::Arrow { object: format!("table `{}`", join.table.name()), source };
        taking.widen(&self.schema, columns).map_err(refused)?;
        Ok(LookedUp { hashes, until_us })
    }
}

/// The rows found, and until when in microseconds; the second only where that depends on arrival.
fn look_up(known: &KnownTable<'_>, keys: &Keys, times_us: &[i64]) -> (Vec<Option<RowNumber>>, Vec<i64>) {
    match &known.knowledge {
        Knowledge::All => (known.table.look_up(keys, times_us, None), Vec::new()),
        Knowledge::Position(position) => (known.table.look_up(keys, times_us, Some(position)), Vec::new()),
        Knowledge::Arrived { arrivals, known_us } => {
            let found = known.table.look_up_arrived(keys, times_us, arrivals, known_us);
            found.into_iter().map(|found| (found.row, found.until_us)).unzip()
        }
    }
}
