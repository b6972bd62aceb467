//! `asof run`: from raw arguments to a running job and its server, until Ctrl-C.
//!
//! Three threads, one [`Stop`]: the pipeline takes events in, the server answers, and this one watches. Whichever ends asks
//! the others to end too, so that an error of one is the error of the command.
//!
//! The port is bound before files are read: a taken port is told at once, and `/readyz` says "not yet" from the beginning.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, SystemTime};

use asof_definition::{Connector, Project};
use asof_pipeline::{Clock, Engine, EngineSettings, Job, Stop};
use asof_server::{Limits, Server};

use crate::arguments::RunArguments;
use crate::failure::Failure;
use crate::project_folder::ProjectFolder;
use crate::screen::Screen;
use crate::watch::{Urls, Watch};
use crate::{check, listen_address, logs, memory, told};

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
}

pub(crate) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    if arguments.data_dir.is_some() {
        return Err(Failure::input_with_hint(
            "`--data-dir` is not supported yet: nothing is stored until the durable log comes",
            "leave it out: state is read from the files again at each start",
        ));
    }
    let folder = ProjectFolder::load(&arguments.folder)?;
    told::warnings(&folder.project.warnings, &folder.sources);
    let plan = Plan::new(arguments, &folder);
    let screen = Screen::new();
    logs::start(&screen)?;
    let server = Server::bind(plan.listen)?;
    let engine = Arc::new(Engine::new(Arc::new(folder.project), plan.settings, Arc::new(wall_clock_us))?);
    let stop = Arc::new(Stop::default());
    stop_on_interrupt(&stop, &screen)?;
    told::remark(&format!("{}: {}", arguments.folder.display(), check::contents(engine.project())));
    tell_where(&plan, &server);
    serve(server, &engine, &plan, &screen, &stop)
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
            },
        }
    }
}

/// Files are history and replayed in their own time; the log lives in ours.
fn default_clock(project: &Project) -> Clock {
    let is_file = |connector: &Connector| matches!(connector, Connector::File(_));
    if project.streams.iter().all(|stream| is_file(&stream.connector)) { Clock::Event } else { Clock::System }
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
fn serve(server: Server, engine: &Arc<Engine>, plan: &Plan, screen: &Screen, stop: &Stop) -> Result<(), Failure> {
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
fn stop_on_interrupt(stop: &Arc<Stop>, screen: &Screen) -> Result<(), Failure> {
    let (stop, screen) = (stop.clone(), screen.clone());
    ctrlc::set_handler(move || {
        if stop.is_asked() {
            std::process::exit(2);
        }
        // First, since the remark may wait for whoever reads standard error.
        stop.ask();
        screen.remark("stopping: requests in flight are answered; Ctrl-C again ends at once");
    })
    .map_err(|error| Failure::outside(format!("cannot listen for Ctrl-C: {error}")))
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
