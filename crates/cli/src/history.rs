//! `asof history`: from raw arguments to a job, and its summary.

use std::time::Instant;

use asof_definition::{Project, UnknownObject};
use asof_history::{Job, Knowledge, OnError, Origin, Reason, RowsOf, SpineRows, Stop, StreamSummary, Summary, Target};
use serde_json::json;

use crate::arguments::{HistoryArguments, KnowledgeArgument, OnErrorArgument, OutputFormat};
use crate::failure::Failure;
use crate::progress_bar::Bars;
use crate::project_folder::ProjectFolder;
use crate::run::data_folder;
use crate::{accounts, memory, shell_words, told};

#[allow(clippy::disallowed_methods, reason = "the seconds of the summary; no value depends on them")]
pub(crate) fn run(arguments: &HistoryArguments) -> Result<(), Failure> {
    let began = Instant::now();
    let folder = ProjectFolder::load(&arguments.folder)?;
    told::warnings(&folder.project.warnings, &folder.sources);
    let job = job(arguments, &folder)?;
    stop_on_interrupt(&job)?;
    let bars = Bars::new();
    let result = asof_history::run(&job, &bars);
    bars.finish();
    let summary = result?;
    match arguments.format {
        OutputFormat::Text => {
            show(&job, &summary, began.elapsed().as_secs_f64());
            suggest(&job, &folder);
        }
        OutputFormat::Json => told::answer(&described(&job, &summary, began.elapsed().as_secs_f64()).to_string()),
    }
    Ok(())
}

fn job(arguments: &HistoryArguments, folder: &ProjectFolder) -> Result<Job, Failure> {
    let target = target(arguments, &folder.project)?;
    let rows = match &arguments.spine {
        Some(path) => RowsOf::Spine(SpineRows {
            path: path.clone(),
            time_column: arguments.time_column.clone(),
            time_unit: arguments.time_unit.map(Into::into),
            before: arguments.before,
        }),
        None => RowsOf::EveryEvent { keep: arguments.keep.clone() },
    };
    let limit = arguments.memory_limit.or(folder.configuration.memory_bytes);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Job {
        folder: arguments.folder.clone(),
        data_folder: data_folder(&arguments.folder, arguments.data_dir.as_deref(), &folder.configuration),
        target,
        rows,
        out: arguments.out.clone(),
        knowledge: match arguments.knowledge {
            KnowledgeArgument::EventTime => Knowledge::EventTime,
            KnowledgeArgument::AsServed => Knowledge::AsServed,
        },
        on_error: match arguments.on_error {
            OnErrorArgument::Fail => OnError::Fail,
            OnErrorArgument::Null => OnError::Null,
        },
        memory_limit_bytes: limit.unwrap_or_else(memory::default_limit_bytes),
        threads: arguments.threads.map_or(cores, usize::from),
        shards: None,
        stop: Stop::default(),
    })
}

/// The service or view asked for; the option for the other kind is suggested if that is what the name is.
fn target(arguments: &HistoryArguments, project: &Project) -> Result<Target, Failure> {
    match (&arguments.service, &arguments.view) {
        (Some(name), _) => match project.service(name) {
            Ok(service) => Ok(Target::Service(service.clone())),
            Err(error) => Err(unknown(&error, project.view(name).is_ok(), format!("use `--view {name}`"))),
        },
        (None, Some(name)) => match project.view(name) {
            Ok(view) => Ok(Target::View(view.clone())),
            Err(error) => Err(unknown(&error, project.service(name).is_ok(), format!("use `--service {name}`"))),
        },
        (None, None) => Err(Failure::input("name a `--service` or a `--view`")),
    }
}

fn unknown(error: &UnknownObject, is_other_kind: bool, instead: String) -> Failure {
    if is_other_kind { Failure::input_with_hint(error.to_string(), instead) } else { Failure::input(error.to_string()) }
}

