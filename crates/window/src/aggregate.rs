//! The aggregates of the language: their names, what they take and what they give.
//!
//! This is the one list: the definition layer checks SQL against it, the accumulators compute it, the reference page of
//! the docs is printed from it.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Fields, TimeUnit};

use crate::bound::Bound;

/// An aggregate function over a window frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// `count(*)` without an argument, `count(x)` with one.
    Count,
    /// `count(DISTINCT x)`.
    CountDistinct,
    /// `sum(x)`: exact, rounded once.
    Sum,
    /// `avg(x)`: the exact sum ÷ count, rounded once.
    Avg,
    /// `var_pop(x)`.
    VarPop,
    /// `var_samp(x)`.
    VarSamp,
    /// `stddev_pop(x)`.
    StddevPop,
    /// `stddev_samp(x)`.
    StddevSamp,
    /// `min(x)`.
    Min,
    /// `max(x)`.
    Max,
    /// `first_value(x)`: keeps NULLs.
    FirstValue,
    /// `last_value(x)`: keeps NULLs.
    LastValue,
    /// `nth_value(x, n)`, n from 1: keeps NULLs.
    NthValue(u64),
    /// `array_agg(x)`, over ROWS frames: keeps NULLs.
    ArrayAgg,
    /// `bool_and(x)`.
    BoolAnd,
    /// `bool_or(x)`.
    BoolOr,
    /// `quantile_cont(x, q)`, 0 ≤ q ≤ 1; `median(x)` is q = 0.5.
    Quantile(f64),
    /// `mode(x)`: the most frequent, the smallest of ties.
    Mode,
    /// `min_by(x, y)`: the x of the least y, the earliest of ties.
    MinBy,
    /// `max_by(x, y)`: the x of the greatest y, the earliest of ties.
    MaxBy,
    /// `covar_pop(y, x)`.
    CovarPop,
    /// `covar_samp(y, x)`.
    CovarSamp,
    /// `corr(y, x)`.
    Corr,
    /// `regr_slope(y, x)`: of the line that fits y over x.
    RegrSlope,
    /// `decayed_sum(x, INTERVAL …)`: Σ x · 2^(−age ÷ half-life).
    DecayedSum {
        /// Greater than 0.
        half_life_us: i64,
    },
    /// `decayed_avg(x, INTERVAL …)`: the average with weights 2^(−age ÷ half-life).
    DecayedAvg {
        /// Greater than 0.
        half_life_us: i64,
    },
    /// `histogram(x)`: how often each value occurs, by value.
    Histogram,
    /// `top_k(x, k)`, k from 1: the most frequent, the smallest first of ties.
    TopK(u64),
    /// `last_distinct(x, n)`, n from 1: the values that came last, the newest first.
    LastDistinct(u64),
    /// `approx_count_distinct(x)`.
    ApproxCountDistinct,
    /// `approx_quantile(x, q)`, 0 ≤ q ≤ 1.
    ApproxQuantile(f64),
    /// A bound of the frame's group window: no call in SQL, but a column that the window has. NULL where there is no window.
    WindowBound(Bound),
}

/// Names as SQL spells them, in the order of the reference page.
pub const FUNCTION_NAMES: &[&str] = &[
    "count",
    "sum",
    "avg",
    "var_pop",
    "var_samp",
    "stddev_pop",
    "stddev_samp",
    "min",
    "max",
    "first_value",
    "last_value",
    "nth_value",
    "array_agg",
    "bool_and",
    "bool_or",
    "median",
    "quantile_cont",
    "mode",
    "min_by",
    "max_by",
    "covar_pop",
    "covar_samp",
    "corr",
    "regr_slope",
    "decayed_sum",
    "decayed_avg",
    "histogram",
    "top_k",
    "last_distinct",
    "approx_count_distinct",
    "approx_quantile",
];

