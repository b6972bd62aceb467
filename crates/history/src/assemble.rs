//! Results back beside their spine rows, in the spine's order: block by block, each view's results are put in the order of
//! rows, the service's expressions run over them, and the rows are written.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat, concat_batches, take};
use arrow::datatypes::{Field, Schema, SchemaRef, UInt64Type};
use arrow::error::ArrowError;
use asof_connect::TableWriter;
use asof_definition::Feature;
use asof_feature::{FeatureFailure, ServicePlan, ViewAnswers};

use crate::error::HistoryError;
use crate::job::OnError;
use crate::progress::Progress;
use crate::spine::{Spine, SpineBatch};
use crate::spine_reads::{BLOCK_ROWS, RowFailure, SpineReads};
use crate::stop::Stop;

/// The output of a spine job.
pub(crate) struct Assembly<'a> {
    pub(crate) spine: &'a Spine<'a>,
    /// For a service; `None` for a view.
    pub(crate) service: Option<&'a ServicePlan>,
    /// The features of the output, by name and type.
    pub(crate) features: &'a [Feature],
    /// One for each join, one for a view.
    pub(crate) reads: Vec<&'a SpineReads>,
    pub(crate) on_error: OnError,
}

/// A block of the spine's rows.
struct Block {
    number: u64,
    rows: SpineBatch,
}

