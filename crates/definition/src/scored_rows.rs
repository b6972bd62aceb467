//! How a SELECT with FEATURES is read: each row gets the vector of a feature service as of its own event time, once.
//!
//! ```text
//!   FROM t WHERE …  ──▶ rows ──▶ REQUEST by name ──▶ the service's features ──▶ the columns of the SELECT
//! ```
//! Values as of an event's time are those that are visible when the event is. They are facts, as an arrival time is one: so a
//! stream of scored rows is a source of its own, with a log, and not computed from its source again.

use std::sync::Arc;

use asof_expression::sqlparser::ast::{Expr, Ident};
use asof_expression::{Expression, Scope, fold, type_name};

use crate::connector::Connector;
use crate::join_condition::cast_to;
use crate::joined_rows::{JoinedRows, is_wider};
use crate::refusal::Refusal;
use crate::registry::Relations;
use crate::scalar::plan;
use crate::service::FeatureService;
use crate::service_call::ServiceCall;
use crate::statement::QuerySyntax;
use crate::stream::{Column, Stream};

/// What the rows of a stream are scored with.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredRows {
    /// The rows before: those of the FROM that pass the WHERE, all of their columns, as a derived stream that SQL cannot name.
    pub rows: Arc<Stream>,
    /// The services whose features they get, in the order of the text.
    pub services: Vec<BoundRequest>,
}

/// A feature service, asked for each row.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundRequest {
    /// By which its features are qualified.
    pub qualifier: String,
    /// The service.
    pub service: Arc<FeatureService>,
    /// For each column of REQUEST its value, of its type, over the columns of [`ScoredRows::rows`].
    pub request: Vec<Expression>,
}

impl ScoredRows {
    /// What the columns of the SELECT are computed from: the columns of the rows, then the features of each service.
    pub fn row_scope(&self) -> Scope {
        let mut scope = self.rows.whole_scope();
        push_features(&mut scope, &self.services);
        scope
    }
}

/// Adds the features of services behind the columns of rows.
pub(crate) fn push_features(scope: &mut Scope, services: &[BoundRequest]) {
    for BoundRequest { qualifier, service, request: _ } in services {
        for feature in &service.features {
            scope.push_qualified(qualifier, &feature.name, feature.expression.data_type().clone(), true);
        }
    }
}

/// Binds the services that a SELECT over `rows` calls.
pub(crate) fn bind(
    rows: &JoinedRows<'_>,
    syntax: &QuerySyntax,
    relations: Relations<'_>,
) -> Result<Vec<BoundRequest>, Vec<Refusal>> {
    let Some(first) = syntax.service_calls.first() else { return Ok(Vec::new()) };
    refuse_rows(rows, first).map_err(|refusal| vec![refusal])?;
    let (mut bound, mut refusals) = (Vec::new(), Vec::new());
    for call in &syntax.service_calls {
        match bind_one(rows, call, relations) {
            Ok(one) => bound.push(one),
            Err(own) => refusals.extend(own),
        }
    }
    if refusals.is_empty() { Ok(bound) } else { Err(refusals) }
}

/// Rows that cannot be scored yet.
fn refuse_rows(rows: &JoinedRows<'_>, call: &ServiceCall) -> Result<(), Refusal> {
    let joined = rows.joins.iter().map(|join| join.table.clone()).chain(rows.stream.tables()).next();
    if let Some(table) = joined {
        let message = format!("FEATURES of rows that are joined with table `{}` is not supported yet", table.name());
        return Err(Refusal::new(call.span, message).hint("join the table in the feature view"));
    }
    let origins = rows.stream.origins();
    if let Some(file) = origins.iter().find(|stream| matches!(stream.connector, Connector::File(_))) {
        let message = format!("FEATURES of rows of `{}`, which reads a file, is not supported yet", file.name);
        let hint =
            format!("declare `{0}` without the connector, and store its rows by `asof ingest {0} FILE`", file.name);
        return Err(Refusal::new(call.span, message).hint(hint));
    }
    Ok(())
}

fn bind_one(rows: &JoinedRows<'_>, call: &ServiceCall, relations: Relations<'_>) -> Result<BoundRequest, Vec<Refusal>> {
    let one = |refusal| vec![refusal];
    if fold(&call.alias) != rows.qualifier {
        let refusal = Refusal::new(call.alias.span, format!("unknown alias `{}` in FEATURES", fold(&call.alias)));
        return Err(one(refusal.hint(format!("the rows in FROM are `{}`", rows.qualifier))));
    }
    let service = relations.service(&call.service).map_err(one)?;
    let (mut request, mut refusals) = (Vec::new(), Vec::new());
    for column in &service.request {
        match value_of(column, &service, rows, call) {
            Ok(value) => request.push(value),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    Ok(BoundRequest { qualifier: call.qualifier.clone(), service, request })
}

/// The column of the rows that has the name of a column of REQUEST, in its type.
fn value_of(
    column: &Column,
    service: &FeatureService,
    rows: &JoinedRows<'_>,
    call: &ServiceCall,
) -> Result<Expression, Refusal> {
    let named = rows.stream.named_columns();
    let target = &column.data_type;
    let Some(own) = named.iter().find(|own| own.name == column.name) else {
        let message = format!(
            "`{}` has no column `{}`, which REQUEST of feature service `{}` has",
            rows.qualifier, column.name, service.name
        );
        let hint = format!("read a derived stream that has it: SELECT …, … AS {} FROM …", column.name);
        return Err(Refusal::new(call.span, message).hint(hint));
    };
    let written = Expr::CompoundIdentifier(vec![quoted(&rows.qualifier), quoted(&own.name)]);
    let scope = rows.scope();
    if own.data_type == *target {
        return plan(&written, &scope, "FEATURES");
    }
    if !is_wider(target, &own.data_type) {
        let (found, wanted) = (type_name(&own.data_type), type_name(target));
        let message = format!(
            "column `{}` is {found}, and {wanted} in REQUEST of feature service `{}`",
            column.name, service.name
        );
        return Err(Refusal::new(call.span, message).label(found).hint("make the types equal"));
    }
    plan(&cast_to(target, &written), &scope, "FEATURES")
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}
