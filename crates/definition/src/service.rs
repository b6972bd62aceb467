//! A feature service: the vector that a model reads, from views joined to the columns of a request.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use asof_expression::sqlparser::ast::{Expr, Ident, Join as JoinClause, JoinConstraint, JoinOperator, Select, Spanned};
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{Expression, Scope, fold, type_name};

use crate::join_condition::{cast_to, conjuncts, join_name, sides};
use crate::query::{Item, from_of, items, place, refuse_foreign_clauses, relation_of, select_of};
use crate::refusal::Refusal;
use crate::request::{REQUEST, RequestSyntax};
use crate::scalar::plan;
use crate::statement::{QuerySyntax, Tokens};
use crate::stream::{Column, column_type};
use crate::view::{Feature, FeatureView};

/// A checked `CREATE FEATURE SERVICE`.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureService {
    /// Folded.
    pub name: String,
    /// The alias of REQUEST, by which its columns may be qualified.
    pub request_alias: String,
    /// What a call brings along; none is NOT NULL.
    pub request: Vec<Column>,
    /// In the order of the text.
    pub joins: Vec<Join>,
    /// The vector, in the model's input order; over [`FeatureService::service_scope`].
    pub features: Vec<Feature>,
}

/// A view joined by its full entity key.
#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    /// By which the view's columns are qualified, folded.
    pub alias: String,
    /// The joined view.
    pub view: Arc<FeatureView>,
    /// One value per key part of the view, in its order and of its type, over [`FeatureService::request_scope`].
    pub key: Vec<Expression>,
}

impl FeatureService {
    /// The columns of a request, qualified by the alias of REQUEST or not.
    pub fn request_scope(&self) -> Scope {
        request_scope(&self.request_alias, &self.request)
    }

    /// The columns of REQUEST, then for each join its key parts and its features, qualified by the aliases.
    pub fn service_scope(&self) -> Scope {
        service_scope(self.request_scope(), &self.joins)
    }

    /// Name, type and nullability of the features.
    pub fn feature_schema(&self) -> SchemaRef {
        let mut scope = Scope::new();
        for feature in &self.features {
            scope.push(None, &feature.name, feature.expression.data_type().clone(), feature.expression.nullable());
        }
        scope.schema()
    }

    /// Checks a declaration; as many refusals as can be told apart.
    pub(crate) fn check(
        syntax: &QuerySyntax,
        request: &RequestSyntax,
        view_of: impl Fn(&Ident) -> Result<Arc<FeatureView>, Refusal>,
    ) -> Result<FeatureService, Vec<Refusal>> {
        let one = |refusal| vec![refusal];
        let tokens = &syntax.tokens;
        let select = select_of(syntax).map_err(one)?;
        refuse_foreign_clauses(select, tokens).map_err(one)?;
        refuse_view_clauses(select, tokens).map_err(one)?;
        let from = from_of(select, tokens, &syntax.name).map_err(one)?;
        let relation = relation_of(&from.relation, syntax).map_err(one)?;
        let request_alias = relation.qualifier();
        let items = items(select, tokens).map_err(one)?;
        let mut refusals = Vec::new();
        let request = check_request(request, &mut refusals);
        if !refusals.is_empty() {
            // Joins over refused columns would only repeat the refusals.
            return Err(refusals);
        }
        let mut service = FeatureService {
            name: fold(&syntax.name),
            request_alias,
            request,
            joins: Vec::new(),
            features: Vec::new(),
        };
        let request_scope = service.request_scope();
        let mut views_are_known = true;
        for clause in &from.joins {
            match check_join(clause, &service, &request_scope, syntax, &view_of) {
                Ok(join) => service.joins.push(join),
                Err(refusal) => {
                    // The features of a refused join would all be unknown.
                    views_are_known = false;
                    refusals.push(refusal);
                }
            }
        }
        if views_are_known && refusals.is_empty() {
            service.features = check_features(&items, &service.service_scope(), &mut refusals);
        }
        if refusals.is_empty() { Ok(service) } else { Err(refusals) }
    }
}

