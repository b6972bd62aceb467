//! What expressions mean, row by row: SQL in, one text per row out. A row that fails shows as `!` and its kind.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array, Int32Array,
    Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use asof_expression::sqlparser::dialect::GenericDialect;
use asof_expression::sqlparser::parser::Parser;
use asof_expression::{Expression, PlanError, Scope, type_name};

/// Rows: 0 ordinary, 1 all NULL, 2 the greatest values, 3 the least values, 4 zeros.
fn columns() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("i", Arc::new(Int64Array::from(vec![Some(7), None, Some(i64::MAX), Some(i64::MIN), Some(0)]))),
        ("n", Arc::new(Int32Array::from(vec![Some(7), None, Some(i32::MAX), Some(i32::MIN), Some(0)]))),
        ("s", Arc::new(Int16Array::from(vec![Some(7), None, Some(i16::MAX), Some(i16::MIN), Some(0)]))),
        ("d", Arc::new(Float64Array::from(vec![Some(2.5), None, Some(f64::NAN), Some(f64::NEG_INFINITY), Some(0.0)]))),
        ("r", Arc::new(Float32Array::from(vec![Some(2.5), None, Some(f32::NAN), Some(f32::NEG_INFINITY), Some(0.0)]))),
        ("t", Arc::new(StringArray::from(vec![Some("GB"), None, Some("12"), Some("x"), Some("")]))),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(true), Some(false), Some(false)]))),
        ("q", Arc::new(decimals(&[Some(250), None, Some(9_999_999_999), Some(-9_999_999_999), Some(0)], 10, 2))),
        (
            "m",
            Arc::new(decimals(&[Some(250), None, Some(10i128.pow(38) - 1), Some(1 - 10i128.pow(38)), Some(0)], 38, 0)),
        ),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(vec![
                Some(1_767_226_500_000_000),
                None,
                Some(i64::MAX),
                Some(i64::MIN),
                Some(0),
            ])),
        ),
        ("day", Arc::new(Date32Array::from(vec![Some(20_454), None, Some(i32::MAX), Some(i32::MIN), Some(0)]))),
    ]
}

fn decimals(values: &[Option<i128>], precision: u8, scale: i8) -> Decimal128Array {
    Decimal128Array::from(values.to_vec()).with_precision_and_scale(precision, scale).unwrap()
}

fn scope() -> Scope {
    let mut scope = Scope::new();
    for (name, values) in columns() {
        scope.push(Some("tx"), name, values.data_type().clone(), true);
    }
    scope
}

fn batch() -> RecordBatch {
    RecordBatch::try_new(scope().schema(), columns().into_iter().map(|(_, values)| values).collect()).unwrap()
}

fn plan(sql: &str) -> Result<Expression, PlanError> {
    let mut parser = Parser::new(&GenericDialect {}).try_with_sql(sql).unwrap();
    let ast = parser.parse_expr().unwrap();
    Expression::plan(&ast, &scope())
}

fn rows_of(expression: &Expression, batch: &RecordBatch, rows: Option<&BooleanArray>) -> Vec<String> {
    let evaluated = expression.evaluate_each(batch, rows);
    assert_eq!(evaluated.values.data_type(), expression.data_type());
    assert_eq!(evaluated.values.len(), batch.num_rows());
    let options = FormatOptions::default().with_null("NULL");
    let formatter = ArrayFormatter::try_new(&evaluated.values, &options).unwrap();
    let mut texts: Vec<String> = (0..batch.num_rows()).map(|row| formatter.value(row).to_string()).collect();
    for failure in evaluated.failures {
        assert_eq!(texts[failure.row], "NULL", "a failed row is NULL");
        texts[failure.row] = format!("!{}", failure.kind);
    }
    texts
}

