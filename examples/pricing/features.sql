-- What a ride costs now: the demand of a zone against the cars that it has. The streams are live, fed over HTTP.
-- The city is synthetic; generate.py makes more of it.

-- Somebody asks what a ride costs.
CREATE STREAM requests (
  request_id BIGINT    NOT NULL,
  zone_id    VARCHAR   NOT NULL,
  minutes    DOUBLE    NOT NULL CHECK (minutes > 0),  -- that the ride will take a car, by the route
  base_price DOUBLE    NOT NULL CHECK (base_price > 0),
  ts         TIMESTAMP NOT NULL,
  PRIMARY KEY (request_id),
  WATERMARK FOR ts AS ts - INTERVAL '2' MINUTE
);

-- A car takes the rider,
CREATE STREAM bookings (
  request_id BIGINT    NOT NULL,
  zone_id    VARCHAR   NOT NULL,
  fare       DOUBLE    NOT NULL,
  ts         TIMESTAMP NOT NULL,
  PRIMARY KEY (request_id),
  WATERMARK FOR ts AS ts - INTERVAL '2' MINUTE
);

-- and is free again.
CREATE STREAM completions (
  request_id BIGINT    NOT NULL,
  zone_id    VARCHAR   NOT NULL,
  ts         TIMESTAMP NOT NULL,
  PRIMARY KEY (request_id),
  WATERMARK FOR ts AS ts - INTERVAL '2' MINUTE
);

-- How many cars a zone has, from an instant on. Reports come late where the radio is bad, and corrections replace them.
CREATE TABLE capacity (
  zone_id VARCHAR   NOT NULL,
  cars    BIGINT    NOT NULL CHECK (cars >= 0),
  closed  BOOLEAN,                                    -- the zone is closed: it has no row
  since   TIMESTAMP NOT NULL,
  PRIMARY KEY (zone_id),
  WATERMARK FOR since AS since - INTERVAL '30' MINUTE
) WITH (delete_column = 'closed');

-- Each request with the capacity that was valid at its time.
CREATE STREAM demand AS
SELECT
  q.request_id,
  q.zone_id,
  q.minutes,
  q.minutes / nullif(c.cars, 0) AS minutes_per_car,
  c.cars,
  CAST(date_part('hour', q.ts) AS BIGINT) AS hour_of_day,
  q.ts
FROM requests AS q
LEFT JOIN capacity FOR SYSTEM_TIME AS OF q.ts AS c ON c.zone_id = q.zone_id;

-- Cars that leave for a ride, and that come back.
CREATE STREAM rides AS
SELECT zone_id, 1 AS under_way, ts FROM bookings
UNION ALL
SELECT zone_id, -1, ts FROM completions;

-- The last minutes. A utilisation of 1: the rides that are asked for would take all the time of all the cars.
CREATE FEATURE VIEW zone_demand AS
SELECT
  zone_id,
  count(*)             OVER m5  AS requests_5m,
  count(*)             OVER m15 AS requests_15m,
  sum(minutes)         OVER m15 / 15 AS cars_needed_15m,
  avg(cars)            OVER m15 AS cars_15m,
  sum(minutes_per_car) OVER m5  / 5  AS utilisation_5m,
  sum(minutes_per_car) OVER m15 / 15 AS utilisation_15m,
  sum(minutes_per_car) OVER h1  / 60 AS utilisation_1h
FROM demand
WINDOW
  m5  AS (PARTITION BY zone_id ORDER BY ts RANGE BETWEEN INTERVAL '5'  MINUTE PRECEDING AND CURRENT ROW),
  m15 AS (PARTITION BY zone_id ORDER BY ts RANGE BETWEEN INTERVAL '15' MINUTE PRECEDING AND CURRENT ROW),
  h1  AS (PARTITION BY zone_id ORDER BY ts RANGE BETWEEN INTERVAL '1'  HOUR   PRECEDING AND CURRENT ROW);

-- What is usual in the zone at an hour of the day. In that hour the frame holds six such hours.
CREATE FEATURE VIEW zone_usual AS
SELECT
  zone_id,
  hour_of_day,
  count(*)             OVER d6 / 6.0   AS usual_requests_1h,
  sum(minutes_per_car) OVER d6 / 360.0 AS usual_utilisation
