//! What the server logs, as plain lines on standard error. `ASOF_LOG` says how much; the status line stays whole.

use tracing::Level;

use crate::failure::Failure;
use crate::screen::Screen;

const VARIABLE: &str = "ASOF_LOG";
const LEVELS: [(&str, Level); 4] =
    [("error", Level::ERROR), ("warn", Level::WARN), ("info", Level::INFO), ("debug", Level::DEBUG)];

/// Begins to write the log of this process.
pub(crate) fn start(screen: &Screen) -> Result<(), Failure> {
    let level = match std::env::var_os(VARIABLE) {
        Some(name) => level(&name.to_string_lossy())?,
        None => Level::INFO,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false)
        .with_writer(screen.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|error| Failure::outside(format!("cannot begin to log: {error}")))
}

fn level(name: &str) -> Result<Level, Failure> {
    let names = LEVELS.map(|(name, _)| name);
    match LEVELS.iter().find(|(known, _)| *known == name) {
        Some((_, level)) => Ok(*level),
        None => Err(Failure::input_with_hint(
            format!("`{VARIABLE}`: unknown level `{name}`"),
            match asof_expression::nearest(name, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the levels are `{}`", names.join("`, `")),
            },
        )),
    }
}
