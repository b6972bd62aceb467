//! How a FROM is read: a stream, and the tables that are joined to it, each as of the event time.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::DataType;
use asof_expression::sqlparser::ast::{
    Expr, Ident, Join as JoinClause, JoinConstraint, JoinOperator, Spanned, TableWithJoins, visit_expressions,
};
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{Expression, Scope, fold, type_name};

use crate::connector::Connector;
use crate::derived::{Derivation, DerivedColumn, DerivedInput};
use crate::join_condition::{cast_to, conjuncts, join_name, sides};
use crate::key::ColumnNames;
use crate::query::{Relation, versioned_relation_of};
use crate::refusal::Refusal;
use crate::registry::Relations;
use crate::scalar::plan;
use crate::statement::QuerySyntax;
use crate::stream::{Column, Stream};
use crate::system_time::AsOfClause;
use crate::table::Table;
use crate::table_join::{JoinKey, TableJoin};

/// The rows of a stream with those of the tables joined to it.
#[derive(Clone)]
pub(crate) struct JoinedRows<'a> {
    written: Written<'a>,
    pub(crate) stream: Arc<Stream>,
    /// By which the stream's columns may be qualified, folded.
    pub(crate) qualifier: String,
    pub(crate) joins: Vec<TableJoin>,
}

/// The joins as written, and what their names may stand for.
#[derive(Clone, Copy)]
pub(crate) struct Written<'a> {
    pub(crate) from: &'a TableWithJoins,
    pub(crate) syntax: &'a QuerySyntax,
    pub(crate) relations: Relations<'a>,
}

/// A column of a joined table: the alias of the join, and its index in the table.
type JoinedColumn = (String, usize);

impl<'a> JoinedRows<'a> {
    /// Reads the joins after `relation`, which names `stream`; as many refusals as can be told apart. They bring all
    /// columns of their tables.
    pub(crate) fn read(
        relation: &Relation,
        stream: Arc<Stream>,
        written: Written<'a>,
    ) -> Result<JoinedRows<'a>, Vec<Refusal>> {
        JoinedRows { written, stream, qualifier: relation.qualifier(), joins: Vec::new() }.with_joins(|_| true)
    }

    fn with_joins(mut self, brings: impl Fn(&JoinedColumn) -> bool) -> Result<JoinedRows<'a>, Vec<Refusal>> {
        for clause in &self.written.from.joins {
            // A join behind a refused one may read it: what would be said of that only follows.
            let mut join = self.join(clause)?;
            join.columns.retain(|column| brings(&(join.alias.clone(), *column)));
            self.joins.push(join);
        }
        Ok(self)
    }

    /// The stream's columns, those that cannot be named too, then for each join those that it brings, qualified by the aliases.
    pub(crate) fn scope(&self) -> Scope {
        let mut scope = self.stream.scope_as(&self.qualifier);
        let hidden = &self.stream.columns[scope.len()..];
        hidden.iter().for_each(|column| scope.push_hidden(column.data_type.clone(), !column.not_null));
        for join in &self.joins {
            join.brings().for_each(|column| scope.push(Some(&join.alias), &column.name, column.data_type, true));
        }
        scope
    }

    /// Which names stand for which of the columns.
    pub(crate) fn names(&self) -> ColumnNames {
        let own = self.stream.named_columns().iter().map(|column| column.name.clone());
        let of_join = |join: &TableJoin| {
            let alias = join.alias.clone();
            join.brings().map(move |column| (alias.clone(), column.name)).collect::<Vec<_>>()
        };
        ColumnNames::new(&self.qualifier, own, self.joins.iter().flat_map(of_join))
    }

    /// The same rows, of whose joined columns only those are brought that `read` or an ON reads: indexes of the scope.
    pub(crate) fn bringing(self, read: impl IntoIterator<Item = usize>) -> Result<JoinedRows<'a>, Vec<Refusal>> {
        let in_keys = self.joins.iter().flat_map(|join| &join.key).flat_map(|key| key.expression.columns());
        let read: BTreeSet<usize> = read.into_iter().chain(in_keys).collect();
        let joined =
            self.joins.iter().flat_map(|join| join.columns.iter().map(move |column| (join.alias.clone(), *column)));
        let numbered = joined.enumerate().map(|(place, column)| (self.stream.columns.len() + place, column));
        let brought: BTreeSet<JoinedColumn> =
            numbered.filter(|(index, _)| read.contains(index)).map(|(_, column)| column).collect();
        // Read anew, for the columns have other indexes now.
        JoinedRows { joins: Vec::new(), ..self }.with_joins(|column| brought.contains(column))
    }

    /// What a feature view reads: the stream itself, or the stream of its joined rows, which has no name in SQL.
    pub(crate) fn into_stream(self, view: &Ident) -> Arc<Stream> {
        if self.joins.is_empty() { self.stream } else { self.unnamed(view, None) }
    }

    /// The stream of these rows that pass a WHERE, which has no name in SQL and is read by one object.
    pub(crate) fn unnamed(self, reader: &Ident, filter: Option<(Expression, String)>) -> Arc<Stream> {
        let scope = self.scope();
        let joined = self.joins.iter().flat_map(|join| {
            join.brings().map(move |column| Column { name: format!("{}.{}", join.alias, column.name), ..column })
        });
        let columns: Vec<Column> = self.stream.columns.iter().cloned().chain(joined).collect();
        let output = |(index, column): (usize, &Column)| DerivedColumn {
            expression: Expression::column(index, &scope),
            text: column.name.clone(),
        };
        let outputs = columns.iter().enumerate().map(output).collect();
        let (filter, filter_text) = filter.unzip();
        let input = DerivedInput {
            stream: self.stream.clone(),
            joins: self.joins,
            window: None,
            scored: None,
            filter,
            filter_text,
            columns: outputs,
        };
        let derivation = Derivation { inputs: vec![input], hidden: 0, of_view: Some(fold(reader)) };
        Arc::new(Stream {
            name: format!("<rows of {}>", fold(reader)),
            columns,
            primary_key_enforced: false,
            timestamp_unit: None,
            checks: Vec::new(),
            connector: Connector::Derived(derivation),
            ..(*self.stream).clone()
        })
    }

    fn join(&self, clause: &JoinClause) -> Result<TableJoin, Vec<Refusal>> {
        let Written { syntax, relations, from: _ } = self.written;
        let one = |refusal| vec![refusal];
        let (relation, time) = versioned_relation_of(&clause.relation, syntax).map_err(one)?;
        let table = relations.table(&relation.name).map_err(one)?;
        let alias = relation.qualifier();
        let example = Example { rows: self, relation: &relation, table: &table };
        let condition = example.condition_of(clause).map_err(one)?;
        if alias == self.qualifier || self.joins.iter().any(|join| join.alias == alias) {
            let place = relation.alias.as_ref().unwrap_or(&relation.name).span;
            let refusal = Refusal::new(place, format!("duplicate alias `{alias}`"));
            let hint = format!("give each join its own: LEFT JOIN {} … AS name ON …", relation.name);
            return Err(vec![refusal.hint(hint)]);
        }
        let mut refusals = Vec::new();
        refusals.extend(example.check_time(time).err());
        let key = example.key(condition).map_err(|own| refusals.extend(own)).unwrap_or_default();
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let columns = (0..table.columns().len()).collect();
        Ok(TableJoin { alias, table, key, columns })
    }
}

