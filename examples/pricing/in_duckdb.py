"""The second program: the same features in DuckDB, for check_views.py.

- `tables` declares what the project declares: used events, versions of the capacity, and the derived streams by their own text,
  the temporal join in it as an ASOF JOIN.
- `view_text` is what gives a view at every event: its own text, or, over a group window, WINDOWS with the bounds written out.
- `service_text` is `price_v1` by plain aggregates over the events that its frames hold, each frame a condition on their times.
"""

import re

from live import HERE

SQL = re.sub(r"--[^\n]*", "", (HERE / "features.sql").read_text())
STREAMS = ["capacity", "requests", "bookings", "completions"]  # of the past, tables come first

# What the four files hold, numbered in the order of arrival. What is posted live arrives today, after every decision.
ARRIVALS = """
    CREATE TABLE {name}_arrived AS
    SELECT * EXCLUDE (arrived, file_row_number),
           CASE WHEN arrived < TIMESTAMP '{live_from}' THEN arrived ELSE 'infinity' END AS arrived,
           arrived AS sent, file_row_number AS place
    FROM read_parquet('{path}', file_row_number = true)
"""
# Of the events, those that count: what passes the CHECKs, and of those sent twice the first one. None is late.
USED = """
    CREATE VIEW {name} AS SELECT * FROM {name}_arrived {where}
    QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY place) = 1
"""
# Of versions of one zone and instant the last to arrive holds; from a closing on a zone has no cars.
CAPACITY = """
    CREATE VIEW capacity AS SELECT zone_id, CASE WHEN NOT closed THEN cars END AS cars, since FROM capacity_arrived
    QUALIFY row_number() OVER (PARTITION BY zone_id, since ORDER BY place DESC) = 1
"""
SYSTEM_TIME_JOIN = re.compile(r"LEFT JOIN capacity FOR SYSTEM_TIME AS OF (\S+) AS c ON ([^;]+)")
ASOF_JOIN = r"ASOF LEFT JOIN capacity AS c ON \2 AND \1 >= c.since"

# The group windows with their bounds: the open one up to the request, and the one that closed last.
WINDOWS = {
    "zone_quarter": """
        WITH cut AS (SELECT *, time_bucket(INTERVAL 15 MINUTE, ts) AS quarter FROM demand),
        closed AS (
          SELECT zone_id, quarter,
                 lag(count(*)) OVER before AS requests_quarter_before,
                 lag(sum(minutes_per_car) / 15) OVER before AS utilisation_quarter_before
          FROM cut GROUP BY zone_id, quarter WINDOW before AS (PARTITION BY zone_id ORDER BY quarter)
        )
        SELECT request_id, closed.*, count(*) OVER (PARTITION BY zone_id, quarter ORDER BY ts) AS requests_quarter
        FROM cut JOIN closed USING (zone_id, quarter)
    """,
    "zone_half_hour": """
        SELECT request_id, count(*) OVER w AS requests_half_hour, min(cars) OVER w AS fewest_cars_half_hour,
               max(minutes) OVER w AS longest_ride_half_hour
        FROM demand
        WINDOW w AS (PARTITION BY zone_id ORDER BY ts RANGE BETWEEN
          (ts - time_bucket(INTERVAL 5 MINUTE, ts) + INTERVAL 25 MINUTE) PRECEDING AND CURRENT ROW)
    """,
    "zone_day": """
        SELECT request_id, count(*) OVER day AS requests_today,
               count(*) FILTER (WHERE cars IS NULL) OVER day AS requests_while_closed
        FROM demand WINDOW day AS (PARTITION BY zone_id, date_trunc('day', ts) ORDER BY ts)
    """,
}

