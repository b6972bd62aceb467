"""No decision may know its own flight's outcome: joins every row of a spine to the departure and the arrival of the
same flight and finds both strictly after the decision. (Frames are closed: an event at the very instant would count.)

    python3 check_leak.py [SPINE.parquet]

Exit 1 if one is at or before its decision, or if a decision has no event of its own to compare with. Recounts the
spine by month from the two streams as well.
"""
import sys

from project import HERE, database

DECISION_LEAD_MINUTES = 30


def main():
    spine = sys.argv[1] if len(sys.argv) > 1 else str(HERE / "spine.parquet")
    connection = database()
    connection.execute("CREATE TABLE decisions AS FROM read_parquet($spine)", {"spine": spine})
    breaches = own_events(connection, "departures") + own_events(connection, "arrivals")
    breaches += months_that_differ(connection)
    print("no leak" if not breaches else f"{breaches} breaches")
    sys.exit(1 if breaches else 0)


def own_events(connection, stream):
    decisions, matched, known, nearest = connection.execute(f"""
        SELECT count(*), count(e.flight_id), count(*) FILTER (WHERE e.ts <= d.ts), min(e.ts - d.ts)
        FROM decisions AS d LEFT JOIN {stream} AS e USING (flight_id)
    """).fetchone()
    print(f"{stream}: {decisions:,} decisions, {matched:,} with an own event, {known:,} at or before the decision; "
          f"the nearest comes {nearest} after it")
    return known + (decisions - matched)


def months_that_differ(connection):
    """A flight belongs in the spine if it arrived and left less than 30 minutes before its scheduled departure."""
    rows = connection.execute(f"""
        WITH expected AS (
          SELECT strftime(departures.ts - to_minutes(dep_delay + {DECISION_LEAD_MINUTES}), '%Y-%m') AS month,
                 count(*) AS flights
          FROM departures JOIN arrivals USING (flight_id)
          WHERE dep_delay > -{DECISION_LEAD_MINUTES}
          GROUP BY ALL
        ), found AS (
          SELECT strftime(ts, '%Y-%m') AS month, count(*) AS flights, count(*) FILTER (WHERE late) AS late
          FROM decisions GROUP BY ALL
        )
        SELECT month, coalesce(expected.flights, 0), coalesce(found.flights, 0), coalesce(late, 0)
        FROM expected FULL JOIN found USING (month) ORDER BY month
    """).fetchall()
    print("month (UTC)  expected  decisions   late")
    for month, expected, found, late in rows:
        print(f"{month:<11}{expected:>10,}{found:>11,}{late:>7,}{'' if expected == found else '  DIFFERS'}")
    return sum(expected != found for _, expected, found, _ in rows)


if __name__ == "__main__":
    main()
