"""Random feature views over group windows, with the reference's answers, as cases of the format that README.md describes.

    python3 random_window_views.py --seed 7 --cases 300 --out views.json      about 5 s; the same seed, the same file

Events lie around 1970 on the edges of windows and one microsecond beside, arrive in disorder and in batches, with repeats
and NULL keys. Each view has the open window and, inside `lag`, the one closed last, of every shape. Exits 1 where what is
drawn does not show what it should: answers of both windows other than NULL, of every shape.
"""
import argparse
import json
import random
import sys
from collections import Counter

import asof_reference as reference
import random_cases
from check_cases import Case, json_value
from random_cases import expression_sql, interval_sql, time_text

SECOND = 1_000_000
SHAPES = [
    {"kind": "tumble", "size": "15s"},
    {"kind": "tumble", "size": "15s", "offset": "4s"},
    {"kind": "hop", "slide": "5s", "size": "15s"},
    {"kind": "hop", "slide": "7s", "size": "20s", "offset": "3s"},
    {"kind": "hop", "slide": "9s", "size": "9s"},
    {"kind": "cumulate", "step": "5s", "size": "15s"},
    {"kind": "cumulate", "step": "4s", "size": "12s", "offset": "5s"},
    {"kind": "session", "gap": "6s"},
    {"kind": "session", "gap": "1s"},
]
LENGTHS = {"tumble": ["size"], "hop": ["slide", "size"], "cumulate": ["step", "size"], "session": ["gap"]}
FILTER = [">", "amount", 2]
CALLS = [
    {"agg": "count"},
    {"agg": "count", "filter": FILTER},
    {"agg": "count", "of": "amount", "distinct": True},
    {"agg": "sum", "of": "amount"},
    {"agg": "avg", "of": "score"},
    {"agg": "stddev_samp", "of": "score", "filter": FILTER},
    {"agg": "min", "of": "amount"},
    {"agg": "max", "of": "country"},
    {"agg": "median", "of": "score"},
    {"agg": "mode", "of": "country"},
    {"agg": "first_value", "of": "amount"},
    {"agg": "last_value", "of": "country"},
    {"agg": "nth_value", "of": "amount", "n": 2},
    {"agg": "max_by", "of": "country", "by": "amount"},
    "window_start",
    "window_end",
    "window_time",
]
STREAM = {
    "columns": {
        "id": {"type": "BIGINT", "not_null": True},
        "k": {"type": "BIGINT"},
        "amount": {"type": "BIGINT"},
        "score": {"type": "DOUBLE"},
        "country": {"type": "VARCHAR"},
        "ts": {"type": "TIMESTAMP", "not_null": True},
    },
    "primary_key": ["id"],
    "time": "ts",
    "lateness": "40s",
}


def draw_view(rng):
    shape = rng.choice(SHAPES)
    features = {}
    for number, call in enumerate(rng.sample(CALLS, rng.randrange(2, 7))):
        kind = rng.choice(["open", "closed", "both"])
        features |= {f"open_{number}": call} if kind != "closed" else {}
        features |= {f"last_{number}": {"lag": call}} if kind != "open" else {}
    if rng.random() < 0.3:
        features["change"] = ["-", {"agg": "count"}, {"lag": {"agg": "count"}}]
    view = {"stream": "s", "window": shape, "key": {"k": "k"}, "features": features}
    return view | ({"where": [">", "amount", 0]} if shape["kind"] != "session" and rng.random() < 0.3 else {})


def draw_instant(rng):
    return rng.randrange(-60, 60) * SECOND + rng.choice([0, 0, 0, 1, -1])


def draw_events(rng):
    """In an order in which few are late, several of one arrival."""
    times = sorted(draw_instant(rng) for _ in range(rng.randrange(1, 30)))
    times.sort(key=lambda time: time + rng.randrange(rng.choice([1, 45 * SECOND])))
    moment, events = 100 * SECOND, []
    for number, time in enumerate(times):
        moment += rng.choice([0, SECOND])
        columns = {
            "id": rng.randrange(number + 1) if rng.random() < 0.1 else number,
            "k": rng.choice([1, 1, 2, None]),
            "amount": rng.choice([None, -1, 0, 1, 2, 3, 4]),
            "score": rng.choice([None, 0.1, 0.2, 0.3, 1e16, -2.5]),
            "country": rng.choice([None, "DE", "FR", "GB"]),
            "ts": time_text(time),
        }
        events.append({"columns": columns, "arrived": time_text(moment)})
    return events


