//! `asof get`: one feature vector from a running server, as a table.

use std::collections::BTreeMap;

use asof_server::path_segment;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::arguments::{GetArguments, OutputFormat};
use crate::client::Client;
use crate::failure::Failure;
use crate::request_row::{RequestColumn, encode};
use crate::{instant, told};

/// An object of the server, as far as a read needs it.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind")]
enum Object {
    #[serde(rename = "feature service")]
    Service { request: Vec<RequestColumn> },
    #[serde(rename = "feature view")]
    View { key: Vec<RequestColumn> },
    #[serde(rename = "stream")]
    Stream,
    #[serde(rename = "table")]
    Table,
    #[serde(rename = "sink")]
    Sink,
}

/// The answer to a request of one row.
#[derive(Debug, Deserialize)]
struct Answer<'a> {
    as_of: String,
    columns: Vec<String>,
    #[serde(borrow)]
    rows: Vec<Vec<&'a RawValue>>,
    known: BTreeMap<String, Vec<bool>>,
    position: BTreeMap<String, Vec<u64>>,
    streams: BTreeMap<String, Freshness>,
}

/// How fresh the answer is in respect of a stream.
#[derive(Debug, Deserialize)]
struct Freshness {
    newest_event: Option<String>,
    arrival_lag_ms: Option<i64>,
}

pub(crate) fn run(arguments: &GetArguments) -> Result<(), Failure> {
    let client = Client::new(&arguments.url)?;
    let name = path_segment(&arguments.name);
    let object = client.get(&format!("/v1/objects/{name}"))?;
    let no_features = |kind: &str| {
        Failure::input_with_hint(
            format!("`{}` is a {kind}", arguments.name),
            "feature services and feature views have features to read",
        )
    };
    let (kind, columns) = match read(&object)? {
        Object::Service { request } => ("services", request),
        Object::View { key } => ("views", key),
        Object::Stream => return Err(no_features("stream")),
        Object::Table => return Err(no_features("table")),
        Object::Sink => return Err(no_features("sink")),
    };
    let row = encode(&arguments.name, &columns, &arguments.values)?;
    let as_of = arguments.as_of.map_or_else(|| "null".to_owned(), |us| us.to_string());
    let body = format!("{{\"rows\":[{row}],\"as_of\":{as_of}}}");
    let answer = client.post(&format!("/v1/{kind}/{name}/features"), &body)?;
    match arguments.format {
        OutputFormat::Json => told::answer(answer.trim_end()),
        OutputFormat::Text => lines(&read(&answer)?)?.iter().for_each(|line| told::answer(line)),
    }
    Ok(())
}

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|error| {
        Failure::outside(format!("the server's answer is not understood: {error}; hint: is it of this release?"))
    })
}

/// The vector, a feature a line; an empty line; what the vector stands on.
fn lines(answer: &Answer<'_>) -> Result<Vec<String>, Failure> {
    let [row] = answer.rows.as_slice() else {
        return Err(Failure::outside(format!("the server answered one row with {}", answer.rows.len())));
    };
    let width = answer.columns.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let vector = answer.columns.iter().zip(row).map(|(name, value)| format!("{name:width$}  {}", value_words(value)));
    let mut lines: Vec<String> = vector.collect();
    lines.push(String::new());
    lines.push(format!("as of      {}", answer.as_of));
    let position = answer.position.iter().map(|(stream, offsets)| format!("{stream} {}", offset_words(offsets)));
    push_all("position", position, &mut lines);
    let as_of_us = instant::parse(&answer.as_of).ok();
    let freshness = answer.streams.iter().map(|(stream, fresh)| format!("{stream} {}", fresh.words(as_of_us)));
    push_all("freshness", freshness, &mut lines);
    let known =
        answer.known.iter().map(|(view, rows)| format!("{view} {}", if rows == &[true] { "yes" } else { "no" }));
    push_all("known", known, &mut lines);
    Ok(lines)
}

/// One line for each of `all`, the first one headed.
fn push_all(head: &str, all: impl Iterator<Item = String>, lines: &mut Vec<String>) {
    lines.extend(all.enumerate().map(|(place, words)| format!("{:9}  {words}", if place == 0 { head } else { "" })));
}

/// Text without its quotes, where nothing in it would move the cursor; everything else as the server wrote it.
fn value_words(value: &RawValue) -> String {
    match serde_json::from_str::<String>(value.get()) {
        Ok(text) if !text.chars().any(char::is_control) => text,
        _ if value.get() == "null" => "NULL".to_owned(),
        _ => value.get().to_owned(),
    }
}

/// The next offset of each partition.
fn offset_words(offsets: &[u64]) -> String {
    offsets.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

impl Freshness {
    /// The newest event, and how long before the as-of instant it happened.
    fn words(&self, as_of_us: Option<i64>) -> String {
        let Some(newest) = &self.newest_event else { return "no event yet".to_owned() };
        let ahead = as_of_us.zip(instant::parse(newest).ok()).map(|(as_of, newest)| as_of.saturating_sub(newest));
        let ahead = match ahead {
            Some(us) if us < 0 => format!(", {} after the as-of instant", duration_words(us.unsigned_abs())),
            Some(us) => format!(", {} before", duration_words(us.unsigned_abs())),
            None => String::new(),
        };
        let lag = self.arrival_lag_ms.map_or_else(String::new, |ms| format!(", arrived {ms} ms after it happened"));
        format!("newest event {newest}{ahead}{lag}")
    }
}

/// `0 s`, `2.5 s`, `3 min 20 s`, `5 h 3 min`, `2 d 4 h`: never more than two units.
fn duration_words(us: u64) -> String {
    let (seconds, minutes, hours) = (us / 1_000_000, us / 60_000_000, us / 3_600_000_000);
    match seconds {
        0..60 => format!("{} s", (us / 1_000) as f64 / 1_000.0),
        60..3_600 => format!("{minutes} min {} s", seconds % 60),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_table() {
        let json = r#"{"service":"f","as_of":"2026-01-01T00:01:40.000000Z","columns":["c","longer","none","two_lines"],
            "rows":[[3,"a b",null,"a\nb"]],"known":{"v":[true],"w":[false]},"position":{"e":[5],"g":[1,2]},
            "streams":{"e":{"watermark":null,"newest_event":"2026-01-01T00:00:00.000000Z","arrival_lag_ms":12},
            "g":{"watermark":null,"newest_event":null,"arrival_lag_ms":null}}}"#;
        let expected = [
            "c          3",
            "longer     a b",
            "none       NULL",
            "two_lines  \"a\\nb\"",
            "",
            "as of      2026-01-01T00:01:40.000000Z",
            "position   e 5",
            "           g 1, 2",
            "freshness  e newest event 2026-01-01T00:00:00.000000Z, 1 min 40 s before, arrived 12 ms after it happened",
            "           g no event yet",
            "known      v yes",
            "           w no",
        ];
        assert_eq!(lines(&read(json).unwrap()).unwrap(), expected);
    }

    #[test]
    fn durations_have_two_units() {
        let cases = [
            (0, "0 s"),
            (2_500_000, "2.5 s"),
            (59_999_999, "59.999 s"),
            (60_000_000, "1 min 0 s"),
            (3_599_000_000, "59 min 59 s"),
            (3_660_000_000, "1 h 1 min"),
            (90_000_000_000, "1 d 1 h"),
        ];
        for (us, words) in cases {
            assert_eq!(duration_words(us), words);
        }
    }
}
