"""Random derived streams over group windows that close, with the reference's answers, as cases of the format that README.md
describes.

    python3 random_closed_windows.py --seed 7 --cases 300 --out closed.json     about 40 s; the same seed, the same file
    python3 random_closed_windows.py --seed 7 --out closed.json --check         also reads the file back through check_cases.py

    s ──▶ a filter, a UNION ALL, a join ──▶ windows ──▶ a filter, a join, or beside s in a UNION ALL ──▶ view
                                              ▲                          │
                                              └──────── windows ◀────────┘     at times once more

A stream falls silent now and then, so that windows close by the clock: at a look, or just before an arrival. So does the
table that some join, whose versions come late at times. Looks have a moment of their own, and a read's `position` is the end of a batch. Exits 1 where a cell of the table is empty: what is
drawn does not show all that it should.
"""
import argparse
import json
import random
import sys
from collections import Counter, namedtuple

import asof_reference as reference
import group_windows
import random_cases
import random_window_views
import watermarks
from check_cases import Case, json_value
from random_cases import duration_text, expression_sql, frame_sql, interval_sql, time_text
from random_window_views import LENGTHS, call_sql, window_sql

SECOND = 1_000_000
SHAPES = [*random_window_views.SHAPES, {"kind": "session", "gap": "11s"}]
WIDE_SHAPES = [
    {"kind": "tumble", "size": "30s"},
    {"kind": "tumble", "size": "45s", "offset": "7s"},
    {"kind": "hop", "slide": "20s", "size": "50s"},
    {"kind": "hop", "slide": "15s", "size": "30s", "offset": "1s"},
    {"kind": "cumulate", "step": "15s", "size": "45s"},
    {"kind": "cumulate", "step": "10s", "size": "30s", "offset": "5s"},
    {"kind": "session", "gap": "16s"},
    {"kind": "session", "gap": "9s"},
]
# A stream as those that read it see it: `time` is what its event time is called, `is_named` whether a SELECT may name it.
# `is_joined` whether its rows, in whatever stream they arose, are joined on their way here.
Layer = namedtuple("Layer", "name time is_named types is_joined", defaults=[False])


# ---- Schema --------------------------------------------------------------------------------------------------------------


def draw_stream(rng):
    stream = {**random_window_views.STREAM, "lateness": rng.choice(["0s", "5s", "5s", "20s"])}
    return stream | rng.choice([{}, {"idle_timeout": "5s"}, {"idle_timeout": "12s"}])


def draw_table(rng):
    columns = {"k": {"type": "BIGINT"}, "plan": {"type": "BIGINT"}, "label": {"type": "VARCHAR"}, "gone": {"type": "BOOLEAN"}}
    columns |= {"updated_at": {"type": "TIMESTAMP", "not_null": True}}
    table = {"columns": columns, "primary_key": ["k"], "time": "updated_at", "lateness": rng.choice(["0s", "5s", "20s", "60s"])}
    return table | {"delete": "gone"} | rng.choice([{}, {"idle_timeout": "5s"}, {"idle_timeout": "12s"}])


def of_type(layer, kind):
    """A column of a type that is no key; None where there is none."""
    return next((name for name, own in layer.types.items() if own == kind and name not in ("id", "k")), None)


def draw_number(rng, layer):
    """A BIGINT argument; one of them fails on some rows."""
    number = rng.choice([name for name, own in layer.types.items() if own == "BIGINT" and name not in ("id", "k")])
    # Where a version that comes late makes an event fail, or pass, is a matter of `temporal_joins.json`.
    fails = [] if layer.is_joined and number == "plan" else [["/", 12, number]]
    return rng.choice([number] * 12 + [["+", number, 1], *fails])


def draw_where(rng, layer):
    number, text = draw_number(rng, layer), of_type(layer, "VARCHAR")
    conditions = [[">", number, 0], ["<", number, 3], ["<>", number, 1], ["is not null", number]]
    return rng.choice(conditions + ([["is not null", text], ["<>", text, {"text": "DE"}]] if text else []))


