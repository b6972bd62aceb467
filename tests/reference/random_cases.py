"""Random cases in the format of `cases/`, with what the reference expects of them.

    python3 random_cases.py --seed 7 --cases 400 --out random.json     the same seed gives the same file
    python3 random_cases.py --seed 7 --out random.json --check          also reads the file back and checks it

Prints the seed, then how many answers other than NULL each cell aggregate × frame × EXCLUDE × FILTER × type has; exits 1 where a
cell is empty without a reason that is written below. Cells are not left to luck: features are drawn from a queue of all
cells, and a cell that was asked for but answered only NULL is queued again. Everything else is drawn at random: schema,
keys, windows and their spelling, values, ties, disorder, duplicates, batches, reads.

Rules kept here, so that a difference from the reference is a fault of the engine and not of the case:
  - expressions have the types the language gives them: integer arithmetic has a BIGINT literal on one side, doubles meet
    doubles, no decimal arithmetic; texts that are cast are plain numbers or no numbers at all;
  - an operand that may fail does not stand where the engine may skip it (AND, OR, the tail of coalesce);
  - a read's `position` is the end of a batch; an unreadable event has its arrival written out.

Read top-down: cells; schema; values; windows; arguments and filters; features; events; reads; SQL; coverage; the run.
"""
import argparse
import json
import random
import sys
from collections import Counter, defaultdict
from datetime import date, timedelta

import asof_reference as reference
from check_cases import Case, json_value
from duckdb_sql import INFIX

# ---- Cells: aggregate × frame (with EXCLUDE) × FILTER × type ---------------------------------------------------------------------------

TYPES = ["SMALLINT", "INTEGER", "BIGINT", "REAL", "DOUBLE", "DECIMAL(10,2)", "DECIMAL(38,4)", "BOOLEAN", "VARCHAR", "DATE", "TIMESTAMP"]
NUMERIC = TYPES[:7]
UNTYPED = "*"
FRAMES = [
    "range", "range, lag", "lifetime", "lifetime, lag", "rows", "hour", "day", "week", "month",
    "calendar, range", "calendar, range, lag", "calendar, rows",
]
EXCLUSIONS = ["current row", "group"]
FRAMES += [f"{frame}, exclude {exclude}" for exclude in EXCLUSIONS for frame in ("range", "lifetime", "rows", "calendar, range", "calendar, rows")]
PAIRS, DECAYED = ["covar_pop", "covar_samp", "corr", "regr_slope"], ["decayed_sum", "decayed_avg"]
OF_NUMBERS = ["sum", "avg", "var_pop", "var_samp", "stddev_pop", "stddev_samp", "median", "quantile_cont", "approx_quantile", *PAIRS, *DECAYED]
OF_ANY = [
    "count", "count distinct", "min", "max", "mode", "min_by", "max_by", "histogram", "top_k", "last_distinct", "approx_count_distinct",
]
PICKS = ["first_value", "last_value", "nth_value"]
AGGREGATES = ["count(*)", *OF_ANY, *OF_NUMBERS, *PICKS, "array_agg", "bool_and", "bool_or"]

REASONS = {  # why a cell is empty; whatever is empty and not explained here fails the run
    "untyped": "count(*) has no argument; every other aggregate has one",
    "numbers": "takes numbers only",
    "booleans": "takes BOOLEAN only",
    "filter": "FILTER is refused after first_value, last_value and nth_value",
    "rows": "array_agg is refused outside ROWS frames",
    "bounded": "decayed sums and averages are refused over frames that no RANGE bounds",
    "VARBINARY": "the reference has no VARBINARY: no column of it in any case",
}


def reason_for_empty(aggregate, frame, filtered, kind):
    """Which of REASONS explains that a cell cannot be filled; None if it can."""
    if (aggregate == "count(*)") != (kind == UNTYPED):
        return "untyped"
    if aggregate in OF_NUMBERS and kind not in NUMERIC:
        return "numbers"
    if aggregate in ("bool_and", "bool_or") and kind != "BOOLEAN":
        return "booleans"
    if aggregate in PICKS and filtered:
        return "filter"
    if aggregate in DECAYED and "range" not in frame:
        return "bounded"
    return "rows" if aggregate == "array_agg" and "rows" not in frame else None


def all_cells():
    every = [(a, f, filtered, k) for a in AGGREGATES for f in FRAMES for filtered in (False, True) for k in [UNTYPED, *TYPES]]
    return [cell for cell in every if reason_for_empty(*cell) is None]


# ---- Time: everything lies on a grid, so that ties and frame edges are met ------------------------------------------------

SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
STEPS = [1, 1_000, 250_000, SECOND, 30 * SECOND, MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY]
STEP_OF_CALENDAR = {"hour": [SECOND, 30 * SECOND, MINUTE], "day": [MINUTE, 10 * MINUTE], "week": [HOUR, 6 * HOUR], "month": [6 * HOUR, DAY]}
STARTS = [  # just before the ends of hours, days, weeks, months and years; leap days; both sides of the epoch
    "2026-01-01T09:58:30Z", "2025-12-31T23:55:00Z", "2024-02-28T23:00:00Z", "2024-02-29T23:59:58Z", "2026-03-01T23:59:59.999999Z",
    "2026-01-04T22:00:00Z", "1969-12-31T23:59:00Z", "1969-12-28T20:00:00Z", "1900-02-27T12:00:00Z", "2100-02-28T18:00:00Z",
]


def time_text(instant):
    return json_value(reference.Timestamp(instant))


def duration_text(us):
    """'90s' for 90000000: the largest unit that divides."""
    unit = max((unit for unit, size in reference.UNIT_US.items() if us % size == 0), key=reference.UNIT_US.get)
    return f"{us // reference.UNIT_US[unit]}{unit}"


WORDS = {"us": "MICROSECOND", "ms": "MILLISECOND", "s": "SECOND", "m": "MINUTE", "h": "HOUR", "d": "DAY"}


