//! The SELECT of a view or service: everything around it that the language does not have is refused by name.
//!
//! The patterns below name every field of the parser's trees, so that a clause a newer parser learns breaks the build
//! instead of being ignored.

use asof_expression::fold;
use asof_expression::sqlparser::ast::{
    Expr, GroupByExpr, Ident, Query, Select, SelectFlavor, SelectItem, SetExpr, Spanned, TableAlias, TableFactor,
    TableWithJoins,
};
use asof_expression::sqlparser::tokenizer::Span;

use crate::refusal::Refusal;
use crate::statement::{QuerySyntax, Tokens};
use crate::system_time::{self, AsOfClause};
use crate::window_function::WindowKind;

/// One item of the SELECT list.
pub(crate) struct Item<'a> {
    pub(crate) expression: &'a Expr,
    pub(crate) alias: Option<&'a Ident>,
}

/// A relation of FROM: its name and the alias that columns are qualified by.
pub(crate) struct Relation {
    pub(crate) name: Ident,
    pub(crate) alias: Option<Ident>,
}

impl Relation {
    /// The folded alias, or the folded name.
    pub(crate) fn qualifier(&self) -> String {
        fold(self.alias.as_ref().unwrap_or(&self.name))
    }
}

/// What to write instead of a clause, by its name.
pub(crate) type Hints = fn(&str) -> &'static str;

/// The SELECT, if it is all there is.
pub(crate) fn select_of(syntax: &QuerySyntax) -> Result<&Select, Refusal> {
    select_in(body_of(syntax, instead_of)?, &syntax.tokens)
}

/// What is left of a query without the clauses around it, which are refused.
pub(crate) fn body_of(syntax: &QuerySyntax, hints: Hints) -> Result<&SetExpr, Refusal> {
    let tokens = &syntax.tokens;
    let Query { with, body, order_by, limit_clause, fetch, locks, for_clause, settings, format_clause, pipe_operators } =
        &*syntax.query;
    let refused = [
        (with.is_some(), "WITH", &["WITH"][..]),
        (order_by.is_some(), "ORDER BY", &["ORDER", "BY"]),
        (limit_clause.is_some() && tokens.find_clause(&["LIMIT"]).is_none(), "OFFSET", &["OFFSET"]),
        (limit_clause.is_some(), "LIMIT", &["LIMIT"]),
        (fetch.is_some(), "FETCH", &["FETCH"]),
        (!locks.is_empty() || for_clause.is_some(), "FOR", &["FOR"]),
        (settings.is_some(), "SETTINGS", &["SETTINGS"]),
        (format_clause.is_some(), "FORMAT", &["FORMAT"]),
        (!pipe_operators.is_empty(), "the pipe operator `|>`", &["|>"]),
    ];
    refuse_clauses(&refused, tokens, hints)?;
    Ok(body)
}

/// The SELECT, if the body of a query is one.
pub(crate) fn select_in<'a>(body: &'a SetExpr, tokens: &Tokens) -> Result<&'a Select, Refusal> {
    match body {
        SetExpr::Select(select) => Ok(select),
        SetExpr::SetOperation { op, .. } => {
            let op = op.to_string();
            Err(refuse(&op, place(tokens, &[&op])))
        }
        SetExpr::Query(_) => Err(refuse("a query in parentheses", tokens.span())),
        SetExpr::Values(_) => Err(refuse("VALUES", tokens.span())),
        SetExpr::Insert(_) => Err(refuse("INSERT", tokens.span())),
        SetExpr::Update(_) => Err(refuse("UPDATE", tokens.span())),
        SetExpr::Delete(_) => Err(refuse("DELETE", tokens.span())),
        SetExpr::Merge(_) => Err(refuse("MERGE", tokens.span())),
        SetExpr::Table(_) => Err(refuse("TABLE", tokens.span())),
    }
}

/// Refuses the clauses of a SELECT that neither a view over a stream nor a service has.
pub(crate) fn refuse_foreign_clauses(select: &Select, tokens: &Tokens) -> Result<(), Refusal> {
    refuse_clauses(&[(is_grouped(&select.group_by), "GROUP BY", &["GROUP", "BY"])], tokens, instead_of)?;
    refuse_clauses_of(select, tokens, instead_of)
}

