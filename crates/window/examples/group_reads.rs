//! How long a read of a group of a table's rows takes: of so many rows that are valid, each with so many versions before it
//! that are held, by count, sum and max of a double.
//!
//!     cargo run --release -p asof-window --example group_reads
//!
//! Prints one JSON object; times are in nanoseconds, the least of many reads.

#![allow(clippy::print_stdout)]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::datatypes::DataType;
use asof_window::{
    Answers, Call, Frame, Function, KeyEncoder, Program, ReadPoint, Slot, SortedEvents, TieBreak, Version, WindowState,
};

/// Valid rows, and versions held for each.
const GROUPS: [(usize, usize); 6] = [(10, 1), (10, 10), (1_000, 1), (1_000, 10), (100_000, 1), (100_000, 10)];
const READS: usize = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let program = Arc::new(program()?);
    let figures = GROUPS.map(|(rows, versions)| figure(&program, rows, versions));
    let figures: Result<Vec<String>, _> = figures.into_iter().collect();
    println!("{{{}}}", figures?.join(",\n "));
    Ok(())
}

fn program() -> Result<Program, Box<dyn Error>> {
    let call = |function, argument, data_type| Call { function, argument, by: None, filter: None, frame: 0, data_type };
    let slot = |data_type| Slot { data_type, nullable: false };
    let calls = vec![
        call(Function::Count, None, DataType::Int64),
        call(Function::Sum, Some(0), DataType::Float64),
        call(Function::Max, Some(0), DataType::Float64),
    ];
    let slots = vec![slot(DataType::Float64), slot(DataType::Int64)];
    Ok(Program::new(vec![Frame::LIFETIME], slots, 0, calls)?.over_events_that_end(1))
}

/// One group: version v of each row is from v on until the next.
fn figure(program: &Arc<Program>, rows: usize, versions: usize) -> Result<String, Box<dyn Error>> {
    let events = rows * versions;
    let version = |event: usize| (event / rows) as i64;
    let end = |event: usize| if version(event) + 1 < versions as i64 { version(event) + 1 } else { i64::MAX };
    let values: ArrayRef =
        Arc::new(Float64Array::from_iter_values((0..events).map(|event| event as f64 * 0.37 % 100.0)));
    let ends: ArrayRef = Arc::new(Int64Array::from_iter_values((0..events).map(end)));
    let carried = program.carry(&[values, ends], &[]);
    let keys =
        KeyEncoder::new(&[DataType::Int64])?.encode(&[Arc::new(Int64Array::from(vec![7; events])) as ArrayRef])?;
    let sorted = SortedEvents::new(program, (0..events).map(version).collect(), &carried);
    let mut state = WindowState::with_departures(program.clone());
    let tie = |row| TieBreak { primary_key: &[], partition: 0, offset: row as u64 };
    let all: Vec<u32> = (0..events as u32).collect();
    state.append(&keys, &all, &sorted.run(0, events), Version(1), tie);
    state.settle(Version(1), None);
    let mut least_ns = u128::MAX;
    for _ in 0..READS {
        let mut answers = Answers::with_capacity(program, 1);
        let start = Instant::now();
        state.read(Some((&keys, 0)), ReadPoint { version: Version(1), t_us: versions as i64 }, &mut answers);
        least_ns = least_ns.min(start.elapsed().as_nanos());
    }
    Ok(format!("\"{rows} rows of {versions} versions\":{least_ns}"))
}
