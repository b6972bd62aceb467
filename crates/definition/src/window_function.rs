//! `TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))` in FROM, in Flink's form: by place or by name.
//!
//! The SQL parser reads it in part. It is cut out of the tokens here and leaves the name of the stream behind, by whose
//! place it is found again: `FROM clicks`, and beside it which windows the rows of `clicks` are in.

use asof_expression::fold;
use asof_expression::sqlparser::ast::{Expr, Ident};
use asof_expression::sqlparser::keywords::Keyword;
use asof_expression::sqlparser::parser::Parser;
use asof_expression::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use crate::refusal::Refusal;
use crate::statement::{Tokens, is_word};

/// The parameters that are no lengths of time, as Flink calls them.
const DATA: &str = "data";
const TIME: &str = "timecol";

/// A table function of group windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowKind {
    Tumble,
    Hop,
    Cumulate,
    Session,
}

/// One group window, as written.
#[derive(Debug, Clone)]
pub(crate) struct WindowFunction {
    pub(crate) kind: WindowKind,
    /// The place of the stream's name.
    pub(crate) relation: Span,
    /// From TABLE to the last parenthesis.
    pub(crate) span: Span,
    /// What DESCRIPTOR names.
    pub(crate) time: Ident,
    /// PARTITION BY, which sessions have.
    pub(crate) partition_by: Vec<Expr>,
    /// By the names of their parameters.
    lengths: Vec<(&'static str, Expr)>,
}

impl WindowKind {
    const ALL: [WindowKind; 4] = [WindowKind::Tumble, WindowKind::Hop, WindowKind::Cumulate, WindowKind::Session];

    /// As SQL spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            WindowKind::Tumble => "TUMBLE",
            WindowKind::Hop => "HOP",
            WindowKind::Cumulate => "CUMULATE",
            WindowKind::Session => "SESSION",
        }
    }

    /// Of that folded name.
    pub(crate) fn from_name(name: &str) -> Option<WindowKind> {
        WindowKind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    fn at(token: &TokenWithSpan) -> Option<WindowKind> {
        WindowKind::ALL.into_iter().find(|kind| is_word(token, kind.name()))
    }

    /// In their order; `offset` may be left out.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            WindowKind::Tumble => &[DATA, TIME, "size", "offset"],
            WindowKind::Hop => &[DATA, TIME, "slide", "size", "offset"],
            WindowKind::Cumulate => &[DATA, TIME, "step", "size", "offset"],
            WindowKind::Session => &[DATA, TIME, "gap"],
        }
    }

    /// An example over a stream and its event time.
    pub(crate) fn example(self, stream: &str, time: &str) -> String {
        let (partition, lengths) = match self {
            WindowKind::Tumble => ("", "INTERVAL '1' HOUR"),
            WindowKind::Hop => ("", "INTERVAL '5' MINUTE, INTERVAL '1' HOUR"),
            WindowKind::Cumulate => ("", "INTERVAL '1' HOUR, INTERVAL '1' DAY"),
            WindowKind::Session => (" PARTITION BY key", "INTERVAL '30' MINUTE"),
        };
        format!("TABLE({}(TABLE {stream}{partition}, DESCRIPTOR({time}), {lengths}))", self.name())
    }

    fn hint(self) -> String {
        format!("write FROM {}", self.example("stream", "ts"))
    }
}

impl WindowFunction {
    /// The written length of a parameter.
    pub(crate) fn length(&self, parameter: &str) -> Option<&Expr> {
        self.lengths.iter().find(|(name, _)| *name == parameter).map(|(_, written)| written)
    }
}

/// Takes every group window out of the tokens of a query.
pub(crate) fn take(tokens: Tokens) -> Result<(Vec<WindowFunction>, Tokens), Refusal> {
    let (mut taken, mut rest) = (Vec::new(), Vec::new());
    let mut index = 0;
    while let Some(token) = tokens.0.get(index) {
        let Some(kind) = kind_at(&tokens, index) else {
            rest.push(token.clone());
            index += 1;
            continue;
        };
        let words = token.span.union(&tokens.0[index + 2].span);
        if !index.checked_sub(1).is_some_and(|before| is_word(&tokens.0[before], "FROM")) {
            return Err(misplaced(kind, words));
        }
        let unclosed = || Refusal::new(words, format!("{} is not closed by `))`", kind.name())).hint(kind.hint());
        let arguments = inside(&tokens, index + 3).ok_or_else(unclosed)?;
        let end = index + 3 + arguments.0.len() + 2;
        let last = tokens.0.get(end).filter(|last| last.token == Token::RParen).ok_or_else(unclosed)?;
        let function = read(kind, words, token.span.union(&last.span), arguments)?;
        let name = tokens.0.iter().find(|token| token.span == function.relation);
        rest.extend(name.cloned());
        taken.push(function);
        index = end + 1;
    }
    Ok((taken, Tokens(rest)))
}

