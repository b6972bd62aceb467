//! What reads see, against the model; and two engines against each other.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::util::display::array_value_to_string;
use asof_pipeline::Engine;

use super::World;
use crate::model::Checked;
use crate::project::{BEATS, STREAMS};

/// The entities that events are of, and one that none is of.
const ENTITIES: i64 = 5;

impl World {
    /// What reads see is what was acknowledged, neither less nor more.
    pub(super) fn same_position(&mut self, engine: &Engine) -> Checked<()> {
        let published = engine.published();
        for (place, (position, model)) in published.streams.iter().zip(&mut self.model.streams).enumerate() {
            if position.next_offsets != [model.next_offset] {
                let (found, expected) = (&position.next_offsets, model.next_offset);
                return Err(format!("reads of stream {place} stand at {found:?}, acknowledged was up to {expected}"));
            }
            let (rows, used) = (position.accounting.total(), position.accounting.used);
            if rows != model.next_offset || used != model.used.len() as u64 && place != BEATS {
                return Err(format!("stream {place} counts {rows} rows, {used} used, at {}", model.next_offset));
            }
            if position.watermark_us != model.watermark_us {
                let (found, expected) = (position.watermark_us, model.watermark_us);
                return Err(format!("the watermark of stream {place} is {found:?}, expected {expected:?}"));
            }
            model.watermark_highest_us = model.watermark_highest_us.max(model.watermark_us);
        }
        Ok(())
    }

    /// All features of all entities, against the model: some time before now, and at the earliest instant that is answered.
    pub(super) fn compare(&mut self, engine: &Engine, back_us: i64) -> Checked<()> {
        let reading = engine.reading();
        if reading.published().newest_us.is_none() {
            return Ok(());
        }
        for view in 0..engine.project().views.len() {
            let earliest_us = earliest_us(engine, view);
            let as_of_us = earliest_us.max(Some(reading.now_us() - back_us));
            for as_of_us in as_of_us.into_iter().chain(earliest_us) {
                self.compare_view(engine, view, as_of_us)?;
            }
        }
        Ok(())
    }

    fn compare_view(&mut self, engine: &Engine, view: usize, as_of_us: i64) -> Checked<()> {
        let answers = answers(engine, view, as_of_us)?;
        for (entity, found) in answers.iter().enumerate() {
            let expected = self.model.features(view, self.variant, entity as i64, as_of_us);
            if found[..expected.len()] != expected {
                let name = &engine.project().views[view].name;
                return Err(format!("`{name}` of {entity} as of {as_of_us}: {found:?}, expected {expected:?}"));
            }
        }
        self.trace.add(|| format!("read {view} as of {as_of_us}: {answers:?}"));
        Ok(())
    }
}

/// The earliest instant that a view answers: by the slowest of its streams. `None` before the first event of one of them.
fn earliest_us(engine: &Engine, view: usize) -> Option<i64> {
    let reading = engine.reading();
    let streams = reading.streams_of_view(view).into_iter().map(|stream| &reading.published().streams[stream]);
    let watermarks: Option<Vec<i64>> = streams.map(|position| position.watermark_us).collect();
    Some(watermarks?.into_iter().min()? - engine.settings().as_of_horizon_us)
}

/// All features of a view as text, entity by entity.
fn answers(engine: &Engine, view: usize, as_of_us: i64) -> Checked<Vec<Vec<String>>> {
    let key: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(0..ENTITIES))];
    let answers = engine.reading().view(view, &key, ENTITIES as usize, as_of_us).map_err(|error| error.to_string())?;
    let text = |array: &ArrayRef, row: usize| match array.is_null(row) {
        true => "NULL".to_owned(),
        // The shortest text of a double that reads back as the same one.
        false => array_value_to_string(array, row).expect("a value has a text"),
    };
    let row = |row: usize| answers.features.iter().map(|array| text(array, row)).collect();
    Ok((0..ENTITIES as usize).map(row).collect())
}

/// Features, counts and reasons of two engines are the same.
pub(super) fn same_state(one: &Engine, other: &Engine) -> Checked<()> {
    let now_us = one.reading().now_us();
    for view in 0..one.project().views.len() {
        if one.published().newest_us.is_some() {
            // The one from the log alone has not followed the clock.
            let as_of_us = earliest_us(one, view).map_or(now_us, |earliest_us| earliest_us.max(now_us));
            let (found, expected) = (answers(one, view, as_of_us)?, answers(other, view, as_of_us)?);
            if found != expected {
                return Err(format!("view {view} after a checkpoint: {found:?}, from the log alone {expected:?}"));
            }
        }
        let (found, expected) = (one.view_statistics(view).set_aside, other.view_statistics(view).set_aside);
        if found != expected {
            return Err(format!("view {view} set aside {found}, from the log alone {expected}"));
        }
    }
    for derived in 0..one.project().derived.len() {
        let (found, expected) = (one.derived_statistics(derived).rows, other.derived_statistics(derived).rows);
        if found != expected {
            return Err(format!("derived stream {derived} has {found} rows, from the log alone {expected}"));
        }
    }
    for stream in 0..STREAMS {
        let (mut found, mut expected) = (one.stream_statistics(stream), other.stream_statistics(stream));
        found.reasons.sort_by(|one, other| one.name.cmp(&other.name));
        expected.reasons.sort_by(|one, other| one.name.cmp(&other.name));
        if (&found.position.accounting, &found.reasons) != (&expected.position.accounting, &expected.reasons)
            || found.position.newest_us != expected.position.newest_us
        {
            return Err(format!("stream {stream} after a checkpoint: {found:?}, from the log alone {expected:?}"));
        }
    }
    Ok(())
}
