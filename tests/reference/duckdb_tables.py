"""Tables and temporal joins put to DuckDB, for `check_cases.py --duckdb`: versions as intervals, joins as plain SQL.

A table becomes one of the same name that holds each row from `__from` until before `__until`, made by window functions
over the versions as they arrived. FOR SYSTEM_TIME AS OF becomes
  - in the text of a case: ASOF LEFT JOIN; where rows can be deleted, LEFT JOIN of the interval;
  - in reads: LEFT JOIN of the interval.
The text of a view over a table is put unchanged, to the rows that are valid at the instant of the read.
"""
import re

from duckdb_sql import literal, naive, sql_of
from scalars import Timestamp, typed

SYSTEM_TIME_JOIN = re.compile(
    r"LEFT\s+JOIN\s+(?P<table>\w+)\s+FOR\s+SYSTEM_TIME\s+AS\s+OF\s+(?P<time>\S+)\s+AS\s+(?P<alias>\w+)\s+ON\s+(?P<on>.*?)"
    r"(?=\s*(?:LEFT\s+JOIN|WHERE|WINDOW|UNION|;|$))",
    re.S,
)


def load_tables(connection, case, used):
    """Makes each table from its versions among what is used."""
    for name, declared in case.tables.items():
        columns = declared["columns"]
        listed = ", ".join(f"{column} {of['type']}" for column, of in columns.items())
        connection.execute(f"CREATE OR REPLACE TABLE __versions (__partition BIGINT, __offset BIGINT, {listed})")
        for version in (one for one in used if one.table == name):
            raw = case.case["events"][version.index]["columns"]  # a delete marker keeps no row
            values = [typed(of["type"], raw.get(column)) for column, of in columns.items()]
            values = [naive(value) if isinstance(value, Timestamp) else value for value in values]
            marks = ", ".join("?" * (len(values) + 2))
            connection.execute(f"INSERT INTO __versions VALUES ({marks})", [version.partition, version.offset, *values])
        connection.execute(f"CREATE OR REPLACE TABLE {name} AS {intervals_of(declared)}")


def intervals_of(declared):
    """Of the versions of one key and one time the last to arrive; each until the next one; then those that do not delete."""
    key, time, deleted = ", ".join(declared["primary_key"]), declared["time"], declared.get("delete", "false")
    last = f"row_number() OVER (PARTITION BY {key}, {time} ORDER BY __partition DESC, __offset DESC) = 1"
    last = f"SELECT * EXCLUDE (__partition, __offset) FROM __versions QUALIFY {last}"
    until = f"lead({time}) OVER (PARTITION BY {key} ORDER BY {time})"
    spans = f"SELECT *, {time} AS __from, {until} AS __until FROM ({last})"
    return f"SELECT * FROM ({spans}) WHERE NOT coalesce({deleted}, false)"


def holds_at(alias, t):
    return f"{t} >= {alias}.__from AND ({alias}.__until IS NULL OR {t} < {alias}.__until)"


def in_duckdb_words(case, text):
    """The text of a SELECT with its temporal joins as DuckDB writes them."""

    def rewritten(match):
        table, t, alias, on = (match[name] for name in ("table", "time", "alias", "on"))
        if "delete" in case.tables[table]:
            return f"LEFT JOIN {table} AS {alias} ON {on} AND {holds_at(alias, t)}"
        return f"ASOF LEFT JOIN {table} AS {alias} ON {on} AND {t} >= {alias}.__from"

    return SYSTEM_TIME_JOIN.sub(rewritten, text)


def joined_source(view, time):
    """The relation that a view over a stream reads, with the columns of its joins under the names that cases give them."""
    columns, joins = ["__stream.*"], ""
    for join in view.get("joins", ()):
        alias = join["as"]
        columns += [f'{alias}.{name} AS "{alias}.{name}"' for name in join["columns"]]
        on = [f"{alias}.{name} = {in_on(expression)}" for name, expression in join["on"].items()]
        joins += f" LEFT JOIN {join['table']} AS {alias} ON {' AND '.join(on)} AND {holds_at(alias, '__stream.' + time)}"
    return f"(SELECT {', '.join(columns)} FROM {view['stream']} AS __stream{joins})"


def in_on(expression):
    """A column in ON with the relation that it is of; an expression as it is written."""
    if isinstance(expression, str):
        return expression if "." in expression else f"__stream.{expression}"
    return sql_of(expression, None)


def table_answers(connection, case, used, key, t):
    """What the text of a view over a table answers for a key as of t."""
    load_tables(connection, case, used)
    view, instant = case.view, literal(t)
    connection.execute(f"DELETE FROM {view['table']} WHERE NOT ({holds_at(view['table'], instant)})")
    text = re.search(r"CREATE FEATURE VIEW \S+ AS\s+(SELECT.*?);?\s*$", case.case["sql"], re.S).group(1)
    wanted = " AND ".join(f"{name} = {literal(value)}" for name, value in zip(view["key"], key))
    found = connection.execute(f"SELECT * FROM ({text}) WHERE {wanted}")
    names, row = [column[0] for column in found.description], found.fetchone()
    if row is None and "GROUP BY" in text:  # no group: what its aggregates are over nothing
        features = [sql_of(expression, over_nothing) for expression in view["features"].values()]
        names, row = list(view["features"]), connection.execute(f"SELECT {', '.join(features)}").fetchone()
    return dict.fromkeys(view["features"]) if row is None else dict(zip(names, row))


def over_nothing(call):
    return "0" if call["agg"] == "count" else "NULL"
