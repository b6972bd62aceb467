//! A planned scalar expression: what it reads, what it gives, whether it can fail, and how to evaluate it.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, Scalar, new_null_array};
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::DataType;

use crate::evaluation::Program;
use crate::plan;
use crate::{Evaluated, EvaluationError, PlanError, Scope};
use sqlparser::ast;

/// A scalar expression over the columns of a [`Scope`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Expression {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None` for a bare column, which is not evaluated but handed out.
    program: Option<Program>,
    data_type: DataType,
    nullable: bool,
    columns: Vec<usize>,
    can_fail: bool,
}

/// What planning finds out about an expression that is more than a bare column.
pub(crate) struct Planned {
    pub(crate) program: Program,
    pub(crate) nullable: bool,
    pub(crate) columns: Vec<usize>,
    pub(crate) can_fail: bool,
}

/// Equal expressions give equal values over batches of one scope.
impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        let (one, other) = (&self.inner, &other.inner);
        match (&one.program, &other.program) {
            (None, None) => one.columns == other.columns,
            (Some(program), Some(same)) => program == same,
            _ => false,
        }
    }
}

impl Expression {
    /// Checks, types and plans an expression over `scope`.
    pub fn plan(ast: &ast::Expr, scope: &Scope) -> Result<Expression, PlanError> {
        plan::plan(ast, scope)
    }

    /// The bare column at `index`.
    ///
    /// # Panics
    /// If the scope has no such column.
    pub fn column(index: usize, scope: &Scope) -> Expression {
        let data_type = scope.data_type(index).clone();
        let nullable = scope.nullable(index);
        Expression {
            inner: Arc::new(Inner { program: None, data_type, nullable, columns: vec![index], can_fail: false }),
        }
    }

    pub(crate) fn from_planned(planned: Planned) -> Expression {
        let Planned { program, nullable, columns, can_fail } = planned;
        let data_type = program.data_type.clone();
        Expression { inner: Arc::new(Inner { program: Some(program), data_type, nullable, columns, can_fail }) }
    }

    /// The type of the values: one of the language's, or a bare column's own.
    pub fn data_type(&self) -> &DataType {
        &self.inner.data_type
    }

    /// Whether a value may be NULL.
    pub fn nullable(&self) -> bool {
        self.inner.nullable
    }

    /// The column of the scope, if the expression is nothing else.
    pub fn as_column(&self) -> Option<usize> {
        match self.inner.program {
            None => self.inner.columns.first().copied(),
            Some(_) => None,
        }
    }

    /// Every column that is read, ascending, each once.
    pub fn columns(&self) -> Vec<usize> {
        self.inner.columns.clone()
    }

    /// Whether some row could fail. `false` is a promise; `true` may be caution.
    pub fn can_fail(&self) -> bool {
        self.inner.can_fail
    }

    /// One value per row of a batch with the scope's columns; the first failing row as an error.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, EvaluationError> {
        let Evaluated { values, failures } = self.evaluate_each(batch, None);
        match failures.into_iter().next() {
            Some(failure) => Err(failure.into()),
            None => Ok(values),
        }
    }

    /// One value per row. Rows outside `rows` (where given; NULL is outside) are not evaluated and come back NULL; rows
    /// that fail come back NULL and are listed.
    pub fn evaluate_each(&self, batch: &RecordBatch, rows: Option<&BooleanArray>) -> Evaluated {
        match (&self.inner.program, rows) {
            (None, None) => Evaluated { values: self.bare(batch), failures: Vec::new() },
            (None, Some(rows)) => Evaluated { values: only(&self.bare(batch), rows), failures: Vec::new() },
            (Some(program), None) => program.evaluate(batch),
            // What cannot fail is cheaper to evaluate everywhere than to pick rows for.
            (Some(program), Some(rows)) if !self.inner.can_fail => {
                let Evaluated { values, failures } = program.evaluate(batch);
                Evaluated { values: only(&values, rows), failures }
            }
            (Some(program), Some(rows)) => program.evaluate_some(batch, rows),
        }
    }

    fn bare(&self, batch: &RecordBatch) -> ArrayRef {
        Arc::clone(batch.column(self.inner.columns[0]))
    }
}

/// `values` where `rows` is true, NULL elsewhere.
fn only(values: &ArrayRef, rows: &BooleanArray) -> ArrayRef {
    let null = Scalar::new(new_null_array(values.data_type(), 1));
    zip(rows, values, &null).expect("one claim per row")
}
