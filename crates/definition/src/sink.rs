//! `CREATE SINK`: rows of a stream, or entries of a feature view, that are written to a topic.
//!
//! A sink reads the logs in which the rows of its SELECT arise, or the events of its view, and is nobody's source.

use std::sync::Arc;

use arrow::datatypes::DataType;
use asof_expression::sqlparser::ast::{Expr, Ident};
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{fold, type_name};

use crate::connector::Connector;
use crate::entries::Entries;
use crate::interval::{duration_us, interval_us};
use crate::kafka_feed::{MessageFormat, subject_of};
use crate::options::{Taker, by_name, named, refuse_options, text, topic};
use crate::refusal::Refusal;
use crate::registry::Relations;
use crate::statement::QuerySyntax;
use crate::stream::{Column, Stream};
use crate::stream_syntax::{Declared, OptionSyntax};
use crate::view::FeatureView;
use crate::window_function::WindowFunction;

/// Options of a sink.
const OPTIONS: &[&str] = &["connector", "topic", "format", "delivery", "key", "commit_interval", "subject"];
const EXAMPLE: &str = "WITH (connector = 'kafka', topic = 'enriched')";
/// What a derived stream is called that is kept in a topic.
const STREAM: &str = "a derived stream with options";
/// The default of `commit_interval`.
const COMMIT_INTERVAL_US: i64 = 100_000;
/// The least and the most that it may be.
const COMMIT_INTERVALS_US: std::ops::RangeInclusive<i64> = 1_000..=30_000_000;

/// A checked `CREATE SINK`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sink {
    /// Folded.
    pub name: String,
    /// What is written.
    pub of: SinkOf,
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

/// What a sink writes.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkOf {
    /// Each row of a SELECT, which is a derived stream of the sink's name that nobody reads.
    Rows(Arc<Stream>),
    /// Each row of a derived stream of that name, which is kept in the topic and may be read as any other.
    Stream(Arc<Stream>),
    /// What each entity of a feature view is now, whenever that is something else.
    Entries(Entries),
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
    /// The subject under which a registry gets the schema of the rows: `alerts-value`, unless the sink says otherwise.
    pub fn subject(&self) -> String {
        self.subject.clone().unwrap_or_else(|| subject_of(&self.topic))
    }

    /// The columns of a message.
    pub fn columns(&self) -> &[Column] {
        match &self.of {
            SinkOf::Rows(rows) | SinkOf::Stream(rows) => rows.named_columns(),
            SinkOf::Entries(entries) => &entries.columns,
        }
    }

    /// Its rows, if it is not of a view.
    pub fn rows(&self) -> Option<&Arc<Stream>> {
        match &self.of {
            SinkOf::Rows(rows) | SinkOf::Stream(rows) => Some(rows),
            SinkOf::Entries(_) => None,
        }
    }

    /// Whether it was declared as a sink, and is not the topic of a derived stream.
    pub fn is_declared(&self) -> bool {
        !matches!(self.of, SinkOf::Stream(_))
    }

    /// The names in its FROM, and of what its rows are joined and scored with, each once.
    pub fn reads(&self) -> Vec<String> {
        match &self.of {
            SinkOf::Rows(rows) | SinkOf::Stream(rows) => rows.reads(),
            SinkOf::Entries(entries) => vec![entries.view.name.clone()],
        }
    }

    /// The streams whose logs it reads, each once.
    pub fn sources(&self) -> Vec<Arc<Stream>> {
        self.of.stream().sources()
    }

    /// Checks a declaration; as many refusals as can be told apart. `view_of` a name says which feature view it is, if it is one.
    pub(crate) fn check(
        syntax: &SinkSyntax,
        relations: Relations<'_>,
        view_of: impl Fn(&Ident) -> Option<Result<Arc<FeatureView>, Refusal>>,
    ) -> Result<Sink, Vec<Refusal>> {
        let query = &syntax.query;
        let of = match Entries::relation(query).and_then(|relation| view_of(&relation)) {
            None => match query.window_functions.first() {
                Some(function) => Err(vec![window_refusal(function)]),
                None => Stream::derive(query, relations).map(|rows| SinkOf::Rows(Arc::new(rows))),
            },
            Some(Ok(view)) => Entries::check(query, view).map(SinkOf::Entries),
            Some(Err(refusal)) => Err(vec![refusal]),
        };
        Sink::of(of, &query.name, &syntax.options)
    }

    /// Checks the options of a derived stream that is kept in a topic.
    pub(crate) fn of_stream(stream: Arc<Stream>, name: &Ident, options: &[OptionSyntax]) -> Result<Sink, Vec<Refusal>> {
        Sink::of(Ok(SinkOf::Stream(stream)), name, options)
    }

    fn of(of: Result<SinkOf, Vec<Refusal>>, name: &Ident, options: &[OptionSyntax]) -> Result<Sink, Vec<Refusal>> {
        let mut refusals = Vec::new();
        let of = of.map_err(|own| refusals.extend(own)).ok();
        let options = by_name(options, &[OPTIONS], &mut refusals);
        let mut take = Taker { declared: Declared::Stream, named: &options, refusals: &mut refusals };
        let noun = of.as_ref().map_or("a sink", SinkOf::noun);
        check_connector(&mut take, noun, name.span);
        let topic = take.one("topic", topic);
        let format = take.one("format", format).unwrap_or_default();
        let subject = take.one("subject", named);
        if format == MessageFormat::Json {
            refuse_options(&mut take, &["subject"], "is one of format 'avro'");
        }
        let delivery = take.one("delivery", delivery).unwrap_or_default();
        let commit_interval_us = take.one("commit_interval", commit_interval).unwrap_or(COMMIT_INTERVAL_US);
        if matches!(of, Some(SinkOf::Entries(_))) {
            let why = "is not one of a sink of a feature view: the key of an entry is its entity's";
            refuse_options(&mut take, &["key"], why);
        }
        let key = take.one("key", text);
        if !options.contains_key("topic") {
            refusals.push(Refusal::new(name.span, format!("{noun} needs option `topic`")).hint(EXAMPLE));
        }
        let Some(of) = of else { return Err(refusals) };
        refusals.extend(joined(&of, name.span).or_else(|| reads_file(&of, name.span)));
        let key = match (&of, key) {
            (SinkOf::Entries(entries), _) => entries.key(),
            (SinkOf::Rows(rows) | SinkOf::Stream(rows), Some(written)) => {
                key_columns(rows, &written, options["key"], &mut refusals)
            }
            (SinkOf::Rows(rows) | SinkOf::Stream(rows), None) => primary_key(rows),
        };
        refusals.extend(topic.as_deref().and_then(|topic| circle(&of, topic, options["topic"])));
        let sink = Sink {
            name: fold(name),
            of,
            topic: topic.unwrap_or_default(),
            format,
            subject,
            delivery,
            key,
            commit_interval_us,
        };
        if format == MessageFormat::Avro {
            refusals.extend(no_record(&sink, name.span));
        }
        if refusals.is_empty() { Ok(sink) } else { Err(refusals) }
    }
}

