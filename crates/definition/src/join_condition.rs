//! The ON of a join: equalities of a key's parts with values, of a view in a service or of a table beside a stream.

use arrow::datatypes::DataType;
use asof_expression::sqlparser::ast::{BinaryOperator, CastKind, Expr, Ident, JoinOperator};
use asof_expression::sqlparser::dialect::GenericDialect;
use asof_expression::sqlparser::parser::Parser;
use asof_expression::{fold, type_name};

/// What a join is called, for one that is refused.
pub(crate) fn join_name(operator: &JoinOperator) -> &'static str {
    match operator {
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => "RIGHT JOIN",
        JoinOperator::FullOuter(_) => "FULL JOIN",
        JoinOperator::CrossJoin(_) => "CROSS JOIN",
        JoinOperator::AsOf { .. } => "ASOF JOIN",
        JoinOperator::Semi(_) | JoinOperator::LeftSemi(_) | JoinOperator::RightSemi(_) => "SEMI JOIN",
        JoinOperator::Anti(_) | JoinOperator::LeftAnti(_) | JoinOperator::RightAnti(_) => "ANTI JOIN",
        JoinOperator::CrossApply | JoinOperator::OuterApply => "APPLY",
        _ => "this kind of JOIN",
    }
}

/// What AND connects.
pub(crate) fn conjuncts(condition: &Expr) -> Vec<&Expr> {
    match condition {
        Expr::Nested(inner) => conjuncts(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => [conjuncts(left), conjuncts(right)].concat(),
        other => vec![other],
    }
}

/// The key part's name and the value it is compared with.
pub(crate) fn sides<'a>(equality: &'a Expr, alias: &str) -> Option<(&'a Ident, &'a Expr)> {
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = equality else {
        return None;
    };
    let key_part = |side: &'a Expr| match side {
        Expr::CompoundIdentifier(parts) => match &parts[..] {
            [qualifier, name] if fold(qualifier) == alias => Some(name),
            _ => None,
        },
        _ => None,
    };
    match (key_part(left), key_part(right)) {
        (Some(name), None) => Some((name, right)),
        (None, Some(name)) => Some((name, left)),
        _ => None,
    }
}

/// `CAST(written AS type)`
pub(crate) fn cast_to(target: &DataType, written: &Expr) -> Expr {
    let mut parser =
        Parser::new(&GenericDialect {}).try_with_sql(&type_name(target)).expect("the name of a type is readable");
    let data_type = parser.parse_data_type().expect("the name of a type is a type");
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(written.clone()), data_type, array: false, format: None }
}
