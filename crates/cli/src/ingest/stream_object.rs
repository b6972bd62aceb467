//! A stream as its server tells of it, and the definition that its files are read by.

use std::path::Path;
use std::sync::Arc;

use asof_definition::{Connector, FileConnector, FileFormat, FileOrder, Rate, SourceFile, Stream, check};
use asof_server::path_segment;
use serde::Deserialize;

use crate::client::Client;
use crate::failure::Failure;

/// An object of the server.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind")]
enum Object {
    #[serde(rename = "feature service")]
    Service,
    #[serde(rename = "sink")]
    Sink { reads: Vec<String> },
    #[serde(rename = "feature view")]
    View { reads: Vec<String> },
    #[serde(rename = "stream")]
    Stream(StreamObject),
    /// As the stream of its versions.
    #[serde(rename = "table")]
    Table(StreamObject),
}

/// A stream, as far as sending events to it needs it.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamObject {
    pub(crate) name: String,
    columns: Vec<ColumnObject>,
    time_column: String,
    /// The unit of plain integers, where the stream declares one.
    #[serde(default)]
    timestamp_unit: Option<String>,
    source: SourceObject,
    /// The next offset of each partition; none of a derived stream, which takes no events.
    #[serde(default)]
    pub(crate) position: Vec<u64>,
    /// Of a derived stream: the streams with events of their own that stand behind it.
    #[serde(default)]
    origins: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct ColumnObject {
    name: String,
    #[serde(rename = "type")]
    sql_type: String,
    not_null: bool,
}

#[derive(Debug, Deserialize)]
struct SourceObject {
    connector: String,
}

/// The file that a stream is to be read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventSource<'a> {
    pub(crate) path: &'a Path,
    pub(crate) format: FileFormat,
    pub(crate) arrival_column: Option<&'a str>,
}

impl StreamObject {
    /// Asks a server for a stream that takes events over HTTP.
    pub(crate) fn ask(client: &Client, name: &str) -> Result<StreamObject, Failure> {
        let answer = client.get(&format!("/v1/objects/{}", path_segment(name)))?;
        let object: Object = serde_json::from_str(&answer).map_err(|error| not_understood(&error.to_string()))?;
        let (kind, stream) = match object {
            Object::Stream(stream) => ("stream", stream),
            Object::Table(table) => ("table", table),
            Object::Service => return Err(no_stream(name, "feature service", &[])),
            Object::Sink { reads } => return Err(no_stream(name, "sink", &reads)),
            Object::View { reads } => return Err(no_stream(name, "feature view", &reads)),
        };
        if stream.source.connector == "derived" {
            return Err(Failure::input_with_hint(
                format!("stream `{name}` is derived from others and takes no events"),
                format!("send them to what it sees the events of: `{}`", stream.origins.join("`, `")),
            ));
        }
        if stream.source.connector == "file" {
            return Err(Failure::input_with_hint(
                format!("{kind} `{name}` reads a file and takes no events over HTTP"),
                "declare it without a connector: then it is stored, and fed by `asof ingest`",
            ));
        }
        Ok(stream)
    }

    /// The stream over a file: its columns as the server declares them, none of its rules, which are for the server.
    pub(crate) fn definition(&self, source: EventSource<'_>) -> Result<Arc<Stream>, Failure> {
        let files = [SourceFile { name: "the server's answer".to_owned(), text: self.sql() }];
        let project = check(&files).map_err(|errors| {
            not_understood(&errors.first().map_or_else(String::new, |error| error.message.clone()))
        })?;
        let Some(stream) = project.streams.first() else { return Err(not_understood("it declares no stream")) };
        let Some(path) = source.path.to_str() else {
            return Err(Failure::input(format!("the path `{}` is not UTF-8 text", source.path.display())));
        };
        let connector = FileConnector {
            path: path.to_owned(),
            format: source.format,
            order: FileOrder::EventTime,
            follow: false,
            arrival_column: source.arrival_column.map(str::to_owned),
            rate: Rate::Max,
        };
        Ok(Arc::new(Stream { connector: Connector::File(connector), ..Stream::clone(stream) }))
    }

    fn sql(&self) -> String {
        let column = |column: &ColumnObject| {
            let not_null = if column.not_null { " NOT NULL" } else { "" };
            format!("{} {}{not_null}", quoted(&column.name), column.sql_type)
        };
        let columns: Vec<String> = self.columns.iter().map(column).collect();
        let (name, time) = (quoted(&self.name), quoted(&self.time_column));
        let unit = self.timestamp_unit.as_ref().map(|unit| format!(" WITH (timestamp_unit = '{unit}')"));
        let unit = unit.unwrap_or_default();
        format!("CREATE STREAM {name} ({}, WATERMARK FOR {time} AS {time}){unit};", columns.join(", "))
    }
}

/// A name in quotes, which keep its case.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn no_stream(name: &str, kind: &str, reads: &[String]) -> Failure {
    let hint = match reads.first() {
        Some(stream) => format!("events go to the stream that it reads, `{stream}`"),
        None => "events go to a stream".to_owned(),
    };
    Failure::input_with_hint(format!("`{name}` is a {kind}"), hint)
}

fn not_understood(detail: &str) -> Failure {
    Failure::outside(format!("the server's answer is not understood: {detail}; hint: is it of this release?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(json: &str) -> Arc<Stream> {
        let Object::Stream(object) = serde_json::from_str(json).unwrap() else { panic!("{json} is a stream") };
        let source =
            EventSource { path: Path::new("a/${X}'s.csv"), format: FileFormat::Csv, arrival_column: Some("at") };
        object.definition(source).unwrap()
    }

    #[test]
    fn a_stream_is_as_its_server_tells() {
        let types = [
            "BOOLEAN",
            "SMALLINT",
            "INTEGER",
            "BIGINT",
            "REAL",
            "DOUBLE",
            "DECIMAL(9,2)",
            "VARCHAR",
            "VARBINARY",
            "DATE",
        ];
        let column = |(place, name): (usize, &&str)| {
            format!(r#"{{"name":"Column \"{place}\"","type":"{name}","not_null":{}}}"#, place % 2 == 0)
        };
        let columns: Vec<String> = types.iter().enumerate().map(column).collect();
        let told = format!(
            r#"{{"kind":"stream","name":"größe","reads":[],"columns":[{},{{"name":"select","type":"TIMESTAMP","not_null":true}}],
            "time_column":"select","timestamp_unit":"ms","source":{{"connector":"log","ack":"durable"}},"position":[7]}}"#,
            columns.join(",")
        );
        let stream = stream(&told);
        assert_eq!((stream.name.as_str(), stream.time_column_name()), ("größe", "select"));
        assert_eq!(stream.timestamp_unit, Some(asof_definition::TimestampUnit::Millisecond));
        for (place, (column, expected)) in stream.columns.iter().zip(types).enumerate() {
            assert_eq!(column.name, format!("Column \"{place}\""));
            assert_eq!(asof_expression::type_name(&column.data_type), expected);
            assert_eq!(column.not_null, place % 2 == 0);
        }
        let Connector::File(file) = &stream.connector else { panic!("it reads a file") };
        assert_eq!((file.path.as_str(), file.arrival_column.as_deref()), ("a/${X}'s.csv", Some("at")));
    }
}
