//! An aggregate call with its OVER: arguments, FILTER and types, checked against the one list of aggregates.

use arrow::datatypes::DataType;
use asof_expression::sqlparser::ast::{
    DuplicateTreatment, Expr, Function as FunctionCall, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, Spanned,
};
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{Expression, Scope, function_names, type_name};
use asof_window::{ANSWER_ITEMS_MAX, Exclusion, Extent, FUNCTION_NAMES, Frame, Function, is_event_type};

use crate::constant::{list_length, nth, quantile};
use crate::half_life::{self, half_life_us};
use crate::key::{Canonical, ColumnNames};
use crate::refusal::Refusal;
use crate::scalar::{name_of, plan, plan_condition, unknown_function};

/// Window functions of SQL that are no aggregates.
const WINDOW_FUNCTION_NAMES: &[&str] =
    &["row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead"];

/// A call, checked.
pub(crate) struct Call {
    pub(crate) function: Function,
    pub(crate) argument: Option<Expression>,
    pub(crate) by: Option<Expression>,
    pub(crate) filter: Option<Expression>,
    pub(crate) data_type: DataType,
    /// What makes two calls over one frame the same.
    pub(crate) identity: CallIdentity,
}

/// Function, arguments and filter in canonical form.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallIdentity {
    function: Function,
    argument: Option<Canonical>,
    by: Option<Canonical>,
    filter: Option<Canonical>,
}

impl CallIdentity {
    /// Of `count(*)`.
    pub(crate) fn of_rows() -> CallIdentity {
        CallIdentity { function: Function::Count, argument: None, by: None, filter: None }
    }
}

/// The columns that arguments are read against, and what they may be called.
#[derive(Clone, Copy)]
pub(crate) struct CallContext<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) names: &'a ColumnNames,
}

/// A call without its OVER, as SQL, for messages: `count(*)`.
pub(crate) fn call_text(call: &FunctionCall) -> String {
    let bare = FunctionCall { over: None, filter: None, null_treatment: None, ..call.clone() };
    bare.to_string()
}

/// Whether a folded name is an aggregate's.
pub(crate) fn is_aggregate(name: &str) -> bool {
    FUNCTION_NAMES.contains(&name)
}

impl Call {
    /// Checks a call over `frame`.
    pub(crate) fn check(call: &FunctionCall, frame: &Frame, context: CallContext) -> Result<Call, Refusal> {
        let name = check_name(call)?;
        let arguments = check_form(call, &name)?;
        let (function, values) = read_arguments(call, &name, arguments)?;
        check_frame(function, frame, call)?;
        let [argument, by] = values;
        let plan_one =
            |written: &Option<&Expr>| written.map(|written| plan(written, context.scope, "an aggregate")).transpose();
        let (planned, planned_by) = (plan_one(&argument)?, plan_one(&by)?);
        let data_type = check_types(function, call, &planned, &planned_by)?;
        let canonical = |written: &Option<&Expr>| written.map(|written| Canonical::of(written, context.names));
        let identity = CallIdentity {
            function,
            argument: canonical(&argument),
            by: canonical(&by),
            filter: canonical(&call.filter.as_deref()),
        };
        Ok(Call {
            function,
            argument: planned,
            by: planned_by,
            filter: check_filter(function, call, context)?,
            data_type,
            identity,
        })
    }
}

fn check_name(call: &FunctionCall) -> Result<String, Refusal> {
    let Some(name) = name_of(call) else {
        return Err(Refusal::at(&call.name, format!("the qualified function name `{}` is not supported", call.name)));
    };
    if FUNCTION_NAMES.contains(&name.as_str()) {
        return Ok(name);
    }
    Err(if WINDOW_FUNCTION_NAMES.contains(&name.as_str()) {
        Refusal::at(&call.name, format!("window function `{name}` is not supported"))
            .hint("features are aggregates over a frame; for the n-th event use nth_value over ROWS")
    } else if function_names().contains(&name) {
        Refusal::at(&call.name, format!("`{name}` is no aggregate and takes no OVER"))
    } else {
        unknown_function(&name, Refusal::at(&call.name, format!("unknown function `{name}`")))
    })
}