/// A service asks feature views, and reads no stream.
pub(crate) fn refuse_in_service(tokens: &Tokens) -> Result<(), Refusal> {
    let Some((at, kind)) = (0..tokens.0.len()).find_map(|at| Some((at, kind_at(tokens, at)?))) else {
        return Ok(());
    };
    let words = tokens.0[at].span.union(&tokens.0[at + 2].span);
    let message = format!("the group window {} in a feature service is not supported", kind.name());
    Err(Refusal::new(words, message).hint("a service joins what feature views answer: make a view over the window"))
}

/// The function that `TABLE (` before it begins.
fn kind_at(tokens: &Tokens, index: usize) -> Option<WindowKind> {
    match tokens.0.get(index..index + 3)? {
        [table, paren, function] if is_word(table, "TABLE") && paren.token == Token::LParen => WindowKind::at(function),
        _ => None,
    }
}

fn misplaced(kind: WindowKind, words: Span) -> Refusal {
    Refusal::new(words, format!("the group window {} is not supported at this place", kind.name()))
        .hint("it is the one relation of a FROM; what it is joined with is joined in a derived stream before")
}

/// What stands between the parenthesis at `index` and the one that closes it.
fn inside(tokens: &Tokens, index: usize) -> Option<Tokens> {
    let mut depth = 0usize;
    for (end, token) in tokens.0.iter().enumerate().skip(index) {
        match token.token {
            Token::LParen => depth += 1,
            _ if depth == 0 => return None,
            Token::RParen if depth == 1 => return Some(Tokens(tokens.0[index + 1..end].to_vec())),
            Token::RParen => depth -= 1,
            _ => {}
        }
    }
    None
}

fn read(kind: WindowKind, words: Span, span: Span, arguments: Tokens) -> Result<WindowFunction, Refusal> {
    let end = arguments.0.last().map_or(words, |last| last.span);
    let mut parser = arguments.parser();
    let mut reading = Reading { kind, words, given: Vec::new(), relation: None, time: None, partition_by: None };
    let mut lengths = Vec::new();
    while parser.peek_token_ref().token != Token::EOF {
        let parameter = reading.parameter(&mut parser)?;
        let place = parser.peek_token_ref().span;
        let result = match parameter {
            DATA => reading.data(&mut parser),
            TIME => reading.descriptor(&mut parser),
            _ => parser.parse_expr().map(|length| lengths.push((parameter, length))).map_err(Refusal::from),
        };
        result.map_err(|refusal| reading.hinted(refusal.or_at(if place == Span::empty() { end } else { place })))?;
        let next = parser.next_token();
        if !matches!(next.token, Token::Comma | Token::EOF) {
            let message = format!("`{next}` is not supported at this place of {}", kind.name());
            return Err(reading.hinted(Refusal::new(next.span, message)));
        }
    }
    reading.end(span, lengths)
}

/// Arguments so far.
struct Reading {
    kind: WindowKind,
    words: Span,
    given: Vec<(&'static str, bool)>,
    relation: Option<Ident>,
    time: Option<Ident>,
    partition_by: Option<(Span, Vec<Expr>)>,
}

impl Reading {
    fn hinted(&self, refusal: Refusal) -> Refusal {
        if refusal.hint.is_some() { refusal } else { refusal.hint(self.kind.hint()) }
    }

