//! The door for events: producers leave what they have, the writer takes what waits. Bounded in bytes: when the writer
//! falls behind, producers wait or are turned away, and memory does not grow.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::submission::{IngestError, Submission};

/// Why nobody is let in at the end.
const STOPS: &str = "the server stops";
/// Rows taken together: enough to share the cost of a sync and of a version, few enough that they are visible soon.
const GROUP_ROWS_MAX: usize = 16_384;

/// Events that wait to be taken in.
#[derive(Debug)]
pub struct Intake {
    waiting_bytes_max: usize,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    submissions: VecDeque<Submission>,
    bytes: usize,
    /// Why nobody is let in.
    closed: Option<&'static str>,
}

impl Intake {
    /// A door that is closed until [`Intake::open`], for as many bytes.
    pub(crate) fn new(waiting_bytes_max: usize) -> Intake {
        let waiting = Waiting { closed: Some("state is being recovered"), ..Waiting::default() };
        Intake { waiting_bytes_max, waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    /// Leaves a submission. If it cannot wait here it comes back with the reason; [`IngestError::Busy`] may pass soon.
    #[allow(clippy::result_large_err, reason = "the submission goes back to its producer")]
    pub fn submit(&self, submission: Submission) -> Result<(), (Submission, IngestError)> {
        let bytes = submission.memory_bytes();
        let mut waiting = self.lock();
        if let Some(reason) = waiting.closed {
            return Err((submission, IngestError::NotNow { reason }));
        }
        // One that is larger than the door has it for itself: it will never find more room.
        if waiting.bytes > 0 && waiting.bytes + bytes > self.waiting_bytes_max {
            let busy = IngestError::Busy { waiting_bytes: waiting.bytes, waiting_bytes_max: self.waiting_bytes_max };
            return Err((submission, busy));
        }
        waiting.bytes += bytes;
        waiting.submissions.push_back(submission);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Lets producers in.
    pub(crate) fn open(&self) {
        self.lock().closed = None;
    }

    /// Lets nobody in any more; what waits can still be taken.
    pub(crate) fn close(&self) {
        self.lock().closed = Some(STOPS);
        self.changed.notify_all();
    }

    /// Lets go of what waits, without an answer.
    pub(crate) fn clear(&self) {
        let mut waiting = self.lock();
        (waiting.submissions, waiting.bytes) = (VecDeque::new(), 0);
    }

    /// Whether nobody is let in and nobody waits.
    pub(crate) fn is_closed(&self) -> bool {
        let waiting = self.lock();
        waiting.closed.is_some() && waiting.submissions.is_empty()
    }

    /// Waits for submissions, at most so long, and takes about [`GROUP_ROWS_MAX`] rows of them.
    pub(crate) fn next_group(&self, at_most: Duration) -> Vec<Submission> {
        let waiting = self.lock();
        let is_empty = |waiting: &mut Waiting| waiting.submissions.is_empty() && waiting.closed != Some(STOPS);
        let waited = self.changed.wait_timeout_while(waiting, at_most, is_empty);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        let mut group = Vec::new();
        let mut rows = 0;
        while rows < GROUP_ROWS_MAX
            && let Some(submission) = waiting.submissions.pop_front()
        {
            waiting.bytes -= submission.memory_bytes();
            rows += submission.body.rows();
            group.push(submission);
        }
        group
    }

    /// Bytes that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
