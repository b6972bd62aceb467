//! Raw arguments, as typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use asof_connect::TimeUnit;
use asof_pipeline::Clock;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::failure::Failure;

/// Features defined once in SQL, as of now and as of then.
#[derive(Debug, Parser)]
#[command(name = "asof", version, about, max_term_width = 120)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Parse and validate a project; list its objects and what they read.
    #[command(after_help = "Example:\n  asof check examples/flights")]
    Check(CheckArguments),
    /// Make a training set: the rows of a spine, or every event, with their features as of then.
    #[command(
        after_help = "Examples:\n  asof history examples/flights --service delay_v1 --spine examples/flights/spine.parquet --out training.parquet\n  asof history examples/flights --view origin_departures --every-event --out events.parquet"
    )]
    History(HistoryArguments),
    /// Run the project: take its streams in, and answer reads over HTTP until Ctrl-C.
    #[command(
        after_help = "Examples:\n  asof run examples/flights\n  asof run examples/flights --until 2013-07-01T00:00:00Z --listen 127.0.0.1:8080"
    )]
    Run(RunArguments),
    /// Read one feature vector from a running server.
    #[command(
        after_help = "Examples:\n  asof get origin_departures origin=JFK\n  asof get origin_departures origin=JFK --as-of 2014-01-01T05:00:00Z\n\nA value is read by the type of its column: `origin=JFK`, `distance=301`, `distance=null` where it is not known. For\nVARCHAR every text is a text, also an empty one and `null`; `origin:=null` is JSON, with any value."
    )]
    Get(GetArguments),
    /// Send a file of events to a running server, and tell what became of its rows.
    #[command(
        after_help = "Examples:\n  asof ingest payments payments.jsonl\n  asof ingest payments past.parquet --history --arrival-column received_at\n\nA command that was cut off is run again as it was: it goes on, and no row counts twice."
    )]
    Ingest(IngestArguments),
    /// Send the events that a stream has set aside once more, after its definition was mended.
    #[command(
        after_help = "Example:\n  asof replay-dead-letters payments --reason check\n\nA replayed event is never late. In features as of an event time it counts from its event time on, in what was served only\nfrom now on."
    )]
    ReplayDeadLetters(ReplayDeadLettersArguments),
    /// Tell which transactions of sinks hang, and end them.
    #[command(
        after_help = "Examples:\n  asof transactions cards\n  asof transactions cards --abort\n\nA server ends what its predecessor had open when it starts: --abort is for when none is to be started. It is refused while one\nhas the data folder."
    )]
    Transactions(TransactionsArguments),
    #[command(external_subcommand)]
    Later(Vec<String>),
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Arguments of `asof check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The project's folder.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// How to print the answer.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: OutputFormat,
}

/// Arguments of `asof history`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["service", "view"]))]
#[command(group = clap::ArgGroup::new("rows").required(true).args(["spine", "every_event"]))]
pub(crate) struct HistoryArguments {
    /// The project's folder.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// The feature service whose vector is computed.
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Option<String>,
    /// The feature view whose features are computed.
    #[arg(long, value_name = "VIEW")]
    pub(crate) view: Option<String>,
    /// The rows to compute features for: entity columns, an instant, a label. Parquet, CSV or JSONL by ending.
    #[arg(long, value_name = "FILE")]
    pub(crate) spine: Option<PathBuf>,
    /// Compute the view's features as of each used event that is in it.
    #[arg(long, requires = "view")]
    pub(crate) every_event: bool,
    /// With --every-event: further columns of the stream to keep.
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',', conflicts_with = "spine")]
    pub(crate) keep: Vec<String>,
    /// Where the rows go. Parquet, CSV or JSONL by ending.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The spine's column that holds the instants.
    #[arg(long, value_name = "COLUMN", default_value = "ts", conflicts_with = "every_event")]
    pub(crate) time_column: String,
    /// The unit of plain integers in it.
    #[arg(long, value_enum, value_name = "UNIT", conflicts_with = "every_event")]
    pub(crate) time_unit: Option<UnitArgument>,
    /// Every used event with event time up to the instant, or only what had arrived by then.
    #[arg(long, value_enum, default_value = "event-time")]
    pub(crate) knowledge: KnowledgeArgument,
    /// Read as of one microsecond earlier, for a decision that precedes its own event.
    #[arg(long, conflicts_with = "every_event")]
    pub(crate) before: bool,
    /// Where an expression fails on a row: stop with an error, or write NULL, count and go on.
    #[arg(long, value_enum, default_value = "fail")]
    pub(crate) on_error: OnErrorArgument,
    /// Where `asof run` stores the streams without a connector. Default: DIR/.asof.
    #[arg(long, value_name = "DATA")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Memory for data that waits, e.g. 2GiB; beyond it, data waits on disk. Default: half of what the machine has.
    #[arg(long, value_name = "SIZE", value_parser = crate::size::parse)]
    pub(crate) memory_limit: Option<usize>,
    /// Worker threads. Default: one for each core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
    /// How to print the summary.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: OutputFormat,
}

/// Arguments of `asof run`.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The project's folder.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Where to listen; port 0 takes a free one. Default: 127.0.0.1:6566.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = crate::listen_address::parse)]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the log, checkpoints and history of streams without a connector are stored. Default: DIR/.asof.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Take the data folder over from a writer that may still run: it can acknowledge nothing more.
    #[arg(long)]
    pub(crate) take_over: bool,
    /// What "now" is for reads. Default: event if all streams are files, else system.
    #[arg(long, value_enum)]
    pub(crate) clock: Option<ClockArgument>,
    /// Take in events up to this instant, then go on serving: RFC 3339 (without a zone UTC) or microseconds since 1970.
    #[arg(long, value_name = "INSTANT", value_parser = crate::instant::parse, allow_negative_numbers = true)]
    pub(crate) until: Option<i64>,
}

/// `--clock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClockArgument {
    /// The wall clock.
    System,
    /// The newest event time over all streams, which never goes back.
    Event,
}

