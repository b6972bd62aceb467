//! A file of SQL and the places in it.

use std::ops::Range;

use asof_expression::sqlparser::tokenizer::{Location, Span};

/// One `*.sql` file of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// As errors show it, for example `features.sql`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// Finds bytes for the parser's lines and columns (both from 1; columns count characters).
pub(crate) struct Places<'a> {
    text: &'a str,
    /// The byte at which each line starts.
    line_starts: Vec<usize>,
}

impl<'a> Places<'a> {
    pub(crate) fn new(text: &'a str) -> Places<'a> {
        let after_newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Places { text, line_starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    fn byte(&self, location: Location) -> usize {
        let line = usize::try_from(location.line).unwrap_or(usize::MAX).saturating_sub(1);
        let column = usize::try_from(location.column).unwrap_or(usize::MAX).saturating_sub(1);
        let Some(&start) = self.line_starts.get(line) else {
            return self.text.len();
        };
        let end = self.line_starts.get(line + 1).copied().unwrap_or(self.text.len());
        let line_text = &self.text[start..end];
        start + line_text.char_indices().nth(column).map_or(line_text.trim_end().len(), |(at, _)| at)
    }

    /// The bytes of a span, at least one character where there is one.
    pub(crate) fn bytes(&self, span: Span) -> Range<usize> {
        if span == Span::empty() {
            return 0..0;
        }
        let start = self.byte(span.start);
        let end = self.byte(span.end).max(start);
        if end > start {
            return start..end;
        }
        start..start + self.text[start..].chars().next().map_or(0, char::len_utf8)
    }

    /// Line and column (in characters) of a byte, both from 1.
    pub(crate) fn line_and_column(&self, byte: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= byte).max(1);
        let start = self.line_starts[line - 1];
        (line, self.text[start..byte].chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: u64, column: u64, end_column: u64, expected: &str) {
        let text = "SELECT\n  größe, x\nFROM t";
        let places = Places::new(text);
        let span = Span::new(Location::new(line, column), Location::new(line, end_column));
        let bytes = places.bytes(span);
        assert_eq!(&text[bytes.clone()], expected);
        assert_eq!(places.line_and_column(bytes.start), (line as usize, column as usize));
    }

    #[test]
    fn places_count_characters_not_bytes() {
        check(1, 1, 7, "SELECT");
        check(2, 3, 8, "größe");
        check(2, 10, 11, "x");
        check(3, 6, 6, "t");
        check(3, 6, 99, "t");
    }
}
