//! What a temporal join costs on one core: nanoseconds per event of a stream with a view, once over columns that the events
//! bring themselves and once over the same columns of a table; events judged, evaluated and taken in, one thread, batches
//! decoded. One version of a row comes with every hundred events, and is counted in. Time has begun to empty windows and the
//! rows held for late versions before anything is measured.
//!
//!     cargo run --release --workspace --example temporal_join [events] [rows of the table]
//!
//! Both are run in turns, so that what the machine does meanwhile is told of both. Late versions come at the end: rows that they
//! change are looked for among all that are held. Prints one JSON object, for `bench/`.

#![allow(clippy::print_stdout)]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use asof_definition::{FeatureView, Project, SourceFile, Stream, check};
use asof_feature::{
    Arrivals, ArrivedAt, ComingVersions, Faced, Lateness, OnlineStream, OnlineTable, OnlineView, Settled, StreamPlan,
    Tables, VersionedTable, ViewPlan,
};
use asof_window::Version;

/// The allocator of the `asof` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH_ROWS: u64 = 8_192;
/// As many as a view has.
const SHARDS: usize = 64;
const SECOND_US: i64 = 1_000_000;
/// Events in a second of event time.
const EVENTS_PER_SECOND: u64 = 100_000;
const LATENESS_US: i64 = 10 * SECOND_US;
/// After all events, of which none is one of the future.
const ARRIVED_US: i64 = 3_600 * SECOND_US;
const TURNS: usize = 3;
/// Events before those that are measured: 30 seconds, longer than window and lateness.
const WARM_UP_EVENTS: u64 = 3_000_000;
/// Events for each version of a row.
const EVENTS_PER_VERSION: u64 = 100;
/// Versions of the last batch, which come behind events that they change.
const LATE_VERSIONS: u64 = 1_000;

const SOURCES: &str = "
CREATE STREAM tx (account_id BIGINT NOT NULL, amount DOUBLE, credit DOUBLE, country VARCHAR, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '10' SECOND);
CREATE TABLE accounts (account_id BIGINT NOT NULL, credit DOUBLE, country VARCHAR, ts TIMESTAMP NOT NULL,
  PRIMARY KEY (account_id), WATERMARK FOR ts AS ts - INTERVAL '10' SECOND);";
const PLAIN: &str = "
CREATE FEATURE VIEW spending AS SELECT account_id,
  count(*) OVER w AS payments, sum(amount / credit) OVER w AS share, last_value(country) OVER w AS country
FROM tx WINDOW w AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '20' SECOND PRECEDING AND CURRENT ROW);";
const JOINED: &str = "
CREATE FEATURE VIEW spending AS SELECT tx.account_id,
  count(*) OVER w AS payments, sum(tx.amount / a.credit) OVER w AS share, last_value(a.country) OVER w AS country
FROM tx LEFT JOIN accounts FOR SYSTEM_TIME AS OF tx.ts AS a ON a.account_id = tx.account_id
WINDOW w AS (PARTITION BY tx.account_id ORDER BY tx.ts RANGE BETWEEN INTERVAL '20' SECOND PRECEDING AND CURRENT ROW);";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (events, rows) = (argument(4_000_000)?, argument(1_000_000)?);
    let (mut plain, mut joined, mut late) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        plain.push(World::new(PLAIN, rows)?.take_events(events)?);
        let mut world = World::new(JOINED, rows)?;
        world.fill_table()?;
        joined.push(world.take_events(events)?);
        late.push(world.take_late_versions(events)?);
    }
    let (plain, joined) = (median(plain), median(joined));
    late.sort_by(|one, other| one.took_ms.total_cmp(&other.took_ms));
    let Late { held_rows, rejoined_rows, took_ms } = late[TURNS / 2];
    let factor = joined / plain;
    println!(
        "{{\"events\":{events},\"rows\":{rows},\"plain_ns\":{plain:.1},\"joined_ns\":{joined:.1},\"factor\":{factor:.2},"
    );
    println!(
        " \"late_versions\":{LATE_VERSIONS},\"held_rows\":{held_rows},\"rejoined_rows\":{rejoined_rows},\"late_ms\":{took_ms:.1}}}"
    );
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What versions did that came behind the events.
struct Late {
    held_rows: usize,
    rejoined_rows: usize,
    took_ms: f64,
}

