//! Dead letters of events that a late version of a table makes fail, in some view or derived stream, long after they came.
//!
//! ```text
//!   log of tx      … │ event 17, used │ …                              what was said of it then stays as it was said
//!   log of rates   … │ version 4 ── letter: set aside for `v`, the event is {"stream":"tx","partition":0,"offset":17}
//! ```
//! Rule kept here: a letter lies in the frame of what causes it, so that both are there or neither. So it is listed under the
//! table, at the first used version of its batch; what it is about is named by its place and not told again.

use asof_connect::DeadLetter;
use asof_feature::{DETAILS_KEPT, Rejoined, SetAside};
use asof_window::Verdict;
use serde_json::json;

use crate::sources::Preparation;
use crate::unit::Readers;

/// Letters of one batch: one version may make a million events fail, all in the same way. The counts have them all, until the
/// process ends: recovery counts letters.
const LETTERS_MAX: usize = DETAILS_KEPT;
/// How much of a letter's detail is kept.
const DETAIL_CHARS_MAX: usize = 200;

/// An event that fails since a version came, and for whom.
pub(crate) struct LatelyFailed<'a> {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) reader: &'a str,
    pub(crate) detail: &'a str,
}

/// The events of a stream that fail now and did not before, for each reader that sets them aside.
pub(crate) fn lately_failed<'a>(
    rejoined: &'a Rejoined,
    readers: &'a Readers,
) -> impl Iterator<Item = LatelyFailed<'a>> {
    rejoined.rows().iter().flat_map(move |rows| {
        let of_derived = readers.derived.iter().zip(&rows.derived_set_aside);
        let by_reader = of_derived.chain(readers.views.iter().zip(&rows.set_aside));
        by_reader.flat_map(move |(reader, aside)| {
            aside.iter().map(move |SetAside { row, detail, .. }| LatelyFailed {
                partition: rows.partition,
                offset: rows.offsets[*row],
                reader,
                detail,
            })
        })
    })
}

/// The letters of a batch of versions. `stream` tells the name of a stream and who reads it.
pub(crate) fn late_letters(preparation: &Preparation, stream: impl Fn(usize) -> (String, Readers)) -> Vec<DeadLetter> {
    let verdicts = preparation.prepared().verdicts();
    let first_used = verdicts.iter().position(|verdict| *verdict == Verdict::Used).unwrap_or_default();
    let mut letters = Vec::new();
    for (place, rejoined) in preparation.rejoined().iter().filter(|(_, rejoined)| rejoined.row_count() > 0) {
        let (name, readers) = stream(*place);
        let failed = lately_failed(rejoined, &readers).take(LETTERS_MAX - letters.len());
        letters.extend(failed.map(|one| letter(first_used as u32, &name, &one)));
    }
    letters
}

fn letter(row: u32, stream: &str, failed: &LatelyFailed<'_>) -> DeadLetter {
    let event = json!({"stream": stream, "partition": failed.partition, "offset": failed.offset});
    DeadLetter {
        row,
        reason: "set_aside".to_owned(),
        view: Some(failed.reader.to_owned()),
        detail: failed.detail.chars().take(DETAIL_CHARS_MAX).collect(),
        raw: event.to_string(),
        // It is no event to be sent again.
        raw_is_cut: true,
    }
}
