//! The options of `WITH (…)` of a stream or a table: typed, checked, none ignored.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use asof_expression::sqlparser::ast::{Expr, Value};

use crate::connector::{Ack, Connector, FileConnector, FileFormat, FileOrder, LogConnector, Rate, Retention};
use crate::interval::{duration_us, interval_us};
use crate::kafka_feed::{Framing, KafkaFeed, KafkaStart, LostMessages, MessageFormat};
use crate::refusal::Refusal;
use crate::size::size_bytes;
use crate::stream::TimestampUnit;
use crate::stream_syntax::{Declared, OptionSyntax};

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 24 * 60 * MINUTE_US;

/// Options of every stream, and but for `dedup_horizon` of every table.
const STREAM_OPTIONS: &[&str] = &["connector", "ahead_max", "dedup_horizon", "idle_timeout", "timestamp_unit"];
/// Options of `connector = 'file'`.
const FILE_OPTIONS: &[&str] = &["path", "format", "order", "follow", "arrival_column", "rate"];
/// Options of `connector = 'kafka'`, beside `format`.
const KAFKA_OPTIONS: &[&str] = &["topic", "start", "lost_messages", "framing", "schema_file", "message", "subject"];
/// Options of the embedded log.
const LOG_OPTIONS: &[&str] = &["ack", "retention", "retention_size"];
/// Options of tables alone; [`crate::Table`] reads them.
const TABLE_OPTIONS: &[&str] = &[DELETE_COLUMN];
/// Names the column that a delete marker has true.
pub(crate) const DELETE_COLUMN: &str = "delete_column";

/// The options with their defaults filled in.
pub(crate) struct Options {
    pub(crate) ahead_max_us: i64,
    pub(crate) dedup_horizon_us: i64,
    pub(crate) idle_timeout_us: i64,
    pub(crate) timestamp_unit: Option<TimestampUnit>,
    pub(crate) connector: Connector,
}

pub(crate) type Named<'a> = BTreeMap<&'a str, &'a OptionSyntax>;

/// Checks all options; every refusal is collected.
pub(crate) fn check(declared: Declared, written: &[OptionSyntax], refusals: &mut Vec<Refusal>) -> Options {
    let all = [STREAM_OPTIONS, FILE_OPTIONS, KAFKA_OPTIONS, LOG_OPTIONS, TABLE_OPTIONS];
    let named = by_name(written, &all, refusals);
    let mut take = Taker { declared, named: &named, refusals };
    match declared {
        Declared::Stream => refuse_options(&mut take, TABLE_OPTIONS, "is one of a table, and this is a stream"),
        Declared::Table => refuse_options_of_streams(&mut take),
    }
    Options {
        ahead_max_us: take.one("ahead_max", duration).unwrap_or(MINUTE_US),
        dedup_horizon_us: take.one("dedup_horizon", duration).unwrap_or(DAY_US),
        idle_timeout_us: take.one("idle_timeout", duration).unwrap_or(MINUTE_US),
        timestamp_unit: take.one("timestamp_unit", timestamp_unit),
        connector: connector(&mut take),
    }
}

/// The options as written, none unknown and none twice.
pub(crate) fn by_name<'a>(
    written: &'a [OptionSyntax],
    known: &[&[&'static str]],
    refusals: &mut Vec<Refusal>,
) -> Named<'a> {
    let mut named = Named::new();
    for option in written {
        let name = option.name.as_str();
        let all = known.iter().copied().flatten().copied();
        if !all.clone().any(|known| known == name) {
            refusals.push(Refusal::new(option.span, format!("unknown option `{name}`")).did_you_mean(name, all));
        } else if named.insert(name, option).is_some() {
            refusals.push(Refusal::new(option.span, format!("duplicate option `{name}`")));
        }
    }
    named
}

/// Reads options by name and collects what is wrong with their values.
pub(crate) struct Taker<'a, 'r> {
    pub(crate) declared: Declared,
    pub(crate) named: &'a Named<'a>,
    pub(crate) refusals: &'r mut Vec<Refusal>,
}

impl Taker<'_, '_> {
    pub(crate) fn one<T>(&mut self, name: &str, read: impl Fn(&Expr) -> Result<T, String>) -> Option<T> {
        let option = self.named.get(name)?;
        match read(&option.value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.refusals.push(Refusal::new(option.value_span, format!("option `{name}`: {message}")));
                None
            }
        }
    }
}

