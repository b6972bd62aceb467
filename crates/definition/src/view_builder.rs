//! How a feature view is read: windows and their shared key first, then the SELECT list item by item.
//!
//! A feature is an expression over aggregates. Its calls with OVER are taken out, checked and kept once each, and columns
//! of the aggregate scope are put in their places; what is left is planned as a scalar expression.

use std::ops::ControlFlow;

use asof_expression::sqlparser::ast::{
    Expr, Function as FunctionCall, Ident, NamedWindowDefinition, NamedWindowExpr, Select, Spanned, VisitMut,
    VisitorMut, WindowType, visit_expressions,
};
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{Scope, fold};
use asof_window::{Extent, Frame};

use crate::call::{Call, CallContext, CallIdentity, call_text, is_aggregate};
use crate::frame::{Window, WindowContext};
use crate::joined_rows::JoinedRows;
use crate::key::{Canonical, ColumnNames, calendar_part};
use crate::outputs::{Outputs, needs_name};
use crate::query::Item;
use crate::refusal::Refusal;
use crate::retention;
use crate::scalar::{name_of, plan, plan_condition};
use crate::statement::QuerySyntax;
use crate::stream::Stream;
use crate::view::{Aggregate, FeatureView, Over, aggregate_name};

/// A view in the making.
pub(crate) struct Builder<'a> {
    syntax: &'a QuerySyntax,
    rows: JoinedRows<'a>,
    names: ColumnNames,
    scope: Scope,
    named: Vec<NamedWindow>,
    /// The window that the key was first seen in.
    first: Option<Window>,
    frames: Vec<Frame>,
    aggregates: Vec<Aggregate>,
    identities: Vec<(CallIdentity, usize)>,
    refusals: Vec<Refusal>,
}

