//! What a view's state, or a stream's memory of primary keys, depends on, in a number or two: what was stored under other
//! numbers is not put back.

use std::sync::Arc;

use asof_definition::{DerivedInput, Entries, FeatureView, Output, Over, Stream, Table, TableJoin};
use asof_expression::{Expression, type_name};
use asof_window::{Exclusion, Frame, IMAGE_VERSION};
use twox_hash::XxHash3_64;

use crate::stream::StreamPlan;
use crate::view::ViewPlan;

/// Hashed to know a secret by.
const KNOWN_TEXT: &[u8] = b"asof: which secret is this?";

/// What stored hashes of a stream's primary keys were made of. Hashes of different prints cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPrint {
    /// Of names and types of the key's columns, in order; of nothing where repeats are no duplicates.
    pub columns: u64,
    /// Of the secret, which does not follow from it.
    pub secret: u64,
}

impl StreamPlan {
    /// The print of the keys that are remembered for this stream.
    pub fn key_print(&self) -> KeyPrint {
        let stream = self.stream();
        let key = if self.deduplicates() { &stream.primary_key[..] } else { &[] };
        let columns = key.iter().map(|column| &stream.columns[*column]);
        let columns = columns.map(|column| format!("{} {}", column.name, type_name(&column.data_type)));
        KeyPrint {
            columns: XxHash3_64::oneshot(columns.collect::<Vec<String>>().join(", ").as_bytes()),
            secret: self.hash(KNOWN_TEXT).0 as u64,
        }
    }
}

impl ViewPlan {
    /// Equal for plans whose states hold the same bytes after the same events: a hash (XXH3-64) of the format of images,
    /// of stream, time column and tie-breaking key, of what a derived stream is computed from and joined with, of whether
    /// events, rows of a table or groups of them count, of WHERE, key parts and
    /// aggregates as SQL, with the names and types of the columns that they read, and of the frames, which say what is
    /// kept. The view's name, its features and what they make of the aggregates do not count.
    ///
    /// Equal plans have equal prints. Where two prints differ though the states would not (a window has another name), the
    /// state is made anew from the log, which holds whatever a view still needs.
    pub fn fingerprint(&self) -> u64 {
        XxHash3_64::oneshot(self.description().as_bytes())
    }

    /// Equal for sinks of the view whose entries are made of the same, in the same way: a hash of the same, of what an entry has,
    /// by name and as SQL, and of the format of its message.
    pub fn entries_print(&self, entries: &Entries, format: &str) -> u64 {
        let mut lines = vec![self.description(), format.to_owned()];
        for (column, output) in entries.columns.iter().zip(&entries.outputs) {
            let text = match output {
                Output::Key(part) => &self.view().key[*part].text,
                Output::Feature(feature) => &self.view().features[*feature].text,
            };
            lines.push(format!("{} {} {text}", column.name, type_name(&column.data_type)));
        }
        XxHash3_64::oneshot(lines.join("\n").as_bytes())
    }

    /// Line by line, what [`ViewPlan::fingerprint`] is the hash of.
    fn description(&self) -> String {
        let view = self.view();
        let stream = &view.stream;
        let time_column = column_text(stream, stream.time_column);
        let mut lines = vec![format!("images {IMAGE_VERSION} of {} by {time_column}", stream.name)];
        match &view.over {
            Over::Events => {}
            Over::Row(table) => lines.push(format!("rows of {}", table_text(table))),
            Over::Groups(table) => lines.push(format!("groups of {}", table_text(table))),
        }
        lines.extend(stream.ancestry().iter().flat_map(|stream| derivation_lines(stream, table_text)));
        if self.program().follows_order() {
            let key: Vec<String> = stream.primary_key.iter().map(|column| column_text(stream, *column)).collect();
            lines.push(format!("order {}", key.join(", ")));
        }
        lines.extend(view_lines(view));
        lines.join("\n")
    }
}

