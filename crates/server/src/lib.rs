//! Serving: features over HTTP, as of now and as of then.
//!
//! Rules kept here:
//! - a request is refused by name or answered whole; a panic, a slow client or a flood harms nobody else;
//! - everything that a client can make grow has a limit: heads, bodies, rows, requests in flight, connections, time;
//! - the wire is known here and nowhere else, windows are not.
//!
//! What is no HTTP at all is refused by hyper itself, with 400, 414 or 431 and no body.
//!
//! ```text
//!   TcpListener ─▶ server.rs (accept, drain) ─▶ hyper over wire.rs ─▶ app.rs ─▶ route.rs ─▶ call.rs    rows, as_of
//!                       │                          │ phases                        │         reads.rs   engine
//!                       └── connections.rs ◀───────┘                               │         answer.rs  JSON
//!                           cuts off who is over time                              └─▶ objects, openapi, metrics, page
//! ```
//! Start with [`Server`], then `app.rs`; the path of a read is `call.rs`, `reads.rs`, `answer.rs`.

mod answer;
mod app;
mod bad_port;
mod body;
mod call;
mod connections;
mod dead_letters;
mod error;
mod events;
mod example;
mod limits;
mod made_rows;
mod measures;
mod objects;
mod openapi;
mod problem;
mod process;
mod reads;
mod reply;
mod room;
mod route;
mod server;
mod stopwatch;
mod target;
mod traffic;
mod window_words;
mod wire;

pub use error::ServeError;
pub use example::{example_key, example_request};
pub use limits::{BODY_BYTES_CEILING, Limits};
pub use process::resident_bytes;
pub use route::path_segment;
pub use server::Server;
pub use traffic::Traffic;
pub use window_words::window_words;
