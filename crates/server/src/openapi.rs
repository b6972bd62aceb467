//! The OpenAPI 3.1 document of this project: a path for each service and view, with the types of its columns.

use std::sync::Arc;

use arrow::datatypes::DataType;
use asof_definition::{Connector, Feature, Stream};
use asof_expression::type_name;
use asof_pipeline::{BATCH_KEY_BYTES_MAX, Engine};
use serde_json::{Map, Value, json};

use crate::dead_letters::letter_streams;
use crate::example::{example_key, example_request};
use crate::problem::Kind;
use crate::route::{Call, path_segment};

/// The document.
pub(crate) fn document(engine: &Engine) -> Value {
    let project = engine.project();
    let mut paths = Map::new();
    for (index, service) in project.services.iter().enumerate() {
        let columns: Vec<(&str, &DataType)> =
            service.request.iter().map(|column| (column.name.as_str(), &column.data_type)).collect();
        let asked = Asked { kind: "service", name: &service.name, columns, features: &service.features };
        paths.insert(asked.path(), asked.operation(example_request(engine, index)));
    }
    for (index, view) in project.views.iter().enumerate() {
        let columns: Vec<(&str, &DataType)> =
            view.key.iter().map(|part| (part.name.as_str(), part.expression.data_type())).collect();
        let asked = Asked { kind: "view", name: &view.name, columns, features: &view.features };
        paths.insert(asked.path(), asked.operation(example_key(engine, index)));
    }
    let tables = project.tables.iter().map(|table| &table.versions);
    paths.extend(project.streams.iter().chain(tables).flat_map(|stream| stored_paths(stream)));
    paths.extend(project.derived.iter().filter_map(derived_path));
    paths.extend(fixed_paths());
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Asof", "version": env!("CARGO_PKG_VERSION"), "description": "Features as of an instant."},
        "paths": paths,
        "components": {"schemas": schemas()},
    })
}

/// A service or a view that features are asked of.
struct Asked<'a> {
    kind: &'static str,
    name: &'a str,
    columns: Vec<(&'a str, &'a DataType)>,
    features: &'a [Feature],
}

impl Asked<'_> {
    fn path(&self) -> String {
        format!("/v1/{}s/{}/features", self.kind, path_segment(self.name))
    }

    fn operation(&self, example: Value) -> Value {
        json!({"post": {
            "operationId": format!("{}_{}", self.kind, self.name),
            "summary": format!("Features of {} `{}`, as of now or of an instant.", self.kind, self.name),
            "requestBody": {"required": true, "content": {"application/json": {
                "schema": self.request(), "example": {"rows": [example]},
            }}},
            "responses": responses(&self.answer()),
        }})
    }

    fn request(&self) -> Value {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        let properties: Map<String, Value> =
            self.columns.iter().map(|(name, data_type)| ((*name).to_owned(), input(data_type))).collect();
        let row = json!({
            "type": "object", "properties": properties, "required": names, "additionalProperties": false,
        });
        json!({
            "type": "object",
            "properties": {"rows": {"type": "array", "items": row}, "as_of": {"$ref": "#/components/schemas/AsOf"}},
            "required": ["rows"],
            "additionalProperties": false,
        })
    }

    fn answer(&self) -> Value {
        let names: Vec<&str> = self.features.iter().map(|feature| feature.name.as_str()).collect();
        let values: Vec<Value> = self.features.iter().map(|feature| output(feature.expression.data_type())).collect();
        let row = json!({"type": "array", "prefixItems": values, "items": false, "minItems": names.len()});
        json!({
            "type": "object",
            "properties": {
                self.kind: {"const": self.name},
                "as_of": {"type": "string", "format": "date-time"},
                "columns": {"const": names},
                "rows": {"type": "array", "items": row},
                "known": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "boolean"}},
                    "description": "By view: whether some frame held an event of the row's entity."},
                "position": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}},
                    "description": "By stream: the next visible offset of each partition."},
                "streams": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Freshness"}},
            },
            "required": [self.kind, "as_of", "columns", "rows", "known", "position", "streams"],
        })
    }
}

/// The calls of a stream that is stored; none of one that reads a file.
fn stored_paths(stream: &Stream) -> Vec<(String, Value)> {
    if !matches!(stream.connector, Connector::Log(_)) {
        return Vec::new();
    }
    let claim = || json!({"type": "boolean"});
    let key = json!({"name": "Idempotency-Key", "in": "header",
        "schema": {"type": "string", "maxLength": BATCH_KEY_BYTES_MAX}});
    // Of a topic the only events that come over HTTP are dead letters.
    let parameters = match stream.feed() {
        Some(_) => vec![query("replayed", claim()), key],
        None => {
            let arrival_column = query("arrival_column", json!({"type": "string"}));
            vec![query("history", claim()), arrival_column, query("replayed", claim()), key]
        }
    };
    let mut events = json!({"post": {
        "operationId": format!("events_{}", stream.name),
        "summary": format!("Takes in events of stream `{}`; answered when they are durable and visible.", stream.name),
        "parameters": parameters,
        "requestBody": {"required": true, "content": event_bodies(stream)},
        "responses": responses(&receipt()),
    }});
    let nothing_counts = json!({"description": "no row was used or a duplicate, or an error",
        "content": {"application/json": {"schema": {"anyOf": [receipt(), {"$ref": "#/components/schemas/Error"}]}}}});
    events["post"]["responses"]["422"] = nothing_counts;
    vec![(stream_path(stream, "events"), events), dead_letters_path(stream)]
}

