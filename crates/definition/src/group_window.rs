//! The shape of a group window over a stream: its lengths, checked against one another and against the stream's event time.

use asof_expression::fold;
use asof_expression::sqlparser::ast::{Expr, Spanned};
use asof_window::GroupWindow;

use crate::interval::{interval_us, is_negative};
use crate::refusal::Refusal;
use crate::stream::Stream;
use crate::window_function::{WindowFunction, WindowKind};

/// The most windows that one event may be in: an event of HOP is in size ÷ slide of them, rounded up for some, of CUMULATE in
/// size ÷ step.
const WINDOWS_MAX: i64 = 10_000;

/// Checks the lengths and the DESCRIPTOR of a window over `stream`; as many refusals as can be told apart.
pub(crate) fn check(function: &WindowFunction, stream: &Stream) -> Result<GroupWindow, Vec<Refusal>> {
    let mut refusals: Vec<Refusal> = time_refusal(function, stream).into_iter().collect();
    match shape_of(function) {
        Ok(shape) if refusals.is_empty() => Ok(shape),
        Ok(_) => Err(refusals),
        Err(refusal) => {
            refusals.push(refusal);
            Err(refusals)
        }
    }
}

/// DESCRIPTOR names the event time, also one that the stream does not select.
fn time_refusal(function: &WindowFunction, stream: &Stream) -> Option<Refusal> {
    let (time, found) = (stream.time_column_name(), fold(&function.time));
    let message = format!("DESCRIPTOR takes the event time of `{}`, found `{found}`", stream.name);
    (found != time).then(|| Refusal::new(function.time.span, message).hint(format!("write DESCRIPTOR({time})")))
}

fn shape_of(function: &WindowFunction) -> Result<GroupWindow, Refusal> {
    let positive = |parameter: &str| positive_us(function, parameter);
    match function.kind {
        WindowKind::Tumble => {
            let size_us = positive("size")?;
            Ok(GroupWindow::Tumble { size_us, offset_us: offset_us(function, size_us)? })
        }
        WindowKind::Hop => {
            let (slide_us, size_us) = (positive("slide")?, positive("size")?);
            if slide_us > size_us {
                let message = "the slide of HOP is longer than its size";
                let hint = "what happens between two windows would be in none: the slide is at most the size";
                return Err(refuse(function, "slide", message).hint(hint));
            }
            check_overlap(function, "slide", slide_us, size_us)?;
            Ok(GroupWindow::Hop { size_us, slide_us, offset_us: offset_us(function, slide_us)? })
        }
        WindowKind::Cumulate => {
            let (step_us, size_us) = (positive("step")?, positive("size")?);
            if size_us % step_us != 0 {
                let message = "the size of CUMULATE is no multiple of its step";
                return Err(refuse(function, "size", message).hint("its last window ends where the next ones begin"));
            }
            check_overlap(function, "step", step_us, size_us)?;
            Ok(GroupWindow::Cumulate { size_us, step_us, offset_us: offset_us(function, size_us)? })
        }
        WindowKind::Session => Ok(GroupWindow::Session { gap_us: positive("gap")? }),
    }
}

fn check_overlap(function: &WindowFunction, parameter: &str, step_us: i64, size_us: i64) -> Result<(), Refusal> {
    // Where the size is no multiple of the slide, some events are in one window more than others.
    let windows = (size_us - 1) / step_us + 1;
    if windows <= WINDOWS_MAX {
        return Ok(());
    }
    let message = format!("each event would be in {windows} windows: {WINDOWS_MAX} are the most");
    Err(refuse(function, parameter, &message).hint(format!("write a longer {parameter}, or a shorter size")))
}

fn positive_us(function: &WindowFunction, parameter: &str) -> Result<i64, Refusal> {
    match length_us(function, parameter)? {
        Some(us) if us > 0 => Ok(us),
        _ => {
            let message = format!("the {parameter} of {} is more than 0", function.kind.name());
            Err(refuse(function, parameter, &message))
        }
    }
}

/// Where windows begin, from 0 to before the period after which they begin there again.
fn offset_us(function: &WindowFunction, period_us: i64) -> Result<i64, Refusal> {
    let is_negative = |written: &Expr| matches!(written, Expr::Interval(interval) if is_negative(interval));
    let offset_us = length_us(function, "offset").map_err(|refusal| match function.length("offset") {
        Some(written) if is_negative(written) => {
            refusal.hint("windows begin each size or slide: add one of them to the offset")
        }
        _ => refusal,
    })?;
    Ok(offset_us.unwrap_or(0) % period_us)
}

/// A length by the name of its parameter; `None` where it is left out.
fn length_us(function: &WindowFunction, parameter: &str) -> Result<Option<i64>, Refusal> {
    let Some(written) = function.length(parameter) else { return Ok(None) };
    let read = match written {
        Expr::Interval(interval) => interval_us(interval),
        other => Err(format!("the {parameter} of {} is an INTERVAL, found `{other}`", function.kind.name())),
    };
    read.map(Some).map_err(|message| refuse(function, parameter, &message))
}

fn refuse(function: &WindowFunction, parameter: &str, message: &str) -> Refusal {
    let place = function.length(parameter).map_or(function.span, Spanned::span);
    Refusal::new(place, message).or_at(function.span)
}

/// How far before its end the first event of a window may lie; `None` for sessions, which go on as long as they do.
pub(crate) fn size_us(shape: GroupWindow) -> Option<i64> {
    match shape {
        GroupWindow::Tumble { size_us, .. }
        | GroupWindow::Hop { size_us, .. }
        | GroupWindow::Cumulate { size_us, .. } => Some(size_us),
        GroupWindow::Session { .. } => None,
    }
}
