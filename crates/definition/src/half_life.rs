//! The half-life of decayed sums and averages: a constant length of time, and the frames over which it means something.

use asof_expression::sqlparser::ast::{Expr, Function as FunctionCall, Spanned};
use asof_window::{Extent, Frame, Function, HALF_LIVES_MAX, Which};

use crate::group_window::size_us;
use crate::interval::interval_us;
use crate::refusal::Refusal;

/// Reads the half-life of `name`, in microseconds: greater than 0.
pub(crate) fn half_life_us(name: &str, written: &Expr, call: &FunctionCall) -> Result<i64, Refusal> {
    let refuse = |message: String| Refusal::at(written, message).or_at(call.name.span());
    let interval = match written {
        Expr::Nested(inner) => return half_life_us(name, inner, call),
        Expr::Interval(interval) => interval,
        other => {
            return Err(refuse(format!("`{name}` takes an INTERVAL as its half-life, found `{other}`"))
                .hint(format!("write {name}(x, INTERVAL '1' HOUR)")));
        }
    };
    match interval_us(interval) {
        Ok(0) => Err(refuse(format!("`{name}` takes a half-life greater than 0, found `{written}`"))),
        Ok(half_life_us) => Ok(half_life_us),
        Err(message) => Err(refuse(message)),
    }
}

/// Refuses frames that hold events of any age, whose weights span any range of exponents, and frames that hold events
/// of no weight.
pub(crate) fn check_frame(function: Function, frame: &Frame, call: &FunctionCall) -> Result<(), Refusal> {
    let Some(half_life_us) = function.half_life_us() else { return Ok(()) };
    let name = function.name();
    let refuse = |message: String| Refusal::at(&call.name, message);
    let unbounded = |why: &str| {
        let message = format!("`{name}` needs a RANGE frame with a bound: {why}");
        let ten = interval_text(half_life_us.saturating_mul(10));
        Err(refuse(message).hint(format!("after ten half-lives a thousandth is left: write RANGE {ten} PRECEDING")))
    };
    match frame.extent {
        Extent::Rows { .. } => unbounded("the events of a ROWS frame may have any age"),
        Extent::Range { preceding_us: None, .. } if frame.calendar.is_some() => {
            unbounded("a calendar part alone sets none")
        }
        Extent::Range { preceding_us: None, .. } => unbounded("the events of a lifetime frame may have any age"),
        Extent::Range { preceding_us: Some(reach_us), .. } if is_beyond(reach_us, half_life_us) => {
            let message = format!(
                "the frame of `{name}` reaches back more than {HALF_LIVES_MAX} half-lives: what is older weighs nothing"
            );
            Err(refuse(message).hint("write a shorter frame, or a longer half-life"))
        }
        Extent::Group { which: Which::LastClosed, .. } => {
            Err(refuse(format!("`{name}` inside `lag` is not supported: its weights are those of the as-of instant"))
                .hint("over the rows of a derived stream of the window last_value gives that of the last one"))
        }
        Extent::Group { shape, which: Which::Open } => match size_us(shape) {
            None => Err(refuse(format!("`{name}` over SESSION is not supported: its events may have any age"))),
            Some(size_us) if is_beyond(size_us, half_life_us) => {
                let message = format!(
                    "the window of `{name}` is longer than {HALF_LIVES_MAX} half-lives: what is older weighs nothing"
                );
                Err(refuse(message).hint("write a shorter window, or a longer half-life"))
            }
            Some(_) => Ok(()),
        },
        Extent::Range { .. } => Ok(()),
    }
}

/// A length of time as SQL, in the largest unit that divides it.
fn interval_text(us: i64) -> String {
    let units = [("DAY", 86_400_000_000), ("HOUR", 3_600_000_000), ("MINUTE", 60_000_000), ("SECOND", 1_000_000)];
    let (unit, unit_us) = units.into_iter().find(|(_, unit_us)| us % unit_us == 0).unwrap_or(("MICROSECOND", 1));
    format!("INTERVAL '{}' {unit}", us / unit_us)
}

/// Whether a frame reaches back more than [`HALF_LIVES_MAX`] half-lives.
fn is_beyond(reach_us: i64, half_life_us: i64) -> bool {
    i128::from(reach_us) > i128::from(half_life_us) * i128::from(HALF_LIVES_MAX)
}
