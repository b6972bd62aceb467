//! `asof run`: from raw arguments to a running job and its server, until Ctrl-C.
//!
//! Three threads, one [`Stop`]: the pipeline takes events in, the server answers, and this one watches. Whichever ends asks
//! the others to end too, so that an error of one is the error of the command.
//!
//! The port is bound before files are read: a taken port is told at once, and `/readyz` says "not yet" from the beginning.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, SystemTime};

use asof_connect::KafkaSettings;
use asof_definition::{Connector, Project};
use asof_disk::FolderDisk;
use asof_log::TakeOver;
use asof_pipeline::{Clock, Engine, EngineSettings, Job, Stop, Storage, StorageSettings};
use asof_server::{Limits, Server};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

use crate::arguments::RunArguments;
use crate::configuration::Configuration;
use crate::failure::Failure;
use crate::project_folder::ProjectFolder;
use crate::screen::Screen;
use crate::watch::{Urls, Watch};
use crate::{check, kafka_settings, listen_address, logs, memory, told};

/// `[state] as_of_horizon` where nothing is said.
const AS_OF_HORIZON: Duration = Duration::from_secs(3_600);
/// Rows that wait to be brought into order take this part of what the views may hold.
const WAITING_PART: usize = 4;

/// What the arguments and the configuration come to.
#[derive(Debug)]
struct Plan {
    listen: SocketAddr,
    limits: Limits,
    settings: EngineSettings,
    job: Job,
    data_folder: PathBuf,
    take_over: TakeOver,
    storage: StorageSettings,
}

pub(crate) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let folder = ProjectFolder::load(&arguments.folder)?;
    check_storage_arguments(arguments, &folder.project)?;
    told::warnings(&folder.project.warnings, &folder.sources);
    let mut plan = Plan::new(arguments, &folder);
    plan.job.kafka = kafka(&arguments.folder, &folder)?;
    let screen = Screen::new();
    logs::start(&screen)?;
    let server = Server::bind(plan.listen)?;
    let storage = open_storage(&folder.project, &plan)?;
    let engine = Engine::with_storage(Arc::new(folder.project), plan.settings, Arc::new(wall_clock_us), storage)?;
    let engine = Arc::new(engine);
    let stop = Arc::new(Stop::default());
    let is_interrupted = stop_on_interrupt(&stop)?;
    told::remark(&format!("{}: {}", arguments.folder.display(), check::contents(engine.project())));
    tell_where(&plan, &server);
    serve(server, &engine, &plan, &screen, Ending { stop: &stop, is_interrupted: &is_interrupted })
}

/// How a run ends.
#[derive(Debug, Clone, Copy)]
struct Ending<'s> {
    stop: &'s Stop,
    /// By Ctrl-C or a signal.
    is_interrupted: &'s AtomicBool,
}

impl Plan {
    fn new(arguments: &RunArguments, folder: &ProjectFolder) -> Plan {
        let configuration = &folder.configuration;
        let state_bytes_max = configuration.memory_bytes.unwrap_or_else(memory::default_limit_bytes);
        let horizon = configuration.as_of_horizon.unwrap_or(AS_OF_HORIZON);
        Plan {
            listen: arguments.listen.or(configuration.listen).unwrap_or(listen_address::DEFAULT),
            limits: configuration.limits,
            settings: EngineSettings {
                clock: arguments.clock.map_or_else(|| default_clock(&folder.project), Clock::from),
                as_of_horizon_us: i64::try_from(horizon.as_micros()).expect("a duration is at most a hundred years"),
                state_bytes_max,
            },
            job: Job {
                folder: arguments.folder.clone(),
                until_us: arguments.until,
                waiting_bytes_max: state_bytes_max / WAITING_PART,
                threads: thread::available_parallelism().map_or(1, usize::from),
                kafka: None,
                lower_priority,
            },
            data_folder: data_folder(&arguments.folder, arguments.data_dir.as_deref(), configuration),
            take_over: if arguments.take_over { TakeOver::TakeOver } else { TakeOver::Refuse },
            storage: storage_settings(configuration),
        }
    }
}

