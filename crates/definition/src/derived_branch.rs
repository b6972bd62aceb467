//! One SELECT of a derived stream: its stream, its WHERE and what its columns are computed from.

use std::ops::ControlFlow;
use std::sync::Arc;

use asof_expression::sqlparser::ast::{
    Expr, Ident, Select, SelectItem, SelectItemQualifiedWildcardKind, Spanned, WildcardAdditionalOptions,
    visit_expressions,
};
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{Expression, Scope, fold, type_name};
use asof_window::is_event_type;

use crate::call::{call_text, is_aggregate};
use crate::derived::{DerivedColumn, DerivedInput};
use crate::query::{Item, Relation, from_of, is_grouped, place, refuse, refuse_clauses_of, relation_of};
use crate::refusal::Refusal;
use crate::scalar::{name_of, plan, plan_condition};
use crate::statement::{QuerySyntax, Tokens};
use crate::stream::Stream;

const AGGREGATE_HINT: &str = "aggregate in a feature view over the stream";

/// One SELECT, read.
pub(crate) struct Branch {
    pub(crate) input: DerivedInput,
    pub(crate) columns: Vec<BranchColumn>,
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
        _ => "a derived stream is SELECT … FROM … [WHERE …] [UNION ALL SELECT …]",
    }
}

pub(crate) fn relation_in(select: &Select, syntax: &QuerySyntax) -> Result<Relation, Refusal> {
    let from = from_of(select, &syntax.tokens, &syntax.name)?;
    if let Some(join) = from.joins.first() {
        let span = if join.span() == Span::empty() { place(&syntax.tokens, &["JOIN"]) } else { join.span() };
        return Err(Refusal::new(span, "JOIN in a derived stream is not supported yet")
            .hint("a feature service joins what views answer"));
    }
    relation_of(&from.relation, &syntax.tokens)
}

impl Branch {
    pub(crate) fn read(
        select: &Select,
        syntax: &QuerySyntax,
        stream_of: impl Fn(&Ident) -> Result<Arc<Stream>, Refusal>,
    ) -> Result<Branch, Vec<Refusal>> {
        let one = |refusal| vec![refusal];
        refuse_later_clauses(select, &syntax.tokens).map_err(one)?;
        let relation = relation_in(select, syntax).map_err(one)?;
        let stream = stream_of(&relation.name).map_err(one)?;
        let reader = BranchReader { scope: stream.scope_as(&relation.qualifier()), qualifier: relation.qualifier() };
        let mut refusals = Vec::new();
        let filter = select.selection.as_ref().and_then(|written| {
            let planned = refuse_aggregates(written).and_then(|()| plan_condition(written, &reader.scope, "WHERE"));
            planned.map_err(|refusal| refusals.push(refusal)).ok()
        });
        let (mut columns, mut outputs) = (Vec::new(), Vec::new());
        for item in &select.projection {
            match reader.outputs(item, &stream, &syntax.tokens) {
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
        Ok(Branch { input: DerivedInput { stream, filter, filter_text, columns: outputs }, columns })
    }

    /// Whether the output at `place` is the event time, unchanged.
    pub(crate) fn is_time_at(&self, place: usize) -> bool {
        let output = self.input.columns.get(place).and_then(|output| output.expression.as_column());
        output == Some(self.input.stream.time_column)
    }

    /// Adds the event time as the last column.
    pub(crate) fn add_time(&mut self) {
        let stream = &self.input.stream;
        let expression = Expression::column(stream.time_column, &stream.whole_scope());
        self.input.columns.push(DerivedColumn { expression, text: stream.time_column_name().to_owned() });
    }
}

/// What a SELECT is read against.
struct BranchReader {
    scope: Scope,
    qualifier: String,
}

impl BranchReader {
    /// What one item of the SELECT list gives: several columns where it is `*`.
    fn outputs(
        &self,
        item: &SelectItem,
        stream: &Stream,
        tokens: &Tokens,
    ) -> Result<Vec<(BranchColumn, DerivedColumn)>, Refusal> {
        let item = match item {
            SelectItem::UnnamedExpr(expression) => Item { expression, alias: None },
            SelectItem::ExprWithAlias { expr, alias } => Item { expression: expr, alias: Some(alias) },
            SelectItem::ExprWithAliases { expr, .. } => return Err(refuse("a list of aliases", expr.span())),
            SelectItem::Wildcard(options) => return self.all_columns(item, options, stream, tokens),
            SelectItem::QualifiedWildcard(kind, options) => {
                self.check_qualifier(kind)?;
                return self.all_columns(item, options, stream, tokens);
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

    fn check_qualifier(&self, kind: &SelectItemQualifiedWildcardKind) -> Result<(), Refusal> {
        match kind {
            SelectItemQualifiedWildcardKind::ObjectName(name) => match &name.0[..] {
                [part] if part.as_ident().map(fold).as_ref() == Some(&self.qualifier) => Ok(()),
                _ => Err(Refusal::at(name, format!("unknown stream `{name}` in `{name}.*`"))
                    .hint(format!("write `*` or `{}.*`", self.qualifier))),
            },
            SelectItemQualifiedWildcardKind::Expr(expression) => {
                Err(refuse(&format!("`{expression}.*`"), expression.span()))
            }
        }
    }

    fn all_columns(
        &self,
        item: &SelectItem,
        options: &WildcardAdditionalOptions,
        stream: &Stream,
        tokens: &Tokens,
    ) -> Result<Vec<(BranchColumn, DerivedColumn)>, Refusal> {
        let span = if item.span() == Span::empty() { place(tokens, &["SELECT"]) } else { item.span() };
        if is_changed(options) {
            return Err(refuse(&format!("`{item}`"), span).hint("write `*`, or name the columns"));
        }
        let columns = stream.named_columns().iter().enumerate().map(|(index, column)| {
            let expression = Expression::column(index, &self.scope);
            let output = DerivedColumn { expression, text: column.name.clone() };
            (BranchColumn { name: Some(column.name.clone()), place: span }, output)
        });
        Ok(columns.collect())
    }
}

/// Whether more is written than `*`.
fn is_changed(options: &WildcardAdditionalOptions) -> bool {
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
            Refusal::new(place(tokens, &["GROUP", "BY"]), "GROUP BY in a derived stream is not supported yet");
        return Err(refusal.hint(AGGREGATE_HINT));
    }
    refuse_clauses_of(select, tokens, hint_of)?;
    match select.named_window.is_empty() {
        true => Ok(()),
        false => Err(Refusal::new(place(tokens, &["WINDOW"]), "WINDOW in a derived stream is not supported yet")
            .hint(AGGREGATE_HINT)),
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
