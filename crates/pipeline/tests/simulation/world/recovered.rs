//! After a start: what is on disk is what was seen and promised, and state is what is on disk.

use std::collections::BTreeSet;
use std::path::Path;

use asof_disk::Disk;
use asof_pipeline::Engine;

use super::World;
use crate::model::{Checked, StreamModel};
use crate::project::{BEATS, STREAMS};
use crate::stored::{History, Stored, history, stored};

impl World {
    /// Compares the disk with the model, lets the model go on from what the disk has, and compares the state with that.
    pub(super) fn recovered(&mut self, engine: &Engine) -> Checked<()> {
        self.trace.add(|| format!("recovered at {:?}", engine.published()));
        self.walk = self.walk.take().filter(|walk| walk.stream != BEATS);
        let mut arrived_us = i64::MIN;
        for place in 0..STREAMS {
            let stream = &engine.project().streams[place];
            let stored = match stored(&self.disk, &self.data, stream, &self.producers) {
                // The disk may have gone down by now.
                Err(_) if self.disk.list(Path::new("/")).is_err() => return Ok(()),
                stored => stored?,
            };
            let model = &self.model.streams[place];
            let history = history(&self.disk, &self.data, stream, &self.producers)?;
            let checked = check_used(place, model, &stored)
                .and_then(|()| check_letters(model, &stored))
                .and_then(|()| check_history(&stored, &history));
            checked.map_err(|what| format!("stream {place}: {what}"))?;
            arrived_us = arrived_us.max(stored.arrived_us);
            self.go_on_from(engine, place, stored)?;
        }
        // A group that the log has not may still be known to a checkpoint.
        self.arrived_us = arrived_us..=arrived_us.max(*self.arrived_us.end());
        self.same_position(engine)?;
        self.compare(engine, 0)
    }

    fn go_on_from(&mut self, engine: &Engine, place: usize, stored: Stored) -> Checked<()> {
        let now_us = self.now_us();
        let model = &mut self.model.streams[place];
        model.letters = stored.letters;
        model.named.extend(stored.named);
        model.recover(stored.used, stored.offsets, now_us);
        // How far it had followed the clock is what the checkpoint says, and never more than was seen.
        let found = engine.published().streams[place].watermark_us;
        let least = model.watermark_of_used(place);
        if found < least || found > least.max(model.watermark_highest_us) {
            let highest = model.watermark_highest_us;
            return Err(format!(
                "the watermark of stream {place} is {found:?}, of its events {least:?}, was {highest:?}"
            ));
        }
        model.watermark_us = found;
        Ok(())
    }
}

/// Each event once: those that were seen or promised, where they were, and no others that were not on their way.
fn check_used(place: usize, model: &StreamModel, stored: &Stored) -> Checked<()> {
    let mut serials: Vec<i64> = stored.used.iter().map(|one| one.event.serial).collect();
    serials.sort_unstable();
    if let Some(twice) = serials.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("event {} is used twice", twice[0]));
    }
    for seen in model.used.iter().filter(|one| place != BEATS || !model.unsure.contains(&one.event.serial)) {
        let is_same = |at: usize| {
            let found = &stored.used[at];
            found.event == seen.event && seen.arrived_us.contains(found.arrived_us.start())
        };
        let is_there = stored.used.binary_search_by_key(&seen.offset, |one| one.offset).is_ok_and(is_same);
        let may_be_gone = place == BEATS && seen.offset < stored.offsets.start && model.may_be_dropped(&seen.event);
        if !is_there && !may_be_gone {
            return Err(format!("event {} at {} was seen and is gone: {seen:?}", seen.event.serial, seen.offset));
        }
    }
    let is_known = |serial: &i64| serials.binary_search(serial).is_ok();
    if let Some(lost) = model.promised.iter().find(|serial| !is_known(serial) && place != BEATS) {
        return Err(format!("event {lost} was acknowledged and is gone"));
    }
    let was_used: BTreeSet<i64> = model.used.iter().map(|one| one.event.serial).collect();
    let is_explained =
        |serial: &&i64| [&was_used, &model.unsure, &model.promised].iter().any(|serials| serials.contains(serial));
    match serials.iter().find(|serial| !is_explained(serial)) {
        Some(surprise) => Err(format!("event {surprise} was refused, and is in the log")),
        None => Ok(()),
    }
}

/// Each dead letter that was seen is where it was.
fn check_letters(model: &StreamModel, stored: &Stored) -> Checked<()> {
    let mut seen = model.letters.range(stored.offsets.start..);
    match seen.find(|(offset, letter)| stored.letters.get(offset) != Some(letter)) {
        Some((offset, letter)) => Err(format!("the dead letter {letter:?} is not at {offset}")),
        None => Ok(()),
    }
}

/// What training reads, from Parquet and from frames, is what the log has: each used event once, each row accounted for.
fn check_history(stored: &Stored, history: &History) -> Checked<()> {
    let from = history.used.partition_point(|one| one.offset < stored.offsets.start);
    if history.used[from..] != stored.used[..] {
        return Err("the history is not what the log has".to_owned());
    }
    if stored.offsets.start == 0 && history.verdicts != stored.verdicts {
        return Err(format!("the history counts {:?}, the log {:?}", history.verdicts, stored.verdicts));
    }
    let is_beyond = history.files.last().is_some_and(|last| last.end > stored.offsets.end);
    if is_beyond || history.files.windows(2).any(|pair| pair[0].end > pair[1].start) {
        return Err(format!("the files {:?} overlap, or go beyond the log's {:?}", history.files, stored.offsets));
    }
    Ok(())
}
