//! A window of a view: its PARTITION BY, and the frame that its ORDER BY and RANGE or ROWS say, with what EXCLUDE leaves out.

use asof_expression::fold;
use asof_expression::sqlparser::ast::{
    Expr, OrderByExpr, OrderByOptions, Spanned, Value, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowSpec,
};
use asof_expression::sqlparser::tokenizer::Span;
use asof_window::{Calendar, Extent, Frame};

use crate::exclude_clause::{ExcludeClause, exclusion_after};
use crate::interval::interval_us;
use crate::key::{Canonical, ColumnNames, calendar_part};
use crate::refusal::Refusal;
use crate::statement::Tokens;

/// A window, read.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) frame: Frame,
    /// The PARTITION BY without its calendar part, as written, with the canonical form.
    pub(crate) key: Vec<(Expr, Canonical)>,
    /// Where to point for the whole window.
    pub(crate) place: Span,
}

/// What windows of a view are read against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowContext<'a> {
    /// The stream's time column, folded.
    pub(crate) time: &'a str,
    /// Which columns a PARTITION BY may name.
    pub(crate) names: &'a ColumnNames,
    /// The tokens of the query, to point at words for which the parser keeps no place.
    pub(crate) tokens: &'a Tokens,
    /// What stood at the ends of frames.
    pub(crate) exclude_clauses: &'a [ExcludeClause],
}

impl Window {
    /// Reads a specification; `place` is its name or the call before OVER, for what has no place of its own.
    pub(crate) fn read(spec: &WindowSpec, place: Span, context: WindowContext) -> Result<Window, Refusal> {
        let WindowSpec { window_name, partition_by, order_by, window_frame } = spec;
        if let Some(base) = window_name {
            return Err(Refusal::new(base.span, format!("a window that builds on window `{base}` is not supported"))
                .hint("write its PARTITION BY, ORDER BY and frame out"));
        }
        let (key, calendar) = split_partition(partition_by, place, context)?;
        let time = check_order(order_by, place, context)?;
        let exclusion = exclusion_after(context.exclude_clauses, time.span());
        let extent = match window_frame {
            None => Frame::LIFETIME.extent,
            Some(frame) => {
                let units = context.tokens.find_word_from(place, &frame.units.to_string()).unwrap_or(place);
                extent_of(frame, units, context.tokens)?
            }
        };
        Ok(Window { frame: Frame { extent, calendar, exclusion }, key, place })
    }
}

type Partition = (Vec<(Expr, Canonical)>, Option<Calendar>);

fn split_partition(partition_by: &[Expr], place: Span, context: WindowContext) -> Result<Partition, Refusal> {
    let mut calendar = None;
    let mut key: Vec<(Expr, Canonical)> = Vec::new();
    for part in partition_by {
        context.names.refuse_ambiguous(part)?;
        let canonical = Canonical::of(part, context.names);
        if let Some(bucket) = calendar_part(part, &canonical, context.time)? {
            if calendar.replace(bucket).is_some() {
                return Err(Refusal::at(
                    part,
                    "a window has at most one calendar part: a second date_trunc in PARTITION BY",
                ));
            }
        } else if key.iter().any(|(_, other)| *other == canonical) {
            return Err(Refusal::at(part, format!("duplicate `{part}` in PARTITION BY")));
        } else {
            key.push((part.clone(), canonical));
        }
    }
    if key.is_empty() {
        let message = match calendar {
            None => "the window has no PARTITION BY",
            Some(_) => "the PARTITION BY has no entity key beside date_trunc",
        };
        return Err(Refusal::new(place, message).hint("PARTITION BY names the entity: PARTITION BY account_id"));
    }
    Ok((key, calendar))
}

/// The one expression of an ORDER BY, which is the event time.
fn check_order<'o>(order_by: &'o [OrderByExpr], place: Span, context: WindowContext) -> Result<&'o Expr, Refusal> {
    let time = context.time;
    let hint = format!("write ORDER BY {time}: frames run over the stream's event time");
    let [OrderByExpr { expr, options, with_fill }] = order_by else {
        return Err(match order_by.get(1) {
            None => Refusal::new(place, "the window has no ORDER BY").hint(hint),
            Some(second) => Refusal::at(&second.expr, "a second ORDER BY expression is not supported").hint(hint),
        });
    };
    context.names.refuse_ambiguous(expr)?;
    let is_time =
        matches!(Canonical::of(expr, context.names).expression(), Expr::Identifier(ident) if fold(ident) == time);
    if !is_time {
        return Err(Refusal::at(
            expr,
            format!("ORDER BY `{expr}` is not supported: it must be the event time `{time}`"),
        )
        .hint(hint));
    }
    let OrderByOptions { asc, nulls_first } = options;
    if *asc == Some(false) {
        let span = context.tokens.find_word_from(expr.span(), "DESC").unwrap_or(expr.span());
        return Err(Refusal::new(span, "ORDER BY … DESC is not supported: time runs forward").hint(hint));
    }
    if nulls_first.is_some() || with_fill.is_some() {
        return Err(Refusal::at(expr, "NULLS FIRST, NULLS LAST and WITH FILL are not supported").hint(hint));
    }
    Ok(expr)
}