fn connector(take: &mut Taker) -> Connector {
    let Some(written) = take.named.get("connector") else {
        refuse_options(take, FILE_OPTIONS, "needs `connector = 'file'`");
        refuse_options(take, KAFKA_OPTIONS, "needs `connector = 'kafka'`");
        return Connector::Log(log(take, None));
    };
    match text(&written.value).as_deref() {
        Ok("file") => file(take),
        Ok("kafka") => kafka(take),
        Ok(other) => {
            let message = format!("unknown connector '{other}'");
            let refusal = Refusal::new(written.value_span, message).did_you_mean(other, ["file", "kafka"]);
            take.refusals.push(refusal.hint("use connector = 'file' or 'kafka', or no connector for the embedded log"));
            Connector::Log(LogConnector::default())
        }
        Err(message) => {
            take.refusals.push(Refusal::new(written.value_span, format!("option `connector`: {message}")));
            Connector::Log(LogConnector::default())
        }
    }
}

pub(crate) fn refuse_options(take: &mut Taker, names: &[&str], why: &str) {
    for name in names {
        if let Some(option) = take.named.get(name) {
            take.refusals.push(Refusal::new(option.span, format!("option `{name}` {why}")));
        }
    }
}

/// What would take versions away, or find repeats among them.
fn refuse_options_of_streams(take: &mut Taker) {
    let why = "is not one of a table: a key that comes again is the next version of its row";
    refuse_options(take, &["dedup_horizon"], why);
    let why = "is not one of a table: a row that does not change is in its log once, however old it is";
    refuse_options(take, &["retention", "retention_size"], why);
}

fn log(take: &mut Taker, feed: Option<KafkaFeed>) -> LogConnector {
    let retention = Retention { age_us: take.one("retention", age), bytes: take.one("retention_size", size) };
    let ack = match feed {
        Some(_) => take.one("ack", ack_of_topic).unwrap_or(Ack::Topic),
        None => take.one("ack", ack).unwrap_or(Ack::Durable),
    };
    LogConnector { ack, retention, feed: feed.map(Arc::new) }
}

fn kafka(take: &mut Taker) -> Connector {
    let of_files: Vec<&str> = FILE_OPTIONS.iter().copied().filter(|name| *name != "format").collect();
    refuse_options(take, &of_files, "is one of files, and this stream reads a topic");
    let topic = take.one("topic", topic);
    if !take.named.contains_key("topic") {
        let span = take.named["connector"].value_span;
        take.refusals.push(Refusal::new(span, "connector 'kafka' needs option `topic`").hint("topic = 'events'"));
    }
    let format = take.one("format", message_format).unwrap_or_default();
    let schema_file = take.one("schema_file", named);
    let framing = take.one("framing", framing).unwrap_or(match (format, &schema_file) {
        (MessageFormat::Avro | MessageFormat::Protobuf, None) => Framing::Registry,
        _ => Framing::Bare,
    });
    let feed = KafkaFeed {
        topic: topic.unwrap_or_default(),
        format,
        framing,
        schema_file,
        message: take.one("message", named),
        subject: take.one("subject", named),
        start: take.one("start", kafka_start).unwrap_or_default(),
        lost: take.one("lost_messages", lost_messages).unwrap_or_default(),
        // They stand at the columns.
        metadata: Vec::new(),
        // Of tables, which fill them in.
        delete_column: None,
        has_tombstones: false,
    };
    check_schemas(take, &feed);
    Connector::Log(log(take, Some(feed)))
}

