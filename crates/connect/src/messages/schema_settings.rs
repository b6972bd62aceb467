//! Where schemas of messages come from: what `[schema_registry]` of a project's configuration says, and the project's
//! folder.

use std::path::PathBuf;

use crate::secret::Secret;

/// What messages are read by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchemaSettings {
    /// Where schemas are asked for.
    pub registry: Option<RegistrySettings>,
    /// The folder in which a stream's `schema_file` is looked for.
    pub folder: PathBuf,
}

/// Where the registry is and who we are there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegistrySettings {
    /// `http://host:8081`, with a path in front of `/subjects` where it has one.
    pub url: String,
    /// Who we are.
    pub username: Option<String>,
    /// What proves it.
    pub password: Option<Secret>,
    /// The certificates of authorities that its certificate is believed by; none is those of the system.
    pub ca_file: Option<PathBuf>,
}
