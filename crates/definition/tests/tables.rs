//! What tables, joins and views over tables are, once they are checked.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use arrow::datatypes::DataType;
use asof_definition::{ObjectKind, Over, Project, SourceFile, Stream, TableJoin, check_ahead};
use asof_window::{Extent, Frame, Function};

const BASE: &str = "
CREATE STREAM tx (id BIGINT, account_id BIGINT, merchant_id INTEGER, code VARCHAR, amount DOUBLE, ts TIMESTAMP,
  PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '30' SECOND);
CREATE TABLE merchants (merchant_id BIGINT PRIMARY KEY, category VARCHAR NOT NULL, fee BIGINT CHECK (fee >= 0),
  region_id BIGINT, \"Gone\" BOOLEAN, updated_at TIMESTAMP,
  WATERMARK FOR updated_at AS updated_at - INTERVAL '1' MINUTE) WITH (delete_column = 'Gone', idle_timeout = '5 minutes');
CREATE TABLE regions (name VARCHAR, region_id BIGINT, country VARCHAR, since TIMESTAMP, PRIMARY KEY (country, region_id),
  WATERMARK FOR since AS since);
";

fn project(more: &str) -> Project {
    let text = format!("{BASE}{more}");
    check_ahead(&[SourceFile { name: "tables.sql".to_owned(), text }]).unwrap()
}

/// What a join brings and by which columns of the rows before it it finds that.
fn told(join: &TableJoin) -> (String, Vec<String>, Vec<Vec<usize>>) {
    let brought = join.brings().map(|column| column.name).collect();
    (join.alias.clone(), brought, join.key.iter().map(|key| key.expression.columns()).collect())
}

fn joins_of(stream: &Stream) -> &[TableJoin] {
    &stream.derivation().unwrap().inputs[0].joins
}

fn names(stream: &Stream) -> Vec<&str> {
    stream.columns.iter().map(|column| &column.name[..]).collect()
}

#[test]
fn a_table_is_the_stream_of_its_versions() {
    let project = project("");
    let table = project.table("merchants").unwrap();
    assert_eq!((table.name(), table.deleted), ("merchants", Some(4)));
    assert_eq!((table.key(), table.versions.primary_key_enforced), (&[0][..], false));
    assert_eq!((table.versions.time_column, table.versions.lateness_us), (5, 60_000_000));
    assert_eq!(table.versions.idle_timeout_us, 300_000_000);
    let not_null: Vec<bool> = table.columns().iter().map(|column| column.not_null).collect();
    assert_eq!(not_null, [true, true, false, false, false, true], "the key and the event time are NOT NULL");
    assert_eq!(table.versions.checks.len(), 1);
    let regions = project.table("regions").unwrap();
    assert_eq!((regions.key(), regions.deleted), (&[2, 1][..], None), "in the order of the PRIMARY KEY");
    assert!(project.streams.iter().all(|stream| stream.name != "merchants"), "a table is no stream");
    let unknown = project.table("merchant").unwrap_err();
    assert_eq!(unknown.to_string(), "unknown table `merchant` (did you mean `merchants`?)");
}

#[test]
fn a_delete_column_is_named_without_regard_to_case_unless_it_was_quoted() {
    for (declared, option, is_found) in
        [("deleted", "deleted", true), ("Deleted", "DELETED", true), ("\"Deleted\"", "deleted", false)]
    {
        let text = format!(
            "CREATE TABLE t (k BIGINT PRIMARY KEY, {declared} BOOLEAN, ts TIMESTAMP, WATERMARK FOR ts AS ts)
             WITH (delete_column = '{option}');"
        );
        let checked = check_ahead(&[SourceFile { name: "t.sql".to_owned(), text }]);
        assert_eq!(checked.is_ok(), is_found, "{declared} as {option}");
    }
}

#[test]
fn a_join_brings_what_is_named_and_what_later_joins_read() {
    let project = project(
        "CREATE STREAM d AS SELECT t.id, r.name, m.fee * 2 AS double_fee, t.ts FROM tx AS t
         LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant_id = t.merchant_id
         LEFT JOIN regions FOR SYSTEM_TIME AS OF t.ts AS r ON m.region_id = r.region_id AND r.country = lower(t.code)
         WHERE updated_at < t.ts;",
    );
    let derived = project.stream("d").unwrap();
    let [merchants, regions] = joins_of(derived) else { panic!("two joins") };
    // tx has columns 0 to 5; `fee`, `region_id` and `updated_at` of m come behind, then `name` of r.
    let brought = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(told(merchants), ("m".to_owned(), brought(&["fee", "region_id", "updated_at"]), vec![vec![2]]));
    assert_eq!(told(regions), ("r".to_owned(), brought(&["name"]), vec![vec![3], vec![7]]));
    assert!(merchants.brings().all(|column| !column.not_null), "where no row is valid all are NULL");
    let keys: Vec<&DataType> =
        [merchants, regions].iter().flat_map(|join| &join.key).map(|key| key.expression.data_type()).collect();
    assert_eq!(keys, [&DataType::Int64, &DataType::Utf8, &DataType::Int64], "each of the type of its column");
    assert_eq!(regions.key[0].text, "lower(t.code)");
    let input = &derived.derivation().unwrap().inputs[0];
    let read: Vec<Vec<usize>> = input.columns.iter().map(|column| column.expression.columns()).collect();
    assert_eq!(read, [vec![0], vec![9], vec![6], vec![5]]);
    assert_eq!(input.filter.as_ref().unwrap().columns(), [5, 8]);
    assert_eq!(derived.primary_key, [0], "the source's key is selected");
    assert_eq!(derived.reads(), ["tx", "merchants", "regions"]);
    let tables: Vec<String> = derived.tables().iter().map(|table| table.name().to_owned()).collect();
    assert_eq!(tables, ["merchants", "regions"]);
}

