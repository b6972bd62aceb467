//! The start of a target: its seeds are written where libFuzzer will look for them, and panics are told apart.
//!
//! A panic in a crate of ours is a crash at once, even where somebody would catch it. One in a crate of others may be caught
//! by design (Arrow's reader panics on some damaged streams); if nobody does, it ends the process at the target's edge.

use std::panic::PanicHookInfo;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Names the folder for the seeds.
const SEEDS_VARIABLE: &str = "ASOF_FUZZ_SEEDS";
/// How the paths of our own sources begin, as the compiler is given them.
const OURS: [&str; 2] = ["crates/", "fuzz/"];

/// What a panic of a crate of others said last.
static CAUGHT_LAST: Mutex<String> = Mutex::new(String::new());

/// An input to begin with, and its name.
pub type Seed = (String, Vec<u8>);

/// Prepares a target; called once, before libFuzzer reads its corpus.
///
/// # Panics
/// If a seed cannot be written.
pub fn begin(seeds: impl IntoIterator<Item = Seed>) {
    tell_panics_apart();
    let Some(folder) = std::env::var_os(SEEDS_VARIABLE).map(PathBuf::from) else { return };
    for (name, bytes) in seeds {
        std::fs::write(folder.join(name), bytes).expect("the folder of the seeds can be written");
    }
}

/// libFuzzer's binding has set a hook that prints and aborts: it stays for our own panics.
fn tell_panics_apart() {
    let end = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let told = panic.to_string();
        if is_ours(panic) || told.contains("cannot unwind") {
            eprintln!("the last panic in a crate of others: {}", lock_last());
            end(panic);
        }
        *lock_last() = told;
    }));
}

fn is_ours(panic: &PanicHookInfo<'_>) -> bool {
    panic.location().is_some_and(|place| OURS.iter().any(|ours| place.file().starts_with(ours)))
}

fn lock_last() -> std::sync::MutexGuard<'static, String> {
    CAUGHT_LAST.lock().unwrap_or_else(PoisonError::into_inner)
}
