//! What the log promises, on a disk that crashes: `story` is a random life of writers with a model of what must be there.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panic and print what they found")]

mod any_bytes;
mod between;
mod claims;
mod crashes;
mod damage;
mod following;
mod full_disk;
mod retention;
mod samples;
mod story;
mod sync_sites;
mod take_overs;
mod turns;
