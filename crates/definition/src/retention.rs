//! What a view needs of its stream's log: a retention that would take away events of its frames is refused.

use asof_expression::sqlparser::tokenizer::Span;
use asof_window::{Calendar, Extent, Frame, Which};

use crate::connector::{Connector, Retention};
use crate::group_window::size_us;
use crate::refusal::Refusal;
use crate::stream::Stream;
use crate::view::FeatureView;

const HOUR_US: i64 = 3_600_000_000;

impl FeatureView {
    /// How far back from an instant the events lie that it needs of its sources, in microseconds: as far as its frames
    /// reach. `None` where time alone sets no bound.
    pub fn reach_us(&self) -> Option<i64> {
        most(self.frames.iter().map(reach_us))
    }
}

/// The greatest, if each is known.
fn most(mut reaches_us: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    reaches_us.try_fold(0, |most, reach_us| reach_us.map(|reach_us: i64| most.max(reach_us)))
}

fn reach_us(frame: &Frame) -> Option<i64> {
    let of_extent = match frame.extent {
        Extent::Range { preceding_us, .. } => preceding_us,
        Extent::Rows { .. } | Extent::Group { which: Which::LastClosed, .. } => None,
        Extent::Group { shape, which: Which::Open } => size_us(shape),
    };
    match (of_extent, frame.calendar.map(longest_us)) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The longest bucket.
fn longest_us(calendar: Calendar) -> i64 {
    match calendar {
        Calendar::Hour => HOUR_US,
        Calendar::Day => 24 * HOUR_US,
        Calendar::Week => 7 * 24 * HOUR_US,
        Calendar::Month => 31 * 24 * HOUR_US,
    }
}

/// Why the retention of a stream whose events the view sees is too short for it. The place is that of the view's name, put
/// in by the caller.
pub(crate) fn refusal(view: &FeatureView, place: Span) -> Option<Refusal> {
    refusal_of(view, &format!("feature view `{}`", view.name), place)
}

/// The same of a derived stream, whose rows are those of a view over a group window.
pub(crate) fn stream_refusal(rows: &FeatureView, place: Span) -> Option<Refusal> {
    refusal_of(rows, &format!("derived stream `{}`", rows.name), place)
}

fn refusal_of(view: &FeatureView, reader: &str, place: Span) -> Option<Refusal> {
    view.stream.sources().iter().find_map(|source| source_refusal(view, reader, source, place))
}

fn source_refusal(view: &FeatureView, reader: &str, source: &Stream, place: Span) -> Option<Refusal> {
    let Connector::Log(log) = &source.connector else { return None };
    let Retention { age_us, bytes } = log.retention;
    let stream = &source.name;
    let Some(reach_us) = view.reach_us() else {
        let option = if age_us.is_some() { "retention" } else { "retention_size" };
        let message = format!("{reader} needs all events of `{stream}`, whose log keeps only a part of them");
        let hint = match view.frames.iter().any(|frame| matches!(frame.extent, Extent::Group { .. })) {
            true => format!("sessions, and the window that closed last, begin at any time: leave `{option}` out"),
            false => format!("give its windows a RANGE, or leave `{option}` out"),
        };
        let is_bounded = age_us.is_some() || bytes.is_some();
        return is_bounded.then(|| Refusal::new(place, message).hint(hint));
    };
    let age_us = age_us.filter(|age_us| *age_us < reach_us)?;
    let (reach, kept) = (span_text(reach_us), span_text(age_us));
    let message = format!("{reader} reaches {reach} back, and the log of `{stream}` keeps {kept}");
    Some(Refusal::new(place, message).hint("raise `retention` of the stream, or shorten the windows"))
}

/// `7 days`, `1 hour`, `90 seconds`.
fn span_text(us: i64) -> String {
    let units = [(24 * HOUR_US, "day"), (HOUR_US, "hour"), (60_000_000, "minute"), (1_000_000, "second")];
    let whole = units.into_iter().find(|(unit_us, _)| us % unit_us == 0 && us >= *unit_us);
    let (unit_us, name) = whole.unwrap_or((1, "microsecond"));
    let count = us / unit_us;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}
