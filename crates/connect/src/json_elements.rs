//! The rows of a JSON body: of one object, or of an array, by brackets and quotes alone.
//! ```text
//!   [ {"a":1} , {"a":"]"} , {"a":tru} ]        one row each, also the third, which the reader of rows then refuses
//!     └─────┘   └───────┘   └───────┘
//! ```
//! Where one row ends and the next begins is all that is decided here. A body whose brackets, quotes and commas do not tell
//! is no JSON and is refused whole; what is wrong inside of a row is that row's affair.

use std::ops::Range;

/// The places of a body's rows, in order. After an error there is nothing more.
#[derive(Debug)]
pub(crate) struct JsonElements<'t> {
    text: &'t [u8],
    at: usize,
    next: Next,
}

/// What may stand at `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    OnlyObject,
    FirstRowOrEnd,
    CommaOrEnd,
    Nothing,
}

impl<'t> JsonElements<'t> {
    /// Of a body that begins at `start`, with `{` or `[`.
    pub(crate) fn new(text: &'t [u8], start: usize) -> Result<JsonElements<'t>, String> {
        let at = skip_space(text, start);
        match text.get(at) {
            Some(b'{') => Ok(JsonElements { text, at, next: Next::OnlyObject }),
            Some(b'[') => Ok(JsonElements { text, at: at + 1, next: Next::FirstRowOrEnd }),
            Some(_) => Err(format!("expected `{{` or `[` at byte {at}")),
            None => Err("it is empty".to_owned()),
        }
    }

    fn advance(&mut self) -> Result<Option<Range<usize>>, String> {
        self.at = skip_space(self.text, self.at);
        match (self.next, self.text.get(self.at)) {
            (Next::Nothing, _) => Ok(None),
            (Next::OnlyObject, _) => {
                let row = self.row()?;
                self.expect_end()?;
                Ok(Some(row))
            }
            (Next::FirstRowOrEnd | Next::CommaOrEnd, Some(b']')) => {
                self.at += 1;
                self.expect_end()?;
                Ok(None)
            }
            (Next::FirstRowOrEnd, _) => self.row().map(Some),
            (Next::CommaOrEnd, Some(b',')) => {
                self.at = skip_space(self.text, self.at + 1);
                self.row().map(Some)
            }
            (Next::CommaOrEnd, Some(_)) => Err(format!("expected `,` or `]` at byte {}", self.at)),
            (Next::CommaOrEnd, None) => Err("the array is not closed by `]`".to_owned()),
        }
    }

    fn row(&mut self) -> Result<Range<usize>, String> {
        let start = self.at;
        self.at = value_end(self.text, start)?;
        self.next = Next::CommaOrEnd;
        Ok(start..self.at)
    }

    fn expect_end(&mut self) -> Result<(), String> {
        self.next = Next::Nothing;
        let rest = skip_space(self.text, self.at);
        match self.text.get(rest) {
            None => Ok(()),
            Some(b'{') => Err(format!(
                "a second object begins at byte {rest}; hint: objects one after the other are NDJSON, sent as \
                 `application/x-ndjson`"
            )),
            Some(_) => Err(format!("expected its end at byte {rest}")),
        }
    }
}

impl Iterator for JsonElements<'_> {
    type Item = Result<Range<usize>, String>;

    fn next(&mut self) -> Option<Result<Range<usize>, String>> {
        let row = self.advance();
        if row.is_err() {
            self.next = Next::Nothing;
            self.at = self.text.len();
        }
        row.transpose()
    }
}

