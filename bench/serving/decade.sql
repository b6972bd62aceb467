-- Ten years of entities that come and go, seven days of memory: see flat_memory.py. Rows are taken as they stand, which is
-- by event time: so no memory of waiting rows hides what the windows hold.

CREATE STREAM events (
  entity_id   BIGINT    NOT NULL,
  merchant_id BIGINT    NOT NULL,
  amount      DOUBLE    NOT NULL,
  ts          TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '30' SECOND
) WITH (connector = 'file', path = 'data/events.parquet', format = 'parquet', order = 'file');

CREATE FEATURE VIEW entity_activity AS
SELECT
  entity_id,
  count(*)                    OVER h1 AS events_1h,
  sum(amount)                 OVER d7 AS spend_7d,
  stddev_samp(amount)         OVER d7 AS std_amount_7d,
  max(amount)                 OVER d7 AS max_amount_7d,
  count(DISTINCT merchant_id) OVER d7 AS merchants_7d
FROM events
WINDOW
  h1 AS (PARTITION BY entity_id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW),
  d7 AS (PARTITION BY entity_id ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY  PRECEDING AND CURRENT ROW);

CREATE FEATURE SERVICE entity_v1 AS
SELECT e.events_1h, e.spend_7d, e.std_amount_7d, e.max_amount_7d, e.merchants_7d
FROM REQUEST (entity_id BIGINT) AS r
LEFT JOIN entity_activity AS e ON e.entity_id = r.entity_id;
