//! One SELECT of a derived stream: its stream, its joins, its WHERE, the services that it calls and what its columns are
//! computed from.

use std::ops::ControlFlow;
use std::sync::Arc;

use asof_expression::sqlparser::ast::{
    Expr, Select, SelectItem, SelectItemQualifiedWildcardKind, Spanned, WildcardAdditionalOptions, visit_expressions,
};
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{Expression, Scope, fold, type_name};
use asof_window::is_event_type;

use crate::call::{call_text, is_aggregate};
use crate::derived::{DerivedColumn, DerivedInput};
use crate::joined_rows::{JoinedRows, Written};
use crate::query::{Item, Relation, from_of, is_grouped, place, refuse, refuse_clauses_of, relation_of};
use crate::refusal::Refusal;
use crate::registry::Relations;
use crate::scalar::{name_of, plan, plan_condition};
use crate::scored_rows::{self, BoundRequest, ScoredRows, push_features};
use crate::service_call::ServiceCall;
use crate::statement::{QuerySyntax, Tokens};
use crate::stream::{Column, Stream};
use crate::window_function::WindowKind;
use crate::windowed_input;

const AGGREGATE_HINT: &str = "aggregate in a feature view over the stream";

/// One SELECT, read.
pub(crate) struct Branch {
    pub(crate) input: DerivedInput,
    pub(crate) columns: Vec<BranchColumn>,
    /// The event time of its rows.
    pub(crate) time: DerivedColumn,
    /// The same as a column, where it is not selected.
    pub(crate) time_column: Column,
}

/// An output of a SELECT.
pub(crate) struct BranchColumn {
    /// `None` for an expression without AS.
    pub(crate) name: Option<String>,
    pub(crate) place: Span,
}

pub(crate) fn hint_of(clause: &str) -> &'static str {
    match clause {
        "ORDER BY" => "a stream is in the order of its event time",
        "HAVING" | "QUALIFY" => "filter rows with WHERE",
        "WITH" => "make another derived stream of it",
        "LIMIT" | "OFFSET" | "FETCH" | "DISTINCT" => "a stream goes on without end: filter its rows with WHERE",
        _ => "a derived stream is SELECT … FROM … [LEFT JOIN …] [WHERE …] [UNION ALL SELECT …]",
    }
}

pub(crate) fn relation_in(select: &Select, syntax: &QuerySyntax) -> Result<Relation, Refusal> {
    relation_of(&from_of(select, &syntax.tokens, &syntax.name)?.relation, syntax)
}

impl Branch {
    pub(crate) fn read(
        select: &Select,
        syntax: &QuerySyntax,
        relations: Relations<'_>,
    ) -> Result<Branch, Vec<Refusal>> {
        let one = |refusal| vec![refusal];
        let from = from_of(select, &syntax.tokens, &syntax.name).map_err(one)?;
        let relation = relation_in(select, syntax).map_err(one)?;
        if let Some(function) = syntax.window_over(&relation) {
            let stream = relations.stream(&relation.name).map_err(one)?;
            refuse_in_windows(syntax, &relation, &stream).map_err(one)?;
            return windowed_input::read(select, syntax, function, &relation, stream);
        }
        refuse_later_clauses(select, &syntax.tokens).map_err(one)?;
        let stream = relations.stream(&relation.name).map_err(one)?;
        let rows = JoinedRows::read(&relation, stream, Written { from, syntax, relations })?;
        let services = scored_rows::bind(&rows, syntax, relations)?;
        let branch = Branch::over(rows.clone(), services, select, syntax)?;
        if rows.joins.is_empty() {
            return Ok(branch);
        }
        // Once more over those of the joined columns that it reads: the joins bring no others.
        let read = branch.input.columns.iter().map(|column| &column.expression).chain(&branch.input.filter);
        let read: Vec<usize> = read.flat_map(Expression::columns).collect();
        Branch::over(rows.bringing(read)?, Vec::new(), select, syntax)
    }

