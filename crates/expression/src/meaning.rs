//! Where the language differs from DataFusion: rewrites of a typed expression, from the leaves up.
//!
//! | DataFusion | the language | here |
//! |---|---|---|
//! | −0.0 and NaNs differ in comparisons | one zero, one NaN | float operands pass through `normalize` |
//! | negation wraps | fails | `negate` |
//! | decimals may exceed 38 digits | fail | `decimal_in_range` |
//! | constants fold with wrapping arithmetic | fold with checks, or not at all | `fold` |
//! | `coalesce` and kin need the simplifier | | their own rewriting to CASE, and nothing else of it |
//!
//! Columns are normal on entry, so that a bare column needs no `normalize`.

use std::sync::{Arc, LazyLock};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Schema};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, DFSchemaRef, Result, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::{Between, BinaryExpr, Case, InList, ScalarFunction};
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion_expr::{ColumnarValue, Expr, ExprSchemable, Operator, ScalarUDF};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};

use crate::checked::{CheckedDecimal, CheckedNegation, fail_on_overflow};
use crate::normal::Normalize;

static NORMALIZE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(Normalize::new())));
static NEGATE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(CheckedNegation::new())));
static DECIMAL_IN_RANGE: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(CheckedDecimal::new())));

/// Functions that DataFusion only has as a rewriting to CASE.
const REWRITTEN_TO_CASE: &[&str] = &["coalesce", "nvl", "nvl2"];
/// Functions that compare their arguments.
const COMPARING: &[&str] = &["nullif", "greatest", "least"];

/// The language's meaning of a typed expression.
pub(crate) fn give_meaning(expression: Expr, schema: &DFSchemaRef) -> Result<Expr> {
    let meant = expression.transform_up(|node| {
        let node = rewrite(node, schema)?;
        Ok(Transformed::yes(fold(node, schema)))
    })?;
    Ok(meant.data)
}

/// The physical form, with overflow checks.
pub(crate) fn physical(expression: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let physical =
        create_physical_expr(expression, schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
    fail_on_overflow(physical)
}

fn rewrite(node: Expr, schema: &DFSchemaRef) -> Result<Expr> {
    match node {
        Expr::Negative(operand) if is_integer(&operand.get_type(schema)?) => Ok(wrap(&NEGATE, *operand)),
        Expr::BinaryExpr(binary) if is_comparison(binary.op) => {
            let BinaryExpr { left, op, right } = binary;
            let (left, right) = (normal(*left, schema)?, normal(*right, schema)?);
            Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
        }
        Expr::BinaryExpr(binary) => {
            let node = Expr::BinaryExpr(binary);
            match node.get_type(schema)? {
                DataType::Decimal128(DECIMAL128_MAX_PRECISION, _) => Ok(wrap(&DECIMAL_IN_RANGE, node)),
                _ => Ok(node),
            }
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let (expr, low, high) = (normal(*expr, schema)?, normal(*low, schema)?, normal(*high, schema)?);
            Ok(Expr::Between(Between::new(Box::new(expr), negated, Box::new(low), Box::new(high))))
        }
        Expr::InList(InList { expr, list, negated }) => {
            let list = list.into_iter().map(|item| normal(item, schema)).collect::<Result<_>>()?;
            Ok(Expr::InList(InList::new(Box::new(normal(*expr, schema)?), list, negated)))
        }
        Expr::Case(Case { expr: Some(operand), when_then_expr, else_expr }) => {
            let operand = normal(*operand, schema)?;
            let branches = when_then_expr
                .into_iter()
                .map(|(when, then)| Ok((Box::new(normal(*when, schema)?), then)))
                .collect::<Result<_>>()?;
            Ok(Expr::Case(Case::new(Some(Box::new(operand)), branches, else_expr)))
        }
        Expr::ScalarFunction(call) => rewrite_call(call, schema),
        other => Ok(other),
    }
}

fn rewrite_call(call: ScalarFunction, schema: &DFSchemaRef) -> Result<Expr> {
    let ScalarFunction { func, args } = call;
    if REWRITTEN_TO_CASE.contains(&func.name()) {
        let context = SimplifyContext::builder().with_schema(Arc::clone(schema)).build();
        return match func.simplify(args, &context)? {
            ExprSimplifyResult::Simplified(rewritten) => Ok(rewritten),
            ExprSimplifyResult::Original(args) => Ok(Expr::ScalarFunction(ScalarFunction { func, args })),
        };
    }
    if COMPARING.contains(&func.name()) {
        let args = args.into_iter().map(|argument| normal(argument, schema)).collect::<Result<_>>()?;
        return Ok(Expr::ScalarFunction(ScalarFunction { func, args }));
    }
    Ok(Expr::ScalarFunction(ScalarFunction { func, args }))
}

fn wrap(function: &LazyLock<Arc<ScalarUDF>>, argument: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), vec![argument]))
}

