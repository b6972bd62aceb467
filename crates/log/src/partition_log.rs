//! The writer's end of a log: append, sync, seal, drop.
//!
//! ```text
//!   sealed segments … │ active: durable ──▶ written ──▶ reserved
//!                                      sync         append     reserve
//! ```
//! One owner. A call that fails because the disk is full has changed nothing. After any other failure of a write or a sync it
//! is unknown what the file holds, so the log is broken: every later call fails until the log is opened anew.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use asof_disk::Disk;

use crate::active::Active;
use crate::beginning::{Beginning, end_with, remove_older};
use crate::chain::Chain;
use crate::error::LogError;
use crate::mark::{Durable, Mark};
use crate::recovery::{Recovered, TornTail, recover};
use crate::segment::{FOOTER_BYTES, FRAME_BODY_BYTES_MAX, Footer, SegmentName, frame_bytes};
use crate::sites::{DROP, ENTRY, GROUP, SEAL};
use crate::summary::SegmentSummary;
use crate::unsynced::Unsynced;

/// How long a segment gets before the next one begins: 128 MiB.
pub const SEGMENT_BYTES_DEFAULT: u64 = 128 << 20;

/// How often a log is looked at that older writers go on changing.
const OPENINGS_MAX: usize = 16;
/// A reservation is for bodies in at most this many frames.
const RESERVED_FRAMES_MAX: u64 = 64;

/// How a log is written.
#[derive(Clone, Copy, Debug)]
pub struct LogSettings {
    /// How long a segment gets before the next one begins. A frame that is longer gets a segment of its own.
    pub segment_bytes: u64,
    /// The generation of the writer: [`Claim::generation`](crate::Claim::generation).
    pub generation: u64,
}

/// Rows to be appended as one: after a crash all of them are there, or none.
#[derive(Clone, Copy, Debug)]
pub struct NewFrame<'a> {
    /// How many offsets it takes; at least 1.
    pub rows: u32,
    /// When it arrived, in microseconds since 1970.
    pub arrived_us: i64,
    /// How many of its rows are dead letters.
    pub dead: u32,
    /// The newest event time in it, in microseconds since 1970; `i64::MIN`: none.
    pub newest_us: i64,
    /// What is stored; at most [`FRAME_BODY_BYTES_MAX`].
    pub body: &'a [u8],
}

/// The log of one partition, to write.
#[derive(Debug)]
pub struct PartitionLog {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    settings: LogSettings,
    /// Those before the active one; the last of them is not sealed yet while `before_first` has its footer.
    sealed: Vec<SegmentSummary>,
    /// `None` once this writer's first segment was begun.
    before_first: Option<BeforeFirst>,
    active: Option<Active>,
    next_offset: u64,
    mark: Mark,
    is_broken: bool,
    /// The frame that is being written; kept for its memory.
    frame: Vec<u8>,
}

/// What is to be done when the first segment begins.
#[derive(Debug)]
struct BeforeFirst {
    /// What the last segment that was found lacks.
    footer: Option<Footer>,
}

