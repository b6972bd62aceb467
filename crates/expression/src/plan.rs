//! From SQL to an [`Expression`]: check and resolve, type, give the language's meaning, make it executable.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, DFSchemaRef, DataFusionError, Result as DataFusionResult, TableReference, plan_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion_expr::{AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF, cast};
use datafusion_optimizer::analyzer::type_coercion::TypeCoercionRewriter;
use datafusion_physical_expr::utils::collect_columns;
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use sqlparser::ast;

use crate::error::PlanError;
use crate::evaluation::{Program, explain};
use crate::expression::{Expression, Planned};
use crate::function::{Lookup, UNSIGNED, lookup};
use crate::grammar::{internal_name, resolve};
use crate::meaning::{can_fail, give_meaning, physical};
use crate::scope::Scope;
use crate::sql_type::sql_type;
use crate::type_name::type_name;

/// Plans `written` over `scope`. A bare column stays one, whatever its type.
pub(crate) fn plan(written: &ast::Expr, scope: &Scope) -> Result<Expression, PlanError> {
    if let Some(parts) = bare_column(written) {
        return Ok(Expression::column(scope.resolve(parts)?, scope));
    }
    let mut resolved = written.clone();
    resolve(&mut resolved, scope)?;
    plan_resolved(resolved, scope).map_err(|error| error.at(written))
}

fn bare_column(written: &ast::Expr) -> Option<&[ast::Ident]> {
    match written {
        ast::Expr::Identifier(ident) => Some(std::slice::from_ref(ident)),
        ast::Expr::CompoundIdentifier(parts) => Some(parts),
        ast::Expr::Nested(inner) => bare_column(inner),
        _ => None,
    }
}

fn plan_resolved(resolved: ast::Expr, scope: &Scope) -> Result<Expression, PlanError> {
    let words = |error: DataFusionError| in_words(&error, scope);
    let fields: Vec<Field> = (0..scope.len())
        .map(|index| Field::new(internal_name(index), scope.data_type(index).clone(), scope.nullable(index)))
        .collect();
    let arrow_schema = Arc::new(Schema::new(fields));
    let schema: DFSchemaRef = Arc::new(DFSchema::try_from(Arc::clone(&arrow_schema)).map_err(words)?);
    let typed = typed(resolved, &schema).map_err(words)?;
    let meant = give_meaning(typed, &schema).map_err(words)?;
    let executable = physical(&meant, &schema).map_err(words)?;
    let found = executable.data_type(&arrow_schema).map_err(words)?;
    let data_type = result_type(&found)?;
    let mut columns: Vec<usize> = collect_columns(&executable).into_iter().map(|column| column.index()).collect();
    columns.sort_unstable();
    let planned = Planned {
        nullable: executable.nullable(&arrow_schema).map_err(words)?,
        can_fail: can_fail(&meant, &schema) || !is_plain_change(&found, &data_type),
        columns,
        program: Program { physical: executable, data_type },
    };
    // Without rows only a constant can fail: one that would fail on every row.
    let nothing = RecordBatch::new_empty(arrow_schema);
    planned.program.evaluate_whole(&nothing).map_err(|(_, detail)| {
        PlanError::new(format!("the expression cannot be evaluated: {}", named(&detail, scope)))
    })?;
    Ok(Expression::from_planned(planned))
}

fn typed(resolved: ast::Expr, schema: &DFSchemaRef) -> DataFusionResult<Expr> {
    let options = ParserOptions::new().with_map_string_types_to_utf8view(false);
    let provider = Provider::new();
    let planner = SqlToRel::new_with_options(&provider, options);
    let untyped = planner.sql_to_expr(resolved, schema, &mut PlannerContext::new())?;
    let signed = untyped.transform_up(|expr| match &expr {
        Expr::ScalarFunction(call) if UNSIGNED.contains(&call.func.name()) => {
            Ok(Transformed::yes(cast(expr, DataType::Int64)))
        }
        _ => Ok(Transformed::no(expr)),
    })?;
    let coerced = signed.data.rewrite(&mut TypeCoercionRewriter::new(schema))?;
    Ok(coerced.data)
}

