//! `key=value` words as the row of a request: each value is written as JSON by the type of its column.
//!
//! | Written | VARCHAR | any other type |
//! |---|---|---|
//! | `k=text` | the text, whatever it is | a number, date, … of the type |
//! | `k=` | the empty text | refused |
//! | `k=null` | the text `null` | NULL |
//! | `k:=JSON` | the JSON as it is | the JSON as it is |
//!
//! Numbers go to the server digit by digit; whether they fit their type is for the server to say.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use crate::failure::Failure;

/// A column of a request, as `/v1/objects` describes it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RequestColumn {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) sql_type: String,
}

/// The JSON object of the row that `words` give, every column once. `object` is what is asked, for messages.
pub(crate) fn encode(object: &str, columns: &[RequestColumn], words: &[String]) -> Result<String, Failure> {
    let mut values: Vec<Option<String>> = vec![None; columns.len()];
    for word in words {
        let (place, value) = assignment(object, columns, word)?;
        if values[place].replace(value).is_some() {
            return Err(Failure::input(format!("`{}` is given twice", columns[place].name)));
        }
    }
    let missing = columns.iter().zip(&values).filter(|(_, value)| value.is_none()).map(|(column, _)| column);
    let missing: Vec<&RequestColumn> = missing.collect();
    if let Some(first) = missing.first() {
        let names: Vec<&str> = missing.iter().map(|column| column.name.as_str()).collect();
        return Err(Failure::input_with_hint(
            format!("`{object}` needs a value for `{}`", names.join("`, `")),
            format!("add `{}`, or `{}` if it is not known", first.assigned("…"), first.unknown()),
        ));
    }
    let named = columns.iter().zip(values.into_iter().flatten());
    let fields: Vec<String> = named.map(|(column, value)| format!("{}:{value}", json_text(&column.name))).collect();
    Ok(format!("{{{}}}", fields.join(",")))
}

impl RequestColumn {
    fn assigned(&self, value: &str) -> String {
        format!("{}={value}", self.name)
    }

    /// The word that gives NULL.
    fn unknown(&self) -> String {
        if self.is_text() { format!("{}:=null", self.name) } else { self.assigned("null") }
    }

    fn is_text(&self) -> bool {
        self.sql_type == "VARCHAR"
    }

    /// The JSON of a value; `None` if it cannot be one of the type.
    fn json(&self, value: &str) -> Option<String> {
        if self.is_text() {
            return Some(json_text(value));
        }
        match (self.sql_type.as_str(), value) {
            (_, "") => None,
            (_, "null") => Some(value.to_owned()),
            ("SMALLINT" | "INTEGER" | "BIGINT", _) => value.parse::<i64>().ok().map(|number| number.to_string()),
            ("DOUBLE" | "REAL", "NaN" | "Infinity" | "-Infinity") => Some(json_text(value)),
            ("DOUBLE" | "REAL", _) => serde_json::from_str::<Number>(value).ok().map(|_| value.trim().to_owned()),
            ("BOOLEAN", _) => value.parse::<bool>().ok().map(|claim| claim.to_string()),
            // Plain integers are microseconds, for the server as well.
            ("TIMESTAMP", _) if value.parse::<i64>().is_ok() => value.parse::<i64>().ok().map(|us| us.to_string()),
            // DECIMAL, DATE, TIMESTAMP and VARBINARY are texts on the wire, which the server reads as it reads events.
            _ => Some(json_text(value)),
        }
    }
}

/// The column that a word names, by its place, and the JSON of its value.
fn assignment(object: &str, columns: &[RequestColumn], word: &str) -> Result<(usize, String), Failure> {
    // A name may hold a `=` itself: the longest name that the word begins with is meant.
    let named = |(place, column): (usize, &RequestColumn)| {
        let rest = word.strip_prefix(column.name.as_str())?;
        (rest.starts_with('=') || rest.starts_with(":=")).then_some((place, column.name.len()))
    };
    let Some((place, length)) = columns.iter().enumerate().filter_map(named).max_by_key(|(_, length)| *length) else {
        return Err(unknown(object, columns, word));
    };
    let column = &columns[place];
    if let Some(json) = word[length..].strip_prefix(":=") {
        return match serde_json::from_str::<&RawValue>(json) {
            Ok(json) => Ok((place, json.get().to_owned())),
            Err(error) => Err(Failure::input(format!("`{word}`: what stands behind `:=` is not JSON: {error}"))),
        };
    }
    let value = &word[length + 1..];
    column.json(value).map(|json| (place, json)).ok_or_else(|| {
        let found = if value.is_empty() { "nothing".to_owned() } else { format!("`{value}`") };
        Failure::input_with_hint(
            format!("`{}`: expected {}, found {found}", column.name, column.sql_type),
            format!("`{}` if it is not known", column.unknown()),
        )
    })
}

