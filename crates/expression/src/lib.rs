//! Scalar expressions of the language: planned once from SQL, evaluated over record batches.
//!
//! Rule kept here: the value of an expression on a row depends on that row alone. Neither the batch it stands in, nor
//! the clock, nor chance may change it. Where DataFusion would wrap an integer, tell −0.0 from 0.0 or one NaN from
//! another, this crate makes it do otherwise; everything else is as DataFusion does it.
//!
//! This crate alone knows DataFusion; nobody above it sees one of its types. The SQL parser's syntax tree is shared with
//! the definition layer, which reads statements, and is re-exported as [`sqlparser`].
//!
//! ```text
//!  sqlparser::ast::Expr ──grammar──▶ allowed, columns resolved
//!                       ──plan─────▶ typed (DataFusion) ──meaning──▶ our overflow, NaN and −0.0 ──▶ physical
//!  RecordBatch ─────────evaluation─▶ one value per row, or the rows that fail
//! ```
//!
//! Start with [`Expression`], then `plan`, `meaning` and `evaluation`.

mod checked;
mod error;
mod evaluation;
mod expression;
mod function;
mod grammar;
mod meaning;
mod nearest;
mod normal;
mod plan;
mod scope;
mod sql_type;
mod type_name;

pub use error::{PlanError, PlanErrorKind};
pub use evaluation::{Evaluated, EvaluationError, Failure, FailureKind};
pub use expression::Expression;
pub use function::function_names;
pub use nearest::nearest;
pub use normal::normalize;
pub use scope::{Scope, fold};
pub use sql_type::sql_type;
pub use sqlparser;
pub use type_name::type_name;
