//! A stream of scored rows: which rows of a batch are scored, what its services are asked for them, and the rows that come of it.
//!
//! ```text
//!   batch of a source ─▶ rows: derived, WHERE ─▶ request of each service ─▶ (read by the pipeline) ─▶ vectors ─▶ columns
//! ```
//! Nothing is read here: whoever holds the state answers the requests, each as of the time of its row.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use asof_definition::{BoundRequest, ScoredRows, Stream};
use asof_expression::normalize;

use crate::derived::{DerivedPlan, Feed};
use crate::error::FeatureError;
use crate::failure::FeatureFailure;
use crate::fingerprint::log_name;
use crate::made_rows::{MadeRows, Outputs};
use crate::stream::StreamPlan;
use crate::tables::Tables;
use crate::taking::SetAside;
use crate::view::nullable;

/// A stream of scored rows, bound.
#[derive(Debug)]
pub struct ScoredStream {
    plan: StreamPlan,
    inputs: Vec<RowInput>,
    /// The columns of the rows, then the features.
    known_schema: SchemaRef,
}

/// One way by which rows come: from a source, by one of its feeds.
#[derive(Debug)]
struct RowInput {
    source: Arc<Stream>,
    plan: Arc<DerivedPlan>,
    feed: Feed,
}

/// Rows of a batch of a source that are to be scored.
#[derive(Debug)]
pub struct RowsToScore {
    /// The columns of the rows before they are scored.
    pub batch: RecordBatch,
    /// For each of them, its row in the batch of the source.
    pub source_rows: Vec<usize>,
    /// Those of the source that an expression before failed on.
    pub set_aside: Vec<SetAside>,
}

/// What a service answered for rows.
#[derive(Debug)]
pub struct Vectors {
    /// One array for each feature, NULL where it failed.
    pub features: Vec<ArrayRef>,
    /// The features that failed.
    pub failures: Vec<FeatureFailure>,
}

/// Scored rows.
#[derive(Debug)]
pub struct Scores {
    /// The rows; those set aside by their rows in the batch of the source.
    pub made: MadeRows,
    /// For each of them, its row in the batch of the source.
    pub source_rows: Vec<usize>,
}

impl RowsToScore {
    /// The event time of each row, in microseconds.
    pub fn times_us(&self, scored: &ScoredStream) -> Vec<i64> {
        let times = self.batch.column(scored.scored().rows.time_column);
        times.as_primitive::<TimestampMicrosecondType>().values().to_vec()
    }

    /// Some of the rows, without those that are set aside.
    pub fn slice(&self, first: usize, rows: usize) -> RowsToScore {
        let source_rows = self.source_rows[first..first + rows].to_vec();
        RowsToScore { batch: self.batch.slice(first, rows), source_rows, set_aside: Vec::new() }
    }

    /// Without the rows that are not kept, which are set aside for a reason.
    pub fn without(self, kept: &BooleanArray, aside: impl Fn(usize) -> SetAside) -> Result<RowsToScore, FeatureError> {
        let refused = |source| FeatureError::Arrow { object: "rows to score".to_owned(), source };
        let batch = filter_record_batch(&self.batch, kept).map_err(refused)?;
        let mut set_aside = self.set_aside;
        let rows = || self.source_rows.iter().copied().zip(kept.values());
        set_aside.extend(rows().filter(|(_, kept)| !kept).map(|(row, _)| aside(row)));
        let source_rows = rows().filter(|(_, kept)| *kept).map(|(row, _)| row).collect();
        Ok(RowsToScore { batch, source_rows, set_aside })
    }
}

impl ScoredStream {
    /// Binds a stream whose rows are scored.
    ///
    /// # Panics
    /// If the stream is none.
    pub fn new(stream: Arc<Stream>) -> Result<ScoredStream, FeatureError> {
        let scored = stream.scored().expect("its rows are scored");
        let chain = scored.rows.lineage();
        let of_source = |source: &Arc<Stream>| {
            let plan = Arc::new(DerivedPlan::new(source, &chain));
            let input = |feed| RowInput { source: source.clone(), plan: plan.clone(), feed };
            plan.feeds(&scored.rows.name).into_iter().map(input).collect::<Vec<RowInput>>()
        };
        let inputs = scored.rows.sources().iter().flat_map(of_source).collect();
        let known_schema = nullable(&scored.row_scope().schema());
        Ok(ScoredStream { inputs, known_schema, plan: StreamPlan::new(stream)? })
    }

    /// The stream.
    pub fn stream(&self) -> &Arc<Stream> {
        self.plan.stream()
    }

