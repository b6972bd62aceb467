//! What the examples measure with: ten features over three windows of payments (amount, merchant), and repeatable chance.

use std::error::Error;

use arrow::datatypes::DataType;
use asof_window::{Call, Extent, Frame, Function, Program, Slot};

pub(crate) const MINUTE_US: i64 = 60_000_000;

/// 5 min: count, sum, avg, min, max, distinct merchants; 1 h: count, sum; 7 d: avg, stddev.
pub(crate) fn ten_features() -> Result<Program, Box<dyn Error>> {
    let frame = |minutes: i64| Frame {
        extent: Extent::Range { preceding_us: Some(minutes * MINUTE_US), lag_us: 0 },
        calendar: None,
    };
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

/// splitmix64, seeded: the same events in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ z >> 31) * u128::from(bound)) >> 64) as u64
    }
}
