//! `asof run` and `asof get`, the real binary: what is refused, what is answered, what is printed, how it ends.
//!
//! Servers listen on a free port of 127.0.0.1 and are stopped at the end of their test, whatever happens in it.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod answers;
mod arrivals;
mod closed_windows;
mod configuration;
mod derived;
mod endings;
#[path = "../bad_input/folder.rs"]
#[allow(dead_code, reason = "shared with the tests of bad input, which use the rest")]
mod folder;
mod ingested;
mod live;
mod refusals;
mod replayed;
mod server;
mod suggestions;
mod tables;
mod windows;

use crate::folder::Folder;

/// Runs `asof` in the folder: it must refuse, with this code and all of these words.
fn check_refused(folder: &Folder, words: &str, code: i32, expected: &[&str]) {
    let said = folder.run(words);
    assert_eq!(said.code, Some(code), "{words}: {}{}", said.stdout, said.stderr);
    for part in expected {
        assert!(said.stderr.contains(part), "{words}: expected `{part}`, found\n{}", said.stderr);
    }
}
