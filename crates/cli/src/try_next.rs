//! Three commands to try on a running server, which work as they are printed: with a real entity, in any shell.

use arrow::datatypes::DataType;
use asof_connect::instant_text;
use asof_definition::{Column, Connector, Stream};
use asof_pipeline::Engine;
use asof_server::path_segment;
use serde_json::Value;

use crate::listen_address;
use crate::shell_words::{in_quotes, program, quoted};

/// A read that can be tried: of a service, or of a view.
#[derive(Debug)]
struct Example {
    /// `services` or `views`.
    kind: &'static str,
    name: String,
    columns: Vec<Given>,
}

/// A column of a request, and a value for it.
#[derive(Debug)]
struct Given {
    column: String,
    data_type: DataType,
    value: Value,
}

/// The commands, for a server that is found at `url`: where events are stored, the first one brings one.
pub(crate) fn commands(engine: &Engine, url: &str) -> Vec<String> {
    let reads = reads(engine, url);
    let Some(stream) = stored(engine).next() else { return reads.into() };
    let path = format!("{url}/v1/streams/{}/events", path_segment(&stream.name));
    let table = engine.project().tables.iter().find(|table| table.name() == stream.name);
    let deleted = table.and_then(|table| table.deleted);
    // A row, and no delete marker.
    let value = |place, column: &Column| if Some(place) == deleted { false.into() } else { example(column, engine) };
    let columns = stream.columns.iter().enumerate();
    let event = columns.map(|(place, column)| format!("{}:{}", Value::from(&column.name[..]), value(place, column)));
    let event = format!("{{{}}}", event.collect::<Vec<_>>().join(","));
    let post = format!("curl -s {} -d {}", quoted(&path), in_quotes(&event));
    std::iter::once(post).chain(reads.into_iter().take(2)).collect()
}

/// What takes events from whoever sends them: streams, then tables.
fn stored(engine: &Engine) -> impl Iterator<Item = &Stream> {
    let sources = engine.sources().iter().map(|source| &**source);
    sources.filter(|stream| matches!(stream.connector, Connector::Log(_)) && stream.feed().is_none())
}

/// A value that a column of an event can have.
fn example(column: &Column, engine: &Engine) -> Value {
    match &column.data_type {
        DataType::Boolean => true.into(),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => 1.into(),
        DataType::Float32 | DataType::Float64 => 1.5.into(),
        DataType::Decimal128(_, _) => 1.into(),
        DataType::Date32 => "2026-01-31".into(),
        DataType::Timestamp(_, _) => instant_text(engine.wall_us()).into(),
        DataType::Binary => "YQ==".into(),
        _ => "a".into(),
    }
}

fn reads(engine: &Engine, url: &str) -> [String; 3] {
    let objects = format!("{url}/v1/objects");
    let Some(example) = Example::of(engine) else {
        // Streams alone answer no reads.
        let [health, metrics] =
            ["readyz", "metrics"].map(|path| format!("curl -s {}", quoted(&format!("{url}/{path}"))));
        return [format!("curl -s {}", quoted(&objects)), health, metrics];
    };
    let name = path_segment(&example.name);
    [
        format!(
            "curl -s {} -d {}",
            quoted(&format!("{url}/v1/{}/{name}/features", example.kind)),
            in_quotes(&example.body())
        ),
        example.get_command(url),
        format!("curl -s {}", quoted(&format!("{objects}/{name}"))),
    ]
}

impl Example {
    /// Of the first service; of the first view where there is no service.
    fn of(engine: &Engine) -> Option<Example> {
        let project = engine.project();
        if let Some(service) = project.services.first() {
            let request = asof_server::example_request(engine, 0);
            let columns = service
                .request
                .iter()
                .map(|column| Given::new(&column.name, &column.data_type, &request).or_example(engine));
            return Some(Example { kind: "services", name: service.name.clone(), columns: columns.collect() });
        }
        let view = project.views.first()?;
        let key = asof_server::example_key(engine, 0);
        let columns =
            view.key.iter().map(|part| Given::new(&part.name, part.expression.data_type(), &key).or_example(engine));
        Some(Example { kind: "views", name: view.name.clone(), columns: columns.collect() })
    }

    /// The body of the request, its columns in the order of their declaration.
    fn body(&self) -> String {
        let mut row = String::new();
        for given in &self.columns {
            let comma = if row.is_empty() { "" } else { "," };
            row += &format!("{comma}{}:{}", Value::from(given.column.as_str()), given.value);
        }
        format!("{{\"rows\":[{{{row}}}]}}")
    }

    fn get_command(&self, url: &str) -> String {
        let mut words = vec![program(), "get".to_owned()];
        if url != listen_address::url(listen_address::DEFAULT) {
            words.extend(["--url".to_owned(), quoted(url)]);
        }
        words.push(quoted(&self.name));
        words.extend(self.columns.iter().map(|given| quoted(&given.word())));
        words.join(" ")
    }
}

impl Given {
    fn new(column: &str, data_type: &DataType, row: &Value) -> Given {
        let value = row.get(column).cloned().unwrap_or_default();
        Given { column: column.to_owned(), data_type: data_type.clone(), value }
    }

    /// Before the first event: the value that the event to try has under this name.
    fn or_example(mut self, engine: &Engine) -> Given {
        if self.value.is_null() {
            let mut columns = stored(engine).flat_map(|stream| &stream.columns);
            let of_event = columns.find(|column| column.name == self.column && column.data_type == self.data_type);
            self.value = of_event.map_or(Value::Null, |column| example(column, engine));
        }
        self
    }

    /// As `asof get` reads it.
    fn word(&self) -> String {
        let name = &self.column;
        match &self.value {
            Value::String(text) => format!("{name}={text}"),
            // The text `null` is a text of VARCHAR.
            Value::Null if self.data_type == DataType::Utf8 => format!("{name}:=null"),
            other => format!("{name}={other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_example_is_asked_for_in_the_order_of_its_columns() {
        let row = json!({"when": "2026-01-01T00:00:00.000000Z", "city": "it's", "n": 3, "tag": null, "d": null});
        let columns = [
            ("n", DataType::Int64),
            ("city", DataType::Utf8),
            ("when", DataType::Date32),
            ("tag", DataType::Utf8),
            ("d", DataType::Float64),
        ];
        let columns = columns.iter().map(|(name, data_type)| Given::new(name, data_type, &row)).collect();
        let example = Example { kind: "views", name: "odd name".to_owned(), columns };
        assert_eq!(
            example.body(),
            r#"{"rows":[{"n":3,"city":"it's","when":"2026-01-01T00:00:00.000000Z","tag":null,"d":null}]}"#
        );
        let command = example.get_command("http://127.0.0.1:6566");
        let words = r"get 'odd name' n=3 'city=it'\''s' when=2026-01-01T00:00:00.000000Z tag:=null d=null";
        assert!(command.ends_with(words), "{command}");
        assert!(example.get_command("http://[::1]:80").contains(" get --url 'http://[::1]:80' 'odd name' "));
    }
}