/// `expected`: the type, then the values of the five rows.
fn check(sql: &str, expected: &str) {
    let expression = plan(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let batch = batch();
    let whole = rows_of(&expression, &batch, None);
    assert_eq!(format!("{}: {}", type_name(expression.data_type()), whole.join(", ")), expected, "{sql}");
    // A row's value is the same in any batch.
    for (row, value) in whole.iter().enumerate() {
        assert_eq!(
            rows_of(&expression, &batch.slice(row, 1), None),
            std::slice::from_ref(value),
            "{sql}, row {row} alone"
        );
    }
    // Rows that are not asked for are not evaluated.
    let asked = BooleanArray::from(vec![Some(true), None, Some(false), Some(true), Some(false)]);
    let some = rows_of(&expression, &batch, Some(&asked));
    assert_eq!(some, [&whole[0], "NULL", "NULL", &whole[3], "NULL"], "{sql}, rows 0 and 3");
    if whole.iter().any(|value| value.starts_with('!')) {
        assert!(expression.can_fail(), "{sql} fails on a row");
        assert!(expression.evaluate(&batch).is_err(), "{sql}");
    }
}

/// `expected`: a part of the message or hint.
fn refuse(sql: &str, expected: &str) {
    let error = plan(sql).expect_err(sql);
    let text = format!("{} ({})", error.message, error.hint.as_deref().unwrap_or_default());
    assert!(text.contains(expected), "{sql}: {text}");
    assert!(error.span.is_some(), "{sql}: {text}");
}

#[test]
fn integers_fail_where_they_would_wrap() {
    check("i + 1", "BIGINT: 8, NULL, !out_of_range, -9223372036854775807, 1");
    check("i - 1", "BIGINT: 6, NULL, 9223372036854775806, !out_of_range, -1");
    check("i * 2", "BIGINT: 14, NULL, !out_of_range, !out_of_range, 0");
    check("-i", "BIGINT: -7, NULL, -9223372036854775807, !out_of_range, 0");
    check("abs(i)", "BIGINT: 7, NULL, 9223372036854775807, !out_of_range, 0");
    check("abs(s)", "SMALLINT: 7, NULL, 32767, !out_of_range, 0");
    check("-s", "SMALLINT: -7, NULL, -32767, !out_of_range, 0");
    check("n + n", "INTEGER: 14, NULL, !out_of_range, !out_of_range, 0");
    check("s * s", "SMALLINT: 49, NULL, !out_of_range, !out_of_range, 0");
    check("n + 1", "BIGINT: 8, NULL, 2147483648, -2147483647, 1");
    check("i / -1", "BIGINT: -7, NULL, -9223372036854775807, !out_of_range, 0");
    check("i % -1", "BIGINT: 0, NULL, 0, 0, 0");
    check("(i + 1) - 1", "BIGINT: 7, NULL, !out_of_range, -9223372036854775808, 0");
    check(
        "i + (9223372036854775807 + b::BIGINT)",
        "BIGINT: !out_of_range, NULL, !out_of_range, -1, 9223372036854775807",
    );
    check("-9223372036854775808 + i", "BIGINT: -9223372036854775801, NULL, -1, !out_of_range, -9223372036854775808");
}

#[test]
fn integer_division() {
    check("i / 2", "BIGINT: 3, NULL, 4611686018427387903, -4611686018427387904, 0");
    check("-7 / (i - 5)", "BIGINT: -3, NULL, 0, !out_of_range, 1");
    check("1 / i", "BIGINT: 0, NULL, 0, 0, !division_by_zero");
    check("1 % i", "BIGINT: 1, NULL, 1, 1, !division_by_zero");
    check("-7 % (i - 4)", "BIGINT: -1, NULL, -7, !out_of_range, -3");
}

#[test]
fn doubles_go_on() {
    check("d + 1", "DOUBLE: 3.5, NULL, NaN, -inf, 1.0");
    check("1 / d", "DOUBLE: 0.4, NULL, NaN, -0.0, inf");
    check("d / d", "DOUBLE: 1.0, NULL, NaN, NaN, NaN");
    check("-d", "DOUBLE: -2.5, NULL, NaN, inf, -0.0");
    check("d % 2", "DOUBLE: 0.5, NULL, NaN, NaN, 0.0");
    check("i / 2.0", "DOUBLE: 3.5, NULL, 4.611686018427388e18, -4.611686018427388e18, 0.0");
    check("r * 2", "REAL: 5.0, NULL, NaN, -inf, 0.0");
}

#[test]
fn nan_equals_itself_and_is_greatest_and_there_is_one_zero() {
    check("d = d", "BOOLEAN: true, NULL, true, true, true");
    check("d / d = d / d", "BOOLEAN: true, NULL, true, true, true");
    check("d * -1.0 = 0", "BOOLEAN: false, NULL, false, false, true");
    check("d * -1.0 < 0", "BOOLEAN: true, NULL, false, false, false");
    check("d * -1.0 >= 0", "BOOLEAN: false, NULL, true, true, true");
    check("0.0 / d > 1e308", "BOOLEAN: false, NULL, true, false, true");
    check("(0.0 / d) <> d", "BOOLEAN: true, NULL, false, true, true");
    check("d * -1.0 BETWEEN 0 AND 1", "BOOLEAN: false, NULL, false, false, true");
    check("0.0 / d IN (5, d)", "BOOLEAN: false, NULL, true, false, false");
    check("d * -1.0 IN (0, 1)", "BOOLEAN: false, NULL, false, false, true");
    check("nullif(d * -1.0, 0)", "DOUBLE: -2.5, NULL, NaN, inf, NULL");
    check("CASE d * -1.0 WHEN 0 THEN 'zero' ELSE 'other' END", "VARCHAR: other, other, other, other, zero");
    check("greatest(0.0 / d, 5)", "DOUBLE: 5.0, 5.0, NaN, 5.0, NaN");
    check("least(0.0 / d, 5)", "DOUBLE: 0.0, 5.0, 5.0, 0.0, 5.0");
    check("d * -1.0 IS DISTINCT FROM 0", "BOOLEAN: true, true, true, true, false");
    check("r / r = r / r", "BOOLEAN: true, NULL, true, true, true");
    check("d > 1", "BOOLEAN: true, NULL, true, false, false");
}

#[test]
fn every_nan_is_the_same_nan() {
    let batch = batch();
    for sql in ["d / d", "0.0 / d", "d - d"] {
        let values = plan(sql).unwrap().evaluate(&batch).unwrap();
        let floats = values.as_any().downcast_ref::<Float64Array>().unwrap();
        let nans = floats.iter().flatten().filter(|value| value.is_nan());
        assert!(nans.into_iter().all(|value| value.to_bits() == f64::NAN.to_bits()), "{sql}");
    }
}

#[test]
fn decimals_fail_beyond_38_digits() {
    check("q + 1", "DECIMAL(23,2): 3.50, NULL, 100000000.99, -99999998.99, 1.00");
    check("m + m", "DECIMAL(38,0): 500, NULL, !out_of_range, !out_of_range, 0");
    check("m * 2", "DECIMAL(38,0): 500, NULL, !out_of_range, !out_of_range, 0");
    check("q / 0", "DECIMAL(14,6): !division_by_zero, NULL, !division_by_zero, !division_by_zero, !division_by_zero");
    check("q > 2", "BOOLEAN: true, NULL, true, false, false");
    check("q * 1.5", "DOUBLE: 3.75, NULL, 149999999.98499998, -149999999.98499998, 0.0");
    check(
        "-m",
        "DECIMAL(38,0): -250, NULL, -99999999999999999999999999999999999999, 99999999999999999999999999999999999999, 0",
    );
}

#[test]
fn null_is_three_valued() {
    check("t = 'GB'", "BOOLEAN: true, NULL, false, false, false");
    check("b AND t = 'GB'", "BOOLEAN: true, NULL, false, false, false");
    check("b OR NULL", "BOOLEAN: true, NULL, true, NULL, NULL");
    check("NOT b", "BOOLEAN: false, NULL, false, true, true");
    check("t IS NULL", "BOOLEAN: false, true, false, false, false");
    check("b IS NOT TRUE", "BOOLEAN: false, true, false, true, true");
    check("t IN ('GB', NULL)", "BOOLEAN: true, NULL, NULL, NULL, NULL");
    check("coalesce(d, -1)", "DOUBLE: 2.5, -1.0, NaN, -inf, 0.0");
    check("coalesce(t, 'none')", "VARCHAR: GB, none, 12, x, ");
    check("nullif(i, 0)", "BIGINT: 7, NULL, 9223372036854775807, -9223372036854775808, NULL");
    check("CAST(NULL AS BIGINT)", "BIGINT: NULL, NULL, NULL, NULL, NULL");
}

#[test]
fn a_row_alone_decides_what_it_skips() {
    check("i <> 0 AND 10 / i > 0", "BOOLEAN: true, NULL, false, false, false");
    check("i = 0 OR 10 / i > 0", "BOOLEAN: true, NULL, false, false, true");
    check("CASE WHEN i <> 0 THEN 10 / i END", "BIGINT: 1, NULL, 0, 0, NULL");
    check("CASE WHEN i <> 0 THEN 10 / i ELSE -1 END", "BIGINT: 1, -1, 0, 0, -1");
    check(
        "coalesce(nullif(i, 0), 1 / i)",
        "BIGINT: 7, NULL, 9223372036854775807, -9223372036854775808, !division_by_zero",
    );
    check("10 / i > 0 AND i <> 0", "BOOLEAN: true, NULL, false, false, !division_by_zero");
}

#[test]
fn casts_fail_or_hold() {
    check("CAST(t AS BIGINT)", "BIGINT: !bad_cast, NULL, 12, !bad_cast, !bad_cast");
    check("TRY_CAST(t AS BIGINT)", "BIGINT: NULL, NULL, 12, NULL, NULL");
    check("CAST(i AS INTEGER)", "INTEGER: 7, NULL, !bad_cast, !bad_cast, 0");
    check("CAST(d AS BIGINT)", "BIGINT: 2, NULL, !bad_cast, !bad_cast, 0");
    check("i::DOUBLE", "DOUBLE: 7.0, NULL, 9.223372036854776e18, -9.223372036854776e18, 0.0");
    check("CAST(i AS VARCHAR)", "VARCHAR: 7, NULL, 9223372036854775807, -9223372036854775808, 0");
    check("CAST('2026-01-01T00:15:00Z' AS TIMESTAMP) = ts", "BOOLEAN: true, NULL, false, false, false");
    check("ts > TIMESTAMP '2026-01-01 00:00:00'", "BOOLEAN: true, NULL, true, false, false");
    check("CAST('0001-01-01' AS TIMESTAMP) < ts", "BOOLEAN: true, NULL, true, false, true");
    check("CAST(CASE WHEN b THEN 'x' ELSE '1' END AS BIGINT)", "BIGINT: !bad_cast, 1, !bad_cast, 1, 1");
}

#[test]
fn times() {
    check("date_part('hour', ts)", "INTEGER: 0, NULL, NULL, NULL, 0");
    check("CASE WHEN i = 7 THEN EXTRACT(minute FROM ts) END", "INTEGER: 15, NULL, NULL, NULL, NULL");
    check("CASE WHEN i = 7 THEN date_trunc('hour', ts) END", "TIMESTAMP: 2026-01-01T00:00:00, NULL, NULL, NULL, NULL");
    check("CASE WHEN i = 7 THEN ts - INTERVAL '1' DAY END", "TIMESTAMP: 2025-12-31T00:15:00, NULL, NULL, NULL, NULL");
    check("CASE WHEN i = 7 THEN ts + INTERVAL '1 month' END", "TIMESTAMP: 2026-02-01T00:15:00, NULL, NULL, NULL, NULL");
    check("day > DATE '2025-12-31'", "BOOLEAN: true, NULL, true, false, false");
    check("ts = ts", "BOOLEAN: true, NULL, true, true, true");
}

#[test]
fn texts() {
    check("lower(t)", "VARCHAR: gb, NULL, 12, x, ");
    check("t || '-' || i", "VARCHAR: GB-7, NULL, 12-9223372036854775807, x--9223372036854775808, -0");
    check("length(t)", "INTEGER: 2, NULL, 2, 1, 0");
    check("substring(t FROM 1 FOR 1)", "VARCHAR: G, NULL, 1, x, ");
    check("t LIKE 'G%'", "BOOLEAN: true, NULL, false, false, false");
    check("concat(t, i)", "VARCHAR: GB7, , 129223372036854775807, x-9223372036854775808, 0");
    check("position('B' IN t)", "INTEGER: 2, NULL, 0, 0, 0");
    check("trim(t)", "VARCHAR: GB, NULL, 12, x, ");
    check("regexp_replace(t, '[0-9]', '#')", "VARCHAR: GB, NULL, #2, x, ");
}

#[test]
fn bare_columns_and_what_is_read() {
    let column = plan("(TX.D)").unwrap();
    assert_eq!((column.as_column(), column.columns(), column.can_fail()), (Some(3), vec![3], false));
    let sum = plan("d + r * d").unwrap();
    assert_eq!((sum.as_column(), sum.columns(), sum.can_fail()), (None, vec![3, 4], false));
    for (sql, can_fail) in [
        ("d > 1 AND t = 'GB'", false),
        ("i > 3", false),
        ("t IS NULL", false),
        ("i + 1", true),
        ("CAST(t AS BIGINT)", true),
        ("i::DOUBLE / 3", false),
        ("coalesce(d, 0)", false),
        ("nullif(d, 0)", false),
        ("ts - INTERVAL '1' DAY", true),
        ("q + 1", true),
    ] {
        assert_eq!(plan(sql).unwrap().can_fail(), can_fail, "{sql}");
    }
}

#[test]
fn a_list_passes_as_a_bare_column_alone() {
    let mut scope = Scope::new();
    scope.push(None, "list", DataType::new_list(DataType::Float64, true), true);
    let parse = |sql: &str| Parser::new(&GenericDialect {}).try_with_sql(sql).unwrap().parse_expr().unwrap();
    let list = Expression::plan(&parse("list"), &scope).unwrap();
    assert_eq!(list.as_column(), Some(0));
    let error = Expression::plan(&parse("coalesce(list, list)"), &scope).unwrap_err();
    assert!(error.message.contains("DOUBLE[]"), "{error:?}");
}

#[test]
fn a_map_passes_as_a_bare_column_alone() {
    let mut scope = Scope::new();
    let fields = [Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Int64, false)];
    let entries = Field::new("entries", DataType::Struct(Fields::from_iter(fields)), false);
    scope.push(None, "map", DataType::Map(Arc::new(entries), true), true);
    let parse = |sql: &str| Parser::new(&GenericDialect {}).try_with_sql(sql).unwrap().parse_expr().unwrap();
    assert_eq!(Expression::plan(&parse("map"), &scope).unwrap().as_column(), Some(0));
    for sql in ["coalesce(map, map)", "map = map", "map IS NULL", "CAST(map AS VARCHAR)"] {
        let error = Expression::plan(&parse(sql), &scope).unwrap_err();
        let expected = "`map` is a MAP(VARCHAR, BIGINT) and cannot stand inside an expression";
        assert_eq!(error.message, expected, "{sql}");
    }
}

