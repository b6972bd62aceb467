//! What feature views and derived streams over group windows are, once they are checked.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::BTreeSet;

use asof_definition::{FeatureView, Project, SourceFile, Stream, check_ahead};
use asof_window::{Bound, Extent, Frame, Function, GroupWindow, Which};

const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;

const BASE: &str = "
CREATE STREAM clicks (id BIGINT, user_id BIGINT NOT NULL, country VARCHAR, amount BIGINT, ts TIMESTAMP,
  PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '30' SECOND);
CREATE STREAM refunds (user_id BIGINT, amount BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts);
";

fn project(more: &str) -> Project {
    let text = format!("{BASE}{more}");
    check_ahead(&[SourceFile { name: "windows.sql".to_owned(), text }]).unwrap()
}

fn over(function: &str) -> String {
    format!("FROM TABLE({function}) GROUP BY user_id, window_start, window_end;")
}

fn tumble(stream: &str, time: &str) -> String {
    over(&format!("TUMBLE(TABLE {stream}, DESCRIPTOR({time}), INTERVAL '1' HOUR)"))
}

fn view_of(function: &str, items: &str) -> FeatureView {
    let project = project(&format!("CREATE FEATURE VIEW v AS SELECT user_id, {items} {}", over(function)));
    FeatureView::clone(project.view("v").unwrap())
}

fn shape_of(function: &str) -> GroupWindow {
    match view_of(function, "count(*) AS n").frames[..] {
        [Frame { extent: Extent::Group { shape, which: Which::Open }, .. }] => shape,
        ref other => panic!("{other:?}"),
    }
}

fn names(stream: &Stream) -> Vec<&str> {
    stream.columns.iter().map(|column| &column.name[..]).collect()
}

#[test]
fn lengths_are_read_by_place_and_by_name() {
    let (size_us, offset_us) = (HOUR_US, 15 * MINUTE_US);
    let tumble = GroupWindow::Tumble { size_us, offset_us };
    let hour = "INTERVAL '1' HOUR";
    assert_eq!(shape_of(&format!("TUMBLE(TABLE clicks, DESCRIPTOR(ts), {hour}, INTERVAL '15 minutes')")), tumble);
    let named = format!(
        "tumble(size => {hour}, TIMECOL => DESCRIPTOR(ts), offset => INTERVAL 75 MINUTE, DATA => TABLE clicks)"
    );
    assert_eq!(shape_of(&named), tumble, "windows begin each hour: 75 minutes are 15");
    assert_eq!(
        shape_of(&format!("HOP(TABLE clicks, DESCRIPTOR(ts), INTERVAL '25' MINUTES, {hour}, {hour})")),
        GroupWindow::Hop { size_us, slide_us: 25 * MINUTE_US, offset_us: 10 * MINUTE_US }
    );
    assert_eq!(
        shape_of(&format!(
            "CUMULATE(TABLE clicks, DESCRIPTOR(\"ts\"), INTERVAL '20' MINUTE, {hour}, INTERVAL '40' MINUTE)"
        )),
        GroupWindow::Cumulate { size_us, step_us: 20 * MINUTE_US, offset_us: 40 * MINUTE_US }
    );
    let session = GroupWindow::Session { gap_us: HOUR_US };
    assert_eq!(shape_of(&format!("SESSION(TABLE clicks PARTITION BY user_id, DESCRIPTOR(ts), {hour})")), session);
    let named =
        format!("SESSION(DATA => TABLE clicks PARTITION BY (user_id), TIMECOL => DESCRIPTOR(ts), GAP => {hour})");
    assert_eq!(shape_of(&named), session);
}