/// Arguments of `asof get`.
#[derive(Debug, Args)]
pub(crate) struct GetArguments {
    /// The feature service, or a feature view.
    #[arg(value_name = "SERVICE")]
    pub(crate) name: String,
    /// The columns of the request, or the key of the view.
    #[arg(value_name = "COLUMN=VALUE")]
    pub(crate) values: Vec<String>,
    /// Where the server is.
    #[arg(long, default_value = "http://127.0.0.1:6566")]
    pub(crate) url: String,
    /// Read as of this instant instead of now: RFC 3339 (without a zone UTC) or microseconds since 1970.
    #[arg(long, value_name = "INSTANT", value_parser = crate::instant::parse, allow_negative_numbers = true)]
    pub(crate) as_of: Option<i64>,
    /// A table, or the server's answer as it is.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: OutputFormat,
}

/// Arguments of `asof ingest`.
#[derive(Debug, Args)]
pub(crate) struct IngestArguments {
    /// The stream: one without a connector.
    #[arg(value_name = "STREAM")]
    pub(crate) stream: String,
    /// The events, one a row. Columns are found by name.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where the server is.
    #[arg(long, default_value = "http://127.0.0.1:6566")]
    pub(crate) url: String,
    /// How the file is written. Default: by its ending.
    #[arg(long, value_enum)]
    pub(crate) format: Option<RowsFormat>,
    /// The past: sent in the order of event time, never late, arrived at its event times.
    #[arg(long)]
    pub(crate) history: bool,
    /// With --history: the column of the file that says when each event arrived.
    #[arg(long, value_name = "COLUMN", requires = "history")]
    pub(crate) arrival_column: Option<String>,
    /// Rows of a request, which is at most 4 MiB.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) rows_per_request: u32,
}

/// The format of a file of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowsFormat {
    /// Apache Parquet.
    Parquet,
    /// One JSON object a line. What cannot be read becomes a dead letter.
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
}

/// Arguments of `asof replay-dead-letters`.
#[derive(Debug, Args)]
pub(crate) struct ReplayDeadLettersArguments {
    /// The stream.
    #[arg(value_name = "STREAM")]
    pub(crate) stream: String,
    /// Where the server is.
    #[arg(long, default_value = "http://127.0.0.1:6566")]
    pub(crate) url: String,
    /// Only events that were set aside for this reason: unreadable, not_null, check, future or late.
    #[arg(long, value_name = "REASON")]
    pub(crate) reason: Option<String>,
    /// Only events from this offset on.
    #[arg(long, value_name = "OFFSET", default_value = "0")]
    pub(crate) from: u64,
}

/// Arguments of `asof transactions`.
#[derive(Debug, Args)]
pub(crate) struct TransactionsArguments {
    /// The project's folder.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Where the project is stored.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// End what the sinks of this data folder have open.
    #[arg(long)]
    pub(crate) abort: bool,
    /// How to print the answer.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: OutputFormat,
}

/// `--time-unit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UnitArgument {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

/// `--knowledge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KnowledgeArgument {
    /// Every used event with event time up to the instant.
    EventTime,
    /// Of these, what had arrived at the instant: what serving would have answered.
    AsServed,
}

/// `--on-error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnErrorArgument {
    /// Stop at the first failing row.
    Fail,
    /// Write NULL, count, go on.
    Null,
}

impl From<UnitArgument> for TimeUnit {
    fn from(unit: UnitArgument) -> TimeUnit {
        match unit {
            UnitArgument::S => TimeUnit::Second,
            UnitArgument::Ms => TimeUnit::Millisecond,
            UnitArgument::Us => TimeUnit::Microsecond,
            UnitArgument::Ns => TimeUnit::Nanosecond,
        }
    }
}

impl From<ClockArgument> for Clock {
    fn from(clock: ClockArgument) -> Clock {
        match clock {
            ClockArgument::System => Clock::System,
            ClockArgument::Event => Clock::Event,
        }
    }
}

/// Commands of the contract that come with a later release.
const LATER: &[&str] = &["plan", "apply", "replay", "audit", "backtest", "explain", "bench", "sql", "export"];

/// Commands that a mistyped one may mean.
const COMMANDS: &[&str] = &["check", "history", "run", "get", "ingest", "replay-dead-letters", "help"];

/// The refusal of a command that is not there.
pub(crate) fn refuse(words: &[String]) -> Failure {
    let name = words.first().map_or("", String::as_str);
    if LATER.contains(&name) {
        return Failure::input_with_hint(
            format!("`asof {name}` is not supported yet"),
            "`asof --help` lists the commands of this release",
        );
    }
    let hint = match asof_expression::nearest(name, COMMANDS.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`asof --help` lists the commands".to_owned(),
    };
    Failure::input_with_hint(format!("unknown command `{name}`"), hint)
}
