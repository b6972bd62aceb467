//! Which SQL expressions the language has. A list of what is allowed: whatever is not on it is refused by name.
//!
//! The walk rewrites the tree as it goes: a column becomes its internal name, which stands for one index of the scope
//! and nothing else, so that DataFusion's own rules for names never come into play.

use arrow::datatypes::DataType;
use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, Interval, ObjectName, Spanned, TrimWhereField, UnaryOperator,
    Value,
};

use crate::error::{PlanError, PlanErrorKind};
use crate::function::{Lookup, function_names, lookup};
use crate::nearest::nearest;
use crate::scope::{Scope, fold};
use crate::sql_type::sql_type;
use crate::type_name::type_name;

type Checked = Result<(), PlanError>;

/// The internal name of the column at `index`. No SQL identifier folds to it.
pub(crate) fn internal_name(index: usize) -> String {
    format!("#{index}#")
}

/// Checks `expression` and replaces its columns by their internal names.
pub(crate) fn resolve(expression: &mut Expr, scope: &Scope) -> Checked {
    let written = expression.clone();
    walk(expression, scope).map_err(|error| error.at(&written))
}

fn walk(expression: &mut Expr, scope: &Scope) -> Checked {
    match expression {
        Expr::Identifier(ident) => {
            *expression = column(scope, std::slice::from_ref(ident))?;
            Ok(())
        }
        Expr::CompoundIdentifier(parts) => {
            *expression = column(scope, parts)?;
            Ok(())
        }
        Expr::Value(value) => literal(&value.value).map_err(|error| error.at(value)),
        Expr::TypedString(typed) => match typed.value.value {
            Value::SingleQuotedString(_) if !typed.uses_odbc_syntax => sql_type(&typed.data_type).map(drop),
            _ => Err(refused(&typed.to_string())),
        },
        Expr::Interval(interval) => check_interval(interval),
        Expr::Nested(inner)
        | Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotFalse(inner)
        | Expr::IsUnknown(inner)
        | Expr::IsNotUnknown(inner) => walk(inner, scope),
        Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => all([left, right], scope),
        Expr::UnaryOp { op, expr } => unary(*op, expr, scope),
        Expr::BinaryOp { left, op, right } => {
            check_operator(op)?;
            all([left, right], scope)
        }
        Expr::Between { expr, negated: _, low, high } => all([expr, low, high], scope),
        Expr::InList { expr, list, negated: _ } => {
            walk(expr, scope)?;
            list.iter_mut().try_for_each(|item| walk(item, scope))
        }
        Expr::Like { negated: _, any, expr, pattern, escape_char }
        | Expr::ILike { negated: _, any, expr, pattern, escape_char } => {
            if *any {
                return Err(refused("LIKE ANY"));
            }
            if let Some(escape) = escape_char {
                return Err(refused("LIKE … ESCAPE").at(escape));
            }
            all([expr, pattern], scope)
        }
        Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
            operand.iter_mut().try_for_each(|operand| walk(operand, scope))?;
            for CaseWhen { condition, result } in conditions {
                walk(condition, scope)?;
                walk(result, scope)?;
            }
            else_result.iter_mut().try_for_each(|result| walk(result, scope))
        }
        Expr::Cast { kind, expr, data_type, array, format } => {
            if *array || format.is_some() || matches!(kind, CastKind::SafeCast) {
                return Err(refused("this form of CAST").with_hint("write CAST(x AS type) or TRY_CAST(x AS type)"));
            }
            let place = expr.span();
            sql_type(data_type).map_err(|error| PlanError { span: Some(place), ..error })?;
            walk(expr, scope)
        }
        Expr::Extract { field, syntax: _, expr } => match field {
            DateTimeField::Custom(field) => Err(refused(&format!("EXTRACT({field} FROM …)"))),
            _ => walk(expr, scope),
        },
        Expr::Ceil { expr, field } | Expr::Floor { expr, field } => match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => walk(expr, scope),
            _ => Err(refused("ceil or floor with a unit or a scale").with_hint("write date_trunc or round")),
        },
        Expr::Position { expr, r#in } => all([expr, r#in], scope),
        Expr::Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
            walk(expr, scope)?;
            substring_from.iter_mut().chain(substring_for.iter_mut()).try_for_each(|part| walk(part, scope))?;
            let start =
                substring_from.take().map_or_else(|| Expr::value(Value::Number("1".to_owned(), false)), |from| *from);
            let text = std::mem::replace(&mut **expr, Expr::value(Value::Null));
            *expression =
                function_call("substr", [Some(text), Some(start), substring_for.take().map(|length| *length)]);
            Ok(())
        }
        Expr::Trim { expr, trim_where, trim_what, trim_characters } => {
            match trim_where {
                None | Some(TrimWhereField::Both | TrimWhereField::Leading | TrimWhereField::Trailing) => {}
            }
            walk(expr, scope)?;
            let characters = trim_characters.iter_mut().flatten();
            trim_what.iter_mut().map(Box::as_mut).chain(characters).try_for_each(|part| walk(part, scope))
        }
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            all([expr, overlay_what, overlay_from], scope)?;
            overlay_for.iter_mut().try_for_each(|part| walk(part, scope))
        }
        Expr::Function(function) => call(function, scope),
        ref other => Err(refused(&name_of(other))),
    }
    .map_err(|error| error.at(expression))
}

