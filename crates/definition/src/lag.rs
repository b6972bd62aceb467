//! `lag(…) OVER (PARTITION BY key ORDER BY window_start)` in a feature view over a group window: the window that closed
//! last, asked for as the standard asks for the row before.

use std::ops::ControlFlow;

use asof_expression::fold;
use asof_expression::sqlparser::ast::{
    Expr, Function as FunctionCall, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, NamedWindowDefinition,
    NamedWindowExpr, OrderByExpr, OrderByOptions, Select, Spanned, WindowSpec, WindowType, visit_expressions,
};
use asof_expression::sqlparser::tokenizer::Span;
use asof_window::Bound;

use crate::call::call_text;
use crate::grouped_rows::GroupedRows;
use crate::key::Canonical;
use crate::query::Item;
use crate::refusal::Refusal;
use crate::scalar::name_of;

/// What `lag` is read against.
pub(crate) struct Lag<'l> {
    rows: &'l GroupedRows,
    /// WINDOW, by folded names.
    named: Vec<(&'l Ident, &'l NamedWindowExpr)>,
}

impl<'l> Lag<'l> {
    /// Over the windows of a SELECT.
    pub(crate) fn new(rows: &'l GroupedRows, select: &'l Select) -> Result<Lag<'l>, Vec<Refusal>> {
        let (mut named, mut refusals): (Vec<(&Ident, &NamedWindowExpr)>, Vec<Refusal>) = (Vec::new(), Vec::new());
        for NamedWindowDefinition(ident, definition) in &select.named_window {
            if named.iter().any(|(other, _)| fold(other) == fold(ident)) {
                refusals.push(Refusal::new(ident.span, format!("duplicate window `{}`", fold(ident))));
            }
            named.push((ident, definition));
        }
        if refusals.is_empty() { Ok(Lag { rows, named }) } else { Err(refusals) }
    }

    /// What `lag` is asked of. Every other call with OVER is refused.
    pub(crate) fn argument_of<'c>(&self, call: &'c FunctionCall) -> Result<&'c Expr, Refusal> {
        let FunctionCall { name, uses_odbc_syntax, parameters, args, filter, null_treatment, over, within_group } =
            call;
        if name_of(call).as_deref() != Some("lag") {
            let message = format!("`{} OVER …` over a group window is not supported", call_text(call));
            let hint =
                format!("aggregates of the window have no OVER; of the one that closed last: {}", self.example());
            return Err(Refusal::at(name, message).hint(hint));
        }
        let refuse = |message: &str| Refusal::at(name, message).hint(format!("write {}", self.example()));
        let is_plain = !uses_odbc_syntax && matches!(parameters, FunctionArguments::None) && within_group.is_empty();
        if !is_plain || null_treatment.is_some() {
            return Err(refuse(&format!("this form of calling `{name}` is not supported")));
        }
        if filter.is_some() {
            return Err(refuse("FILTER after `lag` is not supported: it follows the aggregate inside"));
        }
        let argument = match args {
            FunctionArguments::List(list) if list.duplicate_treatment.is_none() && list.clauses.is_empty() => {
                match &list.args[..] {
                    [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] => Some(argument),
                    _ => None,
                }
            }
            _ => None,
        };
        let Some(argument) = argument else {
            let message = format!("`lag` takes one expression, found `{}`", call_text(call));
            return Err(Refusal::at(name, message).hint(format!(
                "it is of the window that closed last, NULL where none is: coalesce({}, 0)",
                self.example()
            )));
        };
        match over {
            Some(WindowType::WindowSpec(spec)) => self.check_window(spec, name.span())?,
            Some(WindowType::NamedWindow(ident)) => self.check_named(ident)?,
            None => return Err(refuse("`lag` has no OVER")),
        }
        Ok(argument)
    }

    /// The windows of WINDOW that no item names.
    pub(crate) fn unused(&self, items: &[Item]) -> Vec<Refusal> {
        let mut used = Vec::new();
        for item in items {
            let _: ControlFlow<()> = visit_expressions(item.expression, |node| {
                if let Expr::Function(FunctionCall { over: Some(WindowType::NamedWindow(ident)), .. }) = node {
                    used.push(fold(ident));
                }
                ControlFlow::Continue(())
            });
        }
        let unused = self.named.iter().filter(|(ident, _)| !used.contains(&fold(ident)));
        unused.map(|(ident, _)| Refusal::new(ident.span, format!("window `{}` is not used", fold(ident)))).collect()
    }

    fn example(&self) -> String {
        let key: Vec<String> = self.rows.key.iter().map(|(part, _)| part.to_string()).collect();
        format!("lag(count(*)) OVER (PARTITION BY {} ORDER BY window_start)", key.join(", "))
    }

    fn check_named(&self, ident: &Ident) -> Result<(), Refusal> {
        let name = fold(ident);
        match self.named.iter().find(|(other, _)| fold(other) == name) {
            Some((_, NamedWindowExpr::WindowSpec(spec))) => self.check_window(spec, ident.span),
            Some((_, NamedWindowExpr::NamedWindow(base))) => {
                Err(Refusal::new(base.span, format!("a window that refers to window `{base}` is not supported"))
                    .hint("write its PARTITION BY and ORDER BY out"))
            }
            None => {
                let known: Vec<String> = self.named.iter().map(|(other, _)| fold(other)).collect();
                Err(Refusal::new(ident.span, format!("unknown window `{name}`"))
                    .did_you_mean(&name, known.iter().map(String::as_str)))
            }
        }
    }

    /// OVER (PARTITION BY the key ORDER BY window_start).
    fn check_window(&self, spec: &WindowSpec, place: Span) -> Result<(), Refusal> {
        let WindowSpec { window_name, partition_by, order_by, window_frame } = spec;
        let refuse = |message: String| Refusal::new(place, message).hint(format!("write {}", self.example()));
        if let Some(base) = window_name {
            return Err(Refusal::new(base.span, format!("a window that builds on window `{base}` is not supported"))
                .hint("write its PARTITION BY and ORDER BY out"));
        }
        let parts: Vec<Canonical> = partition_by.iter().map(|part| Canonical::of(part, &self.rows.names)).collect();
        let is_key = parts.iter().all(|part| self.rows.key_part(part).is_some())
            && self.rows.key.iter().all(|(_, part)| parts.contains(part));
        if !is_key {
            return Err(refuse("the PARTITION BY of `lag` is the key of the GROUP BY".to_owned()));
        }
        let [OrderByExpr { expr, options: OrderByOptions { asc, nulls_first }, with_fill }] = &order_by[..] else {
            return Err(refuse("the ORDER BY of `lag` is `window_start`".to_owned()));
        };
        let is_start = self.rows.bound(expr)? == Some(Bound::Start);
        if !is_start || *asc == Some(false) || nulls_first.is_some() || with_fill.is_some() {
            return Err(refuse(format!("the ORDER BY of `lag` is `window_start`, found `{}`", order_by[0])));
        }
        match window_frame {
            None => Ok(()),
            Some(_) => Err(refuse("a frame of `lag` is not supported".to_owned())),
        }
    }
}
