//! The rows of a stream in group windows, and the groups that GROUP BY makes of them: what feature views and derived
//! streams over a group window have in common.

use std::ops::ControlFlow;
use std::sync::Arc;

use asof_expression::sqlparser::ast::{Expr, Select, Spanned, visit_expressions};
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{Expression, Scope, fold, type_name};
use asof_window::{Bound, GroupWindow, is_event_type};

use crate::group_by::{KeyParts, parts_of};
use crate::group_window;
use crate::key::{Canonical, ColumnNames};
use crate::query::{Hints, Relation, from_of, is_grouped, place, refuse_clauses_of};
use crate::refusal::Refusal;
use crate::scalar::{plan, plan_condition};
use crate::statement::QuerySyntax;
use crate::stream::Stream;
use crate::window_function::{WindowFunction, WindowKind};

/// What a SELECT over a group window reads.
pub(crate) struct GroupedRows {
    pub(crate) shape: GroupWindow,
    pub(crate) stream: Arc<Stream>,
    pub(crate) names: ColumnNames,
    pub(crate) scope: Scope,
    /// GROUP BY without the bounds of the window, planned.
    pub(crate) key: KeyParts,
    pub(crate) key_expressions: Vec<Expression>,
    /// WHERE.
    pub(crate) filter: Option<Expression>,
    pub(crate) filter_text: Option<String>,
}

impl GroupedRows {
    /// Reads FROM, WHERE and GROUP BY; as many refusals as can be told apart.
    pub(crate) fn read(
        function: &WindowFunction,
        relation: &Relation,
        stream: Arc<Stream>,
        select: &Select,
        syntax: &QuerySyntax,
        hints: Hints,
    ) -> Result<GroupedRows, Vec<Refusal>> {
        let one = |refusal| vec![refusal];
        refuse_other_clauses(select, syntax, hints).map_err(one)?;
        let mut refusals = Vec::new();
        let shape = group_window::check(function, &stream).map_err(|own| refusals.extend(own)).ok();
        let qualifier = relation.qualifier();
        let own = stream.named_columns().iter().map(|column| column.name.clone());
        let names = ColumnNames::new(&qualifier, own, []);
        let scope = stream.scope_as(&qualifier);
        let reader = Reader { function, stream: &stream, names: &names, scope: &scope };
        let filter = reader.filter(select).map_err(|refusal| refusals.push(refusal)).ok().flatten();
        let key = reader.key(select, syntax).map_err(|own| refusals.extend(own)).unwrap_or_default();
        let planned = key.iter().map(|(written, _)| reader.key_expression(written));
        let planned: Vec<Option<Expression>> =
            planned.map(|one| one.map_err(|refusal| refusals.push(refusal)).ok()).collect();
        match (shape, planned.into_iter().collect(), refusals.is_empty()) {
            (Some(shape), Some(key_expressions), true) => {
                let filter_text = select.selection.as_ref().map(ToString::to_string);
                Ok(GroupedRows { shape, stream, names, scope, key, key_expressions, filter, filter_text })
            }
            _ => Err(refusals),
        }
    }

    /// Which part of the key an expression is.
    pub(crate) fn key_part(&self, canonical: &Canonical) -> Option<usize> {
        self.key.iter().position(|(_, part)| part == canonical)
    }

    /// Which bound of the window an expression names; refused where the stream has a column of that name.
    pub(crate) fn bound(&self, written: &Expr) -> Result<Option<Bound>, Refusal> {
        bound_of(written, &self.stream, &self.names)
    }

    /// Refuses a bound of the window where single events are looked at.
    pub(crate) fn refuse_bounds(&self, written: &Expr, place: &str) -> Result<(), Refusal> {
        refuse_bounds_in(written, &self.stream, &self.names, place)
    }
}

/// The bound that a column of a window's rows is.
fn bound_of(written: &Expr, stream: &Stream, names: &ColumnNames) -> Result<Option<Bound>, Refusal> {
    let canonical = Canonical::of(written, names);
    let Expr::Identifier(ident) = canonical.expression() else { return Ok(None) };
    let name = fold(ident);
    let Some(bound) = Bound::from_name(&name) else { return Ok(None) };
    match stream.column_index(&name) {
        None => Ok(Some(bound)),
        Some(_) => {
            let message =
                format!("column `{name}` is ambiguous: the window has one, and so has stream `{}`", stream.name);
            let hint = format!("give that of `{}` another name: {name} AS name", stream.name);
            Err(Refusal::at(written, message).hint(hint))
        }
    }
}

fn refuse_bounds_in(written: &Expr, stream: &Stream, names: &ColumnNames, place: &str) -> Result<(), Refusal> {
    let found = visit_expressions(written, |node| match bound_of(node, stream, names) {
        Ok(None) => ControlFlow::Continue(()),
        Ok(Some(bound)) => {
            let message = format!("`{}` in {place} is not supported", bound.name());
            let hint = "it is a column of the SELECT: filter or aggregate rows by it in a derived stream of this one";
            ControlFlow::Break(Refusal::at(node, message).or_at(written.span()).hint(hint))
        }
        Err(refusal) => ControlFlow::Break(refusal.or_at(written.span())),
    });
    found.break_value().map_or(Ok(()), Err)
}

