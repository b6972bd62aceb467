//! `asof check`: is the project sound, and what is in it?

use asof_definition::{Connector, FeatureService, FeatureView, Project, Sink, Stream};
use asof_expression::type_name;
use asof_server::window_words;
use serde_json::{Value, json};

use crate::accounts::counted;
use crate::arguments::{CheckArguments, OutputFormat};
use crate::failure::Failure;
use crate::message_schemas::MessageSchemas;
use crate::project_folder::ProjectFolder;
use crate::told;

pub(crate) fn run(arguments: &CheckArguments) -> Result<(), Failure> {
    let ProjectFolder { project, sources, configuration } = ProjectFolder::load(&arguments.folder)?;
    told::warnings(&project.warnings, &sources);
    let schemas = MessageSchemas::of(&project, &configuration.kafka.schemas, &arguments.folder)?;
    schemas.warnings.iter().for_each(|warning| told::remark(&format!("warning: {warning}")));
    match arguments.format {
        OutputFormat::Text => show(&project, &schemas),
        OutputFormat::Json => told::answer(&described(&project, &schemas).to_string()),
    }
    Ok(())
}

fn show(project: &Project, schemas: &MessageSchemas) {
    for stream in &project.streams {
        told::answer(&format!("stream           {}  {}", stream.name, stream_words(stream)));
    }
    for stream in &project.derived {
        let (reads, words) = (stream.reads().join(", "), stream_words(stream));
        let kept = project.topic_of(&stream.name).map(|sink| format!(", {}", topic_words(&project.sinks[sink])));
        let kept = kept.unwrap_or_default();
        told::answer(&format!("stream           {}  ← {reads}  {words}{kept}", stream.name));
    }
    for table in &project.tables {
        told::answer(&format!("table            {}  {}", table.name(), stream_words(&table.versions)));
    }
    for view in &project.views {
        let (reads, words) = (view.reads().join(", "), view_words(view));
        told::answer(&format!("feature view     {}  ← {reads}  {words}", view.name));
    }
    for service in &project.services {
        let reads: Vec<&str> = service.joins.iter().map(|join| join.view.name.as_str()).collect();
        let words = service_words(service);
        told::answer(&format!("feature service  {}  ← {}  {words}", service.name, reads.join(", ")));
    }
    for sink in project.declared_sinks() {
        let (reads, words) = (sink.reads().join(", "), sink_words(sink));
        told::answer(&format!("sink             {}  ← {reads}  {words}", sink.name));
    }
    for (name, schema) in &schemas.read {
        told::answer(&format!("schema           {name} can be read by {schema}"));
    }
    told::answer(&format!("ok: {}", contents(project)));
}

