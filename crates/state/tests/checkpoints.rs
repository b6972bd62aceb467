//! Checkpoints from outside: which one is newest, what is damage, what is removed, what old bytes mean.

use std::path::Path;
use std::sync::Arc;

use asof_disk::simulated::SimulatedDisk;
use asof_disk::{Disk, SyncSite, read_whole, write_whole};
use asof_state::{
    About, CheckpointStore, DiskStore, Manifest, Opened, PIECE_BYTES_MAX, Part, PartKind, PartScope, StateError,
    StreamAbout,
};
use proptest::prelude::*;

const SITE: SyncSite = SyncSite("test");
const FOLDER: &str = "/project";

fn store(disk: &SimulatedDisk, generation: u64) -> CheckpointStore {
    CheckpointStore::new(Arc::new(DiskStore::new(disk.shared(), FOLDER)), generation)
}

fn scope(kind: PartKind) -> PartScope {
    PartScope { stream: "card".to_owned(), partition: 0, kind }
}

fn view(is_base: bool) -> PartKind {
    PartKind::View { name: "spending".to_owned(), fingerprint: u64::MAX - 1, is_base }
}

fn about(next_offset: u64) -> About {
    let image = serde_json::json!({"used": 17, "watermark_us": -5, "runs": ["a"]});
    let stream = StreamAbout { name: "card".to_owned(), partition: 0, next_offset, image };
    About { streams: vec![stream], arrived_us: 1_700_000_000_000_000 }
}

/// A checkpoint of two parts of its own.
fn take(store: &CheckpointStore, epoch: u64) -> Result<Manifest, StateError> {
    let mut writer = store.begin(epoch);
    writer.put(scope(view(true)), format!("images of epoch {epoch}").into_bytes())?;
    writer.put(scope(PartKind::Batches), format!("batches of epoch {epoch}").into_bytes())?;
    writer.finish(about(10 * epoch))
}

/// `Project`-relative names of all files.
fn files(disk: &SimulatedDisk) -> Vec<String> {
    let name = |path: &std::path::PathBuf| path.display().to_string().replacen("/project/", "", 1);
    disk.files().iter().map(name).collect()
}

fn newest(store: &CheckpointStore) -> (Option<(u64, u64)>, Vec<String>) {
    let Opened { manifest, passed_over } = store.newest(&|_| true).expect("the store can be listed");
    let passed_over = passed_over.into_iter().map(|(_, error)| error.to_string()).collect();
    (manifest.map(|manifest| (manifest.generation, manifest.epoch)), passed_over)
}

#[test]
fn what_was_written_is_read_back() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 3);
    assert_eq!(newest(&store), (None, vec![]));
    let mut writer = store.begin(7);
    let base = writer.put(scope(view(true)), vec![1; 100]).unwrap();
    let batches = writer.put(scope(PartKind::Batches), Vec::new()).unwrap();
    let written = writer.finish(about(40)).unwrap();
    assert_eq!(written.parts, [base.clone(), batches.clone()]);
    assert_eq!(store.newest(&|_| true).unwrap().manifest, Some(written));
    assert_eq!(store.read_part(&base).unwrap(), vec![1; 100]);
    assert_eq!(store.read_part(&batches).unwrap(), Vec::<u8>::new());
    assert_eq!(
        files(&disk),
        [
            "checkpoints/card/0/0000000003/0000000007/batches-000001.part",
            "checkpoints/card/0/0000000003/0000000007/view-spending-000000.part",
            "checkpoints/manifests/0000000003-0000000007.json",
        ]
    );
}

#[test]
fn parts_stand_in_the_order_in_which_they_were_last_named() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    let first = take(&store, 1).unwrap();
    let mut writer = store.begin(2);
    let touched = writer.put(scope(view(false)), vec![2]).unwrap();
    writer.keep(first.parts[0].clone());
    writer.keep(touched.clone());
    let second = writer.finish(about(2)).unwrap();
    assert_eq!(second.parts, [first.parts[0].clone(), touched]);
}

#[test]
fn a_greater_generation_wins_whatever_the_older_one_still_writes() {
    let disk = SimulatedDisk::new(1);
    let (old, new) = (store(&disk, 1), store(&disk, 2));
    take(&old, 8).unwrap();
    take(&new, 1).unwrap();
    take(&old, 9).unwrap();
    assert_eq!(newest(&old), (Some((2, 1)), vec![]));
    assert_eq!(newest(&new), (Some((2, 1)), vec![]));
    let before = files(&disk);
    let refused = old.prune(1).unwrap_err();
    assert!(matches!(refused, StateError::TakenOver { generation: 1, by: 2, .. }), "{refused}");
    assert_eq!(files(&disk), before);
    assert_eq!(new.prune(1).unwrap(), 6, "both checkpoints of the old generation");
    assert_eq!(newest(&new), (Some((2, 1)), vec![]));
}

