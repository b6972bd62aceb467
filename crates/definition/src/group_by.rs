//! What GROUP BY names: the parts of a key, each once.

use asof_expression::sqlparser::ast::{Expr, GroupByExpr, Spanned};

use crate::key::{Canonical, ColumnNames};
use crate::query::{place, refuse};
use crate::refusal::Refusal;
use crate::statement::QuerySyntax;

/// Parts of a key as written, with the form in which equal ones are equal.
pub(crate) type KeyParts = Vec<(Expr, Canonical)>;

/// The expressions of GROUP BY, in their order; as many refusals as can be told apart.
pub(crate) fn parts_of(
    group_by: &GroupByExpr,
    names: &ColumnNames,
    syntax: &QuerySyntax,
    hint: &str,
) -> Result<KeyParts, Vec<Refusal>> {
    let at = place(&syntax.tokens, &["GROUP", "BY"]);
    let expressions = match group_by {
        GroupByExpr::Expressions(expressions, modifiers) if modifiers.is_empty() => expressions,
        GroupByExpr::Expressions(..) => return Err(vec![refuse("a modifier of GROUP BY", at).hint(hint)]),
        GroupByExpr::All(_) => return Err(vec![refuse("GROUP BY ALL", at).hint(hint)]),
    };
    let (mut parts, mut refusals): (KeyParts, Vec<Refusal>) = (Vec::new(), Vec::new());
    for written in expressions {
        let canonical = Canonical::of(written, names);
        let is_set = matches!(
            written,
            Expr::Value(_) | Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) | Expr::Tuple(_)
        );
        if is_set {
            refusals.push(refuse(&format!("`{written}` in GROUP BY"), written.span()).or_at(at).hint(hint));
        } else if parts.iter().any(|(_, other)| *other == canonical) {
            refusals.push(Refusal::at(written, format!("duplicate `{written}` in GROUP BY")));
        } else {
            parts.push((written.clone(), canonical));
        }
    }
    if refusals.is_empty() { Ok(parts) } else { Err(refusals) }
}
