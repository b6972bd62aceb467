//! Messages of JSON: objects that are events, and changes of rows as Debezium writes them.
//!
//! A change has an envelope: `op` (`c`reate, `r`ead by a snapshot, `u`pdate, `d`elete), the row `before` and `after`
//! it, and when it was made in the database (`source.ts_ms`). The row after it is the next version; a deletion's
//! version is the row before it, which has at least its key. Source: Debezium 3, "Change event values".

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use asof_definition::{Framing, KafkaFeed, MessageFormat};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::civil::TIMESTAMP_US;
use crate::column::bounded;
use crate::event_body::BodyColumns;
use crate::event_body_error::EventBodyError;
use crate::json_body::{JsonMessage, read_json_messages};
use crate::messages::framing::Frame;
use crate::messages::read_messages::{NO_VALUE, ReadMessages, Values};

/// Debezium's own default of `unavailable.value.placeholder`.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// How a stream's messages are read.
#[derive(Debug)]
pub(crate) struct JsonMessages {
    framing: Framing,
    is_changes: bool,
    has_tombstones: bool,
}

/// A change as it stands, with or without the schema around it.
#[derive(Deserialize)]
struct Envelope<'m> {
    #[serde(borrow)]
    payload: Option<&'m RawValue>,
    #[serde(borrow)]
    op: Option<Cow<'m, str>>,
    #[serde(borrow)]
    before: Option<&'m RawValue>,
    #[serde(borrow)]
    after: Option<&'m RawValue>,
    source: Option<Source>,
}

#[derive(Deserialize)]
struct Source {
    ts_ms: Option<i64>,
}

/// What a message is to the batch.
struct Row {
    message: JsonMessage,
    is_deleted: bool,
    is_passed_over: bool,
    changed_us: Option<i64>,
}

impl JsonMessages {
    pub(crate) fn new(feed: &KafkaFeed) -> JsonMessages {
        let is_changes = feed.format == MessageFormat::DebeziumJson;
        JsonMessages { framing: feed.framing, is_changes, has_tombstones: feed.has_tombstones }
    }

    pub(crate) fn read(
        &self,
        values: Values<'_>,
        columns: &BodyColumns,
        looks_at_unit: bool,
    ) -> Result<ReadMessages, EventBodyError> {
        let row = |place: &Option<Range<usize>>| self.row(values.text, place.clone(), columns);
        let rows: Vec<Row> = values.places.iter().map(row).collect();
        // Of a change all of it is shown: its row alone would say nothing of a deletion.
        let shown = |(row, place): (&Row, &Option<Range<usize>>)| match &row.message {
            JsonMessage::Object(place) if !self.is_changes => place.clone(),
            _ => place.clone().unwrap_or(0..0),
        };
        let events = rows.iter().zip(values.places).map(shown).collect();
        let is_any = |flag: fn(&Row) -> bool| rows.iter().any(flag);
        let flags = |flag: fn(&Row) -> bool| if is_any(flag) { rows.iter().map(flag).collect() } else { Vec::new() };
        let (deleted, passed_over) = (flags(|row| row.is_deleted), flags(|row| row.is_passed_over));
        let changed_us = if self.is_changes { rows.iter().map(|row| row.changed_us).collect() } else { Vec::new() };
        let messages: Vec<JsonMessage> = rows.into_iter().map(|row| row.message).collect();
        let decoded = read_json_messages(values.text, &messages, columns, looks_at_unit)?;
        Ok(ReadMessages { decoded, events, passed_over, deleted, changed_us })
    }

    fn row(&self, text: &[u8], place: Option<Range<usize>>, columns: &BodyColumns) -> Row {
        let row = |message| Row { message, is_deleted: false, is_passed_over: false, changed_us: None };
        let Some(place) = place else {
            return match (self.is_changes, self.has_tombstones) {
                // It only lets the topic forget the key: the deletion came before it.
                (true, _) => Row { is_passed_over: true, ..row(JsonMessage::Nothing) },
                (false, true) => Row { is_deleted: true, ..row(JsonMessage::Nothing) },
                (false, false) => row(JsonMessage::SetAside(NO_VALUE.to_owned())),
            };
        };
        let place = match (self.framing, Frame::of(&text[place.clone()])) {
            (Framing::Bare, _) => place,
            (Framing::Registry, Ok(frame)) => place.end - frame.rest.len()..place.end,
            (Framing::Registry, Err(detail)) => return row(JsonMessage::SetAside(detail)),
        };
        if !self.is_changes {
            return row(JsonMessage::Object(place));
        }
        change(text, &place, columns).unwrap_or_else(|detail| row(JsonMessage::SetAside(detail)))
    }
}

/// An update of a source that does not know a value that did not change has this in its place.
fn check_available(row: &RawValue, columns: &BodyColumns) -> Result<(), String> {
    if !row.get().contains(UNAVAILABLE) {
        return Ok(());
    }
    let fields: BTreeMap<String, serde_json::Value> = serde_json::from_str(row.get()).unwrap_or_default();
    let is_read = |name: &str| columns.names.iter().any(|column| column.eq_ignore_ascii_case(name));
    match fields.iter().find(|(name, value)| value.as_str() == Some(UNAVAILABLE) && is_read(name)) {
        Some((name, _)) => {
            Err(format!("the change does not say what `{name}` is; hint: the source's REPLICA IDENTITY FULL"))
        }
        None => Ok(()),
    }
}

fn change(text: &[u8], place: &Range<usize>, columns: &BodyColumns) -> Result<Row, String> {
    let malformed = |error: &dyn std::fmt::Display| format!("invalid JSON: {}", bounded(&error.to_string(), 200));
    let value = std::str::from_utf8(&text[place.clone()]).map_err(|error| malformed(&error))?;
    let envelope = |text| serde_json::from_str::<Envelope<'_>>(text).map_err(|error| malformed(&error));
    let mut change = envelope(value)?;
    if let (Some(payload), None) = (change.payload, &change.op) {
        change = envelope(payload.get())?;
    }
    let changed_us = change
        .source
        .and_then(|source| source.ts_ms)
        .and_then(|ms| ms.checked_mul(1_000))
        .filter(|us| TIMESTAMP_US.contains(us));
    let row = |message, is_deleted| Row { message, is_deleted, is_passed_over: false, changed_us };
    // Where a part of the value stands in the text.
    let place_of = |raw: &RawValue| {
        let start = place.start + (raw.get().as_ptr() as usize - value.as_ptr() as usize);
        JsonMessage::Object(start..start + raw.get().len())
    };
    match (change.op.as_deref(), change.before, change.after) {
        (Some("c" | "r" | "u"), _, Some(after)) => {
            check_available(after, columns)?;
            Ok(row(place_of(after), false))
        }
        (Some("d"), Some(before), _) => Ok(row(place_of(before), true)),
        (Some("d"), None, _) => {
            Err("the deletion has no `before`, and so no key; hint: the source's REPLICA IDENTITY".to_owned())
        }
        (Some("m"), _, _) => Ok(Row { is_passed_over: true, ..row(JsonMessage::Nothing, false) }),
        (Some("t"), _, _) => Err("a truncation of the whole table is not supported".to_owned()),
        (Some(op), _, _) => Err(format!("the change of kind `{}` has no row", bounded(op, 20))),
        (None, _, _) => Err("it is no change of Debezium: it has no `op`".to_owned()),
    }
}
