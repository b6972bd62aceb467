//! Views over sessions, whose events are dropped once no event can join them any more.

use super::*;
use crate::group_window::GroupWindow;
use crate::group_window::tests::windows;

/// Whether an event of an entity would join a session that ended before a minute.
fn joins_ended(gap: i64, held: &[i64], minute: i64, from: i64) -> bool {
    let sessions = windows(GroupWindow::Session { gap_us: gap }, held);
    let ended = sessions.into_iter().map(|(span, _)| span).filter(|span| span.last_us < from);
    ended.into_iter().any(|span| (span.start_us - gap..=span.last_us).contains(&minute))
}

/// Drops the rows that would join ended sessions, of either gap.
fn still_possible(watched: &Watched, rows: &[Row], from: i64) -> Vec<Row> {
    let mut held: Vec<(i64, i64)> = watched.rows.iter().map(|(_, row)| (row.entity, row.sample.minute)).collect();
    let mut possible = Vec::new();
    for row in rows {
        let of_entity = held.iter().filter(|(entity, _)| *entity == row.entity);
        let mut minutes: Vec<i64> = of_entity.map(|(_, minute)| *minute).collect();
        minutes.sort_unstable();
        if ![4, 30].into_iter().any(|gap| joins_ended(gap, &minutes, row.sample.minute, from)) {
            held.push((row.entity, row.sample.minute));
            possible.push(row.clone());
        }
    }
    possible
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn sessions_are_kept_as_long_as_they_may_grow(
        follows_order in any::<bool>(),
        standing_events in prop::sample::select(vec![2usize, 20, 1024]),
        actions in prop::collection::vec(action(), 0..24),
        behind in prop::collection::vec(0..400i64, 24),
    ) {
        let of = if follows_order { program } else { program_without_order };
        let mut watched = Watched::new(of(session_frames()), standing_events, false);
        let mut from = -10_000;
        for (action, behind) in actions.iter().zip(behind) {
            match action {
                Action::Append(rows) => watched.append(&still_possible(&watched, rows, from)),
                Action::Settle { floor: Some(floor), .. } => {
                    watched.act(action)?;
                    from = from.max(floor - behind);
                    watched.state.settle_sessions_before(from * MINUTE_US);
                }
                _ => watched.act(action)?,
            }
            watched.check_counts()?;
        }
        for minute in [-100, 300, 900] {
            watched.act(&Action::Read { behind: 0, minute })?;
        }
    }
}

#[test]
fn an_event_before_the_floor_joins_two_sessions() {
    let mut watched = Watched::new(program(session_frames()), 1024, false);
    watched.append(&[plain_row(0, 0), plain_row(0, 8), plain_row(0, 100)]);
    watched.settle(0, Some(120));
    assert_eq!(watched.sweep_all(), 0);
    assert_eq!(watched.state.events(), 3, "whoever comes may join any");
    watched.append(&[plain_row(0, 4), plain_row(0, 96)]);
    watched.check_read(watched.newest, 120).unwrap();
    watched.settle(0, None);
    watched.state.settle_sessions_before(100 * MINUTE_US);
    watched.sweep_all();
    assert_eq!(watched.state.events(), 5, "the first session is the one closed last while the second is open");
    watched.settle(0, Some(131));
    watched.state.settle_sessions_before(131 * MINUTE_US);
    watched.sweep_all();
    assert_eq!(watched.state.events(), 2, "now that is the second");
    watched.check_read(watched.newest, 140).unwrap();
}