/// The type of the language that a result is brought into.
fn result_type(found: &DataType) -> Result<DataType, PlanError> {
    use DataType::*;
    match found {
        Boolean | Int16 | Int32 | Int64 | Float32 | Float64 | Decimal128(_, _) | Utf8 | Binary | Date32 => {
            Ok(found.clone())
        }
        Int8 => Ok(Int16),
        UInt8 | UInt16 | UInt32 | UInt64 => Ok(Int64),
        Float16 => Ok(Float32),
        LargeUtf8 | Utf8View => Ok(Utf8),
        LargeBinary | BinaryView => Ok(Binary),
        Timestamp(_, _) => Ok(Timestamp(TimeUnit::Microsecond, None)),
        Dictionary(_, values) => result_type(values),
        Null => Err(PlanError::new("the expression is NULL without a type").with_hint("write CAST(NULL AS type)")),
        Interval(_) | Duration(_) => {
            Err(PlanError::new("the expression gives an INTERVAL, which is no type of the language")
                .with_hint("for the seconds between two times, subtract date_part('epoch', …) of each"))
        }
        other => {
            Err(PlanError::new(format!("the expression gives {}, which is no type of the language", type_name(other))))
        }
    }
}

fn is_plain_change(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    from == to
        || matches!(
            (from, to),
            (Int8, Int16)
                | (UInt8 | UInt16 | UInt32, Int64)
                | (Float16, Float32)
                | (Utf8View, Utf8)
                | (BinaryView, Binary)
        )
}

fn in_words(error: &DataFusionError, scope: &Scope) -> PlanError {
    let detail = match error.find_root() {
        DataFusionError::Plan(detail) | DataFusionError::NotImplemented(detail) => detail.clone(),
        DataFusionError::SchemaError(error, _) => error.to_string(),
        _ => explain(error).1,
    };
    let first_line = detail.lines().next().unwrap_or_default();
    let mut message = named(first_line.trim_end_matches('.'), scope);
    // DataFusion starts its sentences with a capital; names in capitals stay.
    let mut letters = message.chars();
    if let (Some(first), Some(second)) = (letters.next(), letters.next())
        && first.is_uppercase()
        && second.is_lowercase()
    {
        message.replace_range(..first.len_utf8(), &first.to_lowercase().to_string());
    }
    PlanError::new(message)
}

/// A message of the library with the user's column and type names.
fn named(detail: &str, scope: &Scope) -> String {
    let mut message = detail.to_owned();
    for index in (0..scope.len()).rev() {
        let internal = internal_name(index);
        if message.contains(&internal) {
            message =
                message.replace(&format!("\"{internal}\""), &internal).replace(&internal, &scope.display_name(index));
        }
    }
    for (library, language) in [
        ("Int64", "BIGINT"),
        ("Int32", "INTEGER"),
        ("Int16", "SMALLINT"),
        ("Float64", "DOUBLE"),
        ("Float32", "REAL"),
        ("LargeUtf8", "VARCHAR"),
        ("Utf8View", "VARCHAR"),
        ("Utf8", "VARCHAR"),
        ("Date32", "DATE"),
        ("Timestamp(Microsecond, None)", "TIMESTAMP"),
        ("Timestamp(µs)", "TIMESTAMP"),
        ("Decimal128", "DECIMAL"),
        ("Boolean", "BOOLEAN"),
    ] {
        message = message.replace(library, language);
    }
    message
}

/// What DataFusion's SQL planner asks for: functions, types and nothing else.
struct Provider {
    options: ConfigOptions,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl Provider {
    fn new() -> Provider {
        Provider {
            options: ConfigOptions::default(),
            planners: vec![
                Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
                Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
                Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
            ],
        }
    }
}

impl ContextProvider for Provider {
    fn get_table_source(&self, name: TableReference) -> DataFusionResult<Arc<dyn TableSource>> {
        plan_err!("no table `{name}` in an expression")
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        match lookup(name) {
            Lookup::Known(function) => Some(function),
            Lookup::Unrepeatable | Lookup::Unknown => None,
        }
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, _name: &str) -> Option<Arc<AggregateUDF>> {
        None
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        crate::function_names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The language's types in CAST: a TIMESTAMP is in microseconds here, a VARCHAR is Utf8.
#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, written: &ast::DataType) -> DataFusionResult<Option<FieldRef>> {
        match sql_type(written) {
            Ok(data_type) => Ok(Some(Arc::new(Field::new("", data_type, true)))),
            Err(error) => plan_err!("{error}"),
        }
    }
}
