//! The source lines that a diagnostic shows. Lines that people write are shown whole, with their neighbours; of a longer
//! one, as programs write them, only what stands around the place.

use std::ops::Range;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// A line with more bytes is not shown whole.
const LINE_BYTES_MAX: usize = 500;
/// Bytes shown of such a line, before and from the place on.
const AROUND_BYTES: usize = 90;

/// A file's text that a diagnostic points into.
#[derive(Debug)]
pub(crate) struct Excerpt {
    name: String,
    text: String,
}

impl Excerpt {
    pub(crate) fn new(name: &str, text: &str) -> Excerpt {
        Excerpt { name: name.to_owned(), text: text.to_owned() }
    }

    /// What to underline of `span`: all of it, or in a long line no more than is shown.
    pub(crate) fn underlined(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.floor_char_boundary(span.end).max(start);
        let is_long = self.text[start..end].lines().any(is_long) || is_long(&self.text[self.line(start)]);
        start..if is_long { end.min(self.window(start).end) } else { end }
    }

    /// The line that `place` is in, without its end.
    fn line(&self, place: usize) -> Range<usize> {
        let start = self.text[..place].rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[place..].find('\n').map_or(self.text.len(), |newline| place + newline);
        start..end
    }

    /// What is shown of a long line.
    fn window(&self, place: usize) -> Range<usize> {
        let line = self.line(place);
        let start = self.text.floor_char_boundary(place.saturating_sub(AROUND_BYTES));
        let end = self.text.floor_char_boundary((place + AROUND_BYTES).min(self.text.len()));
        start.max(line.start)..end.min(line.end)
    }
}

fn is_long(line: &str) -> bool {
    line.len() > LINE_BYTES_MAX
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let whole = self.text.read_span(span, lines_before, lines_after)?;
        let shown = whole.span().offset()..whole.span().offset() + whole.span().len();
        let (bytes, line, column) = if self.text[shown.clone()].lines().any(is_long) {
            let window = self.window(span.offset());
            let line_start = self.line(span.offset()).start;
            let lines_above = self.text[..line_start].matches('\n').count();
            // Without context, what counts is the column of the place; otherwise that of the first byte shown.
            let first = if lines_before == 0 { span.offset() } else { window.start };
            (first..window.end, lines_above, self.text[line_start..first].chars().count())
        } else {
            (shown, whole.line(), whole.column())
        };
        let shown_span = (bytes.start, bytes.len()).into();
        let data = &self.text.as_bytes()[bytes];
        let count = whole.line_count();
        Ok(Box::new(MietteSpanContents::new_named(self.name.clone(), data, shown_span, line, column, count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, place: usize, expected: (&str, usize, usize)) {
        let excerpt = Excerpt::new("a.sql", text);
        let contents = excerpt.read_span(&(place, 1).into(), 1, 1).expect("the place is in the text");
        let data = std::str::from_utf8(contents.data()).expect("whole characters");
        assert_eq!((data, contents.line(), contents.column()), expected);
    }

    #[test]
    fn short_lines_are_shown_whole_and_long_ones_around_the_place() {
        check("one\ntwo\nthree", 4, ("one\ntwo\nthree", 0, 0));
        let long = "ä".repeat(1_000);
        let around = "ä".repeat(AROUND_BYTES);
        check(&format!("one\n{long}\nthree"), 4 + 1_000, (&around, 1, 455));
        check(&format!("one\n{long}\nthree"), 4, (&"ä".repeat(AROUND_BYTES / 2), 1, 0));
    }

    #[test]
    fn no_more_is_underlined_than_is_shown() {
        let excerpt = Excerpt::new("a.sql", &"x".repeat(1_000));
        assert_eq!(excerpt.underlined(&(10..1_000)), 10..10 + AROUND_BYTES);
        assert_eq!(Excerpt::new("a.sql", "one\ntwo").underlined(&(0..7)), 0..7);
    }
}
