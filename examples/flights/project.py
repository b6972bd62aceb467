"""Reads this project's SQL the way its checks need it: the text of each feature view, the file of each stream.

No parser: it knows how `features.sql` is laid out, one object per statement, and fails where it finds nothing.
"""
import re
from pathlib import Path

import duckdb

HERE = Path(__file__).resolve().parent
SQL = re.sub(r"--[^\n]*", "", (HERE / "features.sql").read_text())


def streams():
    """Stream name → the path of its file and the conditions of its CHECKs."""
    found = re.findall(r"CREATE STREAM (\w+) (.*?)path = '([^']+)'", SQL, re.S)
    assert found, "features.sql defines no stream"
    return {name: (HERE / path, re.findall(r"CHECK \(([^()]+)\)", columns)) for name, columns, path in found}


def views():
    """View name → its SELECT, word for word but for comments."""
    found = re.findall(r"CREATE FEATURE VIEW (\w+) AS\s+(SELECT.*?);", SQL, re.S)
    assert found, "features.sql defines no feature view"
    return dict(found)


def database():
    """A DuckDB with a table of used events for each stream, and one of the spine.

    These files hold no duplicate and nothing unreadable or NULL where it may not be, and a file has no late events:
    what a CHECK rejects is all that is not used. A CHECK that is NULL passes.
    """
    connection = duckdb.connect()
    for name, (path, checks) in streams().items():
        used = " AND ".join(f"coalesce({check}, true)" for check in checks) or "true"
        connection.execute(f"CREATE TABLE {name} AS FROM read_parquet('{path}') WHERE {used}")
    connection.execute(f"CREATE TABLE spine AS FROM read_parquet('{HERE / 'spine.parquet'}')")
    return connection
