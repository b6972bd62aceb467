//! A group window in the words of SQL, for whoever looks at a project: `TUMBLE(INTERVAL '1' HOUR)`.

use asof_window::GroupWindow;

/// Units of an interval, the longest first, in microseconds.
const UNITS: [(i64, &str); 4] =
    [(86_400_000_000, "DAY"), (3_600_000_000, "HOUR"), (60_000_000, "MINUTE"), (1_000_000, "SECOND")];

/// The function with its lengths, in the order in which SQL has them; without the stream and its event time. An offset that
/// is 0 is left out.
pub fn window_words(shape: GroupWindow) -> String {
    let (name, lengths, offset_us) = match shape {
        GroupWindow::Tumble { size_us, offset_us } => ("TUMBLE", vec![size_us], offset_us),
        GroupWindow::Hop { size_us, slide_us, offset_us } => ("HOP", vec![slide_us, size_us], offset_us),
        GroupWindow::Cumulate { size_us, step_us, offset_us } => ("CUMULATE", vec![step_us, size_us], offset_us),
        GroupWindow::Session { gap_us } => ("SESSION", vec![gap_us], 0),
    };
    let offset = (offset_us != 0).then_some(offset_us);
    let arguments: Vec<String> = lengths.into_iter().chain(offset).map(interval_words).collect();
    format!("{name}({})", arguments.join(", "))
}

/// In the longest unit that it is a whole number of; below a second with six digits.
fn interval_words(us: i64) -> String {
    match UNITS.iter().find(|(unit_us, _)| us % unit_us == 0) {
        Some((unit_us, unit)) => format!("INTERVAL '{}' {unit}", us / unit_us),
        None => format!("INTERVAL '{}.{:06}' SECOND", us / 1_000_000, us % 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: i64 = 1_000_000;

    #[test]
    fn windows_are_told_as_sql_has_them() {
        let minute_us = 60 * SECOND_US;
        let cases = [
            (GroupWindow::Tumble { size_us: 60 * minute_us, offset_us: 0 }, "TUMBLE(INTERVAL '1' HOUR)"),
            (
                GroupWindow::Tumble { size_us: 1_440 * minute_us, offset_us: 90 * minute_us },
                "TUMBLE(INTERVAL '1' DAY, INTERVAL '90' MINUTE)",
            ),
            (
                GroupWindow::Hop { size_us: minute_us, slide_us: 10 * SECOND_US, offset_us: 0 },
                "HOP(INTERVAL '10' SECOND, INTERVAL '1' MINUTE)",
            ),
            (
                GroupWindow::Cumulate { size_us: 2_880 * minute_us, step_us: 25 * 60 * minute_us, offset_us: 1 },
                "CUMULATE(INTERVAL '25' HOUR, INTERVAL '2' DAY, INTERVAL '0.000001' SECOND)",
            ),
            (GroupWindow::Session { gap_us: 1_500_000 }, "SESSION(INTERVAL '1.500000' SECOND)"),
        ];
        for (shape, words) in cases {
            assert_eq!(window_words(shape), words);
        }
    }
}