/// The operand of a comparison, normalized if it is a float that is computed.
fn normal(operand: Expr, schema: &DFSchemaRef) -> Result<Expr> {
    if matches!(operand, Expr::Column(_)) || !operand.get_type(schema)?.is_floating() {
        return Ok(operand);
    }
    Ok(fold(wrap(&NORMALIZE, operand), schema))
}

/// A constant in place of an expression of constants; one that fails stays, to fail where it is evaluated.
fn fold(node: Expr, schema: &DFSchemaRef) -> Expr {
    if matches!(node, Expr::Literal(..)) || !has_constant_children_only(&node) {
        return node;
    }
    match constant(&node, schema) {
        Some(value) => Expr::Literal(value, None),
        None => node,
    }
}

fn has_constant_children_only(node: &Expr) -> bool {
    if matches!(node, Expr::Column(_)) {
        return false;
    }
    let mut constant = true;
    let visited = node.apply_children(|child| {
        constant &= matches!(child, Expr::Literal(..));
        Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
    });
    visited.is_ok() && constant
}

fn constant(node: &Expr, schema: &DFSchema) -> Option<ScalarValue> {
    let data_type = node.get_type(schema).ok()?;
    let physical = physical(node, schema).ok()?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options).ok()?;
    let value = match physical.evaluate(&row).ok()? {
        ColumnarValue::Scalar(value) => value,
        ColumnarValue::Array(values) => ScalarValue::try_from_array(&values, 0).ok()?,
    };
    (value.data_type() == data_type).then_some(value)
}

/// Whether some row could fail: `false` is a promise.
pub(crate) fn can_fail(expression: &Expr, schema: &DFSchema) -> bool {
    let mut can_fail = false;
    let visited = expression.apply(|node| {
        can_fail |= node_can_fail(node, schema);
        Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
    });
    can_fail || visited.is_err()
}

/// Functions of ours or of DataFusion's that have a value for every argument of their types.
const TOTAL: &[&str] = &[
    "normalize",
    "nullif",
    "greatest",
    "least",
    "isnan",
    "iszero",
    "nanvl",
    "lower",
    "upper",
    "character_length",
    "starts_with",
    "ends_with",
    "contains",
];

fn node_can_fail(node: &Expr, schema: &DFSchema) -> bool {
    match node {
        Expr::Column(_)
        | Expr::Literal(..)
        | Expr::Alias(_)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Between(_)
        | Expr::InList(_)
        | Expr::TryCast(_)
        | Expr::Case(_) => false,
        // Integers went to `negate`; what is left are floats, decimals and intervals.
        Expr::Negative(operand) => !is_float(operand, schema),
        Expr::BinaryExpr(binary) if is_comparison(binary.op) || matches!(binary.op, Operator::And | Operator::Or) => {
            false
        }
        Expr::BinaryExpr(binary) => !(is_float(&binary.left, schema) && is_float(&binary.right, schema)),
        Expr::Like(like) => !matches!(*like.pattern, Expr::Literal(..)),
        Expr::Cast(cast) => match cast.expr.get_type(schema) {
            Ok(from) => !is_widening(&from, cast.field.data_type()),
            Err(_) => true,
        },
        Expr::ScalarFunction(call) => !TOTAL.contains(&call.func.name()),
        _ => true,
    }
}

fn is_comparison(operator: Operator) -> bool {
    use Operator::*;
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn is_integer(data_type: &DataType) -> bool {
    data_type.is_integer()
}

fn is_float(expression: &Expr, schema: &DFSchema) -> bool {
    expression.get_type(schema).is_ok_and(|data_type| data_type.is_floating())
}

/// Casts that have a value for every value.
fn is_widening(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    match (from, to) {
        (Null, _) => true,
        (Int16, Int32 | Int64) | (Int32, Int64) => true,
        (Int16 | Int32 | Int64 | Float32 | Decimal128(_, _), Float64) => true,
        (Int16 | Int32 | Int64, Float32) => true,
        (Boolean | Int16 | Int32 | Int64 | Float32 | Float64, Utf8) => true,
        (from, to) => from == to,
    }
}
