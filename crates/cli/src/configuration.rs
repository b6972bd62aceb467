//! `asof.toml`: how a project is deployed. All of it is optional, unknown keys are refused. Environment variables such as
//! `ASOF_STATE__MEMORY=2GiB` go before the file, and the command line goes before both.
//!
//! [`KEYS`] is the list of what there is. Sections of parts that are not there yet are refused by name, so that nobody
//! believes they work. How settings are found is in `settings.rs`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use asof_connect::{KafkaSettings, RegistrySettings, Secret};
use asof_server::{BODY_BYTES_CEILING, Limits};

use crate::failure::Failure;
use crate::settings::{self, Given, Place, Setting, SettingsFile};
use crate::{duration, kafka_settings, listen_address, size};

/// What the commands of this release use.
#[derive(Debug, Default)]
pub(crate) struct Configuration {
    /// `[state] memory`: what `asof run` may hold, and the default of `--memory-limit`.
    pub(crate) memory_bytes: Option<usize>,
    /// `[state] as_of_horizon`: how far before a stream's watermark reads may stand.
    pub(crate) as_of_horizon: Option<Duration>,
    /// `[server] listen`: the default of `--listen`.
    pub(crate) listen: Option<SocketAddr>,
    /// `[storage] data_dir`: the default of `--data-dir`.
    pub(crate) data_folder: Option<PathBuf>,
    /// `[storage] segment_size`: the size at which a segment of a log is sealed.
    pub(crate) segment_bytes: Option<usize>,
    /// `[checkpoint] interval`: how often a checkpoint begins.
    pub(crate) checkpoint_every: Option<Duration>,
    /// The rest of `[server]`.
    pub(crate) limits: Limits,
    /// `[kafka]` and `[schema_registry]`; without brokers there is no cluster.
    pub(crate) kafka: KafkaSettings,
}

/// A key and what it sets.
struct Key {
    section: &'static str,
    name: &'static str,
    sets: Sets,
}

/// How the value of a key is written.
enum Sets {
    /// As text that is read further.
    Text(fn(&mut Configuration, &str) -> Result<(), String>),
    /// As a whole number from 1 on.
    Count(fn(&mut Configuration, usize)),
}

