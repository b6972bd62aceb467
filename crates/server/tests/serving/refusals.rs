//! Every kind of error with its exact words.

use crate::client::request;
use crate::project::{Served, limits};

const VIEW: &str = "/v1/views/activity/features";
const SERVICE: &str = "/v1/services/pay_v1/features";
const ECHO: &str = "/v1/services/text_v1/features";

/// The answer as `status kind: message (hint)`.
fn check(served: &Served, method: &str, path: &str, body: &[u8], expected: &str) {
    let answer = served.client().send(method, path, body);
    let json = answer.json();
    let error = &json["error"];
    assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
    let hint = error.get("hint").map(|hint| format!(" ({})", hint.as_str().unwrap())).unwrap_or_default();
    let words = |name: &str| error[name].as_str().unwrap().to_owned();
    assert_eq!(format!("{} {}: {}{hint}", answer.status, words("kind"), words("message")), expected, "{path}");
}

#[test]
fn bodies_are_refused_by_name() {
    let served = Served::start(limits());
    for (path, body, expected) in [
        (VIEW, "", r#"400 invalid_request: the body is empty (send {"rows":[{"account":…}]})"#),
        (VIEW, "{}", r#"400 invalid_request: `rows` is missing (send {"rows":[{"account":…}]})"#),
        (
            VIEW,
            "[]",
            r#"400 invalid_request: the body has the wrong shape: invalid type: sequence, expected an object with `rows` at line 1 column 0 (send {"rows":[{"account":…}]})"#,
        ),
        (
            VIEW,
            r#"{"rows":[{"account":"ann"}]"#,
            r#"400 invalid_request: the body is not valid JSON: EOF while parsing an object at line 1 column 27 (send {"rows":[{"account":…}]})"#,
        ),
        (
            VIEW,
            r#"{"rows":[]} x"#,
            r#"400 invalid_request: the body is not valid JSON: trailing characters at line 1 column 13 (send {"rows":[{"account":…}]})"#,
        ),
        (
            VIEW,
            r#"{"rows":["ann"]}"#,
            r#"400 invalid_request: the body has the wrong shape: invalid type: string "ann", expected an object as row 0 at line 1 column 14 (send {"rows":[{"account":…}]})"#,
        ),
        (VIEW, r#"{"rows":[],"asof":1}"#, "400 invalid_request: unknown field `asof` (did you mean `as_of`?)"),
        (VIEW, r#"{"entities":[]}"#, "400 invalid_request: unknown field `entities` (known are `rows`, `as_of`)"),
        (VIEW, r#"{"rows":[],"rows":[]}"#, "400 invalid_request: `rows` is given twice"),
        (VIEW, r#"{"rows":[],"as_of":null,"as_of":null}"#, "400 invalid_request: `as_of` is given twice"),
        (
            VIEW,
            r#"{"rows":[],"as_of":"yesterday"}"#,
            r#"400 invalid_request: `as_of` is no instant: "yesterday" (RFC 3339 text such as "2026-01-01T00:00:00Z" (no zone is UTC), or integer microseconds since 1970)"#,
        ),
        (
            VIEW,
            r#"{"rows":[],"as_of":1.5}"#,
            r#"400 invalid_request: `as_of` is no instant: 1.5 (RFC 3339 text such as "2026-01-01T00:00:00Z" (no zone is UTC), or integer microseconds since 1970)"#,
        ),
        (
            VIEW,
            r#"{"rows":[],"as_of":9223372036854775807}"#,
            r#"400 invalid_request: `as_of` is no instant: 9223372036854775807 (RFC 3339 text such as "2026-01-01T00:00:00Z" (no zone is UTC), or integer microseconds since 1970)"#,
        ),
        (
            VIEW,
            r#"{"rows":[{"account":"a"},{"acount":"b"}]}"#,
            "400 invalid_request: row 1: unknown column `acount` (did you mean `account`?)",
        ),
        (
            SERVICE,
            r#"{"rows":[{"account":"a","amount":1}]}"#,
            "400 invalid_request: row 0: column `parts` is missing (send null if it is unknown)",
        ),
        (
            SERVICE,
            r#"{"rows":[{"account":"a","amount":1,"parts":2,"amount":1}]}"#,
            "400 invalid_request: row 0: column `amount` is given twice",
        ),
        (
            SERVICE,
            r#"{"rows":[{"account":"a","amount":"1","parts":2}]}"#,
            "400 invalid_request: row 0: column `amount`: expected BIGINT, found text `1` (an integer in its range, without quotes, point or exponent)",
        ),
        (
            VIEW,
            r#"{"rows":[{"account":1}]}"#,
            "400 invalid_request: row 0: column `account`: expected VARCHAR, found integer `1`",
        ),
        (
            VIEW,
            r#"{"rows":[{"account":"ann"}],"as_of":"2026-01-01T09:58:59.999999Z"}"#,
            "422 invalid_request: as_of `2026-01-01T09:58:59.999999Z` is before `2026-01-01T09:59:00.000000Z`, the earliest instant that stream `payments` can answer (ask for `2026-01-01T09:59:00.000000Z` or later, or raise `as_of_horizon` in [state] of asof.toml)",
        ),
        (
            SERVICE,
            r#"{"rows":[{"account":"a","amount":1,"parts":1},{"account":"a","amount":1,"parts":0}]}"#,
            "422 invalid_request: row 1: feature `share`: division_by_zero: division by zero (leave the row out, or guard the expression in the SQL: nullif(…, 0), CASE, TRY_CAST)",
        ),
    ] {
        check(&served, "POST", path, body.as_bytes(), expected);
    }
    check(
        &served,
        "POST",
        VIEW,
        b"{\"rows\":[{\"account\":\"\xff\"}]}",
        "400 invalid_request: the body is not UTF-8 text",
    );
    let at_horizon = served.post(VIEW, r#"{"rows":[{"account":"ann"}],"as_of":"2026-01-01T09:59:00Z"}"#);
    assert_eq!(at_horizon.status, 200);
}

#[test]
fn paths_are_refused_by_name() {
    let served = Served::start(limits());
    for (method, path, expected) in [
        (
            "POST",
            "/v1/views/activty/features",
            "404 not_found: unknown feature view `activty` (did you mean `activity`?)",
        ),
        (
            "POST",
            "/v1/views/Activity/features",
            "404 not_found: unknown feature view `Activity` (did you mean `activity`?)",
        ),
        (
            "POST",
            "/v1/services/x/features",
            "404 not_found: unknown feature service `x` (known are `echo_v1`, `pair_v1`, `pay_v1`, `text_v1`)",
        ),
        ("GET", "/v1/objects/payment", "404 not_found: unknown object `payment` (did you mean `payments`?)"),
        ("GET", VIEW, "404 not_found: `/v1/views/{view}/features` is not called with GET (use POST)"),
        ("POST", "/healthz", "404 not_found: `/healthz` is not called with POST (use GET)"),
        ("GET", "/v2", "404 not_found: there is no `/v2` (`GET /openapi.json` lists the calls)"),
        (
            "POST",
            "/v1/views/activity/features?as_of=1",
            "400 invalid_request: unknown query parameter `as_of` (what is asked for stands in the body)",
        ),
        ("GET", "/v1/objects/%C3", "400 invalid_request: the path is not UTF-8 text in percent encoding"),
    ] {
        check(&served, method, path, b"{\"rows\":[]}", expected);
    }
}

#[test]
fn what_is_too_much_is_refused_by_name() {
    let served = Served::start(asof_server::Limits { rows_max: 2, body_bytes_max: 100, ..limits() });
    let hint = "send several requests, or raise `rows_max` in [server] of asof.toml";
    let rows = br#"{"rows":[{"word":"a"},{"word":"a"},{"word":"a"}]}"#;
    check(&served, "POST", ECHO, rows, &format!("413 too_large: more than 2 rows in one request ({hint})"));
    let hint = "send several requests, or raise `body_max` in [server] of asof.toml";
    let expected = format!("413 too_large: the body is larger than 100 bytes ({hint})");
    check(&served, "POST", ECHO, &[b' '; 101], &expected);
    check(&served, "POST", ECHO, &vec![b' '; 1 << 20], &expected);
    check(
        &served,
        "POST",
        ECHO,
        &[b' '; 100],
        r#"400 invalid_request: the body is empty (send {"rows":[{"word":…}]})"#,
    );
    let path = format!("/v1/objects/{}", "x".repeat(17 << 10));
    let expected = "413 too_large: the request's line and headers are larger than 16384 bytes";
    check(&served, "GET", &path, b"", expected);
}

/// A body without a length is counted as it comes.
#[test]
fn chunked_bodies_are_counted() {
    let served = Served::start(asof_server::Limits { body_bytes_max: 100, ..limits() });
    let head = format!("POST {ECHO} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = format!("32\r\n{}\r\n", " ".repeat(50));
    let mut client = served.client();
    client.write(format!("{head}{chunk}{chunk}{chunk}0\r\n\r\n").as_bytes());
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    assert!(client.is_closed());
    let mut client = served.client();
    client.write(format!("{head}12\r\n{{\"rows\":[{{\"word\":\"\r\n5\r\nb\"}}]}}\r\n0\r\n\r\n").as_bytes());
    assert_eq!(client.answer().unwrap().json()["rows"], serde_json::json!([["b"]]));
}

/// A refused request does not end its connection, unless part of it stays unread.
#[test]
fn a_connection_goes_on_after_a_refusal() {
    let served = Served::start(limits());
    let mut client = served.client();
    for (path, body, status) in [(VIEW, "{", 400), ("/nope", "x", 404), (VIEW, r#"{"rows":[]}"#, 200), (ECHO, "[", 400)]
    {
        assert_eq!(client.send("POST", path, body.as_bytes()).status, status, "{path} {body}");
    }
    // Two requests at once are answered one after the other.
    let one = request("POST", ECHO, br#"{"rows":[{"word":"1"}]}"#);
    let two = request("POST", ECHO, br#"{"rows":[{"word":"2"}]}"#);
    client.write(&[one, two].concat());
    for word in ["1", "2"] {
        assert_eq!(client.answer().unwrap().json()["rows"], serde_json::json!([[word]]));
    }
}

#[test]
fn a_taken_port_is_told() {
    let served = Served::empty(limits());
    let error = asof_server::Server::bind(served.address).unwrap_err();
    let expected = format!(
        "cannot listen on `{}`: the port is taken; hint: end the other program, or choose another port: `--listen 127.0.0.1:",
        served.address
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
}