impl Function {
    /// The SQL name.
    pub fn name(&self) -> &'static str {
        match self {
            Function::Count | Function::CountDistinct => "count",
            Function::Sum => "sum",
            Function::Avg => "avg",
            Function::VarPop => "var_pop",
            Function::VarSamp => "var_samp",
            Function::StddevPop => "stddev_pop",
            Function::StddevSamp => "stddev_samp",
            Function::Min => "min",
            Function::Max => "max",
            Function::FirstValue => "first_value",
            Function::LastValue => "last_value",
            Function::NthValue(_) => "nth_value",
            Function::ArrayAgg => "array_agg",
            Function::BoolAnd => "bool_and",
            Function::BoolOr => "bool_or",
            Function::Quantile(_) => "quantile_cont",
            Function::Mode => "mode",
            Function::MinBy => "min_by",
            Function::MaxBy => "max_by",
            Function::CovarPop => "covar_pop",
            Function::CovarSamp => "covar_samp",
            Function::Corr => "corr",
            Function::RegrSlope => "regr_slope",
            Function::DecayedSum { .. } => "decayed_sum",
            Function::DecayedAvg { .. } => "decayed_avg",
            Function::Histogram => "histogram",
            Function::TopK(_) => "top_k",
            Function::LastDistinct(_) => "last_distinct",
            Function::ApproxCountDistinct => "approx_count_distinct",
            Function::ApproxQuantile(_) => "approx_quantile",
            Function::WindowBound(bound) => bound.name(),
        }
    }

    /// Whether the answer depends on the order of events of equal time, so that ties need the primary key (or arrival).
    pub fn follows_order(&self) -> bool {
        use Function::*;
        matches!(self, FirstValue | LastValue | NthValue(_) | ArrayAgg | MinBy | MaxBy | LastDistinct(_))
    }

    /// Whether it counts, so that an empty frame answers 0 and not NULL.
    pub fn counts(&self) -> bool {
        matches!(self, Function::Count | Function::CountDistinct | Function::ApproxCountDistinct)
    }

    /// Whether `FILTER (WHERE …)` may be written after it.
    pub fn takes_filter(&self) -> bool {
        use Function::*;
        !matches!(self, FirstValue | LastValue | NthValue(_) | WindowBound(_))
    }

    /// Whether it takes a second number from each event: the x of `corr(y, x)`.
    pub fn takes_pairs(&self) -> bool {
        matches!(self, Function::CovarPop | Function::CovarSamp | Function::Corr | Function::RegrSlope)
    }

    /// The half-life in microseconds, of the aggregates that have one.
    pub fn half_life_us(&self) -> Option<i64> {
        match self {
            Function::DecayedSum { half_life_us } | Function::DecayedAvg { half_life_us } => Some(*half_life_us),
            _ => None,
        }
    }

    /// The type of the answer for an argument of type `argument`; `None` if it does not take that type.
    /// `count(*)` has no argument and is asked with `DataType::Null`. For min_by and max_by `argument` is that of x;
    /// y may be of any type that `min` takes. Pairs of numbers are asked about side by side.
    pub fn result_type(&self, argument: &DataType) -> Option<DataType> {
        use Function::*;
        let numeric = argument.is_numeric();
        match self {
            Count | CountDistinct | ApproxCountDistinct => Some(DataType::Int64),
            Sum => match argument {
                DataType::Decimal128(_, scale) => Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale)),
                DataType::Float32 | DataType::Float64 => Some(DataType::Float64),
                _ if numeric => Some(DataType::Int64),
                _ => None,
            },
            Avg
            | VarPop
            | VarSamp
            | StddevPop
            | StddevSamp
            | Quantile(_)
            | ApproxQuantile(_)
            | CovarPop
            | CovarSamp
            | Corr
            | RegrSlope
            | DecayedSum { .. }
            | DecayedAvg { .. } => numeric.then_some(DataType::Float64),
            Min | Max | FirstValue | LastValue | NthValue(_) | Mode | MinBy | MaxBy => Some(argument.clone()),
            ArrayAgg => Some(DataType::new_list(argument.clone(), true)),
            TopK(_) | LastDistinct(_) => Some(DataType::new_list(argument.clone(), true)),
            Histogram => Some(map_of_counts(argument)),
            BoolAnd | BoolOr => (*argument == DataType::Boolean).then_some(DataType::Boolean),
            WindowBound(_) => Some(DataType::Timestamp(TimeUnit::Microsecond, None)),
        }
    }
}

/// MAP(key, BIGINT), by ascending key.
fn map_of_counts(key: &DataType) -> DataType {
    let fields = [Field::new("key", key.clone(), false), Field::new("value", DataType::Int64, false)];
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(Fields::from_iter(fields)), false)), true)
}

