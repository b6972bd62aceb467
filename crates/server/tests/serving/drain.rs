//! The end of a server: what is in flight is answered, what is idle is closed, and then nobody listens.

use std::net::TcpStream;
use std::time::Duration;

use crate::project::{Served, limits};

const VIEW: &str = "/v1/views/activity/features";

#[test]
fn a_request_in_flight_is_answered() {
    let mut served = Served::start(limits());
    let mut idle = served.client();
    let mut fresh = served.client();
    let mut busy = served.client();
    assert_eq!(idle.send("GET", "/healthz", b"").status, 200);
    let body = br#"{"rows":[{"account":"bob"}]}"#;
    busy.write(
        format!("POST {VIEW} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n", body.len())
            .as_bytes(),
    );
    // The server asks for the body: the request has begun.
    assert_eq!(busy.answer().unwrap().status, 100);
    served.ask_stop();
    assert!(idle.is_closed() && fresh.is_closed());
    assert!(TcpStream::connect(served.address).is_err(), "nobody listens any more");
    busy.write(body);
    let answer = busy.answer().unwrap();
    assert_eq!(answer.json()["rows"], serde_json::json!([[1, 7, [7]]]));
    assert!(busy.is_closed());
    served.ended().unwrap();
}

/// A request that never comes whole holds the end up for five seconds, no longer.
#[test]
fn the_end_does_not_wait_for_ever() {
    let mut served = Served::start(asof_server::Limits { request_timeout: Duration::from_secs(600), ..limits() });
    let mut client = served.client();
    client.write(
        format!("POST {VIEW} HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n").as_bytes(),
    );
    assert_eq!(client.answer().unwrap().status, 100);
    served.ended().unwrap();
    assert!(client.is_closed());
}