# `known` is what of an arrival is known as of `asked_at`. A frame of the last day, or of a week at the same hour.
SERVICE = """
    WITH decisions AS (
      SELECT request_id, zone_id, hour_of_day, base_price, ts AS asked_at FROM spine
    ),
    -- The versions that are known, of each instant the last to arrive.
    versions AS MATERIALIZED (
      SELECT request_id, zone_id, since, arg_max(row(CASE WHEN NOT closed THEN cars END), place)[1] AS cars
      FROM decisions JOIN capacity_arrived USING (zone_id)
      WHERE since <= asked_at AND since >= asked_at - INTERVAL 8 DAY AND {known}
      GROUP BY ALL
    ),
    asked AS MATERIALIZED (
      SELECT d.request_id, asked_at, q.ts, minutes,
             time_bucket(INTERVAL 15 MINUTE, q.ts) AS quarter,
             hour(q.ts) = hour_of_day AND q.ts <= asked_at - INTERVAL 1 DAY AS usual
      FROM decisions AS d JOIN requests AS q
        ON q.zone_id = d.zone_id AND q.ts BETWEEN asked_at - INTERVAL 7 DAY AND asked_at AND {known}
      WHERE q.ts >= asked_at - INTERVAL 1 DAY OR hour(q.ts) = hour_of_day
    ),
    -- Each request with the cars that its zone had then, as far as is known.
    seen AS (
      SELECT asked.*, minutes / nullif(cars, 0) AS minutes_per_car
      FROM asked ASOF LEFT JOIN versions ON versions.request_id = asked.request_id AND asked.ts >= versions.since
    ),
    quarters AS (
      SELECT request_id, max(quarter) AS quarter_before FROM asked
      WHERE quarter < time_bucket(INTERVAL 15 MINUTE, asked_at) GROUP BY request_id
    ),
    frames AS (
      SELECT
        request_id,
        count(*)             FILTER (ts >= asked_at - INTERVAL 15 MINUTE)      AS requests_15m,
        sum(minutes)         FILTER (ts >= asked_at - INTERVAL 15 MINUTE) / 15 AS cars_needed_15m,
        sum(minutes_per_car) FILTER (ts >= asked_at - INTERVAL 5  MINUTE) / 5  AS utilisation_5m,
        sum(minutes_per_car) FILTER (ts >= asked_at - INTERVAL 15 MINUTE) / 15 AS utilisation_15m,
        count(*)             FILTER (usual) / 6   AS usual_requests_1h,
        sum(minutes_per_car) FILTER (usual) / 360 AS usual_utilisation,
        nullif(count(*)      FILTER (quarter = quarter_before), 0) AS requests_quarter_before,
        count(*) FILTER (ts >= time_bucket(INTERVAL 5 MINUTE, asked_at) - INTERVAL 25 MINUTE) AS requests_half_hour,
        count(*) FILTER (ts >= date_trunc('day', asked_at)) AS requests_today
      FROM seen LEFT JOIN quarters USING (request_id) GROUP BY request_id
    ),
    rides_seen AS (
      SELECT
        decisions.request_id,
        sum(under_way) AS cars_busy,
        count(*) FILTER (under_way = 1 AND ts >= asked_at - INTERVAL 15 MINUTE) AS bookings_15m
      FROM decisions JOIN (
        SELECT zone_id, 1 AS under_way, ts, arrived FROM bookings UNION ALL SELECT zone_id, -1, ts, arrived FROM completions
      ) AS rides ON rides.zone_id = decisions.zone_id AND ts <= asked_at AND {known}
      GROUP BY decisions.request_id
    ),
    cars_now AS (
      SELECT request_id, arg_max(row(cars), since)[1] AS cars FROM versions GROUP BY request_id
    )
    SELECT
      request_id,
      coalesce(requests_15m, 0) AS requests_15m,
      utilisation_5m,
      utilisation_15m,
      cars_needed_15m / nullif(cars, 0) AS utilisation_by_cars_now,
      (coalesce(requests_15m, 0) - coalesce(usual_requests_1h, 0) / 4) / nullif(sqrt(coalesce(usual_requests_1h, 0) / 4), 0)
        AS demand_deviation,
      utilisation_15m - usual_utilisation AS utilisation_above_usual,
      requests_quarter_before,
      coalesce(requests_half_hour, 0) AS requests_half_hour,
      coalesce(requests_today, 0) AS requests_today,
      cars - cars_busy AS cars_free,
      bookings_15m / nullif(requests_15m, 0) AS booked_share_15m,
      base_price * least(3, greatest(1, sqrt(coalesce(utilisation_5m, 0) / 0.9))) AS price
    FROM decisions
    LEFT JOIN frames     USING (request_id)
    LEFT JOIN rides_seen USING (request_id)
    LEFT JOIN cars_now   USING (request_id)
"""


def tables(connection, live_from):
    """What the project declares, over the files; `demand` and `rides` from their own text."""
    for name in STREAMS:
        connection.execute(ARRIVALS.format(name=name, path=HERE / "data" / f"{name}.parquet", live_from=live_from))
    connection.execute(USED.format(name="requests", where="WHERE minutes > 0 AND base_price > 0"))
    connection.execute(USED.format(name="bookings", where=""))
    connection.execute(USED.format(name="completions", where=""))
    connection.execute(CAPACITY)
    for name, text in re.findall(r"CREATE STREAM (\w+) AS\s+(SELECT.*?);", SQL, re.S):
        connection.execute(f"CREATE VIEW {name} AS {SYSTEM_TIME_JOIN.sub(ASOF_JOIN, text)}")
    connection.execute(f"CREATE TABLE spine AS FROM read_parquet('{HERE / 'spine.parquet'}') WHERE request_id % 20 = 0")


def views():
    """View name → (its key at an event, the text that gives its features there)."""
    found = dict(re.findall(r"CREATE FEATURE VIEW (\w+) AS\s+(SELECT.*?);", SQL, re.S))
    assert len(found) == 7, f"features.sql defines seven views, found {list(found)}"
    return {name: view_text(name, text) for name, text in found.items()}


def view_text(name, text):
    # `rides` has no primary key, and of a table each version is an event.
    key = {"zone_rides": ["zone_id", "ts"], "zone_capacity": ["zone_id", "since"]}.get(name, ["request_id"])
    if name == "zone_capacity":
        text += " WHERE cars IS NOT NULL"  # a closing is no row
    return key, WINDOWS.get(name) or text.replace("SELECT", f"SELECT {key[-1]},", 1)


def service_text(knowledge):
    return SERVICE.format(known={"event-time": "true", "as-served": "arrived <= asked_at"}[knowledge])
