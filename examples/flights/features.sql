-- Departures from New York City's three airports in 2013: will this flight arrive more than 15 minutes late?
-- Every event stands at the UTC instant at which it became known; README.md says how that instant was found.

CREATE STREAM departures (
  flight_id VARCHAR   NOT NULL,
  origin    VARCHAR   NOT NULL,
  carrier   VARCHAR   NOT NULL,
  dest      VARCHAR   NOT NULL,
  tailnum   VARCHAR   NOT NULL,
  dep_delay SMALLINT  NOT NULL,          -- minutes after the scheduled departure; early is negative
  ts        TIMESTAMP NOT NULL,          -- left the gate
  PRIMARY KEY (flight_id),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH (connector = 'file', path = 'data/departures.parquet', format = 'parquet');

CREATE STREAM arrivals (
  flight_id VARCHAR   NOT NULL,
  origin    VARCHAR   NOT NULL,
  carrier   VARCHAR   NOT NULL,
  dest      VARCHAR   NOT NULL,
  tailnum   VARCHAR   NOT NULL,
  arr_delay SMALLINT  NOT NULL,          -- minutes after the scheduled arrival
  air_time  SMALLINT  NOT NULL CHECK (air_time > 0),
  ts        TIMESTAMP NOT NULL,          -- reached the gate
  PRIMARY KEY (flight_id),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH (connector = 'file', path = 'data/arrivals.parquet', format = 'parquet');

CREATE STREAM weather (
  origin     VARCHAR   NOT NULL,
  temp       DOUBLE,                          -- degrees Fahrenheit
  dewp       DOUBLE,
  humid      DOUBLE,                          -- percent
  wind_dir   SMALLINT,                        -- degrees; NULL where variable or not observed
  wind_speed DOUBLE CHECK (wind_speed < 250), -- miles per hour; the source has one of 1,048, which is rejected
  wind_gust  DOUBLE,                          -- NULL where there was none
  precip     DOUBLE CHECK (precip >= 0),      -- inches in the hour
  pressure   DOUBLE,                          -- millibars
  visib      DOUBLE,                          -- miles
  ts         TIMESTAMP NOT NULL,              -- the end of the observed hour
  PRIMARY KEY (origin, ts),
  WATERMARK FOR ts AS ts - INTERVAL '1' HOUR
) WITH (connector = 'file', path = 'data/weather.parquet', format = 'parquet');

-- How the airport runs right now.
CREATE FEATURE VIEW origin_departures AS
SELECT
  origin,
  count(*)                     OVER h1 AS departures_1h,
  avg(dep_delay)               OVER h1 AS avg_delay_1h,
  max(dep_delay)               OVER h1 AS max_delay_1h,
  count(*) FILTER (WHERE dep_delay > 15) OVER h1 / nullif(CAST(count(*) OVER h1 AS DOUBLE), 0) AS late_share_1h,
  avg(dep_delay)               OVER h3 AS avg_delay_3h,
  quantile_cont(dep_delay, 0.9) OVER h3 AS p90_delay_3h,
  count(DISTINCT carrier)      OVER h3 AS carriers_3h,
  avg(dep_delay)               OVER d7 AS avg_delay_7d
FROM departures
WINDOW
  h1 AS (PARTITION BY origin ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW),
  h3 AS (PARTITION BY origin ORDER BY ts RANGE BETWEEN INTERVAL '3' HOUR PRECEDING AND CURRENT ROW),
  d7 AS (PARTITION BY origin ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY  PRECEDING AND CURRENT ROW);

-- What the sky does. Three hours without an observation and the last values are unknown, not old.
CREATE FEATURE VIEW origin_weather AS
SELECT
  origin,
  last_value(wind_speed) OVER h3 AS wind_speed,
  last_value(visib)      OVER h3 AS visibility,
  max(wind_gust)         OVER h3 AS max_gust_3h,
  min(visib)             OVER h6 AS min_visibility_6h,
  sum(precip)            OVER h6 AS precip_6h,
  sum(precip)            OVER d1 AS precip_24h
FROM weather
WINDOW
  h3 AS (PARTITION BY origin ORDER BY ts RANGE BETWEEN INTERVAL '3' HOUR PRECEDING AND CURRENT ROW),
  h6 AS (PARTITION BY origin ORDER BY ts RANGE BETWEEN INTERVAL '6' HOUR PRECEDING AND CURRENT ROW),
  d1 AS (PARTITION BY origin ORDER BY ts RANGE BETWEEN INTERVAL '1' DAY  PRECEDING AND CURRENT ROW);

-- One carrier's trouble at one airport.
CREATE FEATURE VIEW carrier_departures AS
SELECT
  origin,
  carrier,
  count(*)                               OVER h3 AS departures_3h,
  avg(dep_delay)                         OVER h3 AS avg_delay_3h,
  count(*) FILTER (WHERE dep_delay > 15) OVER h3 AS late_departures_3h,
  avg(dep_delay)                         OVER d7 AS avg_delay_7d,
  stddev_samp(dep_delay)                 OVER d7 AS std_delay_7d
FROM departures
WINDOW
  h3 AS (PARTITION BY origin, carrier ORDER BY ts RANGE BETWEEN INTERVAL '3' HOUR PRECEDING AND CURRENT ROW),
  d7 AS (PARTITION BY origin, carrier ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY  PRECEDING AND CURRENT ROW);

-- How flights on this route have been arriving.
CREATE FEATURE VIEW route_arrivals AS
SELECT
  origin,
  dest,
  count(*)                OVER d7 AS arrivals_7d,
  avg(arr_delay)          OVER d1 AS avg_delay_24h,
  avg(arr_delay)          OVER d7 AS avg_delay_7d,
  median(arr_delay)       OVER d7 AS median_delay_7d,
  bool_or(arr_delay > 60) OVER d1 AS any_hour_late_24h,
  avg(CASE WHEN arr_delay > 15 THEN 1.0 ELSE 0.0 END) OVER d7 AS late_share_7d
FROM arrivals
WINDOW
  d1 AS (PARTITION BY origin, dest ORDER BY ts RANGE BETWEEN INTERVAL '1' DAY PRECEDING AND CURRENT ROW),
  d7 AS (PARTITION BY origin, dest ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY PRECEDING AND CURRENT ROW);

-- The aircraft itself. The source has only its flights out of New York, so its last arrival is at the far end.
CREATE FEATURE VIEW aircraft_arrivals AS
SELECT
  tailnum,
  last_value(arr_delay) OVER d7    AS last_delay,
  last_value(ts)        OVER d7    AS last_arrival_at,
  avg(arr_delay)        OVER last5 AS avg_delay_last5,
  sum(air_time)         OVER d7 / 60.0 AS hours_flown_7d,
  count(*)              OVER today AS arrivals_today     -- since midnight UTC, 19:00 or 20:00 in New York
FROM arrivals
WINDOW
  d7    AS (PARTITION BY tailnum ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY PRECEDING AND CURRENT ROW),
  last5 AS (PARTITION BY tailnum ORDER BY ts ROWS BETWEEN 4 PRECEDING AND CURRENT ROW),
  today AS (PARTITION BY tailnum, date_trunc('day', ts) ORDER BY ts);

-- The vector of the model, asked for 30 minutes before the scheduled departure.
CREATE FEATURE SERVICE delay_v1 AS
SELECT
  o.departures_1h        AS origin_departures_1h,
  o.avg_delay_1h         AS origin_avg_delay_1h,
  o.max_delay_1h         AS origin_max_delay_1h,
  o.late_share_1h        AS origin_late_share_1h,
  o.avg_delay_3h         AS origin_avg_delay_3h,
  o.p90_delay_3h         AS origin_p90_delay_3h,
  o.carriers_3h          AS origin_carriers_3h,
  o.avg_delay_1h - o.avg_delay_7d AS origin_delay_above_week,
  w.wind_speed, w.visibility, w.max_gust_3h, w.min_visibility_6h, w.precip_6h, w.precip_24h,
  c.departures_3h        AS carrier_departures_3h,
  c.avg_delay_3h         AS carrier_avg_delay_3h,
  c.late_departures_3h   AS carrier_late_departures_3h,
  (c.avg_delay_3h - c.avg_delay_7d) / nullif(c.std_delay_7d, 0) AS carrier_delay_zscore,
  t.arrivals_7d          AS route_arrivals_7d,
  t.avg_delay_24h        AS route_avg_delay_24h,
  t.avg_delay_7d         AS route_avg_delay_7d,
  t.median_delay_7d      AS route_median_delay_7d,
  t.any_hour_late_24h    AS route_any_hour_late_24h,
  t.late_share_7d        AS route_late_share_7d,
  a.last_delay           AS aircraft_last_delay,
  a.avg_delay_last5      AS aircraft_avg_delay_last5,
  a.hours_flown_7d       AS aircraft_hours_flown_7d,
  a.arrivals_today       AS aircraft_arrivals_today,
  (date_part('epoch', r.scheduled_departure) - date_part('epoch', a.last_arrival_at)) / 60
                         AS minutes_since_aircraft_arrival,
  date_part('hour', r.scheduled_departure) AS scheduled_hour_utc,
  r.distance             AS distance_miles
FROM REQUEST (
  origin VARCHAR, carrier VARCHAR, dest VARCHAR, tailnum VARCHAR, distance SMALLINT, scheduled_departure TIMESTAMP
) AS r
LEFT JOIN origin_departures  AS o ON o.origin = r.origin
LEFT JOIN origin_weather     AS w ON w.origin = r.origin
LEFT JOIN carrier_departures AS c ON c.origin = r.origin AND c.carrier = r.carrier
LEFT JOIN route_arrivals     AS t ON t.origin = r.origin AND t.dest = r.dest
LEFT JOIN aircraft_arrivals  AS a ON a.tailnum = r.tailnum;