/// What of a view's events counts, and for how long.
fn view_lines(view: &FeatureView) -> Vec<String> {
    let (stream, mut lines) = (&view.stream, Vec::new());
    let filter = view.filter_text.iter().zip(&view.filter);
    lines.extend(filter.map(|(text, filter)| described(stream, "where", text, [filter])));
    lines.extend(view.key.iter().map(|part| described(stream, "key", &part.text, [&part.expression])));
    for aggregate in &view.aggregates {
        let read = [&aggregate.argument, &aggregate.by, &aggregate.filter].into_iter().flatten();
        lines.push(described(stream, &format!("frame {}", aggregate.frame), &aggregate.text, read));
    }
    lines.extend(view.frames.iter().map(frame_line));
    lines
}

/// A frame; without an exclusion as it was described before frames could have one.
fn frame_line(frame: &Frame) -> String {
    let Frame { extent, calendar, exclusion } = frame;
    let excluded = match exclusion {
        Exclusion::NoOthers => String::new(),
        Exclusion::CurrentRow | Exclusion::Group => format!(", exclusion: {exclusion:?}"),
    };
    format!("Frame {{ extent: {extent:?}, calendar: {calendar:?}{excluded} }}")
}

/// Of all that a derived stream is computed by, down to the streams with events of their own. How late events and versions may
/// come is not among it.
pub(crate) fn derivation_fingerprint(stream: &Arc<Stream>) -> u64 {
    let ancestry = stream.ancestry();
    let lines: Vec<String> = ancestry.iter().flat_map(|stream| derivation_lines(stream, table_meaning)).collect();
    XxHash3_64::oneshot(lines.join("\n").as_bytes())
}

/// What the log of a stream is called. Rows that are made stand under what makes them: rows are never changed.
pub(crate) fn log_name(stream: &Arc<Stream>) -> String {
    match (stream.window(), stream.scored()) {
        (Some(_), _) => format!("{}.{:016x}", stream.name, derivation_fingerprint(stream)),
        (None, Some(_)) => format!("{}.{:016x}", stream.name, rows_fingerprint(stream)),
        (None, None) => stream.name.clone(),
    }
}

/// Of the columns of rows that are scored once, and of the logs of the rows before, one for each way. What computes them is not
/// among it.
fn rows_fingerprint(stream: &Stream) -> u64 {
    let columns = (0..stream.columns.len()).map(|column| column_text(stream, column));
    let ways = stream.scored().into_iter().flat_map(|scored| scored.rows.branches());
    let ways = ways.map(|source| format!("from {}", log_name(&source)));
    XxHash3_64::oneshot(columns.chain(ways).collect::<Vec<String>>().join("\n").as_bytes())
}

/// What the columns and the rows of a derived stream are computed by.
fn derivation_lines(stream: &Stream, table_text: fn(&Table) -> String) -> Vec<String> {
    let mut lines = vec![format!("derived {}", stream.name)];
    for input in stream.derivation().into_iter().flat_map(|derivation| &derivation.inputs) {
        lines.push(format!("from {} by {}", input.stream.name, column_text(&input.stream, input.stream.time_column)));
        if let Some(window) = &input.window {
            lines.push(format!("{:?}", window.shape));
            lines.extend(view_lines(&window.view));
            // By it events of one time follow each other.
            let order = &window.view.stream;
            let key: Vec<String> = order.primary_key.iter().map(|column| column_text(order, *column)).collect();
            lines.push(format!("order {}", key.join(", ")));
            // Over what is named by its place: the parts of the key, then the aggregates.
            lines.extend(columns_by_place(stream, input));
            continue;
        }
        if let Some(scored) = &input.scored {
            lines.extend(derivation_lines(&scored.rows, table_text));
            lines.extend(scored.services.iter().map(|one| format!("scored by {}", one.service.name)));
            // Over the columns of the rows, then the features.
            lines.extend(columns_by_place(stream, input));
            continue;
        }
        lines.extend(input.joins.iter().map(|join| join_line(input, join, table_text)));
        let filter = input.filter_text.iter().zip(&input.filter);
        lines.extend(filter.map(|(text, filter)| joined_text(input, "where", text, filter)));
        for (column, output) in stream.columns.iter().zip(&input.columns) {
            let what = format!("column {}", column.name);
            lines.push(joined_text(input, &what, &output.text, &output.expression));
        }
    }
    lines
}

/// The columns of rows that are made, over what is named by its place.
fn columns_by_place<'a>(stream: &'a Stream, input: &'a DerivedInput) -> impl Iterator<Item = String> + 'a {
    let outputs = stream.columns.iter().zip(&input.columns);
    outputs
        .map(|(column, output)| format!("column {} {} of {:?}", column.name, output.text, output.expression.columns()))
}