fn request_scope(alias: &str, request: &[Column]) -> Scope {
    let mut scope = Scope::new();
    for column in request {
        scope.push(Some(alias), &column.name, column.data_type.clone(), true);
    }
    scope
}

fn service_scope(mut scope: Scope, joins: &[Join]) -> Scope {
    for Join { alias, view, key: _ } in joins {
        for part in &view.key {
            scope.push(Some(alias), &part.name, part.expression.data_type().clone(), true);
        }
        for feature in &view.features {
            let nullable = feature.expression.nullable();
            scope.push(Some(alias), &feature.name, feature.expression.data_type().clone(), nullable);
        }
    }
    scope
}

fn refuse_view_clauses(select: &Select, tokens: &Tokens) -> Result<(), Refusal> {
    if select.selection.is_some() {
        return Err(Refusal::new(place(tokens, &["WHERE"]), "WHERE in a feature service is not supported")
            .hint("a service answers every request; filter events in the view"));
    }
    if !select.named_window.is_empty() {
        return Err(Refusal::new(place(tokens, &["WINDOW"]), "WINDOW in a feature service is not supported")
            .hint("windows belong to feature views"));
    }
    Ok(())
}

fn check_request(syntax: &RequestSyntax, refusals: &mut Vec<Refusal>) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for (ident, data_type, span) in &syntax.columns {
        let name = fold(ident);
        if columns.iter().any(|other| other.name == name) {
            refusals.push(Refusal::new(ident.span, format!("duplicate column `{name}`")));
            continue;
        }
        match column_type(ident, data_type, *span) {
            Ok(data_type) => columns.push(Column { name, data_type, not_null: false }),
            Err(refusal) => refusals.push(refusal),
        }
    }
    columns
}

fn check_join(
    clause: &JoinClause,
    service: &FeatureService,
    request_scope: &Scope,
    syntax: &QuerySyntax,
    view_of: impl Fn(&Ident) -> Result<Arc<FeatureView>, Refusal>,
) -> Result<Join, Refusal> {
    let JoinClause { relation, global, join_operator } = clause;
    let relation = relation_of(relation, syntax)?;
    let span = relation.name.span;
    let condition = match join_operator {
        _ if *global => return Err(Refusal::new(span, "GLOBAL JOIN is not supported")),
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint) => match constraint {
            JoinConstraint::On(condition) => condition,
            JoinConstraint::Using(_) => return Err(on_hint(Refusal::new(span, "JOIN … USING is not supported"))),
            JoinConstraint::Natural => return Err(on_hint(Refusal::new(span, "NATURAL JOIN is not supported"))),
            JoinConstraint::None => return Err(on_hint(Refusal::new(span, "the JOIN has no ON"))),
        },
        other => {
            return Err(Refusal::new(span, format!("{} is not supported", join_name(other)))
                .hint("use LEFT JOIN: a view answers every key"));
        }
    };
    if fold(&relation.name).eq_ignore_ascii_case(REQUEST) {
        return Err(Refusal::new(span, "REQUEST stands first in FROM, once"));
    }
    let view = view_of(&relation.name)?;
    let alias = relation.qualifier();
    let taken = alias == service.request_alias || service.joins.iter().any(|join| join.alias == alias);
    if taken {
        let span = relation.alias.as_ref().map_or(span, |alias| alias.span);
        return Err(Refusal::new(span, format!("duplicate alias `{alias}`"))
            .hint("give each join its own: LEFT JOIN view AS name"));
    }
    let key = check_key(condition, &alias, &view, request_scope, span)?;
    Ok(Join { alias, view, key })
}

fn on_hint(refusal: Refusal) -> Refusal {
    refusal.hint("write LEFT JOIN view AS a ON a.account_id = r.account_id")
}

