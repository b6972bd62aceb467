"""Runs the text of every feature view, unchanged, in DuckDB over the same files.

    python3 check_views.py

One row per event must come out; prints each view's features with their range, exit 1 if a view does not run.
"""
import sys

import duckdb

from project import database, views


def main():
    connection = database()
    failed = [name for name, text in views().items() if not view_runs(connection, name, text)]
    sys.exit(1 if failed else 0)


def view_runs(connection, name, text):
    stream = text.split("FROM ")[1].split()[0]
    (events,) = connection.execute(f"SELECT count(*) FROM {stream}").fetchone()
    try:
        connection.execute(f"CREATE TABLE {name} AS {text}")
    except duckdb.Error as error:
        print(f"{name}: {error}")
        return False
    summary = connection.execute(
        f"SELECT column_name, column_type, min, max, null_percentage FROM (SUMMARIZE {name})"
    ).fetchall()
    (rows,) = connection.execute(f"SELECT count(*) FROM {name}").fetchone()
    print(f"{name}: {rows:,} rows from {events:,} events of {stream}")
    for column, kind, least, greatest, nulls in summary:
        print(f"  {column:<22}{kind:<10} {str(least)[:21]:>21} to {str(greatest)[:21]:<21} {float(nulls):6.2f} % NULL")
    return rows == events


if __name__ == "__main__":
    main()
