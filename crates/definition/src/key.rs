//! The entity key: what PARTITION BY names, compared without regard to case, parentheses and qualifiers.

use std::ops::ControlFlow;

use asof_expression::fold;
use asof_expression::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Value, visit_expressions,
    visit_expressions_mut,
};
use asof_window::Calendar;

use crate::refusal::Refusal;
use crate::scalar;

/// Which names stand for which columns: those of a stream bare, those of joined tables behind their alias.
#[derive(Debug, Clone)]
pub(crate) struct ColumnNames {
    qualifier: String,
    own: Vec<String>,
    joined: Vec<(String, String)>,
}

impl ColumnNames {
    /// The columns of a relation known as `qualifier`, then those of joins as (alias, name).
    pub(crate) fn new(
        qualifier: &str,
        own: impl IntoIterator<Item = String>,
        joined: impl IntoIterator<Item = (String, String)>,
    ) -> ColumnNames {
        ColumnNames {
            qualifier: qualifier.to_owned(),
            own: own.into_iter().collect(),
            joined: joined.into_iter().collect(),
        }
    }

    /// Refuses a bare name that two relations have.
    pub(crate) fn refuse_ambiguous(&self, written: &Expr) -> Result<(), Refusal> {
        let found = visit_expressions(written, |node| match node {
            Expr::Identifier(ident) if self.owners(&fold(ident)).len() > 1 => ControlFlow::Break(ident.clone()),
            _ => ControlFlow::Continue(()),
        });
        let Some(ident) = found.break_value() else { return Ok(()) };
        let name = fold(&ident);
        let choices: Vec<String> = self.owners(&name).iter().map(|owner| format!("`{owner}.{name}`")).collect();
        Err(Refusal::new(ident.span, format!("column `{name}` is ambiguous"))
            .hint(format!("write {}", choices.join(" or "))))
    }

    /// The qualifiers of the relations that have a column of that name.
    fn owners(&self, name: &str) -> Vec<&str> {
        let own = self.own.iter().filter(|other| *other == name).map(|_| &self.qualifier[..]);
        own.chain(self.joined.iter().filter(|(_, other)| other == name).map(|(alias, _)| &alias[..])).collect()
    }
}

/// An expression in a form in which equal ones are equal: names folded, parentheses and the stream's qualifier gone, joined
/// columns behind their alias. Places in the text do not take part in comparisons.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Canonical(Expr);

impl Canonical {
    /// The canonical form of an expression over the columns of `names`.
    pub(crate) fn of(written: &Expr, names: &ColumnNames) -> Canonical {
        let mut canonical = written.clone();
        let _: ControlFlow<()> = visit_expressions_mut(&mut canonical, |node| {
            match node {
                Expr::Identifier(ident) => match names.owners(&fold(ident))[..] {
                    [owner] if owner != names.qualifier => {
                        *node = Expr::CompoundIdentifier(vec![Ident::with_quote('"', owner), folded(ident)]);
                    }
                    _ => *ident = folded(ident),
                },
                Expr::CompoundIdentifier(parts) => match &parts[..] {
                    [alias, name] if fold(alias) == names.qualifier => *node = Expr::Identifier(folded(name)),
                    _ => parts.iter_mut().for_each(|part| *part = folded(part)),
                },
                Expr::Nested(inner) => *node = std::mem::replace(&mut **inner, Expr::Identifier(Ident::new(""))),
                Expr::Function(function) => {
                    if let Some(name) = scalar::name_of(function) {
                        function.name = ObjectName::from(Ident::new(name));
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
        Canonical(canonical)
    }

    pub(crate) fn expression(&self) -> &Expr {
        &self.0
    }

    /// The folded name without alias, if the expression is nothing but a column.
    pub(crate) fn column_name(&self) -> Option<String> {
        match &self.0 {
            Expr::Identifier(ident) => Some(fold(ident)),
            Expr::CompoundIdentifier(parts) => parts.last().map(fold),
            _ => None,
        }
    }

    /// The column as it is told: one of a joined table behind its alias.
    pub(crate) fn column_text(&self) -> Option<String> {
        match &self.0 {
            Expr::CompoundIdentifier(parts) => Some(parts.iter().map(fold).collect::<Vec<_>>().join(".")),
            _ => self.column_name(),
        }
    }
}

/// Quoted, so that folding it again changes nothing.
fn folded(ident: &Ident) -> Ident {
    Ident { value: fold(ident), quote_style: Some('"'), span: ident.span }
}

/// The bucket, if a part of PARTITION BY is `date_trunc('unit', time)`; another unit over the time is refused.
pub(crate) fn calendar_part(written: &Expr, canonical: &Canonical, time: &str) -> Result<Option<Calendar>, Refusal> {
    let Expr::Function(function) = canonical.expression() else {
        return Ok(None);
    };
    let FunctionArguments::List(list) = &function.args else {
        return Ok(None);
    };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(unit)), FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] =
        &list.args[..]
    else {
        return Ok(None);
    };
    let over_time = matches!(argument, Expr::Identifier(ident) if ident.value == time);
    if scalar::name_of(function).as_deref() != Some("date_trunc") || !over_time || function.over.is_some() {
        return Ok(None);
    }
    let unit = match unit {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(unit) => unit.to_lowercase(),
            other => other.to_string(),
        },
        other => other.to_string(),
    };
    match unit.as_str() {
        "hour" => Ok(Some(Calendar::Hour)),
        "day" => Ok(Some(Calendar::Day)),
        "week" => Ok(Some(Calendar::Week)),
        "month" => Ok(Some(Calendar::Month)),
        other => Err(Refusal::at(written, format!("a calendar window by `{other}` is not supported"))
            .hint("date_trunc takes 'hour', 'day', 'week' or 'month' here")),
    }
}
