//! What an output over a group window takes from a window: aggregates of its events, its bounds, and inside `lag(…)` those
//! of the window that closed last. Columns take the places of what is taken, as in a view without GROUP BY.

use std::ops::ControlFlow;

use arrow::datatypes::{DataType, TimeUnit};
use asof_expression::sqlparser::ast::helpers::attached_token::AttachedToken;
use asof_expression::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Function as FunctionCall, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    Spanned, Value, VisitMut, VisitorMut, visit_expressions_mut,
};
use asof_expression::sqlparser::tokenizer::Span;
use asof_window::{Bound, Extent, Frame, Function, Which};

use crate::call::{Call, CallContext, CallIdentity, call_text, is_aggregate};
use crate::grouped_rows::GroupedRows;
use crate::key::Canonical;
use crate::lag::Lag;
use crate::refusal::Refusal;
use crate::scalar::{name_of, plan};
use crate::view::{Aggregate, aggregate_name};
use crate::view_builder::position_or_push;

/// The aggregates and bounds taken so far, each once.
pub(crate) struct WindowColumns<'r> {
    pub(crate) rows: &'r GroupedRows,
    pub(crate) frames: Vec<Frame>,
    pub(crate) aggregates: Vec<Aggregate>,
    /// Of the aggregates, in their order.
    identities: Vec<(Identity, usize)>,
}

#[derive(PartialEq)]
enum Identity {
    Call(Box<CallIdentity>),
    Bound(Bound),
}

/// What an output may be computed from beside aggregates and bounds.
#[derive(Clone, Copy)]
pub(crate) enum Beside<'l> {
    /// A derived stream's column: parts of the key.
    Keys,
    /// A view's feature: the window that closed last.
    LastClosed(&'l Lag<'l>),
}

impl<'r> WindowColumns<'r> {
    pub(crate) fn new(rows: &'r GroupedRows) -> WindowColumns<'r> {
        WindowColumns { rows, frames: Vec::new(), aggregates: Vec::new(), identities: Vec::new() }
    }

    /// The expression with columns in place of what it takes from windows, and how much that is.
    pub(crate) fn take(&mut self, written: &Expr, beside: Beside<'_>) -> Result<(Expr, usize), Refusal> {
        let mut body = written.clone();
        let mut extraction = Extraction { columns: self, which: Which::Open, beside, taken: 0, lags: Vec::new() };
        let stop = body.visit(&mut extraction).break_value();
        let Extraction { taken, lags, .. } = extraction;
        match stop {
            Some(refusal) => Err(refusal.or_at(written.span())),
            None => {
                put_lags(&mut body, &lags);
                Ok((body, taken))
            }
        }
    }

    /// The index of the aggregate that is a bound of the window.
    pub(crate) fn bound(&mut self, bound: Bound, which: Which) -> usize {
        let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
        let aggregate = self.of_rows(Function::WindowBound(bound), which, moment, bound.name());
        self.add(Identity::Bound(bound), aggregate)
    }

    fn frame(&mut self, which: Which) -> usize {
        let extent = Extent::Group { shape: self.rows.shape, which };
        position_or_push(&mut self.frames, Frame::of(extent))
    }

    fn add(&mut self, identity: Identity, aggregate: Aggregate) -> usize {
        let same = |(other, frame): &(Identity, usize)| *other == identity && *frame == aggregate.frame;
        self.identities.iter().position(same).unwrap_or_else(|| {
            self.identities.push((identity, aggregate.frame));
            self.aggregates.push(aggregate);
            self.aggregates.len() - 1
        })
    }

    /// An aggregate that looks at no value of the events.
    fn of_rows(&mut self, function: Function, which: Which, data_type: DataType, text: &str) -> Aggregate {
        let (frame, text) = (self.frame(which), text.to_owned());
        Aggregate { function, argument: None, by: None, filter: None, frame, data_type, text }
    }

    /// The index of the aggregate of a call.
    fn aggregate(&mut self, call: &FunctionCall, which: Which) -> Result<usize, Refusal> {
        for argument in arguments_of(call) {
            self.rows.refuse_bounds(argument, "an aggregate")?;
        }
        let frame = self.frame(which);
        let context = CallContext { scope: &self.rows.scope, names: &self.rows.names };
        let Call { function, argument, by, filter, data_type, identity } =
            Call::check(call, &self.frames[frame], context)?;
        let text = call.to_string();
        let aggregate = Aggregate { function, argument, by, filter, frame, data_type, text };
        Ok(self.add(Identity::Call(Box::new(identity)), aggregate))
    }

    /// The same value, NULL where there is no window of the frame.
    fn where_there_is_one(&mut self, value: Expr, which: Which) -> Expr {
        if self.is_null_without_events(&value) {
            return value;
        }
        Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen { condition: self.is_there(which), result: value }],
            else_result: None,
        }
    }

    /// Whether a value is an aggregate alone that does not count: it needs no condition, and a list or a map may stand in none.
    fn is_null_without_events(&self, value: &Expr) -> bool {
        let Expr::Identifier(ident) = value else { return false };
        let mut aggregates = self.aggregates.iter().enumerate();
        aggregates.any(|(index, one)| !one.function.counts() && ident.value == aggregate_name(index))
    }

    /// Whether there is a window of the frame.
    fn is_there(&mut self, which: Which) -> Expr {
        let aggregate = self.of_rows(Function::Count, which, DataType::Int64, "count(*)");
        let count = self.add(Identity::Call(Box::new(CallIdentity::of_rows())), aggregate);
        Expr::BinaryOp {
            left: Box::new(column(aggregate_name(count), Span::empty())),
            op: BinaryOperator::Gt,
            right: Box::new(Expr::value(Value::Number("0".to_owned(), false))),
        }
    }

    /// A column outside an aggregate: which of the events' values would it be?
    fn bare_column(&self, written: &Expr) -> Refusal {
        match plan(written, &self.rows.scope, "a feature") {
            Err(refusal) => refusal,
            Ok(_) => Refusal::at(written, format!("column `{written}` stands outside an aggregate"))
                .hint(format!("use last_value({written}), or add it to the GROUP BY")),
        }
    }
}

