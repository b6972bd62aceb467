//! `FEATURES(fraud_v1, t)` in a SELECT: the vector of a feature service for a row of `t`, of which `.*` and `.name` are columns.
//!
//! The SQL parser reads a column of a call in no dialect that reads the rest. So each call is cut out of the tokens here and
//! leaves one word behind, its own text, by which its columns are then qualified as those of a table are by its alias.

use asof_expression::fold;
use asof_expression::sqlparser::ast::Ident;
use asof_expression::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use crate::refusal::Refusal;
use crate::statement::{Tokens, is_word};

const FEATURES: &str = "FEATURES";
const PREDICT: &str = "ML_PREDICT";
const HINT: &str = "write FEATURES(service, t).* or FEATURES(service, t).feature, where t is the alias in FROM";

/// One call, as written.
#[derive(Debug, Clone)]
pub(crate) struct ServiceCall {
    /// What is left of it in the text.
    pub(crate) word: String,
    /// The same as names are compared: by it its columns are qualified.
    pub(crate) qualifier: String,
    pub(crate) service: Ident,
    /// Of the relation that REQUEST is bound to.
    pub(crate) alias: Ident,
    pub(crate) span: Span,
}

/// Takes every call out of the tokens of a query; of equal ones the first is told of.
pub(crate) fn take(tokens: Tokens) -> Result<(Vec<ServiceCall>, Tokens), Refusal> {
    let (mut calls, mut rest): (Vec<ServiceCall>, Vec<TokenWithSpan>) = (Vec::new(), Vec::new());
    let mut index = 0;
    while let Some(token) = tokens.0.get(index) {
        let opens = tokens.0.get(index + 1).is_some_and(|next| next.token == Token::LParen);
        if opens && is_word(token, PREDICT) {
            return Err(Refusal::new(token.span, format!("{PREDICT} is not supported yet"))
                .hint("the features that a model would read: FEATURES(service, t).*"));
        }
        if !(opens && is_word(token, FEATURES)) {
            rest.push(token.clone());
            index += 1;
            continue;
        }
        let (call, end) = read(&tokens, index)?;
        rest.push(TokenWithSpan { token: Token::make_word(&call.word, None), span: call.span });
        match calls.iter().find(|known| known.qualifier == call.qualifier) {
            None => calls.push(call),
            Some(known) if known.word == call.word => {}
            Some(known) => {
                let message = format!("`{}` and `{}` differ in capitals alone", known.word, call.word);
                return Err(Refusal::new(call.span, message).hint("give one of the services another name"));
            }
        }
        index = end;
    }
    Ok((calls, Tokens(rest)))
}

/// A view and a service compute features, and are asked for them by nobody in their own SQL.
pub(crate) fn refuse(calls: &[ServiceCall], of: &str) -> Result<(), Refusal> {
    match calls.first() {
        Some(call) => Err(Refusal::new(call.span, format!("{FEATURES} in a {of} is not supported"))
            .hint("a derived stream or a sink adds the features of a service to rows")),
        None => Ok(()),
    }
}

/// The call that begins at `index`, and the index behind its last token.
fn read(tokens: &Tokens, index: usize) -> Result<(ServiceCall, usize), Refusal> {
    let at = |place: usize| tokens.0.get(index + place);
    let refuse = |place: usize, message: String| {
        let span = at(place).or(tokens.0.last()).map_or(tokens.0[index].span, |token| token.span);
        Refusal::new(span, message).hint(HINT)
    };
    let name = |place: usize, what: &str| match at(place).map(|found| &found.token) {
        Some(Token::Word(word)) => Ok(word.to_ident(tokens.0[index + place].span)),
        _ => Err(refuse(place, format!("{FEATURES} takes {what} at this place"))),
    };
    let expect = |place: usize, expected: &Token| match at(place) {
        Some(found) if found.token == *expected => Ok(()),
        Some(found) => Err(refuse(place, format!("`{found}` is not supported at this place of {FEATURES}"))),
        None => Err(refuse(place, format!("{FEATURES} is not closed by `)`"))),
    };
    let service = name(2, "the name of a feature service")?;
    expect(3, &Token::Comma)?;
    let alias = name(4, "the alias of a relation in FROM")?;
    expect(5, &Token::RParen)?;
    let span = tokens.0[index].span.union(&tokens.0[index + 5].span);
    if at(6).is_none_or(|next| next.token != Token::Period) {
        return Err(Refusal::new(span, format!("{FEATURES} gives a row of features, not a value")).hint(HINT));
    }
    let word = format!("{FEATURES}({}, {})", fold(&service), fold(&alias));
    Ok((ServiceCall { qualifier: word.to_lowercase(), word, service, alias, span }, index + 6))
}
