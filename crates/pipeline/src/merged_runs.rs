//! Sorted runs merged: rows by the instant at which they are taken, then by offset. A run is held in memory, or waits in
//! a file and is read back piece by piece.
//!
//! ```text
//!   run 0   ▪▪▪▪▪▪▪▪│            the run whose next row is least gives rows
//!   run 1        ▪▪▪▪▪▪▪▪│       up to the next row of the others
//!   run 2             ▪▪▪▪▪▪│
//! ```
//! A file that is in order already, as history mostly is, gives runs that do not overlap, and whole slices of them pass.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::error::PipelineError;
use crate::row_layout::{offsets, taken_at};

/// Rows of a batch that comes out; also how much of a run on disk is in memory at a time.
pub(crate) const MERGED_ROWS_MAX: usize = 8_192;

/// When a row is taken, and its offset.
type Place = (i64, u64);

/// Sorted rows, in memory or on disk.
#[derive(Debug)]
pub(crate) enum Run {
    /// All of them.
    Held(Option<RecordBatch>),
    /// In a file that vanishes with its folder.
    Spilled(Box<StreamReader<BufReader<File>>>, PathBuf),
}

/// Runs, merged.
#[derive(Debug)]
pub(crate) struct MergedRuns {
    schema: SchemaRef,
    sources: Vec<Run>,
    /// What is left of the batch that each run stands in.
    standing: Vec<Option<RecordBatch>>,
    next: BinaryHeap<Reverse<(Place, usize)>>,
}

impl Run {
    /// A run of rows that are sorted here if they are not yet.
    pub(crate) fn sorted(rows: RecordBatch) -> Result<Run, PipelineError> {
        let places: Vec<Place> = (0..rows.num_rows()).map(|row| place(&rows, row)).collect();
        if places.is_sorted() {
            return Ok(Run::Held(Some(rows)));
        }
        let mut order: Vec<u32> = (0..places.len() as u32).collect();
        order.sort_unstable_by_key(|row| places[*row as usize]);
        Ok(Run::Held(Some(take_record_batch(&rows, &UInt32Array::from(order))?)))
    }

    /// Writes merged runs to a file as one run.
    pub(crate) fn spilled(mut merged: MergedRuns, path: &Path) -> Result<Run, PipelineError> {
        let failed = |source| PipelineError::Spill { path: path.to_owned(), source };
        let file = File::create(path).map_err(|error| failed(error.into()))?;
        let mut writer = StreamWriter::try_new(BufWriter::new(file), &merged.schema).map_err(failed)?;
        while let Some(rows) = merged.next_batch()? {
            writer.write(&rows).map_err(failed)?;
        }
        writer.finish().map_err(failed)?;
        drop(writer);
        let file = File::open(path).map_err(|error| failed(error.into()))?;
        let reader = StreamReader::try_new(BufReader::new(file), None).map_err(failed)?;
        Ok(Run::Spilled(Box::new(reader), path.to_owned()))
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, PipelineError> {
        match self {
            Run::Held(rows) => Ok(rows.take()),
            Run::Spilled(reader, path) => {
                let failed = |source| PipelineError::Spill { path: path.clone(), source };
                reader.next().transpose().map_err(failed)
            }
        }
    }
}

impl MergedRuns {
    pub(crate) fn new(schema: SchemaRef, runs: Vec<Run>) -> Result<MergedRuns, PipelineError> {
        let mut merged =
            MergedRuns { schema, standing: vec![None; runs.len()], sources: runs, next: BinaryHeap::new() };
        for run in 0..merged.sources.len() {
            merged.go_on(run)?;
        }
        Ok(merged)
    }

