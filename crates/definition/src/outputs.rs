//! What the SELECT list of a view gives: key parts and features by name, in its order.

use asof_expression::sqlparser::ast::{Expr, Spanned};
use asof_expression::{Scope, fold, type_name};
use asof_window::is_event_type;

use crate::key::Canonical;
use crate::query::Item;
use crate::refusal::Refusal;
use crate::scalar::plan;
use crate::view::{Aggregate, Feature, KeyPart, Output, aggregate_name, aggregate_scope};

/// The outputs so far.
#[derive(Default)]
pub(crate) struct Outputs {
    pub(crate) order: Vec<Output>,
    pub(crate) key: Vec<KeyPart>,
    /// Which parts of the key are selected.
    parts: Vec<usize>,
    pub(crate) features: Vec<Feature>,
    names: Vec<String>,
}

impl Outputs {
    /// An item that is part `part` of the key.
    pub(crate) fn add_key(
        &mut self,
        item: &Item,
        part: usize,
        canonical: &Canonical,
        scope: &Scope,
    ) -> Result<(), Refusal> {
        let written = item.expression;
        if self.parts.contains(&part) {
            return Err(Refusal::at(written, format!("key part `{written}` is selected twice")));
        }
        self.parts.push(part);
        let name = match (item.alias, canonical.column_name()) {
            (Some(alias), _) => fold(alias),
            (None, Some(name)) => name,
            (None, None) => {
                return Err(Refusal::at(written, format!("key part `{written}` needs a name: `{written} AS name`")));
            }
        };
        self.check_name(&name, item)?;
        let expression = plan(written, scope, "a key")?;
        if !is_event_type(expression.data_type()) {
            let found = type_name(expression.data_type());
            let message = format!("key part `{written}` has type {found}, which is no type of a key");
            return Err(Refusal::at(written, message));
        }
        self.order.push(Output::Key(self.key.len()));
        self.key.push(KeyPart { name, expression, text: written.to_string() });
        Ok(())
    }

    /// An item whose calls are replaced by columns of `aggregates` in `body`.
    pub(crate) fn add_feature(
        &mut self,
        item: &Item,
        name: String,
        body: &Expr,
        aggregates: &[Aggregate],
    ) -> Result<(), Refusal> {
        self.check_name(&name, item)?;
        let expression = plan(body, &aggregate_scope(aggregates), "a feature")
            .map_err(|refusal| in_user_words(refusal, aggregates))?;
        self.order.push(Output::Feature(self.features.len()));
        self.features.push(Feature { name, expression, text: item.expression.to_string() });
        Ok(())
    }

    /// Why each part of the key that no item selects is refused.
    pub(crate) fn missing_keys(&self, key_parts: &[(Expr, Canonical)], hint: impl Fn(&Expr) -> String) -> Vec<Refusal> {
        let missing = key_parts.iter().enumerate().filter(|(part, _)| !self.parts.contains(part));
        let refusal = |(written, _): &(Expr, Canonical)| {
            Refusal::at(written, format!("key part `{written}` is not selected")).hint(hint(written))
        };
        missing.map(|(_, part)| refusal(part)).collect()
    }

    fn check_name(&mut self, name: &str, item: &Item) -> Result<(), Refusal> {
        if self.names.iter().any(|other| other == name) {
            let span = item.alias.map_or_else(|| item.expression.span(), |alias| alias.span);
            return Err(Refusal::new(span, format!("duplicate output name `{name}`")));
        }
        self.names.push(name.to_owned());
        Ok(())
    }
}

/// A message about the scope of aggregates in the words of the SELECT.
fn in_user_words(mut refusal: Refusal, aggregates: &[Aggregate]) -> Refusal {
    for (index, aggregate) in aggregates.iter().enumerate() {
        refusal.message = refusal.message.replace(&aggregate_name(index), &aggregate.text);
    }
    refusal
}

pub(crate) fn needs_name(what: &str, written: &Expr) -> Refusal {
    Refusal::at(written, format!("{what} `{written}` needs a name")).hint(format!("write `{written} AS name`"))
}
