//! Submissions of one stream that arrive in the same manner: decoded into one batch, judged together, one frame of the log.

use std::collections::HashSet;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::TimestampMicrosecondType;
use asof_connect::{DeadLetter, Origin, ProducerBatch, StoredBatch, StoredVerdict};
use asof_feature::{Prepared, SetAside, StreamPlan};
use asof_window::{Rejection, Verdict};

use crate::error::PipelineError;
use crate::stream_batch::StreamBatch;
use crate::submission::{Manner, REFUSED_LISTED_MAX, Receipt, RefusedRow, Submission};
use crate::too_late::{TOO_LATE, TOO_LATE_DETAIL, reader_on_disk};

/// How much of a dead letter's detail is kept.
const DETAIL_CHARS_MAX: usize = 200;

/// Submissions on their way into one frame.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) stream: usize,
    /// In the order in which they came.
    pub(crate) parts: Vec<Submission>,
}

/// What is said of a row that was not used, or not in some view.
struct Said<'a> {
    reason: &'static str,
    detail: &'a str,
}

/// The names of those that may set the events of a stream aside.
#[derive(Debug)]
pub(crate) struct Readers {
    /// In the order in which the stream feeds them.
    pub(crate) views: Vec<String>,
    /// In that order, of open windows what the log of their rows is called.
    pub(crate) windows: Vec<Option<String>>,
    /// In the order in which they are evaluated.
    pub(crate) derived: Vec<String>,
}

impl Unit {
    /// Puts submissions together as far as they go together: live ones of one stream. No name of a batch comes twice in
    /// the group; submissions that repeat one are given back as the second part, for later.
    pub(crate) fn of(group: Vec<Submission>) -> (Vec<Unit>, Vec<Submission>) {
        let mut units: Vec<Unit> = Vec::new();
        let (mut names, mut later) = (HashSet::new(), Vec::new());
        for submission in group {
            let name = submission.batch_key.as_ref().map(|key| (submission.stream, key.name.clone()));
            if name.is_some_and(|name| !names.insert(name)) {
                later.push(submission);
                continue;
            }
            let stream = submission.stream;
            let is_live = matches!(submission.manner, Manner::Live);
            let is_fed = submission.origin.is_some();
            let joins =
                |unit: &&mut Unit| is_live && unit.stream == stream && unit.is_live() && unit.is_fed() == is_fed;
            match units.iter_mut().find(joins) {
                Some(unit) => unit.parts.push(submission),
                None => units.push(Unit { stream, parts: vec![submission] }),
            }
        }
        (units, later)
    }

    fn is_live(&self) -> bool {
        matches!(self.manner(), Manner::Live)
    }

    fn is_fed(&self) -> bool {
        self.parts[0].origin.is_some()
    }

    /// Where the rows stand in the topic that they were read from.
    pub(crate) fn origin(&self) -> Option<Origin> {
        let mut origins = self.parts.iter().map(|part| part.origin.as_ref());
        let mut all = origins.next()??.clone();
        origins.flatten().for_each(|origin| all.extend(origin));
        Some(all)
    }

    pub(crate) fn manner(&self) -> &Manner {
        &self.parts[0].manner
    }