/// Where a project is stored: as the command line says, else as its configuration does, else beside its SQL.
pub(crate) fn data_folder(folder: &Path, argument: Option<&Path>, configuration: &Configuration) -> PathBuf {
    let configured = configuration.data_folder.as_ref().map(|data| folder.join(data));
    argument.map(Path::to_owned).or(configured).unwrap_or_else(|| folder.join(".asof"))
}

fn storage_settings(configuration: &Configuration) -> StorageSettings {
    let default = StorageSettings::default();
    StorageSettings {
        segment_bytes: configuration.segment_bytes.map_or(default.segment_bytes, |bytes| bytes as u64),
        checkpoint_every: configuration.checkpoint_every.unwrap_or(default.checkpoint_every),
        ..default
    }
}

/// An option that would be ignored is refused.
fn check_storage_arguments(arguments: &RunArguments, project: &Project) -> Result<(), Failure> {
    let given = [("--data-dir", arguments.data_dir.is_some()), ("--take-over", arguments.take_over)];
    match given.iter().find(|(_, is_given)| *is_given && !is_stored(project)) {
        Some((option, _)) => Err(Failure::input_with_hint(
            format!("`{option}` has no use here: every stream of the project reads a file, and nothing is stored"),
            "leave it out",
        )),
        None => Ok(()),
    }
}

/// The cluster, where some stream reads a topic or a sink writes one.
pub(crate) fn kafka(path: &Path, folder: &ProjectFolder) -> Result<Option<KafkaSettings>, Failure> {
    let settings = &folder.configuration.kafka;
    let tables = folder.project.tables.iter().map(|table| ("table", &table.versions));
    let arriving = folder.project.streams.iter().map(|stream| ("stream", stream)).chain(tables);
    let fed = arriving
        .filter_map(|(kind, stream)| Some(format!("{kind} `{}` reads topic `{}`", stream.name, stream.feed()?.topic)));
    let sinks = folder.project.sinks.iter();
    let written = sinks.map(|sink| {
        let kind = if sink.is_declared() { "sink" } else { "stream" };
        format!("{kind} `{}` writes topic `{}`", sink.name, sink.topic)
    });
    let mut words = fed.chain(written);
    match words.next() {
        Some(words) if settings.brokers.is_empty() => Err(Failure::input_with_hint(
            format!("{words}, and `asof.toml` names no brokers"),
            "write [kafka] and below it brokers = \"127.0.0.1:9092\"",
        )),
        Some(_) => {
            let resolved = kafka_settings::resolved(settings, path);
            Ok(Some(resolved.map_err(Failure::input)?))
        }
        None => Ok(None),
    }
}

fn is_stored(project: &Project) -> bool {
    connectors(project).any(|connector| matches!(connector, Connector::Log(_)))
}

/// Where the events of streams and the versions of tables come from.
fn connectors(project: &Project) -> impl Iterator<Item = &Connector> {
    let tables = project.tables.iter().map(|table| &table.versions);
    project.streams.iter().chain(tables).map(|stream| &stream.connector)
}

/// The data folder, claimed, where some stream is stored.
fn open_storage(project: &Project, plan: &Plan) -> Result<Option<Storage>, Failure> {
    if !is_stored(project) {
        return Ok(None);
    }
    let disk = Arc::new(FolderDisk);
    let storage = Storage::open(disk, &plan.data_folder, plan.take_over, plan.storage, &mut draw)?;
    told::remark(&format!("data in {}, generation {}", plan.data_folder.display(), storage.generation()));
    Ok(Some(storage))
}

/// Chance, of the operating system: the one place where it is drawn.
pub(crate) fn draw(bytes: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(bytes).map_err(Into::into)
}

/// Files are history and replayed in their own time; the log lives in ours.
fn default_clock(project: &Project) -> Clock {
    let are_files = connectors(project).all(|connector| matches!(connector, Connector::File(_)));
    if are_files { Clock::Event } else { Clock::System }
}

