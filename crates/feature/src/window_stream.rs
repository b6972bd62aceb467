//! A stream of the rows of closed windows, live: events go into open windows, and the watermark makes rows of them.
//!
//! ```text
//!   events of its sources ─▶ open windows (a view that no SQL names, fed as any view is)
//!                                  │ close(watermark)
//!                                  ▼
//!   MadeRows: by last instant, then key ─▶ OnlineStream::prepare_rows ─▶ the streams and views that read it
//! ```
//! Rule kept here: a row is made once and never changes; it is a function of the events that its window had when it closed.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use asof_definition::{DerivedInput, Stream};
use asof_window::{GroupWindow, TieBreak};

use crate::error::FeatureError;
use crate::failure::FeatureFailure;
use crate::fingerprint::log_name;
use crate::made_rows::{MadeRows, Outputs};
use crate::online_view::OnlineView;
use crate::open_windows::ClosedWindows;
use crate::stream::StreamPlan;
use crate::view::{TakenIn, nullable};

/// A stream over a group window, with the windows that are open.
#[derive(Debug)]
pub struct WindowStream {
    plan: StreamPlan,
    open: Arc<OnlineView>,
    /// Of what its columns are computed from: the parts of the key, then the aggregates.
    row_schema: SchemaRef,
    watermark_us: Option<i64>,
}

impl WindowStream {
    /// No windows yet, in `shards` shards, a power of two.
    ///
    /// # Panics
    /// If the stream is none of a group window.
    pub fn new(stream: Arc<Stream>, shards: usize) -> Result<WindowStream, FeatureError> {
        let window = stream.window().expect("its rows are those of windows");
        let row_schema = nullable(&window.row_scope().schema());
        let open = Arc::new(OnlineView::of_windows(window, shards)?);
        Ok(WindowStream { plan: StreamPlan::new(stream)?, open, row_schema, watermark_us: None })
    }

    /// The stream as a log of its rows has it: under a name that tells what they are computed by, since rows are never changed.
    pub fn stored_form(&self) -> Arc<Stream> {
        let stream = self.stream();
        Arc::new(Stream { name: log_name(stream), ..(**stream).clone() })
    }

    /// The stream.
    pub fn stream(&self) -> &Arc<Stream> {
        self.plan.stream()
    }

    /// The view that the open windows are in: one of those that the streams have which this one reads.
    pub fn open(&self) -> &Arc<OnlineView> {
        &self.open
    }

    /// Whether its windows are sessions, whose ends depend on what comes.
    pub fn are_sessions(&self) -> bool {
        self.stream().window().is_some_and(|window| matches!(window.shape, GroupWindow::Session { .. }))
    }

    /// The watermark that closed windows last, in microseconds.
    pub fn watermark_us(&self) -> Option<i64> {
        self.watermark_us
    }

    /// Takes events into their windows, of which none comes too late, in any order: what the plan of [`WindowStream::open`]
    /// took of a batch, and the times of that. `tie_of` a row of the batch says what orders it among its peers.
    pub fn take_in<'a>(
        &self,
        taken: TakenIn,
        times: &ArrayRef,
        tie_of: impl Fn(usize) -> TieBreak<'a>,
    ) -> Result<(), FeatureError> {
        if let Some(events) = self.open.events_of(taken, times)? {
            let too_late = self.open.admit(&events, tie_of);
            debug_assert!(too_late.is_empty(), "nothing had closed before");
        }
        Ok(())
    }

    /// The watermark up to this one, in microseconds, by which to [close](WindowStream::close) so that the rows of one closing
    /// are not too many at once: all of them, unless very many windows are due.
    pub fn step_us(&self, watermark_us: i64) -> i64 {
        self.open.step_us(watermark_us)
    }

    /// Closes the windows whose last instant is before a watermark, in microseconds: their rows. One that is not greater than
    /// the last closes none.
    pub fn close(&mut self, watermark_us: i64) -> Result<MadeRows, FeatureError> {
        let closed = self.open.close(watermark_us)?;
        self.watermark_us = self.watermark_us.max(Some(watermark_us));
        self.rows(closed).map_err(|source| self.refused(source))
    }

    /// The rows of all windows whose last instant is before a watermark are known: they close without any.
    pub fn pass(&mut self, watermark_us: i64) {
        self.open.pass(watermark_us);
        self.watermark_us = self.watermark_us.max(Some(watermark_us));
    }

    /// No rows, as where no window has closed.
    pub fn no_rows(&self) -> MadeRows {
        let batch = RecordBatch::new_empty(nullable(&self.stream().schema()));
        MadeRows { batch, primary_keys: None, set_aside: Vec::new() }
    }

    fn rows(&self, closed: ClosedWindows) -> Result<MadeRows, ArrowError> {
        let input = self.input();
        let window = input.window.as_ref().expect("its rows are those of windows");
        let ClosedWindows { keys, answers } = closed;
        let windows = answers.known.len();
        let parts = window.view.key.len();
        // A key without parts has a number in its place.
        let keys = keys.into_iter().take(if windows == 0 { 0 } else { parts });
        let columns: Vec<ArrayRef> = match windows {
            0 => Vec::new(),
            _ => keys.chain(answers.columns).collect(),
        };
        let known = match windows {
            0 => RecordBatch::new_empty(self.row_schema.clone()),
            _ => {
                let options = RecordBatchOptions::new().with_row_count(Some(windows));
                RecordBatch::try_new_with_options(self.row_schema.clone(), columns, &options)?
            }
        };
        let of_aggregate = |place: usize, column: usize| {
            let call = column.checked_sub(parts);
            let own = answers.failed.iter().filter(|one| Some(one.call) == call);
            own.map(|one| FeatureFailure::of_aggregate(place, one, &window.view.aggregates[one.call].text)).collect()
        };
        let schema = nullable(&self.stream().schema());
        let Outputs { batch, kept: _, set_aside } = Outputs::of(&input.columns, &known, schema, of_aggregate)?;
        let batch = self.plan.in_order(&batch).map_err(|error| ArrowError::ExternalError(error.into()))?;
        let primary_keys = self.plan.primary_keys(&batch).map_err(|error| ArrowError::ExternalError(error.into()))?;
        Ok(MadeRows { batch, primary_keys, set_aside })
    }

    fn input(&self) -> &DerivedInput {
        &self.stream().derivation().expect("its rows are derived").inputs[0]
    }

    fn refused(&self, source: ArrowError) -> FeatureError {
        FeatureError::Arrow { object: format!("stream `{}`", self.stream().name), source }
    }
}

impl StreamPlan {
    /// Rows of the stream by event time, then primary key.
    pub fn in_order(&self, batch: &RecordBatch) -> Result<RecordBatch, FeatureError> {
        let times = batch.column(self.stream().time_column).as_primitive::<TimestampMicrosecondType>();
        let keys = self.primary_keys(batch)?;
        let key = |row: u32| keys.as_ref().map(|keys| keys.row(row as usize));
        let mut rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
        rows.sort_unstable_by(|one, other| {
            let (time, other_time) = (times.value(*one as usize), times.value(*other as usize));
            time.cmp(&other_time).then_with(|| key(*one).cmp(&key(*other)))
        });
        let sorted = take_record_batch(batch, &UInt32Array::from(rows));
        sorted.map_err(|source| FeatureError::Arrow { object: format!("stream `{}`", self.stream().name), source })
    }
}