fn skip_space(text: &[u8], at: usize) -> usize {
    let space = text[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    at + space.count()
}

/// Behind the value that begins at `start`.
fn value_end(text: &[u8], start: usize) -> Result<usize, String> {
    let open = || format!("the row that begins at byte {start} does not end");
    match text.get(start) {
        Some(b'{' | b'[') => brackets_end(text, start).ok_or_else(open),
        Some(b'"') => string_end(text, start + 1).ok_or_else(open),
        None | Some(b',' | b']' | b'}') => Err(format!("expected a row at byte {start}")),
        Some(_) => {
            let is_inside = |byte: &&u8| !matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
            Ok(start + text[start..].iter().take_while(is_inside).count())
        }
    }
}

/// Behind the bracket that closes the one at `at`; which of the two kinds closes which is for the reader of the row.
fn brackets_end(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match text.get(at)? {
            b'"' => {
                at = string_end(text, at + 1)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Behind the quote that closes a string whose content begins at `at`.
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(text: &str) -> Result<Vec<&str>, String> {
        JsonElements::new(text.as_bytes(), 0)?.map(|row| row.map(|row| &text[row])).collect()
    }

    #[test]
    fn rows_are_told_apart_by_brackets_and_quotes() {
        let cases: [(&str, &[&str]); 9] = [
            ("[]", &[]),
            (" [ ] \n", &[]),
            (r#"{"a":1}"#, &[r#"{"a":1}"#]),
            (r#" {"a":{"b":[1]}} "#, &[r#"{"a":{"b":[1]}}"#]),
            (r#"[{"a":1},{"a":2}]"#, &[r#"{"a":1}"#, r#"{"a":2}"#]),
            (r#"[ {"a":"]},{"} , {"a":"\"]"} ]"#, &[r#"{"a":"]},{"}"#, r#"{"a":"\"]"}"#]),
            (r#"[{"a":tru}, nonsense, "x,y", 1 ]"#, &[r#"{"a":tru}"#, "nonsense", r#""x,y""#, "1"]),
            (r#"[{"a":1],{"b":2}]"#, &[r#"{"a":1]"#, r#"{"b":2}"#]),
            (r#"[[{"a":1}]]"#, &[r#"[{"a":1}]"#]),
        ];
        for (text, expected) in cases {
            assert_eq!(rows(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_does_not_tell_its_rows_is_refused() {
        for (text, expected) in [
            ("", "it is empty"),
            ("  ", "it is empty"),
            ("nonsense", "expected `{` or `[` at byte 0"),
            ("[1,,2]", "expected a row at byte 3"),
            ("[1,]", "expected a row at byte 3"),
            ("[,1]", "expected a row at byte 1"),
            ("[1 2]", "expected `,` or `]` at byte 3"),
            ("[1}", "expected `,` or `]` at byte 2"),
            ("[1", "the array is not closed by `]`"),
            ("[1,", "expected a row at byte 3"),
            ("[", "expected a row at byte 1"),
            ("[{\"a\":1}, {\"a\"", "the row that begins at byte 10 does not end"),
            ("[\"a\\", "the row that begins at byte 1 does not end"),
            ("[1] x", "expected its end at byte 4"),
            ("{} x", "expected its end at byte 3"),
            ("{\"a\":1", "the row that begins at byte 0 does not end"),
        ] {
            assert_eq!(rows(text).as_ref().map_err(String::as_str), Err(expected), "{text}");
        }
        assert!(rows("{}\n{}").unwrap_err().contains("application/x-ndjson"));
    }

    proptest! {
        #[test]
        fn whatever_the_parser_reads_is_split_as_it_reads_it(
            values in proptest::collection::vec(r#"[a-z\\"\[\]{}, ]{0,8}"#, 0..6), space in "[ \n]{0,2}",
        ) {
            let texts: Vec<String> = values
                .iter()
                .map(|value| serde_json::json!({ value.as_str(): [value, { "x": value }] }).to_string())
                .collect();
            let body = format!("{space}[{space}{}{space}]{space}", texts.join(&format!("{space},{space}")));
            let found = rows(&body).unwrap();
            prop_assert_eq!(found, texts.iter().map(String::as_str).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_end(text in proptest::collection::vec(prop_oneof![
            Just(b'['), Just(b']'), Just(b'{'), Just(b'}'), Just(b'"'), Just(b'\\'), Just(b','), any::<u8>()
        ], 0..40)) {
            let Ok(elements) = JsonElements::new(&text, 0) else { return Ok(()) };
            let rows: Vec<_> = elements.collect();
            prop_assert!(rows.len() <= text.len());
            let mut end = 0;
            for row in rows.iter().flatten() {
                prop_assert!(end <= row.start && row.start < row.end && row.end <= text.len());
                end = row.end;
            }
        }
    }
}
