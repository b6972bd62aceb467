//! From a file to its statements: tokens cut at `;`, each statement recognised by its first words.

use asof_expression::fold;
use asof_expression::sqlparser::ast::{Ident, Query};
use asof_expression::sqlparser::dialect::GenericDialect;
use asof_expression::sqlparser::keywords::Keyword;
use asof_expression::sqlparser::parser::Parser;
use asof_expression::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer};

use crate::exclude_clause::{self, ExcludeClause};
use crate::query::Relation;
use crate::refusal::Refusal;
use crate::request::RequestSyntax;
use crate::service_call::{self, ServiceCall};
use crate::sink::SinkSyntax;
use crate::stream_syntax::{Declared, OptionSyntax, StreamSyntax, parse_options};
use crate::system_time::{self, AsOfClause};
use crate::window_function::{self, WindowFunction};

const STATEMENTS_HINT: &str =
    "a project holds CREATE STREAM, CREATE TABLE, CREATE FEATURE VIEW, CREATE FEATURE SERVICE and CREATE SINK";
/// Deeper expressions than this are refused rather than overflowing the stack.
const NESTING_MAX: usize = 100;
/// The most operators in a row outside of parentheses and commas.
const OPERATORS_MAX: usize = 500;

static DIALECT: GenericDialect = GenericDialect {};

/// A statement as written.
#[derive(Debug)]
pub(crate) enum Statement {
    Stream(StreamSyntax),
    Table(StreamSyntax),
    /// WITH the options of a topic that it is kept in.
    Derived {
        query: QuerySyntax,
        options: Option<Vec<OptionSyntax>>,
    },
    View(QuerySyntax),
    Service {
        query: QuerySyntax,
        request: RequestSyntax,
    },
    Sink(SinkSyntax),
}

/// `CREATE STREAM|FEATURE VIEW|FEATURE SERVICE name AS query`
#[derive(Debug)]
pub(crate) struct QuerySyntax {
    pub(crate) name: Ident,
    pub(crate) query: Box<Query>,
    /// The tokens of the query, to point at clauses for which the parser keeps no place.
    pub(crate) tokens: Tokens,
    /// Every FOR SYSTEM_TIME AS OF, which is neither in the query nor in the tokens.
    pub(crate) system_times: Vec<AsOfClause>,
    /// Every group window, of which the name of the stream is left.
    pub(crate) window_functions: Vec<WindowFunction>,
    /// Every EXCLUDE of a window frame, of which nothing is left.
    pub(crate) exclude_clauses: Vec<ExcludeClause>,
    /// Every feature service that it calls, of which a word is left by which its features are qualified.
    pub(crate) service_calls: Vec<ServiceCall>,
}

impl QuerySyntax {
    /// The group window whose stream a relation is.
    pub(crate) fn window_over(&self, relation: &Relation) -> Option<&WindowFunction> {
        self.window_functions.iter().find(|function| function.relation == relation.name.span)
    }
}

/// Tokens of one statement, without white space and comments.
#[derive(Debug, Clone)]
pub(crate) struct Tokens(pub(crate) Vec<TokenWithSpan>);

impl Statement {
    /// The name that the statement defines.
    pub(crate) fn name(&self) -> &Ident {
        match self {
            Statement::Stream(declared) | Statement::Table(declared) => &declared.name,
            Statement::Derived { query, .. } | Statement::View(query) => &query.name,
            Statement::Service { query, .. } => &query.name,
            Statement::Sink(sink) => &sink.query.name,
        }
    }

    /// What the statement defines, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Statement::Stream(_) | Statement::Derived { .. } => "stream",
            Statement::Table(_) => "table",
            Statement::View(_) => "feature view",
            Statement::Service { .. } => "feature service",
            Statement::Sink(_) => "sink",
        }
    }

    /// Reads one statement.
    pub(crate) fn parse(tokens: Tokens) -> Result<Statement, Refusal> {
        let result = parse(tokens.clone());
        result.map_err(|refusal| {
            // The parser knows no place for the end of the statement.
            let refusal = refusal.or_at(tokens.0.last().map_or(Span::empty(), |last| last.span));
            later_construct(&tokens, refusal.span).unwrap_or(refusal)
        })
    }
}

