//! Many at once: requests, connections, descriptors.

use asof_server::Limits;

use crate::project::{Served, limits};

const VIEW: &str = "/v1/views/activity/features";

#[test]
fn requests_beyond_the_limit_come_again() {
    let served = Served::start(Limits { requests_max: 0, ..limits() });
    let answer = served.post(VIEW, r#"{"rows":[]}"#);
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    assert_eq!(
        answer.body,
        r#"{"error":{"kind":"too_many_requests","message":"more than 0 requests are in flight","hint":"come again in a second"}}"#
    );
    assert_eq!(served.get("/v1/objects").status, 429);
    for path in ["/healthz", "/readyz", "/metrics", "/"] {
        assert_eq!(served.get(path).status, 200, "{path}");
    }
}

/// With room for one, of many at once some are told to come again, and none waits for ever or is lost.
#[test]
fn places_in_flight_are_given_back() {
    let served = Served::start(Limits { requests_max: 1, ..limits() });
    let rows = vec![r#"{"account":"bob"}"#; 5_000].join(",");
    let body = format!(r#"{{"rows":[{rows}]}}"#);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| served.post(VIEW, &body).status)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(statuses.contains(&200) && statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert_eq!(served.post(VIEW, &body).status, 200);
}

#[test]
fn connections_beyond_the_limit_are_turned_away() {
    let served = Served::start(Limits { connections_max: 2, ..limits() });
    let mut one = served.client();
    let mut two = served.client();
    assert_eq!(one.send("GET", "/healthz", b"").status, 200);
    assert_eq!(two.send("GET", "/healthz", b"").status, 200);
    let mut three = served.client();
    let answer = three.answer().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
    assert_eq!(
        answer.body,
        r#"{"error":{"kind":"unavailable","message":"too many connections","hint":"come again in a second"}}"#
    );
    assert!(three.is_closed());
    drop(one);
    served.wait_until(|served| served.traffic.connections() == 1);
    assert!(two.send("GET", "/metrics", b"").body.contains("asof_connections_turned_away_total 1"));
    assert_eq!(served.get("/healthz").status, 200);
}

/// The program's resident memory in bytes.
pub(crate) fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Idle connections cost a few kilobytes each, and nobody else's time. (Here both ends are in one process.)
#[test]
fn idle_connections_do_no_harm() {
    const CONNECTIONS: usize = 2_000;
    let served = Served::start(limits());
    rlimit::increase_nofile_limit(3 * CONNECTIONS as u64).unwrap();
    let before = resident_bytes();
    let mut idle: Vec<_> = (0..CONNECTIONS).map(|_| served.client()).collect();
    served.wait_until(|served| served.traffic.connections() == CONNECTIONS as u64);
    for client in &mut idle {
        assert_eq!(client.send("POST", VIEW, br#"{"rows":[{"account":"bob"}]}"#).status, 200);
    }
    let each = resident_bytes().saturating_sub(before) / CONNECTIONS;
    assert!(each < 40 << 10, "{each} bytes for each idle connection");
    assert_eq!(served.get("/healthz").status, 200);
}