def interval_sql(rng, text):
    """INTERVAL in one of its spellings, in the unit of the text or a finer one."""
    us = reference.duration_us(text)
    units = [unit for unit, size in reference.UNIT_US.items() if us % size == 0]
    unit = rng.choice(units[-2:])
    amount, word = us // reference.UNIT_US[unit], WORDS[unit]
    spellings = [f"'{amount}' {word}", f"{amount} {word}", f"'{amount} {word.lower()}s'", f"'{amount} {word.lower()}'"]
    if HOUR < us < DAY and us % MINUTE == 0:
        hours, minutes = divmod(us // MINUTE, 60)
        spellings += [f"'{hours:02}:{minutes:02}:00'", f"'{hours} hours {minutes} minutes'"]
    if us and us % (7 * DAY) == 0:
        spellings += [f"'{us // (7 * DAY)}' WEEK", f"'{us // (7 * DAY)} weeks'"]
    return "INTERVAL " + rng.choice(spellings)


# ---- Schema ---------------------------------------------------------------------------------------------------------------

KEY_COLUMNS = {"account_id": "BIGINT", "country": "VARCHAR"}
COLUMN_NAMES = {
    "SMALLINT": "small", "INTEGER": "units", "BIGINT": "points", "REAL": "reading", "DOUBLE": "amount", "DECIMAL(10,2)": "price",
    "DECIMAL(38,4)": "total", "BOOLEAN": "flag", "VARCHAR": "word", "DATE": "due", "TIMESTAMP": "seen_at",
}
EXPRESSION_KEYS = [
    ("shard", ["%", "account_id", 3]), ("land", ["lower", "country"]), ("half", ["/", "account_id", 2]),
    ("place", ["coalesce", "country", {"text": "none"}]), ("marked", ["||", "country", {"text": "'s"}]),
    ("big", [">", "account_id", 1]), ("inverse", ["/", 10, "account_id"]),
]
CHECKS = {
    "SMALLINT": [["<", "small", 32767]], "INTEGER": [["<>", "units", 13]], "BIGINT": [[">", ["/", 100, "points"], -200]],
    "REAL": [["<", "reading", 1e30]], "DOUBLE": [[">=", "amount", 0], ["or", [">", "amount", -5.0], ["is null", "amount"]]],
    "DECIMAL(10,2)": [[">=", "price", 0]], "VARCHAR": [["<>", "word", {"text": "x"}]],
}


class Draft:
    """A case as it is being drawn: `rng`, the structured stream and view, the events, and how its values look."""

    def __init__(self, rng, name):
        self.rng, self.name = rng, name
        self.columns, self.profiles = {}, {}
        self.stream = {"columns": self.columns, "time": rng.choice(["ts", "ts", "happened_at"])}
        self.view = {"stream": rng.choice(["tx", "events_in", "readings"]), "key": {}, "windows": {}, "features": {}}
        self.source = self.view["stream"]
        self.derived_conditions = []  # of each derived stream in a row, the WHERE of each branch
        self.derived_extra = None  # a column that the first of them computes and nobody reads
        self.cells = {}  # feature → its cell
        self.may_fail = rng.random() < 0.3  # whether one argument may fail, which sets events aside
        self.events = []

    def column(self, kind):
        """The argument column of a type, declared when first asked for."""
        name = COLUMN_NAMES[kind]
        if name not in self.columns:
            self.columns[name] = declared = {"type": kind}
            self.profiles[name] = self.rng.choice(["tame", "tame", "few", "wild"])
            if self.rng.random() < 0.1:
                declared["not_null"] = True
            if kind in CHECKS and self.rng.random() < 0.1:
                declared["check"] = self.rng.choice(CHECKS[kind])
        return name


def draw_key(draft):
    rng = draft.rng
    draft.columns.update({name: {"type": kind} for name, kind in KEY_COLUMNS.items()})
    if rng.random() < 0.4:
        draft.columns["account_id"]["not_null"] = True
    shape = rng.random()
    if shape < 0.35:
        parts = [("account_id", "account_id")]
    elif shape < 0.45:
        parts = [("country", "country")]
    elif shape < 0.6:
        parts = [("account_id", "account_id"), ("country", "country")]
    elif shape < 0.75:
        draft.columns["device"] = {"type": rng.choice(TYPES)}
        parts = [("device", "device")]
    else:
        parts = rng.sample(EXPRESSION_KEYS[:-1] if rng.random() < 0.8 else EXPRESSION_KEYS, rng.choice([1, 1, 2]))
    draft.view["key"] = dict(parts)


def draw_primary_key(draft):
    rng, shape = draft.rng, draft.rng.random()
    if shape < 0.4:
        return
    draft.columns["id"] = {"type": "VARCHAR" if shape < 0.7 else "BIGINT"}
    draft.stream["primary_key"] = ["id"]
    if shape > 0.85:
        draft.columns["part"] = {"type": rng.choice(["SMALLINT", "VARCHAR"])}
        draft.stream["primary_key"] = rng.choice([["id", "part"], ["part", "id"]])
    for name in draft.stream["primary_key"]:
        draft.columns[name].update({"not_null": True} if rng.random() < 0.7 else {})
    if rng.random() < 0.25:
        draft.stream["not_enforced"] = True


def draw_options(draft, step):
    rng, stream = draft.rng, draft.stream
    draft.columns[stream["time"]] = {"type": "TIMESTAMP"}
    if rng.random() < 0.7:
        draft.columns[stream["time"]]["not_null"] = True
    stream["lateness"] = duration_text(step * rng.choice([0, 1, 2, 3, 5, 20]))
    if rng.random() < 0.4:
        stream["ahead_max"] = duration_text(step * rng.choice([0, 1, 3]))
    if "primary_key" in stream and rng.random() < 0.6:
        stream["dedup_horizon"] = duration_text(step * rng.choice([0, 1, 2, 4, 10]))


# ---- Values ---------------------------------------------------------------------------------------------------------------

TEXTS = ["a", "b", "B", "x", "", "12", "-7", "a'b", "é", "ß", "日本", "😀", "GB", "gb", "\ufffd"]
ODD_DOUBLES = [
    "NaN", "NaN", "Infinity", "-Infinity", -0.0, 0.0, 1e16, -1e16, 1e308, 1.7e308, -1e308, 5e-324, -5e-324, 1e-30, 1e200, -1e200,
    1e15 + 0.3, 0.1, 2.5e-308, 9007199254740993, 1, 2**63,
]
ODD_REALS = ["NaN", "Infinity", "-Infinity", -0.0, 0.1, 3.4e38, -3.4e38, 1e-45, 1e-50, 16777217, 1e-30, 1e39]  # the last is beyond REAL: the reference reads an infinity
UNREADABLE = {  # raw values that are none of the type
    "SMALLINT": [32768, -32769, "1", 1.0, True], "INTEGER": [2**31, -(2**31) - 1, "x", 0.5], "BIGINT": [2**63, -(2**63) - 1, "12", 5.0, False],
    "REAL": ["1.0", True, "inf"], "DOUBLE": ["1.0", True, "nan", ""], "DECIMAL(10,2)": ["1.005", "100000000", 1.5, "", "NaN", 10**8],
    "DECIMAL(38,4)": ["0.00001", "1e34", "x", True], "BOOLEAN": [0, "true"], "VARCHAR": [1, False], "DATE": ["2026-02-30", "x", 20000],
    "TIMESTAMP": ["2026-13-01T00:00:00Z", "soon", True, 1.5],
}


def integer_value(rng, profile, bits):
    top = 2 ** (bits - 1)
    if profile == "few":
        return rng.choice([0, 1, 2, -1])
    if profile == "wild" and rng.random() < 0.3:
        return rng.choice([top - 1, -top, top - 2, top // 2, -top + 1, 0])
    return rng.randint(-20, 100)


def double_value(rng, profile):
    if profile == "few":
        return rng.choice([0.0, -0.0, 1.0, 2.5])
    if profile == "wild":
        return rng.choice(ODD_DOUBLES) if rng.random() < 0.4 else rng.uniform(-1, 1) * 10.0 ** rng.randint(-20, 20)
    return rng.choice([round(rng.uniform(-10, 200), 2), rng.uniform(0, 100), rng.randint(-5, 150)])


def decimal_value(rng, profile, digits, scale):
    """Text or an integer, never a JSON number with a point, which is no decimal. No negative zero."""
    if profile == "few":
        return rng.choice(["0.00", "1.5", 2, "2.50"])
    unscaled = rng.randint(-3000, 20000)
    if profile == "wild":
        unscaled = rng.choice([10**digits - 1, 1 - 10**digits, 5 * 10 ** (digits - 1), 1, rng.randint(-(10**digits) + 1, 10**digits - 1)])
    if rng.random() < 0.1:
        return rng.choice([3, "4e1", "12", 0])
    sign, body = "-" if unscaled < 0 else "", f"{abs(unscaled):0{scale + 1}}"
    return f"{sign}{body[:-scale]}.{body[-scale:]}"


def raw_value(rng, kind, profile, start):
    """A value of a type as JSON carries it."""
    if kind in reference.INTEGER_BITS:
        return integer_value(rng, profile, reference.INTEGER_BITS[kind])
    if kind == "DOUBLE":
        return double_value(rng, profile)
    if kind == "REAL":
        return rng.choice(ODD_REALS) if profile == "wild" and rng.random() < 0.4 else double_value(rng, "few" if profile == "few" else "tame")
    if kind.startswith("DECIMAL"):
        return decimal_value(rng, profile, *(int(part) for part in kind[8:-1].split(",")))
    if kind == "BOOLEAN":
        return rng.random() < 0.6
    if kind == "VARCHAR":
        return rng.choice(TEXTS[:4] if profile == "few" else TEXTS)
    if kind == "DATE":
        odd = ["1969-12-31", "1970-01-01", "2024-02-29", "9999-12-31", "1600-01-01"]
        return rng.choice(odd) if profile == "wild" else str(date(2026, 1, 1) + timedelta(days=rng.randint(0, 4 if profile == "few" else 400)))
    instant = start + rng.choice([0, 1, -1, MINUTE, DAY, -DAY, 400 * DAY]) * rng.randint(0, 3)
    return raw_time(rng, instant)


def raw_time(rng, instant):
    """RFC 3339 text in UTC, in another zone, without a zone, finer than a microsecond; or whole microseconds."""
    text, form = time_text(instant), rng.random()
    if form < 0.08 and instant > 400_000_000 * SECOND:
        return instant
    if form < 0.14:
        return time_text(instant + 2 * HOUR)[:-1] + "+02:00"
    if form < 0.2:
        return text[:-1]
    if form < 0.24:
        return text[:-1] + "999Z"
    return text.replace(".000000", "") if form < 0.7 else text


# ---- Windows --------------------------------------------------------------------------------------------------------------


def draw_window(rng, frame, unit, step):
    """A structured window of a frame kind; lengths are steps of the grid, so that edges fall on events."""
    window, length = {}, rng.choice([1, 2, 3, 5, 8, 13])
    if frame.startswith("calendar") or frame in STEP_OF_CALENDAR:
        window["calendar"] = unit if frame.startswith("calendar") else frame
    if "rows" in frame:
        window["rows"] = rng.choice([0, 1, 2, 3, 5, 40])
    if "range" in frame:
        window["range"] = duration_text(length * step + rng.choice([0, 0, 0, 1, -1]))  # never below 0: a step is at least 1 µs
    if "lag" in frame:
        window["lag"] = duration_text(min(rng.choice([0, 1, 2, 3]), length) * step)
        if "range" in window and reference.duration_us(window["lag"]) > reference.duration_us(window["range"]):
            window["lag"] = window["range"]  # b ≤ a
        if rng.random() < 0.2:
            window["exclude"] = rng.choice(EXCLUSIONS)  # the current row is not in the frame, unless it lags by 0
    if ", exclude " in frame:
        window["exclude"] = frame.split(", exclude ")[1]
    return window


# ---- Arguments and filters --------------------------------------------------------------------------------------------------

COMPUTED = {  # type → (columns it needs, expression): arguments of that type that never fail
    "BIGINT": [("SMALLINT", ["+", "small", 1]), ("INTEGER", ["*", "units", 3]), ("BIGINT", ["%", "points", 5]), ("BIGINT", ["/", "points", 2]),
               ("BIGINT", ["coalesce", "points", 0]), ("BIGINT", ["nullif", "points", 1]), ("INTEGER", ["-", "units", 7])],
    "DOUBLE": [("DOUBLE", ["*", "amount", 2.0]), ("DOUBLE", ["*", "amount", -1.0]), ("DOUBLE", ["+", "amount", 1]), ("DOUBLE", ["/", 0.0, "amount"]),
               ("DOUBLE", ["coalesce", "amount", 0.0]), ("DOUBLE", ["nullif", "amount", 2.5]), ("DOUBLE", ["abs", "amount"]), ("DOUBLE", ["neg", "amount"]),
               ("BIGINT", ["*", "points", 0.5]), ("BIGINT", ["cast", "points", "DOUBLE"]), ("REAL", ["*", "reading", 2.0]),
               ("DECIMAL(10,2)", ["*", "price", 2.0]), ("DOUBLE", ["-", ["*", "amount", "amount"], 1.0])],
    "BOOLEAN": [("DOUBLE", [">", "amount", 10]), ("VARCHAR", ["=", "word", {"text": "a"}]), ("BOOLEAN", ["not", "flag"]),
                ("BIGINT", ["is null", "points"]), ("BOOLEAN", ["or", "flag", ["is not null", "account_id"]])],
    "VARCHAR": [("VARCHAR", ["lower", "word"]), ("VARCHAR", ["||", "word", {"text": "!"}]), ("VARCHAR", ["coalesce", "word", {"text": "it's none"}]),
                ("VARCHAR", ["nullif", "word", {"text": "b"}])],
}
FAILING = {  # the same for arguments that fail on some values
    "BIGINT": [("BIGINT", ["+", "points", 1]), ("BIGINT", ["*", "points", 3]), ("BIGINT", ["/", 100, "points"]), ("VARCHAR", ["cast", "word", "BIGINT"]),
               ("DOUBLE", ["cast", "amount", "BIGINT"]), ("SMALLINT", ["%", 7, "small"])],
    "BOOLEAN": [("BIGINT", [">", ["/", 100, "points"], 3])],
}
FILTERS = [
    ("DOUBLE", [">", "amount", 10]), ("DOUBLE", ["or", ["<", "amount", 2], [">", "amount", 10.5]]), ("VARCHAR", ["<>", "word", {"text": "x"}]),
    ("BOOLEAN", "flag"), ("BOOLEAN", ["not", "flag"]), ("BIGINT", ["<=", "points", 50]), ("DECIMAL(10,2)", [">=", "price", 1]),
    ("VARCHAR", ["and", ["is not null", "word"], ["<", "word", {"text": "z"}]]), ("SMALLINT", ["=", ["%", "small", 2], 0]),
    ("VARCHAR", ["is not null", "country"]), ("DOUBLE", ["=", ["/", 0.0, "amount"], ["/", 0.0, "amount"]]), ("INTEGER", [">", "units", -1]),
]
FAILING_FILTERS = [("BIGINT", [">", ["/", 100, "points"], 1]), ("VARCHAR", [">", ["cast", "word", "BIGINT"], 0])]
GUARDED = {"filter": ["=", "word", {"text": "12"}], "of": ["cast", "word", "BIGINT"]}  # the filter lets no bad text through


def needs(draft, choice):
    kind, expression = choice
    draft.column(kind)
    return expression


def draw_argument(draft, kind):
    rng = draft.rng
    if draft.may_fail and kind in FAILING and rng.random() < 0.3:
        draft.may_fail = False
        return needs(draft, rng.choice(FAILING[kind]))
    if kind in COMPUTED and rng.random() < 0.35:
        return needs(draft, rng.choice(COMPUTED[kind]))
    return draft.column(kind)


def draw_filter(draft):
    rng = draft.rng
    if draft.may_fail and rng.random() < 0.1:
        draft.may_fail = False
        return needs(draft, rng.choice(FAILING_FILTERS))
    return needs(draft, rng.choice(FILTERS))


def draw_call(draft, cell, over):
    """The structured aggregate of a cell."""
    rng, (aggregate, _, filtered, kind) = draft.rng, cell
    call = {"agg": aggregate.split("(")[0].split(" ")[0]}
    if kind != UNTYPED:
        call["of"] = draw_argument(draft, kind)
    if aggregate == "count distinct":
        call["distinct"] = True
    if aggregate in ("min_by", "max_by"):
        call["by"] = draw_argument(draft, rng.choice(TYPES))
    if aggregate in PAIRS:
        call["by"] = draw_argument(draft, kind if rng.random() < 0.3 else rng.choice(NUMERIC))
    if aggregate in DECAYED:
        call["half_life"] = draw_half_life(rng, draft.view["windows"][over])
    if aggregate == "nth_value":
        call["n"] = rng.choice([1, 2, 2, 3])
    if aggregate in ("top_k", "last_distinct"):
        call["n"] = rng.choice([1, 2, 3, 5, 1000])
    if aggregate in ("quantile_cont", "approx_quantile"):
        call["q"] = rng.choice([0, 1, 0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0, 0.1, 0.333])
    if filtered:
        call["filter"] = draw_filter(draft)
        if kind == "BIGINT" and rng.random() < 0.15:
            draft.column("VARCHAR")
            call.update(GUARDED)
    return {**call, "over": over}


def draw_half_life(rng, window):
    """From a thousandth of the frame's reach, the least there may be, to far beyond it; events of one frame lie in one
    half-life and in many."""
    reach = reference.duration_us(window["range"])
    least = max(1, -(-reach // 1000))
    return duration_text(max(least, rng.choice([least, least + 1, reach // 30, reach // 7, reach // 2, reach, 3 * reach + 1, 86_400_000_000, 2**59])))


# ---- Features ---------------------------------------------------------------------------------------------------------------


def draw_expression(draft, over):
    """A feature that computes with aggregates; some fail on some reads."""
    rng = draft.rng

    def call(aggregate, kind=None, **more):
        of = {} if kind is None else {"of": draft.column(kind)}
        return {"agg": aggregate, **of, **more, "over": rng.choice(over)}

    count, total, points = call("count"), call("sum", "DOUBLE"), call("sum", "BIGINT")
    top, low = call("max", "DOUBLE"), call("min", "DOUBLE")
    text = call("max", "VARCHAR")
    return rng.choice([
        lambda: ["/", total, ["nullif", count, 0]],
        lambda: ["/", total, ["nullif", call("avg", "DOUBLE"), 0]],
        lambda: ["coalesce", total, 0.0],
        lambda: ["coalesce", call("sum", "INTEGER"), 0],
        lambda: ["/", call("sum", "SMALLINT"), count],
        lambda: ["/", 10, call("count", "DOUBLE", filter=[">", "amount", 10])],  # division_by_zero
        lambda: ["%", 100, call("sum", "INTEGER")],  # division_by_zero
        lambda: ["%", points, 4],
        lambda: [">", count, 1],
        lambda: ["-", top, low],
        lambda: ["*", call("max", "BIGINT"), call("max", "BIGINT")],  # out_of_range
        lambda: ["+", call("max", "BIGINT"), 1],  # out_of_range
        lambda: ["/", ["cast", count, "DOUBLE"], ["nullif", call("count", "VARCHAR"), 0]],
        lambda: ["neg", call("avg", "DOUBLE")],
        lambda: ["abs", ["-", call("avg", "DOUBLE"), call("median", "DOUBLE")]],
        lambda: ["is null", call("last_value", "DOUBLE")],
        lambda: ["||", ["coalesce", text, {"text": "none"}], {"text": "'s"}],
        lambda: ["cast", text, "BIGINT"],  # bad_cast
        lambda: ["and", [">", count, 0], [">=", total, 0]],
        lambda: ["=", call("first_value", "DOUBLE"), call("last_value", "DOUBLE")],
        lambda: ["*", ["+", ["-", top, low], 1.0], ["-", 2.0, total]],
        lambda: ["coalesce", call("avg", "DOUBLE"), call("max", "DOUBLE"), -1.0],
    ])()


def draw_where(draft):
    rng = draft.rng
    if rng.random() < 0.6:
        return
    choices = [
        ("VARCHAR", ["is not null", "country"]), ("DOUBLE", [">", "amount", -3.0]), ("BIGINT", ["<>", "account_id", 2]),
        ("DOUBLE", ["or", ["is null", "amount"], ["<", "amount", 1e300]]), ("VARCHAR", ["<>", "word", {"text": "x"}]), ("BOOLEAN", ["not", ["not", "flag"]]),
    ]
    if draft.may_fail:
        choices.append(("BIGINT", ["<", ["/", 100, "points"], 90]))
    draft.view["where"] = needs(draft, rng.choice(choices))


def draw_derived(draft):
    """Sometimes one or two derived streams between the stream and the view, with all its columns."""
    rng = draft.rng
    if rng.random() < 0.7:
        return
    for _ in range(rng.choice([1, 1, 2])):
        branches = rng.choice([1, 1, 2, 3])
        conditions = [needs(draft, rng.choice(FILTERS)) if rng.random() < 0.6 else None for _ in range(branches)]
        draft.derived_conditions.append(conditions)
    if draft.may_fail and rng.random() < 0.5:
        draft.derived_extra = needs(draft, rng.choice(FAILING["BIGINT"]))


def structured_derived(draft):
    """The derived streams as drawn, now that all columns are known."""
    rng, derived, source = draft.rng, [], draft.source
    for place, conditions in enumerate(draft.derived_conditions):
        names = list(derived[-1]["branches"][0]["columns"] if derived else draft.columns)
        if rng.random() < 0.5:
            rng.shuffle(names)
        columns = {name: name for name in names}
        if place == 0 and draft.derived_extra is not None:
            columns["extra"] = draft.derived_extra
        branches = [
            {"from": source, **({} if where is None else {"where": where}), "columns": columns} for where in conditions
        ]
        keeps_key = len(conditions) == 1 and (derived[-1]["primary_key"] if derived else "primary_key" in draft.stream)
        source = f"derived_{place}"
        derived.append({"name": source, "primary_key": keeps_key, "branches": branches})
    return derived


def draw_features(draft, queues, count, step, unit):
    """`count` cells off the fullest queues, over three to five windows; then sometimes features that compute."""
    rng = draft.rng
    nearly_done = sum(map(len, queues.values())) < 100  # then any frame will do, or the rest would wait for its unit
    fitting = [frame for frame in FRAMES if nearly_done or frame == unit or frame not in STEP_OF_CALENDAR]
    frames = sorted(fitting, key=lambda frame: (-len(queues[frame]), rng.random()))[: rng.choice([3, 4, 5])]
    for place, frame in enumerate(frames):
        draft.view["windows"][f"w{place + 1}"] = draw_window(rng, frame, unit, step)
    for place in range(count):
        at = place % len(frames)
        if queues[frames[at]]:
            cell, name = queues[frames[at]].pop(), f"f{place + 1}"
            draft.cells[name] = cell
            draft.view["features"][name] = draw_call(draft, cell, f"w{at + 1}")
    for place in range(max(rng.choice([0, 0, 1, 1, 2]), not draft.view["features"])):  # at least one feature
        draft.view["features"][f"x{place + 1}"] = draw_expression(draft, list(draft.view["windows"]))


# ---- Events ---------------------------------------------------------------------------------------------------------------

ACCOUNTS = [1, 2, 3, 0, -4, 7]


def draw_row(draft, instant, start):
    """The fields of one event; one in a dozen is odd in some way."""
    rng, row = draft.rng, {}
    for name, column in draft.columns.items():
        if name == draft.stream["time"]:
            row[name] = raw_time(rng, instant)
        elif name == "account_id":
            row[name] = rng.choice(draft.accounts) if rng.random() < (0.99 if column.get("not_null") else 0.93) else None
        elif name == "country":
            row[name] = rng.choice(draft.countries) if rng.random() < 0.92 else None
        elif name == "device":
            row[name] = rng.choice(draft.devices)
        elif name in draft.stream.get("primary_key", ()):
            row[name] = rng.randint(-1000, 1000) if column["type"] != "VARCHAR" else rng.choice("abyzéß") + str(rng.randint(0, 999))
        else:
            is_null = rng.random() < (0.04 if column.get("not_null") else draft.null_share)
            row[name] = None if is_null else raw_value(rng, column["type"], draft.profiles[name], start)
    if rng.random() < 0.08:
        disturb(draft, row)
    return row


def disturb(draft, row):
    """One odd thing: a missing field, a name in other case (or two of them), an unknown field, a value of no type, no time."""
    rng, name = draft.rng, draft.rng.choice(list(row))
    shape = rng.randrange(6)
    if shape == 0:
        del row[name]
    elif shape == 1:
        row[name.upper()] = row.pop(name)
    elif shape == 2:
        value = row.pop(name)
        row[name.upper()], row[name.capitalize()] = value, value  # neither is meant: NULL
    elif shape == 3:
        row["undeclared"] = {"a": [1, "x"]}
    elif shape == 4:
        row[name] = rng.choice(UNREADABLE[draft.columns[name]["type"]])
    else:
        row[draft.stream["time"]] = None


def draw_events(draft, start, step):
    rng, stream = draft.rng, draft.stream
    draft.accounts, draft.countries = rng.sample(ACCOUNTS, rng.choice([1, 2, 3])), rng.sample(["GB", "gb", "Fr", "ÉÑ", ""], rng.choice([1, 2, 3]))
    if "device" in draft.columns:
        kind = draft.columns["device"]["type"]
        draft.devices = [raw_value(rng, kind, rng.choice(["few", "wild"]), start) for _ in range(3)] + [None]
    draft.null_share = rng.choice([0.0, 0.1, 0.25])
    partitions, clocked = rng.choice([1, 1, 2, 3]), rng.random() < 0.6
    lateness, ahead_max = reference.duration_us(stream["lateness"]), reference.duration_us(stream.get("ahead_max", "1m"))
    newest = clock = start
    for place in range(rng.randint(18, 34)):
        instant = newest + step * rng.choice([0, 0, 1, 1, 1, 2, 3])
        disorder = rng.random()
        if disorder < 0.2:
            instant = newest - step * rng.randint(0, 4)
        elif disorder < 0.28:
            instant = newest - lateness + rng.choice([0, -1, 1, -step])  # at the watermark of one partition, and beside it
        elif disorder < 0.32:
            instant += rng.choice([1, -1])
        if clocked and 0.32 <= disorder < 0.36:
            instant = clock + ahead_max + rng.choice([0, 1, step])  # at the limit of the future and beyond it
        elif instant > clock:
            clock = instant + step * rng.choice([0, 0, 0, 2, 5])  # then events up to there share its batch
        event = {"columns": draw_row(draft, instant, start)}
        if instant <= clock + ahead_max:
            newest = max(newest, instant)
        if clocked or place == 0:
            event["arrived"] = time_text(clock)
        if partitions > 1:
            event["partition"] = rng.randrange(partitions)
        draft.events.append(event)
        if rng.random() < 0.15 and "primary_key" in stream:
            repeat(draft, step)


def repeat(draft, step):
    """Another copy of an earlier event's key, at its time or near the horizon, with other values."""
    rng, stream = draft.rng, draft.stream
    earlier, newest = rng.choice(draft.events), draft.events[-1]
    kept = {name: earlier["columns"][name] for name in stream["primary_key"] if name in earlier["columns"]}
    try:
        instant = reference.timestamp(earlier["columns"].get(stream["time"]))
    except (ValueError, TypeError):
        return
    instant += rng.choice([0, 0, 1, -1, step, *(sign * reference.duration_us(stream.get("dedup_horizon", "1d")) + by for sign in (1, -1) for by in (0, sign))])
    copy = {**newest, "columns": {**draw_row(draft, instant, instant), **kept}}
    if "partition" in earlier and rng.random() < 0.8:
        copy["partition"] = earlier["partition"]
    draft.events.append(copy)


def write_out_arrivals(draft):
    """An event that cannot be read has no event time to arrive at: its arrival is written out."""
    for event, one in zip(draft.events, reference.judge(draft.stream, draft.events)):
        if one.event is None and "arrived" not in event:
            event["arrived"] = time_text(one.arrived)


# ---- Reads ----------------------------------------------------------------------------------------------------------------


def draw_key_values(draft, used):
    """A key as JSON: mostly one that was seen, sometimes never seen, sometimes with a NULL part."""
    rng, key = draft.rng, {}
    row = rng.choice(used).row if used else None
    for name, part in draft.view["key"].items():
        try:
            value = reference.evaluate(part, row) if row else None
        except reference.Failure:
            value = None
        key[name] = json_value(reference.normal(value))
    shape, name = rng.random(), rng.choice(list(key))
    if shape < 0.06:
        key[name] = None
    elif shape < 0.14 and type(key[name]) in (int, str) and key[name] not in ("NaN", "Infinity", "-Infinity"):
        unseen = {int: 31, str: "Unseen"}[type(key[name])]
        part = draft.view["key"][name]
        kind = draft.columns[part]["type"] if isinstance(part, str) else ""
        key[name] = {"DATE": "2020-02-02", "TIMESTAMP": time_text(77)}.get(kind, "777.5" if kind.startswith("DECIMAL") else unseen)
    return key


def draw_instant(draft, used, step):
    """At, just before and just after events, ends of frames and ends of buckets; sometimes far away."""
    rng = draft.rng
    instant = rng.choice(used).time if used else 0
    window = rng.choice(list(draft.view["windows"].values()))
    edge = rng.random()
    if edge < 0.35:
        edges = [reference.duration_us(window[name]) for name in ("range", "lag") if name in window]
        instant += rng.choice(edges or [0])
    elif edge < 0.45 and "calendar" in window:
        begun = reference.bucket(window["calendar"], instant) - reference.EPOCH
        instant = begun // timedelta(microseconds=1) + rng.choice([0, HOUR, DAY, 7 * DAY])
    elif edge < 0.55:
        instant += step * rng.randint(-3, 6)
    elif edge < 0.58:
        instant += rng.choice([-40_000, 40_000]) * DAY
    return instant + rng.choice([0, 0, 0, 1, -1])


def draw_reads(draft, judged, step):
    rng, used = draft.rng, reference.used_events(judged)
    ends = [0] + [place + 1 for place, one in enumerate(judged) if place + 1 == len(judged) or judged[place + 1].arrived != one.arrived]
    reads = []
    for _ in range(rng.randint(7, 11)):
        one = {"key": draw_key_values(draft, used), "as_of": time_text(draw_instant(draft, used, step))}
        if rng.random() < 0.25:
            one["position"] = rng.choice(ends)
        if rng.random() < 0.3:
            one["knowledge"] = rng.choice(["as-served", "as-served", "event-time"])
        reads.append(one)
    return reads


# ---- SQL ------------------------------------------------------------------------------------------------------------------


def literal_sql(value):
    if value is None or isinstance(value, bool):
        return str(value).upper().replace("NONE", "NULL")
    return repr(value)


def expression_sql(expression, call_sql=None):
    """The text of a structured expression, in parentheses wherever it stands inside another."""
    if isinstance(expression, dict):
        return "'" + expression["text"].replace("'", "''") + "'" if "text" in expression else call_sql(expression)
    if isinstance(expression, str):
        return expression
    if not isinstance(expression, list):
        return literal_sql(expression)
    operator, *arguments = expression
    texts = [expression_sql(argument, call_sql) for argument in arguments]
    if operator == "cast":
        return f"CAST({texts[0]} AS {arguments[1]})"
    texts_inside = [f"({text})" if is_compound(part) else text for text, part in zip(texts, arguments)]
    if operator in ("is null", "is not null"):
        return f"{texts_inside[0]} {operator.upper()}"
    if operator in ("neg", "not"):
        return f"{'-' if operator == 'neg' else 'NOT '}{texts_inside[0]}"
    return f" {operator.upper()} ".join(texts_inside) if operator in INFIX else f"{operator}({', '.join(texts)})"


def is_compound(expression):
    return isinstance(expression, list) and expression[0] in INFIX | {"neg", "not", "is null", "is not null"}


def window_sql(draft, window):
    """What stands in the parentheses of OVER or WINDOW, in one of its spellings."""
    rng, time = draft.rng, draft.stream["time"]
    partition = [expression_sql(part) for part in draft.view["key"].values()]
    if rng.random() < 0.2:
        partition = [text.upper() if "'" not in text else text for text in partition]
    if "calendar" in window:
        partition.insert(rng.choice([0, len(partition)]), f"date_trunc('{window['calendar']}', {time})")
    return f"PARTITION BY {', '.join(partition)} ORDER BY {time}{frame_sql(rng, window)}"


def frame_sql(rng, window):
    extent = extent_sql(rng, window)
    if "exclude" in window:
        return f"{extent or ' RANGE UNBOUNDED PRECEDING'} EXCLUDE {rng.choice([str.upper, str.lower])(window['exclude'])}"
    return f"{extent} EXCLUDE NO OTHERS" if extent and rng.random() < 0.1 else extent


def extent_sql(rng, window):
    start, end = "UNBOUNDED PRECEDING", "CURRENT ROW"
    if "rows" in window:
        return rng.choice([f" ROWS BETWEEN {window['rows']} PRECEDING AND CURRENT ROW", f" ROWS {window['rows']} PRECEDING"])
    if "range" in window:
        start = f"{interval_sql(rng, window['range'])} PRECEDING"
    if "lag" in window:
        end = f"{interval_sql(rng, window['lag'])} PRECEDING"
    spellings = [f" RANGE BETWEEN {start} AND {end}"]
    if "lag" not in window:
        spellings.append(f" RANGE {start}")
        spellings += [] if "range" in window else ["", ""]
    return rng.choice(spellings)


def call_sql(draft, call):
    """An aggregate with its OVER: by the window's name, or now and then with the window written out."""
    rng = draft.rng
    arguments = [expression_sql(call["of"]) if "of" in call else "*"]
    arguments += [expression_sql(call["by"])] if "by" in call else []
    arguments += [literal_sql(call[name]) for name in ("n", "q") if name in call]
    arguments += [interval_sql(rng, call["half_life"])] if "half_life" in call else []
    name = call["agg"].upper() if rng.random() < 0.2 else call["agg"]
    text = f"{name}({'DISTINCT ' if call.get('distinct') else ''}{', '.join(arguments)})"
    text += f" FILTER (WHERE {expression_sql(call['filter'])})" if "filter" in call else ""
    return text + (f" OVER ({window_sql(draft, draft.view['windows'][call['over']])})" if rng.random() < 0.1 else f" OVER {call['over']}")


def stream_sql(draft):
    rng, stream = draft.rng, draft.stream
    lines = []
    for name, column in draft.columns.items():
        check = f" CHECK ({expression_sql(column['check'])})" if "check" in column else ""
        lines.append(f"{name} {column['type']}{' NOT NULL' if column.get('not_null') else ''}{check}")
    if "primary_key" in stream:
        lines.append(f"PRIMARY KEY ({', '.join(stream['primary_key'])}){' NOT ENFORCED' if stream.get('not_enforced') else ''}")
    lines.append(f"WATERMARK FOR {stream['time']} AS {stream['time']} - {interval_sql(rng, stream['lateness'])}")
    options = ", ".join(f"{name} = '{stream[name]}'" for name in ("ahead_max", "dedup_horizon") if name in stream)
    inside = ",\n  ".join(lines)
    return f"CREATE STREAM {draft.source} (\n  {inside}\n){f' WITH ({options})' if options else ''};\n"


def derived_sql(draft, derived):
    """The derived streams in any order; all columns by `*`, or by name."""
    rng, texts, known = draft.rng, [], {draft.source: list(draft.columns)}
    for stream in derived:
        selects, known[stream["name"]] = [], list(stream["branches"][0]["columns"])
        for branch in stream["branches"]:
            extra = [name for name, expression in branch["columns"].items() if expression != name]
            plain = [name for name in branch["columns"] if name not in extra]
            columns = ["*"] if plain == known[branch["from"]] and rng.random() < 0.8 else plain
            columns += [f"{expression_sql(branch['columns'][name])} AS {name}" for name in extra]
            where = f" WHERE {expression_sql(branch['where'])}" if "where" in branch else ""
            selects.append(f"SELECT {', '.join(columns)} FROM {branch['from']}{where}")
        texts.append(f"CREATE STREAM {stream['name']} AS {' UNION ALL '.join(selects)};\n")
    rng.shuffle(texts)
    return "".join(texts)


def view_sql(draft):
    view = draft.view
    selected = [part if part == name else f"{expression_sql(part)} AS {name}" for name, part in view["key"].items()]
    selected += [f"{expression_sql(feature, lambda call: call_sql(draft, call))} AS {name}" for name, feature in view["features"].items()]
    where = f"WHERE {expression_sql(view['where'])}\n" if "where" in view else ""
    windows = ",\n  ".join(f"{name} AS ({window_sql(draft, window)})" for name, window in view["windows"].items())
    return "CREATE FEATURE VIEW v AS\nSELECT\n  " + ",\n  ".join(selected) + f"\nFROM {view['stream']}\n{where}WINDOW\n  {windows};"


# ---- A case: drawn, then answered by the reference ----------------------------------------------------------------------------


def draw_case(rng, name, queues, count):
    draft = Draft(rng, name)
    unit = rng.choices(list(STEP_OF_CALENDAR), [len(queues[unit]) + 1 for unit in STEP_OF_CALENDAR])[0]
    step = rng.choice(STEP_OF_CALENDAR[unit]) if rng.random() < 0.7 else rng.choice(STEPS)
    start = reference.timestamp(rng.choice(STARTS))
    draw_key(draft)
    draw_primary_key(draft)
    draw_where(draft)
    draw_derived(draft)
    draw_features(draft, queues, count, step, unit)
    draw_options(draft, step)
    order = list(draft.columns.items())
    rng.shuffle(order)
    draft.columns.clear()
    draft.columns.update(order)
    draw_events(draft, start, step)
    write_out_arrivals(draft)
    return draft, answered(draft, step)


def answered(draft, step):
    stream, view = draft.stream, draft.view
    derived = structured_derived(draft)
    view["stream"] = derived[-1]["name"] if derived else draft.source
    judged = reference.judge(stream, draft.events)
    used = reference.used_events(judged)
    case = {
        "name": draft.name, "why": "random", "sql": stream_sql(draft) + derived_sql(draft, derived) + view_sql(draft), "stream": stream, "derived": derived,
        "view": view, "events": draft.events,
        "judged": [one.outcome for one in judged],
        "set_aside": reference.set_aside(view, derived, used),
        "accounting": reference.accounting(judged), "reads": draw_reads(draft, judged, step),
    }
    for one, found in Case(draft.name, case).reads():
        one["expect"] = {name: json_value(value) for name, value in found.items()}
    for field, knowledge in (("every_event", "event-time"), ("every_event_as_served", "as-served")):
        rows = reference.every_event(view, judged, knowledge=knowledge, derived=derived)
        case[field] = [{"event": event.index, "expect": {name: json_value(value) for name, value in answers.items()}} for event, answers in rows]
    return case


# ---- Coverage -------------------------------------------------------------------------------------------------------------------


def count_answers(coverage, cells, case):
    """Adds to each cell how often it answered something other than NULL or an error."""
    for field in ("reads", "every_event", "every_event_as_served"):
        for one in case[field]:
            for name, cell in cells.items():
                value = one["expect"][name]
                coverage[cell] += value is not None and not is_error(value)


def is_error(value):
    """{"error": kind}; a histogram with the value `error` counts it."""
    return isinstance(value, dict) and isinstance(value.get("error"), str)


def print_coverage(coverage):
    """The table, and what is empty; true if every empty cell has its reason."""
    kinds, unexplained, explained = [UNTYPED, *TYPES], [], Counter()
    print("answers other than NULL; a letter stands for the reason why a cell is empty")
    letters = {reason: chr(ord("a") + place) for place, reason in enumerate(REASONS)}
    print(f"{'aggregate':<22}{'frame':<21}{'EXCLUDE':<12}{'FILTER':<7}" + "".join(f"{kind:>14}" for kind in [*kinds, "VARBINARY"]))
    for aggregate in AGGREGATES:
        for frame in FRAMES:
            for filtered in (False, True):
                texts = []
                for kind in kinds:
                    cell = (aggregate, frame, filtered, kind)
                    reason = reason_for_empty(*cell)
                    explained[reason] += 1
                    unexplained += [cell] if reason is None and not coverage[cell] else []
                    texts.append(letters[reason] if reason else str(coverage[cell]))
                texts.append(letters["VARBINARY"])
                explained["VARBINARY"] += 1
                extent, _, exclude = frame.partition(", exclude ")
                cells = f"{aggregate:<22}{extent:<21}{exclude or 'no others':<12}{'yes' if filtered else 'no':<7}"
                print(cells + "".join(f"{text:>14}" for text in texts))
    for reason, words in REASONS.items():
        print(f"{letters[reason]}: {words} ({explained[reason]} cells)")
    for cell in unexplained:
        print(f"empty without a reason: {cell}")
    print(f"{explained[None] - len(unexplained)} of {explained[None]} cells that can be filled are filled")
    return not unexplained


# ---- The run --------------------------------------------------------------------------------------------------------------------


def generate(seed, count):
    """The cases, and how often each cell answered."""
    rng = random.Random(seed)
    queues, coverage, cases = defaultdict(list), Counter(), []
    cells = all_cells()
    rng.shuffle(cells)
    for cell in cells:
        queues[cell[1]].append(cell)
    for place in range(count):
        pending = sum(map(len, queues.values()))
        wanted = min(60, max(6, 1 + pending // max(3, count * 4 // 5 - place)))  # the last fifth is for cells that stayed NULL
        draft, case = draw_case(rng, f"seed_{seed}_case_{place}", queues, wanted)
        count_answers(coverage, draft.cells, case)
        for cell in draft.cells.values():
            if not coverage[cell]:
                queues[cell[1]].insert(0, cell)
        cases.append(case)
    return cases, coverage


def print_accounting(cases):
    outcomes = Counter(outcome for case in cases for outcome in case["judged"])
    answers = [value for case in cases for field in ("reads", "every_event", "every_event_as_served") for one in case[field] for value in one["expect"].values()]
    errors = Counter(value["error"] for value in answers if is_error(value))
    print(f"{len(cases)} cases, {sum(outcomes.values())} events: {dict(sorted(outcomes.items()))}")
    print(f"{sum(len(case['set_aside']) for case in cases)} set aside, {sum(len(case['reads']) for case in cases)} reads, {len(answers)} answers, errors {dict(errors)}")


def main():
    parser = argparse.ArgumentParser(description="random cases with the reference's answers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--out", required=True)
    parser.add_argument("--check", action="store_true", help="read the file back and compare it with the reference, as check_cases.py does")
    parser.add_argument("--allow-empty", action="store_true", help="exit 0 although cells are empty: for runs of few cases")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    cases, coverage = generate(options.seed, options.cases)
    with open(options.out, "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n")
    is_covered = print_coverage(coverage)
    print_accounting(cases)
    differences = []
    if options.check:
        with open(options.out, encoding="utf-8") as written:
            differences = [(case["name"], *one) for case in json.load(written) for one in Case(case["name"], case).differences()]
        for difference in differences[:20]:
            print("difference:", *difference)
        print(f"{len(differences)} differences after reading back")
    sys.exit(0 if (is_covered or options.allow_empty) and not differences else 1)


if __name__ == "__main__":
    main()
