//! What the project is and how far it has come: `/v1/objects`, for a dashboard and for the curious.

use asof_connect::WriterSchema;
use asof_connect::instant_text;
use asof_definition::{Column, Connector, Feature, Project, Rate, Stream};
use asof_expression::type_name;
use asof_pipeline::{Clock, Engine, FedPartitionStatistics, FeedStatistics, Published, Reason, StreamPosition};
use serde_json::{Value, json};

use crate::example::{example_key, example_request};
use crate::made_rows::{scored, windows};
use crate::problem::Problem;
use crate::target::{stream_names, unknown};

/// All objects: streams, derived ones after the others, then tables, then views, then services, then sinks.
pub(crate) fn all(engine: &Engine) -> Value {
    let project = engine.project();
    let published = engine.published();
    let streams = (0..project.streams.len()).map(|index| stream(engine, &published, index));
    let derived = (0..project.derived.len()).map(|index| derived(engine, &published, index));
    let tables = (0..project.tables.len()).map(|index| table(engine, &published, index));
    let views = (0..project.views.len()).map(|index| view(engine, index));
    let services = (0..project.services.len()).map(|index| service(engine, index));
    let declared = (0..project.sinks.len()).filter(|index| project.sinks[*index].is_declared());
    let sinks = declared.map(|index| sink(engine, index));
    let now_us = match engine.settings().clock {
        Clock::System => Some(engine.wall_us()),
        Clock::Event => published.newest_us,
    };
    json!({
        "clock": engine.settings().clock.name(),
        "now": instant(now_us),
        "phase": engine.phase().name(),
        "storage": storage(engine),
        "ready": engine.is_ready(),
        "version": published.version.0,
        "objects": streams.chain(derived).chain(tables).chain(views).chain(services).chain(sinks).collect::<Vec<_>>(),
    })
}

/// The data folder; null where nothing is stored.
fn storage(engine: &Engine) -> Value {
    if !engine.stores() {
        return Value::Null;
    }
    let last = engine.checkpoint_measures().last();
    let logs = engine.storage_statistics().into_iter().map(|log| {
        let told = json!({"bytes": log.log_bytes, "segments": log.segments, "first_offset": log.first_offset});
        (log.stream, told)
    });
    json!({
        "generation": engine.generation(),
        "recovery_ms": engine.recovery_us() / 1_000,
        "checkpoint": {
            "epoch": last.epoch, "cut_at": instant(last.cut_us), "bytes": last.bytes, "failures": last.failures,
        },
        "logs": logs.collect::<serde_json::Map<_, _>>(),
    })
}

/// The object of that name, as it stands among all.
pub(crate) fn one(engine: &Engine, name: &str) -> Result<Value, Problem> {
    let project = engine.project();
    if let Some(index) = project.streams.iter().position(|stream| stream.name == name) {
        return Ok(stream(engine, &engine.published(), index));
    }
    if let Some(index) = project.derived.iter().position(|stream| stream.name == name) {
        return Ok(derived(engine, &engine.published(), index));
    }
    if let Some(index) = project.tables.iter().position(|table| table.name() == name) {
        return Ok(table(engine, &engine.published(), index));
    }
    if let Some(index) = project.views.iter().position(|view| view.name == name) {
        return Ok(view(engine, index));
    }
    if let Some(index) = project.services.iter().position(|service| service.name == name) {
        return Ok(service(engine, index));
    }
    if let Some(index) = project.sinks.iter().position(|sink| sink.is_declared() && sink.name == name) {
        return Ok(sink(engine, index));
    }
    Err(unknown("object", name, &names(project)))
}

fn names(project: &Project) -> Vec<&str> {
    let views = project.views.iter().map(|view| view.name.as_str());
    stream_names(project)
        .into_iter()
        .chain(views)
        .chain(project.services.iter().map(|service| service.name.as_str()))
        .chain(project.declared_sinks().map(|sink| sink.name.as_str()))
        .collect()
}

/// A stream without events of its own: it stands where its sources stand. Rows that are made have a place of their own too.
fn derived(engine: &Engine, published: &Published, index: usize) -> Value {
    let project = engine.project();
    let stream = &project.derived[index];
    let statistics = engine.derived_statistics(index);
    let origins: Vec<String> = stream.origins().iter().map(|origin| origin.name.clone()).collect();
    let positions = statistics
        .sources
        .iter()
        .map(|source| (engine.sources()[*source].name.clone(), json!(published.streams[*source].next_offsets)));
    json!({
        "kind": "stream",
        "name": stream.name,
        "reads": stream.reads(),
        "origins": origins,
        "columns": stream.named_columns().iter().map(column_not_null).collect::<Vec<_>>(),
        "primary_key": primary_key(stream),
        "time_column": stream.time_column_name(),
        "source": source(&stream.connector),
        "positions": positions.collect::<serde_json::Map<_, _>>(),
        "watermark": instant(statistics.watermark_us),
        "counts": {"rows": statistics.rows, "set_aside": statistics.set_aside},
        "windows": windows(engine, published, index),
        "scored": scored(engine, published, index),
        "topic": topic(engine, index),
    })
}

