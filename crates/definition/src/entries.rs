//! What a sink writes of a feature view: an entry for each entity, its key and its features, as of now. Which events they come from
//! is the view's business; a message replaces the entity's last one.

use std::sync::Arc;

use asof_expression::fold;
use asof_expression::sqlparser::ast::{Expr, Ident, Select, SelectItem, Spanned};
use asof_expression::sqlparser::tokenizer::Span;
use asof_window::Extent;

use crate::derived_branch::is_changed;
use crate::query::{from_of, place, refuse, refuse_foreign_clauses, relation_of, select_of};
use crate::refusal::Refusal;
use crate::statement::{QuerySyntax, Tokens};
use crate::stream::Column;
use crate::view::{Feature, FeatureView, Output, Over};

/// A checked `SELECT … FROM a feature view`.
#[derive(Debug, Clone, PartialEq)]
pub struct Entries {
    /// Whose entities they are.
    pub view: Arc<FeatureView>,
    /// What an entry has, in its order; every part of the key is among it.
    pub outputs: Vec<Output>,
    /// Their names and types.
    pub columns: Vec<Column>,
}

impl Entries {
    /// The name in FROM, if that is one name.
    pub(crate) fn relation(syntax: &QuerySyntax) -> Option<Ident> {
        let select = select_of(syntax).ok()?;
        let from = from_of(select, &syntax.tokens, &syntax.name).ok()?;
        relation_of(&from.relation, syntax).ok().map(|relation| relation.name)
    }

    /// Checks a SELECT from a view.
    pub(crate) fn check(syntax: &QuerySyntax, view: Arc<FeatureView>) -> Result<Entries, Vec<Refusal>> {
        let one = |refusal| vec![refusal];
        let tokens = &syntax.tokens;
        let select = select_of(syntax).map_err(one)?;
        refuse_foreign_clauses(select, tokens).map_err(one)?;
        refuse_more(select, syntax).map_err(one)?;
        refuse_view(&view, syntax.name.span).map_err(one)?;
        let from = from_of(select, tokens, &syntax.name).map_err(one)?;
        let qualifier = relation_of(&from.relation, syntax).map_err(one)?.qualifier();
        let mut entries = Entries { view, outputs: Vec::new(), columns: Vec::new() };
        let mut refusals = Vec::new();
        for item in &select.projection {
            refusals.extend(entries.take(item, &qualifier, tokens).err());
        }
        if refusals.is_empty() {
            refusals.extend(entries.lacking(syntax.name.span));
        }
        if refusals.is_empty() { Ok(entries) } else { Err(refusals) }
    }

    /// Indexes of the columns that are the entity key, in the view's order.
    pub(crate) fn key(&self) -> Vec<usize> {
        let place = |part: usize| self.outputs.iter().position(|output| *output == Output::Key(part));
        (0..self.view.key.len()).filter_map(place).collect()
    }

    fn take(&mut self, item: &SelectItem, qualifier: &str, tokens: &Tokens) -> Result<(), Refusal> {
        let span = if item.span() == Span::empty() { place(tokens, &["SELECT"]) } else { item.span() };
        let (written, alias) = match item {
            SelectItem::Wildcard(options) if !is_changed(options) => {
                let all = self.view.outputs.clone();
                return all.into_iter().try_for_each(|output| self.push(output, None, span));
            }
            SelectItem::UnnamedExpr(expression) => (expression, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            _ => return Err(refuse(&format!("`{item}`"), span).hint("write `*`, or name the columns")),
        };
        let name = match written {
            Expr::Identifier(name) => name,
            Expr::CompoundIdentifier(parts) => match &parts[..] {
                [of, name] if fold(of) == qualifier => name,
                _ => return Err(Refusal::at(written, format!("unknown column `{written}`"))),
            },
            _ => {
                let message =
                    format!("`{written}` in a sink of a feature view is not supported: it has columns of the view");
                return Err(Refusal::at(written, message).hint("make it a feature of the view"));
            }
        };
        let output = self.view.outputs.iter().copied().find(|output| self.column(*output).name == fold(name));
        let output = output.ok_or_else(|| {
            let known: Vec<String> = self.view.outputs.iter().map(|output| self.column(*output).name).collect();
            Refusal::new(name.span, format!("feature view `{}` has no `{}`", self.view.name, fold(name)))
                .did_you_mean(&fold(name), known.iter().map(String::as_str))
        })?;
        self.push(output, alias, span)
    }

    fn push(&mut self, output: Output, alias: Option<&Ident>, span: Span) -> Result<(), Refusal> {
        let own = self.column(output);
        let column = Column { name: alias.map_or(own.name, fold), ..own };
        if self.columns.iter().any(|other| other.name == column.name) {
            return Err(Refusal::new(span, format!("duplicate column `{}`", column.name)));
        }
        self.outputs.push(output);
        self.columns.push(column);
        Ok(())
    }

    fn column(&self, output: Output) -> Column {
        let (name, expression, not_null) = match output {
            Output::Key(part) => (&self.view.key[part].name, &self.view.key[part].expression, true),
            Output::Feature(feature) => {
                let Feature { name, expression, .. } = &self.view.features[feature];
                (name, expression, !expression.nullable())
            }
        };
        Column { name: name.clone(), data_type: expression.data_type().clone(), not_null }
    }

    /// A part of the key that an entry has not: nothing would say whose it is.
    fn lacking(&self, name: Span) -> Option<Refusal> {
        let is_lacking = |part: &usize| !self.outputs.contains(&Output::Key(*part));
        let part = (0..self.view.key.len()).find(is_lacking)?;
        let message =
            format!("a sink of a feature view has its whole entity key: `{}` is missing", self.view.key[part].name);
        Some(Refusal::new(name, message))
    }
}

/// Clauses that would leave entities out, or bring others in.
fn refuse_more(select: &Select, syntax: &QuerySyntax) -> Result<(), Refusal> {
    let tokens = &syntax.tokens;
    if select.selection.is_some() {
        return Err(refuse("WHERE in a sink of a feature view", place(tokens, &["WHERE"]))
            .hint("filter events in the view; an entry says what an entity is now, whatever that is"));
    }
    if !select.named_window.is_empty() {
        return Err(refuse("WINDOW in a sink of a feature view", place(tokens, &["WINDOW"])));
    }
    match from_of(select, tokens, &syntax.name)?.joins.first() {
        Some(_) => Err(refuse("JOIN in a sink of a feature view", place(tokens, &["JOIN"]))),
        None => Ok(()),
    }
}

/// Views whose values change otherwise than by the events of their own entities and by frames that slide.
fn refuse_view(view: &FeatureView, name: Span) -> Result<(), Refusal> {
    let decays = view.aggregates.iter().find(|aggregate| aggregate.function.half_life_us().is_some());
    let is_of_windows = view.frames.iter().any(|frame| matches!(frame.extent, Extent::Group { .. }));
    let refused = |what: String| Err(refuse(&format!("a sink of feature view `{}`, {what},", view.name), name));
    match (&view.over, view.stream.tables().first(), decays) {
        (Over::Row(table) | Over::Groups(table), _, _) => refused(format!("which is over table `{}`", table.name())),
        (Over::Events, Some(table), _) => refused(format!("whose events are joined with table `{}`", table.name())),
        (Over::Events, None, Some(decays)) => {
            refused(format!("in which `{}` is another number at each instant", decays.text))
        }
        (Over::Events, None, None) if is_of_windows => refused("which is over a group window".to_owned()),
        (Over::Events, None, None) => Ok(()),
    }
}
