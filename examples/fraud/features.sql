-- Card fraud: the account's, the merchant's and the device's recent past, and the vector a model reads.
-- The data are synthetic; generate.py makes more of them, with the attacks labelled.

CREATE STREAM transactions (
  transaction_id VARCHAR   NOT NULL,
  account_id     BIGINT    NOT NULL,
  merchant_id    BIGINT    NOT NULL,
  device_id      BIGINT    NOT NULL,
  amount         DOUBLE    NOT NULL CHECK (amount >= 0),
  country        VARCHAR,
  ts             TIMESTAMP NOT NULL,
  arrived        TIMESTAMP,
  PRIMARY KEY (transaction_id),
  WATERMARK FOR ts AS ts - INTERVAL '30' SECOND
) WITH (
  connector      = 'file',
  path           = 'data/transactions.parquet',
  format         = 'parquet',
  arrival_column = 'arrived'
);

CREATE FEATURE VIEW account_activity AS
SELECT
  account_id,
  count(*)                    OVER m5 AS txn_count_5m,
  sum(amount)                 OVER h1 AS spend_1h,
  count(*) FILTER (WHERE amount > 100) OVER h1 AS large_txn_count_1h,
  count(DISTINCT merchant_id) OVER h1 AS merchants_1h,
  avg(amount)                 OVER d7 AS avg_amount_7d,
  stddev_samp(amount)         OVER d7 AS std_amount_7d,
  sum(amount) OVER h1 / nullif(avg(amount) OVER d7, 0) AS spend_ratio
FROM transactions
WHERE country IS NOT NULL
WINDOW
  m5 AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '5' MINUTE PRECEDING AND CURRENT ROW),
  h1 AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR   PRECEDING AND CURRENT ROW),
  d7 AS (PARTITION BY account_id ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY    PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW merchant_activity AS
SELECT
  merchant_id,
  count(*)                             OVER h1 AS txn_count_1h,
  count(DISTINCT account_id)           OVER h1 AS accounts_1h,
  count(*) FILTER (WHERE amount < 5)   OVER h1 AS tiny_txn_count_1h,
  max(amount)                          OVER h1 AS max_amount_1h,
  avg(amount)                          OVER d7 AS avg_amount_7d
FROM transactions
WINDOW
  h1 AS (PARTITION BY merchant_id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW),
  d7 AS (PARTITION BY merchant_id ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY  PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW device_activity AS
SELECT
  device_id,
  count(*)                   OVER m10 AS txn_count_10m,
  count(DISTINCT account_id) OVER m10 AS accounts_10m,
  sum(amount)                OVER h1  AS spend_1h,
  count(*)                   OVER d7  AS txn_count_7d,
  min(ts)                    OVER d7  AS first_seen_7d
FROM transactions
WINDOW
  m10 AS (PARTITION BY device_id ORDER BY ts RANGE BETWEEN INTERVAL '10' MINUTE PRECEDING AND CURRENT ROW),
  h1  AS (PARTITION BY device_id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR    PRECEDING AND CURRENT ROW),
  d7  AS (PARTITION BY device_id ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY     PRECEDING AND CURRENT ROW);

CREATE FEATURE SERVICE fraud_v1 AS
SELECT
  a.txn_count_5m,
  a.spend_1h,
  a.large_txn_count_1h,
  a.merchants_1h,
  a.spend_ratio,
  (r.amount - a.avg_amount_7d) / nullif(a.std_amount_7d, 0) AS amount_zscore,
  m.txn_count_1h      AS merchant_txn_count_1h,
  m.accounts_1h       AS merchant_accounts_1h,
  m.tiny_txn_count_1h AS merchant_tiny_txn_count_1h,
  d.txn_count_10m     AS device_txn_count_10m,
  d.accounts_10m      AS device_accounts_10m,
  d.txn_count_7d      AS device_txn_count_7d
FROM REQUEST (account_id BIGINT, merchant_id BIGINT, device_id BIGINT, amount DOUBLE) AS r
LEFT JOIN account_activity  AS a ON a.account_id  = r.account_id
LEFT JOIN merchant_activity AS m ON m.merchant_id = r.merchant_id
LEFT JOIN device_activity   AS d ON d.device_id   = r.device_id;