    fn over(
        rows: JoinedRows<'_>,
        services: Vec<BoundRequest>,
        select: &Select,
        syntax: &QuerySyntax,
    ) -> Result<Branch, Vec<Refusal>> {
        let mut scope = rows.scope();
        let mut refusals = Vec::new();
        let filter = select.selection.as_ref().and_then(|written| {
            let allowed = refuse_aggregates(written).and_then(|()| refuse_features(written, &syntax.service_calls));
            let planned = allowed.and_then(|()| plan_condition(written, &scope, "WHERE"));
            planned.map_err(|refusal| refusals.push(refusal)).ok()
        });
        push_features(&mut scope, &services);
        let reader = BranchReader { scope, rows: &rows, services: &services };
        let (mut columns, mut outputs) = (Vec::new(), Vec::new());
        for item in &select.projection {
            match reader.outputs(item, &syntax.tokens) {
                Ok(read) => read.into_iter().for_each(|(column, output)| {
                    columns.push(column);
                    outputs.push(output);
                }),
                Err(refusal) => refusals.push(refusal),
            }
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let filter_text = select.selection.as_ref().map(ToString::to_string);
        let stream = rows.stream.clone();
        let time = DerivedColumn {
            expression: Expression::column(stream.time_column, &stream.whole_scope()),
            text: stream.time_column_name().to_owned(),
        };
        let time_column = stream.columns[stream.time_column].clone();
        let mut input = DerivedInput {
            stream,
            joins: rows.joins.clone(),
            window: None,
            scored: None,
            filter,
            filter_text,
            columns: outputs,
        };
        if !services.is_empty() {
            let filter = input.filter.take().zip(input.filter_text.take());
            input.scored = Some(ScoredRows { rows: rows.unnamed(&syntax.name, filter), services });
        }
        Ok(Branch { input, columns, time, time_column })
    }

    /// Whether the output at `place` is the event time, unchanged.
    pub(crate) fn is_time_at(&self, place: usize) -> bool {
        let output = self.input.columns.get(place).and_then(|output| output.expression.as_column());
        output.is_some() && output == self.time.expression.as_column()
    }

    /// Adds the event time as the last column.
    pub(crate) fn add_time(&mut self) {
        self.input.columns.push(self.time.clone());
    }
}

/// What a SELECT is read against.
struct BranchReader<'a> {
    scope: Scope,
    rows: &'a JoinedRows<'a>,
    services: &'a [BoundRequest],
}

impl BranchReader<'_> {
    /// What one item of the SELECT list gives: several columns where it is `*`.
    fn outputs(&self, item: &SelectItem, tokens: &Tokens) -> Result<Vec<(BranchColumn, DerivedColumn)>, Refusal> {
        let item = match item {
            SelectItem::UnnamedExpr(expression) => Item { expression, alias: None },
            SelectItem::ExprWithAlias { expr, alias } => Item { expression: expr, alias: Some(alias) },
            SelectItem::ExprWithAliases { expr, .. } => return Err(refuse("a list of aliases", expr.span())),
            SelectItem::Wildcard(options) => return self.all_columns(item, options, None, tokens),
            SelectItem::QualifiedWildcard(kind, options) => {
                return self.all_columns(item, options, Some(self.relation_of(kind)?), tokens);
            }
        };
        Ok(vec![self.output(&item)?])
    }

    fn output(&self, item: &Item<'_>) -> Result<(BranchColumn, DerivedColumn), Refusal> {
        let written = item.expression;
        refuse_aggregates(written)?;
        let expression = plan(written, &self.scope, "a derived stream")?;
        let name = match (item.alias, written) {
            (Some(alias), _) => Some(fold(alias)),
            (None, Expr::Identifier(name)) => Some(fold(name)),
            (None, Expr::CompoundIdentifier(parts)) => parts.last().map(fold),
            (None, _) => None,
        };
        if !is_event_type(expression.data_type()) {
            let found = type_name(expression.data_type());
            let message = format!("`{written}` has type {found}, which is no type of a stream's column");
            return Err(Refusal::at(written, message).label(found).hint("give it a type: CAST(… AS …)"));
        }
        let place = item.alias.map_or_else(|| written.span(), |alias| alias.span);
        Ok((BranchColumn { name, place }, DerivedColumn { expression, text: written.to_string() }))
    }

    /// The alias in `alias.*`.
    fn relation_of(&self, kind: &SelectItemQualifiedWildcardKind) -> Result<String, Refusal> {
        let joined = || self.rows.joins.iter().map(|join| &join.alias);
        let called = || self.services.iter().map(|one| &one.qualifier);
        let aliases = || std::iter::once(&self.rows.qualifier).chain(joined()).chain(called());
        match kind {
            SelectItemQualifiedWildcardKind::ObjectName(name) => {
                let alias = match &name.0[..] {
                    [part] => part.as_ident().map(fold).filter(|found| aliases().any(|alias| alias == found)),
                    _ => None,
                };
                alias.ok_or_else(|| {
                    let known: Vec<String> = aliases().map(|alias| format!("`{alias}.*`")).collect();
                    let kind = if self.rows.joins.is_empty() { "stream" } else { "alias" };
                    Refusal::at(name, format!("unknown {kind} `{name}` in `{name}.*`"))
                        .hint(format!("write `*` or {}", known.join(" or ")))
                })
            }
            SelectItemQualifiedWildcardKind::Expr(expression) => {
                Err(refuse(&format!("`{expression}.*`"), expression.span()))
            }
        }
    }

    /// The columns of all relations, or of the one with that alias.
    fn all_columns(
        &self,
        item: &SelectItem,
        options: &WildcardAdditionalOptions,
        alias: Option<String>,
        tokens: &Tokens,
    ) -> Result<Vec<(BranchColumn, DerivedColumn)>, Refusal> {
        let span = if item.span() == Span::empty() { place(tokens, &["SELECT"]) } else { item.span() };
        if is_changed(options) {
            return Err(refuse(&format!("`{item}`"), span).hint("write `*`, or name the columns"));
        }
        let stream = &self.rows.stream;
        let own = stream.named_columns().iter().map(|column| (&self.rows.qualifier, column.name.clone()));
        let joined =
            self.rows.joins.iter().flat_map(|join| join.brings().map(move |column| (&join.alias, column.name)));
        let called = self
            .services
            .iter()
            .flat_map(|one| one.service.features.iter().map(move |feature| (&one.qualifier, feature.name.clone())));
        let columns = own.enumerate().chain((stream.columns.len()..).zip(joined.chain(called)));
        // What is called is none of the relations that `*` stands for.
        let is_asked = |of: &String| match &alias {
            Some(alias) => alias == of,
            None => self.services.iter().all(|one| one.qualifier != *of),
        };
        let columns = columns.filter(|(_, (of, _))| is_asked(of));
        let columns = columns.map(|(index, (_, name))| {
            let expression = Expression::column(index, &self.scope);
            (BranchColumn { name: Some(name.clone()), place: span }, DerivedColumn { expression, text: name })
        });
        Ok(columns.collect())
    }
}

