//! How a schema registry is reached: what `[schema_registry]` of a project's configuration says.

use std::path::PathBuf;

use crate::kafka::settings::Secret;

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
