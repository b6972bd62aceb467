//! An open-loop HTTP/1.1 load generator: one thread, keep-alive connections, no pipelining.
//!
//!     open_loop --address 127.0.0.1:6566 --path /v1/services/fraud_v1/features --bodies bodies.jsonl \
//!         --connections 16 --rate 40000 --duration 15 --warm-up 3
//!
//! Request k is due at `start + k / rate`, whatever became of the requests before it, and its latency runs **from the
//! instant at which it was due**: a server that stalls is charged for all who would have come meanwhile ("coordinated
//! omission" is what a generator commits that waits for an answer before it asks again). A request that finds no idle
//! connection waits for one, and that wait counts. One that has no answer when the grace period ends counts with the time
//! it has waited by then: the upper percentiles are never better than what was seen. `lag` is due to written: what of the
//! latency is waiting for a connection, or for this program.
//!
//! ```text
//!   schedule ──due──▶ idle connection ──write──▶ server ──read──▶ latency = now − due
//!      ▲                     ▲                                       │
//!      └─ alarm (sleeps)     └───────────────────────────────────────┘
//! ```
//! `--rate max` is the closed loop instead: each connection asks again as soon as it is answered, which measures capacity;
//! latency then runs from the sending.
//!
//! It shares the machine with the server, so it must cost little: requests are prepared, answers are searched for their
//! length and nothing else. epoll waits in whole milliseconds, so a second thread sleeps until just before the next due
//! instant and wakes the first; the last `SPIN_NS` are spent polling and yielding the core to whoever wants it.
//!
//! With `--event-times` the file of bodies is one body with events, whose times and keys are written anew for each request
//! (template.rs), so that a stream of live events of any length costs no more than its bytes:
//!
//!     open_loop --address 127.0.0.1:6566 --path /v1/streams/events/events --bodies batch.ndjson \
//!         --content-type application/x-ndjson --event-times now --keys 1000000 --connections 8 --rate 150 --duration 15 --warm-up 3
//!
//! Prints one JSON object. `--positions FILE --position-of STREAM` writes `wall_us,position` of every answer that came in the measured time.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::expect_used)]
#![allow(clippy::disallowed_methods, reason = "it measures time, and its alarm is a sleep")]

mod alarm;
mod connection;
mod generator;
mod options;
mod requests;
mod tally;
mod template;

use std::error::Error;

use generator::Generator;
use options::Options;
use requests::Requests;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SECOND_NS: f64 = 1e9;

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let generator = Generator::new(&options, Requests::of(&options)?)?;
    let tally = generator.run()?;
    if let Some(path) = &options.positions {
        tally.write_positions(path)?;
    }
    println!("{}", tally.report(&options));
    Ok(())
}
