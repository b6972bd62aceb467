//! Decoded Arrow batches into live window state on one core: events per second, bytes per event and per account, and the
//! time of a read, for ten features over three windows.
//!
//!     cargo run --release -p asof-window --example state_throughput [events] [accounts] [span_days]
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
    Answers, Call, Cursor, Extent, Frame, Function, KeyEncoder, Program, Slot, SortedEvents, TieBreak, WindowState,
};

/// The allocator of the `asof` binary, so that memory is measured as it will be.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH_ROWS: usize = 8192;
const MINUTE_US: i64 = 60_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (events, accounts, days) = (argument(10_000_000)?, argument(1_000_000)?, argument(7)?);
    let program = Arc::new(ten_features()?);
    let mut state = WindowState::new(program.clone());
    let encoder = KeyEncoder::new(&[DataType::Int64])?;
    let mut random = Random(42);
    let span_us = days as i64 * 24 * 60 * MINUTE_US;
    let (mut sent, mut seconds) = (0, 0.0);
    while sent < events {
        let rows = BATCH_ROWS.min((events - sent) as usize);
        let times: Vec<i64> = (0..rows as u64)
            .map(|row| ((sent + row) as i128 * i128::from(span_us) / i128::from(events)) as i64)
            .collect();
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|_| random.below(accounts) as i64)));
        let amounts: ArrayRef =
            Arc::new(Float64Array::from_iter_values((0..rows).map(|_| random.below(1_000_000) as f64 / 100.0)));
        let merchants: ArrayRef =
            Arc::new(Int64Array::from_iter_values((0..rows).map(|_| random.below(50_000) as i64)));
        let start = Instant::now();
        let carried = program.carry(&[amounts, merchants], &[]);
        let batch = SortedEvents::new(&program, times.into(), &carried);
        state.append(&encoder.encode(&[keys])?, &batch.run(0, rows), |row| TieBreak {
            primary_key: &[],
            partition: 0,
            offset: sent + row as u64,
        });
        seconds += start.elapsed().as_secs_f64();
        sent += rows as u64;
    }
    let reads = 100_000usize.min(accounts as usize);
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..reads).map(|_| random.below(accounts) as i64)));
    let keys = encoder.encode(&[keys])?;
    let (mut cursor, mut answers) = (Cursor::new(&program), Answers::with_capacity(&program, reads));
    let start = Instant::now();
    for row in 0..reads {
        state.read(Some((&keys, row)), span_us, &mut cursor, &mut answers);
    }
    let read_ns = start.elapsed().as_nanos() as f64 / reads as f64;
    let held = state.events() as f64;
    let bytes = state.memory_bytes() as f64;
    println!(
        "{{\"events\":{events},\"accounts\":{},\"events_per_second\":{:.0},\"ns_per_event\":{:.0},\"bytes_per_event\":{:.1},\"bytes_per_account\":{:.0},\"events_per_account\":{:.1},\"resident_bytes\":{},\"read_ns\":{:.0}}}",
        state.entities(),
        events as f64 / seconds,
        seconds * 1e9 / events as f64,
        bytes / held,
        bytes / state.entities() as f64,
        held / state.entities() as f64,
        resident_bytes()?,
        read_ns,
    );
    Ok(())
}

/// 5 min: count, sum, avg, min, max, distinct merchants; 1 h: count, sum; 7 d: avg, stddev.
fn ten_features() -> Result<Program, Box<dyn Error>> {
    let frame = |minutes: i64| Frame {
        extent: Extent::Range { preceding_us: Some(minutes * MINUTE_US), lag_us: 0 },
        calendar: None,
    };
    let slot = |data_type| Slot { data_type, nullable: false };
    let call =
        |function, argument, frame, data_type| Call { function, argument, by: None, filter: None, frame, data_type };
    let (double, bigint) = (DataType::Float64, DataType::Int64);
    Ok(Program::new(
        vec![frame(5), frame(60), frame(7 * 24 * 60)],
        vec![slot(double.clone()), slot(bigint.clone())],
        0,
        vec![
            call(Function::Count, None, 0, bigint.clone()),
            call(Function::Sum, Some(0), 0, double.clone()),
            call(Function::Avg, Some(0), 0, double.clone()),
            call(Function::Min, Some(0), 0, double.clone()),
            call(Function::Max, Some(0), 0, double.clone()),
            call(Function::CountDistinct, Some(1), 0, bigint.clone()),
            call(Function::Count, None, 1, bigint),
            call(Function::Sum, Some(0), 1, double.clone()),
            call(Function::Avg, Some(0), 2, double.clone()),
            call(Function::StddevSamp, Some(0), 2, double),
        ],
    )?)
}

/// splitmix64, seeded: the same events in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ z >> 31) * u128::from(bound)) >> 64) as u64
    }
}

fn resident_bytes() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("VmRSS: 0");
    let kib: u64 = line.split_whitespace().nth(1).unwrap_or("0").parse()?;
    Ok(kib * 1024)
}