struct World {
    stream: OnlineStream,
    tables: Vec<OnlineTable>,
    rows: u64,
    version: Version,
}

impl World {
    fn new(view: &str, rows: u64) -> Result<World, Box<dyn Error>> {
        let project = project(&format!("{SOURCES}{view}"))?;
        let bind = |view: &Arc<FeatureView>| -> Result<Arc<OnlineView>, Box<dyn Error>> {
            Ok(Arc::new(OnlineView::new(ViewPlan::new(view.clone())?, SHARDS)?))
        };
        let views: Vec<Arc<OnlineView>> = project.views.iter().map(bind).collect::<Result<_, _>>()?;
        let versions = VersionedTable::joined_by(&project.tables[0], &project.derived, &project.views)?;
        let plan = StreamPlan::of_table(&project.tables[0])?;
        let mut table = OnlineTable::new(versions, plan.clone(), plan.rules(), Vec::new());
        table.set_coming(ComingVersions::NotLate { partitions: 1 });
        let plan = StreamPlan::new(project.streams[0].clone())?;
        let stream = OnlineStream::new(plan.clone(), plan.rules(), &project.derived, views);
        Ok(World { stream, tables: vec![table], rows, version: Version(0) })
    }

    /// A version of each row, from before all events.
    fn fill_table(&mut self) -> Result<(), Box<dyn Error>> {
        for first in (0..self.rows).step_by(BATCH_ROWS as usize) {
            let ids: Vec<u64> = (first..self.rows.min(first + BATCH_ROWS)).collect();
            self.take_versions(&ids, first, 0)?;
        }
        Ok(())
    }

    /// Nanoseconds each, without those of the warm-up. Where there is a table filled, versions of it come between them.
    fn take_events(&mut self, events: u64) -> Result<f64, Box<dyn Error>> {
        let all = WARM_UP_EVENTS + events;
        let (mut took_ns, has_table) = (0, self.tables[0].stream().accounting().total() > 0);
        for first in (0..all).step_by(BATCH_ROWS as usize) {
            let batch = self.payments(first..all.min(first + BATCH_ROWS))?;
            let versions: Vec<u64> =
                (first..all.min(first + BATCH_ROWS)).step_by(EVENTS_PER_VERSION as usize).collect();
            let ids: Vec<u64> = versions.iter().map(|number| account(number + 1, self.rows)).collect();
            let began = Instant::now();
            if has_table {
                self.take_versions(&ids, self.rows + first, time_us(first))?;
            }
            self.take_payments(&batch, first)?;
            if first >= WARM_UP_EVENTS {
                took_ns += began.elapsed().as_nanos();
            }
        }
        if self.stream.accounting().used != all {
            return Err("some event was refused".into());
        }
        Ok(took_ns as f64 / events as f64)
    }

    /// Versions of the last accounts as of half the lateness ago, among events that are held.
    fn take_late_versions(&mut self, events: u64) -> Result<Late, Box<dyn Error>> {
        let events = WARM_UP_EVENTS + events;
        let ids: Vec<u64> = (0..LATE_VERSIONS).map(|place| account(events - 1 - place, self.rows)).collect();
        let held_rows = self.stream.held_rows();
        let began = Instant::now();
        let rejoined_rows = self.take_versions(&ids, self.rows + events, time_us(events) - LATENESS_US / 2)?;
        Ok(Late { held_rows, rejoined_rows, took_ms: began.elapsed().as_secs_f64() * 1e3 })
    }

