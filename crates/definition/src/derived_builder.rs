//! How a derived stream is read: each SELECT by itself, then as branches of one stream.

use std::ops::Range;

use asof_expression::sqlparser::ast::{Ident, Select, SetExpr, SetOperator, SetQuantifier};
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{Expression, fold, type_name};

use crate::connector::Connector;
use crate::derived::{Derivation, DerivedColumn};
use crate::derived_branch::{Branch, hint_of, relation_in};
use crate::query::{body_of, place, refuse, select_in};
use crate::refusal::Refusal;
use crate::registry::Relations;
use crate::statement::{QuerySyntax, Tokens};
use crate::stream::{Column, Stream};

/// The most branches of a derived stream: unions of unions multiply.
const BRANCHES_MAX: usize = 64;
/// The most derived streams in a row.
const DEPTH_MAX: usize = 64;

impl Stream {
    /// Checks `CREATE STREAM … AS`; as many refusals as can be told apart.
    pub(crate) fn derive(syntax: &QuerySyntax, relations: Relations<'_>) -> Result<Stream, Vec<Refusal>> {
        let one = |refusal| vec![refusal];
        let body = body_of(syntax, hint_of).map_err(one)?;
        let (mut branches, mut refusals) = (Vec::new(), Vec::new());
        let selects = selects_of(body, &syntax.tokens).map_err(one)?;
        refuse_united(syntax, selects.len()).map_err(one)?;
        for select in selects {
            match Branch::read(select, syntax, relations) {
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

/// Rows of windows have an order among themselves, which branches beside one another have not; scored rows have a log.
fn refuse_united(syntax: &QuerySyntax, branches: usize) -> Result<(), Refusal> {
    if let Some(call) = syntax.service_calls.first().filter(|_| branches > 1) {
        return Err(Refusal::new(call.span, "FEATURES in a UNION ALL is not supported")
            .hint("make a derived stream of the UNION ALL; another one adds features to its rows"));
    }
    let Some(function) = syntax.window_functions.first().filter(|_| branches > 1) else { return Ok(()) };
    let message = format!("the group window {} in a UNION ALL is not supported", function.kind.name());
    Err(Refusal::new(function.span, message).hint("make a derived stream of each window, and UNION ALL those"))
}

/// The branches as one stream: columns by position, with the names of the first branch.
fn united(syntax: &QuerySyntax, mut branches: Vec<Branch>) -> Result<Stream, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut columns = columns_of(&branches, &mut refusals);
    branches.iter().enumerate().skip(1).for_each(|(number, branch)| {
        refusals.extend(mismatch(number + 1, branch, &branches[0], syntax));
    });
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let time = (0..columns.len()).find(|place| branches.iter().all(|branch| branch.is_time_at(*place)));
    // Before the event time is added: a key column that is not selected is no column of the derived stream.
    let mut primary_key = match &branches[..] {
        [branch] => kept_key(branch),
        _ => Vec::new(),
    };
    let named = columns.len();
    if time.is_none() {
        let first = &branches[0];
        let hidden = &first.time_column;
        if let Some(place) = columns.iter().position(|column| column.name == hidden.name) {
            let message = format!("column `{}` has the name of the event time, and is another one", hidden.name);
            let hint = match branches.len() {
                1 => "give this column another name",
                _ => "select the event time in every branch at the same place, or give this column another name",
            };
            return Err(vec![Refusal::new(first.columns[place].place, message).or_at(syntax.name.span).hint(hint)]);
        }
        columns.push(hidden.clone());
        branches.iter_mut().for_each(Branch::add_time);
    }
    let time = time.unwrap_or(named);
    if let [branch] = &mut branches[..] {
        primary_key.extend(add_window_key(branch, &mut columns));
    }
    let hidden = columns.len() - named;
    let stream = stream_of(syntax, columns, time, primary_key, (branches, hidden));
    match size_refusal(&stream, syntax.name.span) {
        Some(refusal) => Err(vec![refusal]),
        None => Ok(stream),
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
    if branch.input.window.is_some() {
        return Vec::new(); // its rows are told apart by the GROUP BY, whatever is selected
    }
    let place_of = |key: &usize| branch.input.columns.iter().position(|one| one.expression.as_column() == Some(*key));
    branch.input.stream.primary_key.iter().map(place_of).collect::<Option<_>>().unwrap_or_default()
}

/// Adds the key of a group window as the last columns, which SQL cannot name; their places. It tells rows of one event time
/// apart and orders them, whatever is selected.
fn add_window_key(branch: &mut Branch, columns: &mut Vec<Column>) -> Range<usize> {
    let first = columns.len();
    if let Some(window) = &branch.input.window {
        let scope = window.row_scope();
        for (part, key) in window.view.key.iter().enumerate() {
            let (data_type, not_null) = (key.expression.data_type().clone(), !key.expression.nullable());
            columns.push(Column { name: key.name.clone(), data_type, not_null });
            let expression = Expression::column(part, &scope);
            branch.input.columns.push(DerivedColumn { expression, text: key.text.clone() });
        }
    }
    first..columns.len()
}

fn stream_of(
    syntax: &QuerySyntax,
    columns: Vec<Column>,
    time_column: usize,
    primary_key: Vec<usize>,
    (branches, hidden): (Vec<Branch>, usize),
) -> Stream {
    let sources = branches.iter().map(|branch| &branch.input.stream);
    let most = |of: fn(&Stream) -> i64| sources.clone().map(|source| of(source)).max().unwrap_or_default();
    Stream {
        name: fold(&syntax.name),
        time_column,
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
            hidden,
            of_view: None,
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