/// Every key of this release.
const KEYS: &[Key] = &[
    Key {
        section: "server",
        name: "listen",
        sets: Sets::Text(|all, text| put(&mut all.listen, listen_address::parse(text))),
    },
    Key {
        section: "server",
        name: "body_max",
        sets: Sets::Text(|all, text| set(&mut all.limits.body_bytes_max, body_bytes(text))),
    },
    Key { section: "server", name: "rows_max", sets: Sets::Count(|all, count| all.limits.rows_max = count) },
    Key { section: "server", name: "requests_max", sets: Sets::Count(|all, count| all.limits.requests_max = count) },
    Key {
        section: "server",
        name: "connections_max",
        sets: Sets::Count(|all, count| all.limits.connections_max = count),
    },
    Key {
        section: "server",
        name: "request_timeout",
        sets: Sets::Text(|all, text| set(&mut all.limits.request_timeout, timeout(text))),
    },
    Key {
        section: "server",
        name: "idle_timeout",
        sets: Sets::Text(|all, text| set(&mut all.limits.idle_timeout, timeout(text))),
    },
    Key { section: "storage", name: "data_dir", sets: Sets::Text(|all, text| put(&mut all.data_folder, folder(text))) },
    Key {
        section: "storage",
        name: "segment_size",
        sets: Sets::Text(|all, text| put(&mut all.segment_bytes, segment_bytes(text))),
    },
    Key { section: "storage", name: "object_store", sets: Sets::Text(|_, _| Err(OBJECT_STORE.to_owned())) },
    Key {
        section: "checkpoint",
        name: "interval",
        sets: Sets::Text(|all, text| put(&mut all.checkpoint_every, timeout(text))),
    },
    Key {
        section: "state",
        name: "memory",
        sets: Sets::Text(|all, text| put(&mut all.memory_bytes, size::parse(text))),
    },
    Key {
        section: "state",
        name: "as_of_horizon",
        sets: Sets::Text(|all, text| put(&mut all.as_of_horizon, duration::parse(text))),
    },
    Key {
        section: "kafka",
        name: "brokers",
        sets: Sets::Text(|all, text| set(&mut all.kafka.brokers, kafka_settings::brokers(text))),
    },
    Key {
        section: "kafka",
        name: "security",
        sets: Sets::Text(|all, text| set(&mut all.kafka.security, kafka_settings::security(text))),
    },
    Key {
        section: "kafka",
        name: "mechanism",
        sets: Sets::Text(|all, text| set(&mut all.kafka.mechanism, kafka_settings::mechanism(text))),
    },
    Key {
        section: "kafka",
        name: "username",
        sets: Sets::Text(|all, text| put(&mut all.kafka.username, kafka_settings::word(text))),
    },
    Key {
        section: "kafka",
        name: "password",
        sets: Sets::Text(|all, text| put(&mut all.kafka.password, kafka_settings::word(text).map(Secret::new))),
    },
    Key { section: "kafka", name: "ca_file", sets: Sets::Text(|all, text| put(&mut all.kafka.ca_file, folder(text))) },
    Key {
        section: "kafka",
        name: "certificate_file",
        sets: Sets::Text(|all, text| put(&mut all.kafka.certificate_file, folder(text))),
    },
    Key {
        section: "kafka",
        name: "key_file",
        sets: Sets::Text(|all, text| put(&mut all.kafka.key_file, folder(text))),
    },
    Key {
        section: "schema_registry",
        name: "url",
        sets: Sets::Text(|all, text| set(&mut all.registry().url, kafka_settings::registry_url(text))),
    },
    Key {
        section: "schema_registry",
        name: "username",
        sets: Sets::Text(|all, text| put(&mut all.registry().username, kafka_settings::word(text))),
    },
    Key {
        section: "schema_registry",
        name: "password",
        sets: Sets::Text(|all, text| put(&mut all.registry().password, kafka_settings::word(text).map(Secret::new))),
    },
    Key {
        section: "schema_registry",
        name: "ca_file",
        sets: Sets::Text(|all, text| put(&mut all.registry().ca_file, folder(text))),
    },
];

/// Sections of the contract that come with a later release.
const LATER_SECTIONS: &[&str] = &["auth"];
/// What is said of a key that a later release brings.
const OBJECT_STORE: &str = "not supported yet: checkpoints lie in the data folder";
/// The sizes that a segment may have: small ones for tests, none that takes minutes to read.
const SEGMENT_BYTES: RangeInclusive<usize> = 64 << 10..=4 << 30;
/// No count has a use beyond it.
const COUNT_MAX: usize = 1_000_000_000;

impl Configuration {
    /// Reads the project's file and the environment.
    pub(crate) fn load(folder: &Path) -> Result<Configuration, Failure> {
        let file = SettingsFile::read(&folder.join("asof.toml"))?;
        if let Some((place, section)) =
            file.sections.iter().find(|(_, name)| !KEYS.iter().any(|key| key.section == name))
        {
            return Err(unknown_section(place, section));
        }
        let mut configuration = Configuration::default();
        for setting in file.settings.iter().chain(&settings::of_environment()?) {
            configuration.take(setting)?;
        }
        kafka_settings::check(&configuration.kafka).map_err(|detail| {
            Failure::input(format!("`{}`: {detail} in [kafka]", folder.join("asof.toml").display()))
        })?;
        configuration.kafka.schemas.registry.as_ref().map_or(Ok(()), kafka_settings::check_registry).map_err(
            |detail| Failure::input(format!("`{}`: {detail} in [schema_registry]", folder.join("asof.toml").display())),
        )?;
        Ok(configuration)
    }

