//! What the examples measure with: ten features over three windows of payments (amount, merchant).

use std::error::Error;

use arrow::datatypes::DataType;
use asof_window::{Call, Extent, Frame, Function, Program, Slot};

use crate::chance::MINUTE_US;

/// 5 min: count, sum, avg, min, max, distinct merchants; 1 h: count, sum; 7 d: avg, stddev.
pub(crate) fn ten_features() -> Result<Program, Box<dyn Error>> {
    let frame = |minutes: i64| Frame::of(Extent::Range { preceding_us: Some(minutes * MINUTE_US), lag_us: 0 });
    let slot = |data_type| Slot { data_type, nullable: false };
    let call =
        |function, argument, frame, data_type| Call { function, argument, by: None, filter: None, frame, data_type };
    let (double, bigint) = (DataType::Float64, DataType::Int64);
    Ok(Program::new(
        vec![frame(5), frame(60), frame(7 * 24 * 60)],
        vec![slot(double.clone()), slot(bigint.clone())],
        0,
        vec![
            call(Function::Count, None, 0, bigint.clone()),
            call(Function::Sum, Some(0), 0, double.clone()),
            call(Function::Avg, Some(0), 0, double.clone()),
            call(Function::Min, Some(0), 0, double.clone()),
            call(Function::Max, Some(0), 0, double.clone()),
            call(Function::CountDistinct, Some(1), 0, bigint.clone()),
            call(Function::Count, None, 1, bigint),
            call(Function::Sum, Some(0), 1, double.clone()),
            call(Function::Avg, Some(0), 2, double.clone()),
            call(Function::StddevSamp, Some(0), 2, double),
        ],
    )?)
}
