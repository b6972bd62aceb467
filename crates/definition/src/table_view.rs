//! How a view over a table is read: it has no windows, for what counts is the versions that are valid.
//!
//! Without GROUP BY the entity is the primary key, and the features are scalars over its row. With GROUP BY the entity is
//! the group, and the features are expressions over aggregates of its rows. Either way columns of the aggregate scope stand
//! in a feature for what is taken from rows, as in a view over a stream.

use std::ops::ControlFlow;
use std::sync::Arc;

use asof_expression::sqlparser::ast::{Expr, Function as FunctionCall, Ident, Select, Spanned, VisitMut, VisitorMut};
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{Scope, fold};
use asof_window::{Extent, Frame, Function};

use crate::call::{Call, CallContext, CallIdentity, call_text, is_aggregate};
use crate::group_by::{KeyParts, parts_of};
use crate::key::{Canonical, ColumnNames};
use crate::outputs::{Outputs, needs_name};
use crate::query::{Item, Relation, from_of, is_grouped, items, place, refuse_clauses_of};
use crate::refusal::Refusal;
use crate::scalar::{name_of, plan, plan_condition};
use crate::statement::QuerySyntax;
use crate::table::Table;
use crate::view::{Aggregate, FeatureView, Over, aggregate_name};

const KEY_HINT: &str = "name the columns or expressions of the entity key";
/// The newest version alone.
const NEWEST: Frame = Frame::of(Extent::Rows { preceding: 0 });

/// Checks a view whose FROM names a table.
pub(crate) fn check(
    syntax: &QuerySyntax,
    select: &Select,
    relation: &Relation,
    table: Arc<Table>,
) -> Result<FeatureView, Vec<Refusal>> {
    let one = |refusal| vec![refusal];
    refuse_other_clauses(syntax, select).map_err(one)?;
    let items = items(select, &syntax.tokens).map_err(one)?;
    let qualifier = relation.qualifier();
    let columns = table.columns().iter().map(|column| column.name.clone());
    let names = ColumnNames::new(&qualifier, columns, []);
    let key_parts = match is_grouped(&select.group_by) {
        true => parts_of(&select.group_by, &names, syntax, KEY_HINT)?,
        false => table.key_names().into_iter().map(|name| key_column(name, syntax.name.span, &names)).collect(),
    };
    let scope = table.versions.scope_as(&qualifier);
    let (aggregates, identities) = (Vec::new(), Vec::new());
    let reader =
        Reader { grouped: is_grouped(&select.group_by), table, names, scope, key_parts, aggregates, identities };
    reader.read(syntax, select, &items)
}

/// What a view over a table does not have.
fn refuse_other_clauses(syntax: &QuerySyntax, select: &Select) -> Result<(), Refusal> {
    let tokens = &syntax.tokens;
    refuse_clauses_of(select, tokens, hint_of)?;
    if !from_of(select, tokens, &syntax.name)?.joins.is_empty() {
        return Err(Refusal::new(place(tokens, &["JOIN"]), "JOIN in a view over a table is not supported")
            .hint("a stream joins tables; a feature service joins what views answer"));
    }
    match select.named_window.is_empty() {
        true => Ok(()),
        false => Err(Refusal::new(place(tokens, &["WINDOW"]), "WINDOW in a view over a table is not supported")
            .hint(WINDOW_HINT)),
    }
}

const WINDOW_HINT: &str = "what counts is the rows that are valid: GROUP BY aggregates them";

fn hint_of(clause: &str) -> &'static str {
    match clause {
        "ORDER BY" | "LIMIT" | "OFFSET" | "FETCH" | "DISTINCT" => "a view answers one row for a key and an instant",
        "HAVING" | "QUALIFY" => "filter rows with WHERE, or one aggregate with FILTER (WHERE …)",
        _ => "a view over a table is SELECT … FROM … [WHERE …] [GROUP BY …]",
    }
}

fn key_column(name: &str, place: Span, names: &ColumnNames) -> (Expr, Canonical) {
    let bare = name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    let quote_style = if bare { None } else { Some('"') };
    let written = Expr::Identifier(Ident { value: name.to_owned(), quote_style, span: place });
    let canonical = Canonical::of(&written, names);
    (written, canonical)
}

/// A view in the making.
struct Reader {
    grouped: bool,
    table: Arc<Table>,
    names: ColumnNames,
    scope: Scope,
    key_parts: KeyParts,
    aggregates: Vec<Aggregate>,
    /// Of the aggregates of groups, in their order.
    identities: Vec<CallIdentity>,
}