struct NamedWindow {
    name: String,
    span: Span,
    /// `None` if it was refused: calls over it say nothing more.
    window: Option<Window>,
    used: bool,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(syntax: &'a QuerySyntax, rows: JoinedRows<'a>) -> Builder<'a> {
        let (names, scope) = (rows.names(), rows.scope());
        Builder {
            syntax,
            rows,
            names,
            scope,
            named: Vec::new(),
            first: None,
            frames: Vec::new(),
            aggregates: Vec::new(),
            identities: Vec::new(),
            refusals: Vec::new(),
        }
    }

    pub(crate) fn build(
        mut self,
        select: &Select,
        items: &[Item],
        warnings: &mut Vec<Refusal>,
    ) -> Result<FeatureView, Vec<Refusal>> {
        let filter = select.selection.as_ref().and_then(|written| {
            let condition = plan_condition(written, &self.scope, "WHERE");
            self.keep(condition)
        });
        self.read_named_windows(&select.named_window);
        self.find_inline_windows(items);
        let key_parts = self.first.as_ref().map(|window| window.key.clone()).unwrap_or_default();
        let mut outputs = Outputs::default();
        // Without any readable window nobody knows the key, and every key part would look like a bare column.
        let key_is_known = self.first.is_some();
        let mut bare_columns = Vec::new();
        for item in items {
            let written = item.expression;
            let canonical = Canonical::of(written, &self.names);
            let part = key_parts.iter().position(|(_, part)| *part == canonical);
            let result = match (part, canonical.column_name()) {
                (Some(part), _) => outputs.add_key(item, part, &canonical, &self.scope),
                (None, None) => self.feature_output(item, &canonical, &mut outputs),
                (None, Some(_)) => {
                    let refusal = self.bare_column(written, &canonical);
                    if key_is_known {
                        Err(refusal)
                    } else {
                        bare_columns.push(refusal);
                        Ok(())
                    }
                }
            };
            self.keep(result);
        }
        let hint = |part: &Expr| format!("every part of the PARTITION BY is selected: SELECT {part}, …");
        self.refusals.extend(outputs.missing_keys(&key_parts, hint));
        if self.refusals.is_empty() {
            self.refusals = bare_columns;
        }
        if outputs.features.is_empty() && self.refusals.is_empty() {
            let message = format!("feature view `{}` has no feature", fold(&self.syntax.name));
            self.refusals
                .push(Refusal::new(self.syntax.name.span, message).hint("add an aggregate: count(*) OVER w AS name"));
        }
        if !self.refusals.is_empty() {
            return Err(self.refusals);
        }
        self.warn(warnings);
        let view = FeatureView {
            name: fold(&self.syntax.name),
            stream: self.rows.into_stream(&self.syntax.name),
            over: Over::Events,
            key: outputs.key,
            filter,
            filter_text: select.selection.as_ref().map(ToString::to_string),
            frames: self.frames,
            aggregates: self.aggregates,
            outputs: outputs.order,
            features: outputs.features,
        };
        match retention::refusal(&view, self.syntax.name.span) {
            Some(refusal) => Err(vec![refusal]),
            None => Ok(view),
        }
    }

    fn keep<T>(&mut self, result: Result<T, Refusal>) -> Option<T> {
        result.map_err(|refusal| self.refusals.push(refusal)).ok()
    }

    fn window_context(&self) -> WindowContext<'_> {
        WindowContext {
            time: self.rows.stream.time_column_name(),
            names: &self.names,
            tokens: &self.syntax.tokens,
            exclude_clauses: &self.syntax.exclude_clauses,
        }
    }

    fn read_named_windows(&mut self, definitions: &[NamedWindowDefinition]) {
        for NamedWindowDefinition(ident, definition) in definitions {
            let name = fold(ident);
            if self.named.iter().any(|other| other.name == name) {
                self.refusals.push(Refusal::new(ident.span, format!("duplicate window `{name}`")));
                continue;
            }
            let window = match definition {
                NamedWindowExpr::NamedWindow(base) => {
                    Err(Refusal::new(base.span, format!("a window that refers to window `{base}` is not supported"))
                        .hint("write its PARTITION BY, ORDER BY and frame out"))
                }
                NamedWindowExpr::WindowSpec(spec) => Window::read(spec, ident.span, self.window_context()),
            };
            let window = self.keep(window);
            if let Some(window) = &window {
                self.share_key(window.clone());
            }
            self.named.push(NamedWindow { name, span: ident.span, window, used: false });
        }
    }

    /// Windows written at an OVER take part in the key before any output is read.
    fn find_inline_windows(&mut self, items: &[Item]) {
        for item in items {
            let mut specs = Vec::new();
            let _: ControlFlow<()> = visit_expressions(item.expression, |node| {
                if let Expr::Function(FunctionCall { over: Some(WindowType::WindowSpec(spec)), name, .. }) = node {
                    specs.push((spec.clone(), name.span()));
                }
                ControlFlow::Continue(())
            });
            for (spec, place) in specs {
                // What is wrong with it is said where the call is read.
                if let Ok(window) = Window::read(&spec, place, self.window_context()) {
                    self.share_key(window);
                }
            }
        }
    }

    /// All windows of a view have one key; their parts may come in any order.
    fn share_key(&mut self, window: Window) {
        let Some(first) = &self.first else {
            self.first = Some(window);
            return;
        };
        let differing = |these: &Window, those: &Window| {
            let odd = these.key.iter().find(|(_, part)| !those.key.iter().any(|(_, other)| other == part));
            odd.map(|(written, _)| written.clone())
        };
        let odd = differing(&window, first).or_else(|| differing(first, &window));
        if let Some(odd) = odd {
            let list =
                |window: &Window| window.key.iter().map(|(part, _)| part.to_string()).collect::<Vec<_>>().join(", ");
            let message = format!(
                "the windows of a view share one PARTITION BY: `{}` here, `{}` before",
                list(&window),
                list(first)
            );
            let span = if window.key.iter().any(|(part, _)| *part == odd) { odd.span() } else { window.place };
            self.refusals.push(
                Refusal::new(span, message).or_at(window.place).hint("features of another entity are another view"),
            );
        }
    }

    fn feature_output(&mut self, item: &Item, canonical: &Canonical, outputs: &mut Outputs) -> Result<(), Refusal> {
        let written = item.expression;
        if calendar_part(written, canonical, self.rows.stream.time_column_name()).is_ok_and(|part| part.is_some()) {
            return Err(Refusal::at(written, format!("the calendar part `{written}` cannot be selected"))
                .hint("it stands in PARTITION BY alone: the bucket is that of the as-of instant"));
        }
        let mut body = written.clone();
        let mut extraction = Extraction { builder: self, calls: 0 };
        let stop = body.visit(&mut extraction).break_value();
        let calls = extraction.calls;
        match stop {
            None => {}
            Some(Stop::AlreadySaid) => return Ok(()),
            Some(Stop::Refused(refusal)) => return Err(refusal.or_at(written.span())),
        }
        let Some(alias) = item.alias else {
            return Err(unnamed(written, calls));
        };
        if calls == 0 {
            return Err(Refusal::at(written, format!("feature `{}` has no aggregate", fold(alias)))
                .or_at(alias.span)
                .hint("a feature of a view is computed from aggregates with OVER"));
        }
        let name = fold(alias);
        outputs.add_feature(item, name, &body, &self.aggregates)
    }

    /// A column outside an aggregate: which of the events' values would it be?
    fn bare_column(&self, written: &Expr, canonical: &Canonical) -> Refusal {
        let column = canonical.column_text().unwrap_or_else(|| written.to_string());
        match plan(written, &self.scope, "a feature") {
            Err(refusal) => refusal,
            Ok(_) if self.first.as_ref().is_some_and(|window| window.key.iter().any(|(_, part)| part == canonical)) => {
                Refusal::at(written, format!("key part `{column}` inside a feature is not supported"))
                    .hint(format!("use last_value({column}) OVER …"))
            }
            Ok(_) => Refusal::at(written, format!("column `{column}` stands outside an aggregate"))
                .hint(format!("use last_value({column}) OVER …")),
        }
    }

    /// The index of the aggregate of a call with OVER.
    fn aggregate(&mut self, call: &FunctionCall) -> Result<Option<usize>, Refusal> {
        let over = call.over.as_ref().expect("only called with OVER");
        let frame = match over {
            WindowType::WindowSpec(spec) => Window::read(spec, call.name.span(), self.window_context())?.frame,
            WindowType::NamedWindow(ident) => match self.named_frame(ident)? {
                Some(frame) => frame,
                None => return Ok(None),
            },
        };
        let context = CallContext { scope: &self.scope, names: &self.names };
        let Call { function, argument, by, filter, data_type, identity } = Call::check(call, &frame, context)?;
        let frame = position_or_push(&mut self.frames, frame);
        let same = self.identities.iter().position(|(other, over)| *other == identity && *over == frame);
        if let Some(index) = same {
            return Ok(Some(index));
        }
        self.identities.push((identity, frame));
        self.aggregates.push(Aggregate { function, argument, by, filter, frame, data_type, text: call.to_string() });
        Ok(Some(self.aggregates.len() - 1))
    }

    fn named_frame(&mut self, ident: &Ident) -> Result<Option<Frame>, Refusal> {
        let name = fold(ident);
        match self.named.iter_mut().find(|named| named.name == name) {
            Some(named) => {
                named.used = true;
                Ok(named.window.as_ref().map(|window| window.frame))
            }
            None => Err(Refusal::new(ident.span, format!("unknown window `{name}`"))
                .did_you_mean(&name, self.named.iter().map(|named| named.name.as_str()))),
        }
    }

    fn warn(&self, warnings: &mut Vec<Refusal>) {
        for named in self.named.iter().filter(|named| !named.used) {
            warnings.push(Refusal::new(named.span, format!("window `{}` is not used", named.name)));
        }
        warnings.extend(order_warning(&self.rows.stream, &self.aggregates, &self.frames, self.syntax.name.span));
    }
}