/// What neither a view nor a derived stream over a group window has.
fn refuse_other_clauses(select: &Select, syntax: &QuerySyntax, hints: Hints) -> Result<(), Refusal> {
    let tokens = &syntax.tokens;
    refuse_clauses_of(select, tokens, hints)?;
    match from_of(select, tokens, &syntax.name)?.joins.is_empty() {
        true => Ok(()),
        false => Err(Refusal::new(place(tokens, &["JOIN"]), "JOIN beside a group window is not supported").hint(
            "join in a derived stream, and read that in the window; or join the table to the rows of the window",
        )),
    }
}

/// What the clauses are read against.
struct Reader<'r> {
    function: &'r WindowFunction,
    stream: &'r Stream,
    names: &'r ColumnNames,
    scope: &'r Scope,
}

impl Reader<'_> {
    fn filter(&self, select: &Select) -> Result<Option<Expression>, Refusal> {
        let Some(written) = &select.selection else { return Ok(None) };
        if self.function.kind == WindowKind::Session {
            let refusal = Refusal::at(written, "WHERE beside SESSION is not supported").or_at(self.function.span);
            return Err(refusal.hint(
                "it could mean before the sessions are made, or after: filter in a derived stream that the window reads, or in \
                 one that reads it",
            ));
        }
        refuse_bounds_in(written, self.stream, self.names, "WHERE")?;
        plan_condition(written, self.scope, "WHERE").map(Some)
    }

    /// GROUP BY: both bounds of the window, and the key.
    fn key(&self, select: &Select, syntax: &QuerySyntax) -> Result<KeyParts, Vec<Refusal>> {
        let one = |refusal| vec![refusal];
        let name = self.function.kind.name();
        if !is_grouped(&select.group_by) {
            let message = format!("the group window {name} has no GROUP BY");
            return Err(one(Refusal::new(self.function.span, message).hint(self.hint())));
        }
        let (mut key, mut bounds) = (KeyParts::new(), Vec::new());
        for (written, canonical) in parts_of(&select.group_by, self.names, syntax, &self.hint())? {
            match bound_of(&written, self.stream, self.names).map_err(one)? {
                Some(bound) => bounds.push(bound),
                None => {
                    refuse_bounds_in(&written, self.stream, self.names, "an expression of GROUP BY").map_err(one)?;
                    key.push((written, canonical));
                }
            }
        }
        for bound in [Bound::Start, Bound::End] {
            if !bounds.contains(&bound) {
                let message = format!("GROUP BY misses `{}` of the group window {name}", bound.name());
                return Err(one(Refusal::new(place(&syntax.tokens, &["GROUP", "BY"]), message).hint(self.hint())));
            }
        }
        self.check_partition(&key, place(&syntax.tokens, &["GROUP", "BY"])).map_err(one)?;
        Ok(key)
    }

    fn hint(&self) -> String {
        let parts = self.function.partition_by.iter().map(|part| format!("{part}, ")).collect::<String>();
        let key = if parts.is_empty() { "key, ".to_owned() } else { parts };
        format!("write GROUP BY {key}window_start, window_end")
    }

    /// A session is one of the key by which it is grouped.
    fn check_partition(&self, key: &KeyParts, group_by: Span) -> Result<(), Refusal> {
        if self.function.kind != WindowKind::Session {
            return Ok(());
        }
        let partition = self.function.partition_by.iter().map(|part| (part, Canonical::of(part, self.names)));
        let partition: Vec<(&Expr, Canonical)> = partition.collect();
        let stray = partition.iter().find(|(_, part)| !key.iter().any(|(_, other)| other == part));
        if let Some((written, _)) = stray {
            refuse_bounds_in(written, self.stream, self.names, "PARTITION BY")?;
            let message = format!("SESSION has `{written}` in its PARTITION BY, and GROUP BY has it not");
            return Err(Refusal::at(*written, message).or_at(group_by).hint("both name the same key"));
        }
        match key.iter().find(|(_, part)| !partition.iter().any(|(_, other)| other == part)) {
            None => Ok(()),
            Some((written, _)) => {
                let message = format!("GROUP BY has `{written}`, and the PARTITION BY of SESSION has it not");
                let all: Vec<String> = key.iter().map(|(part, _)| part.to_string()).collect();
                let hint = format!("write SESSION(TABLE {} PARTITION BY {}, …)", self.stream.name, all.join(", "));
                Err(Refusal::at(written, message).or_at(group_by).hint(hint))
            }
        }
    }

    fn key_expression(&self, written: &Expr) -> Result<Expression, Refusal> {
        self.names.refuse_ambiguous(written)?;
        let expression = plan(written, self.scope, "a key")?;
        if is_event_type(expression.data_type()) {
            return Ok(expression);
        }
        let found = type_name(expression.data_type());
        Err(Refusal::at(written, format!("key part `{written}` has type {found}, which is no type of a key")))
    }
}
