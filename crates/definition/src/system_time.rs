//! `FOR SYSTEM_TIME AS OF time` after the name of a relation: as of when a table is joined.
//!
//! The SQL parser knows it in dialects that differ from ours elsewhere. It is cut out of the tokens here and leaves
//! `LEFT JOIN table AS alias ON …` behind; the name before it says where it stood.

use asof_expression::sqlparser::ast::Expr;
use asof_expression::sqlparser::tokenizer::{Span, Token};

use crate::refusal::Refusal;
use crate::statement::{Tokens, is_word, parser_position};

const WORDS: &[&str] = &["FOR", "SYSTEM_TIME", "AS", "OF"];
/// Where it stands.
pub(crate) const HINT: &str =
    "it follows the name of a joined table: LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON …";

/// One FOR SYSTEM_TIME AS OF.
#[derive(Debug, Clone)]
pub(crate) struct AsOfClause {
    /// The place of the relation's name.
    pub(crate) relation: Span,
    /// Of the words and the expression.
    pub(crate) span: Span,
    pub(crate) expression: Expr,
}

/// Takes every FOR SYSTEM_TIME AS OF out of the tokens of a query.
pub(crate) fn take(tokens: Tokens) -> Result<(Vec<AsOfClause>, Tokens), Refusal> {
    let (mut taken, mut rest) = (Vec::new(), Vec::new());
    let mut index = 0;
    while let Some(token) = tokens.0.get(index) {
        if !tokens.has_words_at(index, WORDS) {
            rest.push(token.clone());
            index += 1;
            continue;
        }
        let words = token.span.union(&tokens.0[index + WORDS.len() - 1].span);
        let relation = relation_before(&tokens, index).ok_or_else(|| misplaced(words))?;
        let after = Tokens(tokens.0[index + WORDS.len()..].to_vec());
        if after.has_words_at(0, &["AS"]) {
            return Err(Refusal::new(words, "FOR SYSTEM_TIME AS OF names no time").hint(HINT));
        }
        let mut parser = after.clone().parser();
        let expression = parser.parse_expr().map_err(|error| Refusal::from(error).or_at(words))?;
        let length = parser_position(&after, &mut parser);
        taken.push(AsOfClause { relation, span: words.union(&after.0[length - 1].span), expression });
        index += WORDS.len() + length;
    }
    Ok((taken, Tokens(rest)))
}

/// The place of the name that the words at `index` follow, if it is a relation's.
fn relation_before(tokens: &Tokens, index: usize) -> Option<Span> {
    let (before, name) = (tokens.0.get(index.checked_sub(2)?)?, &tokens.0[index - 1]);
    let opens = is_word(before, "JOIN") || is_word(before, "FROM") || before.token == Token::Comma;
    (opens && matches!(name.token, Token::Word(_))).then_some(name.span)
}

fn misplaced(words: Span) -> Refusal {
    Refusal::new(words, "FOR SYSTEM_TIME AS OF is not supported at this place").hint(HINT)
}

/// A service asks views as of the time of its request, and nothing else.
pub(crate) fn refuse_in_service(tokens: &Tokens) -> Result<(), Refusal> {
    let Some(at) = (0..tokens.0.len()).find(|at| tokens.has_words_at(*at, WORDS)) else {
        return Ok(());
    };
    let span = tokens.0[at].span.union(&tokens.0[at + WORDS.len() - 1].span);
    Err(Refusal::new(span, "FOR SYSTEM_TIME AS OF in a feature service is not supported")
        .hint("views are asked as of the time of the request; a table is read through a view over it"))
}
