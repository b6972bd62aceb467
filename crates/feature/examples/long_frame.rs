//! How many events a frame of 30 days holds in a given memory: events decoded, judged, evaluated and taken in on one thread
//! until the process is as large as it may be, then reads of single entities as of now.
//!
//!     cargo run --release --workspace --example long_frame [GiB] [accounts]
//!
//! Nothing leaves the frame meanwhile: all events lie within 30 days, accounts in no order. Prints one JSON object, for
//! `bench/`.

#![allow(clippy::print_stdout)]
#![allow(clippy::disallowed_methods, reason = "it measures time and memory")]

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use asof_definition::{SourceFile, check};
use asof_feature::{
    Arrivals, ArrivedAt, Faced, Lateness, OnlineStream, OnlineView, Settled, StreamPlan, Tables, ViewPlan,
};
use asof_window::Version;

/// The allocator of the `asof` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH_ROWS: u64 = 8_192;
/// As many as a view has.
const SHARDS: usize = 64;
const SECOND_US: i64 = 1_000_000;
const FRAME_US: i64 = 30 * 86_400 * SECOND_US;
/// As many events as the frame is asked to hold.
const EVENTS: u64 = 300_000_000;
/// After all events, of which none is one of the future.
const ARRIVED_US: i64 = 2 * FRAME_US;
const READS: u64 = 200_000;

const SQL: &str = "
CREATE STREAM tx (account_id BIGINT NOT NULL, amount DOUBLE, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '10' SECOND);
CREATE FEATURE VIEW spending AS SELECT account_id, count(*) OVER w AS payments, sum(amount) OVER w AS spent
FROM tx WINDOW w AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '30' DAY PRECEDING AND CURRENT ROW);";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (bytes_max, accounts) = (argument(4)? << 30, argument(1_000_000)?);
    let mut world = World::new(accounts)?;
    let (mut events, mut took_ns) = (0, 0);
    while events < EVENTS && resident_bytes()? < bytes_max {
        let batch = world.payments(events..events + BATCH_ROWS)?;
        let began = Instant::now();
        world.take(&batch, events)?;
        took_ns += began.elapsed().as_nanos();
        events += BATCH_ROWS;
    }
    let resident_bytes = resident_bytes()?;
    let held = world.view.held();
    if held.events as u64 != events {
        return Err(format!("{} of {events} events are held", held.events).into());
    }
    let reads = world.read(events)?;
    let per_event = |bytes: u64| bytes as f64 / events as f64;
    println!(
        "{{\"events\":{events},\"asked\":{EVENTS},\"accounts\":{accounts},\"resident_bytes\":{resident_bytes},\"resident_bytes_per_event\":{:.1},",
        per_event(resident_bytes)
    );
    println!(
        " \"state_bytes_per_event\":{:.1},\"append_ns\":{:.0},\"read_p50_us\":{:.2},\"read_p99_us\":{:.2},\"read_max_us\":{:.1}}}",
        per_event(held.bytes as u64),
        took_ns as f64 / events as f64,
        at_share(&reads, 0.5),
        at_share(&reads, 0.99),
        at_share(&reads, 1.0),
    );
    Ok(())
}

struct World {
    stream: OnlineStream,
    view: Arc<OnlineView>,
    accounts: u64,
    version: Version,
}

impl World {
    fn new(accounts: u64) -> Result<World, Box<dyn Error>> {
        let file = SourceFile { name: "project.sql".to_owned(), text: SQL.to_owned() };
        let project = check(&[file]).map_err(|errors| errors[0].to_string())?;
        let view = Arc::new(OnlineView::new(ViewPlan::new(project.views[0].clone())?, SHARDS)?);
        let plan = StreamPlan::new(project.streams[0].clone())?;
        let stream = OnlineStream::new(plan.clone(), plan.rules(), &project.derived, vec![view.clone()]);
        Ok(World { stream, view, accounts, version: Version(0) })
    }

    fn take(&mut self, batch: &RecordBatch, first_offset: u64) -> Result<(), Box<dyn Error>> {
        let offsets: Vec<u64> = (first_offset..).take(batch.num_rows()).collect();
        let faced = Faced { partition: 0, batch, rejected: &[], primary_keys: None };
        let arrivals = Arrivals {
            faced,
            arrived_us: ArrivedAt::All(ARRIVED_US),
            offsets: &offsets,
            lateness: Lateness::Applied,
            used_before: &[],
            fed: None,
        };
        let prepared = self.stream.prepare(arrivals, &Tables::none())?;
        let floor_us = self.stream.watermark_us();
        let settled = Settled { version: self.version, floor_us, coming_from_us: floor_us };
        self.version.0 += 1;
        self.stream.take_in(&prepared, self.version, &[settled])?;
        Ok(())
    }

    /// Microseconds that each read of one entity takes, ascending.
    fn read(&self, events: u64) -> Result<Vec<f64>, Box<dyn Error>> {
        let mut took_us = Vec::with_capacity(READS as usize);
        for read in 0..READS {
            let key: ArrayRef = Arc::new(Int64Array::from(vec![account(read, self.accounts) as i64]));
            let began = Instant::now();
            let answers = self.view.read(&[key], &[time_us(events)], self.version)?;
            took_us.push(began.elapsed().as_nanos() as f64 / 1e3);
            if !answers.known.value(0) {
                return Err("an account has no event".into());
            }
        }
        took_us.sort_by(f64::total_cmp);
        Ok(took_us)
    }

    fn payments(&self, numbers: Range<u64>) -> Result<RecordBatch, Box<dyn Error>> {
        let ids: Int64Array = numbers.clone().map(|number| Some(account(number, self.accounts) as i64)).collect();
        let amounts: Float64Array = numbers.clone().map(|number| Some((number % 997) as f64 / 4.0)).collect();
        let times: TimestampMicrosecondArray = numbers.map(|number| Some(time_us(number))).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(amounts), Arc::new(times)];
        Ok(RecordBatch::try_new(self.stream.plan().stream().schema(), columns)?)
    }
}

/// What the process takes of the machine's memory.
fn resident_bytes() -> Result<u64, Box<dyn Error>> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let resident: u64 = pages.split(' ').nth(1).ok_or("no resident pages")?.parse()?;
    Ok(resident * 4_096)
}

fn at_share(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// Any of them, each as often.
fn account(number: u64, accounts: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % accounts
}

/// All events lie within the frame.
fn time_us(number: u64) -> i64 {
    SECOND_US + (number as i128 * i128::from(FRAME_US) / i128::from(EVENTS + BATCH_ROWS)) as i64
}
