//! "Did you mean": the known name that a misspelt one most likely stands for.

/// The nearest of `candidates` to `name`, without regard to case; `None` if none is near enough to be a slip of the
/// hand. Of equally near ones the one that begins alike wins, then the first.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    // One slip for every three letters, and one for the shortest names: `w5` is near `w`, `a` is not near `ts`.
    let slips_max = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), candidate))
        .filter(|(slips, candidate)| {
            *slips <= slips_max && *slips < candidate.chars().count().max(name.chars().count())
        })
        .min_by_key(|(slips, candidate)| (*slips, std::cmp::Reverse(letters_alike(&name, candidate))))
        .map(|(_, candidate)| candidate)
}

/// How many first letters are the same.
fn letters_alike(name: &str, candidate: &str) -> usize {
    name.chars().zip(candidate.to_lowercase().chars()).take_while(|(left, right)| left == right).count()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    fn check(name: &str, expected: Option<&str>) {
        let known = ["amount", "account_id", "ts", "tx", "w", "avg", "dedup_horizon"];
        assert_eq!(nearest(name, known), expected, "{name}");
    }

    #[test]
    fn slips_of_the_hand_are_mended() {
        check("amout", Some("amount"));
        check("AMOUNT", Some("amount"));
        check("txs", Some("tx"));
        check("w5", Some("w"));
        check("avrg", Some("avg"));
        check("dedup_horizn", Some("dedup_horizon"));
        check("country", None);
        check("q", None);
    }
}
