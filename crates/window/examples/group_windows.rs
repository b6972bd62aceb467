//! What group windows cost on one core: nanoseconds per read of a cursor that reads at every event of its entity, over
//! windows of each shape beside a RANGE frame of the same length; and nanoseconds per event of a stream whose windows
//! close: append, closing and the reads of what closed, beside the same append into a view over RANGE.
//!
//!     cargo run --release -p asof-window --example group_windows [events] [accounts]
//!
//! Prints one JSON object, for `bench/`.

#![allow(clippy::print_stdout, clippy::expect_used)]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::datatypes::DataType;
use asof_window::{
    Answers, Call, Cursor, DueWindow, Extent, Frame, Function, GroupWindow, KeyEncoder, Program, ReadAt, Slot,
    SortedEvents, TieBreak, Version, Which, WindowState, shard_of,
};

mod chance;
use chance::{MINUTE_US, Random};

/// The allocator of the `asof` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SECOND_US: i64 = 1_000_000;
/// Events of an entity under the cursor, ten seconds apart in the mean.
const RUN_EVENTS: usize = 1_000;
const RUN_STEP_US: u64 = 20_000_000;
const BATCH_ROWS: u64 = 8_192;
/// As many as a view has.
const SHARDS: usize = 64;
/// The stream's accounts have an event each in so long, in the mean.
const ACCOUNT_STEP_US: i64 = 20 * SECOND_US;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (events, accounts) = (argument(4_000_000)?, argument(1_000_000)?);
    let mut figures = Vec::new();
    for (name, extent) in extents() {
        figures.push(format!("\"read_over_{name}_ns\":{:.1}", reads_ns(extent, events as usize / 4)?));
    }
    for (name, shape) in shapes() {
        figures.push(format!("\"stream_{name}\":{}", Stream::new(shape, accounts)?.run(events)?));
    }
    println!("{{{}}}", figures.join(",\n "));
    Ok(())
}

/// Ten minutes of each kind.
fn extents() -> Vec<(String, Extent)> {
    let (size_us, offset_us) = (10 * MINUTE_US, 0);
    let shapes = [
        ("tumble", GroupWindow::Tumble { size_us, offset_us }),
        ("hop", GroupWindow::Hop { size_us, slide_us: MINUTE_US, offset_us }),
        ("cumulate", GroupWindow::Cumulate { size_us, step_us: MINUTE_US, offset_us }),
        ("session", GroupWindow::Session { gap_us: 19 * SECOND_US }),
        ("endless_session", GroupWindow::Session { gap_us: MINUTE_US }),
    ];
    let mut extents = vec![("range".to_owned(), Extent::Range { preceding_us: Some(size_us), lag_us: 0 })];
    for (name, shape) in shapes {
        extents.push((name.to_owned(), Extent::Group { shape, which: Which::Open }));
        extents.push((format!("closed_{name}"), Extent::Group { shape, which: Which::LastClosed }));
    }
    extents
}

