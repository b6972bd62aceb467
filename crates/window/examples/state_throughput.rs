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
use asof_window::{Answers, KeyEncoder, ReadPoint, SortedEvents, TieBreak, Version, WindowState};

mod chance;
mod ten_features;
use chance::{MINUTE_US, Random};
use ten_features::ten_features;

/// The allocator of the `asof` binary, so that memory is measured as it will be.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH_ROWS: usize = 8192;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (events, accounts, days) = (argument(10_000_000)?, argument(1_000_000)?, argument(7)?);
    let program = Arc::new(ten_features()?);
    let mut state = WindowState::new(program.clone());
    let encoder = KeyEncoder::new(&[DataType::Int64])?;
    let mut random = Random(42);
    let span_us = days as i64 * 24 * 60 * MINUTE_US;
    let every_row: Vec<u32> = (0..BATCH_ROWS as u32).collect();
    let (mut sent, mut seconds, mut version) = (0, 0.0, Version(0));
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
        let settled = version;
        version = Version(version.0 + 1);
        let tie = |row| TieBreak { primary_key: &[], partition: 0, offset: sent + row as u64 };
        state.append(&encoder.encode(&[keys])?, &every_row[..rows], &batch.run(0, rows), version, tie);
        state.settle(settled, None);
        seconds += start.elapsed().as_secs_f64();
        sent += rows as u64;
    }
    let reads = 100_000usize.min(accounts as usize);
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..reads).map(|_| random.below(accounts) as i64)));
    let keys = encoder.encode(&[keys])?;
    let mut answers = Answers::with_capacity(&program, reads);
    let start = Instant::now();
    for row in 0..reads {
        state.read(Some((&keys, row)), ReadPoint { version, t_us: span_us }, &mut answers);
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

fn resident_bytes() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("VmRSS: 0");
    let kib: u64 = line.split_whitespace().nth(1).unwrap_or("0").parse()?;
    Ok(kib * 1024)
}