/// What a join brings, by which versions, and whose.
fn join_line(input: &DerivedInput, join: &TableJoin, table_text: fn(&Table) -> String) -> String {
    let brings: Vec<String> = join.columns.iter().map(|column| column_text(&join.table.versions, *column)).collect();
    let keys = join.key.iter().map(|key| joined_text(input, "", &key.text, &key.expression));
    let keys: Vec<String> = keys.collect();
    format!("join {} as {} on{} for {}", table_text(&join.table), join.alias, keys.join(","), brings.join(", "))
}

/// By what a table's rows are found, what ends them, and how late they may come: so long events are held that they change.
fn table_text(table: &Table) -> String {
    table_parts(table).join(&format!(", {} us late, ", table.versions.lateness_us))
}

/// By what a table's rows are found, and what ends them.
fn table_meaning(table: &Table) -> String {
    table_parts(table).join(", ")
}

fn table_parts(table: &Table) -> [String; 2] {
    let column = |column: &usize| column_text(&table.versions, *column);
    let key: Vec<String> = table.key().iter().map(column).collect();
    let deleted = table.deleted.map_or_else(|| "never deleted".to_owned(), |at| format!("deleted by {}", column(&at)));
    let since = column(&table.versions.time_column);
    [format!("{} by {} since {since}", table.name(), key.join(", ")), deleted]
}

/// An expression over the columns of an input: the stream's own, and those that its joins bring.
fn joined_text(input: &DerivedInput, what: &str, text: &str, read: &Expression) -> String {
    let mut all: Vec<String> =
        (0..input.stream.columns.len()).map(|column| column_text(&input.stream, column)).collect();
    for join in &input.joins {
        let brought = join.columns.iter().map(|column| column_text(&join.table.versions, *column));
        all.extend(brought.map(|column| format!("{}.{column}", join.alias)));
    }
    let columns: Vec<&str> = read.columns().into_iter().map(|column| all[column].as_str()).collect();
    format!("{what} {text} of {}", columns.join(", "))
}

fn described<'a>(stream: &Stream, what: &str, text: &str, read: impl IntoIterator<Item = &'a Expression>) -> String {
    let read = read.into_iter().flat_map(|one| one.columns());
    let columns: Vec<String> = read.map(|column| column_text(stream, column)).collect();
    format!("{what} {text} of {}", columns.join(", "))
}