/// Cuts a text into statements. An unfinished text or comment is one error for the whole file.
pub(crate) fn split(text: &str) -> Result<Vec<Tokens>, Refusal> {
    let tokens = Tokenizer::new(&DIALECT, text)
        .tokenize_with_location()
        .map_err(|error| Refusal::new(Span::new(error.location, error.location), error.message.to_lowercase()))?;
    let mut statements = vec![Vec::new()];
    for token in tokens {
        match token.token {
            Token::Whitespace(_) | Token::EOF => {}
            Token::SemiColon => statements.push(Vec::new()),
            _ => statements.last_mut().expect("never empty").push(token),
        }
    }
    Ok(statements.into_iter().filter(|tokens| !tokens.is_empty()).map(Tokens).collect())
}

impl Tokens {
    /// From the first to the last token.
    pub(crate) fn span(&self) -> Span {
        match (self.0.first(), self.0.last()) {
            (Some(first), Some(last)) => first.span.union(&last.span),
            _ => Span::empty(),
        }
    }

    /// The folded name that a CREATE defines, as far as its first words tell.
    pub(crate) fn defined_name(&self) -> Option<String> {
        if !self.has_words_at(0, &["CREATE"]) {
            return None;
        }
        let after_kind = if self.has_words_at(1, &["FEATURE"]) { 3 } else { 2 };
        match &self.0.get(after_kind)?.token {
            Token::Word(word) => Some(asof_expression::fold(&word.to_ident(Span::empty()))),
            _ => None,
        }
    }

    pub(crate) fn parser(self) -> Parser<'static> {
        Parser::new(&DIALECT).with_recursion_limit(NESTING_MAX).with_tokens_with_locations(self.0)
    }

    /// The place of a clause by its words, outside all parentheses.
    pub(crate) fn find_clause(&self, words: &[&str]) -> Option<Span> {
        let mut depth = 0usize;
        for (index, token) in self.0.iter().enumerate() {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ if depth == 0 && self.has_words_at(index, words) => {
                    return Some(token.span.union(&self.0[index + words.len() - 1].span));
                }
                _ => {}
            }
        }
        None
    }

    /// The place where an expression has more operators in a row than [`OPERATORS_MAX`]: a chain makes a syntax tree as
    /// deep as it is long, and planning walks trees by recursion.
    fn too_long_a_chain(&self) -> Option<Span> {
        let mut operators = vec![0usize];
        for token in &self.0 {
            let innermost = operators.len() - 1;
            match token.token {
                Token::LParen => operators.push(0),
                Token::RParen if innermost > 0 => operators.truncate(innermost),
                Token::Comma => operators[innermost] = 0,
                _ if is_operator(token) => operators[innermost] += 1,
                _ => {}
            }
            if operators.last().is_some_and(|count| *count > OPERATORS_MAX) {
                return Some(token.span);
            }
        }
        None
    }

    /// The place of the first such word from the start of `place` on.
    pub(crate) fn find_word_from(&self, place: Span, word: &str) -> Option<Span> {
        self.0.iter().find(|token| token.span.start >= place.start && is_word(token, word)).map(|token| token.span)
    }

    pub(crate) fn has_words_at(&self, index: usize, words: &[&str]) -> bool {
        let found = self.0.get(index..index + words.len());
        found.is_some_and(|found| found.iter().zip(words).all(|(token, word)| is_word(token, word)))
    }
}

fn is_operator(token: &TokenWithSpan) -> bool {
    match &token.token {
        Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod | Token::StringConcat => true,
        Token::Eq | Token::Neq | Token::Lt | Token::LtEq | Token::Gt | Token::GtEq | Token::DoubleColon => true,
        Token::Word(_) => ["AND", "OR", "NOT", "IS", "CASE", "WHEN"].iter().any(|word| is_word(token, word)),
        _ => false,
    }
}

/// Whether a token is that word, unquoted, in any case.
pub(crate) fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

pub(crate) fn take_word(parser: &mut Parser) -> TokenWithSpan {
    parser.next_token()
}

/// Refuses whatever follows a complete statement.
pub(crate) fn end_of_statement(parser: &mut Parser, statement: &str) -> Result<(), Refusal> {
    let next = parser.peek_token();
    if next.token == Token::EOF {
        return Ok(());
    }
    Err(Refusal::new(next.span, format!("`{next}` is not supported at this place of {statement}"))
        .hint("statements end with `;`"))
}

