//! How a derived stream over a group window is read: one row for each window that has closed, with the last instant of the
//! window as its event time.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use asof_expression::sqlparser::ast::{Expr, Select, SelectItem, Spanned};
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{Expression, Scope, fold, type_name};
use asof_window::{Bound, Frame, Function, GroupWindow, Which, is_event_type};

use crate::derived::{DerivedColumn, DerivedInput};
use crate::derived_branch::{Branch, BranchColumn};
use crate::grouped_rows::GroupedRows;
use crate::query::{Item, Relation, place, refuse};
use crate::refusal::Refusal;
use crate::retention;
use crate::scalar::plan;
use crate::statement::{QuerySyntax, Tokens};
use crate::stream::{Column, Stream};
use crate::view::{Aggregate, FeatureView, KeyPart, Over, aggregate_name};
use crate::window_columns::{Beside, WindowColumns, key_name};
use crate::window_function::WindowFunction;

/// The windows whose rows a SELECT gives.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowedInput {
    /// Which windows.
    pub shape: GroupWindow,
    /// The view that no SQL names, whose open window, read as of its last instant, is the row: its key is the GROUP BY
    /// without the bounds, where NULL is a group, and may have no part. It has aggregates and no features.
    pub view: Arc<FeatureView>,
}

impl WindowedInput {
    /// What the columns of a row are computed from: the parts of the key, then the aggregates of the view. They have no
    /// names that SQL can write.
    pub fn row_scope(&self) -> Scope {
        row_scope(&self.view.key, &self.view.aggregates)
    }
}

fn row_scope(key: &[KeyPart], aggregates: &[Aggregate]) -> Scope {
    let mut scope = Scope::new();
    for part in key {
        scope.push(None, &part.name, part.expression.data_type().clone(), part.expression.nullable());
    }
    for (index, aggregate) in aggregates.iter().enumerate() {
        let is_there = aggregate.function.counts() || matches!(aggregate.function, Function::WindowBound(_));
        scope.push(None, &aggregate_name(index), aggregate.data_type.clone(), !is_there);
    }
    scope
}

fn hint_of(clause: &str) -> &'static str {
    match clause {
        "ORDER BY" => "a stream is in the order of its event time",
        "HAVING" | "QUALIFY" => "filter the rows with WHERE in a derived stream of this one",
        "WITH" => "make another derived stream of it",
        "LIMIT" | "OFFSET" | "FETCH" | "DISTINCT" => "a stream goes on without end: filter its rows with WHERE",
        _ => "a derived stream over a group window is SELECT … FROM TABLE(TUMBLE(…)) [WHERE …] GROUP BY …",
    }
}

