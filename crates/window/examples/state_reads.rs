//! How long reads of live state take while events come in: of small entities, and of one with very many events in its
//! windows, between appends and in the middle of them, when the newest batch is in but a read must not see it yet; and of
//! many accounts that are read over and over.
//!
//!     cargo run --release -p asof-window --example state_reads [accounts] [events_of_the_big_one] [many_accounts]
//!
//! Prints one JSON object, for `bench/`; times are in nanoseconds.

#![allow(clippy::print_stdout, clippy::expect_used)]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::datatypes::DataType;
use asof_window::{Answers, KeyEncoder, Keys, Program, ReadPoint, SortedEvents, TieBreak, Version, WindowState};

mod chance;
mod many_accounts;
mod ten_features;
use chance::{MINUTE_US, Random};
use ten_features::ten_features;

/// The allocator of the `asof` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH_ROWS: u64 = 1024;
/// Of each batch, the big account has one event in so many.
const BIG_SHARE: u64 = 2;
const BIG_ACCOUNT: i64 = -1;
/// The longest window: the big account's events lie within it, and as time goes on leave it.
const WINDOW_US: i64 = 7 * 24 * 60 * MINUTE_US;
/// Reads after each batch.
const READS: usize = 16;

struct Replay {
    program: Arc<Program>,
    encoder: KeyEncoder,
    state: WindowState,
    random: Random,
    accounts: u64,
    /// Time between two events of the stream.
    step_us: i64,
    sent: u64,
    version: Version,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (accounts, big_events, many_accounts) = (argument(100_000)?, argument(1_000_000)?, argument(100_000)?);
    let program = Arc::new(ten_features()?);
    let mut replay = Replay {
        encoder: KeyEncoder::new(&[DataType::Int64])?,
        state: WindowState::new(program.clone()),
        random: Random(42),
        accounts,
        step_us: (WINDOW_US / (big_events * BIG_SHARE) as i64).max(1),
        sent: 0,
        version: Version(0),
        program,
    };
    let mut filling = Vec::new();
    while replay.sent < big_events * BIG_SHARE {
        replay.append(&mut filling)?;
        replay.settle(0, &mut Vec::new());
    }
    let (mut appends, mut settles, mut sweeps) = (Vec::new(), Vec::new(), Vec::new());
    let (mut small, mut big, mut small_older, mut big_older) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..4 * big_events / BATCH_ROWS {
        let before = replay.version;
        replay.append(&mut appends)?;
        replay.read(before, 0, [&mut small_older, &mut big_older])?;
        replay.settle(0, &mut settles);
        replay.read(replay.version, 0, [&mut small, &mut big])?;
        let start = Instant::now();
        replay.state.sweep(64);
        sweeps.push(start.elapsed().as_nanos() as u64);
    }
    let (mut small_past, mut big_past) = (Vec::new(), Vec::new());
    for _ in 0..big_events / BATCH_ROWS {
        replay.append(&mut Vec::new())?;
        replay.settle(0, &mut Vec::new());
        replay.read(replay.version, 60 * MINUTE_US, [&mut small_past, &mut big_past])?;
        replay.read(replay.version, 0, [&mut small_past, &mut big_past])?;
    }
    let figures = [
        ("small", small),
        ("big", big),
        ("small_at_the_version_before", small_older),
        ("big_at_the_version_before", big_older),
        ("small_an_hour_ago_and_now_in_turn", small_past),
        ("big_an_hour_ago_and_now_in_turn", big_past),
        ("append_of_1024_filling", filling),
        ("append_of_1024", appends),
        ("settle_of_1024", settles),
        ("sweep_of_64", sweeps),
    ];
    let figures: Vec<String> = figures.into_iter().map(|(name, times)| figure(name, times)).collect();
    let (entities, events) = (replay.state.entities(), replay.state.events());
    let bytes = replay.state.memory_bytes();
    let many = many_accounts::figures(many_accounts)?;
    println!("{{\"entities\":{entities},\"events\":{events},\"bytes\":{bytes},\n {},\n {many}}}", figures.join(",\n "));
    Ok(())
}

impl Replay {
    fn now_us(&self) -> i64 {
        self.sent as i64 * self.step_us
    }

    /// Appends a batch as a version of its own.
    fn append(&mut self, times_ns: &mut Vec<u64>) -> Result<(), Box<dyn Error>> {
        let rows = 0..BATCH_ROWS;
        let times: Vec<i64> = rows.clone().map(|row| (self.sent + row) as i64 * self.step_us).collect();
        let (accounts, random) = (self.accounts, &mut self.random);
        let mut account =
            |row: u64| if row.is_multiple_of(BIG_SHARE) { BIG_ACCOUNT } else { random.below(accounts) as i64 };
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.clone().map(&mut account)));
        let amount = |random: &mut Random| random.below(1_000_000) as f64 / 100.0;
        let amounts: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.clone().map(|_| amount(random))));
        let merchants: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.map(|_| random.below(50_000) as i64)));
        let events = SortedEvents::new(&self.program, times.into(), &self.program.carry(&[amounts, merchants], &[]));
        let (keys, every_row) = (self.encoder.encode(&[keys])?, (0..BATCH_ROWS as u32).collect::<Vec<u32>>());
        let first = self.sent;
        let tie = |row| TieBreak { primary_key: &[], partition: 0, offset: first + row as u64 };
        self.version.0 += 1;
        let start = Instant::now();
        self.state.append(&keys, &every_row, &events.run(0, events.len()), self.version, tie);
        times_ns.push(start.elapsed().as_nanos() as u64);
        self.sent += BATCH_ROWS;
        Ok(())
    }

    /// Settles all versions but the newest `behind`; reads may go back two hours.
    fn settle(&mut self, behind: u64, times_ns: &mut Vec<u64>) {
        let start = Instant::now();
        self.state.settle(Version(self.version.0 - behind), Some(self.now_us() - 120 * MINUTE_US));
        times_ns.push(start.elapsed().as_nanos() as u64);
    }

    /// Reads small accounts, then the big one.
    fn read(&mut self, version: Version, ago_us: i64, times_ns: [&mut Vec<u64>; 2]) -> Result<(), Box<dyn Error>> {
        let accounts: Vec<i64> = (0..READS).map(|_| self.random.below(self.accounts) as i64).collect();
        let at = ReadPoint { version, t_us: self.now_us() - ago_us };
        let of = |accounts: Vec<i64>| self.encoder.encode(&[Arc::new(Int64Array::from(accounts)) as ArrayRef]);
        for (keys, times_ns) in [of(accounts)?, of(vec![BIG_ACCOUNT; 4])?].iter().zip(times_ns) {
            read_each(&mut self.state, &self.program, keys, at, times_ns);
        }
        Ok(())
    }
}

fn read_each(state: &mut WindowState, program: &Program, keys: &Keys, at: ReadPoint, times_ns: &mut Vec<u64>) {
    let mut answers = Answers::with_capacity(program, keys.len());
    for row in 0..keys.len() {
        let start = Instant::now();
        state.read(Some((keys, row)), at, &mut answers);
        times_ns.push(start.elapsed().as_nanos() as u64);
    }
}

/// Median, high percentiles and the most, as a member of a JSON object.
fn figure(name: &str, mut times: Vec<u64>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let (p50, p99, p999, most) = (at(0.5), at(0.99), at(0.999), at(1.0));
    format!("\"{name}\":{{\"p50\":{p50},\"p99\":{p99},\"p999\":{p999},\"most\":{most}}}")
}
