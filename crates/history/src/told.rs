//! What is told of a stream at the end of its reading: counts of verdicts, and of each reason the first example.

use std::sync::{Mutex, MutexGuard, PoisonError};

use asof_feature::SetAside;

use crate::duplicates::Duplicates;
use crate::event_batch::{Account, EventBatch};
use crate::summary::{Reason, StreamSummary};

/// Threads tell of their batches in any order; what comes out does not depend on it.
#[derive(Debug)]
pub(crate) struct Told {
    readers: Vec<String>,
    telling: Mutex<Telling>,
}

#[derive(Debug)]
struct Telling {
    summary: StreamSummary,
    /// Offsets of events set aside, by reader: those that turn out to be duplicates do not count.
    set_aside: Vec<Vec<u64>>,
}

impl Told {
    /// Nothing yet. `summary` names the stream; `readers` are the derived streams and views that may set events aside.
    pub(crate) fn new(summary: StreamSummary, readers: Vec<String>) -> Told {
        let set_aside = vec![Vec::new(); readers.len()];
        Told { readers, telling: Mutex::new(Telling { summary, set_aside }) }
    }

    pub(crate) fn account(&self, account: &Account) {
        let mut telling = self.lock();
        telling.summary.accounting = telling.summary.accounting.plus(&account.verdicts);
        telling.summary.imputed += account.imputed;
        account.reasons.iter().for_each(|reason| telling.example(&reason.name, reason.offset, &reason.detail));
    }

    /// `reader` is the place of the one that the rows are set aside for.
    pub(crate) fn set_aside(&self, reader: usize, aside: &[SetAside], batch: &EventBatch) {
        if aside.is_empty() {
            return;
        }
        let mut telling = self.lock();
        // Of one name it is one: what a view joins before its WHERE, and the view itself.
        let reader = self.readers[..reader].iter().position(|name| *name == self.readers[reader]).unwrap_or(reader);
        let name = format!("set aside for `{}`", self.readers[reader]);
        for one in aside {
            let offset = batch.offsets.of(one.row);
            telling.set_aside[reader].push(offset);
            telling.example(&name, offset, &one.detail);
        }
    }

    pub(crate) fn finish(self, duplicates: &Duplicates) -> StreamSummary {
        let Telling { mut summary, set_aside } = self.telling.into_inner().unwrap_or_else(PoisonError::into_inner);
        summary.accounting.used -= duplicates.count();
        summary.accounting.duplicate += duplicates.count();
        for (reader, mut offsets) in self.readers.into_iter().zip(set_aside) {
            // An event may be set aside in several branches, and by several versions of a table that it is joined with.
            offsets.sort_unstable();
            offsets.dedup();
            let count = offsets.iter().filter(|offset| !duplicates.hold(**offset)).count() as u64;
            if count > 0 {
                summary.set_aside.push((reader, count));
            }
        }
        summary
    }

    fn lock(&self) -> MutexGuard<'_, Telling> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Telling {
    /// Keeps the example of a reason that comes first in the stream.
    fn example(&mut self, name: &str, offset: u64, detail: &str) {
        match self.summary.reasons.iter_mut().find(|reason| reason.name == name) {
            Some(reason) if reason.offset <= offset => {}
            Some(reason) => {
                reason.offset = offset;
                reason.detail = detail.to_owned();
            }
            None => self.summary.reasons.push(Reason { name: name.to_owned(), offset, detail: detail.to_owned() }),
        }
    }
}
