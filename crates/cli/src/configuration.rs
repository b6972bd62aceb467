//! `asof.toml`: how a project is deployed. All of it is optional, unknown keys are refused, environment variables such as
//! `ASOF_STATE__MEMORY=2GiB` go before the file.
//!
//! Sections of parts that are not there yet are refused by name, so that nobody believes they work.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::failure::Failure;
use crate::size;

/// What the commands of this release use.
#[derive(Debug, Default)]
pub(crate) struct Configuration {
    /// `[state] memory`: the default of `--memory-limit`.
    pub(crate) memory_bytes: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    state: Option<State>,
    server: Option<toml::Value>,
    storage: Option<toml::Value>,
    checkpoint: Option<toml::Value>,
    kafka: Option<toml::Value>,
    auth: Option<toml::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    memory: Option<String>,
    as_of_horizon: Option<toml::Value>,
}

/// The only environment variable of this release.
const MEMORY_VARIABLE: &str = "ASOF_STATE__MEMORY";

impl Configuration {
    pub(crate) fn load(folder: &Path) -> Result<Configuration, Failure> {
        refuse_unknown_variables()?;
        let path = folder.join("asof.toml");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::input(format!("cannot read `{}`: {error}", path.display()))),
        };
        let file: File = toml::from_str(&text)
            .map_err(|error| Failure::input(format!("`{}`: {}", path.display(), error.to_string().trim())))?;
        let state = file.state.unwrap_or_default();
        let later = [
            ("[server]", file.server.is_some()),
            ("[storage]", file.storage.is_some()),
            ("[checkpoint]", file.checkpoint.is_some()),
            ("[kafka]", file.kafka.is_some()),
            ("[auth]", file.auth.is_some()),
            ("as_of_horizon in [state]", state.as_of_horizon.is_some()),
        ];
        if let Some((name, _)) = later.iter().find(|(_, present)| *present) {
            return Err(Failure::input(format!("`{}`: {name} is not supported yet", path.display())));
        }
        let (named, memory) = match std::env::var(MEMORY_VARIABLE) {
            Ok(memory) => (format!("`{MEMORY_VARIABLE}`"), Some(memory)),
            Err(_) => (format!("`{}`: memory in [state]", path.display()), state.memory),
        };
        let memory_bytes = memory.map(|memory| size::parse(&memory)).transpose();
        Ok(Configuration { memory_bytes: memory_bytes.map_err(|error| Failure::input(format!("{named}: {error}")))? })
    }
}

/// Variables are keys as well: `ASOF_SECTION__KEY` that means nothing is refused like an unknown key of the file.
fn refuse_unknown_variables() -> Result<(), Failure> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let unknown =
        names.into_iter().find(|name| name.starts_with("ASOF_") && name.contains("__") && name != MEMORY_VARIABLE);
    match unknown {
        None => Ok(()),
        Some(name) => Err(Failure::input_with_hint(
            format!("the environment variable `{name}` is no setting of this release"),
            format!("this release reads `{MEMORY_VARIABLE}`"),
        )),
    }
}
