//! What a writer does between two calls of a reader.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use asof_disk::simulated::SimulatedDisk;
use asof_disk::{Disk, DiskFile, Entry, FileLock, SyncSite};
use asof_log::{LogReader, PartitionLog};

use crate::story::{PARTITION, append, body_of, open};

type Act = Box<dyn FnOnce() + Send>;

/// A disk on which something happens just before a folder is listed, or before the writer's mark is read.
#[derive(Clone)]
struct Interrupted {
    disk: SimulatedDisk,
    before_list: Arc<Mutex<Option<Act>>>,
    before_mark: Arc<Mutex<Option<Act>>>,
}

fn act_once(act: &Mutex<Option<Act>>) {
    if let Some(act) = act.lock().unwrap().take() {
        act();
    }
}

impl std::fmt::Debug for Interrupted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.disk.fmt(formatter)
    }
}

impl Disk for Interrupted {
    fn make_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        self.disk.make_folder(folder, site)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        act_once(&self.before_list);
        self.disk.list(folder)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if path.ends_with("durable") {
            act_once(&self.before_mark);
        }
        self.disk.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_folder(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        self.disk.sync_folder(folder, site)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        self.disk.lock(path)
    }
}

/// A log of two frames; of the second one the body is not written yet.
fn half_written() -> (Interrupted, PartitionLog, Arc<dyn DiskFile>) {
    let disk = SimulatedDisk::new(1);
    let (_claim, mut log) = open(&disk, 1000);
    append(&mut log, 1, 100).unwrap();
    append(&mut log, 1, 100).unwrap();
    let path =
        disk.files().into_iter().find(|path| path.extension().is_some_and(|ending| ending == "segment")).unwrap();
    let file = disk.open(&path).unwrap();
    file.write_at(BODY_BYTE, &[0; 100]).unwrap();
    (Interrupted { disk, before_list: Arc::default(), before_mark: Arc::default() }, log, file)
}

/// Header, first frame, head of the second.
const BODY_BYTE: u64 = 40 + 168 + 64;

fn check_read(reader: &mut LogReader, frames: &[(u64, usize)]) {
    for (offset, bytes) in frames {
        let frame = reader.next_frame().unwrap().unwrap();
        assert_eq!((frame.head.first_offset, frame.body), (*offset, body_of(*offset, *bytes)));
    }
}

/// The writer goes on to another segment: the frame is whole in the file, but not in what was read.
#[test]
fn a_segment_that_ends_while_it_is_read_is_read_again() {
    let (disk, mut log, file) = half_written();
    let mut reader = LogReader::open(Arc::new(disk.clone()), Path::new(PARTITION), 0).unwrap();
    *disk.before_list.lock().unwrap() = Some(Box::new(move || {
        file.write_at(BODY_BYTE, &body_of(1, 100)).unwrap();
        append(&mut log, 1, 900).unwrap();
        assert_eq!(log.segments().len(), 2);
    }));
    check_read(&mut reader, &[(0, 100), (1, 100), (2, 900)]);
}

/// The writer finishes and syncs the frame after the reader saw half of it, and before the reader asks what was synced.
#[test]
fn a_frame_that_is_synced_while_it_is_read_is_read_again() {
    let (disk, mut log, file) = half_written();
    let mut reader = LogReader::open(Arc::new(disk.clone()), Path::new(PARTITION), 0).unwrap();
    *disk.before_mark.lock().unwrap() = Some(Box::new(move || {
        file.write_at(BODY_BYTE, &body_of(1, 100)).unwrap();
        log.sync().unwrap();
    }));
    check_read(&mut reader, &[(0, 100), (1, 100)]);
}
