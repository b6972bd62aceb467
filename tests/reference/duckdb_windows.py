"""Group windows put to DuckDB, for `check_cases.py --duckdb`: windows of the clock by time_bucket, sessions by lag.

A stream with a group window becomes a view: its source with the bounds of the windows beside each row, GROUP BY them, and
of the groups those that the watermark has passed. A feature view with a group window is asked as of an instant, by
aggregates over the rows of one window. The text of a case is not put: DuckDB has no TUMBLE and its kin.
"""
from duckdb_sql import literal, over_window, sql_of
from scalars import EPOCH, Timestamp, duration_us

BOUNDS = ("window_start", "window_end", "window_time")
LAST = {"first_value": "first", "last_value": "last"}


def has_windows(derived):
    return any("window" in branch for branch in derived["branches"])


def select_of(derived, time, watermark):
    """The rows of a derived stream of one SELECT, numbered in the order of events. `time` is the source's event time."""
    (branch,) = derived["branches"]
    key = list(branch["group"])
    source = f"(SELECT * FROM {branch['from']} WHERE {sql_of(branch.get('where', True), None)})"
    if time == "window_time":  # that of windows inside is another one
        source, time = f"(SELECT * RENAME (window_time AS __time) FROM {source})", "__time"
    order = ", ".join(["window_time", *(f"{name} NULLS FIRST" for name in key)])
    columns = ", ".join(f"{sql_of(part, aggregate_text)} AS {name}" for name, part in branch["columns"].items())
    grouped = f"SELECT row_number() OVER (ORDER BY {order}) AS __order, {columns}"
    if "window_time" not in branch["columns"]:
        grouped += ", window_time"
    passed = f"window_time < {literal(Timestamp(watermark))}" if watermark is not None else "false"
    rows = with_bounds(branch["window"], keyed(source, branch["group"]), key, time)
    return f"{grouped} FROM {rows} WHERE {passed} GROUP BY {', '.join([*key, *BOUNDS])}"


def keyed(source, group):
    """A source with the expressions of GROUP BY as columns."""
    made = [f"{sql_of(part, None)} AS {name}" for name, part in group.items() if part != name]
    return f"(SELECT {', '.join(['*', *made])} FROM {source})"


def with_bounds(shape, source, key, time):
    """Each row with the bounds of every window that it is in."""
    if shape["kind"] == "session":
        return with_sessions(shape, source, key, time)
    size, offset = duration_us(shape["size"]), duration_us(shape.get("offset", "0s"))
    step = duration_us(shape[{"tumble": "size", "hop": "slide", "cumulate": "step"}[shape["kind"]]])
    bucket = f"time_bucket({micros(size if shape['kind'] == 'cumulate' else step)}, {time}, {origin(offset)})"
    if shape["kind"] == "cumulate":
        start, end = bucket, f"{bucket} + (__step + 1) * {micros(step)}"
    else:
        start, end = f"{bucket} - __step * {micros(step)}", f"{bucket} - __step * {micros(step)} + {micros(size)}"
    steps = f"(SELECT range AS __step FROM range({-(-size // step)}))"
    spread = f"SELECT *, {start} AS window_start, {end} AS window_end FROM {source}, {steps}"
    return f"(SELECT *, window_end - {micros(1)} AS window_time FROM ({spread}) WHERE {time} < window_end)"


def with_sessions(shape, source, key, time):
    own = f"PARTITION BY {', '.join(key)} " if key else ""
    gap = micros(duration_us(shape["gap"]))
    begins = f"SELECT *, coalesce({time} - lag({time}) OVER ({own}ORDER BY {time}) > {gap}, true) AS __begins FROM {source}"
    numbered = f"SELECT *, sum(__begins::INT) OVER ({own}ORDER BY {time} RANGE UNBOUNDED PRECEDING) AS __session FROM ({begins})"
    of_session = f"OVER (PARTITION BY {', '.join([*key, '__session'])})"
    bounds = f"min({time}) {of_session} AS window_start, max({time}) {of_session} + {gap} AS window_end"
    return f"(SELECT *, window_end AS window_time FROM (SELECT *, {bounds} FROM ({numbered})))"


def micros(count):
    return f"INTERVAL {count} MICROSECOND"


def origin(offset):
    return f"TIMESTAMP '{EPOCH.replace(tzinfo=None)}' + {micros(offset)}"


def aggregate_text(call):
    text = over_window(call | {"over": "w"}).removesuffix(" OVER w")
    if call["agg"] in LAST:
        return text.replace(f"{call['agg']}({call['of']})", f"{LAST[call['agg']]}({call['of']} ORDER BY __order)")
    return text


# ---- As of an instant ----------------------------------------------------------------------------------------------------


def feature_sql(view, time, key, t, expression):
    """The value of a feature of a view with a group window, for a key as of t."""
    instant = literal(Timestamp(t))
    wanted = [f"({sql_of(part, None)}) = {literal(value)}" for part, value in zip(view["key"].values(), key)]
    wanted += [f"{time} <= {instant}", f"({sql_of(view.get('where', True), None)})"]
    rows = with_bounds(view["window"], f"(SELECT * FROM {view['stream']} WHERE {' AND '.join(wanted)})", [], time)
    opened = f"(SELECT * FROM {rows} WHERE window_time >= {instant} QUALIFY dense_rank() OVER (ORDER BY window_time) = 1)"
    closed = f"(SELECT * FROM {rows} WHERE window_time < {instant} QUALIFY dense_rank() OVER (ORDER BY window_time DESC) = 1)"

    def value(part, window):
        if isinstance(part, str):
            return f"(SELECT min({part}) FROM {window})"
        if isinstance(part, list):
            operator, *arguments = part
            if operator == "cast":
                return f"CAST({value(arguments[0], window)} AS {arguments[1]})"
            return sql_of([operator, *({"sql": value(argument, window)} for argument in arguments)], lambda one: one["sql"])
        if isinstance(part, dict) and "lag" in part:
            return f"CASE WHEN EXISTS (FROM {closed}) THEN {value(part['lag'], closed)} END"
        if isinstance(part, dict) and "agg" in part:
            return f"(SELECT {aggregate_text(part)} FROM {window})"
        return sql_of(part, None)

    return value(expression, opened)