/// What does not go together of how messages are read.
fn check_schemas(take: &mut Taker, feed: &KafkaFeed) {
    let format = feed.format.name();
    if feed.format == MessageFormat::DebeziumJson && take.declared == Declared::Stream {
        let span = take.named["format"].value_span;
        let refusal = Refusal::new(span, "format 'debezium-json' is one of tables: its messages change rows");
        take.refusals.push(refusal.hint("CREATE TABLE … (…, PRIMARY KEY (…)) WITH (…, delete_column = 'deleted')"));
    }
    if feed.format.is_json() {
        refuse_options(take, &["schema_file", "message", "subject"], "is one of format 'avro' or 'protobuf'");
        return;
    }
    if !feed.needs_registry() {
        let why = "is asked of a registry, and these messages are read by `schema_file` alone";
        refuse_options(take, &["subject"], why);
    }
    let span = take.named.get("framing").map(|option| option.value_span);
    if let (Framing::Bare, None, Some(span)) = (feed.framing, &feed.schema_file, span) {
        let message = format!("framing 'none' of format '{format}' needs option `schema_file`");
        take.refusals.push(Refusal::new(span, message).hint("schema_file = 'schemas/event.avsc'"));
    }
    let span = take.named.get("schema_file").map(|option| option.span);
    if let (MessageFormat::Protobuf, None, Some(span)) = (feed.format, &feed.message, span) {
        let refusal = Refusal::new(span, "option `schema_file` of format 'protobuf' needs option `message`");
        take.refusals.push(refusal.hint("a file may have several: message = 'shop.Order'"));
    }
    if let (MessageFormat::Avro, Framing::Bare, true) = (feed.format, feed.framing, feed.message.is_some()) {
        let why = "tells records apart by the schema that a registry has, and framing is 'none'";
        refuse_options(take, &["message"], why);
    }
}

fn file(take: &mut Taker) -> Connector {
    let why = format!("is one of the embedded log, and this {} reads a file", take.declared.noun());
    refuse_options(take, LOG_OPTIONS, &why);
    refuse_options(take, KAFKA_OPTIONS, "needs `connector = 'kafka'`");
    let path = take.one("path", path);
    if !take.named.contains_key("path") {
        let span = take.named["connector"].value_span;
        take.refusals.push(Refusal::new(span, "connector 'file' needs option `path`").hint("path = 'events.parquet'"));
    }
    let format = match take.named.contains_key("format") {
        true => take.one("format", file_format),
        false => path.as_deref().and_then(|path| format_of(path, take)),
    };
    let follow = take.one("follow", boolean).unwrap_or(false);
    let order = take.one("order", file_order);
    if let (true, Some(FileOrder::EventTime)) = (follow, order) {
        let span = take.named["order"].value_span;
        take.refusals.push(Refusal::new(span, "`follow = true` takes rows as they arrive: `order` must be 'file'"));
    }
    Connector::File(FileConnector {
        path: path.unwrap_or_default(),
        format: format.unwrap_or(FileFormat::Parquet),
        order: if follow { FileOrder::File } else { order.unwrap_or(FileOrder::EventTime) },
        follow,
        arrival_column: take.one("arrival_column", text),
        rate: take.one("rate", rate).unwrap_or(Rate::Max),
    })
}

/// The format by the file's ending, where `format` does not say.
fn format_of(path: &str, take: &mut Taker) -> Option<FileFormat> {
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending).to_lowercase();
    match FileFormat::from_name(&ending) {
        Some(format) => Some(format),
        None => {
            let span = take.named["path"].value_span;
            let message = format!("the format of `{path}` cannot be told from its ending");
            take.refusals.push(Refusal::new(span, message).hint("add format = 'parquet', 'jsonl' or 'csv'"));
            None
        }
    }
}

/// Text in single quotes.
pub(crate) fn text(value: &Expr) -> Result<String, String> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Ok(text.clone()),
            other => Err(format!("expected text in single quotes, found `{other}`")),
        },
        other => Err(format!("expected text in single quotes, found `{other}`")),
    }
}

fn path(value: &Expr) -> Result<String, String> {
    match text(value)? {
        path if path.trim().is_empty() => Err("the path is empty".to_owned()),
        path => Ok(path),
    }
}

fn boolean(value: &Expr) -> Result<bool, String> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::Boolean(value) => Ok(*value),
            Value::SingleQuotedString(text) if text == "true" => Ok(true),
            Value::SingleQuotedString(text) if text == "false" => Ok(false),
            other => Err(format!("expected true or false, found `{other}`")),
        },
        other => Err(format!("expected true or false, found `{other}`")),
    }
}

fn duration(value: &Expr) -> Result<i64, String> {
    match value {
        Expr::Interval(interval) => interval_us(interval),
        other => duration_us(&text(other)?),
    }
}

fn age(value: &Expr) -> Result<i64, String> {
    match duration(value)? {
        0 => Err("expected more than 0, for nothing would be kept".to_owned()),
        age_us => Ok(age_us),
    }
}

fn size(value: &Expr) -> Result<u64, String> {
    size_bytes(&text(value)?)
}

fn ack(value: &Expr) -> Result<Ack, String> {
    match text(value)?.as_str() {
        "durable" => Ok(Ack::Durable),
        "os" => Ok(Ack::Os),
        other => Err(format!("expected 'durable' or 'os', found '{other}'")),
    }
}