    /// The next rows, at most [`MERGED_ROWS_MAX`]; `None` behind the last.
    pub(crate) fn next_batch(&mut self) -> Result<Option<RecordBatch>, PipelineError> {
        let mut parts: Vec<RecordBatch> = Vec::new();
        let mut wanted = MERGED_ROWS_MAX;
        while wanted > 0 {
            let Some(Reverse((_, run))) = self.next.pop() else { break };
            let rows = self.standing[run].take().expect("a run in the heap stands in a batch");
            let bound = self.next.peek().map(|Reverse((place, _))| *place);
            let count = rows_before(&rows, bound).min(wanted);
            wanted -= count;
            parts.push(rows.slice(0, count));
            if count < rows.num_rows() {
                let rest = rows.slice(count, rows.num_rows() - count);
                self.next.push(Reverse((place(&rest, 0), run)));
                self.standing[run] = Some(rest);
            } else {
                self.go_on(run)?;
            }
        }
        match parts.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(only.clone())),
            _ => {
                let rows: Vec<(usize, usize)> = parts
                    .iter()
                    .enumerate()
                    .flat_map(|(part, rows)| (0..rows.num_rows()).map(move |row| (part, row)))
                    .collect();
                Ok(Some(interleave_record_batch(&parts.iter().collect::<Vec<_>>(), &rows)?))
            }
        }
    }

    /// Lets a run stand in its next batch.
    fn go_on(&mut self, run: usize) -> Result<(), PipelineError> {
        while let Some(rows) = self.sources[run].next()? {
            if rows.num_rows() > 0 {
                self.next.push(Reverse((place(&rows, 0), run)));
                self.standing[run] = Some(rows);
                return Ok(());
            }
        }
        Ok(())
    }
}

fn place(rows: &RecordBatch, row: usize) -> Place {
    (taken_at(rows).value(row), offsets(rows).value(row))
}

/// How many of the sorted rows come before `bound`: at least the first one.
fn rows_before(rows: &RecordBatch, bound: Option<Place>) -> usize {
    let Some(bound) = bound else { return rows.num_rows() };
    // Runs that interleave closely give a row or two at a time, so the search gallops from the front.
    let mut step = 1;
    while step < rows.num_rows() && place(rows, step) < bound {
        step *= 2;
    }
    let (mut low, mut high) = ((step / 2).max(1), step.min(rows.num_rows()));
    while low < high {
        let middle = low + (high - low) / 2;
        if place(rows, middle) < bound {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{Int64Array, UInt64Array};
    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::*;

    fn schema() -> SchemaRef {
        let fields = [Field::new("taken at", DataType::Int64, false), Field::new("offset", DataType::UInt64, false)];
        Arc::new(Schema::new(fields.to_vec()))
    }

    fn rows(places: &[Place]) -> RecordBatch {
        let times = Int64Array::from_iter_values(places.iter().map(|place| place.0));
        let offsets = UInt64Array::from_iter_values(places.iter().map(|place| place.1));
        RecordBatch::try_new(schema(), vec![Arc::new(times), Arc::new(offsets)]).unwrap()
    }

    fn merged(runs: Vec<Run>) -> Vec<Place> {
        let mut merged = MergedRuns::new(schema(), runs).unwrap();
        let mut found = Vec::new();
        while let Some(rows) = merged.next_batch().unwrap() {
            assert!((1..=MERGED_ROWS_MAX).contains(&rows.num_rows()));
            found.extend((0..rows.num_rows()).map(|row| place(&rows, row)));
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn merging_is_sorting(times in prop::collection::vec(-500..500i64, 0..400), cut in 1..60usize, spilled in any::<bool>()) {
            let places: Vec<Place> = times.iter().zip(0..).map(|(time, offset)| (*time, offset)).collect();
            let folder = tempfile::tempdir().unwrap();
            let mut runs: Vec<Run> = places.chunks(cut).map(|part| Run::sorted(rows(part)).unwrap()).collect();
            if spilled && runs.len() > 2 {
                let rest = runs.split_off(runs.len() / 2);
                let path = folder.path().join("run");
                runs.push(Run::spilled(MergedRuns::new(schema(), rest).unwrap(), &path).unwrap());
            }
            let mut expected = places;
            expected.sort_unstable();
            prop_assert_eq!(merged(runs), expected);
        }
    }

    #[test]
    fn long_runs_come_in_pieces() {
        let places: Vec<Place> = (0..3 * MERGED_ROWS_MAX as u64 + 1).map(|offset| (7, offset)).collect();
        assert_eq!(merged(vec![Run::sorted(rows(&places)).unwrap()]), places);
        assert_eq!(merged(Vec::new()), []);
    }
}
