//! The HTTP client of the commands that talk to a server: plain HTTP, no proxies, no redirects, answers of bounded size.

use std::time::Duration;

use serde::Deserialize;
use ureq::Agent;

use crate::failure::Failure;

/// A call takes at most this long; the server's own limit for taking an answer is the same.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The same for events: a disk that is busy may hold back an answer.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(30);
/// Far beyond any vector, and a hundred dead letters of 64 KiB in which every byte is written as `\u0000`.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Asks one server.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    /// Without a slash at its end.
    url: String,
}

/// Events on their way.
#[derive(Debug)]
pub(crate) struct EventBatch {
    /// How they are written.
    pub(crate) content_type: &'static str,
    /// Names the batch: sent again, it changes nothing.
    pub(crate) key: String,
    pub(crate) body: Vec<u8>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// How long to wait before asking again, if the server says so.
    pub(crate) retry_after: Option<Duration>,
    /// Whether the batch had been taken in before.
    pub(crate) is_repeat: bool,
}

/// What a server says when it refuses.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: Problem,
}

#[derive(Debug, Deserialize)]
struct Problem {
    kind: String,
    message: String,
    hint: Option<String>,
}

impl Client {
    /// A client for the server at `url`.
    pub(crate) fn new(url: &str) -> Result<Client, Failure> {
        if url.starts_with("https://") {
            return Err(Failure::input_with_hint(
                format!("`{url}`: `https://` is not supported yet"),
                "ask a server that is reached by plain `http://`",
            ));
        }
        if url.strip_prefix("http://").is_none_or(str::is_empty) {
            return Err(Failure::input_with_hint(
                format!("`{url}` is not the URL of a server"),
                "write it as `http://127.0.0.1:6566`",
            ));
        }
        let settings = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .proxy(None);
        Ok(Client { agent: settings.build().new_agent(), url: url.trim_end_matches('/').to_owned() })
    }

    /// The answer of a path.
    pub(crate) fn get(&self, path: &str) -> Result<String, Failure> {
        let url = format!("{}{path}", self.url);
        self.answer(&url, self.agent.get(&url).call())
    }

    /// The answer of a path to a body of JSON.
    pub(crate) fn post(&self, path: &str, body: &str) -> Result<String, Failure> {
        let url = format!("{}{path}", self.url);
        self.answer(&url, self.agent.post(&url).content_type("application/json").send(body))
    }

    /// Sends events, once. An error is that nothing came back.
    pub(crate) fn send(&self, path: &str, batch: &EventBatch) -> Result<Reply, Failure> {
        let url = format!("{}{path}", self.url);
        let request = self.agent.post(&url).content_type(batch.content_type).header("Idempotency-Key", &batch.key);
        self.reply(&url, request.config().timeout_global(Some(EVENTS_TIMEOUT)).build().send(&batch.body))
    }

    /// What the server says in an answer that refuses.
    pub(crate) fn refusal(&self, path: &str, reply: &Reply) -> Failure {
        refused(&format!("{}{path}", self.url), reply.status, &reply.body)
    }

    /// Where the server is, without a slash at its end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn answer(
        &self,
        url: &str,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<String, Failure> {
        let Reply { status, body, .. } = self.reply(url, answer)?;
        if (200..300).contains(&status) { Ok(body) } else { Err(refused(url, status, &body)) }
    }

    fn reply(
        &self,
        url: &str,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Reply, Failure> {
        let mut answer = answer.map_err(|error| self.failed(url, &error))?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let body = body.map_err(|error| self.failed(url, &error))?;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let retry_after = header("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let is_repeat = header("idempotency-replayed") == Some("true");
        Ok(Reply { status: answer.status().as_u16(), body, retry_after, is_repeat })
    }

    fn failed(&self, url: &str, error: &ureq::Error) -> Failure {
        match error {
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Failure::outside(format!(
                    "nothing answers at `{}`; hint: is `asof run` running there? `--url` names another place",
                    self.url
                ))
            }
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::input_with_hint(
                format!("`{}` is not the URL of a server", self.url),
                "write it as `http://127.0.0.1:6566`",
            ),
            ureq::Error::BodyExceedsLimit(_) => {
                Failure::outside(format!("`{url}`: the answer is larger than {} MiB", ANSWER_BYTES_MAX >> 20))
            }
            ureq::Error::Timeout(_) => Failure::outside(format!("`{url}`: no answer in time")),
            other => Failure::outside(format!("`{url}`: {other}")),
        }
    }
}

/// What the server says, as it says it. The user can mend what is answered with 4xx, except 429: the server is busy.
fn refused(url: &str, status: u16, body: &str) -> Failure {
    let Ok(Refusal { error: Problem { kind, message, hint } }) = serde_json::from_str(body) else {
        return Failure::outside(format!("`{url}` answered with status {status}; hint: is it a server of `asof run`?"));
    };
    match (status, hint) {
        (422, Some(hint)) if kind == "out_of_reach" => Failure::OutOfReach { message, hint },
        (429 | 500.., Some(hint)) => Failure::outside(format!("{message}; hint: {hint}")),
        (429 | 500.., None) => Failure::outside(message),
        (_, hint) => Failure::Input { message, hint },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_refused(status: u16, body: &str, code: u8, message: &str) {
        let failure = refused("http://x", status, body);
        assert_eq!((failure.exit_code(), failure.to_string().as_str()), (code, message));
    }

    #[test]
    fn what_the_server_says_is_told() {
        let body = r#"{"error":{"kind":"not_found","message":"no `x`","hint":"did you mean `y`?"}}"#;
        check_refused(404, body, 1, "no `x`");
        check_refused(422, body, 1, "no `x`");
        let too_old = r#"{"error":{"kind":"out_of_reach","message":"too late","hint":"load it first"}}"#;
        check_refused(422, too_old, 1, "too late");
        assert!(matches!(refused("http://x", 422, too_old), Failure::OutOfReach { .. }));
        check_refused(429, body, 2, "no `x`; hint: did you mean `y`?");
        check_refused(503, body, 2, "no `x`; hint: did you mean `y`?");
        check_refused(503, r#"{"error":{"kind":"unavailable","message":"not yet"}}"#, 2, "not yet");
        let foreign = "`http://x` answered with status 404; hint: is it a server of `asof run`?";
        check_refused(404, "<html>", 2, foreign);
    }
}