/// The column that `parts` stands for, by its internal name. What can only be passed on as it is has no place in here.
fn column(scope: &Scope, parts: &[Ident]) -> Result<Expr, PlanError> {
    let index = scope.resolve(parts)?;
    let data_type = scope.data_type(index);
    if matches!(data_type, DataType::Map(_, _)) {
        let (name, found) = (scope.display_name(index), type_name(data_type));
        let error = PlanError::new(format!("`{name}` is a {found} and cannot stand inside an expression"));
        return Err(error.with_hint("a MAP is passed on as it is"));
    }
    Ok(Expr::Identifier(Ident::with_quote('"', internal_name(index))))
}

/// A call of a function that has a syntax of its own in SQL.
fn function_call(name: &str, arguments: [Option<Expr>; 3]) -> Expr {
    let args =
        arguments.into_iter().flatten().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    Expr::Function(Function {
        name: ObjectName::from(Ident::new(name)),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn all<const N: usize>(parts: [&mut Box<Expr>; N], scope: &Scope) -> Checked {
    parts.into_iter().try_for_each(|part| walk(part, scope))
}

fn refused(construct: &str) -> PlanError {
    PlanError::new(format!("{construct} is not supported in an expression"))
}

fn literal(value: &Value) -> Checked {
    match value {
        Value::Number(digits, false) => number(digits),
        Value::SingleQuotedString(_) | Value::Boolean(_) | Value::Null => Ok(()),
        Value::Placeholder(name) => Err(refused(&format!("the placeholder `{name}`"))),
        other => Err(refused(&format!("the literal {other}")).with_hint("write text in single quotes: 'text'")),
    }
}

/// An integer literal is a BIGINT; one beyond it would silently become another type.
fn number(digits: &str) -> Checked {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<i64>().is_err() {
        return Err(PlanError::new(format!("number `{digits}` is beyond BIGINT"))
            .with_hint(format!("write `{digits}.0` for a DOUBLE or CAST('{digits}' AS DECIMAL(38,0))")));
    }
    Ok(())
}

fn unary(operator: UnaryOperator, operand: &mut Expr, scope: &Scope) -> Checked {
    match (operator, &*operand) {
        // The least BIGINT has no opposite, so its digits alone would be refused.
        (UnaryOperator::Minus, Expr::Value(value)) if matches!(&value.value, Value::Number(digits, false) if digits == "9223372036854775808") => {
            Ok(())
        }
        (UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not, _) => walk(operand, scope),
        (other, _) => Err(refused(&format!("operator `{other}`"))),
    }
}

fn check_operator(operator: &BinaryOperator) -> Checked {
    use BinaryOperator::*;
    match operator {
        Plus | Minus | Multiply | Divide | Modulo | StringConcat | Gt | Lt | GtEq | LtEq | Eq | NotEq | And | Or => {
            Ok(())
        }
        other => Err(refused(&format!("operator `{other}`"))),
    }
}

/// Time plus or minus a constant interval: months and years are fine here, only frames refuse them.
fn check_interval(interval: &Interval) -> Checked {
    let Interval { value, leading_field: _, leading_precision, last_field, fractional_seconds_precision } = interval;
    let constant = matches!(&**value, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_) | Value::Number(..)));
    if !constant || leading_precision.is_some() || last_field.is_some() || fractional_seconds_precision.is_some() {
        return Err(refused(&format!("`{interval}`")).with_hint("write INTERVAL '5' MINUTE or INTERVAL '5 minutes'"));
    }
    Ok(())
}

fn call(function: &mut Function, scope: &Scope) -> Checked {
    let place = function.name.clone();
    check_call(function, scope).map_err(|error| error.at(&place))
}

fn check_call(function: &mut Function, scope: &Scope) -> Checked {
    let Function { name, uses_odbc_syntax, parameters, args, filter, null_treatment, over, within_group } = function;
    let folded = function_name(name)?;
    if over.is_some() {
        return Err(refused(&format!("`{folded}(…) OVER …`"))
            .with_hint("window functions stand in the SELECT list of a feature view"));
    }
    match lookup(&folded) {
        Lookup::Known(_) => {}
        Lookup::Unrepeatable => {
            return Err(PlanError::new(format!("function `{folded}` is not supported"))
                .with_hint("a value may depend on events, the request and the as-of instant alone"));
        }
        Lookup::Unknown => return Err(unknown_function(&folded)),
    }
    if *uses_odbc_syntax || !matches!(parameters, FunctionArguments::None) || !within_group.is_empty() {
        return Err(refused(&format!("this form of calling `{folded}`")));
    }
    if filter.is_some() {
        return Err(refused(&format!("FILTER after `{folded}`")).with_hint("only aggregates take FILTER"));
    }
    if let Some(treatment) = null_treatment {
        return Err(refused(&format!("{treatment} after `{folded}`")));
    }
    let FunctionArguments::List(list) = args else {
        return Err(refused(&format!("`{folded}` without parentheses")));
    };
    if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return Err(refused(&format!("DISTINCT or a clause inside `{folded}(…)`")));
    }
    if LENGTHENING.contains(&folded.as_str()) {
        check_length(&folded, list.args.get(1))?;
    }
    for argument in &mut list.args {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => walk(argument, scope)?,
            FunctionArg::Unnamed(_) => return Err(refused(&format!("`*` inside `{folded}(…)`"))),
            FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                return Err(refused(&format!("the named argument `{argument}` of `{folded}`")));
            }
        }
    }
    Ok(())
}

