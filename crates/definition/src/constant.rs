//! The numbers that aggregates take beside their expressions: constants, written out.

use asof_expression::sqlparser::ast::{Expr, UnaryOperator, Value};

use crate::refusal::Refusal;

/// The most values that `top_k` and `last_distinct` give: a feature is read by a model or a person.
const LIST_LENGTH_MAX: u64 = 1_000;

/// Which event `nth_value` gives, from 1.
pub(crate) fn nth(written: &Expr) -> Result<u64, Refusal> {
    let n = number_of(written).and_then(|digits| digits.parse::<u64>().ok()).filter(|n| *n >= 1);
    n.ok_or_else(|| {
        Refusal::at(written, format!("`nth_value` takes a whole number from 1, found `{written}`"))
            .hint("rows count from 1")
    })
}

/// Which quantile, from 0 to 1.
pub(crate) fn quantile(name: &str, written: &Expr) -> Result<f64, Refusal> {
    let q = number_of(written).and_then(|digits| digits.parse::<f64>().ok()).filter(|q| (0.0..=1.0).contains(q));
    q.map(|q| q + 0.0)
        .ok_or_else(|| Refusal::at(written, format!("`{name}` takes a number from 0 to 1, found `{written}`")))
}

/// How many values `top_k` and `last_distinct` give at most.
pub(crate) fn list_length(name: &str, written: &Expr) -> Result<u64, Refusal> {
    let length = number_of(written).and_then(|digits| digits.parse::<u64>().ok());
    length.filter(|length| (1..=LIST_LENGTH_MAX).contains(length)).ok_or_else(|| {
        let message = format!("`{name}` takes a whole number from 1 to {LIST_LENGTH_MAX}, found `{written}`");
        Refusal::at(written, message).hint("it says how many values the answer holds at most")
    })
}

fn number_of(written: &Expr) -> Option<String> {
    match written {
        Expr::Nested(inner) => number_of(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => number_of(expr).map(|digits| format!("-{digits}")),
        Expr::Value(value) => match &value.value {
            Value::Number(digits, false) => Some(digits.clone()),
            _ => None,
        },
        _ => None,
    }
}