#[test]
fn an_epoch_is_written_once() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    let mut late = store.begin(1);
    late.put(scope(PartKind::Batches), vec![1]).unwrap();
    store.begin(1).finish(about(1)).unwrap();
    let expected = "the checkpoint `checkpoints/manifests/0000000001-0000000001.json` exists already: an epoch is written once; \
                    begin a greater one";
    assert_eq!(store.begin(1).put(scope(PartKind::Batches), vec![]).unwrap_err().to_string(), expected);
    assert_eq!(late.finish(about(1)).unwrap_err().to_string(), expected);
}

#[test]
fn a_piece_has_a_greatest_length() {
    let disk = SimulatedDisk::new(1);
    let mut writer = store(&disk, 1).begin(1);
    let refused = writer.put(scope(PartKind::Batches), vec![0; PIECE_BYTES_MAX + 1]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "`checkpoints/card/0/0000000001/0000000001/batches-000000.part` would have 67108865 bytes, at most 67108864 are \
         allowed; hint: write several pieces"
    );
    let largest = writer.put(scope(PartKind::Batches), vec![0; PIECE_BYTES_MAX]).unwrap();
    assert_eq!(store(&disk, 1).read_part(&largest).unwrap().len(), PIECE_BYTES_MAX);
}

#[test]
fn what_does_not_fit_is_passed_over() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    take(&store, 1).unwrap();
    take(&store, 2).unwrap();
    let opened = store.newest(&|manifest| manifest.about.streams[0].next_offset <= 10).unwrap();
    assert_eq!(opened.manifest.unwrap().epoch, 1);
    assert_eq!(
        opened.passed_over[0].1.to_string(),
        "the checkpoint `checkpoints/manifests/0000000001-0000000002.json` is whole, but does not fit the project and its log"
    );
}

#[test]
fn an_incomplete_checkpoint_is_passed_over_and_what_is_missing_is_named() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    take(&store, 1).unwrap();
    let second = take(&store, 2).unwrap();
    let part = Path::new(FOLDER).join(&second.parts[1].path);
    disk.remove(&part).unwrap();
    let missing = "`checkpoints/card/0/0000000001/0000000002/batches-000001.part` is missing, though \
                   checkpoints/manifests/0000000001-0000000002.json names it";
    assert_eq!(newest(&store), (Some((1, 1)), vec![missing.to_owned()]));
    write_whole(&disk, &part, b"short", SITE).unwrap();
    let short = "`checkpoints/card/0/0000000001/0000000002/batches-000001.part` is damaged: it has 5 bytes, its manifest names 50";
    assert_eq!(newest(&store), (Some((1, 1)), vec![short.to_owned()]));
}

#[test]
fn every_flipped_byte_of_a_manifest_is_found_and_named() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    take(&store, 1).unwrap();
    take(&store, 2).unwrap();
    let name = "checkpoints/manifests/0000000001-0000000002.json";
    let path = Path::new(FOLDER).join(name);
    let whole = read_whole(&disk, &path, 10_000).unwrap();
    for byte in 0..whole.len() as u64 {
        disk.flip(&path, byte).unwrap();
        let (found, passed_over) = newest(&store);
        assert_eq!(found, Some((1, 1)), "byte {byte}");
        assert!(passed_over[0].contains(name), "byte {byte}: {passed_over:?}");
        write_whole(&disk, &path, &whole, SITE).unwrap();
    }
    assert_eq!(newest(&store), (Some((1, 2)), vec![]));
}

#[test]
fn every_flipped_byte_of_a_part_is_found_and_named() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    let part = take(&store, 1).unwrap().parts[0].clone();
    let path = Path::new(FOLDER).join(&part.path);
    let whole = read_whole(&disk, &path, 10_000).unwrap();
    for byte in 0..part.bytes {
        disk.flip(&path, byte).unwrap();
        let error = store.read_part(&part).unwrap_err();
        assert!(matches!(&error, StateError::Damaged { object, .. } if *object == part.path), "byte {byte}: {error}");
        write_whole(&disk, &path, &whole, SITE).unwrap();
    }
    assert_eq!(store.read_part(&part).unwrap(), "images of epoch 1");
}

