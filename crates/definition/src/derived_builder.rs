//! How a derived stream is read: each SELECT by itself, then as branches of one stream.

use std::ops::ControlFlow;
use std::sync::Arc;

use asof_expression::sqlparser::ast::{
    Expr, Ident, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, Spanned,
    WildcardAdditionalOptions, visit_expressions,
};
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{Expression, Scope, fold, type_name};
use asof_window::is_event_type;

use crate::call::{call_text, is_aggregate};
use crate::connector::Connector;
use crate::derived::{Derivation, DerivedColumn, DerivedInput};
use crate::query::{
    Item, Relation, body_of, from_of, is_grouped, place, refuse, refuse_clauses_of, relation_of, select_in,
};
use crate::refusal::Refusal;
use crate::scalar::{name_of, plan, plan_condition};
use crate::statement::{QuerySyntax, Tokens};
use crate::stream::{Column, Stream};

/// The most branches of a derived stream: unions of unions multiply.
const BRANCHES_MAX: usize = 64;
/// The most derived streams in a row.
const DEPTH_MAX: usize = 64;
const AGGREGATE_HINT: &str = "aggregate in a feature view over the stream";

/// One SELECT, read.
struct Branch {
    input: DerivedInput,
    columns: Vec<BranchColumn>,
}

/// An output of a SELECT.
struct BranchColumn {
    /// `None` for an expression without AS.
    name: Option<String>,
    place: Span,
}

impl Stream {
    /// Checks `CREATE STREAM … AS`; as many refusals as can be told apart.
    pub(crate) fn derive(
        syntax: &QuerySyntax,
        stream_of: impl Fn(&Ident) -> Result<Arc<Stream>, Refusal>,
    ) -> Result<Stream, Vec<Refusal>> {
        let one = |refusal| vec![refusal];
        let body = body_of(syntax, hint_of).map_err(one)?;
        let (mut branches, mut refusals) = (Vec::new(), Vec::new());
        for select in selects_of(body, &syntax.tokens).map_err(one)? {
            match Branch::read(select, syntax, &stream_of) {
                Ok(branch) => branches.push(branch),
                Err(own) => refusals.extend(own),
            }
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        united(syntax, branches)
    }
}

/// The names in every FROM, as far as they can be read.
pub(crate) fn relations(syntax: &QuerySyntax) -> Vec<Ident> {
    let selects = body_of(syntax, hint_of).and_then(|body| selects_of(body, &syntax.tokens));
    let from = |select: &&Select| relation_in(select, syntax).ok().map(|relation| relation.name);
    selects.unwrap_or_default().iter().filter_map(from).collect()
}

fn hint_of(clause: &str) -> &'static str {
    match clause {
        "ORDER BY" => "a stream is in the order of its event time",
        "HAVING" | "QUALIFY" => "filter rows with WHERE",
        "WITH" => "make another derived stream of it",
        "LIMIT" | "OFFSET" | "FETCH" | "DISTINCT" => "a stream goes on without end: filter its rows with WHERE",
        _ => "a derived stream is SELECT … FROM … [WHERE …] [UNION ALL SELECT …]",
    }
}

/// The SELECTs between UNION ALL, in their order.
fn selects_of<'a>(body: &'a SetExpr, tokens: &Tokens) -> Result<Vec<&'a Select>, Refusal> {
    let (mut selects, mut rest) = (Vec::new(), body);
    while let SetExpr::SetOperation { op, set_quantifier, left, right } = rest {
        let operation = op.to_string();
        let at = place(tokens, &[&operation]);
        match (op, set_quantifier) {
            (SetOperator::Union, SetQuantifier::All) => {}
            (SetOperator::Union, SetQuantifier::None | SetQuantifier::Distinct) => {
                return Err(refuse("UNION without ALL", at).hint("write UNION ALL: a stream keeps every event"));
            }
            _ => return Err(refuse(&operation, at).hint(hint_of(&operation))),
        }
        selects.push(select_in(right, tokens)?);
        rest = left;
    }
    selects.push(select_in(rest, tokens)?);
    selects.reverse();
    Ok(selects)
}

fn relation_in(select: &Select, syntax: &QuerySyntax) -> Result<Relation, Refusal> {
    let from = from_of(select, &syntax.tokens, &syntax.name)?;
    if let Some(join) = from.joins.first() {
        let span = if join.span() == Span::empty() { place(&syntax.tokens, &["JOIN"]) } else { join.span() };
        return Err(Refusal::new(span, "JOIN in a derived stream is not supported yet")
            .hint("a feature service joins what views answer"));
    }
    relation_of(&from.relation, &syntax.tokens)
}

