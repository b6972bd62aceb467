//! What the logs say, read in the plainest way: each event is joined with the version that holds at its time, of all that are
//! visible.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use asof_connect::{StoredStream, StoredVerdict};
use asof_disk::Disk;
use asof_pipeline::Engine;
use serde_json::{Map, Value, json};

use crate::world::{DATA, SECOND_US, World};

/// The range of `by_account`.
const RANGE_US: i64 = 40 * SECOND_US;
/// The range of `charges`.
const CHARGES_RANGE_US: i64 = 25 * SECOND_US;

pub(crate) const TX: usize = 0;
pub(crate) const ORDERS: usize = 1;
pub(crate) const MERCHANTS: usize = 2;
pub(crate) const REGIONS: usize = 3;

/// The view `charges` is over a union: its events of `tx` change for as long as merchants or regions come late, those of `orders`
/// for as long as regions do. What a version takes out of it lets an older event into its ROWS.
pub(crate) const SQL: &str = "
CREATE STREAM tx (serial BIGINT NOT NULL, account BIGINT, merchant BIGINT, amount BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
  PRIMARY KEY (serial), WATERMARK FOR ts AS ts - INTERVAL '30' SECOND);
CREATE STREAM orders (serial BIGINT NOT NULL, account BIGINT, region BIGINT, ts TIMESTAMP NOT NULL,
  PRIMARY KEY (serial), WATERMARK FOR ts AS ts - INTERVAL '10' SECOND);
CREATE TABLE merchants (merchant BIGINT, region BIGINT, fee BIGINT, gone BOOLEAN, at TIMESTAMP NOT NULL,
  PRIMARY KEY (merchant), WATERMARK FOR at AS at - INTERVAL '30' SECOND) WITH (delete_column = 'gone');
CREATE TABLE regions (region BIGINT, weight BIGINT, at TIMESTAMP NOT NULL,
  PRIMARY KEY (region), WATERMARK FOR at AS at - INTERVAL '20' SECOND);
