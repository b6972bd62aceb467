//! A random life of writers on a simulated disk, and the simplest model of what the log must hold after it.
//!
//! ```text
//!   appended ──────────────▶ may be there, as a prefix
//!   └─ synced, or found ───▶ must be there
//! ```

use std::path::Path;
use std::sync::Arc;

use asof_disk::Disk;
use asof_disk::simulated::SimulatedDisk;
use asof_log::{Claim, LogError, LogReader, LogSettings, NewFrame, PartitionLog, TakeOver};

pub(crate) const ROOT: &str = "/data";
pub(crate) const PARTITION: &str = "/data/log/clicks/0";

/// One frame as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) first_offset: u64,
    pub(crate) rows: u32,
    pub(crate) arrived_us: i64,
    pub(crate) body: Vec<u8>,
}

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// In order; those before `dropped` may have been removed.
    frames: Vec<Appended>,
    /// So many of them must be there.
    must: usize,
    dropped_before: u64,
    generation: u64,
}

/// SplitMix64.
#[derive(Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Why a life ended before its time.
pub(crate) enum End {
    /// The disk failed, as it was asked to.
    Failed,
    /// A promise was broken.
    Broken(String),
}

impl Model {
    /// One life of a writer: claims the folder, opens the log, checks what is there, and appends `groups` groups.
    pub(crate) fn live(&mut self, disk: &SimulatedDisk, chance: &mut Chance, groups: usize) -> Result<(), End> {
        let claim = Claim::take(disk.shared(), Path::new(ROOT), TakeOver::Refuse).map_err(failed_or_broken)?;
        if claim.generation() <= self.generation {
            return Err(End::Broken(format!("generation {} was given out twice", claim.generation())));
        }
        self.generation = claim.generation();
        let mut log = self.open(disk)?;
        for _ in 0..groups {
            if let Err(error) = self.write_group(&mut log, chance) {
                failed_or_broken(error);
                let broken = log.append(NewFrame { rows: 1, arrived_us: 0, dead: 0, newest_us: 0, body: b"after" });
                assert!(broken.is_err(), "a broken log took a frame");
                return Err(End::Failed);
            }
        }
        claim.check().map_err(failed_or_broken)
    }

    fn open(&mut self, disk: &SimulatedDisk) -> Result<PartitionLog, End> {
        let settings = LogSettings { segment_bytes: 3000, generation: self.generation };
        let opened = PartitionLog::open(disk.shared(), Path::new(PARTITION), settings);
        let (log, _torn) = opened.map_err(failed_or_broken)?;
        let found = read_all(&disk.shared(), log.first_offset()).map_err(failed_or_broken)?;
        self.check(&found, &log)?;
        Ok(log)
    }

    /// Everything that must be there is, and what is there was appended, in order, whole. From then on it must stay.
    fn check(&mut self, found: &[Appended], log: &PartitionLog) -> Result<(), End> {
        let first = found.first().map_or(log.next_offset(), |frame| frame.first_offset);
        if first > self.dropped_before {
            return Err(End::Broken(format!("the log begins at {first}, dropped was before {}", self.dropped_before)));
        }
        let begin = self.frames.iter().position(|frame| frame.first_offset >= first).unwrap_or(self.frames.len());
        let expected = &self.frames[begin..];
        if !expected.starts_with(found) {
            return Err(End::Broken("the log holds what was never appended there".to_owned()));
        }
        let there = begin + found.len();
        if there < self.must {
            return Err(End::Broken(format!("{there} frames are there of {} that were durable", self.must)));
        }
        self.frames.truncate(there);
        self.must = there;
        let end = self.frames.last().map_or(0, |frame| frame.first_offset + u64::from(frame.rows));
        if end != log.next_offset() {
            return Err(End::Broken(format!("the next offset is {}, and the frames end at {end}", log.next_offset())));
        }
        Ok(())
    }

    fn write_group(&mut self, log: &mut PartitionLog, chance: &mut Chance) -> Result<(), LogError> {
        if chance.below(3) == 0 {
            log.reserve(chance.below(2000))?;
        }
        for _ in 0..=chance.below(3) {
            let body = vec![chance.below(256) as u8; chance.below(1500) as usize];
            let (rows, arrived_us) = (1 + chance.below(5) as u32, chance.below(1 << 50) as i64);
            let first_offset = log.next_offset();
            // It may be there after a crash even if the write fails.
            self.frames.push(Appended { first_offset, rows, arrived_us, body: body.clone() });
            let given = log.append(NewFrame { rows, arrived_us, dead: 0, newest_us: arrived_us, body: &body })?;
            assert_eq!(given, first_offset);
        }
        match chance.below(8) {
            0 => return Ok(()),
            1 => log.seal()?,
            _ => log.sync()?,
        }
        self.must = self.frames.len();
        if chance.below(10) == 0 {
            let keep = chance.below(log.next_offset() + 1);
            self.dropped_before = self.dropped_before.max(keep);
            log.drop_segments_before(keep)?;
        }
        Ok(())
    }
}

/// A disk that fails says so; anything else that goes wrong on opening is a broken promise.
fn failed_or_broken(error: LogError) -> End {
    match error {
        LogError::Io { source, .. } if is_asked_for(&source) => End::Failed,
        other => End::Broken(other.to_string()),
    }
}

/// A crash point, or a sync that was to fail (`EIO`).
pub(crate) fn is_asked_for(error: &std::io::Error) -> bool {
    error.to_string().contains("the disk crashed") || error.raw_os_error() == Some(5)
}

/// All frames from this offset on.
pub(crate) fn read_all(disk: &Arc<dyn Disk>, from: u64) -> Result<Vec<Appended>, LogError> {
    read_folder(disk, Path::new(PARTITION), from)
}

pub(crate) fn read_folder(disk: &Arc<dyn Disk>, folder: &Path, from: u64) -> Result<Vec<Appended>, LogError> {
    let mut reader = LogReader::open(disk.clone(), folder, from)?;
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        let head = frame.head;
        frames.push(Appended {
            first_offset: head.first_offset,
            rows: head.rows,
            arrived_us: head.arrived_us,
            body: frame.body,
        });
    }
    Ok(frames)
}

/// A log with segments of so many bytes, opened by a new claim.
pub(crate) fn open(disk: &SimulatedDisk, segment_bytes: u64) -> (Claim, PartitionLog) {
    let claim = Claim::take(disk.shared(), Path::new(ROOT), TakeOver::TakeOver).unwrap();
    let settings = LogSettings { segment_bytes, generation: claim.generation() };
    let (log, _torn) = PartitionLog::open(disk.shared(), Path::new(PARTITION), settings).unwrap();
    (claim, log)
}

/// Appends one frame of this many rows whose body is the number of its first offset, over and over.
pub(crate) fn append(log: &mut PartitionLog, rows: u32, body_bytes: usize) -> Result<u64, LogError> {
    let body = body_of(log.next_offset(), body_bytes);
    log.append(NewFrame { rows, arrived_us: 1_000, dead: 0, newest_us: 900, body: &body })
}

pub(crate) fn body_of(offset: u64, bytes: usize) -> Vec<u8> {
    offset.to_be_bytes().iter().copied().cycle().take(bytes).collect()
}