/// Reads a SELECT whose FROM is a group window.
pub(crate) fn read(
    select: &Select,
    syntax: &QuerySyntax,
    function: &WindowFunction,
    relation: &Relation,
    stream: Arc<Stream>,
) -> Result<Branch, Vec<Refusal>> {
    if !select.named_window.is_empty() {
        let refusal = refuse("WINDOW beside GROUP BY in a derived stream", place(&syntax.tokens, &["WINDOW"]));
        return Err(vec![refusal.hint("a row is one window, and sees no other")]);
    }
    let rows = GroupedRows::read(function, relation, stream, select, syntax, hint_of)?;
    let mut windowed = WindowColumns::new(&rows);
    let (mut taken, mut refusals) = (Vec::new(), Vec::new());
    for item in &select.projection {
        let result = item_of(item, &syntax.tokens)
            .and_then(|item| windowed.take(item.expression, Beside::Keys).map(|(body, _)| (item, body)));
        result.map_or_else(|refusal| refusals.push(refusal), |one| taken.push(one));
    }
    let time = windowed.bound(Bound::Time, Which::Open);
    let WindowColumns { frames, aggregates, .. } = windowed;
    let view = hidden_view(syntax, &rows, frames, aggregates);
    let scope = row_scope(&view.key, &view.aggregates);
    let (mut columns, mut outputs) = (Vec::new(), Vec::new());
    for (item, body) in taken {
        match output(&item, &body, &view, &scope) {
            Ok((column, output)) => {
                columns.push(column);
                outputs.push(output);
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    refusals.extend(retention::stream_refusal(&view, syntax.name.span));
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let time = DerivedColumn {
        expression: Expression::column(view.key.len() + time, &scope),
        text: Bound::Time.name().to_owned(),
    };
    let window = WindowedInput { shape: rows.shape, view: Arc::new(view) };
    let input = DerivedInput {
        stream: rows.stream.clone(),
        joins: Vec::new(),
        window: Some(window),
        scored: None,
        filter: None,
        filter_text: None,
        columns: outputs,
    };
    Ok(Branch { input, columns, time, time_column: time_column() })
}

/// The event time of the rows, where they do not select it.
fn time_column() -> Column {
    let data_type = DataType::Timestamp(TimeUnit::Microsecond, None);
    Column { name: Bound::Time.name().to_owned(), data_type, not_null: true }
}

fn item_of<'s>(item: &'s SelectItem, tokens: &Tokens) -> Result<Item<'s>, Refusal> {
    match item {
        SelectItem::UnnamedExpr(expression) => Ok(Item { expression, alias: None }),
        SelectItem::ExprWithAlias { expr, alias } => Ok(Item { expression: expr, alias: Some(alias) }),
        SelectItem::ExprWithAliases { expr, .. } => Err(refuse("a list of aliases", expr.span())),
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
            let span = if item.span() == Span::empty() { place(tokens, &["SELECT"]) } else { item.span() };
            Err(refuse(&format!("`{item}` beside GROUP BY"), span).hint("name the columns of a window's row"))
        }
    }
}

fn hidden_view(
    syntax: &QuerySyntax,
    rows: &GroupedRows,
    frames: Vec<Frame>,
    aggregates: Vec<Aggregate>,
) -> FeatureView {
    let parts = rows.key.iter().zip(&rows.key_expressions).enumerate();
    let key = parts.map(|(part, ((written, _), expression))| KeyPart {
        name: key_name(part),
        expression: expression.clone(),
        text: written.to_string(),
    });
    FeatureView {
        name: fold(&syntax.name),
        stream: rows.stream.clone(),
        over: Over::Events,
        key: key.collect(),
        filter: rows.filter.clone(),
        filter_text: rows.filter_text.clone(),
        frames,
        aggregates,
        outputs: Vec::new(),
        features: Vec::new(),
    }
}

fn output(
    item: &Item<'_>,
    body: &Expr,
    view: &FeatureView,
    scope: &Scope,
) -> Result<(BranchColumn, DerivedColumn), Refusal> {
    let written = item.expression;
    let expression = plan(body, scope, "a derived stream").map_err(|refusal| in_user_words(refusal, view))?;
    if !is_event_type(expression.data_type()) {
        let found = type_name(expression.data_type());
        let message = format!("`{written}` has type {found}, which is no type of a stream's column");
        return Err(Refusal::at(written, message).label(found).hint("give it a type: CAST(… AS …)"));
    }
    let name = match (item.alias, written) {
        (Some(alias), _) => Some(fold(alias)),
        (None, Expr::Identifier(name)) => Some(fold(name)),
        (None, Expr::CompoundIdentifier(parts)) => parts.last().map(fold),
        (None, _) => None,
    };
    let place = item.alias.map_or_else(|| written.span(), |alias| alias.span);
    Ok((BranchColumn { name, place }, DerivedColumn { expression, text: written.to_string() }))
}

/// A message about the scope of a window's row in the words of the SELECT.
fn in_user_words(mut refusal: Refusal, view: &FeatureView) -> Refusal {
    let keys = view.key.iter().map(|part| (part.name.clone(), &part.text));
    let aggregates = view.aggregates.iter().enumerate().map(|(index, one)| (aggregate_name(index), &one.text));
    for (name, text) in keys.chain(aggregates) {
        refusal.message = refusal.message.replace(&name, text);
    }
    refusal
}