fn parse(tokens: Tokens) -> Result<Statement, Refusal> {
    if let Some(span) = tokens.too_long_a_chain() {
        let message = format!("an expression of more than {OPERATORS_MAX} operators in a row is not supported");
        return Err(Refusal::new(span, message).hint("compute parts of it in columns or features of their own"));
    }
    let first = tokens.0[0].clone();
    if !is_word(&first, "CREATE") {
        let message = format!("`{first}` is not supported");
        return Err(Refusal::new(first.span, message).hint(STATEMENTS_HINT));
    }
    refuse_other_creates(&tokens)?;
    let mut parser = tokens.clone().parser();
    take_word(&mut parser);
    let kind = take_word(&mut parser);
    if is_word(&kind, "TABLE") {
        return Ok(Statement::Table(table(&tokens, &mut parser)?));
    }
    if is_word(&kind, "STREAM") {
        let name = object_name(&mut parser, "stream")?;
        return match tokens.find_clause(&["AS"]) {
            Some(_) => derived(name, &tokens, &mut parser),
            None => Ok(Statement::Stream(StreamSyntax::parse(Declared::Stream, name, &mut parser)?)),
        };
    }
    if is_word(&kind, "SINK") {
        return Ok(Statement::Sink(sink(&tokens, &mut parser)?));
    }
    let kind = take_word(&mut parser);
    let name = object_name(&mut parser, if is_word(&kind, "VIEW") { "feature view" } else { "feature service" })?;
    parser.expect_keyword(Keyword::AS)?;
    let body = body(&name, &tokens, &mut parser)?;
    if is_word(&kind, "VIEW") {
        let query = query(name, body, "CREATE FEATURE VIEW")?;
        service_call::refuse(&query.service_calls, "feature view")?;
        return Ok(Statement::View(query));
    }
    system_time::refuse_in_service(&body)?;
    window_function::refuse_in_service(&body)?;
    let (request, body) = RequestSyntax::take(&name, body)?;
    let query = query(name, body, "CREATE FEATURE SERVICE")?;
    service_call::refuse(&query.service_calls, "feature service")?;
    Ok(Statement::Service { query, request })
}

/// Reads on after `CREATE TABLE`.
fn table(tokens: &Tokens, parser: &mut Parser) -> Result<StreamSyntax, Refusal> {
    let name = object_name(parser, "table")?;
    if let Some(place) = tokens.find_clause(&["AS"]) {
        return Err(Refusal::new(place, "CREATE TABLE … AS is not supported")
            .hint("a table holds the versions that are sent to it; CREATE STREAM … AS derives a stream"));
    }
    StreamSyntax::parse(Declared::Table, name, parser)
}

/// Reads on after `CREATE STREAM name`, which has an AS outside of parentheses.
fn derived(name: Ident, tokens: &Tokens, parser: &mut Parser) -> Result<Statement, Refusal> {
    let next = parser.peek_token();
    if next.token == Token::LParen {
        return Err(Refusal::new(next.span, "a column list of a derived stream is not supported")
            .hint("name columns in the SELECT: `expression AS name`"));
    }
    let options = if parser.parse_keyword(Keyword::WITH) { Some(parse_options(parser)?) } else { None };
    parser.expect_keyword(Keyword::AS)?;
    let body = body(&name, tokens, parser)?;
    let after_from = body.find_clause(&["FROM"]).and_then(|from| body.find_word_from(from, "WITH"));
    if let Some(place) = after_from.filter(|place| body.find_clause(&["WITH"]) == Some(*place)) {
        return Err(Refusal::new(place, "WITH behind the SELECT of a derived stream is not supported")
            .hint("CREATE STREAM name WITH (connector = 'kafka', topic = '…') AS SELECT …"));
    }
    Ok(Statement::Derived { query: query(name, body, "CREATE STREAM")?, options })
}

/// Reads on after `CREATE SINK`.
fn sink(tokens: &Tokens, parser: &mut Parser) -> Result<SinkSyntax, Refusal> {
    let name = object_name(parser, "sink")?;
    let next = parser.peek_token();
    if !parser.parse_keyword(Keyword::WITH) {
        let refusal = Refusal::new(next.span, format!("sink `{}` does not say where it writes", fold(&name)));
        return Err(refusal.hint("CREATE SINK name WITH (connector = 'kafka', topic = 'enriched') AS SELECT …"));
    }
    let options = parse_options(parser)?;
    parser.expect_keyword(Keyword::AS)?;
    let body = body(&name, tokens, parser)?;
    Ok(SinkSyntax { query: query(name, body, "CREATE SINK")?, options })
}

/// The tokens from where the parser stands.
fn body(name: &Ident, tokens: &Tokens, parser: &mut Parser) -> Result<Tokens, Refusal> {
    let body = Tokens(tokens.0[parser_position(tokens, parser)..].to_vec());
    if body.0.is_empty() {
        return Err(Refusal::new(name.span, "expected SELECT after AS, found the end of the statement"));
    }
    Ok(body)
}

