//! The columns that an expression may name, in the order of the batches that it will be given.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use sqlparser::ast::Ident;

use crate::nearest::nearest;
use crate::{PlanError, PlanErrorKind};

/// How many columns an error lists before it only names the nearest.
const LISTED_COLUMNS_MAX: usize = 12;

/// Columns by (optional qualifier, folded name), with type and nullability.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    columns: Vec<ScopeColumn>,
}

#[derive(Debug, Clone)]
struct ScopeColumn {
    qualifier: Option<String>,
    /// Empty where no expression can name it.
    name: String,
    /// Whether only the qualified name finds it.
    is_always_qualified: bool,
    data_type: DataType,
    nullable: bool,
}

/// An identifier as the language compares it: lower case unless quoted.
pub fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

impl Scope {
    /// A scope without columns.
    pub fn new() -> Scope {
        Scope::default()
    }

    /// Adds the next column of the batches.
    pub fn push(&mut self, qualifier: Option<&str>, name: &str, data_type: DataType, nullable: bool) {
        self.columns.push(ScopeColumn {
            qualifier: qualifier.map(str::to_owned),
            name: name.to_owned(),
            is_always_qualified: false,
            data_type,
            nullable,
        });
    }

    /// Adds the next column of the batches, which is found by its qualified name alone.
    pub fn push_qualified(&mut self, qualifier: &str, name: &str, data_type: DataType, nullable: bool) {
        self.push(Some(qualifier), name, data_type, nullable);
        self.columns.iter_mut().next_back().into_iter().for_each(|last| last.is_always_qualified = true);
    }

    /// Adds the next column of the batches, which no expression can name.
    pub fn push_hidden(&mut self, data_type: DataType, nullable: bool) {
        self.push(None, "", data_type, nullable);
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The Arrow schema of the batches: names without qualifiers, which may repeat.
    pub fn schema(&self) -> SchemaRef {
        let field = |column: &ScopeColumn| Field::new(&column.name, column.data_type.clone(), column.nullable);
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    /// The column at `index`, as a user would write it.
    pub(crate) fn display_name(&self, index: usize) -> String {
        let column = &self.columns[index];
        match &column.qualifier {
            Some(qualifier) => format!("{qualifier}.{}", column.name),
            None => column.name.clone(),
        }
    }

    pub(crate) fn data_type(&self, index: usize) -> &DataType {
        &self.columns[index].data_type
    }

    pub(crate) fn nullable(&self, index: usize) -> bool {
        self.columns[index].nullable
    }

    /// The column that `parts` (`name` or `qualifier.name`) stands for.
    pub(crate) fn resolve(&self, parts: &[Ident]) -> Result<usize, PlanError> {
        let (qualifier, name) = match parts {
            [name] => (None, fold(name)),
            [qualifier, name] => (Some(fold(qualifier)), fold(name)),
            _ => return Err(PlanError::new("a column is written `name` or `alias.name`").at_idents(parts)),
        };
        let found: Vec<usize> = (0..self.columns.len())
            .filter(|&index| {
                let column = &self.columns[index];
                let is_meant = match &qualifier {
                    Some(_) => column.qualifier == qualifier,
                    None => !column.is_always_qualified,
                };
                column.is_named() && column.name == name && is_meant
            })
            .collect();
        match found[..] {
            [index] => Ok(index),
            [] => Err(self.unknown(qualifier.as_deref(), &name).at_idents(parts)),
            _ => {
                let candidates: Vec<String> =
                    found.iter().map(|&index| format!("`{}`", self.display_name(index))).collect();
                Err(PlanError::new(format!("column `{name}` is ambiguous"))
                    .with_hint(format!("write {}", candidates.join(" or ")))
                    .at_idents(parts))
            }
        }
    }

    fn unknown(&self, qualifier: Option<&str>, name: &str) -> PlanError {
        let written = match qualifier {
            Some(qualifier) => format!("{qualifier}.{name}"),
            None => name.to_owned(),
        };
        let qualified = |column: &&ScopeColumn| qualifier.is_none() || column.qualifier.as_deref() == qualifier;
        let error = PlanError::new(match qualifier {
            Some(qualifier) if !self.columns.iter().any(|column| column.qualifier.as_deref() == Some(qualifier)) => {
                format!("unknown alias `{qualifier}` in `{written}`")
            }
            _ => format!("unknown column `{written}`"),
        })
        .with_kind(PlanErrorKind::UnknownColumn { name: written.clone() });
        let named = || self.columns.iter().filter(|column| column.is_named());
        let names = named().filter(qualified).map(|column| column.name.as_str());
        let displayed: Vec<String> = (0..self.len())
            .filter(|index| self.columns[*index].is_named())
            .map(|index| self.display_name(index))
            .collect();
        if let Some(near) = nearest(name, names).filter(|near| *near != name) {
            let near = match qualifier {
                Some(qualifier) => format!("{qualifier}.{near}"),
                None => near.to_owned(),
            };
            return error.with_hint(format!("did you mean `{near}`?"));
        }
        if let Some(near) = nearest(&written, displayed.iter().map(String::as_str)) {
            return error.with_hint(format!("did you mean `{near}`?"));
        }
        if displayed.is_empty() {
            return error.with_hint("there are no columns here");
        }
        if displayed.len() > LISTED_COLUMNS_MAX {
            return error;
        }
        let of_one_relation =
            named().all(|column| Some(&column.qualifier) == named().next().map(|first| &first.qualifier));
        let listed = match qualifier {
            None if of_one_relation => named().map(|column| column.name.clone()).collect(),
            _ => displayed,
        };
        error.with_hint(format!("the columns are `{}`", listed.join("`, `")))
    }
}

impl ScopeColumn {
    fn is_named(&self) -> bool {
        !self.name.is_empty()
    }
}
