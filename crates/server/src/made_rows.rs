//! What is told of a derived stream that makes its rows: of one over group windows which they are and what those that are open
//! hold, of one of scored rows which services score them; what became of the rows, and where they lie.

use asof_pipeline::{Engine, Published, StorageStatistics};
use serde_json::{Value, json};

use crate::objects::{instant, reason};
use crate::window_words::window_words;

/// The field `windows` of the derived stream with this index in the project; null of one that is computed row by row.
pub(crate) fn windows(engine: &Engine, published: &Published, index: usize) -> Value {
    let stream = &engine.project().derived[index];
    let (Some(window), Some(statistics)) = (stream.window(), engine.windows_statistics(index)) else {
        return Value::Null;
    };
    let key: Vec<&str> = window.view.key.iter().map(|part| part.text.as_str()).collect();
    let own = json!({
        "shape": window_words(window.shape),
        "key": key,
        "open_entities": statistics.open_entities,
        "open_events": statistics.held.events,
        "open_bytes": statistics.held.bytes,
        "too_late": statistics.too_late,
        "rows_set_aside": statistics.rows_set_aside,
    });
    with_rows(own, engine, published, &stream.name)
}

/// The field `scored` of the derived stream with this index in the project; null of one whose rows are not.
pub(crate) fn scored(engine: &Engine, published: &Published, index: usize) -> Value {
    let stream = &engine.project().derived[index];
    let Some(scored) = stream.scored() else { return Value::Null };
    let services: Vec<&str> = scored.services.iter().map(|one| one.service.name.as_str()).collect();
    with_rows(json!({"services": services}), engine, published, &stream.name)
}

/// The same with what is told of the rows that a stream makes.
fn with_rows(mut own: Value, engine: &Engine, published: &Published, stream: &str) -> Value {
    let place = engine.sources().iter().position(|source| source.name == stream);
    let place = place.expect("a stream that makes rows is a source");
    let position = &published.streams[place];
    own["position"] = json!(position.next_offsets);
    own["newest_row"] = json!(instant(position.newest_us));
    own["reasons"] = engine.stream_statistics(place).reasons.iter().map(reason).collect();
    own["log_bytes"] = json!(log_of(engine, place).map(|log| log.log_bytes));
    own
}

/// The log of a source, where it has one.
fn log_of(engine: &Engine, source: usize) -> Option<StorageStatistics> {
    let name = &engine.sources()[source].name;
    engine.storage_statistics().into_iter().find(|log| log.stream == *name)
}
