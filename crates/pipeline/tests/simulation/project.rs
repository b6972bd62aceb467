//! The project that is simulated: three stored streams of equal columns, judged and acknowledged in different ways.
//!
//! | stream   | repeats are known by | acknowledged when        | log keeps              |
//! |----------|----------------------|--------------------------|------------------------|
//! | payments | PRIMARY KEY          | durable                  | all                    |
//! | clicks   | names of batches     | durable                  | all                    |
//! | beats    | names of batches     | with the system (`'os'`) | all, or the last minute |

use std::sync::{Arc, LazyLock};

use asof_definition::{Project, SourceFile};

pub(crate) const PAYMENTS: usize = 0;
pub(crate) const BEATS: usize = 2;
pub(crate) const STREAMS: usize = 3;

pub(crate) const SECOND_US: i64 = 1_000_000;
pub(crate) const HOUR_US: i64 = 3_600 * SECOND_US;
/// Allowed lateness, by stream.
pub(crate) const LATENESS_US: [i64; STREAMS] = [30 * SECOND_US, 10 * SECOND_US, 10 * SECOND_US];
/// How far an event may lie beyond its arrival: the default of the language.
pub(crate) const AHEAD_MAX_US: i64 = 60 * SECOND_US;
/// So long without arrivals a stream is idle: the default of the language.
pub(crate) const IDLE_US: i64 = 60 * SECOND_US;
/// What the log of `beats` keeps where its retention is bounded.
pub(crate) const RETENTION_US: i64 = 60 * SECOND_US;

/// What changes from life to life, and from seed to seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    /// Whether two views have their second definition.
    pub(crate) is_changed: bool,
    /// Whether the log of `beats` lets old segments go.
    pub(crate) is_bounded: bool,
}

static PROJECTS: LazyLock<[Arc<Project>; 4]> = LazyLock::new(|| {
    [(false, false), (false, true), (true, false), (true, true)].map(|(is_changed, is_bounded)| {
        let text = sql(Variant { is_changed, is_bounded });
        let sources = [SourceFile { name: "project.sql".to_owned(), text }];
        Arc::new(asof_definition::check(&sources).expect("a sound project"))
    })
});

/// The project in one of its variants.
pub(crate) fn project(variant: Variant) -> Arc<Project> {
    PROJECTS[usize::from(variant.is_changed) * 2 + usize::from(variant.is_bounded)].clone()
}

/// The range of the views `recent` and `pulse` in seconds, by variant.
pub(crate) fn range_us(view: &str, variant: Variant) -> i64 {
    let seconds = match (view, variant.is_changed) {
        ("recent", false) => 20,
        ("recent", true) => 45,
        (_, false) => 15,
        (_, true) => 10,
    };
    seconds * SECOND_US
}

fn sql(variant: Variant) -> String {
    let recent = range_us("recent", variant) / SECOND_US;
    let pulse = range_us("pulse", variant) / SECOND_US;
    let retention = if variant.is_bounded { ", retention = '1 minute'" } else { "" };
    let columns = "serial BIGINT NOT NULL, entity BIGINT NOT NULL, amount BIGINT NOT NULL CHECK (amount >= 0), \
                   price DECIMAL(9,2), note VARCHAR, ts TIMESTAMP NOT NULL";
    format!(
        "
CREATE STREAM payments ({columns}, PRIMARY KEY (serial), WATERMARK FOR ts AS ts - INTERVAL '30' SECOND);
CREATE STREAM clicks ({columns}, WATERMARK FOR ts AS ts - INTERVAL '10' SECOND);
CREATE STREAM beats ({columns}, WATERMARK FOR ts AS ts - INTERVAL '10' SECOND) WITH (ack = 'os'{retention});
CREATE FEATURE VIEW lifetime AS
SELECT entity, count(*) OVER w AS events, sum(amount) OVER w AS total, max(serial) OVER w AS newest
FROM payments WINDOW w AS (PARTITION BY entity ORDER BY ts);
CREATE FEATURE VIEW recent AS
SELECT entity, count(*) OVER r AS events, sum(amount) OVER r AS total, sum(amount) OVER n AS last_three,
       stddev_samp(amount) OVER r AS spread, last_value(note) OVER n AS note, sum(price) OVER r AS price,
       count(DISTINCT amount) OVER r AS amounts
FROM payments
WINDOW r AS (PARTITION BY entity ORDER BY ts RANGE BETWEEN INTERVAL '{recent}' SECOND PRECEDING AND CURRENT ROW),
       n AS (PARTITION BY entity ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW shares AS
SELECT entity, sum(100 / amount) OVER w AS shares
FROM payments WINDOW w AS (PARTITION BY entity ORDER BY ts);
CREATE FEATURE VIEW hourly AS
SELECT entity, count(*) OVER w AS events, min(amount) OVER w AS least
FROM payments WINDOW w AS (PARTITION BY entity, date_trunc('hour', ts) ORDER BY ts);
CREATE FEATURE VIEW clicked AS
SELECT entity, count(*) OVER w AS events, sum(amount) OVER w AS total, max(serial) OVER w AS newest
FROM clicks WINDOW w AS (PARTITION BY entity ORDER BY ts);
CREATE FEATURE VIEW pulse AS
SELECT entity, count(*) OVER r AS events, sum(amount) OVER r AS total
FROM beats
WINDOW r AS (PARTITION BY entity ORDER BY ts RANGE BETWEEN INTERVAL '{pulse}' SECOND PRECEDING AND CURRENT ROW);
"
    )
}
