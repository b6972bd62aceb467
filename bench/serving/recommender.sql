-- A recommender: what 500 candidate items did lately, read for each page. Ten features of all clicks, ten of engaged ones.
-- One second of the replay at its plain rate is a minute of event time: the five minutes are full after 5 s, the hour
-- after 60 s. ${clicks_rate} and ${visits_rate} are filled in by recommender.py.

CREATE STREAM clicks (
  user_id  BIGINT    NOT NULL,
  item_id  BIGINT    NOT NULL,
  dwell_ms BIGINT    NOT NULL,
  price    DOUBLE    NOT NULL,
  ts       TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '30' SECOND
) WITH (connector = 'file', path = 'data/clicks.parquet', format = 'parquet', rate = '${clicks_rate}/s');

CREATE STREAM visits (
  user_id  BIGINT    NOT NULL,
  dwell_ms BIGINT    NOT NULL,
  ts       TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '30' SECOND
) WITH (connector = 'file', path = 'data/visits.parquet', format = 'parquet', rate = '${visits_rate}/s');

CREATE FEATURE VIEW item_clicks AS
SELECT
  item_id,
  count(*)                OVER m5 AS clicks_5m,
  count(DISTINCT user_id) OVER m5 AS users_5m,
  avg(dwell_ms)           OVER m5 AS avg_dwell_5m,
  max(dwell_ms)           OVER m5 AS max_dwell_5m,
  min(price)              OVER m5 AS min_price_5m,
  count(*)                OVER h1 AS clicks_1h,
  count(DISTINCT user_id) OVER h1 AS users_1h,
  avg(dwell_ms)           OVER h1 AS avg_dwell_1h,
  stddev_samp(price)      OVER h1 AS std_price_1h,
  max(ts)                 OVER h1 AS last_click_1h
FROM clicks
WINDOW
  m5 AS (PARTITION BY item_id ORDER BY ts RANGE BETWEEN INTERVAL '5' MINUTE PRECEDING AND CURRENT ROW),
  h1 AS (PARTITION BY item_id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR   PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW item_engagement AS
SELECT
  item_id,
  count(*)                OVER m5 AS engaged_5m,
  count(DISTINCT user_id) OVER m5 AS engaged_users_5m,
  sum(dwell_ms)           OVER m5 AS engaged_dwell_5m,
  avg(price)              OVER m5 AS engaged_price_5m,
  max(ts)                 OVER m5 AS last_engaged_5m,
  count(*)                OVER h1 AS engaged_1h,
  sum(dwell_ms)           OVER h1 AS engaged_dwell_1h,
  avg(price)              OVER h1 AS engaged_price_1h,
  min(dwell_ms)           OVER h1 AS min_engaged_dwell_1h,
  max(dwell_ms)           OVER h1 AS max_engaged_dwell_1h
FROM clicks
WHERE dwell_ms > 3000
WINDOW
  m5 AS (PARTITION BY item_id ORDER BY ts RANGE BETWEEN INTERVAL '5' MINUTE PRECEDING AND CURRENT ROW),
  h1 AS (PARTITION BY item_id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR   PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW user_visits AS
SELECT
  user_id,
  count(*)      OVER h1 AS visits_1h,
  avg(dwell_ms) OVER h1 AS avg_visit_1h
FROM visits
WINDOW h1 AS (PARTITION BY user_id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);

CREATE FEATURE SERVICE candidates_v1 AS
SELECT
  c.clicks_5m, c.users_5m, c.avg_dwell_5m, c.max_dwell_5m, c.min_price_5m,
  c.clicks_1h, c.users_1h, c.avg_dwell_1h, c.std_price_1h, c.last_click_1h,
  e.engaged_5m, e.engaged_users_5m, e.engaged_dwell_5m, e.engaged_price_5m, e.last_engaged_5m,
  e.engaged_1h, e.engaged_dwell_1h, e.engaged_price_1h, e.min_engaged_dwell_1h, e.max_engaged_dwell_1h
FROM REQUEST (item_id BIGINT) AS r
LEFT JOIN item_clicks     AS c ON c.item_id = r.item_id
LEFT JOIN item_engagement AS e ON e.item_id = r.item_id;