impl Branch {
    fn read(
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
    fn is_time_at(&self, place: usize) -> bool {
        let output = self.input.columns.get(place).and_then(|output| output.expression.as_column());
        output == Some(self.input.stream.time_column)
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

/// The branches as one stream: columns by position, with the names of the first branch.
fn united(syntax: &QuerySyntax, mut branches: Vec<Branch>) -> Result<Stream, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let columns = columns_of(&branches, &mut refusals);
    branches.iter().enumerate().skip(1).for_each(|(number, branch)| {
        refusals.extend(mismatch(number + 1, branch, &branches[0], syntax));
    });
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let time = (0..columns.len()).find(|place| branches.iter().all(|branch| branch.is_time_at(*place)));
    let mut columns = columns;
    if time.is_none() {
        let first = &branches[0];
        let hidden = &first.input.stream.columns[first.input.stream.time_column];
        if let Some(place) = columns.iter().position(|column| column.name == hidden.name) {
            let message = format!("column `{}` has the name of the event time, and is another one", hidden.name);
            let hint = "select the event time in every branch at the same place, or give this column another name";
            return Err(vec![Refusal::new(first.columns[place].place, message).or_at(syntax.name.span).hint(hint)]);
        }
        columns.push(hidden.clone());
        branches.iter_mut().for_each(Branch::add_time);
    }
    let primary_key = match &branches[..] {
        [branch] => kept_key(branch),
        _ => Vec::new(),
    };
    let stream = stream_of(syntax, columns, time, primary_key, branches);
    match size_refusal(&stream, syntax.name.span) {
        Some(refusal) => Err(vec![refusal]),
        None => Ok(stream),
    }
}

impl Branch {
    /// Adds the event time as the last column.
    fn add_time(&mut self) {
        let stream = &self.input.stream;
        let expression = Expression::column(stream.time_column, &stream.whole_scope());
        self.input.columns.push(DerivedColumn { expression, text: stream.time_column_name().to_owned() });
    }
}

/// The columns that the first branch names; one is NOT NULL if it is so in every branch.
fn columns_of(branches: &[Branch], refusals: &mut Vec<Refusal>) -> Vec<Column> {
    let first = &branches[0];
    let mut columns: Vec<Column> = Vec::new();
    for (place, (column, output)) in first.columns.iter().zip(&first.input.columns).enumerate() {
        let Some(name) = column.name.clone() else {
            let text = &output.text;
            let refusal = Refusal::new(column.place, format!("output `{text}` needs a name"));
            refusals.push(refusal.hint(format!("write `{text} AS name`")));
            continue;
        };
        if columns.iter().any(|other| other.name == name) {
            refusals.push(Refusal::new(column.place, format!("duplicate column `{name}`")));
        }
        let is_null_in = |branch: &Branch| branch.input.columns.get(place).is_some_and(|one| one.expression.nullable());
        let not_null = !branches.iter().any(is_null_in);
        columns.push(Column { name, data_type: output.expression.data_type().clone(), not_null });
    }
    columns
}

/// Why a later branch does not go with the first one.
fn mismatch(number: usize, branch: &Branch, first: &Branch, syntax: &QuerySyntax) -> Option<Refusal> {
    let (found, expected) = (branch.columns.len(), first.columns.len());
    if found != expected {
        let message = format!("branch {number} of the UNION ALL has {found} columns, the first one has {expected}");
        let place = branch.columns.last().map_or(syntax.name.span, |column| column.place);
        return Some(Refusal::new(place, message).or_at(syntax.name.span).hint("columns go together by their place"));
    }
    let pairs = branch.input.columns.iter().zip(&first.input.columns);
    let odd = pairs.clone().position(|(one, other)| one.expression.data_type() != other.expression.data_type())?;
    let (own, others) = (&branch.input.columns[odd], &first.input.columns[odd]);
    let (found, expected) = (type_name(own.expression.data_type()), type_name(others.expression.data_type()));
    let message = format!(
        "column {} of the UNION ALL is {found} in branch {number} (`{}`) and {expected} in the first (`{}`)",
        odd + 1,
        own.text,
        others.text
    );
    let hint = format!("make them equal: CAST({} AS {expected})", own.text);
    Some(Refusal::new(branch.columns[odd].place, message).or_at(syntax.name.span).label(found).hint(hint))
}

/// Where the columns of the source's PRIMARY KEY are, if all are selected unchanged.
fn kept_key(branch: &Branch) -> Vec<usize> {
    let place_of = |key: &usize| branch.input.columns.iter().position(|one| one.expression.as_column() == Some(*key));
    branch.input.stream.primary_key.iter().map(place_of).collect::<Option<_>>().unwrap_or_default()
}

fn stream_of(
    syntax: &QuerySyntax,
    columns: Vec<Column>,
    time: Option<usize>,
    primary_key: Vec<usize>,
    branches: Vec<Branch>,
) -> Stream {
    let sources = branches.iter().map(|branch| &branch.input.stream);
    let most = |of: fn(&Stream) -> i64| sources.clone().map(|source| of(source)).max().unwrap_or_default();
    Stream {
        name: fold(&syntax.name),
        time_column: time.unwrap_or(columns.len() - 1),
        columns,
        primary_key,
        // Repeats were found where the events arrived: here the key only orders ties.
        primary_key_enforced: false,
        lateness_us: most(|source| source.lateness_us),
        ahead_max_us: most(|source| source.ahead_max_us),
        dedup_horizon_us: most(|source| source.dedup_horizon_us),
        idle_timeout_us: most(|source| source.idle_timeout_us),
        timestamp_unit: None,
        checks: Vec::new(),
        connector: Connector::Derived(Derivation {
            inputs: branches.into_iter().map(|branch| branch.input).collect(),
            hides_time: time.is_none(),
        }),
    }
}

fn size_refusal(stream: &Stream, place: Span) -> Option<Refusal> {
    let branches: usize = stream.derivation()?.inputs.iter().map(|input| input.stream.branches().len()).sum();
    if branches > BRANCHES_MAX {
        let message = format!("a derived stream of {branches} branches is not supported: {BRANCHES_MAX} are the most");
        return Some(Refusal::new(place, message));
    }
    if stream.depth() > DEPTH_MAX {
        let message = format!("more than {DEPTH_MAX} derived streams in a row are not supported");
        return Some(Refusal::new(place, message));
    }
    None
}