#[test]
fn prune_keeps_what_is_named_and_what_is_in_progress() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    let first = take(&store, 1).unwrap();
    let mut writer = store.begin(2);
    writer.keep(first.parts[0].clone());
    writer.put(scope(view(false)), vec![2]).unwrap();
    writer.finish(about(2)).unwrap();
    assert_eq!(store.prune(2).unwrap(), 0);

    let mut running = store.begin(3);
    running.keep(first.parts[1].clone());
    running.put(scope(view(false)), vec![3]).unwrap();
    drop(store.begin(4).put(scope(view(false)), vec![4]).unwrap());
    // The first manifest goes, and the part of the checkpoint that was dropped.
    assert_eq!(store.prune(1).unwrap(), 2);
    assert_eq!(newest(&store), (Some((1, 2)), vec![]));
    running.finish(about(3)).unwrap();
    assert_eq!(newest(&store), (Some((1, 3)), vec![]));
    assert_eq!(store.prune(0).unwrap(), 3, "one checkpoint is always kept");
    assert_eq!(
        files(&disk),
        [
            "checkpoints/card/0/0000000001/0000000001/batches-000001.part",
            "checkpoints/card/0/0000000001/0000000003/view-spending-000000.part",
            "checkpoints/manifests/0000000001-0000000003.json",
        ]
    );
    let folders = disk.list(Path::new("/project/checkpoints/card/0/0000000001")).unwrap();
    assert_eq!(folders.len(), 2, "empty folders go: {folders:?}");
}

#[test]
fn prune_counts_whole_checkpoints_only_and_leaves_what_is_not_a_checkpoints() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    let manifests: Vec<Manifest> = (1..=4).map(|epoch| take(&store, epoch).unwrap()).collect();
    disk.remove(&Path::new(FOLDER).join(&manifests[3].parts[0].path)).unwrap();
    disk.flip(&Path::new(FOLDER).join("checkpoints/manifests/0000000001-0000000003.json"), 200).unwrap();
    write_whole(&disk, &Path::new(FOLDER).join("checkpoints/note.txt"), b"mine", SITE).unwrap();
    store.prune(2).unwrap();
    let kept: Vec<u64> = store.manifests(9).unwrap().iter().map(|manifest| manifest.epoch).collect();
    assert_eq!(kept, [2, 1]);
    assert!(files(&disk).contains(&"checkpoints/note.txt".to_owned()));
    assert_eq!(files(&disk).len(), 2 * 3 + 1);
}

#[test]
fn prune_removes_nothing_where_no_checkpoint_is_whole() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    take(&store, 1).unwrap();
    disk.flip(&Path::new(FOLDER).join("checkpoints/manifests/0000000001-0000000001.json"), 100).unwrap();
    assert_eq!(store.prune(2).unwrap(), 0);
    assert_eq!(files(&disk).len(), 3);
}

#[test]
fn a_kept_part_that_is_gone_fails_the_checkpoint() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    let first = take(&store, 1).unwrap();
    let mut writer = store.begin(2);
    writer.keep(first.parts[0].clone());
    disk.remove(&Path::new(FOLDER).join(&first.parts[0].path)).unwrap();
    let error = writer.finish(about(2)).unwrap_err();
    assert!(matches!(&error, StateError::Missing { object, .. } if *object == first.parts[0].path), "{error}");
    assert_eq!(newest(&store).0, None);
}

#[test]
fn a_stream_may_have_any_name() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    let mut writer = store.begin(1);
    let names = ["manifests", "Card", "card", "../..", "", ".", "a/b", "100 % ä", &"É".repeat(300)];
    for name in names {
        let kind = PartKind::View { name: name.to_owned(), fingerprint: 1, is_base: true };
        writer.put(PartScope { stream: name.to_owned(), partition: 0, kind }, name.as_bytes().to_vec()).unwrap();
    }
    let manifest = writer.finish(about(1)).unwrap();
    assert_eq!((newest(&store), store.prune(1).unwrap()), ((Some((1, 1)), vec![]), 0));
    for (part, name) in manifest.parts.iter().zip(names) {
        assert_eq!(store.read_part(part).unwrap(), name.as_bytes());
        assert!(files(&disk).contains(&part.path), "{} is the name of its file", part.path);
    }
}

#[test]
fn parts_are_read_on_several_threads() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    let mut writer = store.begin(1);
    let parts: Vec<Part> = (0..16).map(|part| writer.put(scope(view(true)), vec![part; 5000]).unwrap()).collect();
    writer.finish(about(1)).unwrap();
    std::thread::scope(|threads| {
        let store = &store;
        for (number, part) in parts.iter().enumerate() {
            threads.spawn(move || assert_eq!(store.read_part(part).unwrap(), vec![number as u8; 5000]));
        }
    });
}