/// How many objects of each kind there are.
pub(crate) fn contents(project: &Project) -> String {
    let streams = counted(project.streams.len() + project.derived.len(), "stream");
    let tables = (!project.tables.is_empty()).then(|| counted(project.tables.len(), "table"));
    let views = counted(project.views.len(), "feature view");
    let services = counted(project.services.len(), "feature service");
    let sinks = Some(project.declared_sinks().count()).filter(|sinks| *sinks > 0).map(|sinks| counted(sinks, "sink"));
    [Some(streams), tables, Some(views), Some(services), sinks].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn sink_words(sink: &Sink) -> String {
    format!("{} {}", counted(sink.columns().len(), "column"), topic_words(sink))
}

fn topic_words(sink: &Sink) -> String {
    format!("to topic `{}`, {}", sink.topic, sink.delivery.name().replace('_', " "))
}

fn stream_words(stream: &Stream) -> String {
    let names = |columns: &[usize]| {
        columns.iter().map(|&column| stream.columns[column].name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let is_named = |column: &usize| *column < stream.named_columns().len();
    let key = match stream.primary_key.as_slice() {
        columns if columns.is_empty() || !columns.iter().all(is_named) => "no primary key".to_owned(),
        columns => format!("primary key ({})", names(columns)),
    };
    let made =
        windows_of(stream).or_else(|| services_of(stream)).map_or_else(String::new, |words| format!(", {words}"));
    let from = match &stream.connector {
        Connector::Log(log) => match &log.feed {
            None => " from the embedded log".to_owned(),
            Some(feed) => format!(" from topic `{}`", feed.topic),
        },
        Connector::File(file) => format!(" from file `{}`", file.path),
        Connector::Derived(_) => String::new(),
    };
    format!(
        "{}{from}, event time {}, {key}{made}",
        counted(stream.named_columns().len(), "column"),
        names(&[stream.time_column])
    )
}

/// The group windows whose rows it has.
fn windows_of(stream: &Stream) -> Option<String> {
    let window = stream.window()?;
    let key: Vec<&str> = window.view.key.iter().map(|part| part.text.as_str()).collect();
    let by = if key.is_empty() { String::new() } else { format!(" by ({})", key.join(", ")) };
    Some(format!("windows {}{by}", window_words(window.shape)))
}

/// The services whose features its rows have.
fn services_of(stream: &Stream) -> Option<String> {
    let names: Vec<&str> = stream.scored()?.services.iter().map(|one| one.service.name.as_str()).collect();
    Some(format!("features of {}", names.join(", ")))
}

fn view_words(view: &FeatureView) -> String {
    let key: Vec<&str> = view.key.iter().map(|part| part.name.as_str()).collect();
    format!("{} by ({})", counted(view.features.len(), "feature"), key.join(", "))
}

fn service_words(service: &FeatureService) -> String {
    let request: Vec<&str> = service.request.iter().map(|column| column.name.as_str()).collect();
    format!("request ({}) → {}", request.join(", "), counted(service.features.len(), "feature"))
}

fn described(project: &Project, schemas: &MessageSchemas) -> Value {
    let arriving = |kind: &str, stream: &Stream| {
        let columns: Vec<Value> = stream
            .named_columns()
            .iter()
            .map(|column| json!({"name": column.name, "type": type_name(&column.data_type), "not_null": column.not_null}))
            .collect();
        let mut object = json!({"kind": kind, "name": stream.name, "reads": stream.reads(), "columns": columns});
        if let Some(window) = stream.window() {
            object["windows"] = window_words(window.shape).into();
        }
        if let Some(scored) = stream.scored() {
            object["features_of"] = scored.services.iter().map(|one| one.service.name.as_str()).collect();
        }
        if let Some(sink) = project.topic_of(&stream.name) {
            object["topic"] = project.sinks[sink].topic.as_str().into();
            object["delivery"] = project.sinks[sink].delivery.name().into();
        }
        object
    };
    let streams = project.streams.iter().chain(&project.derived).map(|stream| arriving("stream", stream));
    let tables = project.tables.iter().map(|table| arriving("table", &table.versions));
    let views = project.views.iter().map(|view| {
        let key: Vec<Value> = view
            .key
            .iter()
            .map(|part| json!({"name": part.name, "type": type_name(part.expression.data_type())}))
            .collect();
        json!({
            "kind": "feature view", "name": view.name, "reads": view.reads(), "key": key,
            "features": features(&view.features),
        })
    });
    let services = project.services.iter().map(|service| {
        let reads: Vec<&str> = service.joins.iter().map(|join| join.view.name.as_str()).collect();
        let request: Vec<Value> = service
            .request
            .iter()
            .map(|column| json!({"name": column.name, "type": type_name(&column.data_type)}))
            .collect();
        json!({
            "kind": "feature service", "name": service.name, "reads": reads, "request": request,
            "features": features(&service.features),
        })
    });
    let sinks = project.declared_sinks().map(|sink| {
        json!({
            "kind": "sink", "name": sink.name, "reads": sink.reads(), "topic": sink.topic,
            "delivery": sink.delivery.name(),
            "columns": sink.columns().iter()
                .map(|column| json!({"name": column.name, "type": type_name(&column.data_type), "not_null": column.not_null}))
                .collect::<Vec<Value>>(),
        })
    });
    let warnings: Vec<String> =
        project.warnings.iter().map(ToString::to_string).chain(schemas.warnings.iter().cloned()).collect();
    let read: Vec<Value> = schemas.read.iter().map(|(name, schema)| json!({"of": name, "schema": schema})).collect();
    json!({
        "objects": streams.chain(tables).chain(views).chain(services).chain(sinks).collect::<Vec<_>>(),
        "schemas": read,
        "warnings": warnings,
    })
}

fn features(features: &[asof_definition::Feature]) -> Vec<Value> {
    let one = |feature: &asof_definition::Feature| json!({"name": feature.name, "type": type_name(feature.expression.data_type())});
    features.iter().map(one).collect()
}
