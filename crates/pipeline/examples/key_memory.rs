//! What primary keys take: memory and disk for each, and what a lookup costs an event.
//!
//! ```text
//! cargo run --release --workspace --example key_memory -- FOLDER [MILLIONS [100]]
//! ```
//! `FOLDER` is made and holds some 60 bytes a key. Keys are sent until the judge is full and those before it still wait:
//! only then are they written, so that memory is at its greatest. At the end it is as if that many keys had come, and all
//! were live; from memory after half of them and after all, that of 100 million is told. The third argument is the batch.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "an example that measures and prints")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use asof_connect::{BodyForm, BodyLimits, EventBody};
use asof_definition::SourceFile;
use asof_disk::FolderDisk;
use asof_log::TakeOver;
use asof_pipeline::{
    Clock, Engine, EngineSettings, IngestError, Manner, Receipt, Steps, Storage, StorageSettings, Submission,
};

const PROJECT: &str = "CREATE STREAM payments (id BIGINT NOT NULL, ts TIMESTAMP NOT NULL, PRIMARY KEY (id),
                       WATERMARK FOR ts AS ts - INTERVAL '10' SECOND);";
const BEGAN_US: u64 = 1_700_000_000_000_000;
const MILLION: u64 = 1_000_000;
/// Keys from one checkpoint to the next.
const CHECKPOINT_KEYS: u64 = 8 * MILLION;

struct Measured<'e> {
    engine: &'e Engine,
    job: Steps<'e>,
    batch: u64,
    /// In commits.
    took: Duration,
    /// In spills and checkpoints.
    took_beside: Duration,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = PathBuf::from(arguments.first().expect("a folder to be made"));
    let number = |place: usize, default| arguments.get(place).map_or(default, |text| text.parse().expect("a number"));
    let (keys, batch) = (number(1, 10) * MILLION, number(2, 1_000));
    let before = memory_bytes("VmRSS");
    let engine = engine(&folder);
    let job = Steps::recover(&engine).expect("an empty folder");
    let mut measured = Measured { engine: &engine, job, batch, took: Duration::ZERO, took_beside: Duration::ZERO };
    measured.send("in memory, the first", 0..MILLION, Receipt { accepted: MILLION, ..Receipt::default() });
    measured.send("new", MILLION..keys / 2, Receipt { accepted: keys / 2 - MILLION, ..Receipt::default() });
    let half = measured.told_memory(before);
    measured.send("new", keys / 2..keys, Receipt { accepted: keys - keys / 2, ..Receipt::default() });
    let all = measured.told_memory(before);
    measured.send("repeated, from disk", 0..MILLION, Receipt { duplicates: MILLION, ..Receipt::default() });
    let a_key = (all - half) / (keys - keys / 2) as f64;
    println!("{a_key:.2} bytes a key on disk: {:.0} MiB for 100 million", mib(all + a_key * (1e8 - keys as f64)));
    println!("at most {:.0} MiB resident", mib(memory_bytes("VmHWM")));
}

impl Measured<'_> {
    fn send(&mut self, what: &str, ids: Range<u64>, expected: Receipt) {
        let (mut from, mut found) = (ids.start, Receipt::default());
        (self.took, self.took_beside) = (Duration::ZERO, Duration::ZERO);
        while from < ids.end {
            let to = ids.end.min(from + self.batch);
            let receipt = self.commit(from..to);
            found.accepted += receipt.accepted;
            found.duplicates += receipt.duplicates;
            if to / CHECKPOINT_KEYS > from / CHECKPOINT_KEYS {
                self.checkpoint();
            }
            from = to;
        }
        assert_eq!(found, expected, "{what}");
        let count = (ids.end - ids.start) as f64;
        println!(
            "{:>5} M events, {what}: {:.0} ns each in commits, {:.1} s beside",
            count / MILLION as f64,
            self.took.as_nanos() as f64 / count,
            self.took_beside.as_secs_f64()
        );
    }

    fn commit(&mut self, ids: Range<u64>) -> Receipt {
        loop {
            let answered = Arc::new(Mutex::new(None));
            let submission = self.submission(ids.clone(), answered.clone());
            let began = Instant::now();
            self.engine.intake().submit(submission).map_err(|(_, error)| error).expect("nothing waits");
            self.job.commit().expect("the disk is well");
            self.took += began.elapsed();
            let answer = answered.lock().expect("one thread").take().expect("what is committed is answered");
            match answer {
                Ok(receipt) => return receipt,
                Err(IngestError::KeysFull { .. }) => self.spill(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn submission(&self, ids: Range<u64>, answered: Arc<Mutex<Option<Result<Receipt, IngestError>>>>) -> Submission {
        let lines = ids.map(|id| format!("{{\"id\":{id},\"ts\":{}}}\n", BEGAN_US + id));
        let bytes = lines.collect::<String>().into_bytes();
        let stream = &self.engine.project().streams[0];
        let body = EventBody::read(bytes.into(), BodyForm::Ndjson, stream, BodyLimits { rows_max: usize::MAX });
        let answer = Box::new(move |outcome| *answered.lock().expect("one thread") = Some(outcome));
        let (body, manner) = (body.expect("a body of lines"), Manner::Replayed);
        Submission { stream: 0, body, manner, batch_key: None, origin: None, received_us: 0, answer }
    }

    fn spill(&mut self) {
        let began = Instant::now();
        self.job.spill_keys().expect("the disk is well");
        self.took_beside += began.elapsed();
    }

    fn checkpoint(&mut self) {
        let began = Instant::now();
        while self.job.checkpoint().expect("the disk is well") {}
        self.took_beside += began.elapsed();
        let pauses_us = self.engine.checkpoint_measures().pause.counts().sum_us;
        println!("      checkpoint in {:.2} s; pauses so far {pauses_us} µs in all", began.elapsed().as_secs_f64());
    }

    /// Bytes of memory now, with no keys on their way.
    fn told_memory(&mut self, before: f64) -> f64 {
        self.checkpoint();
        self.engine.maintain().expect("within memory");
        let held = self.engine.held_bytes() as f64;
        let resident = memory_bytes("VmRSS");
        println!(
            "      keys take {:.1} MiB by our count; {:.0} MiB resident, {:.0} at most, {:.0} before",
            mib(held),
            mib(resident),
            mib(memory_bytes("VmHWM")),
            mib(before)
        );
        held
    }
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// What the system says of this process, in bytes.
fn memory_bytes(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a system with /proc");
    let line = status.lines().find(|line| line.starts_with(what)).expect("it tells memory");
    let kibibytes: f64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kibibytes * 1024.0
}

fn engine(folder: &Path) -> Engine {
    let sources = [SourceFile { name: "project.sql".to_owned(), text: PROJECT.to_owned() }];
    let project = asof_definition::check(&sources).expect("a sound project");
    let mut draw = |bytes: &mut [u8]| {
        bytes.fill(1);
        Ok(())
    };
    let storage = Storage::open(Arc::new(FolderDisk), folder, TakeOver::Refuse, StorageSettings::default(), &mut draw);
    let settings = EngineSettings { clock: Clock::Event, as_of_horizon_us: 0, state_bytes_max: usize::MAX };
    let began = Instant::now();
    // An hour after the first event: none is of the future.
    let clock = Arc::new(move || (BEGAN_US + 3_600 * MILLION) as i64 + began.elapsed().as_micros() as i64);
    Engine::with_storage(Arc::new(project), settings, clock, Some(storage.expect("the folder")))
        .expect("a sound project")
}
