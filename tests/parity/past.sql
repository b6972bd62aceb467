-- What came before each transaction, without it: EXCLUDE over the streams of examples/fraud, for duckdb_parity.py alone.

CREATE FEATURE VIEW merchant_past AS
SELECT
  merchant_id,
  count(*)                   OVER before  AS txn_count_before_1h,
  count(DISTINCT account_id) OVER before  AS accounts_before_1h,
  avg(amount)                OVER before  AS avg_amount_before_1h,
  max(amount)                OVER others  AS max_amount_of_others_1d,
  count(*)                   OVER others  AS other_txn_count_1d,
  last_value(transaction_id) OVER others  AS other_transaction,
  sum(amount) FILTER (WHERE amount > 20) OVER today AS spend_before_today,
  min(amount)                OVER last_9  AS min_amount_of_last_9,
  array_agg(amount)          OVER last_2  AS amounts_of_last_2
FROM transactions
WINDOW
  before AS (PARTITION BY merchant_id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW EXCLUDE GROUP),
  others AS (PARTITION BY merchant_id ORDER BY ts RANGE BETWEEN INTERVAL '1' DAY PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW),
  today  AS (PARTITION BY merchant_id, date_trunc('day', ts) ORDER BY ts RANGE UNBOUNDED PRECEDING EXCLUDE GROUP),
  last_9 AS (PARTITION BY merchant_id ORDER BY ts ROWS BETWEEN 9 PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW),
  last_2 AS (PARTITION BY merchant_id ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW EXCLUDE GROUP);