/// Whether more is written than `*`.
pub(crate) fn is_changed(options: &WildcardAdditionalOptions) -> bool {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    let filtered = opt_ilike.is_some() || opt_exclude.is_some() || opt_except.is_some();
    filtered || opt_replace.is_some() || opt_rename.is_some() || opt_alias.is_some()
}

/// Refuses what a derived stream does not have: what comes later by another word than what never does.
fn refuse_later_clauses(select: &Select, tokens: &Tokens) -> Result<(), Refusal> {
    if is_grouped(&select.group_by) {
        let refusal =
            Refusal::new(place(tokens, &["GROUP", "BY"]), "GROUP BY in a derived stream needs a group window");
        let example = WindowKind::Tumble.example("stream", "ts");
        return Err(refusal.hint(format!("write FROM {example} GROUP BY key, window_start, window_end")));
    }
    refuse_clauses_of(select, tokens, hint_of)?;
    match select.named_window.is_empty() {
        true => Ok(()),
        false => Err(Refusal::new(place(tokens, &["WINDOW"]), "WINDOW in a derived stream is not supported yet")
            .hint(AGGREGATE_HINT)),
    }
}

/// A group window has no rows before it closes, and counts no features.
fn refuse_in_windows(syntax: &QuerySyntax, relation: &Relation, stream: &Arc<Stream>) -> Result<(), Refusal> {
    if let Some(call) = syntax.service_calls.first() {
        return Err(Refusal::new(call.span, "FEATURES beside a group window is not supported")
            .hint("make a derived stream of the window; another one adds features to its rows"));
    }
    match stream.sources().iter().find(|source| source.scored().is_some()) {
        Some(scored) => {
            let message =
                format!("a group window over `{}`, whose rows have FEATURES, is not supported yet", scored.name);
            Err(Refusal::new(relation.name.span, message).hint("derived streams and sinks read its rows"))
        }
        None => Ok(()),
    }
}

/// Rows are filtered before they are scored.
fn refuse_features(written: &Expr, calls: &[ServiceCall]) -> Result<(), Refusal> {
    let found = visit_expressions(written, |node| match node {
        Expr::CompoundIdentifier(parts) if calls.iter().any(|call| call.word == parts[0].value) => {
            ControlFlow::Break(parts[0].span)
        }
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(span) => Err(Refusal::new(span, "FEATURES in WHERE is not supported")
            .hint("filter the rows in a derived stream, or a sink, that reads a stream of them")),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn refuse_aggregates(written: &Expr) -> Result<(), Refusal> {
    let found = visit_expressions(written, |node| match node {
        Expr::Function(call) if call.over.is_some() || name_of(call).is_some_and(|name| is_aggregate(&name)) => {
            let over = if call.over.is_some() { " OVER …" } else { "" };
            let message = format!("`{}{over}` in a derived stream is not supported yet", call_text(call));
            ControlFlow::Break(Refusal::at(&call.name, message).or_at(written.span()).hint(AGGREGATE_HINT))
        }
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(refusal) => Err(refusal),
        ControlFlow::Continue(()) => Ok(()),
    }
}
