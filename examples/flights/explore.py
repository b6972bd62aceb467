"""What is freshness worth here? The same feature, read at the decision and read stale, against the label.

    python3 explore.py

Each feature is the text of a window over `departures` or `arrivals`, answered as of the decision, one hour before it
and a day before it. AUC: the chance that a late flight has a higher value than a flight on time (0.5 = says nothing).
Delay grows through the day, so that a fresh mean delay partly tells the time: therefore each feature is also measured
among flights of the same scheduled hour, and the hour stands alone in the last row. Decisions for which any compared
value is NULL (early morning: nobody has left yet) are left out; the last column counts those that are compared.
"""
from project import database

# name → (stream, entity key, feature, frame)
FEATURES = {
    "origin: mean departure delay, last hour": ("departures", "origin", "avg(dep_delay)", "INTERVAL 1 HOUR"),
    "carrier at origin: mean departure delay, 3 h": (
        "departures", "origin, carrier", "avg(dep_delay)", "INTERVAL 3 HOUR"),
    "route: mean arrival delay, 24 h": ("arrivals", "origin, dest", "avg(arr_delay)", "INTERVAL 1 DAY"),
    "aircraft: last arrival delay, 24 h": ("arrivals", "tailnum", "last_value(arr_delay)", "INTERVAL 1 DAY"),
}
LOCAL_HOUR = "date_part('hour', timezone('America/New_York', timezone('UTC', scheduled_departure)))"
STALENESS = {"at the decision": "INTERVAL 0 HOUR", "1 hour old": "INTERVAL 1 HOUR", "1 day old": "INTERVAL 1 DAY"}


def main():
    connection = database()
    for number, feature in enumerate(FEATURES.values()):
        for column, age in enumerate(STALENESS.values()):
            connection.execute(f"CREATE TABLE value_{number}_{column} AS {as_of_decisions(*feature, age)}")
    print_auc(connection)
    print_deciles(connection)


def as_of_decisions(stream, key, feature, frame, age):
    """The feature as of each decision minus `age`: decisions join the events, and stand behind those of equal time."""
    argument = feature.split("(")[1].rstrip(")")
    return f"""
        WITH merged AS (
          SELECT {key}, ts, flight_id, {argument}, false AS decision FROM {stream}
          UNION ALL
          SELECT {key}, ts - {age}, flight_id, NULL, true FROM spine
        )
        SELECT flight_id, value FROM (
          SELECT flight_id, decision, {ignoring_nulls(feature)} OVER (
            PARTITION BY {key} ORDER BY ts RANGE BETWEEN {frame} PRECEDING AND CURRENT ROW) AS value
          FROM merged
        ) WHERE decision
    """


def ignoring_nulls(feature):
    """The rows of decisions hold a NULL, which last_value would return; the events hold none."""
    if "last_value" not in feature:
        return feature
    return feature.replace(")", " ORDER BY ts, decision, flight_id IGNORE NULLS)")


def compared(connection, number):
    """The decisions at which the feature has a value at every staleness, as a table of the label and the values."""
    joins = " ".join(f"JOIN value_{number}_{column} AS v{column} USING (flight_id)" for column in range(len(STALENESS)))
    values = ", ".join(f"v{column}.value AS v{column}" for column in range(len(STALENESS)))
    known = " AND ".join(f"v{column}.value IS NOT NULL" for column in range(len(STALENESS)))
    connection.execute(f"""
        CREATE OR REPLACE TABLE compared AS
        SELECT late, {values}, flight_id, scheduled_departure FROM spine {joins} WHERE {known}
    """)


def auc(connection, score, stratum="0"):
    """Mann and Whitney over `compared`: the share of pairs (late, on time) in which the late one ranks higher, ties
    half. Only flights of one `stratum` are paired with each other."""
    (value,) = connection.execute(f"""
        WITH ranked AS (
          SELECT late, stratum, rank() OVER (PARTITION BY stratum ORDER BY score)
                              + (count(*) OVER (PARTITION BY stratum, score) - 1) / 2.0 AS place
          FROM (SELECT late, {score} AS score, {stratum} AS stratum FROM compared)
        ), strata AS (
          SELECT sum(place) FILTER (WHERE late) AS places,
                 count(*) FILTER (WHERE late)::DOUBLE AS late, count(*) FILTER (WHERE NOT late)::DOUBLE AS on_time
          FROM ranked GROUP BY stratum
        )
        SELECT sum(places - late * (late + 1) / 2) / sum(late * on_time) FROM strata
    """).fetchone()
    return value


def print_auc(connection):
    print(f"{'AUC of one feature alone':<46}" + "".join(f"{age:>17}" for age in STALENESS) + f"{'decisions':>12}")
    for number, name in enumerate(FEATURES):
        compared(connection, number)
        (decisions,) = connection.execute("SELECT count(*) FROM compared").fetchone()
        for what, stratum in ((name, "0"), ("  among flights of the same scheduled hour", LOCAL_HOUR)):
            values = [auc(connection, f"v{column}", stratum) for column in range(len(STALENESS))]
            print(f"{what:<46}" + "".join(f"{value:>17.3f}" for value in values) + f"{decisions:>12,}")
    connection.execute("CREATE OR REPLACE TABLE compared AS SELECT late, scheduled_departure FROM spine")
    (decisions,) = connection.execute("SELECT count(*) FROM compared").fetchone()
    print(f"{'the scheduled hour of the day (local) alone':<46}{auc(connection, LOCAL_HOUR):>17.3f}{decisions:>46,}")


def print_deciles(connection):
    """Deciles by rank; equal values are cut by `flight_id`, so neighbouring rates may trade a few flights."""
    compared(connection, 0)
    (decisions, rate) = connection.execute("SELECT count(*), avg(late::INTEGER) FROM compared").fetchone()
    print(f"\nshare of late flights by decile of the origin's mean delay in the last hour "
          f"({decisions:,} decisions, {rate:.1%} late)")
    print(f"{'decile':<8}" + "".join(f"{age:>17}" for age in STALENESS))
    columns = [deciles(connection, f"v{column}") for column in range(len(STALENESS))]
    for decile, rates in enumerate(zip(*columns), start=1):
        print(f"{decile:<8}" + "".join(f"{rate:>17.1%}" for rate in rates))


def deciles(connection, value):
    rows = connection.execute(f"""
        SELECT decile, avg(late::INTEGER)
        FROM (SELECT late, ntile(10) OVER (ORDER BY {value}, flight_id) AS decile FROM compared)
        GROUP BY decile ORDER BY decile
    """).fetchall()
    return [rate for _, rate in rows]


if __name__ == "__main__":
    main()
