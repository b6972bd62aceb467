//! What is told of a derived stream over group windows: which they are, what those that are open hold, what became of those
//! that closed, and where its rows lie.

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
    let place = engine.sources().iter().position(|source| source.name == stream.name);
    let place = place.expect("the rows of closed windows are a source");
    let key: Vec<&str> = window.view.key.iter().map(|part| part.text.as_str()).collect();
    let position = &published.streams[place];
    json!({
        "shape": window_words(window.shape),
        "key": key,
        "open_entities": statistics.open_entities,
        "open_events": statistics.held.events,
        "open_bytes": statistics.held.bytes,
        "too_late": statistics.too_late,
        "rows_set_aside": statistics.rows_set_aside,
        "position": position.next_offsets,
        "newest_row": instant(position.newest_us),
        "reasons": engine.stream_statistics(place).reasons.iter().map(reason).collect::<Vec<_>>(),
        "log_bytes": log_of(engine, place).map(|log| log.log_bytes),
    })
}

/// The log of a source, where it has one.
fn log_of(engine: &Engine, source: usize) -> Option<StorageStatistics> {
    let name = &engine.sources()[source].name;
    engine.storage_statistics().into_iter().find(|log| log.stream == *name)
}
