//! The entity key: what PARTITION BY names, compared without regard to case, parentheses and qualifiers.

use std::ops::ControlFlow;

use asof_expression::fold;
use asof_expression::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Value, visit_expressions_mut,
};
use asof_window::Calendar;

use crate::refusal::Refusal;
use crate::scalar;

/// An expression in a form in which equal ones are equal: names folded, parentheses and the stream's qualifier gone.
/// Places in the text do not take part in comparisons.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Canonical(Expr);

impl Canonical {
    /// The canonical form of an expression over a stream known as `qualifier`.
    pub(crate) fn of(written: &Expr, qualifier: &str) -> Canonical {
        let mut canonical = written.clone();
        let _: ControlFlow<()> = visit_expressions_mut(&mut canonical, |node| {
            match node {
                Expr::Identifier(ident) => *ident = folded(ident),
                Expr::CompoundIdentifier(parts) => match &parts[..] {
                    [alias, name] if fold(alias) == qualifier => *node = Expr::Identifier(folded(name)),
                    _ => {}
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

    /// The folded name, if the expression is nothing but a column.
    pub(crate) fn column_name(&self) -> Option<String> {
        match &self.0 {
            Expr::Identifier(ident) => Some(fold(ident)),
            _ => None,
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