impl Reader {
    fn read(mut self, syntax: &QuerySyntax, select: &Select, items: &[Item]) -> Result<FeatureView, Vec<Refusal>> {
        let mut refusals = Vec::new();
        let filter = select.selection.as_ref().and_then(|written| {
            plan_condition(written, &self.scope, "WHERE").map_err(|refusal| refusals.push(refusal)).ok()
        });
        let mut outputs = Outputs::default();
        for item in items {
            refusals.extend(self.item(item, &mut outputs).err());
        }
        let clause = if self.grouped { "part of the GROUP BY" } else { "column of the PRIMARY KEY" };
        let hint = |part: &Expr| format!("every {clause} is selected: SELECT {part}, …");
        refusals.extend(outputs.missing_keys(&self.key_parts, hint));
        if outputs.features.is_empty() && refusals.is_empty() {
            let message = format!("feature view `{}` has no feature", fold(&syntax.name));
            let hint = if self.grouped { "add an aggregate: count(*) AS name" } else { "add a column of the table" };
            refusals.push(Refusal::new(syntax.name.span, message).hint(hint));
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        Ok(FeatureView {
            name: fold(&syntax.name),
            stream: self.table.versions.clone(),
            over: if self.grouped { Over::Groups(self.table) } else { Over::Row(self.table) },
            key: outputs.key,
            filter,
            filter_text: select.selection.as_ref().map(ToString::to_string),
            frames: vec![if self.grouped { Frame::LIFETIME } else { NEWEST }],
            aggregates: self.aggregates,
            outputs: outputs.order,
            features: outputs.features,
        })
    }

    fn item(&mut self, item: &Item, outputs: &mut Outputs) -> Result<(), Refusal> {
        let written = item.expression;
        let canonical = Canonical::of(written, &self.names);
        if let Some(part) = self.key_parts.iter().position(|(_, part)| *part == canonical) {
            return outputs.add_key(item, part, &canonical, &self.scope);
        }
        let mut body = written.clone();
        let mut extraction = Extraction { reader: self, taken: 0 };
        let stop = body.visit(&mut extraction).break_value();
        let taken = extraction.taken;
        if let Some(refusal) = stop {
            return Err(refusal.or_at(written.span()));
        }
        let name = match item.alias {
            Some(alias) => fold(alias),
            None => canonical.column_name().ok_or_else(|| needs_name("feature", written))?,
        };
        if taken == 0 {
            let (what, hint) = match self.grouped {
                true => ("has no aggregate", "a feature of a group is computed from aggregates of its rows"),
                false => ("reads no column", "a feature of a row is computed from its columns"),
            };
            return Err(Refusal::at(written, format!("feature `{name}` {what}"))
                .or_at(item.alias.map_or_else(Span::empty, |alias| alias.span))
                .hint(hint));
        }
        outputs.add_feature(item, name, &body, &self.aggregates)
    }

    /// The index of the aggregate that is a column of the row.
    fn column(&mut self, written: &Expr) -> Result<usize, Refusal> {
        let argument = plan(written, &self.scope, "a feature")?;
        let known = self.aggregates.iter().position(|other| other.argument.as_ref() == Some(&argument));
        if let Some(index) = known {
            return Ok(index);
        }
        let (data_type, text) = (argument.data_type().clone(), written.to_string());
        let (by, filter, argument) = (None, None, Some(argument));
        self.aggregates.push(Aggregate {
            function: Function::LastValue,
            argument,
            by,
            filter,
            frame: 0,
            data_type,
            text,
        });
        Ok(self.aggregates.len() - 1)
    }

    /// The index of an aggregate of the rows of a group.
    fn aggregate(&mut self, call: &FunctionCall) -> Result<usize, Refusal> {
        let name = name_of(call).unwrap_or_default();
        if ["array_agg", "decayed_sum", "decayed_avg"].contains(&&name[..]) {
            return Err(Refusal::at(&call.name, format!("`{name}` in GROUP BY is not supported"))
                .hint("it is over the newest events of a stream; the rows of a table are valid or not"));
        }
        let context = CallContext { scope: &self.scope, names: &self.names };
        let Call { function, argument, by, filter, data_type, identity } =
            Call::check(call, &Frame::LIFETIME, context)?;
        if let Some(index) = self.identities.iter().position(|other| *other == identity) {
            return Ok(index);
        }
        self.identities.push(identity);
        let text = call.to_string();
        self.aggregates.push(Aggregate { function, argument, by, filter, frame: 0, data_type, text });
        Ok(self.aggregates.len() - 1)
    }

    /// A column of a group's rows outside an aggregate: which of the rows' values would it be?
    fn bare_column(&self, written: &Expr) -> Refusal {
        if let Err(refusal) = plan(written, &self.scope, "a feature") {
            return refusal;
        }
        let canonical = Canonical::of(written, &self.names);
        if self.key_parts.iter().any(|(_, part)| *part == canonical) {
            return Refusal::at(written, format!("key part `{written}` inside a feature is not supported"))
                .hint(format!("every row of the group has it: max({written})"));
        }
        Refusal::at(written, format!("column `{written}` stands outside an aggregate"))
            .hint(format!("use max({written}), or add it to the GROUP BY"))
    }
}

/// Puts columns of the aggregate scope in place of what one feature takes from rows.
struct Extraction<'r> {
    reader: &'r mut Reader,
    taken: usize,
}

impl Extraction<'_> {
    fn replace(&mut self, node: &mut Expr) -> Result<(), Refusal> {
        let grouped = self.reader.grouped;
        let (index, span) = match node {
            Expr::Function(call) if call.over.is_some() => {
                let message = format!("`{} OVER …` in a view over a table is not supported", call_text(call));
                return Err(Refusal::at(&call.name, message).hint(WINDOW_HINT));
            }
            Expr::Function(call) if name_of(call).is_some_and(|name| is_aggregate(&name)) => match grouped {
                true => (self.reader.aggregate(call)?, call.name.span()),
                false => {
                    let message = format!("aggregate `{}` in a view over a table without GROUP BY", call_text(call));
                    let hint = "without it the entity is the primary key, which has one row: GROUP BY the entity key";
                    return Err(Refusal::at(&call.name, message).hint(hint));
                }
            },
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) if grouped => return Err(self.reader.bare_column(node)),
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => (self.reader.column(node)?, node.span()),
            _ => return Ok(()),
        };
        self.taken += 1;
        *node = Expr::Identifier(Ident { value: aggregate_name(index), quote_style: Some('"'), span });
        Ok(())
    }
}

impl VisitorMut for Extraction<'_> {
    type Break = Refusal;

    fn pre_visit_expr(&mut self, node: &mut Expr) -> ControlFlow<Refusal> {
        match self.replace(node) {
            Ok(()) => ControlFlow::Continue(()),
            Err(refusal) => ControlFlow::Break(refusal),
        }
    }
}
