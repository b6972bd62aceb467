-- A shop ranks what it may show next: what the visit is about, what the user likes, and what is looked at now.
-- The clickstream is synthetic; generate.py makes more of it.

CREATE STREAM actions (
  user_id VARCHAR   NOT NULL,
  item_id VARCHAR   NOT NULL,
  kind    VARCHAR   NOT NULL CHECK (kind IN ('view', 'add', 'remove', 'checkout')),  -- checkout: one for each item bought
  ts      TIMESTAMP NOT NULL,
  arrived TIMESTAMP,
  PRIMARY KEY (user_id, ts),                  -- a phone that sends an action twice
  WATERMARK FOR ts AS ts - INTERVAL '10' MINUTE
) WITH (
  connector      = 'file',
  path           = 'data/actions.parquet',
  format         = 'parquet',
  arrival_column = 'arrived'
);

-- Prices change, items move to another category, come and go; each version holds from `since` until the next.
CREATE TABLE items (
  item_id   VARCHAR,
  category  VARCHAR      NOT NULL,
  price     DECIMAL(8,2) NOT NULL CHECK (price > 0),
  withdrawn BOOLEAN,
  since     TIMESTAMP    NOT NULL,
  arrived   TIMESTAMP,
  PRIMARY KEY (item_id),
  WATERMARK FOR since AS since - INTERVAL '1' DAY
) WITH (
  connector      = 'file',
  path           = 'data/items.parquet',
  format         = 'parquet',
  arrival_column = 'arrived',
  delete_column  = 'withdrawn'
);

-- Each action with the category and the price that its item had at that moment.
CREATE STREAM filed AS
SELECT a.user_id, a.item_id, a.kind, a.ts, i.category, i.price
FROM actions AS a
LEFT JOIN items FOR SYSTEM_TIME AS OF a.ts AS i ON i.item_id = a.item_id;

-- The visit that goes on, and the one before it. Half an hour without an action ends a visit.
CREATE FEATURE VIEW visit AS
SELECT
  user_id,
  window_start AS visit_began_at,
  round(date_part('epoch', max(ts)) - date_part('epoch', min(ts)), 3) AS visit_seconds,
  count(*)                AS visit_actions,
  count(DISTINCT item_id) AS items_seen,
  last_distinct(item_id, 20) AS last_items,
  histogram(category) FILTER (WHERE kind = 'view') AS visit_categories,
  count(*) FILTER (WHERE kind = 'add') - count(*) FILTER (WHERE kind = 'remove') AS cart_items,
  lag(count(DISTINCT item_id)) OVER (PARTITION BY user_id ORDER BY window_start) AS last_visit_items,
  lag(window_end)              OVER (PARTITION BY user_id ORDER BY window_start) AS last_visit_ended_at
FROM TABLE(SESSION(TABLE filed PARTITION BY user_id, DESCRIPTOR(ts), INTERVAL '30' MINUTE))
GROUP BY user_id, window_start, window_end;

CREATE FEATURE VIEW taste AS
SELECT
  user_id,
  histogram(category) FILTER (WHERE kind = 'view') OVER d7 AS week_categories,
  top_k(category, 3)                               OVER d7 AS favourite_categories,
  avg(price)                                       OVER d7 AS avg_price_7d,
  count(*) FILTER (WHERE kind = 'checkout')        OVER d7 AS bought_7d
FROM filed
WINDOW d7 AS (PARTITION BY user_id ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY PRECEDING AND CURRENT ROW);

-- The last hour of an item, to the five minutes: of the hours that overlap the one that ends first.
CREATE FEATURE VIEW item_hour AS
SELECT
  item_id,
  count(*) FILTER (WHERE kind = 'view') AS views_1h,
  count(DISTINCT user_id)               AS users_1h
FROM TABLE(HOP(TABLE actions, DESCRIPTOR(ts), INTERVAL '5' MINUTE, INTERVAL '1' HOUR))
GROUP BY item_id, window_start, window_end;

-- The day so far, and the last day before it with an action.
CREATE FEATURE VIEW item_day AS
SELECT
  item_id,
  count(*) FILTER (WHERE kind = 'view')     AS views_today,
  count(*) FILTER (WHERE kind = 'checkout') AS bought_today,
  lag(count(*) FILTER (WHERE kind = 'view')) OVER (PARTITION BY item_id ORDER BY window_start) AS views_day_before
FROM TABLE(TUMBLE(TABLE actions, DESCRIPTOR(ts), INTERVAL '1' DAY))
GROUP BY item_id, window_start, window_end;

CREATE FEATURE VIEW item_heat AS
SELECT
  item_id,
  decayed_sum(CASE kind WHEN 'view' THEN 1 WHEN 'add' THEN 3 WHEN 'remove' THEN -3 ELSE 5 END, INTERVAL '1' HOUR)
    OVER d1 AS heat
FROM actions
WINDOW d1 AS (PARTITION BY item_id ORDER BY ts RANGE BETWEEN INTERVAL '1' DAY PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW catalogue AS
SELECT item_id, category, price FROM items;

-- The vector for one candidate of one user. A request says when it is asked, as a row of the spine does.
CREATE FEATURE SERVICE rank_v1 AS
SELECT
  c.category,
  c.price,
  h.views_1h,
  h.users_1h,
  d.views_today,
  d.bought_today,
  d.views_day_before,
  t.heat,
  v.visit_seconds,
  v.visit_actions,
  v.items_seen,
  v.last_items,
  v.visit_categories,
  v.cart_items,
  v.last_visit_items,
  (date_part('epoch', r.ts) - date_part('epoch', v.last_visit_ended_at)) / 3600 AS hours_away,
  u.week_categories,
  u.favourite_categories,
  u.bought_7d,
  CAST(c.price AS DOUBLE) / u.avg_price_7d AS price_ratio
FROM REQUEST (user_id VARCHAR, item_id VARCHAR, ts TIMESTAMP) AS r
LEFT JOIN visit     AS v ON v.user_id = r.user_id
LEFT JOIN taste     AS u ON u.user_id = r.user_id
LEFT JOIN item_hour AS h ON h.item_id = r.item_id
LEFT JOIN item_day  AS d ON d.item_id = r.item_id
LEFT JOIN item_heat AS t ON t.item_id = r.item_id
LEFT JOIN catalogue AS c ON c.item_id = r.item_id;