#[test]
fn stars_of_joined_rows() {
    let project = project(
        "CREATE STREAM all_of_m AS SELECT t.ts, m.* FROM tx AS t
         LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant_id = t.merchant_id;
         CREATE STREAM all_of_t AS SELECT t.* FROM tx AS t
         LEFT JOIN merchants FOR SYSTEM_TIME AS OF t.ts AS m ON m.merchant_id = t.merchant_id;",
    );
    let of_table = project.stream("all_of_m").unwrap();
    assert_eq!(names(of_table), ["ts", "merchant_id", "category", "fee", "region_id", "Gone", "updated_at"]);
    assert!(of_table.columns[1..].iter().all(|column| !column.not_null));
    let of_stream = project.stream("all_of_t").unwrap();
    assert_eq!(names(of_stream), ["id", "account_id", "merchant_id", "code", "amount", "ts"]);
    assert_eq!(joins_of(of_stream)[0].columns, Vec::<usize>::new(), "it still sets rows aside on which ON fails");
}

#[test]
fn a_view_that_joins_reads_a_stream_without_a_name() {
    let project = project(
        "CREATE FEATURE VIEW v AS
         SELECT category AS c, count(*) OVER w AS n, sum(amount * m.fee) FILTER (WHERE m.fee > 1) OVER w AS fees
         FROM tx AS t LEFT JOIN merchants FOR SYSTEM_TIME AS OF ts AS m ON m.merchant_id = t.merchant_id
         WHERE m.merchant_id IS NOT NULL
         WINDOW w AS (PARTITION BY m.category, date_trunc('day', t.ts) ORDER BY ts);",
    );
    let view = project.view("v").unwrap();
    let rows = &view.stream;
    assert_eq!(names(rows)[6..], ["m.merchant_id", "m.category", "m.fee"]);
    assert_eq!(rows.derivation().unwrap().of_view.as_deref(), Some("v"));
    assert_eq!((rows.primary_key.as_slice(), rows.time_column, rows.lateness_us), (&[0][..], 5, 30_000_000));
    assert_eq!(rows.sources()[0].name, "tx");
    assert_eq!(view.over, Over::Events);
    assert_eq!(view.key[0].expression.as_column(), Some(7));
    assert_eq!(view.filter.as_ref().unwrap().columns(), [6]);
    assert_eq!(view.aggregates[1].argument.as_ref().unwrap().columns(), [4, 8]);
    assert!(project.stream(&rows.name).is_err(), "no one else finds it");
    let reads: Vec<(ObjectKind, Vec<String>)> =
        project.objects().into_iter().map(|object| (object.kind, object.reads)).collect();
    assert_eq!(reads[3], (ObjectKind::FeatureView, vec!["tx".to_owned(), "merchants".to_owned()]));
    assert_eq!((reads[1].0, reads[2].0), (ObjectKind::Table, ObjectKind::Table));
}

#[test]
fn one_table_under_two_names() {
    let project = project(
        "CREATE FEATURE VIEW v AS
         SELECT account_id, last_value(p.fee) OVER w AS x, last_value(q.fee) OVER w AS y, max(p.fee) OVER w AS z
         FROM tx LEFT JOIN merchants FOR SYSTEM_TIME AS OF tx.ts AS p ON p.merchant_id = tx.merchant_id
         LEFT JOIN merchants FOR SYSTEM_TIME AS OF tx.ts AS q ON q.merchant_id = account_id
         WINDOW w AS (PARTITION BY account_id ORDER BY tx.ts);",
    );
    let view = project.view("v").unwrap();
    assert_eq!(names(&view.stream)[6..], ["p.fee", "q.fee"]);
    assert_eq!(view.aggregates.len(), 3, "equal calls over other joins are others");
    assert_eq!(view.stream.tables().len(), 1);
    assert_eq!(view.reads(), ["tx", "merchants"]);
}

#[test]
fn a_view_over_a_table_has_the_row_that_is_valid() {
    let project = project(
        "CREATE FEATURE VIEW v AS SELECT r.name || '!' AS shout, region_id AS id, country, name, upper(name) AS loud
         FROM regions AS r WHERE name <> '';",
    );
    let view = project.view("v").unwrap();
    assert!(matches!(&view.over, Over::Row(table) if table.name() == "regions"));
    let key: Vec<(&str, Option<usize>)> =
        view.key.iter().map(|part| (&part.name[..], part.expression.as_column())).collect();
    assert_eq!(key, [("id", Some(1)), ("country", Some(2))], "in the order of the SELECT");
    assert_eq!(view.aggregates.len(), 1, "a column is taken from the row once");
    assert_eq!((view.aggregates[0].function, view.aggregates[0].frame), (Function::LastValue, 0));
    assert_eq!(view.frames, [Frame::of(Extent::Rows { preceding: 0 })]);
    assert_eq!(view.features[1].expression.as_column(), Some(0));
    assert_eq!(view.reads(), ["regions"]);
}

#[test]
fn a_view_over_groups_of_rows() {
    let project = project(
        "CREATE FEATURE VIEW v AS
         SELECT coalesce(category, '?') AS c, count(*) AS n, sum(fee) / count(*) AS mean, sum(fee) AS fees
         FROM merchants WHERE fee > 0 GROUP BY coalesce(category, '?');",
    );
    let view = project.view("v").unwrap();
    assert!(matches!(&view.over, Over::Groups(table) if table.name() == "merchants"));
    let functions: Vec<Function> = view.aggregates.iter().map(|one| one.function).collect();
    assert_eq!(functions, [Function::Count, Function::Sum], "each once");
    assert_eq!(view.frames, [Frame::LIFETIME]);
    assert_eq!(view.key[0].name, "c");
}