# ---- Derived streams of a filter or a UNION ALL -----------------------------------------------------------------------------


def draw_branch(rng, layer, time):
    """A SELECT with all columns of a layer, some changed; the event time comes last."""
    columns = {name: name for name in layer.types}
    number = of_type(layer, "BIGINT")
    if rng.random() < 0.2:
        columns[number] = rng.choice([["*", number, 10], ["-", 0, number], ["/", 6, number]])
    columns |= {time: layer.time} if layer.is_named else {}
    return {"from": layer.name, "columns": columns} | ({"where": draw_where(rng, layer)} if rng.random() < 0.6 else {})


def add_filter(rng, derived, layer, time):
    keeps_key = "id" in layer.types
    derived.append({"name": f"d{len(derived)}", "primary_key": keeps_key, "branches": [draw_branch(rng, layer, time)]})
    return layer._replace(name=derived[-1]["name"], time=time)


def add_union(rng, derived, layer):
    """Of two SELECTs from one layer, or from two filters of it."""
    sources = [layer, layer]
    if rng.random() < 0.5:
        sources = [add_filter(rng, derived, layer, layer.time) for _ in range(2)]
    branches = [draw_branch(rng, source, layer.time) for source in sources]
    derived.append({"name": f"d{len(derived)}", "primary_key": False, "branches": branches})
    return layer._replace(name=derived[-1]["name"])


def add_join(rng, derived, layer, times):
    """The rows with columns of the table beside their own, or in place of them: before what they are drawn from."""
    columns, brought = {name: name for name in layer.types}, {}
    brought |= {"plan": rng.choice(["p.plan", "p.plan", ["+", "p.plan", of_type(layer, "BIGINT")]])}
    brought |= {"label": "p.label"} if rng.random() < 0.7 else {}
    stays = [name for name in columns if name in ("id", "k", "total", of_type(layer, "BIGINT")) or rng.random() < 0.5]
    columns = brought | {name: columns[name] for name in stays}
    columns |= {layer.time: layer.time}
    times[layer.name] = layer.time
    join = {"table": "plans", "as": "p", "on": {"k": rng.choice(["k", "k", "k", ["+", "k", 1]])}, "columns": ["k", "plan", "label"]}
    branch = {"from": layer.name, "joins": [join], "columns": columns}
    branch |= {"where": rng.choice([["is not null", "p.plan"], ["<>", "p.label", {"text": "b"}], [">", "p.plan", 1]])} if rng.random() < 0.3 else {}
    types = {name: {"plan": "BIGINT", "label": "VARCHAR"}.get(name, layer.types.get(name)) for name in columns if name != layer.time}
    derived.append({"name": f"d{len(derived)}", "primary_key": "id" in types, "branches": [branch]})
    return Layer(derived[-1]["name"], layer.time, True, types, True)


def add_beside(rng, derived, layer, base):
    """The rows of windows and the events of the stream itself as one stream, which has the columns that both have."""
    pairs = [("k", "k"), ("total", "amount"), ("mean", "score"), ("word", "country")]
    pairs = [(own, others) for own, others in pairs if own in layer.types and others in base.types]
    of_rows = {"from": layer.name, "columns": {own: own for own, _ in pairs} | {"ts": layer.time}}
    of_events = {"from": base.name, "columns": {own: others for own, others in pairs} | {"ts": base.time}}
    branches = [of_rows, of_events] if rng.random() < 0.5 else [of_events, of_rows]
    derived.append({"name": f"d{len(derived)}", "primary_key": False, "branches": branches})
    return Layer(derived[-1]["name"], "ts", True, {own: layer.types[own] for own, _ in pairs}, layer.is_joined)


def add_between(rng, derived, layer, base, times):
    chance = rng.random()
    if layer.is_named and rng.random() < 0.2:
        layer = add_join(rng, derived, layer, times)
    if chance < 0.15:
        return add_filter(rng, derived, layer, rng.choice([layer.time, "moved_at"]) if layer.is_named else layer.time)
    if chance < 0.5 and layer.is_named:
        return add_beside(rng, derived, layer, base)
    return layer


