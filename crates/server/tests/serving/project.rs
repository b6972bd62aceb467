//! The project under test and a server of it on a free port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use asof_definition::SourceFile;
use asof_pipeline::{Clock, Engine, EngineSettings, Job, Stop};
use asof_server::{Limits, ServeError, Server, Traffic};
use tempfile::TempDir;

use crate::client::{Answer, Client};

const PROJECT: &str = "
CREATE STREAM payments (
  id BIGINT NOT NULL, account VARCHAR, amount BIGINT, ts TIMESTAMP NOT NULL,
  PRIMARY KEY (id),
  WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
) WITH (connector = 'file', path = 'payments.jsonl', format = 'jsonl');
CREATE STREAM \"odd \"\"name\" (k BIGINT NOT NULL, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE)
WITH (connector = 'file', path = 'odd.jsonl', format = 'jsonl');
CREATE FEATURE VIEW activity AS
SELECT account, count(*) OVER h AS n, sum(amount) OVER h AS total, array_agg(amount) OVER r AS newest
FROM payments
WINDOW h AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW),
       r AS (PARTITION BY account ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW \"odd view\" AS
SELECT k, count(*) OVER w AS n FROM \"odd \"\"name\" WINDOW w AS (PARTITION BY k ORDER BY ts);
CREATE FEATURE SERVICE pay_v1 AS
SELECT a.n, a.total, r.amount / r.parts AS share
FROM REQUEST (account VARCHAR, amount BIGINT, parts BIGINT) AS r
LEFT JOIN activity AS a ON a.account = r.account;
CREATE FEATURE SERVICE pair_v1 AS
SELECT s.n AS n_from, d.n AS n_to, o.n AS odd
FROM REQUEST (source VARCHAR, target VARCHAR, k BIGINT) AS r
LEFT JOIN activity AS s ON s.account = r.source
LEFT JOIN activity AS d ON d.account = r.target
LEFT JOIN \"odd view\" AS o ON o.k = r.k;
CREATE FEATURE SERVICE echo_v1 AS
SELECT r.flag AS flag, r.small AS small, r.number AS number, r.big AS big, r.single AS single, r.twice AS twice,
       r.exact AS exact, r.word AS word, r.bytes AS bytes, r.day AS day, r.at AS at
FROM REQUEST (flag BOOLEAN, small SMALLINT, number INTEGER, big BIGINT, single REAL, twice DOUBLE,
              exact DECIMAL(10,2), word VARCHAR, bytes VARBINARY, day DATE, at TIMESTAMP) AS r
LEFT JOIN activity AS a ON a.account = r.word;
CREATE FEATURE SERVICE text_v1 AS
SELECT r.word AS word FROM REQUEST (word VARCHAR) AS r LEFT JOIN activity AS a ON a.account = r.word;
";

/// Five lines: two payments of `ann`, one of `bob`, one that repeats, one that is no payment.
const PAYMENTS: &str = r#"{"id":1,"account":"ann","amount":100,"ts":"2026-01-01T10:00:00Z"}
{"id":2,"account":"ann","amount":50,"ts":"2026-01-01T10:30:00Z"}
{"id":3,"account":"bob","amount":7,"ts":"2026-01-01T11:00:00Z"}
{"id":3,"account":"bob","amount":7,"ts":"2026-01-01T11:00:00Z"}
{"id":"four","account":"bob","amount":7,"ts":"2026-01-01T11:00:00Z"}
"#;
const ODD: &str = "{\"k\":1,\"ts\":\"2026-01-01T11:30:00.000001Z\"}\n";

/// Limits that no test meets by accident.
pub(crate) fn limits() -> Limits {
    Limits { request_timeout: Duration::from_secs(20), ..Limits::default() }
}

/// A server and what stands behind it; stopped when it goes.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) engine: Arc<Engine>,
    stop: Arc<Stop>,
    server: Option<JoinHandle<Result<(), ServeError>>>,
    job: Option<JoinHandle<()>>,
}

impl Served {
    /// Serves the project with its files taken in.
    pub(crate) fn start(limits: Limits) -> Served {
        let mut served = Served::empty(limits);
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("payments.jsonl"), PAYMENTS).unwrap();
        std::fs::write(folder.path().join("odd.jsonl"), ODD).unwrap();
        let job = Job {
            folder: folder.path().to_owned(),
            until_us: None,
            waiting_bytes_max: 1 << 20,
            threads: 1,
            kafka: None,
            lower_priority: || (),
        };
        let (engine, stop) = (served.engine.clone(), served.stop.clone());
        served.job = Some(std::thread::spawn(move || {
            asof_pipeline::run(&engine, &job, &stop).unwrap();
            drop(folder);
        }));
        while !served.engine.is_ready() {
            assert!(!served.job.as_ref().unwrap().is_finished(), "the job ended early");
            served.stop.wait(Duration::from_millis(1));
        }
        served
    }

    /// Serves the project before any event.
    pub(crate) fn empty(limits: Limits) -> Served {
        let sources = [SourceFile { name: "project.sql".to_owned(), text: PROJECT.to_owned() }];
        let project = asof_definition::check(&sources).expect("a sound project");
        let settings =
            EngineSettings { clock: Clock::Event, as_of_horizon_us: 3_600_000_000, state_bytes_max: 1 << 30 };
        let wall_us = 1_767_268_800_000_000; // 2026-01-01T12:00:00Z
        let engine = Arc::new(Engine::new(Arc::new(project), settings, Arc::new(move || wall_us)).unwrap());
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (address, traffic, stop) = (server.address(), server.traffic(), Arc::new(Stop::default()));
        let (served_engine, asked) = (engine.clone(), stop.clone());
        let thread = std::thread::spawn(move || server.serve(served_engine, limits, &asked));
        Served { address, traffic, engine, stop, server: Some(thread), job: None }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.client().send("POST", path, body.as_ref())
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.client().send("GET", path, b"")
    }

    /// Asks the server to stop, without waiting for it.
    pub(crate) fn ask_stop(&self) {
        self.stop.ask();
    }

    /// What `serve` returns.
    pub(crate) fn ended(&mut self) -> Result<(), ServeError> {
        self.stop.ask();
        self.server.take().unwrap().join().unwrap()
    }

    /// Waits until `so` holds, for at most ten seconds.
    pub(crate) fn wait_until(&self, so: impl Fn(&Served) -> bool) {
        for _ in 0..2_000 {
            if so(self) {
                return;
            }
            self.stop.wait(Duration::from_millis(5));
        }
        panic!("what was waited for did not come");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.ask();
        let ended = self.server.take().is_none_or(|server| server.join().is_ok_and(|served| served.is_ok()));
        let job_ended = self.job.take().is_none_or(|job| job.join().is_ok());
        if !std::thread::panicking() {
            assert!(ended && job_ended, "the server and its job end in order");
        }
    }
}
