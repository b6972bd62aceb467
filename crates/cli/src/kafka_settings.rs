//! The values of `[kafka]`, one by one and together.

use std::path::{Path, PathBuf};

use asof_connect::{KafkaSettings, RegistrySettings, SaslMechanism, SchemaSettings, Secret, Security};

/// `host:port`, several with commas between them.
pub(crate) fn brokers(text: &str) -> Result<String, String> {
    let brokers: Vec<&str> = text.split(',').map(str::trim).collect();
    let wrong = brokers.iter().find(|broker| {
        let port = broker.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        port.is_none_or(|(host, port)| host.is_empty() || port == 0)
    });
    match wrong {
        Some(wrong) => Err(format!("`{wrong}` is no broker; write host:port, several with commas between them")),
        None => Ok(brokers.join(",")),
    }
}

pub(crate) fn security(text: &str) -> Result<Security, String> {
    let names = Security::ALL.map(Security::name);
    let found = Security::ALL.into_iter().find(|security| security.name() == text);
    found.ok_or_else(|| format!("expected one of `{}`, found `{text}`", names.join("`, `")))
}

pub(crate) fn mechanism(text: &str) -> Result<SaslMechanism, String> {
    let names = SaslMechanism::ALL.map(SaslMechanism::name);
    let found = SaslMechanism::ALL.into_iter().find(|mechanism| mechanism.name() == text);
    found.ok_or_else(|| format!("expected one of `{}`, found `{text}`", names.join("`, `")))
}

pub(crate) fn word(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// What a client is told: files where they are, seen from the project's folder, and secrets that do not stand in the file.
pub(crate) fn resolved(settings: &KafkaSettings, folder: &Path) -> Result<KafkaSettings, String> {
    let in_folder = |file: &Option<PathBuf>| file.as_ref().map(|file| folder.join(file));
    let of_kafka = |detail: String| format!("[kafka]: {detail}");
    let password = settings.password.as_ref().map(|password| filled("password", password.reveal())).transpose();
    let username = settings.username.as_ref().map(|name| filled("username", name)).transpose();
    Ok(KafkaSettings {
        username: username.map_err(of_kafka)?,
        password: password.map_err(of_kafka)?.map(Secret::new),
        ca_file: in_folder(&settings.ca_file),
        certificate_file: in_folder(&settings.certificate_file),
        key_file: in_folder(&settings.key_file),
        schemas: schemas(&settings.schemas, folder)?,
        ..settings.clone()
    })
}

/// What messages are read by: who looks at definitions need not know the secrets of a cluster.
pub(crate) fn schemas(settings: &SchemaSettings, folder: &Path) -> Result<SchemaSettings, String> {
    let registry = settings.registry.as_ref().map(|registry| registry_of(registry, folder)).transpose();
    let registry = registry.map_err(|detail| format!("[schema_registry]: {detail}"))?;
    Ok(SchemaSettings { registry, folder: folder.to_owned() })
}

fn registry_of(settings: &RegistrySettings, folder: &Path) -> Result<RegistrySettings, String> {
    let password = settings.password.as_ref().map(|password| filled("password", password.reveal())).transpose()?;
    Ok(RegistrySettings {
        url: settings.url.clone(),
        username: settings.username.as_ref().map(|name| filled("username", name)).transpose()?,
        password: password.map(Secret::new),
        ca_file: settings.ca_file.as_ref().map(|file| folder.join(file)),
    })
}

/// `http://host:8081`: a name and a password stand beside it, not in it.
pub(crate) fn registry_url(text: &str) -> Result<String, String> {
    if text.contains('@') {
        return Err("it has an `@`: who we are stands in `username` and `password`".to_owned());
    }
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match host {
        Some(host) if !host.is_empty() && !text.contains(['?', '#', ' ']) => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is no URL of a registry; write http://host:8081")),
    }
}

/// `${NAME}` stands for a variable of the environment.
fn filled(key: &str, text: &str) -> Result<String, String> {
    match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => std::env::var(name).map_err(|_| format!("`{key}`: the environment has no variable `{name}`")),
        None => Ok(text.to_owned()),
    }
}