#[test]
fn refusals_name_the_construct() {
    refuse("amout + 1", "unknown column `amout`");
    refuse("tx.tt", "did you mean `tx.t`?");
    refuse("ty.d", "unknown alias `ty` in `ty.d`");
    refuse("x.y.z", "a column is written `name` or `alias.name`");
    refuse("lowr(t)", "did you mean `lower`?");
    refuse(
        "now() > ts",
        "function `now` is not supported (a value may depend on events, the request and the as-of instant alone)",
    );
    refuse("current_date = day", "function `current_date` is not supported");
    refuse("CURRENT_TIMESTAMP > ts", "function `current_timestamp` is not supported");
    refuse("random() > d", "function `random` is not supported");
    refuse("uuid() = t", "function `uuid` is not supported");
    refuse("sum(d)", "unknown function `sum`");
    refuse("sum(d) OVER (PARTITION BY i ORDER BY ts)", "`sum(…) OVER …` is not supported");
    refuse("i = (SELECT 1)", "a subquery is not supported");
    refuse("i IN (SELECT 1)", "a subquery is not supported");
    refuse("EXISTS (SELECT 1)", "a subquery is not supported");
    refuse("[1, 2]", "an array is not supported");
    refuse("(1, 2)", "a row or struct is not supported");
    refuse("i & 1", "operator `&` is not supported");
    refuse("ts AT TIME ZONE 'UTC'", "AT TIME ZONE is not supported");
    refuse("t SIMILAR TO 'x'", "SIMILAR TO is not supported");
    refuse("t LIKE 'x' ESCAPE '!'", "LIKE … ESCAPE is not supported");
    refuse("i = ANY(1)", "ANY is not supported");
    refuse("lower(DISTINCT t)", "DISTINCT or a clause inside `lower(…)` is not supported");
    refuse("lower(t) FILTER (WHERE b)", "FILTER after `lower` is not supported");
    refuse("lower(*)", "`*` inside `lower(…)` is not supported");
    refuse("a.lower(t)", "the qualified function name `a.lower` is not supported");
    refuse("9223372036854775808", "number `9223372036854775808` is beyond BIGINT");
    refuse("CAST(t AS INT)", "type `INT` is not supported (write INTEGER)");
    refuse("SAFE_CAST(t AS BIGINT)", "this form of CAST is not supported");
    refuse("NULL", "NULL without a type");
    refuse("ts - ts", "gives an INTERVAL");
    refuse("$1", "the placeholder `$1` is not supported");
    refuse("X'ff'", "is not supported in an expression");
    refuse("1 / 0", "the expression cannot be evaluated: division by zero");
    refuse("9223372036854775807 + 1", "the expression cannot be evaluated");
    refuse("t + 1 > ts", "");
    refuse("NOT i + 'x'", "");
    refuse("lower(t, t)", "lower");
    refuse("repeat(t, i)", "the second argument of `repeat` must be a whole number up to 10000, found `i`");
    refuse("lpad(t, 10001)", "the second argument of `lpad`");
    refuse("date_trunc('fortnight', ts)", "");
}