/// Refuses the clauses of a SELECT that no statement has; WINDOW and GROUP BY are left to the caller.
pub(crate) fn refuse_clauses_of(select: &Select, tokens: &Tokens, hints: Hints) -> Result<(), Refusal> {
    let Select {
        select_token: _,
        optimizer_hints,
        distinct,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection: _,
        exclude,
        into,
        from: _,
        lateral_views,
        prewhere,
        selection: _,
        connect_by,
        group_by: _,
        cluster_by,
        distribute_by,
        sort_by,
        having,
        named_window: _,
        qualify,
        window_before_qualify: _,
        value_table_mode,
        flavor,
    } = select;
    let refused = [
        (!optimizer_hints.is_empty(), "an optimizer hint", &["SELECT"][..]),
        (distinct.is_some(), "DISTINCT", &["DISTINCT"]),
        (select_modifiers.is_some(), "a modifier of SELECT", &["SELECT"]),
        (top.is_some(), "TOP", &["TOP"]),
        (exclude.is_some(), "EXCLUDE", &["EXCLUDE"]),
        (into.is_some(), "INTO", &["INTO"]),
        (!lateral_views.is_empty(), "LATERAL VIEW", &["LATERAL"]),
        (prewhere.is_some(), "PREWHERE", &["PREWHERE"]),
        (!connect_by.is_empty(), "CONNECT BY", &["CONNECT", "BY"]),
        (!cluster_by.is_empty(), "CLUSTER BY", &["CLUSTER", "BY"]),
        (!distribute_by.is_empty(), "DISTRIBUTE BY", &["DISTRIBUTE", "BY"]),
        (!sort_by.is_empty(), "SORT BY", &["SORT", "BY"]),
        (having.is_some(), "HAVING", &["HAVING"]),
        (qualify.is_some(), "QUALIFY", &["QUALIFY"]),
        (value_table_mode.is_some(), "SELECT AS", &["AS"]),
        (!matches!(flavor, SelectFlavor::Standard), "FROM before SELECT", &["FROM"]),
    ];
    refuse_clauses(&refused, tokens, hints)
}

fn refuse_clauses(clauses: &[(bool, &str, &[&str])], tokens: &Tokens, hints: Hints) -> Result<(), Refusal> {
    match clauses.iter().find(|(present, _, _)| *present) {
        Some((_, name, words)) => Err(refuse(name, place(tokens, words)).hint(hints(name))),
        None => Ok(()),
    }
}

pub(crate) fn is_grouped(group_by: &GroupByExpr) -> bool {
    match group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(expressions, modifiers) => !expressions.is_empty() || !modifiers.is_empty(),
    }
}

fn instead_of(clause: &str) -> &'static str {
    match clause {
        "GROUP BY" => "the entity key is the PARTITION BY of the windows",
        "ORDER BY" | "LIMIT" | "OFFSET" | "FETCH" | "DISTINCT" => "a view answers one row for a key and an instant",
        "HAVING" | "QUALIFY" => "filter events with WHERE, or one aggregate with FILTER (WHERE …)",
        "WITH" => "write the expressions out in the SELECT",
        _ => "a definition is SELECT … FROM … [WHERE …] [WINDOW …]",
    }
}

pub(crate) fn refuse(construct: &str, span: Span) -> Refusal {
    Refusal::new(span, format!("{construct} is not supported"))
}

/// The place of a clause, or of the whole query where it cannot be found.
pub(crate) fn place(tokens: &Tokens, words: &[&str]) -> Span {
    tokens.find_clause(words).unwrap_or_else(|| tokens.span())
}

/// The items of the SELECT list; `*` and other forms are refused.
pub(crate) fn items<'a>(select: &'a Select, tokens: &Tokens) -> Result<Vec<Item<'a>>, Refusal> {
    let item = |item: &'a SelectItem| match item {
        SelectItem::UnnamedExpr(expression) => Ok(Item { expression, alias: None }),
        SelectItem::ExprWithAlias { expr, alias } => Ok(Item { expression: expr, alias: Some(alias) }),
        SelectItem::ExprWithAliases { expr, .. } => Err(refuse("a list of aliases", expr.span())),
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
            let span = if item.span() == Span::empty() { place(tokens, &["SELECT"]) } else { item.span() };
            Err(Refusal::new(span, format!("SELECT {item} is not supported"))
                .hint("name every column: the order is the model's"))
        }
    };
    select.projection.iter().map(item).collect()
}

