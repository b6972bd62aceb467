//! A data folder from one opening to the next: what its primary keys are hashed with and from, what is acknowledged before it
//! is durable, and what happens while it is not known whose it is, or while another writer begins.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod acknowledged_early;
mod beginnings;
mod held_back;
mod key_columns;
mod key_secret;
mod refusing_disk;
mod slow_disk;
mod world;