    pub(crate) fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.body.rows()).sum()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.body.memory_bytes()).sum()
    }

    /// All rows as one batch, with what can be said of them on their face. `next_offset` is that of the first row.
    pub(crate) fn batch(
        &self,
        plan: &StreamPlan,
        next_offset: u64,
        arrived_us: i64,
    ) -> Result<StreamBatch, PipelineError> {
        let decoded = self.parts.iter().flat_map(|part| part.body.batches());
        let (mut batches, mut unreadable, mut rows) = (Vec::new(), Vec::new(), 0);
        for one in decoded {
            unreadable.extend(one.unreadable.iter().map(|row| (rows + row.row, row.detail.clone())));
            rows += one.batch.num_rows();
            batches.push(&one.batch);
        }
        let batch = match batches[..] {
            [only] => only.clone(),
            // The schema of the batches, in which all is nullable: rows that could not be read are NULL throughout.
            _ => concat_batches(&batches[0].schema(), batches)?,
        };
        let arrived = self.arrived(plan, &batch, arrived_us);
        Ok(StreamBatch {
            stream: self.stream,
            partition: 0,
            rejected: plan.rejected(&batch, unreadable),
            primary_keys: plan.primary_keys(&batch)?,
            offsets: (next_offset..next_offset + rows as u64).collect(),
            fed: self.origin().map(|origin| origin.partitions().collect()),
            arrived: Some(arrived),
            batch,
        })
    }

    /// When each row arrived: now, or as its history says; where that says nothing, at its event time.
    fn arrived(&self, plan: &StreamPlan, batch: &RecordBatch, arrived_us: i64) -> Int64Array {
        let Manner::History { arrived } = self.manner() else {
            return Int64Array::from(vec![arrived_us; batch.num_rows()]);
        };
        let times = batch.column(plan.stream().time_column).as_primitive::<TimestampMicrosecondType>();
        let own = |row: usize| arrived.as_ref().filter(|given| given.is_valid(row)).map(|given| given.value(row));
        let time = |row: usize| times.is_valid(row).then(|| times.value(row));
        // An event cannot have arrived after now: one of the future is judged as that.
        let given = |row: usize| own(row).or(time(row)).map_or(arrived_us, |given_us| given_us.min(arrived_us));
        (0..batch.num_rows()).map(given).collect()
    }

    /// The greatest event time of its rows up to an instant, in microseconds: those beyond are of the future.
    pub(crate) fn newest_us(&self, plan: &StreamPlan, known_us: i64) -> Option<i64> {
        let batches = self.parts.iter().flat_map(|part| part.body.batches());
        let newest = |batch: &RecordBatch| {
            let times = batch.column(plan.stream().time_column).as_primitive::<TimestampMicrosecondType>();
            times.iter().flatten().filter(|time_us| *time_us <= known_us).max()
        };
        batches.filter_map(|decoded| newest(&decoded.batch)).max()
    }

    /// The least event time of the rows that can be read, in microseconds.
    pub(crate) fn least_us(plan: &StreamPlan, batch: &StreamBatch) -> Option<i64> {
        let times = batch.batch.column(plan.stream().time_column).as_primitive::<TimestampMicrosecondType>();
        let is_rejected = |row: &usize| batch.rejected.binary_search_by_key(row, |one| one.row).is_ok();
        let readable = (0..times.len()).filter(|row| times.is_valid(*row) && !is_rejected(row));
        readable.map(|row| times.value(row)).min()
    }

    /// What the log keeps of the judged unit.
    pub(crate) fn stored(
        &self,
        batch: &StreamBatch,
        prepared: &Prepared,
        readers: &Readers,
    ) -> Result<StoredBatch, PipelineError> {
        let verdicts = prepared.verdicts();
        let is_used = |verdict: &Verdict| *verdict == Verdict::Used;
        let used = if verdicts.iter().all(is_used) {
            batch.batch.clone()
        } else {
            arrow::compute::filter_record_batch(&batch.batch, &verdicts.iter().map(|one| Some(is_used(one))).collect())?
        };
        let arrived = match self.manner() {
            Manner::History { .. } => batch.arrived.clone(),
            Manner::Live | Manner::Replayed => None,
        };
        Ok(StoredBatch {
            verdicts: verdicts.iter().map(|verdict| stored_verdict(*verdict)).collect(),
            arrived_is_imputed: matches!(self.manner(), Manner::History { arrived: None }),
            arrived,
            watermark_us: None,
            origin: self.origin(),
            used,
            dead: self.dead_letters(batch, prepared, readers),
            producers: self.named_batches(verdicts),
        })
    }

    fn dead_letters(&self, batch: &StreamBatch, prepared: &Prepared, readers: &Readers) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        // What was reserved for raw texts and details: an event that many views set aside is there many times.
        let mut bytes_left = self.bytes();
        for (row, said) in refusals(batch, prepared.verdicts()) {
            letters.push(self.dead_letter(row, said.reason, None, said.detail, &mut bytes_left));
        }
        let of_derived = readers.derived.iter().zip(prepared.derived_set_aside());
        for (rows_name, events) in readers.windows.iter().zip(prepared.too_late()) {
            for event in events {
                let reader = rows_name.as_deref().map(|rows_name| reader_on_disk(rows_name, *event));
                letters.push(self.dead_letter(
                    event.row,
                    TOO_LATE,
                    reader.as_deref(),
                    TOO_LATE_DETAIL,
                    &mut bytes_left,
                ));
            }
        }
        for (reader, aside) in of_derived.chain(readers.views.iter().zip(prepared.set_aside())) {
            for SetAside { row, detail, .. } in aside {
                letters.push(self.dead_letter(*row, "set_aside", Some(reader), detail, &mut bytes_left));
            }
        }
        letters.sort_by_key(|letter| letter.row);
        letters
    }

    fn dead_letter(
        &self,
        row: usize,
        reason: &str,
        reader: Option<&str>,
        detail: &str,
        bytes_left: &mut usize,
    ) -> DeadLetter {
        let (part, own_row) = self.part_of(row);
        let mut raw = part.body.raw(own_row);
        if raw.text.len() + detail.len() > *bytes_left {
            raw.text.clear();
            raw.is_cut = true;
        }
        let detail: String = detail.chars().take(DETAIL_CHARS_MAX).collect();
        *bytes_left = bytes_left.saturating_sub(raw.text.len());
        DeadLetter {
            row: row as u32,
            reason: reason.to_owned(),
            view: reader.map(str::to_owned),
            detail,
            raw: raw.text,
            raw_is_cut: raw.is_cut,
        }
    }

    /// The submission that a row came with, and its place there.
    fn part_of(&self, row: usize) -> (&Submission, usize) {
        let mut first = 0;
        for part in &self.parts {
            if row < first + part.body.rows() {
                return (part, row - first);
            }
            first += part.body.rows();
        }
        unreachable!("every row came with a submission")
    }

    fn named_batches(&self, verdicts: &[Verdict]) -> Vec<ProducerBatch> {
        let named = self.counted(verdicts).filter_map(|(part, receipt)| {
            let key = part.batch_key.as_ref()?;
            Some(ProducerBatch {
                key: key.name.clone(),
                digest: key.digest,
                rows: part.body.rows() as u32,
                accepted: receipt.accepted as u32,
                duplicates: receipt.duplicates as u32,
                late: receipt.late as u32,
                rejected: receipt.rejected as u32,
            })
        });
        named.collect()
    }

    /// Each submission with the counts of its rows.
    fn counted<'u>(&'u self, verdicts: &'u [Verdict]) -> impl Iterator<Item = (&'u Submission, Receipt)> {
        let mut first = 0;
        self.parts.iter().map(move |part| {
            let own = &verdicts[first..first + part.body.rows()];
            first += own.len();
            (part, counts_of(own))
        })
    }

    /// What each submission is answered, in order.
    pub(crate) fn receipts(&self, batch: &StreamBatch, verdicts: &[Verdict]) -> Vec<Receipt> {
        let mut receipts: Vec<Receipt> = self.counted(verdicts).map(|(_, receipt)| receipt).collect();
        let (mut place, mut first) = (0, 0);
        for (row, said) in refusals(batch, verdicts) {
            while row >= first + self.parts[place].body.rows() {
                first += self.parts[place].body.rows();
                place += 1;
            }
            let refused = &mut receipts[place].refused;
            if refused.len() < REFUSED_LISTED_MAX {
                let (reason, detail) = (said.reason.to_owned(), said.detail.to_owned());
                refused.push(RefusedRow { row: (row - first) as u64, reason, detail });
            }
        }
        receipts
    }
}

