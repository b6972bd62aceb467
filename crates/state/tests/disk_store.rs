//! The store over a folder, through the interface that it implements.

use std::path::Path as FilePath;

use asof_disk::simulated::SimulatedDisk;
use asof_disk::{Disk, SyncSite, write_whole};
use asof_state::DiskStore;
use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, UpdateVersion,
};

fn names(objects: Vec<object_store::ObjectMeta>) -> Vec<String> {
    objects.into_iter().map(|about| format!("{} {}", about.location, about.size)).collect()
}

#[test]
fn puts_gets_lists_and_deletes() {
    let disk = SimulatedDisk::new(1);
    let store = DiskStore::new(disk.shared(), "/data");
    assert_eq!(store.to_string(), "DiskStore(/data)");
    block_on(async {
        assert!(store.list(None).try_collect::<Vec<_>>().await.unwrap().is_empty(), "a folder that is not there");
        for (name, bytes) in [("a/b/one", "1"), ("a/b/two", "22"), ("a/three", "333"), ("ab/four", "4444")] {
            store.put(&Path::from(name), bytes.into()).await.unwrap();
        }
        store.put(&Path::from("a/b/two"), "twenty-two".into()).await.unwrap();
        let all: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(names(all), ["a/b/one 1", "a/b/two 10", "a/three 3", "ab/four 4"]);
        let inner: Vec<_> = store.list(Some(&Path::from("a"))).try_collect().await.unwrap();
        assert_eq!(names(inner), ["a/b/one 1", "a/b/two 10", "a/three 3"], "prefixes end with a segment");
        let none: Vec<_> = store.list(Some(&Path::from("a/three"))).try_collect().await.unwrap();
        assert_eq!(names(none), Vec::<String>::new(), "an object is no prefix");
        let level = store.list_with_delimiter(Some(&Path::from("a"))).await.unwrap();
        assert_eq!(
            (names(level.objects), level.common_prefixes),
            (vec!["a/three 3".to_owned()], vec![Path::from("a/b")])
        );

        store.delete(&Path::from("a/b/one")).await.unwrap();
        store.delete(&Path::from("a/b/two")).await.unwrap();
        assert!(matches!(store.delete(&Path::from("a/b/two")).await, Err(Error::NotFound { .. })));
        assert_eq!(disk.list(FilePath::new("/data/a")).unwrap().len(), 1, "an empty folder goes");
        store.put(&Path::from("a/b/again"), "5".into()).await.unwrap();
        assert_eq!(store.get(&Path::from("a/b/again")).await.unwrap().bytes().await.unwrap(), "5");
    });
}

#[test]
fn gets_ranges() {
    let store = DiskStore::new(SimulatedDisk::new(1).shared(), "/data");
    let path = Path::from("x/digits");
    block_on(async {
        store.put(&path, "0123456789".into()).await.unwrap();
        assert_eq!(store.get_range(&path, 2..5).await.unwrap(), "234");
        assert_eq!(store.get_ranges(&path, &[0..1, 9..10]).await.unwrap(), ["0", "9"]);
        for (range, expected) in [
            (GetRange::Suffix(3), Some("789")),
            (GetRange::Offset(8), Some("89")),
            (GetRange::Bounded(8..20), Some("89")),
            (GetRange::Offset(10), None),
            (GetRange::Bounded(5..5), None),
        ] {
            let options = GetOptions { range: Some(range.clone()), ..GetOptions::default() };
            let got = match store.get_opts(&path, options).await {
                Ok(result) => Some(result.bytes().await.unwrap()),
                Err(_) => None,
            };
            assert_eq!(got.as_deref(), expected.map(str::as_bytes), "{range:?}");
        }
        let head = store.head(&path).await.unwrap();
        assert_eq!((head.size, head.e_tag, head.version), (10, None, None));
        for missing in ["x", "x/other", "x/digits/below", "y"] {
            let error = store.head(&Path::from(missing)).await.unwrap_err();
            assert!(matches!(error, Error::NotFound { .. }), "{missing}: {error}");
        }
    });
}