/// The dead letters of a derived stream whose letters all lie with one stream that is stored; those of others are among the
/// letters of their sources.
fn derived_path(stream: &Arc<Stream>) -> Option<(String, Value)> {
    match &letter_streams(stream)[..] {
        [source] if matches!(source.connector, Connector::Log(_)) => Some(dead_letters_path(stream)),
        _ => None,
    }
}

fn dead_letters_path(stream: &Stream) -> (String, Value) {
    let number = || json!({"type": "integer", "minimum": 0});
    let text = || json!({"type": "string"});
    let letter = json!({
        "type": "object",
        "required": ["partition", "offset", "arrived", "reason", "view", "detail", "event", "event_is_cut"],
        "properties": {
            "partition": number(), "offset": number(), "arrived": {"type": "string", "format": "date-time"},
            "reason": text(), "detail": text(), "event": text(), "event_is_cut": {"type": "boolean"},
            "message": {"type": "object", "properties": {"partition": number(), "offset": number()},
                "description": "Of an event that was read from a topic: its place there."},
            "view": {"type": ["string", "null"],
                "description": "The one view or derived stream that it was set aside or came too late for; null: for all of them."},
        },
    });
    let page = json!({
        "type": "object",
        "required": ["stream", "dead_letters", "next"],
        "properties": {"stream": text(), "dead_letters": {"type": "array", "items": letter},
            "next": {"type": ["integer", "null"], "minimum": 0}},
    });
    let letters = json!({"get": {
        "operationId": format!("dead_letters_{}", stream.name),
        "summary": format!("Events of stream `{}` that were set aside, and why.", stream.name),
        "parameters": [query("from", number()), query("reason", text()), query("limit", number())],
        "responses": responses(&page),
    }});
    (stream_path(stream, "dead-letters"), letters)
}

fn stream_path(stream: &Stream, call: &str) -> String {
    format!("/v1/streams/{}/{call}", path_segment(&stream.name))
}

fn query(name: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "schema": schema})
}

fn event_bodies(stream: &Stream) -> Value {
    let columns = stream.columns.iter();
    let properties: Map<String, Value> =
        columns.clone().map(|column| (column.name.clone(), input(&column.data_type))).collect();
    let required: Vec<&str> = columns.filter(|column| column.not_null).map(|column| column.name.as_str()).collect();
    let event = json!({"type": "object", "properties": properties, "required": required});
    json!({
        "application/json": {"schema": {"anyOf": [event, {"type": "array", "items": event}]}},
        "application/x-ndjson": {"schema": {"type": "string", "description": "one such object a line"}},
        "application/vnd.apache.arrow.stream": {"schema": {"type": "string", "format": "binary"}},
    })
}

fn receipt() -> Value {
    let count = json!({"type": "integer", "minimum": 0});
    let refused = json!({"type": "object", "required": ["row", "reason", "detail"], "properties": {
        "row": count, "reason": {"type": "string"}, "detail": {"type": "string"},
    }});
    json!({
        "type": "object",
        "required": ["accepted", "duplicates", "late", "rejected", "refused"],
        "properties": {"accepted": count, "duplicates": count, "late": count, "rejected": count,
            "refused": {"type": "array", "items": refused}},
    })
}

/// What a value of a request may be.
fn input(data_type: &DataType) -> Value {
    let any_of = |types: &[&str]| json!({"type": types, "description": type_name(data_type)});
    match data_type {
        DataType::Boolean => any_of(&["boolean", "null"]),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => any_of(&["integer", "null"]),
        DataType::Float32 | DataType::Float64 => any_of(&["number", "string", "null"]),
        DataType::Decimal128(_, _) | DataType::Timestamp(_, _) => any_of(&["string", "integer", "null"]),
        _ => any_of(&["string", "null"]),
    }
}

/// What a value of an answer may be.
fn output(data_type: &DataType) -> Value {
    let any_of = |types: &[&str]| json!({"type": types, "description": type_name(data_type)});
    match data_type {
        DataType::Boolean => any_of(&["boolean", "null"]),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => any_of(&["integer", "null"]),
        // NaN and the infinities are text.
        DataType::Float32 | DataType::Float64 => any_of(&["number", "string", "null"]),
        DataType::List(item) | DataType::LargeList(item) => {
            json!({"type": ["array", "null"], "items": output(item.data_type()), "description": type_name(data_type)})
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else { return any_of(&["object", "null"]) };
            let value = output(fields[fields.len() - 1].data_type());
            json!({"type": ["object", "null"], "additionalProperties": value, "description": type_name(data_type)})
        }
        _ => any_of(&["string", "null"]),
    }
}

