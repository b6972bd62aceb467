//! `FROM REQUEST (column type, …) AS alias`: what a call of a feature service brings along.
//!
//! The SQL parser has no such relation. It is cut out of the tokens here and leaves `FROM REQUEST AS alias` behind, which
//! the parser reads as a table.

use asof_expression::fold;
use asof_expression::sqlparser::ast::{DataType, Ident};
use asof_expression::sqlparser::tokenizer::{Span, Token};

use crate::refusal::Refusal;
use crate::statement::{Tokens, is_word};
use crate::stream_syntax::parse_type;

/// The columns of a REQUEST as written.
#[derive(Debug)]
pub(crate) struct RequestSyntax {
    pub(crate) columns: Vec<(Ident, DataType, Span)>,
}

/// The name under which the parser finds the relation.
pub(crate) const REQUEST: &str = "REQUEST";

impl RequestSyntax {
    /// Takes the column list out of the tokens of the query of service `name`.
    pub(crate) fn take(name: &Ident, tokens: Tokens) -> Result<(RequestSyntax, Tokens), Refusal> {
        let missing = |span: Span| {
            Refusal::new(span, format!("feature service `{}` must read FROM REQUEST (column type, …) AS r", fold(name)))
        };
        let Some(from) = tokens.find_clause(&["FROM"]) else {
            return Err(missing(name.span));
        };
        let at = tokens.0.iter().position(|token| token.span == from).expect("found above");
        let opens = |index: usize| tokens.0.get(index).is_some_and(|token| token.token == Token::LParen);
        match tokens.0.get(at + 1) {
            Some(next) if !is_word(next, REQUEST) => return Err(missing(next.span)),
            Some(next) if !opens(at + 2) => {
                return Err(Refusal::new(next.span, "REQUEST needs its columns")
                    .hint("write FROM REQUEST (account_id BIGINT) AS r"));
            }
            Some(_) => {}
            None => return Err(missing(from)),
        }
        let close = closing(&tokens, at + 2).ok_or_else(|| Refusal::new(tokens.0[at + 2].span, "unclosed `(`"))?;
        let columns = Tokens(tokens.0[at + 3..close].to_vec());
        let rest = tokens.0[..at + 2].iter().chain(&tokens.0[close + 1..]).cloned().collect();
        Ok((RequestSyntax { columns: parse_columns(columns, tokens.0[at + 1].span)? }, Tokens(rest)))
    }
}

/// The index of the parenthesis that closes the one at `open`.
fn closing(tokens: &Tokens, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (index, token) in tokens.0.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 1 => return Some(index),
            Token::RParen => depth -= 1,
            _ => {}
        }
    }
    None
}

fn parse_columns(tokens: Tokens, place: Span) -> Result<Vec<(Ident, DataType, Span)>, Refusal> {
    if tokens.0.is_empty() {
        return Err(Refusal::new(place, "REQUEST has no columns"));
    }
    let mut parser = tokens.parser();
    let mut columns = Vec::new();
    loop {
        let name = parser.parse_identifier()?;
        let (data_type, span) = parse_type(&name, &mut parser)?;
        columns.push((name, data_type, span));
        let next = parser.next_token();
        match next.token {
            Token::Comma => {}
            Token::EOF => return Ok(columns),
            _ => {
                return Err(Refusal::new(next.span, format!("`{next}` is not supported in a column of REQUEST"))
                    .hint("a REQUEST column is a name and a type"));
            }
        }
    }
}