#[test]
fn creates_once() {
    let store = DiskStore::new(SimulatedDisk::new(1).shared(), "/data");
    block_on(async {
        let path = Path::from("x/one");
        let put = || store.put_opts(&path, "1".into(), PutMode::Create.into());
        put().await.unwrap();
        assert!(matches!(put().await, Err(Error::AlreadyExists { .. })));
    });
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    let store = DiskStore::new(SimulatedDisk::new(1).shared(), "/data");
    let path = Path::from("x/one");
    let refused = block_on(async {
        store.put(&path, "1".into()).await.unwrap();
        let version = UpdateVersion { e_tag: None, version: None };
        let tagged = GetOptions { if_match: Some("x".to_owned()), ..GetOptions::default() };
        let timed = GetOptions { if_modified_since: Some(Default::default()), ..GetOptions::default() };
        let attributes = [(object_store::Attribute::ContentType, "text/plain")].into_iter().collect();
        [
            store.put_multipart_opts(&path, PutMultipartOptions::default()).await.err(),
            store.put_opts(&path, "2".into(), PutMode::Update(version).into()).await.err(),
            store.put_opts(&path, "2".into(), PutOptions { attributes, ..PutOptions::default() }).await.err(),
            store.get_opts(&path, tagged).await.err(),
            store.get_opts(&path, timed).await.err(),
            store.copy(&path, &Path::from("x/two")).await.err(),
            store.rename(&path, &Path::from("x/two")).await.err(),
        ]
    });
    let messages: Vec<String> = refused.into_iter().map(|error| error.unwrap().to_string()).collect();
    let of = |operation: &str| format!("Operation {operation} not yet implemented by DiskStore.");
    let expected =
        ["multipart upload", "update of a version", "attributes of a put", "get of a version", "get by time"];
    assert_eq!(messages[..5], expected.map(of));
    assert_eq!(messages[5..], [of("copy"), of("copy")]);
    assert_eq!(block_on(async { store.get(&path).await.unwrap().bytes().await.unwrap() }), "1");
}

#[test]
fn no_name_leaves_the_folder() {
    let disk = SimulatedDisk::new(1);
    let store = DiskStore::new(disk.shared(), "/data");
    for name in [".hidden", "a/.b", "a b", "ä", "a:b", "a~", "one.new"] {
        let path = Path::parse(name).unwrap();
        let error = block_on(store.put(&path, "1".into())).unwrap_err();
        assert!(error.to_string().contains("is not the name of an object here"), "{name}: {error}");
    }
    assert!(block_on(store.put(&Path::default(), "1".into())).is_err());
    assert_eq!(disk.files(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_an_ended_process_left_unfinished_goes_with_the_first_put() {
    let disk = SimulatedDisk::new(1);
    let site = SyncSite("test");
    disk.make_folder(FilePath::new("/data/x/empty/inner"), site).unwrap();
    disk.make_folder(FilePath::new("/data/x/left"), site).unwrap();
    for name in ["/data/x/left/part.new", "/data/x/one", "/data/other.new"] {
        disk.create(FilePath::new(name)).unwrap();
    }
    write_whole(&disk, FilePath::new("/data/x/two"), b"2", site).unwrap();
    let store = DiskStore::new(disk.shared(), "/data");
    let listed = block_on(store.list(None).map_ok(|about| about.location.to_string()).try_collect::<Vec<_>>()).unwrap();
    assert_eq!(listed, ["x/one", "x/two"], "what is unfinished is no object");
    block_on(store.put(&Path::from("x/three"), "3".into())).unwrap();
    let files: Vec<String> = disk.files().iter().map(|path| path.display().to_string()).collect();
    assert_eq!(files, ["/data/other.new", "/data/x/one", "/data/x/three", "/data/x/two"], "other folders are not ours");
    assert_eq!(disk.list(FilePath::new("/data/x")).unwrap().len(), 3);
}

#[test]
fn a_failure_of_one_delete_does_not_hide_the_others() {
    let store = DiskStore::new(SimulatedDisk::new(1).shared(), "/data");
    block_on(async {
        store.put(&Path::from("x/two"), "2".into()).await.unwrap();
        let paths = futures::stream::iter(["x/one", "x/two"].map(|name| Ok(Path::from(name)))).boxed();
        let deleted: Vec<bool> = store.delete_stream(paths).map(|deleted| deleted.is_ok()).collect().await;
        assert_eq!(deleted, [false, true]);
    });
}
