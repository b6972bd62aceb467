//! What is told to a client whose request has no answer: a kind that says what to do, a message, and a hint.

use asof_connect::write_json_text;

/// What a client should do about it. The kinds and their status codes are a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Mend the request: it does not say what it should.
    Invalid,
    /// Mend the request: it is well said, and yet has no answer.
    Unanswerable,
    /// Leave these events out: they are older than what joins or sessions still hold.
    OutOfReach,
    /// Ask for what there is.
    NotFound,
    /// Ask for less at once.
    TooLarge,
    /// Come again in a second.
    TooMany,
    /// Come again later.
    Unavailable,
    /// A defect of ours.
    Internal,
}

/// A request that has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    message: String,
    hint: Option<String>,
    /// The rest of the request is not read: the connection cannot go on.
    pub(crate) closes: bool,
}

impl Kind {
    /// Each name once.
    pub(crate) const ALL: [Kind; 7] = [
        Kind::Invalid,
        Kind::OutOfReach,
        Kind::NotFound,
        Kind::TooLarge,
        Kind::TooMany,
        Kind::Unavailable,
        Kind::Internal,
    ];

    /// The name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Invalid | Kind::Unanswerable => "invalid_request",
            Kind::OutOfReach => "out_of_reach",
            Kind::NotFound => "not_found",
            Kind::TooLarge => "too_large",
            Kind::TooMany => "too_many_requests",
            Kind::Unavailable => "unavailable",
            Kind::Internal => "internal",
        }
    }

    pub(crate) fn status(self) -> u16 {
        match self {
            Kind::Invalid => 400,
            Kind::NotFound => 404,
            Kind::TooLarge => 413,
            Kind::Unanswerable | Kind::OutOfReach => 422,
            Kind::TooMany => 429,
            Kind::Unavailable | Kind::Internal => 503,
        }
    }
}

impl Problem {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Problem {
        Problem { kind, message: message.into(), hint: None, closes: false }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Problem {
        Problem::new(Kind::Invalid, message)
    }

    /// What is told of a defect: where it lies is for the log.
    pub(crate) fn internal() -> Problem {
        Problem::new(Kind::Internal, "the server failed to answer").hint("its log says why; other requests go on")
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    /// ``did you mean `amount`?``, or what there is.
    pub(crate) fn did_you_mean<'n>(self, name: &str, known: impl Iterator<Item = &'n str> + Clone) -> Problem {
        const LISTED_MAX: usize = 12;
        match asof_expression::nearest(name, known.clone()) {
            Some(near) => self.hint(format!("did you mean `{near}`?")),
            None => {
                let more = if known.clone().nth(LISTED_MAX).is_some() { ", …" } else { "" };
                let listed: Vec<&str> = known.take(LISTED_MAX).collect();
                if listed.is_empty() { self } else { self.hint(format!("known are `{}`{more}", listed.join("`, `"))) }
            }
        }
    }

    pub(crate) fn closing(mut self) -> Problem {
        self.closes = true;
        self
    }

    /// `{"error":{"kind":…,"message":…,"hint":…}}`; without a hint there is none.
    pub(crate) fn json(&self) -> Vec<u8> {
        let mut out = b"{\"error\":{\"kind\":\"".to_vec();
        out.extend_from_slice(self.kind.name().as_bytes());
        out.extend_from_slice(b"\",\"message\":");
        write_json_text(&self.message, &mut out);
        if let Some(hint) = &self.hint {
            out.extend_from_slice(b",\"hint\":");
            write_json_text(hint, &mut out);
        }
        out.extend_from_slice(b"}}");
        out
    }
}
