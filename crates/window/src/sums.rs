//! Sums, averages and variances of one argument: exact totals of integers and decimals, and what all three kinds of numbers
//! answer. The sums of doubles are in `exact.rs`.

use arrow::datatypes::i256;
use num_bigint::{BigInt, BigUint};

use crate::aggregate::Function;
use crate::answers::{AnswerColumn, Failure};
use crate::exact::{ExactSquares, ExactSum, Step};
use crate::program::Kind;
use crate::rank::power_of_ten;
use crate::rounding::round_ratio;

/// Σx and Σx² of BIGINTs: the sum of 2^40 values of 2^63 fits 128 bits, of their squares 256.
#[derive(Debug, Clone)]
pub(crate) struct IntegerSum {
    count: u64,
    sum: i128,
    squares: Option<i256>,
}

/// Σx and Σx² of unscaled decimals of up to 38 digits. Squares are rare and go to big integers.
#[derive(Debug, Clone)]
pub(crate) struct DecimalSum {
    count: u64,
    sum: i256,
    squares: Option<BigInt>,
    scale: i8,
}

impl IntegerSum {
    /// No numbers, for what a kind of accumulator answers.
    pub(crate) fn new(kind: Kind) -> IntegerSum {
        IntegerSum { count: 0, sum: 0, squares: (kind == Kind::SumAndSquares).then_some(i256::ZERO) }
    }

    /// Takes a number in or out.
    pub(crate) fn step(&mut self, step: Step, x: i64) {
        let (wide, square) = (i128::from(x), i256::from_i128(i128::from(x) * i128::from(x)));
        step.count(&mut self.count);
        match step {
            Step::Enter => self.sum += wide,
            Step::Leave => self.sum -= wide,
        }
        if let Some(squares) = &mut self.squares {
            *squares = match step {
                Step::Enter => squares.wrapping_add(square),
                Step::Leave => squares.wrapping_sub(square),
            };
        }
    }

    /// Answers sum, avg or a variance.
    pub(crate) fn answer(&self, function: Function, column: &mut AnswerColumn) -> Result<(), Failure> {
        match (function, i64::try_from(self.sum)) {
            _ if self.count == 0 => {
                column.null();
                return Ok(());
            }
            (Function::Sum, Ok(sum)) => {
                column.word(sum);
                return Ok(());
            }
            (Function::Sum, Err(_)) => {
                column.null();
                return Err(Failure::OutOfRange);
            }
            (Function::Avg, _) => {
                column.double(round_ratio(&self.sum.into(), &self.count.into(), 0));
                return Ok(());
            }
            _ => {}
        }
        let squares = BigInt::from_signed_bytes_le(&self.squares.unwrap_or(i256::ZERO).to_le_bytes());
        answer_variance(function, self.count, column, |denominator| {
            let sum = BigInt::from(self.sum);
            round_ratio(&(BigInt::from(self.count) * squares - &sum * &sum), &BigUint::from(denominator), 0)
        });
        Ok(())
    }
}

impl DecimalSum {
    /// No numbers of that scale, for what a kind of accumulator answers.
    pub(crate) fn new(kind: Kind, scale: i8) -> DecimalSum {
        let squares = (kind == Kind::SumAndSquares).then(BigInt::default);
        DecimalSum { count: 0, sum: i256::ZERO, squares, scale }
    }

    /// Takes an unscaled number in or out.
    pub(crate) fn step(&mut self, step: Step, x: i128) {
        step.count(&mut self.count);
        let wide = i256::from_i128(x);
        self.sum = match step {
            Step::Enter => self.sum.wrapping_add(wide),
            Step::Leave => self.sum.wrapping_sub(wide),
        };
        if let Some(squares) = &mut self.squares {
            let square = BigInt::from(x) * x;
            match step {
                Step::Enter => *squares += square,
                Step::Leave => *squares -= square,
            }
        }
    }

    /// Answers sum, avg or a variance.
    pub(crate) fn answer(&self, function: Function, column: &mut AnswerColumn) -> Result<(), Failure> {
        if self.count == 0 {
            column.null();
            return Ok(());
        }
        if function == Function::Sum {
            let total = self.sum.to_i128().filter(|total| total.unsigned_abs() < 10u128.pow(38));
            let Some(total) = total else {
                column.null();
                return Err(Failure::OutOfRange);
            };
            column.wide(total);
            return Ok(());
        }
        let unit = power_of_ten(self.scale);
        let sum = BigInt::from_signed_bytes_le(&self.sum.to_le_bytes());
        if function == Function::Avg {
            column.double(round_ratio(&sum, &(unit * self.count), 0));
            return Ok(());
        }
        let squares = self.squares.clone().unwrap_or_default();
        answer_variance(function, self.count, column, |denominator| {
            let numerator = BigInt::from(self.count) * squares - &sum * &sum;
            round_ratio(&numerator, &(&unit * &unit * BigUint::from(denominator)), 0)
        });
        Ok(())
    }
}

/// Answers sum, avg or a variance of doubles.
#[inline]
pub(crate) fn answer_doubles(
    function: Function,
    sum: &ExactSum,
    squares: Option<&ExactSquares>,
    column: &mut AnswerColumn,
) {
    if sum.count() == 0 {
        return column.null();
    }
    match (function, squares) {
        (Function::Sum, _) => column.double(sum.sum()),
        (Function::Avg, _) | (_, None) => column.double(sum.avg()),
        (_, Some(squares)) => answer_variance(function, sum.count(), column, |denominator| {
            if sum.all_finite() { sum.variance(squares, denominator) } else { f64::NAN }
        }),
    }
}

/// Answers one of the four variances from `variance(denominator)`, NULL for the sample of one value.
fn answer_variance(function: Function, count: u64, column: &mut AnswerColumn, variance: impl FnOnce(u128) -> f64) {
    let sample = matches!(function, Function::VarSamp | Function::StddevSamp);
    if sample && count == 1 {
        return column.null();
    }
    let n = u128::from(count);
    let variance = variance(if sample { n * (n - 1) } else { n * n });
    let root = matches!(function, Function::StddevPop | Function::StddevSamp);
    column.double(if root { variance.sqrt() } else { variance });
}
