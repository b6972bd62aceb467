//! What a writer does between two calls of a reader.

use std::path::Path;
use std::sync::{Arc, Mutex};

use asof_disk::hooked::{HookedDisk, Operation};
use asof_disk::simulated::SimulatedDisk;
use asof_disk::{Disk, DiskFile};
use asof_log::{Claim, LogReader, LogSettings, PartitionLog, TakeOver};

use crate::story::{PARTITION, ROOT, append, body_of, open};

type Act = Box<dyn FnOnce() + Send>;

/// A disk on which something happens just before a folder is listed, the writer's mark is read, or a lock is
/// taken.
#[derive(Clone)]
struct Interrupted {
    disk: HookedDisk,
    before_list: Arc<Mutex<Option<Act>>>,
    before_mark: Arc<Mutex<Option<Act>>>,
    before_lock: Arc<Mutex<Option<Act>>>,
}

impl Interrupted {
    fn of(disk: &SimulatedDisk) -> Interrupted {
        let [before_list, before_mark, before_lock]: [Arc<Mutex<Option<Act>>>; 3] = Default::default();
        let (list, mark, lock) = (before_list.clone(), before_mark.clone(), before_lock.clone());
        let disk = HookedDisk::new(disk.shared(), move |operation| {
            match operation {
                Operation::List(_) => act_once(&list),
                Operation::Open(path) if path.extension().is_some_and(|ending| ending == "durable") => act_once(&mark),
                Operation::Lock(_) => act_once(&lock),
                _ => {}
            }
            Ok(())
        });
        Interrupted { disk, before_list, before_mark, before_lock }
    }

    fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }
}

fn act_once(act: &Mutex<Option<Act>>) {
    // Taken out before it acts: it may meet this disk itself.
    let act = act.lock().unwrap().take();
    if let Some(act) = act {
        act();
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
    (Interrupted::of(&disk), log, file)
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
    let mut reader = LogReader::open(disk.shared(), Path::new(PARTITION), 0).unwrap();
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
    let mut reader = LogReader::open(disk.shared(), Path::new(PARTITION), 0).unwrap();
    *disk.before_mark.lock().unwrap() = Some(Box::new(move || {
        file.write_at(BODY_BYTE, &body_of(1, 100)).unwrap();
        log.sync().unwrap();
    }));
    check_read(&mut reader, &[(0, 100), (1, 100)]);
}

/// The old writer goes on after the new one has looked where the log ends, and a reader reads that before the new one begins.
#[test]
fn a_reader_that_went_too_far_is_told() {
    let simulated = SimulatedDisk::new(1);
    let (_claim, mut old) = open(&simulated, 10_000);
    append(&mut old, 3, 500).unwrap();
    old.sync().unwrap();
    let claim = Claim::take(simulated.shared(), Path::new(ROOT), TakeOver::TakeOver).unwrap();
    let disk = Interrupted::of(&simulated);
    let reader = LogReader::open(simulated.shared(), Path::new(PARTITION), 0).unwrap();
    let reader = Arc::new(Mutex::new(reader));
    let (reads, head) = (reader.clone(), Arc::new(Mutex::new(None)));
    let last_head = head.clone();
    *disk.before_lock.lock().unwrap() = Some(Box::new(move || {
        append(&mut old, 2, 500).unwrap();
        let mut reader = reads.lock().unwrap();
        assert_eq!(reader.next_frame().unwrap().unwrap().head.first_offset, 0);
        let head = reader.next_head().unwrap().unwrap();
        assert_eq!(head.first_offset, 3, "the new writer has not begun");
        *last_head.lock().unwrap() = Some(head);
    }));
    let settings = LogSettings { segment_bytes: 10_000, generation: claim.generation() };
    let (mut new, _torn) = PartitionLog::open(disk.shared(), Path::new(PARTITION), settings).unwrap();
    assert_eq!(new.next_offset(), 3);
    let expected = "another writer took over `/data/log/clicks/0` and wrote offset 3 anew: read again from there";
    let head = head.lock().unwrap().take().unwrap();
    append(&mut new, 4, 200).unwrap();
    assert_eq!(reader.lock().unwrap().next_frame().unwrap_err().to_string(), expected);
    let mut reader = LogReader::open(simulated.shared(), Path::new(PARTITION), 3).unwrap();
    assert_eq!(reader.body(&head).unwrap_err().to_string(), expected, "its bytes are gone");
    assert_eq!(reader.next_frame().unwrap().unwrap().head.rows, 4);
}
