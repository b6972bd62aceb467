-- The benchmark's view: ten features over three windows. run.py copies this file beside each size of data it makes.
-- No PRIMARY KEY: every contender reads the same four columns, and none of the ten features depends on the order of ties.

CREATE STREAM events (
  account_id  BIGINT    NOT NULL,
  merchant_id BIGINT    NOT NULL,
  amount      DOUBLE    NOT NULL,
  ts          TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '30' SECOND
) WITH (connector = 'file', path = 'data/transactions.parquet', format = 'parquet');

CREATE FEATURE VIEW account_features AS
SELECT
  account_id,
  count(*)                    OVER m5 AS txn_count_5m,
  sum(amount)                 OVER m5 AS spend_5m,
  avg(amount)                 OVER m5 AS avg_amount_5m,
  min(amount)                 OVER m5 AS min_amount_5m,
  max(amount)                 OVER m5 AS max_amount_5m,
  count(DISTINCT merchant_id) OVER m5 AS merchants_5m,
  count(*)                    OVER h1 AS txn_count_1h,
  sum(amount)                 OVER h1 AS spend_1h,
  avg(amount)                 OVER d7 AS avg_amount_7d,
  stddev_samp(amount)         OVER d7 AS std_amount_7d
FROM events
WINDOW
  m5 AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '5' MINUTE PRECEDING AND CURRENT ROW),
  h1 AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR   PRECEDING AND CURRENT ROW),
  d7 AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY    PRECEDING AND CURRENT ROW);
