//! A schema registry, over the HTTP interface that Confluent's has and that Apicurio, Karapace, Redpanda and the clouds
//! speak too. Source: Confluent's "Schema Registry API Reference": `/schemas/ids`, `/subjects/…/versions`, media type
//! `application/vnd.schemaregistry.v1+json`, `error_code`s.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::StatusCode;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body};

use crate::base64::write_base64;
use crate::column::bounded;
use crate::messages::schema_settings::RegistrySettings;
use crate::secret::Secret;

/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 2 << 20;
/// How many schemas a schema may refer to, through others, too.
const REFERENCES_MAX: usize = 64;
/// What a registry answers where it has no such subject, version or schema.
const UNKNOWN: RangeInclusive<u32> = 40_401..=40_403;
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// The client of one registry.
#[derive(Debug, Clone)]
pub(crate) struct SchemaRegistry {
    agent: Agent,
    url: String,
    authorization: Option<Secret>,
}

/// A schema as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegisteredSchema {
    /// `AVRO`, `PROTOBUF` or `JSON`.
    pub(crate) kind: String,
    pub(crate) text: String,
    /// What it refers to, by the names that it uses.
    pub(crate) references: BTreeMap<String, String>,
}

/// The schema of a subject that came last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LatestSchema {
    pub(crate) version: u32,
    /// Its number.
    pub(crate) id: Option<u32>,
    pub(crate) schema: RegisteredSchema,
}

/// Why the registry did not answer what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryTrouble {
    /// It may pass by itself: the registry is away, or not well.
    #[error("the schema registry {url}: {detail}")]
    Passing {
        /// Where it is.
        url: String,
        /// What happened.
        detail: String,
    },
    /// The registry has nothing of that name or number.
    #[error("the schema registry {url} has no {what}")]
    Unknown {
        /// Where it is.
        url: String,
        /// What was asked for.
        what: String,
    },
    /// It will not pass by itself: who we are or what we ask is refused.
    #[error("the schema registry {url} refuses: {detail}")]
    Refused {
        /// Where it is.
        url: String,
        /// What it says.
        detail: String,
    },
}

#[derive(Deserialize)]
struct SchemaAnswer {
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    version: Option<u32>,
    id: Option<u32>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: u32,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error_code: Option<u32>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct IdAnswer {
    id: u32,
}

impl SchemaRegistry {
    /// A client; nothing is asked yet.
    pub(crate) fn new(settings: &RegistrySettings) -> Result<SchemaRegistry, RegistryTrouble> {
        let url = settings.url.trim_end_matches('/').to_owned();
        let refused = |detail: String| RegistryTrouble::Refused { url: url.clone(), detail };
        let roots = match &settings.ca_file {
            None => RootCerts::PlatformVerifier,
            Some(file) => {
                let said = |error: &dyn std::fmt::Display| refused(format!("ca_file `{}`: {error}", file.display()));
                let pem = std::fs::read(file).map_err(|error| said(&error))?;
                let certificates = ureq::tls::parse_pem(&pem).filter_map(|item| match item {
                    Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                    Ok(_) => None,
                    Err(error) => Some(Err(said(&error))),
                });
                let certificates: Vec<Certificate<'static>> = certificates.collect::<Result<_, _>>()?;
                RootCerts::new_with_certs(&certificates)
            }
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(roots)
            .build();
        let config = Agent::config_builder()
            .timeout_global(Some(ANSWER))
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(tls)
            .build();
        let authorization = settings.username.as_ref().map(|name| {
            let password = settings.password.as_ref().map_or("", |password| password.reveal());
            let mut text = b"Basic ".to_vec();
            write_base64(format!("{name}:{password}").as_bytes(), &mut text);
            Secret::new(String::from_utf8(text).expect("base64 is ASCII"))
        });
        Ok(SchemaRegistry { agent: config.into(), url, authorization })
    }

    /// The schema of that number.
    pub(crate) fn schema(&self, id: u32) -> Result<RegisteredSchema, RegistryTrouble> {
        let answer: SchemaAnswer = self.get(&format!("/schemas/ids/{id}"), &format!("schema of number {id}"))?;
        self.with_references(answer)
    }

    /// What is told while there is more to ask.
    pub(crate) fn more_to_ask(&self) -> RegistryTrouble {
        RegistryTrouble::Passing { url: self.url.clone(), detail: "there are more schemas to ask for".to_owned() }
    }

    /// The schema of a subject that came last.
    pub(crate) fn latest(&self, subject: &str) -> Result<LatestSchema, RegistryTrouble> {
        let answer: SchemaAnswer =
            self.get(&format!("/subjects/{}/versions/latest", in_path(subject)), &format!("subject `{subject}`"))?;
        let (version, id) = (answer.version.unwrap_or(0), answer.id);
        Ok(LatestSchema { version, id, schema: self.with_references(answer)? })
    }

    /// Registers a schema under a subject, where it is not yet. Gives its number.
    pub(crate) fn register(&self, subject: &str, kind: &str, schema: &str) -> Result<u32, RegistryTrouble> {
        let body = serde_json::json!({ "schemaType": kind, "schema": schema }).to_string();
        let path = format!("{}/subjects/{}/versions", self.url, in_path(subject));
        let mut request = self.agent.post(path).header("accept", MEDIA_TYPE).header("content-type", MEDIA_TYPE);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization.reveal());
        }
        let answer: IdAnswer = self.answer(request.send(body), &format!("subject `{subject}`"))?;
        Ok(answer.id)
    }