/// The topic that a derived stream is kept in, and how far; null where it is in none.
fn topic(engine: &Engine, derived: usize) -> Value {
    let project = engine.project();
    project.topic_of(&project.derived[derived].name).map_or(Value::Null, |sink| written(engine, sink))
}

fn stream(engine: &Engine, published: &Published, index: usize) -> Value {
    let mut told = arriving(engine, published, index);
    told["kind"] = json!("stream");
    if let Some(feed) = engine.feed_statistics(index) {
        told["feed"] = feed_of(&feed);
    }
    if !engine.project().tables.is_empty() {
        told["held_rows"] = json!(engine.stream_statistics(index).held_rows);
    }
    told
}

/// How far the topic of a stream is read.
fn feed_of(feed: &FeedStatistics) -> Value {
    let partition = |one: &FedPartitionStatistics| {
        json!({
            "partition": one.partition,
            "next_offset": one.next_offset,
            "lag": one.lag,
            "held_back": one.held_back,
            "stopped": one.is_stopped,
        })
    };
    let schema = |one: &WriterSchema| {
        json!({
            "schema": one.schema,
            "messages": one.messages,
            "passed_over": one.is_passed_over,
            "trouble": one.trouble,
        })
    };
    json!({
        "topic": feed.topic,
        "caught_up": feed.has_caught_up,
        "stopped": feed.has_stopped,
        "trouble": feed.trouble,
        "messages": feed.messages,
        "lost_messages": feed.lost_messages,
        "passed_over": feed.passed_over,
        "schemas": feed.schemas.iter().map(schema).collect::<Vec<_>>(),
        "partitions": feed.partitions.iter().map(partition).collect::<Vec<_>>(),
    })
}

/// The stream of a table's versions, and what is held of them.
fn table(engine: &Engine, published: &Published, index: usize) -> Value {
    let mut told = arriving(engine, published, engine.source_of_table(index));
    let held = engine.table_statistics(index).held;
    told["kind"] = json!("table");
    if let Some(feed) = engine.feed_statistics(engine.source_of_table(index)) {
        told["feed"] = feed_of(&feed);
    }
    told["held"] = json!({"keys": held.keys, "versions": held.versions, "rows": held.rows, "bytes": held.bytes});
    told
}

/// What arrives from outside, by its place among the sources.
fn arriving(engine: &Engine, published: &Published, index: usize) -> Value {
    let stream = &engine.sources()[index];
    let statistics = engine.stream_statistics(index);
    let position = &published.streams[index];
    json!({
        "kind": null,
        "name": stream.name,
        "reads": [],
        "columns": stream.columns.iter().map(column_not_null).collect::<Vec<_>>(),
        "primary_key": primary_key(stream),
        "time_column": stream.time_column_name(),
        "timestamp_unit": stream.timestamp_unit.map(|unit| unit.name()),
        "lateness_ms": stream.lateness_us / 1_000,
        "source": source(&stream.connector),
        "absent_columns": statistics.absent_columns,
        "position": position.next_offsets,
        "watermark": instant(position.watermark_us),
        "newest_event": instant(position.newest_us),
        "arrival_lag_ms": position.arrival_lag_ms,
        "counts": counts(position),
        "reasons": statistics.reasons.iter().map(reason).collect::<Vec<_>>(),
        "replay": {
            "started_at": instant(statistics.replay.started_us),
            "bytes": statistics.replay.bytes,
            "bytes_read": statistics.replay.bytes_read,
            "rows": statistics.replay.rows_taken,
        },
    })
}

/// The names of its columns; none where SQL can name not all of them, as of the key of a group window.
fn primary_key(stream: &Stream) -> Vec<&str> {
    let named = stream.named_columns();
    let columns = stream.primary_key.iter().map(|column| named.get(*column).map(|column| column.name.as_str()));
    columns.collect::<Option<_>>().unwrap_or_default()
}

fn column_not_null(column: &Column) -> Value {
    json!({"name": column.name, "type": type_name(&column.data_type), "not_null": column.not_null})
}

