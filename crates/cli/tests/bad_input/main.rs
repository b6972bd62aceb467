//! Wrong input of every kind, given to the real binary. It ends with 1 where the user can mend it and with 2 where the world
//! outside failed, says what is wrong with what and what to do, never panics, and leaves no output behind; or it counts
//! what it set aside and goes on.
//!
//! `files` are events and spines, `requests` what is asked of a good project, `definitions` its SQL and configuration,
//! `accounting` what is counted, `interrupts` Ctrl-C.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod accounting;
mod definitions;
mod files;
mod folder;
mod interrupts;
mod requests;

use crate::folder::Folder;

/// Every event of `v`, and the service `f` for the rows of `s.csv`.
const EVERY_EVENT: &str = "history . --view v --every-event --out out.csv";
const SPINE: &str = "history . --service f --spine s.csv --out out.csv";

/// Runs `asof` in the folder: it must refuse, with this code and all of these words, and leave no output.
fn check_refused(folder: &Folder, words: &str, code: i32, expected: &[&str]) {
    let said = folder.run(words);
    assert_eq!(said.code, Some(code), "{words}: {}{}", said.stdout, said.stderr);
    for part in expected {
        assert!(said.stderr.contains(part), "{words}: expected `{part}`, found\n{}", said.stderr);
    }
    assert!(!folder.has_output(), "{words}: refused, and yet an output");
}
