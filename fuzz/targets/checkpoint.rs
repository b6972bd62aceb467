//! Manifest and part of a checkpoint: passed over with a reason, or read; and written anew, it is the same checkpoint.
#![no_main]

use std::sync::Arc;

use asof_disk::simulated::SimulatedDisk;
use asof_fuzz::{begin, cut, disk_of, file, joined};
use asof_state::{CheckpointStore, DiskStore, Manifest};
use twox_hash::XxHash3_64;

const MANIFEST: &str = "/project/checkpoints/manifests/0000000003-0000000007.json";
const PART: &str = "/project/checkpoints/card/0/0000000003/0000000007/view-spending-000000.part";
/// Bytes of a part before its own.
const PART_HEADER_BYTES: usize = 32;

libfuzzer_sys::fuzz_target!(init: begin([seed()]), |bytes: &[u8]| {
    let [part, manifest] = cut(bytes);
    check(manifest, part);
    check(&sealed(manifest), part);
});

fn seed() -> (String, Vec<u8>) {
    let sample = |name: &str| file(&format!("crates/state/tests/samples/{name}"));
    ("version-1".to_owned(), joined(&[&sample("part-1.part"), &sample("manifest-1.json")]))
}

/// The manifest with the first line that its second one asks for.
fn sealed(manifest: &[u8]) -> Vec<u8> {
    let begin = manifest.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let body = &manifest[begin..];
    let sum = XxHash3_64::oneshot(body);
    let first = format!("{{\"magic\":\"asof-mft\",\"version\":1,\"checksum\":\"{sum:016x}\"}}\n");
    [first.as_bytes(), body].concat()
}

fn check(manifest: &[u8], part: &[u8]) {
    let disk = disk_of(&[(MANIFEST, manifest), (PART, part)]);
    let Some(found) = newest(&disk) else { return };
    let store = store(&disk);
    for part in &found.parts {
        if let Ok(bytes) = store.read_part(part) {
            assert_eq!((bytes.len() + PART_HEADER_BYTES) as u64, part.bytes);
        }
    }
    let mut writer = store.begin(found.epoch + 1);
    found.parts.iter().for_each(|part| writer.keep(part.clone()));
    let written = writer.finish(found.about.clone()).expect("what was read can be written");
    assert_eq!(newest(&disk), Some(written.clone()));
    assert_eq!(written.about, found.about);
    assert_eq!(store.prune(1).expect("nobody has taken over"), 1, "the manifest that was there before");
    assert_eq!(newest(&disk), Some(written));
}

fn store(disk: &SimulatedDisk) -> CheckpointStore {
    CheckpointStore::new(Arc::new(DiskStore::new(disk.shared(), "/project")), 3)
}

fn newest(disk: &SimulatedDisk) -> Option<Manifest> {
    let opened = store(disk).newest(&|_| true).expect("a store that can be listed");
    opened.passed_over.iter().for_each(|(_, error)| assert!(!error.to_string().is_empty()));
    opened.manifest
}
