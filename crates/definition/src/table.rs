//! A table: rows by primary key that change, every version of them kept.
//!
//! ```text
//!   event time ──▶   09:00        09:30          10:00        10:10
//!   key 7            a ──────────▶ b ───────────▶ deleted      c ────▶
//! ```
//! Versions arrive like events of a stream, and are judged like them; what is a repeat there is the next version here. A
//! delete marker ends what was before it and holds nothing: it is asked for its primary key and its event time alone, not
//! for the other NOT NULLs, nor for a CHECK.

use std::sync::Arc;

use arrow::datatypes::DataType;
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{fold, type_name};

use crate::connector::{Connector, LogConnector};
use crate::kafka_feed::{MessageFormat, MetadataField};
use crate::options::{DELETE_COLUMN, text};
use crate::refusal::Refusal;
use crate::stream::{Column, Stream};
use crate::stream_syntax::StreamSyntax;

/// A checked `CREATE TABLE`.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Its versions in the order in which they arrive. They have a PRIMARY KEY that is not enforced, and their event time
    /// is when a version holds from.
    pub versions: Arc<Stream>,
    /// Index of the column that is true in a delete marker; `None` where nothing is ever deleted.
    pub deleted: Option<usize>,
}

impl Table {
    /// Folded.
    pub fn name(&self) -> &str {
        &self.versions.name
    }

    /// In the order of the declaration.
    pub fn columns(&self) -> &[Column] {
        &self.versions.columns
    }

    /// Indexes of the columns that rows are found by, in the order of the PRIMARY KEY.
    pub fn key(&self) -> &[usize] {
        &self.versions.primary_key
    }

    /// The versions as they are stored: a delete marker has a value in its PRIMARY KEY and its event time, and in no other
    /// column needs one.
    pub fn stored(&self) -> Arc<Stream> {
        if self.deleted.is_none() {
            return self.versions.clone();
        }
        let mut stored = Stream::clone(&self.versions);
        for (place, column) in stored.columns.iter_mut().enumerate() {
            column.not_null &= place == stored.time_column || stored.primary_key.contains(&place);
        }
        Arc::new(stored)
    }

    /// The names of those columns.
    pub(crate) fn key_names(&self) -> Vec<&str> {
        self.key().iter().map(|column| &self.columns()[*column].name[..]).collect()
    }

    /// Checks a declaration; as many refusals as can be told apart.
    pub(crate) fn check(syntax: &StreamSyntax) -> Result<Table, Vec<Refusal>> {
        let mut refusals = key_refusals(syntax);
        let versions = match Stream::check(syntax) {
            Ok(versions) => Stream { primary_key_enforced: false, ..versions },
            Err(own) => {
                refusals.extend(own);
                return Err(refusals);
            }
        };
        refusals.extend(time_in_key(syntax, &versions));
        let deleted = delete_column(syntax, &versions).map_err(|refusal| refusals.push(refusal)).ok();
        match deleted {
            Some(deleted) if refusals.is_empty() => {
                let mut versions = versions;
                refusals.extend(check_feed(&mut versions, deleted, syntax.name.span));
                if refusals.is_empty() { Ok(Table { versions: Arc::new(versions), deleted }) } else { Err(refusals) }
            }
            _ => Err(refusals),
        }
    }
}

/// Tells the topic of a table, where it has one, how rows end.
fn check_feed(versions: &mut Stream, deleted: Option<usize>, place: Span) -> Option<Refusal> {
    let (time, key) = (versions.time_column, versions.primary_key.clone());
    let Connector::Log(LogConnector { feed: Some(feed), .. }) = &mut versions.connector else { return None };
    let feed = Arc::make_mut(feed);
    let is = |column: usize, field| feed.metadata.iter().any(|one| one.column == column && one.field == field);
    let is_beside = is(time, MetadataField::Timestamp) && key.iter().all(|column| is(*column, MetadataField::Key));
    let is_changed = is(time, MetadataField::SourceTimestamp);
    feed.has_tombstones = deleted.is_some() && is_beside && feed.format != MessageFormat::DebeziumJson;
    feed.delete_column = deleted;
    if feed.format != MessageFormat::DebeziumJson {
        return None;
    }
    if !is_changed {
        let message = "format 'debezium-json': the event time is not METADATA FROM 'source.timestamp'";
        let hint = "a column of the row does not say when the row was deleted: changed_at TIMESTAMP METADATA FROM \
                    'source.timestamp', … WATERMARK FOR changed_at AS …";
        return Some(Refusal::new(place, message).hint(hint));
    }
    if deleted.is_some() {
        return None;
    }
    let message = format!("format 'debezium-json' needs option `{DELETE_COLUMN}`: a row that is deleted ends");
    Some(Refusal::new(place, message).hint("declare a column `deleted BOOLEAN`, and delete_column = 'deleted'"))
}

/// What is wrong with the PRIMARY KEY whatever its columns are.
fn key_refusals(syntax: &StreamSyntax) -> Vec<Refusal> {
    let Some(key) = syntax.primary_keys.first() else {
        let message = format!("table `{}` has no PRIMARY KEY", fold(&syntax.name));
        let hint = "name the columns that a row is found by: PRIMARY KEY (merchant_id)";
        return vec![Refusal::new(syntax.name.span, message).hint(hint)];
    };
    let refusal = Refusal::new(key.span, "PRIMARY KEY … NOT ENFORCED of a table is not supported");
    let hint = "a version takes the place of the one before it by this key: leave NOT ENFORCED out";
    if key.enforced { Vec::new() } else { vec![refusal.hint(hint)] }
}

fn time_in_key(syntax: &StreamSyntax, versions: &Stream) -> Option<Refusal> {
    let time = versions.time_column_name();
    let named = syntax.primary_keys.iter().flat_map(|key| &key.columns).find(|name| fold(name) == time)?;
    let message = format!("the event time `{time}` cannot be part of the PRIMARY KEY of a table");
    Some(Refusal::new(named.span, message).hint("no version would ever take the place of another: leave it out"))
}

/// The column that `delete_column` names: a BOOLEAN beside the PRIMARY KEY.
fn delete_column(syntax: &StreamSyntax, versions: &Stream) -> Result<Option<usize>, Refusal> {
    let Some(option) = syntax.options.iter().find(|option| option.name == DELETE_COLUMN) else {
        return Ok(None);
    };
    let refuse = |message: String| Refusal::new(option.value_span, message);
    let name = text(&option.value).map_err(|message| refuse(format!("option `{DELETE_COLUMN}`: {message}")))?;
    // As an identifier without quotes; one that was declared in quotes is named exactly.
    let index = versions.column_index(&name).or_else(|| versions.column_index(&name.to_lowercase()));
    let Some(index) = index else {
        let known = versions.columns.iter().map(|column| &column.name[..]);
        return Err(refuse(format!("`{DELETE_COLUMN}` names the unknown column `{name}`")).did_you_mean(&name, known));
    };
    let column = &versions.columns[index];
    if versions.primary_key.contains(&index) {
        let message = format!("`{DELETE_COLUMN}` cannot be part of the PRIMARY KEY, and `{}` is", column.name);
        return Err(refuse(message).hint("a delete marker has the key of the row that it ends"));
    }
    if column.data_type != DataType::Boolean {
        let found = type_name(&column.data_type);
        return Err(refuse(format!("`{DELETE_COLUMN}` must be a BOOLEAN, found {found}")).label(found));
    }
    Ok(Some(index))
}