# ---- Derived streams of windows ---------------------------------------------------------------------------------------------


def draw_group(rng, layer, shape):
    """GROUP BY without the bounds; a session's are columns, as its PARTITION BY has them."""
    text = of_type(layer, "VARCHAR")
    groups = [{"k": "k"}] * 4 + [{}] + ([{"k": "k", text: text}, {text: text, "k": "k"}, {text: text}] if text else [])
    if shape["kind"] != "session":
        groups += [{"half": ["/", "k", 2]}, {"share": ["/", 6, "k"]}]
    return rng.choice(groups)


def draw_total(rng, layer):
    """A BIGINT column of a row; some fail on some windows."""
    number, text, count = draw_number(rng, layer), of_type(layer, "VARCHAR"), {"agg": "count"}
    total, top, plain = {"agg": "sum", "of": number}, {"agg": "max", "of": number}, of_type(layer, "BIGINT")
    chosen = [
        total, total, total, top, {"agg": "min", "of": number}, {"agg": "count", "of": number, "distinct": True},
        {"agg": "first_value", "of": number}, {"agg": "last_value", "of": number},
        {"agg": "nth_value", "of": number, "n": 2}, {"agg": "mode", "of": number},
        total | {"filter": draw_where(rng, layer)}, count | {"filter": draw_where(rng, layer)},
        {"agg": "sum", "of": ["/", 12, plain], "filter": ["<>", plain, 0]},
        ["/", total, count], ["+", ["coalesce", total, 0], count], ["/", 12, ["-", count, 2]], ["/", 12, ["-", count, 1]], ["*", top, 2**62],
    ]
    return rng.choice(chosen + ([{"agg": "max_by", "of": number, "by": text}] if text else []))


# In a first stream of windows: columns of the same name would be ambiguous beside the bounds of a second one.
BOUNDS = {"window_start": "opened", "window_end": "closed", "window_time": "closed_at"}


def draw_columns(rng, layer, group, is_first):
    """name → (type, expression) of the columns of a row; those of GROUP BY may be left out."""
    double, text = of_type(layer, "DOUBLE"), of_type(layer, "VARCHAR")
    columns = {name: (layer.types.get(name, "BIGINT"), name) for name in group if rng.random() < 0.7}
    columns.setdefault("k", ("BIGINT", "k" if "k" in group else {"agg": "max", "of": "k"}))
    columns["total"] = ("BIGINT", draw_total(rng, layer))
    if rng.random() < 0.7:
        columns["n"] = ("BIGINT", {"agg": "count"})
    if double:
        columns["mean"] = ("DOUBLE", {"agg": rng.choice(["avg", "sum", "max", "median", "stddev_samp", "last_value"]), "of": double})
    if text and "word" not in group:
        columns["word"] = ("VARCHAR", {"agg": rng.choice(["max", "min", "mode", "first_value", "last_value"]), "of": text})
    for bound in ("window_start", "window_end"):
        columns |= {BOUNDS[bound] if is_first else bound: ("TIMESTAMP", bound)} if rng.random() < 0.4 else {}
    return columns


def add_windows(rng, derived, layer, shapes):
    kind = rng.choice([kind for kind in LENGTHS if not (layer.is_joined and kind == "session")])
    shape = rng.choice([shape for shape in shapes if shape["kind"] == kind])
    group = draw_group(rng, layer, shape)
    is_first = not any("window" in branch for stream in derived for branch in stream["branches"])
    columns = draw_columns(rng, layer, group, is_first)
    own = BOUNDS["window_time"] if is_first else "window_time"
    time = rng.choice([own, own, "ended_at", None])  # None: it is hidden
    columns |= {time: ("TIMESTAMP", "window_time")} if time else {}
    order = rng.sample(list(columns), len(columns))
    branch = {"from": layer.name, "window": shape, "group": group, "columns": {name: columns[name][1] for name in order}}
    if shape["kind"] != "session" and rng.random() < 0.35:
        branch["where"] = draw_where(rng, layer)
    derived.append({"name": f"d{len(derived)}", "branches": [branch]})
    types = {name: columns[name][0] for name in order if columns[name][0] != "TIMESTAMP" and name not in ("half", "share")}
    return Layer(derived[-1]["name"], time or "window_time", time is not None, types)


