//! A feature view: features of one entity over a stream, in window frames, or over the rows of a table.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use asof_expression::{Expression, Scope};
use asof_window::{Frame, Function};

use crate::grouped_view;
use crate::joined_rows::{JoinedRows, Written};
use crate::query::{from_of, items, refuse_foreign_clauses, relation_of, select_of};
use crate::refusal::Refusal;
use crate::registry::{Relations, Source};
use crate::statement::QuerySyntax;
use crate::stream::Stream;
use crate::table::Table;
use crate::table_view;
use crate::view_builder::Builder;

/// A checked `CREATE FEATURE VIEW`.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureView {
    /// Folded.
    pub name: String,
    /// Whose used events it looks at. Of a view that joins it is derived, and brings the joined columns along; of a view
    /// over a table it is the versions.
    pub stream: Arc<Stream>,
    /// Which of them count.
    pub over: Over,
    /// The entity key, in the order of the SELECT list.
    pub key: Vec<KeyPart>,
    /// WHERE: BOOLEAN, over the stream's scope.
    pub filter: Option<Expression>,
    /// WHERE as SQL; `None` without one.
    pub filter_text: Option<String>,
    /// Each frame once.
    pub frames: Vec<Frame>,
    /// Each aggregate once.
    pub aggregates: Vec<Aggregate>,
    /// What the SELECT list gives, in its order.
    pub outputs: Vec<Output>,
    /// In the order of the SELECT list.
    pub features: Vec<Feature>,
}

/// What the frames of a view run over.
#[derive(Debug, Clone, PartialEq)]
pub enum Over {
    /// The events that pass WHERE.
    Events,
    /// Of each primary key of the table the version that is valid, which is the entity's: the features are scalars over
    /// its columns, each a `last_value` of the newest version. Where there is none, or it does not pass WHERE or is set
    /// aside, all features are NULL.
    Row(Arc<Table>),
    /// The same versions, those of each group together: the aggregates are over the rows that are valid.
    Groups(Arc<Table>),
}

/// One part of the entity key.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyPart {
    /// The output's name, folded.
    pub name: String,
    /// Over the stream's scope.
    pub expression: Expression,
    /// As SQL, for messages.
    pub text: String,
}

/// One aggregate over a frame. Its expressions are over the stream's scope.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// Which, with constant arguments.
    pub function: Function,
    /// `None` for `count(*)`.
    pub argument: Option<Expression>,
    /// The y of min_by and max_by, the x of `corr(y, x)` and its like.
    pub by: Option<Expression>,
    /// FILTER (WHERE …).
    pub filter: Option<Expression>,
    /// Index into [`FeatureView::frames`].
    pub frame: usize,
    /// The type of the answer.
    pub data_type: DataType,
    /// As SQL, for messages.
    pub text: String,
}

/// A named output computed from others: of a view over its aggregates, of a service over its joins.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Folded.
    pub name: String,
    /// Over [`FeatureView::aggregate_scope`] or [`crate::FeatureService::service_scope`].
    pub expression: Expression,
    /// As SQL, for messages.
    pub text: String,
}

/// One output of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Index into [`FeatureView::key`].
    Key(usize),
    /// Index into [`FeatureView::features`].
    Feature(usize),
}

impl FeatureView {
    /// The columns that features are computed from: one per aggregate, in order. They have no names that SQL can write.
    pub fn aggregate_scope(&self) -> Scope {
        aggregate_scope(&self.aggregates)
    }

    /// Name, type and nullability of the key parts, as a request brings them.
    pub fn key_schema(&self) -> SchemaRef {
        let mut scope = Scope::new();
        self.key.iter().for_each(|part| scope.push(None, &part.name, part.expression.data_type().clone(), true));
        scope.schema()
    }

    /// Name, type and nullability of the features.
    pub fn feature_schema(&self) -> SchemaRef {
        let mut scope = Scope::new();
        for feature in &self.features {
            scope.push(None, &feature.name, feature.expression.data_type().clone(), feature.expression.nullable());
        }
        scope.schema()
    }

    /// Checks a declaration; as many refusals as can be told apart. Warnings go to `warnings`.
    pub(crate) fn check(
        syntax: &QuerySyntax,
        relations: Relations<'_>,
        warnings: &mut Vec<Refusal>,
    ) -> Result<FeatureView, Vec<Refusal>> {
        let one = |refusal| vec![refusal];
        let select = select_of(syntax).map_err(one)?;
        let from = from_of(select, &syntax.tokens, &syntax.name).map_err(one)?;
        let relation = relation_of(&from.relation, syntax).map_err(one)?;
        if let Some(function) = syntax.window_over(&relation) {
            let stream = relations.stream(&relation.name).map_err(one)?;
            return grouped_view::check(syntax, select, function, &relation, stream, warnings);
        }
        let stream = match relations.source(&relation.name).map_err(one)? {
            Source::Table(table) => return table_view::check(syntax, select, &relation, table),
            Source::Stream(stream) => stream,
        };
        refuse_foreign_clauses(select, &syntax.tokens).map_err(one)?;
        let rows = JoinedRows::read(&relation, stream, Written { from, syntax, relations })?;
        let items = items(select, &syntax.tokens).map_err(one)?;
        let view = Builder::new(syntax, rows.clone()).build(select, &items, warnings)?;
        if rows.joins.is_empty() {
            return Ok(view);
        }
        // Once more over those of the joined columns that it reads: the joins bring no others.
        let rows = rows.bringing(view.columns_read())?;
        Builder::new(syntax, rows).build(select, &items, &mut Vec::new())
    }

    /// The indexes of the columns of its stream that its expressions read; some more than once.
    fn columns_read(&self) -> Vec<usize> {
        let keys = self.key.iter().map(|part| &part.expression);
        let aggregates = self.aggregates.iter();
        let arguments = aggregates.flat_map(|one| [&one.argument, &one.by, &one.filter]).flatten();
        self.filter.iter().chain(keys).chain(arguments).flat_map(Expression::columns).collect()
    }

    /// The names of the stream or the table in its FROM, and of the tables that it joins, each once.
    pub fn reads(&self) -> Vec<String> {
        match self.stream.derivation() {
            Some(derivation) if derivation.of_view.is_some() => self.stream.reads(),
            _ => vec![self.stream.name.clone()],
        }
    }
}

pub(crate) fn aggregate_scope(aggregates: &[Aggregate]) -> Scope {
    let mut scope = Scope::new();
    for (index, aggregate) in aggregates.iter().enumerate() {
        let nullable = !aggregate.function.counts();
        scope.push(None, &aggregate_name(index), aggregate.data_type.clone(), nullable);
    }
    scope
}

/// The name of an aggregate in the scope of features.
pub(crate) fn aggregate_name(index: usize) -> String {
    format!("<aggregate {index}>")
}