/// The one relation of FROM, and its joins.
pub(crate) fn from_of<'a>(select: &'a Select, tokens: &Tokens, name: &Ident) -> Result<&'a TableWithJoins, Refusal> {
    match &select.from[..] {
        [from] => Ok(from),
        [] => Err(Refusal::new(name.span, format!("`{}` has no FROM", fold(name)))),
        [_, second, ..] => {
            let span = if second.span() == Span::empty() { place(tokens, &["FROM"]) } else { second.span() };
            Err(Refusal::new(span, "a second relation in FROM is not supported"))
        }
    }
}

/// A relation that is a name with an optional alias, and nothing more.
pub(crate) fn relation_of(factor: &TableFactor, syntax: &QuerySyntax) -> Result<Relation, Refusal> {
    match versioned_relation_of(factor, syntax)? {
        (relation, None) => Ok(relation),
        (_, Some(time)) => {
            Err(Refusal::new(time.span, "FOR SYSTEM_TIME AS OF is not supported at this place").hint(system_time::HINT))
        }
    }
}

/// A relation that is a name with an optional alias, and perhaps FOR SYSTEM_TIME AS OF.
pub(crate) fn versioned_relation_of<'a>(
    factor: &TableFactor,
    syntax: &'a QuerySyntax,
) -> Result<(Relation, Option<&'a AsOfClause>), Refusal> {
    let relation = named_relation(factor, &syntax.tokens)?;
    let time = syntax.system_times.iter().find(|time| time.relation == relation.name.span);
    Ok((relation, time))
}

fn named_relation(factor: &TableFactor, tokens: &Tokens) -> Result<Relation, Refusal> {
    let whole = if factor.span() == Span::empty() { place(tokens, &["FROM"]) } else { factor.span() };
    let TableFactor::Table {
        name,
        alias,
        args,
        with_hints,
        version,
        with_ordinality,
        partitions,
        json_path,
        sample,
        index_hints,
    } = factor
    else {
        return Err(match factor {
            TableFactor::MatchRecognize { .. } => Refusal::new(whole, "MATCH_RECOGNIZE is not supported yet"),
            _ => refuse(&format!("{} in FROM", name_of(factor)), whole),
        });
    };
    let refused = [
        (version.is_some(), "a version of a table"),
        (args.is_some(), "a table function"),
        (!with_hints.is_empty(), "WITH hints"),
        (*with_ordinality, "WITH ORDINALITY"),
        (!partitions.is_empty(), "PARTITION"),
        (json_path.is_some(), "a JSON path"),
        (sample.is_some(), "TABLESAMPLE"),
        (!index_hints.is_empty(), "an index hint"),
    ];
    if let Some((_, construct)) = refused.iter().find(|(present, _)| *present) {
        let refusal = refuse(&format!("{construct} in FROM"), whole);
        return Err(match WindowKind::from_name(&name.to_string()) {
            Some(kind) => refusal.hint(format!("write FROM {}", kind.example("stream", "ts"))),
            None => refusal,
        });
    }
    let [part] = &name.0[..] else {
        return Err(Refusal::new(whole, format!("the qualified name `{name}` is not supported"))
            .hint("objects have one name, without dots"));
    };
    let Some(name) = part.as_ident() else {
        return Err(refuse(&format!("`{name}` in FROM"), whole));
    };
    Ok(Relation { name: name.clone(), alias: alias.as_ref().map(alias_of).transpose()? })
}

fn alias_of(alias: &TableAlias) -> Result<Ident, Refusal> {
    let TableAlias { explicit: _, name, columns, at } = alias;
    if !columns.is_empty() || at.is_some() {
        return Err(refuse("renaming columns in an alias", name.span));
    }
    Ok(name.clone())
}

fn name_of(factor: &TableFactor) -> &'static str {
    match factor {
        TableFactor::Derived { .. } => "a subquery",
        TableFactor::NestedJoin { .. } => "a join in parentheses",
        TableFactor::Pivot { .. } => "PIVOT",
        TableFactor::Unpivot { .. } => "UNPIVOT",
        TableFactor::UNNEST { .. } => "UNNEST",
        _ => "a table function",
    }
}
