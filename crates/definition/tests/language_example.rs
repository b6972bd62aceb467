//! The example of the language contract, read into its parts.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use asof_definition::{Connector, ObjectKind, Output, SourceFile, check};
use asof_expression::type_name;
use asof_window::{Extent, Function};

const SERVICE: &str = "
CREATE FEATURE SERVICE fraud_v1 AS
SELECT a.txn_count_5m, a.spend_1h, (r.amount - a.avg_amount_7d) / nullif(a.std_amount_7d, 0) AS amount_zscore,
       m.txn_count_1h AS merchant_txn_count_1h
FROM REQUEST (account_id BIGINT, merchant_id INTEGER, amount DOUBLE) AS r
LEFT JOIN account_activity  AS a ON a.account_id  = r.account_id
LEFT JOIN merchant_activity AS m ON m.merchant_id = r.merchant_id;
";

const VIEWS: &str = "
CREATE FEATURE VIEW account_activity AS
SELECT
  account_id,
  count(*)                    OVER m5 AS txn_count_5m,
  sum(amount)                 OVER h1 AS spend_1h,
  avg(amount)                 OVER d7 AS avg_amount_7d,
  stddev_samp(amount)         OVER d7 AS std_amount_7d,
  count(*) OVER M5 AS again,
  SUM((Amount)) OVER h1 / nullif(avg(amount) OVER d7, 0) AS spend_ratio
FROM transactions
WHERE country IS NOT NULL
WINDOW
  m5 AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '5' MINUTE PRECEDING AND CURRENT ROW),
  h1 AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR   PRECEDING AND CURRENT ROW),
  d7 AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY    PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW merchant_activity AS
SELECT count(*) OVER w AS txn_count_1h, merchant_id FROM transactions
WINDOW w AS (PARTITION BY merchant_id ORDER BY ts RANGE INTERVAL '1 hour' PRECEDING);
";

const STREAM: &str = "
CREATE STREAM transactions (
  transaction_id VARCHAR NOT NULL, account_id BIGINT NOT NULL, merchant_id BIGINT NOT NULL,
  amount DOUBLE NOT NULL CHECK (amount >= 0), country VARCHAR, ts TIMESTAMP,
  PRIMARY KEY (transaction_id), WATERMARK FOR ts AS ts - INTERVAL '30' SECOND);
";

#[test]
fn the_example_is_read_into_its_parts() {
    // Objects may be defined in any order and in any file.
    let files = [("a.sql", SERVICE), ("b.sql", VIEWS), ("c.sql", STREAM)]
        .map(|(name, text)| SourceFile { name: name.to_owned(), text: text.to_owned() });
    let project = check(&files).unwrap();
    assert_eq!(project.warnings, []);

    let stream = project.stream("transactions").unwrap();
    assert_eq!((stream.primary_key.as_slice(), stream.primary_key_enforced), ([0].as_slice(), true));
    assert_eq!((stream.time_column, stream.lateness_us, stream.ahead_max_us), (5, 30_000_000, 60_000_000));
    assert_eq!(
        (stream.dedup_horizon_us, stream.connector.clone()),
        (86_400_000_000, Connector::Log(Default::default()))
    );
    assert!(stream.columns[5].not_null, "the WATERMARK column is NOT NULL");
    assert_eq!((stream.checks[0].column.as_str(), stream.checks[0].text.as_str()), ("amount", "amount >= 0"));

    let view = project.view("account_activity").unwrap();
    let reach = |preceding_us| Extent::Range { preceding_us: Some(preceding_us), lag_us: 0 };
    let extents: Vec<Extent> = view.frames.iter().map(|frame| frame.extent).collect();
    assert_eq!(extents, [reach(300_000_000), reach(3_600_000_000), reach(604_800_000_000)]);
    let functions: Vec<(Function, usize)> = view.aggregates.iter().map(|one| (one.function, one.frame)).collect();
    assert_eq!(functions, [(Function::Count, 0), (Function::Sum, 1), (Function::Avg, 2), (Function::StddevSamp, 2)]);
    assert_eq!(view.outputs[0], Output::Key(0));
    assert_eq!(view.features[4].expression.as_column(), Some(0), "an aggregate stands once");
    assert_eq!(view.features[5].expression.columns(), [1, 2]);
    assert!(view.filter.is_some());
    assert_eq!(project.view("merchant_activity").unwrap().outputs, [Output::Feature(0), Output::Key(0)]);

    let service = project.service("fraud_v1").unwrap();
    let names: Vec<&str> = service.features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(names, ["txn_count_5m", "spend_1h", "amount_zscore", "merchant_txn_count_1h"]);
    let merchant = &service.joins[1].key[0];
    assert_eq!(
        (type_name(merchant.data_type()).as_str(), merchant.columns()),
        ("BIGINT", vec![1]),
        "cast to the key's type"
    );
    assert_eq!(service.service_scope().len(), 3 + (1 + 6) + (1 + 1));

    let reads: Vec<(ObjectKind, usize)> =
        project.objects().iter().map(|object| (object.kind, object.reads.len())).collect();
    let expected = [
        (ObjectKind::Stream, 0),
        (ObjectKind::FeatureView, 1),
        (ObjectKind::FeatureView, 1),
        (ObjectKind::FeatureService, 2),
    ];
    assert_eq!(reads, expected);
    let unknown = project.view("acount_activity").unwrap_err();
    assert_eq!(unknown.to_string(), "unknown feature view `acount_activity` (did you mean `account_activity`?)");
}
