//! A stream: its columns, its event time, how its arrivals are judged and where they come from.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use asof_expression::sqlparser::ast::{DataType as SqlType, Expr, Ident, Interval, Spanned};
use asof_expression::sqlparser::tokenizer::Span;
use asof_expression::{Expression, Scope, fold, sql_type, type_name};

use crate::connector::Connector;
use crate::interval::interval_us;
use crate::kafka_feed::{KafkaFeed, MessageFormat, MetadataColumn, MetadataField};
use crate::options;
use crate::refusal::Refusal;
use crate::scalar::plan_condition;
use crate::stream_syntax::{ColumnSyntax, Declared, StreamSyntax, WatermarkSyntax};

/// A checked `CREATE STREAM`, or the versions of a checked `CREATE TABLE`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// Folded.
    pub name: String,
    /// In the order of the declaration. A derived stream that does not select its event time has it last, and no
    /// expression can name it there.
    pub columns: Vec<Column>,
    /// Indexes into `columns`, in the order of the PRIMARY KEY; empty without one.
    pub primary_key: Vec<usize>,
    /// Whether repeats of the key are duplicates; `NOT ENFORCED` only orders ties.
    pub primary_key_enforced: bool,
    /// Index of the WATERMARK column.
    pub time_column: usize,
    /// Allowed lateness.
    pub lateness_us: i64,
    /// How far an event may lie beyond its arrival.
    pub ahead_max_us: i64,
    /// How far apart in event time two events of one key are still duplicates.
    pub dedup_horizon_us: i64,
    /// After how long without arrivals a partition no longer holds the stream's watermark back.
    pub idle_timeout_us: i64,
    /// The unit of plain integers in TIMESTAMP columns; `None` is microseconds, and a file is checked for another one.
    pub timestamp_unit: Option<TimestampUnit>,
    /// Where events come from.
    pub connector: Connector,
    /// In the order of the declaration.
    pub checks: Vec<Check>,
}

/// A column of a stream or of a REQUEST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Folded.
    pub name: String,
    /// The Arrow type of the declared one.
    pub data_type: DataType,
    /// Declared so, or part of the PRIMARY KEY, or the WATERMARK column.
    pub not_null: bool,
}

/// A CHECK of a column: an event for which it is false, or fails, is rejected; NULL passes.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// The column it is declared at.
    pub column: String,
    /// BOOLEAN, over the stream's scope.
    pub expression: Expression,
    /// As SQL, for messages.
    pub text: String,
}

/// What a plain integer in a TIMESTAMP column counts from the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimestampUnit {
    /// `s`
    Second,
    /// `ms`
    Millisecond,
    /// `us`
    #[default]
    Microsecond,
    /// `ns`
    Nanosecond,
}

impl Stream {
    /// The columns as expressions name them: qualified by the stream's name or not.
    pub fn scope(&self) -> Scope {
        self.scope_as(&self.name)
    }

    /// The columns of used events that can be named, qualified by `alias`.
    pub(crate) fn scope_as(&self, alias: &str) -> Scope {
        let mut scope = Scope::new();
        for column in self.named_columns() {
            scope.push(Some(alias), &column.name, column.data_type.clone(), !column.not_null);
        }
        scope
    }

    /// All columns, those without a name that SQL can write too: only to be pointed at by index.
    pub(crate) fn whole_scope(&self) -> Scope {
        let mut scope = Scope::new();
        let columns = self.columns.iter();
        columns.for_each(|column| scope.push(None, &column.name, column.data_type.clone(), !column.not_null));
        scope
    }

    /// The Arrow schema of a batch of used events.
    pub fn schema(&self) -> SchemaRef {
        self.whole_scope().schema()
    }

    /// The index of a column by its folded name.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.named_columns().iter().position(|column| column.name == name)
    }

    /// What feeds its log, where that is a topic.
    pub fn feed(&self) -> Option<&Arc<KafkaFeed>> {
        match &self.connector {
            Connector::Log(log) => log.feed.as_ref(),
            Connector::File(_) | Connector::Derived(_) => None,
        }
    }

    /// The name of the WATERMARK column.
    pub fn time_column_name(&self) -> &str {
        &self.columns[self.time_column].name
    }

    /// Checks a declaration; as many refusals as can be told apart.
    pub(crate) fn check(syntax: &StreamSyntax) -> Result<Stream, Vec<Refusal>> {
        let mut refusals = Vec::new();
        let mut columns = check_columns(&syntax.columns, &mut refusals);
        let time = keep(check_watermark(syntax, &columns), &mut refusals);
        let primary_key = check_primary_key(syntax, &columns, &mut refusals);
        let mut options = options::check(syntax.declared, &syntax.options, &mut refusals);
        check_metadata(syntax, &columns, &mut options.connector, &mut refusals);
        let required = primary_key.iter().copied().chain(time.map(|(column, _)| column));
        required.for_each(|index| columns[index].not_null = true);
        if !refusals.is_empty() {
            // Conditions over broken columns would only repeat the refusals.
            return Err(refusals);
        }
        let (time_column, lateness_us) = time.expect("a missing watermark is a refusal");
        let mut stream = Stream {
            name: fold(&syntax.name),
            columns,
            primary_key,
            primary_key_enforced: syntax.primary_keys.first().is_none_or(|key| key.enforced),
            time_column,
            lateness_us,
            ahead_max_us: options.ahead_max_us,
            dedup_horizon_us: options.dedup_horizon_us,
            idle_timeout_us: options.idle_timeout_us,
            timestamp_unit: options.timestamp_unit,
            connector: options.connector,
            checks: Vec::new(),
        };
        stream.checks = check_conditions(syntax, &stream, &mut refusals);
        refusals.extend(mistyped_arrival(syntax, &stream));
        if refusals.is_empty() { Ok(stream) } else { Err(refusals) }
    }
}

