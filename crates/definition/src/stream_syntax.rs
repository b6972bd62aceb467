//! `CREATE STREAM` and `CREATE TABLE` as written: columns, PRIMARY KEY, WATERMARK FOR and WITH options, before any of it
//! is checked.
//!
//! The SQL parser has no CREATE STREAM and no WATERMARK; this reads them token by token and leaves types and expressions
//! to it.

use asof_expression::fold;
use asof_expression::sqlparser::ast::{DataType, Expr, Ident};
use asof_expression::sqlparser::keywords::Keyword;
use asof_expression::sqlparser::parser::Parser;
use asof_expression::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use crate::refusal::Refusal;
use crate::statement::{end_of_statement, is_word, take_word};

/// What is declared by its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Declared {
    Stream,
    Table,
}

impl Declared {
    /// In words: `stream` or `table`.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Declared::Stream => "stream",
            Declared::Table => "table",
        }
    }

    fn statement(self) -> &'static str {
        match self {
            Declared::Stream => "CREATE STREAM",
            Declared::Table => "CREATE TABLE",
        }
    }
}

/// A stream or a table as written.
#[derive(Debug)]
pub(crate) struct StreamSyntax {
    pub(crate) declared: Declared,
    pub(crate) name: Ident,
    pub(crate) columns: Vec<ColumnSyntax>,
    pub(crate) primary_keys: Vec<PrimaryKeySyntax>,
    pub(crate) watermarks: Vec<WatermarkSyntax>,
    pub(crate) options: Vec<OptionSyntax>,
}

/// `name type [METADATA FROM 'name'] [NOT NULL] [CHECK (…)]`
#[derive(Debug)]
pub(crate) struct ColumnSyntax {
    pub(crate) name: Ident,
    pub(crate) data_type: DataType,
    pub(crate) type_span: Span,
    pub(crate) not_null: bool,
    pub(crate) checks: Vec<Expr>,
    /// `METADATA FROM 'name'`: the name and its place.
    pub(crate) metadata: Option<(String, Span)>,
}

/// `PRIMARY KEY (…) [NOT ENFORCED]`
#[derive(Debug)]
pub(crate) struct PrimaryKeySyntax {
    pub(crate) columns: Vec<Ident>,
    pub(crate) enforced: bool,
    pub(crate) span: Span,
}

/// `WATERMARK FOR column AS expression`
#[derive(Debug)]
pub(crate) struct WatermarkSyntax {
    pub(crate) column: Ident,
    pub(crate) expression: Expr,
}

/// `name = value` in WITH.
#[derive(Debug)]
pub(crate) struct OptionSyntax {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) value: Expr,
    pub(crate) value_span: Span,
}

impl StreamSyntax {
    /// Reads on after `CREATE STREAM name` or `CREATE TABLE name`.
    pub(crate) fn parse(declared: Declared, name: Ident, parser: &mut Parser) -> Result<StreamSyntax, Refusal> {
        let (noun, statement) = (declared.noun(), declared.statement());
        let mut syntax = StreamSyntax {
            declared,
            name,
            columns: Vec::new(),
            primary_keys: Vec::new(),
            watermarks: Vec::new(),
            options: Vec::new(),
        };
        if parser.peek_token_ref().token == Token::EOF {
            let message = format!("{noun} `{}` has no columns", fold(&syntax.name));
            let hint = format!("write {statement} name (column type, …)");
            return Err(Refusal::new(syntax.name.span, message).hint(hint));
        }
        parser.expect_token(&Token::LParen)?;
        loop {
            syntax.parse_element(parser)?;
            if parser.consume_token(&Token::Comma) {
                continue;
            }
            if parser.consume_token(&Token::RParen) {
                break;
            }
            let found = parser.peek_token();
            let words =
                if found.token == Token::EOF { "the end of the statement".to_owned() } else { format!("`{found}`") };
            return Err(Refusal::new(found.span, format!("expected `,` or `)`, found {words}")));
        }
        if parser.parse_keyword(Keyword::WITH) {
            syntax.options = parse_options(parser)?;
        }
        end_of_statement(parser, statement)?;
        Ok(syntax)
    }

    fn parse_element(&mut self, parser: &mut Parser) -> Result<(), Refusal> {
        let (first, second) = (parser.peek_token(), parser.peek_nth_token(1));
        if is_word(&first, "PRIMARY") && is_word(&second, "KEY") {
            return self.parse_primary_key(parser);
        }
        if is_word(&first, "WATERMARK") && is_word(&second, "FOR") {
            return self.parse_watermark(parser);
        }
        if is_word(&first, "CHECK") && second.token == Token::LParen {
            return Err(Refusal::new(first.span, "CHECK outside a column is not supported")
                .hint("write it after a column's type"));
        }
        for (word, next) in
            [("UNIQUE", None), ("CONSTRAINT", None), ("FOREIGN", Some("KEY")), ("LIKE", None), ("PERIOD", Some("FOR"))]
        {
            let followed = match next {
                Some(next) => is_word(&second, next),
                None => second.token == Token::LParen || word == "CONSTRAINT",
            };
            if is_word(&first, word) && followed {
                return Err(Refusal::new(first.span, format!("{word} is not supported in a {}", self.declared.noun())));
            }
        }
        self.parse_column(parser)
    }