fn fixed_paths() -> Vec<(String, Value)> {
    let any = json!({"type": "object"});
    let name = json!([{"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}]);
    let get = |summary: &str, answer: &Value| json!({"get": {"summary": summary, "responses": responses(answer)}});
    let text = |summary: &str, content_type: &str| {
        let content = Map::from_iter([(content_type.to_owned(), json!({"schema": {"type": "string"}}))]);
        json!({"get": {"summary": summary, "responses": {"200": {"description": "answered", "content": content}}}})
    };
    let status = json!({"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]});
    let mut object = get("One object of the project.", &any);
    object["get"]["parameters"] = name;
    vec![
        (Call::Objects.template().to_owned(), get("All objects: definitions, dependencies, state, counts.", &any)),
        (Call::Object.template().to_owned(), object),
        (Call::Alive.template().to_owned(), get("Whether the process serves.", &status)),
        (Call::Ready.template().to_owned(), get("Whether reads see what they should.", &status)),
        (Call::Metrics.template().to_owned(), text("Metrics as Prometheus text.", "text/plain")),
        (Call::OpenApi.template().to_owned(), get("This document.", &any)),
        (Call::Page.template().to_owned(), text("A page that shows streams and looks up entities.", "text/html")),
    ]
}

fn responses(answer: &Value) -> Value {
    json!({
        "200": {"description": "answered", "content": {"application/json": {"schema": answer}}},
        "default": {"description": "an error, with 400, 404, 413, 422, 429 or 503",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}},
    })
}

fn schemas() -> Value {
    let instant = json!({"type": ["string", "null"], "format": "date-time"});
    json!({
        "AsOf": {"type": ["string", "integer", "null"],
            "description": "RFC 3339 (no zone is UTC) or microseconds since 1970; without it, now."},
        "Freshness": {"type": "object", "properties": {
            "watermark": instant, "newest_event": instant, "arrival_lag_ms": {"type": ["integer", "null"]},
        }},
        "Error": {"type": "object", "required": ["error"], "properties": {"error": {
            "type": "object", "required": ["kind", "message"], "properties": {
                "kind": {"enum": Kind::ALL.map(Kind::name)},
                "message": {"type": "string"},
                "hint": {"type": "string"},
            },
        }}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use asof_definition::SourceFile;

    #[test]
    fn regression_derived_streams_of_one_stored_stream_have_dead_letters() {
        let stream = |name: &str, with: &str| {
            format!("CREATE STREAM {name} (id BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts){with};\n")
        };
        let read = " WITH (connector = 'file', path = 'b.csv', format = 'csv')";
        let derived = "
            CREATE STREAM of_one AS SELECT id, ts FROM a;
            CREATE STREAM of_that AS SELECT id, ts FROM of_one WHERE id > 1;
            CREATE STREAM of_a_file AS SELECT id, ts FROM b;
            CREATE STREAM of_two AS SELECT id, ts FROM a UNION ALL SELECT id, ts FROM c;
            CREATE STREAM windows AS SELECT id, window_end AS ended, window_time
            FROM TABLE(TUMBLE(TABLE of_that, DESCRIPTOR(ts), INTERVAL '1' HOUR)) GROUP BY id, window_start, window_end;
            CREATE STREAM rows AS SELECT id, ended FROM windows;
            CREATE STREAM of_rows AS SELECT id, count(*) AS n
            FROM TABLE(TUMBLE(TABLE windows, DESCRIPTOR(window_time), INTERVAL '1' DAY))
            GROUP BY id, window_start, window_end;
            CREATE STREAM of_both AS SELECT id, ts FROM c UNION ALL SELECT id, window_time FROM windows;";
        let text = stream("a", "") + &stream("b", read) + &stream("c", "") + derived;
        let project = asof_definition::check_ahead(&[SourceFile { name: "p.sql".to_owned(), text }]).unwrap();
        let paths: Vec<String> = project.derived.iter().filter_map(derived_path).map(|(path, _)| path).collect();
        let with_letters = ["of_both", "of_one", "of_that", "windows"];
        let mut expected = with_letters.map(|name| format!("/v1/streams/{name}/dead-letters")).to_vec();
        let mut found = paths.clone();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "rows of closed windows leave no letters");
        let (_, call) = project.derived.iter().find_map(derived_path).unwrap();
        let letter =
            &call["get"]["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["dead_letters"];
        assert_eq!(letter["items"]["properties"]["view"]["type"], json!(["string", "null"]));
    }
}
