//! How many rows were judged how.

use crate::stored_batch::{StoredBatch, StoredVerdict};

/// Rows by their verdicts. Those that are no events are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerdictCounts {
    /// See [`StoredVerdict::Used`].
    pub used: u64,
    /// See [`StoredVerdict::Duplicate`].
    pub duplicate: u64,
    /// See [`StoredVerdict::Late`].
    pub late: u64,
    /// See [`StoredVerdict::Unreadable`].
    pub unreadable: u64,
    /// See [`StoredVerdict::NotNull`].
    pub not_null: u64,
    /// See [`StoredVerdict::Check`].
    pub check: u64,
    /// See [`StoredVerdict::Future`].
    pub future: u64,
    /// Used rows whose arrival time is taken from their event time.
    pub imputed: u64,
}

impl VerdictCounts {
    /// Of the rows of a batch.
    pub fn of(batch: &StoredBatch) -> VerdictCounts {
        let mut counts = VerdictCounts::default();
        for verdict in &batch.verdicts {
            *match verdict {
                StoredVerdict::Used => &mut counts.used,
                StoredVerdict::Duplicate => &mut counts.duplicate,
                StoredVerdict::Late => &mut counts.late,
                StoredVerdict::Unreadable => &mut counts.unreadable,
                StoredVerdict::NotNull => &mut counts.not_null,
                StoredVerdict::Check => &mut counts.check,
                StoredVerdict::Future => &mut counts.future,
                StoredVerdict::Clock => continue,
            } += 1;
        }
        counts.imputed = if batch.arrived_is_imputed { counts.used } else { 0 };
        counts
    }

    /// Adds other rows.
    pub fn add(&mut self, mut other: VerdictCounts) {
        for ((_, count), (_, more)) in self.named().into_iter().zip(other.named()) {
            *count += *more;
        }
    }

    /// `used=3 duplicate=0 …`
    pub(crate) fn text(mut self) -> String {
        let texts: Vec<String> = self.named().into_iter().map(|(name, count)| format!("{name}={count}")).collect();
        texts.join(" ")
    }

    /// What [`VerdictCounts::text`] wrote; `None` if it is something else.
    pub(crate) fn read(text: &str) -> Option<VerdictCounts> {
        let mut counts = VerdictCounts::default();
        let mut words = text.split(' ');
        for (name, count) in counts.named() {
            *count = words.next()?.strip_prefix(name)?.strip_prefix('=')?.parse().ok()?;
        }
        words.next().is_none().then_some(counts)
    }

    fn named(&mut self) -> [(&'static str, &mut u64); 8] {
        [
            ("used", &mut self.used),
            ("duplicate", &mut self.duplicate),
            ("late", &mut self.late),
            ("unreadable", &mut self.unreadable),
            ("not_null", &mut self.not_null),
            ("check", &mut self.check),
            ("future", &mut self.future),
            ("imputed", &mut self.imputed),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_back_from_their_text() {
        let mut counts = VerdictCounts { used: 3, late: 2, imputed: u64::MAX, ..VerdictCounts::default() };
        let text = counts.text();
        assert_eq!(
            text,
            "used=3 duplicate=0 late=2 unreadable=0 not_null=0 check=0 future=0 imputed=18446744073709551615"
        );
        assert_eq!(VerdictCounts::read(&text), Some(counts));
        for other in ["", "used=3", &text[1..], &format!("{text} more=1"), &text.replace('2', "-2")] {
            assert_eq!(VerdictCounts::read(other), None, "{other}");
        }
        counts.imputed = 0;
        counts.add(VerdictCounts { used: 1, future: 5, ..VerdictCounts::default() });
        assert_eq!(counts, VerdictCounts { used: 4, late: 2, future: 5, ..VerdictCounts::default() });
    }
}
