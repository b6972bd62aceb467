//! Reads of many accounts that are read over and over, as a recommender does, while few events come in: what cursors
//! that stay with entities are for. And a scan that reads each account once, which must not pay for them.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::datatypes::DataType;
use asof_window::{Answers, KeyEncoder, Program, ReadPoint, SortedEvents, TieBreak, Version, WindowState};

use crate::chance::{MINUTE_US, Random};
use crate::ten_features::ten_features;

/// As many as a view has.
const SHARDS: usize = 64;
const FILL_ROWS: usize = 8_192;
/// So many events come in after each call of so many reads.
const CALL_EVENTS: usize = 12;
const CALL_READS: usize = 1_000;
const CALLS: usize = 1_000;
/// The longest window, over which the events are spread.
const WINDOW_US: i64 = 7 * 24 * 60 * MINUTE_US;

struct Accounts {
    program: Arc<Program>,
    encoder: KeyEncoder,
    shards: Vec<WindowState>,
    random: Random,
    /// Events of all accounts up to each: an account is chosen in proportion to its events.
    events_up_to: Vec<u64>,
    step_us: i64,
    sent: u64,
    version: Version,
}

/// Fills `accounts` accounts with 5 to 2,000 events, then scans and reads them. Returns members of a JSON object.
pub(crate) fn figures(accounts: u64) -> Result<String, Box<dyn Error>> {
    let mut accounts = Accounts::filled(accounts)?;
    let filled_bytes = accounts.bytes();
    let scan_ns = accounts.scan()?;
    let scanned_bytes = accounts.bytes();
    let mut calls_ns = Vec::new();
    let mut appends_ns = 0.0;
    for _ in 0..CALLS {
        calls_ns.push(accounts.read(&accounts.random_accounts(CALL_READS))?);
        appends_ns += accounts.append(CALL_EVENTS)?;
    }
    let mean = |calls: &[f64]| calls.iter().sum::<f64>() / calls.len() as f64;
    let tenth = CALLS / 10;
    let (first, last) = (mean(&calls_ns[..tenth]), mean(&calls_ns[CALLS - tenth..]));
    let (read_bytes, scan_again_ns) = (accounts.bytes(), accounts.scan()?);
    let after_scan = accounts.read(&accounts.random_accounts(CALL_READS))?;
    Ok(format!(
        "\"many\":{{\"events\":{},\"filled_bytes\":{filled_bytes},\"scan_ns_per_read\":{scan_ns:.0},\
         \"scanned_bytes\":{scanned_bytes},\"first_reads_ns\":{first:.0},\"last_reads_ns\":{last:.0},\
         \"append_ns_per_event\":{:.0},\"read_bytes\":{read_bytes},\"scan_again_ns_per_read\":{scan_again_ns:.0},\
         \"reads_after_scan_ns\":{after_scan:.0}}}",
        accounts.sent,
        appends_ns / CALLS as f64,
    ))
}

impl Accounts {
    fn filled(accounts: u64) -> Result<Accounts, Box<dyn Error>> {
        let program = Arc::new(ten_features()?);
        let mut random = Random(7);
        let mut total = 0;
        // Most are small: 5 · 400^(u²) events, for chance u.
        let mut size = |_| {
            let chance = random.below(1 << 20) as f64 / (1u64 << 20) as f64;
            total += (5.0 * 400f64.powf(chance * chance)) as u64;
            total
        };
        let events_up_to: Vec<u64> = (0..accounts).map(&mut size).collect();
        let mut accounts = Accounts {
            encoder: KeyEncoder::new(&[DataType::Int64])?,
            shards: (0..SHARDS).map(|_| WindowState::new(program.clone())).collect(),
            random,
            events_up_to,
            step_us: WINDOW_US / total as i64,
            sent: 0,
            version: Version(0),
            program,
        };
        while accounts.sent < total {
            accounts.append(FILL_ROWS)?;
        }
        Ok(accounts)
    }

    fn bytes(&self) -> usize {
        self.shards.iter().map(WindowState::memory_bytes).sum()
    }

    fn random_accounts(&self, count: usize) -> Vec<i64> {
        let mut random = Random(self.sent);
        (0..count).map(|_| self.account_of(random.below(self.events_up_to[self.events_up_to.len() - 1]))).collect()
    }

    fn account_of(&self, event: u64) -> i64 {
        self.events_up_to.partition_point(|up_to| *up_to <= event) as i64
    }

    /// Appends and settles events as one version. Returns nanoseconds per event.
    fn append(&mut self, rows: usize) -> Result<f64, Box<dyn Error>> {
        let accounts = self.random_accounts(rows);
        let times: Vec<i64> = (0..rows as u64).map(|row| (self.sent + row) as i64 * self.step_us).collect();
        let random = &mut self.random;
        let amounts: ArrayRef =
            Arc::new(Float64Array::from_iter_values((0..rows).map(|_| random.below(1_000_000) as f64 / 100.0)));
        let merchants: ArrayRef =
            Arc::new(Int64Array::from_iter_values((0..rows).map(|_| random.below(50_000) as i64)));
        let events = SortedEvents::new(&self.program, times.into(), &self.program.carry(&[amounts, merchants], &[]));
        let mut rows_of = vec![Vec::new(); SHARDS];
        for (row, account) in accounts.iter().enumerate() {
            rows_of[*account as usize % SHARDS].push(row as u32);
        }
        let keys = self.encoder.encode(&[Arc::new(Int64Array::from(accounts)) as ArrayRef])?;
        let first = self.sent;
        let tie = |row| TieBreak { primary_key: &[], partition: 0, offset: first + row as u64 };
        self.version.0 += 1;
        let start = Instant::now();
        for (shard, rows) in self.shards.iter_mut().zip(&rows_of).filter(|(_, rows)| !rows.is_empty()) {
            shard.append(&keys, rows, &events.run(0, events.len()), self.version, tie);
            shard.settle(self.version, None);
        }
        self.sent += rows as u64;
        Ok(start.elapsed().as_nanos() as f64 / rows as f64)
    }

    /// Reads accounts at now. Returns nanoseconds per read.
    fn read(&mut self, accounts: &[i64]) -> Result<f64, Box<dyn Error>> {
        let keys = self.encoder.encode(&[Arc::new(Int64Array::from(accounts.to_vec())) as ArrayRef])?;
        let at = ReadPoint { version: self.version, t_us: self.sent as i64 * self.step_us };
        let mut answers = Answers::with_capacity(&self.program, accounts.len());
        let start = Instant::now();
        for (row, account) in accounts.iter().enumerate() {
            self.shards[*account as usize % SHARDS].read(Some((&keys, row)), at, &mut answers);
        }
        Ok(start.elapsed().as_nanos() as f64 / accounts.len() as f64)
    }

    /// Reads each account once. Returns nanoseconds per read.
    fn scan(&mut self) -> Result<f64, Box<dyn Error>> {
        let accounts: Vec<i64> = (0..self.events_up_to.len() as i64).collect();
        let mut calls_ns = 0.0;
        for call in accounts.chunks(CALL_READS) {
            calls_ns += self.read(call)? * call.len() as f64;
        }
        Ok(calls_ns / accounts.len() as f64)
    }
}
