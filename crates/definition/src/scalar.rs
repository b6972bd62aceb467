//! Scalar expressions in a place that has no window: planned, with errors that know about aggregates.

use arrow::datatypes::DataType;
use asof_expression::sqlparser::ast::{Expr, Function, Spanned};
use asof_expression::{Expression, PlanError, PlanErrorKind, Scope, function_names, nearest, type_name};
use asof_window::FUNCTION_NAMES;

use crate::refusal::Refusal;

/// Plans `written` over `scope`. `place` names where it stands, for messages: `WHERE`, `CHECK`.
pub(crate) fn plan(written: &Expr, scope: &Scope, place: &str) -> Result<Expression, Refusal> {
    Expression::plan(written, scope).map_err(|error| explain(error, place).or_at(written.span()))
}

/// Plans a condition: an expression that must be BOOLEAN.
pub(crate) fn plan_condition(written: &Expr, scope: &Scope, place: &str) -> Result<Expression, Refusal> {
    let condition = plan(written, scope, place)?;
    if *condition.data_type() == DataType::Boolean {
        return Ok(condition);
    }
    let found = type_name(condition.data_type());
    Err(Refusal::at(written, format!("{place} takes a BOOLEAN, found {found}")).label(found))
}

fn explain(error: PlanError, place: &str) -> Refusal {
    let PlanErrorKind::UnknownFunction { name } = &error.kind else {
        return error.into();
    };
    if FUNCTION_NAMES.contains(&name.as_str()) {
        let message = format!("aggregate `{name}` cannot stand in {place}");
        let refusal = Refusal { message, hint: None, ..error.into() };
        return refusal.hint("an aggregate is a feature of a feature view: `… OVER w AS name` in its SELECT");
    }
    let name = name.clone();
    unknown_function(&name, error.into())
}

/// "Did you mean" over aggregates and scalar functions together.
pub(crate) fn unknown_function(name: &str, refusal: Refusal) -> Refusal {
    let scalars = function_names();
    let known = FUNCTION_NAMES.iter().copied().chain(scalars.iter().map(String::as_str));
    match nearest(name, known) {
        Some(near) => refusal.hint(format!("did you mean `{near}`?")),
        None => refusal,
    }
}

/// The folded name of a function, if it is a plain one.
pub(crate) fn name_of(function: &Function) -> Option<String> {
    match &function.name.0[..] {
        [part] => part.as_ident().map(asof_expression::fold),
        _ => None,
    }
}