#[test]
fn a_feature_takes_each_aggregate_once_from_the_open_window_and_from_the_closed_one() {
    let lag = |of: &str| format!("lag({of}) OVER (PARTITION BY user_id ORDER BY window_start)");
    let items = format!(
        "window_start, count(*) AS n, count(*) + 1 AS more, {} AS last_n, {} AS until",
        lag("count(*)"),
        lag("window_end")
    );
    let view = view_of("TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' HOUR)", &items);
    let shape = GroupWindow::Tumble { size_us: HOUR_US, offset_us: 0 };
    let frame = |which| Frame::of(Extent::Group { shape, which });
    assert_eq!(view.frames, [frame(Which::Open), frame(Which::LastClosed)]);
    let taken: Vec<(Function, usize)> = view.aggregates.iter().map(|one| (one.function, one.frame)).collect();
    let bound = Function::WindowBound;
    let expected = [(bound(Bound::Start), 0), (Function::Count, 0), (Function::Count, 1), (bound(Bound::End), 1)];
    assert_eq!(taken, expected, "what `lag` asks whether there is a window by is the count that it gives");
    let nullable: Vec<bool> = view.features.iter().map(|feature| feature.expression.nullable()).collect();
    assert_eq!(nullable, [true, false, false, true, true], "no session may be open, and no window closed");
    assert_eq!(view.features[3].expression.columns(), [2]);
}

#[test]
fn lag_of_an_aggregate_that_is_null_without_events_takes_no_count() {
    let lag = |of: &str| format!("lag({of}) OVER (PARTITION BY user_id ORDER BY window_start)");
    let items = format!(
        "{} AS total, {} AS countries, {} AS start, {} AS twice, {} AS kinds",
        lag("sum(amount)"),
        lag("top_k(country, 2)"),
        lag("window_start"),
        lag("2 * sum(amount)"),
        lag("count(DISTINCT country)"),
    );
    let view = view_of("TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' HOUR)", &items);
    let taken: Vec<Function> = view.aggregates.iter().map(|one| one.function).collect();
    use Function::{Count, CountDistinct, Sum, TopK, WindowBound};
    assert_eq!(taken, [Sum, TopK(2), WindowBound(Bound::Start), Count, CountDistinct]);
    let columns: Vec<Vec<usize>> = view.features.iter().map(|feature| feature.expression.columns()).collect();
    assert_eq!(columns[..3], [[0], [1], [2]].map(Vec::from));
    let sorted = |columns: &Vec<usize>| BTreeSet::from_iter(columns.iter().copied());
    assert_eq!([&columns[3], &columns[4]].map(sorted), [[0, 3], [3, 4]].map(BTreeSet::from), "others take one");
    assert!(view.features.iter().all(|feature| feature.expression.nullable()));
}

#[test]
fn a_row_of_a_window_has_its_last_instant_as_its_event_time() {
    let project = project(&format!(
        "CREATE STREAM hours AS SELECT user_id, window_end, count(*) AS n, sum(amount) AS total {}
         CREATE STREAM named AS SELECT window_time AS closed_at, country, user_id
         FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' HOUR))
         WHERE amount > 0 GROUP BY country, user_id, window_start, window_end, window_time;",
        tumble("clicks", "ts")
    ));
    let hours = project.stream("hours").unwrap();
    assert_eq!(names(hours), ["user_id", "window_end", "n", "total", "window_time", "<key 0>"]);
    assert_eq!((hours.time_column, hours.named_columns().len()), (4, 4), "it is hidden unless selected");
    let not_null: Vec<bool> = hours.columns.iter().map(|column| column.not_null).collect();
    assert_eq!(not_null, [true, true, true, false, true, true]);
    assert_eq!((&hours.primary_key[..], hours.lateness_us), (&[5][..], 30_000_000));
    let window = hours.window().unwrap();
    let scope = window.row_scope();
    let places: Vec<Vec<usize>> =
        hours.derivation().unwrap().inputs[0].columns.iter().map(|column| column.expression.columns()).collect();
    assert_eq!(
        places,
        [[0], [1], [2], [3], [4], [0]],
        "the key, then what is taken from the window, its last instant behind, and the key that orders rows"
    );
    assert_eq!(scope.len(), 5);
    let named = project.stream("named").unwrap();
    assert_eq!((names(named), named.time_column), (vec!["closed_at", "country", "user_id", "<key 0>", "<key 1>"], 0));
    let view = &named.window().unwrap().view;
    assert_eq!(view.filter_text.as_deref(), Some("amount > 0"));
    assert_eq!(view.key.iter().map(|part| &part.text[..]).collect::<Vec<_>>(), ["country", "user_id"]);
    assert!(view.features.is_empty());
}

