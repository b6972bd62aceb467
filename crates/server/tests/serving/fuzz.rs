//! Bodies, paths and whole requests gone wrong: each has an answer of the contract, nothing panics, memory stays bounded.

use crate::client::request;
use crate::limits::resident_bytes;
use crate::project::{Served, limits};

const STATUSES: [u16; 7] = [200, 400, 404, 413, 422, 429, 503];
const ROUNDS: usize = 6_000;

/// A small random generator (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

const TARGETS: &[&str] = &[
    "/v1/services/echo_v1/features",
    "/v1/services/pay_v1/features",
    "/v1/services/pair_v1/features",
    "/v1/views/activity/features",
    "/v1/views/odd%20view/features",
];
const PATHS: &[&str] = &[
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/v1/objects",
    "/v1/objects/activity",
    "/v1/objects/%",
    "/v1/objects/%00",
    "/v1/views/../services/pay_v1/features",
    "/v1/views//features",
    "//",
    "/v1/objects?a=b&c",
    "/v1/objects/?",
    "/%2e%2e/etc",
];
const SEEDS: &[&str] = &[
    r#"{"rows":[{"account":"ann","amount":1,"parts":2}]}"#,
    r#"{"rows":[{"account":"ann"},{"account":null}],"as_of":"2026-01-01T11:00:00Z"}"#,
    r#"{"rows":[{"source":"ann","target":"bob","k":1}],"as_of":1767265200000000}"#,
    r#"{"rows":[{"flag":true,"small":1,"number":2,"big":3,"single":0.5,"twice":1e3,"exact":"1.25","word":"w","bytes":"AA==","day":"2026-01-01","at":0}]}"#,
    r#"{"rows":[{"k":9007199254740993}],"as_of":null}"#,
];
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "-",
    "0",
    "1e400",
    "-0.0",
    "99999999999999999999999999",
    "0.000000000000000000000000000000000000000000000000001",
    "\u{feff}",
    "é",
    "\"rows\"",
    "\"as_of\"",
    "\"account\"",
    "-9223372036854775808",
    "9223372036854775807",
    "\"9999-12-31T23:59:59Z\"",
    "\"0001-01-01\"",
    "\"NaN\"",
];

/// A valid body with a few things changed.
fn mutated(chance: &mut Chance) -> Vec<u8> {
    let mut body = chance.pick(SEEDS).as_bytes().to_vec();
    for _ in 0..chance.below(4) {
        let at = chance.below(body.len() + 1);
        match chance.below(5) {
            0 if at < body.len() => body[at] = chance.next() as u8,
            1 => body.truncate(at),
            2 => drop(body.splice(at..at, chance.pick(PIECES).bytes())),
            3 => {
                let end = at + chance.below(body.len() - at + 1);
                let copied = body[at..end].to_vec();
                drop(body.splice(at..at, copied));
            }
            _ => {
                let end = at + chance.below(body.len() - at + 1);
                body.drain(at..end);
            }
        }
    }
    body
}