def draw_derived(rng):
    """The derived streams, the layer that the view reads, and the times that the layers between are called by."""
    columns = random_window_views.STREAM["columns"]
    base = Layer("s", "ts", True, {name: one["type"] for name, one in columns.items() if name != "ts"})
    derived, times, layer = [], {"s": "ts"}, base
    chance = rng.random()
    if chance < 0.2:
        layer = add_filter(rng, derived, base, rng.choice(["ts", "moved_at"]))
    elif chance < 0.4:
        layer = add_union(rng, derived, base)
    times[layer.name] = layer.time
    if layer.is_named and rng.random() < 0.35:
        layer = add_join(rng, derived, layer, times)
        layer = add_filter(rng, derived, layer, layer.time) if rng.random() < 0.2 else layer
    times[layer.name] = layer.time
    for shapes in [SHAPES, WIDE_SHAPES][: rng.choice([1, 1, 2, 2])]:
        layer = add_windows(rng, derived, layer, shapes)
        layer = add_between(rng, derived, layer, base, times)
        times[layer.name] = layer.time
    return derived, layer, times


# ---- The view ---------------------------------------------------------------------------------------------------------------


def draw_frame(rng):
    lengths = [SECOND, 10 * SECOND, 15 * SECOND, 30 * SECOND, 30 * SECOND - 1]
    return rng.choice([
        {}, {"lag": "15s"}, {"rows": rng.choice([0, 1, 2, 5])}, {"range": duration_text(rng.choice(lengths))},
        {"range": duration_text(rng.choice(lengths))}, {"range": "40s", "lag": rng.choice(["1us", "15s", "40s"])},
    ])


def draw_view(rng, layer):
    view = {"stream": layer.name, "time": layer.time, "key": {"k": "k"}, "windows": {}, "features": {}}
    text = of_type(layer, "VARCHAR")
    view |= {"where": draw_where(rng, layer)} if rng.random() < 0.25 else {}
    for place in range(rng.choice([1, 2, 3])):
        view["windows"][f"w{place}"] = draw_frame(rng)
        calls = [{"agg": "count"}, {"agg": "sum", "of": draw_number(rng, layer)}, {"agg": "last_value", "of": draw_number(rng, layer)},
                 {"agg": "max", "of": draw_number(rng, layer)}, {"agg": "count", "filter": draw_where(rng, layer)}]
        calls += [{"agg": "avg", "of": of_type(layer, "DOUBLE")}] if of_type(layer, "DOUBLE") else []
        calls += [{"agg": "first_value", "of": text}, {"agg": "max", "of": text}] if text else []
        for number, call in enumerate(rng.sample(calls, 2)):
            view["features"][f"f{place}_{number}"] = call | {"over": f"w{place}"}
    return view


# ---- Events and reads -------------------------------------------------------------------------------------------------------