impl PartitionLog {
    /// Opens the log in `folder`, which is made where it is missing. What is there is durable when this returns, and nobody but
    /// this writer adds to it: its first segment is begun, unless the disk is full, and before its first record otherwise.
    /// [`LogError::Locked`] while another writer begins one: to be opened again after some milliseconds.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        settings: LogSettings,
    ) -> Result<(PartitionLog, Option<TornTail>), LogError> {
        let mut damage: Option<String> = None;
        for _ in 0..OPENINGS_MAX {
            let error = match PartitionLog::open_once(&disk, folder, settings) {
                Err(error) if error.may_be_of_another() => error,
                opened => return opened,
            };
            // What a writer that is overtaken is just doing looks otherwise the next time.
            let found = matches!(error, LogError::Damaged { .. }).then(|| error.to_string());
            if found.is_some() && found == damage {
                return Err(error);
            }
            damage = found;
        }
        PartitionLog::open_once(&disk, folder, settings)
    }

    fn open_once(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        settings: LogSettings,
    ) -> Result<(PartitionLog, Option<TornTail>), LogError> {
        let Recovered { segments, footer, next_offset, torn } = recover(disk, folder, settings.generation)?;
        let mut log = PartitionLog {
            mark: Mark::new(disk.clone(), folder, settings.generation),
            disk: disk.clone(),
            folder: folder.to_path_buf(),
            settings,
            sealed: segments,
            before_first: Some(BeforeFirst { footer }),
            active: None,
            next_offset,
            is_broken: false,
            frame: Vec::new(),
        };
        match log.begin_segment() {
            // It serves what it has until there is room.
            Err(LogError::Full { .. }) => {
                disk.sync_folder(folder, ENTRY).map_err(|source| LogError::io(folder, source))?;
            }
            begun => begun?,
        }
        Ok((log, torn))
    }

    /// The offset that the next row gets.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// The offset of the first row that is there, or will be.
    pub fn first_offset(&self) -> u64 {
        match (self.sealed.first(), &self.active) {
            (Some(sealed), _) => sealed.first_offset,
            (None, Some(active)) => active.name.first_offset,
            (None, None) => self.next_offset,
        }
    }

    /// Makes sure that bodies of so many bytes, in at most 64 frames, will find room. [`LogError::Full`]: nothing has changed.
    pub fn reserve(&mut self, bytes: u64) -> Result<(), LogError> {
        self.check_not_broken()?;
        self.make_room(bytes.saturating_add(RESERVED_FRAMES_MAX * frame_bytes(1)))
    }

    /// Writes a frame behind the others and returns the offset of its first row. It is durable after the next
    /// [`PartitionLog::sync`].
    pub fn append(&mut self, frame: NewFrame<'_>) -> Result<u64, LogError> {
        self.check_not_broken()?;
        check_frame(&frame, self.next_offset)?;
        self.make_room(frame_bytes(frame.body.len() as u64))?;
        let active = self.active.as_mut().expect("there is an active segment once room was made in it");
        let head = active.head(&frame, self.next_offset);
        self.frame.clear();
        head.encode(&mut self.frame);
        self.frame.extend_from_slice(frame.body);
        self.frame.resize((head.end_byte() - head.byte) as usize, 0);
        if let Err(source) = active.file.write_at(head.byte, &self.frame) {
            self.is_broken = true;
            return Err(LogError::failed(&active.path, source));
        }
        active.written.take(&head);
        self.next_offset = head.end_offset();
        Ok(head.first_offset)
    }

    /// Makes everything durable that was appended.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.or_break(PartitionLog::sync_active)
    }

    /// What was written and no sync has covered yet, to be synced without this log: it may be written meanwhile.
    pub fn unsynced(&self) -> Option<Unsynced> {
        let active = self.active.as_ref().filter(|active| active.is_unsynced())?;
        Some(Unsynced {
            segment: active.name,
            path: active.path.clone(),
            file: active.file.clone(),
            syncing: active.syncing.clone(),
            end_byte: active.written.end_byte,
            end_offset: self.next_offset,
        })
    }

    /// Takes note of how [`Unsynced::sync`] ended. A failure breaks the log.
    pub fn note_synced(&mut self, unsynced: &Unsynced, synced: Result<(), LogError>) -> Result<(), LogError> {
        self.or_break(|log| {
            synced?;
            match &mut log.active {
                Some(active) if active.name == unsynced.segment && active.durable_byte < unsynced.end_byte => {
                    active.durable_byte = unsynced.end_byte;
                    log.mark.set(Durable { segment: active.name, bytes: active.durable_byte })
                }
                // A sync of the log itself covered more.
                _ => Ok(()),
            }
        })
    }

    /// Ends the active segment, durably: at an orderly end, so that the next start need not walk it.
    pub fn seal(&mut self) -> Result<(), LogError> {
        self.or_break(PartitionLog::seal_active)
    }

    /// The segments in the order of their offsets; the last may be the active one.
    pub fn segments(&self) -> Vec<SegmentSummary> {
        let active = self.active.iter().filter(|active| active.written.frames > 0);
        let active = active.map(|active| SegmentSummary::of_scan(active.name, &active.written, false));
        self.sealed.iter().cloned().chain(active).collect()
    }

    /// Removes the sealed segments that hold nothing from `offset` on, oldest first. The newest stays: its name keeps the
    /// offset. Returns how many were removed.
    pub fn drop_segments_before(&mut self, offset: u64) -> Result<usize, LogError> {
        self.check_not_broken()?;
        // What a newer writer needs is not ours to judge.
        Chain::list(&*self.disk, &self.folder)?.check_none_newer(&self.folder, self.settings.generation)?;
        let mut dropped = 0;
        self.or_break(|log| {
            while log.first_may_go(offset) {
                log.drop_first()?;
                dropped += 1;
            }
            Ok(())
        })?;
        Ok(dropped)
    }

    fn first_may_go(&self, offset: u64) -> bool {
        let is_followed = self.sealed.len() > 1 || self.active.is_some();
        is_followed && self.sealed.first().is_some_and(|first| first.end_offset <= offset)
    }

    fn drop_first(&mut self) -> Result<(), LogError> {
        let path = self.sealed.remove(0).name().path(&self.folder);
        match self.disk.remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(LogError::failed(&path, error)),
            _removed_or_gone => {}
        }
        self.disk.sync_folder(&self.folder, DROP).map_err(|source| LogError::failed(&self.folder, source))
    }

    fn check_not_broken(&self) -> Result<(), LogError> {
        if self.is_broken { Err(LogError::Broken { path: self.folder.clone() }) } else { Ok(()) }
    }

    /// Does what breaks the log if it fails.
    fn or_break(&mut self, act: impl FnOnce(&mut PartitionLog) -> Result<(), LogError>) -> Result<(), LogError> {
        self.check_not_broken()?;
        let done = act(self);
        self.is_broken = done.is_err();
        done
    }

    /// Sees to it that the active segment has room for so many more bytes of frames, beginning a new one if need be.
    fn make_room(&mut self, bytes: u64) -> Result<(), LogError> {
        let segment_bytes = self.settings.segment_bytes;
        if self.active.as_ref().is_some_and(|active| active.is_long_with(bytes, segment_bytes)) {
            self.or_break(PartitionLog::seal_active)?;
        }
        if self.active.is_none() {
            self.begin_segment()?;
        }
        let active = self.active.as_mut().expect("there is an active segment once one was begun");
        active.reserve(bytes, segment_bytes)
    }

    /// Begins a segment. By the first one whatever older writers still write is behind their end.
    fn begin_segment(&mut self) -> Result<(), LogError> {
        let name = SegmentName { generation: self.settings.generation, first_offset: self.next_offset };
        let beginning = Beginning::take(&self.disk, &self.folder, name, &self.sealed)?;
        let active = Active::create(&*self.disk, &self.folder, name)?;
        self.or_break(|log| {
            active.begin(&*log.disk, &log.folder)?;
            log.active = Some(active);
            drop(beginning);
            log.before_first.take().map_or(Ok(()), |before| log.tidy_behind_first(before.footer))
        })
    }

    fn tidy_behind_first(&mut self, footer: Option<Footer>) -> Result<(), LogError> {
        if let (Some(footer), Some(last)) = (footer, self.sealed.last_mut()) {
            *last = SegmentSummary::of_footer(last.name(), &footer);
            end_with(&*self.disk, &last.name().path(&self.folder), &footer)?;
        }
        remove_older(&*self.disk, &self.folder, self.settings.generation)
    }

    fn sync_active(&mut self) -> Result<(), LogError> {
        let Some(active) = self.active.as_mut().filter(|active| active.is_unsynced()) else { return Ok(()) };
        active.syncing.sync(&*active.file, GROUP).map_err(|source| LogError::failed(&active.path, source))?;
        active.durable_byte = active.written.end_byte;
        self.mark.set(Durable { segment: active.name, bytes: active.durable_byte })
    }

    fn seal_active(&mut self) -> Result<(), LogError> {
        let Some(active) = self.active.as_ref().filter(|active| active.written.frames > 0) else { return Ok(()) };
        let (name, end_byte) = (active.name, active.written.end_byte);
        let failed = |source| LogError::failed(&active.path, source);
        active.file.write_at(end_byte, &active.written.footer().encode()).map_err(failed)?;
        active.file.truncate(end_byte + FOOTER_BYTES).map_err(failed)?;
        active.syncing.sync(&*active.file, SEAL).map_err(failed)?;
        self.sealed.push(SegmentSummary::of_scan(name, &active.written, true));
        // Until here: a log that broke on the way still tells what it has.
        self.active = None;
        self.mark.set(Durable { segment: name, bytes: end_byte })
    }
}

fn check_frame(frame: &NewFrame<'_>, first_offset: u64) -> Result<(), LogError> {
    let fits = frame.rows > 0
        && frame.body.len() as u64 <= FRAME_BODY_BYTES_MAX
        && first_offset.checked_add(u64::from(frame.rows)).is_some();
    if fits {
        return Ok(());
    }
    Err(LogError::Frame { rows: frame.rows, bytes: frame.body.len(), bytes_max: FRAME_BODY_BYTES_MAX })
}
