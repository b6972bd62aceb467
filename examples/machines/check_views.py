"""Proves every feature in DuckDB, value by value.

    python check_views.py [--asof BINARY]        needs `duckdb`, and the binary

- Each view: its own text over the used readings must give at every reading what `asof history --every-event` gives.
  decayed_avg, which DuckDB does not have, stands in that text as its definition.
- The service: as of each decision of the spine it must be what plain aggregates give over the readings of that machine,
  with every frame written out as a condition on their times (SERVICE below: a second program for the same numbers).

Counts and instants must be equal; doubles, which DuckDB adds up one after the other, within 1e-9 of their size, or of 1
where they are smaller (the trend: TOLERANCES). Prints a row for each feature; exit 1 on any difference, or if nothing
was compared.
"""

import argparse
import re
import sys
from pathlib import Path

import duckdb

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.append(str(REPOSITORY / "tests" / "parity"))
from against_duckdb import HEAD, Comparison  # noqa: E402

SQL = re.sub(r"--[^\n]*", "", (HERE / "features.sql").read_text())
KEY = ["machine_id", "ts"]
NOT_FEATURES = {*KEY, "fails_within_24h"}
# DuckDB fits the line in doubles over hours since 1970, about 491,000 of them, and so loses six digits of a slope. In
# SERVICE the line lies over the ages, where it loses none.
TOLERANCES = {"vibration_trend_24h": 1e-8}
# The slope through one reading is NULL; DuckDB divides by a variance of 0 and says NaN.
SLOPE = re.compile(r"(regr_slope\(.*?\)\s+OVER \w+)(?= AS )", re.S)

# The readings that count: what passes the CHECK, and of those sent twice the first one. A file has no late readings.
USED = f"""
    CREATE TABLE readings AS
    SELECT * EXCLUDE (file_row_number), epoch_us(ts) / 3.6e9 AS hours
    FROM read_parquet('{HERE / "data" / "readings.parquet"}', file_row_number = true)
    WHERE coalesce(vibration >= 0, true)
    QUALIFY row_number() OVER (PARTITION BY machine_id, ts ORDER BY file_row_number) = 1
"""

# An event of age a weighs 2^(−a ÷ half-life); the weights may be taken from any fixed instant, for they are divided.
DECAYED = re.compile(r"decayed_avg\((\w+), INTERVAL '(\d+)' HOUR\)\s+OVER\s+(\w+)")
WEIGHT = r"pow(2.0, (hours - (SELECT min(hours) FROM readings)) / \2.0)"
DECAYED_MEANS = rf"(sum(\1 * {WEIGHT}) OVER \3 / sum({WEIGHT}) FILTER (WHERE \1 IS NOT NULL) OVER \3)"

# `asked` joins each decision to the readings of its machine in the 30 days up to it, both ends included.
SERVICE = """
    WITH asked AS (
      SELECT spine.machine_id, spine.ts AS asked_at, readings.* EXCLUDE (machine_id),
             epoch_us(spine.ts) / 3.6e9 - hours        AS age_hours,
             readings.ts >= spine.ts - INTERVAL 1 HOUR AS h1,
             readings.ts >= spine.ts - INTERVAL 1 DAY  AS d1,
             readings.ts >= spine.ts - INTERVAL 7 DAY  AS d7
      FROM spine LEFT JOIN readings
      ON readings.machine_id = spine.machine_id AND readings.ts BETWEEN spine.ts - INTERVAL 30 DAY AND spine.ts
    )
    SELECT
      machine_id,
      asked_at AS ts,
      count(vibration)    FILTER (WHERE h1) AS readings_1h,
      avg(vibration)      FILTER (WHERE h1) AS avg_vibration_1h,
      var_samp(vibration) FILTER (WHERE h1) AS var_vibration_1h,
      max(vibration)      FILTER (WHERE d1) AS max_vibration_24h,
      regr_slope(vibration, -age_hours) FILTER (WHERE d1) AS vibration_trend_24h,
      sum(vibration * pow(2.0, -age_hours / 3)) FILTER (WHERE d7)
        / sum(pow(2.0, -age_hours / 3)) FILTER (WHERE d7 AND vibration IS NOT NULL) AS decayed_vibration,
      (avg(vibration) FILTER (WHERE h1) - avg(vibration) FILTER (WHERE d7))
        / nullif(stddev_samp(vibration) FILTER (WHERE d7), 0) AS vibration_zscore,
      avg(temperature) FILTER (WHERE h1) AS avg_temperature_1h,
      avg(temperature) FILTER (WHERE h1) - avg(temperature) FILTER (WHERE d7) AS temperature_above_week,
      count(*) FILTER (WHERE d1 AND fault = 'sensor')   AS sensor_faults_24h,
      count(*) FILTER (WHERE d7 AND fault = 'overload') AS overloads_7d,
      min(age_hours) FILTER (WHERE fault = 'overload')  AS hours_since_overload
    FROM asked GROUP BY ALL
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asof", type=Path, default=REPOSITORY / "target" / "release" / "asof", help="the binary")
    options = parser.parse_args()
    connection = duckdb.connect(config={"threads": 2})
    connection.execute(USED)
    connection.execute(f"CREATE TABLE spine AS FROM read_parquet('{HERE / 'spine.parquet'}')")
    print(HEAD)
    comparison = Comparison(options.asof, HERE, connection, NOT_FEATURES, TOLERANCES)
    for name, text in views().items():
        comparison.compare(name, KEY, in_duckdb(text), "--view", name, "--every-event")
    comparison.compare("failure_v1", KEY, SERVICE, "--service", "failure_v1", "--spine", HERE / "spine.parquet")
    print(f"\n{comparison.differences} differences")
    sys.exit(1 if comparison.differences else 0)


def views():
    """View name → its SELECT, word for word but for comments."""
    found = dict(re.findall(r"CREATE FEATURE VIEW (\w+) AS\s+(SELECT.*?);", SQL, re.S))
    assert len(found) == 3, f"features.sql defines three views, found {list(found)}"
    return found


def in_duckdb(text):
    """The view's text with the time of the reading beside its machine."""
    text = SLOPE.sub(r"nullif(\1, 'NaN'::DOUBLE)", DECAYED.sub(DECAYED_MEANS, text))
    return text.replace("SELECT\n  machine_id,", "SELECT machine_id, ts,", 1)


if __name__ == "__main__":
    main()
