//! Settings as they are found: keys of sections in a TOML file, `ASOF_SECTION__KEY` variables of the environment. What they
//! mean is said in `configuration.rs`.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::failure::Failure;

/// A key of a section, the value given to it, and where.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) place: Place,
    pub(crate) section: String,
    pub(crate) key: String,
    pub(crate) given: Given,
}

/// Where a setting stands.
#[derive(Debug)]
pub(crate) enum Place {
    File { name: String, line: usize },
    Variable(String),
}

/// A value as given.
#[derive(Debug)]
pub(crate) enum Given {
    Text(String),
    /// Digits, perhaps after a minus.
    Number(String),
    /// What stands in a variable: text or a number, as its key has it.
    Unquoted(String),
    /// What no key takes: its type.
    Other(&'static str),
}

impl Setting {
    /// Whether it is for this key. The name of a variable is taken letter by letter.
    pub(crate) fn is_for(&self, section: &str, key: &str) -> bool {
        match &self.place {
            Place::File { .. } => self.section == section && self.key == key,
            Place::Variable(name) => *name == variable(section, key),
        }
    }
}

impl Given {
    pub(crate) fn text(&self) -> Result<&str, String> {
        match self {
            Given::Text(text) | Given::Unquoted(text) => Ok(text),
            other => Err(format!("expected text in quotes, found {other}")),
        }
    }

    pub(crate) fn number(&self) -> Option<usize> {
        match self {
            Given::Number(digits) | Given::Unquoted(digits) => digits.parse().ok(),
            Given::Text(_) | Given::Other(_) => None,
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Given::Text(text) => write!(formatter, "text `{text}`"),
            Given::Number(text) | Given::Unquoted(text) => write!(formatter, "`{text}`"),
            Given::Other(name) => write!(formatter, "a value of type {name}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { name, line } => write!(formatter, "`{name}`, line {line}"),
            Place::Variable(name) => write!(formatter, "`{name}`"),
        }
    }
}

/// The variable that goes before a key.
pub(crate) fn variable(section: &str, key: &str) -> String {
    format!("ASOF_{}__{}", section.to_ascii_uppercase(), key.to_ascii_uppercase())
}

/// A file's sections and their keys, in the order of their names.
#[derive(Debug, Default)]
pub(crate) struct SettingsFile {
    /// Each section, also an empty one.
    pub(crate) sections: Vec<(Place, String)>,
    pub(crate) settings: Vec<Setting>,
}

impl SettingsFile {
    /// Reads a file; one that is not there has no sections.
    pub(crate) fn read(path: &Path) -> Result<SettingsFile, Failure> {
        let name = path.display().to_string();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(SettingsFile::default()),
            Err(error) => return Err(Failure::input(format!("cannot read `{name}`: {error}"))),
        };
        let table = DeTable::parse(&text)
            .map_err(|error| Failure::input(format!("`{name}`: {}", syntax_error(&error, &text))))?;
        let mut file = SettingsFile::default();
        for (section, value) in table.get_ref() {
            let place =
                |at: Range<usize>| Place::File { name: name.clone(), line: text[..at.start].matches('\n').count() + 1 };
            let DeValue::Table(keys) = value.get_ref() else {
                return Err(outside_of_sections(&place(section.span()), section.get_ref()));
            };
            file.sections.push((place(section.span()), section.get_ref().to_string()));
            file.settings.extend(keys.iter().map(|(key, value)| Setting {
                place: place(key.span()),
                section: section.get_ref().to_string(),
                key: key.get_ref().to_string(),
                given: given(value.get_ref()),
            }));
        }
        Ok(file)
    }
}

/// Its place and words, without the line itself: a password may stand there.
fn syntax_error(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().map(|span| &text[..span.start.min(text.len())]);
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    format!("TOML parse error at line {line}: {}", error.message())
}

fn outside_of_sections(place: &Place, key: &str) -> Failure {
    Failure::input_with_hint(
        format!("{place}: `{key}` stands outside of all sections"),
        "keys stand below the name of their section, such as [server]",
    )
}

fn given(value: &DeValue<'_>) -> Given {
    match value {
        DeValue::String(text) => Given::Text(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Given::Number(number.as_str().to_owned()),
        other => Given::Other(other.type_str()),
    }
}

/// The settings of the environment: `ASOF_` and two underscores make a variable one.
pub(crate) fn of_environment() -> Result<Vec<Setting>, Failure> {
    let mut settings = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        let Some((section, key)) = name.strip_prefix("ASOF_").and_then(|rest| rest.split_once("__")) else { continue };
        let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
        let value =
            value.into_string().map_err(|_| Failure::input(format!("`{name}`: the value is not UTF-8 text")))?;
        settings.push(Setting { section, key, given: Given::Unquoted(value), place: Place::Variable(name) });
    }
    Ok(settings)
}