/// Refuses everything but `name([DISTINCT] arguments)`, and gives the argument list.
fn check_form<'a>(call: &'a FunctionCall, name: &str) -> Result<&'a FunctionArgumentList, Refusal> {
    let FunctionCall {
        name: written,
        uses_odbc_syntax,
        parameters,
        args,
        filter: _,
        null_treatment,
        over: _,
        within_group,
    } = call;
    let refuse = |construct: &str| Refusal::at(written, format!("{construct} is not supported"));
    if *uses_odbc_syntax || !matches!(parameters, FunctionArguments::None) {
        return Err(refuse(&format!("this form of calling `{name}`")));
    }
    if !within_group.is_empty() {
        return Err(refuse(&format!("WITHIN GROUP after `{name}`")).hint("for a quantile write quantile_cont(x, q)"));
    }
    if let Some(treatment) = null_treatment {
        return Err(refuse(&format!("{treatment} after `{name}`")));
    }
    let FunctionArguments::List(list) = args else {
        return Err(refuse(&format!("`{name}` without arguments in parentheses")));
    };
    if let Some(clause) = list.clauses.first() {
        let construct = match clause {
            FunctionArgumentClause::OrderBy(_) => "ORDER BY".to_owned(),
            FunctionArgumentClause::IgnoreOrRespectNulls(treatment) => treatment.to_string(),
            FunctionArgumentClause::Limit(_) => "LIMIT".to_owned(),
            other => format!("`{other}`"),
        };
        let refusal = refuse(&format!("{construct} inside `{name}(…)`"));
        return Err(if construct == "ORDER BY" {
            refusal.hint("the order of events is fixed: event time, then primary key")
        } else {
            refusal
        });
    }
    match list.duplicate_treatment {
        None => {}
        Some(DuplicateTreatment::Distinct) if name == "count" => {}
        Some(treatment) => {
            return Err(refuse(&format!("{treatment} in `{name}`")).hint("only count takes DISTINCT"));
        }
    }
    Ok(list)
}

type Values<'a> = [Option<&'a Expr>; 2];

/// The function with its constant arguments, and the arguments that events feed.
fn read_arguments<'a>(
    call: &'a FunctionCall,
    name: &str,
    list: &'a FunctionArgumentList,
) -> Result<(Function, Values<'a>), Refusal> {
    let distinct = list.duplicate_treatment.is_some();
    let wrong_count =
        |expected: &str| Refusal::at(&call.name, format!("`{name}` takes {expected}, found `{}`", call_text(call)));
    let mut values = Vec::new();
    for argument in &list.args {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => values.push(argument),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if name == "count" && !distinct && list.args.len() == 1 => {
                return Ok((Function::Count, [None, None]));
            }
            FunctionArg::Unnamed(_) => return Err(wrong_count("an expression")),
            FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                return Err(Refusal::at(
                    &call.name,
                    format!("the named argument `{argument}` of `{name}` is not supported"),
                ));
            }
        }
    }
    match (name, &values[..]) {
        ("nth_value", [value, n]) => Ok((Function::NthValue(nth(n)?), [Some(value), None])),
        ("nth_value", _) => Err(wrong_count("an expression and a number, nth_value(x, n)")),
        ("quantile_cont", [value, q]) => Ok((Function::Quantile(quantile(name, q)?), [Some(value), None])),
        ("approx_quantile", [value, q]) => Ok((Function::ApproxQuantile(quantile(name, q)?), [Some(value), None])),
        ("top_k", [value, k]) => Ok((Function::TopK(list_length(name, k)?), [Some(value), None])),
        ("last_distinct", [value, n]) => Ok((Function::LastDistinct(list_length(name, n)?), [Some(value), None])),
        ("quantile_cont" | "approx_quantile", _) => {
            Err(wrong_count(&format!("an expression and a number, {name}(x, q)")))
        }
        ("top_k" | "last_distinct", _) => Err(wrong_count(&format!("an expression and a number, {name}(x, 5)"))),
        ("min_by", [value, by]) => Ok((Function::MinBy, [Some(value), Some(by)])),
        ("max_by", [value, by]) => Ok((Function::MaxBy, [Some(value), Some(by)])),
        ("min_by" | "max_by", _) => Err(wrong_count("two expressions")),
        ("covar_pop" | "covar_samp" | "corr" | "regr_slope", [y, x]) => {
            Ok((plain_function(name, distinct), [Some(y), Some(x)]))
        }
        ("covar_pop" | "covar_samp" | "corr" | "regr_slope", _) => {
            Err(wrong_count(&format!("two expressions, {name}(y, x)")))
        }
        ("decayed_sum", [value, half_life]) => {
            let half_life_us = half_life_us(name, half_life, call)?;
            Ok((Function::DecayedSum { half_life_us }, [Some(value), None]))
        }
        ("decayed_avg", [value, half_life]) => {
            let half_life_us = half_life_us(name, half_life, call)?;
            Ok((Function::DecayedAvg { half_life_us }, [Some(value), None]))
        }
        ("decayed_sum" | "decayed_avg", _) => {
            Err(wrong_count(&format!("an expression and a half-life, {name}(x, INTERVAL '1' HOUR)")))
        }
        (_, [value]) => Ok((plain_function(name, distinct), [Some(value), None])),
        ("count", _) => Err(wrong_count("`*` or one expression")),
        _ => Err(wrong_count("one expression")),
    }
}

