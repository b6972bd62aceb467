//! Ctrl-C in a command that sends events: what is on its way is answered first.

use std::sync::Arc;

use asof_pipeline::Stop;

use crate::failure::Failure;

/// A stop that Ctrl-C, or the signal that a container is stopped with, asks for.
#[allow(clippy::disallowed_methods, reason = "a second Ctrl-C asks for an end at once, whatever is on its way")]
pub(crate) fn stop_on_interrupt() -> Result<Arc<Stop>, Failure> {
    let stop = Arc::new(Stop::default());
    let asked = stop.clone();
    ctrlc::set_handler(move || {
        if asked.is_asked() {
            std::process::exit(2);
        }
        asked.ask();
    })
    .map_err(|error| Failure::outside(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(stop)
}
