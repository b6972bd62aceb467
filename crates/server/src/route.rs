//! Which call a method and a path name. A pure function: the list of calls is here and nowhere else.

use std::borrow::Cow;

use hyper::{Method, Uri};

use crate::problem::{Kind, Problem};

/// A call, without the name in its path. In the order of [`Call::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Page,
    ServiceFeatures,
    ViewFeatures,
    StreamEvents,
    DeadLetters,
    Objects,
    Object,
    Alive,
    Ready,
    Metrics,
    OpenApi,
    /// None of these.
    Unknown,
}

impl Call {
    /// Every call.
    pub(crate) const ALL: [Call; 12] = [
        Call::Page,
        Call::ServiceFeatures,
        Call::ViewFeatures,
        Call::StreamEvents,
        Call::DeadLetters,
        Call::Objects,
        Call::Object,
        Call::Alive,
        Call::Ready,
        Call::Metrics,
        Call::OpenApi,
        Call::Unknown,
    ];

    /// The path with its variable part named, as metrics and the OpenAPI document have it.
    pub(crate) fn template(self) -> &'static str {
        match self {
            Call::Page => "/",
            Call::ServiceFeatures => "/v1/services/{service}/features",
            Call::ViewFeatures => "/v1/views/{view}/features",
            Call::StreamEvents => "/v1/streams/{stream}/events",
            Call::DeadLetters => "/v1/streams/{stream}/dead-letters",
            Call::Objects => "/v1/objects",
            Call::Object => "/v1/objects/{name}",
            Call::Alive => "/healthz",
            Call::Ready => "/readyz",
            Call::Metrics => "/metrics",
            Call::OpenApi => "/openapi.json",
            Call::Unknown => "unknown",
        }
    }

    pub(crate) fn method(self) -> Method {
        match self {
            Call::ServiceFeatures | Call::ViewFeatures | Call::StreamEvents => Method::POST,
            _ => Method::GET,
        }
    }

    /// The names of its query parameters.
    pub(crate) fn parameters(self) -> &'static [&'static str] {
        match self {
            Call::StreamEvents => &["history", "arrival_column", "replayed"],
            Call::DeadLetters => &["from", "reason", "limit"],
            _ => &[],
        }
    }

    /// Whether it counts among the requests in flight. What tells of the server's health is answered in any case.
    pub(crate) fn is_limited(self) -> bool {
        !matches!(self, Call::Page | Call::Alive | Call::Ready | Call::Metrics | Call::Unknown)
    }
}

/// A request's call, and what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Routed<'p> {
    pub(crate) call: Call,
    /// The name in the path, as the definitions have it; empty where the call has none.
    pub(crate) outcome: Result<Cow<'p, str>, Problem>,
}

/// Finds the call that a request means.
pub(crate) fn route<'p>(method: &Method, uri: &'p Uri) -> Routed<'p> {
    let (call, name) = split(uri.path());
    Routed { call, outcome: check(call, name, method, uri) }
}

/// The call of a path and the name in it, still encoded.
fn split(path: &str) -> (Call, &str) {
    match path {
        "/" => return (Call::Page, ""),
        "/healthz" => return (Call::Alive, ""),
        "/readyz" => return (Call::Ready, ""),
        "/metrics" => return (Call::Metrics, ""),
        "/openapi.json" => return (Call::OpenApi, ""),
        "/v1/objects" => return (Call::Objects, ""),
        _ => {}
    }
    let named = |before: &str, after: &str| {
        let name = path.strip_prefix(before)?.strip_suffix(after)?;
        (!name.is_empty() && !name.contains('/')).then_some(name)
    };
    None.or_else(|| Some((Call::ServiceFeatures, named("/v1/services/", "/features")?)))
        .or_else(|| Some((Call::ViewFeatures, named("/v1/views/", "/features")?)))
        .or_else(|| Some((Call::StreamEvents, named("/v1/streams/", "/events")?)))
        .or_else(|| Some((Call::DeadLetters, named("/v1/streams/", "/dead-letters")?)))
        .or_else(|| Some((Call::Object, named("/v1/objects/", "")?)))
        .unwrap_or((Call::Unknown, ""))
}

fn check<'p>(call: Call, name: &'p str, method: &Method, uri: &Uri) -> Result<Cow<'p, str>, Problem> {
    let wanted = call.method();
    let shown = |text: &str| text.chars().take(200).collect::<String>();
    if call == Call::Unknown {
        let message = format!("there is no `{}`", shown(uri.path()));
        return Err(Problem::new(Kind::NotFound, message).hint("`GET /openapi.json` lists the calls"));
    }
    // A HEAD is a GET of which hyper sends the head alone.
    if *method != wanted && !(*method == Method::HEAD && wanted == Method::GET) {
        let message = format!("`{}` is not called with {}", call.template(), shown(method.as_str()));
        return Err(Problem::new(Kind::NotFound, message).hint(format!("use {wanted}")));
    }
    if call != Call::Page {
        check_query(call, uri)?;
    }
    decoded(name).ok_or_else(|| Problem::invalid("the path is not UTF-8 text in percent encoding"))
}

