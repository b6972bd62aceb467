//! A data folder from one opening to the next: what its primary keys are hashed with and from, what is acknowledged before it
//! is durable, what happens while it is not known whose it is, or while another writer begins, and what sessions let go of.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod acknowledged_early;
mod beginnings;
mod chance;
mod entries;
mod held_back;
mod kept_sessions;
mod key_columns;
mod key_secret;
mod many_readers;
mod refusing_disk;
mod scores;
mod sessions;
mod silent_sources;
mod slow_disk;
mod topics;
mod union_with_file;
mod world;