fn column_text(stream: &Stream, column: usize) -> String {
    let column = &stream.columns[column];
    let not_null = if column.not_null { " NOT NULL" } else { "" };
    format!("{} {}{not_null}", column.name, type_name(&column.data_type))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_secret::KeySecret;
    use asof_definition::{SourceFile, check, check_ahead};

    const STREAM: &str = "CREATE STREAM s (id BIGINT NOT NULL, k VARCHAR, a BIGINT, b DOUBLE, ts TIMESTAMP,
        PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE);";
    const VIEW: &str = "CREATE FEATURE VIEW v AS
        SELECT lower(k) AS k, sum(a + 1) FILTER (WHERE b > 0.5) OVER w AS x, avg(b) OVER w AS y FROM s WHERE a IN (1, 2, 3)
        WINDOW w AS (PARTITION BY lower(k) ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);";

    fn plan(stream: &str, view: &str) -> ViewPlan {
        let text = format!("{stream}\n{view}");
        let project = check(&[SourceFile { name: "v.sql".to_owned(), text }]).unwrap();
        ViewPlan::new(project.views[0].clone()).unwrap()
    }

    /// Of what is not accepted yet.
    fn ahead(text: &str) -> ViewPlan {
        let project = check_ahead(&[SourceFile { name: "v.sql".to_owned(), text: text.to_owned() }]).unwrap();
        ViewPlan::new(project.views[0].clone()).unwrap()
    }

    fn check_change(is_other: bool, from: &str, to: &str) {
        let (stream, view) = (STREAM.replace(from, to), VIEW.replace(from, to));
        assert!((&stream[..], &view[..]) != (STREAM, VIEW), "`{from}` is not there");
        let (one, other) = (plan(STREAM, VIEW), plan(&stream, &view));
        assert_eq!(
            one.fingerprint() != other.fingerprint(),
            is_other,
            "`{from}` to `{to}`:\n{}\n{}",
            one.description(),
            other.description()
        );
    }

    #[test]
    fn what_decides_the_state_decides_the_print() {
        let same = |from, to| check_change(false, from, to);
        let other = |from, to| check_change(true, from, to);
        same("VIEW v", "VIEW another");
        same("AS y", "AS z");
        same(", avg(b) OVER w AS y", ", avg(b) OVER w AS y, avg(b) OVER w / 2 AS more");
        same("1' MINUTE", "2' MINUTE");
        other("avg(b)", "max(b)");
        other("lower(k)", "upper(k)");
        other("a + 1", "a + 2");
        other("b > 0.5", "b > 0.25");
        other("(1, 2, 3)", "(1, 2)");
        other("1' HOUR", "2' HOUR");
        other("INTERVAL '1' HOUR PRECEDING", "UNBOUNDED PRECEDING");
        other("a BIGINT", "a INTEGER");
        other("a BIGINT", "a BIGINT NOT NULL");
        other("avg(b)", "last_value(b)");
        other("AS x,", "AS x, min(a) OVER w AS least,");
        let renamed = plan(&STREAM.replace("STREAM s", "STREAM s2"), &VIEW.replace("FROM s", "FROM s2"));
        assert_ne!(renamed.fingerprint(), plan(STREAM, VIEW).fingerprint());
    }

    #[test]
    fn what_a_derived_stream_is_computed_by_counts_wherever_it_stands() {
        let derived = "CREATE STREAM one AS SELECT *, a + 1 AS more FROM s WHERE a > 0;
            CREATE STREAM two AS SELECT * FROM one WHERE b < 9.5 UNION ALL SELECT * FROM one WHERE b > 90.5;";
        let view = VIEW.replace("FROM s", "FROM two");
        let print = |derived: &str| plan(&format!("{STREAM}{derived}"), &view).fingerprint();
        let same = print(derived);
        assert_eq!(print(&derived.replace("CREATE STREAM one", "CREATE  STREAM  one")), same);
        for (from, to) in [("a > 0", "a > 1"), ("a + 1", "a + 2"), ("b < 9.5", "b <= 9.5"), ("b > 90.5", "b > 91.5")] {
            assert_ne!(print(&derived.replace(from, to)), same, "`{from}` to `{to}`");
        }
        let swapped = derived.replace("< 9.5", "> 90.5").replace("b > 90.5;", "b < 9.5;");
        assert_ne!(print(&swapped), same, "the order of branches orders ties");
        assert_ne!(plan(&format!("{STREAM}{derived}"), VIEW).fingerprint(), same);
    }

    #[test]
    fn the_shape_of_a_group_window_counts_and_which_of_its_windows_is_asked_for() {
        let view = |function: &str, feature: &str| {
            let view = format!(
                "CREATE FEATURE VIEW v AS SELECT k, {feature} AS n FROM TABLE({function})
                 GROUP BY k, window_start, window_end;"
            );
            ahead(&format!("{STREAM}{view}")).fingerprint()
        };
        let (tumble, session) = (
            "TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' HOUR)",
            "SESSION(TABLE s PARTITION BY k, DESCRIPTOR(ts), INTERVAL '1' HOUR)",
        );
        let same = view(tumble, "count(*)");
        let lag = "lag(count(*)) OVER (PARTITION BY k ORDER BY window_start)";
        let others = [
            view(&tumble.replace("'1'", "'2'"), "count(*)"),
            view(&tumble.replace("HOUR)", "HOUR, INTERVAL '1' MINUTE)"), "count(*)"),
            view(session, "count(*)"),
            view(&session.replace("'1'", "'2'"), "count(*)"),
            view(tumble, lag),
        ];
        assert!(others.iter().all(|other| *other != same), "{others:?}");
        assert!((1..others.len()).all(|place| !others[..place].contains(&others[place])), "{others:?}");
        assert_eq!(
            view("tumble(SIZE => INTERVAL '60' MINUTE, DATA => TABLE s, TIMECOL => DESCRIPTOR(ts))", "count(*)"),
            same
        );
    }

    #[test]
    fn what_is_joined_counts_wherever_it_stands() {
        let table = "CREATE TABLE t (k VARCHAR, x BIGINT, y BIGINT, d BOOLEAN, u TIMESTAMP, PRIMARY KEY (k),
            WATERMARK FOR u AS u - INTERVAL '1' MINUTE) WITH (delete_column = 'd');";
        let view = "CREATE FEATURE VIEW v AS SELECT s.k, sum(j.x) OVER w AS x FROM s
            LEFT JOIN t FOR SYSTEM_TIME AS OF s.ts AS j ON j.k = lower(s.k) WINDOW w AS (PARTITION BY s.k ORDER BY s.ts);";
        let print = |table: &str, view: &str| ahead(&format!("{STREAM}{table}{view}")).fingerprint();
        let same = print(table, view);
        for (from, to) in
            [("x BIGINT", "x INTEGER"), ("x BIGINT", "x BIGINT NOT NULL"), (" WITH (delete_column = 'd')", "")]
        {
            assert_ne!(print(&table.replace(from, to), view), same, "`{from}` to `{to}`");
        }
        for (from, to) in [("lower(s.k)", "upper(s.k)"), ("sum(j.x)", "sum(j.y)")] {
            assert_ne!(print(table, &view.replace(from, to)), same, "`{from}` to `{to}`");
        }
        assert_eq!(print(&table.replace("y BIGINT", "y DOUBLE"), view), same, "what is not brought does not count");
        let derived =
            "CREATE STREAM e AS SELECT s.k, j.x, s.ts FROM s LEFT JOIN t FOR SYSTEM_TIME AS OF s.ts AS j ON j.k = s.k;";
        let over_derived =
            "CREATE FEATURE VIEW v AS SELECT k, sum(x) OVER w AS x FROM e WINDOW w AS (PARTITION BY k ORDER BY ts);";
        let print = |derived: &str| ahead(&format!("{STREAM}{table}{derived}{over_derived}")).fingerprint();
        assert_ne!(print(derived), print(&derived.replace("j.k = s.k", "j.k = lower(s.k)")));
    }

    #[test]
    fn a_view_over_rows_is_no_view_over_events() {
        let table = "CREATE TABLE t (k VARCHAR, x BIGINT, d BOOLEAN, u TIMESTAMP, PRIMARY KEY (k),
            WATERMARK FOR u AS u - INTERVAL '1' MINUTE) WITH (delete_column = 'd');";
        let view = "CREATE FEATURE VIEW v AS SELECT k, x FROM t;";
        let plan = |table: &str| ahead(&format!("{table}{view}"));
        let expected = "\
images 1 of t by u TIMESTAMP NOT NULL
rows of t by k VARCHAR NOT NULL since u TIMESTAMP NOT NULL, 60000000 us late, deleted by d BOOLEAN
order k VARCHAR NOT NULL
key k of k VARCHAR NOT NULL
frame 0 x of x BIGINT
Frame { extent: Rows { preceding: 0 }, calendar: None }";
        assert_eq!(plan(table).description(), expected);
        let kept = plan(&table.replace(" WITH (delete_column = 'd')", ""));
        assert_ne!(kept.fingerprint(), plan(table).fingerprint());
    }

    #[test]
    fn how_late_a_version_may_come_counts_for_a_state_and_not_for_rows_that_are_made() {
        let print = |from: &str, to: &str| {
            let text = "
                CREATE STREAM s (id BIGINT, k BIGINT, ts TIMESTAMP, PRIMARY KEY (id), WATERMARK FOR ts AS ts);
                CREATE TABLE t (k BIGINT, a BIGINT, at TIMESTAMP, PRIMARY KEY (k), WATERMARK FOR at AS at);
                CREATE STREAM j AS SELECT s.k, t.a, s.ts FROM s LEFT JOIN t FOR SYSTEM_TIME AS OF s.ts AS t ON t.k = s.k;
                CREATE STREAM d AS SELECT k, sum(a) AS a
                FROM TABLE(TUMBLE(TABLE j, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY k, window_start, window_end;";
            let text = text.replace(from, to);
            let project = check(&[SourceFile { name: "d.sql".to_owned(), text }]).unwrap();
            let rows = project.derived.iter().find(|stream| stream.window().is_some()).unwrap();
            let open = ViewPlan::of_windows(rows.window().unwrap()).unwrap();
            (derivation_fingerprint(rows), open.fingerprint())
        };
        let own = print("", "");
        let later = print("AS at)", "AS at - INTERVAL '1' MINUTE)");
        assert_eq!(later.0, own.0);
        assert_ne!(later.1, own.1);
        assert_ne!(print("a BIGINT, at", "a INTEGER, at").0, own.0);
    }

    #[test]
    fn the_key_that_orders_counts_where_order_does() {
        let view = VIEW.replace("avg(b)", "last_value(b)");
        let print = |stream: &str| plan(stream, &view).fingerprint();
        assert_ne!(print(STREAM), print(&STREAM.replace("KEY (id)", "KEY (id, ts)")));
        assert_eq!(
            plan(STREAM, VIEW).fingerprint(),
            plan(&STREAM.replace("KEY (id)", "KEY (id, ts)"), VIEW).fingerprint()
        );
    }

    #[test]
    fn what_a_frame_leaves_out_counts() {
        let view = |exclusion: &str| {
            let over = format!("OVER (PARTITION BY k ORDER BY ts RANGE INTERVAL '1' HOUR PRECEDING {exclusion})");
            plan(STREAM, &format!("CREATE FEATURE VIEW v AS SELECT k, sum(a) {over} AS x FROM s;"))
        };
        let plain = view("").description();
        assert_eq!(view("EXCLUDE NO OTHERS").description(), plain);
        let excluding =
            |exclusion: &str| plain.replace("calendar: None", &format!("calendar: None, exclusion: {exclusion}"));
        // It matters at which of several events of one time a read stands.
        let by_order = plain.replacen('\n', "\norder id BIGINT NOT NULL\n", 1);
        let excluded = by_order.replace("calendar: None", "calendar: None, exclusion: CurrentRow");
        assert_eq!(view("EXCLUDE CURRENT ROW").description(), excluded);
        assert_eq!(view("EXCLUDE GROUP").description(), excluding("Group"));
    }

    /// Prints lie in checkpoints: when they change, all views are made anew from their logs.
    #[test]
    fn the_description_stays() {
        let view = VIEW.replace(" WHERE a IN (1, 2, 3)", "").replace("avg(b)", "last_value(b)");
        let expected = "\
images 1 of s by ts TIMESTAMP NOT NULL
order id BIGINT NOT NULL
key lower(k) of k VARCHAR
frame 0 sum(a + 1) FILTER (WHERE b > 0.5) OVER w of a BIGINT, b DOUBLE
frame 0 last_value(b) OVER w of b DOUBLE
Frame { extent: Range { preceding_us: Some(3600000000), lag_us: 0 }, calendar: None }";
        assert_eq!(plan(STREAM, &view).description(), expected);
    }

    #[test]
    fn columns_and_secret_decide_the_print_of_keys() {
        let plan = |stream: &str| {
            let sources = [SourceFile { name: "s.sql".to_owned(), text: stream.to_owned() }];
            StreamPlan::new(check(&sources).unwrap().streams[0].clone()).unwrap()
        };
        let columns = |from, to| plan(&STREAM.replace(from, to)).key_print().columns;
        let own = plan(STREAM).key_print();
        let others = [
            columns("KEY (id)", "KEY (k)"),
            columns("KEY (id)", "KEY (id, a)"),
            columns("KEY (id)", "KEY (a, id)"),
            columns("id BIGINT", "id INTEGER"),
            columns("PRIMARY KEY (id),", ""),
            columns("KEY (id)", "KEY (id) NOT ENFORCED"),
        ];
        assert!(!others.contains(&own.columns));
        assert_eq!(others[4], others[5], "without an enforced key none is remembered");
        assert_eq!(columns("b DOUBLE", "c DOUBLE"), own.columns);
        let secret = |byte| plan(STREAM).with_key_secret(Some(KeySecret::new([byte; 192]))).key_print();
        assert_eq!(secret(1), KeyPrint { secret: secret(1).secret, ..own });
        assert!(secret(1) != secret(2) && secret(1) != own);
    }
}
