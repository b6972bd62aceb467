//! What checkpoints measure of themselves, and how far the kept ones cover each stream's log.

use std::collections::VecDeque;
use std::sync::Mutex;

use asof_state::{About, Manifest, StreamAbout};

use crate::checkpoint_chain::bytes_of;
use crate::checkpointer::KEPT;
use crate::distribution::Distribution;
use crate::engine::lock;
use crate::stream_image::StreamImage;

/// What checkpoints measure of themselves.
#[derive(Debug, Default)]
pub struct CheckpointMeasures {
    /// From its cut to its end.
    pub duration: Distribution,
    /// How long the writer stood still for the cut.
    pub pause: Distribution,
    last: Mutex<LastCheckpoint>,
    /// For the checkpoints that are kept, oldest first, from where on a start needs each log.
    covered: Mutex<VecDeque<Vec<(String, u64)>>>,
}

/// The newest checkpoint, and how many failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LastCheckpoint {
    /// When it was cut, by the wall clock in microseconds; `None` before the first.
    pub cut_us: Option<i64>,
    /// Its number.
    pub epoch: u64,
    /// Bytes of all its parts, those of earlier checkpoints that it builds on included.
    pub bytes: u64,
    /// Attempts that failed since the start.
    pub failures: u64,
}

impl CheckpointMeasures {
    /// The newest checkpoint.
    pub fn last(&self) -> LastCheckpoint {
        *lock(&self.last)
    }

    pub(crate) fn begin_from(&self, manifest: &Manifest) {
        let cut_us = manifest.about.arrived_us;
        let last = LastCheckpoint {
            cut_us: Some(cut_us),
            epoch: manifest.epoch,
            bytes: bytes_of(&manifest.parts),
            failures: 0,
        };
        *lock(&self.last) = last;
        self.cover(&manifest.about);
    }

    /// The offset up to which every kept checkpoint has a stream's events, and holds none of them: the next start needs those
    /// from there on.
    pub(crate) fn covered(&self, stream: &str) -> u64 {
        let covered = lock(&self.covered);
        if covered.len() < KEPT {
            return 0;
        }
        let of =
            |offsets: &Vec<(String, u64)>| offsets.iter().find(|(name, _)| name == stream).map_or(0, |(_, to)| *to);
        covered.iter().map(of).min().unwrap_or(0)
    }

    pub(crate) fn taken(&self, manifest: &Manifest, began_us: i64, ended_us: i64) {
        self.duration.add(ended_us - began_us, 1);
        self.cover(&manifest.about);
        let mut last = lock(&self.last);
        let bytes = bytes_of(&manifest.parts);
        *last = LastCheckpoint { cut_us: Some(began_us), epoch: manifest.epoch, bytes, ..*last };
    }

    pub(crate) fn failed(&self) {
        lock(&self.last).failures += 1;
    }

    fn cover(&self, about: &About) {
        let mut covered = lock(&self.covered);
        let read_from = |stream: &StreamAbout| {
            let image = StreamImage::read(&stream.image);
            (stream.name.clone(), image.map_or(stream.next_offset, |image| image.read_from()))
        };
        covered.push_back(about.streams.iter().map(read_from).collect());
        while covered.len() > KEPT {
            covered.pop_front();
        }
    }
}