    fn parse_primary_key(&mut self, parser: &mut Parser) -> Result<(), Refusal> {
        let span = parser.next_token().span.union(&parser.next_token().span);
        parser.expect_token(&Token::LParen)?;
        let columns = parser.parse_comma_separated(Parser::parse_identifier)?;
        parser.expect_token(&Token::RParen)?;
        let enforced = !parse_not_enforced(parser)?;
        self.primary_keys.push(PrimaryKeySyntax { columns, enforced, span });
        Ok(())
    }

    fn parse_watermark(&mut self, parser: &mut Parser) -> Result<(), Refusal> {
        parser.next_token();
        parser.next_token();
        let column = parser.parse_identifier()?;
        parser.expect_keyword(Keyword::AS)?;
        let expression = parser.parse_expr()?;
        self.watermarks.push(WatermarkSyntax { column, expression });
        Ok(())
    }

    fn parse_column(&mut self, parser: &mut Parser) -> Result<(), Refusal> {
        let name = parser.parse_identifier()?;
        let (data_type, type_span) = parse_type(&name, parser)?;
        let mut column =
            ColumnSyntax { name, data_type, type_span, not_null: false, checks: Vec::new(), metadata: None };
        loop {
            let next = parser.peek_token();
            match next.token {
                Token::Comma | Token::RParen => break,
                _ if parser.parse_keywords(&[Keyword::NOT, Keyword::NULL]) => column.not_null = true,
                _ if parser.parse_keywords(&[Keyword::PRIMARY, Keyword::KEY]) => {
                    let enforced = !parse_not_enforced(parser)?;
                    let columns = vec![column.name.clone()];
                    self.primary_keys.push(PrimaryKeySyntax { columns, enforced, span: next.span });
                }
                _ if parser.parse_keyword(Keyword::CHECK) => {
                    parser.expect_token(&Token::LParen)?;
                    column.checks.push(parser.parse_expr()?);
                    parser.expect_token(&Token::RParen)?;
                }
                _ if is_word(&next, "METADATA") => {
                    let metadata = parse_metadata(&column.name, parser)?;
                    if column.metadata.replace(metadata).is_some() {
                        let message = format!("column `{}` has METADATA twice", fold(&column.name));
                        return Err(Refusal::new(next.span, message));
                    }
                }
                Token::EOF => return Err(Refusal::new(next.span, "expected `)`, found the end of the statement")),
                _ => {
                    let message =
                        format!("`{next}` is not supported after the type of column `{}`", fold(&column.name));
                    return Err(Refusal::new(next.span, message)
                        .hint("a column takes NOT NULL, CHECK (…) and METADATA FROM '…'"));
                }
            }
        }
        self.columns.push(column);
        Ok(())
    }
}

/// `(name = value, …)` behind WITH.
pub(crate) fn parse_options(parser: &mut Parser) -> Result<Vec<OptionSyntax>, Refusal> {
    let mut options = Vec::new();
    parser.expect_token(&Token::LParen)?;
    loop {
        let name = parser.parse_identifier()?;
        parser.expect_token(&Token::Eq)?;
        let start = parser.peek_token().span;
        let value = parser.parse_expr()?;
        let value_span = start.union(&parser.get_current_token().span);
        options.push(OptionSyntax { name: fold(&name), span: name.span, value, value_span });
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    parser.expect_token(&Token::RParen)?;
    Ok(options)
}

/// A type and its place. What the parser cannot read as a type is refused by the column's name.
pub(crate) fn parse_type(column: &Ident, parser: &mut Parser) -> Result<(DataType, Span), Refusal> {
    let start = parser.peek_token();
    if matches!(start.token, Token::Comma | Token::RParen | Token::EOF) {
        return Err(Refusal::new(column.span, format!("column `{}` has no type", fold(column))));
    }
    if is_word(&start, "ROW") {
        let message = format!("column `{}`: type `ROW` is not supported", fold(column));
        return Err(Refusal::new(start.span, message).hint("nested types come later: use a column for each field"));
    }
    let data_type = parser.parse_data_type()?;
    Ok((data_type, start.span.union(&parser.get_current_token().span)))
}

/// `METADATA FROM 'name'`
fn parse_metadata(column: &Ident, parser: &mut Parser) -> Result<(String, Span), Refusal> {
    let word = parser.next_token().span;
    let name = if parser.parse_keyword(Keyword::FROM) { Some(parser.next_token()) } else { None };
    match name {
        Some(TokenWithSpan { token: Token::SingleQuotedString(name), span }) => Ok((name, span)),
        _ => {
            let message = format!("column `{}`: METADATA does not say what of", fold(column));
            Err(Refusal::new(word, message).hint("write METADATA FROM 'key'"))
        }
    }
}

fn parse_not_enforced(parser: &mut Parser) -> Result<bool, Refusal> {
    let next = parser.peek_token();
    if is_word(&next, "ENFORCED") {
        return Err(
            Refusal::new(next.span, "`ENFORCED` is what a PRIMARY KEY is without it").hint("leave the word out")
        );
    }
    if is_word(&next, "NOT") && is_word(&parser.peek_nth_token(1), "ENFORCED") {
        take_word(parser);
        take_word(parser);
        return Ok(true);
    }
    Ok(false)
}