/// Reads the columns `METADATA FROM` into the feed of a stream.
fn check_metadata(syntax: &StreamSyntax, columns: &[Column], connector: &mut Connector, refusals: &mut Vec<Refusal>) {
    for written in &syntax.columns {
        let Some((name, span)) = &written.metadata else { continue };
        let Some(column) = columns.iter().position(|column| column.name == fold(&written.name)) else { continue };
        let feed = match connector {
            Connector::Log(log) => log.feed.as_mut().map(Arc::make_mut),
            Connector::File(_) | Connector::Derived(_) => None,
        };
        let (own, data_type) = (&columns[column].name, &columns[column].data_type);
        let refusal = match (MetadataField::from_name(name), feed) {
            (None, _) => Refusal::new(*span, format!("column `{own}`: there is no METADATA '{name}'"))
                .did_you_mean(name, MetadataField::ALL.map(MetadataField::name)),
            (Some(_), None) => Refusal::new(*span, format!("column `{own}`: METADATA needs `connector = 'kafka'`")),
            (Some(field), Some(_)) if !field.takes(data_type) && *data_type != DataType::Null => {
                let message =
                    format!("column `{own}`: METADATA '{name}' is {}, found {}", field.types(), type_name(data_type));
                Refusal::new(written.type_span, message)
            }
            (Some(MetadataField::SourceTimestamp), Some(feed)) if feed.format != MessageFormat::DebeziumJson => {
                Refusal::new(*span, format!("column `{own}`: METADATA '{name}' needs format 'debezium-json'"))
            }
            (Some(field), Some(feed)) => {
                feed.metadata.push(MetadataColumn { column, field });
                continue;
            }
        };
        refusals.push(refusal);
    }
}

fn keep<T>(result: Result<T, Refusal>, refusals: &mut Vec<Refusal>) -> Option<T> {
    result.map_err(|refusal| refusals.push(refusal)).ok()
}

/// The type of a declared column; a refusal that names the column.
pub(crate) fn column_type(name: &Ident, written: &SqlType, span: Span) -> Result<DataType, Refusal> {
    sql_type(written).map_err(|error| {
        let refusal = Refusal::from(error);
        Refusal { span, message: format!("column `{}`: {}", fold(name), refusal.message), ..refusal }
    })
}

fn check_columns(written: &[ColumnSyntax], refusals: &mut Vec<Refusal>) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for column in written {
        let name = fold(&column.name);
        if columns.iter().any(|other| other.name == name) {
            refusals.push(Refusal::new(column.name.span, format!("duplicate column `{name}`")));
            continue;
        }
        // A column of a refused type stays known under a stand-in, so that nothing else calls it unknown.
        let data_type = keep(column_type(&column.name, &column.data_type, column.type_span), refusals);
        columns.push(Column { name, data_type: data_type.unwrap_or(DataType::Null), not_null: column.not_null });
    }
    columns
}

fn find(columns: &[Column], name: &Ident) -> Result<usize, Refusal> {
    let folded = fold(name);
    columns.iter().position(|column| column.name == folded).ok_or_else(|| {
        Refusal::new(name.span, format!("unknown column `{folded}`"))
            .did_you_mean(&folded, columns.iter().map(|column| column.name.as_str()))
    })
}

/// The time column and the allowed lateness.
fn check_watermark(syntax: &StreamSyntax, columns: &[Column]) -> Result<(usize, i64), Refusal> {
    let watermark = match &syntax.watermarks[..] {
        [] => {
            let message = format!("{} `{}` has no WATERMARK", syntax.declared.noun(), fold(&syntax.name));
            return Err(Refusal::new(syntax.name.span, message).hint(time_hint(syntax.declared)));
        }
        [watermark] => watermark,
        [_, second, ..] => {
            let message = format!("a {} has one WATERMARK", syntax.declared.noun());
            return Err(Refusal::new(second.column.span, message));
        }
    };
    let index = find(columns, &watermark.column)?;
    let column = &columns[index];
    match &column.data_type {
        DataType::Timestamp(TimeUnit::Microsecond, None) | DataType::Null => {}
        other => {
            let message =
                format!("the WATERMARK column `{}` must be a TIMESTAMP, found {}", column.name, type_name(other));
            return Err(Refusal::new(watermark.column.span, message).label(type_name(other)));
        }
    }
    Ok((index, lateness_us(watermark)?))
}