/// The rows that were rejected or late, ascending, and why.
fn refusals<'a>(batch: &'a StreamBatch, verdicts: &'a [Verdict]) -> impl Iterator<Item = (usize, Said<'a>)> {
    let mut rejected = batch.rejected.iter().peekable();
    verdicts.iter().enumerate().filter_map(move |(row, verdict)| {
        let on_its_face = rejected.next_if(|one| one.row == row);
        let said = match (verdict, on_its_face) {
            (Verdict::Rejected(_), Some(one)) => Said { reason: one.rejection.name(), detail: &one.detail },
            (Verdict::Rejected(Rejection::Future), None) => {
                Said { reason: "future", detail: "event time is too far beyond the arrival" }
            }
            (Verdict::Rejected(other), None) => Said { reason: other.name(), detail: "" },
            (Verdict::Late, _) => Said { reason: "late", detail: "event time is behind the watermark" },
            (Verdict::Used | Verdict::Duplicate, _) => return None,
        };
        Some((row, said))
    })
}

fn counts_of(verdicts: &[Verdict]) -> Receipt {
    let mut receipt = Receipt::default();
    for verdict in verdicts {
        *match verdict {
            Verdict::Used => &mut receipt.accepted,
            Verdict::Duplicate => &mut receipt.duplicates,
            Verdict::Late => &mut receipt.late,
            Verdict::Rejected(_) => &mut receipt.rejected,
        } += 1;
    }
    receipt
}

/// The verdict as the log spells it.
pub(crate) fn stored_verdict(verdict: Verdict) -> StoredVerdict {
    match verdict {
        Verdict::Used => StoredVerdict::Used,
        Verdict::Duplicate => StoredVerdict::Duplicate,
        Verdict::Late => StoredVerdict::Late,
        Verdict::Rejected(Rejection::Unreadable) => StoredVerdict::Unreadable,
        Verdict::Rejected(Rejection::NotNull) => StoredVerdict::NotNull,
        Verdict::Rejected(Rejection::Check) => StoredVerdict::Check,
        Verdict::Rejected(Rejection::Future) => StoredVerdict::Future,
    }
}

/// The verdict that the log spells so; `None` of what is no event.
pub(crate) fn verdict_of(stored: StoredVerdict) -> Option<Verdict> {
    let verdict = match stored {
        StoredVerdict::Clock => return None,
        StoredVerdict::Used => Verdict::Used,
        StoredVerdict::Duplicate => Verdict::Duplicate,
        StoredVerdict::Late => Verdict::Late,
        StoredVerdict::Unreadable => Verdict::Rejected(Rejection::Unreadable),
        StoredVerdict::NotNull => Verdict::Rejected(Rejection::NotNull),
        StoredVerdict::Check => Verdict::Rejected(Rejection::Check),
        StoredVerdict::Future => Verdict::Rejected(Rejection::Future),
    };
    Some(verdict)
}
