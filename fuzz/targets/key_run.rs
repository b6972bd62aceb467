//! A run of primary keys: opened, asked, and merged with others; as it is, and with its checksums made right.
#![no_main]

use std::path::Path;

use asof_disk::simulated::SimulatedDisk;
use asof_fuzz::{begin, disk_of, file};
use asof_state::{KeyEntry, KeyRuns, StateError};
use twox_hash::XxHash3_64;

const FOLDER: &str = "/keys/card/0";
const PAGE_BYTES: usize = 4096;
const ENTRY_BYTES: usize = 24;
/// Keys that are asked for, of those that the bytes seem to hold.
const ASKED_MAX: usize = 300;
/// More runs than that are merged.
const RUNS_MAX: u64 = 16;

libfuzzer_sys::fuzz_target!(init: begin([seed()]), |bytes: &[u8]| {
    check(bytes);
    check(&sealed(bytes));
});

fn seed() -> (String, Vec<u8>) {
    ("version-1".to_owned(), file("crates/state/tests/samples/0000000000-36f30190a3251c99.keys"))
}

fn check(bytes: &[u8]) {
    // A run has the checksum of its entries in its name.
    let name = format!("0000000000-{:016x}.keys", number(bytes, 56).unwrap_or_default());
    let disk = disk_of(&[(&format!("{FOLDER}/{name}"), bytes)]);
    let Ok(mut runs) = KeyRuns::open(disk.shared(), Path::new(FOLDER), &[name]) else { return };
    assert!(runs.memory_bytes() < 2 * bytes.len() + 1000, "{} for {} bytes", runs.memory_bytes(), bytes.len());
    let asked = hashes(bytes);
    if let Ok(found) = runs.look_up(&asked) {
        assert!(found.iter().all(|(number, _)| *number < asked.len()));
        merge(&disk, &mut runs, &asked).unwrap_or_else(|error| assert!(!error.to_string().is_empty()));
    }
}

/// Merges the run with others that are whole, of keys that all come behind.
fn merge(disk: &SimulatedDisk, runs: &mut KeyRuns, asked: &[u128]) -> Result<(), StateError> {
    for run in 0..RUNS_MAX {
        runs.add(&mut [KeyEntry { hash: u128::MAX - u128::from(run), time_us: 5 }])?;
    }
    let merged = runs.begin_merge().expect("seventeen runs are too many").run()?;
    let gone = runs.adopt(merged);
    assert!(!gone.is_empty());
    let reopened = KeyRuns::open(disk.shared(), Path::new(FOLDER), &runs.names())?;
    assert_eq!(reopened.look_up(asked)?, runs.look_up(asked)?);
    Ok(())
}

/// What looks like the hashes of entries.
fn hashes(bytes: &[u8]) -> Vec<u128> {
    let pages = bytes.chunks(PAGE_BYTES).skip(1);
    let entries = pages.flat_map(|page| page.chunks_exact(ENTRY_BYTES));
    let hashes = entries.map(|entry| u128::from_le_bytes(*entry.first_chunk().expect("an entry has 24 bytes")));
    hashes.take(ASKED_MAX).collect()
}

/// The file with the checksums of its tail and its pages made right (`state/src/key_page.rs` has the bytes).
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let keys = number(&bytes, 16).unwrap_or_default();
    let pages = usize::try_from(keys.div_ceil(170)).unwrap_or(usize::MAX);
    let tail_at = pages.saturating_add(1).saturating_mul(PAGE_BYTES);
    if let Some(tail) = bytes.get(tail_at..).map(XxHash3_64::oneshot) {
        bytes[48..56].copy_from_slice(&tail.to_le_bytes());
    }
    let end = tail_at.min(bytes.len());
    for (page, page_bytes) in bytes[..end].chunks_exact_mut(PAGE_BYTES).enumerate() {
        let (content, sum) = page_bytes.split_last_chunk_mut().expect("a page is longer than a checksum");
        *sum = XxHash3_64::oneshot_with_seed(page as u64, content).to_le_bytes();
    }
    bytes
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