/// `place` is that of RANGE, ROWS or GROUPS.
fn extent_of(frame: &WindowFrame, place: Span, tokens: &Tokens) -> Result<Extent, Refusal> {
    let WindowFrame { units, start_bound, end_bound } = frame;
    for bound in [Some(start_bound), end_bound.as_ref()].into_iter().flatten() {
        if let WindowFrameBound::Following(_) = bound {
            let span = tokens.find_word_from(place, "FOLLOWING").unwrap_or(place);
            return Err(Refusal::new(span, format!("{bound} is not supported"))
                .hint("a feature sees no future: end the frame at CURRENT ROW"));
        }
    }
    match units {
        WindowFrameUnits::Range => range_of(start_bound, end_bound.as_ref(), place),
        WindowFrameUnits::Rows => rows_of(start_bound, end_bound.as_ref(), place),
        WindowFrameUnits::Groups => {
            Err(Refusal::new(place, "GROUPS is not supported").hint("use RANGE (time) or ROWS (a number of events)"))
        }
    }
}

fn range_of(start: &WindowFrameBound, end: Option<&WindowFrameBound>, place: Span) -> Result<Extent, Refusal> {
    let preceding_us = match start {
        WindowFrameBound::Preceding(Some(distance)) => Some(distance_us(distance, place)?),
        WindowFrameBound::Preceding(None) => None,
        WindowFrameBound::CurrentRow | WindowFrameBound::Following(_) => {
            return Err(Refusal::new(place, format!("a RANGE frame that starts at {start} is not supported"))
                .hint("write RANGE BETWEEN INTERVAL '5' MINUTE PRECEDING AND CURRENT ROW"));
        }
    };
    let lag_us = match end {
        None | Some(WindowFrameBound::CurrentRow) => 0,
        Some(WindowFrameBound::Preceding(Some(distance))) => {
            let lag_us = distance_us(distance, place)?;
            if preceding_us.is_some_and(|preceding_us| lag_us > preceding_us) {
                let message = format!("the frame ends before it starts: {start} AND {} PRECEDING", distance);
                return Err(Refusal::at(&**distance, message)
                    .or_at(place)
                    .hint("the second interval is at most the first"));
            }
            lag_us
        }
        Some(other @ (WindowFrameBound::Preceding(None) | WindowFrameBound::Following(_))) => {
            return Err(Refusal::new(place, format!("a frame that ends at {other} is not supported")));
        }
    };
    Ok(Extent::Range { preceding_us, lag_us })
}

fn rows_of(start: &WindowFrameBound, end: Option<&WindowFrameBound>, place: Span) -> Result<Extent, Refusal> {
    let preceding = match start {
        WindowFrameBound::Preceding(Some(count)) => count_of(count, place)?,
        WindowFrameBound::Preceding(None) => {
            return Err(Refusal::new(place, "ROWS UNBOUNDED PRECEDING is not supported")
                .hint("for a lifetime write RANGE UNBOUNDED PRECEDING"));
        }
        WindowFrameBound::CurrentRow | WindowFrameBound::Following(_) => {
            return Err(Refusal::new(place, format!("a ROWS frame that starts at {start} is not supported"))
                .hint("write ROWS 0 PRECEDING"));
        }
    };
    match end {
        None | Some(WindowFrameBound::CurrentRow) => Ok(Extent::Rows { preceding }),
        Some(other) => Err(Refusal::new(place, format!("a ROWS frame that ends at {other} is not supported"))
            .hint("end it at CURRENT ROW")),
    }
}

fn distance_us(distance: &Expr, place: Span) -> Result<i64, Refusal> {
    let result = match distance {
        Expr::Interval(interval) => interval_us(interval),
        other => Err(format!("RANGE takes an INTERVAL, found `{other}`")),
    };
    result.map_err(|message| Refusal::at(distance, message).or_at(place))
}

fn count_of(count: &Expr, place: Span) -> Result<u64, Refusal> {
    let parsed = match count {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, false) => digits.parse::<u64>().ok(),
            _ => None,
        },
        _ => None,
    };
    parsed
        .ok_or_else(|| Refusal::at(count, format!("ROWS takes a whole number of events, found `{count}`")).or_at(place))
}