    fn registry(&mut self) -> &mut RegistrySettings {
        self.kafka.schemas.registry.get_or_insert_default()
    }

    fn take(&mut self, setting: &Setting) -> Result<(), Failure> {
        let found = KEYS.iter().find(|key| setting.is_for(key.section, key.name));
        let key = found.ok_or_else(|| unknown_key(setting))?;
        let wrong = |detail: String| match &setting.place {
            Place::File { .. } => {
                Failure::input(format!("{}: {} in [{}]: {detail}", setting.place, setting.key, setting.section))
            }
            Place::Variable(_) => Failure::input(format!("{}: {detail}", setting.place)),
        };
        let hidden =
            |detail: String| if key.name == "password" { "expected text in quotes".to_owned() } else { detail };
        match &key.sets {
            Sets::Text(take) => setting.given.text().map_err(hidden).and_then(|text| take(self, text)).map_err(wrong),
            Sets::Count(take) => {
                take(self, count(&setting.given).map_err(wrong)?);
                Ok(())
            }
        }
    }
}

fn put<T>(place: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *place = Some(value?);
    Ok(())
}

fn set<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

/// A time limit: nothing could be done in none.
fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration::parse(text)?;
    if timeout.is_zero() { Err(format!("`{text}` leaves no time at all")) } else { Ok(timeout) }
}

/// The greatest body. Said here, the place is told with it.
fn body_bytes(text: &str) -> Result<usize, String> {
    let bytes = size::parse(text)?;
    if bytes > BODY_BYTES_CEILING {
        return Err(format!("`{text}` is more than a body can be, {} GiB", BODY_BYTES_CEILING >> 30));
    }
    Ok(bytes)
}

fn folder(text: &str) -> Result<PathBuf, String> {
    if text.trim().is_empty() { Err("the path is empty".to_owned()) } else { Ok(PathBuf::from(text)) }
}

fn segment_bytes(text: &str) -> Result<usize, String> {
    let bytes = size::parse(text)?;
    if SEGMENT_BYTES.contains(&bytes) { Ok(bytes) } else { Err(format!("`{text}` is not from 64KiB to 4GiB")) }
}

fn count(given: &Given) -> Result<usize, String> {
    let count = given.number().filter(|count| (1..=COUNT_MAX).contains(count));
    count.ok_or_else(|| format!("expected a whole number from 1 to {COUNT_MAX}, found {given}"))
}

fn unknown_section(place: &Place, section: &str) -> Failure {
    if LATER_SECTIONS.contains(&section) {
        return Failure::input(format!("{place}: [{section}] is not supported yet"));
    }
    let mut known: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
    known.dedup();
    let hint = instead(section, &known, "the sections are");
    Failure::input_with_hint(format!("{place}: unknown section `{section}`"), hint)
}

fn unknown_key(setting: &Setting) -> Failure {
    let Setting { place, section, key, .. } = setting;
    if let Place::Variable(name) = place {
        return unknown_variable(name, section);
    }
    let known: Vec<&str> = KEYS.iter().filter(|known| known.section == section).map(|known| known.name).collect();
    let hint = instead(key, &known, "its keys are");
    Failure::input_with_hint(format!("{place}: unknown key `{key}` in [{section}]"), hint)
}

/// Variables are keys as well: `ASOF_SECTION__KEY` that means nothing is refused like an unknown key of the file.
fn unknown_variable(name: &str, section: &str) -> Failure {
    if LATER_SECTIONS.contains(&section) {
        return Failure::input(format!("the environment variable `{name}`: [{section}] is not supported yet"));
    }
    let known: Vec<String> = KEYS.iter().map(|key| settings::variable(key.section, key.name)).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let message = format!("the environment variable `{name}` is no setting of this release");
    Failure::input_with_hint(message, instead(name, &known, "the settings are"))
}

fn instead(name: &str, known: &[&str], otherwise: &str) -> String {
    match asof_expression::nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{otherwise} `{}`", known.join("`, `")),
    }
}
