//! What became of events that were sent, over all batches, in words.

use crate::accounts::{counted, grouped};
use crate::event_sender::Receipt;

/// The counts of all receipts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) used: u64,
    pub(crate) duplicates: u64,
    pub(crate) late: u64,
    pub(crate) rejected: u64,
    /// Of what was sent, what had been taken in before and counts once.
    pub(crate) repeated: u64,
    /// What could not be read and was not sent.
    pub(crate) unreadable: u64,
    /// For each reason the first event that was not used.
    pub(crate) first: Vec<FirstRefused>,
}

/// The first event that was not used for a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstRefused {
    pub(crate) reason: String,
    /// What its sender knows it by.
    pub(crate) number: u64,
    pub(crate) detail: String,
}

impl Tally {
    /// Counts a batch; `numbers` are what its events are known by.
    pub(crate) fn take(&mut self, receipt: &Receipt, numbers: &[u64]) {
        self.sent += numbers.len() as u64;
        self.used += receipt.accepted;
        self.duplicates += receipt.duplicates;
        self.late += receipt.late;
        self.rejected += receipt.rejected;
        if receipt.is_repeat {
            self.repeated += numbers.len() as u64;
        }
        for refused in &receipt.refused {
            if let Some(number) = numbers.get(refused.row) {
                self.note(&refused.reason, *number, &refused.detail);
            }
        }
    }

    /// Counts an event that could not be read.
    pub(crate) fn take_unreadable(&mut self, number: u64, detail: &str) {
        self.unreadable += 1;
        self.note("unreadable", number, detail);
    }

    /// Whether any event that was sent counts, now or before.
    pub(crate) fn has_used(&self) -> bool {
        self.used + self.duplicates > 0
    }

    /// `9 used, 1 duplicate, 0 late, 2 rejected`.
    pub(crate) fn verdicts(&self) -> String {
        let duplicates = if self.duplicates == 1 { "duplicate" } else { "duplicates" };
        let Tally { used, late, rejected, .. } = self;
        let (used, late, rejected) = (grouped(*used), grouped(*late), grouped(*rejected));
        format!("{used} used, {} {duplicates}, {late} late, {rejected} rejected", grouped(self.duplicates))
    }

    fn note(&mut self, reason: &str, number: u64, detail: &str) {
        if !self.first.iter().any(|first| first.reason == reason) {
            self.first.push(FirstRefused { reason: reason.to_owned(), number, detail: detail.to_owned() });
        }
    }
}

/// `1 row`, `12,000 rows`.
pub(crate) fn rows(count: u64) -> String {
    if count == 1 { counted(1, "row") } else { format!("{} rows", grouped(count)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_sender::RefusedRow;

    fn receipt(counts: [u64; 4], refused: &[(usize, &str)]) -> Receipt {
        let row = |(row, reason): &(usize, &str)| RefusedRow {
            row: *row,
            reason: (*reason).to_owned(),
            detail: format!("detail {row}"),
        };
        let [accepted, duplicates, late, rejected] = counts;
        let refused = refused.iter().map(row).collect();
        Receipt { accepted, duplicates, late, rejected, refused, is_repeat: false }
    }

    #[test]
    fn batches_add_up_and_the_first_of_each_reason_is_kept() {
        let mut tally = Tally::default();
        assert!(!tally.has_used());
        tally.take(&receipt([0, 0, 1, 1], &[(0, "check"), (1, "late")]), &[10, 12]);
        assert!(!tally.has_used());
        tally.take_unreadable(13, "no number");
        tally.take(&receipt([1_000, 1, 0, 1], &[(1, "check")]), &[20; 1_002]);
        assert!(tally.has_used());
        assert_eq!(tally.verdicts(), "1,000 used, 1 duplicate, 1 late, 2 rejected");
        assert_eq!((tally.sent, tally.repeated, tally.unreadable), (1_004, 0, 1));
        let repeat = Receipt { is_repeat: true, ..receipt([0, 2, 0, 0], &[]) };
        tally.take(&repeat, &[30, 31]);
        assert_eq!((tally.repeated, tally.verdicts().as_str()), (2, "1,000 used, 3 duplicates, 1 late, 2 rejected"));
        let first: Vec<(&str, u64, &str)> =
            tally.first.iter().map(|one| (one.reason.as_str(), one.number, one.detail.as_str())).collect();
        assert_eq!(first, [("check", 10, "detail 0"), ("late", 12, "detail 1"), ("unreadable", 13, "no number")]);
    }

    #[test]
    fn rows_are_counted() {
        assert_eq!([rows(0), rows(1), rows(12_000)], ["0 rows", "1 row", "12,000 rows"]);
    }
}