/// Parameters that a call does not have are refused, and so are repeated ones.
fn check_query(call: Call, uri: &Uri) -> Result<(), Problem> {
    let mut seen = Vec::new();
    for (name, _) in pairs(uri) {
        let shown: String = name.chars().take(200).collect();
        if !call.parameters().contains(&name) {
            let problem = Problem::invalid(format!("unknown query parameter `{shown}`"));
            return Err(match call.parameters() {
                [] if call.method() == Method::POST => problem.hint("what is asked for stands in the body"),
                [] => problem.hint("this call takes none"),
                known => problem.did_you_mean(name, known.iter().copied()),
            });
        }
        if seen.contains(&name) {
            return Err(Problem::invalid(format!("query parameter `{shown}` is given twice")));
        }
        seen.push(name);
    }
    Ok(())
}

/// The parameters of a query, still encoded.
fn pairs(uri: &Uri) -> impl Iterator<Item = (&str, &str)> {
    let query = uri.query().unwrap_or_default();
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The value of a parameter, if it is given.
pub(crate) fn parameter<'u>(uri: &'u Uri, name: &str) -> Result<Option<Cow<'u, str>>, Problem> {
    let Some((_, value)) = pairs(uri).find(|(known, _)| *known == name) else { return Ok(None) };
    match decoded(value) {
        Some(value) => Ok(Some(value)),
        None => Err(Problem::invalid(format!("query parameter `{name}` is not UTF-8 text in percent encoding"))),
    }
}

/// A name as a segment of a path: percent-encoded where a URL gives its bytes a meaning. A lone dot has one, too.
pub fn path_segment(name: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(encoded).collect()
}

/// The text that `%41b` stands for; `None` if it stands for none.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
        rest = after;
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, uri: &str, expected: Result<(Call, &str), &str>) {
        let uri: Uri = uri.parse().unwrap();
        let routed = route(&method, &uri);
        let found = routed.outcome.map(|name| (routed.call, name.into_owned()));
        let found = found.map_err(|problem| String::from_utf8(problem.json()).unwrap());
        match (found, expected) {
            (Ok((call, name)), Ok(expected)) => assert_eq!((call, name.as_str()), expected, "{uri}"),
            (Err(problem), Err(expected)) => assert!(problem.contains(expected), "{uri}: {problem}"),
            (found, expected) => panic!("{uri}: {found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn paths_name_calls() {
        check(Method::GET, "/", Ok((Call::Page, "")));
        check(Method::GET, "/?utm=1", Ok((Call::Page, "")));
        check(Method::HEAD, "/healthz", Ok((Call::Alive, "")));
        check(Method::GET, "/v1/objects", Ok((Call::Objects, "")));
        check(Method::GET, "/v1/objects/a%20b%2Fc", Ok((Call::Object, "a b/c")));
        check(Method::POST, "/v1/services/fraud_v1/features", Ok((Call::ServiceFeatures, "fraud_v1")));
        check(Method::POST, "/v1/views/gr%C3%B6%C3%9Fe/features", Ok((Call::ViewFeatures, "größe")));
    }

    #[test]
    fn what_is_no_call_is_told_so() {
        let listed = "`GET /openapi.json` lists the calls";
        for path in
            ["/v1", "/v1/objects/", "/v1/services//features", "/v1/views/a/b/features", "/healthz/", "/v1/services/x"]
        {
            check(Method::GET, path, Err(listed));
        }
        check(Method::GET, "/v1/services/x/features", Err("use POST"));
        check(Method::POST, "/v1/objects", Err("use GET"));
        check(Method::DELETE, "/", Err("`/` is not called with DELETE"));
        check(Method::POST, "/v1/views/x/features?as_of=1", Err("unknown query parameter `as_of`"));
        check(Method::GET, "/v1/objects?a", Err("unknown query parameter `a`"));
        check(Method::GET, "/v1/objects/%ff", Err("not UTF-8"));
        check(Method::GET, "/v1/objects/%4", Err("not UTF-8"));
        check(Method::GET, "/v1/objects/%zz", Err("not UTF-8"));
    }

    #[test]
    fn names_become_segments_and_names_again() {
        assert_eq!(path_segment("delay_v1"), "delay_v1");
        assert_eq!(path_segment("a b/ä.?"), "a%20b%2F%C3%A4%2E%3F");
        assert_eq!(decoded(&path_segment("a b/ä.?")).as_deref(), Some("a b/ä.?"));
    }

    #[test]
    fn calls_stand_in_their_order() {
        for (place, call) in Call::ALL.into_iter().enumerate() {
            assert_eq!(call as usize, place);
        }
    }
}
