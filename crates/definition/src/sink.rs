//! `CREATE SINK`: rows of a stream that are written to a topic.
//!
//! A sink reads the logs in which the rows of its SELECT arise, and is nobody's source.

use std::sync::Arc;

use arrow::datatypes::DataType;
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{fold, type_name};

use crate::connector::Connector;
use crate::interval::{duration_us, interval_us};
use crate::kafka_feed::{MessageFormat, subject_of};
use crate::options::{Taker, by_name, named, refuse_options, text, topic};
use crate::refusal::Refusal;
use crate::registry::Relations;
use crate::statement::QuerySyntax;
use crate::stream::Stream;
use crate::stream_syntax::{Declared, OptionSyntax};
use asof_expression::sqlparser::ast::Expr;

/// Options of a sink.
const OPTIONS: &[&str] = &["connector", "topic", "format", "delivery", "key", "commit_interval", "subject"];
/// The default of `commit_interval`.
const COMMIT_INTERVAL_US: i64 = 100_000;
/// The least and the most that it may be.
const COMMIT_INTERVALS_US: std::ops::RangeInclusive<i64> = 1_000..=30_000_000;

/// A checked `CREATE SINK`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sink {
    /// The rows, as a derived stream of the sink's name that nobody reads.
    pub rows: Arc<Stream>,
    /// The topic that they are written to.
    pub topic: String,
    /// The format of a message's value.
    pub format: MessageFormat,
    /// The subject under which a registry gets the schema of the rows; none is that of the topic's values.
    pub subject: Option<String>,
    /// What is promised of each.
    pub delivery: Delivery,
    /// Indexes of the columns whose values are the key of a message; none is no key.
    pub key: Vec<usize>,
    /// How far commits are apart at least, in microseconds.
    pub commit_interval_us: i64,
}

/// How often a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Delivery {
    /// Once, for whoever reads what is committed: rows and progress are in one transaction.
    #[default]
    ExactlyOnce,
    /// Once, and after a crash perhaps again.
    AtLeastOnce,
}

impl Delivery {
    /// The name in `delivery = '…'`.
    pub fn name(self) -> &'static str {
        match self {
            Delivery::ExactlyOnce => "exactly_once",
            Delivery::AtLeastOnce => "at_least_once",
        }
    }
}

/// `CREATE SINK name WITH (…) AS SELECT …`
#[derive(Debug)]
pub(crate) struct SinkSyntax {
    pub(crate) query: QuerySyntax,
    pub(crate) options: Vec<OptionSyntax>,
}

impl Sink {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.rows.name
    }

    /// The subject under which a registry gets the schema of the rows: `alerts-value`, unless the sink says otherwise.
    pub fn subject(&self) -> String {
        self.subject.clone().unwrap_or_else(|| subject_of(&self.topic))
    }

    /// The columns of a message.
    pub fn columns(&self) -> usize {
        self.rows.named_columns().len()
    }

    /// Checks a declaration; as many refusals as can be told apart.
    pub(crate) fn check(syntax: &SinkSyntax, relations: Relations<'_>) -> Result<Sink, Vec<Refusal>> {
        let mut refusals = Vec::new();
        let rows = Stream::derive(&syntax.query, relations).map_err(|own| refusals.extend(own)).ok().map(Arc::new);
        let options = by_name(&syntax.options, &[OPTIONS], &mut refusals);
        let mut take = Taker { declared: Declared::Stream, named: &options, refusals: &mut refusals };
        check_connector(&mut take, syntax.query.name.span);
        let topic = take.one("topic", topic);
        let format = take.one("format", format).unwrap_or_default();
        let subject = take.one("subject", named);
        if format == MessageFormat::Json {
            refuse_options(&mut take, &["subject"], "is one of format 'avro'");
        }
        let delivery = take.one("delivery", delivery).unwrap_or_default();
        let commit_interval_us = take.one("commit_interval", commit_interval).unwrap_or(COMMIT_INTERVAL_US);
        let key = take.one("key", text);
        if !options.contains_key("topic") {
            let refusal = Refusal::new(syntax.query.name.span, "a sink needs option `topic`");
            refusals.push(refusal.hint("WITH (connector = 'kafka', topic = 'enriched')"));
        }
        let Some(rows) = rows else { return Err(refusals) };
        refusals.extend(unreadable(&rows, syntax));
        if format == MessageFormat::Avro {
            refusals.extend(no_record(&rows, syntax.query.name.span));
        }
        let key = match key {
            Some(written) => key_columns(&rows, &written, options["key"], &mut refusals),
            None => primary_key(&rows),
        };
        refusals.extend(topic.as_deref().and_then(|topic| circle(&rows, topic, options["topic"])));
        match topic {
            Some(topic) if refusals.is_empty() => {
                Ok(Sink { rows, topic, format, subject, delivery, key, commit_interval_us })
            }
            _ => Err(refusals),
        }
    }
}

fn check_connector(take: &mut Taker<'_, '_>, name: Span) {
    let Some(written) = take.named.get("connector").copied() else {
        let refusal = Refusal::new(name, "a sink needs option `connector`")
            .hint("WITH (connector = 'kafka', topic = 'enriched')");
        return take.refusals.push(refusal);
    };
    let refusal = match text(&written.value).as_deref() {
        Ok("kafka") => return,
        Ok(later @ ("slack" | "webhook" | "email" | "pagerduty")) => {
            format!("a sink of connector '{later}' is not supported yet")
        }
        Ok(other) => format!("unknown connector '{other}' of a sink"),
        Err(message) => format!("option `connector`: {message}"),
    };
    take.refusals.push(Refusal::new(written.value_span, refusal).hint("a sink writes to a topic: connector = 'kafka'"));
}