/// What does not go together. Nothing that is set is ignored.
pub(crate) fn check(settings: &KafkaSettings) -> Result<(), String> {
    let KafkaSettings { brokers, security, mechanism, username, password, ca_file, certificate_file, key_file, .. } =
        settings;
    let of_sasl = [
        ("username", username.is_some()),
        ("password", password.is_some()),
        ("mechanism", *mechanism != SaslMechanism::default()),
    ];
    let of_tls = [
        ("ca_file", ca_file.is_some()),
        ("certificate_file", certificate_file.is_some()),
        ("key_file", key_file.is_some()),
    ];
    let needs = |(name, is_set): (&str, bool), has: bool, values: &str| {
        (is_set && !has).then(|| format!("`{name}` needs security = {values}"))
    };
    let without_sasl =
        of_sasl.iter().find_map(|one| needs(*one, security.has_sasl(), "\"sasl_plaintext\" or \"sasl_ssl\""));
    let without_tls = of_tls.iter().find_map(|one| needs(*one, security.has_tls(), "\"ssl\" or \"sasl_ssl\""));
    let missing = security.has_sasl() && (username.is_none() || password.is_none());
    let missing = missing.then(|| format!("security = \"{}\" needs `username` and `password`", security.name()));
    let half = (certificate_file.is_some() != key_file.is_some())
        .then(|| "`certificate_file` and `key_file` go together".to_owned());
    let is_any = KafkaSettings { schemas: SchemaSettings::default(), ..settings.clone() } != KafkaSettings::default();
    let nowhere = (is_any && brokers.is_empty()).then(|| "`brokers` is missing".to_owned());
    let wrong = nowhere.or(without_sasl).or(without_tls).or(missing).or(half);
    wrong.map_or(Ok(()), Err)
}

/// What does not go together of `[schema_registry]`.
pub(crate) fn check_registry(settings: &RegistrySettings) -> Result<(), String> {
    if settings.url.is_empty() {
        return Err("`url` is missing".to_owned());
    }
    if settings.username.is_some() != settings.password.is_some() {
        return Err("`username` and `password` go together".to_owned());
    }
    if settings.ca_file.is_some() && !settings.url.starts_with("https://") {
        return Err("`ca_file` needs a `url` that begins with https://".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_hosts_with_ports() {
        assert_eq!(brokers("one:9092, two:9093"), Ok("one:9092,two:9093".to_owned()));
        assert_eq!(brokers("[::1]:9092"), Ok("[::1]:9092".to_owned()));
        for wrong in ["one", "one:", ":9092", "one:0", "one:99999", "one:1,,two:2", ""] {
            assert!(brokers(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_may_stand_in_the_environment() {
        let settings = KafkaSettings {
            password: Some(Secret::new("${PATH}".to_owned())),
            ca_file: Some("ca.pem".into()),
            ..KafkaSettings::default()
        };
        let resolved = |settings: &KafkaSettings| resolved(settings, Path::new("project"));
        let found = resolved(&settings).expect("every environment has a PATH");
        assert_eq!(found.password.as_ref().map(Secret::reveal), std::env::var("PATH").ok().as_deref());
        assert_eq!(found.ca_file.as_deref(), Some(Path::new("project/ca.pem")));
        let unknown = KafkaSettings { username: Some("${ASOF_NOBODY_HAS_THIS}".to_owned()), ..settings };
        assert!(resolved(&unknown).is_err_and(|said| said.contains("no variable `ASOF_NOBODY_HAS_THIS`")));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let own = KafkaSettings { brokers: "one:9092".to_owned(), ..KafkaSettings::default() };
        let secret = || Some(Secret::new("p".to_owned()));
        let check = |settings: KafkaSettings| check(&settings).err().unwrap_or_default();
        assert_eq!(check(own.clone()), "");
        assert_eq!(check(KafkaSettings::default()), "");
        let named = KafkaSettings { username: Some("u".to_owned()), password: secret(), ..own.clone() };
        assert!(check(named.clone()).starts_with("`username` needs security"));
        assert_eq!(check(KafkaSettings { security: Security::SaslSsl, ..named }), "");
        let nameless = KafkaSettings { security: Security::SaslPlaintext, ..own.clone() };
        assert!(check(nameless).ends_with("needs `username` and `password`"));
        let believed = KafkaSettings { ca_file: Some("ca.pem".into()), ..own.clone() };
        assert!(check(believed).starts_with("`ca_file` needs security"));
        let half = KafkaSettings { security: Security::Ssl, key_file: Some("key.pem".into()), ..own.clone() };
        assert_eq!(check(half), "`certificate_file` and `key_file` go together");
        assert_eq!(
            check(KafkaSettings { brokers: String::new(), security: Security::Ssl, ..own }),
            "`brokers` is missing"
        );
    }
}
