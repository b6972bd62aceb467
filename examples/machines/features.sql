-- Machines whose bearings wear: the hour, the day and the week of each machine's readings, and the vector a model reads.
-- The readings are synthetic; generate.py makes more of them, with the failures labelled.

CREATE STREAM readings (
  machine_id  VARCHAR   NOT NULL,
  vibration   DOUBLE CHECK (vibration >= 0),  -- velocity of the bearing's housing, RMS, mm/s; NULL where the sensor failed
  temperature DOUBLE,                         -- of the bearing, degrees Celsius; NULL likewise
  fault       VARCHAR,                        -- what the controller reports beside it: 'sensor', 'overload' or NULL
  ts          TIMESTAMP NOT NULL,
  arrived     TIMESTAMP,
  PRIMARY KEY (machine_id, ts),               -- a gateway that sends a reading twice
  WATERMARK FOR ts AS ts - INTERVAL '15' MINUTE
) WITH (
  connector      = 'file',
  path           = 'data/readings.parquet',
  format         = 'parquet',
  arrival_column = 'arrived'
);

-- How it shakes now, how that grows, and how it compares with the machine's own week.
CREATE FEATURE VIEW machine_vibration AS
SELECT
  machine_id,
  count(vibration)    OVER h1 AS readings_1h,
  avg(vibration)      OVER h1 AS avg_vibration_1h,
  var_samp(vibration) OVER h1 AS var_vibration_1h,
  max(vibration)      OVER d1 AS max_vibration_24h,
  regr_slope(vibration, date_part('epoch', ts) / 3600) OVER d1 AS vibration_trend_24h,  -- mm/s in an hour
  decayed_avg(vibration, INTERVAL '3' HOUR) OVER d7 AS decayed_vibration,
  avg(vibration)      OVER d7 AS avg_vibration_7d,
  (avg(vibration) OVER h1 - avg(vibration) OVER d7) / nullif(stddev_samp(vibration) OVER d7, 0) AS vibration_zscore
FROM readings
WINDOW
  h1 AS (PARTITION BY machine_id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW),
  d1 AS (PARTITION BY machine_id ORDER BY ts RANGE BETWEEN INTERVAL '1' DAY  PRECEDING AND CURRENT ROW),
  d7 AS (PARTITION BY machine_id ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY  PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW machine_heat AS
SELECT
  machine_id,
  avg(temperature) OVER h1 AS avg_temperature_1h,
  avg(temperature) OVER h1 - avg(temperature) OVER d7 AS temperature_above_week
FROM readings
WINDOW
  h1 AS (PARTITION BY machine_id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW),
  d7 AS (PARTITION BY machine_id ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY  PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW machine_faults AS
SELECT
  machine_id,
  count(*) FILTER (WHERE fault = 'sensor')   OVER d1  AS sensor_faults_24h,
  count(*) FILTER (WHERE fault = 'overload') OVER d7  AS overloads_7d,
  max(ts)  FILTER (WHERE fault = 'overload') OVER d30 AS last_overload_at
FROM readings
WINDOW
  d1  AS (PARTITION BY machine_id ORDER BY ts RANGE BETWEEN INTERVAL '1'  DAY PRECEDING AND CURRENT ROW),
  d7  AS (PARTITION BY machine_id ORDER BY ts RANGE BETWEEN INTERVAL '7'  DAY PRECEDING AND CURRENT ROW),
  d30 AS (PARTITION BY machine_id ORDER BY ts RANGE BETWEEN INTERVAL '30' DAY PRECEDING AND CURRENT ROW);

-- The vector of the model: will this machine fail within 24 hours? A request says when it is asked, as a row of the spine
-- does, so that the time since the last overload goes on between readings.
CREATE FEATURE SERVICE failure_v1 AS
SELECT
  v.readings_1h,
  v.avg_vibration_1h,
  v.var_vibration_1h,
  v.max_vibration_24h,
  v.vibration_trend_24h,
  v.decayed_vibration,
  v.vibration_zscore,
  h.avg_temperature_1h,
  h.temperature_above_week,
  f.sensor_faults_24h,
  f.overloads_7d,
  (date_part('epoch', r.ts) - date_part('epoch', f.last_overload_at)) / 3600 AS hours_since_overload
FROM REQUEST (machine_id VARCHAR, ts TIMESTAMP) AS r
LEFT JOIN machine_vibration AS v ON v.machine_id = r.machine_id
LEFT JOIN machine_heat      AS h ON h.machine_id = r.machine_id
LEFT JOIN machine_faults    AS f ON f.machine_id = r.machine_id;