/// The types that columns, arguments and keys may have once they reach a window.
pub fn is_event_type(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(_, _)
            | DataType::Utf8
            | DataType::Binary
            | DataType::Date32
            | DataType::Timestamp(TimeUnit::Microsecond, None)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use Function::*;

    const ALL: &[Function] = &[
        Count,
        CountDistinct,
        Sum,
        Avg,
        VarPop,
        VarSamp,
        StddevPop,
        StddevSamp,
        Min,
        Max,
        FirstValue,
        LastValue,
        NthValue(1),
        ArrayAgg,
        BoolAnd,
        BoolOr,
        Quantile(0.5),
        Mode,
        MinBy,
        MaxBy,
        CovarPop,
        CovarSamp,
        Corr,
        RegrSlope,
        DecayedSum { half_life_us: 1 },
        DecayedAvg { half_life_us: 1 },
        Histogram,
        TopK(3),
        LastDistinct(3),
        ApproxCountDistinct,
        ApproxQuantile(0.5),
    ];

    fn event_types() -> Vec<DataType> {
        let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
        use DataType::*;
        vec![Boolean, Int16, Int32, Int64, Float32, Float64, Decimal128(9, 2), Utf8, Binary, Date32, moment]
    }

    /// The result type for each event type, in the order of [`event_types`]; `-` where the function refuses it.
    fn check(functions: &[Function], expected: &str) {
        let spelled = |data_type: Option<DataType>| match data_type {
            None => "-".to_owned(),
            Some(DataType::Decimal128(precision, scale)) => format!("Decimal({precision},{scale})"),
            Some(DataType::Timestamp(_, _)) => "Timestamp".to_owned(),
            Some(DataType::List(item)) => format!("[{}]", item.data_type()),
            Some(other) => other.to_string(),
        };
        for function in functions {
            let types = event_types();
            let found: Vec<String> = types.iter().map(|argument| spelled(function.result_type(argument))).collect();
            assert_eq!(found.join(" "), expected, "{function:?}");
        }
    }

    #[test]
    fn result_types() {
        check(
            &[Count, CountDistinct, ApproxCountDistinct],
            "Int64 Int64 Int64 Int64 Int64 Int64 Int64 Int64 Int64 Int64 Int64",
        );
        check(&[Sum], "- Int64 Int64 Int64 Float64 Float64 Decimal(38,2) - - - -");
        check(
            &[Avg, VarPop, VarSamp, StddevPop, StddevSamp, Quantile(0.1), ApproxQuantile(0.1)],
            "- Float64 Float64 Float64 Float64 Float64 Float64 - - - -",
        );
        check(
            &[CovarPop, CovarSamp, Corr, RegrSlope, DecayedSum { half_life_us: 1 }, DecayedAvg { half_life_us: 1 }],
            "- Float64 Float64 Float64 Float64 Float64 Float64 - - - -",
        );
        check(
            &[Min, Max, FirstValue, LastValue, NthValue(2), Mode, MinBy, MaxBy],
            "Boolean Int16 Int32 Int64 Float32 Float64 Decimal(9,2) Utf8 Binary Date32 Timestamp",
        );
        check(&[BoolAnd, BoolOr], "Boolean - - - - - - - - - -");
        assert_eq!(Count.result_type(&DataType::Null), Some(DataType::Int64));
        let list = DataType::new_list(DataType::Utf8, true);
        for function in [ArrayAgg, TopK(1), LastDistinct(1)] {
            assert_eq!(function.result_type(&DataType::Utf8), Some(list.clone()));
        }
        let Some(DataType::Map(entries, true)) = Histogram.result_type(&DataType::Utf8) else { panic!("a sorted map") };
        let DataType::Struct(fields) = entries.data_type() else { panic!("entries are structs") };
        let types: Vec<&DataType> = fields.iter().map(|field| field.data_type()).collect();
        assert_eq!(types, [&DataType::Utf8, &DataType::Int64]);
    }

    #[test]
    fn names_agree_with_the_reference_page() {
        let mut names: Vec<&str> = ALL.iter().map(Function::name).collect();
        names.dedup();
        let page: Vec<&str> = FUNCTION_NAMES.iter().copied().filter(|name| *name != "median").collect();
        assert_eq!(names, page);
    }

    #[test]
    fn order_and_filter() {
        let following: Vec<&str> = ALL.iter().filter(|function| function.follows_order()).map(Function::name).collect();
        assert_eq!(
            following,
            ["first_value", "last_value", "nth_value", "array_agg", "min_by", "max_by", "last_distinct"]
        );
        let unfiltered: Vec<&str> =
            ALL.iter().filter(|function| !function.takes_filter()).map(Function::name).collect();
        assert_eq!(unfiltered, ["first_value", "last_value", "nth_value"]);
    }

    #[test]
    fn event_types_are_those_of_the_language() {
        assert!(event_types().iter().all(is_event_type));
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let seconds = DataType::Timestamp(TimeUnit::Second, None);
        for other in [zoned, seconds, DataType::UInt64, DataType::Int8, DataType::LargeUtf8, DataType::Null] {
            assert!(!is_event_type(&other), "{other}");
        }
    }
}
