//! How fast a project's files are taken in, and how fast single rows are read in process: beside that, and alone.
//!
//! ```text
//! cargo run --release --workspace --example replay_speed -- examples/flights [VIEW [READS]]
//! ```
//! Reads ask for entities that events were lately taken in for; each is timed alone.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "an example that measures and prints")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::array::ArrayRef;
use asof_definition::SourceFile;
use asof_pipeline::{Clock, Engine, EngineSettings, Job, Phase, Stop};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = PathBuf::from(arguments.first().expect("the project's folder"));
    let engine = Arc::new(engine(&folder));
    let stop = Arc::new(Stop::default());
    let began = Instant::now();
    let job =
        Job { folder, until_us: None, waiting_bytes_max: 2 << 30, threads: 2, kafka: None, lower_priority: || () };
    let running = std::thread::spawn({
        let (engine, stop) = (engine.clone(), stop.clone());
        move || asof_pipeline::run(&engine, &job, &stop)
    });
    let place = engine.project().views.iter().position(|view| arguments.get(1).is_some_and(|name| *name == view.name));
    let (mut read_at, mut taken_ns) = (Duration::ZERO, Vec::new());
    while engine.phase() != Phase::Done && !running.is_finished() {
        if engine.phase() == Phase::Reading {
            read_at = began.elapsed();
        }
        match place.and_then(|place| Some((place, engine.view_statistics(place).example_key?))) {
            Some((view, key)) => taken_ns.extend((0..20).map(|_| time_read(&engine, view, &key))),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    let seconds = (began.elapsed() - read_at).as_secs_f64();
    let rows: u64 = engine.published().streams.iter().map(|stream| stream.accounting.total()).sum();
    println!(
        "read in {:.2} s; {rows} rows in {seconds:.2} s: {:.0} rows/s",
        read_at.as_secs_f64(),
        rows as f64 / seconds
    );
    for (place, view) in engine.project().views.iter().enumerate() {
        println!("{:30} {:?}", view.name, engine.view_statistics(place).held);
    }
    if let Some(view) = place {
        tell("while taking in", taken_ns);
        let reads = arguments.get(2).map_or(100_000, |reads| reads.parse().expect("a number of reads"));
        let key = engine.view_statistics(view).example_key.expect("the view has events");
        tell("alone", (0..reads).map(|_| time_read(&engine, view, &key)).collect());
    }
    stop.ask();
    running.join().expect("no panic").expect("the replay goes well");
}

/// Nanoseconds of one read of one entity.
fn time_read(engine: &Engine, view: usize, key: &[ArrayRef]) -> u64 {
    let began = Instant::now();
    let reading = engine.reading();
    let answers = reading.view(view, key, 1, reading.now_us()).expect("an answer");
    assert_eq!(answers.known.len(), 1);
    began.elapsed().as_nanos() as u64
}

fn tell(when: &str, mut taken_ns: Vec<u64>) {
    taken_ns.sort_unstable();
    let at = |share: f64| taken_ns[((taken_ns.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    println!(
        "one entity, {when}: {} reads, p50 {:.1} µs, p99 {:.1} µs, p99.9 {:.1} µs",
        taken_ns.len(),
        at(0.5),
        at(0.99),
        at(0.999)
    );
}

fn engine(folder: &Path) -> Engine {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let text = std::fs::read_to_string(&path).expect("SQL");
            sources.push(SourceFile { name: path.display().to_string(), text });
        }
    }
    let project = asof_definition::check(&sources).expect("a sound project");
    let settings = EngineSettings { clock: Clock::Event, as_of_horizon_us: 3_600_000_000, state_bytes_max: usize::MAX };
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as i64;
    Engine::new(Arc::new(project), settings, Arc::new(clock)).expect("an engine")
}
