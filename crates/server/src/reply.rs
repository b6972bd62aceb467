//! An answer on its way to hyper. Its length is always known, so that it goes out in one piece.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use crate::problem::{Kind, Problem};
use crate::room::Share;

/// The page is one file: its script and style stand in it, and it talks to its own server only.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What a body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Json,
    Page,
    Metrics,
}

/// The bytes of an answer and its share of the room for answers.
#[derive(Debug)]
struct HeldAnswer {
    json: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for HeldAnswer {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    content: Content,
    body: Bytes,
    /// The client is told to come again in a second.
    retries: bool,
    /// The batch was taken in before, and this says what became of it then.
    is_repeated: bool,
    pub(crate) closes: bool,
}

impl Reply {
    fn ok(content: Content, body: Bytes) -> Reply {
        Reply { status: 200, content, body, retries: false, is_repeated: false, closes: false }
    }

    pub(crate) fn json(body: Vec<u8>) -> Reply {
        Reply::ok(Content::Json, body.into())
    }

    /// An answer that may be large; its share of the room for answers goes when it is sent, or its client is gone.
    pub(crate) fn held(json: Vec<u8>, mut share: Share) -> Result<Reply, Problem> {
        share.hold(json.len())?;
        Ok(Reply::ok(Content::Json, Bytes::from_owner(HeldAnswer { json, _share: share })))
    }

    pub(crate) fn page(html: &'static str) -> Reply {
        Reply::ok(Content::Page, Bytes::from_static(html.as_bytes()))
    }

    pub(crate) fn metrics(text: String) -> Reply {
        Reply::ok(Content::Metrics, text.into())
    }

    pub(crate) fn repeated(self, is_repeated: bool) -> Reply {
        Reply { is_repeated, ..self }
    }

    /// The same content with 422.
    pub(crate) fn unprocessable(self) -> Reply {
        Reply { status: 422, ..self }
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let content_type = match self.content {
            Content::Json => "application/json",
            Content::Page => "text/html; charset=utf-8",
            Content::Metrics => "text/plain; version=0.0.4; charset=utf-8",
        };
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).expect("the kinds of problems have valid codes");
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if self.content == Content::Page {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        if self.retries {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.is_repeated {
            headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Reply {
        Reply {
            status: problem.kind.status(),
            content: Content::Json,
            body: problem.json().into(),
            retries: matches!(problem.kind, Kind::TooMany | Kind::Unavailable),
            is_repeated: false,
            closes: problem.closes,
        }
    }
}
