//! Counts in words: what became of a stream's events, as `asof history` and `asof run` account for them.

use asof_window::Accounting;

/// `payments: 12 events in = 9 used + 1 late + 1 duplicate + 1 rejected`.
pub(crate) fn verdicts(stream: &str, accounting: &Accounting) -> String {
    format!(
        "{stream}: {} events in = {} used + {} late + {} duplicate + {} rejected",
        accounting.total(),
        accounting.used,
        accounting.late,
        accounting.duplicate,
        accounting.rejected(),
    )
}

/// The first event that was not used for a reason. `offset` counts from 0, people count rows from 1.
pub(crate) fn first(reason: &str, offset: u64, detail: &str) -> String {
    format!("    {reason} first at row {}: {detail}", offset + 1)
}

/// `hours: 1,024 rows of closed windows`.
pub(crate) fn made_rows(stream: &str, rows: u64, of: &str) -> String {
    let noun = if rows == 1 { "row" } else { "rows" };
    format!("{stream}: {} {noun} {of}", grouped(rows))
}

/// Rows of closed windows, or scored ones, that are not where they could be. They have no place that people could look at.
pub(crate) fn first_of_rows(reason: &str, count: u64, detail: &str) -> String {
    format!("    {} {reason}, the first: {detail}", grouped(count))
}

/// A declared column that the whole file lacks.
pub(crate) fn absent_column(column: &str) -> String {
    format!("    column `{column}` is not in the file: read as NULL")
}

/// A stream of which nothing could be used: its features say nothing.
pub(crate) fn nothing_used(stream: &str) -> String {
    format!("no event of stream `{stream}` was used: its features are those of entities never seen")
}

/// `1 stream`, `2 streams`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(grouped(number), text);
        }
    }
}