#[test]
fn rows_arise_where_windows_close_and_events_stand_behind_them() {
    let project = project(&format!(
        "CREATE STREAM both AS SELECT user_id, amount, ts FROM clicks UNION ALL SELECT user_id, amount, ts FROM refunds;
         CREATE STREAM hours AS SELECT user_id, sum(amount) AS total {}
         CREATE STREAM large AS SELECT user_id, total FROM hours WHERE total > 10;",
        tumble("both", "ts")
    ));
    let told = |streams: Vec<std::sync::Arc<Stream>>| streams.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    let large = project.stream("large").unwrap();
    assert_eq!(told(large.branches()), ["hours"]);
    assert_eq!(told(large.sources()), ["hours"]);
    assert_eq!(told(large.origins()), ["clicks", "refunds"]);
    assert_eq!(told(large.lineage()), ["large"]);
    assert_eq!(told(large.ancestry()), ["both", "hours", "large"]);
    assert_eq!(project.stream("hours").unwrap().reads(), ["both"]);
    assert_eq!(told(project.stream("both").unwrap().branches()), ["clicks", "refunds"]);
}

#[test]
fn rows_of_windows_have_an_order_without_a_primary_key() {
    let view = "CREATE FEATURE VIEW v AS SELECT user_id, last_value(n) OVER w AS n FROM d
        WINDOW w AS (PARTITION BY user_id ORDER BY window_time);";
    let hours = format!("CREATE STREAM hours AS SELECT user_id, count(*) AS n {}", tumble("clicks", "ts"));
    let warnings = |derived: &str| {
        let project = project(&format!("{hours}{derived}{view}"));
        project.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(warnings("CREATE STREAM d AS SELECT user_id, n FROM hours WHERE n > 1;"), [""; 0]);
    let united = warnings("CREATE STREAM d AS SELECT * FROM hours UNION ALL SELECT * FROM hours;");
    assert!(united[0].contains("stream `d` has no PRIMARY KEY"), "{united:?}");
}

#[test]
fn a_view_reaches_as_far_back_as_its_frames() {
    let reach = |view: &str| {
        let hop = over("HOP(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '1' HOUR)");
        let sessions = over("SESSION(TABLE clicks PARTITION BY user_id, DESCRIPTOR(ts), INTERVAL '1' HOUR)");
        let project = project(&format!(
            "CREATE STREAM hops AS SELECT user_id, count(*) AS n {hop}
             CREATE STREAM sessions AS SELECT user_id, count(*) AS n {sessions}
             CREATE FEATURE VIEW v AS SELECT user_id, {view}"
        ));
        project.view("v").unwrap().reach_us()
    };
    let of = |stream: &str| {
        format!("sum(n) OVER w AS n FROM {stream}
            WINDOW w AS (PARTITION BY user_id ORDER BY window_time RANGE BETWEEN INTERVAL '2' HOUR PRECEDING AND CURRENT ROW);")
    };
    assert_eq!(reach(&of("hops")), Some(2 * HOUR_US));
    assert_eq!(reach(&of("sessions")), Some(2 * HOUR_US), "rows of windows are a source of their own");
    assert_eq!(reach(&format!("count(*) AS n {}", tumble("clicks", "ts"))), Some(HOUR_US));
    assert_eq!(reach(&format!("sum(n) AS n {}", tumble("hops", "window_time"))), Some(HOUR_US));
    let lag = "lag(count(*)) OVER (PARTITION BY user_id ORDER BY window_start) AS n";
    assert_eq!(reach(&format!("{lag} {}", tumble("clicks", "ts"))), None);
}
