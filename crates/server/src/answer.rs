//! The answer to a call for features, written straight as JSON. What every answer of a target shares is made beforehand.
//!
//! ```text
//! {"service":"fraud_v1","as_of":"…","columns":["n"],"rows":[[3]],"known":{"activity":[true]},
//!  "position":{"transactions":[1042]},"streams":{"transactions":{"watermark":"…","newest_event":"…","arrival_lag_ms":2}}}
//! ```

use std::sync::Arc;

use arrow::array::BooleanArray;
use asof_connect::{write_instant, write_json_text, write_json_value};
use asof_definition::{FeatureService, FeatureView, Stream};
use asof_pipeline::{Published, ServiceAnswers, StreamPosition};

/// A value takes about so many bytes.
const VALUE_BYTES: usize = 12;
/// What a stream tells of itself takes about so many bytes.
const STREAM_BYTES: usize = 160;

/// What the answers of one service or view have in common.
#[derive(Debug)]
pub(crate) struct AnswerLayout {
    /// `{"service":"fraud_v1","as_of":"`
    head: Vec<u8>,
    /// `","columns":["n"],"rows":[`
    columns: Vec<u8>,
    /// For each view that is read, `"activity":`
    known: Vec<Vec<u8>>,
    streams: Vec<StreamLabel>,
}

/// A stream or table that is read.
#[derive(Debug)]
struct StreamLabel {
    /// Index into the engine's sources.
    index: usize,
    /// `"transactions":`
    name: Vec<u8>,
}

impl AnswerLayout {
    pub(crate) fn of_service(sources: &[Arc<Stream>], service: &FeatureService, streams: &[usize]) -> AnswerLayout {
        let columns = service.features.iter().map(|feature| feature.name.as_str());
        AnswerLayout::new(sources, ("service", &service.name), columns, &join_names(service), streams)
    }

    pub(crate) fn of_view(sources: &[Arc<Stream>], view: &FeatureView, streams: &[usize]) -> AnswerLayout {
        let columns = view.features.iter().map(|feature| feature.name.as_str());
        AnswerLayout::new(sources, ("view", &view.name), columns, &[view.name.as_str()], streams)
    }

    fn new<'n>(
        sources: &[Arc<Stream>],
        (kind, name): (&str, &str),
        columns: impl Iterator<Item = &'n str>,
        known: &[&str],
        streams: &[usize],
    ) -> AnswerLayout {
        let mut head = b"{".to_vec();
        head.extend(label(kind));
        write_json_text(name, &mut head);
        head.extend_from_slice(b",\"as_of\":\"");
        let mut titles = b"\",\"columns\":".to_vec();
        write_list(&mut titles, columns, |out, name| write_json_text(name, out));
        titles.extend_from_slice(b",\"rows\":");
        let stream = |index: &usize| StreamLabel { index: *index, name: label(&sources[*index].name) };
        AnswerLayout {
            head,
            columns: titles,
            known: known.iter().map(|name| label(name)).collect(),
            streams: streams.iter().map(stream).collect(),
        }
    }

    /// The whole answer.
    pub(crate) fn json(&self, published: &Published, answers: &ServiceAnswers, rows: usize, as_of_us: i64) -> Vec<u8> {
        let values = rows * (answers.features.len() + answers.known.len());
        let fixed = self.head.len() + self.columns.len() + self.streams.len() * STREAM_BYTES;
        let mut out = Vec::with_capacity(fixed + values * VALUE_BYTES + 256);
        out.extend_from_slice(&self.head);
        write_instant(as_of_us, &mut out);
        out.extend_from_slice(&self.columns);
        write_list(&mut out, 0..rows, |out, row| {
            write_list(out, &answers.features, |out, feature| write_json_value(feature, row, out));
        });
        out.extend_from_slice(b",\"known\":");
        write_object(&mut out, self.known.iter().zip(&answers.known), write_claims);
        out.extend_from_slice(b",\"position\":");
        let streams = self.streams.iter().map(|stream| (&stream.name, &published.streams[stream.index]));
        write_object(&mut out, streams.clone(), |out, position| {
            write_list(out, &position.next_offsets, |out, offset| write_number(out, *offset as i64));
        });
        out.extend_from_slice(b",\"streams\":");
        write_object(&mut out, streams, write_freshness);
        out.push(b'}');
        out
    }
}

/// By what the views of a service are told apart: by name, or by alias where a view is joined more than once.
fn join_names(service: &FeatureService) -> Vec<&str> {
    let joined = |name: &str| service.joins.iter().filter(|join| join.view.name == name).count();
    let name_of = |join: &'_ asof_definition::Join| joined(&join.view.name) == 1;
    let names: Vec<&str> = service
        .joins
        .iter()
        .map(|join| if name_of(join) { join.view.name.as_str() } else { join.alias.as_str() })
        .collect();
    let is_repeated = |name: &&str| names.iter().filter(|other| *other == name).count() > 1;
    if names.iter().any(is_repeated) {
        // An alias is the name of another view: aliases alone are never equal.
        return service.joins.iter().map(|join| join.alias.as_str()).collect();
    }
    names
}

/// `"name":`
fn label(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_json_text(name, &mut out);
    out.push(b':');
    out
}

fn write_list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn write_object<'l, T>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = (&'l Vec<u8>, T)>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'{');
    for (place, (label, value)) in fields.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(label);
        write(out, value);
    }
    out.push(b'}');
}

fn write_claims(out: &mut Vec<u8>, claims: &BooleanArray) {
    write_list(out, 0..claims.len(), |out, row| {
        out.extend_from_slice(if claims.value(row) { b"true" } else { b"false" });
    });
}

fn write_freshness(out: &mut Vec<u8>, position: &StreamPosition) {
    out.extend_from_slice(b"{\"watermark\":");
    write_instant_or_null(out, position.watermark_us);
    out.extend_from_slice(b",\"newest_event\":");
    write_instant_or_null(out, position.newest_us);
    out.extend_from_slice(b",\"arrival_lag_ms\":");
    match position.arrival_lag_ms {
        Some(lag_ms) => write_number(out, lag_ms),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

fn write_instant_or_null(out: &mut Vec<u8>, us: Option<i64>) {
    let Some(us) = us else { return out.extend_from_slice(b"null") };
    out.push(b'"');
    write_instant(us, out);
    out.push(b'"');
}

fn write_number(out: &mut Vec<u8>, number: i64) {
    serde_json::to_writer(out, &number).expect("an integer is JSON and memory takes it");
}