impl Assembly<'_> {
    /// The columns of the output: the spine's, then the features.
    pub(crate) fn schema(&self) -> Result<SchemaRef, HistoryError> {
        let mut fields: Vec<Field> =
            self.spine.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        for feature in self.features {
            if fields.iter().any(|field| *field.name() == feature.name) {
                return Err(HistoryError::request_with_hint(
                    format!("the spine has a column `{0}` and so has the output a feature `{0}`", feature.name),
                    "rename or drop the spine's column, or name the feature otherwise with AS",
                ));
            }
            fields.push(Field::new(&feature.name, feature.expression.data_type().clone(), true));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Writes all rows. Returns how many, and how many values failed.
    pub(crate) fn write(
        &self,
        writer: &TableWriter,
        schema: &SchemaRef,
        stop: &Stop,
        progress: &dyn Progress,
    ) -> Result<(u64, u64), HistoryError> {
        let failures: Vec<Vec<RowFailure>> = self.reads.iter().map(|reads| reads.failures()).collect();
        let (mut rows, mut failed) = (0, 0);
        for block in self.blocks()? {
            stop.check()?;
            let block = block?;
            let count = block.rows.batch.num_rows();
            let (features, failing) = self.features_of(&block, &failures)?;
            failed += failing.len() as u64;
            if let (OnError::Fail, Some(first)) =
                (self.on_error, failing.iter().min_by_key(|one| (one.row, one.feature)))
            {
                return Err(HistoryError::RowFailed {
                    place: self.spine.place(block.number * BLOCK_ROWS + first.row as u64),
                    feature: self.features[first.feature].name.clone(),
                    kind: first.kind.name(),
                    detail: first.detail.clone(),
                });
            }
            let mut columns = block.rows.batch.columns().to_vec();
            columns.extend(features);
            writer.append(&[RecordBatch::try_new(schema.clone(), columns)?])?;
            rows += count as u64;
            progress.advance(count as u64);
        }
        Ok((rows, failed))
    }

    fn features_of(
        &self,
        block: &Block,
        failures: &[Vec<RowFailure>],
    ) -> Result<(Vec<ArrayRef>, Vec<FeatureFailure>), HistoryError> {
        let rows = block.rows.batch.num_rows();
        let first_row = block.number * BLOCK_ROWS;
        let mut answers = Vec::with_capacity(self.reads.len());
        for (reads, failures) in self.reads.iter().zip(failures) {
            let results = reads.results.take(block.number as usize)?;
            let numbers = results.column(0).as_primitive::<UInt64Type>().values();
            if numbers.len() != rows {
                return Err(self.spine.changed());
            }
            let mut place = vec![0u32; rows];
            numbers.iter().enumerate().for_each(|(at, row)| place[(row - first_row) as usize] = at as u32);
            let place = UInt32Array::from(place);
            let features = results.columns()[1..].iter().map(|column| take(column, &place, None));
            let start = failures.partition_point(|failure| failure.row < first_row);
            let own = failures[start..].iter().take_while(|failure| failure.row < first_row + rows as u64);
            answers.push(ViewAnswers {
                features: features.collect::<Result<_, _>>()?,
                failures: own
                    .map(|failure| FeatureFailure {
                        row: (failure.row - first_row) as usize,
                        feature: failure.feature,
                        kind: failure.kind,
                        detail: failure.detail.clone(),
                    })
                    .collect(),
                known: vec![true; rows].into(),
            });
        }
        match self.service {
            Some(plan) => Ok(plan.features(&block.rows.request, &block.rows.keys, &answers, rows)?),
            None => Ok(answers.pop().map(|view| (view.features, view.failures)).unwrap_or_default()),
        }
    }

    /// The spine's rows again, in blocks of exactly `BLOCK_ROWS` but for the last.
    fn blocks(&self) -> Result<impl Iterator<Item = Result<Block, HistoryError>>, HistoryError> {
        let mut batches = self.spine.batches()?;
        let block_rows = BLOCK_ROWS as usize;
        let mut waiting: Vec<SpineBatch> = Vec::new();
        let mut number = 0;
        Ok(std::iter::from_fn(move || {
            loop {
                let held: usize = waiting.iter().map(|batch| batch.batch.num_rows()).sum();
                let next = if held < block_rows { batches.next() } else { None };
                match next {
                    Some(Ok((_, batch))) => waiting.push(batch),
                    Some(Err(error)) => return Some(Err(error)),
                    None if held == 0 => return None,
                    None => {
                        let joined = match joined(std::mem::take(&mut waiting)) {
                            Ok(joined) => joined,
                            Err(error) => return Some(Err(error)),
                        };
                        let (rows, rest) = split(joined, block_rows);
                        waiting.extend(rest);
                        number += 1;
                        return Some(Ok(Block { number: number - 1, rows }));
                    }
                }
            }
        }))
    }
}

fn joined(batches: Vec<SpineBatch>) -> Result<SpineBatch, HistoryError> {
    let mut batches = batches;
    if batches.len() == 1 {
        return Ok(batches.remove(0));
    }
    let Some(first) = batches.first() else {
        return Err(ArrowError::InvalidArgumentError("a block of no rows".to_owned()).into());
    };
    let all = |pick: &dyn Fn(&SpineBatch) -> ArrayRef| {
        let arrays: Vec<ArrayRef> = batches.iter().map(pick).collect();
        concat(&arrays.iter().map(|array| array.as_ref()).collect::<Vec<&dyn Array>>())
    };
    let request = (0..first.request.len()).map(|place| all(&|batch| batch.request[place].clone()));
    let keys = (0..first.keys.len()).map(|join| {
        (0..first.keys[join].len())
            .map(|part| all(&|batch| batch.keys[join][part].clone()))
            .collect::<Result<Vec<_>, _>>()
    });
    Ok(SpineBatch {
        batch: concat_batches(&first.batch.schema(), batches.iter().map(|batch| &batch.batch))?,
        instants: all(&|batch| Arc::new(batch.instants.clone()))?.as_primitive().clone(),
        request: request.collect::<Result<_, _>>()?,
        keys: keys.collect::<Result<_, _>>()?,
    })
}

/// The first `rows` rows, and what is left, if anything.
fn split(batch: SpineBatch, rows: usize) -> (SpineBatch, Option<SpineBatch>) {
    let total = batch.batch.num_rows();
    if total <= rows {
        return (batch, None);
    }
    let cut = |start: usize, len: usize| {
        let arrays = |arrays: &[ArrayRef]| arrays.iter().map(|array| array.slice(start, len)).collect::<Vec<_>>();
        SpineBatch {
            batch: batch.batch.slice(start, len),
            instants: batch.instants.slice(start, len),
            request: arrays(&batch.request),
            keys: batch.keys.iter().map(|parts| arrays(parts)).collect(),
        }
    };
    (cut(0, rows), Some(cut(rows, total - rows)))
}
