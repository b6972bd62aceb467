//! One zero and one NaN: −0.0 becomes 0.0 and every NaN the same NaN, so that equality and order see no difference.
//!
//! Arrow orders floats by IEEE 754's totalOrder: −0.0 before 0.0, a NaN with its sign bit set before everything (0.0/0.0
//! gives that one on x86). After this, NaN equals itself and is greatest, as the language says.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type};
use datafusion_common::Result;
use datafusion_common::utils::take_function_args;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// The values with one zero and one NaN: for whatever feeds a key, an aggregate or a comparison. Arrays of other types
/// than REAL and DOUBLE, and floats that are normal already, come back as they are.
pub fn normalize(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float64 => replace::<Float64Type>(values, is_odd_f64, normal_f64),
        DataType::Float32 => replace::<Float32Type>(values, is_odd_f32, normal_f32),
        _ => Arc::clone(values),
    }
}

/// Every NaN the same NaN; −0.0 stays. The sign of a NaN that arithmetic makes differs between machines and compilers.
pub(crate) fn canonical_nan(values: ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float64 => replace::<Float64Type>(&values, f64::is_nan, |_| f64::NAN),
        DataType::Float32 => replace::<Float32Type>(&values, f32::is_nan, |_| f32::NAN),
        _ => values,
    }
}

fn replace<T: ArrowPrimitiveType>(
    values: &ArrayRef,
    is_odd: impl Fn(T::Native) -> bool,
    mend: impl Fn(T::Native) -> T::Native,
) -> ArrayRef {
    let floats = values.as_primitive::<T>();
    if !floats.values().iter().any(|value| is_odd(*value)) {
        return Arc::clone(values);
    }
    let mended: PrimitiveArray<T> = floats.unary(|value| if is_odd(value) { mend(value) } else { value });
    Arc::new(mended)
}

fn is_odd_f64(value: f64) -> bool {
    value.is_nan() || value.to_bits() == (-0.0f64).to_bits()
}

fn normal_f64(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { 0.0 }
}

fn is_odd_f32(value: f32) -> bool {
    value.is_nan() || value.to_bits() == (-0.0f32).to_bits()
}

fn normal_f32(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { 0.0 }
}

/// [`normalize`] as a function inside expressions: the planner puts it around float operands of comparisons.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Normalize {
    signature: Signature,
}

impl Normalize {
    pub(crate) fn new() -> Normalize {
        Normalize { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Normalize {
    fn name(&self) -> &str {
        "normalize"
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
        Ok(ColumnarValue::Array(normalize(&argument.into_array(rows)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array};

    #[test]
    fn one_zero_and_one_nan() {
        let values: ArrayRef =
            Arc::new(Float64Array::from(vec![Some(-0.0), Some(-f64::NAN), None, Some(1.5), Some(f64::INFINITY)]));
        let normal = normalize(&values);
        let bits: Vec<Option<u64>> =
            normal.as_primitive::<Float64Type>().iter().map(|value| value.map(f64::to_bits)).collect();
        let expected = [Some(0.0), Some(f64::NAN), None, Some(1.5), Some(f64::INFINITY)];
        assert_eq!(bits, expected.map(|value: Option<f64>| value.map(f64::to_bits)));
    }

    #[test]
    fn normal_values_are_shared_not_copied() {
        for values in [Arc::new(Float64Array::from(vec![0.0, 1.0])) as ArrayRef, Arc::new(Int64Array::from(vec![1]))] {
            assert!(Arc::ptr_eq(&values, &normalize(&values)));
        }
    }
}