CREATE FEATURE VIEW by_account AS
SELECT t.account, count(*) OVER h AS n, sum(m.fee) OVER h AS fees, count(m.fee) OVER h AS joined
FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant
WINDOW h AS (PARTITION BY t.account ORDER BY t.ts RANGE BETWEEN INTERVAL '40' SECOND PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW by_region AS
SELECT m.region, count(*) OVER w AS n, sum(r.weight) OVER w AS weight, max(t.serial) OVER w AS newest
FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant
LEFT JOIN regions FOR SYSTEM_TIME AS OF t.ts AS r ON r.region = m.region
WINDOW w AS (PARTITION BY m.region ORDER BY t.ts);
CREATE STREAM priced AS SELECT t.account, t.amount / m.fee AS share, t.ts
FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant;
CREATE FEATURE VIEW shares AS
SELECT account, count(*) OVER w AS n, sum(share) OVER w AS shares FROM priced WINDOW w AS (PARTITION BY account ORDER BY ts);
CREATE FEATURE VIEW merchant AS SELECT merchant, region, fee FROM merchants;
CREATE FEATURE VIEW plain AS
SELECT account, count(*) OVER w AS n, sum(amount) OVER w AS total FROM tx WINDOW w AS (PARTITION BY account ORDER BY ts);
CREATE STREAM charged AS SELECT t.account, m.fee AS charge, t.ts
FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant = t.merchant
UNION ALL SELECT o.account, r.weight, o.ts
FROM orders AS o LEFT JOIN regions FOR SYSTEM_TIME AS OF o.ts AS r ON r.region = o.region;
CREATE FEATURE VIEW charges AS
SELECT account, count(*) OVER h AS n, sum(charge) OVER h AS charges, sum(charge) OVER r AS last_two FROM charged WHERE charge > 0
WINDOW h AS (PARTITION BY account ORDER BY ts RANGE BETWEEN INTERVAL '25' SECOND PRECEDING AND CURRENT ROW),
       r AS (PARTITION BY account ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW of_region AS
SELECT region, count(*) AS n, sum(fee) AS fees, max(merchant) AS greatest FROM merchants WHERE fee > 0 GROUP BY region;
";

/// The same without some of the views.
pub(crate) fn sql_without(views: &[&str]) -> String {
    let is_one =
        |statement: &str| views.iter().any(|view| statement.contains(&format!("CREATE FEATURE VIEW {view} AS")));
    SQL.split_inclusive(';').filter(|statement| !is_one(statement)).collect()
}

/// Entity keys and keys of tables are less than this.
pub(crate) const KEYS: i64 = 4;

/// One used row: numbers by column (a BOOLEAN is 0 or 1), the event time, the offset.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    columns: Vec<Option<i64>>,
    time_us: i64,
    offset: u64,
}

/// The visible rows of all sources.
#[derive(Debug)]
pub(crate) struct Plain {
    sources: Vec<Vec<Row>>,
}

impl Plain {
    /// What reads of an engine see; `None` where the disk cannot be read.
    pub(crate) fn visible(world: &World, engine: &Engine) -> Option<Plain> {
        let published = engine.published();
        let source = |(place, position): (usize, &asof_pipeline::StreamPosition)| {
            let rows = stored(world, engine, place)?.into_iter();
            Some(rows.filter(|row| row.offset < position.next_offsets[0]).collect())
        };
        Some(Plain { sources: published.streams.iter().enumerate().map(source).collect::<Option<_>>()? })
    }

    pub(crate) fn serials(&self) -> Vec<i64> {
        [TX, ORDERS].iter().flat_map(|source| &self.sources[*source]).filter_map(|row| row.columns[0]).collect()
    }

    pub(crate) fn rows(&self, source: usize) -> usize {
        self.sources[source].len()
    }

    /// The version of a key that holds at an instant, if it is a row.
    fn look_up(&self, source: usize, key: Option<i64>, t_us: i64) -> Option<&Row> {
        let own = self.sources[source].iter().filter(|row| row.columns[0] == key && row.time_us <= t_us);
        let newest = own.max_by_key(|row| (row.time_us, row.offset))?;
        let is_gone = source == MERCHANTS && newest.columns[3] == Some(1);
        (key.is_some() && !is_gone).then_some(newest)
    }

    /// Each event up to an instant, with its merchant.
    fn events(&self, t_us: i64) -> impl Iterator<Item = (&Row, Option<&Row>)> {
        let events = self.sources[TX].iter().filter(move |row| row.time_us <= t_us);
        events.map(move |row| (row, self.look_up(MERCHANTS, row.columns[2], row.time_us)))
    }

    /// The features of an entity of a view as of an instant.
    pub(crate) fn features(&self, view: &str, key: i64, t_us: i64) -> Map<String, Value> {
        let of_account = || self.events(t_us).filter(|(event, _)| event.columns[1] == Some(key));
        let features = match view {
            "by_account" => {
                let events: Vec<_> = of_account().filter(|(event, _)| event.time_us >= t_us - RANGE_US).collect();
                let fees: Vec<i64> = events.iter().filter_map(|(_, merchant)| merchant.as_ref()?.columns[2]).collect();
                json!({"n": events.len(), "fees": sum(&fees), "joined": fees.len()})
            }
            "by_region" => {
                let region = |merchant: &Option<&Row>| merchant.and_then(|merchant| merchant.columns[1]);
                let events: Vec<&Row> = self
                    .events(t_us)
                    .filter(|(_, merchant)| region(merchant) == Some(key))
                    .map(|(one, _)| one)
                    .collect();
                let weight = |event: &&Row| self.look_up(REGIONS, Some(key), event.time_us)?.columns[1];
                let weights: Vec<i64> = events.iter().filter_map(weight).collect();
                let newest = events.iter().filter_map(|event| event.columns[0]).max();
                json!({"n": events.len(), "weight": sum(&weights), "newest": newest})
            }
            "shares" => {
                let fee = |merchant: Option<&Row>| merchant.and_then(|merchant| merchant.columns[2]);
                let used: Vec<_> = of_account().filter(|(_, merchant)| fee(*merchant) != Some(0)).collect();
                let share = |(event, merchant): &(&Row, Option<&Row>)| Some(event.columns[3]? / fee(*merchant)?);
                let shares: Vec<i64> = used.iter().filter_map(share).collect();
                json!({"n": used.len(), "shares": sum(&shares)})
            }
            "charges" => {
                let is_in = |event: &&Row| event.columns[1] == Some(key) && event.time_us <= t_us;
                let orders = self.sources[ORDERS].iter().filter(is_in);
                let weight = |order: &Row| self.look_up(REGIONS, order.columns[2], order.time_us)?.columns[1];
                let orders = orders.map(|order| (order, weight(order)));
                let events = of_account().map(|(event, merchant)| (event, merchant.and_then(|one| one.columns[2])));
                let branches = events.map(|one| (TX, one)).chain(orders.map(|one| (ORDERS, one)));
                let charged = branches.filter_map(|(branch, (event, charge))| Some((event, branch, charge?)));
                let mut all: Vec<(&Row, usize, i64)> = charged.filter(|(_, _, charge)| *charge > 0).collect();
                all.sort_by_key(|(event, branch, _)| (event.time_us, *branch, event.offset));
                let charge = |(_, _, charge): &(&Row, usize, i64)| *charge;
                let last_two: Vec<i64> = all.iter().rev().take(2).map(charge).collect();
                let recent = all.iter().filter(|(event, _, _)| event.time_us >= t_us - CHARGES_RANGE_US);
                let charges: Vec<i64> = recent.map(charge).collect();
                json!({"n": charges.len(), "charges": sum(&charges), "last_two": sum(&last_two)})
            }
            "of_region" => {
                let valid = (0..KEYS).filter_map(|merchant| self.look_up(MERCHANTS, Some(merchant), t_us));
                let is_in = |row: &&Row| row.columns[1] == Some(key) && row.columns[2] > Some(0);
                let rows: Vec<&Row> = valid.filter(is_in).collect();
                let fees: Vec<i64> = rows.iter().filter_map(|row| row.columns[2]).collect();
                let greatest = rows.iter().filter_map(|row| row.columns[0]).max();
                json!({"n": rows.len(), "fees": sum(&fees), "greatest": greatest})
            }
            "merchant" => {
                let row = self.look_up(MERCHANTS, Some(key), t_us);
                let column = |place: usize| row.and_then(|row| row.columns[place]);
                json!({"region": column(1), "fee": column(2)})
            }
            _ => {
                let amounts: Vec<i64> = of_account().filter_map(|(event, _)| event.columns[3]).collect();
                json!({"n": amounts.len(), "total": sum(&amounts)})
            }
        };
        features.as_object().unwrap().clone()
    }
}

fn sum(values: &[i64]) -> Option<i64> {
    (!values.is_empty()).then(|| values.iter().sum())
}

/// The used rows of a source's log.
fn stored(world: &World, engine: &Engine, source: usize) -> Option<Vec<Row>> {
    let disk: Arc<dyn Disk> = world.disk.shared();
    let definition = &engine.sources()[source];
    let mut frames = StoredStream::open(disk, Path::new(DATA), definition, 0, 0).ok()?;
    let mut rows = Vec::new();
    while let Some(frame) = frames.next_frame().ok()? {
        let verdicts = frame.batch.verdicts.iter().enumerate();
        let used = verdicts.filter(|(_, verdict)| **verdict == StoredVerdict::Used).map(|(row, _)| row as u64);
        let (batch, time) = (&frame.batch.used, definition.time_column);
        rows.extend(used.enumerate().map(|(place, row)| Row {
            columns: (0..time).map(|column| number(batch, column, place)).collect(),
            time_us: batch.column(time).as_primitive::<TimestampMicrosecondType>().value(place),
            offset: frame.first_offset + row,
        }));
    }
    Some(rows)
}

fn number(batch: &RecordBatch, column: usize, row: usize) -> Option<i64> {
    let array = batch.column(column);
    array.is_valid(row).then(|| match array.as_boolean_opt() {
        Some(flags) => i64::from(flags.value(row)),
        None => array.as_primitive::<Int64Type>().value(row),
    })
}
