"""`duckdb_spine.py EVENTS SPINE OUT`: the ten features as of each spine row, in DuckDB, by a join and one grouping."""

import sys

import duckdb

events, spine, out = sys.argv[1:]
connection = duckdb.connect(config={"threads": 2})
query = """
SELECT
  s.row, s.account_id, s.ts,
  count(e.ts)          FILTER (WHERE e.ts >= s.ts - INTERVAL 5 MINUTE) AS txn_count_5m,
  sum(e.amount)        FILTER (WHERE e.ts >= s.ts - INTERVAL 5 MINUTE) AS spend_5m,
  avg(e.amount)        FILTER (WHERE e.ts >= s.ts - INTERVAL 5 MINUTE) AS avg_amount_5m,
  min(e.amount)        FILTER (WHERE e.ts >= s.ts - INTERVAL 5 MINUTE) AS min_amount_5m,
  max(e.amount)        FILTER (WHERE e.ts >= s.ts - INTERVAL 5 MINUTE) AS max_amount_5m,
  count(DISTINCT e.merchant_id) FILTER (WHERE e.ts >= s.ts - INTERVAL 5 MINUTE) AS merchants_5m,
  count(e.ts)          FILTER (WHERE e.ts >= s.ts - INTERVAL 1 HOUR) AS txn_count_1h,
  sum(e.amount)        FILTER (WHERE e.ts >= s.ts - INTERVAL 1 HOUR) AS spend_1h,
  avg(e.amount)         AS avg_amount_7d,
  stddev_samp(e.amount) AS std_amount_7d
FROM spine AS s
LEFT JOIN events AS e ON e.account_id = s.account_id AND e.ts BETWEEN s.ts - INTERVAL 7 DAY AND s.ts
GROUP BY ALL ORDER BY s.row
"""
connection.execute(f"CREATE VIEW events AS FROM read_parquet('{events}')")
connection.execute(f"CREATE VIEW spine AS FROM read_parquet('{spine}')")
connection.execute(f"COPY ({query}) TO '{out}' (FORMAT parquet, COMPRESSION uncompressed)")