    /// The stream as a log of its rows has it: under a name that tells which columns they have, and from which logs they come. What
    /// they are computed by may change: a row stays what it was.
    pub fn stored_form(&self) -> Arc<Stream> {
        let stream = self.stream();
        Arc::new(Stream { name: log_name(stream), ..(**stream).clone() })
    }

    /// How its rows are scored.
    pub fn scored(&self) -> &ScoredRows {
        self.stream().scored().expect("its rows are scored")
    }

    /// The ways by which rows come, as the sources that they come from: a source stands there for each way.
    pub fn inputs(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.inputs.iter().map(|input| &input.source)
    }

    /// The rows that come by the way of this number, of a batch of its source; `used` of that are events (`None` is all).
    pub fn rows(
        &self,
        input: usize,
        batch: &RecordBatch,
        used: Option<&BooleanArray>,
    ) -> Result<RowsToScore, FeatureError> {
        let RowInput { plan, feed, source } = &self.inputs[input];
        let derived = plan.derive(batch, used, &Tables::none())?;
        let (columns, used) = derived.at(*feed, batch, used);
        let (source_rows, batch) = match used {
            Some(used) => (used.values().set_indices().collect(), filter_record_batch(columns, used)),
            None => ((0..columns.num_rows()).collect(), Ok(columns.clone())),
        };
        let batch = batch.map_err(|source| self.refused(source))?;
        // What streams before set aside is theirs to tell.
        let own = plan.streams().iter().position(|stream| stream.name == self.scored().rows.name);
        let is_first = self.inputs[..input].iter().all(|other| other.source.name != source.name);
        let mut set_aside = derived.set_aside;
        let set_aside = own.filter(|_| is_first).map(|own| set_aside.swap_remove(own)).unwrap_or_default();
        Ok(RowsToScore { batch, source_rows, set_aside })
    }

    /// The columns of REQUEST of a service, for rows.
    pub fn request(&self, service: &BoundRequest, rows: &RowsToScore) -> Vec<ArrayRef> {
        let of_column = |value: &asof_expression::Expression| normalize(&value.evaluate_each(&rows.batch, None).values);
        service.request.iter().map(of_column).collect()
    }

    /// The rows with what the services answered, in the order of the text.
    pub fn score(&self, to_score: RowsToScore, vectors: &[Vectors]) -> Result<Scores, FeatureError> {
        let RowsToScore { batch, source_rows, mut set_aside } = to_score;
        let own = batch.num_columns();
        let columns = batch.columns().iter().chain(vectors.iter().flat_map(|one| &one.features)).cloned().collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let known = RecordBatch::try_new_with_options(self.known_schema.clone(), columns, &options)
            .map_err(|source| self.refused(source))?;
        // For each feature column, the service and the feature's place there.
        let origins: Vec<(usize, usize)> = vectors
            .iter()
            .enumerate()
            .flat_map(|(service, one)| (0..one.features.len()).map(move |feature| (service, feature)))
            .collect();
        let inherited = |place: usize, column: usize| {
            let Some((service, feature)) = column.checked_sub(own).map(|column| origins[column]) else {
                return Vec::new();
            };
            let failures = vectors[service].failures.iter().filter(|failure| failure.feature == feature);
            failures.map(|failure| FeatureFailure { feature: place, ..failure.clone() }).collect()
        };
        let input = &self.stream().derivation().expect("it is derived").inputs[0];
        let schema = nullable(&self.stream().schema());
        let outputs = Outputs::of(&input.columns, &known, schema, inherited).map_err(|source| self.refused(source))?;
        set_aside.extend(outputs.set_aside.into_iter().map(|one| SetAside { row: source_rows[one.row], ..one }));
        let source_rows = match outputs.kept {
            Some(kept) => kept.into_iter().map(|place| source_rows[place]).collect(),
            None => source_rows,
        };
        let primary_keys = self.plan.primary_keys(&outputs.batch)?;
        Ok(Scores { made: MadeRows { batch: outputs.batch, primary_keys, set_aside }, source_rows })
    }

    /// No rows, as where none passes WHERE.
    pub fn no_rows(&self) -> MadeRows {
        let batch = RecordBatch::new_empty(nullable(&self.stream().schema()));
        MadeRows { batch, primary_keys: None, set_aside: Vec::new() }
    }

    /// No rows, of some that are all set aside.
    pub fn none_of(&self, rows: RowsToScore) -> MadeRows {
        MadeRows { set_aside: rows.set_aside, ..self.no_rows() }
    }

    fn refused(&self, source: ArrowError) -> FeatureError {
        FeatureError::Arrow { object: format!("stream `{}`", self.stream().name), source }
    }
}
