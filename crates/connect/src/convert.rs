//! Typed arrays (of a Parquet file, of a spine) as arrays of the language's types.
//!
//! A pair of types is either convertible, then a value that does not fit makes its row unreadable, or it is not, then the
//! file is refused at once. Arrays that already agree are passed on without a copy; floats are looked through for −0.0
//! and odd NaNs and copied only where there are some.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL128_MAX_SCALE, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type,
    Int64Type, TimeUnit as ArrowTimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt64Type,
};

use crate::civil::{DATE_DAYS, TIMESTAMP_US};
use crate::column::{Column, Scalar, normal_double, real_of};
use crate::error::ConnectError;
use crate::time_unit::TimeUnit;

/// `array` as `to`, and the rows that are not NULL in `array` but have no value of that type; they are NULL in the
/// answer. `unit` reads plain integers as time (`None`: microseconds). An error if no value could ever be converted.
pub fn convert(
    array: &ArrayRef,
    to: &DataType,
    unit: Option<TimeUnit>,
) -> Result<(ArrayRef, Vec<usize>), ConnectError> {
    if !is_convertible(array.data_type(), to) {
        let (found, declared) = (array.data_type().clone(), to.clone());
        return Err(ConnectError::Inconvertible { found, declared });
    }
    let converted = within_years(convert_values(array, to, unit.unwrap_or(TimeUnit::Microsecond)));
    let failed = if converted.null_count() == array.logical_null_count() {
        Vec::new()
    } else {
        let nulls = array.logical_nulls();
        let was_null = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        (0..array.len()).filter(|row| converted.is_null(*row) && !was_null(*row)).collect()
    };
    Ok((converted, failed))
}

/// Whether values of type `from` can be read as `to` at all.
pub(crate) fn is_convertible(from: &DataType, to: &DataType) -> bool {
    if let DataType::Dictionary(_, values) = from {
        return is_convertible(values, to);
    }
    match to {
        _ if matches!(from, DataType::Null) => true,
        DataType::Boolean => matches!(from, DataType::Boolean),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => from.is_integer(),
        DataType::Float32 | DataType::Float64 => from.is_integer() || from.is_floating(),
        DataType::Decimal128(_, _) => from.is_integer() || is_decimal(from) || is_text(from),
        DataType::Utf8 => is_text(from) || is_binary(from),
        DataType::Binary => is_binary(from) || is_text(from),
        DataType::Date32 => matches!(from, DataType::Date32 | DataType::Date64) || is_text(from),
        DataType::Timestamp(_, _) => matches!(from, DataType::Timestamp(_, _)) || from.is_integer() || is_text(from),
        _ => false,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_binary(data_type: &DataType) -> bool {
    use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary};
    matches!(data_type, Binary | LargeBinary | BinaryView | FixedSizeBinary(_))
}

/// A stream of bytes may name any precision and scale: with impossible ones it is no decimal.
fn is_decimal(data_type: &DataType) -> bool {
    use DataType::{Decimal32, Decimal64, Decimal128};
    match data_type {
        Decimal32(precision, scale) | Decimal64(precision, scale) | Decimal128(precision, scale) => {
            *precision <= DECIMAL128_MAX_PRECISION && *scale <= DECIMAL128_MAX_SCALE
        }
        _ => false,
    }
}

/// Every value as `to`, NULL where it has none. The pair is convertible.
fn convert_values(array: &ArrayRef, to: &DataType, unit: TimeUnit) -> ArrayRef {
    match (array.data_type(), to) {
        (DataType::Null, _) => new_null_array(to, array.len()),
        (DataType::Dictionary(_, values), _) => convert_values(&cast_to(array, values), to, unit),
        (DataType::Float64, DataType::Float64) => normal_doubles(array),
        (DataType::Float32, DataType::Float32) => normal_reals(array),
        (DataType::Float32 | DataType::Float16, DataType::Float64) => normal_doubles(&cast_to(array, to)),
        (DataType::Timestamp(from, _), DataType::Timestamp(_, _)) => instants(array, *from),
        (DataType::Decimal128(precision, _), to) if array.data_type() == to => of_precision(array, *precision),
        (from, to) if from == to => array.clone(),
        // Arrow's casts are exact here and answer NULL for what does not fit.
        (from, DataType::Int16 | DataType::Int32 | DataType::Int64) if from.is_integer() => cast_to(array, to),
        (from, DataType::Float64) if from.is_integer() => cast_to(array, to),
        (_, DataType::Utf8 | DataType::Date32) if !needs_parsing(array.data_type(), to) => cast_to(array, to),
        (from, DataType::Binary) if is_binary(from) => cast_to(array, to),
        (from, to) => one_by_one(array, from, to, unit),
    }
}

fn needs_parsing(from: &DataType, to: &DataType) -> bool {
    *to == DataType::Date32 && is_text(from)
}

fn cast_to(array: &ArrayRef, to: &DataType) -> ArrayRef {
    cast(array, to).expect("the pair was found convertible")
}

/// Value by value through the rules that text formats use too.
fn one_by_one(array: &ArrayRef, from: &DataType, to: &DataType, unit: TimeUnit) -> ArrayRef {
    let mut rows = Rows { array, column: Column::new(to, unit, array.len()) };
    match from {
        from if is_text(from) => {
            let texts = cast_to(array, &DataType::Utf8);
            let texts = texts.as_string::<i32>();
            rows.set_all(|row, column| column.set(Scalar::Text(texts.value(row))));
        }
        DataType::UInt64 => {
            let integers = array.as_primitive::<UInt64Type>();
            rows.set_all(|row, column| match i64::try_from(integers.value(row)) {
                Ok(value) => column.set(Scalar::Integer(value)),
                Err(_) => column.set(Scalar::WideInteger(&integers.value(row).to_string())),
            });
        }
        from if from.is_integer() => {
            let integers = cast_to(array, &DataType::Int64);
            let integers = integers.as_primitive::<Int64Type>();
            rows.set_all(|row, column| column.set(Scalar::Integer(integers.value(row))));
        }
        from if from.is_floating() => {
            let doubles = cast_to(array, &DataType::Float64);
            let doubles = doubles.as_primitive::<Float64Type>();
            rows.set_all(|row, column| column.set(Scalar::Double(doubles.value(row))));
        }
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
            let decimals = cast_to(array, &DataType::Decimal128(38, *scale));
            let decimals = decimals.as_primitive::<Decimal128Type>();
            rows.set_all(|row, column| column.set(Scalar::Decimal { unscaled: decimals.value(row), scale: *scale }));
        }
        from => unreachable!("`{from}` to `{to}` was found inconvertible"),
    }
    rows.column.finish()
}