/// Functions whose second argument says how long the text becomes.
const LENGTHENING: &[&str] = &["repeat", "lpad", "rpad"];
/// The most that it may say: a request must not be able to fill the memory.
const LENGTH_MAX: u64 = 10_000;

fn check_length(function: &str, argument: Option<&FunctionArg>) -> Checked {
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(length))) = argument else {
        // The planner says how many arguments the function takes.
        return Ok(());
    };
    let constant = match length {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, false) => digits.parse::<u64>().ok(),
            _ => None,
        },
        _ => None,
    };
    match constant {
        Some(constant) if constant <= LENGTH_MAX => Ok(()),
        _ => Err(PlanError::new(format!(
            "the second argument of `{function}` must be a whole number up to {LENGTH_MAX}, found `{length}`"
        ))
        .at(length)),
    }
}

fn function_name(name: &ObjectName) -> Result<String, PlanError> {
    match &name.0[..] {
        [part] => match part.as_ident() {
            Some(ident) => Ok(fold(ident)),
            None => Err(refused(&format!("`{name}`"))),
        },
        _ => Err(refused(&format!("the qualified function name `{name}`"))),
    }
}

fn unknown_function(name: &str) -> PlanError {
    let error = PlanError::new(format!("unknown function `{name}`"))
        .with_kind(PlanErrorKind::UnknownFunction { name: name.to_owned() });
    match nearest(name, function_names().iter().map(String::as_str)) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error,
    }
}

/// What to call a construct that is refused.
fn name_of(expression: &Expr) -> String {
    match expression {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => "a subquery".to_owned(),
        Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => "`*`".to_owned(),
        Expr::AtTimeZone { .. } => "AT TIME ZONE".to_owned(),
        Expr::SimilarTo { .. } => "SIMILAR TO".to_owned(),
        Expr::RLike { .. } => "RLIKE".to_owned(),
        Expr::AnyOp { .. } => "ANY".to_owned(),
        Expr::AllOp { .. } => "ALL".to_owned(),
        Expr::Collate { .. } => "COLLATE".to_owned(),
        Expr::Array(_) => "an array".to_owned(),
        Expr::Struct { .. } | Expr::Tuple(_) | Expr::Dictionary(_) | Expr::Map(_) => "a row or struct".to_owned(),
        Expr::CompoundFieldAccess { .. } | Expr::JsonAccess { .. } => format!("access to a field, `{expression}`,"),
        Expr::Lambda(_) => "a lambda".to_owned(),
        Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => "a grouping set".to_owned(),
        other => format!("`{other}`"),
    }
}