fn ack_of_topic(value: &Expr) -> Result<Ack, String> {
    match text(value)?.as_str() {
        "topic" => Ok(Ack::Topic),
        other => ack(value).map_err(|_| format!("expected 'topic', 'durable' or 'os', found '{other}'")),
    }
}

fn timestamp_unit(value: &Expr) -> Result<TimestampUnit, String> {
    let text = text(value)?;
    TimestampUnit::from_name(&text).ok_or_else(|| format!("expected 's', 'ms', 'us' or 'ns', found '{text}'"))
}

fn file_format(value: &Expr) -> Result<FileFormat, String> {
    let text = text(value)?;
    FileFormat::from_name(&text).ok_or_else(|| format!("expected 'parquet', 'jsonl' or 'csv', found '{text}'"))
}

/// By Kafka's own rule for names.
pub(crate) fn topic(value: &Expr) -> Result<String, String> {
    const LENGTH_MAX: usize = 249;
    let topic = text(value)?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    if topic.is_empty()
        || topic.len() > LENGTH_MAX
        || matches!(topic.as_str(), "." | "..")
        || !topic.chars().all(is_plain)
    {
        return Err(format!(
            "`{topic}` is no name of a topic: letters, digits, `.`, `_` and `-`, at most {LENGTH_MAX}"
        ));
    }
    Ok(topic)
}

fn message_format(value: &Expr) -> Result<MessageFormat, String> {
    let text = text(value)?;
    let known = MessageFormat::ALL.map(MessageFormat::name).join("', '");
    match text.as_str() {
        later @ ("debezium-avro" | "debezium-protobuf") => Err(format!("'{later}' is not supported yet")),
        name => MessageFormat::from_name(name).ok_or_else(|| format!("expected one of '{known}', found '{name}'")),
    }
}

fn framing(value: &Expr) -> Result<Framing, String> {
    let text = text(value)?;
    let found = Framing::ALL.into_iter().find(|framing| framing.name() == text);
    found.ok_or_else(|| format!("expected 'registry' or 'none', found '{text}'"))
}

/// A text that names something.
pub(crate) fn named(value: &Expr) -> Result<String, String> {
    let text = text(value)?;
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text) }
}

/// `earliest`, `latest`, or an instant.
fn kafka_start(value: &Expr) -> Result<KafkaStart, String> {
    let text = text(value)?;
    match text.as_str() {
        "earliest" => Ok(KafkaStart::Earliest),
        "latest" => Ok(KafkaStart::Latest),
        instant => match string_to_timestamp_nanos(instant) {
            // No message is older than 1970.
            Ok(ns) if ns <= 0 => Ok(KafkaStart::Earliest),
            Ok(ns) => Ok(KafkaStart::At(ns.div_euclid(1_000))),
            Err(_) => Err(format!("expected 'earliest', 'latest' or an instant in RFC 3339, found '{instant}'")),
        },
    }
}

fn lost_messages(value: &Expr) -> Result<LostMessages, String> {
    match text(value)?.as_str() {
        "stop" => Ok(LostMessages::Stop),
        "skip" => Ok(LostMessages::Skip),
        other => Err(format!("expected 'stop' or 'skip', found '{other}'")),
    }
}

fn file_order(value: &Expr) -> Result<FileOrder, String> {
    match text(value)?.as_str() {
        "event_time" => Ok(FileOrder::EventTime),
        "file" => Ok(FileOrder::File),
        other => Err(format!("expected 'event_time' or 'file', found '{other}'")),
    }
}

/// `max`, `1000x` (times real time) or `500/s`.
fn rate(value: &Expr) -> Result<Rate, String> {
    let text = text(value)?;
    let positive = |number: &str| number.parse::<f64>().ok().filter(|number| *number > 0.0 && number.is_finite());
    let parsed = match text.as_str() {
        "max" => Some(Rate::Max),
        text => match (text.strip_suffix('x'), text.strip_suffix("/s")) {
            (Some(number), _) => positive(number).map(Rate::TimesRealTime),
            (None, Some(number)) => positive(number).map(Rate::PerSecond),
            (None, None) => None,
        },
    };
    parsed.ok_or_else(|| format!("expected 'max', '1000x' (times real time) or '500/s', found '{text}'"))
}