def draw_events(rng, stream, tables):
    """In some disorder, at times several of one arrival, with pauses, and looks at the clock between them."""
    lateness = reference.duration_us(stream["lateness"])
    times = sorted(rng.randrange(-40, 50) * SECOND + rng.choice([0, 0, 0, 1, -1]) for _ in range(rng.randrange(5, 14)))
    times.sort(key=lambda time: time + rng.randrange(lateness * 3 // 2 + 2 * SECOND))
    partitions = rng.choice([1] * 7 + [2])
    moment, events = rng.choice([-60, -60, 60]) * SECOND, []
    # Without any version nothing that is joined closes.
    if tables and rng.random() < 0.9:
        events.append(draw_version(rng, moment, moment))
        moment += 1
    for number, time in enumerate(times):
        moment = max(moment, time) + rng.choice([0, 0, SECOND, 8 * SECOND])
        if rng.random() < 0.25:
            moment += rng.choice([1, SECOND, 20 * SECOND])
            events.append(look(moment))
            moment += rng.choice([1, SECOND, 20 * SECOND])
        for _ in range(rng.choice([0, 0, 1, 2]) * len(tables)):
            # It has a moment of its own: between a version and an event windows may close.
            events.append(draw_version(rng, rng.choice([time, time, *times]) + rng.choice([0, 1, -1, 3 * SECOND]), moment + 1))
            moment += 2
        event = {"columns": draw_row(rng, number, time), "arrived": time_text(moment)}
        events.append(event | ({"partition": rng.randrange(2)} if partitions == 2 else {}))
        if tables and rng.random() < 0.4:
            # It comes behind an event that it holds for.
            version = draw_version(rng, time - rng.choice([0, 1, SECOND, 4 * SECOND]), moment + 1)
            version["columns"]["k"] = event["columns"]["k"] or 0
            events.append(version)
            moment += 2
    for pause in rng.sample([7 * SECOND, 30 * SECOND, 100 * SECOND, 1_000 * SECOND], rng.randrange(3)):
        moment += pause
        events.append(look(moment))
    return events


def draw_version(rng, time, moment):
    row = {"k": rng.choice([1, 1, 2, 2, 0, 3]), "plan": rng.choice([None, 0, 1, 2, 3]), "label": rng.choice([None, "a", "b", "DE"])}
    row |= {"gone": True if rng.random() < 0.15 else None, "updated_at": time_text(time)}
    return {"into": "plans", "columns": row, "arrived": time_text(moment)}


def look(moment):
    return {"into": watermarks.CLOCK, "columns": {}, "arrived": time_text(moment)}


def draw_row(rng, number, time):
    return {
        "id": rng.randrange(number + 1) if rng.random() < 0.06 else number,
        "k": rng.choice([1, 1, 1, 2, 2, 0, None]),
        "amount": rng.choice(["unreadable"] if rng.random() < 0.01 else [None, -1, 0, 1, 1, 2, 3, 4, 12, 2**62]),
        "score": rng.choice([None, 0.1, 0.2, 0.3, 1e16, -2.5]),
        "country": rng.choice([None, "DE", "FR", "GB"]),
        "ts": time_text(time),
    }


def draw_reads(rng, case, derived):
    """Around the rows that the view has, and the ends of its frames."""
    judged, view = case.judged, case.view
    rows = reference.view_rows(view, derived, reference.used_events(judged))
    keys = [json_value(row.row["k"]) for row in rows] + [1, 2, None, 77]
    frames = view["windows"].values()
    lengths = [reference.duration_us(frame[name]) for frame in frames for name in frame if name != "rows"]
    arrived = [one.arrived for one in judged]
    times = [row.time for row in rows] + arrived
    ends = [place for place in range(len(judged) + 1) if arrived[place - 1 : place] != arrived[place : place + 1]]
    reads = []
    for _ in range(10):
        as_of = rng.choice(times) + rng.choice([0, 0, *lengths]) + rng.choice([0, 0, 1, -1])
        read = {"key": {"k": rng.choice(keys)}, "as_of": time_text(as_of)}
        read |= {"position": rng.choice(ends)} if rng.random() < 0.4 else {}
        reads.append(read | ({"knowledge": "as-served"} if rng.random() < 0.3 else {}))
    return reads


# ---- As SQL -----------------------------------------------------------------------------------------------------------------


def table_sql(rng, table):
    columns = [f"{name} {one['type']}{' NOT NULL' if one.get('not_null') else ''}" for name, one in table["columns"].items()]
    watermark = f"WATERMARK FOR updated_at AS updated_at - {interval_sql(rng, table['lateness'])}"
    inside = ",\n  ".join([*columns, "PRIMARY KEY (k)", watermark])
    options = ["delete_column = 'gone'"]
    options += [f"idle_timeout = '{table['idle_timeout'][:-1]} seconds'"] if "idle_timeout" in table else []
    return f"CREATE TABLE plans (\n  {inside}\n) WITH ({', '.join(options)});\n"


def stream_sql(rng, stream):
    declared = stream["columns"].items()
    columns = [f"{name} {one['type']}{' NOT NULL' if one.get('not_null') else ''}" for name, one in declared]
    watermark = f"WATERMARK FOR ts AS ts - {interval_sql(rng, stream['lateness'])}"
    inside = ",\n  ".join([*columns, "PRIMARY KEY (id)", watermark])
    options = f" WITH (idle_timeout = '{stream['idle_timeout'][:-1]} seconds')" if "idle_timeout" in stream else ""
    return f"CREATE STREAM s (\n  {inside}\n){options};\n"


def branch_sql(rng, branch, times):
    def selected(name, part):
        of_group = branch.get("group", {}).get(part, part) if isinstance(part, str) else part
        of_group = of_source(of_group, branch["from"]) if "joins" in branch else of_group
        text = expression_sql(of_group, call_sql)
        return text if text in (name, f"{branch['from']}.{name}", f"p.{name}") else f"{text} AS {name}"

    texts = [selected(name, part) for name, part in branch["columns"].items()]
    where = f"\nWHERE {expression_sql(branch['where'])}" if "where" in branch else ""
    if "joins" in branch:
        return f"SELECT {', '.join(texts)}\nFROM {branch['from']}{join_sql(branch, times)}{where}"
    if "window" not in branch:
        return f"SELECT {', '.join(texts)} FROM {branch['from']}{where}"
    key = [expression_sql(part) for part in branch["group"].values()]
    source = window_sql(rng, branch["window"], branch["from"], times[branch["from"]], ", ".join(key))
    group_by = rng.choice([[*key, "window_start", "window_end"]] * 4 + [["window_start", "window_end", *key]])
    return f"SELECT {', '.join(texts)}\nFROM {source}{where}\nGROUP BY {', '.join(group_by)}"


def join_sql(branch, times):
    (join,), source = branch["joins"], branch["from"]
    key = expression_sql(of_source(join["on"]["k"], source))
    instant = f"{source}.{times[source]}"
    return f"\nLEFT JOIN {join['table']} FOR SYSTEM_TIME AS OF {instant} AS {join['as']} ON {join['as']}.k = {key}"


def of_source(part, source):
    """An expression with the columns named as those of a source, but for those of a table."""
    if isinstance(part, str):
        return part if "." in part else f"{source}.{part}"
    return [part[0], *(of_source(one, source) for one in part[1:])] if isinstance(part, list) else part


def derived_sql(rng, derived, times):
    texts = []
    for stream in derived:
        selects = "\nUNION ALL\n".join(branch_sql(rng, branch, times) for branch in stream["branches"])
        texts.append(f"CREATE STREAM {stream['name']} AS\n{selects};\n")
    return "".join(texts)


def view_sql(rng, view):
    features = [f"{call_sql(call)} OVER {call['over']} AS {name}" for name, call in view["features"].items()]
    where = f"WHERE {expression_sql(view['where'])}\n" if "where" in view else ""
    by = f"PARTITION BY k ORDER BY {view['time']}"
    windows = ",\n  ".join(f"{name} AS ({by}{frame_sql(rng, frame)})" for name, frame in view["windows"].items())
    selected = ",\n  ".join(["k", *features])
    return f"CREATE FEATURE VIEW v AS\nSELECT\n  {selected}\nFROM {view['stream']}\n{where}WINDOW\n  {windows};"


# ---- Answered by the reference ------------------------------------------------------------------------------------------------


def draw_case(rng, name):
    stream = draw_stream(rng)
    derived, layer, times = draw_derived(rng)
    view = draw_view(rng, layer)
    tables = {"plans": draw_table(rng)} if any(joins_in(one) for one in derived) else {}
    sql = stream_sql(rng, stream) + "".join(table_sql(rng, table) for table in tables.values())
    sql += derived_sql(rng, derived, times) + view_sql(rng, view)
    drawn = {"name": name, "why": "random", "sql": sql, "stream": stream} | ({"tables": tables} if tables else {})
    drawn |= {"derived": derived, "view": view, "events": draw_events(rng, stream, tables)}
    case = Case(name, drawn)
    drawn["reads"] = draw_reads(rng, case, derived)
    for one, found in case.reads():
        one["expect"] = {name: json_value(value) for name, value in found.items()}
    return drawn | {field: found for field, found in case.answers() if tables or field != "table_accounting"}


def joins_in(stream):
    return any("joins" in branch for branch in stream["branches"])


# ---- Coverage ---------------------------------------------------------------------------------------------------------------

OF_KIND = [
    "closed", "of NULL", "of windows", "of both", "at a look", "at an arrival", "set aside", "too late", "offset", "WHERE", "FILTER",
    "no key", "hidden key", "computed key", "of joined", "keyed by a table", "answers",
]
OF_ALL = [
    "size no multiple of the slide", "over a filter", "over UNION ALL", "windows that close together with those over them", "time renamed",
    "time hidden", "two partitions", "duplicate", "late", "rejected", "events set aside", "out_of_range", "division_by_zero",
    "versions used", "versions late", "range", "lag", "rows", "lifetime", "event-time", "as-served", "at a position", "every_row", "every_event", "WHERE of a view",
]


def count_stream(coverage, case, stream, windowed):
    """What the rows of a stream of windows show."""
    (branch,), derived = stream["branches"], {one["name"]: one for one in case["derived"]}
    shape, group, rows = branch["window"], branch["group"], case["closed"][stream["name"]]
    looks = {event["arrived"] for event in case["events"] if "into" in event}
    below = sources_of(derived, branch["from"])
    inner = [name for name in windowed if name in below]
    # Those between the windows inside, whose rows are final, and this one.
    above = [derived[name] for name in below if name in derived and not any(name in sources_of(derived, one) for one in inner)]
    shows = {
        "closed": len(rows), "of windows": len(rows) * bool(inner), "of both": len(rows) * mixes(derived, branch["from"], windowed),
        "of NULL": sum(None in [row["row"].get(name) for name in group] for row in rows if "row" in row and group),
        "at a look": sum(row["at"] in looks for row in rows), "at an arrival": sum(row["at"] not in looks for row in rows),
        "set aside": sum("set_aside" in row for row in rows), "too late": len(case["too_late"][stream["name"]]),
        "offset": len(rows) * ("offset" in shape), "WHERE": len(rows) * ("where" in branch), "no key": len(rows) * (not group),
        "FILTER": len(rows) * any("filter" in call for part in branch["columns"].values() for call in reference.aggregates_in(part)),
        "hidden key": len(rows) * any(name not in branch["columns"] for name in group),
        "computed key": len(rows) * any(not isinstance(part, str) for part in group.values()),
        "of joined": len(rows) * any(joins_in(one) for one in above), "keyed by a table": len(rows) * (not {"plan", "label"}.isdisjoint(group)),
        "answers": sum(answers_in(case)) * (stream["name"] in sources_of(derived, case["view"]["stream"])),
    }
    for what, count in shows.items():
        coverage[(shape["kind"], what)] += count
    sizes = [reference.duration_us(shape[name]) for name in ("size", "slide") if name in shape]
    coverage["size no multiple of the slide"] += len(rows) * (len(sizes) == 2 and sizes[0] % sizes[1] > 0)
    plain = [derived[name]["branches"] for name in below if name in derived and name not in inner]
    coverage["over UNION ALL"] += len(rows) * any(len(branches) > 1 for branches in plain)
    coverage["over a filter"] += len(rows) * any("where" in branch for branches in plain for branch in branches)
    moments = {row["at"] for name in inner for row in case["closed"][name]}
    coverage["windows that close together with those over them"] += sum(row["at"] in moments for row in rows)
    coverage["time renamed"] += len(rows) * ("ended_at" in branch["columns"])
    coverage["time hidden"] += len(rows) * ("window_time" not in branch["columns"].values())
    for row in rows:
        coverage[row.get("set_aside")] += 1


def sources_of(derived, name):
    """The streams that one reads, itself among them."""
    branches = derived[name]["branches"] if name in derived else []
    return {name}.union(*(sources_of(derived, branch["from"]) for branch in branches))


def mixes(derived, name, windowed):
    """Whether a stream has rows of windows and, beside them, events."""
    branches = [branch["from"] for branch in derived.get(name, {"branches": []})["branches"]]
    return name not in windowed and "s" in branches and len(set(branches)) > 1


def answers_in(case, fields=("reads", "every_event", "every_row", "every_event_as_served", "every_row_as_served")):
    """Whether each answer is one other than NULL and 0."""
    return [value not in (None, 0) for field in fields for one in case[field] for value in one["expect"].values()]


def count_case(coverage, case):
    windowed = [stream["name"] for stream in case["derived"] if "window" in stream["branches"][0]]
    for stream in case["derived"]:
        if stream["name"] in windowed:
            count_stream(coverage, case, stream, windowed)
    coverage.update(outcome.split(":")[0] for outcome in case["judged"])
    for counts in case.get("table_accounting", {}).values():
        coverage.update({"versions used": counts["used"], "versions late": counts["late"]})
    coverage["two partitions"] += any(event.get("partition") for event in case["events"])
    coverage["events set aside"] += len(case["set_aside"])
    coverage["WHERE of a view"] += sum(answers_in(case)) * ("where" in case["view"])
    for field in ("every_row", "every_event"):
        coverage[field] += sum(answers_in(case, [field]))
    for one in case["reads"]:
        for name, value in one["expect"].items():
            frame = case["view"]["windows"][case["view"]["features"][name]["over"]]
            shown = [*(frame or ["lifetime"]), one.get("knowledge", "event-time")]
            shown += ["at a position"] if "position" in one else []
            coverage.update(shown if value not in (None, 0) else [])


def print_coverage(coverage):
    """The table, and what is empty without a reason; true if nothing is."""
    print(f"{'':<16}" + "".join(f"{kind:>10}" for kind in LENGTHS))
    for what in OF_KIND:
        print(f"{what:<16}" + "".join(f"{'-' if is_refused(kind, what) else coverage[(kind, what)]:>10}" for kind in LENGTHS))
    print("; ".join(f"{what} {coverage[what]}" for what in OF_ALL))
    wanted = [(kind, what) for kind in LENGTHS for what in OF_KIND if not is_refused(kind, what)]
    empty = [cell for cell in wanted if not coverage[cell]]
    empty += [what for what in OF_ALL if not coverage[what]]
    print(f"empty: {empty}")
    return not empty


def is_refused(kind, what):
    """A session has no offset, no WHERE beside it, a PARTITION BY of columns, and no joined rows."""
    return kind == "session" and what in ("offset", "WHERE", "computed key", "of joined", "keyed by a table")


def main():
    parser = argparse.ArgumentParser(description="random derived streams over group windows that close, with the reference's answers")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--out", required=True)
    parser.add_argument("--check", action="store_true", help="read the file back and compare it with the reference, as check_cases.py does")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    rng, coverage = random.Random(options.seed), Counter()
    cases = [draw_case(rng, f"seed_{options.seed}_closed_{place}") for place in range(options.cases)]
    for case in cases:
        count_case(coverage, case)
    with open(options.out, "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n")
    is_covered = print_coverage(coverage)
    random_cases.print_accounting(cases)
    differences = []
    if options.check:
        with open(options.out, encoding="utf-8") as written:
            differences = [(case["name"], *one) for case in json.load(written) for one in Case(case["name"], case).differences()]
        for difference in differences[:20]:
            print("difference:", *difference)
        print(f"{len(differences)} differences after reading back")
    sys.exit(0 if is_covered and not differences else 1)


if __name__ == "__main__":
    main()