/// A join in the making, with the rows before it; hints show how it is written.
struct Example<'a> {
    rows: &'a JoinedRows<'a>,
    relation: &'a Relation,
    table: &'a Table,
}

impl Example<'_> {
    fn alias(&self) -> String {
        self.relation.qualifier()
    }

    /// As it is written in SQL.
    fn text(&self) -> String {
        let (alias, stream) = (self.alias(), &self.rows.qualifier);
        let equalities: Vec<String> =
            self.table.key_names().iter().map(|name| format!("{alias}.{name} = {stream}.{name}")).collect();
        format!("LEFT JOIN {} {} AS {alias} ON {}", self.table.name(), self.time_text(), equalities.join(" AND "))
    }

    fn time_text(&self) -> String {
        format!("FOR SYSTEM_TIME AS OF {}.{}", self.rows.qualifier, self.rows.stream.time_column_name())
    }

    fn span(&self) -> Span {
        self.relation.name.span
    }

    fn hinted(&self, refusal: Refusal) -> Refusal {
        refusal.hint(format!("write {}", self.text()))
    }

    /// The ON of a LEFT JOIN.
    fn condition_of<'c>(&self, clause: &'c JoinClause) -> Result<&'c Expr, Refusal> {
        let JoinClause { relation: _, global, join_operator } = clause;
        let refuse = |message: &str| Err(self.hinted(Refusal::new(self.span(), message)));
        match join_operator {
            _ if *global => refuse("GLOBAL JOIN is not supported"),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => match constraint {
                JoinConstraint::On(condition) => Ok(condition),
                JoinConstraint::Using(_) => refuse("JOIN … USING is not supported"),
                JoinConstraint::Natural => refuse("NATURAL JOIN is not supported"),
                JoinConstraint::None => refuse("the JOIN has no ON"),
            },
            JoinOperator::Join(_) | JoinOperator::Inner(_) => {
                let key = self.table.key_names().first().copied().unwrap_or_default();
                let message = "JOIN with a table is not supported: every event stays, with NULLs where there is no row";
                Err(Refusal::new(self.span(), message)
                    .hint(format!("write LEFT JOIN, and WHERE {}.{key} IS NOT NULL to drop the others", self.alias())))
            }
            other => refuse(&format!("{} is not supported", join_name(other))),
        }
    }

    /// FOR SYSTEM_TIME AS OF is exactly the event time of the stream.
    fn check_time(&self, written: Option<&AsOfClause>) -> Result<(), Refusal> {
        let stream = &self.rows.stream;
        let Some(AsOfClause { span, expression, relation: _ }) = written else {
            let message = format!("the join with table `{}` does not say as of when", self.table.name());
            return Err(self.hinted(Refusal::new(self.span(), message)));
        };
        if !stream.names_time() {
            let time = stream.time_column_name();
            let message = format!("stream `{}` does not select its event time, and a join is as of it", stream.name);
            return Err(Refusal::new(*span, message).hint(format!("add `{time}` to the SELECT of `{}`", stream.name)));
        }
        let time = plan(expression, &self.rows.scope(), "FOR SYSTEM_TIME AS OF")?;
        if time.as_column() == Some(stream.time_column) {
            return Ok(());
        }
        let message = format!("FOR SYSTEM_TIME AS OF takes the event time of the stream, found `{expression}`");
        Err(Refusal::at(expression, message).or_at(*span).hint(format!("write {}", self.time_text())))
    }

    /// ON: one equality for each column of the PRIMARY KEY, in any order; back in the order of the key.
    fn key(&self, condition: &Expr) -> Result<Vec<JoinKey>, Vec<Refusal>> {
        let mut values: Vec<Option<JoinKey>> = vec![None; self.table.key().len()];
        let mut refusals = Vec::new();
        for equality in conjuncts(condition) {
            refusals.extend(self.equality(equality, &mut values).err());
        }
        let pairs = self.table.key_names().into_iter().zip(&values);
        let missing: Vec<&str> = pairs.filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        // What was refused may have been meant for them.
        if !missing.is_empty() && refusals.is_empty() {
            let names = missing.join("`, `");
            let message = format!("the join with table `{}` misses `{names}` of its PRIMARY KEY", self.table.name());
            refusals.push(self.hinted(Refusal::new(self.span(), message)));
        }
        if refusals.is_empty() { Ok(values.into_iter().flatten().collect()) } else { Err(refusals) }
    }

    fn equality(&self, equality: &Expr, values: &mut [Option<JoinKey>]) -> Result<(), Refusal> {
        let alias = self.alias();
        let Some((ident, value)) = sides(equality, &alias) else {
            let message = format!(
                "`{equality}` is not supported in ON: it takes `{alias}.key = value` for each column of the PRIMARY KEY"
            );
            return Err(self.hinted(Refusal::at(equality, message).or_at(self.span())));
        };
        let name = fold(ident);
        let Some(part) = self.table.key_names().iter().position(|key| *key == name) else {
            return Err(self.no_key_column(ident, &name));
        };
        if values[part].is_some() {
            return Err(Refusal::at(equality, format!("`{alias}.{name}` is compared twice in ON")));
        }
        if let Some(own) = named_by(value, &alias) {
            let message = format!("`{value}` is of table `{}` itself", self.table.name());
            return Err(Refusal::new(own, message).hint("ON compares its PRIMARY KEY with what stands before the join"));
        }
        let target = &self.table.columns()[self.table.key()[part]].data_type;
        let expression = self.value(value, target, &name)?;
        values[part] = Some(JoinKey { expression, text: value.to_string() });
        Ok(())
    }

    fn no_key_column(&self, ident: &Ident, name: &str) -> Refusal {
        let (alias, table) = (self.alias(), self.table.name());
        if self.table.versions.column_index(name).is_some() {
            let message = format!("`{name}` is no column of the PRIMARY KEY of table `{table}`");
            return Refusal::new(ident.span, message)
                .hint(format!("a join finds a row by its key; filter with WHERE {alias}.{name} …"));
        }
        Refusal::new(ident.span, format!("unknown column `{alias}.{name}`")).did_you_mean(name, self.table.key_names())
    }

    /// A value for a column of the key, of its type: rows are found by equal bytes.
    fn value(&self, written: &Expr, target: &DataType, name: &str) -> Result<Expression, Refusal> {
        let scope = self.rows.scope();
        let value = plan(written, &scope, "ON")?;
        let found = value.data_type();
        if found == target {
            return Ok(value);
        }
        if is_wider(target, found) {
            return plan(&cast_to(target, written), &scope, "ON");
        }
        let (alias, target, found) = (self.alias(), type_name(target), type_name(found));
        let message = format!("`{alias}.{name}` is {target}, `{written}` is {found}");
        Err(Refusal::at(written, message).label(found).hint(format!("make them equal: CAST({written} AS {target})")))
    }
}

/// Whether every value of `from` is one of `to`: then a comparison in either type is the same.
pub(crate) fn is_wider(to: &DataType, from: &DataType) -> bool {
    use DataType::*;
    matches!((from, to), (Int16, Int32 | Int64) | (Int32, Int64) | (Float32, Float64) | (Int16 | Int32, Float64))
}

/// The place of the first column in an expression that is qualified by `alias`.
fn named_by(written: &Expr, alias: &str) -> Option<Span> {
    let found = visit_expressions(written, |node| match node {
        Expr::CompoundIdentifier(parts) if parts.len() > 1 && fold(&parts[0]) == alias => {
            ControlFlow::Break(node.span())
        }
        _ => ControlFlow::Continue(()),
    });
    found.break_value()
}
