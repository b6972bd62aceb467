//! How a feature view over a group window is read: the entity is the group, and as of an instant its features are those of
//! the window that is open, or inside `lag(…)` of the one that closed last.

use std::sync::Arc;

use asof_expression::fold;
use asof_expression::sqlparser::ast::Select;
use asof_expression::sqlparser::tokenizer::Span;

use crate::grouped_rows::GroupedRows;
use crate::key::Canonical;
use crate::lag::Lag;
use crate::outputs::{Outputs, needs_name};
use crate::query::{Item, Relation, items};
use crate::refusal::Refusal;
use crate::retention;
use crate::statement::QuerySyntax;
use crate::stream::Stream;
use crate::view::{FeatureView, Over};
use crate::view_builder::order_warning;
use crate::window_columns::{Beside, WindowColumns};
use crate::window_function::WindowFunction;

fn hint_of(clause: &str) -> &'static str {
    match clause {
        "ORDER BY" | "LIMIT" | "OFFSET" | "FETCH" | "DISTINCT" => "a view answers one row for a key and an instant",
        "HAVING" | "QUALIFY" => "filter events with WHERE, or one aggregate with FILTER (WHERE …)",
        _ => "a view over a group window is SELECT … FROM TABLE(TUMBLE(…)) [WHERE …] GROUP BY …",
    }
}

/// Checks a view whose FROM is a group window. Warnings go to `warnings`.
pub(crate) fn check(
    syntax: &QuerySyntax,
    select: &Select,
    function: &WindowFunction,
    relation: &Relation,
    stream: Arc<Stream>,
    warnings: &mut Vec<Refusal>,
) -> Result<FeatureView, Vec<Refusal>> {
    let rows = GroupedRows::read(function, relation, stream, select, syntax, hint_of)?;
    if rows.key.is_empty() {
        let message = format!("the GROUP BY of feature view `{}` has no entity key", fold(&syntax.name));
        let hint = "name it beside the bounds of the window: GROUP BY account_id, window_start, window_end";
        return Err(vec![Refusal::new(syntax.name.span, message).hint(hint)]);
    }
    let items = items(select, &syntax.tokens).map_err(|refusal| vec![refusal])?;
    let lag = Lag::new(&rows, select)?;
    let (mut columns, mut outputs, mut refusals) = (WindowColumns::new(&rows), Outputs::default(), Vec::new());
    for item in &items {
        refusals.extend(read_item(item, &mut columns, &mut outputs, &lag).err());
    }
    refusals.extend(outputs.missing_keys(&rows.key, |part| {
        format!("every part of the GROUP BY but the bounds is selected: SELECT {part}, …")
    }));
    if outputs.features.is_empty() && refusals.is_empty() {
        let message = format!("feature view `{}` has no feature", fold(&syntax.name));
        refusals.push(Refusal::new(syntax.name.span, message).hint("add an aggregate: count(*) AS name"));
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    warnings.extend(lag.unused(&items));
    let WindowColumns { frames, aggregates, .. } = columns;
    warnings.extend(order_warning(&rows.stream, &aggregates, &frames, syntax.name.span));
    let view = FeatureView {
        name: fold(&syntax.name),
        stream: rows.stream.clone(),
        over: Over::Events,
        key: outputs.key,
        filter: rows.filter.clone(),
        filter_text: rows.filter_text.clone(),
        frames,
        aggregates,
        outputs: outputs.order,
        features: outputs.features,
    };
    match retention::refusal(&view, syntax.name.span) {
        Some(refusal) => Err(vec![refusal]),
        None => Ok(view),
    }
}

/// A part of the key, or a feature.
fn read_item(
    item: &Item,
    columns: &mut WindowColumns<'_>,
    outputs: &mut Outputs,
    lag: &Lag<'_>,
) -> Result<(), Refusal> {
    let written = item.expression;
    let canonical = Canonical::of(written, &columns.rows.names);
    if let Some(part) = columns.rows.key_part(&canonical) {
        return outputs.add_key(item, part, &canonical, &columns.rows.scope);
    }
    let (body, taken) = columns.take(written, Beside::LastClosed(lag))?;
    let name = match item.alias {
        Some(alias) => fold(alias),
        None => canonical.column_name().ok_or_else(|| needs_name("feature", written))?,
    };
    if taken == 0 {
        return Err(Refusal::at(written, format!("feature `{name}` has no aggregate"))
            .or_at(item.alias.map_or_else(Span::empty, |alias| alias.span))
            .hint("a feature of a window is computed from aggregates of its events, or from its bounds"));
    }
    outputs.add_feature(item, name, &body, &columns.aggregates)
}
