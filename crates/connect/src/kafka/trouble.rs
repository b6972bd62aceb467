//! What goes wrong with a topic, in words.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::messages::decoder::SchemaError;

/// Something that a cluster answered, or did not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaTrouble {
    /// It may pass by itself: a broker is away, a topic is not there yet, an answer took too long.
    #[error("{0}")]
    Passing(String),
    /// Messages that were not read yet are gone: retention has taken them, or the topic was made anew.
    #[error("messages that were not read yet are gone")]
    Lost,
    /// It will not pass: who we are, or what is configured, is refused.
    #[error("{detail}; hint: {hint}")]
    Refused {
        /// What the client says.
        detail: String,
        /// What to do.
        hint: &'static str,
    },
}

impl From<SchemaError> for KafkaTrouble {
    fn from(error: SchemaError) -> KafkaTrouble {
        let hint = match &error {
            SchemaError::Columns(_) => "look at the columns of the stream",
            SchemaError::Rows { .. } => "format = 'json' writes them",
            SchemaError::File { .. } => "`asof check` says whether the columns can be read by it",
            SchemaError::NoRegistry { .. } => "write its `url` in [schema_registry], or name a schema_file",
            SchemaError::Registry(_) => "look at [schema_registry]",
        };
        KafkaTrouble::Refused { detail: error.to_string(), hint }
    }
}

impl KafkaTrouble {
    /// What an error of the client means.
    pub(crate) fn of(error: &KafkaError) -> KafkaTrouble {
        let refused = |hint| KafkaTrouble::Refused { detail: in_words(error), hint };
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => KafkaTrouble::Lost,
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                refused("look at security, username and password in [kafka]")
            }
            Some(RDKafkaErrorCode::SSL) => refused("look at security and ca_file in [kafka]"),
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::TransactionalIdAuthorizationFailed,
            ) => refused(
                "the user of [kafka] needs the rights to READ and DESCRIBE a topic that is read; of a sink to WRITE its topic, \
                 and those on groups and transactional ids that begin with `asof-`",
            ),
            _ => match error {
                KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => refused("look at [kafka]"),
                _ => KafkaTrouble::Passing(in_words(error)),
            },
        }
    }

    /// Whether it may pass by itself.
    pub fn may_pass(&self) -> bool {
        matches!(self, KafkaTrouble::Passing(_))
    }
}

/// The client's words without the name of its type.
fn in_words(error: &KafkaError) -> String {
    let words = match error.rdkafka_error_code() {
        Some(code) => code.to_string(),
        None => error.to_string(),
    };
    // `Name (Broker: words)`
    words.split_once(": ").map_or(words.clone(), |(_, words)| words.trim_end_matches(')').to_owned())
}