fn time_hint(declared: Declared) -> &'static str {
    match declared {
        Declared::Stream => "name its event time: WATERMARK FOR ts AS ts - INTERVAL '30' SECOND",
        Declared::Table => {
            "name when a version holds from: WATERMARK FOR updated_at AS updated_at - INTERVAL '1' MINUTE"
        }
    }
}

/// `ts` or `ts - INTERVAL …`.
fn lateness_us(watermark: &WatermarkSyntax) -> Result<i64, Refusal> {
    let time = fold(&watermark.column);
    let is_time = |expression: &Expr| matches!(expression, Expr::Identifier(ident) if fold(ident) == time);
    let form =
        |span| Refusal::new(span, format!("WATERMARK FOR {time} must be `{time}` or `{time} - INTERVAL '…' SECOND`"));
    match &watermark.expression {
        expression if is_time(expression) => Ok(0),
        Expr::BinaryOp { left, op, right } if is_time(left) && op.to_string() == "-" => match &**right {
            Expr::Interval(interval) => {
                lateness_of(interval, right.span()).map_err(|refusal| refusal.or_at(left.span()))
            }
            other => Err(form(other.span())),
        },
        other => Err(form(other.span())),
    }
}

fn lateness_of(interval: &Interval, span: Span) -> Result<i64, Refusal> {
    interval_us(interval).map_err(|message| Refusal::new(span, message))
}

fn check_primary_key(syntax: &StreamSyntax, columns: &[Column], refusals: &mut Vec<Refusal>) -> Vec<usize> {
    if let [_, second, ..] = &syntax.primary_keys[..] {
        refusals.push(Refusal::new(second.span, format!("a {} has one PRIMARY KEY", syntax.declared.noun())));
    }
    let mut indexes = Vec::new();
    for name in syntax.primary_keys.iter().take(1).flat_map(|key| &key.columns) {
        match find(columns, name) {
            Ok(index) if indexes.contains(&index) => {
                refusals.push(Refusal::new(name.span, format!("duplicate column `{}` in PRIMARY KEY", fold(name))));
            }
            Ok(index) => indexes.push(index),
            Err(refusal) => refusals.push(refusal),
        }
    }
    indexes
}

/// An arrival column that is declared must be a time; one that is not declared is the file's own affair.
fn mistyped_arrival(syntax: &StreamSyntax, stream: &Stream) -> Option<Refusal> {
    let Connector::File(file) = &stream.connector else {
        return None;
    };
    let name = file.arrival_column.as_ref()?;
    let column = stream.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))?;
    if matches!(column.data_type, DataType::Timestamp(_, _)) {
        return None;
    }
    let option = syntax.options.iter().find(|option| option.name == "arrival_column")?;
    let found = type_name(&column.data_type);
    Some(Refusal::new(option.value_span, format!("`arrival_column` must be a TIMESTAMP, found {found}")).label(found))
}

fn check_conditions(syntax: &StreamSyntax, stream: &Stream, refusals: &mut Vec<Refusal>) -> Vec<Check> {
    let scope = stream.scope();
    let mut checks = Vec::new();
    for (column, written) in
        syntax.columns.iter().flat_map(|column| column.checks.iter().map(move |check| (column, check)))
    {
        if let Some(expression) = keep(plan_condition(written, &scope, "CHECK"), refusals) {
            checks.push(Check { column: fold(&column.name), expression, text: written.to_string() });
        }
    }
    checks
}

impl TimestampUnit {
    /// The same unit in Arrow's types.
    pub fn arrow_unit(self) -> TimeUnit {
        match self {
            TimestampUnit::Second => TimeUnit::Second,
            TimestampUnit::Millisecond => TimeUnit::Millisecond,
            TimestampUnit::Microsecond => TimeUnit::Microsecond,
            TimestampUnit::Nanosecond => TimeUnit::Nanosecond,
        }
    }

    /// The option's text: `s`, `ms`, `us` or `ns`.
    pub fn name(self) -> &'static str {
        match self {
            TimestampUnit::Second => "s",
            TimestampUnit::Millisecond => "ms",
            TimestampUnit::Microsecond => "us",
            TimestampUnit::Nanosecond => "ns",
        }
    }

    /// The unit of that name.
    pub fn from_name(name: &str) -> Option<TimestampUnit> {
        [TimestampUnit::Second, TimestampUnit::Millisecond, TimestampUnit::Microsecond, TimestampUnit::Nanosecond]
            .into_iter()
            .find(|unit| unit.name() == name)
    }
}