FROM demand
WINDOW
  d6 AS (PARTITION BY zone_id, hour_of_day ORDER BY ts RANGE BETWEEN INTERVAL '7' DAY PRECEDING AND INTERVAL '1' DAY PRECEDING);

-- The quarter of an hour that is going on, and the last one before it that had a request.
CREATE FEATURE VIEW zone_quarter AS
SELECT
  zone_id,
  count(*) AS requests_quarter,
  lag(count(*)) OVER (PARTITION BY zone_id ORDER BY window_start) AS requests_quarter_before,
  lag(sum(minutes_per_car) / 15) OVER (PARTITION BY zone_id ORDER BY window_start) AS utilisation_quarter_before
FROM TABLE(TUMBLE(TABLE demand, DESCRIPTOR(ts), INTERVAL '15' MINUTE))
GROUP BY zone_id, window_start, window_end;

-- The half hour that ends within the next five minutes.
CREATE FEATURE VIEW zone_half_hour AS
SELECT
  zone_id,
  count(*)     AS requests_half_hour,
  min(cars)    AS fewest_cars_half_hour,
  max(minutes) AS longest_ride_half_hour
FROM TABLE(HOP(TABLE demand, DESCRIPTOR(ts), INTERVAL '5' MINUTE, INTERVAL '30' MINUTE))
GROUP BY zone_id, window_start, window_end;

-- The day so far.
CREATE FEATURE VIEW zone_day AS
SELECT
  zone_id,
  count(*) AS requests_today,
  count(*) FILTER (WHERE cars IS NULL) AS requests_while_closed
FROM TABLE(CUMULATE(TABLE demand, DESCRIPTOR(ts), INTERVAL '1' HOUR, INTERVAL '1' DAY))
GROUP BY zone_id, window_start, window_end;

CREATE FEATURE VIEW zone_rides AS
SELECT
  zone_id,
  sum(under_way) OVER ever AS cars_busy,
  count(*) FILTER (WHERE under_way = 1) OVER m15 AS bookings_15m
FROM rides
WINDOW
  ever AS (PARTITION BY zone_id ORDER BY ts),
  m15  AS (PARTITION BY zone_id ORDER BY ts RANGE BETWEEN INTERVAL '15' MINUTE PRECEDING AND CURRENT ROW);

-- The count that is valid now.
CREATE FEATURE VIEW zone_capacity AS
SELECT zone_id, cars FROM capacity;

-- The price, and the vector of a model that would do better. The rule: of m times the price one in m² riders is glad, so the
-- root of the utilisation, over the 0.9 that the cars can do, is the price at which they are just full.
CREATE FEATURE SERVICE price_v1 AS
SELECT
  d.requests_15m,
  d.utilisation_5m,
  d.utilisation_15m,
  d.cars_needed_15m / nullif(c.cars, 0) AS utilisation_by_cars_now,
  (d.requests_15m - u.usual_requests_1h / 4) / nullif(sqrt(u.usual_requests_1h / 4), 0) AS demand_deviation,
  d.utilisation_15m - u.usual_utilisation AS utilisation_above_usual,
  q.requests_quarter_before,
  h.requests_half_hour,
  t.requests_today,
  c.cars - s.cars_busy AS cars_free,
  CAST(s.bookings_15m AS DOUBLE) / nullif(d.requests_15m, 0) AS booked_share_15m,
  r.base_price * least(3, greatest(1, sqrt(coalesce(d.utilisation_5m, 0) / 0.9))) AS price
FROM REQUEST (zone_id VARCHAR, hour_of_day BIGINT, base_price DOUBLE) AS r
LEFT JOIN zone_demand    AS d ON d.zone_id = r.zone_id
LEFT JOIN zone_usual     AS u ON u.zone_id = r.zone_id AND u.hour_of_day = r.hour_of_day
LEFT JOIN zone_quarter   AS q ON q.zone_id = r.zone_id
LEFT JOIN zone_half_hour AS h ON h.zone_id = r.zone_id
LEFT JOIN zone_day       AS t ON t.zone_id = r.zone_id
LEFT JOIN zone_rides     AS s ON s.zone_id = r.zone_id
LEFT JOIN zone_capacity  AS c ON c.zone_id = r.zone_id;
