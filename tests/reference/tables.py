"""Tables: rows by primary key that change, every version of them kept.

A version is a used arrival at a table, in the order of arrival like an event: it holds its row from its event time on,
until the next version of its primary key. A delete marker (`row` is None) ends what was before it and holds nothing.
Of versions with one key and one event time the last in the order of events stands, which in a partition is the last to
arrive; so every version that was judged used counts, whenever it arrived, and nothing is a duplicate.

    time ──▶     09:00        09:30          10:00        10:10
    key 7        a ──────────▶ b ───────────▶ deleted      c ────▶
    valid        a (at 09:00 too)  b            nothing      c

`used` is what is known where the question stands, events and versions together, so that a version that arrives late
changes what earlier events were joined with from the position of its arrival on, and not before.
"""
from scalars import Failure, evaluate, normal, rank


def versions(table, used):
    """The versions of a table among what is used, delete markers too."""
    return [one for one in used if one.table == table]


def is_delete_marker(declared, row):
    """Whether the column that the table's option names is true. NULL is not."""
    return "delete" in declared and row[declared["delete"]] is True


def valid_at(table, used, t):
    """The rows of a table as of t: of each primary key the newest version not after t, if it is no delete marker."""
    newest = {}
    for one in sorted(versions(table, used), key=order):
        if one.time <= t:
            newest[one.primary_key] = one
    return [one for one in newest.values() if one.row is not None]


def order(version):
    """Versions of one key: by event time, then arrival."""
    return (version.time, version.partition, version.offset)


# A join is {"table", "as", "on": {column of the primary key: expression over the row so far}, "columns": [names]}. It stands
# for LEFT JOIN table FOR SYSTEM_TIME AS OF (the event time of the stream) AS alias ON …; its columns are named "alias.name".


def joined(select, rows, used):
    """The rows of a stream with the columns of the joins of a SELECT, one after the other, each as of the row's own event
    time; NULLs where no version is valid, and where ON compares with NULL. Where an expression in ON fails the columns are
    that failure, which sets the row aside."""
    for join in select.get("joins", ()):
        rows = [row._replace(row=row.row | joined_columns(join, row, used)) for row in rows]
    return rows


def passes(select, row):
    """Whether WHERE is true on a joined row; raises the failure of an expression in ON, which comes before WHERE."""
    for value in row.values():
        if isinstance(value, Failure):
            raise value
    return evaluate(select.get("where", True), row) is True


def joined_columns(join, row, used):
    """What a join adds to one row."""
    try:
        passes({}, row.row)  # a join before may have failed
        wanted = [normal(evaluate(expression, row.row)) for expression in join["on"].values()]
        found = matching_row(join, [None if value is None else rank(value) for value in wanted], row.time, used)
    except Failure as failure:
        found = dict.fromkeys(join["columns"], failure)
    return {f"{join['as']}.{name}": found[name] for name in join["columns"]}


def matching_row(join, wanted, t, used):
    """The row of the table that is valid at t and has the wanted key; NULLs where there is none."""
    valid = [one.row for one in valid_at(join["table"], used, t)]
    matching = [row for row in valid if [rank(row[name]) for name in join["on"]] == wanted]
    assert len(matching) <= 1, "ON names the whole primary key"
    return matching[0] if matching else dict.fromkeys(join["columns"])