def draw_reads(rng, events):
    reads = []
    for _ in range(30):
        as_of = draw_instant(rng) + rng.choice([0, 15 * SECOND])
        read = {"key": {"k": rng.choice([1, 1, 2, 3])}, "as_of": time_text(as_of)}
        read |= {"position": rng.randrange(len(events) + 1)} if rng.random() < 0.3 else {}
        reads.append(read | ({"knowledge": "as-served"} if rng.random() < 0.1 else {}))
    return reads


# ---- As SQL --------------------------------------------------------------------------------------------------------------


def stream_sql():
    columns = [f"{name} {one['type']}{' NOT NULL' if one.get('not_null') else ''}" for name, one in STREAM["columns"].items()]
    inside = ",\n  ".join([*columns, "PRIMARY KEY (id)", "WATERMARK FOR ts AS ts - INTERVAL '40' SECOND"])
    return f"CREATE STREAM s (\n  {inside}\n);\n"


def window_sql(rng, shape, source="s", time="ts", key="k"):
    """By place or by name; `key` is the text of PARTITION BY, which may be empty."""
    kind, names = shape["kind"].upper(), [*LENGTHS[shape["kind"]], *(["offset"] if "offset" in shape else [])]
    partition = f" PARTITION BY {key}" if kind == "SESSION" and key else ""
    arguments = [("DATA", f"TABLE {source}{partition}"), ("TIMECOL", f"DESCRIPTOR({time})")]
    arguments += [(name.upper(), interval_sql(rng, shape[name])) for name in names]
    if rng.random() < 0.3:
        rng.shuffle(arguments)
        return f"TABLE({kind}({', '.join(f'{name} => {text}' for name, text in arguments)}))"
    return f"TABLE({kind}({', '.join(text for _, text in arguments)}))"


def call_sql(call):
    if "lag" in call:
        return f"lag({feature_sql(call['lag'])}) OVER (PARTITION BY k ORDER BY window_start)"
    arguments = [expression_sql(call["of"]) if "of" in call else "*"]
    arguments += [expression_sql(call["by"])] if "by" in call else []
    arguments += [str(call["n"])] if "n" in call else []
    text = f"{call['agg']}({'DISTINCT ' if call.get('distinct') else ''}{', '.join(arguments)})"
    return text + (f" FILTER (WHERE {expression_sql(call['filter'])})" if "filter" in call else "")


def feature_sql(feature):
    return expression_sql(feature, call_sql)


def view_sql(rng, view):
    selected = ["k", *(f"{feature_sql(feature)} AS {name}" for name, feature in view["features"].items())]
    where = f"WHERE {expression_sql(view['where'])}\n" if "where" in view else ""
    from_where = f"FROM {window_sql(rng, view['window'])}\n{where}"
    return "CREATE FEATURE VIEW v AS\nSELECT\n  " + ",\n  ".join(selected) + f"\n{from_where}GROUP BY k, window_start, window_end;"


# ---- Answered by the reference ---------------------------------------------------------------------------------------------


def draw_case(rng, name):
    view, events = draw_view(rng), draw_events(rng)
    judged = reference.judge(STREAM, events)
    case = {
        "name": name, "why": "random", "sql": stream_sql() + view_sql(rng, view), "stream": STREAM, "view": view, "events": events,
        "judged": [one.outcome for one in judged], "accounting": reference.accounting(judged),
        "set_aside": reference.set_aside(view, (), reference.used_events(judged)), "reads": draw_reads(rng, events),
    }
    for one, found in Case(name, case).reads():
        one["expect"] = {name: json_value(value) for name, value in found.items()}
    for field, knowledge in (("every_event", "event-time"), ("every_event_as_served", "as-served")):
        rows = reference.every_event(view, judged, knowledge=knowledge)
        case[field] = [{"event": event.index, "expect": {name: json_value(value) for name, value in answers.items()}} for event, answers in rows]
    return case


def count_answers(case, coverage):
    for field in ("reads", "every_event", "every_event_as_served"):
        for one in case[field]:
            for name, value in one["expect"].items():
                coverage[(case["view"]["window"]["kind"], name.split("_")[0])] += value not in (None, 0)


def main():
    parser = argparse.ArgumentParser(description="random feature views over group windows with the reference's answers")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    rng = random.Random(options.seed)
    cases, coverage = [draw_case(rng, f"seed_{options.seed}_view_{place}") for place in range(options.cases)], Counter()
    for case in cases:
        count_answers(case, coverage)
    with open(options.out, "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n")
    empty = [(kind, window) for kind in LENGTHS for window in ("open", "last") if not coverage[(kind, window)]]
    print(f"{len(cases)} cases; answers other than NULL and 0: {dict(sorted(coverage.items()))}; empty: {empty}")
    random_cases.print_accounting(cases)
    sys.exit(1 if empty else 0)


if __name__ == "__main__":
    main()