/// Those that the stream's windows have; none for a view over RANGE.
fn shapes() -> [(&'static str, Option<GroupWindow>); 4] {
    let (size_us, offset_us) = (MINUTE_US, 0);
    [
        ("range", None),
        ("tumble", Some(GroupWindow::Tumble { size_us, offset_us })),
        ("hop", Some(GroupWindow::Hop { size_us, slide_us: 10 * SECOND_US, offset_us })),
        ("session", Some(GroupWindow::Session { gap_us: 30 * SECOND_US })),
    ]
}

/// Count, sum, average, least and greatest amount.
fn five_features(extent: Extent) -> Result<Program, Box<dyn Error>> {
    use Function::*;
    let call = |function, argument, data_type| Call { function, argument, by: None, filter: None, frame: 0, data_type };
    let amounts = [Sum, Avg, Min, Max].map(|function| call(function, Some(0), DataType::Float64));
    let calls = [call(Count, None, DataType::Int64)].into_iter().chain(amounts).collect();
    let slot = Slot { data_type: DataType::Float64, nullable: false };
    Ok(Program::new(vec![Frame::of(extent)], vec![slot], 0, calls)?)
}

fn carried(program: &Program, times: Vec<i64>, random: &mut Random) -> SortedEvents {
    let amount = |_| random.below(1_000_000) as f64 / 100.0;
    let amounts: ArrayRef = Arc::new(Float64Array::from_iter_values((0..times.len()).map(amount)));
    SortedEvents::new(program, times.into(), &program.carry(&[amounts], &[]))
}

/// Nanoseconds per read at each of so many events.
fn reads_ns(extent: Extent, events: usize) -> Result<f64, Box<dyn Error>> {
    let program = five_features(extent)?;
    let mut random = Random(42);
    let mut now_us = 0;
    let mut step = |_| {
        now_us += random.below(RUN_STEP_US) as i64;
        now_us
    };
    let times: Vec<i64> = (0..RUN_EVENTS).map(&mut step).collect();
    let sorted = carried(&program, times.clone(), &mut random);
    let run = sorted.run(0, RUN_EVENTS);
    let mut cursor = Cursor::new(&program);
    let mut seconds = 0.0;
    let runs = events.div_ceil(RUN_EVENTS);
    for _ in 0..runs {
        let mut answers = Answers::with_capacity(&program, RUN_EVENTS);
        let start = Instant::now();
        cursor.reset(&program, 0);
        for t_us in &times {
            cursor.read(&program, &run, ReadAt { t_us: *t_us, current: None }, &mut answers);
        }
        seconds += start.elapsed().as_secs_f64();
    }
    Ok(seconds * 1e9 / (runs * RUN_EVENTS) as f64)
}

/// A stream in order, over accounts by chance.
struct Stream {
    program: Arc<Program>,
    encoder: KeyEncoder,
    shards: Vec<WindowState>,
    accounts: u64,
    step_us: f64,
    sent: u64,
    windows: usize,
    /// Of appends, and of closings.
    seconds: [f64; 2],
    bytes_max: usize,
}

impl Stream {
    fn new(shape: Option<GroupWindow>, accounts: u64) -> Result<Stream, Box<dyn Error>> {
        let range = Extent::Range { preceding_us: Some(MINUTE_US), lag_us: 0 };
        let extent = shape.map_or(range, |shape| Extent::Group { shape, which: Which::Open });
        let program = Arc::new(five_features(extent)?);
        let state = || match shape {
            Some(shape) => WindowState::new(program.clone()).closing(shape, None),
            None => WindowState::new(program.clone()),
        };
        Ok(Stream {
            encoder: KeyEncoder::new(&[DataType::Int64])?,
            shards: (0..SHARDS).map(|_| state()).collect(),
            program,
            accounts,
            step_us: ACCOUNT_STEP_US as f64 / accounts as f64,
            sent: 0,
            windows: 0,
            seconds: [0.0; 2],
            bytes_max: 0,
        })
    }

    /// Sends so many events, a batch a version; the watermark follows at once. Returns a JSON object.
    fn run(mut self, events: u64) -> Result<String, Box<dyn Error>> {
        let mut random = Random(7);
        while self.sent < events {
            let accounts = (0..BATCH_ROWS).map(|_| random.below(self.accounts) as i64);
            let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(accounts));
            let keys = self.encoder.encode(&[keys])?;
            let mut rows_of = vec![Vec::new(); SHARDS];
            (0..keys.len()).for_each(|row| rows_of[shard_of(keys.hash(row), SHARDS) as usize].push(row as u32));
            let times: Vec<i64> =
                (self.sent..self.sent + BATCH_ROWS).map(|event| (event as f64 * self.step_us) as i64).collect();
            let watermark_us = times[times.len() - 1];
            let sorted = carried(&self.program, times, &mut random);
            let (version, first) = (Version(self.sent / BATCH_ROWS + 1), self.sent);
            let tie = |row| TieBreak { primary_key: &[], partition: 0, offset: first + row as u64 };
            let start = Instant::now();
            for (shard, rows) in self.shards.iter_mut().zip(&rows_of) {
                shard.append(&keys, rows, &sorted.run(0, sorted.len()), version, tie);
                shard.settle(version, None);
            }
            self.seconds[0] += start.elapsed().as_secs_f64();
            self.sent += BATCH_ROWS;
            self.bytes_max = self.bytes_max.max(self.shards.iter().map(WindowState::memory_bytes).sum());
            let start = Instant::now();
            (0..SHARDS).try_for_each(|shard| self.close(shard, watermark_us, version))?;
            self.seconds[1] += start.elapsed().as_secs_f64();
        }
        let [append_ns, close_ns] = self.seconds.map(|seconds| seconds * 1e9 / self.sent as f64);
        Ok(format!(
            "{{\"append_ns_per_event\":{append_ns:.0},\"close_ns_per_event\":{close_ns:.0},\"windows\":{},\
             \"close_ns_per_window\":{:.0},\"bytes_max\":{}}}",
            self.windows,
            self.seconds[1] * 1e9 / self.windows.max(1) as f64,
            self.bytes_max,
        ))
    }

    /// Closes what has ended: 256 windows at a time, their reads and their keys.
    fn close(&mut self, shard: usize, watermark_us: i64, version: Version) -> Result<(), Box<dyn Error>> {
        let state = &mut self.shards[shard];
        let mut due: Vec<DueWindow> = Vec::new();
        let mut read = 0;
        loop {
            let is_last = state.due(watermark_us, 256, &mut due);
            let mut answers = Answers::with_capacity(&self.program, due.len() - read);
            due[read..].iter().for_each(|due| state.read_due(*due, version, &mut answers));
            state.due_keys(&self.encoder, &due[read..])?;
            read = due.len();
            if is_last {
                break;
            }
        }
        self.windows += due.len();
        state.settle(version, Some(watermark_us));
        state.sweep_closed(&due);
        state.sweep(BATCH_ROWS as usize / SHARDS);
        Ok(())
    }
}