/// Ctrl-C leaves no half-written output and no temporary files behind.
#[allow(clippy::disallowed_methods, reason = "a second Ctrl-C asks for an end at once, whatever stays behind")]
fn stop_on_interrupt(job: &Job) -> Result<(), Failure> {
    let stop = job.stop.clone();
    ctrlc::set_handler(move || {
        if stop.ask() {
            // Asked a second time: the user does not want to wait for the current batches.
            std::process::exit(2);
        }
    })
    .map_err(|error| Failure::Outside { message: format!("cannot listen for Ctrl-C: {error}") })
}

fn show(job: &Job, summary: &Summary, seconds: f64) {
    for stream in summary.streams.iter().chain(&summary.tables) {
        told::remark(&accounts::verdicts(&stream.name, &stream.accounting));
        for reason in &stream.reasons {
            told::remark(&first(stream.origin, reason));
        }
        for (view, count) in &stream.set_aside {
            told::remark(&format!("    {count} used events set aside for `{view}`"));
        }
        for column in &stream.absent_columns {
            told::remark(&accounts::absent_column(column));
        }
    }
    if summary.failed_values > 0 {
        let values = if summary.failed_values == 1 { "value" } else { "values" };
        told::remark(&format!("{} {values} failed, written as NULL (--on-error null)", summary.failed_values));
    }
    for warning in warnings(summary) {
        told::remark(&format!("warning: {warning}"));
    }
    told::answer(&format!(
        "{}: {} rows × {} features, {} knowledge, {seconds:.1} s",
        job.out.display(),
        summary.rows,
        summary.features,
        job.knowledge.name(),
    ));
}

/// The first event of a reason, where people find it: by its row in a file, by its offset in the log.
fn first(origin: Origin, reason: &Reason) -> String {
    match origin {
        Origin::File => accounts::first(&reason.name, reason.offset, &reason.detail),
        Origin::Log => format!("    {} first at offset {}: {}", reason.name, reason.offset, reason.detail),
    }
}

/// The job's warnings, and the streams of which nothing could be used.
fn warnings(summary: &Summary) -> Vec<String> {
    let unused = summary.streams.iter().filter(|stream| stream.accounting.used == 0);
    let unused = unused.map(|stream| accounts::nothing_used(&stream.name));
    summary.warnings.iter().cloned().chain(unused).collect()
}

/// Three things to try next, as commands that work as they stand.
fn suggest(job: &Job, folder: &ProjectFolder) {
    let Some(view) = folder.project.views.first() else { return };
    let (asof, dir) = (shell_words::program(), shell_words::quoted(&job.folder.display().to_string()));
    let (view, out) = (shell_words::quoted(&view.name), shell_words::quoted(&format!("{}_events.csv", view.name)));
    told::answer(&format!(
        "try next:\n  {asof} check {dir}\n  {asof} history {dir} --view {view} --every-event --out {out}\n  \
         head -n 3 {out}",
    ));
}

fn described(job: &Job, summary: &Summary, seconds: f64) -> serde_json::Value {
    let told = |stream: &StreamSummary| {
        let accounting = &stream.accounting;
        let first = match stream.origin {
            Origin::File => "first_row",
            Origin::Log => "first_offset",
        };
        let reasons = stream
            .reasons
            .iter()
            .map(|reason| json!({"name": reason.name, first: reason.offset, "detail": reason.detail}));
        let set_aside = stream.set_aside.iter().map(|(view, count)| json!({"view": view, "events": count}));
        json!({
            "name": stream.name,
            "in": accounting.total(),
            "used": accounting.used,
            "late": accounting.late,
            "duplicate": accounting.duplicate,
            "rejected": {
                "unreadable": accounting.unreadable, "not_null": accounting.not_null,
                "check": accounting.check, "future": accounting.future,
            },
            "reasons": reasons.collect::<Vec<_>>(),
            "set_aside": set_aside.collect::<Vec<_>>(),
            "absent_columns": stream.absent_columns,
        })
    };
    json!({
        "out": job.out.display().to_string(),
        "rows": summary.rows,
        "features": summary.features,
        "knowledge": job.knowledge.name(),
        "failed_values": summary.failed_values,
        "warnings": warnings(summary),
        "streams": summary.streams.iter().map(told).collect::<Vec<_>>(),
        "tables": summary.tables.iter().map(told).collect::<Vec<_>>(),
        "seconds": seconds,
    })
}
