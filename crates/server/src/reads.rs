//! One read from its body to its answer. A small one is done at once; a big one goes aside, so that small ones do not
//! wait behind it. A panic ends the read that it came from and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use asof_connect::instant_text;
use asof_pipeline::{Engine, Phase, ReadError};

use crate::app::App;
use crate::body::HeldBody;
use crate::call::FeatureCall;
use crate::problem::{Kind, Problem};
use crate::target::Target;

/// Values (rows times features) beyond which a read goes aside: about a millisecond of work.
const INLINE_VALUES_MAX: usize = 2_000;
/// Rows beyond which a read goes aside whatever it asks for: the windows of one row may hold many events.
const INLINE_ROWS_MAX: usize = 64;
/// The body beyond which even reading it goes aside.
const INLINE_BODY_BYTES_MAX: usize = 64 << 10;

/// A place among the requests in flight, given back when it goes.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    /// A place, if there is one.
    pub(crate) fn enter(count: &Arc<AtomicUsize>, requests_max: usize) -> Result<InFlight, Problem> {
        let place = InFlight(count.clone());
        if count.fetch_add(1, Ordering::Relaxed) >= requests_max {
            let problem = Problem::new(Kind::TooMany, format!("more than {requests_max} requests are in flight"));
            return Err(problem.hint("come again in a second"));
        }
        Ok(place)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A read in flight, with all that it needs wherever it is done.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) app: Arc<App>,
    pub(crate) target: Arc<Target>,
    pub(crate) _place: InFlight,
}

impl Read {
    /// The answer's JSON.
    pub(crate) async fn answer(self, body: HeldBody) -> Result<Vec<u8>, Problem> {
        if body.bytes.len() > INLINE_BODY_BYTES_MAX {
            return aside(move || self.call(&body).and_then(|call| self.read(&call))).await;
        }
        let call = guarded(|| self.call(&body))?;
        drop(body);
        let rows = call.rows.rows;
        if rows > INLINE_ROWS_MAX || rows * self.target.features > INLINE_VALUES_MAX {
            return aside(move || self.read(&call)).await;
        }
        guarded(|| self.read(&call))
    }

    fn call(&self, body: &HeldBody) -> Result<FeatureCall, Problem> {
        FeatureCall::read(&body.bytes, &self.target.request, self.app.limits.rows_max)
    }

    fn read(&self, call: &FeatureCall) -> Result<Vec<u8>, Problem> {
        refuse_while_recovering(&self.app.engine)?;
        let rows = call.rows.rows;
        let reading = self.app.engine.reading();
        let as_of_us = call.as_of_us.unwrap_or_else(|| reading.now_us());
        let answers = self.target.read(&reading, &call.rows, as_of_us);
        let answers = answers.map_err(|error| problem_of(error, as_of_us))?;
        self.app.traffic.answered(rows);
        Ok(self.target.layout.json(reading.published(), &answers, rows, as_of_us))
    }
}

/// What is not there yet must not pass for what is not there.
pub(crate) fn refuse_while_recovering(engine: &Engine) -> Result<(), Problem> {
    if engine.phase() != Phase::Recovering {
        return Ok(());
    }
    let problem = Problem::new(Kind::Unavailable, "state is brought back from the checkpoint and the log");
    Err(problem.hint("come again when `/readyz` says ready"))
}

fn problem_of(error: ReadError, as_of_us: i64) -> Problem {
    match error {
        ReadError::TooEarly { stream, earliest_us } => {
            let earliest = instant_text(earliest_us);
            let message = format!(
                "as_of `{}` is before `{earliest}`, the earliest instant that stream `{stream}` can answer",
                instant_text(as_of_us)
            );
            Problem::new(Kind::Unanswerable, message)
                .hint(format!("ask for `{earliest}` or later, or raise `as_of_horizon` in [state] of asof.toml"))
        }
        ReadError::RowFailed { .. } => Problem::new(Kind::Unanswerable, error.to_string())
            .hint("leave the row out, or guard the expression in the SQL: nullif(…, 0), CASE, TRY_CAST"),
        ReadError::Overtaken { .. } => Problem::new(Kind::Unavailable, error.to_string())
            .hint("ask for fewer rows at once, or come again when less comes in"),
        ReadError::TooLarge { .. } => Problem::new(Kind::TooLarge, error.to_string())
            .hint("ask for fewer rows at once, or for features of shorter lists and texts"),
        ReadError::Feature(defect) => {
            tracing::error!(%defect, "a read failed");
            Problem::internal()
        }
    }
}

/// Does `work`; a panic becomes a problem. Nothing that a read touches is left half done: it only reads.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        tracing::error!(panic = words.unwrap_or("without words"), "answering a request panicked");
        Err(Problem::internal())
    })
}

/// Does `work` on a thread that no other connection waits for.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(move || guarded(work)).await;
    // A guarded work does not panic: it was not begun because the server stops.
    done.unwrap_or_else(|_| Err(Problem::new(Kind::Unavailable, "the server stops")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_problem_and_gives_its_place_back() {
        let count = Arc::new(AtomicUsize::new(0));
        let place = InFlight::enter(&count, 1).unwrap();
        assert!(InFlight::enter(&count, 1).is_err());
        let problem = guarded::<()>(move || {
            let _place = place;
            panic!("on purpose")
        });
        assert_eq!(problem, Err(Problem::internal()));
        assert_eq!(count.load(Ordering::Relaxed), 0);
        assert_eq!(guarded(|| Ok(1)), Ok(1));
    }
}
