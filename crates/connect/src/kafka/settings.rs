//! How a cluster is reached: what `[kafka]` of a project's configuration says.

use std::path::PathBuf;

use rdkafka::ClientConfig;

use crate::messages::schema_settings::SchemaSettings;
use crate::secret::Secret;

/// Where the cluster is and who we are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port`, several with commas between them.
    pub brokers: String,
    /// Whether connections are encrypted, and whether they say who we are.
    pub security: Security,
    /// How they say it.
    pub mechanism: SaslMechanism,
    /// Who we are.
    pub username: Option<String>,
    /// What proves it.
    pub password: Option<Secret>,
    /// The certificates of authorities that a broker's certificate is believed by; none is those of the system.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, where brokers ask for one.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// What messages are read by.
    pub schemas: SchemaSettings,
}

/// By Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Security {
    /// In the clear, without a name.
    #[default]
    Plaintext,
    /// TLS.
    Ssl,
    /// In the clear, with name and password.
    SaslPlaintext,
    /// TLS, with name and password.
    SaslSsl,
}

/// By the names that are registered for SASL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SaslMechanism {
    /// RFC 4616: the password itself.
    #[default]
    Plain,
    /// RFC 5802 with SHA-256.
    ScramSha256,
    /// RFC 5802 with SHA-512.
    ScramSha512,
}

impl Security {
    /// All of them.
    pub const ALL: [Security; 4] = [Security::Plaintext, Security::Ssl, Security::SaslPlaintext, Security::SaslSsl];

    /// The name in `security = "…"`.
    pub fn name(self) -> &'static str {
        match self {
            Security::Plaintext => "plaintext",
            Security::Ssl => "ssl",
            Security::SaslPlaintext => "sasl_plaintext",
            Security::SaslSsl => "sasl_ssl",
        }
    }

    /// Whether connections say who we are by name and password.
    pub fn has_sasl(self) -> bool {
        matches!(self, Security::SaslPlaintext | Security::SaslSsl)
    }

    /// Whether connections are encrypted.
    pub fn has_tls(self) -> bool {
        matches!(self, Security::Ssl | Security::SaslSsl)
    }
}

impl SaslMechanism {
    /// All of them.
    pub const ALL: [SaslMechanism; 3] = [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512];

    /// The name in `mechanism = "…"`.
    pub fn name(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl KafkaSettings {
    /// What every client of the cluster is told.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers);
        client.set("client.id", "asof");
        client.set("security.protocol", self.security.name());
        // A broker that comes back is found soon.
        client.set("reconnect.backoff.ms", "50");
        client.set("reconnect.backoff.max.ms", "1000");
        client.set("socket.keepalive.enable", "true");
        if self.security.has_sasl() {
            client.set("sasl.mechanism", self.mechanism.name());
            self.username.iter().for_each(|name| _ = client.set("sasl.username", name));
            self.password.iter().for_each(|password| _ = client.set("sasl.password", password.reveal()));
        }
        if self.security.has_tls() {
            let files = [
                ("ssl.ca.location", &self.ca_file),
                ("ssl.certificate.location", &self.certificate_file),
                ("ssl.key.location", &self.key_file),
            ];
            for (key, file) in files {
                file.iter().for_each(|file| _ = client.set(key, file.to_string_lossy()));
            }
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_shown_nowhere() {
        let settings =
            KafkaSettings { password: Some(Secret::new("open sesame".to_owned())), ..KafkaSettings::default() };
        assert!(!format!("{settings:?}").contains("sesame"));
    }

    #[test]
    fn a_client_is_told_who_we_are_where_that_is_asked_for() {
        let secret = Some(Secret::new("p".to_owned()));
        let settings = KafkaSettings {
            username: Some("u".to_owned()),
            password: secret,
            ca_file: Some("ca.pem".into()),
            ..KafkaSettings::default()
        };
        let told = |security| {
            let client = KafkaSettings { security, ..settings.clone() }.client();
            (client.get("sasl.username").is_some(), client.get("ssl.ca.location").is_some())
        };
        assert_eq!(Security::ALL.map(told), [(false, false), (false, true), (true, false), (true, true)]);
    }
}
