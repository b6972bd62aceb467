//! The project that is simulated: three stored streams of equal columns, judged and acknowledged in different ways.
//!
//! | stream   | repeats are known by | acknowledged when        | log keeps              |
//! |----------|----------------------|--------------------------|------------------------|
//! | payments | PRIMARY KEY          | durable                  | all                    |
//! | clicks   | names of batches     | durable                  | all                    |
//! | beats    | names of batches     | with the system (`'os'`) | all, or the last minute |
//!
//! Two derived streams are unions: `sold` of payments and clicks, `moved` of payments and, by variant, clicks or beats, whose log
//! may be bounded: what the union needs of it is kept as long as payments are slow.
//!
//! Of the views over group windows those over the clock's are always there. Sessions are there by variant: where they are, a
//! history of payments or clicks that reaches below what they hold is refused.

use std::sync::{Arc, LazyLock};

use asof_definition::{Project, SourceFile};

use crate::windows::Shape;

pub(crate) const PAYMENTS: usize = 0;
pub(crate) const CLICKS: usize = 1;
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
/// How far before a watermark reads may stand.
pub(crate) const HORIZON_US: i64 = 10 * SECOND_US;
/// The range of the view `lately`, over `moved`.
pub(crate) const LATELY_US: i64 = 25 * SECOND_US;
/// What the log of `beats` keeps where its retention is bounded.
pub(crate) const RETENTION_US: i64 = 60 * SECOND_US;

/// What changes from life to life, and from seed to seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    /// Whether some views have their second definition.
    pub(crate) is_changed: bool,
    /// Whether the log of `beats` lets old segments go.
    pub(crate) is_bounded: bool,
    /// Whether `moved` is of payments and beats, and not of payments and clicks.
    pub(crate) moves_beats: bool,
    /// Whether there are views over sessions.
    pub(crate) has_sessions: bool,
}

static PROJECTS: LazyLock<[Arc<Project>; 16]> = LazyLock::new(|| {
    std::array::from_fn(|place| {
        let [has_sessions, is_changed, is_bounded, moves_beats] = [8, 4, 2, 1].map(|bit| place & bit != 0);
        let text = sql(Variant { is_changed, is_bounded, moves_beats, has_sessions });
        let sources = [SourceFile { name: "project.sql".to_owned(), text }];
        Arc::new(asof_definition::check(&sources).expect("a sound project"))
    })
});

/// The project in one of its variants.
pub(crate) fn project(variant: Variant) -> Arc<Project> {
    let Variant { is_changed, is_bounded, moves_beats, has_sessions } = variant;
    let bits = [has_sessions, is_changed, is_bounded, moves_beats];
    PROJECTS[bits.into_iter().fold(0, |place, bit| place * 2 + usize::from(bit))].clone()
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

/// How the windows of a view are cut, by variant.
pub(crate) fn shape(view: &str, variant: Variant) -> Shape {
    match view {
        "minutes" => Shape::Hop { slide_us: 20 * SECOND_US, size_us: 20 * SECOND_US },
        "hops" => Shape::Hop { slide_us: 10 * SECOND_US, size_us: 25 * SECOND_US },
        "so_far" => Shape::Cumulate { step_us: 15 * SECOND_US, size_us: 60 * SECOND_US },
        "visits" => Shape::Session { gap_us: if variant.is_changed { 6 } else { 3 } * SECOND_US },
        _ => Shape::Session { gap_us: 4 * SECOND_US },
    }
}

/// The views over sessions, each with the streams whose events it sees.
pub(crate) const SESSIONS: [(&str, &[usize]); 2] = [("visits", &[CLICKS]), ("trips", &[PAYMENTS, CLICKS])];

fn sql(variant: Variant) -> String {
    let mut text = sql_of_rows(variant) + &sql_of_windows(variant);
    if variant.has_sessions {
        text += &sql_over("visits", "clicks", variant);
        text += &sql_over("trips", "sold", variant);
    }
    text
}

fn sql_of_windows(variant: Variant) -> String {
    let hop = "HOP(TABLE beats, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '25' SECOND)";
    // Where the log is bounded, the last closed window may be beyond it.
    let hops = format!(
        "CREATE FEATURE VIEW hops AS SELECT entity, count(*) AS events, sum(amount) AS total
FROM TABLE({hop}) GROUP BY entity, window_start, window_end;\n"
    );
    sql_over("minutes", "payments", variant) + &hops + &sql_over("so_far", "clicks", variant)
}

/// A view of the open window and the one that closed last.
fn sql_over(view: &str, stream: &str, variant: Variant) -> String {
    let seconds = |us: i64| format!("INTERVAL '{}' SECOND", us / SECOND_US);
    let function = match shape(view, variant) {
        Shape::Hop { size_us, .. } => format!("TUMBLE(TABLE {stream}, DESCRIPTOR(ts), {})", seconds(size_us)),
        Shape::Cumulate { step_us, size_us } => {
            format!("CUMULATE(TABLE {stream}, DESCRIPTOR(ts), {}, {})", seconds(step_us), seconds(size_us))
        }
        Shape::Session { gap_us } => {
            format!("SESSION(TABLE {stream} PARTITION BY entity, DESCRIPTOR(ts), {})", seconds(gap_us))
        }
    };
    let before = "OVER (PARTITION BY entity ORDER BY window_start)";
    format!(
        "CREATE FEATURE VIEW {view} AS
SELECT entity, count(*) AS events, sum(amount) AS total, lag(count(*)) {before} AS last_events,
       lag(sum(amount)) {before} AS last_total, stddev_samp(amount) AS spread, lag(stddev_samp(amount)) {before} AS last_spread,
       window_start, lag(window_end) {before} AS last_end
FROM TABLE({function}) GROUP BY entity, window_start, window_end;\n"
    )
}

fn sql_of_rows(variant: Variant) -> String {
    let recent = range_us("recent", variant) / SECOND_US;
    let pulse = range_us("pulse", variant) / SECOND_US;
    let lately = LATELY_US / SECOND_US;
    let moved = if variant.moves_beats { "beats" } else { "clicks" };
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
CREATE STREAM sold AS
SELECT serial, entity, amount, ts FROM payments UNION ALL SELECT serial, entity, amount, ts FROM clicks;
CREATE FEATURE VIEW either AS
SELECT entity, count(*) OVER w AS events, sum(amount) OVER w AS total, max(serial) OVER w AS newest
FROM sold WINDOW w AS (PARTITION BY entity ORDER BY ts);
CREATE STREAM moved AS
SELECT entity, amount, ts FROM payments UNION ALL SELECT entity, amount, ts FROM {moved};
CREATE FEATURE VIEW lately AS
SELECT entity, count(*) OVER r AS events, sum(amount) OVER r AS total
FROM moved
WINDOW r AS (PARTITION BY entity ORDER BY ts RANGE BETWEEN INTERVAL '{lately}' SECOND PRECEDING AND CURRENT ROW);
"
    )
}