/// How many tokens the parser has read.
pub(crate) fn parser_position(tokens: &Tokens, parser: &mut Parser) -> usize {
    let next = parser.peek_token();
    tokens.0.iter().position(|token| token.span == next.span && token.token == next.token).unwrap_or(tokens.0.len())
}

fn query(name: Ident, tokens: Tokens, statement: &str) -> Result<QuerySyntax, Refusal> {
    let (system_times, tokens) = system_time::take(tokens)?;
    let (window_functions, tokens) = window_function::take(tokens)?;
    let (exclude_clauses, tokens) = exclude_clause::take(tokens)?;
    let (service_calls, tokens) = service_call::take(tokens)?;
    let mut parser = tokens.clone().parser();
    let query = parser.parse_query()?;
    end_of_statement(&mut parser, statement)?;
    Ok(QuerySyntax { name, query, tokens, system_times, window_functions, exclude_clauses, service_calls })
}

fn object_name(parser: &mut Parser, kind: &str) -> Result<Ident, Refusal> {
    let next = parser.peek_token();
    if !matches!(next.token, Token::Word(_)) {
        let found = if next.token == Token::EOF { "the end of the statement".to_owned() } else { format!("`{next}`") };
        return Err(Refusal::new(next.span, format!("expected the name of a {kind}, found {found}")));
    }
    let name = parser.parse_identifier()?;
    if parser.peek_token_ref().token == Token::Period {
        return Err(
            Refusal::new(name.span, format!("the name of a {kind} has no schema")).hint("write one name, without dots")
        );
    }
    Ok(name)
}

/// Names every other CREATE, and the modifiers that CREATE does not take.
fn refuse_other_creates(tokens: &Tokens) -> Result<(), Refusal> {
    let word = |index: usize| match tokens.0.get(index).map(|token| &token.token) {
        Some(Token::Word(word)) => word.value.to_uppercase(),
        _ => String::new(),
    };
    let span = |last: usize| tokens.0[0].span.union(&tokens.0[last.min(tokens.0.len() - 1)].span);
    let kind_words = match (word(1).as_str(), word(2).as_str()) {
        ("OR", "REPLACE") => {
            let refusal = Refusal::new(span(2), "CREATE OR REPLACE is not supported");
            return Err(refusal.hint("write CREATE: a project is read as a whole"));
        }
        ("STREAM" | "TABLE" | "SINK", _) => 1,
        ("FEATURE", "VIEW" | "SERVICE") => 2,
        ("FEATURE", _) => {
            return Err(Refusal::new(span(2), "expected CREATE FEATURE VIEW or CREATE FEATURE SERVICE"));
        }
        ("MODEL", _) => {
            return Err(Refusal::new(span(1), format!("CREATE {} is not supported yet", word(1))).hint(STATEMENTS_HINT));
        }
        ("", _) => return Err(Refusal::new(span(0), "unfinished CREATE").hint(STATEMENTS_HINT)),
        (other, _) => {
            return Err(Refusal::new(span(1), format!("CREATE {other} is not supported")).hint(STATEMENTS_HINT));
        }
    };
    if tokens.has_words_at(kind_words + 1, &["IF", "NOT", "EXISTS"]) {
        let place = tokens.0[kind_words + 1].span.union(&tokens.0[kind_words + 3].span);
        return Err(Refusal::new(place, "IF NOT EXISTS is not supported")
            .hint("a project is read as a whole: names are unique"));
    }
    Ok(())
}

/// Where the parser stumbles over a construct of SQL that it does not know, names that construct.
fn later_construct(tokens: &Tokens, span: Span) -> Option<Refusal> {
    let at = tokens.0.iter().position(|token| token.span.start == span.start)?;
    let token = &tokens.0[at];
    let named = |construct: &str| Some(Refusal::new(token.span, format!("{construct} is not supported")));
    let yet = |construct: &str| Some(Refusal::new(token.span, format!("{construct} is not supported yet")));
    if is_word(token, "EXCLUDE") {
        return Some(Refusal::new(token.span, "EXCLUDE is not supported at this place").hint(exclude_clause::HINT));
    }
    if is_word(token, "MATCH_RECOGNIZE") {
        return yet("MATCH_RECOGNIZE");
    }
    if is_word(token, "GROUPS") {
        return named("GROUPS");
    }
    if tokens.has_words_at(at, &["EMIT"]) {
        return named("EMIT").map(|refusal| refusal.hint("a window has one row, which arises when it has closed"));
    }
    None
}