/// The expressions that a call looks at events by.
fn arguments_of(call: &FunctionCall) -> Vec<&Expr> {
    let mut found: Vec<&Expr> = call.filter.iter().map(|filter| &**filter).collect();
    if let FunctionArguments::List(list) = &call.args {
        found.extend(list.args.iter().filter_map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => Some(argument),
            _ => None,
        }));
    }
    found
}

fn column(name: String, span: Span) -> Expr {
    Expr::Identifier(Ident { value: name, quote_style: Some('"'), span })
}

/// The name of a part of the key among the columns that a row of a closed window is computed from.
pub(crate) fn key_name(part: usize) -> String {
    format!("<key {part}>")
}

/// Stands for a `lag` until all else is taken.
fn lag_name(place: usize) -> String {
    format!("<lag {place}>")
}

/// Puts each lag in its place. Until now it was a name, since what is in it must not be looked at a second time; no name
/// of this kind is left that was written in SQL, for no column has it.
fn put_lags(body: &mut Expr, lags: &[Expr]) {
    let _: ControlFlow<()> = visit_expressions_mut(body, |node| {
        let place = match node {
            Expr::Identifier(ident) => (0..lags.len()).find(|place| ident.value == lag_name(*place)),
            _ => None,
        };
        if let Some(place) = place {
            *node = lags[place].clone();
        }
        ControlFlow::Continue(())
    });
}

/// Puts columns in place of what one output takes from windows.
struct Extraction<'c, 'r, 'l> {
    columns: &'c mut WindowColumns<'r>,
    which: Which,
    beside: Beside<'l>,
    taken: usize,
    lags: Vec<Expr>,
}

impl Extraction<'_, '_, '_> {
    fn replace(&mut self, node: &mut Expr) -> Result<(), Refusal> {
        let span = node.span();
        let canonical = Canonical::of(node, &self.columns.rows.names);
        if let Some(part) = self.columns.rows.key_part(&canonical) {
            *node = column(self.key(node, part)?, span);
            self.taken += 1;
            return Ok(());
        }
        let name = match node {
            Expr::Function(call) if call.over.is_some() || name_of(call).as_deref() == Some("lag") => self.lag(call)?,
            Expr::Function(call) if name_of(call).is_some_and(|name| is_aggregate(&name)) => {
                aggregate_name(self.columns.aggregate(call, self.which)?)
            }
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => match self.columns.rows.bound(node)? {
                Some(bound) => aggregate_name(self.columns.bound(bound, self.which)),
                None => return Err(self.columns.bare_column(node)),
            },
            _ => return Ok(()),
        };
        self.taken += 1;
        *node = column(name, span);
        Ok(())
    }

    fn key(&self, written: &Expr, part: usize) -> Result<String, Refusal> {
        match self.beside {
            Beside::Keys => Ok(key_name(part)),
            Beside::LastClosed(_) => {
                Err(Refusal::at(written, format!("key part `{written}` inside a feature is not supported"))
                    .hint(format!("every event of the window has it: last_value({written})")))
            }
        }
    }

    /// `lag(…) OVER (…)`: NULL before the first window has closed, else the argument over the one that closed last.
    fn lag(&mut self, call: &FunctionCall) -> Result<String, Refusal> {
        let Beside::LastClosed(lag) = self.beside else {
            let message = format!("`{} OVER …` over a group window is not supported", call_text(call));
            return Err(Refusal::at(&call.name, message).hint(
                "a row is one window, and sees no other: what comes one after the other is read by a feature view",
            ));
        };
        let argument = lag.argument_of(call)?;
        if self.which == Which::LastClosed {
            return Err(Refusal::at(&call.name, "`lag` inside `lag` is not supported")
                .hint("the window that closed last is asked for, and none before it"));
        }
        let mut value = argument.clone();
        let (which, beside) = (Which::LastClosed, self.beside);
        let mut inner = Extraction { columns: &mut *self.columns, which, beside, taken: 0, lags: Vec::new() };
        if let Some(refusal) = value.visit(&mut inner).break_value() {
            return Err(refusal.or_at(argument.span()));
        }
        if inner.taken == 0 {
            return Err(Refusal::at(argument, format!("`{argument}` in `lag` takes nothing from the window"))
                .or_at(call.name.span())
                .hint("lag takes an aggregate of the window, or a bound of it"));
        }
        self.lags.push(self.columns.where_there_is_one(value, which));
        Ok(lag_name(self.lags.len() - 1))
    }
}

impl VisitorMut for Extraction<'_, '_, '_> {
    type Break = Refusal;

    fn pre_visit_expr(&mut self, node: &mut Expr) -> ControlFlow<Refusal> {
        match self.replace(node) {
            Ok(()) => ControlFlow::Continue(()),
            Err(refusal) => ControlFlow::Break(refusal),
        }
    }
}
