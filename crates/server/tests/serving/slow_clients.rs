//! Clients that take their time: each is cut off when its time is over, and not before.

use std::time::Duration;

use asof_server::Limits;

use crate::client::Client;
use crate::project::{Served, limits};

const VIEW: &str = "/v1/views/activity/features";
const SHORT: Duration = Duration::from_millis(400);
/// A byte now and then.
const BYTE_EVERY: Duration = Duration::from_millis(40);

fn served() -> Served {
    Served::start(Limits { request_timeout: SHORT, idle_timeout: 2 * SHORT, body_bytes_max: 32 << 20, ..limits() })
}

/// Sends the bytes one by one, with a pause after each, until the server closes. Returns how many were sent.
fn drip(client: &mut Client, bytes: impl Iterator<Item = u8>) -> usize {
    client.stream.set_read_timeout(Some(BYTE_EVERY)).unwrap();
    let mut sent = 0;
    for byte in bytes {
        client.write(&[byte]);
        sent += 1;
        // Waiting for an answer that does not come is the pause.
        if client.is_closed() {
            return sent;
        }
    }
    sent
}

/// 400 ms of 40 ms are ten bytes; a phase may last a quarter longer, and machines may be slow.
fn check_cut_off(sent: usize) {
    assert!((5..=60).contains(&sent), "{sent} bytes were waited for");
}

#[test]
fn a_head_byte_by_byte_is_cut_off() {
    let served = served();
    let head = format!("POST {VIEW} HTTP/1.1\r\nhost: {}", "x".repeat(300));
    check_cut_off(drip(&mut served.client(), head.bytes()));
    served.wait_until(|served| served.traffic.connections() == 0);
    let metrics = served.get("/metrics").body;
    assert!(metrics.contains("asof_connections_cut_off_total 1"), "{metrics}");
}

#[test]
fn a_body_byte_by_byte_is_cut_off() {
    let served = served();
    let mut client = served.client();
    client.write(format!("POST {VIEW} HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\n").as_bytes());
    check_cut_off(drip(&mut client, std::iter::repeat_n(b' ', 1_000)));
}

/// Each request has its own time: a connection may be busy for longer than one of them.
#[test]
fn a_steady_client_is_not_cut_off() {
    let served = served();
    let mut client = served.client();
    for _ in 0..30 {
        assert_eq!(client.send("POST", VIEW, br#"{"rows":[{"account":"bob"}]}"#).status, 200);
        client.stream.set_read_timeout(Some(BYTE_EVERY)).unwrap();
        assert!(!client.is_closed());
        client.stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    }
}

#[test]
fn an_idle_connection_is_closed() {
    let served = served();
    let mut fresh = served.client();
    let mut used = served.client();
    assert_eq!(used.send("GET", "/healthz", b"").status, 200);
    used.stream.set_read_timeout(Some(SHORT)).unwrap();
    assert!(!used.is_closed(), "an idle connection has twice that time");
    used.stream.set_read_timeout(Some(10 * SHORT)).unwrap();
    assert!(used.is_closed() && fresh.is_closed());
    served.wait_until(|served| served.traffic.connections() == 0);
}

/// An answer of 24 MB that nobody takes is forgotten.
#[test]
fn an_answer_that_is_not_taken_is_cut_off() {
    let served = served();
    let row = format!(r#"{{"word":"{}"}}"#, "x".repeat(8_000));
    let body = format!(r#"{{"rows":[{}]}}"#, vec![row; 3_000].join(","));
    let mut client = served.client();
    client.write(&crate::client::request("POST", "/v1/services/text_v1/features", body.as_bytes()));
    served.wait_until(|served| served.traffic.reads() == 1);
    assert_eq!(served.traffic.connections(), 1);
    served.wait_until(|served| served.traffic.connections() == 0);
    // One that takes it gets it whole.
    let answer = served.post("/v1/services/text_v1/features", &body);
    assert_eq!(answer.json()["rows"].as_array().unwrap().len(), 3_000);
}

/// A client that sends all before it listens still learns why it is refused, though megabytes of its body stay unread.
#[test]
fn a_refusal_arrives_before_the_end() {
    let served = Served::start(Limits { body_bytes_max: 1 << 10, ..limits() });
    for _ in 0..20 {
        let mut client = served.client();
        client.write(&crate::client::request("POST", VIEW, &vec![b' '; 4 << 20]));
        assert_eq!(client.answer().unwrap().status, 413);
        assert!(client.is_closed());
    }
}