/// The refusal of a word that names no column.
fn unknown(object: &str, columns: &[RequestColumn], word: &str) -> Failure {
    let names = || columns.iter().map(|column| column.name.as_str());
    let Some((name, _)) = word.split_once('=') else {
        return Failure::input_with_hint(
            format!("`{word}` is not of the form `column=value`"),
            format!("the columns are `{}`", names().collect::<Vec<_>>().join("`, `")),
        );
    };
    let name = name.strip_suffix(':').unwrap_or(name);
    let hint = match asof_expression::nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the columns are `{}`", names().collect::<Vec<_>>().join("`, `")),
    };
    Failure::input_with_hint(format!("`{object}` has no column `{name}`"), hint)
}

fn json_text(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IgnoredAny;

    fn columns() -> Vec<RequestColumn> {
        let column = |(name, sql_type): (&str, &str)| RequestColumn { name: name.into(), sql_type: sql_type.into() };
        [
            ("k", "BIGINT"),
            ("k=v", "VARCHAR"),
            ("d", "DOUBLE"),
            ("on", "BOOLEAN"),
            ("at", "TIMESTAMP"),
            ("p", "DECIMAL(9,2)"),
        ]
        .map(column)
        .into()
    }

    fn encoded(words: &str) -> Result<String, String> {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        encode("f", &columns(), &words).map_err(|failure| match failure {
            Failure::Input { message, hint } => format!("{message}; hint: {}", hint.unwrap_or_default()),
            other => other.to_string(),
        })
    }

    #[test]
    fn values_are_written_by_their_types() {
        let cases = [
            (
                "k=7 k=v=a d=1.50 on=true at=2026-01-01 p=1.50",
                r#"{"k":7,"k=v":"a","d":1.50,"on":true,"at":"2026-01-01","p":"1.50"}"#,
            ),
            (
                "k=-7 k=v=null d=null on=null at=null p=null",
                r#"{"k":-7,"k=v":"null","d":null,"on":null,"at":null,"p":null}"#,
            ),
            ("k=007 k=v= d=NaN on=false at=-5 p=7", r#"{"k":7,"k=v":"","d":"NaN","on":false,"at":-5,"p":"7"}"#),
            (
                "p=1 at=0 on:=1 d:=[1] k=v:=null k:=99999999999999999999",
                r#"{"k":99999999999999999999,"k=v":null,"d":[1],"on":1,"at":0,"p":"1"}"#,
            ),
        ];
        for (words, row) in cases {
            assert_eq!(encoded(words).as_deref(), Ok(row), "{words}");
            assert!(serde_json::from_str::<IgnoredAny>(row).is_ok());
        }
    }

    #[test]
    fn what_is_no_row_is_refused() {
        let cases = [
            ("k=", "`k`: expected BIGINT, found nothing; hint: `k=null` if it is not known"),
            ("k=1.5", "`k`: expected BIGINT, found `1.5`; hint: `k=null` if it is not known"),
            ("d=much", "`d`: expected DOUBLE, found `much`; hint: `d=null` if it is not known"),
            ("on=1", "`on`: expected BOOLEAN, found `1`; hint: `on=null` if it is not known"),
            ("k=1 k=2", "`k` is given twice; hint: "),
            ("k", "`k` is not of the form `column=value`; hint: the columns are `k`, `k=v`, `d`, `on`, `at`, `p`"),
            ("onn=1", "`f` has no column `onn`; hint: did you mean `on`?"),
            ("something:=1", "`f` has no column `something`; hint: the columns are `k`, `k=v`, `d`, `on`, `at`, `p`"),
            (
                "k=1 k=v=a",
                "`f` needs a value for `d`, `on`, `at`, `p`; hint: add `d=…`, or `d=null` if it is not known",
            ),
            (
                "k=1 d=1 on=true at=0 p=1",
                "`f` needs a value for `k=v`; hint: add `k=v=…`, or `k=v:=null` if it is not known",
            ),
        ];
        for (words, refusal) in cases {
            assert_eq!(encoded(words).unwrap_err(), refusal, "{words}");
        }
        let broken = encoded("k:={").unwrap_err();
        assert!(broken.starts_with("`k:={`: what stands behind `:=` is not JSON: EOF"), "{broken}");
    }
}
