-- The vector of the serving benchmark: all ten features of bench/project/features.sql, which stands beside this file.

CREATE FEATURE SERVICE account_v1 AS
SELECT
  a.txn_count_5m, a.spend_5m, a.avg_amount_5m, a.min_amount_5m, a.max_amount_5m, a.merchants_5m,
  a.txn_count_1h, a.spend_1h,
  a.avg_amount_7d, a.std_amount_7d
FROM REQUEST (account_id BIGINT) AS r
LEFT JOIN account_features AS a ON a.account_id = r.account_id;