    /// Which parameter the next argument is for: `SIZE =>` says it by name.
    fn parameter(&mut self, parser: &mut Parser) -> Result<&'static str, Refusal> {
        let (first, second) = (parser.peek_token(), parser.peek_nth_token(1));
        let (known, name) = (self.kind.parameters(), self.kind.name());
        let named = match (&first.token, second.token) {
            (Token::Word(word), Token::RArrow) => Some(fold(&word.to_ident(first.span))),
            _ => None,
        };
        if self.given.iter().any(|(_, by_name)| *by_name != named.is_some()) {
            let message = format!("{name} takes its arguments by name or by place, not both");
            return Err(self.hinted(Refusal::new(first.span, message)));
        }
        let found = match &named {
            Some(named) => {
                parser.next_token();
                parser.next_token();
                known.iter().find(|known| **known == named.to_lowercase())
            }
            None => known.get(self.given.len()),
        };
        let Some(&parameter) = found else {
            return Err(match &named {
                Some(named) => Refusal::new(first.span, format!("unknown argument `{named}` of {name}"))
                    .did_you_mean(named, known.iter().copied()),
                None => {
                    let message = format!("{name} takes at most {} arguments", known.len());
                    self.hinted(Refusal::new(first.span, message))
                }
            });
        };
        if self.given.iter().any(|(given, _)| *given == parameter) {
            return Err(Refusal::new(first.span, format!("argument `{parameter}` of {name} is given twice")));
        }
        self.given.push((parameter, named.is_some()));
        Ok(parameter)
    }

    /// `TABLE clicks [PARTITION BY user_id, …]`
    fn data(&mut self, parser: &mut Parser) -> Result<(), Refusal> {
        parser.expect_keyword(Keyword::TABLE)?;
        self.relation = Some(parser.parse_identifier()?);
        let words = parser.peek_token_ref().span;
        if !parser.parse_keywords(&[Keyword::PARTITION, Keyword::BY]) {
            return Ok(());
        }
        let mut parts = Vec::new();
        loop {
            match parser.parse_expr()? {
                Expr::Tuple(several) => parts.extend(several),
                Expr::Nested(one) => parts.push(*one),
                one => parts.push(one),
            }
            // The comma before DESCRIPTOR, or before the next name, ends the list.
            let (comma, next, after) = (parser.peek_token(), parser.peek_nth_token(1), parser.peek_nth_token(2));
            if comma.token != Token::Comma || is_word(&next, "DESCRIPTOR") || after.token == Token::RArrow {
                break;
            }
            parser.next_token();
        }
        self.partition_by = Some((words, parts));
        Ok(())
    }

    /// `DESCRIPTOR(ts)`
    fn descriptor(&mut self, parser: &mut Parser) -> Result<(), Refusal> {
        let next = parser.next_token();
        if !is_word(&next, "DESCRIPTOR") {
            let found = if next.token == Token::EOF { "nothing".to_owned() } else { format!("`{next}`") };
            let message = format!("{} takes DESCRIPTOR(event time), found {found}", self.kind.name());
            return Err(Refusal::new(next.span, message));
        }
        parser.expect_token(&Token::LParen)?;
        self.time = Some(parser.parse_identifier()?);
        parser.expect_token(&Token::RParen)?;
        Ok(())
    }

    fn end(self, span: Span, lengths: Vec<(&'static str, Expr)>) -> Result<WindowFunction, Refusal> {
        let (kind, name) = (self.kind, self.kind.name());
        let is_missing = |known: &&&str| **known != "offset" && self.given.iter().all(|(given, _)| given != *known);
        let missing = kind.parameters().iter().find(is_missing);
        let (Some(relation), Some(time), None) = (&self.relation, &self.time, missing) else {
            let what = match missing.copied() {
                Some(DATA) => "TABLE stream".to_owned(),
                Some(TIME) => "DESCRIPTOR(event time)".to_owned(),
                Some(length) => format!("its {length}"),
                None => "an argument".to_owned(),
            };
            return Err(self.hinted(Refusal::new(self.words, format!("{name} misses {what}"))));
        };
        if let (Some((place, _)), false) = (&self.partition_by, kind == WindowKind::Session) {
            let message = format!("PARTITION BY in {name} is not supported");
            return Err(Refusal::new(*place, message).hint("the key of these windows is the GROUP BY"));
        }
        let (relation, time) = (relation.span, time.clone());
        let partition_by = self.partition_by.map(|(_, parts)| parts).unwrap_or_default();
        Ok(WindowFunction { kind, relation, span, time, partition_by, lengths })
    }
}