/// The function of expressions alone by its name, which is on the list.
fn plain_function(name: &str, distinct: bool) -> Function {
    match name {
        "count" if distinct => Function::CountDistinct,
        "count" => Function::Count,
        "sum" => Function::Sum,
        "avg" => Function::Avg,
        "var_pop" => Function::VarPop,
        "var_samp" => Function::VarSamp,
        "stddev_pop" => Function::StddevPop,
        "stddev_samp" => Function::StddevSamp,
        "min" => Function::Min,
        "max" => Function::Max,
        "first_value" => Function::FirstValue,
        "last_value" => Function::LastValue,
        "array_agg" => Function::ArrayAgg,
        "bool_and" => Function::BoolAnd,
        "bool_or" => Function::BoolOr,
        "median" => Function::Quantile(0.5),
        "mode" => Function::Mode,
        "covar_pop" => Function::CovarPop,
        "covar_samp" => Function::CovarSamp,
        "corr" => Function::Corr,
        "regr_slope" => Function::RegrSlope,
        "histogram" => Function::Histogram,
        "approx_count_distinct" => Function::ApproxCountDistinct,
        other => unreachable!("`{other}` is on the list of aggregates but is not read here"),
    }
}

/// Whether a frame may hold more events than one array has room for.
fn is_too_long(frame: &Frame) -> bool {
    frame.events_max().is_some_and(|events| events > ANSWER_ITEMS_MAX as u128)
}

fn check_frame(function: Function, frame: &Frame, call: &FunctionCall) -> Result<(), Refusal> {
    match (function, frame.extent) {
        (Function::ArrayAgg, Extent::Range { .. }) => {
            Err(Refusal::at(&call.name, "`array_agg` needs a ROWS frame: over RANGE its size has no bound")
                .hint("write ROWS BETWEEN 9 PRECEDING AND CURRENT ROW"))
        }
        (Function::ArrayAgg, Extent::Rows { .. }) if is_too_long(frame) => {
            let (most, events) = (ANSWER_ITEMS_MAX, frame.events_max().unwrap_or_default());
            let message = format!("`array_agg` takes at most {most} events, and this frame holds {events}");
            let (preceding, exclusion) = match frame.exclusion {
                Exclusion::NoOthers => (most - 1, ""),
                Exclusion::CurrentRow => (most, " EXCLUDE CURRENT ROW"),
                Exclusion::Group => (most, " EXCLUDE GROUP"),
            };
            Err(Refusal::at(&call.name, message)
                .hint(format!("write ROWS BETWEEN {preceding} PRECEDING AND CURRENT ROW{exclusion}")))
        }
        (Function::ArrayAgg, Extent::Group { .. }) => {
            Err(Refusal::at(&call.name, "`array_agg` over a group window is not supported: its size has no bound")
                .hint("last_distinct(x, 10) gives the newest values, top_k(x, 10) the most frequent ones"))
        }
        _ => half_life::check_frame(function, frame, call),
    }
}

fn check_types(
    function: Function,
    call: &FunctionCall,
    argument: &Option<Expression>,
    by: &Option<Expression>,
) -> Result<DataType, Refusal> {
    let found = argument.as_ref().map_or(&DataType::Null, Expression::data_type);
    if let Some(by) = by {
        let by = by.data_type();
        if !is_event_type(by) {
            return Err(mistyped(function, call, "values in an order", by));
        }
        if function.takes_pairs() && function.result_type(by).is_none() {
            return Err(mistyped(function, call, taken(function), by));
        }
    }
    match function.result_type(found) {
        Some(data_type) => Ok(data_type),
        None => Err(mistyped(function, call, taken(function), found)),
    }
}

fn taken(function: Function) -> &'static str {
    match function {
        Function::BoolAnd | Function::BoolOr => "a BOOLEAN",
        _ => "numbers",
    }
}

fn mistyped(function: Function, call: &FunctionCall, taken: &str, found: &DataType) -> Refusal {
    let found = type_name(found);
    let name = name_of(call).unwrap_or_else(|| function.name().to_owned());
    Refusal::new(argument_span(call), format!("`{name}` takes {taken}, found {found}")).label(found).or_at(call.span())
}

fn argument_span(call: &FunctionCall) -> Span {
    call.args.span()
}

fn check_filter(function: Function, call: &FunctionCall, context: CallContext) -> Result<Option<Expression>, Refusal> {
    let Some(filter) = &call.filter else {
        return Ok(None);
    };
    if !function.takes_filter() {
        return Err(Refusal::at(&**filter, format!("FILTER is not supported after `{}`", function.name()))
            .or_at(call.name.span())
            .hint("it counts every event of the frame; filter with WHERE"));
    }
    plan_condition(filter, context.scope, "FILTER").map(Some)
}
