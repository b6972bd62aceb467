//! What is said of an event that is not in a window which it belongs to: the window had closed.
//!
//! ```text
//!   letter of the event, reason `late`:   sessions.0f3c…e1.0      the log of the rows, and the SELECT by which the event came
//!   told to users:                        sessions                once, by however many SELECTs it came
//! ```
//! By the name of the log a start tells what was said of another definition of that name.

use std::collections::HashSet;

use asof_connect::DeadLetter;
use asof_feature::TooLate;

/// The reason. A letter that gives it is kept whatever room there is: who reads the log again goes by it.
pub(crate) const TOO_LATE: &str = "late";
/// The detail.
pub(crate) const TOO_LATE_DETAIL: &str = "a window that it belongs to had closed";

/// Whom the letter of an event is written for. `rows_name` is what the log of the rows is called.
pub(crate) fn reader_on_disk(rows_name: &str, event: TooLate) -> String {
    format!("{rows_name}.{}", event.branch)
}

/// What the log of the rows is called which an event came too late for, and the SELECT; `None` of any other letter.
pub(crate) fn too_late_for(letter: &DeadLetter) -> Option<(&str, u32)> {
    let (rows_name, branch) = letter.view.as_deref().filter(|_| letter.reason == TOO_LATE)?.rsplit_once('.')?;
    Some((rows_name, branch.parse().ok()?))
}

/// Letters as users are told of them: by the names of readers, and none twice because its event came by several SELECTs.
pub(crate) fn as_told(letters: Vec<DeadLetter>) -> Vec<DeadLetter> {
    let mut told = HashSet::new();
    let as_told = |letter: DeadLetter| {
        let rows_name = too_late_for(&letter).map(|(rows_name, _)| rows_name);
        let Some((name, _)) = rows_name.and_then(|rows_name| rows_name.rsplit_once('.')) else { return Some(letter) };
        let view = Some(name.to_owned());
        told.insert((letter.row, view.clone())).then_some(DeadLetter { view, ..letter })
    };
    letters.into_iter().filter_map(as_told).collect()
}

/// The rows of events that came too late, each once.
pub(crate) fn rows_of(events: &[TooLate]) -> impl Iterator<Item = usize> {
    events.chunk_by(|one, other| one.row == other.row).map(|by_each| by_each[0].row)
}