    /// How many rows were joined anew.
    fn take_versions(&mut self, ids: &[u64], first_offset: u64, time_us: i64) -> Result<usize, Box<dyn Error>> {
        let plan = self.tables[0].stream().plan().clone();
        let batch = accounts(plan.stream(), ids, time_us)?;
        let offsets: Vec<u64> = (first_offset..).take(ids.len()).collect();
        let keys = plan.primary_keys(&batch)?;
        let faced = Faced { partition: 0, batch: &batch, rejected: &[], primary_keys: keys.as_ref() };
        let versions = self.tables[0].prepare(arrivals(faced, &offsets))?;
        let rejoined = self.stream.prepare_rejoined(&versions.changes, &Tables::live(&self.tables))?;
        let (version, settled) = self.next();
        self.tables[0].take_in(&versions, version, &[])?;
        self.stream.take_in_rejoined(&rejoined, &Tables::live(&self.tables), version, &[settled])?;
        Ok(rejoined.row_count())
    }

    fn take_payments(&mut self, batch: &RecordBatch, first_offset: u64) -> Result<(), Box<dyn Error>> {
        let offsets: Vec<u64> = (first_offset..).take(batch.num_rows()).collect();
        let faced = Faced { partition: 0, batch, rejected: &[], primary_keys: None };
        let prepared = self.stream.prepare(arrivals(faced, &offsets), &Tables::live(&self.tables))?;
        let (version, settled) = self.next();
        self.stream.take_in(&prepared, version, &[settled])?;
        Ok(())
    }

    /// The next version; what no read reaches any more is dropped.
    fn next(&mut self) -> (Version, Settled) {
        let floor_us = self.stream.watermark_us();
        let settled = Settled { version: self.version, floor_us, coming_from_us: floor_us };
        self.version.0 += 1;
        (self.version, settled)
    }

    fn payments(&self, numbers: Range<u64>) -> Result<RecordBatch, Box<dyn Error>> {
        let ids: Int64Array = numbers.clone().map(|number| Some(account(number, self.rows) as i64)).collect();
        let amounts: Float64Array = numbers.clone().map(|number| Some((number % 997) as f64 / 4.0)).collect();
        let credits = credits(numbers.clone().map(|number| account(number, self.rows)));
        let countries = countries(numbers.clone().map(|number| account(number, self.rows)));
        let times: TimestampMicrosecondArray = numbers.map(|number| Some(time_us(number))).collect();
        batch_of(
            self.stream.plan().stream(),
            vec![Arc::new(ids), Arc::new(amounts), credits, countries, Arc::new(times)],
        )
    }
}

fn project(sql: &str) -> Result<Project, Box<dyn Error>> {
    let file = SourceFile { name: "project.sql".to_owned(), text: sql.to_owned() };
    check(&[file]).map_err(|errors| errors[0].to_string().into())
}

fn accounts(declared: &Stream, ids: &[u64], time_us: i64) -> Result<RecordBatch, Box<dyn Error>> {
    let (credits, countries) = (credits(ids.iter().copied()), countries(ids.iter().copied()));
    let times: TimestampMicrosecondArray = ids.iter().map(|_| Some(time_us)).collect();
    let ids: Int64Array = ids.iter().map(|id| Some(*id as i64)).collect();
    batch_of(declared, vec![Arc::new(ids), credits, countries, Arc::new(times)])
}

fn credits(ids: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(ids.map(|id| Some((id % 89 + 1) as f64)).collect::<Float64Array>())
}

fn countries(ids: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(ids.map(|id| Some(["AT", "BR", "CH", "DK"][(id % 4) as usize])).collect::<StringArray>())
}

fn batch_of(declared: &Stream, columns: Vec<ArrayRef>) -> Result<RecordBatch, Box<dyn Error>> {
    Ok(RecordBatch::try_new(declared.schema(), columns)?)
}

fn arrivals<'a>(faced: Faced<'a>, offsets: &'a [u64]) -> Arrivals<'a> {
    Arrivals {
        faced,
        arrived_us: ArrivedAt::All(ARRIVED_US),
        offsets,
        lateness: Lateness::Applied,
        used_before: &[],
        fed: None,
    }
}

/// Any of them, each as often.
fn account(number: u64, accounts: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % accounts
}

fn time_us(number: u64) -> i64 {
    SECOND_US + (number * SECOND_US as u64 / EVENTS_PER_SECOND) as i64
}
