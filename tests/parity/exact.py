"""The exact value of a feature at an event: DuckDB lists what each frame holds, rational arithmetic does the rest.

DuckDB adds up doubles one after the other and so may lose digits; where it is further than the tolerance from asof, this
decides who is right. Knows the aggregates whose result is rounded: sum, avg, variances, deviations and quantiles.
"""

import re
from fractions import Fraction
from math import inf, isfinite, sqrt

import project

AGGREGATE = re.compile(r"\b(\w+)\s*\(", re.I)
ROUNDED = {"sum", "avg", "var_pop", "var_samp", "stddev_pop", "stddev_samp", "median", "quantile_cont"}


def value(connection, view, feature, place):
    """The feature's value at the event whose `__place` is given, over the table `entity` that holds its entity's events."""
    text, calls = pulled_apart(view.features[feature])
    lists = ", ".join(f"list({of}) {over} AS v{place_of}" for place_of, (_, of, _, over) in enumerate(calls))
    head = re.match(r"SELECT\s.*?(?=\bFROM\s+\w+\s*(?:$|WHERE\b|WINDOW\b))", view.select, re.I | re.S)
    tail = re.sub(rf"\bFROM\s+{view.stream}\b", "FROM entity", view.select[head.end():], count=1, flags=re.I)
    query = f"SELECT * FROM (SELECT __place, {lists} {tail}) WHERE __place = {place}"
    found = connection.execute(query).fetchone()[1:]
    constants = [literal(of_values(name, held, extra)) for (name, _, extra, _), held in zip(calls, found)]
    return connection.execute("SELECT " + text.format(*constants)).fetchone()[0]


def pulled_apart(text):
    """The text with `{n}` in place of each windowed aggregate, and (name, argument, further arguments, FILTER and OVER)."""
    calls, parts, begin = [], [], 0
    for match in AGGREGATE.finditer(text):
        if match.start() < begin:
            continue
        end = project.closing(text, match.end())
        over = re.compile(r"\s*(FILTER\s*\(.*?\)\s*)?OVER\s+\w+", re.I | re.S).match(text, end + 1)
        if not over:
            continue  # a scalar function around aggregates
        argument, *extra = project.split(text[match.end():end], ",")
        argument = "1" if argument == "*" else argument
        calls.append((match[1].lower(), argument, extra, over[0]))
        parts += [text[begin:match.start()].replace("{", "{{"), "{%d}" % (len(calls) - 1)]
        begin = over.end()
    return "".join([*parts, text[begin:]]), calls


def literal(number):
    if number is None:
        return "NULL::DOUBLE"
    return f"{number}::BIGINT" if isinstance(number, int) else f"'{number!r}'::DOUBLE"


def of_values(name, held, extra):
    """The aggregate of the values that the frame holds, rounded once; an int for counts, else a double."""
    held = [one for one in held or [] if one is not None]
    if name == "count":
        return len(held)
    if not held:
        return None
    if name in ("min", "max"):
        return float({"min": min, "max": max}[name](held))
    if name not in ROUNDED:
        raise ValueError(f"no exact value of `{name}`")
    if not all(isfinite(one) for one in held):
        raise ValueError("no exact value of what is not finite")
    numbers = [Fraction(one) for one in held]
    if name == "sum":
        return rounded(sum(numbers))
    if name == "avg":
        return rounded(sum(numbers) / len(numbers))
    if name in ("median", "quantile_cont"):
        return quantile(sorted(map(float, held)), 0.5 if name == "median" else float(extra[0]))
    return spread(name, numbers)


def rounded(number):
    try:
        return float(number)
    except OverflowError:
        return inf if number > 0 else -inf


def quantile(held, q):
    rank = q * (len(held) - 1)
    low = int(rank)
    above = held[min(low + 1, len(held) - 1)]
    return held[low] if above == held[low] else held[low] + (above - held[low]) * (rank - low)


def spread(name, numbers):
    count = len(numbers)
    divisor = count * count if name.endswith("pop") else count * (count - 1)
    if divisor == 0:
        return None
    variance = rounded((count * sum(one * one for one in numbers) - sum(numbers) ** 2) / divisor)
    return sqrt(variance) if name.startswith("stddev") else variance