/// Written by version 1 of both formats. A new version reads it too, or says which program does.
#[test]
fn the_old_sample_is_read() {
    let disk = SimulatedDisk::new(1);
    let samples: [(&str, &[u8]); 2] = [
        ("checkpoints/manifests/0000000003-0000000007.json", include_bytes!("samples/manifest-1.json")),
        ("checkpoints/card/0/0000000003/0000000007/view-spending-000000.part", include_bytes!("samples/part-1.part")),
    ];
    for (name, bytes) in samples {
        let path = Path::new(FOLDER).join(name);
        disk.make_folder(path.parent().unwrap(), SITE).unwrap();
        write_whole(&disk, &path, bytes, SITE).unwrap();
    }
    let store = store(&disk, 3);
    let manifest = store.newest(&|_| true).unwrap().manifest.unwrap();
    assert_eq!((manifest.generation, manifest.epoch, &manifest.about), (3, 7, &about(70)));
    assert_eq!(manifest.parts[0].scope, scope(view(true)));
    assert_eq!(store.read_part(&manifest.parts[0]).unwrap(), "images of epoch 7");
}

#[test]
fn another_version_of_a_manifest_is_named() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    take(&store, 1).unwrap();
    let path = Path::new(FOLDER).join("checkpoints/manifests/0000000001-0000000001.json");
    let text = String::from_utf8(read_whole(&disk, &path, 10_000).unwrap()).unwrap();
    write_whole(&disk, &path, text.replacen("\"version\":1", "\"version\":2", 1).as_bytes(), SITE).unwrap();
    let expected = "`checkpoints/manifests/0000000001-0000000001.json` has format version 2, this program reads version 1; use \
                    the program that wrote it";
    assert_eq!(newest(&store), (None, vec![expected.to_owned()]));
}

/// Keys were parts of checkpoints before they were runs.
#[test]
fn a_kind_that_is_used_no_more_is_named() {
    let disk = SimulatedDisk::new(1);
    let store = store(&disk, 1);
    take(&store, 1).unwrap();
    let path = Path::new(FOLDER).join("checkpoints/manifests/0000000001-0000000001.json");
    let text = String::from_utf8(read_whole(&disk, &path, 10_000).unwrap()).unwrap();
    let body = text.split_once('\n').unwrap().1.replacen("\"kind\":\"batches\"", "\"kind\":\"keys\"", 1);
    let checksum = twox_hash::XxHash3_64::oneshot(body.as_bytes());
    let text = format!("{{\"magic\":\"asof-mft\",\"version\":1,\"checksum\":\"{checksum:016x}\"}}\n{body}");
    write_whole(&disk, &path, text.as_bytes(), SITE).unwrap();
    let (found, passed_over) = newest(&store);
    assert_eq!((found, passed_over.len()), (None, 1));
    assert!(passed_over[0].contains("0000000001-0000000001.json") && passed_over[0].contains("unknown variant `keys`"));
}

/// Any bytes as a manifest, with a first line that is right for them or not, and any bytes as a part.
#[test]
fn garbage_is_an_error() {
    let sample = include_str!("samples/manifest-1.json");
    let body = prop_oneof![
        any::<Vec<u8>>(),
        (0..sample.len(), any::<u8>()).prop_map(move |(at, byte)| {
            let mut bytes = sample.as_bytes().to_vec();
            bytes[at] = byte;
            bytes.split_off(sample.find('\n').unwrap() + 1)
        })
    ];
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(body in body, has_first_line: bool, part: Vec<u8>)| {
        let disk = SimulatedDisk::new(1);
        let store = store(&disk, 1);
        let good = take(&store, 1).unwrap();
        let checksum = twox_hash::XxHash3_64::oneshot(&body);
        let first = format!("{{\"magic\":\"asof-mft\",\"version\":1,\"checksum\":\"{checksum:016x}\"}}\n");
        let bytes = if has_first_line { [first.as_bytes(), &body].concat() } else { body };
        let path = Path::new(FOLDER).join("checkpoints/manifests/0000000003-0000000007.json");
        write_whole(&disk, &path, &bytes, SITE).unwrap();
        prop_assert_eq!(newest(&store).0, Some((1, 1)), "no part of the other one is there");

        let named = Part { bytes: part.len() as u64, checksum: twox_hash::XxHash3_64::oneshot(&part), ..good.parts[0].clone() };
        write_whole(&disk, &Path::new(FOLDER).join(&named.path), &part, SITE).unwrap();
        prop_assert!(store.read_part(&named).is_err());
        for path in ["", "..", "../x", "/x", "a//b", "checkpoints", "a\\b", "a\0b", "x.new"] {
            prop_assert!(store.read_part(&Part { path: path.to_owned(), ..named.clone() }).is_err(), "{}", path);
        }
    });
}