#[test]
fn extreme_values_never_panic() {
    let batch = batch();
    for sql in [
        "date_trunc('month', ts)",
        "date_trunc('week', ts)",
        "date_part('year', day)",
        "date_part('epoch', ts)",
        "ts + INTERVAL '1' YEAR",
        "day + INTERVAL '1' MONTH",
        "day - DATE '1970-01-01'",
        "CAST(ts AS DATE)",
        "CAST(day AS TIMESTAMP)",
        "CAST(ts AS VARCHAR)",
        "CAST(day AS VARCHAR)",
        "repeat(t, 3)",
        "round(d, 2)",
        "power(i, 2)",
        "factorial(i)",
        "gcd(i, n)",
        "lcm(i, n)",
        "chr(i)",
        "round(q, 1)",
        "trunc(d, 3)",
        "log(d, i)",
        "substr(t, i)",
        "left(t, i)",
        "right(t, i)",
        "split_part(t, 'B', i)",
        "to_timestamp(i)",
        "from_unixtime(i)",
        "make_date(n, n, n)",
        "date_bin(INTERVAL '1' DAY, ts)",
        "signum(i)",
        "ceil(d)",
        "CEIL(q)",
        "sqrt(i)",
        "q % q",
        "lpad(t, 9)",
        "rpad(t, 3)",
        "concat_ws(t, t, i)",
        "md5(t)",
        "initcap(t)",
        "reverse(t)",
        "ascii(t)",
        "levenshtein(t, 'x')",
        "isnan(d)",
        "find_in_set(t, 'a,b')",
        "substr_index(t, 'B', i)",
        "regexp_count(t, 'B', i)",
        "regexp_like(t, '[')",
        "cbrt(d)",
        "atan2(d, d)",
        "exp(d)",
        "degrees(d)",
        "nanvl(d, 1)",
        "pi() * d",
        "cot(d)",
        "to_date(t)",
        "date_part('week', ts)",
        "octet_length(t)",
        "strpos(t, t)",
        "concat(t)",
        "log10(i)",
        "to_hex(i)",
        "translate(t, 'G', 'H')",
        "overlay(t PLACING 'x' FROM s)",
        "to_unixtime(ts)",
    ] {
        match plan(sql) {
            Ok(expression) => {
                let rows = rows_of(&expression, &batch, None);
                for failure in expression.evaluate_each(&batch, None).failures {
                    assert!(!failure.detail.contains("unexpectedly"), "{sql} panics in row {}", failure.row);
                    println!("    {failure:?}");
                }
                println!(
                    "{sql}: {} {}",
                    type_name(expression.data_type()),
                    rows.join(", ").chars().take(200).collect::<String>()
                );
            }
            Err(error) => println!("{sql}: {error} {:?}", error.hint),
        }
    }
}