impl SinkOf {
    /// What its declaration is called.
    fn noun(&self) -> &'static str {
        match self {
            SinkOf::Rows(_) | SinkOf::Entries(_) => "a sink",
            SinkOf::Stream(_) => STREAM,
        }
    }

    /// Whose rows come to it, as they are or as events of a view.
    fn stream(&self) -> &Arc<Stream> {
        match self {
            SinkOf::Rows(rows) | SinkOf::Stream(rows) => rows,
            SinkOf::Entries(entries) => &entries.view.stream,
        }
    }
}

fn check_connector(take: &mut Taker<'_, '_>, noun: &str, name: Span) {
    let Some(written) = take.named.get("connector").copied() else {
        let hint = format!("{EXAMPLE}; it has no events of its own: other options are its sources'");
        let refusal = Refusal::new(name, format!("{noun} needs option `connector`"));
        return take.refusals.push(refusal.hint(if noun == STREAM { &hint } else { EXAMPLE }));
    };
    let refusal = match text(&written.value).as_deref() {
        Ok("kafka") => return,
        Ok(later @ ("slack" | "webhook" | "email" | "pagerduty")) => {
            format!("{noun} of connector '{later}' is not supported yet")
        }
        Ok(other) => format!("unknown connector '{other}' of {noun}"),
        Err(message) => format!("option `connector`: {message}"),
    };
    take.refusals
        .push(Refusal::new(written.value_span, refusal).hint("rows are written to a topic: connector = 'kafka'"));
}

fn window_refusal(function: &WindowFunction) -> Refusal {
    let message = format!("the group window {} in a sink is not supported", function.kind.name());
    Refusal::new(function.span, message).hint("make a derived stream of the window; the sink reads that")
}

/// Rows that no log has, because a version that comes late changes them.
fn joined(of: &SinkOf, name: Span) -> Option<Refusal> {
    let (rows, hint) = match of {
        SinkOf::Rows(rows) => (rows, "join the table behind the topic, or to the windows of a derived stream"),
        SinkOf::Stream(rows) => (rows, "leave the options out, and join the table behind the topic"),
        SinkOf::Entries(_) => return None,
    };
    let table = rows.tables().into_iter().next().filter(|_| rows.window().is_none())?;
    let message = format!("{} of rows that are joined with table `{}` is not supported yet", of.noun(), table.name());
    Some(Refusal::new(name, message).hint(hint))
}

/// A file has no log, and nothing remembers how far it is written.
fn reads_file(of: &SinkOf, name: Span) -> Option<Refusal> {
    let rows = of.stream();
    let of_sources = |stream: &Arc<Stream>| if stream.makes_rows() { stream.origins() } else { Vec::new() };
    let sources = rows.sources();
    let all: Vec<Arc<Stream>> = sources.iter().cloned().chain(sources.iter().flat_map(of_sources)).collect();
    let file = all.iter().find(|stream| matches!(stream.connector, Connector::File(_)))?;
    let message = format!("{} of `{}`, which reads a file, is not supported yet", of.noun(), file.name);
    let hint = format!("declare `{0}` without the connector, and store its rows by `asof ingest {0} FILE`", file.name);
    Some(Refusal::new(name, message).hint(hint))
}

/// Why rows cannot go to this topic, if it is where they come from: each of them would come again, for ever.
fn circle(of: &SinkOf, topic: &str, option: &OptionSyntax) -> Option<Refusal> {
    let origins = of.stream().origins();
    let read = origins.iter().find(|origin| origin.feed().is_some_and(|feed| feed.topic == topic))?;
    let message = format!("it writes to the topic that `{}` reads: its rows would come again, for ever", read.name);
    Some(Refusal::new(option.value_span, message).hint("write them to another topic"))
}

fn key_columns(rows: &Stream, written: &str, option: &OptionSyntax, refusals: &mut Vec<Refusal>) -> Vec<usize> {
    let column = |name: &str| match rows.column_index(name.trim()) {
        Some(column) => Ok(column),
        None => {
            let known = rows.named_columns().iter().map(|column| column.name.as_str());
            let message = format!("option `key`: there is no column `{}`", name.trim());
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
fn no_record(sink: &Sink, place: Span) -> Option<Refusal> {
    let is_name = |name: &str| {
        let is_letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
        name.starts_with(is_letter) && name.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit())
    };
    let columns = sink.columns();
    let mut names = std::iter::once(&sink.name).chain(columns.iter().map(|column| &column.name));
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
