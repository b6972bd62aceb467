//! What a tally of a frame's values answers: how many different ones there are, which are the most frequent, and how
//! often each occurs. Exact: every value is counted.

use std::hash::Hash;

use crate::aggregate::Function;
use crate::answers::AnswerColumn;
use crate::tally::Tally;

/// Answers count(DISTINCT), mode, top_k or histogram. `answer` gives a value to a column of values.
pub(crate) fn answer_tally<K: Ord + Hash + Clone>(
    tally: &Tally<K>,
    function: Function,
    column: &mut AnswerColumn,
    answer: impl Fn(&K, &mut AnswerColumn),
) {
    match function {
        Function::CountDistinct => column.word(tally.distinct() as i64),
        Function::TopK(k) => column.list(|items| {
            let k = usize::try_from(k).unwrap_or(usize::MAX);
            tally.most_frequent(k).into_iter().for_each(|key| answer(key, items));
        }),
        Function::Histogram => column.map(|keys, counts| {
            for (key, count) in tally.sorted() {
                answer(key, keys);
                counts.push(count as i64);
            }
        }),
        _ => match tally.mode() {
            Some(key) => answer(key, column),
            None => column.null(),
        },
    }
}