fn tell_where(plan: &Plan, server: &Server) {
    let address = server.address();
    let clock = match plan.settings.clock {
        Clock::Event => "event (now is the newest event time)",
        Clock::System => "system (now is the wall clock)",
    };
    told::remark(&format!("listening on {}/, clock: {clock}", listen_address::url(address)));
    match server.page_address() {
        Some(page) if page == address => {}
        Some(page) => told::remark(&format!(
            "page at {}/, since browsers refuse to open port {}",
            listen_address::url(page),
            address.port()
        )),
        None => {
            told::remark(&format!("warning: no page: browsers refuse port {}, and no other is free", address.port()))
        }
    }
    if !address.ip().is_loopback() {
        told::remark(&format!("warning: whoever reaches {address} can read: there are no keys or passwords yet"));
    }
}

/// Runs until stopped. The error of the pipeline goes before that of the server, which may follow from it.
fn serve(
    server: Server,
    engine: &Arc<Engine>,
    plan: &Plan,
    screen: &Screen,
    ending: Ending<'_>,
) -> Result<(), Failure> {
    let stop = ending.stop;
    let traffic = server.traffic();
    let url = listen_address::url(server.address());
    let page_url = server.page_address().map(listen_address::url);
    thread::scope(|scope| {
        let pipeline = scope.spawn(|| {
            let _others_end_too = AskAtEnd(stop);
            asof_pipeline::run(engine, &plan.job, stop)
        });
        let serving = scope.spawn(|| {
            let _others_end_too = AskAtEnd(stop);
            server.serve(engine.clone(), plan.limits, stop)
        });
        {
            let _others_end_too = AskAtEnd(stop);
            Watch::new(engine, &traffic, screen, Urls { server: &url, page: page_url.as_deref() }).follow(stop);
            if ending.is_interrupted.load(Ordering::Relaxed) {
                screen.remark("stopping: requests in flight are answered; Ctrl-C again ends at once");
            }
        }
        let (pipeline, serving) = (joined(pipeline, "the pipeline"), joined(serving, "the server"));
        pipeline??;
        serving??;
        Ok(())
    })
}

/// Asks for a stop when its thread ends, also by a panic: no thread waits for one that is gone.
struct AskAtEnd<'s>(&'s Stop);

impl Drop for AskAtEnd<'_> {
    fn drop(&mut self) {
        self.0.ask();
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>, name: &str) -> Result<T, Failure> {
    // The panic has told its message when it happened.
    thread.join().map_err(|_| Failure::outside(format!("internal: {name} panicked")))
}

/// Ctrl-C, or the signal that a container is stopped with, lets requests in flight be answered.
#[allow(clippy::disallowed_methods, reason = "a second Ctrl-C asks for an end at once, whatever stays behind")]
fn stop_on_interrupt(stop: &Arc<Stop>) -> Result<Arc<AtomicBool>, Failure> {
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let (stop, interrupted) = (stop.clone(), is_interrupted.clone());
    ctrlc::set_handler(move || {
        if stop.is_asked() {
            std::process::exit(2);
        }
        interrupted.store(true, Ordering::Relaxed);
        stop.ask();
    })
    .map_err(|error| Failure::outside(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(is_interrupted)
}

/// Lowers the priority of this thread: on a busy machine, readers and producers go first. As `nice 9` does.
fn lower_priority() {
    const PRIORITY: u8 = 25; // of 0 to 99, where 50 is normal
    let priority = ThreadPriorityValue::try_from(PRIORITY).expect("25 is a priority");
    if let Err(error) = thread_priority::set_current_thread_priority(ThreadPriority::Crossplatform(priority)) {
        tracing::debug!(?error, "cannot lower the priority of a thread");
    }
}

/// Microseconds since 1970; before it, negative.
#[allow(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
fn wall_clock_us() -> i64 {
    let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => us(since),
        Err(before) => -us(before.duration()),
    }
}
