//! The end of a log that is written and not durable: a hold of it for whoever syncs it, while the log is written on.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use asof_disk::{DiskFile, SyncSite};

use crate::error::LogError;
use crate::segment::SegmentName;
use crate::sites::GROUP;

/// What [`PartitionLog::unsynced`](crate::PartitionLog::unsynced) found.
#[derive(Debug)]
pub struct Unsynced {
    pub(crate) segment: SegmentName,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) syncing: Arc<Syncing>,
    /// Behind the last frame that was written then.
    pub(crate) end_byte: u64,
    pub(crate) end_offset: u64,
}

/// The syncs of a file, one at a time. The system tells of a page that it could not write once, to one of them: after a failure
/// all others fail too.
#[derive(Debug, Default)]
pub(crate) struct Syncing {
    has_failed: Mutex<bool>,
}

impl Syncing {
    pub(crate) fn sync(&self, file: &dyn DiskFile, site: SyncSite) -> io::Result<()> {
        let mut has_failed = self.has_failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *has_failed {
            return Err(io::Error::other("a sync before this one has failed"));
        }
        let synced = file.sync(site);
        *has_failed = synced.is_err();
        synced
    }
}

impl Unsynced {
    /// Makes it durable. The log is to be told of it by
    /// [`PartitionLog::note_synced`](crate::PartitionLog::note_synced).
    pub fn sync(&self) -> Result<(), LogError> {
        self.syncing.sync(&*self.file, GROUP).map_err(|source| LogError::failed(&self.path, source))
    }

    /// The offset behind the last row that was written then.
    pub fn end_offset(&self) -> u64 {
        self.end_offset
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use asof_disk::simulated::SimulatedDisk;

    use crate::partition_log::{LogSettings, NewFrame, PartitionLog};

    const FOLDER: &str = "/log";

    fn log(disk: &SimulatedDisk, generation: u64, segment_bytes: u64) -> PartitionLog {
        PartitionLog::open(disk.shared(), Path::new(FOLDER), LogSettings { segment_bytes, generation }).unwrap().0
    }

    fn append(log: &mut PartitionLog, rows: u32) {
        let frame = NewFrame { rows, arrived_us: 1, dead: 0, newest_us: 1, body: b"body" };
        log.append(frame).unwrap();
    }

    /// What is written between the two halves is not durable, and what was before is; also where a segment ended meanwhile.
    #[test]
    fn it_covers_what_was_written_before() {
        for (segment_bytes, kept) in [(1 << 20, 2), (1, 3)] {
            let disk = SimulatedDisk::new(1);
            let mut opened = log(&disk, 1, segment_bytes);
            append(&mut opened, 2);
            let unsynced = opened.unsynced().unwrap();
            append(&mut opened, 1);
            if segment_bytes == 1 {
                append(&mut opened, 1);
            }
            let synced = unsynced.sync();
            opened.note_synced(&unsynced, synced).unwrap();
            assert_eq!(unsynced.end_offset(), 2);
            assert_eq!(opened.unsynced().unwrap().end_offset(), opened.next_offset());
            drop(opened);
            disk.crash();
            let found = log(&disk, 2, segment_bytes).next_offset();
            assert!((kept..=kept + 1).contains(&found), "{found} of {segment_bytes}");
        }
    }

    #[test]
    fn a_failure_is_everybodys() {
        let disk = SimulatedDisk::new(1);
        let mut opened = log(&disk, 1, 1 << 20);
        append(&mut opened, 1);
        let unsynced = opened.unsynced().unwrap();
        disk.fail_sync(1);
        let failed = unsynced.sync();
        assert!(failed.is_err());
        assert!(opened.sync().is_err(), "the system would not say it twice");
        assert!(opened.note_synced(&unsynced, failed).is_err());
        assert!(opened.unsynced().is_some(), "it is not known to be durable");
    }
}