/// Why the rows cannot be read from logs, if they cannot.
fn unreadable(rows: &Arc<Stream>, syntax: &SinkSyntax) -> Option<Refusal> {
    if let Some(function) = syntax.query.window_functions.first() {
        let message = format!("the group window {} in a sink is not supported", function.kind.name());
        return Some(
            Refusal::new(function.span, message).hint("make a derived stream of the window; the sink reads that"),
        );
    }
    let name = syntax.query.name.span;
    let of_sources = |stream: &Arc<Stream>| if stream.makes_rows() { stream.origins() } else { Vec::new() };
    if let Some(table) = rows.tables().first().filter(|_| rows.window().is_none()) {
        let message = format!("a sink of rows that are joined with table `{}` is not supported yet", table.name());
        return Some(
            Refusal::new(name, message).hint("join the table behind the topic, or to the windows of a derived stream"),
        );
    }
    let sources = rows.sources();
    let all: Vec<Arc<Stream>> = sources.iter().cloned().chain(sources.iter().flat_map(of_sources)).collect();
    let file = all.iter().find(|stream| matches!(stream.connector, Connector::File(_)))?;
    let message = format!("a sink of `{}`, which reads a file, is not supported yet", file.name);
    let hint = format!("declare `{0}` without the connector, and store its rows by `asof ingest {0} FILE`", file.name);
    Some(Refusal::new(name, message).hint(hint))
}

/// Why rows cannot go to this topic, if it is where they come from: each of them would come again, for ever.
fn circle(rows: &Arc<Stream>, topic: &str, option: &OptionSyntax) -> Option<Refusal> {
    let origins = rows.origins();
    let read = origins.iter().find(|origin| origin.feed().is_some_and(|feed| feed.topic == topic))?;
    let message =
        format!("the sink writes to the topic that `{}` reads: its rows would come again, for ever", read.name);
    Some(Refusal::new(option.value_span, message).hint("write them to another topic"))
}

fn key_columns(rows: &Stream, written: &str, option: &OptionSyntax, refusals: &mut Vec<Refusal>) -> Vec<usize> {
    let column = |name: &str| match rows.column_index(name.trim()) {
        Some(column) => Ok(column),
        None => {
            let known = rows.named_columns().iter().map(|column| column.name.as_str());
            let message = format!("option `key`: the sink has no column `{}`", name.trim());
            Err(Refusal::new(option.value_span, message).did_you_mean(name.trim(), known))
        }
    };
    let columns = written.split(',').filter_map(|name| column(name).map_err(|refusal| refusals.push(refusal)).ok());
    columns.collect()
}

/// Where nothing is said: equal primary keys go to one partition, in their order.
fn primary_key(rows: &Stream) -> Vec<usize> {
    let named = rows.named_columns().len();
    if rows.primary_key.iter().all(|column| *column < named) { rows.primary_key.clone() } else { Vec::new() }
}

fn format(value: &Expr) -> Result<MessageFormat, String> {
    match text(value)?.as_str() {
        "json" => Ok(MessageFormat::Json),
        "avro" => Ok(MessageFormat::Avro),
        "protobuf" => Err("'protobuf' is not supported yet: a sink writes 'json' or 'avro'".to_owned()),
        other => Err(format!("expected 'json' or 'avro', found '{other}'")),
    }
}

/// Why the rows are no record of Avro, if they are none. Source: Apache Avro 1.12, "Names".
fn no_record(rows: &Stream, place: Span) -> Option<Refusal> {
    let is_name = |name: &str| {
        let is_letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
        name.starts_with(is_letter) && name.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit())
    };
    let columns = rows.named_columns();
    let mut names = std::iter::once(&rows.name).chain(columns.iter().map(|column| &column.name));
    if let Some(name) = names.find(|name| !is_name(name)) {
        let message = format!("format 'avro': `{name}` is no name in Avro: letters, digits and `_`, no digit first");
        return Some(Refusal::new(place, message).hint("name it otherwise: AS …"));
    }
    let column = columns.iter().find(|column| !has_avro_type(&column.data_type))?;
    let message = format!("format 'avro': column `{}` is {}", column.name, type_name(&column.data_type));
    Some(Refusal::new(place, format!("{message}, which is not supported")).hint("leave it out, or use format = 'json'"))
}

fn has_avro_type(data_type: &DataType) -> bool {
    use DataType::{Binary, Boolean, Date32, Decimal128, Float32, Float64, Int16, Int32, Int64, List, Timestamp, Utf8};
    match data_type {
        List(item) => has_avro_type(item.data_type()),
        Boolean | Int16 | Int32 | Int64 | Float32 | Float64 | Utf8 | Binary | Date32 => true,
        Decimal128(_, scale) => *scale >= 0,
        other => matches!(other, Timestamp(_, _)),
    }
}

fn delivery(value: &Expr) -> Result<Delivery, String> {
    match text(value)?.as_str() {
        "exactly_once" => Ok(Delivery::ExactlyOnce),
        "at_least_once" => Ok(Delivery::AtLeastOnce),
        other => Err(format!("expected 'exactly_once' or 'at_least_once', found '{other}'")),
    }
}

fn commit_interval(value: &Expr) -> Result<i64, String> {
    let us = match value {
        Expr::Interval(interval) => interval_us(interval)?,
        other => duration_us(&text(other)?)?,
    };
    if COMMIT_INTERVALS_US.contains(&us) { Ok(us) } else { Err("expected from '1 ms' to '30 s'".to_owned()) }
}

/// The name that a statement defines, folded.
pub(crate) fn name_of(syntax: &SinkSyntax) -> String {
    fold(&syntax.query.name)
}