/// ON: one equality for each key part, in any order; back in the order of the view's key.
fn check_key(
    condition: &Expr,
    alias: &str,
    view: &FeatureView,
    scope: &Scope,
    span: Span,
) -> Result<Vec<Expression>, Refusal> {
    let mut values: Vec<Option<Expression>> = vec![None; view.key.len()];
    for equality in conjuncts(condition) {
        let (ident, value) = sides(equality, alias).ok_or_else(|| {
            on_hint(Refusal::at(
                equality,
                format!("`{equality}` is not supported in ON: it takes `{alias}.key = value` for each key part"),
            ))
        })?;
        let name = fold(ident);
        let Some(part) = view.key.iter().position(|part| part.name == name) else {
            let keys = view.key.iter().map(|part| part.name.as_str());
            return Err(Refusal::new(ident.span, format!("`{name}` is no key part of feature view `{}`", view.name))
                .did_you_mean(&name, keys));
        };
        if values[part].is_some() {
            return Err(Refusal::at(equality, format!("key part `{name}` is joined twice")));
        }
        values[part] = Some(key_value(value, view.key[part].expression.data_type(), &name, scope)?);
    }
    let missing: Vec<&str> =
        view.key.iter().zip(&values).filter(|(_, value)| value.is_none()).map(|(part, _)| part.name.as_str()).collect();
    if !missing.is_empty() {
        return Err(Refusal::new(
            span,
            format!("the join with `{}` misses key part `{}`", view.name, missing.join("`, `")),
        )
        .hint("a join takes the full entity key"));
    }
    Ok(values.into_iter().flatten().collect())
}

/// A value for a key part, in the part's type.
fn key_value(written: &Expr, target: &DataType, name: &str, scope: &Scope) -> Result<Expression, Refusal> {
    let value = plan(written, scope, "ON")?;
    let found = value.data_type();
    if found == target {
        return Ok(value);
    }
    if !is_comparable(found, target) {
        let message = format!("key part `{name}` is {}, `{written}` is {}", type_name(target), type_name(found));
        return Err(Refusal::at(written, message).hint(format!("declare the REQUEST column as {}", type_name(target))));
    }
    plan(&cast_to(target, written), scope, "ON")
}

/// Types between which a key may be cast: integers of other sizes, and numbers into wider ones.
fn is_comparable(found: &DataType, target: &DataType) -> bool {
    use DataType::*;
    let integer = |data_type: &DataType| matches!(data_type, Int16 | Int32 | Int64);
    match (found, target) {
        _ if integer(found) && integer(target) => true,
        (Int16 | Int32 | Int64, Decimal128(_, _)) | (Float32, Float64) => true,
        (Int16 | Int32, Float64) => true,
        (Decimal128(_, from), Decimal128(_, to)) => from <= to,
        _ => false,
    }
}

fn check_features(items: &[Item], scope: &Scope, refusals: &mut Vec<Refusal>) -> Vec<Feature> {
    let mut features: Vec<Feature> = Vec::new();
    for item in items {
        match check_feature(item, scope) {
            Ok(feature) if features.iter().any(|other| other.name == feature.name) => {
                let span = item.alias.map_or_else(|| item.expression.span(), |alias| alias.span);
                refusals.push(
                    Refusal::new(span, format!("duplicate output name `{}`", feature.name)).hint("rename one with AS"),
                );
            }
            Ok(feature) => features.push(feature),
            Err(refusal) => refusals.push(refusal),
        }
    }
    features
}

fn check_feature(item: &Item, scope: &Scope) -> Result<Feature, Refusal> {
    let written = item.expression;
    let expression = plan(written, scope, "a feature service")?;
    let name = match (item.alias, written) {
        (Some(alias), _) => fold(alias),
        (None, Expr::Identifier(ident)) => fold(ident),
        (None, Expr::CompoundIdentifier(parts)) => fold(parts.last().expect("a compound name has parts")),
        (None, _) => {
            return Err(Refusal::at(written, format!("feature `{written}` needs a name"))
                .hint(format!("write `{written} AS name`")));
        }
    };
    Ok(Feature { name, expression, text: written.to_string() })
}