/// A column that is filled from an array.
struct Rows<'a> {
    array: &'a ArrayRef,
    column: Column,
}

impl Rows<'_> {
    fn set_all(&mut self, mut set: impl FnMut(usize, &mut Column) -> bool) {
        for row in 0..self.array.len() {
            self.column.start_row();
            if self.array.is_valid(row) && !set(row, &mut self.column) {
                self.column.reset_row();
            }
        }
    }
}

fn normal_doubles(array: &ArrayRef) -> ArrayRef {
    let doubles = array.as_primitive::<Float64Type>();
    let is_odd = |value: &f64| value.is_nan() || value.to_bits() == (-0.0_f64).to_bits();
    if !any(doubles.values(), is_odd) {
        return array.clone();
    }
    Arc::new(doubles.unary::<_, Float64Type>(normal_double))
}

fn normal_reals(array: &ArrayRef) -> ArrayRef {
    let reals = array.as_primitive::<Float32Type>();
    let is_odd = |value: &f32| value.is_nan() || value.to_bits() == (-0.0_f32).to_bits();
    if !any(reals.values(), is_odd) {
        return array.clone();
    }
    let normal = |value: f32| real_of(f64::from(value));
    Arc::new(reals.unary::<_, Float32Type>(normal))
}

/// The same decimals, NULL where one has more digits than its type says: readers of bytes do not look.
fn of_precision(array: &ArrayRef, precision: u8) -> ArrayRef {
    let decimals = array.as_primitive::<Decimal128Type>();
    if decimals.validate_decimal_precision(precision).is_ok() {
        return array.clone();
    }
    Arc::new(decimals.null_if_overflow_precision(precision).with_data_type(array.data_type().clone()))
}

/// Dates and instants of the years 0001 to 9999, NULL for others: they would have no text that reads back.
fn within_years(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Date32 => within::<Date32Type>(array, &DATE_DAYS),
        DataType::Timestamp(ArrowTimeUnit::Microsecond, _) => within::<TimestampMicrosecondType>(array, &TIMESTAMP_US),
        _ => array,
    }
}

fn within<T: ArrowPrimitiveType>(array: ArrayRef, range: &Range<T::Native>) -> ArrayRef
where
    T::Native: PartialOrd,
{
    let values = array.as_primitive::<T>();
    if !any(values.values(), |value| !range.contains(value)) {
        return array;
    }
    let within: PrimitiveArray<T> = values.unary_opt(|value| range.contains(&value).then_some(value));
    Arc::new(within)
}

/// Without an early exit inside a block, so that the compiler can look at several values at once.
fn any<T>(values: &[T], is_odd: impl Fn(&T) -> bool) -> bool {
    values.chunks(256).any(|block| block.iter().fold(false, |found, value| found | is_odd(value)))
}

/// Instants of any unit and zone as microseconds, floored; NULL beyond 64 bits.
fn instants(array: &ArrayRef, from: ArrowTimeUnit) -> ArrayRef {
    match from {
        ArrowTimeUnit::Second => in_microseconds::<TimestampSecondType>(array, TimeUnit::Second),
        ArrowTimeUnit::Millisecond => in_microseconds::<TimestampMillisecondType>(array, TimeUnit::Millisecond),
        ArrowTimeUnit::Nanosecond => in_microseconds::<TimestampNanosecondType>(array, TimeUnit::Nanosecond),
        ArrowTimeUnit::Microsecond => {
            let instants = array.as_primitive::<TimestampMicrosecondType>().clone();
            Arc::new(instants.with_timezone_opt(None::<Arc<str>>))
        }
    }
}

fn in_microseconds<T: ArrowPrimitiveType<Native = i64>>(array: &ArrayRef, unit: TimeUnit) -> ArrayRef {
    let converted: PrimitiveArray<TimestampMicrosecondType> =
        array.as_primitive::<T>().unary_opt(|count| unit.microseconds(count));
    Arc::new(converted)
}