    fn with_references(&self, answer: SchemaAnswer) -> Result<RegisteredSchema, RegistryTrouble> {
        let mut references = BTreeMap::new();
        let mut open = answer.references;
        while let Some(one) = open.pop() {
            if references.contains_key(&one.name) {
                continue;
            }
            if references.len() == REFERENCES_MAX {
                let detail = format!("a schema refers to more than {REFERENCES_MAX} others");
                return Err(RegistryTrouble::Refused { url: self.url.clone(), detail });
            }
            let path = format!("/subjects/{}/versions/{}", in_path(&one.subject), one.version);
            let what = format!("version {} of subject `{}`", one.version, one.subject);
            let answer: SchemaAnswer = self.get(&path, &what)?;
            references.insert(one.name, answer.schema);
            open.extend(answer.references);
        }
        let kind = answer.kind.unwrap_or_else(|| "AVRO".to_owned());
        Ok(RegisteredSchema { kind, text: answer.schema, references })
    }

    fn get<T: for<'a> Deserialize<'a>>(&self, path: &str, what: &str) -> Result<T, RegistryTrouble> {
        let mut request = self.agent.get(format!("{}{path}", self.url)).header("accept", MEDIA_TYPE);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization.reveal());
        }
        self.answer(request.call(), what)
    }

    fn answer<T: for<'a> Deserialize<'a>>(
        &self,
        answer: Result<ureq::http::Response<Body>, ureq::Error>,
        what: &str,
    ) -> Result<T, RegistryTrouble> {
        let url = || self.url.clone();
        let passing = |detail: String| RegistryTrouble::Passing { url: url(), detail };
        let mut answer = answer.map_err(|error| passing(error.to_string()))?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let body = body.map_err(|error| passing(error.to_string()))?;
        if status.is_success() {
            return serde_json::from_str(&body)
                .map_err(|error| passing(format!("its answer about {what} is not as expected: {error}")));
        }
        let told: Option<ErrorAnswer> = serde_json::from_str(&body).ok();
        let code = told.as_ref().and_then(|told| told.error_code);
        let words = told.and_then(|told| told.message).unwrap_or_else(|| bounded(&body, 200));
        let detail = format!("{status}: {words}");
        Err(match status {
            // What is no registry, or has no such path, answers 404 too.
            StatusCode::NOT_FOUND if code.is_some_and(|code| UNKNOWN.contains(&code)) => {
                RegistryTrouble::Unknown { url: url(), what: what.to_owned() }
            }
            _ if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                RegistryTrouble::Refused { url: url(), detail }
            }
            _ => passing(detail),
        })
    }
}

/// A name as one part of a path.
fn in_path(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
            other => path.push_str(&format!("%{other:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_part_of_a_path() {
        assert_eq!(in_path("orders-value"), "orders-value");
        assert_eq!(in_path("../x/ä?"), "..%2Fx%2F%C3%A4%3F");
    }

    #[test]
    fn a_password_is_in_no_words() {
        let settings = RegistrySettings {
            url: "http://127.0.0.1:1".to_owned(),
            username: Some("u".to_owned()),
            password: Some(Secret::new("sesame".to_owned())),
            ca_file: None,
        };
        let registry = SchemaRegistry::new(&settings).expect("nothing is asked");
        let trouble = registry.schema(1).expect_err("nobody listens there");
        assert!(matches!(trouble, RegistryTrouble::Passing { .. }));
        assert!(!format!("{trouble} {settings:?} {registry:?}").contains("sesame"));
    }
}