/// Bodies that are large or deep in one way each.
fn monsters() -> Vec<Vec<u8>> {
    let rows = |row: &str, count: usize| format!(r#"{{"rows":[{}]}}"#, vec![row; count].join(",")).into_bytes();
    vec![
        rows("{}", 100_000),
        rows(r#"{"account":"a"}"#, 100_000),
        rows("[", 1),
        format!(r#"{{"rows":{}"#, "[".repeat(1_000_000)).into_bytes(),
        format!(r#"{{"rows":[{{"account":{}1{}}}]}}"#, "[".repeat(500_000), "]".repeat(500_000)).into_bytes(),
        format!(r#"{{"rows":[{{"account":"{}"}}]}}"#, "x".repeat(7_000_000)).into_bytes(),
        format!(r#"{{"rows":[{{"{}":1}}]}}"#, "x".repeat(7_000_000)).into_bytes(),
        format!(r#"{{"{}":1}}"#, "\\u0041".repeat(1_000_000)).into_bytes(),
        format!(r#"{{"rows":[],"as_of":{}}}"#, "9".repeat(7_000_000)).into_bytes(),
        format!(r#"{{"rows":[],"as_of":"{}"}}"#, "9".repeat(7_000_000)).into_bytes(),
        format!(r#"{{"rows":[{{"account":{}}}]}}"#, "9".repeat(7_000_000)).into_bytes(),
        format!(r#"{{"rows":[{{{}}}]}}"#, vec![r#""account":"a""#; 100_000].join(",")).into_bytes(),
        format!(r#"{{{}}}"#, vec![r#""rows":[]"#; 100_000].join(",")).into_bytes(),
        vec![0xff; 1_000_000],
        vec![b' '; 8_000_000],
        format!(r#"{{"rows":[{{"exact":"{}"}}]}}"#, "0".repeat(5_000_000)).into_bytes(),
        format!(r#"{{"rows":[{{"exact":"1e{}"}}]}}"#, "9".repeat(50)).into_bytes(),
    ]
}

/// Panics and defects answer 503 `internal`: here there are none.
fn check(served: &Served, path: &str, body: &[u8], why: &str) {
    let answer = served.client().send("POST", path, body);
    assert!(STATUSES.contains(&answer.status), "{why}: {answer:?}");
    assert!(answer.status != 503, "{why}: {path} {}: {answer:?}", String::from_utf8_lossy(body));
    assert!(answer.body.len() < 1 << 20 || answer.status == 200, "{why}: an error of {} bytes", answer.body.len());
    serde_json::from_str::<serde_json::Value>(&answer.body).unwrap();
}

#[test]
fn bodies_gone_wrong_have_answers() {
    let served = Served::start(limits());
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let mut client = served.client();
    let mut statuses = std::collections::BTreeMap::new();
    for round in 0..ROUNDS {
        let path = chance.pick(TARGETS);
        let body = mutated(&mut chance);
        let answer = client.send("POST", path, &body);
        let shown = String::from_utf8_lossy(&body);
        assert!([200, 400, 422].contains(&answer.status), "seed {seed} round {round}: {path} {shown}: {answer:?}");
        serde_json::from_str::<serde_json::Value>(&answer.body).unwrap();
        *statuses.entry(answer.status).or_insert(0) += 1;
    }
    // A fuzzer that only ever breaks the JSON would find nothing behind it.
    assert!(statuses[&200] > ROUNDS / 100 && statuses[&400] > ROUNDS / 4, "seed {seed}: {statuses:?}");
}

#[test]
fn monsters_have_answers_and_leave_no_trace() {
    let served = Served::start(limits());
    let monsters = monsters();
    for path in TARGETS {
        monsters.iter().for_each(|body| check(&served, path, body, "a monster"));
    }
    let before = resident_bytes();
    for path in TARGETS {
        monsters.iter().for_each(|body| check(&served, path, body, "a monster again"));
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes more after the second round");
}

#[test]
fn paths_and_heads_gone_wrong_have_answers() {
    let served = Served::start(limits());
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut chance = Chance(seed);
    for round in 0..ROUNDS / 4 {
        let mut bytes = request(chance.pick(&["GET", "POST", "PUT", "HEAD", "OPTIONS", "x"]), chance.pick(PATHS), b"");
        for _ in 0..chance.below(3) {
            let at = chance.below(bytes.len() - 4);
            bytes[at] = chance.next() as u8;
        }
        let mut client = served.client();
        client.write(&bytes);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        // What is no HTTP at all may also be closed without an answer, or told so by hyper.
        if let Some(answer) = client.answer() {
            let known = STATUSES.contains(&answer.status) || [100, 431].contains(&answer.status);
            let shown = String::from_utf8_lossy(&bytes);
            assert!(known, "seed {seed} round {round}: {shown}: {answer:?}");
        }
    }
    assert_eq!(served.get("/healthz").status, 200);
    assert_eq!(served.get(&format!("/{}", "long/".repeat(6_000))).status, 413);
}