/// Why a view over a stream whose events of equal time have no order should not ask for one.
pub(crate) fn order_warning(
    stream: &Stream,
    aggregates: &[Aggregate],
    frames: &[Frame],
    place: Span,
) -> Option<Refusal> {
    let follows_order = |aggregate: &&Aggregate| {
        aggregate.function.follows_order() || matches!(frames[aggregate.frame].extent, Extent::Rows { .. })
    };
    let aggregate = aggregates.iter().find(follows_order).filter(|_| !stream.orders_ties())?;
    let message = format!(
        "stream `{}` has no PRIMARY KEY: `{}` follows arrival among events of equal time",
        stream.name, aggregate.text
    );
    Some(Refusal::new(place, message).hint(stream.key_hint()))
}

pub(crate) fn position_or_push<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|other| *other == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

fn unnamed(written: &Expr, calls: usize) -> Refusal {
    needs_name(if calls == 0 { "output" } else { "feature" }, written)
}

/// Puts columns of the aggregate scope in place of the calls with OVER of one feature.
struct Extraction<'b, 'a> {
    builder: &'b mut Builder<'a>,
    calls: usize,
}

/// Why a feature is not read to its end.
enum Stop {
    Refused(Refusal),
    /// It stands over a window that was refused already.
    AlreadySaid,
}

impl Extraction<'_, '_> {
    fn replace(&mut self, node: &mut Expr) -> Result<(), Stop> {
        match node {
            Expr::Function(call) if call.over.is_some() => {
                self.calls += 1;
                let span = call.name.span();
                let index = self.builder.aggregate(call).map_err(Stop::Refused)?.ok_or(Stop::AlreadySaid)?;
                *node = Expr::Identifier(Ident { value: aggregate_name(index), quote_style: Some('"'), span });
                Ok(())
            }
            Expr::Function(call) if name_of(call).is_some_and(|name| is_aggregate(&name)) => {
                let text = call_text(call);
                let refusal = Refusal::at(&call.name, format!("aggregate `{text}` has no OVER"));
                Err(Stop::Refused(refusal.hint(format!("write `{text} OVER window`: a feature needs its frame"))))
            }
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
                let canonical = Canonical::of(node, &self.builder.names);
                Err(Stop::Refused(self.builder.bare_column(node, &canonical)))
            }
            _ => Ok(()),
        }
    }
}

impl VisitorMut for Extraction<'_, '_> {
    type Break = Stop;

    fn pre_visit_expr(&mut self, node: &mut Expr) -> ControlFlow<Stop> {
        match self.replace(node) {
            Ok(()) => ControlFlow::Continue(()),
            Err(stop) => ControlFlow::Break(stop),
        }
    }
}
