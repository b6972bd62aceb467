"""Whether some frame of a view holds an event as of an instant, by DuckDB: what `known` of an answer must say.

A frame that ends at the current row holds an event exactly if it holds the newest one at or before the instant. So one
ASOF join finds that event, and each window is a condition on it.
"""

import re
import sys

import project  # of tests/parity


def known(connection, stream, view, rows):
    """For each row of a table (key columns, `row`, `instant_us`), in the order of `row`, as a list."""
    connection.register("asked", rows)
    where = re.search(rf"\bFROM\s+{view.stream}\s+WHERE\b(.*?)(\bWINDOW\b|$)", view.select, re.I | re.S)
    same = " AND ".join(f"asked.{part} = member.{part}" for part in view.key)
    conditions = " OR ".join(f"({condition(window)})" for window in windows(view))
    found = connection.execute(
        f"""
        SELECT coalesce({conditions}, false) FROM (
            SELECT asked.row AS place, make_timestamp(asked.instant_us) AS instant, member.{stream.time} AS newest
            FROM asked ASOF LEFT JOIN (SELECT * FROM {stream.name} WHERE {where[1] if where else 'true'}) AS member
            ON {same} AND make_timestamp(asked.instant_us) >= member.{stream.time}
        ) ORDER BY place
        """
    ).fetchall()
    connection.unregister("asked")
    return [one for (one,) in found]


def windows(view):
    return project.split(re.search(r"\bWINDOW\b(.*)$", view.select, re.I | re.S)[1], ",")


def condition(window):
    """What the newest event must fulfil to be in that window's frame."""
    interval = re.search(r"\bRANGE\s+BETWEEN\s+(INTERVAL\s+'[^']*'\s*\w*)\s+PRECEDING\s+AND\s+CURRENT\s+ROW\s*\)$", window, re.I)
    rows = re.search(r"\bROWS\s+BETWEEN\s+\d+\s+PRECEDING\s+AND\s+CURRENT\s+ROW\s*\)$", window, re.I)
    lifetime = re.search(r"\bORDER\s+BY\s+\w+\s*\)$", window, re.I)
    if not (interval or rows or lifetime):
        sys.exit(f"this frame is not known here: {window}")
    reaches = f"newest >= instant - {interval[1]}" if interval else "newest IS NOT NULL"
    calendar = re.search(r"\bdate_trunc\s*\(\s*('\w+')", window, re.I)
    return f"{reaches} AND date_trunc({calendar[1]}, newest) = date_trunc({calendar[1]}, instant)" if calendar else reaches