/// As declared: a path is not resolved, `${NAME}` not filled in.
fn source(connector: &Connector) -> Value {
    match connector {
        Connector::Log(log) => match &log.feed {
            None => json!({"connector": "log", "ack": log.ack.name()}),
            Some(feed) => json!({
                "connector": "kafka",
                "topic": feed.topic,
                "format": feed.format.name(),
                "ack": log.ack.name(),
            }),
        },
        Connector::Derived(_) => json!({"connector": "derived"}),
        Connector::File(file) => json!({
            "connector": "file",
            "path": file.path,
            "format": file.format.name(),
            "rate": match file.rate {
                Rate::Max => "max".to_owned(),
                Rate::TimesRealTime(times) => format!("{times}x"),
                Rate::PerSecond(events) => format!("{events}/s"),
            },
        }),
    }
}

fn counts(position: &StreamPosition) -> Value {
    let accounting = &position.accounting;
    json!({
        "in": position.next_offsets.iter().sum::<u64>(),
        "used": accounting.used,
        "late": accounting.late,
        "duplicate": accounting.duplicate,
        "rejected": {
            "unreadable": accounting.unreadable,
            "not_null": accounting.not_null,
            "check": accounting.check,
            "future": accounting.future,
        },
    })
}

pub(crate) fn reason(reason: &Reason) -> Value {
    json!({"name": reason.name, "count": reason.count, "offset": reason.offset, "detail": reason.detail})
}

fn view(engine: &Engine, index: usize) -> Value {
    let view = &engine.project().views[index];
    let statistics = engine.view_statistics(index);
    let key = view.key.iter().map(|part| json!({"name": part.name, "type": type_name(part.expression.data_type())}));
    json!({
        "kind": "feature view",
        "name": view.name,
        "reads": view.reads(),
        "key": key.collect::<Vec<_>>(),
        "features": features(&view.features),
        "entities": statistics.held.entities,
        "events_held": statistics.held.events,
        "state_bytes": statistics.held.bytes,
        "set_aside": statistics.set_aside,
        "example_key": example_key(engine, index),
    })
}

fn service(engine: &Engine, index: usize) -> Value {
    let service = &engine.project().services[index];
    let mut reads: Vec<&str> = Vec::new();
    for join in &service.joins {
        if !reads.contains(&join.view.name.as_str()) {
            reads.push(&join.view.name);
        }
    }
    let request =
        service.request.iter().map(|column| json!({"name": column.name, "type": type_name(&column.data_type)}));
    json!({
        "kind": "feature service",
        "name": service.name,
        "reads": reads,
        "request": request.collect::<Vec<_>>(),
        "features": features(&service.features),
        "example_request": example_request(engine, index),
    })
}

/// A sink and how far its topic is written.
fn sink(engine: &Engine, index: usize) -> Value {
    let sink = &engine.project().sinks[index];
    let mut object = written(engine, index);
    object["kind"] = json!("sink");
    object["name"] = json!(sink.name);
    object["reads"] = json!(sink.reads());
    object["columns"] = sink.columns().iter().map(column_not_null).collect();
    object
}

/// A topic that is written, and how far.
fn written(engine: &Engine, index: usize) -> Value {
    let sink = &engine.project().sinks[index];
    let told = engine.sink_statistics(index);
    let mut object = json!({
        "target": {
            "connector": "kafka",
            "topic": sink.topic,
            "format": sink.format.name(),
            "delivery": sink.delivery.name(),
            "key": sink.key.iter().map(|column| sink.columns()[*column].name.as_str()).collect::<Vec<_>>(),
            "commit_interval_ms": sink.commit_interval_us as f64 / 1e3,
        },
        "progress": told.progress,
        "lag": told.lag,
        "counts": {"rows": told.rows, "set_aside": told.set_aside, "lost": told.lost_offsets},
        "first_set_aside": told.first_set_aside,
        "trouble": told.trouble,
        "stopped": told.has_stopped,
    });
    if sink.rows().is_none() {
        let as_of_us = told.as_of_us.filter(|as_of_us| *as_of_us > i64::MIN);
        object["entries"] = json!({"as_of": instant(as_of_us), "scheduled": told.scheduled});
    }
    object
}

fn features(features: &[Feature]) -> Vec<Value> {
    let one = |feature: &Feature| {
        let data_type = type_name(feature.expression.data_type());
        json!({"name": feature.name, "type": data_type, "sql": feature.text})
    };
    features.iter().map(one).collect()
}

pub(crate) fn instant(us: Option<i64>) -> Option<String> {
    us.map(instant_text)
}
