//! Arithmetic that fails where it would wrap.
//!
//! DataFusion's `+ − ×` wrap integers unless told otherwise, its negation always does, and decimals of 38 digits may grow
//! a 39th unseen. `i64::MIN / −1` fails in Arrow already; `i64::MIN % −1` is 0, which is right.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::kernels::numeric::neg;
use arrow::datatypes::{DataType, Decimal128Type};
use arrow::error::ArrowError;
use datafusion_common::Result;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::utils::take_function_args;
use datafusion_expr::{ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::BinaryExpr;

/// The expression with overflow checks on every `+ − ×`.
pub(crate) fn fail_on_overflow(expression: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let checked = expression.transform_up(|node| {
        let Some(binary) = node.downcast_ref::<BinaryExpr>() else {
            return Ok(Transformed::no(node));
        };
        if !matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply) {
            return Ok(Transformed::no(node));
        }
        let checked: Arc<dyn PhysicalExpr> = Arc::new(binary.clone().with_fail_on_overflow(true));
        Ok(Transformed::yes(checked))
    })?;
    Ok(checked.data)
}

/// Negation of integers: the least one has no opposite.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CheckedNegation {
    signature: Signature,
}

impl CheckedNegation {
    pub(crate) fn new() -> CheckedNegation {
        CheckedNegation { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for CheckedNegation {
    fn name(&self) -> &str {
        "negate"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [argument] = take_function_args(self.name(), args.args)?;
        Ok(ColumnarValue::Array(neg(&argument.into_array(rows)?)?))
    }
}

/// A decimal that must fit its precision: Arrow computes in 128 bits, which hold a little more than 38 digits.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CheckedDecimal {
    signature: Signature,
}

impl CheckedDecimal {
    pub(crate) fn new() -> CheckedDecimal {
        CheckedDecimal { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for CheckedDecimal {
    fn name(&self) -> &str {
        "decimal_in_range"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [argument] = take_function_args(self.name(), args.args)?;
        let values = argument.into_array(rows)?;
        if let DataType::Decimal128(precision, _) = values.data_type() {
            values
                .as_primitive::<Decimal128Type>()
                .validate_decimal_precision(*precision)
                .map_err(|error| ArrowError::ArithmeticOverflow(error.to_string()))?;
        }
        Ok(ColumnarValue::Array(values))
    }
}
