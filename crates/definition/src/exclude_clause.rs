//! `EXCLUDE …` at the end of a window frame: what the frame leaves out.
//!
//! ```text
//!   OVER ( PARTITION BY k ORDER BY ts RANGE INTERVAL '1' HOUR PRECEDING EXCLUDE GROUP )
//!        │                         │                                    └───────────┘
//!        opening                   which window: of those that open before its ORDER BY the one that does so last
//! ```
//! The SQL parser does not know it. It is cut out of the tokens here, where it ends a frame and its window; anywhere else it
//! is left for the parser to stumble over.

use asof_expression::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};
use asof_window::Exclusion;

use crate::refusal::Refusal;
use crate::statement::{Tokens, is_word};

/// Where it stands.
pub(crate) const HINT: &str =
    "it ends a window frame, as CURRENT ROW, GROUP or NO OTHERS: RANGE INTERVAL '1' HOUR PRECEDING EXCLUDE GROUP";

/// What may follow the word; `None` is refused.
const FORMS: [(&[&str], Option<Exclusion>); 4] = [
    (&["CURRENT", "ROW"], Some(Exclusion::CurrentRow)),
    (&["GROUP"], Some(Exclusion::Group)),
    (&["NO", "OTHERS"], Some(Exclusion::NoOthers)),
    (&["TIES"], None),
];

/// One EXCLUDE.
#[derive(Debug, Clone)]
pub(crate) struct ExcludeClause {
    pub(crate) exclusion: Exclusion,
    /// Where the parenthesis opens that holds the window.
    opening: Location,
    start: Location,
}

/// A parenthesis that is open.
struct Opened {
    at: Location,
    holds_frame: bool,
}

/// Takes every EXCLUDE that ends a frame out of the tokens of a query.
pub(crate) fn take(tokens: Tokens) -> Result<(Vec<ExcludeClause>, Tokens), Refusal> {
    let (mut taken, mut rest): (Vec<ExcludeClause>, Vec<TokenWithSpan>) = (Vec::new(), Vec::new());
    let mut opened: Vec<Opened> = Vec::new();
    let mut index = 0;
    while let Some(token) = tokens.0.get(index) {
        let window = opened.last().filter(|opened| opened.holds_frame && rest.last().is_some_and(ends_bound));
        if let Some(window) = window
            && let Some((length, exclusion)) = form_at(&tokens, index)
        {
            let exclusion = exclusion.ok_or_else(|| refused_ties(tokens.0[index + 1].span))?;
            taken.push(ExcludeClause { exclusion, opening: window.at, start: token.span.start });
            index += length;
            continue;
        }
        match token.token {
            Token::LParen => opened.push(Opened { at: token.span.start, holds_frame: false }),
            Token::RParen => drop(opened.pop()),
            _ => {
                if let Some(opened) = opened.last_mut() {
                    opened.holds_frame |= ["RANGE", "ROWS", "GROUPS"].iter().any(|units| is_word(token, units));
                }
            }
        }
        rest.push(token.clone());
        index += 1;
    }
    Ok((taken, Tokens(rest)))
}

/// What the window leaves out whose ORDER BY names the expression at a place.
pub(crate) fn exclusion_after(clauses: &[ExcludeClause], order: Span) -> Exclusion {
    let around = clauses.iter().filter(|clause| clause.opening < order.start && order.start < clause.start);
    around.max_by_key(|clause| clause.opening).map_or(Exclusion::NoOthers, |clause| clause.exclusion)
}

/// The number of tokens of an EXCLUDE that ends a window, and what it leaves out.
fn form_at(tokens: &Tokens, index: usize) -> Option<(usize, Option<Exclusion>)> {
    if !tokens.has_words_at(index, &["EXCLUDE"]) {
        return None;
    }
    let (words, exclusion) = FORMS.into_iter().find(|(words, _)| tokens.has_words_at(index + 1, words))?;
    let length = 1 + words.len();
    let closes = tokens.0.get(index + length).is_some_and(|next| next.token == Token::RParen);
    closes.then_some((length, exclusion))
}

/// Whether a token is the last of a frame's bound.
fn ends_bound(token: &TokenWithSpan) -> bool {
    ["ROW", "PRECEDING", "FOLLOWING"].iter().any(|word| is_word(token, word))
}

fn refused_ties(place: Span) -> Refusal {
    Refusal::new(place, "EXCLUDE TIES is not supported")
        .hint("EXCLUDE CURRENT ROW leaves the event itself out and keeps its ties, EXCLUDE GROUP leaves out both")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SourceFile, check};
    use Exclusion::{CurrentRow, Group, NoOthers};

    const STREAM: &str = "CREATE STREAM tx (k BIGINT, a BIGINT, row BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts);";

    /// Of each frame of a view, in the order in which its features name them first.
    fn check_exclusions(select: &str, expected: &[Exclusion]) {
        let text = format!("{STREAM}\nCREATE FEATURE VIEW v AS SELECT k, {select};");
        let project = check(&[SourceFile { name: "v.sql".to_owned(), text }]).unwrap();
        let found: Vec<Exclusion> = project.views[0].frames.iter().map(|frame| frame.exclusion).collect();
        assert_eq!(found, expected, "{select}");
    }

    #[test]
    fn each_window_has_its_own() {
        check_exclusions(
            "count(*) OVER two AS n, count(*) OVER one AS m, count(*) OVER three AS o, count(*) OVER four AS p FROM tx
             WINDOW one AS (PARTITION BY k ORDER BY ts RANGE INTERVAL '1' HOUR PRECEDING exclude current row),
             two AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW Exclude Group),
             three AS (PARTITION BY k ORDER BY ts RANGE UNBOUNDED PRECEDING EXCLUDE NO OTHERS),
             four AS (PARTITION BY k ORDER BY ts)",
            // What leaves nothing out is the same frame, however it is written.
            &[Group, CurrentRow, NoOthers],
        );
    }

    #[test]
    fn written_at_the_call_it_belongs_to_that_window() {
        check_exclusions(
            "sum((a + (row))) OVER (PARTITION BY (k), date_trunc('day', (ts)) ORDER BY (tx.ts) ROWS 3 PRECEDING EXCLUDE GROUP)
               - sum(a) OVER (PARTITION BY k ORDER BY ts ROWS 3 PRECEDING) AS n,
             max(row) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 3 PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW) AS m FROM tx",
            &[Group, NoOthers, CurrentRow],
        );
    }
}
