//! A whole server over a small project, asked over real connections.
//!
//! `project.rs` is the project and the server under test, `client.rs` a client that knows the wire and no more.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod client;
mod drain;
mod encodings;
mod fuzz;
mod limits;
mod project;
mod reads;
mod refusals;
mod slow_clients;
mod told;
