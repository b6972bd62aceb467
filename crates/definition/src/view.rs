//! A feature view: features of one entity over a stream, in window frames.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use asof_expression::sqlparser::ast::{Ident, Spanned};
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{Expression, Scope};
use asof_window::{Frame, Function};

use crate::query::{from_of, items, refuse, refuse_foreign_clauses, relation_of, select_of};
use crate::refusal::Refusal;
use crate::statement::QuerySyntax;
use crate::stream::Stream;
use crate::view_builder::Builder;

/// A checked `CREATE FEATURE VIEW`.
#[derive(Debug, Clone)]
pub struct FeatureView {
    /// Folded.
    pub name: String,
    /// Whose used events it looks at.
    pub stream: Arc<Stream>,
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

/// One part of the entity key.
#[derive(Debug, Clone)]
pub struct KeyPart {
    /// The output's name, folded.
    pub name: String,
    /// Over the stream's scope.
    pub expression: Expression,
    /// As SQL, for messages.
    pub text: String,
}

/// One aggregate over a frame. Its expressions are over the stream's scope.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
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
        stream_of: impl Fn(&Ident) -> Result<Arc<Stream>, Refusal>,
        warnings: &mut Vec<Refusal>,
    ) -> Result<FeatureView, Vec<Refusal>> {
        let one = |refusal| vec![refusal];
        let select = select_of(syntax).map_err(one)?;
        refuse_foreign_clauses(select, &syntax.tokens).map_err(one)?;
        let from = from_of(select, &syntax.tokens, &syntax.name).map_err(one)?;
        if let Some(join) = from.joins.first() {
            let span = join.span();
            let refusal = refuse("JOIN in a feature view", if span == Span::empty() { from.span() } else { span });
            return Err(one(refusal.hint("a view reads one stream; a feature service joins views")));
        }
        let relation = relation_of(&from.relation, &syntax.tokens).map_err(one)?;
        let stream = stream_of(&relation.name).map_err(one)?;
        let items = items(select, &syntax.tokens).map_err(one)?;
        Builder::new(syntax, stream, relation.qualifier()).build(select, &items, warnings)
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
