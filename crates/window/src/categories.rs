//! What a tally of a frame's values answers: how many different ones there are, which are the most frequent, and how
//! often each occurs. Exact: every value is counted.

use std::hash::Hash;

use crate::aggregate::Function;
use crate::answers::{ANSWER_ITEMS_MAX, AnswerColumn, Failure};
use crate::tally::Tally;

/// Answers count(DISTINCT), mode, top_k or histogram. `answer` gives a value to a column of values.
pub(crate) fn answer_tally<K: Ord + Hash + Clone>(
    tally: &Tally<K>,
    function: Function,
    column: &mut AnswerColumn,
    answer: impl Fn(&K, &mut AnswerColumn),
) -> Result<(), Failure> {
    match function {
        Function::CountDistinct => column.word(tally.distinct() as i64),
        Function::TopK(k) => {
            let k = usize::try_from(k).unwrap_or(usize::MAX);
            return column.list(tally.most_frequent(k).into_iter(), answer);
        }
        // Not sorted in vain.
        Function::Histogram if tally.distinct() > ANSWER_ITEMS_MAX => {
            column.null();
            return Err(Failure::TooLarge);
        }
        Function::Histogram => return column.map(tally.sorted(), answer),
        _ => match tally.mode() {
            Some(key) => answer(key, column),
            None => column.null(),
        },
    }
    Ok(())
}
